"""A consent that covers minor versions of its algorithm, and what then asks again all the same."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from broker.domain.algorithm_versions import covers_version
from broker.domain.errors import InvalidTerms
from broker.domain.terms import AlgorithmTerms, Label, Terms
from broker.usecases.tenant import add_algorithm
from credentials.jcs import b64url_decode
from tests.broker.demonstration import DEMONSTRATION
from tests.broker.flow_world import PURPOSE, Customer, World, world

NAME = PURPOSE.rpartition("@")[0]
DECLARED = next(one for one in DEMONSTRATION["algorithms"] if one["id"] == "churn-v3")


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[World]:
    with world(tmp_path) as made:
        yield made


@pytest.fixture
def li(broker: World) -> Customer:
    return broker.customer("crm-1")


def register(broker: World, version: str, **changes: Any) -> None:  # noqa: ANN401
    terms = AlgorithmTerms(
        DECLARED["id"],
        version,
        Label.from_json(DECLARED["label"]),
        Label.from_json(DECLARED["explanation"]),
        automated_decision=DECLARED["automated_decision"],
        risk_tier=DECLARED["risk_tier"],
    )
    add_algorithm(broker.ctx, "demo", DECLARED["purpose"], replace(terms, **changes))


def granted(broker: World, customer: Customer, name: str = "minor", **item: Any) -> str:  # noqa: ANN401
    """The id of a consent to the demonstration's first item, with changes, alone."""
    broker.template(name, items=[{**DEMONSTRATION["templates"][0]["items"][0], **item}])
    request = broker.ask(customer.subject_ref, name)
    customer.sign(request["wallet_link"], "consent_base")
    [consent] = broker.follow(request)["consents"]
    assert consent["state"] == "granted"
    return str(consent["id"])


def reasons(broker: World, version: str) -> list[str]:
    return broker.reasons("crm-1", purpose=f"{NAME}@{version}")


def test_minor_versions_are_covered_where_it_was_signed_so(broker: World, li: Customer) -> None:
    consent_id = granted(broker, li, minor_versions=True)
    terms = broker.consent(consent_id)["terms"]
    assert terms["schema"] == "urn:consent-broker:terms:3"
    assert terms["minor_versions"] is True
    assert reasons(broker, "1") == []
    assert reasons(broker, "1.2") == ["algorithm_unregistered"]
    register(broker, "1.2")
    register(broker, "1.2.1")
    assert reasons(broker, "1.2") == []
    assert reasons(broker, "1.2.1") == []
    # What was decided is proven, and that the terms allowed it.
    report = broker.evidence(consent_id)
    assert report.verdict == "verified", report.failure
    record = broker.api("GET", f"/v1/consents/{consent_id}/record").json()
    [purpose] = record["pii_processing"]["purposes"]
    assert purpose["algorithm"]["minor_versions"] is True
    token = broker.api("GET", f"/v1/consents/{consent_id}/credential").text.split("~")[0]
    claims = json.loads(b64url_decode(token.split(".")[1]))
    assert (claims["purpose"], claims["minor_versions"]) == (PURPOSE, True)


@pytest.mark.parametrize(
    ("version", "changes", "codes"),
    [
        ("1.3", {"risk_tier": "high"}, ["algorithm_changed"]),
        ("1.3", {"risk_tier": "minimal"}, ["algorithm_changed"]),
        ("1.3", {"automated_decision": False}, ["algorithm_changed"]),
        ("10", {}, ["algorithm_not_granted"]),
        ("11.1", {}, ["algorithm_not_granted"]),
        ("3", {}, ["algorithm_not_granted"]),
    ],
)
def test_whatever_changes_more_asks_again(
    broker: World, li: Customer, version: str, changes: dict[str, Any], codes: list[str]
) -> None:
    granted(broker, li, minor_versions=True)
    register(broker, version, **changes)
    assert reasons(broker, version) == codes


def test_without_it_every_other_version_asks_again(broker: World, li: Customer) -> None:
    consent_id = granted(broker, li)
    assert "minor_versions" not in broker.consent(consent_id)["terms"]
    register(broker, "1.2")
    assert reasons(broker, "1.2") == ["algorithm_not_granted"]


def test_a_consent_to_the_very_version_helps_where_the_older_one_does_not(
    broker: World, li: Customer
) -> None:
    granted(broker, li, minor_versions=True)
    register(broker, "1.3", risk_tier="high")
    assert reasons(broker, "1.3") == ["algorithm_changed"]
    granted(broker, li, "newer", purpose=f"{NAME}@1.3")
    assert reasons(broker, "1.3") == []
    assert reasons(broker, "1") == []


def test_search_asks_about_the_consent_that_covers(broker: World, li: Customer) -> None:
    """Of two that name the version, one does not cover what it has become."""
    register(broker, "1.3", risk_tier="high")
    for order in (("minor", "newer"), ("newer-2", "minor-2")):
        for name in order:
            exact = name.startswith("newer")
            changes = {"purpose": f"{NAME}@1.3"} if exact else {"minor_versions": True}
            granted(broker, li, name, **changes)
            broker.advance(1)
        assert reasons(broker, "1.3") == []
        assert found(broker, f"{NAME}@1.3")


def found(broker: World, purpose: str, **properties: str) -> list[Any]:
    """What a search for attributes finds, of one customer or of all."""
    answer = broker.api(
        "POST",
        "/access/v1/search/resource",
        json={
            "subject": {"type": "partner", "id": broker.partner},
            "action": {"name": "read"},
            "resource": {"type": "attribute", "properties": properties},
            "context": {"purpose": purpose, "territory": "CN"},
        },
    )
    assert answer.status_code == 200, answer.text
    return list(answer.json()["results"])


def test_search_and_hints_see_minor_versions(broker: World, li: Customer) -> None:
    granted(broker, li, minor_versions=True)
    register(broker, "1.2")
    assert found(broker, f"{NAME}@1.2", subject_ref="crm-1")
    assert found(broker, f"{NAME}@1.2")
    stranger = broker.customer("crm-2")
    told = broker.decide(stranger.subject_ref, purpose=f"{NAME}@1.2")
    assert "minor" in json.dumps(told["context"]["obligations"])


def test_terms_of_the_third_schema_are_read_strictly(broker: World, li: Customer) -> None:
    terms = broker.consent(granted(broker, li, minor_versions=True))["terms"]
    assert Terms.from_json(terms).minor_versions
    for wrong in (
        {"minor_versions": False},
        {"minor_versions": 1},
        {"schema": "urn:consent-broker:terms:1"},
        {"schema": "urn:consent-broker:terms:2"},
        {"guardian": None},
    ):
        with pytest.raises(InvalidTerms):
            Terms.from_json({**terms, **wrong})
    with pytest.raises(InvalidTerms):
        Terms.from_json({name: one for name, one in terms.items() if name != "minor_versions"})
    both = Terms.from_json({**terms, "guardian": {"role": "parent", "alone": False}})
    assert both.minor_versions
    assert both.guardian is not None


@pytest.mark.parametrize(
    ("signed", "asked", "covered"),
    [
        ("1", "1", True),
        ("1", "1.0", True),
        ("1.2", "1.2.9", True),
        ("1.2", "1.20", False),
        ("1.2", "1", False),
        ("1", "", False),
        ("1", "10.1", False),
    ],
)
def test_which_versions_are_minor(signed: str, asked: str, covered: bool) -> None:
    assert covers_version(signed, asked, minor_versions=True) is covered
    assert covers_version(signed, asked, minor_versions=False) is (signed == asked)
