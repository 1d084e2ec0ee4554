"""Withdrawing everything: at once for decisions, for partners each at a time of its own."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from broker.domain.bundle import unpack
from broker.domain.evidence import Report, verify_evidence
from broker.domain.held import LONGEST_SECONDS, WINDOW_SECONDS, Held
from broker.store import audit
from broker.usecases import withdraw_all
from broker.usecases.sequencer import Sequencer
from broker.usecases.trust import trust
from broker.usecases.withdraw_all import ask_who_it_is
from tests.broker.flow_world import Customer, World, form, presentation, world
from tests.broker.two_partners import Shopper, shopper
from wallet_adapters.loopback.errors import NothingToPresent, TransactionDataUnknown


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[World]:
    with world(tmp_path) as made:
        yield made


@pytest.fixture
def li(broker: World) -> Shopper:
    return shopper(broker, "li", broker.partner, broker.second_partner())


def evidence(broker: World, consent_id: str, caller: str) -> Report:
    broker.advance(1)  # that it was handed out before has to be in the log as well
    answer = broker.api("GET", f"/v1/consents/{consent_id}/evidence", caller)
    assert answer.status_code == 200, answer.text
    return verify_evidence(answer.content, trust(broker.ctx))


def by_officer(broker: World, *customers: Any, caller: str | None = None, **more: Any) -> Any:  # noqa: ANN401
    """Withdraw all of these customers, each by a consent or as the API names them."""
    named = [{"consent": one} if isinstance(one, str) else one for one in customers]
    body = {"customers": named}
    return broker.api("POST", "/v1/withdrawals", caller or broker.officer, json=body, **more)


def held_until(broker: World, consent_id: str) -> int:
    with broker.ctx.db.reading() as tx:
        found = select(audit.PENDING.c.not_before).where(
            audit.PENDING.c.consent_id == consent_id, audit.PENDING.c.type == "consent.withdrawn"
        )
        return int(tx.execute(found).scalar_one())


def page_of(broker: World, customer: Shopper, partner: str) -> str:
    return customer.pages[partner].rsplit("/", 1)[1]


def proven(broker: World, customer: Shopper, partner: str) -> str:
    """Prove with the wallet, from a page of a partner; the path of the customer's own page."""
    token = page_of(broker, customer, partner)
    asked = ask_who_it_is(broker.ctx, "demo", token)
    went_to = customer.at(partner).sign(asked.wallet_link)
    assert went_to is not None
    return went_to.removeprefix(broker.ctx.settings.public_url)


def everything(broker: World, path: str) -> withdraw_all.Everything:
    token = path.partition("?")[0].rsplit("/", 1)[1]
    return withdraw_all.everything(broker.ctx, "demo", token)


# The hold


def fixed(drawn: int, below: int) -> int:
    assert drawn < below
    return drawn


@pytest.mark.parametrize("second", range(WINDOW_SECONDS))
def test_a_hold_ends_in_the_next_window_wherever_in_this_one_it_began(second: int) -> None:
    now = 1_795_478_400 + second
    ends = {Held.at(now, partial(fixed, drawn)).until for drawn in range(WINDOW_SECONDS)}
    assert ends == set(range(1_795_478_430, 1_795_478_460))
    assert all(0 < end - now <= LONGEST_SECONDS for end in ends)


# The officer


def test_decisions_deny_at_once_and_partners_see_it_when_their_hold_is_over(
    broker: World, li: Shopper
) -> None:
    for partner in li.partners:
        assert li.decides(partner)["decision"] is True
    before = {partner: li.fetched(partner) for partner in li.partners}
    answer = by_officer(broker, *li.consents.values())
    assert answer.status_code == 200, answer.text
    assert sorted(answer.json()["withdrawn"]) == sorted(li.consents.values())
    assert answer.json()["shown_by"] == broker.time[0] + 60
    ends = {partner: held_until(broker, li.consents[partner]) for partner in li.partners}
    for partner in li.partners:
        reasons = li.decides(partner)["context"]["reasons"]
        assert "consent_withdrawn" in [reason["code"] for reason in reasons]
        assert li.fetched(partner) == before[partner], "nothing that a partner fetches has changed"
    officers = broker.api("GET", f"/v1/consents/{li.consents[li.partners[0]]}", broker.officer)
    assert officers.json()["state"] == "withdrawn", "the tenant sees what is"
    while broker.time[0] < max(ends.values()):
        for partner in li.partners:
            told = li.fetched(partner)
            assert (told.state == "withdrawn") is (broker.time[0] >= ends[partner])
            assert (told.in_list == 1) is (broker.time[0] >= ends[partner])
            assert ("dt-" in told.tasks) is (broker.time[0] >= ends[partner])
        broker.advance(1)
        assert broker.ctx.log.permits(broker.time[0])
    for partner in li.partners:
        assert (li.fetched(partner).state, li.fetched(partner).in_list) == ("withdrawn", 1)


def test_the_officer_is_named_where_no_partner_sees_it(broker: World, li: Shopper) -> None:
    by_officer(
        broker,
        {"partner": li.partners[1], "subject_ref": "li-1"},
        {"consent": li.consents[li.partners[0]]},
    )
    acts = broker.logged("customer.withdrew_all")
    assert {(act.body["officer"], act.consent_id) for act in acts} == {(broker.officer, None)}
    told = [act.body["consents"] for act in acts]
    assert sorted(told) == sorted([one] for one in li.consents.values()), "one for each customer"
    broker.advance(LONGEST_SECONDS)
    parts = broker.logged("consent.withdrawn")
    assert {part.consent_id for part in parts} == set(li.consents.values())
    for part in parts:
        assert "officer" not in part.body
        assert part.body["time_grain"] == 60
        assert part.time % 60 == 0


def test_evidence_is_of_what_is_published_and_verifies_all_the_time(
    broker: World, li: Shopper
) -> None:
    partner, consent_id = li.partners[0], li.consents[li.partners[0]]
    li.decides(partner)
    by_officer(broker, *li.consents.values())
    li.decides(partner)
    early = evidence(broker, consent_id, partner)
    assert early.verdict == "verified", early.failure
    assert early.manifest["state"] == "granted"
    waiting = broker.api("GET", f"/v1/consents/{consent_id}/evidence", broker.officer)
    assert (waiting.status_code, waiting.json()["code"]) == (503, "log_unavailable")
    broker.advance(LONGEST_SECONDS)
    for caller in (partner, broker.officer):
        late = evidence(broker, consent_id, caller)
        assert late.verdict == "verified", late.failure
        assert late.manifest["state"] == "withdrawn"
        assert "2 decisions" in late.checks[-1].found, "the denial that came before the entry too"


def test_a_delay_on_purpose_is_no_lag_and_a_crash_loses_nothing(
    broker: World, li: Shopper, tmp_path: Path
) -> None:
    by_officer(broker, *li.consents.values())
    ends = [held_until(broker, one) for one in li.consents.values()]
    broker.advance(1)
    assert "consent_broker_log_pending_entries 0.0" in broker.http.get("/metrics").text
    assert broker.ctx.log.lag(broker.time[0]) == 0
    # Another process takes over, long after: what was held has waited since it was held no more.
    broker.time[0] = max(ends) + 45
    other = Sequencer(
        broker.ctx.db,
        broker.ctx.keys.log_signer(),
        broker.ctx.settings,
        lambda: broker.time[0],
    )
    with broker.ctx.db.reading() as tx:
        assert audit.oldest_pending(tx, broker.time[0]) == min(ends)
    other.run_once(broker.time[0])
    assert other.permits(broker.time[0])
    assert {one.consent_id for one in broker.logged("consent.withdrawn")} == set(
        li.consents.values()
    )


def test_only_an_officer_and_only_a_known_customer(broker: World, li: Shopper) -> None:
    consent_id = li.consents[li.partners[0]]
    assert by_officer(broker, consent_id, caller=broker.partner).status_code == 403
    assert by_officer(broker, "c-unknown").status_code == 404
    nobody = {"partner": li.partners[0], "subject_ref": "nobody"}
    assert by_officer(broker, consent_id, nobody).status_code == 404
    wrong: tuple[dict[str, str], ...] = (
        {},
        {"partner": li.partners[0]},
        {"consent": consent_id, "partner": li.partners[0], "subject_ref": "li-0"},
    )
    for body in wrong:
        assert by_officer(broker, body).status_code == 400
    assert by_officer(broker).status_code == 400
    assert broker.logged("consent.withdrawn", "customer.withdrew_all") == []
    key = {"Idempotency-Key": "once"}
    first = by_officer(broker, consent_id, headers=key)
    assert first.json() == by_officer(broker, consent_id, headers=key).json()
    assert first.json()["withdrawn"] == [consent_id], "at each partner a customer of its own"
    assert by_officer(broker, consent_id).json()["withdrawn"] == [], "nothing is left"


# The customer


def test_the_customer_proves_who_it_is_and_signs_each_withdrawal(
    broker: World, li: Shopper
) -> None:
    one, other = li.partners
    path = proven(broker, li, one)
    told = everything(broker, path)
    assert {row.partner_id for row in told.rows} == {one, other}
    (asked,) = told.waiting
    shown_to_wallet = broker.request(asked.wallet_link)
    assert {data.content["consent_id"] for data in shown_to_wallet.transaction_data} == set(
        li.consents.values()
    )
    assert all(len(data.credential_ids) == 1 for data in shown_to_wallet.transaction_data)
    assert [row.state for row in told.rows] == ["granted", "granted"]
    went_to = li.at(one).sign(asked.wallet_link)
    assert went_to is not None
    assert went_to.partition("?")[0].endswith(path.partition("?")[0])
    after = everything(broker, path)
    assert [row.state for row in after.rows] == ["withdrawn", "withdrawn"], "the customer sees it"
    assert after.waiting == ()
    for partner in li.partners:
        assert li.decides(partner)["decision"] is False
        assert li.fetched(partner).state == "granted"
    broker.advance(LONGEST_SECONDS + 1)
    for partner in li.partners:
        assert li.fetched(partner).state == "withdrawn"
        for caller in (partner, broker.officer):
            report = evidence(broker, li.consents[partner], caller)
            assert report.verdict == "verified", report.failure
    hashes = [set(flat(entry.body["evidence"])) for entry in broker.logged("consent.withdrawn")]
    assert not hashes[0] & hashes[1], "no hash is common to two partners' copies"


def flat(hashes: dict[str, Any]) -> Iterator[str]:
    for value in hashes.values():
        yield from value if isinstance(value, list) else [value]


def test_the_wallet_may_sign_some(broker: World, li: Shopper) -> None:
    one, other = li.partners
    path = proven(broker, li, one)
    told = everything(broker, path)
    first = told.rows[0]
    li.at(one).sign(told.waiting[0].wallet_link, "consent_1")
    states = {row.id: row.state for row in everything(broker, path).rows}
    assert states[first.id] == "withdrawn"
    assert sorted(states.values()) == ["granted", "withdrawn"]
    again = everything(broker, proven(broker, li, other))
    assert [row.id for row in again.rows] == [row.id for row in told.rows[1:]], "what is left"


def test_whoever_has_the_pages_link_sees_nothing_of_other_partners(
    broker: World, li: Shopper
) -> None:
    one, other = li.partners
    path = proven(broker, li, one)
    page = broker.http.get(f"/c/{page_of(broker, li, one)}").text
    secret = path.partition("?")[0].rsplit(".", 1)[1]
    assert secret not in page
    assert li.consents[other] not in page
    # The partner knows the first request; it is answered, and leads nowhere without the secret.
    proof = path.partition("?")[0].rsplit("/", 1)[1].partition(".")[0]
    for token in (proof, f"{proof}.", f"{proof}.{'A' * 24}", "x", f"pr-unknown.{secret}"):
        assert broker.http.get(f"/mine/{token}").status_code == 404
    broker.advance(600)
    assert broker.http.get(path).status_code == 404, "ten minutes"


def test_another_customers_wallet_sees_and_ends_its_own_only(broker: World, li: Shopper) -> None:
    wang = shopper(broker, "wang", *li.partners)
    asked = ask_who_it_is(broker.ctx, "demo", page_of(broker, li, li.partners[0]))
    went_to = wang.at(li.partners[0]).sign(asked.wallet_link)
    assert went_to is not None
    told = everything(broker, went_to)
    assert {row.id for row in told.rows} == set(wang.consents.values())
    link = everything(broker, proven(broker, li, li.partners[0])).waiting[0].wallet_link
    with pytest.raises(NothingToPresent):
        wang.at(li.partners[0]).sign(link)
    request = broker.request(link)
    forced = presentation(broker, request, wang.wallet.credentials[0], "consent_1")
    assert broker.post(request, form(request, consent_1=forced)).status_code == 400
    assert broker.logged("consent.withdrawn") == []


def test_a_wallet_that_cannot_display_it_signs_each_bound(broker: World, li: Shopper) -> None:
    path = proven(broker, li, li.partners[0])
    (asked,) = everything(broker, path).waiting
    with pytest.raises(TransactionDataUnknown):
        li.at(li.partners[0]).sign(asked.wallet_link, known_types=())
    links = [one.wallet_link for one in everything(broker, path).waiting]
    assert len(links) == 2
    for link in links:
        li.at(li.partners[0]).sign(link, known_types=())
    assert [row.state for row in everything(broker, path).rows] == ["withdrawn", "withdrawn"]
    assert not [
        entry
        for entry in broker.logged("presentation.fallback", "presentation.rejected")
        if entry.consent_id is not None
    ], "no partner gets an entry that tells of it early"
    broker.advance(LONGEST_SECONDS + 1)
    for partner in li.partners:
        report = evidence(broker, li.consents[partner], broker.officer)
        assert report.verdict == "verified", report.failure


def test_a_link_of_before_works_while_it_is_held_and_changes_nothing(
    broker: World, li: Shopper
) -> None:
    partner, consent_id = li.partners[0], li.consents[li.partners[0]]
    before = broker.withdrawal(consent_id, partner).json()["wallet_link"]
    by_officer(broker, *li.consents.values())
    again = broker.withdrawal(consent_id, partner)
    assert (again.status_code, again.json()["state"]) == (202, "granted")
    assert again.json()["wallet_link"] == before
    li.at(partner).sign(before, "same_key")
    assert len(broker.logged("consent.withdrawn")) == 2, "each once"
    broker.advance(LONGEST_SECONDS)
    assert broker.withdrawal(consent_id, partner).status_code == 409


def test_nobody_without_a_customer_credential_proves_anything(broker: World, li: Shopper) -> None:
    stranger = Customer(broker, "nobody", broker.stranger("nobody").wallet)
    asked = ask_who_it_is(broker.ctx, "demo", page_of(broker, li, li.partners[0]))
    with pytest.raises(NothingToPresent):
        stranger.sign(asked.wallet_link)
    assert broker.logged("customer.recognised") == []


def test_partners_copies_of_a_withdrawal_hold_no_request_object(broker: World, li: Shopper) -> None:
    path = proven(broker, li, li.partners[0])
    li.at(li.partners[0]).sign(everything(broker, path).waiting[0].wallet_link)
    broker.advance(LONGEST_SECONDS + 1)
    for partner in li.partners:
        answer = broker.api("GET", f"/v1/consents/{li.consents[partner]}/evidence", partner)
        assert answer.status_code == 200
        files = unpack(answer.content)
        assert not [name for name in files if name.startswith("withdrawal/")]
        others = set(li.consents.values()) - {li.consents[partner]}
        assert not [name for name, data in files.items() for one in others if one.encode() in data]
