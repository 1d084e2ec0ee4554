"""Vault references: a wallet's signed word on which envelope it puts into which vault.

A reference is a compact JWS of type `vault-reference+jwt`. The wallet signs it by a key that one of
its copies of the customer credential is bound to, and brings that key as `jwk` in the header, as
DPoP proofs do. Its payload holds exactly these claims:

    aud        the broker's address for the tenant
    iat        when it was signed, Unix seconds
    consent    the consent that the envelope is sealed under
    attribute  the canonical name of what it holds
    masking    "none", or the masking that was applied before sealing
    vault      the name of the vault
    kid        the thumbprint of the partner's key that it is sealed to
    digest     SHA-256 of the envelope's bytes, base64url
    size       how many bytes they are

How it may evolve: a reader refuses claims that it does not know; new ones mean a new type.
"""

import re
from dataclasses import dataclass
from typing import Final

from credentials.jws import Signer, sign_jws
from wallet_adapters.envelope import MASKING, MAX_BYTES
from wallet_adapters.errors import WalletProtocolError
from wallet_adapters.key_jwt import Kind, read_key_jwt

REFERENCE_TYPE: Final = "vault-reference+jwt"
ALGORITHMS: Final = ("ES256", "Ed25519", "EdDSA")
CLOCK_SKEW: Final = 60
LIFETIME_SECONDS: Final = 300
VAULT: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
LONGEST: Final = 200
_CLAIMS: Final = frozenset(
    {"aud", "iat", "consent", "attribute", "masking", "vault", "kid", "digest", "size"}
)
_DIGEST: Final = re.compile(r"[A-Za-z0-9_-]{43}")


class ReferenceInvalid(WalletProtocolError):
    """Not a vault reference for this; the message says what is wrong with it."""

    code = "vault_reference_invalid"


_KIND: Final = Kind(
    REFERENCE_TYPE, "the vault reference", ReferenceInvalid, ReferenceInvalid, ReferenceInvalid
)


@dataclass(frozen=True)
class VaultReference:
    """What a reference says; see the module. `signed_at` is its `iat`."""

    audience: str
    signed_at: int
    consent_id: str
    attribute: str
    masking: str
    vault: str
    kid: str
    digest: str
    size: int


@dataclass(frozen=True)
class SignedReference:
    """A reference whose signature holds, by the key with this thumbprint (RFC 7638)."""

    reference: VaultReference
    thumbprint: str


def sign_vault_reference(signer: Signer, reference: VaultReference) -> str:
    """The reference as a wallet sends it."""
    claims = {
        "aud": reference.audience,
        "iat": reference.signed_at,
        "consent": reference.consent_id,
        "attribute": reference.attribute,
        "masking": reference.masking,
        "vault": reference.vault,
        "kid": reference.kid,
        "digest": reference.digest,
        "size": reference.size,
    }
    return sign_jws(signer, {"typ": REFERENCE_TYPE, "jwk": signer.public_jwk()}, claims)


def read_vault_reference(text: str, *, audience: str, now: int) -> SignedReference:
    """Read a reference strictly; raises `ReferenceInvalid` or another `WalletProtocolError`.

    1. It is a JWT of its type that brings its key, and is signed by it.
    2. The payload holds exactly the claims of this module, in their forms.
    3. It is for this audience, signed within the last minutes and not in the future.

    Whose key it is, the caller has to find out.
    """
    # 1.
    jwt = read_key_jwt(text, _KIND, ALGORITHMS)
    jwt.verify()
    # 2.
    claims = jwt.claims
    if claims.keys() != _CLAIMS:
        raise ReferenceInvalid(f"it holds exactly these claims: {', '.join(sorted(_CLAIMS))}")
    size, signed_at = claims["size"], claims["iat"]
    if type(size) is not int or not 0 < size <= MAX_BYTES:
        raise ReferenceInvalid(f"size is the number of bytes, {MAX_BYTES} at most")
    if type(signed_at) is not int:
        raise ReferenceInvalid("iat is a time in whole Unix seconds")
    texts = {name: claims[name] for name in _CLAIMS - {"iat", "size"}}
    read = {name: text for name, text in texts.items() if isinstance(text, str)}
    if len(read) != len(texts) or any(len(text) > LONGEST for text in read.values()):
        raise ReferenceInvalid(f"all but iat and size are texts of at most {LONGEST} characters")
    for name, form in (("masking", MASKING), ("vault", VAULT), ("digest", _DIGEST)):
        if form.fullmatch(read[name]) is None:
            raise ReferenceInvalid(f"{name} is not of its form")
    # 3.
    if read["aud"] != audience:
        raise ReferenceInvalid(f"aud must be {audience}")
    if not now - LIFETIME_SECONDS <= signed_at <= now + CLOCK_SKEW:
        raise ReferenceInvalid("iat must be within the last minutes: sign a new one")
    reference = VaultReference(
        audience=read["aud"],
        signed_at=signed_at,
        consent_id=read["consent"],
        attribute=read["attribute"],
        masking=read["masking"],
        vault=read["vault"],
        kid=read["kid"],
        digest=read["digest"],
        size=size,
    )
    return SignedReference(reference, jwt.key.thumbprint())
