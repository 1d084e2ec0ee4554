"""Minors: two signatures over the same terms, or the guardian's alone; and what follows."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from alembic import command
from sqlalchemy import select, text

from broker.domain.bundle import pack, unpack
from broker.domain.evidence import MANIFEST_TYPE, Report, file_hash, verify_evidence
from broker.domain.guardian import Minor
from broker.store.acting import acting_for_all
from broker.store.consents import CONSENT
from broker.store.contacts import CONTACT
from broker.store.migrate import _config
from broker.store.presentations import EVIDENCE
from broker.usecases import consent_page, sandbox
from broker.usecases.erasure import release_due
from broker.usecases.tenant import add_attribute
from broker.usecases.trust import trust
from credentials.jcs import canonical
from credentials.jws import parse_jws, sign_jws
from tests.broker.flow_world import DAY, Customer, World, world
from tests.broker.test_separate_consents import CAMERA
from wallet_adapters.loopback.errors import PeerRefused


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[World]:
    with world(tmp_path) as made:
        yield made


@pytest.fixture
def child(broker: World) -> Customer:
    return broker.customer("crm-child")


@pytest.fixture
def parent(broker: World) -> Customer:
    return broker.customer("crm-parent")


def mark(broker: World, band: str = "under_14", *, alone: bool = False, **more: Any) -> Any:  # noqa: ANN401
    guardian = {"subject_ref": "crm-parent", "relation": "parent", "alone": alone}
    body = {"subject_ref": "crm-child", "age_band": band, "guardian": guardian, **more}
    answer = broker.api("PUT", "/v1/minors", json=body)
    assert answer.status_code == 200, answer.text
    broker.advance()
    return answer.json()


def both_sign(broker: World, child: Customer, parent: Customer) -> dict[str, Any]:
    request = broker.ask("crm-child")
    child.sign(request["wallet_link"], "consent_base")
    parent.sign(broker.follow(request)["wallet_link"], "consent_base")
    return broker.follow(request)


def test_a_minors_consent_counts_when_both_have_signed_the_same_terms(
    broker: World, child: Customer, parent: Customer
) -> None:
    mark(broker)
    request = broker.ask("crm-child")
    assert request["signer"] == "customer"
    child.sign(request["wallet_link"], "consent_base")
    waiting = broker.follow(request)
    assert (waiting["state"], waiting["signer"]) == ("open", "guardian")
    assert {one["state"] for one in waiting["consents"]} == {"requested"}
    assert "consent_requested" in broker.reasons("crm-child")
    parent.sign(waiting["wallet_link"], "consent_base")
    assert broker.states(request)[0] == "granted"
    assert broker.follow(request)["signer"] is None
    assert broker.reasons("crm-child") == []
    consent = broker.consent(request["consents"][0]["id"])
    assert consent["terms"]["guardian"] == {"role": "parent", "alone": False}
    assert consent["terms"]["schema"] == "urn:consent-broker:terms:2"


def test_evidence_and_record_carry_both_signatures(
    broker: World, child: Customer, parent: Customer
) -> None:
    mark(broker)
    granted = both_sign(broker, child, parent)
    consent_id = granted["consents"][0]["id"]
    report = broker.evidence(consent_id)
    assert report.verdict == "verified", report.failure
    signatures = next(one.found for one in report.checks if one.code == "signatures")
    assert signatures == (
        "grant signed with the customer's key, guardian signed with the guardian's key"
    )
    assert "guardian/presentation.txt" in report.manifest["files"]
    record = broker.api("GET", f"/v1/consents/{consent_id}/record").json()
    assert record["guardian"]["party_role"] == "dpv:ParentOfDataSubject"
    told = report.manifest["files"]["guardian/presentation.txt"]
    assert record["guardian"]["signature"]["presentation_hash"] == told
    broker.advance(2)
    partners = broker.api("GET", f"/v1/consents/{consent_id}/evidence")
    assert partners.status_code == 200
    assert b"guardian/presentation.txt" not in partners.content


def test_a_broker_that_lies_about_the_guardian_is_found_out(
    broker: World, child: Customer, parent: Customer
) -> None:
    mark(broker)
    consent_id = both_sign(broker, child, parent)["consents"][0]["id"]
    broker.advance(2)
    answer = broker.api("GET", f"/v1/consents/{consent_id}/evidence", broker.officer)
    honest = unpack(answer.content)
    assert packed_anew(broker, honest).verdict == "verified"
    alone = {name: data for name, data in honest.items() if not name.startswith("guardian/")}
    failure = packed_anew(broker, alone).failure
    assert failure is not None
    assert failure.found == "the terms and what the guardian signed do not go together"
    # What the minor signed, as if the guardian had.
    twice = dict(alone)
    for name, data in alone.items():
        if name.startswith("grant/"):
            twice[name.replace("grant/", "guardian/")] = data.replace(
                b'"kind":"grant"', b'"kind":"guardian"'
            )
    failure = packed_anew(broker, twice).failure
    assert failure is not None
    assert failure.found == "guardian: what was signed is not about these terms"


def packed_anew(broker: World, files: dict[str, bytes]) -> Report:
    """The files under a manifest that the broker's own key has signed, verified."""
    key = broker.ctx.keys.issuer("demo")
    manifest = orjson.loads(parse_jws(files["manifest.jws"].decode(), typ=MANIFEST_TYPE).payload)
    rest = {name: data for name, data in files.items() if name != "manifest.jws"}
    manifest["files"] = {name: file_hash(data) for name, data in sorted(rest.items())}
    header = {"typ": MANIFEST_TYPE, "x5c": list(key.x5c)}
    signed = sign_jws(key.signer, header, canonical(manifest)).encode()
    return verify_evidence(pack({**rest, "manifest.jws": signed}), trust(broker.ctx))


def test_neither_can_sign_in_the_others_place(
    broker: World, child: Customer, parent: Customer
) -> None:
    mark(broker)
    request = broker.ask("crm-child")
    with pytest.raises(PeerRefused):
        parent.sign(request["wallet_link"], "consent_base")
    child.sign(request["wallet_link"], "consent_base")
    waiting = broker.follow(request)
    with pytest.raises(PeerRefused):
        child.sign(waiting["wallet_link"], "consent_base")
    assert broker.states(request)[0] == "requested"
    rejected = [entry.body["code"] for entry in broker.logged("presentation.rejected")]
    assert rejected == ["subject_mismatch", "subject_mismatch"]


def test_the_guardian_may_refuse_and_nothing_signed_is_kept(broker: World, child: Customer) -> None:
    broker.customer("crm-parent")
    mark(broker)
    request = broker.ask("crm-child")
    child.sign(request["wallet_link"], "consent_base")
    token = request["page_url"].rsplit("/", 1)[1]
    consent_page.refuse(broker.ctx, "demo", token)
    assert set(broker.states(request)) == {"refused"}
    assert broker.rows()["evidence"] == []


@pytest.mark.parametrize("by", ["child", "parent"])
def test_either_withdraws_alone(broker: World, child: Customer, parent: Customer, by: str) -> None:
    mark(broker)
    consent_id = both_sign(broker, child, parent)["consents"][0]["id"]
    link = broker.withdrawal(consent_id).json()["wallet_link"]
    (child if by == "child" else parent).sign(link, "same_key" if by == "child" else "other_key")
    after = broker.consent(consent_id)
    grade = "same_key" if by == "child" else "guardian"
    assert (after["state"], after["withdrawal_grade"]) == ("withdrawn", grade)
    assert broker.evidence(consent_id).verdict == "verified"


def test_a_stranger_withdraws_nothing(broker: World, child: Customer, parent: Customer) -> None:
    mark(broker)
    consent_id = both_sign(broker, child, parent)["consents"][0]["id"]
    stranger = broker.customer("crm-9")
    link = broker.withdrawal(consent_id).json()["wallet_link"]
    with pytest.raises(PeerRefused):
        stranger.sign(link, "other_key")
    assert broker.consent(consent_id)["state"] == "granted"


def test_a_guardian_alone_consents_for_a_child_without_a_wallet(
    broker: World, parent: Customer
) -> None:
    mark(broker, "under_13", alone=True)
    request = broker.ask("crm-child")
    assert (request["signer"], request["binding"]["invitation_needed"]) == ("guardian", False)
    parent.sign(request["wallet_link"], "consent_base")
    assert broker.states(request)[0] == "granted"
    assert broker.reasons("crm-child") == []
    assert "consent_not_found" in broker.reasons("crm-parent"), "it is the child's, nobody else's"
    consent_id = request["consents"][0]["id"]
    report = broker.evidence(consent_id)
    assert report.verdict == "verified", report.failure
    assert any("guardian's key" in one.found for one in report.checks)
    link = broker.withdrawal(consent_id).json()["wallet_link"]
    parent.sign(link, "same_key")
    assert broker.consent(consent_id)["state"] == "withdrawn"


def test_a_consent_from_before_the_mark_denies_until_the_guardian_has_signed(
    broker: World, child: Customer, parent: Customer
) -> None:
    child.grant("base")
    assert broker.reasons("crm-child") == []
    mark(broker)
    assert broker.reasons("crm-child") == ["guardian_consent_missing"]
    both_sign(broker, child, parent)
    assert broker.reasons("crm-child") == []


def test_who_comes_of_age_is_asked_again(broker: World, child: Customer, parent: Customer) -> None:
    marked = mark(broker, of_age_at=broker.time[0] + DAY)
    both_sign(broker, child, parent)
    assert broker.reasons("crm-child") == []
    broker.advance(DAY)
    assert broker.reasons("crm-child") == ["own_consent_missing"]
    child.grant("base")
    assert broker.reasons("crm-child") == []
    assert broker.api("DELETE", f"/v1/minors/{marked['id']}").status_code == 204
    assert broker.api("GET", f"/v1/minors/{marked['id']}").status_code == 404


def test_who_is_old_enough_by_the_law_signs_alone(broker: World, child: Customer) -> None:
    mark(broker, "under_16")  # in China fourteen is old enough
    request = child.grant("base")
    assert request["consents"][0]["state"] == "granted"
    assert broker.reasons("crm-child") == []


def test_what_makes_no_sense_is_refused(broker: World) -> None:
    guardian = {"subject_ref": "crm-parent", "relation": "parent"}
    good = {"subject_ref": "crm-child", "age_band": "under_14", "guardian": guardian}
    for change in (
        {"age_band": "13"},
        {"subject_ref": "crm-parent"},
        {"guardian": {**guardian, "relation": "friend"}},
        {"of_age_at": broker.time[0]},
        {"birth_date": "2015-01-01"},
    ):
        answer = broker.api("PUT", "/v1/minors", json={**good, **change})
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_request"), change
    assert mark(broker)["age_band"] == "under_14"
    as_guardian = {**good, "subject_ref": "crm-x"}
    as_guardian["guardian"] = {**guardian, "subject_ref": "crm-child"}
    assert broker.api("PUT", "/v1/minors", json=as_guardian).status_code == 400


def test_no_other_partner_and_no_entry_of_the_mark_tells_of_the_age(broker: World) -> None:
    marked = mark(broker)
    other = broker.second_partner()
    assert broker.api("GET", f"/v1/minors/{marked['id']}", other).status_code == 404
    assert broker.api("DELETE", f"/v1/minors/{marked['id']}", other).status_code == 404
    assert broker.api("GET", f"/v1/minors/{marked['id']}", broker.officer).json() == marked
    (entry,) = broker.logged("minor.marked")
    told = orjson.dumps(entry.body).decode()
    assert "under" not in told
    assert "crm-" not in told


def test_the_minors_page_hands_nobody_the_guardians_card(broker: World, child: Customer) -> None:
    mark(broker)
    request = broker.ask("crm-child")
    headers = {"Idempotency-Key": "for-the-parent"}
    invitation = {"subject_ref": "crm-parent", "grade": "link"}
    opened = broker.api("POST", "/v1/invitations", json=invitation, headers=headers)
    assert opened.status_code == 201, opened.text
    child.sign(request["wallet_link"], "consent_base")
    page = broker.http.get(f"{request['page_url']}?lang=en").text
    assert "Now the guardian signs" in page
    assert "openid-credential-offer" not in page
    assert "You need an invitation" in page


def erase(broker: World, subject_ref: str) -> Any:  # noqa: ANN401 (an answer)
    named = {"partner": broker.partner, "subject_ref": subject_ref}
    headers = {"Idempotency-Key": f"erase-{subject_ref}"}
    path = "/v1/subject-erasures"
    done = broker.api("POST", path, broker.officer, json=named, headers=headers)
    assert done.status_code == 201, done.text
    return done.json()


@pytest.mark.parametrize("erased", [False, True])
def test_a_new_guardian_withdraws_what_the_one_before_signed(
    broker: World, parent: Customer, *, erased: bool
) -> None:
    mark(broker, "under_13", alone=True)
    request = broker.ask("crm-child")
    parent.sign(request["wallet_link"], "consent_base")
    consent_id = request["consents"][0]["id"]
    aunt, stranger = broker.customer("crm-aunt"), broker.customer("crm-9")
    guardian = {"subject_ref": "crm-aunt", "relation": "legal_guardian", "alone": True}
    body = {"subject_ref": "crm-child", "age_band": "under_13", "guardian": guardian}
    assert broker.api("PUT", "/v1/minors", json=body).status_code == 200
    if erased:
        erase(broker, "crm-parent")
    link = broker.withdrawal(consent_id).json()["wallet_link"]
    with pytest.raises(PeerRefused):
        stranger.sign(link, "other_key")
    aunt.sign(link, "other_key")
    after = broker.consent(consent_id)
    assert (after["state"], after["withdrawal_grade"]) == ("withdrawn", "guardian")
    assert broker.evidence(consent_id).verdict == "verified"


def test_an_erased_child_leaves_no_relation(
    broker: World, child: Customer, parent: Customer
) -> None:
    sandbox.mark(broker.ctx, "demo", broker.partner, "crm-child", on=True)
    mark(broker)
    both_sign(broker, child, parent)
    assert stored(broker, CONSENT.c.guardian_id) - {None, ""}
    erase(broker, "crm-child")
    assert True not in stored(broker, CONTACT.c.test_subject)
    broker.advance(max(stored(broker, EVIDENCE.c.kept_until)) - broker.time[0] + 1)
    release_due(broker.ctx)
    assert stored(broker, EVIDENCE.c.kept_until) == set()
    assert stored(broker, CONSENT.c.guardian_id) == {None, ""}


def stored(broker: World, column: Any) -> set[Any]:  # noqa: ANN401 (of SQLAlchemy)
    with broker.ctx.db.reading() as tx:
        return set(tx.execute(select(column)).scalars())


def test_a_mark_before_there_is_anybody_names_no_guardian(broker: World) -> None:
    mark(broker, "under_13", alone=True)
    (entry,) = broker.logged("minor.marked")
    assert {"guardian", "relation"}.isdisjoint(entry.body)


def test_a_minor_is_nobodys_guardian(broker: World, child: Customer, parent: Customer) -> None:
    mark(broker)
    guardian = {"subject_ref": "crm-grand", "relation": "parent"}
    young = {"subject_ref": "crm-parent", "age_band": "under_14", "guardian": guardian}
    refused = broker.api("PUT", "/v1/minors", json=young)
    assert (refused.status_code, refused.json()["code"]) == (409, "state_conflict")
    assert "name another guardian there first" in refused.json()["detail"]
    request = broker.ask("crm-child")
    # Marked by a broker of before, which did not refuse it.
    of_parent = CONTACT.c.id.in_(stored(broker, CONTACT.c.guardian_contact_id) - {None})
    with broker.ctx.db.transaction() as tx:
        kept = Minor("under_14", "ct-grand", "parent", alone=False).dump()
        tx.execute(CONTACT.update().where(of_parent).values(minor=kept))
    child.sign(request["wallet_link"], "consent_base")
    with pytest.raises(PeerRefused):
        parent.sign(broker.follow(request)["wallet_link"], "consent_base")
    assert broker.states(request)[0] == "requested"


def test_whose_guardian_somebody_was_may_be_marked_once_they_are_none(broker: World) -> None:
    marked = mark(broker)
    guardian = {"subject_ref": "crm-grand", "relation": "parent"}
    young = {"subject_ref": "crm-parent", "age_band": "under_14", "guardian": guardian}
    assert broker.api("PUT", "/v1/minors", json=young).status_code == 409
    assert broker.api("DELETE", f"/v1/minors/{marked['id']}").status_code == 204
    assert broker.api("PUT", "/v1/minors", json=young).status_code == 200
    again = {**young, "subject_ref": "crm-child"}
    again["guardian"] = {**guardian, "subject_ref": "crm-parent"}
    refused = broker.api("PUT", "/v1/minors", json=again)
    assert (refused.status_code, refused.json()["code"]) == (400, "invalid_request")


@pytest.mark.parametrize("before", ["0033", "0034"])
def test_marks_of_before_are_found_by_their_guardian(broker: World, before: str) -> None:
    mark(broker)
    downgrade(broker, before)
    with acting_for_all(), broker.ctx.db.transaction() as tx:
        if before == "0034":  # marked by an older broker beside it
            tx.execute(CONTACT.update().values(guardian_contact_id=None))
        config = _config()
        config.attributes["connection"] = tx
        command.upgrade(config, "head")
        assert tx.execute(text("SELECT oldest FROM schema_support")).scalar_one() == "0034"
    guardian = {"subject_ref": "crm-grand", "relation": "parent"}
    young = {"subject_ref": "crm-parent", "age_band": "under_14", "guardian": guardian}
    assert broker.api("PUT", "/v1/minors", json=young).status_code == 409


def test_no_broker_that_knows_no_minors_takes_over_where_there_are_some(broker: World) -> None:
    mark(broker)
    with pytest.raises(RuntimeError, match="marked as minors"):
        downgrade(broker, "0027")


def test_no_broker_that_knows_no_public_places_takes_over(broker: World) -> None:
    add_attribute(broker.ctx, "demo", CAMERA)
    with pytest.raises(RuntimeError, match="public places"):
        downgrade(broker, "0029")


def downgrade(broker: World, revision: str) -> None:
    config = _config()
    with acting_for_all(), broker.ctx.db.transaction() as tx:
        config.attributes["connection"] = tx
        command.downgrade(config, revision)


def test_the_page_says_whose_turn_it_is(broker: World, child: Customer, parent: Customer) -> None:
    mark(broker)
    request = broker.ask("crm-child")
    path = request["page_url"]
    assert "two signatures" in broker.http.get(f"{path}?lang=en").text
    child.sign(request["wallet_link"], "consent_base")
    page = broker.http.get(f"{path}?lang=en&step=2").text
    assert "Now the guardian signs" in page
    assert 'action="' + path.removeprefix("http://127.0.0.1:8000") + '/choice"' not in page
    assert "现在由监护人签名" in broker.http.get(f"{path}?lang=zh").text
