"""Records of consents by ISO/IEC TS 27560, and criteria of the ANCR working group.

Those are C1 to C8 of clause 5.1 of its extension of TS 27560 (v1.0, 2026-09-04), as far as they are
about records of consents; its conformance document is `test_record_conformance.py`.
"""

import csv
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import orjson
import pytest
from jsonschema import Draft202012Validator
from pyld import jsonld

from broker.domain.record import LABELS, PROCESSING, STATES
from broker.domain.schemas import CONSENT_RECORD, RECORD_CONTEXT
from broker.store import registry
from broker.usecases.bootstrap import ensure_demo_tenant
from tests.broker.flow_world import DAY, PUBLIC_URL, World, world
from tests.programs import shared

DPV = "https://w3id.org/dpv#"
# Of DPV 2.3, in modules that the tables in shared/data/dpv leave out.
ELSEWHERE = {
    *("ConsentRecord", "ConsentReceipt", "hasRecordOfActivity", "hasConsentStatus"),
    *("hasDataSubject", "hasDataController", "hasRecipient", "hasProcess", "hasPersonalData"),
    *("hasService", "hasDuration", "DataController", "Recipient"),
}
VALIDATOR = Draft202012Validator(
    orjson.loads(CONSENT_RECORD), format_checker=Draft202012Validator.FORMAT_CHECKER
)


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def made(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[World]:
    url = ""
    if request.param == "postgresql":
        url = request.getfixturevalue("postgres_server").create("records")
    with world(tmp_path_factory.mktemp("records"), database_url=url) as found:
        yield found


@cache
def vocabulary() -> frozenset[str]:
    """The identifiers of DPV's tables."""
    folder = shared("data/dpv")
    found = set[str]()
    for file in sorted(folder.glob("*.csv")):
        with file.open(encoding="utf-8", newline="") as table:
            found.update(row["iri"] for row in csv.DictReader(table))
    assert len(found) > 400
    return frozenset(found)


def record(made: World, consent_id: str, caller: str | None = None, **query: str) -> dict[str, Any]:
    asked = "".join(f"?{name}={value}" for name, value in query.items())
    answer = made.api("GET", f"/v1/consents/{consent_id}/record{asked}", caller or made.officer)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/ld+json"
    found: dict[str, Any] = answer.json()
    assert [error.message for error in VALIDATOR.iter_errors(found)] == []
    return found


def granted(made: World, name: str, item: str = "base") -> str:
    request = made.customer(name, copies=2).grant(item)
    (consent_id,) = (one["id"] for one in request["consents"] if one["state"] == "granted")
    return str(consent_id)


def states(found: dict[str, Any]) -> list[str]:
    return [one["event_state"] for one in found["events"]]


def test_a_record_follows_a_consent_through_its_states(made: World) -> None:
    request = made.ask("crm-states")
    asked = request["consents"][0]["id"]
    found = record(made, asked)
    assert (states(found), "pii_principal_id" in found) == (["dpv:ConsentRequested"], False)
    consent_id = granted(made, "crm-given")
    found = record(made, consent_id)
    assert states(found) == ["dpv:ConsentRequested", "dpv:ConsentGiven"]
    assert found["events"][1]["entity_id"] == found["pii_principal_id"]
    assert found["events"][1]["validity_duration"] == f"PT{180 * DAY}S"
    made.withdrawal(consent_id, made.officer)
    found = record(made, consent_id)
    assert found["consent_state"] == "dpv:ConsentWithdrawn"
    assert states(found)[-1] == "dpv:ConsentWithdrawn"
    assert found["events"][-1]["entity_id"] == "demo"  # by the tenant's own channel


def test_refusals_have_records_and_receipts(made: World) -> None:
    customer = made.customer("crm-refusing", copies=2)
    request = customer.grant("base")  # signs one of three and so refuses the others
    refused = [one["id"] for one in request["consents"] if one["state"] == "refused"]
    assert len(refused) == 2
    found = record(made, refused[0])
    assert states(found) == ["dpv:ConsentRequested", "dpv:ConsentRefused"]
    assert "signature_grade" not in found["pii_processing"]["privacy_notice"]
    assert found["state_label"]["zh"] == "已拒绝"
    assert record(made, refused[0], form="receipt")["record"]["consent_state"] == STATES["refused"]


def test_every_field_of_the_specification_is_there(made: World) -> None:
    consent_id = granted(made, "crm-fields", "singapore")
    found = record(made, consent_id)
    processing = found["pii_processing"]
    (purpose,) = processing["purposes"]
    assert purpose["purpose"] == "dpv:ServicePersonalisation"
    assert purpose["algorithm"]["algorithm_id"] == "sg-match@1"
    assert {one["pii_attribute_id"] for one in purpose["pii_information"]} == {"purchase_count_12m"}
    assert "SG" in processing["processing_locations"]
    assert found["pipl"]["abroad"]["territories"] == ["SG"]
    assert {one["kind"]: one["law"] for one in found["pipl"]["separate_consents"]} == {
        "cross_border": ["PIPL-39"],
        "third_party": ["PIPL-23"],
    }
    assert re.fullmatch(r"P[0-9]+D", processing["retention_period"])
    assert {one["party_role"] for one in found["party_identification"]} == {
        "dpv:DataController",
        "dpv:Recipient",
    }
    assert all(one["party_contact"] for one in found["party_identification"])


def test_partners_see_their_own_by_the_minute(made: World) -> None:
    consent_id = granted(made, "crm-minutes")
    made.advance(7)
    mine, theirs = record(made, consent_id, made.partner), record(made, consent_id)
    assert [one["event_time"][-3:] for one in mine["events"]] == ["00Z"] * 2
    assert mine["pii_processing"]["privacy_notice"]["shown_at"].endswith("00Z")
    assert mine["pii_principal_id"] == theirs["pii_principal_id"]
    other = made.second_partner()
    assert made.api("GET", f"/v1/consents/{consent_id}/record", other).status_code == 404


def test_there_is_no_receipt_of_what_nobody_answered(made: World) -> None:
    asked = made.ask("crm-open")["consents"][0]["id"]
    answer = made.api("GET", f"/v1/consents/{asked}/record?form=receipt", made.officer)
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


# The acceptance tests.


def test_c1_the_notice_comes_before_the_processing(made: World) -> None:
    consent_id = granted(made, "crm-c1")
    use = made.decide("crm-c1")["context"]["time"]
    found = record(made, consent_id)
    notice, grant = found["pii_processing"]["privacy_notice"], found["events"][1]
    assert notice["shown_at"] <= grant["event_time"]
    entry = made.logged("consent.granted")[-1]
    assert entry.time <= use
    # And before anybody is asked who they are: the page and the terms need no token.
    page = made.ask("crm-c1-unknown")["page_url"].removeprefix(PUBLIC_URL)
    assert made.http.get(page).status_code == 200


def test_c2_the_minimum_of_a_notice_is_there_before_anybody_answers(made: World) -> None:
    found = record(made, made.ask("crm-c2")["consents"][0]["id"])
    assert found["party_identification"][0]["party_contact"]
    assert found["pii_processing"]["privacy_notice"]["notice_hash"]
    assert found["pii_processing"]["purposes"][0]["lawful_basis"] == "dpv:Consent"
    assert found["pii_processing"]["purposes"][0]["pii_information"]
    assert found["pii_processing"]["privacy_rights"]


def test_c3_a_receipt_identifies_no_customer(made: World) -> None:
    consent_id = granted(made, "crm-c3")
    principal = record(made, consent_id)["pii_principal_id"]
    receipt = record(made, consent_id, form="receipt")
    assert principal not in orjson.dumps(receipt).decode()
    assert receipt["record"]["record_id"] == consent_id


def test_c4_the_public_rules_are_named(made: World) -> None:
    found = record(made, granted(made, "crm-c4"))
    assert found["pii_processing"]["purposes"][0]["law"] == ["PIPL-13(1)(1)", "GDPR-6(1)(a)"]
    assert all(found["pipl"][name]["law"] for name in ("informed", "refusal", "abroad"))


def test_c5_a_consent_is_bound_to_the_version_of_its_notice(made: World) -> None:
    name = made.template("noticed")
    consent_id = _granted_by(made, "crm-c5", name)
    before = record(made, consent_id)["pii_processing"]["privacy_notice"]
    made.template("noticed", summary={"zh": "另一段说明", "en": "Another summary"})
    after = record(made, consent_id)["pii_processing"]["privacy_notice"]
    assert (before, before["notice_version"]) == (after, 1)
    with made.ctx.db.reading() as tx:
        versions = [registry.template(tx, "demo", "noticed", version) for version in (1, 2)]
    assert [one.notice_hash() == before["notice_hash"] for one in versions] == [True, False]
    newer = record(made, made.ask("crm-c5-newer", template=name)["consents"][0]["id"])
    assert newer["pii_processing"]["privacy_notice"]["notice_version"] == 2
    # Each version has an entry of its own in the log, with its hash.
    entries = {
        one.body["template"]: one.body["notice_hash"] for one in made.logged("template.added")
    }
    assert entries["noticed@1"] == before["notice_hash"]
    assert entries["noticed@2"] == newer["pii_processing"]["privacy_notice"]["notice_hash"]


def _granted_by(made: World, name: str, template: str) -> str:
    customer = made.customer(name, copies=2)
    request = made.ask(name, template=template)
    customer.sign(request["wallet_link"], "consent_base")
    done = made.follow(request)["consents"]
    (consent_id,) = (one["id"] for one in done if one["state"] == "granted")
    return str(consent_id)


def test_recipients_are_explicit(made: World) -> None:
    found = record(made, granted(made, "crm-recipients"))
    recipients = found["pii_processing"]["recipient_third_parties"]
    parties = {one["party_id"]: one for one in found["party_identification"]}
    assert recipients == [made.partner]
    for one in recipients:
        assert parties[one]["party_name"]["zh"]
        assert parties[one]["party_contact"]
        assert parties[one]["rights_route"].startswith(PUBLIC_URL)


def test_c8_the_state_at_a_past_time_can_be_told_from_the_record(made: World) -> None:
    consent_id = granted(made, "crm-c8")
    made.advance(100)
    before = record(made, consent_id)
    made.withdrawal(consent_id, made.officer)
    after = record(made, consent_id)
    assert after["events"][: len(before["events"])] == before["events"]
    assert after["events"][-1]["event_time"] > before["events"][-1]["event_time"]


# The vocabulary.


def expanded(found: dict[str, Any]) -> list[Any]:
    """By a JSON-LD processor that asks no network."""

    def load(url: str, _options: object) -> dict[str, Any]:
        assert url == f"{PUBLIC_URL}/schemas/consent-record/1.jsonld"
        return {"contextUrl": None, "documentUrl": url, "document": orjson.loads(RECORD_CONTEXT)}

    result: list[Any] = jsonld.expand(found, {"documentLoader": load})
    return result


def members(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield name
            yield from members(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from members(inner)


def identifiers(value: object) -> Iterator[str]:
    """Every identifier of an expanded document: of members, types and values."""
    if isinstance(value, dict):
        for name, inner in value.items():
            if not name.startswith("@"):
                yield name
            if name in {"@id", "@type"}:
                yield from [inner] if isinstance(inner, str) else inner
            yield from identifiers(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from identifiers(inner)


def test_the_context_gives_every_member_a_meaning_and_every_concept_is_dpvs(made: World) -> None:
    found = record(made, granted(made, "crm-ld"))
    (told,) = expanded(found)
    context = orjson.loads(RECORD_CONTEXT)["@context"]
    languages = {"zh", "en"}
    known = {name for name in members(found) if not name.startswith("@")} - languages
    assert known - context.keys() == set()
    used = {one for one in identifiers(told) if one.startswith(DPV) or "/dpv/" in one}
    assert used - vocabulary() <= {DPV + name for name in ELSEWHERE}
    assert {DPV + "hasNotice", DPV + "ServicePersonalisation", DPV + "ConsentGiven"} <= used
    assert orjson.dumps(told).count(b'"@language":"zh"') > 10


def test_states_and_ways_of_processing_are_concepts_of_dpv() -> None:
    ours = {*STATES.values(), *PROCESSING.values()}
    assert {DPV + one.removeprefix("dpv:") for one in ours} - vocabulary() == set()
    assert all(re.search(r"[\u4e00-\u9fff]", LABELS[one].zh) for one in ours)


def test_what_the_demonstration_registers_is_dpvs(tmp_path: Path) -> None:
    with world(tmp_path / "home") as made:
        ensure_demo_tenant(made.ctx)
        purposes = made.api("GET", "/v1/purposes").json()["purposes"]
        attributes = made.api("GET", "/v1/attributes").json()["attributes"]
    prefixes = {"dpv": DPV, "pd": "https://w3id.org/dpv/pd#"}
    for name in [*(one["id"] for one in purposes), *(one["category"] for one in attributes)]:
        prefix, _, term = name.partition(":")
        assert prefixes[prefix] + term in vocabulary(), name
