"""Decisions that rest on a credential which is not revoked: epochs, and their ends."""

import secrets
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from broker.domain.demand import Issuer, Proven, Trusted, newest, read_demand
from broker.domain.errors import InvalidRequest
from broker.domain.proof import ANSWER_SECONDS
from broker.usecases.demand import distrust_issuer, set_demand, trust_issuer
from tests.broker.flow_world import DAY, TEMPLATE, World, world
from tests.broker.proving import ISSUER, LI, Registry, follow, holder, registry, show
from tests.broker.test_attribute_status import KIND, issued, register, revoke, take
from tests.broker.test_demands import PURPOSE, consenting
from wallet_adapters.loopback import HeldAttributes, Wallet
from wallet_adapters.loopback.errors import NothingToPresent
from wallet_adapters.status_token import EPOCH_SECONDS, ends_at, epoch_at
from zkp import (
    STATUS_TOKEN,
    TYPED,
    AtLeast,
    Attribute,
    HeldCredential,
    NotRevoked,
    Place,
    Schema,
    sign,
)

EARNS = {"type": "at_least", "attribute": "income", "value": 20_000}
STANDS = {"type": "not_revoked", "attribute": "revocation_id"}
DEMAND: dict[str, Any] = {
    "schema": KIND["id"],
    "statements": [EARNS, STANDS],
    "max_age_seconds": 30 * DAY,
}
HOUR = 3_600


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[World]:
    with world(tmp_path / "home") as made:
        register(made)
        set_demand(made.ctx, "demo", PURPOSE, DEMAND)
        yield made


def asked_for(made: World, contact: str) -> dict[str, Any]:
    """What a denial says to ask for."""
    obligations = made.decide(contact)["context"]["obligations"]
    (told,) = (one["properties"] for one in obligations if one["id"] == "request_proof")
    return {name: told[name] for name in ("credentials", "statements")}


def ask(made: World, contact: str, **more: Any) -> Any:  # noqa: ANN401 (an answer)
    body = {"template": TEMPLATE, "subject_ref": contact, **more}
    headers = {"Idempotency-Key": secrets.token_hex(8)}
    answer = made.api("POST", "/v1/proof-requests", json=body, headers=headers)
    made.advance()
    return answer


def prove(made: World, wallet: Wallet, contact: str, **more: Any) -> bool:  # noqa: ANN401
    """Answer what a denial says to ask for; whether it was proven."""
    opened = ask(made, contact, **(more or asked_for(made, contact)))
    assert opened.status_code == 201, opened.text
    try:
        show(made, wallet, opened.json()["wallet_link"])
    except NothingToPresent:
        return False
    return bool(follow(made, opened.json())["state"] == "proven")


def wait_until(made: World, moment: int) -> None:
    made.advance(moment - made.time[0])


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_it_counts_until_its_epoch_is_over_and_no_request_of_it_is_open(
    tmp_path: Path, request: pytest.FixtureRequest, database: str
) -> None:
    url = request.getfixturevalue("postgres_database") if database == "postgresql" else ""
    with world(tmp_path / "home", database_url=url) as made:
        register(made)
        contact, li = consenting(made), holder(made)
        offer_id = issued(made, li)
        set_demand(made.ctx, "demo", PURPOSE, DEMAND)
        assert made.reasons(contact) == ["proof_required"]
        full = asked_for(made, contact)
        only = {"id": full["credentials"]["holder"]}
        earns = [EARNS | {"credential": "id"}]
        assert prove(made, li, contact, credentials=only, statements=earns)
        assert made.reasons(contact) == ["proof_required"]  # who knows whether it was revoked
        take(made, li)
        assert prove(made, li, contact)
        assert made.reasons(contact) == []
        over = ends_at(epoch_at(made.time[0])) + ANSWER_SECONDS
        wait_until(made, over - 1)
        assert made.reasons(contact) == []
        wait_until(made, over)
        assert made.reasons(contact) == ["proof_status_over"]
        assert not prove(made, li, contact)  # the token is of the epoch that is over
        take(made, li)
        assert prove(made, li, contact)
        assert made.reasons(contact) == []
        revoke(made, offer_id)
        made.advance(EPOCH_SECONDS + ANSWER_SECONDS)
        take(made, li)
        assert not prove(made, li, contact)
        assert made.reasons(contact) == ["proof_status_over"]


def test_an_epoch_that_ends_between_request_and_answer(broker: World) -> None:
    contact, li = consenting(broker), holder(broker)
    issued(broker, li)
    end = ends_at(epoch_at(broker.time[0]))
    wait_until(broker, end - 2)
    take(broker, li)
    asking = asked_for(broker, contact)
    opened, late = (ask(broker, contact, **asking).json() for _ in range(2))
    wait_until(broker, end + 5)
    refused = ask(broker, contact, **asking)
    assert (refused.status_code, refused.json()["code"]) == (400, "epoch_not_current")
    show(broker, li, opened["wallet_link"])
    assert follow(broker, opened)["state"] == "proven"
    assert broker.reasons(contact) == []
    wait_until(broker, end + ANSWER_SECONDS)
    assert broker.reasons(contact) == ["proof_status_over"]
    # By then no request of that epoch is open any more.
    assert follow(broker, late)["state"] == "expired"
    assert broker.http.get(f"/openid4vp/request/{late['id']}").status_code == 410


def token(by: Registry, revocation_id: str, epoch: int) -> HeldAttributes:
    """A status token of an issuer elsewhere."""
    values: dict[str, str | int] = {"epoch": epoch, "revocation_id": revocation_id}
    header = STATUS_TOKEN.header(by.issuer)
    signature = sign(by.key, header, STATUS_TOKEN.scalars(values), TYPED)
    return HeldAttributes.of(HeldCredential(by.key.public, header, signature, values))


def elsewhere(made: World, by: Registry, epoch: int) -> Wallet:
    """A wallet with a credential and a token of another issuer."""
    identifier = str(secrets.randbits(128))
    schema = Schema(KIND["id"], tuple(Attribute.from_json(one) for one in KIND["attributes"]))
    credential = by.issue({**LI, "revocation_id": identifier}, schema)
    return holder(made, credential, token(by, identifier, epoch))


def of_epoch(by: Registry, epoch: int) -> dict[str, Any]:
    """A request for a proof by another issuer's credentials."""
    issuers = [by.trusted()]
    stands = STANDS | {"credential": "id", "token": "t", "epoch": epoch}
    return {
        "credentials": {
            "id": {"schema": KIND["id"], "issuers": issuers},
            "t": {"schema": "status-token/1", "issuers": issuers},
        },
        "statements": [EARNS | {"credential": "id"}, stands],
    }


def test_epochs_of_another_issuer_have_the_length_that_the_operator_named(broker: World) -> None:
    office, contact = registry(), consenting(broker)
    now = broker.time[0] // HOUR
    asking, li = of_epoch(office, now), elsewhere(broker, office, now)
    trusted = Issuer(KIND["id"], **office.trusted())
    trust_issuer(broker.ctx, "demo", trusted)
    assert prove(broker, li, contact, **asking)
    assert broker.reasons(contact) == ["proof_required"]  # nobody knows when its epoch ends
    distrust_issuer(broker.ctx, "demo", trusted)
    trust_issuer(broker.ctx, "demo", trusted, HOUR)
    assert broker.reasons(contact) == []
    wait_until(broker, (now + 1) * HOUR + ANSWER_SECONDS)
    assert broker.reasons(contact) == ["proof_status_over"]
    for other in (now, now + 2):
        refused = ask(broker, contact, **of_epoch(office, other))
        assert (refused.status_code, refused.json()["code"]) == (400, "epoch_not_current")
    again = elsewhere(broker, office, now + 1)
    assert prove(broker, again, contact, **of_epoch(office, now + 1))
    assert broker.reasons(contact) == []
    for length in (0, 59, 10**9):
        with pytest.raises(InvalidRequest):
            trust_issuer(broker.ctx, "demo", Issuer("x/1", **office.trusted()), length)


def test_a_token_of_an_epoch_to_come_says_nothing(broker: World) -> None:
    office, contact = registry(), consenting(broker)
    far = broker.time[0] // HOUR + 1_000
    assert prove(broker, elsewhere(broker, office, far), contact, **of_epoch(office, far))
    trust_issuer(broker.ctx, "demo", Issuer(KIND["id"], **office.trusted()), HOUR)
    assert broker.reasons(contact) == ["proof_required"]


ID, OTHER = Place("id", "revocation_id"), Place("other", "revocation_id")
BY = Issuer(KIND["id"], ISSUER, "k")
STATUS = Issuer("status-token/1", ISSUER, "k")
RICH = AtLeast(Place("id", "income"), 20_000)


def proven(at: int, *epochs: int, place: Place = ID, by: Issuer = BY) -> Proven:
    shown = tuple(NotRevoked(place, "t", epoch) for epoch in epochs)
    issuers = {"id": by, "t": replace(STATUS, issuer=by.issuer, key=by.key)} | (
        {"other": BY} if place is OTHER else {}
    )
    return Proven(f"zp-{at}", at, (RICH, *shown), issuers)


def test_that_which_counts_the_longest_is_taken() -> None:
    demand, trusted = read_demand(DEMAND), [Trusted(BY, 100)]
    one, two = proven(1_010, 10), proven(1_005, 9)
    for found in ([one, two], [two, one]):
        taken = newest(demand, trusted, found)
        assert taken is not None
        assert (taken.request_id, taken.status_until) == ("zp-1010", 1_100 + ANSWER_SECONDS)
    # Answered later, asked before: its epoch is over sooner.
    late = proven(1_015, 9)
    assert getattr(newest(demand, trusted, [one, late]), "request_id", None) == "zp-1010"
    assert newest(demand, trusted, [proven(1_010)]) is None
    assert newest(demand, trusted, [proven(1_010, 11)]) is None
    assert newest(demand, trusted, [proven(1_010, 10, place=OTHER)]) is None
    assert newest(demand, [Trusted(BY)], [one]) is None
    without = read_demand(DEMAND | {"statements": [EARNS]})
    taken = newest(without, [Trusted(BY)], [one])
    assert taken is not None
    assert taken.status_until is None


def test_a_status_that_lasts_longer_does_not_hide_a_younger_proof() -> None:
    demand = read_demand(DEMAND | {"max_age_seconds": 60})
    longer, younger = Issuer(KIND["id"], "https://longer.example", "k"), BY
    trusted = [Trusted(longer, 1_000), Trusted(younger, 100)]
    old = proven(1_010, 1, by=longer)
    fresh = proven(1_090, 10)
    for found in ([old, fresh], [fresh, old]):
        assert getattr(newest(demand, trusted, found), "request_id", None) == "zp-1090"


def test_what_is_to_be_asked_is_of_one_epoch() -> None:
    demand = read_demand(DEMAND)
    one, two, three, four = (Issuer(KIND["id"], f"https://{n}.example", "k") for n in range(4))
    trusted = [Trusted(one, 100), Trusted(two, HOUR), Trusted(three, HOUR), Trusted(four)]
    asked = demand.asked(trusted, 10 * HOUR)
    for name in ("holder", "status"):
        named = [issuer["issuer"] for issuer in asked["credentials"][name]["issuers"]]
        assert named == [two.issuer, three.issuer]
    assert asked["statements"][1] == STANDS | {
        "credential": "holder",
        "token": "status",
        "epoch": 10,
    }
    assert demand.to_json() == DEMAND
    assert demand.asked([], 0)["credentials"]["holder"]["issuers"] == []
