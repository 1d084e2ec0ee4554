"""Documents beside an SD-JWT VC: type metadata and issuer metadata (draft-24, sections 4 and 5).

The caller fetches them; here they are named, built and read.
"""

import hashlib
import hmac
from base64 import b64encode
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from credentials.errors import IssuerMismatch, Malformed, TypeMismatch
from credentials.json_reader import JsonObject, read_json_object
from credentials.suite import Jwk
from credentials.suites import public_part

# W3C Subresource Integrity, section 3.3.2, weakest first.
_INTEGRITY_HASHES = {"sha256": hashlib.sha256, "sha384": hashlib.sha384, "sha512": hashlib.sha512}


def integrity(document: bytes) -> str:
    """Give the integrity metadata of a document, as in `vct#integrity`: "sha256-" and base64."""
    return f"sha256-{b64encode(hashlib.sha256(document).digest()).decode('ascii')}"


def read_type_metadata(document: bytes, *, vct: str, expected: str | None = None) -> JsonObject:
    """Read a type metadata document for the type `vct`.

    `expected` is the credential's `vct#integrity`; with several hashes in it, one of the
    strongest kind must match (W3C Subresource Integrity, section 3.3.4).
    Raises `TypeMismatch` if it is another document or of another type, `Malformed`, `TooLarge`.
    """
    if expected is not None:
        _check_integrity(document, expected)
    metadata = read_json_object(document)
    if metadata.get("vct") != vct:
        raise TypeMismatch("type metadata is of another type (vct)")
    return metadata


def issuer_metadata(issuer: str, keys: Mapping[str, Mapping[str, Any]]) -> JsonObject:
    """Build the JWT VC issuer metadata: public JWKs by `kid`. Raises `KeyInvalid`."""
    listed = [{"kid": kid, "use": "sig", **public_part(jwk)} for kid, jwk in keys.items()]
    return {"issuer": issuer, "jwks": {"keys": listed}}


def issuer_metadata_url(issuer: str) -> str:
    """Give where an issuer's metadata stand: the well-known part between host and path.

    Raises `Malformed` for an issuer that is no plain http(s) URL.
    """
    try:
        parts = urlsplit(issuer)
    except ValueError:
        raise Malformed("issuer is not a URL") from None
    if parts.scheme not in {"https", "http"} or not parts.netloc or parts.query or parts.fragment:
        raise Malformed("issuer is not an http(s) URL without query and fragment")
    path = parts.path.rstrip("/")
    return f"{parts.scheme}://{parts.netloc}/.well-known/jwt-vc-issuer{path}"


def read_issuer_metadata(document: bytes, *, issuer: str) -> Sequence[Jwk]:
    """Read an issuer's keys, for `issuer_keys` of the verifier.

    Raises `IssuerMismatch` if the document is another issuer's, `Malformed` if it holds no keys
    by value, `TooLarge`.
    """
    metadata = read_json_object(document)
    if metadata.get("issuer") != issuer:
        raise IssuerMismatch("issuer metadata is of another issuer")
    key_set = metadata.get("jwks")
    keys = key_set.get("keys") if isinstance(key_set, dict) else None
    if not isinstance(keys, list) or not keys or not all(isinstance(key, dict) for key in keys):
        raise Malformed("issuer metadata holds no jwks by value")
    return keys


def _check_integrity(document: bytes, expected: str) -> None:
    strongest: list[str] = []
    name = ""
    for known in _INTEGRITY_HASHES:
        values = [entry for entry in expected.split() if entry.startswith(f"{known}-")]
        if values:
            name, strongest = known, values
    if not strongest:
        raise TypeMismatch("integrity metadata names no known hash function")
    value = b64encode(_INTEGRITY_HASHES[name](document).digest()).decode("ascii")
    if not any(hmac.compare_digest(f"{name}-{value}", entry) for entry in strongest):
        raise TypeMismatch("type metadata is not the document that the issuer meant")
