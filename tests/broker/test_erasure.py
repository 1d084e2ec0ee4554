"""Erasing a customer: what goes at once, what the law holds, what remains for good."""

import secrets
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from httpx2 import Response
from sqlalchemy import select

from broker.domain.errors import NotFound
from broker.domain.evidence import verify_evidence
from broker.domain.held import LONGEST_SECONDS
from broker.store import outside_copies, tables
from broker.upkeep import SWEEP_SECONDS
from broker.usecases.entry_keys import AGE_SECONDS
from broker.usecases.erasure import release_due
from broker.usecases.keys import KeyRing
from broker.usecases.retention import delete_evidence_over
from broker.usecases.trust import trust
from credentials.status import Status, verify_status_token
from tests.broker.flow_world import Customer, World, world
from wallet_adapters.errors import WalletProtocolError
from wallet_adapters.loopback import accept_offer
from wallet_adapters.loopback.errors import PeerRefused


@pytest.fixture
def made(tmp_path: Path) -> Iterator[World]:
    with world(tmp_path / "home") as broker:
        yield broker


def erase(made: World, **named: str) -> Response:
    headers = {"Idempotency-Key": secrets.token_hex(8)}
    path = "/v1/subject-erasures"
    answer: Response = made.api("POST", path, made.officer, json=named, headers=headers)
    return answer


def by_ref(made: World, subject_ref: str) -> dict[str, str]:
    return {"partner": made.partner, "subject_ref": subject_ref}


def rows(made: World, name: str) -> list[Any]:
    with made.ctx.db.reading() as tx:
        return list(tx.execute(select(tables.metadata.tables[name])).all())


def show(made: World) -> int:
    """Let the partner's time come, and the sweep that follows it; what it looked after."""
    made.advance(LONGEST_SECONDS)
    done = release_due(made.ctx)
    made.advance(2)
    return done


def granted(customer: Customer, *items: str) -> list[str]:
    request = customer.grant(*items)
    return [one["id"] for one in request["consents"] if one["state"] == "granted"]


def test_what_goes_at_once(made: World) -> None:
    customer = made.customer("crm-1")
    (consent,) = granted(customer, "base")
    made.advance(2)
    kept = made.api("GET", f"/v1/consents/{consent}/evidence", made.officer).content
    waiting = made.ask("crm-1")
    done = erase(made, **by_ref(made, "crm-1"))
    assert done.status_code == 201, done.text
    told = done.json()
    assert (told["state"], told["withdrawn"], told["deletion_tasks"]) == ("held", 1, 1)
    # Nothing leads back to the person, at once, and the next decision denies.
    assert not made.decide("crm-1")["decision"]
    (contact,) = rows(made, "contact")
    assert contact.sealed_subject_ref == b""
    assert contact.subject_ref_hash == f"erased:{contact.id}"
    assert {one.holder_thumbprint for one in rows(made, "credential_copy")} == {
        f"erased:{one.id}" for one in rows(made, "credential_copy")
    }
    assert {one.state for one in rows(made, "credential_copy")} == {"superseded"}
    assert [one.sealed_code for one in rows(made, "invitation")] == [None]
    assert show(made) == 1

    # Withdrawn as by any withdrawal: the list, the entry.
    (row,) = [row for row in rows(made, "consent") if row.id == consent]
    assert (row.state, row.withdrawal_grade) == ("withdrawn", "tenant_channel")
    token = made.http.get(f"/status/{row.status_list_id}").text
    uri = f"{made.ctx.settings.public_url}/status/{row.status_list_id}"
    shown = verify_status_token(token, uri=uri, anchors=made.ctx.keys.anchors(), now=made.time[0])
    assert shown.get(row.status_index) == Status.INVALID
    assert [one.consent_id for one in made.logged("consent.withdrawn")] == [consent]

    # What waited is closed, requests and pages are empty.
    assert all(one.state != "requested" for one in rows(made, "consent"))
    assert made.http.get(waiting["page_url"]).status_code == 404
    assert rows(made, "presentation_request") == rows(made, "served_request") == []
    # Consents that were never given have no terms any more, the signed one has.
    assert [one.id for one in rows(made, "consent") if one.terms] == [consent]

    # What was handed out before goes on verifying.
    assert verify_evidence(kept, trust(made.ctx)).verdict == "verified"
    # The entry of the erasure is the tenant's.
    (entry,) = made.logged("subject.erased")
    assert entry.subject_id is None
    assert entry.body["held_until"] == told["held_until"]
    (copy,) = outside_copies.read_erasures([made.ctx.settings.home / outside_copies.FILE_NAME])
    assert copy.contact_ids == (contact.id,)


def test_what_the_law_holds_goes_when_its_time_is_over(made: World) -> None:
    customer = made.customer("crm-1")
    (consent,) = granted(customer, "base")
    assert made.decide("crm-1")["decision"]
    held = erase(made, **by_ref(made, "crm-1")).json()
    assert show(made) == 1
    # Partners see nothing any more; an officer may still prove that it was lawful.
    for path in ("", "/credential", "/evidence"):
        answer = made.api("GET", f"/v1/consents/{consent}{path}")
        assert (answer.status_code, answer.json()["code"]) == (410, "erased"), path
    assert made.evidence(consent).verdict == "verified"

    made.advance(held["held_until"] - made.time[0] - 1)
    assert release_due(made.ctx) == 0
    assert len(rows(made, "evidence")) == 1
    made.advance(1)
    assert release_due(made.ctx) == 1
    assert release_due(made.ctx) == 0
    made.advance(2)
    assert rows(made, "evidence") == rows(made, "issued_credential") == []
    assert {row.terms for row in rows(made, "consent")} == {""}
    (subject,) = rows(made, "subject")
    assert subject.sealed_log_key is None
    with made.ctx.db.reading() as tx, pytest.raises(NotFound):
        made.ctx.keys.log_key(tx, "demo", subject.id)
    listed = made.api("GET", "/v1/subject-erasures", made.officer).json()["erasures"]
    assert [one["state"] for one in listed] == ["finished"]
    assert made.api("GET", "/v1/subject-erasures?state=held", made.officer).json()["erasures"] == []
    for path in ("", "/credential", "/receipt", "/evidence"):
        answer = made.api("GET", f"/v1/consents/{consent}{path}", made.officer)
        assert (answer.status_code, answer.json()["code"]) == (410, "erased"), path
    # The place in the list stays set, and a decision about it is recorded as the tenant's.
    (row,) = [row for row in rows(made, "consent") if row.id == consent]
    assert (row.state, row.status_index is not None) == ("withdrawn", True)
    body = {
        "subject": {"type": "partner", "id": made.partner},
        "action": {"name": "read"},
        "resource": {
            "type": "attribute",
            "id": "purchase_count_12m",
            "properties": {"consent": consent},
        },
        "context": {"purpose": "dpv:ServicePersonalisation#algo:churn-v3@1"},
    }
    answer = made.api("POST", "/access/v1/evaluation", json=body).json()
    assert answer["decision"] is False
    made.advance(2)
    with made.ctx.db.reading() as tx:
        newest = tx.execute(
            select(tables.metadata.tables["audit_entry"].c.subject_id)
            .where(tables.metadata.tables["audit_entry"].c.type == "decision")
            .order_by(tables.metadata.tables["audit_entry"].c.log_index.desc())
        ).scalars()
        assert next(iter(newest)) is None


def test_where_no_partner_has_asked_the_key_is_destroyed_at_once(made: World) -> None:
    made.customer("crm-1")
    done = erase(made, **by_ref(made, "crm-1")).json()
    assert (done["state"], done["withdrawn"], done["deletion_tasks"]) == ("finished", 0, 0)
    assert [row.sealed_log_key for row in rows(made, "subject")] == [None]


def test_where_nothing_is_held_the_key_is_destroyed_when_the_partner_sees_it(made: World) -> None:
    made.customer("crm-1")
    made.ask("crm-1")
    done = erase(made, **by_ref(made, "crm-1")).json()
    assert (done["state"], done["withdrawn"], done["deletion_tasks"]) == ("held", 0, 0)
    assert done["held_until"] - made.time[0] <= LONGEST_SECONDS
    assert show(made) == 1
    assert [row.sealed_log_key for row in rows(made, "subject")] == [None]
    assert len(made.logged("subject.log_key_destroyed")) == 1


def test_a_contact_that_was_never_bound_is_erased(made: World) -> None:
    request = made.ask("crm-nobody")
    assert erase(made, **by_ref(made, "crm-nobody")).json()["state"] == "held"
    path = f"/v1/consent-requests/{request['id']}"
    seen = made.api("GET", path)
    assert (seen.status_code, seen.json()["state"]) == (200, "open")
    assert made.http.get(request["page_url"]).status_code == 200
    assert show(made) == 1
    answer = made.api("GET", path)
    assert (answer.status_code, answer.json()["code"]) == (410, "erased")


def test_erasing_again_and_erasing_nobody(made: World) -> None:
    (consent,) = granted(made.customer("crm-1"), "base")
    erase(made, consent=consent)
    again = erase(made, consent=consent)
    assert (again.status_code, again.json()["code"]) == (409, "state_conflict")
    assert erase(made, **by_ref(made, "crm-1")).status_code == 404
    assert erase(made, partner=made.partner).status_code == 400
    assert made.api("POST", "/v1/subject-erasures", json={"consent": consent}).status_code == 403


def test_the_same_person_comes_back_as_somebody_new(made: World) -> None:
    customer = made.customer("crm-1")
    granted(customer, "base")
    erase(made, **by_ref(made, "crm-1"))
    # The wallet's old credential is good for nothing; a new invitation starts anew.
    (before,) = rows(made, "subject")
    fresh = made.customer("crm-1")
    (consent,) = granted(fresh, "base")
    assert made.decide("crm-1")["decision"]
    assert made.evidence(consent).verdict == "verified"
    (after,) = [row for row in rows(made, "subject") if row.id != before.id]
    assert after.sealed_log_key is not None


def test_what_a_partner_still_sees_open_takes_no_signature(made: World) -> None:
    """Until the erasure is shown, its requests and pages look as before."""
    customer = made.customer("crm-1")
    (consent,) = granted(customer, "base")
    waiting = made.ask("crm-1")
    erase(made, consent=consent)
    assert made.consent(consent)["state"] == "granted"
    with pytest.raises(PeerRefused):
        customer.sign(waiting["wallet_link"], "consent_base")
    assert set(made.states(waiting)) == {"requested"}
    assert show(made) == 1
    assert made.api("GET", f"/v1/consents/{consent}").json()["code"] == "erased"
    assert all(one.state in {"withdrawn", "expired"} for one in rows(made, "consent") if one.terms)


@pytest.mark.parametrize("engine", ["sqlite", "postgresql"])
def test_signed_evidence_goes_when_its_time_is_over(
    engine: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    url = "" if engine == "sqlite" else request.getfixturevalue("postgres_database")
    with world(tmp_path / "home", database_url=url) as made:
        _goes_when_its_time_is_over(made)


def _goes_when_its_time_is_over(made: World) -> None:
    (ended,) = granted(made.customer("crm-1"), "base")
    made.withdrawal(ended, made.officer)
    customer = made.customer("crm-2")
    (signed,) = granted(customer, "base")
    (first, second) = (one.kept_until for one in rows(made, "evidence"))
    made.advance(first - made.time[0] - 1)
    assert delete_evidence_over(made.ctx) == 0
    made.advance(1)
    assert first <= second
    assert delete_evidence_over(made.ctx) == (2 if second == first else 1)
    made.advance(second - made.time[0])
    delete_evidence_over(made.ctx)
    assert delete_evidence_over(made.ctx) == 0
    assert rows(made, "evidence") == rows(made, "issued_credential") == []
    deleted = {one.consent_id for one in made.logged("evidence.deleted")}
    assert deleted == {ended, signed}
    answer = made.api("GET", f"/v1/consents/{ended}/evidence", made.officer)
    assert answer.status_code == 404
    assert "time to keep it is over" in answer.json()["detail"]
    # What was agreed, and that it has ended, stays to be shown.
    assert made.consent(ended)["state"] == "withdrawn"
    assert all(row.terms for row in rows(made, "consent") if row.id in deleted)


def test_evidence_goes_as_a_whole_and_not_that_of_the_erased(made: World) -> None:
    customer = made.customer("crm-1")
    (consent,) = granted(customer, "base")
    asked = made.withdrawal(consent).json()
    customer.sign(asked["wallet_link"])
    grant, withdrawal = rows(made, "evidence")
    evidence = tables.metadata.tables["evidence"]
    with made.ctx.db.transaction() as tx:
        mine = evidence.c.id == withdrawal.id
        tx.execute(evidence.update().where(mine).values(kept_until=grant.kept_until + 60))
    made.advance(grant.kept_until - made.time[0])
    assert delete_evidence_over(made.ctx) == 0
    erase(made, consent=consent)
    made.advance(60)
    assert delete_evidence_over(made.ctx) == 0
    assert len(rows(made, "evidence")) == 2


def test_the_old_wallet_signs_nothing_after_an_erasure(made: World) -> None:
    old = made.customer("crm-1")
    erase(made, **by_ref(made, "crm-1"))
    made.customer("crm-1")
    request = made.ask("crm-1")
    with pytest.raises(PeerRefused):
        old.sign(request["wallet_link"], "consent_base")
    assert set(made.states(request)) == {"requested"}


def test_erasures_do_not_wait_for_the_log(made: World) -> None:
    (consent,) = granted(made.customer("crm-1"), "base")
    made.time[0] += 120  # and nobody sequences
    assert not made.ctx.log.permits(made.time[0])
    assert erase(made, consent=consent).status_code == 201


def test_one_customer_erased_leaves_the_other(made: World) -> None:
    granted(made.customer("crm-1"), "base")
    (other,) = granted(made.customer("crm-2"), "base")
    held = erase(made, **by_ref(made, "crm-1")).json()
    assert made.evidence(other).verdict == "verified"
    made.advance(held["held_until"] - made.time[0])
    assert release_due(made.ctx) == 1
    assert {row.consent_id for row in rows(made, "evidence")} == {other}
    assert len([row for row in rows(made, "subject") if row.sealed_log_key]) == 1


def test_an_offer_that_was_redeemed_leads_nowhere(made: World) -> None:
    body = {"subject_ref": "crm-1", "grade": "link"}
    headers = {"Idempotency-Key": "k"}
    invited = made.api("POST", "/v1/invitations", json=body, headers=headers).json()
    erase(made, **by_ref(made, "crm-1"))
    stranger = made.stranger("crm-1")
    with pytest.raises(WalletProtocolError):
        accept_offer(
            stranger.wallet, invited["offer_uri"], carry=made.carry, now=made.time[0], copies=1
        )
    assert rows(made, "subject") == []


def test_no_process_uses_a_key_for_long_after_it_was_destroyed(
    made: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process destroys it: this one has it in memory, for a while."""
    made.customer("crm-1")
    (subject,) = rows(made, "subject")
    elsewhere = KeyRing(made.ctx.db, made.ctx.master, made.ctx.now, made.ctx.settings.public_url)
    with made.ctx.db.reading() as tx:
        key = elsewhere.log_key(tx, "demo", subject.id)
    erase(made, **by_ref(made, "crm-1"))
    with made.ctx.db.reading() as tx:
        with pytest.raises(NotFound):
            made.ctx.keys.log_key(tx, "demo", subject.id)
        assert elsewhere.log_key(tx, "demo", subject.id) is key
        later = time.monotonic() + AGE_SECONDS
        monkeypatch.setattr(time, "monotonic", lambda: later)
        elsewhere.forget_log_keys()
        assert key not in [held.key for held in elsewhere._entry_keys._kept.values()]  # noqa: SLF001
        with pytest.raises(NotFound):
            elsewhere.log_key(tx, "demo", subject.id)
    assert AGE_SECONDS + SWEEP_SECONDS <= 60
