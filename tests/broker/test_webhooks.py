"""Events reach a partner's webhook: signed, in order, at least once, and nothing is lost."""

import datetime as dt
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from cloudevents.core.bindings.http import HTTPMessage, from_structured_event
from cloudevents.core.formats.json import JSONFormat
from standardwebhooks import Webhook
from standardwebhooks.webhooks import WebhookVerificationError

from broker.domain.errors import InvalidRequest, NotFound, StateConflict
from broker.domain.held import LONGEST_SECONDS
from broker.domain.webhook import GIVE_UP_SECONDS, KEPT_SECONDS, OVERLAP_SECONDS, PAUSES, pause
from broker.store import consents, webhooks
from broker.usecases import webhook as usecases
from broker.usecases.agent import add_agent, set_agent_state
from broker.usecases.closing import expire_due
from broker.usecases.context import Context
from broker.usecases.delivery import A_SECOND, forget_old
from broker.usecases.granting import withdraw_consent
from broker.usecases.webhook import MOST_OF_A_PARTNER, Shown
from broker.usecases.withdraw_all import withdraw_all_by_officer
from tests.broker.builders import DAY, PUBLIC_URL, START, TENANT, broker
from tests.broker.deciding import Desk, desk
from tests.broker.flow_world import world
from tests.broker.hooks import Receiver, receiver, rows, send_all


@pytest.fixture
def to() -> Iterator[Receiver]:
    with receiver() as made:
        yield made


@pytest.fixture(params=["sqlite", "postgresql"])
def at(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Desk]:
    url = "" if request.param == "sqlite" else request.getfixturevalue("postgres_database")
    with desk(tmp_path, url) as made:
        yield made


@pytest.fixture
def on_sqlite(tmp_path: Path) -> Iterator[Desk]:
    with desk(tmp_path) as made:
        yield made


def hook(at: Desk, to: Receiver, *types: str) -> Shown:
    return usecases.add_webhook(at.broker.ctx, TENANT, at.partner_id, url=to.url, types=types)


def withdraw(at: Desk, consent_id: str) -> None:
    ctx = at.broker.ctx
    with ctx.db.transaction() as tx:
        withdraw_consent(ctx, tx, consents.consent(tx, TENANT, consent_id), None, officer_id="o-1")


def standing(at: Desk) -> usecases.Standing:
    (found,) = usecases.all_webhooks(at.broker.ctx, TENANT, at.partner_id)
    return found


def test_a_withdrawal_arrives_signed_and_as_a_cloud_event(at: Desk, to: Receiver) -> None:
    shown, consent = hook(at, to), at.consent()
    withdraw(at, consent)
    send_all(at.broker.ctx, to, at.broker.time)
    for one in to.got:
        sent = dt.datetime.fromtimestamp(int(one.headers["webhook-timestamp"]), dt.UTC)
        signed = Webhook(shown.secret).sign(one.headers["webhook-id"], sent, one.body.decode())
        assert one.headers["webhook-signature"] == signed
        read = from_structured_event(HTTPMessage(one.headers, one.body), JSONFormat())
        assert read.get_id() == one.headers["webhook-id"]
        assert read.get_source() == PUBLIC_URL
        assert read.get_subject() == consent
        assert read.get_time() == dt.datetime.fromtimestamp(START, dt.UTC)
    assert {one.event["type"] for one in to.got} == {"consent.withdrawn", "deletion.requested"}
    assert standing(at).waiting == standing(at).dead == 0


def test_what_is_sent_verifies_by_the_clock(tmp_path: Path, to: Receiver) -> None:
    with broker(tmp_path, real_time=True) as made:
        partner_id = made.partner("Coffee")
        shown = usecases.add_webhook(made.ctx, TENANT, partner_id, url=to.url, types=[])
        withdraw(Desk(made, partner_id, ""), made.consent(partner_id, "crm-1"))
        send_all(made.ctx, to)
    one = to.got[0]
    assert Webhook(shown.secret).verify(one.body, one.headers)["specversion"] == "1.0"
    with pytest.raises(WebhookVerificationError):
        Webhook(shown.secret).verify(one.body.replace(b"1.0", b"1.1"), one.headers)


def test_every_state_of_a_consent_is_told(tmp_path: Path, to: Receiver) -> None:
    with world(tmp_path) as made:
        usecases.add_webhook(made.ctx, "demo", made.partner, url=to.url, types=[])
        customer = made.customer("crm-1")
        first = customer.grant("base")
        customer.grant("base")
        assert made.withdrawal(first["consents"][0]["id"], made.officer).status_code == 409
        send_all(made.ctx, to, made.time)
        states = {one["id"]: made.consent(one["id"])["state"] for one in first["consents"]}
        told = {(one.event["subject"], one.event["type"]) for one in to.got}
        for consent_id, state in states.items():
            assert (consent_id, f"consent.{state}") in told
        assert {"consent.granted", "consent.refused", "consent.superseded"} <= set(to.types())
        made.advance(400 * DAY)
        expire_due(made.ctx)
        send_all(made.ctx, to, made.time)
        assert "consent.expired" in to.types()


def test_events_hold_nothing_that_two_partners_could_join(tmp_path: Path, to: Receiver) -> None:
    with world(tmp_path) as made:
        usecases.add_webhook(made.ctx, "demo", made.partner, url=to.url, types=[])
        made.customer("crm-secret-1").grant("base")
        send_all(made.ctx, to, made.time)
        told = b"".join(one.body for one in to.got).decode()
        for table, column in (("contact", "id"), ("subject", "id"), ("credential_copy", "id")):
            for row in rows(made.ctx, table):
                assert getattr(row, column) not in told
        assert "crm-secret-1" not in told
        assert all(
            set(one.event["data"]) <= {"consent", "request", "task", "due_at"} for one in to.got
        )


def _withdraw_in_vain(ctx: Context, consent_id: str) -> None:
    with ctx.db.transaction() as tx:
        withdraw_consent(ctx, tx, consents.consent(tx, TENANT, consent_id), None, officer_id="o-1")
        raise OSError("unlucky")


def test_an_act_that_is_undone_tells_nobody(on_sqlite: Desk, to: Receiver) -> None:
    hook(on_sqlite, to)
    consent = on_sqlite.consent()
    ctx = on_sqlite.broker.ctx

    with pytest.raises(OSError, match="unlucky"):
        _withdraw_in_vain(ctx, consent)
    assert rows(ctx, "outgoing_event") == []
    assert send_all(ctx, to) == 0


def test_a_partner_without_a_webhook_and_a_type_not_wanted_leave_nothing(
    on_sqlite: Desk, to: Receiver
) -> None:
    withdraw(on_sqlite, on_sqlite.consent())
    assert rows(on_sqlite.broker.ctx, "outgoing_event") == []
    hook(on_sqlite, to, "agent.suspended")
    withdraw(on_sqlite, on_sqlite.broker.consent(on_sqlite.partner_id, "crm-2"))
    assert rows(on_sqlite.broker.ctx, "outgoing_event") == []
    agent = add_agent(on_sqlite.broker.ctx, TENANT, on_sqlite.partner_id, name="bot")
    set_agent_state(on_sqlite.broker.ctx, TENANT, agent.id, "suspended")
    set_agent_state(on_sqlite.broker.ctx, TENANT, agent.id, "active")
    send_all(on_sqlite.broker.ctx, to, on_sqlite.broker.time)
    assert to.types() == ["agent.suspended"]


def test_the_same_subject_type_and_time_is_one_event(on_sqlite: Desk, to: Receiver) -> None:
    hook(on_sqlite, to)
    agent = add_agent(on_sqlite.broker.ctx, TENANT, on_sqlite.partner_id, name="bot")
    for _ in range(3):
        set_agent_state(on_sqlite.broker.ctx, TENANT, agent.id, "suspended")
    assert len(rows(on_sqlite.broker.ctx, "outgoing_event")) == 1
    # What is no repetition is told, in order, however soon.
    for state in ("active", "suspended", "active"):
        set_agent_state(on_sqlite.broker.ctx, TENANT, agent.id, state)
    on_sqlite.broker.time[0] += 1
    send_all(on_sqlite.broker.ctx, to, on_sqlite.broker.time)
    assert to.types() == ["agent.suspended", "agent.resumed"] * 2


def test_another_partners_webhook_hears_nothing(on_sqlite: Desk, to: Receiver) -> None:
    hook(on_sqlite, to)
    other = on_sqlite.broker.partner("Tea")
    withdraw(on_sqlite, on_sqlite.broker.consent(other, "crm-1"))
    assert send_all(on_sqlite.broker.ctx, to) == 0
    (mine,) = usecases.all_webhooks(on_sqlite.broker.ctx, TENANT)
    with pytest.raises(NotFound):
        usecases.remove_webhook(on_sqlite.broker.ctx, TENANT, other, mine.row.id)


def test_a_receiver_that_is_down_for_a_day_misses_nothing(at: Desk, to: Receiver) -> None:
    hook(at, to, "consent.withdrawn")
    to.status = 503
    given = [at.broker.consent(at.partner_id, f"crm-{number}") for number in range(40)]
    end = at.broker.time[0] + DAY
    attempts = 0
    for consent in given:
        withdraw(at, consent)
    while at.broker.time[0] < end:
        send_all(at.broker.ctx, to)
        at.broker.time[0] += 600
    attempts = len(to.got)
    # Left alone while it fails: an attempt an hour, not forty.
    assert len(PAUSES) < attempts < 40
    stands = standing(at)
    assert stands.row.code == "status_503"
    assert stands.row.failing_since == START
    assert (stands.waiting, stands.dead) == (40, 0)
    to.got.clear()
    to.status = 200
    at.broker.time[0] += PAUSES[-1]
    send_all(at.broker.ctx, to, at.broker.time)
    assert sorted(one.event["subject"] for one in to.got) == sorted(given)
    assert (standing(at).waiting, standing(at).row.failures) == (0, 0)


def test_after_its_time_it_is_a_dead_letter_and_a_replay_brings_it(
    on_sqlite: Desk, to: Receiver
) -> None:
    ctx, time = on_sqlite.broker.ctx, on_sqlite.broker.time
    shown = hook(on_sqlite, to, "consent.withdrawn")
    consent = on_sqlite.consent()
    withdraw(on_sqlite, consent)
    to.status = 500
    while time[0] <= START + GIVE_UP_SECONDS:
        send_all(ctx, to)
        assert standing(on_sqlite).dead == 0
        time[0] += 1_800
    time[0] += PAUSES[-1]
    send_all(ctx, to)
    ids = {one.headers["webhook-id"] for one in to.got}
    (letter,), behind = usecases.dead_letters(
        ctx, TENANT, on_sqlite.partner_id, shown.row.id, limit=10
    )
    assert ({letter.event_id}, behind, letter.code) == (ids, None, "status_500")
    assert letter.attempts == len(to.got) > 3 * 24
    to.status = 200
    to.got.clear()
    assert usecases.replay(ctx, TENANT, on_sqlite.partner_id, shown.row.id).count == 1
    send_all(ctx, to, time)
    assert {one.headers["webhook-id"] for one in to.got} == ids
    assert (standing(on_sqlite).waiting, standing(on_sqlite).dead) == (0, 0)


def test_a_replay_since_a_time_sends_what_was_delivered_too(on_sqlite: Desk, to: Receiver) -> None:
    ctx, time = on_sqlite.broker.ctx, on_sqlite.broker.time
    shown = hook(on_sqlite, to, "consent.withdrawn")
    given = [on_sqlite.broker.consent(on_sqlite.partner_id, f"crm-{n}") for n in range(3)]
    for consent in given:
        time[0] += 100
        withdraw(on_sqlite, consent)
    send_all(ctx, to, time)
    to.got.clear()
    assert usecases.replay(ctx, TENANT, None, shown.row.id, since=START + 200).count == 2
    send_all(ctx, to, time)
    assert [one.event["subject"] for one in to.got] == given[1:]
    named = to.got[0].headers["webhook-id"]
    to.got.clear()
    assert (
        usecases.replay(ctx, TENANT, None, shown.row.id, event_ids=[named, "evt-none"]).count == 1
    )
    send_all(ctx, to, time)
    assert [one.headers["webhook-id"] for one in to.got] == [named]


def test_gone_disables_and_a_replay_enables(on_sqlite: Desk, to: Receiver) -> None:
    ctx, time = on_sqlite.broker.ctx, on_sqlite.broker.time
    shown = hook(on_sqlite, to, "consent.withdrawn")
    to.status = 410
    withdraw(on_sqlite, on_sqlite.consent())
    send_all(ctx, to, time)
    assert standing(on_sqlite).row.state == "disabled"
    (logged,) = on_sqlite.broker.logged("webhook.disabled")
    assert logged.body == {"webhook": shown.row.id, "partner": on_sqlite.partner_id}
    to.got.clear()
    to.status = 200
    withdraw(on_sqlite, on_sqlite.broker.consent(on_sqlite.partner_id, "crm-2"))
    time[0] += DAY
    assert send_all(ctx, to, time) == 0
    usecases.replay(ctx, TENANT, None, shown.row.id)
    send_all(ctx, to, time)
    assert to.types() == ["consent.withdrawn"] * 2


def test_one_event_that_is_refused_holds_up_its_subject_alone(
    on_sqlite: Desk, to: Receiver
) -> None:
    ctx, time = on_sqlite.broker.ctx, on_sqlite.broker.time
    hook(on_sqlite, to)
    for number in range(3):
        withdraw(on_sqlite, on_sqlite.broker.consent(on_sqlite.partner_id, f"crm-{number}"))
    first = rows(ctx, "delivery")[0]
    (kind,) = (one.type for one in rows(ctx, "outgoing_event") if one.id == first.event_id)
    to.of_type = {kind: 422}
    for _ in range(3):
        send_all(ctx, to)
        time[0] += 1
    # Nobody is busy with what waits for an earlier event.
    with ctx.db.reading() as tx:
        assert webhooks.due(tx, time[0], 10) == []
    # Each subject's first event is refused, so none of its later ones was sent.
    assert set(to.types()) == {kind}
    assert standing(on_sqlite).row.failures == 0
    to.of_type = {}
    time[0] += 10
    send_all(ctx, to, time)
    told = [(one.event["subject"], one.event["type"]) for one in to.got]
    for subject in {subject for subject, _ in told}:
        assert next(one for one in told if one[0] == subject)[1] == kind
    assert len(told) == 6


def test_an_event_that_breaks_its_receiver_does_not_hold_up_the_rest(
    on_sqlite: Desk, to: Receiver
) -> None:
    ctx, time = on_sqlite.broker.ctx, on_sqlite.broker.time
    hook(on_sqlite, to, "agent.suspended", "consent.withdrawn")
    to.of_type = {"agent.suspended": 500}
    agent = add_agent(ctx, TENANT, on_sqlite.partner_id, name="bot")
    set_agent_state(ctx, TENANT, agent.id, "suspended")
    for number in range(5):
        withdraw(on_sqlite, on_sqlite.broker.consent(on_sqlite.partner_id, f"crm-{number}"))
    for _ in range(10):
        send_all(ctx, to)
        time[0] += 10
    assert to.types().count("consent.withdrawn") == 5
    assert standing(on_sqlite).waiting == 1


def test_a_rotated_secret_signs_beside_the_old_one_for_a_day(on_sqlite: Desk, to: Receiver) -> None:
    ctx, time = on_sqlite.broker.ctx, on_sqlite.broker.time
    old = hook(on_sqlite, to, "consent.withdrawn")
    new = usecases.rotate_secret(ctx, TENANT, on_sqlite.partner_id, old.row.id)
    assert new.secret != old.secret
    for number, expected in enumerate(([new, old], [new])):
        withdraw(on_sqlite, on_sqlite.broker.consent(on_sqlite.partner_id, f"crm-{number}"))
        send_all(ctx, to, time)
        one = to.got.pop()
        sent = dt.datetime.fromtimestamp(int(one.headers["webhook-timestamp"]), dt.UTC)
        signatures = [
            Webhook(each.secret).sign(one.headers["webhook-id"], sent, one.body.decode())
            for each in expected
        ]
        assert one.headers["webhook-signature"] == " ".join(signatures)
        time[0] += OVERLAP_SECONDS


def test_a_withdrawal_of_everything_is_told_to_each_in_its_own_time(
    on_sqlite: Desk, to: Receiver
) -> None:
    ctx, time = on_sqlite.broker.ctx, on_sqlite.broker.time
    consent = on_sqlite.consent()
    hook(on_sqlite, to)
    subject_id = next(row.subject_id for row in rows(ctx, "consent") if row.id == consent)
    done = withdraw_all_by_officer(ctx, TENANT, [subject_id], officer_id=None)
    assert done.consents == (consent,)
    (shown_from,) = {row.shown_from for row in rows(ctx, "consent")}
    assert START < shown_from <= START + LONGEST_SECONDS
    time[0] = shown_from - 1
    assert send_all(ctx, to) == 0
    assert standing(on_sqlite).waiting == 0
    # Nor does a replay bring it before its time.
    (mine,) = usecases.all_webhooks(ctx, TENANT)
    assert usecases.replay(ctx, TENANT, None, mine.row.id, since=0).count == 0
    assert send_all(ctx, to) == 0
    time[0] = shown_from
    send_all(ctx, to, time)
    assert {one.event["time"] for one in to.got} == {
        dt.datetime.fromtimestamp(shown_from, dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    }
    assert "consent.withdrawn" in to.types()


def test_so_many_a_second_at_most_and_one_worker_at_a_time(at: Desk, to: Receiver) -> None:
    hook(at, to, "consent.withdrawn")
    for number in range(A_SECOND + 5):
        withdraw(at, at.broker.consent(at.partner_id, f"crm-{number}"))
    assert send_all(at.broker.ctx, to) == 1
    assert len(to.got) == A_SECOND
    at.broker.time[0] += 1
    send_all(at.broker.ctx, to)
    assert len({one.headers["webhook-id"] for one in to.got}) == len(to.got) == A_SECOND + 5


def test_addresses_that_are_not_for_us_are_refused_at_once(on_sqlite: Desk) -> None:
    ctx = on_sqlite.broker.ctx
    production = replace(ctx, settings=replace(ctx.settings, development=False))
    for url in (
        "http://crm.example/",
        "https://u:p@crm.example/",
        "https://127.0.0.1/",
        "https://[::1]/x",
        "https://169.254.169.254/latest",
        "ftp://crm.example/",
        "https://",
        "nonsense",
        "https://crm.example:0/",
        "https://crm.example:65536/",
        "https://crm.example/" + "x" * 2_048,
    ):
        with pytest.raises(InvalidRequest):
            usecases.add_webhook(production, TENANT, on_sqlite.partner_id, url=url, types=[])
    with pytest.raises(InvalidRequest, match="types"):
        usecases.add_webhook(
            ctx, TENANT, on_sqlite.partner_id, url="https://crm.example/", types=["x"]
        )
    made = [
        usecases.add_webhook(
            production, TENANT, on_sqlite.partner_id, url="https://crm.example/", types=[]
        )
        for _ in range(MOST_OF_A_PARTNER)
    ]
    assert json.loads(made[0].row.types) == []
    with pytest.raises(StateConflict):
        usecases.add_webhook(
            production, TENANT, on_sqlite.partner_id, url="https://crm.example/", types=[]
        )


def test_old_events_are_forgotten(on_sqlite: Desk, to: Receiver) -> None:
    ctx, time = on_sqlite.broker.ctx, on_sqlite.broker.time
    hook(on_sqlite, to, "consent.withdrawn")
    withdraw(on_sqlite, on_sqlite.consent())
    time[0] += KEPT_SECONDS
    assert forget_old(ctx) == 0
    time[0] += 1
    assert forget_old(ctx) == 1
    assert rows(ctx, "delivery") == rows(ctx, "outgoing_event") == []


def test_pauses_grow_and_have_jitter() -> None:
    usual = [pause(number, lambda _most: 0) for number in range(1, 9)]
    assert usual == [*PAUSES, PAUSES[-1], PAUSES[-1]]
    longest = [pause(number, lambda most: most - 1) for number in range(1, 9)]
    assert longest == [one + one // 5 for one in usual]


def test_over_http_by_partner_and_officer(tmp_path: Path) -> None:
    with world(tmp_path) as made:
        other = made.second_partner()
        headers = {"Idempotency-Key": "a"}
        body = {"url": "http://crm.example/events", "types": ["consent.granted"]}
        added = made.api("POST", "/v1/webhooks", json=body, headers=headers)
        assert added.status_code == 201
        assert added.json()["secret"].startswith("whsec_")
        assert made.api("POST", "/v1/webhooks", json=body, headers=headers).status_code == 409
        path = f"/v1/webhooks/{added.json()['id']}"
        (mine,) = made.api("GET", "/v1/webhooks").json()["webhooks"]
        assert mine["types"] == ["consent.granted"]
        assert "secret" not in str(mine)
        assert made.api("GET", "/v1/webhooks", other).json() == {"webhooks": []}
        assert made.api("DELETE", path, other).status_code == 404
        theirs = body | {"partner": other}
        asked = made.api("POST", "/v1/webhooks", json=theirs, headers={"Idempotency-Key": "b"})
        assert asked.status_code == 403
        headers = {"Idempotency-Key": "c"}
        assert (
            made.api("POST", "/v1/webhooks", made.officer, json=theirs, headers=headers).status_code
            == 201
        )
        assert len(made.api("GET", "/v1/webhooks", made.officer).json()["webhooks"]) == 2
        rotated = made.api("POST", f"{path}/secret", headers={"Idempotency-Key": "d"})
        assert rotated.json()["secret"] != added.json()["secret"]
        told = made.api("POST", f"{path}/replay", json={}, headers={"Idempotency-Key": "e"})
        assert told.json() == {"replayed": 0, "next": None}
        assert made.api("GET", f"{path}/dead-letters").json() == {"dead_letters": [], "next": None}
        assert made.api("DELETE", path).status_code == 204
        assert made.api("GET", f"{path}/dead-letters").json()["code"] == "not_found"
        assert {
            entry.type
            for entry in made.logged(
                "webhook.added", "webhook.secret_rotated", "webhook.replayed", "webhook.removed"
            )
        } == {"webhook.added", "webhook.secret_rotated", "webhook.replayed", "webhook.removed"}
