"""Zero-knowledge proofs over BLS12-381: statements about attributes that stay hidden.

A credential is a BBS signature over typed attributes. Its holder proves statements about them, like
"18 or older" or "not revoked in this epoch", without showing them: as many as are asked for, over
one or several credentials, in one proof.

    schema = Schema("person/1", (Attribute("birth_date", "date"), ...))
    signature = sign(key, schema.header(issuer), schema.scalars(values), TYPED)     the issuer
    presentation = prove(request, {"id": HeldCredential(...)})                      the holder
    verified = verify(request, presentation, {"id": accepted_keys})                 the verifier

What the caller owes: nonces that are used once, and the epochs and keys that count today. Protocol
and proof: `docs/zk.md`. Everything raises `ZkpError`. The package imports nothing of this project.
"""

from zkp.batch import ProvenPresentation, ToVerify, verify, verify_batch
from zkp.bbs import Signature, sign
from zkp.errors import ZkpError
from zkp.holder import HolderCommitment, commit, sign_bound
from zkp.keys import PublicKey, SecretKey
from zkp.layout import PresentedCredential
from zkp.predicates import STATUS_TOKEN
from zkp.presentation import HeldCredential, Presentation, prove
from zkp.request import ProofRequest
from zkp.schema import TYPED, Attribute, Schema, Value
from zkp.statements import (
    AtLeast,
    AtMost,
    Between,
    Equal,
    MemberOf,
    NotMemberOf,
    NotRevoked,
    OlderThan,
    Place,
    Reveal,
    Statement,
)

__all__ = [
    "STATUS_TOKEN",
    "TYPED",
    "AtLeast",
    "AtMost",
    "Attribute",
    "Between",
    "Equal",
    "HeldCredential",
    "HolderCommitment",
    "MemberOf",
    "NotMemberOf",
    "NotRevoked",
    "OlderThan",
    "Place",
    "Presentation",
    "PresentedCredential",
    "ProofRequest",
    "ProvenPresentation",
    "PublicKey",
    "Reveal",
    "Schema",
    "SecretKey",
    "Signature",
    "Statement",
    "ToVerify",
    "Value",
    "ZkpError",
    "commit",
    "prove",
    "sign",
    "sign_bound",
    "verify",
    "verify_batch",
]
