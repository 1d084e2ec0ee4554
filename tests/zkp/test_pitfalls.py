"""What goes wrong in such protocols: swapped words, moved boundaries, bounds that nobody keeps.

Every row of the design's table of pitfalls has a test. Points, scalars and tags: `test_curve.py`.
Provers that cheat: `test_cheats.py`. Batches: `test_batch.py`. A proof that is shown twice is the
broker's to refuse: `tests/broker/test_proofs.py`.
"""

import json
import random
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.programs import ROOT
from tests.zkp.cheating import Cheat, cheat, with_bits
from tests.zkp.test_curve import off_subgroup
from tests.zkp.world import AUDIENCE, EPOCH, ISSUER, LI, PERSON, TODAY, World, of, request
from zkp import batch, bbs, curve, presentation
from zkp.batch import MOST_PRESENTATIONS, ToVerify, verify, verify_batch
from zkp.curve import ORDER, Scalar, scalar_from_bytes, scalar_from_int
from zkp.errors import (
    AttributeInvalid,
    ProofInvalid,
    SignatureInvalid,
    StatementInvalid,
    TooLarge,
    ZkpError,
)
from zkp.holder import HolderCommitment, commit, sign_bound
from zkp.keys import SecretKey
from zkp.layout import PresentedCredential
from zkp.predicates import STATUS_TOKEN
from zkp.presentation import HeldCredential, Presentation, prove
from zkp.request import ProofRequest
from zkp.schema import TYPED, Attribute, Schema
from zkp.statements import AtMost, Equal, MemberOf, NotRevoked, OlderThan, Reveal, Statement
from zkp.suite import SHA_256
from zkp.transcript import Transcript

INCOME = 30_000


@pytest.fixture(scope="module")
def world() -> World:
    return World.make()


def refused(world: World, asked: ProofRequest, shown: Presentation) -> None:
    with pytest.raises(ZkpError):
        world.accept(asked, shown)


# Points and scalars.


def test_a_point_of_another_subgroup_in_every_place(world: World) -> None:
    asked, shown = world.show(AtMost(of("income"), INCOME))
    stray = off_subgroup()
    for at in range(1, 1 + 9 * 48, 48):
        proof = shown.proof[:at] + stray + shown.proof[at + 48 :]
        refused(world, asked, Presentation(shown.credentials, proof))
    signature = world.held["id"].signature.to_bytes()
    with pytest.raises(SignatureInvalid):
        bbs.Signature.from_bytes(stray + signature[48:])
    made = commit(world.key.public, PERSON.header(ISSUER), PERSON, b"n")[0].to_bytes()
    with pytest.raises(ProofInvalid):
        HolderCommitment.from_bytes(stray + made[48:])


def test_a_point_that_is_read_is_written_as_it_was() -> None:
    draw = random.Random(21)
    for _ in range(200):
        data = bytearray(curve.G1_GENERATOR.to_compressed_bytes())
        data[draw.randrange(48)] ^= 1 << draw.randrange(8)
        try:
            point = curve.g1_from_bytes(bytes(data))
        except ZkpError:
            continue
        assert bytes(point.to_compressed_bytes()) == bytes(data)


def test_scalars_at_the_order() -> None:
    assert scalar_from_bytes((ORDER - 1).to_bytes(32)) == -Scalar(1)
    for number in (ORDER, ORDER + 1, 2 * ORDER, 2**256 - 1):
        with pytest.raises(ZkpError):
            scalar_from_bytes(number.to_bytes(32))


def test_a_signature_of_one_interface_is_none_of_another(world: World) -> None:
    """Each has tags of its own: the same scalars, signed as plain messages, are no credential."""
    header = PERSON.header(ISSUER)
    plain = bbs.sign(world.key, header, PERSON.scalars(LI), SHA_256)
    bbs.verify(world.key.public, plain, header, PERSON.scalars(LI), SHA_256)
    with pytest.raises(SignatureInvalid):
        bbs.verify(world.key.public, plain, header, PERSON.scalars(LI), TYPED)
    asked = request(AtMost(of("income"), INCOME))
    held = {"id": replace(world.held["id"], signature=plain)}
    refused(world, asked, prove(asked, held))


# The transcript.


LABELS = (
    *("protocol", "request", "system", "credential", "key", "header", "bound"),
    *("index", "revealed", "domain", "points", "B", "A", "y", "challenge", "R1", "R0", "c"),
)


class Recording(Transcript):
    """Keeps what it absorbs."""

    parts: list[tuple[bytes, bytes]]

    def add(self, label: bytes, data: bytes) -> None:
        if not hasattr(self, "parts"):
            self.parts = []
        self.parts.append((label, data))
        super().add(label, data)


def challenge_of(parts: list[tuple[bytes, bytes]]) -> Scalar:
    transcript = Transcript(b"other")
    for label, data in parts:
        transcript.add(label, data)
    return transcript.challenge(b"x")


@pytest.fixture(scope="module")
def parts() -> list[tuple[bytes, bytes]]:
    """What the challenge c of a presentation depends on."""
    world, kept = World.make(), []

    class Kept(Recording):
        def __init__(self, protocol: bytes) -> None:
            super().__init__(protocol)
            kept.append(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(presentation, "Transcript", Kept)
        world.show(AtMost(of("income"), INCOME), Reveal(of("name")))
    [one] = kept
    return one.parts[:-1]  # c itself is absorbed last


def test_a_challenge_depends_on_the_whole_statement_and_every_move(
    parts: list[tuple[bytes, bytes]],
) -> None:
    assert [label.decode() for label, _ in parts] == [*LABELS]
    whole = challenge_of(parts)
    for number, (label, data) in enumerate(parts):
        for changed in (
            [(label, data + b"\0")],
            [(label, bytes([data[0] ^ 1]) + data[1:])] if data else [(label + b"x", data)],
            [],
            [(label, data), (label, data)],
        ):
            assert challenge_of(parts[:number] + changed + parts[number + 1 :]) != whole


def test_no_boundary_can_be_moved() -> None:
    """Between a label and its data, between two parts, between two scalars' parts."""
    told = [
        [(b"ab", b"cd"), (b"e", b"f")],
        [(b"a", b"bcd"), (b"e", b"f")],
        [(b"ab", b"c"), (b"de", b"f")],
        [(b"ab", b"cde"), (b"", b"f")],
        [(b"ab", b"cd"), (b"ef", b"")],
        [(b"ab", b"cd" + bytes(7) + b"\1e" + bytes(7) + b"\1f")],
    ]
    assert len({bytes(challenge_of(one).to_be_bytes()) for one in told}) == len(told)


def test_the_bytes_of_a_request_say_all_of_it() -> None:
    first = request(Reveal(of("name")), AtMost(of("income"), INCOME))
    others = [
        replace(first, nonce=bytes(16)),
        replace(first, audience="x"),
        replace(first, request_hash=b""),
        replace(first, statements=first.statements[::-1]),
        replace(first, statements=first.statements[:1]),
        replace(first, statements=(Reveal(of("city")), first.statements[1])),
        replace(first, statements=(first.statements[0], AtMost(of("income"), INCOME + 1))),
        replace(
            first,
            credentials=("other",),
            statements=(Reveal(of("name", "other")), AtMost(of("income", "other"), INCOME)),
        ),
    ]
    assert len({one.canonical() for one in (first, *others)}) == len(others) + 1


@pytest.mark.parametrize("part", ["key", "header", "bound", "domain", "system"])
def test_a_prover_that_tells_the_transcript_otherwise(
    world: World, part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another key, schema, form or system in the challenge than the verifier sees."""
    asked = request(AtMost(of("income"), INCOME))

    class Lying(Transcript):
        def add(self, label: bytes, data: bytes) -> None:
            super().add(label, data[:-1] + b"x" if label == part.encode() else data)

    with monkeypatch.context() as patch:
        patch.setattr(presentation, "Transcript", Lying)
        shown = prove(asked, world.held)
    refused(world, asked, shown)
    world.accept(asked, prove(asked, world.held))


# Bounds.


def test_why_the_issuer_keeps_values_within_bounds(world: World) -> None:
    """A scalar of -1 is "at most 5", by wrapping around: so no issuer of ours signs one."""
    values = PERSON.scalars(LI)
    values[PERSON.index("income")] = -Scalar(1)
    header = PERSON.header(ISSUER)
    careless = bbs.sign(world.key, header, values, TYPED)
    asked = request(AtMost(of("income"), 5))
    held = {"id": replace(world.held["id"], signature=careless)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(HeldCredential, "messages", lambda _self, _schema: values)
        bits = with_bits(*[6 >> place & 1 for place in range(16)])
        world.accept(asked, cheat(asked, held, Cheat(bits)))
    for value in (-1, 65_536, 2**64, ORDER - 1):
        with pytest.raises(AttributeInvalid):
            PERSON.scalars(LI | {"income": value})
        told = LI | {"income": value}
        made, _ = commit(world.key.public, header, PERSON, b"n")
        with pytest.raises(AttributeInvalid):
            sign_bound(world.key, header, PERSON, told, commitment=made, nonce=b"n")


def test_a_number_of_bits_is_the_schema_s(world: World) -> None:
    """The same proof for an attribute of more bits, or fewer, is none."""
    asked, shown = world.show(AtMost(of("income"), INCOME))
    for high in (65_536, 32_767):
        told = [
            replace(one, high=high) if one.name == "income" else one for one in PERSON.attributes
        ]
        header = Schema(PERSON.id, tuple(told)).header(ISSUER)
        other = {"id": replace(shown.credentials["id"], header=header)}
        refused(world, asked, Presentation(other, shown.proof))


@pytest.mark.parametrize("off", [-1, 1])
def test_one_beside_the_cutoff(world: World, off: int) -> None:
    asked, shown = world.show(AtMost(of("income"), INCOME))
    refused(world, replace(asked, statements=(AtMost(of("income"), INCOME + off),)), shown)


# Composition.


def test_a_token_of_another_issuer_or_schema_shown_as_the_issuer_s(world: World) -> None:
    other = World.make()
    asked = request(NotRevoked(of("revocation_id"), "st", EPOCH))
    good = prove(asked, world.held)
    foreign = other.token(EPOCH)
    pretended = replace(foreign, key=world.key.public)
    refused(world, asked, prove(asked, world.held | {"st": pretended}))
    shown = {**good.credentials, "st": replace(good.credentials["st"], key=other.key.public)}
    with pytest.raises(StatementInvalid, match="own issuer"):
        world.accept(asked, Presentation(shown, good.proof))
    alike = Schema("status-token/2", STATUS_TOKEN.attributes).header(ISSUER)
    shown = {**good.credentials, "st": replace(good.credentials["st"], header=alike)}
    with pytest.raises(StatementInvalid, match="schema of status tokens"):
        world.accept(asked, Presentation(shown, good.proof))


def test_two_statements_on_one_attribute_of_which_one_is_false(world: World) -> None:
    """True and false of the same attribute: the false one's digits are no bits."""
    true, false = AtMost(of("income"), INCOME), AtMost(of("income"), INCOME - 1)
    asked = request(true, false)
    bits = with_bits(*[0] * 16, -1, *[0] * 15)
    refused(world, asked, cheat(asked, world.held, Cheat(bits)))
    asked = request(MemberOf(of("income"), (INCOME, 1)), false)
    refused(world, asked, cheat(asked, world.held, Cheat(with_bits(1, 0, -1, *[0] * 15))))


def test_equal_is_of_the_same_type(world: World) -> None:
    """A date is no number, whatever their scalars."""
    asked = request(Equal(of("birth_date"), of("income")))
    with pytest.raises(StatementInvalid):
        prove(asked, world.held)


# Randomness, time and size.


def test_the_issuer_s_scalar_is_split_anew_for_each_signature(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Multiplication's time depends on its scalar: no two are by the same, all give the same."""
    masks: list[Scalar] = []
    split = bbs.sign_masked

    def seen(secret: SecretKey, masked: Any, e: Scalar, mask: Scalar) -> bbs.Signature:  # noqa: ANN401
        masks.append(mask)
        return split(secret, masked, e, mask)

    monkeypatch.setattr(bbs, "sign_masked", seen)
    header, scalars = PERSON.header(ISSUER), PERSON.scalars(LI)
    made = {bbs.sign(world.key, header, scalars, TYPED).to_bytes() for _ in range(8)}
    assert made == {world.held["id"].signature.to_bytes()}
    numbers = {int.from_bytes(mask.to_be_bytes()) for mask in masks}
    assert len(numbers) == len(masks) == 8
    assert all(1 < number < 2**128 for number in numbers)
    assert max(numbers) > 2**112


def test_randomness_is_of_the_operating_system_alone() -> None:
    for file in sorted((ROOT / "zkp").glob("*.py")):
        text = file.read_text("utf-8")
        assert re.search(r"^\s*(import|from) (random|numpy)\b", text, re.MULTILINE) is None, file
        assert file.name == "curve.py" or "secrets" not in re.findall(r"import (\w+)", text), file


def test_weights_are_drawn_after_the_proofs_are_read(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And anew each time: whoever knew them could make errors that cancel."""
    one = ToVerify(*world.show(AtMost(of("income"), INCOME)), world.issuers)
    steps: list[str] = []
    read, drawn = curve.g1_from_bytes, curve.random_weights

    def reading(data: bytes) -> object:
        steps.append("read")
        return read(data)

    def drawing(count: int) -> list[Scalar]:
        found = drawn(count)
        steps.append("drawn")
        assert all(int.from_bytes(weight.to_be_bytes()) < 2**128 for weight in found)
        assert len({bytes(weight.to_be_bytes()) for weight in found}) == count
        return found

    monkeypatch.setattr(presentation, "g1_from_bytes", reading)
    monkeypatch.setattr(batch, "random_weights", drawing)
    verify_batch([one, one])
    assert steps.index("drawn") > len(steps) - 1 - steps[::-1].index("read")


def nothing_is_computed(*_given: object) -> Any:  # noqa: ANN401 (it gives nothing)
    raise AssertionError("a curve was met")


BIG: dict[str, Callable[[World, ProofRequest, Presentation], object]] = {
    "a longer proof": lambda world, asked, shown: world.accept(
        asked, replace(shown, proof=shown.proof + bytes(32))
    ),
    "a megabyte": lambda world, asked, shown: world.accept(
        asked, replace(shown, proof=bytes(1_000_000))
    ),
    "a big set": lambda world, asked, shown: world.accept(
        replace(asked, statements=(MemberOf(of("income"), tuple(range(257))),)), shown
    ),
    "many bits": lambda world, asked, shown: world.accept(
        replace(asked, statements=(MemberOf(of("income"), tuple(range(256))),) * 5), shown
    ),
    "a long header": lambda world, asked, shown: world.accept(
        asked,
        replace(shown, credentials={"id": replace(shown.credentials["id"], header=bytes(65_537))}),
    ),
    "many presentations": lambda world, asked, shown: verify_batch(
        [ToVerify(asked, shown, world.issuers)] * (MOST_PRESENTATIONS + 1)
    ),
    "many statements": lambda _world, asked, _shown: ProofRequest(
        asked.credentials, asked.statements * 33, asked.nonce, AUDIENCE
    ),
    "many attributes": lambda _world, _asked, _shown: Schema(
        "big", tuple(Attribute(f"a{number}", "date") for number in range(128))
    ),
}


@pytest.mark.parametrize("name", BIG)
def test_sizes_are_refused_before_any_curve_work(
    world: World, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, shown = world.show(AtMost(of("income"), INCOME))
    for module in (presentation, batch, bbs, curve):
        for met in ("g1_from_bytes", "sum_of_products", "pairing_product_is_one", "domain"):
            if hasattr(module, met):
                monkeypatch.setattr(module, met, nothing_is_computed)
    with pytest.raises(ZkpError) as error:
        BIG[name](world, asked, shown)
    assert error.type in {TooLarge, ProofInvalid} or name == "many attributes"


# What was made once is read for ever.


@pytest.fixture(scope="module")
def blind() -> dict[str, Any]:
    path = Path(__file__).parent / "fixtures" / "blind.json"
    told: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return told


def test_a_kept_credential_that_was_signed_blindly(blind: dict[str, Any]) -> None:
    key = SecretKey.from_material(blind["key_material"].encode())
    header, nonce = blind["header"].encode(), bytes.fromhex(blind["nonce"])
    assert key.public.data.hex() == blind["public_key"]
    assert PERSON.header(ISSUER) == header
    made = HolderCommitment.from_bytes(bytes.fromhex(blind["commitment"]))
    values = blind["values"]
    signed = sign_bound(key, header, PERSON, values, commitment=made, nonce=nonce)
    assert signed.to_bytes().hex() == blind["signature"]
    secret = scalar_from_bytes(bytes.fromhex(blind["holder_secret"]))
    bbs.verify(key.public, signed, header, [*PERSON.scalars(values), secret], TYPED)
    asked = ProofRequest.from_json(blind["request"])
    shown = PresentedCredential(key.public, header, bound=True, revealed=blind["revealed"])
    issuers = {"id": frozenset({key.public.data})}
    verify(asked, Presentation({"id": shown}, bytes.fromhex(blind["proof"])), issuers)
    unbound = replace(shown, bound=False)
    with pytest.raises(ZkpError):
        verify(asked, Presentation({"id": unbound}, bytes.fromhex(blind["proof"])), issuers)


def test_a_lent_secret_is_not_enough(blind: dict[str, Any]) -> None:
    """Another secret than the signed one proves nothing."""
    key = SecretKey.from_material(blind["key_material"].encode())
    header = blind["header"].encode()
    signed = bbs.Signature.from_bytes(bytes.fromhex(blind["signature"]))
    held = HeldCredential(key.public, header, signed, blind["values"], scalar_from_int(7))
    older: Statement = OlderThan(of("birth_date"), 18, TODAY)
    asked = request(older)
    with pytest.raises(ProofInvalid):
        verify(asked, prove(asked, {"id": held}), {"id": frozenset({key.public.data})})
