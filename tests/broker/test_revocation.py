"""What falls when a partner, an officer or an invitation falls: at once, and only that."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from broker.usecases.partner import set_officer_state, set_partner_state
from tests.broker import issuance_world
from tests.broker.flow_world import World, world


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[World]:
    with world(tmp_path) as made:
        yield made


@pytest.fixture
def issuing(tmp_path: Path) -> Iterator[issuance_world.World]:
    with issuance_world.world(tmp_path) as made:
        yield made


def _suspend(broker: World) -> None:
    set_partner_state(broker.ctx, "demo", broker.partner, "suspended")
    broker.advance()


def test_requests_of_a_suspended_partner_are_closed_to_every_wallet(broker: World) -> None:
    li = broker.customer()
    opened = broker.ask(li.subject_ref)
    request = broker.request(opened["wallet_link"])
    _suspend(broker)
    late = broker.post(request, {"error": "access_denied", "state": request.state or ""})
    assert (late.status_code, late.json()["code"]) == (410, "gone")
    link = opened["wallet_link"].partition("request_uri=")[2].partition("&")[0]
    assert broker.http.get(link.replace("%3A", ":").replace("%2F", "/")).status_code == 410
    entries = broker.logged("consent.refused")
    assert {entry.body["reason"] for entry in entries} == {"partner_suspended"}
    (entry,) = broker.logged("partner.suspended")
    assert entry.body["requests_closed"] == 1
    set_partner_state(broker.ctx, "demo", broker.partner, "active")
    assert broker.states(opened) == ["refused"] * 3, "what was closed stays closed"
    assert li.grant()["state"] == "answered", "and a new request is like any other"


def test_a_suspended_partner_gets_no_permit_and_its_customer_can_still_withdraw(
    broker: World,
) -> None:
    li = broker.customer()
    consent_id = li.grant("base")["consents"][0]["id"]
    asked = broker.withdrawal(consent_id).json()
    assert broker.decide(li.subject_ref)["decision"] is True
    _suspend(broker)
    assert broker.decide(li.subject_ref)["decision"] is False
    assert broker.api("GET", f"/v1/consents/{consent_id}").status_code == 403
    li.sign(asked["wallet_link"], "same_key")
    answer = broker.api("GET", f"/v1/consents/{consent_id}", broker.officer)
    assert answer.json()["state"] == "withdrawn"


def test_a_suspended_officer_acts_no_more(broker: World) -> None:
    assert broker.api("GET", "/v1/purposes", broker.officer).status_code == 200
    set_officer_state(broker.ctx, "demo", broker.officer, "suspended")
    answer = broker.api("GET", "/v1/purposes", broker.officer)
    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")


def test_invitations_and_wallets_tokens_fall_with_their_partner(
    issuing: issuance_world.World,
) -> None:
    other = issuing.invite("crm-9", partner=issuance_world.OTHER_PARTNER)
    token = issuing.wallet_token(issuing.invite("crm-1"))
    waiting = issuing.invite("crm-2")
    code = issuing.code(waiting)
    set_partner_state(issuing.ctx, "demo", issuance_world.PARTNER, "suspended")
    refused = issuing.request(token, issuing.proof(issuing.nonce()))
    assert (refused.status_code, refused.json()["code"]) == (401, "unauthorized")
    fields = {"grant_type": issuance_world.PRE_AUTHORIZED, "pre-authorized_code": code}
    assert issuing.http.post("/oauth/token", data=fields).json()["error"] == "invalid_grant"
    assert issuing.http.get(f"/openid4vci/offer/{waiting['id']}").status_code == 410
    assert len(issuing.accept(issuing.wallet(), other)) == 4, "another partner's stay"
    (entry,) = issuing.logged("partner.suspended")
    assert (entry.body["invitations_ended"], entry.body["tokens_ended"]) == (1, 1)
