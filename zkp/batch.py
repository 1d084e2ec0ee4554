"""Check presentations: one, or many of any mix of requests and issuers at once.

For each credential of each presentation, and for its bits:

    1.  c Bbar + e^ Abar + r1^ D - T1 = 0
    2.  c (P1 + Q domain + sum H_i m_i) + r3^ D + sum H_j m^_j - T2 = 0
    3.  sum f_i G_i + z H - c B - A = 0
    4.  (sum y^i f_i (c - f_i)) G + z_t H - c R1 - R0 = 0
    5.  e(Abar, W) e(Bbar, -BP2) = 1

Each is multiplied by a random weight of 128 bits, drawn after every proof is fixed, and all are
added up: one multiplication of many points, one product of pairings with one factor for each key.
If some equation does not hold, the sum is zero with a probability of at most 2**-128. A batch that
fails is halved until the bad ones are found.
"""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from zkp.bbs import Shown
from zkp.curve import (
    G1_IDENTITY,
    G2_GENERATOR,
    ZERO,
    G1Point,
    Scalar,
    pairing_product_is_one,
    sum_of_products,
)
from zkp.errors import Malformed, ProofInvalid, TooLarge, ZkpError
from zkp.keys import PublicKey
from zkp.layout import Layout, PresentedCredential, revealed_values
from zkp.pedersen import bit, multiple
from zkp.presentation import (
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

MOST_PRESENTATIONS = 4096
_WEIGHT_BYTES = 16
_P1 = -1
_MINUS_ONE = -Scalar(1)

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
    """A sum that has to be the identity: points of the proof, and constant points by name."""

    points: list[tuple[G1Point, Scalar]] = field(default_factory=list)
    generators: dict[int, Scalar] = field(default_factory=dict)
    constants: dict[str, Scalar] = field(default_factory=dict)


@dataclass(frozen=True)
class _Checkable:
    """A presentation as equations, once its challenges are drawn."""

    verified: ProvenPresentation
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
    transcript = begin(request, layout, shown, proof.shown)
    if proof.bits is None:
        y, c = ZERO, draw_without_bits(transcript)
    else:
        y = draw_y(transcript, proof.bits.b, proof.bits.a)
        c = draw_c(transcript, proof.bits.r1, proof.bits.r0)
    free = dict(zip(layout.system.free, proof.free, strict=True))
    responses = layout.system.complete(free.__getitem__, c)
    equations: list[_Equation] = []
    pairings = []
    for name, points, scalars in zip(request.credentials, proof.shown, proof.scalars, strict=True):
        hidden = {index: responses[variable] for index, variable in layout.hidden[name]}
        equations += _of_credential(shown[name], layout.schemas[name], points, scalars, hidden, c)
        pairings.append((shown[name].key, points.a_bar, points.b_bar))
    equations += _of_bits(proof, responses[layout.system.attributes :], y, c)
    verified = ProvenPresentation(request, dict(shown), dict(layout.issuers))
    return _Checkable(verified, tuple(equations), tuple(pairings))


def _of_credential(
    credential: PresentedCredential,
    schema: Schema,
    points: Shown,
    scalars: tuple[Scalar, Scalar, Scalar],
    hidden: Mapping[int, Scalar],
    c: Scalar,
) -> list[_Equation]:
    e, r1, r3 = scalars
    first = _Equation(
        points=[(points.b_bar, c), (points.a_bar, e), (points.d, r1), (points.t1, _MINUS_ONE)]
    )
    second = _Equation(points=[(points.d, r3), (points.t2, _MINUS_ONE)])
    second.generators = {_P1: c, 0: credential_domain(credential, schema) * c}
    for index, message in revealed_messages(credential, schema).items():
        second.generators[index + 1] = message * c
    for index, response in hidden.items():
        second.generators[index + 1] = response
    return [first, second]


def _of_bits(proof: ReadProof, f: Sequence[Scalar], y: Scalar, c: Scalar) -> list[_Equation]:
    if proof.bits is None:
        return []
    third = _Equation(points=[(proof.bits.b, -c), (proof.bits.a, _MINUS_ONE)])
    product, power = ZERO, y
    for number, response in enumerate(f):
        third.constants[bit(number)] = response
        product += power * response * (c - response)
        power *= y
    third.constants["H"] = proof.z
    fourth = _Equation(points=[(proof.bits.r1, -c), (proof.bits.r0, _MINUS_ONE)])
    fourth.constants = {"G": product, "H": proof.z_t}
    return [third, fourth]


# 5.
def _hold(batch: Sequence[_Checkable]) -> bool:
    points: list[G1Point] = []
    scalars: list[Scalar] = []
    generators: dict[int, Scalar] = {}
    constants: dict[str, Scalar] = {}
    for equation in (equation for one in batch for equation in one.equations):
        weight = _weight()
        for point, scalar in equation.points:
            points.append(point)
            scalars.append(scalar * weight)
        for number, scalar in equation.generators.items():
            generators[number] = generators.get(number, ZERO) + scalar * weight
        for name, scalar in equation.constants.items():
            constants[name] = constants.get(name, ZERO) + scalar * weight
    total = sum_of_products(points, scalars)
    for number, scalar in generators.items():
        total += TYPED.suite.p1 * scalar if number == _P1 else TYPED.multiple(number, scalar)
    for name, scalar in constants.items():
        total += multiple(name, scalar)
    if total != G1_IDENTITY:
        return False
    by_key: dict[bytes, tuple[PublicKey, list[G1Point], list[Scalar]]] = {}
    right: list[G1Point] = []
    weights: list[Scalar] = []
    for key, a_bar, b_bar in (pairing for one in batch for pairing in one.pairings):
        weight = _weight()
        _, lefts, of_key = by_key.setdefault(key.data, (key, [], []))
        lefts.append(a_bar)
        of_key.append(weight)
        right.append(b_bar)
        weights.append(weight)
    pairs = [(sum_of_products(lefts, of_key), key.point) for key, lefts, of_key in by_key.values()]
    pairs.append((sum_of_products(right, weights), -G2_GENERATOR))
    return pairing_product_is_one(pairs)


def _weight() -> Scalar:
    """128 random bits."""
    return Scalar.from_be_bytes_mod_order(secrets.token_bytes(_WEIGHT_BYTES))
