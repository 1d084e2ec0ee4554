"""Binding a credential to its holder: a secret signed blindly, as the last message of it.

    C = H_(L+1) s      T = H_(L+1) t      c = hash(key, header, nonce, C, T)      s^ = t + c s
    issuer checks  T = H_(L+1) s^ - C c  and signs  B = P1 + Q domain + sum H_i m_i + C

What the issuer makes is an ordinary BBS signature over L + 1 messages of which it has not seen the
last; a presentation hides it like any other and costs 32 bytes more. The secret is fresh for each
credential: C would tell two issuers that they have the same holder. After
draft-irtf-cfrg-bbs-blind-signatures, whose commitment also hides messages of low entropy, which a
random secret does not need.
"""

from dataclasses import dataclass
from typing import Final, Self

from zkp.bbs import Signature, base, domain, fresh_mask, sign_masked
from zkp.curve import (
    G1_BYTES,
    SCALAR_BYTES,
    G1Point,
    Scalar,
    g1_from_bytes,
    random_scalars,
    scalar_from_bytes,
)
from zkp.errors import PointInvalid, ProofInvalid, ScalarInvalid
from zkp.keys import PublicKey, SecretKey
from zkp.schema import TYPED, Schema, Value
from zkp.transcript import Transcript

COMMITMENT_BYTES: Final = G1_BYTES + 2 * SCALAR_BYTES
_PROTOCOL: Final = b"consent-broker holder commitment v1"


@dataclass(frozen=True)
class HolderCommitment:
    """C, and the proof that whoever sends it knows s: 112 bytes."""

    point: G1Point
    challenge: Scalar
    response: Scalar

    def to_bytes(self) -> bytes:
        """C, c, s^."""
        scalars = bytes(self.challenge.to_be_bytes()) + bytes(self.response.to_be_bytes())
        return bytes(self.point.to_compressed_bytes()) + scalars

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Raises `ProofInvalid`."""
        if len(data) != COMMITMENT_BYTES:
            raise ProofInvalid(f"a holder's commitment has {COMMITMENT_BYTES} bytes")
        try:
            return cls(
                g1_from_bytes(data[:G1_BYTES]),
                scalar_from_bytes(data[G1_BYTES : G1_BYTES + SCALAR_BYTES]),
                scalar_from_bytes(data[G1_BYTES + SCALAR_BYTES :]),
            )
        except (PointInvalid, ScalarInvalid) as error:
            raise ProofInvalid(f"not a holder's commitment: {error}") from None


def commit(
    key: PublicKey, header: bytes, schema: Schema, nonce: bytes
) -> tuple[HolderCommitment, Scalar]:
    """The holder's part: a commitment for one credential, and the secret to keep."""
    number = len(schema.attributes) + 1
    secret, blinding = random_scalars(2)
    point, first = (TYPED.sum_of_multiples({number: one}) for one in (secret, blinding))
    challenge = _challenge(key, header, nonce, point, first)
    return HolderCommitment(point, challenge, blinding + challenge * secret), secret


def sign_bound(
    secret: SecretKey,
    header: bytes,
    schema: Schema,
    values: dict[str, Value],
    *,
    commitment: HolderCommitment,
    nonce: bytes,
) -> Signature:
    """The issuer's part. Raises `ProofInvalid` (the secret is not known), `AttributeInvalid`."""
    number = len(schema.attributes) + 1
    first = TYPED.sum_of_multiples({number: commitment.response})
    first -= commitment.point * commitment.challenge
    if _challenge(secret.public, header, nonce, commitment.point, first) != commitment.challenge:
        raise ProofInvalid("the commitment does not show that its holder knows the secret")
    messages = schema.scalars(values)
    bound = domain(secret.public, header, number, TYPED)
    told = [secret.scalar, *messages, bound]
    e = TYPED.hash(
        b"".join(bytes(scalar.to_be_bytes()) for scalar in told)
        + bytes(commitment.point.to_compressed_bytes())
    )
    mask = fresh_mask()
    masked = base(messages, bound, TYPED, mask) + commitment.point * mask
    return sign_masked(secret, masked, e, mask)


def _challenge(
    key: PublicKey, header: bytes, nonce: bytes, point: G1Point, first: G1Point
) -> Scalar:
    transcript = Transcript(_PROTOCOL)
    for label, data in ((b"key", key.data), (b"header", header), (b"nonce", nonce)):
        transcript.add(label, data)
    for label, one in ((b"commitment", point), (b"first", first)):
        transcript.add(label, bytes(one.to_compressed_bytes()))
    return transcript.challenge(b"holder")
