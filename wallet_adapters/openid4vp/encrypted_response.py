"""Encrypted responses, `direct_post.jwt` (OpenID4VP 1.0, section 8.3): keys, opened, sealed.

ECDH-ES on P-256, content by A128GCM or A256GCM, a JWE in compact form (RFC 7516, RFC 7518). Each
request has a key of its own, so that what one response says cannot be opened by another's key.
"""

import json
from collections.abc import Mapping
from typing import Any, Final

from joserfc import jwe
from joserfc.errors import JoseError
from joserfc.jwk import ECKey

from credentials.errors import CredentialError
from credentials.jcs import b64url_decode
from credentials.json_reader import JsonObject, read_json_object
from credentials.keys import thumbprint
from wallet_adapters.errors import ConflictingParameters, Malformed
from wallet_adapters.openid4vp.errors import ResponseNotEncrypted, ResponseUnreadable
from wallet_adapters.openid4vp.request import CONTENT_ENCRYPTION, ENCRYPTED_MODE
from wallet_adapters.wire import MAX_FORM_BYTES, parse_json_object, require_text

KEY_AGREEMENT: Final = "ECDH-ES"
CURVE: Final = "P-256"
PARTS: Final = 5
_WHAT: Final = "the encrypted response"
# What may stand in the header: RFC 7518 section 4.6.1, and the names of key and content.
_HEADERS: Final = frozenset({"alg", "enc", "kid", "epk", "apu", "apv", "cty", "typ"})
_COORDINATE_BYTES: Final = 32


def new_response_key() -> dict[str, Any]:
    """A fresh private JWK for the responses to one request; keep it sealed."""
    key = ECKey.generate_key(CURVE, private=True).as_dict(private=True)
    members = {name: key[name] for name in ("kty", "crv", "x", "y", "d")}
    public = {name: members[name] for name in ("kty", "crv", "x", "y")}
    return {**members, "kid": thumbprint(public)}


def public_response_key(private_jwk: Mapping[str, Any]) -> dict[str, Any]:
    """The JWK that a request carries in its `client_metadata`."""
    members = {name: private_jwk[name] for name in ("kty", "crv", "x", "y", "kid")}
    return {**members, "use": "enc", "alg": KEY_AGREEMENT}


def open_response(
    form: Mapping[str, str], private_jwk: Mapping[str, Any], *, max_bytes: int = MAX_FORM_BYTES
) -> dict[str, str]:
    """The form that a wallet would have posted unencrypted, for `parse_authorization_response`.

    1. A wallet's error may come in the clear (section 8.3.1); presentations may not.
    2. Size, compact form, the algorithms of the request, its key, and no header beyond those.
    3. The ephemeral key is a point of the same curve; the content decrypts and is authentic.
    4. The plaintext is a JSON object; its members become the fields.

    Raises `ResponseNotEncrypted`, `ResponseUnreadable` or another leaf of `WalletProtocolError`.
    """
    # 1.
    if "response" not in form:
        if "error" in form:
            return dict(form)
        raise ResponseNotEncrypted(f"the request asked for {ENCRYPTED_MODE}: encrypt the response")
    if "vp_token" in form or "error" in form:
        raise ConflictingParameters("send response alone: what it encrypts is all that counts")
    # 2.
    text = require_text(form, "response", what=_WHAT, max_length=max_bytes)
    _check_header(text, private_jwk)
    # 3.
    try:
        opened = jwe.decrypt_compact(
            text,
            ECKey.import_key({name: private_jwk[name] for name in ("kty", "crv", "x", "y", "d")}),
            algorithms=[KEY_AGREEMENT, *CONTENT_ENCRYPTION],
        )
    except (JoseError, ValueError, TypeError, KeyError) as problem:
        raise ResponseUnreadable(
            f"{_WHAT} does not decrypt with the key of the request"
        ) from problem
    # 4.
    value = parse_json_object(opened.plaintext or b"", what=_WHAT, max_bytes=max_bytes)
    return {
        name: member if isinstance(member, str) else json.dumps(member)
        for name, member in value.items()
        if member is not None
    }


def seal_response(
    payload: Mapping[str, object], public_jwk: Mapping[str, Any], *, enc: str = "A256GCM"
) -> str:
    """The JWE of a wallet's response, for the field `response`. Raises `Malformed`."""
    if enc not in CONTENT_ENCRYPTION:
        raise Malformed(f"content is encrypted by {' or '.join(CONTENT_ENCRYPTION)}")
    header: dict[str, Any] = {"alg": KEY_AGREEMENT, "enc": enc}
    if "kid" in public_jwk:
        header["kid"] = public_jwk["kid"]
    try:
        key = ECKey.import_key({name: public_jwk[name] for name in ("kty", "crv", "x", "y")})
        return jwe.encrypt_compact(
            header, json.dumps(payload).encode(), key, algorithms=[KEY_AGREEMENT, enc]
        )
    except (JoseError, ValueError, TypeError, KeyError) as problem:
        raise Malformed("the verifier's encryption key is no usable public key") from problem


def _check_header(text: str, private_jwk: Mapping[str, Any]) -> None:
    parts = text.split(".")
    if len(parts) != PARTS:
        raise ResponseUnreadable(f"{_WHAT} is a JWE in compact form: five parts")
    header = _header(parts[0])
    if header.get("alg") != KEY_AGREEMENT or header.get("enc") not in CONTENT_ENCRYPTION:
        raise ResponseUnreadable(
            f"{_WHAT} is made by {KEY_AGREEMENT} with {' or '.join(CONTENT_ENCRYPTION)}"
        )
    # No zip (a small body could become a huge one), no crit, no keys but the ephemeral one.
    if not _HEADERS.issuperset(header):
        raise ResponseUnreadable(f"{_WHAT} has a header that is not taken here")
    if header.get("kid") != private_jwk["kid"]:
        raise ResponseUnreadable(f"kid of {_WHAT} is not that of the request's key")
    point = header.get("epk")
    if not isinstance(point, dict) or (point.get("kty"), point.get("crv")) != ("EC", CURVE):
        raise ResponseUnreadable(f"epk of {_WHAT} is a public key on {CURVE}")
    if any(_length(point.get(name)) != _COORDINATE_BYTES for name in ("x", "y")) or "d" in point:
        raise ResponseUnreadable(f"epk of {_WHAT} is a public key on {CURVE}")


def _header(encoded: str) -> JsonObject:
    try:
        return read_json_object(b64url_decode(encoded))
    except CredentialError as problem:
        raise ResponseUnreadable(f"the header of {_WHAT} is no JSON object") from problem


def _length(value: object) -> int:
    try:
        return len(b64url_decode(value)) if isinstance(value, str) else 0
    except CredentialError:
        return 0
