"""Check presentations: one, or many of any mix of requests and issuers at once.

For each credential of each presentation, and for its bits:

    1.  c Bbar + e^ Abar + r1^ D - T1 = 0
    2.  c (P1 + Q domain + sum H_i m_i) + r3^ D + sum H_j m^_j - T2 = 0
    3.  sum f_i G_i + z H - c B - A = 0
    4.  (sum y^i f_i (c - f_i)) G + z_t H - c R1 - R0 = 0
    5.  e(Abar, W) e(Bbar, -BP2) = 1

Each is multiplied by a random weight of 128 bits, drawn after every proof is fixed, and all are
added up: one multiplication of many points, one product of pairings with one factor for each key.
If some equation does not hold, the sum is zero with a probability of at most 2**-128; the weight of
the first may be one, since a sum of which that one alone fails is not zero. A batch that fails is
halved until the bad ones are found.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from zkp.curve import (
    G1_IDENTITY,
    G2_GENERATOR,
    ZERO,
    G1Point,
    Scalar,
    pairing_product_is_one,
    random_weights,
    sum_of_products,
)
from zkp.errors import Malformed, ProofInvalid, TooLarge, ZkpError
from zkp.keys import PublicKey
from zkp.layout import Layout, PresentedCredential, revealed_values
from zkp.pedersen import bit, multiple
from zkp.presentation import (
    BIT_POINTS,
    CREDENTIAL_POINTS,
    Presentation,
    ReadProof,
    begin,
    credential_domain,
    draw_c,
    draw_without_bits,
    draw_y,
    revealed_messages,
)
from zkp.request import ProofRequest
from zkp.schema import TYPED, Schema
from zkp.suite import P1

MOST_PRESENTATIONS = 4096
_ONE = Scalar(1)

Issuers = Mapping[str, frozenset[bytes]]


@dataclass(frozen=True)
class ProvenPresentation:
    """The request's statements are true of credentials of these issuers. Made by `verify` alone."""

    request: ProofRequest
    credentials: Mapping[str, PresentedCredential]
    issuers: Mapping[str, str]


@dataclass(frozen=True)
class ToVerify:
    """A presentation, the request that it has to answer, and whose credentials may answer it.

    `issuers` names the accepted public keys (96 bytes) for each credential of the request.
    """

    request: ProofRequest
    presentation: Presentation
    issuers: Issuers


@dataclass
class _Equation:
    """A sum that has to be the identity: points of the proof by place, constant ones by name.

    The commitments, whose factor is one in the proof's equations, keep it here: their weight stays
    a number of 128 bits, which is half the work.
    """

    points: dict[int, Scalar]
    generators: dict[int, Scalar] = field(default_factory=dict)
    constants: dict[str, Scalar] = field(default_factory=dict)


@dataclass(frozen=True)
class _Checkable:
    """A presentation as equations over the points of its proof, once its challenges are drawn."""

    verified: ProvenPresentation
    points: tuple[G1Point, ...]
    equations: tuple[_Equation, ...]
    pairings: tuple[tuple[PublicKey, G1Point, G1Point], ...]


def verify(
    request: ProofRequest, presentation: Presentation, issuers: Issuers
) -> ProvenPresentation:
    """Check one presentation.

    1. The issuers' keys are accepted ones.
    2. Credentials, revealed attributes and epochs are those of the request.
    3. The proof has the one length that it can have; each part is a valid point or scalar.
    4. The challenges are drawn from everything that was said.
    5. The equations hold.

    What the caller owes: that `request` is the one it sent, that its nonce was not used before,
    and that the epochs it asks for are current. Raises a `ZkpError`.
    """
    found = verify_batch([ToVerify(request, presentation, issuers)])[0]
    if isinstance(found, ZkpError):
        raise found
    return found


def verify_batch(batch: Sequence[ToVerify]) -> list[ProvenPresentation | ZkpError]:
    """Check many; for each what was verified, or why not. Raises `Malformed` for an empty batch."""
    if not batch:
        raise Malformed("an empty batch shows nothing")
    if len(batch) > MOST_PRESENTATIONS:
        raise TooLarge(f"at most {MOST_PRESENTATIONS} presentations at once")
    found: list[ProvenPresentation | ZkpError] = []
    checkable: list[tuple[int, _Checkable]] = []
    for number, one in enumerate(batch):
        try:
            made = _equations(one)
        except ZkpError as error:
            found.append(error)
        else:
            found.append(made.verified)
            checkable.append((number, made))
    for number in _bad(checkable):
        found[number] = ProofInvalid("the proof does not show what was asked for")
    return found


def _bad(batch: Sequence[tuple[int, _Checkable]]) -> list[int]:
    if not batch or _hold([one for _, one in batch]):
        return []
    if len(batch) == 1:
        return [batch[0][0]]
    half = len(batch) // 2
    return _bad(batch[:half]) + _bad(batch[half:])


# 1. to 4.
def _equations(one: ToVerify) -> _Checkable:
    request, shown = one.request, one.presentation.credentials
    layout = Layout.of(request, shown)
    for name in request.credentials:
        if shown[name].key.data not in one.issuers.get(name, frozenset()):
            raise ProofInvalid("a credential is of an issuer that is not accepted")
    revealed_values(request, layout, shown)
    proof = ReadProof.of(one.presentation.proof, layout, len(request.credentials))
    transcript = begin(request, layout, shown, proof.encoded)
    if proof.bits is None:
        y, c = ZERO, draw_without_bits(transcript)
    else:
        y = draw_y(transcript, proof.bits.b, proof.bits.a)
        c = draw_c(transcript, proof.bits.r1, proof.bits.r0)
    responses = layout.system.complete(proof.free, c)
    equations: list[_Equation] = []
    pairings = []
    for number, name in enumerate(request.credentials):
        points, credential = proof.shown[number], shown[name]
        hidden = {index: responses[variable] for index, variable in layout.hidden[name]}
        public = _public(credential, layout.schemas[name])
        equations += _of_credential(number, public, proof.scalars[number], hidden, c)
        pairings.append((credential.key, points.a_bar, points.b_bar))
    equations += _of_bits(proof, responses[layout.system.attributes :], y, c)
    verified = ProvenPresentation(request, dict(shown), dict(layout.issuers))
    return _Checkable(verified, proof.points, tuple(equations), tuple(pairings))


def _public(credential: PresentedCredential, schema: Schema) -> dict[int, Scalar]:
    """What is public of B, as factors of generators: P1 + Q domain + sum H_i m_i."""
    revealed = revealed_messages(credential, schema)
    factors = {P1: _ONE, 0: credential_domain(credential, schema)}
    return factors | {index + 1: message for index, message in revealed.items()}


def _of_credential(
    number: int,
    public: Mapping[int, Scalar],
    scalars: tuple[Scalar, Scalar, Scalar],
    hidden: Mapping[int, Scalar],
    c: Scalar,
) -> list[_Equation]:
    e, r1, r3 = scalars
    a_bar, b_bar, d, t1, t2 = range(CREDENTIAL_POINTS * number, CREDENTIAL_POINTS * (number + 1))
    first = _Equation({t1: _ONE, b_bar: -c, a_bar: -e, d: -r1})
    second = _Equation({t2: _ONE, d: -r3})
    for generator, factor in public.items():
        second.generators[generator] = -(factor * c)
    for index, response in hidden.items():
        second.generators[index + 1] = -response
    return [first, second]


def _of_bits(proof: ReadProof, f: Sequence[Scalar], y: Scalar, c: Scalar) -> list[_Equation]:
    if proof.bits is None:
        return []
    start = len(proof.points) - BIT_POINTS
    b, a, r1, r0 = range(start, start + BIT_POINTS)
    third = _Equation({a: _ONE, b: c}, constants={"H": -proof.z})
    third.constants |= {bit(number): -response for number, response in enumerate(f)}
    product, power = ZERO, y
    for response in f:
        product += power * response * (c - response)
        power *= y
    fourth = _Equation({r0: _ONE, r1: c}, constants={"G": -product, "H": -proof.z_t})
    return [third, fourth]


# 5.
def _hold(batch: Sequence[_Checkable]) -> bool:
    points: list[G1Point] = []
    scalars: list[Scalar] = []
    generators: dict[int, Scalar] = {}
    constants: dict[str, Scalar] = {}
    weights = _weights(sum(len(one.equations) for one in batch))
    for one in batch:
        factors = [ZERO] * len(one.points)
        for equation in one.equations:
            weight = next(weights)
            for place, factor in equation.points.items():
                factors[place] += factor * weight
            for number, factor in equation.generators.items():
                generators[number] = generators.get(number, ZERO) + factor * weight
            for name, factor in equation.constants.items():
                constants[name] = constants.get(name, ZERO) + factor * weight
        points += one.points
        scalars += factors
    total = sum_of_products(points, scalars)
    total += TYPED.sum_of_multiples(generators)
    for name, factor in constants.items():
        total += multiple(name, factor)
    return total == G1_IDENTITY and _pairings_hold(batch)


def _pairings_hold(batch: Sequence[_Checkable]) -> bool:
    pairings = [pairing for one in batch for pairing in one.pairings]
    if len(pairings) == 1:
        [(key, a_bar, b_bar)] = pairings
        return pairing_product_is_one([(a_bar, key.point), (b_bar, -G2_GENERATOR)])
    weights = list(_weights(len(pairings)))
    by_key: dict[bytes, tuple[PublicKey, list[G1Point], list[Scalar]]] = {}
    for (key, a_bar, _), weight in zip(pairings, weights, strict=True):
        _, lefts, of_key = by_key.setdefault(key.data, (key, [], []))
        lefts.append(a_bar)
        of_key.append(weight)
    pairs = [(sum_of_products(lefts, of_key), key.point) for key, lefts, of_key in by_key.values()]
    right = sum_of_products([b_bar for _, _, b_bar in pairings], weights)
    return pairing_product_is_one([*pairs, (right, -G2_GENERATOR)])


def _weights(count: int) -> Iterator[Scalar]:
    """One for the first equation, 128 random bits for each of the others."""
    yield _ONE
    yield from random_weights(count - 1)
