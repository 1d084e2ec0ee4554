"""Invitations: who may open one, redeemed once, and that a binding is never taken over."""

import secrets
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update

from broker.domain.consent import BindingGrade
from broker.domain.errors import StateConflict
from broker.store import access_tokens, contacts, partners
from broker.store.acting import acting_for
from broker.usecases.invitation import open_invitation, pairwise_id
from broker.usecases.redemption import redeem_pre_authorized_code
from tests.broker.issuance_world import OFFICER, OTHER_PARTNER, PARTNER, World, world
from wallet_adapters.errors import WalletProtocolError
from wallet_adapters.openid4vci import PreAuthorizedCodeRequest, parse_offer_link


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[World]:
    with world(tmp_path) as made:
        yield made


def test_an_offer_by_reference_is_the_offer_by_value(broker: World) -> None:
    invitation = broker.invite(grade="code")
    address = parse_offer_link(invitation["offer_uri"])
    assert address == f"http://127.0.0.1:8000/openid4vci/offer/{invitation['id']}"
    answer = broker.http.get(address)
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "no-store"
    by_value = parse_offer_link(invitation["offer_by_value"])
    assert not isinstance(by_value, str)
    assert answer.json() == by_value.as_dict()
    assert by_value.tx_code is not None
    assert by_value.tx_code.length == len(invitation["tx_code"]) == 6


def test_an_offer_without_a_code_says_so(broker: World) -> None:
    invitation = broker.invite(grade="link")
    offer = parse_offer_link(invitation["offer_by_value"])
    assert not isinstance(offer, str)
    assert offer.tx_code is None
    assert invitation["tx_code"] is None


def test_the_answer_with_the_offer_is_not_kept_for_a_retry(broker: World) -> None:
    headers = broker.token(PARTNER, "partner") | {"Idempotency-Key": "once"}
    body = {"subject_ref": "crm-1", "grade": "link"}
    first = broker.http.post("/v1/invitations", json=body, headers=headers)
    again = broker.http.post("/v1/invitations", json=body, headers=headers)
    assert (first.status_code, again.status_code) == (201, 409)
    assert first.headers["cache-control"] == "no-store"


def test_a_partner_may_not_bind_anew(broker: World) -> None:
    headers = broker.token(PARTNER, "partner") | {"Idempotency-Key": secrets.token_hex(8)}
    answer = broker.http.post(
        "/v1/invitations", json={"subject_ref": "x", "rebind": True}, headers=headers
    )
    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")


def test_a_partner_may_not_invite_for_another(broker: World) -> None:
    headers = broker.token(PARTNER, "partner") | {"Idempotency-Key": secrets.token_hex(8)}
    body = {"subject_ref": "crm-1", "partner": OTHER_PARTNER}
    answer = broker.http.post("/v1/invitations", json=body, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")


def test_an_officer_names_the_partner(broker: World) -> None:
    headers = broker.token(OFFICER, "officer") | {"Idempotency-Key": secrets.token_hex(8)}
    body = {"subject_ref": "crm-1", "grade": "verified_person"}
    answer = broker.http.post("/v1/invitations", json=body, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_request")
    made = broker.invite(grade="verified_person")
    assert made["tx_code"] is not None
    assert broker.logged("invitation.opened")[-1].body["opened_by"] == OFFICER


def test_a_suspended_partner_invites_nobody(broker: World) -> None:
    with broker.ctx.db.transaction() as tx:
        tx.execute(
            update(partners.PARTNER)
            .where(partners.PARTNER.c.id == PARTNER)
            .values(state="suspended")
        )
    with pytest.raises(Exception, match="suspended"):
        open_invitation(broker.ctx, "demo", PARTNER, "crm-1", BindingGrade.LINK)


def test_what_is_stored_of_an_invitation_gives_nobody_the_credential(broker: World) -> None:
    invitation = broker.invite("crm-4711", grade="code")
    code, tx_code = broker.code(invitation), invitation["tx_code"]
    with broker.ctx.db.reading() as tx:
        row = contacts.invitation(tx, "demo", invitation["id"])
        contact = contacts.find(tx, "demo", row.contact_id)
    stored = repr((row, contact))
    assert code not in stored
    assert f"'{tx_code}'" not in stored
    assert "crm-4711" not in stored
    assert contacts.subject_ref(broker.ctx.master, contact) == "crm-4711"


def test_of_many_redemptions_at_once_exactly_one_wins(broker: World) -> None:
    invitation = broker.invite()
    request = PreAuthorizedCodeRequest(broker.code(invitation))

    @acting_for("demo")
    def redeem(_: int) -> str:
        try:
            return redeem_pre_authorized_code(broker.ctx, "demo", request).access_token
        except WalletProtocolError as problem:
            return problem.error

    with ThreadPoolExecutor(16) as pool:
        outcomes = list(pool.map(redeem, range(32)))
    assert outcomes.count("invalid_grant") == 31
    with broker.ctx.db.reading() as tx:
        tokens = tx.execute(
            select(access_tokens.TOKEN).where(access_tokens.TOKEN.c.subject == invitation["id"])
        ).all()
    assert len(tokens) == 1


def test_a_redeemed_offer_is_gone_and_its_reuse_is_logged(broker: World) -> None:
    invitation = broker.invite()
    code = broker.code(invitation)
    broker.wallet_token(invitation)
    assert broker.http.get(f"/openid4vci/offer/{invitation['id']}").status_code == 410
    with pytest.raises(WalletProtocolError, match="used already") as caught:
        redeem_pre_authorized_code(broker.ctx, "demo", PreAuthorizedCodeRequest(code))
    assert (caught.value.code, caught.value.error) == ("invalid_grant", "invalid_grant")
    refused = broker.logged("invitation.refused")
    assert [entry.body["code"] for entry in refused] == ["invalid_grant"]
    assert refused[0].body["invitation"] == invitation["id"]


def test_an_offer_is_over_after_ten_minutes(broker: World) -> None:
    invitation = broker.invite()
    code = broker.code(invitation)
    broker.advance(600)
    assert broker.http.get(f"/openid4vci/offer/{invitation['id']}").status_code == 410
    with pytest.raises(WalletProtocolError, match="over") as caught:
        redeem_pre_authorized_code(broker.ctx, "demo", PreAuthorizedCodeRequest(code))
    assert caught.value.error == "invalid_grant"
    assert len(broker.logged("invitation.refused")) == 1


def test_a_newer_offer_ends_the_older(broker: World) -> None:
    older = broker.invite()
    code = broker.code(older)
    newer = broker.invite()
    with pytest.raises(WalletProtocolError, match="newer"):
        redeem_pre_authorized_code(broker.ctx, "demo", PreAuthorizedCodeRequest(code))
    assert broker.wallet_token(newer)


def test_an_unknown_code_is_refused_and_fills_no_log(broker: World) -> None:
    broker.invite()
    answer = broker.http.post(
        "/oauth/token",
        data={
            "grant_type": "urn:ietf:params:oauth:grant-type:pre-authorized_code",
            "pre-authorized_code": "guessed",
        },
    )
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_grant")
    assert broker.logged("invitation.refused") == []


def test_an_offer_of_one_tenant_is_unknown_to_another(broker: World) -> None:
    invitation = broker.invite()
    with pytest.raises(WalletProtocolError, match="not one of this issuer"):
        redeem_pre_authorized_code(
            broker.ctx, "acme", PreAuthorizedCodeRequest(broker.code(invitation))
        )
    address = f"/t/acme/openid4vci/offer/{invitation['id']}"
    assert broker.http.get(address).status_code == 404


@pytest.mark.parametrize(
    ("given", "error", "code"),
    [
        (None, "invalid_request", "tx_code_required"),
        ("", "invalid_request", "tx_code_required"),
        ("000000x", "invalid_grant", "tx_code_wrong"),
        ("１２３４５６", "invalid_grant", "tx_code_wrong"),
    ],
)
def test_a_wrong_transaction_code(broker: World, given: str | None, error: str, code: str) -> None:
    invitation = broker.invite(grade="code")
    request = PreAuthorizedCodeRequest(broker.code(invitation), tx_code=given)
    with pytest.raises(WalletProtocolError) as caught:
        redeem_pre_authorized_code(broker.ctx, "demo", request)
    assert (caught.value.error, caught.value.code) == (error, code)
    assert broker.wallet_token(invitation), "one mistake does not end the offer"


def test_an_unexpected_transaction_code(broker: World) -> None:
    invitation = broker.invite(grade="link")
    request = PreAuthorizedCodeRequest(broker.code(invitation), tx_code="123456")
    with pytest.raises(WalletProtocolError) as caught:
        redeem_pre_authorized_code(broker.ctx, "demo", request)
    assert (caught.value.error, caught.value.code) == ("invalid_request", "tx_code_unexpected")


def test_five_wrong_transaction_codes_end_the_offer(broker: World) -> None:
    invitation = broker.invite(grade="code")
    code = broker.code(invitation)
    wrong = "000000" if invitation["tx_code"] != "000000" else "111111"
    for _ in range(5):
        with pytest.raises(WalletProtocolError) as caught:
            redeem_pre_authorized_code(broker.ctx, "demo", PreAuthorizedCodeRequest(code, wrong))
        assert caught.value.code == "tx_code_wrong"
    right = PreAuthorizedCodeRequest(code, invitation["tx_code"])
    with pytest.raises(WalletProtocolError, match="too many") as caught:
        redeem_pre_authorized_code(broker.ctx, "demo", right)
    assert caught.value.error == "invalid_grant"
    codes = [entry.body["code"] for entry in broker.logged("invitation.refused")]
    assert codes == ["tx_code_wrong"] * 5 + ["invalid_grant"]


def test_whoever_knows_an_offer_cannot_fill_the_log(broker: World) -> None:
    invitation = broker.invite()
    request = PreAuthorizedCodeRequest(broker.code(invitation))
    redeem_pre_authorized_code(broker.ctx, "demo", request)
    for _ in range(30):
        with pytest.raises(WalletProtocolError):
            redeem_pre_authorized_code(broker.ctx, "demo", request)
    assert len(broker.logged("invitation.refused")) == 20


def test_identifiers_are_given_to_wallets_that_ask_for_them(broker: World) -> None:
    invitation = broker.invite()
    details = '[{"type":"openid_credential","credential_configuration_id":"%s"}]'
    refused = broker.redeem(invitation, authorization_details=details % "passport")
    assert refused.json()["error"] == "invalid_authorization_details"
    answer = broker.redeem(invitation, authorization_details=details % "customer_credential")
    assert answer.status_code == 200
    assert answer.json()["authorization_details"][0]["credential_identifiers"]
    token = answer.json()["access_token"]
    body = {"credential_configuration_id": None, "credential_identifier": "customer_credential"}
    assert broker.request(token, broker.proof(broker.nonce()), **body).status_code == 200


def test_a_forwarded_offer_cannot_take_over_a_bound_contact(broker: World) -> None:
    broker.accept(broker.wallet(), broker.invite())
    with pytest.raises(StateConflict, match="bound to a wallet already"):
        open_invitation(broker.ctx, "demo", PARTNER, "crm-1", BindingGrade.CODE)
    headers = broker.token(PARTNER, "partner") | {"Idempotency-Key": secrets.token_hex(8)}
    answer = broker.http.post("/v1/invitations", json={"subject_ref": "crm-1"}, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (409, "state_conflict")


def test_the_same_reference_of_two_partners_is_two_contacts(broker: World) -> None:
    broker.accept(broker.wallet(), broker.invite("crm-1", PARTNER))
    broker.accept(broker.wallet(), broker.invite("crm-1", OTHER_PARTNER))
    bound = broker.logged("contact.bound")
    assert len({entry.body["contact"] for entry in bound}) == 2
    assert len({entry.subject_id for entry in bound}) == 2


def test_a_customer_has_another_identifier_with_each_partner(broker: World) -> None:
    one = pairwise_id(broker.ctx, "s-1", PARTNER)
    assert one == pairwise_id(broker.ctx, "s-1", PARTNER)
    others = {
        pairwise_id(broker.ctx, "s-1", OTHER_PARTNER),
        pairwise_id(broker.ctx, "s-2", PARTNER),
    }
    assert one not in others
    assert len(others) == 2


def test_binding_anew_keeps_the_customer_and_ends_the_lost_wallet(broker: World) -> None:
    lost, found = broker.wallet(), broker.wallet()
    broker.accept(lost, broker.invite(grade="code"))
    rebind = broker.invite(grade="verified_person", rebind=True)
    broker.accept(found, rebind)
    first, second = broker.logged("contact.bound")
    assert first.subject_id == second.subject_id
    assert (first.body["rebound"], second.body["rebound"]) == (False, True)
    states = {copy.invitation_id: copy.state for copy in broker.copies()}
    assert states[rebind["id"]] == "active"
    assert sorted(states.values()) == ["active", "superseded"]
    assert sorted(second.body["superseded"]) == sorted(
        copy.id for copy in broker.copies() if copy.state == "superseded"
    )
    with broker.ctx.db.reading() as tx:
        contact = contacts.find(tx, "demo", second.body["contact"])
    assert contact.grade == "verified_person"


def test_a_token_from_before_binding_anew_does_not_bring_the_lost_wallet_back(
    broker: World,
) -> None:
    invitation = broker.invite()
    token = broker.wallet_token(invitation)
    assert broker.request(token, broker.proof(broker.nonce())).status_code == 200
    broker.accept(broker.wallet(), broker.invite(grade="verified_person", rebind=True))
    ended = broker.request(token, broker.proof(broker.nonce()))
    assert (ended.status_code, ended.json()["code"]) == (401, "unauthorized")
    answer = broker.request(_left_over(broker, invitation), broker.proof(broker.nonce()))
    assert (answer.status_code, answer.json()["error"]) == (400, "credential_request_denied")
    assert broker.logged("issuance.refused")[-1].body["code"] == "credential_request_denied"


def test_an_offer_redeemed_before_another_wallet_was_bound_binds_nothing(broker: World) -> None:
    invitation = broker.invite()
    slow = broker.wallet_token(invitation)
    broker.accept(broker.wallet(), broker.invite())
    ended = broker.request(slow, broker.proof(broker.nonce()))
    assert (ended.status_code, ended.json()["code"]) == (401, "unauthorized")
    answer = broker.request(_left_over(broker, invitation), broker.proof(broker.nonce()))
    assert answer.json()["code"] == "credential_request_denied"
    assert len(broker.logged("contact.bound")) == 1
    assert len(broker.copies()) == 4


def _left_over(broker: World, invitation: dict[str, Any]) -> str:
    """A token of an invitation that lives on after it was replaced: the check behind the check."""
    headers = broker.token(invitation["id"], "wallet")
    return headers["Authorization"].removeprefix("Bearer ")
