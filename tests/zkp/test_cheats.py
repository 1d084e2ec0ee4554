"""Provers that cheat, each as well as it can: nothing of theirs is accepted."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.zkp.cheating import Cheat, Scalars, cheat, said_otherwise, with_bits
from tests.zkp.world import EPOCH, LI, PERSON, World, of, request
from zkp.curve import ORDER, ZERO, Scalar, random_scalar, scalar_from_int
from zkp.errors import ProofInvalid, ZkpError
from zkp.layout import Layout
from zkp.presentation import Presentation, prove
from zkp.request import ProofRequest
from zkp.schema import Attribute, Schema
from zkp.statements import (
    AtLeast,
    AtMost,
    Between,
    Equal,
    MemberOf,
    NotMemberOf,
    NotRevoked,
    OlderThan,
    Reveal,
    Statement,
)

INCOME = 30_000


@pytest.fixture(scope="module")
def world() -> World:
    made = World.make()
    made.held["other"] = made.issue(PERSON, LI | {"income": INCOME - 1})
    return made


def binary(number: int, count: int = 16) -> list[int]:
    """Digits whose weighted sum is `number`, also where it cannot be of bits: the first is not."""
    low = number & ((1 << count) - 1)
    digits = [low >> place & 1 for place in range(count)]
    digits[0] += number - low
    return digits


def refused(world: World, asked: ProofRequest, shown: Presentation) -> None:
    with pytest.raises(ProofInvalid):
        world.accept(asked, shown)


def test_the_cheating_prover_can_be_honest(world: World) -> None:
    """Or else its failures would show nothing."""
    for statement, bits in (
        (AtMost(of("income"), INCOME), binary(0)),
        (AtLeast(of("income"), INCOME - 5), binary(5)),
        (Between(of("income"), INCOME - 1, INCOME + 2), binary(2) + binary(1)),
        (MemberOf(of("income"), (1, INCOME)), [0, 1]),
        (Equal(of("name"), of("name", "other")), []),
    ):
        asked = request(statement)
        world.accept(asked, cheat(asked, world.held, Cheat(with_bits(*bits))))


# Digits that make every row hold although the statement is false, by one.
FALSE_BY_ONE: dict[str, tuple[Statement, list[int]]] = {
    "at most": (AtMost(of("income"), INCOME - 1), binary(-1)),
    "at least": (AtLeast(of("income"), INCOME + 1), binary(-1)),
    "between, one side": (Between(of("income"), INCOME + 1, INCOME + 9), binary(9) + binary(-1)),
    "between, the other": (Between(of("income"), INCOME - 9, INCOME - 1), binary(-1) + binary(9)),
    "older": (OlderThan(of("birth_date"), 18, "2026-11-25"), binary(-1)),
    # 30,000 = 10,000 + 20,000: without the sum of one it would pass.
    "member, a sum": (MemberOf(of("income"), (10_000, 20_000)), [1, 1]),
    "member, twice": (MemberOf(of("income"), (15_000, 7)), [2, 0]),
    # Weights that add up to one and give the value, but are no bits.
    "member, mixed": (MemberOf(of("income"), (29_999, 29_998)), [2, -1]),
    "not a member": (
        NotMemberOf(of("income"), (INCOME,)),
        [1, 0, *binary(INCOME), *binary(-1)],
    ),
    "not a member, no gap": (
        NotMemberOf(of("income"), (INCOME,)),
        [0, 0, *binary(INCOME), *binary(-INCOME)],
    ),
}


@pytest.mark.parametrize("name", FALSE_BY_ONE)
def test_false_by_one(world: World, name: str) -> None:
    statement, bits = FALSE_BY_ONE[name]
    asked = request(statement)
    refused(world, asked, cheat(asked, world.held, Cheat(with_bits(*bits))))


def test_digits_that_are_no_bits_but_true(world: World) -> None:
    """5 = 5 * 1: the row holds and so does the statement, the digit is no bit all the same."""
    asked = request(AtMost(of("income"), INCOME + 5))
    refused(world, asked, cheat(asked, world.held, Cheat(with_bits(5, *[0] * 15))))


def test_a_product_that_takes_back_what_is_no_bit(world: World) -> None:
    """The square of c cannot be answered for, whatever is sent in R1 and R0."""

    def product(y: Scalar, bits: Scalars, blindings: Scalars) -> tuple[Scalar, Scalar]:
        excess, power = ZERO, y
        one = zero = ZERO
        for value, blinding in zip(bits, blindings, strict=True):
            excess += power * value * (Scalar(1) - value)
            one += power * blinding * (Scalar(1) - Scalar(2) * value)
            zero -= power * blinding * blinding
            power *= y
        return one + excess, zero

    asked = request(AtMost(of("income"), INCOME - 1))
    refused(world, asked, cheat(asked, world.held, Cheat(with_bits(*binary(-1)), product=product)))


def test_digits_that_cancel_under_equal_powers(world: World) -> None:
    """Two digits whose b(1-b) add up to nothing, and whose row holds of a false statement.

    With b = t - 2d the row wants b + 2d = t, and b(1-b) + d(1-d) = 0 is
    5 d^2 - (4t - 1) d + t^2 - t = 0. Equal powers of y would accept them.
    """
    for off in range(1, 40):
        t = -off
        root = square_root((-4 * t * t + 12 * t + 1) % ORDER)
        if root is not None:
            break
    else:
        pytest.fail("no pair of digits cancels")
    d = (4 * t - 1 + root) * pow(10, -1, ORDER) % ORDER
    b = (t - 2 * d) % ORDER
    assert (b * (1 - b) + d * (1 - d)) % ORDER == 0
    assert (b + 2 * d - t) % ORDER == 0
    assert not {b, d} <= {0, 1}
    asked = request(AtMost(of("income"), INCOME - off))
    refused(world, asked, cheat(asked, world.held, Cheat(with_bits(b, d, *[0] * 14))))


def square_root(value: int) -> int | None:
    """Tonelli and Shanks, modulo the order; None for what is no square."""
    if pow(value, (ORDER - 1) // 2, ORDER) != 1:
        return None
    odd, power = ORDER - 1, 0
    while odd % 2 == 0:
        odd, power = odd // 2, power + 1
    other = next(n for n in range(2, 100) if pow(n, (ORDER - 1) // 2, ORDER) == ORDER - 1)
    c, result, t = pow(other, odd, ORDER), pow(value, (odd + 1) // 2, ORDER), pow(value, odd, ORDER)
    while t != 1:
        step, probe = 0, t
        while probe != 1:
            probe, step = probe * probe % ORDER, step + 1
        factor = pow(c, 1 << (power - step - 1), ORDER)
        power, c = step, factor * factor % ORDER
        result, t = result * factor % ORDER, t * c % ORDER
    return result


def test_between_with_an_answer_for_each_side(world: World) -> None:
    """Two blindings of one attribute, as two arguments would have: one answer cannot be both's."""
    asked = request(Between(of("income"), INCOME + 1, INCOME + 2))

    def blindings(layout: Layout) -> Scalars:
        drawn = layout.system.blindings()
        return [*drawn[:-1], random_scalar()]

    for bits in (binary(2) + binary(-1), binary(2) + binary(0)):
        refused(world, asked, cheat(asked, world.held, Cheat(with_bits(*bits), blindings)))


def test_blindings_outside_of_the_kernel(world: World) -> None:
    asked = request(AtMost(of("income"), INCOME))
    how = Cheat(
        with_bits(*binary(0)),
        blindings=lambda layout: [random_scalar() for _ in range(layout.system.variables)],
    )
    refused(world, asked, cheat(asked, world.held, how))


@pytest.mark.parametrize("place", range(8))
def test_another_attribute_than_the_signed_one(world: World, place: int) -> None:
    """The row is made to hold by an attribute that was not signed."""
    asked = request(AtMost(of("income"), INCOME), Equal(of("name"), of("name", "other")))

    def values(layout: Layout, true: Scalars) -> Scalars:
        changed = list(true)
        changed[place] += Scalar(1)
        bits = binary(0 if place != PERSON.index("income") else -1)
        return changed + [scalar_from_int(one % ORDER) for one in bits]

    refused(world, asked, cheat(asked, world.held, Cheat(values)))


def test_equal_what_is_not(world: World) -> None:
    asked = request(Equal(of("income"), of("income", "other")))
    refused(world, asked, cheat(asked, world.held, Cheat(with_bits())))


def test_answers_moved_against_each_other(world: World) -> None:
    asked = request(AtMost(of("income"), INCOME - 1), AtLeast(of("income"), 1))

    def answers(_layout: Layout, c: Scalar, found: Scalars) -> Scalars:
        moved = list(found)
        moved[-1] += c
        moved[-2] -= c
        return moved

    bits = binary(-1) + binary(INCOME - 1)
    refused(world, asked, cheat(asked, world.held, Cheat(with_bits(*bits), answers=answers)))


SAID: dict[str, Callable[[ProofRequest], ProofRequest]] = {
    "another nonce": said_otherwise(nonce=bytes(16)),
    "another audience": said_otherwise(audience="https://elsewhere.example"),
    "another request": said_otherwise(request_hash=b"x" * 32),
    "a weaker limit": said_otherwise(statements=(AtMost(of("income"), INCOME + 1),)),
    "another kind": said_otherwise(statements=(AtLeast(of("income"), INCOME),)),
}


@pytest.mark.parametrize("name", SAID)
def test_other_words_make_another_challenge(world: World, name: str) -> None:
    asked = request(AtMost(of("income"), INCOME))
    how = Cheat(with_bits(*binary(0)), said=SAID[name])
    refused(world, asked, cheat(asked, world.held, how))
    refused(world, SAID[name](asked), prove(asked, world.held))


def test_a_proof_of_one_statement_does_not_pass_for_another(world: World) -> None:
    asked, shown = world.show(AtMost(of("income"), INCOME))
    for other in (
        AtMost(of("income"), INCOME - 1),
        AtLeast(of("income"), INCOME),
        AtMost(of("balance"), 500),
    ):
        with pytest.raises(ZkpError):
            world.accept(replace(asked, statements=(other,)), shown)


def test_other_keys_headers_and_values(world: World) -> None:
    asked, shown = world.show(AtMost(of("income"), INCOME), Reveal(of("name")))
    good = shown.credentials["id"]
    stranger = World.make()
    narrower = Schema(PERSON.id, (*PERSON.attributes[:-1], Attribute("country", "text")))
    for changed in (
        replace(good, key=stranger.key.public),
        replace(good, header=narrower.header("https://issuer.example")),
        replace(good, header=PERSON.header("https://other.example")),
        replace(good, bound=True),
        replace(good, revealed={"name": "韩梅梅"}),
        replace(good, revealed={}),
        replace(good, revealed={"name": LI["name"], "city": "Berlin"}),
        replace(good, revealed={"city": LI["name"]}),
    ):
        with pytest.raises(ZkpError):
            world.accept(asked, Presentation({"id": changed}, shown.proof))
    with pytest.raises(ZkpError):
        world.accept(asked, Presentation({}, shown.proof))
    with pytest.raises(ProofInvalid, match="not accepted"):
        stranger.accept(asked, shown)


def test_a_credential_of_ones_own(world: World) -> None:
    """Signed by a key that the prover made, shown as the issuer's."""
    forger = World.make(income=1)
    asked = request(AtMost(of("income"), 5))
    forged = prove(asked, forger.held)
    shown = {"id": replace(forged.credentials["id"], key=world.key.public)}
    refused(world, asked, Presentation(shown, forged.proof))


def test_a_signature_changed_to_fit(world: World) -> None:
    held = world.held["id"]
    richer = replace(held, values={**held.values, "income": 5})
    asked = request(AtMost(of("income"), 5))
    refused(world, asked, prove(asked, {"id": richer}))


def test_a_status_token_of_another_credential_type_or_epoch(world: World) -> None:
    asked = request(NotRevoked(of("revocation_id"), "st", EPOCH))
    shown = prove(asked, world.held)
    old = prove(
        replace(asked, statements=(NotRevoked(of("revocation_id"), "st", EPOCH - 1),)),
        world.held | {"st": world.token(EPOCH - 1)},
    )
    token = replace(old.credentials["st"], revealed={"epoch": EPOCH})
    refused(world, asked, Presentation({**old.credentials, "st": token}, old.proof))
    with pytest.raises(ZkpError):
        world.accept(asked, old)
    world.accept(asked, shown)
    # The same attributes under another schema, by the same issuer.
    fake = Schema(
        "loyalty/1",
        (
            Attribute("epoch", "number", 0, 2**32 - 2, "epoch"),
            Attribute("revocation_id", "identifier"),
        ),
    )
    values = {"epoch": EPOCH, "revocation_id": LI["revocation_id"]}
    with pytest.raises(ZkpError):
        prove(asked, world.held | {"st": world.issue(fake, values)})


def test_a_status_token_of_somebody_else(world: World) -> None:
    """Two identifiers that differ, by one: neither pretended equal nor moved against each other."""
    other = int(str(LI["revocation_id"])) + 1
    held = world.held | {"st": world.token(EPOCH, str(other))}
    asked = request(NotRevoked(of("revocation_id"), "st", EPOCH))
    refused(world, asked, cheat(asked, held, Cheat(with_bits())))

    def values(_layout: Layout, true: Scalars) -> Scalars:
        changed = list(true)
        changed[-1] = true[PERSON.index("revocation_id")]
        return changed

    refused(world, asked, cheat(asked, held, Cheat(values)))

    def apart(layout: Layout) -> Scalars:
        return [random_scalar() for _ in range(layout.system.variables)]

    refused(world, asked, cheat(asked, held, Cheat(with_bits(), apart)))
    world.accept(asked, cheat(asked, world.held, Cheat(with_bits())))


def test_points_that_are_none(world: World) -> None:
    asked, shown = world.show(AtMost(of("income"), INCOME))
    identity = bytes([0xC0]) + bytes(47)
    for number in range(9):
        at = 1 + 48 * number
        for point in (
            identity,
            bytes(48),
            shown.proof[at : at + 47] + bytes([shown.proof[at + 47] ^ 1]),
        ):
            proof = shown.proof[:at] + point + shown.proof[at + 48 :]
            refused(world, asked, Presentation(shown.credentials, proof))


def test_scalars_moved_around_the_order(world: World) -> None:
    asked, shown = world.show(AtMost(of("income"), INCOME))
    first = 1 + 9 * 48
    for at in range(first, len(shown.proof), 32):
        scalar = int.from_bytes(shown.proof[at : at + 32])
        for other in (scalar + ORDER, scalar ^ 1, (scalar + 1) % ORDER, 0):
            if other < 2**256:
                data = shown.proof[:at] + other.to_bytes(32) + shown.proof[at + 32 :]
                refused(world, asked, Presentation(shown.credentials, data))


def test_parts_of_two_proofs_of_the_same(world: World) -> None:
    asked = request(AtMost(of("income"), INCOME))
    one, two = (prove(asked, world.held) for _ in range(2))
    for cut in range(1, len(one.proof), 48):
        mixed = one.proof[:cut] + two.proof[cut:]
        if mixed not in {one.proof, two.proof}:
            refused(world, asked, Presentation(one.credentials, mixed))


def test_nothing_of_a_proof_repeats(world: World) -> None:
    asked = request(AtMost(of("income"), INCOME))
    one, two = (prove(asked, world.held).proof for _ in range(2))
    pieces = [{proof[at : at + 16] for at in range(1, len(proof) - 16, 16)} for proof in (one, two)]
    assert pieces[0].isdisjoint(pieces[1])
