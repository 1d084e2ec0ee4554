"""Envelopes: one attribute, sealed by the customer's wallet to one partner, for nobody else.

An envelope is a JWE in compact form (RFC 7516): key agreement ECDH-ES+A256KW with a fresh key on
the curve of the partner's sealing key (P-256 or X25519), content by A256GCM. Its header holds
exactly `alg`, `enc`, `typ`, `kid` (the thumbprint of the sealing key, RFC 7638) and `epk`. What is
sealed is a JSON object:

    consent     the consent under which it was sealed
    attribute   the canonical name
    masking     "none", or the name of the masking that was applied before sealing
    value       any JSON value

so that an envelope that was put in another's place is noticed by the partner who opens it.

How it may evolve: a reader refuses a type and members that it does not know; new ones mean a new
type.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from joserfc import jwe
from joserfc.errors import JoseError
from joserfc.jwe import JWERegistry
from joserfc.jwk import ECKey, OKPKey

from credentials.errors import CredentialError
from credentials.jcs import b64url_decode
from credentials.json_reader import JsonObject, read_json_object
from wallet_adapters.errors import WalletProtocolError

ENVELOPE_TYPE: Final = "consent-broker-envelope+1"
MEDIA_TYPE: Final = "application/jose"
KEY_AGREEMENT: Final = "ECDH-ES+A256KW"
CONTENT: Final = "A256GCM"
UNMASKED: Final = "none"
MASKING: Final = re.compile(r"[a-z][a-z0-9_]{0,31}")
MAX_BYTES: Final = 67_108_864
PARTS: Final = 5
_HEADERS: Final = frozenset({"alg", "enc", "typ", "kid", "epk"})
_MEMBERS: Final = frozenset({"consent", "attribute", "masking", "value"})
_COORDINATE_BYTES: Final = 32
_MAX_HEADER: Final = 2_048
# The members of a public key by its curve (RFC 7518 section 6.2.1, RFC 8037 section 2).
_CURVES: Final = {"P-256": ("EC", ("x", "y")), "X25519": ("OKP", ("x",))}


class SealingKeyInvalid(WalletProtocolError):
    """Not a public key that wallets can seal to; the message says why."""

    code = "sealing_key_invalid"


class EnvelopeInvalid(WalletProtocolError):
    """Not an envelope, or not for this key, consent or attribute; the message says which."""

    code = "envelope_invalid"


@dataclass(frozen=True)
class Sealed:
    """What an envelope holds; `value` is any JSON value."""

    consent_id: str
    attribute: str
    masking: str
    value: Any = field(repr=False)


def new_sealing_key(curve: str = "P-256") -> dict[str, Any]:
    """A fresh private JWK, P-256 or X25519, for its partner's own keeping."""
    made: ECKey | OKPKey = (
        OKPKey.generate_key("X25519", private=True)
        if curve == "X25519"
        else ECKey.generate_key("P-256", private=True)
    )
    kty, members = _CURVES[made.curve_name]
    key = made.as_dict(private=True)
    return {"kty": kty, "crv": made.curve_name, **{name: key[name] for name in (*members, "d")}}


def read_sealing_key(value: object) -> dict[str, str]:
    """The public JWK with its `kid`, of a key that wallets can seal to: any JSON value.

    Other members are left out. Raises `SealingKeyInvalid`; a private key is refused, and burnt.
    """
    if not isinstance(value, dict):
        raise SealingKeyInvalid("a sealing key is a JWK: a JSON object")
    if "d" in value:
        raise SealingKeyInvalid("this is a private key: make a new one and send its public part")
    kty, crv = value.get("kty"), value.get("crv")
    known = _CURVES.get(crv) if isinstance(crv, str) else None
    if known is None or known[0] != kty:
        raise SealingKeyInvalid('a sealing key is of kty "EC", crv "P-256", or "OKP" and "X25519"')
    members = known[1]
    if any(_length(value.get(name)) != _COORDINATE_BYTES for name in members):
        raise SealingKeyInvalid(f"{' and '.join(members)} are 32 bytes each, in base64url")
    public = {"kty": str(kty), "crv": str(crv), **{name: value[name] for name in members}}
    try:
        key = _import(public)
        # A point of small order would make the shared secret known to everybody.
        jwe.encrypt_compact({"alg": KEY_AGREEMENT, "enc": CONTENT}, b"", key, registry=_REGISTRY)
    except (JoseError, ValueError, TypeError, KeyError) as problem:
        raise SealingKeyInvalid("the sealing key is no point of its curve") from problem
    return {**public, "kid": key.thumbprint()}


def seal_envelope(sealed: Sealed, key: Mapping[str, Any]) -> str:
    """The envelope of an attribute, to a public sealing key. Raises `SealingKeyInvalid`."""
    public = read_sealing_key(dict(key))
    header = {"alg": KEY_AGREEMENT, "enc": CONTENT, "typ": ENVELOPE_TYPE, "kid": public["kid"]}
    content = {
        "consent": sealed.consent_id,
        "attribute": sealed.attribute,
        "masking": sealed.masking,
        "value": sealed.value,
    }
    data = json.dumps(content, ensure_ascii=False).encode("utf-8", "surrogatepass")
    return jwe.encrypt_compact(header, data, _import(public), registry=_REGISTRY)


def read_envelope_header(data: bytes, key: Mapping[str, str]) -> JsonObject:
    """The header of bytes that are an envelope to a public sealing key, as far as can be seen.

    1. Five parts of base64url, no larger than allowed.
    2. The header has exactly the members of this module, their algorithms and type.
    3. It names the key, and its ephemeral key is on the same curve.

    Raises `EnvelopeInvalid`. Only the key's holder sees whether the content is authentic.
    """
    # 1.
    if len(data) > MAX_BYTES:
        raise EnvelopeInvalid(f"an envelope has at most {MAX_BYTES} bytes")
    parts = data.split(b".", PARTS)
    if len(parts) != PARTS or not all(parts) or len(parts[0]) > _MAX_HEADER:
        raise EnvelopeInvalid("an envelope is a JWE in compact form: five parts")
    if data.translate(None, _LETTERS):
        raise EnvelopeInvalid("an envelope is base64url with dots, nothing else")
    # 2.
    try:
        header = read_json_object(b64url_decode(parts[0].decode("ascii")))
    except CredentialError as problem:
        raise EnvelopeInvalid("the header of the envelope is no JSON object") from problem
    if header.keys() != _HEADERS:
        raise EnvelopeInvalid(f"its header holds exactly {', '.join(sorted(_HEADERS))}")
    if (header["alg"], header["enc"], header["typ"]) != (KEY_AGREEMENT, CONTENT, ENVELOPE_TYPE):
        raise EnvelopeInvalid(f"it is made by {KEY_AGREEMENT} and {CONTENT}, typ {ENVELOPE_TYPE}")
    # 3.
    if header["kid"] != key["kid"]:
        raise EnvelopeInvalid("it is sealed to another key than the partner's present one")
    _check_ephemeral(header["epk"], key["crv"])
    return header


def open_envelope(
    data: bytes, private_jwk: Mapping[str, Any], *, consent_id: str, attribute: str
) -> Sealed:
    """Open an envelope with the partner's private key, for the consent and attribute it asked for.

    Raises `EnvelopeInvalid`, also where it holds another consent's or attribute's value, and
    `SealingKeyInvalid` for a key that is none.
    """
    public = read_sealing_key({name: part for name, part in private_jwk.items() if name != "d"})
    read_envelope_header(data, public)
    try:
        key = _import({**public, "d": private_jwk["d"]})
        opened = jwe.decrypt_compact(data, key, registry=_REGISTRY)
        content = read_json_object(opened.plaintext or b"", max_bytes=MAX_BYTES)
    except (JoseError, CredentialError, ValueError, TypeError, KeyError) as problem:
        raise EnvelopeInvalid("the envelope does not open with this key") from problem
    if content.keys() != _MEMBERS or not isinstance(content["masking"], str):
        raise EnvelopeInvalid(f"an envelope holds exactly {', '.join(sorted(_MEMBERS))}")
    if (content["consent"], content["attribute"]) != (consent_id, attribute):
        raise EnvelopeInvalid("the envelope holds another consent's or attribute's value")
    return Sealed(consent_id, attribute, content["masking"], content["value"])


class _Registry(JWERegistry):
    """The two algorithms alone, and envelopes as large as they may be; joserfc takes 64 KB."""

    max_ciphertext_length: int = 4 * MAX_BYTES


_REGISTRY: Final = _Registry(algorithms=[KEY_AGREEMENT, CONTENT])
_LETTERS: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_."


def _import(jwk: Mapping[str, Any]) -> ECKey | OKPKey:
    names = [name for name in ("kty", "crv", "x", "y", "d") if name in jwk]
    members: dict[str, str | list[str]] = {name: str(jwk[name]) for name in names}
    return ECKey.import_key(members) if jwk["kty"] == "EC" else OKPKey.import_key(members)


def _check_ephemeral(value: object, curve: str) -> None:
    kty, members = _CURVES[curve]
    if (
        not isinstance(value, dict)
        or value.keys() != {"kty", "crv", *members}
        or (value["kty"], value["crv"]) != (kty, curve)
        or any(_length(value[name]) != _COORDINATE_BYTES for name in members)
    ):
        raise EnvelopeInvalid(f"epk is a public key on {curve}")


def _length(value: object) -> int:
    try:
        return len(b64url_decode(value)) if isinstance(value, str) else 0
    except CredentialError:
        return 0
