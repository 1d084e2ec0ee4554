"""Make a presentation: one proof of every statement, over all the credentials.

    blindings  (m~, a)  uniform in the kernel of M
    B = sum b_i G_i + beta H        A = sum a_i G_i + alpha H
    y = hash(request, system, keys, headers, revealed, each Abar Bbar D T1 T2 and domain, B, A)
    R1 = (sum y^i a_i (1 - 2 b_i)) G + tau1 H       R0 = -(sum y^i a_i^2) G + tau0 H
    c = hash(y, R1, R0)
    m^ = m~ + c m    f = a + c b    z = alpha + c beta    z_t = tau0 + c tau1

The proof is one byte of version, then for each credential Abar, Bbar, D, T1, T2, e^, r1^, r3^; if
there are bits B, A, R1, R0, z, z_t; then the responses (m^, f) that no row of M determines. All
lengths follow from the request. `docs/zk.md` proves soundness and zero knowledge.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Self

from zkp.bbs import ProofCommitment, Shown, Signature, domain
from zkp.curve import (
    G1_BYTES,
    SCALAR_BYTES,
    ZERO,
    G1Point,
    Scalar,
    g1_from_bytes,
    random_scalars,
    scalar_from_bytes,
)
from zkp.errors import PointInvalid, ProofInvalid, ScalarInvalid, StatementFalse
from zkp.keys import PublicKey
from zkp.layout import Layout, PresentedCredential, revealed_values
from zkp.pedersen import bit, multiples, point
from zkp.request import ProofRequest
from zkp.schema import TYPED, Schema, Value
from zkp.transcript import Transcript

PROOF_VERSION: Final = b"\x01"
PROTOCOL: Final = b"consent-broker presentation v1"
CREDENTIAL_POINTS, _CREDENTIAL_SCALARS = 5, 3  # Abar, Bbar, D, T1, T2; e^, r1^, r3^
BIT_POINTS, _BIT_SCALARS = 4, 2  # B, A, R1, R0; z, z_t


@dataclass(frozen=True)
class HeldCredential:
    """A credential in its holder's hands. `holder_secret` is that of `zkp.holder`, if bound."""

    key: PublicKey
    header: bytes
    signature: Signature
    values: Mapping[str, Value] = field(repr=False)
    holder_secret: Scalar | None = field(default=None, repr=False)

    def messages(self, schema: Schema) -> list[Scalar]:
        """All signed messages. Raises `AttributeInvalid`."""
        bound = [] if self.holder_secret is None else [self.holder_secret]
        return schema.scalars(self.values) + bound


@dataclass(frozen=True)
class Presentation:
    """A proof and what it shows of each credential, by the request's names."""

    credentials: Mapping[str, PresentedCredential]
    proof: bytes


@dataclass(frozen=True)
class Known:
    """What both sides know of B: the domain, and the revealed messages by index, ascending."""

    domain: Scalar
    revealed: Mapping[int, Scalar]

    @classmethod
    def of(cls, credential: PresentedCredential, schema: Schema) -> Self:
        """Raises `AttributeInvalid`."""
        count = len(schema.attributes) + credential.bound
        places = sorted((schema.index(name), name) for name in credential.revealed)
        revealed = {
            index: schema.attributes[index].scalar(credential.revealed[name])
            for index, name in places
        }
        return cls(domain(credential.key, credential.header, count, TYPED), revealed)


@dataclass(frozen=True)
class BitPoints:
    """B, A, R1, R0."""

    b: G1Point
    a: G1Point
    r1: G1Point
    r0: G1Point


@dataclass(frozen=True)
class ReadProof:
    """A proof's parts, each a valid point or scalar; `free` are the responses that were sent.

    `points` are all of them in the order of the proof, `encoded` their bytes for each credential.
    """

    points: tuple[G1Point, ...]
    encoded: tuple[bytes, ...]
    shown: tuple[Shown, ...]
    scalars: tuple[tuple[Scalar, Scalar, Scalar], ...]
    bits: BitPoints | None
    z: Scalar
    z_t: Scalar
    free: tuple[Scalar, ...]

    @classmethod
    def of(cls, proof: bytes, layout: Layout, credentials: int) -> Self:
        """Read a proof of this layout. Raises `ProofInvalid`; the length is checked first."""
        has_bits = layout.system.bits > 0
        points = credentials * CREDENTIAL_POINTS + has_bits * BIT_POINTS
        scalars = (
            credentials * _CREDENTIAL_SCALARS + has_bits * _BIT_SCALARS + len(layout.system.free)
        )
        expected = len(PROOF_VERSION) + points * G1_BYTES + scalars * SCALAR_BYTES
        if len(proof) != expected or not proof.startswith(PROOF_VERSION):
            raise ProofInvalid(f"a proof of this request has {expected} bytes and version 1")
        start = len(PROOF_VERSION)
        split = start + points * G1_BYTES
        try:
            read = [
                g1_from_bytes(proof[at : at + G1_BYTES]) for at in range(start, split, G1_BYTES)
            ]
            numbers = [
                scalar_from_bytes(proof[at : at + SCALAR_BYTES])
                for at in range(split, expected, SCALAR_BYTES)
            ]
        except (PointInvalid, ScalarInvalid) as error:
            raise ProofInvalid(f"the proof holds what is no point or scalar: {error}") from None
        shown = tuple(
            Shown(*read[at : at + CREDENTIAL_POINTS])
            for at in range(0, credentials * CREDENTIAL_POINTS, CREDENTIAL_POINTS)
        )
        answers = tuple(
            (numbers[at], numbers[at + 1], numbers[at + 2])
            for at in range(0, credentials * _CREDENTIAL_SCALARS, _CREDENTIAL_SCALARS)
        )
        left = numbers[credentials * _CREDENTIAL_SCALARS :]
        bits = BitPoints(*read[-BIT_POINTS:]) if has_bits else None
        z, z_t = left[:_BIT_SCALARS] if has_bits else (ZERO, ZERO)
        size = CREDENTIAL_POINTS * G1_BYTES
        encoded = tuple(
            proof[at : at + size] for at in range(start, start + credentials * size, size)
        )
        free = tuple(left[has_bits * _BIT_SCALARS :])
        return cls(tuple(read), encoded, shown, answers, bits, z, z_t, free)


def prove(request: ProofRequest, held: Mapping[str, HeldCredential]) -> Presentation:
    """Prove every statement of the request.

    Raises `StatementFalse` where one is not true of these attributes, `StatementInvalid`,
    `AttributeInvalid`, `SchemaInvalid`, `TooLarge`. Nothing is sent of a statement that is false.
    """
    names = request.credentials
    asked = {name: _presented(held[name], {}) for name in names if name in held}
    layout = Layout.of(request, asked)
    shown = {
        name: _presented(held[name], {one: held[name].values[one] for one in layout.shown[name]})
        for name in names
    }
    revealed_values(request, layout, shown)
    messages = {name: held[name].messages(layout.schemas[name]) for name in names}
    values = _witness(layout, held, messages)
    if not layout.system.holds(values):
        raise StatementFalse("a statement is not true of these attributes")
    known = {name: Known.of(shown[name], layout.schemas[name]) for name in names}
    blindings = layout.system.blindings()
    commitments = {
        name: ProofCommitment.make(
            held[name].signature,
            messages[name],
            known[name].domain,
            {index: blindings[variable] for index, variable in layout.hidden[name]},
            interface=TYPED,
        )
        for name in names
    }
    points = [commitments[name].shown.to_bytes() for name in names]
    transcript = begin(request, layout, shown, known, points)
    bits = _Bits(values[layout.system.attributes :], blindings[layout.system.attributes :])
    challenge = bits.challenge(transcript)
    answers = [
        blinding + challenge * value for blinding, value in zip(blindings, values, strict=True)
    ]
    sent = [answers[number] for number in layout.system.free]
    return Presentation(
        shown, _encode(points, [commitments[name] for name in names], bits, challenge, sent)
    )


def begin(
    request: ProofRequest,
    layout: Layout,
    shown: Mapping[str, PresentedCredential],
    known: Mapping[str, Known],
    points: Sequence[bytes],
) -> Transcript:
    """The transcript up to the commitments of the credentials, whose points come as bytes."""
    transcript = Transcript(PROTOCOL)
    transcript.add(b"request", request.canonical())
    layout.system.absorb(transcript)
    for name, five in zip(request.credentials, points, strict=True):
        credential = shown[name]
        transcript.add(b"credential", name.encode())
        transcript.add(b"key", credential.key.data)
        transcript.add(b"header", credential.header)
        transcript.add(b"bound", bytes([credential.bound]))
        for index, message in known[name].revealed.items():
            transcript.add(b"index", index.to_bytes(8))
            transcript.add_scalars(b"revealed", [message])
        transcript.add_scalars(b"domain", [known[name].domain])
        transcript.add(b"points", five)
    return transcript


def draw_y(transcript: Transcript, b: G1Point, a: G1Point) -> Scalar:
    """Draw y, behind B and A: it weighs the bits' equations against each other."""
    transcript.add(b"B", bytes(b.to_compressed_bytes()))
    transcript.add(b"A", bytes(a.to_compressed_bytes()))
    return transcript.challenge(b"y")


def draw_c(transcript: Transcript, r1: G1Point, r0: G1Point) -> Scalar:
    """Draw c, behind y, R1 and R0."""
    transcript.add(b"R1", bytes(r1.to_compressed_bytes()))
    transcript.add(b"R0", bytes(r0.to_compressed_bytes()))
    return transcript.challenge(b"c")


def draw_without_bits(transcript: Transcript) -> Scalar:
    """Draw c where there are no bits: there is no product to show, and y binds nothing more."""
    transcript.challenge(b"y")
    return transcript.challenge(b"c")


class _Bits:
    """The prover's side of the argument that b is a vector of bits."""

    def __init__(self, bits: Sequence[Scalar], blindings: Sequence[Scalar]) -> None:
        self._bits, self._blindings = bits, blindings
        self._alpha, self._beta, self._tau0, self._tau1 = random_scalars(4)
        self.points: BitPoints | None = None

    def challenge(self, transcript: Transcript) -> Scalar:
        """Commit, draw y, commit to the two coefficients, draw c."""
        if not self._bits:
            return draw_without_bits(transcript)
        b = multiples({"H": self._beta})
        for number, value in enumerate(self._bits):
            if value != ZERO:
                b += point(bit(number))
        blinded = {bit(number): blinding for number, blinding in enumerate(self._blindings)}
        a = multiples({"H": self._alpha, **blinded})
        first = zero = ZERO
        power = y = draw_y(transcript, b, a)
        for value, blinding in zip(self._bits, self._blindings, strict=True):
            first += power * blinding if value == ZERO else -(power * blinding)
            zero -= power * blinding.square()
            power *= y
        r1 = multiples({"G": first, "H": self._tau1})
        r0 = multiples({"G": zero, "H": self._tau0})
        self.points = BitPoints(b, a, r1, r0)
        return draw_c(transcript, r1, r0)

    def responses(self, challenge: Scalar) -> tuple[Scalar, Scalar]:
        """The answers z and z_t."""
        return self._alpha + challenge * self._beta, self._tau0 + challenge * self._tau1


def _encode(
    of_credentials: Sequence[bytes],
    commitments: Sequence[ProofCommitment],
    bits: _Bits,
    challenge: Scalar,
    sent: Sequence[Scalar],
) -> bytes:
    points = b"".join(of_credentials)
    scalars: list[Scalar] = []
    for one in commitments:
        scalars += one.respond(challenge)
    if bits.points is not None:
        four = (bits.points.b, bits.points.a, bits.points.r1, bits.points.r0)
        points += b"".join(bytes(one.to_compressed_bytes()) for one in four)
        scalars += bits.responses(challenge)
    scalars += sent
    return PROOF_VERSION + points + b"".join(bytes(one.to_be_bytes()) for one in scalars)


def _presented(held: HeldCredential, revealed: Mapping[str, Value]) -> PresentedCredential:
    return PresentedCredential(held.key, held.header, held.holder_secret is not None, revealed)


def _witness(
    layout: Layout,
    held: Mapping[str, HeldCredential],
    messages: Mapping[str, Sequence[Scalar]],
) -> list[Scalar]:
    """The value of every variable: hidden messages, then bits."""
    values = [ZERO] * layout.system.attributes
    integers: dict[int, int] = {}
    for name, places in layout.hidden.items():
        attributes = layout.schemas[name].attributes
        for index, variable in places:
            values[variable] = messages[name][index]
            if index < len(attributes) and attributes[index].largest is not None:
                attribute = attributes[index]
                integers[variable] = attribute.integer(held[name].values[attribute.name])
    return values + [Scalar(bit) for bit in layout.compiler.bits(integers.__getitem__)]
