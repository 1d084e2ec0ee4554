"""Decisions that rest on proofs: what a purpose demands, how lately, and by whose word."""

import secrets
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update

from broker.domain.demand import (
    Demand,
    Issuer,
    Proven,
    Trusted,
    implies,
    newest,
    read_demand,
)
from broker.domain.errors import InvalidRequest, NotFound, StateConflict, StatementShows
from broker.domain.terms import Label
from broker.store import demands, keys, tables
from broker.store.db import Database
from broker.usecases.demand import distrust_issuer, set_demand, trust_issuer
from broker.usecases.tenant import add_tenant
from credentials.keys import SoftwareKey
from tests.broker.flow_world import DAY, PUBLIC_URL, TEMPLATE, World, world
from tests.broker.proving import (
    ADULT,
    LI,
    PERSON,
    Registry,
    ask,
    follow,
    holder,
    registry,
    show,
)
from wallet_adapters.loopback import Wallet, accept_attributes
from zkp import AtLeast, AtMost, Between, MemberOf, NotMemberOf, OlderThan, Place, Statement
from zkp.statements import read_statement

PURPOSE = "dpv:ServicePersonalisation"
MINUTES = 600
CITY = {"type": "member_of", "credential": "id", "attribute": "city", "values": ["Berlin", "Paris"]}
IN_EUROPE = {"type": "member_of", "attribute": "city", "values": ["Berlin", "Paris", "Rome"]}
DEMAND: dict[str, Any] = {
    "schema": PERSON.id,
    "statements": [{"type": "older_than", "attribute": "birth_date", "years": 18}],
    "max_age_seconds": MINUTES,
}


@pytest.fixture(scope="module")
def office() -> Registry:
    return registry()


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory, office: Registry) -> Iterator[World]:
    with world(tmp_path_factory.mktemp("demands")) as made:
        set_demand(made.ctx, "demo", PURPOSE, DEMAND)
        trust_issuer(made.ctx, "demo", trusted(office))
        yield made


@pytest.fixture
def contact(broker: World) -> str:
    """A contact with a consent that covers the usual question."""
    return consenting(broker)


def consenting(made: World) -> str:
    name = f"crm-{secrets.token_hex(4)}"
    made.customer(name, copies=1).grant("base")
    return name


def trusted(by: Registry, schema: str = PERSON.id) -> Issuer:
    return Issuer(schema, **by.trusted())


def prove(
    made: World,
    by: Registry,
    subject_ref: str | None,
    *statements: dict[str, Any],
    **more: Any,  # noqa: ANN401
) -> str:
    """Have Li prove statements, of a contact; the id of the proof request."""
    asked = ask(made, *statements, by=by, subject_ref=subject_ref, **more)
    show(made, holder(made, by.issue(LI)), asked["wallet_link"])
    assert follow(made, asked, more.get("caller"))["state"] == "proven"
    return str(asked["id"])


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_a_permit_rests_on_a_fresh_proof_and_says_which(
    tmp_path: Path, request: pytest.FixtureRequest, office: Registry, database: str
) -> None:
    url = request.getfixturevalue("postgres_database") if database == "postgresql" else ""
    with world(tmp_path / "home", database_url=url) as made:
        name = consenting(made)
        assert made.reasons(name) == []
        set_demand(made.ctx, "demo", PURPOSE, DEMAND)
        trust_issuer(made.ctx, "demo", trusted(office))
        assert made.reasons(name) == ["proof_required"]
        request_id = prove(made, office, name)
        assert made.reasons(name) == []
        assert made.logged("decision")[-1].body["proof_request"] == request_id
        made.advance(MINUTES)
        assert made.reasons(name) == []
        made.advance(1)
        assert made.reasons(name) == ["proof_too_old"]
        assert made.logged("decision")[-1].body["proof_request"] == request_id
        again = prove(made, office, name)
        assert made.reasons(name) == []
        assert made.logged("decision")[-1].body["proof_request"] == again
        distrust_issuer(made.ctx, "demo", trusted(office))
        assert made.reasons(name) == ["proof_required"]
        set_demand(made.ctx, "demo", PURPOSE, None)
        assert made.reasons(name) == []
        assert "proof_request" not in made.logged("decision")[-1].body


def test_a_denial_names_the_proof_to_ask_for(broker: World, office: Registry, contact: str) -> None:
    context = broker.decide(contact)["context"]
    (told,) = (one for one in context["obligations"] if one["id"] == "request_proof")
    properties = told["properties"]
    assert properties["endpoint"] == f"{PUBLIC_URL}/v1/proof-requests"
    assert properties["max_age_seconds"] == MINUTES
    asked = {name: properties[name] for name in ("credentials", "statements")}
    # As it stands it is the body of a proof request; its answer lifts the denial.
    body = {"template": TEMPLATE, "subject_ref": contact, **asked}
    headers = {"Idempotency-Key": secrets.token_hex(8)}
    opened = broker.api("POST", "/v1/proof-requests", json=body, headers=headers)
    assert opened.status_code == 201, opened.text
    broker.advance()
    show(broker, holder(broker, office.issue(LI)), opened.json()["wallet_link"])
    assert broker.reasons(contact) == []


def test_what_a_purpose_demands_is_published(broker: World) -> None:
    told = broker.api("GET", "/v1/purposes").json()["purposes"]
    assert {one["id"]: one["demand"] for one in told if one["demand"]} == {PURPOSE: DEMAND}


def test_the_tenants_own_credentials_count_until_their_key_is_stolen(
    broker: World, contact: str
) -> None:
    headers = {"Idempotency-Key": secrets.token_hex(8)}
    kind = {"id": PERSON.id, "attributes": [one.to_json() for one in PERSON.attributes]}
    broker.api("POST", "/v1/attribute-types", broker.officer, json=kind, headers=headers)
    body = {"type": PERSON.id, "claims": LI}
    headers = {"Idempotency-Key": secrets.token_hex(8)}
    offered = broker.api("POST", "/v1/attribute-offers", json=body, headers=headers).json()
    broker.advance()
    wallet = holder(broker)
    accept_attributes(
        wallet,
        offered["offer_by_value"],
        carry=broker.carry,
        now=broker.time[0],
        tx_code=offered["tx_code"],
        dpop_key=SoftwareKey.generate("ES256"),
    )
    (found,) = broker.api("GET", "/v1/attribute-types").json()["types"]
    asked = {"id": {"schema": PERSON.id, "issuers": found["issuers"]}}
    prove_with(broker, wallet, contact, credentials=asked)
    assert broker.reasons(contact) == []
    with broker.ctx.db.transaction() as tx:
        tx.execute(
            update(keys.KEY).where(keys.KEY.c.purpose == "attributes").values(state="compromised")
        )
    assert broker.reasons(contact) == ["proof_required"]


def prove_with(made: World, wallet: Wallet, subject_ref: str, **more: Any) -> None:  # noqa: ANN401
    body = {"template": TEMPLATE, "subject_ref": subject_ref, "statements": [ADULT], **more}
    headers = {"Idempotency-Key": secrets.token_hex(8)}
    asked = made.api("POST", "/v1/proof-requests", json=body, headers=headers)
    assert asked.status_code == 201, asked.text
    made.advance()
    show(made, wallet, asked.json()["wallet_link"])
    assert follow(made, asked.json())["state"] == "proven"


def test_proofs_by_others_of_others_or_of_less_are_not_carried(
    broker: World, office: Registry, contact: str
) -> None:
    prove(broker, registry(), contact)  # of an issuer whom the partner trusts, and nobody else
    prove(broker, Registry(office.key, "https://other.example"), contact)  # the key, another name
    prove(broker, office, consenting(broker))  # of another contact
    prove(broker, office, None)  # of nobody that the partner named
    prove(broker, office, contact, ADULT | {"years": 17})
    prove(broker, office, contact, CITY)
    other = broker.second_partner()
    prove(broker, office, contact, caller=other)  # another partner's contact of the same name
    assert broker.reasons(contact) == ["proof_required"]
    assert "proof_request" not in broker.logged("decision")[-1].body
    prove(broker, office, contact, ADULT | {"years": 21}, CITY)  # says more
    assert broker.reasons(contact) == []


def test_another_tenants_trust_and_key_are_its_own(broker: World, contact: str) -> None:
    theirs = registry()
    add_tenant(
        broker.ctx, "acme", name=Label(zh="顶", en="Acme"), contact="a@b.example", country="CN"
    )
    trust_issuer(broker.ctx, "acme", trusted(theirs))
    prove(broker, theirs, contact)
    assert broker.reasons(contact) == ["proof_required"]
    trust_issuer(broker.ctx, "demo", trusted(theirs, "person/2"))  # for another kind
    assert broker.reasons(contact) == ["proof_required"]
    with pytest.raises(NotFound):
        distrust_issuer(broker.ctx, "demo", trusted(theirs))


def test_nothing_rests_on_a_proof_that_is_not_kept_any_more(
    broker: World, office: Registry, contact: str
) -> None:
    prove(broker, office, contact)
    assert broker.reasons(contact) == []
    with broker.ctx.db.transaction() as tx:
        tx.execute(update(demands.PROOF).values(sealed_proof=None))
    assert broker.reasons(contact) == ["proof_required"]


def test_trust_that_ends_during_a_decision_is_seen(
    broker: World, office: Registry, contact: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    prove(broker, office, contact)
    write, ends = Database.write, [1]

    async def meddling(self: Database, work: Callable[..., Any]) -> Any:  # noqa: ANN401
        if ends:
            ends.pop()
            with self.transaction() as tx:
                demands.distrust(tx, "demo", trusted(office))
        return await write(self, work)

    monkeypatch.setattr(Database, "write", meddling)
    assert broker.reasons(contact) == ["proof_required"]
    assert not ends
    trust_issuer(broker.ctx, "demo", trusted(office))
    assert broker.reasons(contact) == []


def test_where_nothing_is_demanded_no_proof_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with world(tmp_path / "home") as made:
        name = consenting(made)

        def read(*_: object, **__: object) -> None:
            raise AssertionError("proofs were read")

        monkeypatch.setattr(demands, "facts", read)
        assert made.reasons(name) == []


def test_what_is_changed_is_in_the_log(broker: World, office: Registry) -> None:
    with broker.ctx.db.reading() as tx:
        demand = tables.Purpose.__table__.c.demand  # type: ignore[attr-defined]
        assert tx.execute(select(demand).where(demand.is_not(None))).scalar_one()
    assert broker.logged("purpose.demand")[0].body == {"purpose": PURPOSE, "demand": DEMAND}
    assert broker.logged("issuer.trusted")[0].body == {"schema": PERSON.id, **office.trusted()}
    with pytest.raises(StateConflict):
        trust_issuer(broker.ctx, "demo", trusted(office))
    for key in ("A" * 128, "?", ""):
        with pytest.raises(InvalidRequest):
            trust_issuer(broker.ctx, "demo", Issuer(PERSON.id, "https://x.example", key))
    with pytest.raises(NotFound):
        set_demand(broker.ctx, "demo", "dpv:Nothing", DEMAND)


NOT_TO_BE_DEMANDED: dict[str, object] = {
    "no object": [],
    "more": DEMAND | {"more": 1},
    "no statement": DEMAND | {"statements": []},
    "a day": DEMAND | {"statements": [DEMAND["statements"][0] | {"on": "2026-01-01"}]},
    "shows": DEMAND | {"statements": [{"type": "reveal", "attribute": "city"}]},
    "one value": DEMAND | {"statements": [IN_EUROPE | {"values": ["Berlin"]}]},
    "unknown": DEMAND | {"statements": [{"type": "taller_than", "attribute": "height"}]},
    "half a pair": DEMAND | {"statements": [IN_EUROPE | {"values": ["\ud800", "b"]}]},
    "no age": DEMAND | {"max_age_seconds": 0},
    "for ever": DEMAND | {"max_age_seconds": 400 * DAY},
    "true": DEMAND | {"max_age_seconds": True},
    "no schema": DEMAND | {"schema": ""},
    "an epoch": DEMAND
    | {"statements": [{"type": "not_revoked", "attribute": "revocation_id", "epoch": 1}]},
}


@pytest.mark.parametrize("name", NOT_TO_BE_DEMANDED)
def test_what_cannot_be_demanded_is_refused(name: str) -> None:
    with pytest.raises((InvalidRequest, StatementShows)):
        read_demand(NOT_TO_BE_DEMANDED[name])


AT = Place("id", "income")
IMPLIED: list[tuple[Statement, Statement, bool]] = [
    (AtLeast(AT, 5), AtLeast(AT, 5), True),
    (AtLeast(AT, 4), AtLeast(AT, 5), False),
    (AtMost(AT, 5), AtMost(AT, 6), True),
    (AtMost(AT, 7), AtMost(AT, 6), False),
    (AtLeast(AT, 5), AtMost(AT, 5), False),
    (AtLeast(Place("id", "age"), 5), AtLeast(AT, 5), False),
    (AtLeast(AT, "2020-01-02"), AtLeast(AT, "2020-01-01"), True),
    (AtLeast(AT, "b"), AtLeast(AT, "a"), False),
    (AtLeast(AT, 5), AtLeast(AT, "2020-01-01"), False),
    (Between(AT, 3, 4), Between(AT, 2, 5), True),
    (Between(AT, 3, 6), Between(AT, 2, 5), False),
    (MemberOf(AT, ("a",)), MemberOf(AT, ("a", "b")), True),
    (MemberOf(AT, ("a", "c")), MemberOf(AT, ("a", "b")), False),
    (NotMemberOf(AT, ("a", "b")), NotMemberOf(AT, ("a",)), True),
    (NotMemberOf(AT, ("a",)), NotMemberOf(AT, ("a", "b")), False),
    (OlderThan(AT, 21, "2026-01-01"), OlderThan(AT, 18, "1970-01-01"), True),
    (OlderThan(AT, 17, "2026-01-01"), OlderThan(AT, 18, "1970-01-01"), False),
]


@pytest.mark.parametrize(("shown", "wanted", "holds"), IMPLIED)
def test_what_says_more_is_what_was_wanted(
    shown: Statement, wanted: Statement, holds: bool
) -> None:
    assert implies(shown, wanted) is holds


def test_all_of_a_demand_is_of_one_credential() -> None:
    issuer = Issuer(PERSON.id, "https://registry.example", "k")
    demand = read_demand(DEMAND | {"statements": [*DEMAND["statements"], IN_EUROPE]})
    adult, city = read_statement(ADULT), read_statement(CITY)
    elsewhere = read_statement(CITY | {"credential": "other"})
    one = Proven("zp-1", 1, (adult, city), {"id": issuer})
    two = Proven("zp-2", 2, (adult, elsewhere), {"id": issuer, "other": issuer})
    none = Proven("zp-3", 3, (adult, city), {})
    assert newest(demand, [Trusted(issuer)], [one, two, none]) == one
    assert newest(demand, [], [one]) is None
    # One credential of somebody unknown beside it, and it is not carried.
    beside = replace(one, issuers={"id": issuer, "x": replace(issuer, key="other")})
    assert newest(demand, [Trusted(issuer)], [beside]) is None
    other_kind = Demand("person/2", demand.statements, 1)
    assert (
        newest(other_kind, [Trusted(issuer), Trusted(replace(issuer, schema="person/2"))], [one])
        is None
    )
