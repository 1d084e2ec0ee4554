"""Data that a wallet shows when asked: verified, masked, sealed, decided, handed on once."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from broker.store.consents import CONSENT
from broker.store.data_requests import REQUEST
from broker.store.vault import KEY
from broker.usecases.masking import set_maskings
from broker.usecases.token import forget_expired
from tests.broker.data_requests import (
    COUNT,
    Asked,
    consenting,
    holding,
    register_kind,
    rejected,
    waiting,
)
from tests.broker.flow_world import DAY, PURPOSE, World, world
from tests.broker.proving import show
from tests.broker.vaults import ATTRIBUTE, Filled, codes
from wallet_adapters.loopback import Message, answer_request
from wallet_adapters.loopback.errors import NothingToPresent, PeerRefused


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world(tmp_path_factory.mktemp("data-requests") / "home") as broker:
        register_kind(broker)
        yield broker


@pytest.fixture
def asked(made: World) -> Asked:
    return consenting(made)


def test_what_the_wallet_shows_reaches_the_partner_once(made: World, asked: Asked) -> None:
    with made.ctx.db.transaction() as tx:
        of_this = CONSENT.c.id == asked.at.consent
        tx.execute(CONSENT.update().where(of_this).values(uses_left=2))
    opened = asked.opened()
    assert (opened["state"], opened["waiting"]) == ("open", [])
    early = asked.collect(opened)
    assert (early.status_code, early.json()["code"]) == (409, "state_conflict")
    show(made, asked.wallet, opened["wallet_link"])
    told = asked.follow(opened)
    assert (told["state"], told["waiting"], told["wallet_link"]) == ("answered", [ATTRIBUTE], None)
    assert told["collect_until"] == made.time[0] + 300
    assert asked.collect(opened, "shoe_size").status_code == 410
    got = asked.collect(opened)
    assert (got.status_code, got.headers["content-type"]) == (200, "application/jose")
    assert asked.at.opened(got.content).value == COUNT
    owed = [one["id"] for one in json.loads(got.headers["broker-obligations"])]
    assert owed == ["retention", "territory", "watermark", "no_onward_sharing", "explain"]
    (entry,) = [e for e in made.logged("decision") if e.id == got.headers["broker-decision"]]
    assert (entry.body["decision"], entry.body["data_request"]) == (True, opened["id"])
    (presented,) = [
        e for e in made.logged("data.presented") if e.body["data_request"] == opened["id"]
    ]
    assert presented.consent_id == asked.at.consent
    assert presented.body["maskings"] == {ATTRIBUTE: "none"}
    again = asked.collect(opened)
    assert (again.status_code, again.json()["code"]) == (410, "gone")
    assert waiting(made, asked.at.consent) == 0
    with made.ctx.db.reading() as tx:
        left = select(CONSENT.c.uses_left).where(CONSENT.c.id == asked.at.consent)
        assert tx.execute(left).scalar_one() == 1


def test_a_role_gets_it_masked(made: World, asked: Asked) -> None:
    set_maskings(made.ctx, "demo", ATTRIBUTE, {"*": "round_100", "billing": "none"})
    try:
        got = asked.collect(asked.shown(role="support"))
        assert got.headers["broker-masking"] == "round_100"
        assert asked.at.opened(got.content).value == 1_200
        assert asked.at.opened(got.content).masking == "round_100"
        plain = asked.collect(asked.shown(role="billing"))
        assert asked.at.opened(plain.content).value == COUNT
        # What was sealed as it is cannot be masked any more.
        sealed = asked.shown(role="billing")
        set_maskings(made.ctx, "demo", ATTRIBUTE, {"*": "round_1000"})
        denied = asked.collect(sealed)
        assert (denied.status_code, codes(denied)) == (404, ["masking_not_in_vault"])
    finally:
        set_maskings(made.ctx, "demo", ATTRIBUTE, {})


def test_an_obligation_that_cannot_be_met_is_a_denial(asked: Asked) -> None:
    opened = asked.shown()
    denied = asked.collect(
        opened, supported_obligations=["urn:consent-broker:obligation:retention"]
    )
    assert (denied.status_code, denied.json()["code"]) == (403, "obligation_unsupported")
    assert asked.collect(opened).status_code == 200


def test_where_it_may_not_be_used_it_is_not_handed_out(asked: Asked) -> None:
    denied = asked.open(territory="SG")
    assert denied.status_code == 403
    assert denied.headers["content-type"] == "application/problem+json"
    assert codes(denied)[0] == "territory_outside_terms"


def test_a_credential_of_somebody_else_shows_nothing(made: World, asked: Asked) -> None:
    other = Filled(made, asked.at.key).grant()
    stranger = holding(made, other.customer.subject_ref, count=999)
    opened = asked.opened()
    with pytest.raises(NothingToPresent):
        show(made, stranger, opened["wallet_link"])
    assert asked.follow(opened)["state"] == "refused"
    assert asked.collect(opened).status_code == 410


def test_an_answer_counts_once_and_for_its_own_request(made: World, asked: Asked) -> None:
    sent: list[Message] = []

    def carry(message: Message) -> Any:  # noqa: ANN401 (an answer)
        sent.append(message)
        return made.carry(message)

    first, second = asked.opened(), asked.opened()
    answer_request(asked.wallet, first["wallet_link"], carry=carry, now=made.time[0])
    posted = sent[-1]
    assert b"vp_token" not in (posted.body or b"")  # encrypted
    assert made.carry(posted).status == 410
    elsewhere = Message(
        posted.method,
        posted.url.replace(first["id"], second["id"]),
        posted.headers,
        body=posted.body,
    )
    assert made.carry(elsewhere).status == 400
    assert rejected(made, second) != []
    assert asked.follow(second)["state"] == "open"
    clear = {"vp_token": json.dumps({"proof": [{}]}), "state": second["id"]}
    address = posted.url.replace(first["id"], second["id"])
    assert made.carry(Message.post_form(address, clear)).status == 400
    assert asked.collect(first).status_code == 200


def test_nothing_waits_for_ever(made: World, asked: Asked) -> None:
    unanswered, uncollected = asked.opened(), asked.shown()
    made.advance(301)
    assert asked.follow(uncollected)["waiting"] == []
    assert asked.collect(uncollected).status_code == 410
    forget_expired(made.ctx)
    assert waiting(made, asked.at.consent) == 0
    made.advance(600)
    assert asked.follow(unanswered)["state"] == "expired"
    with pytest.raises(PeerRefused) as refused:
        show(made, asked.wallet, unanswered["wallet_link"])
    assert refused.value.status == 410
    made.advance(DAY)
    forget_expired(made.ctx)
    with made.ctx.db.reading() as tx:
        of_this = REQUEST.c.consent_id == asked.at.consent
        assert tx.execute(select(REQUEST.c.id).where(of_this)).all() == []


def test_a_withdrawal_leaves_nothing_to_collect(made: World, asked: Asked) -> None:
    waits, unanswered = asked.shown(), asked.opened()
    assert waiting(made, asked.at.consent) == 1
    assert made.withdrawal(asked.at.consent, made.officer).status_code == 200
    assert waiting(made, asked.at.consent) == 0
    assert asked.collect(waits).status_code == 410
    with pytest.raises(PeerRefused):
        show(made, asked.wallet, unanswered["wallet_link"])
    assert asked.follow(unanswered)["state"] == "closed"
    assert rejected(made, unanswered) == []  # the wallet was not even shown it
    assert waiting(made, asked.at.consent) == 0
    closed = asked.open()
    assert (closed.status_code, closed.json()["code"]) == (409, "consent_not_live")


def test_what_cannot_be_asked(made: World, asked: Asked) -> None:
    for changes, status, code in (
        ({"attributes": ["medical_summary"]}, 400, "unknown_attribute"),
        ({"purpose": PURPOSE.replace("churn-v3@1", "churn-v3@2")}, 400, "invalid_request"),
        ({"consent": "c-nothing"}, 404, "not_found"),
        ({"attributes": []}, 400, "invalid_request"),
        ({"schema": "x" * 3_000}, 400, "invalid_request"),
    ):
        answer = asked.open(**changes)
        assert (answer.status_code, answer.json()["code"]) == (status, code), changes
    opened = asked.opened(schema="nobody-issues/1")
    with pytest.raises(NothingToPresent):
        show(made, asked.wallet, opened["wallet_link"])
    with made.ctx.db.transaction() as tx:
        tx.execute(KEY.delete())
    without = asked.open()
    assert (without.status_code, without.json()["code"]) == (409, "no_sealing_key")


def test_another_partner_learns_nothing(made: World, asked: Asked) -> None:
    opened, other = asked.shown(), made.second_partner()
    assert asked.open(other).status_code == 404
    path = f"/v1/data-requests/{opened['id']}"
    assert made.api("GET", path, other).status_code == 404
    assert asked.collect(opened, caller=other).status_code == 404
    assert asked.collect(opened, caller=made.officer).status_code in {403, 404}
    assert asked.collect(opened).status_code == 200


def test_on_postgresql(tmp_path: Path, postgres_database: str) -> None:
    with world(tmp_path / "home", database_url=postgres_database) as broker:
        register_kind(broker)
        asked = consenting(broker)
        opened, withdrawn = asked.shown(), asked.shown()
        assert asked.at.opened(asked.collect(opened).content).value == COUNT
        assert asked.collect(opened).status_code == 410
        assert broker.withdrawal(asked.at.consent, broker.officer).status_code == 200
        assert waiting(broker, asked.at.consent) == 0
        assert asked.collect(withdrawn).status_code == 410
