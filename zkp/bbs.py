"""BBS signatures: sign, verify, prove that one has a signature while showing some messages.

draft-irtf-cfrg-bbs-signatures (July 2025), "Core Operations" and "Proof Protocol Subroutines".
Messages are scalars here; `Interface.message_scalar` makes one of bytes. `Q`, `H_i` and P1 are the
interface's generators:

    B = P1 + Q domain + H_1 m_1 + ... + H_L m_L        A = B / (SK + e)

A proof is made in two moves, so that other proofs may share its challenge (`zkp.linear`):
`ProofCommitment.make` and then `respond`.
"""

import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Final, Self

from zkp.curve import (
    G1_BYTES,
    G2_GENERATOR,
    SCALAR_BYTES,
    ZERO,
    G1Point,
    Scalar,
    g1_from_bytes,
    g2_table,
    pairing_product_is_one,
    random_scalars,
    random_weights,
    scalar_from_bytes,
    sum_of_products,
)
from zkp.errors import Malformed, PointInvalid, ProofInvalid, ScalarInvalid, SignatureInvalid
from zkp.keys import PublicKey, SecretKey
from zkp.suite import P1, SHA_256, Interface

SIGNATURE_BYTES: Final = G1_BYTES + SCALAR_BYTES
_PROOF_POINTS, _FEWEST_SCALARS = 3, 4
_ONE: Final = Scalar(1)
BLINDINGS: Final = 5  # r1, r2, e~, r1~, r3~; the hidden messages have theirs besides


@dataclass(frozen=True)
class Signature:
    """(A, e): 48 + 32 bytes."""

    a: G1Point
    e: Scalar

    def to_bytes(self) -> bytes:
        """`signature_to_octets`."""
        return bytes(self.a.to_compressed_bytes()) + bytes(self.e.to_be_bytes())

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """`octets_to_signature`. Raises `SignatureInvalid`."""
        if len(data) != SIGNATURE_BYTES:
            raise SignatureInvalid(f"a signature has {SIGNATURE_BYTES} bytes")
        try:
            a, e = g1_from_bytes(data[:G1_BYTES]), _not_zero(data[G1_BYTES:])
        except (PointInvalid, ScalarInvalid) as error:
            raise SignatureInvalid(f"not a signature of BBS: {error}") from None
        return cls(a, e)


@lru_cache(maxsize=256)
def domain(key: PublicKey, header: bytes, messages: int, interface: Interface = SHA_256) -> Scalar:
    """`calculate_domain`: binds key, generators, interface and header.

    Public, and the same for every credential of a kind: kept, since a proof asks for it twice.
    """
    points = b"".join(
        bytes(point.to_compressed_bytes()) for point in interface.generators(messages)
    )
    told = key.data + messages.to_bytes(8) + points + interface.api_id
    return interface.hash(told + len(header).to_bytes(8) + header)


@lru_cache(maxsize=256)
def always_signed(key: PublicKey, header: bytes, messages: int, interface: Interface) -> G1Point:
    """P1 + Q domain: what every B of a kind of credential begins with."""
    return interface.sum_of_multiples(_base({}, domain(key, header, messages, interface), _ONE))


def sign(
    secret: SecretKey, header: bytes, messages: Sequence[Scalar], interface: Interface = SHA_256
) -> Signature:
    """`CoreSign`. Deterministic; at most 128 messages (`TooLarge`)."""
    bound = domain(secret.public, header, len(messages), interface)
    e = interface.hash(_scalars(secret.scalar, *messages, bound))
    mask = fresh_mask()
    return sign_masked(secret, base(messages, bound, interface, mask), e, mask)


def fresh_mask() -> Scalar:
    """128 random bits, not all zero, by which a signature's B is multiplied: see `sign_masked`."""
    return random_weights(1)[0] + Scalar(1)


def sign_masked(secret: SecretKey, masked: G1Point, e: Scalar, mask: Scalar) -> Signature:
    """A = (B mask) / ((SK + e) mask), for B mask. Raises `SignatureInvalid` for SK + e = 0.

    The time of a multiplication depends on its scalar. So the secret one is split in two factors at
    random, anew for each signature: neither the mask nor 1 / ((SK + e) mask) alone says anything
    of the key.
    """
    exponent = secret.scalar + e
    if ZERO in {exponent, e}:
        raise SignatureInvalid("this message cannot be signed by this key")
    return Signature(masked * (exponent * mask).inverse(), e)


def verify(
    key: PublicKey,
    signature: Signature,
    header: bytes,
    messages: Sequence[Scalar],
    interface: Interface = SHA_256,
) -> None:
    """`CoreVerify`. Raises `SignatureInvalid`."""
    signed = always_signed(key, header, len(messages), interface)
    if messages:
        factors = {index + 1: message for index, message in enumerate(messages)}
        signed += interface.sum_of_multiples(factors)
    # e(A, W + BP2 e) e(-B, BP2) = 1
    pairs = [(signature.a, key.point + g2_table() * signature.e), (-signed, G2_GENERATOR)]
    if not pairing_product_is_one(pairs):
        raise SignatureInvalid("the signature is not of this key over this header and messages")


def base(
    messages: Sequence[Scalar] | Mapping[int, Scalar],
    bound: Scalar,
    interface: Interface = SHA_256,
    scale: Scalar = _ONE,
) -> G1Point:
    """(P1 + Q domain + sum of H_i m_i) scale, over all messages or those of a mapping by index.

    Multiples of constant points are looked up, so that the scale costs one look-up more.
    """
    return interface.sum_of_multiples(_base(messages, bound, scale))


def _base(
    messages: Sequence[Scalar] | Mapping[int, Scalar], bound: Scalar, scale: Scalar
) -> dict[int, Scalar]:
    chosen = messages.items() if isinstance(messages, Mapping) else enumerate(messages)
    return {P1: scale, 0: bound * scale} | {index + 1: message * scale for index, message in chosen}


@dataclass(frozen=True)
class Shown:
    """What the prover sends first: Abar, Bbar, D, and the commitments T1 and T2."""

    a_bar: G1Point
    b_bar: G1Point
    d: G1Point
    t1: G1Point
    t2: G1Point

    def to_bytes(self) -> bytes:
        """The five points, 48 bytes each."""
        points = (self.a_bar, self.b_bar, self.d, self.t1, self.t2)
        return b"".join(bytes(point.to_compressed_bytes()) for point in points)


@dataclass(frozen=True, repr=False)
class ProofCommitment:
    """The first move (`ProofInit`): what is shown, and the secrets by which to answer."""

    shown: Shown
    _secret: tuple[Scalar, ...]  # r1, 1 / r2, e, e~, r1~, r3~

    @classmethod
    def make(
        cls,
        signature: Signature,
        messages: Sequence[Scalar],
        bound: Scalar,
        blindings: Mapping[int, Scalar],
        *,
        interface: Interface = SHA_256,
        randoms: Sequence[Scalar] = (),
    ) -> Self:
        """Commit to a signature over `messages` and to those whose index `blindings` holds.

        `blindings` are m~_j, uniform as far as the statements leave them free. `randoms` are
        r1, r2, e~, r1~, r3~: given by nobody but the tests of published vectors. A second proof
        under the same ones gives the signature away.
        """
        r1, r2, e_, r1_, r3_ = randoms or random_scalars(BLINDINGS)
        d = base(messages, bound, interface, r2)
        a_bar = signature.a * (r1 * r2)
        # D r3~ and the hidden messages: all of constant points.
        second = _base(messages, bound, r2 * r3_)
        for index, blinding in blindings.items():
            second[index + 1] += blinding
        shown = Shown(
            a_bar=a_bar,
            b_bar=sum_of_products([d, a_bar], [r1, -signature.e]),
            d=d,
            t1=sum_of_products([a_bar, d], [e_, r1_]),
            t2=interface.sum_of_multiples(second),
        )
        return cls(shown, (r1, r2.inverse(), signature.e, e_, r1_, r3_))

    def respond(self, challenge: Scalar) -> tuple[Scalar, Scalar, Scalar]:
        """The second move (`ProofFinalize`): e^, r1^, r3^. Once for each commitment.

        The m^_j of the hidden messages belong to whoever drew their blindings.
        """
        r1, r3, e, e_, r1_, r3_ = self._secret
        return e_ + e * challenge, r1_ - r1 * challenge, r3_ - r3 * challenge


def prove(
    key: PublicKey,
    signature: Signature,
    header: bytes,
    messages: Sequence[Scalar],
    disclosed: Sequence[int],
    presentation_header: bytes = b"",
    *,
    interface: Interface = SHA_256,
    randoms: Sequence[Scalar] = (),
) -> bytes:
    """`CoreProofGen`: prove the signature, showing the messages at `disclosed` (ascending, from 0).

    Raises `Malformed` for indexes of another form. `randoms`: see `ProofCommitment.make`, then the
    m~_j; for published vectors only.
    """
    _check_indexes(disclosed, len(messages))
    hidden = [index for index in range(len(messages)) if index not in set(disclosed)]
    fresh = randoms or random_scalars(BLINDINGS + len(hidden))
    bound = domain(key, header, len(messages), interface)
    blindings = dict(zip(hidden, fresh[BLINDINGS:], strict=True))
    commitment = ProofCommitment.make(
        signature, messages, bound, blindings, interface=interface, randoms=fresh[:BLINDINGS]
    )
    shown = {index: messages[index] for index in disclosed}
    c = _challenge(commitment.shown, shown, bound, presentation_header, interface)
    answers = [blindings[j] + messages[j] * c for j in hidden]
    return b"".join(
        bytes(point.to_compressed_bytes())
        for point in (commitment.shown.a_bar, commitment.shown.b_bar, commitment.shown.d)
    ) + _scalars(*commitment.respond(c), *answers, c)


def verify_proof(
    key: PublicKey,
    proof: bytes,
    header: bytes,
    disclosed: Mapping[int, Scalar],
    presentation_header: bytes = b"",
    *,
    interface: Interface = SHA_256,
) -> None:
    """`CoreProofVerify`: the holder has a signature over these messages, at these indexes.

    How many messages were signed follows from the proof's length. Raises `ProofInvalid`.
    """
    (a_bar, b_bar, d), (e, r1, r3, *responses, c) = _read_proof(proof)
    total = len(disclosed) + len(responses)
    indexes = sorted(disclosed)
    if any(not 0 <= index < total for index in indexes):
        raise ProofInvalid("a message is shown at a place where there is none")
    hidden = [index for index in range(total) if index not in disclosed]
    bound = domain(key, header, total, interface)
    t1 = sum_of_products([b_bar, a_bar, d], [c, e, r1])
    # Bv c and the hidden messages are of constant points.
    second = _base(disclosed, bound, c)
    second |= {index + 1: answer for index, answer in zip(hidden, responses, strict=True)}
    t2 = d * r3 + interface.sum_of_multiples(second)
    shown = Shown(a_bar, b_bar, d, t1, t2)
    ordered = {index: disclosed[index] for index in indexes}
    expected = _challenge(shown, ordered, bound, presentation_header, interface)
    if not hmac.compare_digest(bytes(expected.to_be_bytes()), bytes(c.to_be_bytes())):
        raise ProofInvalid("the proof is not of these messages, header and presentation header")
    if not pairing_product_is_one([(a_bar, key.point), (b_bar, -G2_GENERATOR)]):
        raise ProofInvalid("the proof is not of a signature by this key")


def _challenge(
    shown: Shown,
    disclosed: Mapping[int, Scalar],
    bound: Scalar,
    presentation_header: bytes,
    interface: Interface,
) -> Scalar:
    """`ProofChallengeCalculate`."""
    told = len(disclosed).to_bytes(8)
    for index, message in disclosed.items():
        told += index.to_bytes(8) + bytes(message.to_be_bytes())
    told += shown.to_bytes() + bytes(bound.to_be_bytes())
    return interface.hash(told + len(presentation_header).to_bytes(8) + presentation_header)


def _read_proof(proof: bytes) -> tuple[list[G1Point], list[Scalar]]:
    """`octets_to_proof`: three points, and at least four scalars other than zero."""
    rest = proof[_PROOF_POINTS * G1_BYTES :]
    if len(rest) % SCALAR_BYTES or len(rest) < _FEWEST_SCALARS * SCALAR_BYTES:
        raise ProofInvalid("a proof is three points and at least four scalars")
    try:
        points = [
            g1_from_bytes(proof[start : start + G1_BYTES])
            for start in range(0, _PROOF_POINTS * G1_BYTES, G1_BYTES)
        ]
        scalars = [
            _not_zero(rest[start : start + SCALAR_BYTES])
            for start in range(0, len(rest), SCALAR_BYTES)
        ]
    except (PointInvalid, ScalarInvalid) as error:
        raise ProofInvalid(f"not a proof of BBS: {error}") from None
    return points, scalars


def _not_zero(data: bytes) -> Scalar:
    scalar = scalar_from_bytes(data)
    if scalar == ZERO:
        raise ScalarInvalid("zero is none of the scalars of a signature or proof")
    return scalar


def _scalars(*scalars: Scalar) -> bytes:
    return b"".join(bytes(scalar.to_be_bytes()) for scalar in scalars)


def _check_indexes(indexes: Sequence[int], count: int) -> None:
    ascending = all(one < other for one, other in pairwise(indexes))
    if not ascending or any(not 0 <= index < count for index in indexes):
        raise Malformed("indexes of disclosed messages ascend, from 0 to below their number")
