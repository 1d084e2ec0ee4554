"""A receiver that misbehaves, or goes while it is told, costs nobody else anything."""

import contextvars
import datetime as dt
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import httpx2
import pytest
from standardwebhooks import Webhook

from broker.domain.errors import FetchFailed, NotFound, StateConflict
from broker.domain.webhook import GIVE_UP_SECONDS
from broker.outbound.guarded import GuardedClient
from broker.store import consents, webhooks
from broker.store.webhooks import LEASE_SECONDS, REFUSING
from broker.usecases import webhook as usecases
from broker.usecases.delivery import SLOW_SECONDS, Deliverer, Slow, bury_old, deliver_some
from broker.usecases.granting import withdraw_consent
from tests.broker.builders import DAY, TENANT
from tests.broker.deciding import Desk, desk
from tests.broker.hooks import Receiver, receiver, rows, send_all
from tests.broker.test_webhooks import hook, standing, withdraw
from tests.faults.hostile import PUBLIC


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


def second(at: Desk) -> Desk:
    """Another partner of the tenant."""
    return replace(at, partner_id=at.broker.partner("Tea"), token="")


def beside(work: Callable[[], object]) -> threading.Thread:
    """Run in a thread, for the same tenant."""
    here = contextvars.copy_context()
    thread = threading.Thread(target=lambda: here.run(work), daemon=True)
    thread.start()
    return thread


def test_an_address_that_breaks_the_transport_is_no_more_than_unreachable() -> None:
    class Broken(httpx2.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
            raise ExceptionGroup("all attempts", [OverflowError("port must be 0-65535")])

    client = GuardedClient(resolve=lambda _host, _port: [PUBLIC], transport=Broken)
    with pytest.raises(FetchFailed, match="ExceptionGroup"):
        client.post("https://x.example/", b"", content_type="text/plain")


def test_a_port_that_there_is_not_stops_nobody(on_sqlite: Desk, to: Receiver) -> None:
    ctx, other = on_sqlite.broker.ctx, second(on_sqlite)
    bad = hook(on_sqlite, to).row
    with ctx.db.transaction() as tx:  # as it may have been registered before it was refused
        webhooks.change(tx, bad.id, url="https://x.example:99999/")
    hook(other, to, "consent.withdrawn")
    withdraw(on_sqlite, on_sqlite.consent())
    withdraw(other, other.broker.consent(other.partner_id, "crm-2"))
    send_all(ctx, to, on_sqlite.broker.time)
    assert to.types() == ["consent.withdrawn"]
    assert standing(on_sqlite).row.code == "url"


def test_a_thread_survives_whatever_is_raised(on_sqlite: Desk, to: Receiver) -> None:
    hook(on_sqlite, to, "consent.withdrawn")
    withdraw(on_sqlite, on_sqlite.consent())
    errors, came = [ZeroDivisionError("once for each thread")] * 4, threading.Event()

    def clock() -> int:
        if errors:
            raise errors.pop()
        came.set()
        return on_sqlite.broker.time[0]

    deliverer = Deliverer(replace(on_sqlite.broker.ctx, now=clock))
    deliverer._client = to.client  # noqa: SLF001 (it trusts the receiver's public name)
    deliverer.start()
    assert came.wait(60)
    while standing(on_sqlite).waiting:
        came.wait(0.05)
    deliverer.stop()
    assert to.types() == ["consent.withdrawn"]


def test_what_an_answer_holds_changes_nothing(on_sqlite: Desk, to: Receiver) -> None:
    hook(on_sqlite, to, "consent.withdrawn")
    to.status, to.body, to.headers = 200, b"x" * 2_000_000, ["Content-Encoding: br"]
    withdraw(on_sqlite, on_sqlite.consent())
    send_all(on_sqlite.broker.ctx, to, on_sqlite.broker.time)
    stands = standing(on_sqlite)
    assert (stands.waiting, stands.dead, stands.row.failures) == (0, 0, 0)


def test_an_act_under_way_keeps_its_webhook_and_a_removal_waits(at: Desk, to: Receiver) -> None:
    ctx, consent = at.broker.ctx, at.consent()
    webhook_id = hook(at, to).row.id
    with ctx.db.transaction() as tx:
        row = consents.consent(tx, TENANT, consent)
        withdraw_consent(ctx, tx, row, None, officer_id="o-1")
        removing = beside(lambda: usecases.remove_webhook(ctx, TENANT, None, webhook_id))
        removing.join(0.5)
        assert removing.is_alive()
    removing.join(30)
    assert not removing.is_alive()
    assert rows(ctx, "webhook") == rows(ctx, "delivery") == []


def test_a_removal_under_way_makes_no_act_fail(at: Desk, to: Receiver) -> None:
    ctx, consent = at.broker.ctx, at.consent()
    webhook_id = hook(at, to).row.id
    done: list[str] = []

    def act() -> None:
        withdraw(at, consent)
        done.append(consent)

    with ctx.db.transaction() as tx:
        webhooks.find(tx, TENANT, webhook_id, alone=True)
        webhooks.remove(tx, webhook_id)
        acting = beside(act)
        acting.join(0.5)
    acting.join(30)
    assert done == [consent]
    assert rows(ctx, "delivery") == []


def test_what_a_turn_writes_does_not_hold_up_acts(
    postgres_database: str, tmp_path: Path, to: Receiver
) -> None:
    with desk(tmp_path, postgres_database) as at:
        ctx, consent = at.broker.ctx, at.consent()
        webhook_id = hook(at, to).row.id
        with ctx.db.transaction() as tx:
            webhooks.find(tx, TENANT, webhook_id, lock=True)
            acting = beside(lambda: withdraw(at, consent))
            acting.join(60)
            assert not acting.is_alive()
        assert standing(at).waiting == 2


def test_a_removed_webhook_is_gone_with_all_that_waited(at: Desk, to: Receiver) -> None:
    ctx = at.broker.ctx
    webhook_id = hook(at, to).row.id
    for number in range(3):
        withdraw(at, at.broker.consent(at.partner_id, f"crm-{number}"))
    usecases.remove_webhook(ctx, TENANT, at.partner_id, webhook_id)
    assert rows(ctx, "webhook") == rows(ctx, "delivery") == []
    with pytest.raises(NotFound):
        usecases.remove_webhook(ctx, TENANT, at.partner_id, webhook_id)


def test_a_partner_has_one_turn_at_a_time(at: Desk, to: Receiver) -> None:
    ctx, other = at.broker.ctx, second(at)
    first = hook(at, to, "consent.withdrawn").row
    hook(at, to, "consent.withdrawn")
    theirs = hook(other, to, "consent.withdrawn").row
    withdraw(at, at.consent())
    withdraw(other, other.broker.consent(other.partner_id, "crm-2"))
    now = at.broker.time[0]
    with ctx.db.transaction() as tx:
        assert webhooks.lease(tx, first, now, now + LEASE_SECONDS)
        assert not webhooks.lease(tx, first, now, now + LEASE_SECONDS)
    with ctx.db.reading() as tx:
        assert [row.id for row in webhooks.due(tx, now, 10)] == [theirs.id]
    # Whose lease is over by itself changes nothing of another's.
    with ctx.db.transaction() as tx:
        webhooks.release(tx, first.id, now + 1, now)
    with ctx.db.reading() as tx:
        assert [row.id for row in webhooks.due(tx, now, 10)] == [theirs.id]
    with ctx.db.transaction() as tx:
        webhooks.release(tx, first.id, now + LEASE_SECONDS, now + 1)
    assert send_all(ctx, to, at.broker.time) == 3


def test_a_clock_that_was_set_back_stops_nothing(on_sqlite: Desk, to: Receiver) -> None:
    ctx, time = on_sqlite.broker.ctx, on_sqlite.broker.time
    shown = hook(on_sqlite, to, "consent.withdrawn")
    withdraw(on_sqlite, on_sqlite.consent())
    later = time[0] + 30 * DAY
    with ctx.db.transaction() as tx:
        webhooks.change(tx, shown.row.id, leased_until=later, retry_at=later)
    send_all(ctx, to, time)
    assert to.types() == ["consent.withdrawn"]


def test_half_of_the_threads_take_no_slow_receiver(on_sqlite: Desk, to: Receiver) -> None:
    ctx, slow = on_sqlite.broker.ctx, Slow()
    shown = hook(on_sqlite, to, "consent.withdrawn")
    withdraw(on_sqlite, on_sqlite.consent())
    slow.note(shown.row.id, SLOW_SECONDS + 0.1)
    assert not deliver_some(ctx, to.client, slow=slow, quick_only=True)
    # By any other thread; and since it was quick this time, by these too from then on.
    assert deliver_some(ctx, to.client, slow=slow)
    assert slow.ids() == []


def test_whoever_refuses_everything_is_told_of(on_sqlite: Desk, to: Receiver) -> None:
    ctx, time = on_sqlite.broker.ctx, on_sqlite.broker.time
    hook(on_sqlite, to, "consent.withdrawn")
    to.status = 400
    for number in range(REFUSING):
        withdraw(on_sqlite, on_sqlite.broker.consent(on_sqlite.partner_id, f"crm-{number}"))
    send_all(ctx, to, time)
    with ctx.db.reading() as tx:
        (row,) = webhooks.unwell(tx)
    assert (row.refusals, row.failures, row.code) == (REFUSING, 0, "status_400")
    to.status = 204
    time[0] += 60
    send_all(ctx, to, time)
    assert standing(on_sqlite).row.refusals is None


def test_a_replay_goes_a_part_at_a_time(
    on_sqlite: Desk, to: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(usecases, "MOST_REPLAYED", 2)
    ctx, time = on_sqlite.broker.ctx, on_sqlite.broker.time
    webhook_id = hook(on_sqlite, to, "consent.withdrawn").row.id
    for number in range(5):
        withdraw(on_sqlite, on_sqlite.broker.consent(on_sqlite.partner_id, f"crm-{number}"))
    send_all(ctx, to, time)
    sent = [one.headers["webhook-id"] for one in to.got]
    to.got.clear()
    done = usecases.replay(ctx, TENANT, None, webhook_id, since=0)
    assert (done.count, done.next) == (2, sent[1])
    # Not the rest before these have been taken.
    with pytest.raises(StateConflict, match="wait"):
        usecases.replay(ctx, TENANT, None, webhook_id, since=0, after=done.next)
    while done.next is not None:
        send_all(ctx, to, time)
        done = usecases.replay(ctx, TENANT, None, webhook_id, since=0, after=done.next)
    send_all(ctx, to, time)
    assert [one.headers["webhook-id"] for one in to.got] == sent
    with pytest.raises(NotFound):
        usecases.replay(ctx, TENANT, None, webhook_id, after="evt-none")


def test_a_replay_gives_what_was_tried_its_four_days_again(on_sqlite: Desk, to: Receiver) -> None:
    ctx, time = on_sqlite.broker.ctx, on_sqlite.broker.time
    webhook_id = hook(on_sqlite, to, "consent.withdrawn").row.id
    withdraw(on_sqlite, on_sqlite.consent())
    for status in (500, 410):
        to.status = status
        send_all(ctx, to, time)
        time[0] += 60
    time[0] += GIVE_UP_SECONDS
    usecases.replay(ctx, TENANT, None, webhook_id)
    assert bury_old(ctx) == 0
    to.status = 503
    send_all(ctx, to, time)
    assert (standing(on_sqlite).waiting, standing(on_sqlite).dead) == (1, 0)


def test_no_rotation_takes_away_the_secret_that_the_receiver_has(
    on_sqlite: Desk, to: Receiver
) -> None:
    ctx, time = on_sqlite.broker.ctx, on_sqlite.broker.time
    shown = hook(on_sqlite, to, "consent.withdrawn")
    for _ in range(3):
        usecases.rotate_secret(ctx, TENANT, None, shown.row.id)
    withdraw(on_sqlite, on_sqlite.consent())
    send_all(ctx, to, time)
    (one,) = to.got
    sent = dt.datetime.fromtimestamp(int(one.headers["webhook-timestamp"]), dt.UTC)
    mine = Webhook(shown.secret).sign(one.headers["webhook-id"], sent, one.body.decode())
    signatures = one.headers["webhook-signature"].split(" ")
    assert (len(signatures), signatures[-1]) == (4, mine)


def test_nobody_need_try_for_an_event_to_be_a_dead_letter(on_sqlite: Desk, to: Receiver) -> None:
    ctx, time = on_sqlite.broker.ctx, on_sqlite.broker.time
    shown = hook(on_sqlite, to, "consent.withdrawn")
    to.status = 410
    withdraw(on_sqlite, on_sqlite.consent())
    send_all(ctx, to, time)
    withdraw(on_sqlite, on_sqlite.broker.consent(on_sqlite.partner_id, "crm-2"))
    time[0] += GIVE_UP_SECONDS - 10
    assert bury_old(ctx) == 0
    time[0] += 10
    assert bury_old(ctx) == 2
    letters, _ = usecases.dead_letters(ctx, TENANT, None, shown.row.id, limit=10)
    assert [one.code for one in letters] == ["expired"] * 2
    to.status = 204
    assert usecases.replay(ctx, TENANT, None, shown.row.id).count == 2
    to.got.clear()
    send_all(ctx, to, time)
    assert to.types() == ["consent.withdrawn"] * 2
