"""Credentials that wait for an officer's approval, and what wallets tell of what they got."""

import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from broker.usecases.partner import set_partner_state
from broker.usecases.token import forget_expired
from tests.broker.issuance_world import OFFICER, PARTNER, PUBLIC_URL, World, world

DAY = 86_400


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[World]:
    with world(tmp_path) as made:
        yield made


def _invite(broker: World, subject_ref: str = "crm-1") -> dict[str, Any]:
    """A partner asks for a verified person: an officer has to approve."""
    headers = broker.token(PARTNER, "partner") | {"Idempotency-Key": secrets.token_hex(8)}
    body = {"subject_ref": subject_ref, "grade": "verified_person"}
    answer = broker.http.post("/v1/invitations", json=body, headers=headers)
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    assert found["approval"] == "waiting"
    return found


def _approve(broker: World, invitation: dict[str, Any], *, approve: bool = True, **who: str) -> Any:  # noqa: ANN401 (an answer)
    headers = broker.token(who.get("client", OFFICER), who.get("role", "officer"))
    return broker.http.post(
        f"/v1/invitations/{invitation['id']}/approval",
        json={"approve": approve},
        headers=headers | {"Idempotency-Key": secrets.token_hex(8)},
    )


def _post(broker: World, path: str, token: str, **body: str) -> Any:  # noqa: ANN401 (an answer)
    headers = {"Authorization": f"Bearer {token}"}
    return broker.http.post(f"/openid4vci/{path}", json=body, headers=headers)


def _deferred(broker: World, invitation: dict[str, Any]) -> tuple[str, str]:
    """A wallet asks for two copies and is told to come again: its token, the transaction."""
    token = broker.wallet_token(invitation)
    nonce = broker.nonce()
    answer = broker.request(token, broker.proof(nonce), broker.proof(nonce))
    assert answer.status_code == 202, answer.text
    assert answer.headers["cache-control"] == "no-store"
    assert set(answer.json()) == {"transaction_id", "interval"}
    return token, str(answer.json()["transaction_id"])


def test_the_credentials_come_when_an_officer_has_approved(broker: World) -> None:
    invitation = _invite(broker)
    token, transaction = _deferred(broker, invitation)
    assert broker.copies() == []
    waits = _post(broker, "deferred_credential", token, transaction_id=transaction)
    assert (waits.status_code, waits.json()["transaction_id"]) == (202, transaction)
    broker.advance(3 * DAY)
    forget_expired(broker.ctx)
    approved = _approve(broker, invitation)
    assert (approved.status_code, approved.json()["approval"]) == (200, "given")
    answer = _post(broker, "deferred_credential", token, transaction_id=transaction)
    assert answer.status_code == 200, answer.text
    assert len(answer.json()["credentials"]) == 2
    assert {copy.grade for copy in broker.copies()} == {"verified_person"}
    again = _post(broker, "deferred_credential", token, transaction_id=transaction)
    assert (again.status_code, again.json()["error"]) == (400, "invalid_transaction_id")
    kinds = ("invitation.opened", "issuance.deferred", "invitation.approved", "contact.bound")
    assert len(broker.logged(*kinds)) == 4
    (entry,) = broker.logged("invitation.approved")
    assert entry.body["officer"] == OFFICER


def test_approved_before_the_wallet_asks_nothing_is_deferred(broker: World) -> None:
    invitation = _invite(broker)
    assert _approve(broker, invitation).status_code == 200
    assert len(broker.accept(broker.wallet(), invitation)) == 4


def test_refused_nothing_comes(broker: World) -> None:
    invitation = _invite(broker)
    token, transaction = _deferred(broker, invitation)
    assert _approve(broker, invitation, approve=False).json()["approval"] == "refused"
    answer = _post(broker, "deferred_credential", token, transaction_id=transaction)
    assert answer.json()["error"] == "credential_request_denied"
    again = broker.request(token, broker.proof(broker.nonce()))
    assert again.json()["error"] == "credential_request_denied"
    assert broker.copies() == []


def test_an_officers_own_invitation_waits_for_nobody(broker: World) -> None:
    invitation = broker.invite(grade="verified_person")
    assert invitation["approval"] == "none"
    assert len(broker.accept(broker.wallet(), invitation)) == 4
    answer = _approve(broker, invitation)
    assert (answer.status_code, answer.json()["code"]) == (409, "state_conflict")


def test_only_an_officer_approves_and_only_once(broker: World) -> None:
    invitation = _invite(broker)
    partner = _approve(broker, invitation, client=PARTNER, role="partner")
    assert (partner.status_code, partner.json()["code"]) == (403, "forbidden")
    assert _approve(broker, invitation, approve=False).status_code == 200
    assert _approve(broker, invitation).status_code == 409
    assert _approve(broker, {"id": "iv-unknown"}).status_code == 404


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ({}, "invalid_credential_request"),
        ({"transaction_id": ""}, "invalid_credential_request"),
        ({"transaction_id": "made-up"}, "invalid_transaction_id"),
        (
            {"transaction_id": "made-up", "credential_response_encryption": {"enc": "A256GCM"}},
            "invalid_encryption_parameters",
        ),
    ],
)
def test_a_transaction_that_is_none(broker: World, body: dict[str, Any], error: str) -> None:
    token, _ = _deferred(broker, _invite(broker))
    answer = _post(broker, "deferred_credential", token, **body)
    assert (answer.status_code, answer.json()["error"]) == (400, error)


def test_a_transaction_of_another_wallet(broker: World) -> None:
    invitation = _invite(broker)
    _, transaction = _deferred(broker, invitation)
    other, _ = _deferred(broker, _invite(broker, "crm-2"))
    _approve(broker, invitation)
    answer = _post(broker, "deferred_credential", other, transaction_id=transaction)
    assert answer.json()["error"] == "invalid_transaction_id"
    assert broker.copies() == []


def test_a_transaction_and_its_token_end(broker: World) -> None:
    invitation = _invite(broker)
    token, transaction = _deferred(broker, invitation)
    _approve(broker, invitation)
    broker.advance(7 * DAY)
    answer = _post(broker, "deferred_credential", token, transaction_id=transaction)
    assert answer.status_code == 401


def test_what_waits_falls_with_its_partner(broker: World) -> None:
    invitation = _invite(broker)
    token, transaction = _deferred(broker, invitation)
    set_partner_state(broker.ctx, "demo", PARTNER, "suspended")
    _approve(broker, invitation)
    answer = _post(broker, "deferred_credential", token, transaction_id=transaction)
    assert answer.status_code == 401


def _issued(broker: World, subject_ref: str = "crm-1") -> tuple[str, str]:
    token = broker.wallet_token(broker.invite(subject_ref))
    answer = broker.request(token, broker.proof(broker.nonce()))
    return token, str(answer.json()["notification_id"])


@pytest.mark.parametrize(
    "event", ["credential_accepted", "credential_failure", "credential_deleted"]
)
def test_a_wallet_tells_what_became_of_its_credentials(broker: World, event: str) -> None:
    token, known = _issued(broker)
    body = {"notification_id": known, "event": event, "event_description": "a private remark"}
    for _ in range(2):
        answer = _post(broker, "notification", token, **body)
        assert (answer.status_code, answer.content) == (204, b"")
    (entry,) = broker.logged(f"customer_{event}")
    assert entry.body["copies"] == [copy.id for copy in broker.copies()]
    assert "remark" not in str(entry.body)


def test_a_notification_that_is_none(broker: World) -> None:
    token, known = _issued(broker)
    other, _ = _issued(broker, "crm-2")
    cases = [
        (token, {"notification_id": "made-up", "event": "credential_accepted"}),
        (other, {"notification_id": known, "event": "credential_accepted"}),
        (token, {"notification_id": known, "event": "credential_lost"}),
        (token, {"notification_id": known}),
        (token, {"event": "credential_accepted"}),
    ]
    errors = []
    for holder, body in cases:
        answer = _post(broker, "notification", holder, **body)
        assert answer.status_code == 400
        errors.append(answer.json()["error"])
    assert errors == ["invalid_notification_id"] * 2 + ["invalid_notification_request"] * 3
    assert _post(broker, "notification", "no token", **cases[0][1]).status_code == 401


def test_the_metadata_names_both_endpoints(broker: World) -> None:
    told = broker.http.get("/.well-known/openid-credential-issuer").json()
    assert told["deferred_credential_endpoint"] == f"{PUBLIC_URL}/openid4vci/deferred_credential"
    assert told["notification_endpoint"] == f"{PUBLIC_URL}/openid4vci/notification"
