"""Proofs of credentials that were issued for the very contact that a decision is about."""

import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from broker.domain.demand import read_demand
from broker.domain.errors import InvalidRequest
from broker.domain.proof import contact_number, is_of_contact, of_contact
from broker.usecases.demand import set_demand
from tests.broker.flow_world import DAY, TEMPLATE, World, world
from tests.broker.proving import LI, PERSON, follow, holder, show
from tests.broker.test_demands import PURPOSE, consenting
from tests.broker.test_standing import EARNS
from wallet_adapters.loopback import Wallet, accept_attributes
from wallet_adapters.loopback.errors import NothingToPresent
from zkp import MemberOf, Place

KIND: dict[str, Any] = {
    "id": "person/4",
    "attributes": [
        *(attribute.to_json() for attribute in PERSON.attributes),
        {"name": "contact_id", "type": "identifier"},
    ],
}
DEMAND: dict[str, Any] = {
    "schema": KIND["id"],
    "statements": [EARNS],
    "max_age_seconds": 30 * DAY,
    "of_contact": True,
}


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[World]:
    with world(tmp_path / "home") as made:
        register(made)
        yield made


def call(made: World, path: str, body: dict[str, Any], caller: str | None = None) -> Any:  # noqa: ANN401
    headers = {"Idempotency-Key": secrets.token_hex(8)}
    answer = made.api("POST", path, caller, json=body, headers=headers)
    made.advance()
    return answer


def register(made: World) -> None:
    assert call(made, "/v1/attribute-types", KIND, made.officer).status_code == 201


def issued(made: World, contact: str, caller: str | None = None) -> Wallet:
    """A wallet with a credential for a contact."""
    body = {"type": KIND["id"], "claims": LI, "subject_ref": contact}
    answer = call(made, "/v1/attribute-offers", body, caller)
    assert answer.status_code == 201, answer.text
    wallet, offered = holder(made), answer.json()
    accept_attributes(
        wallet,
        offered["offer_by_value"],
        carry=made.carry,
        now=made.time[0],
        tx_code=offered["tx_code"],
    )
    return wallet


def asking(made: World, contact: str | None, **more: Any) -> dict[str, Any]:  # noqa: ANN401
    issuers = made.api("GET", "/v1/attribute-types").json()["types"][0]["issuers"]
    return {
        "template": TEMPLATE,
        "credentials": {"id": {"schema": KIND["id"], "issuers": issuers}},
        "statements": [EARNS | {"credential": "id"}],
        "of_contact": ["id"],
        **({} if contact is None else {"subject_ref": contact}),
        **more,
    }


def proves(made: World, wallet: Wallet, body: dict[str, Any], caller: str | None = None) -> bool:
    opened = call(made, "/v1/proof-requests", body, caller)
    assert opened.status_code == 201, opened.text
    try:
        show(made, wallet, opened.json()["wallet_link"])
    except NothingToPresent:
        return False
    return bool(follow(made, opened.json(), caller)["state"] == "proven")


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_a_credential_of_somebody_else_proves_nothing_of_this_contact(
    tmp_path: Path, request: pytest.FixtureRequest, database: str
) -> None:
    url = request.getfixturevalue("postgres_database") if database == "postgresql" else ""
    with world(tmp_path / "home", database_url=url) as made:
        register(made)
        li, han = consenting(made), consenting(made)
        of_li, of_han = issued(made, li), issued(made, han)
        set_demand(made.ctx, "demo", PURPOSE, DEMAND)
        assert not proves(made, of_li, asking(made, han))
        assert proves(made, of_li, asking(made, han, of_contact=[]))  # nobody asked whose it is
        assert made.reasons(han) == ["proof_required"]
        assert proves(made, of_li, asking(made, li))
        assert made.reasons(li) == []
        assert made.reasons(han) == ["proof_required"]
        assert proves(made, of_han, asking(made, han))
        assert made.reasons(han) == []


def test_a_denial_says_that_it_has_to_be_this_contact_s(broker: World) -> None:
    set_demand(broker.ctx, "demo", PURPOSE, DEMAND)
    contact = consenting(broker)
    wallet = issued(broker, contact)
    obligations = broker.decide(contact)["context"]["obligations"]
    (told,) = (one["properties"] for one in obligations if one["id"] == "request_proof")
    asked = {name: told[name] for name in ("credentials", "statements", "of_contact")}
    assert proves(broker, wallet, {"template": TEMPLATE, "subject_ref": contact, **asked})
    assert broker.reasons(contact) == []


def test_another_partner_s_contact_of_the_same_name_is_another(broker: World) -> None:
    second = broker.second_partner()
    mine, theirs = issued(broker, "crm-1"), issued(broker, "crm-1", second)
    numbers = [wallet.attributes[0].values["contact_id"] for wallet in (mine, theirs)]
    assert numbers[0] != numbers[1]
    assert issued(broker, "crm-1").attributes[0].values["contact_id"] == numbers[0]
    assert not proves(broker, mine, asking(broker, "crm-1"), second)
    assert proves(broker, theirs, asking(broker, "crm-1"), second)


def test_what_cannot_be_asked_or_offered(broker: World) -> None:
    for wrong in (
        asking(broker, None),
        asking(broker, "crm-1", of_contact=["x"]),
        asking(broker, "crm-1", statements=[EARNS | {"credential": "id"}] * 32),
        # Nobody but the broker says which number it is.
        asking(broker, "crm-1", of_contact=[], statements=[of_contact("id", "ct-1").to_json()]),
    ):
        refused = call(broker, "/v1/proof-requests", wrong)
        assert refused.status_code == 400, refused.text
        assert refused.json()["code"] in {"invalid_request", "statement_shows_attribute"}
    plain = KIND | {"id": "plain/1", "attributes": KIND["attributes"][:-1]}
    assert call(broker, "/v1/attribute-types", plain, broker.officer).status_code == 201
    offer = {"type": KIND["id"], "claims": LI}
    for wrong, caller in (
        (offer, None),
        (offer | {"subject_ref": "crm-1"}, broker.officer),
        (offer | {"subject_ref": "crm-1", "claims": {**LI, "contact_id": "1"}}, None),
        (offer | {"subject_ref": "crm-1", "type": plain["id"]}, None),
    ):
        refused = call(broker, "/v1/attribute-offers", wrong, caller)
        assert (refused.status_code, refused.json()["code"]) == (400, "invalid_request")


def test_a_demand_that_says_so() -> None:
    assert read_demand(DEMAND).to_json() == DEMAND
    plain = {name: one for name, one in DEMAND.items() if name != "of_contact"}
    assert read_demand(DEMAND | {"of_contact": False}).to_json() == plain
    for wrong in (1, "true", None):
        with pytest.raises(InvalidRequest):
            read_demand(DEMAND | {"of_contact": wrong})
    place, number = Place("id", "contact_id"), contact_number("ct-1")
    assert is_of_contact(of_contact("id", "ct-1"))
    assert not is_of_contact(MemberOf(place, (number, "7")))
    assert not is_of_contact(MemberOf(Place("id", "city"), ("Berlin",)))
