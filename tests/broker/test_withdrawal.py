"""Withdrawing: by the same key, another key, the officer; never by others; as easy as giving."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from credentials.errors import Revoked
from credentials.status import StatusList, verify_status_token
from credentials.verify import verify_credential
from tests.broker.flow_world import PUBLIC_URL, Customer, World, form, presentation, world
from tests.web.markup import Element, Markup
from wallet_adapters.loopback import Answer, HeldCredential, Message, answer_request
from wallet_adapters.loopback.errors import PeerRefused, TransactionDataUnknown


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[World]:
    with world(tmp_path) as made:
        yield made


@pytest.fixture
def li(broker: World) -> Customer:
    return broker.customer("crm-1")


def base_of(request: dict[str, Any]) -> str:
    return str(request["consents"][0]["id"])


def using(copy: HeldCredential) -> Callable[..., HeldCredential]:
    return lambda _query, _matching: copy


def test_the_key_that_gave_it_withdraws_it(broker: World, li: Customer) -> None:
    request = li.grant("base", "visits")
    base = base_of(request)
    assert broker.decide(li.subject_ref)["decision"] is True
    asked = broker.withdrawal(base)
    assert asked.status_code == 202
    assert asked.json()["state"] == "granted", "asking withdraws nothing"
    assert broker.decide(li.subject_ref)["decision"] is True

    shown = broker.request(asked.json()["wallet_link"])
    consent = broker.consent(base)
    for data in shown.transaction_data:
        assert data.content["consent_id"] == base
        assert data.content["terms_hash"] == consent["terms_hash"]
        assert data.content["effect"] == "the_next_use_is_refused"
    li.sign(asked.json()["wallet_link"])

    after = broker.consent(base)
    assert (after["state"], after["withdrawal_grade"]) == ("withdrawn", "same_key")
    assert "consent_withdrawn" in broker.reasons(li.subject_ref)
    assert broker.states(request) == ["withdrawn", "granted", "refused"], "only what was signed"
    report = broker.evidence(base)
    assert report.verdict == "verified", report.failure
    assert "withdrawn" in report.checks[-1].found
    entry = broker.logged("consent.withdrawn")[0]
    assert entry.body["grade"] == "same_key"
    assert entry.body["terms_hash"] == consent["terms_hash"]


def test_another_key_of_the_customer_withdraws_it_graded_so(broker: World, li: Customer) -> None:
    request = broker.ask(li.subject_ref)
    first, second, *_rest = li.wallet.credentials
    li.sign(request["wallet_link"], "consent_base", choose=using(first))
    link = broker.withdrawal(base_of(request)).json()["wallet_link"]
    li.sign(link, "other_key", choose=using(second))
    assert broker.consent(base_of(request))["withdrawal_grade"] == "bound_key"
    assert broker.evidence(base_of(request)).verdict == "verified"


def test_the_same_copy_is_the_same_key_whatever_it_answers(broker: World, li: Customer) -> None:
    request = broker.ask(li.subject_ref)
    first = li.wallet.credentials[0]
    li.sign(request["wallet_link"], "consent_base", choose=using(first))
    link = broker.withdrawal(base_of(request)).json()["wallet_link"]
    li.sign(link, "other_key", choose=using(first))
    assert broker.consent(base_of(request))["withdrawal_grade"] == "same_key"


def test_of_two_signatures_the_same_key_counts(broker: World, li: Customer) -> None:
    request = broker.ask(li.subject_ref)
    first, second, *_rest = li.wallet.credentials
    li.sign(request["wallet_link"], "consent_base", choose=using(first))
    asked = broker.request(broker.withdrawal(base_of(request)).json()["wallet_link"])
    both = form(
        asked,
        same_key=presentation(broker, asked, first, "same_key"),
        other_key=presentation(broker, asked, second, "other_key"),
    )
    assert broker.post(asked, both).status_code == 200
    assert broker.consent(base_of(request))["withdrawal_grade"] == "same_key"


def test_after_the_wallet_was_replaced_the_new_one_withdraws(broker: World, li: Customer) -> None:
    request = li.grant("base")
    old = list(li.wallet.credentials)
    new = broker.bind(li, "verified_person", rebind=True)
    link = broker.withdrawal(base_of(request)).json()["wallet_link"]
    with pytest.raises(PeerRefused):
        li.sign(link, choose=using(next(held for held in old if held.uses)))
    assert broker.logged("presentation.rejected")[-1].body["code"] == "credential_superseded"
    assert broker.consent(base_of(request))["state"] == "granted"
    li.sign(link, "other_key", choose=using(new[0]))
    after = broker.consent(base_of(request))
    assert (after["state"], after["withdrawal_grade"]) == ("withdrawn", "bound_key")


def test_an_officer_withdraws_for_a_lost_wallet(broker: World, li: Customer) -> None:
    request = li.grant("base")
    base = base_of(request)
    link = broker.withdrawal(base).json()["wallet_link"]
    answer = broker.withdrawal(base, broker.officer)
    assert (answer.status_code, answer.json()["grade"]) == (200, "tenant_channel")
    assert "consent_withdrawn" in broker.reasons(li.subject_ref)
    entry = broker.logged("consent.withdrawn")[0]
    assert (entry.body["grade"], entry.body["officer"]) == ("tenant_channel", broker.officer)
    assert broker.evidence(base).verdict == "verified"
    with pytest.raises(PeerRefused) as late:
        li.sign(link)
    assert late.value.status == 410, "the request that waited is closed"


def test_a_partner_cannot_withdraw_nor_see_to_it_for_others(broker: World, li: Customer) -> None:
    base = base_of(li.grant("base"))
    before = broker.rows()["consent"]
    asked = broker.withdrawal(base)
    assert (asked.status_code, asked.json()["grade"]) == (202, None)
    assert broker.rows()["consent"] == before
    other = broker.withdrawal(base, broker.second_partner())
    assert (other.status_code, other.json()["code"]) == (404, "not_found")
    assert broker.http.post(f"/v1/consents/{base}/withdrawal").status_code == 401
    assert broker.logged("consent.withdrawn") == []
    assert broker.decide(li.subject_ref)["decision"] is True


def test_asking_again_takes_nothing_from_the_wallet_that_is_at_it(
    broker: World, li: Customer
) -> None:
    base = base_of(li.grant("base"))
    first = broker.withdrawal(base).json()
    assert broker.withdrawal(base).json()["wallet_link"] == first["wallet_link"]
    broker.advance(400)
    later = broker.withdrawal(base).json()
    assert later["wallet_link"] != first["wallet_link"]
    assert later["expires_at"] == broker.time[0] + 600
    li.sign(first["wallet_link"])
    assert broker.consent(base)["state"] == "withdrawn"
    with pytest.raises(PeerRefused) as late:
        li.sign(later["wallet_link"])
    assert late.value.status == 410


def test_a_withdrawal_that_nobody_signs_is_over_after_ten_minutes(
    broker: World, li: Customer
) -> None:
    base = base_of(li.grant("base"))
    link = broker.withdrawal(base).json()["wallet_link"]
    broker.advance(600)
    with pytest.raises(PeerRefused) as late:
        li.sign(link)
    assert late.value.status == 410
    assert broker.consent(base)["state"] == "granted"


def test_twice_is_a_conflict(broker: World, li: Customer) -> None:
    base = base_of(li.grant("base"))
    assert broker.withdrawal(base, broker.officer).status_code == 200
    for caller in (broker.officer, broker.partner):
        again = broker.withdrawal(base, caller)
        assert (again.status_code, again.json()["code"]) == (409, "state_conflict")
    assert len(broker.logged("consent.withdrawn")) == 1


def test_what_was_never_granted_cannot_be_withdrawn(broker: World, li: Customer) -> None:
    request = li.grant("base")
    for consent in request["consents"][1:]:
        assert broker.withdrawal(consent["id"], broker.officer).status_code == 409
    assert broker.withdrawal("c-unknown", broker.officer).status_code == 404


def test_an_idempotency_key_is_taken_but_not_needed(broker: World, li: Customer) -> None:
    request = li.grant("base", "visits")
    base, visits = (consent["id"] for consent in request["consents"][:2])
    headers = {"Idempotency-Key": "once"}
    first = broker.withdrawal(base, broker.officer, headers=headers)
    again = broker.withdrawal(base, broker.officer, headers=headers)
    assert (first.status_code, first.json()) == (again.status_code, again.json())
    assert first.json()["state"] == "withdrawn"
    other = broker.withdrawal(visits, broker.officer, headers=headers)
    assert (other.status_code, other.json()["code"]) == (409, "idempotency_conflict")
    assert broker.consent(visits)["state"] == "granted"


def test_a_lagging_log_stops_no_withdrawal(broker: World, li: Customer) -> None:
    request = li.grant("base", "visits")
    base, visits = (consent["id"] for consent in request["consents"][:2])
    asked = broker.request(broker.withdrawal(base).json()["wallet_link"])
    signer = next(held for held in li.wallet.credentials if held.uses)
    broker.time[0] += 120  # nothing is sequenced from here on
    sent = form(asked, other_key=presentation(broker, asked, signer, "other_key"))
    assert broker.http.post(asked.response_uri, data=sent).status_code == 200
    assert broker.withdrawal(visits, broker.officer).status_code == 200
    assert [broker.consent(one)["state"] for one in (base, visits)] == ["withdrawn"] * 2


def test_the_next_status_list_shows_it(broker: World, li: Customer) -> None:
    base = base_of(li.grant("base"))
    text = broker.api("GET", f"/v1/consents/{base}/credential").text

    def check() -> None:
        anchors, now = broker.ctx.keys.anchors(), broker.time[0]
        verify_credential(text, anchors=anchors, now=now, status=status_list)

    def status_list(uri: str) -> StatusList:
        answer = broker.http.get(uri.removeprefix(PUBLIC_URL))
        assert answer.status_code == 200
        anchors, now = broker.ctx.keys.anchors(), broker.time[0]
        return verify_status_token(answer.text, uri=uri, anchors=anchors, now=now)

    check()
    assert broker.withdrawal(base, broker.officer).status_code == 200
    broker.advance(2)
    with pytest.raises(Revoked):
        check()


def test_a_wallet_that_could_not_display_withdraws_as_it_gave(broker: World, li: Customer) -> None:
    request = broker.ask(li.subject_ref)
    with pytest.raises(TransactionDataUnknown):
        li.sign(request["wallet_link"], known_types=())
    while (link := broker.follow(request)["wallet_link"]) is not None:
        li.sign(link, known_types=())
    base = base_of(request)
    asked = broker.withdrawal(base).json()
    assert broker.request(asked["wallet_link"]).transaction_data == ()
    li.sign(asked["wallet_link"], known_types=())
    after = broker.consent(base)
    assert (after["state"], after["withdrawal_grade"]) == ("withdrawn", "same_key")
    assert broker.logged("consent.withdrawn")[0].body["signature_grade"] == "bound_not_displayed"
    report = broker.evidence(base)
    assert report.verdict == "verified", report.failure


def test_a_wallet_that_can_display_consents_only_may_still_withdraw(
    broker: World, li: Customer
) -> None:
    base = base_of(li.grant("base"))
    known = ["urn:consent-broker:consent:1"]
    link = broker.withdrawal(base).json()["wallet_link"]
    with pytest.raises(TransactionDataUnknown):
        li.sign(link, known_types=known)
    li.sign(broker.withdrawal(base).json()["wallet_link"], known_types=known)
    assert broker.consent(base)["state"] == "withdrawn"
    assert broker.evidence(base).verdict == "verified"


# On the page


@dataclass
class Person:
    """A customer at the page: counts what they do in the browser and have their wallet send."""

    world: World
    li: Customer
    path: str
    acts: list[str] = field(default_factory=list)

    def look(self, query: str = "") -> Markup:
        """Open the page."""
        self.acts.append(f"GET {query}")
        answer = self.world.http.get(self.path + query)
        assert answer.status_code == 200, answer.text
        return Markup.read(answer.text)

    def send(self, page: Markup, act: str, **more: str) -> Markup:
        """Send a form of the page; the page that it leads to."""
        self.acts.append(f"POST {act}")
        forms = (one for one in page.root.every("form") if one.attributes["action"].endswith(act))
        data = {**next(forms).form_data(), **more}
        answer = self.world.http.post(
            f"{self.path}/{act}", data=data, headers={"Origin": PUBLIC_URL}
        )
        assert answer.status_code == 303, answer.text
        return Markup.read(self.world.http.get(answer.headers["location"]).text)

    def sign(self, page: Markup) -> None:
        """Follow the page's link with the wallet."""
        links = [a.attributes["href"] for a in page.root.every("a") if "href" in a.attributes]
        link = next(link for link in links if link.startswith("openid4vp://"))

        def carry(message: Message) -> Answer:
            self.acts.append(f"wallet {message.method}")
            return self.world.carry(message)

        answer_request(self.li.wallet, link, carry=carry, now=self.world.time[0])


def boxes(page: Markup) -> dict[str, str]:
    """The required attributes of the first consent, ticked."""
    card: Element = next(page.root.every("fieldset"))
    box = next(card.every("input", type="checkbox"))
    return {box.attributes["name"]: box.attributes["value"]}


def test_on_the_page_withdrawing_takes_no_more_steps_than_giving(
    broker: World, li: Customer
) -> None:
    request = broker.ask(li.subject_ref)
    path = request["page_url"].removeprefix(PUBLIC_URL)
    giving = Person(broker, li, path)
    giving.look()
    page = giving.look("?step=2")
    giving.sign(giving.send(page, "choice", **boxes(page)))
    assert broker.states(request)[0] == "granted"

    withdrawing = Person(broker, li, path)
    page = withdrawing.look()
    withdrawing.sign(withdrawing.send(page, "withdrawal"))

    after = broker.consent(base_of(request))
    assert (after["state"], after["withdrawal_grade"]) == ("withdrawn", "same_key")
    assert len(withdrawing.acts) <= len(giving.acts), (withdrawing.acts, giving.acts)
    assert "consent_withdrawn" in broker.reasons(li.subject_ref)


def test_the_page_of_one_request_withdraws_nothing_of_another(broker: World, li: Customer) -> None:
    mine, other = li.grant("base"), li.grant("visits")
    visits = other["consents"][1]["id"]
    path = mine["page_url"].removeprefix(PUBLIC_URL)
    page = Markup.read(broker.http.get(path).text)
    withdrawal = next(
        one for one in page.root.every("form") if one.attributes["action"].endswith("withdrawal")
    )
    data = {**withdrawal.form_data(), "consent_id": visits}
    answer = broker.http.post(f"{path}/withdrawal", data=data, headers={"Origin": PUBLIC_URL})
    assert answer.status_code == 404
    assert broker.consent(visits)["state"] == "granted"
