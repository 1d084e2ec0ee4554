"""No row trains without a live consent to exactly this, and one withdrawal shows in no model."""

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from credentials.keys import thumbprint
from credentials.model import StatusReference
from credentials.status import StatusList
from federation.board import PassedStage
from federation.consents import ConsentCache, ConsentIssuer
from federation.errors import (
    BundleDiffers,
    CampaignInvalid,
    ListsUnavailable,
    ParametersDiffer,
    StageShut,
)
from federation.gate import Gated, gate
from federation.guard import Before, guarded, system_draw
from federation.opening import LONGEST_OPENING, pin_lists
from tests.federation.world import (
    BUNDLE,
    ISSUER,
    LISTED,
    NOW,
    OPENED,
    PARAMETERS,
    PURPOSE,
    VCT,
    Broker,
    Member,
    campaign_json,
    signed,
)

BROKER = Broker()
CREDENTIALS = [BROKER.consent(number) for number in range(20)]
NEIGHBOUR = BROKER.neighbour("https://broker.example/t/2")


def member(*credentials: str, broker: Broker = BROKER) -> Member:
    return Member(broker, [*CREDENTIALS, *credentials])


def test_consented_rows_train_and_are_named_for_the_receipt_alone() -> None:
    found = member().gate()
    assert found.rows == tuple(range(20))
    assert found.consents == tuple(f"c-{number:020}" for number in range(20))
    assert not found.left_out
    assert not found.refused


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"purpose": "dpv:Marketing#algo:churn-v3@1"}, "purpose_differs"),
        ({"purpose": "dpv:ServicePersonalisation#algo:churn-v4@1"}, "purpose_differs"),
        ({"purpose": PURPOSE + ".1"}, "purpose_differs"),
        ({"purpose": PURPOSE.upper()}, "purpose_differs"),
        ({"actions": ["read", "profile"]}, "training_not_allowed"),
        ({"actions": []}, "training_not_allowed"),
        ({"attributes": ["home_city"]}, "attributes_not_allowed"),
        ({"recipients": ["p-south"]}, "consent_of_another"),
        ({"territories": {"processing": ["SG"]}}, "territory_not_allowed"),
        ({"territories": {"storage": ["CN"], "access": ["CN"]}}, "territory_not_allowed"),
        ({"territories": None}, "territory_not_allowed"),
        ({"max_uses": 1_000_000}, "uses_limited"),
        ({"sub": "customer-3"}, "second_row"),
        ({"not_before": NOW + 30}, "consent_not_yet_valid"),
    ],
)
def test_a_consent_to_something_else_lets_nothing_in(changes: dict[str, Any], reason: str) -> None:
    found = member(BROKER.consent(500, **changes)).gate()
    assert found.rows == tuple(range(20))
    assert found.left_out == {reason: 1}


def refused_credentials() -> dict[str, tuple[str, str]]:
    good = BROKER.consent(500)
    payload = good.split(".")[1]
    return {
        "another issuer's key": (Broker().consent(500), "untrusted_chain"),
        "changed": (good.replace(payload, payload[:-8] + "AAAAAAAA"), "signature_invalid"),
        "expired": (BROKER.consent(500, expires_at=NOW), "expired"),
        "not yet": (BROKER.consent(500, not_before=NOW + 3_600), "not_yet_valid"),
        "another iss": (
            BROKER.consent(500, issuer="https://broker.example/t/2"),
            "issuer_mismatch",
        ),
        "another type": (BROKER.consent(500, vct=VCT[:-1] + "2"), "type_mismatch"),
        "without status": (BROKER.consent(500, status=None), "claims_unusable"),
        "without end": (BROKER.consent(500, expires_at=None), "claims_unusable"),
        "attributes as text": (BROKER.consent(500, attributes="home_city"), "claims_unusable"),
        "without subject": (BROKER.consent(500, sub=""), "claims_unusable"),
        "nothing": ("", "malformed"),
        "half a surrogate": ("\ud800", "malformed"),
    }


@pytest.mark.parametrize("case", refused_credentials())
def test_a_credential_that_does_not_verify_lets_nothing_in(case: str) -> None:
    credential, code = refused_credentials()[case]
    site = member(credential)
    assert site.cache.learn(site.credentials, NOW) == {code: 1}
    found = site.gate()
    assert found.left_out == {"consent_unknown": 1}
    assert 20 not in found.rows


def test_a_consent_that_ends_between_rounds_leaves_though_its_signature_is_remembered() -> None:
    site = member(BROKER.consent(500, expires_at=NOW + 10))
    assert len(site.gate().rows) == 21
    site.now = NOW + 10
    found = site.gate()
    assert found.left_out["consent_expired"] == 1
    assert 20 not in found.rows


def test_a_remembered_consent_lasts_no_longer_than_its_issuers_certificate() -> None:
    site = member(BROKER.consent(500, expires_at=2**40))
    site.cache.learn(site.credentials, NOW)
    assert site.cache.consents[site.keys[-1]].valid_until < NOW + 20 * 366 * 86_400


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_a_set_bit_takes_the_row_out_whatever_it_says(bits: int) -> None:
    broker = Broker(BROKER.root_key, BROKER.key, StatusList.empty(bits, 1_000))
    for index, value in ((0, 1), (7, (1 << bits) - 1), (19, 1)):
        broker.statuses.set(index, value)
    broker.__dict__ |= {"root": BROKER.root, "chain": BROKER.chain}
    found = member(broker=broker).gate()
    assert set(found.rows) == set(range(20)) - {0, 7, 19}
    assert found.left_out == {"consent_ended": 3}


def test_an_index_beyond_the_list_is_an_ended_consent() -> None:
    beyond = BROKER.consent(500)
    site = Member(Broker(BROKER.root_key, BROKER.key, StatusList.empty(1, 400)), CREDENTIALS)
    site.broker.__dict__ |= {"root": BROKER.root, "chain": BROKER.chain}
    site.credentials = [*CREDENTIALS, beyond]
    assert site.gate().left_out == {"consent_ended": 1}


@pytest.mark.parametrize(
    "tokens",
    [
        {},
        {LISTED: "x"},
        {LISTED: Broker().status_token()},
        {LISTED: BROKER.status_token(now=OPENED - 1)},
        {LISTED: BROKER.status_token(uri=LISTED + "2")},
        {LISTED: BROKER.status_token(now=NOW + 3_600)},
        {LISTED: BROKER.status_token(ttl=5)},
        {LISTED: BROKER.status_token()[:-2]},
        {LISTED: NEIGHBOUR.status_token()},
    ],
    ids=[
        "missing",
        "no token",
        "forged",
        "before the round",
        "another",
        "future",
        "old",
        "cut",
        "by another leaf under the same root",
    ],
)
def test_a_list_that_is_missing_forged_or_stale_pins_nothing(tokens: dict[str, str]) -> None:
    site = member()
    site.cache.learn(site.credentials, NOW)
    with pytest.raises(ListsUnavailable):
        site.pin(tokens)


def test_lists_that_do_not_cover_the_consents_let_no_row_in() -> None:
    site = member(BROKER.consent(500))
    site.cache.learn(site.credentials, NOW)
    opened = site.open()
    nothing = pin_lists({}, needed=(), issuer=site.cache.issuer, opened=opened, now=NOW)
    usual = site.pin()
    for pinned, now, told in (
        (nothing, NOW, "lists_stale"),
        (usual, NOW + 4_000, "lists_stale"),
        (site.pin(opened_at=OPENED + 1), NOW, "lists_of_another_round"),
        (site.pin(number=2), NOW, "lists_of_another_round"),
        (Member(BROKER, [], signed(id="other")).pin(), NOW, "lists_of_another_round"),
    ):
        found = gate(opened, site.keys, site.cache, pinned, before=site.first(), now=now)
        assert found.refused == told
        assert not found.rows
        assert not found.consents
        assert sum(found.left_out.values()) == 21


def test_a_list_that_no_live_consent_of_the_rows_names_is_not_needed() -> None:
    elsewhere = StatusReference("https://broker.example/status/st-2", 1)
    lapsing = BROKER.consent(500, status=elsewhere, expires_at=NOW + 10)
    site = member(lapsing)
    site.cache.learn(site.credentials, NOW)
    with pytest.raises(ListsUnavailable, match="st-2"):
        site.pin()
    opened = site.open()
    one = pin_lists(
        {LISTED: BROKER.status_token()},
        needed=(LISTED,),
        issuer=site.cache.issuer,
        opened=opened,
        now=NOW,
    )
    found = gate(opened, site.keys, site.cache, one, before=site.first(), now=NOW)
    assert found.refused == "lists_stale"
    site.now = NOW + 10
    assert site.gate().left_out == {"consent_expired": 1}
    assert len(Member(BROKER, CREDENTIALS).gate().rows) == 20


def test_a_stolen_key_counts_no_more_though_its_certificate_stands() -> None:
    site = member()
    assert site.gate().rows
    site.cache.forget({thumbprint(BROKER.key.public_jwk())})
    with pytest.raises(ListsUnavailable, match="stolen"):
        pin_lists(
            {LISTED: BROKER.status_token()},
            needed=(LISTED,),
            issuer=site.cache.issuer,
            opened=site.open(),
            now=NOW,
        )
    assert site.cache.learn(site.credentials, NOW) == {"key_refused": 20}
    assert not site.gate().rows


def test_the_lists_that_were_used_are_told_to_the_receipt() -> None:
    site = member()
    site.cache.learn(site.credentials, NOW)
    (used,) = site.pin().used
    assert (used.uri, used.issued_at) == (LISTED, OPENED + 1)


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"bundle": BUNDLE + b"\n"}, BundleDiffers),
        ({"parameters": PARAMETERS | {"local_epochs": 1_000}}, ParametersDiffer),
        ({"parameters": None}, ParametersDiffer),
        ({"number": 0}, CampaignInvalid),
        ({"number": 21}, CampaignInvalid),
        ({"stage": "everybody"}, CampaignInvalid),
        ({"member": "p-east"}, CampaignInvalid),
        ({"member": "p-west", "stage": "pilot"}, CampaignInvalid),
        ({"taking_part": ["p-north"]}, CampaignInvalid),
        ({"taking_part": ["p-north", "p-north"]}, CampaignInvalid),
        ({"taking_part": ["p-south", "p-west"]}, CampaignInvalid),
        ({"taking_part": ["p-north", "p-stranger"]}, CampaignInvalid),
        ({"opened_at": 0}, CampaignInvalid),
        ({"opened_at": NOW - LONGEST_OPENING - 1}, CampaignInvalid),
        ({"opened_at": NOW + 61}, CampaignInvalid),
        ({"now": NOW - 86_401, "opened_at": NOW - 86_401}, CampaignInvalid),
        ({"now": NOW + 86_400, "opened_at": NOW + 86_400}, CampaignInvalid),
        ({"passed": None}, StageShut),
        ({"passed": PassedStage(signed(id="other").campaign_hash, "pilot", "m")}, StageShut),
        ({"passed": PassedStage(signed().campaign_hash, "consortium", "m")}, StageShut),
    ],
    ids=str,
)
def test_a_round_that_was_not_signed_is_not_opened(
    changes: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error):
        member().open(**changes)


def test_below_the_cohort_nothing_trains() -> None:
    site = Member(BROKER, CREDENTIALS[:4])
    found = site.gate()
    assert found.refused == "too_few_rows"
    assert found.left_out == {"too_few_rows": 4}
    assert not found.rows
    assert found.before == site.first(), (
        "nothing was trained that a later round could be held against"
    )
    demanding = Member(BROKER, CREDENTIALS, signed(**_least_rows(21)))
    assert demanding.gate().refused == "too_few_rows"


def _least_rows(rows: int) -> dict[str, Any]:
    return {"minimum_rows": campaign_json(minimum_rows=rows)["minimum_rows"]}


def withdrawing(*indexes: int) -> Broker:
    broker = Broker(BROKER.root_key, BROKER.key)
    broker.__dict__ |= {"root": BROKER.root, "chain": BROKER.chain}
    broker.statuses.set_all(indexes, 1)
    return broker


def unprotected(*credentials: str) -> Member:
    """A member of a campaign without accounting, which the guard is for."""
    return Member(BROKER, [*CREDENTIALS, *credentials], signed(privacy=None))


def test_one_withdrawal_takes_a_cohort_out_once_and_for_good() -> None:
    site = unprotected()
    first = site.gate()
    site.broker = withdrawing(3)
    second = site.gate(first.before)
    assert 3 not in second.rows
    assert second.left_out == {"consent_ended": 1, "difference_guard": 4}
    before = second.before
    for _ in range(8):
        found = site.gate(before)
        # The one who withdrew is told from nobody who went too: all of them stay out.
        assert found.rows == second.rows
        before = found.before
    site.broker = BROKER
    assert site.gate(before).rows == second.rows, "who comes back would be known by it"
    site.broker = withdrawing(3, second.rows[0])
    third = site.gate(before)
    assert len(third.rows) == 15 - 5
    assert set(third.rows) < set(second.rows)


def test_the_guard_draws_each_as_often_as_another() -> None:
    site = unprotected()
    first = site.gate()
    consents = [site.cache.consents[key] for key in site.keys]
    places, drawn = list(range(1, 20)), Counter[int]()
    subjects = frozenset(consents[place].subject for place in places)
    for _ in range(2_000):
        left = guarded(consents, places, subjects, first.before, 5, system_draw)
        drawn.update(set(places).difference(left.places))
    # 4 of 19, 2,000 times: 421 each, a standard deviation of 18; seven of them are 128.
    assert set(drawn) == set(places)
    assert all(abs(count - 421) < 128 for count in drawn.values())


def test_who_joins_waits_for_a_cohort() -> None:
    joining = [BROKER.consent(501 + number) for number in range(5)]
    first = unprotected().gate()
    waiting = unprotected(*joining[:4]).gate(first.before)
    assert waiting.rows == first.rows
    assert waiting.left_out == {"waits_for_others": 4}
    joined = unprotected(*joining).gate(waiting.before)
    assert joined.rows == tuple(range(25))
    assert not joined.left_out


def test_who_leaves_while_a_cohort_joins_takes_a_cohort_along() -> None:
    joining = [BROKER.consent(501 + number) for number in range(5)]
    first = unprotected().gate()
    site = unprotected(*joining)
    site.broker = withdrawing(3)
    found = site.gate(first.before)
    assert set(found.rows) > set(range(20, 25))
    assert len(found.rows) == 20 - 5 + 5
    assert list(found.rows) == sorted(found.rows)
    assert len(found.before.out) == 5


def test_with_accounting_one_customer_changes_one_row() -> None:
    """The accounting is of one row more or less: a guard would change a cohort for one."""
    site = member(BROKER.consent(501))
    first = site.gate()
    site.broker = withdrawing(3)
    site.credentials = [*CREDENTIALS, BROKER.consent(502), BROKER.consent(501)]
    second = site.gate(first.before)
    assert second.rows == tuple(place for place in range(22) if place != 3)


def test_a_coordinator_has_no_more_rounds_of_a_member_than_were_signed() -> None:
    """That a round failed is its word alone: the numbers end, and none comes a second time."""
    site = Member(BROKER, CREDENTIALS, signed(rounds=3, spare_rounds=2, privacy=None))
    before, trained = site.first(), 0
    for number in (1, 1, 3, 2, 3, 4, 5, 4, 1, 5):
        found = site.gate(before, number=number, opened_at=max(OPENED, before.opened_at + 1))
        trained, before = trained + bool(found.rows), found.before if found.rows else before
    assert trained == 4
    for number in (6, 7, 100_000):
        with pytest.raises(CampaignInvalid, match="rounds 1 to 5"):
            site.open(number=number)


def test_no_round_follows_itself_or_another_campaigns() -> None:
    site = unprotected()
    first = site.gate()
    other = replace(first.before, member="p-south")
    for before, told in (
        (first.before, "round_repeated"),
        (replace(first.before, number=7), "round_repeated"),
        (replace(first.before, number=0), "round_repeated"),
        (other, "before_of_another"),
        (Before.first(signed(), "p-north"), "before_of_another"),
    ):
        found = site.gate(before, number=1, opened_at=OPENED)
        assert (found.refused, found.rows, found.before) == (told, (), before)
    assert site.gate(first.before, opened_at=OPENED).refused == "round_repeated"
    pilot = replace(first.before, stage="pilot", number=9)
    assert site.gate(pilot, number=1).rows
    assert site.gate(first.before, stage="pilot").refused == "round_repeated"


def test_a_replay_takes_the_guard_with_it() -> None:
    site = unprotected()
    first = site.gate()
    anew = Member(withdrawing(3), CREDENTIALS, signed(privacy=None, id="churn-2026-again"))
    found = anew.gate(first.before.into(anew.signed))
    assert found.left_out == {"consent_ended": 1, "difference_guard": 4}


def test_the_guard_counts_towards_the_cohort() -> None:
    site = Member(BROKER, CREDENTIALS[:9], signed(privacy=None))
    first = site.gate()
    assert len(first.rows) == 9
    site.broker = withdrawing(3)
    found = site.gate(first.before)
    assert found.refused == "too_few_rows"
    assert found.before == first.before, "nothing was trained, nothing was shown"


def test_reasons_are_counts_and_name_nobody() -> None:
    named = {"sub": "Ann Example", "consent_id": "c-ann", "purpose": "dpv:Marketing#algo:ann@1"}
    found = member(BROKER.consent(500, **named), "junk").gate()
    assert found.left_out == {"purpose_differs": 1, "consent_unknown": 1}


@given(
    st.lists(st.sampled_from(["good", "purpose", "withdrawn", "twice", "unknown"]), max_size=40),
    st.integers(0, 2**32),
)
@settings(max_examples=60, deadline=None)
def test_a_row_trains_exactly_when_nothing_speaks_against_it(kinds: list[str], seed: int) -> None:
    site = KNOWN
    keys, wanted, seen = [], [], set[bytes]()
    for place, kind in enumerate(kinds):
        key = bytes(32) if kind == "unknown" else KEYS[kind][(place + seed) % len(KEYS[kind])]
        keys.append(key)
        if kind in {"good", "twice"} and key not in seen:
            wanted.append(place)
            seen.add(key)
    found = gate(site.open(), keys, site.cache, PINNED, before=site.first(), now=NOW)
    assert found.rows == (tuple(wanted) if len(wanted) >= 5 else ())
    assert sum(Counter(found.left_out).values()) + len(found.rows) == len(keys)


KNOWN = Member(
    withdrawing(*range(700, 740)),
    [
        *CREDENTIALS,
        *(BROKER.consent(600 + number, purpose="dpv:Marketing#algo:x@1") for number in range(5)),
        *(BROKER.consent(700 + number) for number in range(5)),
    ],
)
KNOWN.gate()
PINNED = KNOWN.pin()
KEYS = {
    "good": KNOWN.keys[:18],
    "twice": KNOWN.keys[18:20],
    "purpose": KNOWN.keys[20:25],
    "withdrawn": KNOWN.keys[25:],
}


def test_a_signature_is_verified_once(monkeypatch: pytest.MonkeyPatch) -> None:
    cache = ConsentCache(ConsentIssuer((BROKER.root,), ISSUER, VCT))
    cache.learn(CREDENTIALS, NOW)
    monkeypatch.setattr("federation.consents.verify_credential", None)
    assert not cache.learn(CREDENTIALS, NOW + 1)
    cache.forget()
    with pytest.raises(TypeError):
        cache.learn(CREDENTIALS, NOW)


def test_an_empty_member_trains_nothing() -> None:
    site = Member(BROKER, [])
    assert site.gate() == Gated((), (), {}, "too_few_rows", site.first())
