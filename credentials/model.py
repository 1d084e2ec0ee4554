"""The values that verification gives. Only `credentials.verify` builds them.

A function that takes one of these needs no further check of what the fields say; that is what
their type means. A test forbids their construction anywhere else.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from credentials.chain import TrustedChain
from credentials.suite import Jwk


@dataclass(frozen=True, slots=True)
class StatusReference:
    """Where a credential's status stands: `status.status_list` (Token Status List, section 6)."""

    uri: str
    index: int


@dataclass(frozen=True, slots=True)
class VerifiedCredential:
    """An SD-JWT VC whose signature, issuer, disclosures, times and status were checked.

    `claims` are all open and disclosed claims, resolved, registered ones included. Times are
    Unix seconds. `holder_jwk` is the key it is bound to, `status` where its status stands,
    `issuer_chain` the certificates that vouch for the issuer, `None` if the caller supplied the
    issuer's keys.
    """

    issuer: str | None
    vct: str
    claims: Mapping[str, Any]
    holder_jwk: Jwk | None
    issued_at: int | None
    expires_at: int | None
    status: StatusReference | None
    issuer_chain: TrustedChain | None


@dataclass(frozen=True, slots=True)
class VerifiedPresentation:
    """A credential presented by the holder of its key, to this verifier, for this request.

    `transaction_data_hashes` are the signed base64url hashes, exactly those of the request;
    `raw` is the SD-JWT+KB as received, which is the evidence.
    """

    credential: VerifiedCredential
    holder_jwk: Jwk
    holder_thumbprint: str
    nonce: str
    audience: str
    signed_at: int
    transaction_data_hashes: tuple[str, ...]
    raw: str
