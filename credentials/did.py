"""Decentralized identifiers: did:key, did:jwk and did:web, without the network.

A did:web document is fetched by the caller, from `did_web_url`, and handed in.
"""

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from credentials.errors import CredentialError, DidInvalid
from credentials.jcs import b64url, b64url_decode, canonical
from credentials.json_reader import JsonObject, read_json_object
from credentials.suite import Jwk
from credentials.suites import suite_of, suites

MAX_DID_CHARACTERS = 2_048

_BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_BASE58_VALUES = {character: value for value, character in enumerate(_BASE58)}
_CONTEXT = ["https://www.w3.org/ns/did/v1", "https://w3id.org/security/suites/jws-2020/v1"]


def did_key(jwk: Mapping[str, Any]) -> str:
    """Give the did:key of a public JWK. Raises `KeyInvalid`."""
    suite = suite_of(jwk)
    point = suite.encode_point(suite.load_public(jwk))
    return f"did:key:z{_base58(suite.multicodec + point)}"


def did_jwk(jwk: Mapping[str, Any]) -> str:
    """Give the did:jwk of a public JWK: base64url of its canonical JSON. Raises `KeyInvalid`."""
    suite = suite_of(jwk)
    suite.load_public(jwk)
    return f"did:jwk:{b64url(canonical({name: jwk[name] for name in suite.thumbprint_members}))}"


def did_web(url: str) -> str:
    """Give the did:web of an http(s) URL: host, port percent-encoded, path by colons.

    Raises `DidInvalid` for a URL without host, or with query or fragment.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise DidInvalid("not a URL that did:web can name") from None
    if parts.scheme not in {"https", "http"} or not host or parts.query or parts.fragment:
        raise DidInvalid("did:web names an http(s) URL without query and fragment")
    if ":" in host or "@" in parts.netloc:
        raise DidInvalid("did:web names neither IPv6 addresses nor users")
    authority = host if port is None else f"{host}%3A{port}"
    try:
        segments = [quote(unquote(part), safe="") for part in parts.path.split("/") if part]
    except UnicodeEncodeError:  # half of a surrogate pair
        raise DidInvalid("did:web names a path in UTF-8") from None
    return ":".join(("did:web", authority, *segments))


def did_web_url(did: str, *, scheme: str = "https") -> str:
    """Give the URL of a did:web document (did:web method, section 3.2). Raises `DidInvalid`.

    `scheme` is `http` only for a development host.
    """
    method, rest = _split(did)
    if method != "web":
        raise DidInvalid("not a did:web")
    host, *path = rest.split(":")
    authority = unquote(host)
    segments = [unquote(part) for part in path]
    if (
        not authority
        or any(character in authority for character in "/?#@\\% \t\r\n")
        or any(part in {"", ".", ".."} or set(part) & set("/?#\\%") for part in segments)
    ):
        raise DidInvalid("did:web does not name a host and a plain path")
    location = "/".join(quote(part) for part in segments) if segments else ".well-known"
    return f"{scheme}://{authority}/{location}/did.json"


def did_document(did: str, keys: Mapping[str, Mapping[str, Any]]) -> JsonObject:
    """Build a DID document (DID Core 1.0, section 5): public JWKs by the fragment of their id.

    Every key may assert and authenticate. Raises `KeyInvalid` for a broken key.
    """
    methods = []
    for fragment, jwk in keys.items():
        suite = suite_of(jwk)
        methods.append(
            {
                "id": f"{did}#{fragment}",
                "type": "JsonWebKey2020",
                "controller": did,
                "publicKeyJwk": suite.public_jwk(suite.load_public(jwk)),
            }
        )
    ids = [method["id"] for method in methods]
    return {
        "@context": _CONTEXT,
        "id": did,
        "verificationMethod": methods,
        "assertionMethod": ids,
        "authentication": list(ids),
    }


def resolve(did: str, document: JsonObject | None = None) -> JsonObject:
    """Give the DID document of a did:key or did:jwk; check the given one of a did:web.

    Raises `DidInvalid` for malformed and unsupported ones, and where the document is missing or
    another's.
    """
    method, rest = _split(did)
    if method == "key":
        return did_document(did, {rest: _key_of_did_key(rest)})
    if method == "jwk":
        return did_document(did, {"0": _key_of_did_jwk(rest)})
    if method != "web":
        raise DidInvalid("DID method is not one of key, jwk, web")
    if document is None or document.get("id") != did:
        raise DidInvalid("did:web document is missing or is of another DID")
    return document


def assertion_keys(document: JsonObject, kid: str | None = None) -> Sequence[Jwk]:
    """Give the public JWKs that a DID document names for assertions, or the one called `kid`.

    Raises `DidInvalid` if there is none.
    """
    listed = document.get("assertionMethod")
    methods = document.get("verificationMethod")
    if not isinstance(listed, list) or not isinstance(methods, list):
        raise DidInvalid("DID document names no key for assertions")
    named = {entry for entry in listed if isinstance(entry, str)}
    entries = [
        *(entry for entry in methods if isinstance(entry, dict) and _id(entry) in named),
        *(entry for entry in listed if isinstance(entry, dict)),
    ]
    keys = [
        entry["publicKeyJwk"]
        for entry in entries
        if isinstance(entry.get("publicKeyJwk"), dict) and kid in {None, _id(entry)}
    ]
    if not keys:
        raise DidInvalid("DID document names no such key for assertions")
    return keys


def _id(entry: JsonObject) -> str | None:
    found = entry.get("id")
    return found if isinstance(found, str) else None


def _split(did: str) -> tuple[str, str]:
    parts = did.split(":", 2)
    if len(did) > MAX_DID_CHARACTERS or len(parts) != 3 or parts[0] != "did" or not parts[2]:  # noqa: PLR2004
        raise DidInvalid("not a DID, or too long")
    if not did.isascii() or any(character in did for character in "#?/ "):
        raise DidInvalid("not a bare DID")
    return parts[1], parts[2]


def _key_of_did_key(encoded: str) -> Jwk:
    if not encoded.startswith("z"):
        raise DidInvalid("did:key is not in base58btc")
    data = _base58_decode(encoded[1:])
    for suite in suites():
        if data.startswith(suite.multicodec):
            try:
                return suite.public_jwk(suite.decode_point(data[len(suite.multicodec) :]))
            except CredentialError:
                raise DidInvalid("did:key does not hold a public key of its kind") from None
    raise DidInvalid("did:key is of an unsupported kind")


def _key_of_did_jwk(encoded: str) -> Jwk:
    try:
        jwk = read_json_object(b64url_decode(encoded))
        suite = suite_of(jwk)
        return suite.public_jwk(suite.load_public(jwk))
    except CredentialError:
        raise DidInvalid("did:jwk does not hold a public key of a supported kind") from None


def _base58(data: bytes) -> str:
    number = int.from_bytes(data, "big")
    digits = []
    while number:
        number, digit = divmod(number, 58)
        digits.append(_BASE58[digit])
    zeros = len(data) - len(data.lstrip(b"\x00"))
    return "1" * zeros + "".join(reversed(digits))


def _base58_decode(text: str) -> bytes:
    if len(text) > 128:  # noqa: PLR2004  no public key here is longer; the loop is quadratic
        raise DidInvalid("did:key is too long")
    number = 0
    for character in text:
        if character not in _BASE58_VALUES:
            raise DidInvalid("did:key is not in base58btc")
        number = number * 58 + _BASE58_VALUES[character]
    zeros = len(text) - len(text.lstrip("1"))
    return b"\x00" * zeros + number.to_bytes((number.bit_length() + 7) // 8, "big")
