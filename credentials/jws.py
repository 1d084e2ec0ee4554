"""JSON Web Signature, compact form (RFC 7515), as strict as credentials need it.

Written directly on the suites: a general JOSE library spends as long on headers and key objects
as the signature takes. The rules that make JOSE safe are stated here instead of configured:
the caller names the algorithms and the type, the key never comes from the header, and a header
that tries to bring its own key, or an extension that must be understood, is refused.
"""

import hashlib
from collections.abc import Collection, Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

import orjson

from credentials.errors import (
    AlgorithmNotAllowed,
    HeaderNotAllowed,
    Malformed,
    SignatureInvalid,
    TooLarge,
    TypeMismatch,
)
from credentials.jcs import b64url, b64url_decode_ascii
from credentials.json_reader import JsonObject, read_json_object
from credentials.suites import ALGORITHMS, Jwk, suite_of

MAX_JWS_CHARACTERS = 131_072
MAX_HEADER_CHARACTERS = 32_768
_LONGEST_REMEMBERED_HEADER = 8_192

FORBIDDEN_HEADERS = frozenset({"jwk", "jku", "x5u", "crit"})
"""RFC 7515, sections 4.1.2, 4.1.3, 4.1.5 and 4.1.11: keys from the sender, and extensions."""


class Signer(Protocol):
    """Something that holds a private key: in memory, in a file, in a hardware module."""

    @property
    def alg(self) -> str:
        """The JOSE name of its algorithm, a key of `ALGORITHMS`."""

    def public_jwk(self) -> Jwk:
        """Give the public JWK, without private members."""

    def sign(self, data: bytes) -> bytes:
        """Sign `data`; the signature in JOSE form. Safe from several threads."""


class PublicKey:
    """A public JWK, checked and loaded once, for verifying many signatures."""

    __slots__ = ("_key", "_suite", "jwk")

    def __init__(self, jwk: Mapping[str, Any]) -> None:
        """Load a JWK. Raises `KeyInvalid`."""
        self._suite = suite_of(jwk)
        self._key = self._suite.load_public(jwk)
        # Loading has checked each of them.
        self.jwk: Jwk = {name: jwk[name] for name in self._suite.thumbprint_members}

    def thumbprint(self) -> str:
        """Give the JWK thumbprint: base64url SHA-256 over the required members (RFC 7638)."""
        # Section 3.2: members in lexicographic order, without spaces.
        required = orjson.dumps(self.jwk, option=orjson.OPT_SORT_KEYS)
        return b64url(hashlib.sha256(required).digest())

    def verify(self, alg: object, data: bytes, signature: bytes) -> None:
        """Verify a JOSE signature made under the name `alg`.

        Raises `AlgorithmNotAllowed` if the key is of another algorithm, `SignatureInvalid`.
        """
        if alg not in self._suite.accepted:
            raise AlgorithmNotAllowed("signature algorithm does not belong to the key")
        self._suite.verify(self._key, data, signature)


class UnverifiedJws(NamedTuple):
    """A JWS taken apart. Nothing in it is to be believed before `verify`."""

    header: Mapping[str, Any]
    payload: bytes
    signing_input: bytes
    signature: bytes

    def verify(self, key: PublicKey) -> None:
        """Verify the signature. Raises `AlgorithmNotAllowed` or `SignatureInvalid`."""
        key.verify(self.header["alg"], self.signing_input, self.signature)


def encode_header(signer: Signer, header: Mapping[str, Any]) -> str:
    """Encode a protected header with the signer's `alg` in front."""
    return b64url(orjson.dumps({"alg": signer.alg, **header}))


def sign_encoded(signer: Signer, encoded_header: str, payload: bytes) -> str:
    """Sign a payload under an already encoded header, which a caller may reuse."""
    signing_input = f"{encoded_header}.{b64url(payload)}"
    return f"{signing_input}.{b64url(signer.sign(signing_input.encode('ascii')))}"


def sign_jws(signer: Signer, header: Mapping[str, Any], payload: bytes | JsonObject) -> str:
    """Make a compact JWS. `alg` is the signer's; a dict payload is serialized as JSON.

    Raises `Malformed` if header or payload is not JSON.
    """
    if header.get("alg", signer.alg) != signer.alg:
        raise AlgorithmNotAllowed(f"the signer makes {signer.alg} signatures")
    try:
        encoded = payload if isinstance(payload, bytes) else orjson.dumps(payload)
        return sign_encoded(signer, encode_header(signer, header), encoded)
    except orjson.JSONEncodeError as error:
        raise Malformed(f"JWS header or payload is not JSON: {error}") from None


def parse_jws(
    token: str,
    *,
    typ: str | Collection[str],
    algs: Collection[str] | None = None,
    permit: Collection[str] = (),
    max_characters: int = MAX_JWS_CHARACTERS,
) -> UnverifiedJws:
    """Take a compact JWS apart and check everything about it except the signature.

    `typ` is the required header type or types; an empty one among them lets the header leave it
    out, as protocols older than explicit typing do. `algs` are the allowed algorithms, all
    registered ones if `None`; all of them are asymmetric. `permit` names headers among
    `FORBIDDEN_HEADERS` that this one protocol defines a safe use for.

    Raises `Malformed`, `TooLarge`, `AlgorithmNotAllowed`, `HeaderNotAllowed`, `TypeMismatch`.
    """
    if len(token) > max_characters:
        raise TooLarge(f"JWS exceeds {max_characters} characters")
    try:
        encoded = token.encode("ascii")
    except UnicodeEncodeError:
        raise Malformed("compact JWS is not ASCII") from None
    parts = encoded.split(b".", 3)
    if len(parts) != 3:  # noqa: PLR2004  RFC 7515, section 3.1
        raise Malformed("compact JWS does not have three parts")
    encoded_header, encoded_payload, encoded_signature = parts
    size = len(encoded_header)
    if size > MAX_HEADER_CHARACTERS:
        raise TooLarge(f"JWS header exceeds {MAX_HEADER_CHARACTERS} characters")
    if size <= _LONGEST_REMEMBERED_HEADER:
        header = _remembered_header(encoded_header)
    else:
        header = _read_header(encoded_header)
    _check_header(header, typ, algs, permit)
    payload = b64url_decode_ascii(encoded_payload)
    try:
        signature = b64url_decode_ascii(encoded_signature)
    except Malformed:
        raise SignatureInvalid("JWS signature is not base64url") from None
    signing_input = encoded[: size + 1 + len(encoded_payload)]
    return UnverifiedJws(header.members, payload, signing_input, signature)


class _Header(NamedTuple):
    """A decoded header and what `parse_jws` asks of it."""

    members: Mapping[str, Any]
    alg: str
    typ: str
    forbidden: frozenset[str]


def _read_header(encoded: bytes) -> _Header:
    return _inspect(read_json_object(b64url_decode_ascii(encoded)))


@lru_cache(maxsize=256)
def _remembered_header(encoded: bytes) -> _Header:
    """Decode a header once. Issuers repeat theirs, certificates and all, in every credential."""
    return _read_header(encoded)


def _inspect(header: JsonObject) -> _Header:
    alg, typ = header.get("alg"), header.get("typ", "")
    if not isinstance(alg, str):
        raise AlgorithmNotAllowed("JWS header names no algorithm")
    if not isinstance(typ, str):
        raise TypeMismatch("JWS header typ is not a string")
    # RFC 7515, section 4.1.9: media types compare without case, "application/" may be left out.
    typ = typ.lower().removeprefix("application/")
    return _Header(MappingProxyType(header), alg, typ, FORBIDDEN_HEADERS.intersection(header))


def check_header(
    header: JsonObject,
    *,
    typ: str | Collection[str],
    algs: Collection[str] | None,
    permit: Collection[str] = (),
) -> None:
    """Check an already decoded header as `parse_jws` does. Raises the same errors."""
    _check_header(_inspect(header), typ, algs, permit)


def _check_header(
    header: _Header,
    typ: str | Collection[str],
    algs: Collection[str] | None,
    permit: Collection[str],
) -> None:
    if header.alg not in ALGORITHMS or (algs is not None and header.alg not in algs):
        raise AlgorithmNotAllowed("JWS header names an algorithm that is not allowed here")
    if header.forbidden and (forbidden := sorted(header.forbidden.difference(permit))):
        raise HeaderNotAllowed(f"JWS header must not hold {', '.join(forbidden)}")
    expected = (typ,) if isinstance(typ, str) else typ
    if header.typ not in expected:
        raise TypeMismatch(f"JWS header typ is not {' or '.join(expected)}")


def verify_jws(
    token: str,
    key: Mapping[str, Any] | PublicKey,
    typ: str | Collection[str],
    algs: Collection[str] | None = None,
    *,
    permit: Collection[str] = (),
) -> tuple[JsonObject, JsonObject]:
    """Verify a compact JWS under a given key and return its header and JSON payload.

    Raises what `parse_jws` raises, `KeyInvalid` and `SignatureInvalid`.
    """
    jws = parse_jws(token, typ=typ, algs=algs, permit=permit)
    jws.verify(key if isinstance(key, PublicKey) else PublicKey(key))
    return dict(jws.header), read_json_object(jws.payload)
