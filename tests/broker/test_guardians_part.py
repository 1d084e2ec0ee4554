"""A guardian's part: whose turn it is, what is told of them, and what goes with their erasure."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from broker.usecases.erasure import release_due
from tests.broker.flow_world import Customer, World, world
from tests.broker.test_guardian import both_sign, erase, mark
from tests.broker.test_subject_export import export
from wallet_adapters.loopback.errors import PeerRefused, TransactionDataUnknown


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


def page(broker: World, request: dict[str, Any], language: str = "en") -> str:
    return str(broker.http.get(f"{request['page_url']}?lang={language}").text)


def signed_on(text: str) -> int:
    """How many consents a page lists as signed."""
    _, _, rest = text.partition("<h3>Signed</h3>")
    return rest.partition("</ul>")[0].count("<li>")


def test_it_is_the_minors_turn_until_all_that_they_are_asked_for_is_answered(
    broker: World, child: Customer, parent: Customer
) -> None:
    mark(broker)
    request = broker.ask("crm-child")
    with pytest.raises(TransactionDataUnknown):
        child.sign(request["wallet_link"], known_types=())
    for signed in range(3):
        asked = broker.follow(request)
        assert (asked["state"], asked["signer"]) == ("open", "customer")
        assert signed_on(page(broker, request)) == signed
        with pytest.raises(PeerRefused):
            parent.sign(asked["wallet_link"], known_types=())
        child.sign(asked["wallet_link"], known_types=())
    asked = broker.follow(request)
    assert (asked["state"], asked["signer"]) == ("open", "guardian")
    assert "Now the guardian signs" in page(broker, request)
    parent.sign(asked["wallet_link"])
    assert broker.states(request) == ["granted"] * 3


def test_the_page_says_that_two_have_signed(
    broker: World, child: Customer, parent: Customer
) -> None:
    mark(broker)
    done = both_sign(broker, child, parent)
    assert "the minor and the guardian, each with their own wallet" in page(broker, done)
    assert "未成年人和监护人" in page(broker, done, "zh")
    own = broker.customer("crm-1").grant("base")
    assert "Signed by" not in page(broker, own)


def test_the_page_says_that_the_guardian_signed_for_the_child(
    broker: World, parent: Customer
) -> None:
    mark(broker, "under_13", alone=True)
    request = broker.ask("crm-child")
    parent.sign(request["wallet_link"], "consent_base")
    assert "the guardian, for the child" in page(broker, request)
    assert "监护人（代孩子）" in page(broker, request, "zh")


@pytest.mark.parametrize("alone", [False, True])
def test_what_a_guardian_signed_is_in_their_export(broker: World, *, alone: bool) -> None:
    parent = broker.customer("crm-parent")
    child = None if alone else broker.customer("crm-child")
    marked = mark(broker, "under_13", alone=alone)
    request = broker.ask("crm-child")
    if child is not None:
        child.sign(request["wallet_link"], "consent_base")
    parent.sign(broker.follow(request)["wallet_link"], "consent_base")
    consent = request["consents"][0]["id"]
    link = broker.withdrawal(consent).json()["wallet_link"]
    parent.sign(link, "same_key" if alone else "other_key")
    told = export(broker, partner=broker.partner, subject_ref="crm-parent")
    ward = {"contact": marked["id"], "partner": broker.partner, "relation": "parent"}
    assert told["guardian_of"] == [{**ward, "alone": alone}]
    (given,) = told["signed_as_guardian"]
    assert (given["id"], given["state"]) == (consent, "withdrawn")
    assert given["terms"]["guardian"] == {"role": "parent", "alone": alone}
    kinds = {one["kind"] for one in given["evidence"]}
    assert kinds == {"grant" if alone else "guardian", "withdrawal"}
    assert all(one["content"]["presentation"] for one in given["evidence"])
    # Of the child no more than that.
    theirs = export(broker, partner=broker.partner, subject_ref="crm-child")
    text = str(told)
    for secret in ("crm-child", "under_13", theirs["subject"], *copies(theirs)):
        assert secret not in text
    assert (theirs["guardian_of"], theirs["signed_as_guardian"]) == ([], [])
    # What they have withdrawn themselves they know for good.
    name_the_aunt(broker)
    told = export(broker, partner=broker.partner, subject_ref="crm-parent")
    assert (told["guardian_of"], told["signed_as_guardian"]) == ([], [given])


def copies(told: dict[str, Any]) -> list[str]:
    return [one["id"] for one in told["credential_copies"]]


def test_who_withdraws_what_another_guardian_signed_has_it_in_theirs(
    broker: World, parent: Customer
) -> None:
    mark(broker, "under_13", alone=True)
    request = broker.ask("crm-child")
    parent.sign(request["wallet_link"], "consent_base")
    aunt = broker.customer("crm-aunt")
    name_the_aunt(broker)
    consent = request["consents"][0]["id"]
    broker.advance(1)
    aunt.sign(broker.withdrawal(consent).json()["wallet_link"], "other_key")
    for subject_ref, kind, state in (
        ("crm-parent", "grant", None),  # the guardian no more: it is not theirs to know
        ("crm-aunt", "withdrawal", "withdrawn"),
    ):
        told = export(broker, partner=broker.partner, subject_ref=subject_ref)
        (given,) = told["signed_as_guardian"]
        assert [one["kind"] for one in given["evidence"]] == [kind]
        assert (given["state"], given["ended_at"] is None) == (state, state is None)
        assert len(told["guardian_of"]) == (subject_ref == "crm-aunt")


def name_the_aunt(broker: World) -> None:
    guardian = {"subject_ref": "crm-aunt", "relation": "legal_guardian", "alone": True}
    body = {"subject_ref": "crm-child", "age_band": "under_13", "guardian": guardian}
    assert broker.api("PUT", "/v1/minors", json=body).status_code == 200


@pytest.mark.parametrize("another", [False, True])
def test_what_nobody_could_withdraw_ends_with_the_guardians_erasure(
    broker: World, parent: Customer, *, another: bool
) -> None:
    mark(broker, "under_13", alone=True)
    request = broker.ask("crm-child")
    parent.sign(request["wallet_link"], "consent_base")
    assert broker.reasons("crm-child") == []
    if another:
        broker.customer("crm-aunt")
        name_the_aunt(broker)
    erase(broker, "crm-parent")
    ended = broker.logged("consent.withdrawn")
    if another:
        assert (broker.reasons("crm-child"), ended) == ([], [])
        return
    assert broker.reasons("crm-child") == ["consent_withdrawn"]
    assert [one.body["grade"] for one in ended] == ["tenant_channel"]
    consent = request["consents"][0]["id"]
    broker.advance(121)
    release_due(broker.ctx)
    assert broker.consent(consent)["state"] == "withdrawn"
    assert broker.api("GET", "/v1/deletion-tasks").json()["tasks"]
    assert broker.evidence(consent).verdict == "verified"


@pytest.mark.parametrize("aunt_first", [False, True])
def test_no_childs_consent_outlives_all_its_guardians(
    broker: World, parent: Customer, *, aunt_first: bool
) -> None:
    mark(broker, "under_13", alone=True)
    request = broker.ask("crm-child")
    parent.sign(request["wallet_link"], "consent_base")
    broker.customer("crm-aunt")
    name_the_aunt(broker)
    first, second = ("crm-aunt", "crm-parent") if aunt_first else ("crm-parent", "crm-aunt")
    told = [erase(broker, first), erase(broker, second)]
    # It ends with the guardian of now, with the recipient's task.
    at = 0 if aunt_first else 1
    assert [one["withdrawn"] for one in told] == [int(at == 0), int(at == 1)]
    assert [one["deletion_tasks"] for one in told] == [int(at == 0), int(at == 1)]
    assert broker.reasons("crm-child") == ["consent_withdrawn"]
    broker.advance(121)
    release_due(broker.ctx)
    consent = request["consents"][0]["id"]
    assert broker.consent(consent)["state"] == "withdrawn"
    assert [one["consent"] for one in broker.api("GET", "/v1/deletion-tasks").json()["tasks"]] == [
        consent
    ]


def test_a_childs_consent_ends_with_a_guardian_who_never_had_a_wallet(
    broker: World, parent: Customer
) -> None:
    mark(broker, "under_13", alone=True)
    request = broker.ask("crm-child")
    parent.sign(request["wallet_link"], "consent_base")
    name_the_aunt(broker)
    erase(broker, "crm-aunt")
    assert broker.reasons("crm-child") == ["consent_withdrawn"]


def test_what_a_minor_can_withdraw_outlives_the_guardians_erasure(
    broker: World, child: Customer, parent: Customer
) -> None:
    mark(broker)
    consent = both_sign(broker, child, parent)["consents"][0]["id"]
    erase(broker, "crm-parent")
    assert broker.reasons("crm-child") == []
    child.sign(broker.withdrawal(consent).json()["wallet_link"], "same_key")
    assert broker.reasons("crm-child") == ["consent_withdrawn"]
