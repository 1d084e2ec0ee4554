"""Everything held about one customer, and nothing about anybody else."""

import base64
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from broker.domain.entry import leaf_data
from broker.domain.schemas import SUBJECT_EXPORT
from broker.store import audit
from broker.usecases.erasure import release_due
from broker.usecases.sandbox import mark
from credentials.jcs import b64url_decode, canonical
from tests.broker.flow_world import World, world


@pytest.fixture
def made(tmp_path: Path) -> Iterator[World]:
    with world(tmp_path / "home") as broker:
        yield broker


def export(made: World, **named: str) -> dict[str, Any]:
    answer = made.api("POST", "/v1/subject-exports", made.officer, json=named)
    assert answer.status_code == 200, answer.text
    assert answer.headers["Cache-Control"] == "no-store"
    told: dict[str, Any] = answer.json()
    jsonschema.Draft202012Validator(json.loads(SUBJECT_EXPORT)).validate(told)
    return told


def used(made: World, subject_ref: str) -> str:
    """A customer with a consent, a refusal, decisions and evidence that somebody looked at."""
    request = made.customer(subject_ref).grant("base")
    (consent,) = [one["id"] for one in request["consents"] if one["state"] == "granted"]
    assert made.decide(subject_ref)["decision"]
    assert not made.decide(subject_ref, territory="SG")["decision"]
    assert made.evidence(consent).verdict == "verified"
    made.advance(2)
    return str(consent)


@pytest.mark.parametrize("alone", [False, True])
def test_a_minors_export_holds_no_credential_of_the_guardian(made: World, *, alone: bool) -> None:
    parent = made.customer("crm-parent")
    child = None if alone else made.customer("crm-child")
    guardian = {"subject_ref": "crm-parent", "relation": "parent", "alone": alone}
    body = {"subject_ref": "crm-child", "age_band": "under_13", "guardian": guardian}
    assert made.api("PUT", "/v1/minors", json=body).status_code == 200
    made.advance()
    request = made.ask("crm-child")
    if child is not None:
        child.sign(request["wallet_link"], "consent_base")
    parent.sign(made.follow(request)["wallet_link"], "consent_base")
    consent = request["consents"][0]["id"]
    link = made.withdrawal(consent).json()["wallet_link"]
    parent.sign(link, "same_key" if alone else "other_key")
    told = export(made, partner=made.partner, subject_ref="crm-child")
    (given,) = [one for one in told["consents"] if one["id"] == consent]
    signed = {one["kind"]: one["content"] for one in given["evidence"]}
    assert ("presentation" in signed.pop("grant")) is not alone
    assert set(signed) == ({"withdrawal"} if alone else {"guardian", "withdrawal"})
    for content in signed.values():
        assert "presentation" not in content
        assert content["presentation_hash"]


def test_everything_about_one_and_nothing_about_another(made: World) -> None:
    mine, other = used(made, "crm-mine"), used(made, "crm-other")
    told = export(made, partner=made.partner, subject_ref="crm-mine")
    (contact,) = told["contacts"]
    assert contact["subject_ref"] == "crm-mine"
    assert told["profile_attributes"] == []
    assert len(told["credential_copies"]) == 4
    assert [one["state"] for one in told["invitations"]] == ["redeemed"]
    states = {one["item"]: one["state"] for one in told["consents"]}
    assert states == {"base": "granted", "visits": "refused", "singapore": "refused"}
    (given,) = [one for one in told["consents"] if one["id"] == mine]
    assert given["consent_credential"].count("~") >= 1
    assert given["receipt"]
    (kept,) = given["evidence"]
    digest = hashlib.sha256(kept["content"]["presentation"].encode()).digest()
    (grant,) = [one for one in told["acts"] if one["entry"]["type"] == "consent.granted"]
    named = grant["entry"]["body"]["evidence"]["presentation"]
    assert named == base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
    assert [one["entry"]["body"]["decision"] for one in told["decisions"]] == [True, False]
    assert [one["entry"]["type"] for one in told["looks"]] == ["evidence.exported"]

    # Each entry is what the log holds at its place.
    with made.ctx.db.reading() as tx:
        for one in (*told["decisions"], *told["acts"], *told["looks"]):
            (leaf,) = audit.leaf_data(tx, one["index"], one["index"] + 1)
            assert leaf == leaf_data(b64url_decode(one["salt"]), canonical(one["entry"]))

    # Nothing of the other customer, by whatever name.
    theirs = export(made, consent=other)
    strangers = {
        theirs["subject"],
        theirs["contacts"][0]["pairwise_id"],
        "crm-other",
        *(one["id"] for name in ("contacts", "invitations", "consents") for one in theirs[name]),
        *(one["id"] for one in theirs["credential_copies"]),
        *(one["entry"]["id"] for name in ("acts", "decisions", "looks") for one in theirs[name]),
    }
    text = json.dumps(told)
    assert [name for name in strangers if name in text] == []


def test_a_test_subject_is_told_that_they_are_one(made: World) -> None:
    made.customer("crm-test")
    asked = {"partner": made.partner, "subject_ref": "crm-test"}
    assert "test_subject" not in export(made, **asked)["contacts"][0]
    mark(made.ctx, "demo", made.partner, "crm-test", on=True)
    made.advance(2)
    told = export(made, **asked)
    assert told["contacts"][0]["test_subject"] is True
    assert "test_subject.marked" in [one["entry"]["type"] for one in told["acts"]]


def test_that_it_was_handed_out_is_in_the_log_and_in_the_next_one(made: World) -> None:
    consent = used(made, "crm-1")
    first = export(made, consent=consent)
    again = export(made, consent=consent)
    assert len(again["looks"]) == len(first["looks"]) + 1
    (look,) = [one for one in again["looks"] if one["entry"]["type"] == "subject.exported"]
    assert look["entry"]["body"]["by"] == made.officer
    assert look["index"] is None  # nobody has sequenced since


def test_what_remains_of_an_erased_customer_and_why(made: World) -> None:
    consent = used(made, "crm-1")
    headers = {"Idempotency-Key": "erase"}
    named = {"consent": consent}
    made.api("POST", "/v1/subject-erasures", made.officer, json=named, headers=headers)
    held = export(made, consent=consent)
    assert held["contacts"][0]["subject_ref"] is None
    (kept,) = [one for one in held["erasure"]["remains"] if one["what"] == "evidence"]
    assert (kept["consent"], kept["until"]) == (consent, held["erasure"]["held_until"])
    assert held["decisions"]

    made.advance(held["erasure"]["held_until"] - made.time[0])
    release_due(made.ctx)
    over = export(made, consent=consent)
    assert over["erasure"]["finished_at"] == made.time[0]
    assert {one["what"] for one in over["erasure"]["remains"]} == {"consent_state", "log_leaves"}
    assert over["decisions"] == []
    assert all(one["terms"] is None and not one["evidence"] for one in over["consents"])


def test_who_may_ask_and_how(made: World) -> None:
    consent = used(made, "crm-1")
    assert made.api("POST", "/v1/subject-exports", json={"consent": consent}).status_code == 403
    for body in ({}, {"partner": made.partner}, {"consent": consent, "subject_ref": "crm-1"}):
        answer = made.api("POST", "/v1/subject-exports", made.officer, json=body)
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_request"), body
        assert "crm-1" not in answer.text
    unknown = {"partner": made.partner, "subject_ref": "crm-nobody"}
    answer = made.api("POST", "/v1/subject-exports", made.officer, json=unknown)
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


def test_the_schema_is_served(made: World) -> None:
    answer = made.http.get("/schemas/subject-export/1.json")
    assert answer.json() == json.loads(SUBJECT_EXPORT)
