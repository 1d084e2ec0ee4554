"""Two implementations of the proofs, made from one document: each verifies what the other proves.

The other one is `zkp/` in this folder, in TypeScript on npm's @noble/curves. BBS by itself is also
checked against npm's @digitalbazaar/bbs-signatures, which neither of the two was made from.
"""

import json
import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise

import pytest

from tests.faults.lengths import SOAK, short_or_long
from tests.interop.zkp_party import Party, Refused, scalar, signature
from tests.programs import ROOT
from tests.zkp.world import CITIES, EPOCH, ISSUER, LI, PERSON, TODAY, World, of, request
from zkp import bbs
from zkp.batch import verify
from zkp.curve import ORDER
from zkp.errors import ZkpError
from zkp.holder import HolderCommitment, commit, sign_bound
from zkp.keys import SecretKey
from zkp.layout import PresentedCredential
from zkp.presentation import HeldCredential, Presentation, prove
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
from zkp.suite import SHA_256, SHAKE_256

SHOP = Schema(
    "loyalty/1",
    (
        Attribute("employer", "text"),
        Attribute("points", "number", -7, 8, "points"),
        Attribute("city", "code", codes=CITIES),
    ),
)
SHOPPER: dict[str, str | int] = {"employer": LI["employer"], "points": -3, "city": "Paris"}
BLIND = ROOT / "tests" / "zkp" / "fixtures" / "blind.json"
DRAWN = 2  # seeds, of every kind of statement


@pytest.fixture(scope="module")
def party() -> Iterator[Party]:
    started = Party.start()
    yield started
    started.stop()


@pytest.fixture(scope="module")
def world() -> World:
    """A customer, a status token, and a credential of another issuer and schema."""
    made, shop = World.make(), World.make()
    made.held["other"] = shop.issue(SHOP, SHOPPER, "https://shop.example/é")
    return made


@pytest.fixture(scope="module")
def issuers(world: World) -> dict[str, frozenset[bytes]]:
    return {name: frozenset({held.key.data}) for name, held in world.held.items()}


def _set(draw: random.Random, *, holding: bool) -> tuple[int, ...]:
    members = set(draw.sample(range(65_536), draw.randint(1, 5))) - {30_000}
    listed = list(members | ({30_000} if holding or not members else set()))
    draw.shuffle(listed)
    return tuple(listed)


# True statements of `LI`, drawn anew for each seed; the first seed takes the edges.
KINDS: dict[str, Callable[[random.Random], Statement]] = {
    "reveal": lambda draw: Reveal(of(draw.choice(sorted(LI)))),
    "at most": lambda draw: AtMost(of("income"), draw.randint(30_000, 65_535)),
    "at least": lambda draw: AtLeast(of("balance"), draw.randint(-500, -20)),
    "between": lambda draw: Between(
        of("income"), draw.randint(0, 30_000), draw.randint(30_000, 65_535)
    ),
    "older": lambda draw: OlderThan(of("birth_date"), draw.randint(0, 18), TODAY),
    "member": lambda draw: MemberOf(of("income"), _set(draw, holding=True)),
    "not a member": lambda draw: NotMemberOf(
        of("city"), tuple(draw.sample(["Beijing", "Shanghai", "Paris"], draw.randint(1, 3)))
    ),
    "equal": lambda _: Equal(of("employer"), of("employer", "other")),
    "not revoked": lambda _: NotRevoked(of("revocation_id"), "st", EPOCH),
}


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", KINDS)
def test_each_verifies_what_the_other_proves(
    party: Party, world: World, issuers: dict[str, frozenset[bytes]], name: str
) -> None:
    for seed in range(short_or_long(DRAWN, 40)):
        asked = request(KINDS[name](random.Random(f"{name} {seed}")))
        verify(asked, party.prove(asked, world.held), issuers)
        party.verify(asked, prove(asked, world.held), issuers)


EDGES: tuple[Statement, ...] = (
    OlderThan(of("birth_date"), 18, TODAY),
    AtMost(of("income"), 30_000),
    AtLeast(of("income"), 30_000),
    Between(of("points", "other"), -3, -3),
    MemberOf(of("city"), ("Paris", "Beijing", "Berlin")),
    NotMemberOf(of("income"), (29_999, 30_001)),
    Equal(of("employer"), of("employer", "other")),
    NotRevoked(of("revocation_id"), "st", EPOCH),
    Reveal(of("name")),
    Reveal(of("city", "other")),
)


def test_all_at_once_over_three_credentials_of_two_issuers(
    party: Party, world: World, issuers: dict[str, frozenset[bytes]]
) -> None:
    asked = replace(request(*EDGES), audience="https://prüfer.example/\x7f\u2028😀")
    for shown in (party.prove(asked, world.held), prove(asked, world.held)):
        assert set(shown.credentials) == {"id", "st", "other"}
        verify(asked, shown, issuers)
        party.verify(asked, shown, issuers)


FALSE: dict[str, Statement] = {
    "at most": AtMost(of("income"), 29_999),
    "at least": AtLeast(of("income"), 30_001),
    "between": Between(of("income"), 30_001, 30_002),
    "older": OlderThan(of("birth_date"), 18, "2026-11-25"),
    "older, on a leap day": OlderThan(of("birth_date"), 18, "2024-02-29"),
    "member": MemberOf(of("income"), (10_000, 20_000)),
    "not a member": NotMemberOf(of("income"), (1, 30_000)),
    "equal": Equal(of("city"), of("city", "other")),
}


@pytest.mark.parametrize("name", FALSE)
def test_it_proves_nothing_false(party: Party, world: World, name: str) -> None:
    with pytest.raises(Refused, match="statement_false"):
        party.prove(request(FALSE[name]), world.held)


def test_it_refuses_what_says_nothing(party: Party, world: World) -> None:
    for statement in (
        AtMost(of("name"), "M"),
        Between(of("income"), 2, 1),
        Equal(of("city"), of("country")),
        Equal(of("income"), of("balance")),
        MemberOf(of("city"), ("Paris", "Paris")),
        NotMemberOf(of("country"), ("CN", "DE")),
        OlderThan(of("birth_date"), 18, "2026-02-30"),
        NotRevoked(of("revocation_id"), "st", EPOCH + 1),
        NotRevoked(of("revocation_id"), "other", EPOCH),
    ):
        with pytest.raises(Refused, match="statement_invalid"):
            party.prove(request(statement), world.held)


def test_both_refuse_what_was_tampered_with(
    party: Party, world: World, issuers: dict[str, frozenset[bytes]]
) -> None:
    """Points and scalars of a proof, one bit of each; and other words around it."""
    draw = random.Random(11)
    asked = request(AtMost(of("balance"), 0), NotRevoked(of("revocation_id"), "st", EPOCH))
    shown = party.prove(asked, world.held)
    proof, split = shown.proof, 1 + 14 * 48
    parts = list(pairwise([*range(1, split, 48), *range(split, len(proof), 32), len(proof)]))
    changed = []
    for start, end in (
        parts if SOAK else [*parts[:14:2], *parts[14:22], *draw.sample(parts[22:], 3)]
    ):
        flipped = bytearray(proof)
        flipped[draw.randrange(start, end)] ^= 1 << draw.randrange(8)
        changed.append((asked, replace(shown, proof=bytes(flipped))))
    last = int.from_bytes(proof[-32:])
    others = [number for number in (last + ORDER, (last + 1) % ORDER) if number < 2**256]
    changed += [
        (asked, replace(shown, proof=proof[:-32] + number.to_bytes(32))) for number in others
    ]
    identity = bytes([0xC0]) + bytes(47)
    changed += [
        (asked, replace(shown, proof=proof[:1] + identity + proof[49:])),
        (asked, replace(shown, proof=proof[:-1])),
        (asked, replace(shown, proof=b"\2" + proof[1:])),
        (replace(asked, nonce=bytes(16)), shown),
        (replace(asked, audience="another"), shown),
        (replace(asked, request_hash=b""), shown),
        (replace(asked, statements=asked.statements[::-1]), shown),
        (replace(asked, statements=(AtMost(of("balance"), 1), asked.statements[1])), shown),
    ]
    token = replace(shown.credentials["st"], revealed={"epoch": EPOCH + 1})
    changed.append((asked, replace(shown, credentials={**shown.credentials, "st": token})))
    for words, spoilt in changed:
        with pytest.raises(ZkpError):
            verify(words, spoilt, issuers)
        with pytest.raises(Refused):
            party.verify(words, spoilt, issuers)


def test_a_stranger_s_credential_is_refused_by_both(
    party: Party, world: World, issuers: dict[str, frozenset[bytes]]
) -> None:
    asked = request(Reveal(of("name")))
    stranger = World.make()
    for shown in (prove(asked, stranger.held), party.prove(asked, stranger.held)):
        with pytest.raises(ZkpError):
            verify(asked, shown, issuers)
        with pytest.raises(Refused, match="proof_invalid"):
            party.verify(asked, shown, issuers)


def test_headers_and_signatures_are_the_same(party: Party, world: World) -> None:
    told = {"id": SHOP.id, "attributes": [one.to_json() for one in SHOP.attributes]}
    header = SHOP.header("https://shop.example/é")
    assert party("header", schema=told, issuer="https://shop.example/é") == header.hex()
    held = world.held["id"]
    made = party("issue", secret=world.key.to_bytes(), header=held.header, values=LI)
    assert made == held.signature.to_bytes().hex(), "signing is deterministic"
    for bad in ({"income": 65_536}, {"city": "Rome"}, {"birth_date": "2026-02-30"}):
        with pytest.raises(Refused, match="attribute_invalid"):
            party("issue", secret=world.key.to_bytes(), header=held.header, values=LI | bad)
    for broken in (held.header + b" ", held.header.replace(b'"low":0', b'"low":0.0'), b"[]"):
        with pytest.raises(Refused, match="schema_invalid"):
            party("issue", secret=world.key.to_bytes(), header=broken, values=LI)


def test_a_holder_s_secret_is_signed_blindly_both_ways(
    party: Party, world: World, issuers: dict[str, frozenset[bytes]]
) -> None:
    key, header, nonce = world.key, PERSON.header(ISSUER), b"n" * 16
    theirs = party("commit", key=key.public.data, header=header, nonce=nonce)
    commitment = HolderCommitment.from_bytes(bytes.fromhex(theirs["commitment"]))
    signed = sign_bound(key, header, PERSON, LI, commitment=commitment, nonce=nonce)
    bound = HeldCredential(key.public, header, signed, LI, scalar(theirs["secret"]))
    ours, secret = commit(key.public, header, PERSON, nonce)
    told = {"secret": key.to_bytes(), "header": header, "values": LI, "nonce": nonce}
    made = party("sign_bound", **told, commitment=ours.to_bytes())
    other = HeldCredential(key.public, header, signature(made), LI, secret)
    asked = request(OlderThan(of("birth_date"), 18, TODAY))
    for held in (bound, other):
        for shown in (party.prove(asked, {"id": held}), prove(asked, {"id": held})):
            assert len(shown.proof) == 1329 + 32
            verify(asked, shown, issuers)
            party.verify(asked, shown, issuers)
    with pytest.raises(Refused, match="proof_invalid"):
        party("sign_bound", **{**told, "nonce": b"m" * 16}, commitment=ours.to_bytes())


def test_the_kept_credential_is_signed_and_its_proof_verified(party: Party) -> None:
    told = json.loads(BLIND.read_text("utf-8"))
    header, key = told["header"].encode(), SecretKey.from_material(told["key_material"].encode())
    signed = party(
        "sign_bound",
        secret=key.to_bytes(),
        header=header,
        values=told["values"],
        commitment=bytes.fromhex(told["commitment"]),
        nonce=bytes.fromhex(told["nonce"]),
    )
    assert signed == told["signature"]
    shown = PresentedCredential(key.public, header, bound=True, revealed=told["revealed"])
    presented = Presentation({"id": shown}, bytes.fromhex(told["proof"]))
    asked = ProofRequest.from_json(told["request"])
    party.verify(asked, presented, {"id": frozenset({key.public.data})})


@pytest.mark.parametrize("suite", ["SHA-256", "SHAKE-256"])
@pytest.mark.parametrize("who", ["bbs", "theirs"], ids=["ours in TypeScript", "digitalbazaar"])
def test_bbs_by_itself(party: Party, suite: str, who: str) -> None:
    """Sign, verify, prove and check, each way; signatures byte for byte."""
    interface = SHA_256 if suite == "SHA-256" else SHAKE_256
    draw = random.Random(suite + who)
    key = SecretKey.from_material(draw.randbytes(32))
    assert party("bbs_key", secret=key.to_bytes()) == key.public.data.hex()
    for count in (1, 5):
        messages = [draw.randbytes(draw.randrange(40)) for _ in range(count)]
        scalars = [interface.message_scalar(one) for one in messages]
        header, occasion = draw.randbytes(20), draw.randbytes(20)
        signed = bbs.sign(key, header, scalars, interface)
        told = {
            "suite": suite,
            "key": key.public.data,
            "header": header,
            "messages": messages,
            "signature": signed.to_bytes(),
            "presentation_header": occasion,
            "disclosed": list(range(0, count, 2)),
        }
        assert party(f"{who}_sign", **told, secret=key.to_bytes()) == signed.to_bytes().hex()
        assert party(f"{who}_verify", **told) is True
        shown = {index: scalars[index] for index in range(0, count, 2)}
        proof = bytes.fromhex(party(f"{who}_prove", **told))
        bbs.verify_proof(key.public, proof, header, shown, occasion, interface=interface)
        ours = bbs.prove(
            key.public, signed, header, scalars, sorted(shown), occasion, interface=interface
        )
        assert party(f"{who}_check", **told, proof=ours) is True
        spoilt = bytearray(ours)
        spoilt[-1] ^= 1
        with pytest.raises(ZkpError):
            bbs.verify_proof(
                key.public, bytes(spoilt), header, shown, occasion, interface=interface
            )
        assert party.accepts(f"{who}_check", **told, proof=bytes(spoilt)) is False
