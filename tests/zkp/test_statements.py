"""Every kind of statement: true at its edges, refused by the honest prover one step beyond."""

import datetime as dt

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.zkp.world import EPOCH, LI, PERSON, TODAY, World, of, request
from zkp.errors import (
    AttributeInvalid,
    SchemaInvalid,
    StatementFalse,
    StatementInvalid,
    TooLarge,
    ZkpError,
)
from zkp.predicates import latest_birthday
from zkp.presentation import prove
from zkp.request import ProofRequest
from zkp.schema import Attribute, Schema, Value
from zkp.statements import (
    AtLeast,
    AtMost,
    Between,
    Equal,
    MemberOf,
    NotMemberOf,
    NotRevoked,
    OlderThan,
    Place,
    Reveal,
    Statement,
)


@pytest.fixture(scope="module")
def world() -> World:
    made = World.make()
    made.held["other"] = made.issue(PERSON, LI | {"name": "Han Meimei", "income": 1})
    return made


INCOMES = st.integers(0, 65_535)
TRUE: dict[str, Statement] = {
    "older, on the birthday": OlderThan(of("birth_date"), 18, TODAY),
    "older, long since": OlderThan(of("birth_date"), 0, TODAY),
    "at most, exactly": AtMost(of("income"), 30_000),
    "at most, the largest": AtMost(of("income"), 65_535),
    "at least, exactly": AtLeast(of("income"), 30_000),
    "at least, the smallest": AtLeast(of("income"), 0),
    "between, a point": Between(of("income"), 30_000, 30_000),
    "between, at the low end": Between(of("income"), 30_000, 31_000),
    "between, at the high end": Between(of("income"), 29_000, 30_000),
    "below zero": Between(of("balance"), -20, -20),
    "a date between": Between(of("birth_date"), "2008-11-26", "2008-11-26"),
    "member": MemberOf(of("city"), ("Paris", "Berlin")),
    "member of one": MemberOf(of("city"), ("Berlin",)),
    "member of numbers": MemberOf(of("income"), (1, 29_999, 30_000)),
    "not a member": NotMemberOf(of("city"), ("Paris", "Beijing")),
    "not a member, next to the walls": NotMemberOf(of("income"), (29_999, 30_001)),
    "not a member, at the ends": NotMemberOf(of("income"), (0, 65_535)),
    "equal hidden codes": Equal(of("city"), of("city", "other")),
    "equal hidden texts": Equal(of("employer"), of("employer", "other")),
    "revealed": Reveal(of("name")),
    "not revoked": NotRevoked(of("revocation_id"), "st", EPOCH),
}
FALSE: dict[str, Statement] = {
    "older, the day before": OlderThan(of("birth_date"), 18, "2026-11-25"),
    "older, by a year": OlderThan(of("birth_date"), 19, TODAY),
    "at most, one less": AtMost(of("income"), 29_999),
    "at least, one more": AtLeast(of("income"), 30_001),
    "between, below": Between(of("income"), 30_001, 31_000),
    "between, above": Between(of("income"), 29_000, 29_999),
    "below zero": AtLeast(of("balance"), -19),
    "member": MemberOf(of("city"), ("Paris", "Beijing")),
    "member of numbers": MemberOf(of("income"), (29_999, 30_001, 10_000, 20_000)),
    "not a member": NotMemberOf(of("city"), ("Paris", "Berlin")),
    "not a member of numbers": NotMemberOf(of("income"), (1, 30_000, 40_000)),
    "equal": Equal(of("income"), of("income", "other")),
    "equal texts": Equal(of("name"), of("name", "other")),
}
MEANINGLESS: dict[str, Statement] = {
    "a day that is none": OlderThan(of("birth_date"), 18, "2026-02-30"),
    "older by a number": OlderThan(of("income"), 18, TODAY),
    "before the calendar": OlderThan(of("birth_date"), 3000, TODAY),
    "above the bounds": AtMost(of("income"), 65_536),
    "below the bounds": AtLeast(of("balance"), -501),
    "of another type": AtMost(of("income"), "30000"),
    "a truth value": AtMost(of("income"), True),  # noqa: FBT003
    "an order of texts": AtMost(of("name"), "M"),
    "an empty range": Between(of("income"), 2, 1),
    "a member twice": MemberOf(of("city"), ("Paris", "Paris")),
    "a code that is none": MemberOf(of("city"), ("Rome",)),
    "nothing is left": NotMemberOf(of("country"), ("CN", "DE")),
    "equal to itself": Equal(of("city"), of("city")),
    "equal across types": Equal(of("city"), of("country")),
    "equal across bounds": Equal(of("income"), of("balance")),
    "no such attribute": Reveal(of("shoe_size")),
    "a token of another schema": NotRevoked(of("revocation_id"), "other", EPOCH),
    "a token of another epoch": NotRevoked(of("revocation_id"), "st", EPOCH + 1),
}


@pytest.mark.parametrize("name", TRUE)
def test_a_true_statement_is_proven(world: World, name: str) -> None:
    asked, shown = world.show(TRUE[name])
    verified = world.accept(asked, shown)
    assert verified.request.statements == (TRUE[name],)
    for credential, one in verified.credentials.items():
        revealed = {LI["name"]} if name == "revealed" else set()
        revealed |= {EPOCH} if credential == "st" else set()
        assert set(one.revealed.values()) == revealed


@pytest.mark.parametrize("name", FALSE)
def test_the_prover_says_what_is_false(world: World, name: str) -> None:
    with pytest.raises(StatementFalse):
        world.show(FALSE[name])


@pytest.mark.parametrize("name", MEANINGLESS)
def test_what_says_nothing_is_refused(world: World, name: str) -> None:
    with pytest.raises(StatementInvalid):
        world.show(MEANINGLESS[name])


def test_all_at_once_in_one_proof(world: World) -> None:
    statements = [one for name, one in TRUE.items() if name != "revealed"]
    asked, shown = world.show(*statements, Reveal(of("country", "other")))
    assert set(world.accept(asked, shown).credentials) == {"id", "other", "st"}


def test_contradictions_and_what_is_both_shown_and_hidden(world: World) -> None:
    with pytest.raises(StatementFalse):
        world.show(AtMost(of("income"), 1), AtLeast(of("income"), 2))
    with pytest.raises(StatementInvalid, match="reveals"):
        world.show(Reveal(of("income")), AtMost(of("income"), 40_000))


def test_an_unrevoked_credential_of_another_customer(world: World) -> None:
    held = world.held | {"st": world.token(EPOCH, "17")}
    with pytest.raises(StatementFalse):
        prove(request(NotRevoked(of("revocation_id"), "st", EPOCH)), held)


def test_a_token_of_another_issuer() -> None:
    world, other = World.make(), World.make()
    held = world.held | {"st": other.token(EPOCH)}
    with pytest.raises(StatementInvalid, match="own issuer"):
        prove(request(NotRevoked(of("revocation_id"), "st", EPOCH)), held)


@pytest.mark.parametrize(
    ("years", "on", "born"),
    [
        (18, "2026-11-26", "2008-11-26"),
        (18, "2026-02-28", "2008-02-28"),  # whoever was born on the 29th waits
        (18, "2026-03-01", "2008-03-01"),
        (18, "2028-02-29", "2010-02-28"),
        (20, "2028-02-29", "2008-02-29"),
        (0, "2026-01-01", "2026-01-01"),
    ],
)
def test_years_are_of_the_calendar(years: int, on: str, born: str) -> None:
    assert latest_birthday(years, on) == born


@given(st.dates(dt.date(1900, 1, 1), dt.date(2020, 12, 31)), st.integers(0, 100))
def test_nobody_is_older_before_the_anniversary(birth: dt.date, years: int) -> None:
    try:
        anniversary = birth.replace(year=birth.year + years)
    except ValueError:
        anniversary = dt.date(birth.year + years, 3, 1)
    assert latest_birthday(years, anniversary.isoformat()) >= birth.isoformat()
    before = anniversary - dt.timedelta(days=1)
    assert latest_birthday(years, before.isoformat()) < birth.isoformat()


@settings(max_examples=25, deadline=None)
@given(
    st.integers(0, 65_535),
    st.integers(0, 65_535),
    st.sets(st.integers(0, 65_535), min_size=1, max_size=6),
)
def test_the_prover_proves_exactly_what_is_true(income: int, limit: int, members: set[int]) -> None:
    world = World.make(income=income)
    values: tuple[Value, ...] = tuple(sorted(members))
    for statement, holds in (
        (AtMost(of("income"), limit), income <= limit),
        (AtLeast(of("income"), limit), income >= limit),
        (MemberOf(of("income"), values), income in members),
        (NotMemberOf(of("income"), values), income not in members),
    ):
        if holds:
            world.accept(*world.show(statement))
        else:
            with pytest.raises(StatementFalse):
                world.show(statement)


def test_requests_travel_as_json(world: World) -> None:
    asked = request(*TRUE.values())
    assert ProofRequest.from_json(asked.to_json()) == asked
    world.accept(*world.show(*[one for name, one in TRUE.items() if name != "revealed"]))


@pytest.mark.parametrize(
    "changed",
    [
        {"version": "2"},
        {"nonce": "AAAA"},
        {"nonce": "A" * 22 + "="},
        {"nonce": 7},
        {"audience": ""},
        {"audience": "\ud800"},
        {"credentials": ["\udfff"]},
        {"credentials": []},
        {"credentials": ["id", "id"]},
        {"credentials": ["id", "stranger"]},
        {"credentials": "id"},
        {"statements": []},
        {"statements": [{}]},
        {"statements": [[]]},
        {"statements": [{"type": ["reveal"], "credential": "id", "attribute": "name"}]},
        {"statements": [{"type": "reveal", "credential": "id", "attribute": "name", "x": 1}]},
        {"statements": [{"type": "at_most", "credential": "id", "attribute": "a", "value": 1.5}]},
        {"statements": [{"type": "at_most", "credential": "id", "attribute": "a", "value": None}]},
        {"statements": [{"type": "member_of", "credential": "id", "attribute": "a", "values": []}]},
        {"more": 1},
    ],
    ids=str,
)
def test_another_form_is_refused(changed: dict[str, object]) -> None:
    with pytest.raises(StatementInvalid):
        ProofRequest.from_json(request(Reveal(of("name"))).to_json() | changed)


def test_caps_come_before_any_work() -> None:
    told = request(Reveal(of("name"))).to_json()
    for changed in ({"statements": told["statements"] * 33}, {"credentials": ["id"] * 9}):
        with pytest.raises(TooLarge):
            ProofRequest.from_json(told | changed)
    world = World.make()
    with pytest.raises(TooLarge):
        world.show(MemberOf(of("income"), tuple(range(257))))
    with pytest.raises(TooLarge, match="bits"):
        world.show(*[MemberOf(of("income"), tuple(range(255 + n))) for n in range(2)] * 3)


@pytest.mark.parametrize(
    "changed",
    [
        {"birth_date": "1899-12-31"},
        {"birth_date": "2079-06-07"},
        {"birth_date": "2008-11-26T00:00"},
        {"birth_date": 39_411},
        {"income": -1},
        {"income": 65_536},
        {"income": True},
        {"balance": -501},
        {"city": "Rome"},
        {"revocation_id": str(2**128)},
        {"revocation_id": "007"},
        {"revocation_id": "9" * 5000},
        {"name": "x" * 4097},
        {"name": "\ud800"},
        {"unknown": 1},
    ],
    ids=lambda changed: f"{next(iter(changed))}-{str(next(iter(changed.values())))[:12]!a}",
)
def test_the_issuer_signs_nothing_out_of_bounds(changed: dict[str, Value]) -> None:
    with pytest.raises(AttributeInvalid) as error:
        PERSON.scalars(LI | changed)
    assert str(next(iter(changed.values()))) not in str(error.value)


def test_headers_hold_the_schema_and_nothing_else() -> None:
    header = PERSON.header("https://issuer.example")
    assert Schema.from_header(header) == (PERSON, "https://issuer.example")
    for data in (
        b"",
        b"{}",
        b"[1]",
        b"\xff",
        b"[" * 20_000,
        header + b" ",
        header.replace(b'"schema"', b'"schemas"'),
        header.replace(b'"low":0', b'"low":0.0'),
        header.replace(b'"low":0', b'"low":true'),
        header.replace(b'"format"', b'"format":1,"format"'),
        header.replace(b"person/1", b"\\ud800"),
        header.replace(b'"codes":["CN","DE"]', b'"codes":{"CN":1,"DE":2}'),
        header.replace(b'"type":"text"', b'"type":{"a":"text"}'),
        header.replace(b'"type":"text"', b'"type":["text"]'),
    ):
        with pytest.raises(SchemaInvalid):
            Schema.from_header(data)
    with pytest.raises(TooLarge):
        Schema.from_header(bytes(65_537))


@pytest.mark.parametrize(
    "make",
    [
        lambda: Attribute("Name", "text"),
        lambda: Attribute("a", "number", 5, 5, "EUR"),
        lambda: Attribute("a", "number", 0, 2**32, "EUR"),
        lambda: Attribute("a", "code", codes=("one",)),
        lambda: Attribute("a", "code", codes=("one", "one")),
        lambda: Attribute("a", "text", codes=("one", "two")),
        lambda: Attribute("a", "date", 0, 5),
        lambda: Schema("s", ()),
        lambda: Schema("", (Attribute("a", "text"),)),
        lambda: Schema("s", (Attribute("a", "text"), Attribute("a", "date"))),
        lambda: PERSON.index("shoe_size"),
    ],
    ids=[f"schema {number}" for number in range(11)],
)
def test_a_schema_that_cannot_be_one(make: object) -> None:
    assert callable(make)
    with pytest.raises(SchemaInvalid):
        make()


def test_places_name_credentials_of_the_request() -> None:
    with pytest.raises(ZkpError):
        ProofRequest(("id",), (Reveal(Place("other", "name")),), bytes(16), "a")
