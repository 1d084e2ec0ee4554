"""A prover that does as it is told: other values, other blindings, other sums, other words.

It follows `zkp.presentation.prove`, without its checks, and lets each step be replaced.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from zkp.bbs import ProofCommitment
from zkp.curve import ORDER, ZERO, Scalar, random_scalar, scalar_from_int
from zkp.layout import Layout, PresentedCredential
from zkp.pedersen import bit, multiples
from zkp.presentation import (
    PROOF_VERSION,
    BitPoints,
    HeldCredential,
    Known,
    Presentation,
    begin,
    draw_c,
    draw_without_bits,
    draw_y,
)
from zkp.request import ProofRequest
from zkp.schema import TYPED, Value

Scalars = list[Scalar]


@dataclass
class Cheat:
    """What to do otherwise. `values` gets the true hidden messages and gives every variable."""

    values: Callable[[Layout, Scalars], Scalars]
    blindings: Callable[[Layout], Scalars] = lambda layout: layout.system.blindings()
    product: Callable[[Scalar, Scalars, Scalars], tuple[Scalar, Scalar]] | None = None
    answers: Callable[[Layout, Scalar, Scalars], Scalars] = lambda _layout, _c, found: found
    said: Callable[[ProofRequest], ProofRequest] = lambda asked: asked
    shown: Mapping[str, Mapping[str, Value]] = field(default_factory=dict)


def cheat(asked: ProofRequest, held: Mapping[str, HeldCredential], how: Cheat) -> Presentation:
    """A presentation for `asked`, made as `how` says."""
    names = asked.credentials
    empty = {name: presented(held[name], {}) for name in names}
    layout = Layout.of(asked, empty)
    shown = {
        name: presented(
            held[name],
            {one: held[name].values[one] for one in layout.shown[name]}
            | dict(how.shown.get(name, {})),
        )
        for name in names
    }
    messages = {name: held[name].messages(layout.schemas[name]) for name in names}
    true = [ZERO] * layout.system.attributes
    for name, places in layout.hidden.items():
        for index, variable in places:
            true[variable] = messages[name][index]
    values = how.values(layout, true)
    blindings = how.blindings(layout)
    known = {name: Known.of(shown[name], layout.schemas[name]) for name in names}
    commitments = [
        ProofCommitment.make(
            held[name].signature,
            messages[name],
            known[name].domain,
            {index: blindings[variable] for index, variable in layout.hidden[name]},
            interface=TYPED,
        )
        for name in names
    ]
    words = how.said(asked)
    transcript = begin(words, layout, shown, known, [one.shown.to_bytes() for one in commitments])
    first = layout.system.attributes
    bits, points, z, z_t = values[first:], None, ZERO, ZERO
    if bits:
        alpha, beta, tau0, tau1 = (random_scalar() for _ in range(4))
        b = multiples({"H": beta, **by_bit(bits)})
        a = multiples({"H": alpha, **by_bit(blindings[first:])})
        y = draw_y(transcript, b, a)
        product = how.product or honest_product
        one, zero = product(y, bits, blindings[first:])
        points = BitPoints(
            b,
            a,
            multiples({"G": one, "H": tau1}),
            multiples({"G": zero, "H": tau0}),
        )
        c = draw_c(transcript, points.r1, points.r0)
        z, z_t = alpha + c * beta, tau0 + c * tau1
    else:
        c = draw_without_bits(transcript)
    answers = [blinding + c * value for blinding, value in zip(blindings, values, strict=True)]
    answers = how.answers(layout, c, answers)
    of_bits = [z, z_t] if bits else []
    return Presentation(shown, encode(layout, commitments, points, c, of_bits, answers))


def encode(
    layout: Layout,
    commitments: Sequence[ProofCommitment],
    points: BitPoints | None,
    c: Scalar,
    of_bits: Sequence[Scalar],
    answers: Sequence[Scalar],
) -> bytes:
    data = PROOF_VERSION + b"".join(one.shown.to_bytes() for one in commitments)
    if points is not None:
        four = (points.b, points.a, points.r1, points.r0)
        data += b"".join(bytes(one.to_compressed_bytes()) for one in four)
    scalars: list[Scalar] = []
    for one in commitments:
        scalars += one.respond(c)
    scalars += [*of_bits, *(answers[number] for number in layout.system.free)]
    return data + b"".join(bytes(one.to_be_bytes()) for one in scalars)


def honest_product(y: Scalar, bits: Scalars, blindings: Scalars) -> tuple[Scalar, Scalar]:
    """The coefficients of c and of 1 in the sum of y^i f_i (c - f_i)."""
    one = zero = ZERO
    power = y
    for value, blinding in zip(bits, blindings, strict=True):
        one += power * blinding * (Scalar(1) - Scalar(2) * value)
        zero -= power * blinding * blinding
        power *= y
    return one, zero


def with_bits(*bits: int) -> Callable[[Layout, Scalars], Scalars]:
    """The true attributes, and these in place of bits (negative ones modulo the order)."""

    def values(_layout: Layout, true: Scalars) -> Scalars:
        return true + [scalar_from_int(one % ORDER) for one in bits]

    return values


def presented(held: HeldCredential, revealed: Mapping[str, Value]) -> PresentedCredential:
    return PresentedCredential(held.key, held.header, held.holder_secret is not None, revealed)


def said_otherwise(**changed: object) -> Callable[[ProofRequest], ProofRequest]:
    return lambda asked: replace(asked, **changed)  # type: ignore[arg-type]


def by_bit(scalars: Scalars) -> dict[str, Scalar]:
    """Factors of the bits' points, by their names."""
    return {bit(number): scalar for number, scalar in enumerate(scalars)}
