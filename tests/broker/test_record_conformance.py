"""The ANCR working group's conformance document for DPV-27560, test by test (draft, March 2026).

Level A is about a record's form, level B about the order and the binding of what it tells, from the
artefacts that an auditor asks for: the record, the log and the versions of the notice. The document
asks for two traces, one that holds and one that is rejected.
"""

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest

from broker.domain.entry import Entry
from broker.store import registry
from tests.broker.flow_world import PUBLIC_URL, World, world
from tests.broker.test_record import expanded, record

DCT = "http://purl.org/dc/terms/"
NAME, TEMPLATE = "crm-conformance", "conforming"


@dataclass
class Trace:
    """What an auditor gets: the record, its receipt, the notice by version, grant and uses."""

    record: dict[str, Any]
    receipt: dict[str, Any]
    notices: dict[int, str]
    granted: Entry
    uses: list[int]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world(tmp_path_factory.mktemp("conformance")) as found:
        yield found


@pytest.fixture(scope="module")
def trace(made: World) -> Trace:
    made.template(TEMPLATE)
    customer = made.customer(NAME, copies=2)
    request = made.ask(NAME, template=TEMPLATE)
    # A use that comes before the notice is refused: nothing is enforced that was not authorized.
    assert "consent_requested" in made.reasons(NAME)
    made.advance(5)
    customer.sign(request["wallet_link"], "consent_base")
    (consent_id,) = (
        one["id"] for one in made.follow(request)["consents"] if one["state"] == "granted"
    )
    uses = []
    for _ in range(2):
        made.advance(5)
        decision = made.decide(NAME)
        assert decision["decision"] is True, decision
        uses.append(decision["context"]["time"])
    made.template(TEMPLATE, summary={"zh": "后来的说明", "en": "A later summary"})
    with made.ctx.db.reading() as tx:
        notices = {
            number: registry.template(tx, "demo", TEMPLATE, number).notice_hash()
            for number in (1, 2)
        }
    return Trace(
        record(made, consent_id),
        record(made, consent_id, form="receipt"),
        notices,
        made.logged("consent.granted")[-1],
        uses,
    )


def seconds(moment: str) -> int:
    return int(datetime.strptime(moment, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC).timestamp())


def faults(trace: Trace) -> list[str]:
    """Which tests of level B a trace fails."""
    found = trace.record
    notice = found["pii_processing"]["privacy_notice"]
    parties = {one["party_id"]: one for one in found["party_identification"]}
    recipients = found["pii_processing"]["recipient_third_parties"]
    events = {one["event_state"]: seconds(one["event_time"]) for one in found["events"]}
    requested, granted = events["dpv:ConsentRequested"], events["dpv:ConsentGiven"]
    identified = [one for one in parties.values() if one["party_role"] == "dpv:DataController"]
    tests = {
        "B1 the controller is identified first": bool(identified)
        and requested <= seconds(notice["shown_at"]),
        "B1 the notice comes before the processing": seconds(notice["shown_at"])
        <= granted
        == trace.granted.time
        <= min(trace.uses),
        "B2 the authorization is bound to one version of the notice": trace.notices.get(
            notice["notice_version"]
        )
        == notice["notice_hash"]
        and trace.granted.body["terms_hash"] == found["terms_hash"],
        "B3 recipients are explicit, with their role": bool(recipients)
        and all(parties.get(one, {}).get("party_role") == "dpv:Recipient" for one in recipients),
        "B4 no identifier of the person is forced": "pii_principal_id"
        not in orjson.dumps(trace.receipt).decode(),
    }
    return [name[:2] for name, holds in tests.items() if not holds]


def test_a1_the_profile_is_declared_and_is_there(made: World, trace: Trace) -> None:
    (told,) = expanded(trace.record)
    profiles = [one["@id"] for one in told[f"{DCT}conformsTo"]]
    assert profiles == [
        "urn:iso:std:iso-iec:ts:27560:ed-1",
        f"{PUBLIC_URL}/schemas/consent-record/1.json",
    ]
    served = made.http.get(profiles[1].removeprefix(PUBLIC_URL))
    assert served.json()["title"].startswith("Consent record")


def test_a2_the_record_has_an_identifier_that_stays(made: World, trace: Trace) -> None:
    (told,) = expanded(trace.record)
    (identifier,) = told[f"{DCT}identifier"]
    assert identifier["@value"] == record(made, trace.record["record_id"])["record_id"]


def test_a3_the_minimum_of_the_context_is_told(trace: Trace) -> None:
    processing = trace.record["pii_processing"]
    (controller,) = (
        one
        for one in trace.record["party_identification"]
        if one["party_role"] == "dpv:DataController"
    )
    (purpose,) = processing["purposes"]
    assert all(
        (
            *(processing["services"], controller["party_name"], processing["jurisdiction"]),
            *(controller["party_country"], controller["party_contact"], purpose["purpose"]),
            *(purpose["lawful_basis"], processing["recipient_third_parties"]),
            *(controller["rights_route"], processing["withdrawal_method"]),
        )
    )
    # A3.1: how far it goes, and how surely the person was bound.
    assert purpose["processing_methods"]
    assert processing["geographic_restrictions"]
    assert processing["privacy_notice"]["signature_grade"]


def test_the_happy_path_holds(trace: Trace) -> None:
    assert faults(trace) == []


LATER = "2126-01-01T00:00:00Z"
REJECTED: dict[str, tuple[Callable[[Trace], None], str]] = {
    "the notice came after the use": (
        lambda one: one.record["pii_processing"]["privacy_notice"].update(shown_at=LATER),
        "B1",
    ),
    "used before it was authorized": (lambda one: one.uses.insert(0, one.granted.time - 1), "B1"),
    "nobody is named as controller": (
        lambda one: one.record["party_identification"].pop(0) and None,
        "B1",
    ),
    "another version of the notice": (
        lambda one: one.record["pii_processing"]["privacy_notice"].update(notice_version=2),
        "B2",
    ),
    "terms that nobody signed": (lambda one: one.record.update(terms_hash="other"), "B2"),
    "a recipient that is not declared": (
        lambda one: one.record["pii_processing"]["recipient_third_parties"].append("p-other"),
        "B3",
    ),
    "a receipt that names the person": (
        lambda one: one.receipt["record"].update(pii_principal_id="someone"),
        "B4",
    ),
}


@pytest.mark.parametrize("what", REJECTED)
def test_the_failure_path_is_rejected(trace: Trace, what: str) -> None:
    change, name = REJECTED[what]
    changed = copy.deepcopy(trace)
    change(changed)
    assert faults(changed) == [name]


def test_b4_the_first_contact_is_anonymous(made: World) -> None:
    request = made.ask("crm-first-contact", template=TEMPLATE)
    page = made.http.get(request["page_url"].removeprefix(PUBLIC_URL))
    assert page.status_code == 200
    asked = record(made, request["consents"][0]["id"])
    assert asked["party_identification"][0]["party_name"]["zh"] in page.text
    assert "pii_principal_id" not in asked


def test_what_the_principal_receives_is_portable(made: World, trace: Trace, tmp_path: Path) -> None:
    """The receipt stands by itself, and leads to the controller and to the customer's rights."""
    kept = tmp_path / "receipt.json"
    kept.write_bytes(orjson.dumps(trace.receipt))
    inner = orjson.loads(kept.read_bytes())["record"]
    assert inner["terms_hash"] == trace.granted.body["terms_hash"]
    assert all(one["rights_route"] for one in inner["party_identification"])
    # What it says is proven by the evidence, which needs no server.
    assert made.evidence(inner["record_id"]).verdict == "verified"
