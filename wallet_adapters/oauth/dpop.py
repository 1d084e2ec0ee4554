"""Demonstrating Proof of Possession (RFC 9449): proofs, made by clients and verified by servers.

A proof is a JWT for one request: it names the method and the address, carries the public key in
its header, and, where an access token goes with it, that token's hash.
"""

import hashlib
import hmac
import re
import secrets
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from credentials.jcs import b64url
from credentials.jws import Signer, sign_jws
from wallet_adapters.errors import Malformed, WalletProtocolError
from wallet_adapters.key_jwt import Kind, read_key_jwt
from wallet_adapters.oauth.errors import (
    DpopProofInvalid,
    DpopProofMismatch,
    DpopProofStale,
    DpopRefused,
)
from wallet_adapters.wire import is_url, optional_text, require_text

PROOF_TYPE: Final = "dpop+jwt"
ALGORITHMS: Final = ("ES256", "Ed25519")
MAX_AGE: Final = 120
SKEW: Final = 60
JTI_BYTES: Final = 16
_WHAT: Final = "the DPoP proof"
_ERROR: Final = DpopRefused.default_error
_KIND: Final = Kind(PROOF_TYPE, _WHAT, DpopProofInvalid, DpopProofInvalid, DpopProofInvalid)
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_ESCAPE: Final = re.compile("%([0-9A-Fa-f]{2})")
_UNRESERVED: Final = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")


@dataclass(frozen=True)
class DpopProof:
    """A verified proof: the sender of this request has the key of `thumbprint` (RFC 7638).

    `issued_at` is in Unix seconds. Whether `nonce` is this server's is the caller's to check.
    """

    thumbprint: str
    jti: str
    issued_at: int
    nonce: str | None

    @property
    def once(self) -> str:
        """What may be seen once: base64url SHA-256 of the key and the proof's own `jti`."""
        return b64url(
            hashlib.sha256(f"{self.thumbprint}\x00{self.jti}".encode("utf-8", "replace")).digest()
        )

    @property
    def expires_at(self) -> int:
        """Until when the proof would be accepted for its age, in Unix seconds."""
        return self.issued_at + MAX_AGE


def verify_dpop_proof(
    proof: str,
    *,
    method: str,
    url: str,
    now: int,
    access_token: str | None = None,
    algorithms: Collection[str] = ALGORITHMS,
) -> DpopProof:
    """Verify the proof of one request (section 4.3; the numbers here are in the order of cost).

    1. Size, compact form, `typ` dpop+jwt, an asymmetric `alg` among `algorithms`.
    2. The header names the key by one public `jwk`, without private members.
    3. `htm` is `method`; `htu` is `url`, both without query and fragment, normalized.
    4. `iat` is at most 120 seconds old and at most 60 seconds ahead of `now`; `jti` is there.
    5. `ath` is the hash of `access_token`, where one goes with the request.
    6. The signature verifies under the key of the header.
    7. Owed by the caller: one proof per request, its `nonce`, that `once` was not seen before,
       and that the token is bound to `thumbprint`.

    Raises leaves of `DpopRefused`.
    """
    try:
        return _verified(proof, method, url, now, access_token, algorithms)
    except DpopRefused:
        raise
    except WalletProtocolError as problem:  # a claim is missing, too long, of another type
        raise DpopProofInvalid(str(problem)) from problem


def _verified(
    proof: str,
    method: str,
    url: str,
    now: int,
    access_token: str | None,
    algorithms: Collection[str],
) -> DpopProof:
    # 1. and 2.
    read = read_key_jwt(proof, _KIND, algorithms)
    claims, issued_at = read.claims, read.issued_at
    # 3.
    if claims.get("htm") != method:
        raise DpopProofMismatch(f"htm of {_WHAT} must be the method of this request")
    address = require_text(claims, "htu", what=_WHAT, error=_ERROR)
    if not is_url(address) or normalized(address) != normalized(url):
        raise DpopProofMismatch(f"htu of {_WHAT} must be the address of this request")
    # 4.
    if issued_at < now - MAX_AGE:
        raise DpopProofStale(f"{_WHAT} is older than {MAX_AGE} seconds; make one for each request")
    if issued_at > now + SKEW:
        raise DpopProofStale(f"iat of {_WHAT} is in the future; set the clock, or use a nonce")
    jti = require_text(claims, "jti", what=_WHAT, max_length=256, error=_ERROR)
    # 5.
    if access_token is not None:
        given = require_text(claims, "ath", what=_WHAT, max_length=64, error=_ERROR)
        if not hmac.compare_digest(
            given.encode("utf-8", "replace"), token_hash(access_token).encode()
        ):
            raise DpopProofMismatch(f"ath of {_WHAT} must be the hash of the access token")
    # 6.
    read.verify()
    nonce = optional_text(claims, "nonce", what=_WHAT, max_length=512, error=_ERROR)
    return DpopProof(thumbprint=read.key.thumbprint(), jti=jti, issued_at=issued_at, nonce=nonce)


def make_dpop_proof(
    signer: Signer,
    *,
    method: str,
    url: str,
    now: int,
    nonce: str | None = None,
    access_token: str | None = None,
) -> str:
    """A fresh proof by the client's key for one request (section 4.2); query and fragment go."""
    claims: dict[str, object] = {
        "jti": b64url(secrets.token_bytes(JTI_BYTES)),
        "htm": method,
        "htu": url.partition("#")[0].partition("?")[0],
        "iat": now,
    }
    if nonce is not None:
        claims["nonce"] = nonce
    if access_token is not None:
        claims["ath"] = token_hash(access_token)
    return sign_jws(signer, {"typ": PROOF_TYPE, "jwk": signer.public_jwk()}, claims)


def token_hash(access_token: str) -> str:
    """The `ath` of a token: base64url SHA-256 of its ASCII (section 4.2)."""
    return b64url(hashlib.sha256(access_token.encode("utf-8", "replace")).digest())


def normalized(url: str) -> str:
    """An address for comparison: no query, no fragment, normalized by syntax and scheme.

    RFC 3986, sections 6.2.2 and 6.2.3, without removing dot segments, which no address of ours
    has. Raises `Malformed` when it is no address.
    """
    if not is_url(url):
        raise Malformed("an address that cannot be read", error=_ERROR)
    parts = urlsplit(url)
    scheme = parts.scheme.lower()
    host = (parts.hostname or "").lower()
    port = "" if parts.port in {None, _DEFAULT_PORTS[scheme]} else f":{parts.port}"
    return f"{scheme}://{host}{port}{_ESCAPE.sub(_unescape, parts.path) or '/'}"


def _unescape(found: re.Match[str]) -> str:
    letter = chr(int(found[1], 16))
    return letter if letter in _UNRESERVED else found[0].upper()
