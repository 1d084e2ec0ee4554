"""Check presentations: one, or many of any mix of requests and issuers at once.

For each credential of each presentation, and for its bits:

    1.  c Bbar + e^ Abar + r1^ D - T1 = 0
    2.  c (P1 + Q domain + sum H_i m_i) + r3^ D + sum H_j m^_j - T2 = 0
    3.  sum f_i G_i + z H - c B - A = 0
    4.  (sum y^i f_i (c - f_i)) G + z_t H - c R1 - R0 = 0
    5.  e(Abar, W) e(Bbar, -BP2) = 1

Sums are taken as exponents of e(., BP2), so that all five are of one kind. Each is multiplied by a
random weight of 128 bits, drawn after every proof is fixed, and all are added up: one
multiplication of many points, one product of pairings with a factor for each key. If some equation
does not hold, the product is one with a probability of at most 2**-128; the weight of the first may
be one, since a sum of which that one alone fails is not zero. A batch that fails is halved, and
parts of at most `ONE_BY_ONE` are checked one by one: whatever is bad, finding it costs little more
than no batch would.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from zkp.curve import (
    G2_GENERATOR,
    ZERO,
    G1Point,
    Scalar,
    pairing_product_is_one,
    random_weights,
    sum_of_multiples,
    sum_of_products,
)
from zkp.errors import Malformed, ProofInvalid, TooLarge, ZkpError
from zkp.keys import PublicKey
from zkp.layout import Layout, PresentedCredential, revealed_values
from zkp.pedersen import base, bit
from zkp.presentation import (
    BitPoints,
    Known,
    Presentation,
    ReadProof,
    begin,
    draw_c,
    draw_without_bits,
    draw_y,
)
from zkp.request import ProofRequest
from zkp.schema import TYPED
from zkp.suite import P1

MOST_PRESENTATIONS = 4096
ONE_BY_ONE = 16
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


@dataclass(frozen=True)
class _Checkable:
    """A presentation whose challenges are drawn: what its equations are made of.

    `responses` are those of all variables; `product` is the sum in (4).
    """

    verified: ProvenPresentation
    layout: Layout
    proof: ReadProof
    known: Mapping[str, Known]
    responses: Sequence[Scalar]
    c: Scalar
    product: Scalar

    @property
    def equations(self) -> int:
        """How many there are."""
        return 3 * len(self.known) + 2 * (self.proof.bits is not None)


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
    if len(batch) <= ONE_BY_ONE:
        return [number for number, one in batch if not _hold([one])]
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
    known = {name: Known.of(shown[name], layout.schemas[name]) for name in request.credentials}
    transcript = begin(request, layout, shown, known, proof.encoded)
    if proof.bits is None:
        y, c = ZERO, draw_without_bits(transcript)
    else:
        y = draw_y(transcript, proof.bits.b, proof.bits.a)
        c = draw_c(transcript, proof.bits.r1, proof.bits.r0)
    responses = layout.system.complete(proof.free, c)
    product = _product(responses[layout.system.attributes :], y, c)
    verified = ProvenPresentation(request, dict(shown), dict(layout.issuers))
    return _Checkable(verified, layout, proof, known, responses, c, product)


def _product(f: Sequence[Scalar], y: Scalar, c: Scalar) -> Scalar:
    total, power = ZERO, y
    for response in f:
        total += power * response * (c - response)
        power *= y
    return total


# 5.
def _hold(batch: Sequence[_Checkable]) -> bool:
    """Whether all equations hold: each is one of exponents of e(., BP2), and they are added up."""
    sums = _Sums()
    weights = _weights(sum(one.equations for one in batch))
    for one in batch:
        for number, name in enumerate(one.known):
            sums.add_credential(one, number, name, [next(weights) for _ in range(3)])
        if one.proof.bits is not None:
            sums.add_bits(one, one.proof.bits, next(weights), next(weights))
    return sums.hold()


def _weights(number: int) -> Iterator[Scalar]:
    """One for the first equation, 128 random bits for each of the others."""
    yield _ONE
    yield from random_weights(number - 1)


class _Sums:
    """Equations, each times its weight, added up.

    They are turned so that the commitments, whose factor is one, keep it: their weight stays a
    number of 128 bits, which is half the work. The factors of constant points are counted against
    the others.
    """

    def __init__(self) -> None:
        self._points: list[G1Point] = []
        self._scalars: list[Scalar] = []
        self._generators: dict[int, Scalar] = defaultdict(lambda: ZERO)
        self._constants: dict[str, Scalar] = defaultdict(lambda: ZERO)
        self._lefts: dict[bytes, tuple[PublicKey, list[G1Point], list[Scalar]]] = {}

    def add_credential(
        self, one: _Checkable, number: int, name: str, weights: Sequence[Scalar]
    ) -> None:
        """(5), (1) and (2)."""
        w5, w1, w2 = weights
        points, (e, r1, r3) = one.proof.shown[number], one.proof.scalars[number]
        key = one.verified.credentials[name].key
        _, lefts, of_key = self._lefts.setdefault(key.data, (key, [], []))
        lefts.append(points.a_bar)
        of_key.append(w5)
        self._points += (points.a_bar, points.b_bar, points.d, points.t1, points.t2)
        self._scalars += (-(e * w1), -(one.c * w1 + w5), -(r1 * w1 + r3 * w2), w1, w2)
        known, factor, generators = one.known[name], one.c * w2, self._generators
        generators[P1] += factor
        generators[0] += known.domain * factor
        for index, message in known.revealed.items():
            generators[index + 1] += message * factor
        for index, variable in one.layout.hidden[name]:
            generators[index + 1] += one.responses[variable] * w2

    def add_bits(self, one: _Checkable, bits: BitPoints, w3: Scalar, w4: Scalar) -> None:
        """(3) and (4)."""
        self._points += (bits.b, bits.a, bits.r1, bits.r0)
        self._scalars += (one.c * w3, w3, one.c * w4, w4)
        constants = self._constants
        for number, response in enumerate(one.responses[one.layout.system.attributes :]):
            constants[bit(number)] += response * w3
        constants["G"] += one.product * w4
        constants["H"] += one.proof.z * w3 + one.proof.z_t * w4

    def hold(self) -> bool:
        """Whether e(sum of Abar, W) for each key, times e(the rest, BP2), is one."""
        terms = [(TYPED.base(number), factor) for number, factor in self._generators.items()]
        terms += [(base(name), factor) for name, factor in self._constants.items()]
        right = sum_of_products(self._points, self._scalars) - sum_of_multiples(terms)
        pairs = [(_weighted(lefts, some), key.point) for key, lefts, some in self._lefts.values()]
        return pairing_product_is_one([*pairs, (right, G2_GENERATOR)])


def _weighted(points: Sequence[G1Point], weights: Sequence[Scalar]) -> G1Point:
    return points[0] if weights == [_ONE] else sum_of_products(points, weights)
