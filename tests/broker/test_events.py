"""Events of other systems: by their signature, each once, each source within its own bounds."""

import asyncio
import base64
import datetime as dt
import json
import secrets
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent
from standardwebhooks import Webhook

from broker.domain.circuit import LONGEST_SECONDS, SHORTEST_SECONDS, STRIKES, pause_seconds
from broker.domain.errors import InvalidRequest, NotFound, StateConflict
from broker.domain.incoming import InvalidEvent, read_events
from broker.domain.webhook import OVERLAP_SECONDS, TOLERANCE_SECONDS, SignatureRefused
from broker.setting_forms import Rate
from broker.store import inbox as inbox_rows
from broker.store import sources
from broker.usecases import inbox
from broker.usecases.inbox import (
    AT_ONCE,
    BAD_AT_ONCE,
    FORGET_SECONDS,
    GIVE_UP_SECONDS,
    Gate,
    Received,
    Sent,
    SourceBusy,
    SourceFull,
    SourcePaused,
    acknowledge,
    events_kept,
    forget_acknowledged,
    forget_unfetched,
    receive,
)
from broker.usecases.rotation import MOST_PREVIOUS
from broker.usecases.source import add_source, all_sources, remove_source, rotate_source
from tests.broker.builders import START, TENANT, Broker, broker
from tests.broker.flow_world import world
from tests.broker.hooks import rows

ONE, BATCH = "application/cloudevents+json", "application/cloudevents-batch+json"


def event(name: str, **changes: Any) -> dict[str, Any]:  # noqa: ANN401
    return {
        "specversion": "1.0",
        "id": name,
        "source": "https://loyalty.example",
        "type": "member.moved",
        "subject": f"member-{name}",
        "time": "2026-11-27T12:00:00Z",
        "data": {"secret": "of-a-member"},
    } | changes


class Sender:
    """A source that signs, by the reference implementation, and one worker's gate."""

    def __init__(self, made: Broker, name: str = "loyalty", gate: Gate | None = None) -> None:
        self.made, self.name = made, name
        self.secret = add_source(made.ctx, TENANT, name).secret
        self.gate = gate or Gate(made.ctx.settings)

    def sent(self, content: Any, *, secret: str = "", at: int = 0, address: str = "a") -> Sent:  # noqa: ANN401
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        when = dt.datetime.fromtimestamp(at or self.made.time[0], dt.UTC)
        signature = Webhook(secret or self.secret).sign("m-1", when, body.decode())
        headers = {
            "webhook-id": "m-1",
            "webhook-timestamp": str(int(when.timestamp())),
            "webhook-signature": signature,
        }
        return Sent(address, headers, BATCH if body[:1] == b"[" else ONE, body)

    def take(self, content: Any, **how: Any) -> Received:  # noqa: ANN401
        return self.give(self.sent(content, **how))

    def give(self, sent: Sent) -> Received:
        with self.made.ctx.db.reading() as tx:
            row = sources.find(tx, TENANT, self.name)
        return asyncio.run(receive(self.made.ctx, self.gate, row, sent))


@pytest.fixture(params=["sqlite", "postgresql"])
def on_each(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Broker]:
    url = "" if request.param == "sqlite" else request.getfixturevalue("postgres_database")
    with broker(tmp_path, url) as made:
        yield made


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Broker]:
    with broker(tmp_path) as found:
        yield found


def test_an_event_is_kept_once_and_given_to_its_consumer(on_each: Broker) -> None:
    ctx, sender = on_each.ctx, Sender(on_each)
    batch = [event(f"e-{number}") for number in range(250)]
    assert sender.take(batch) == Received(250, 0)
    assert sender.take([*batch[:5], event("new")]) == Received(1, 5)
    # The same subject, type and time is the same event, whatever its id and however written.
    again = event("other", subject="member-e-1", time="2026-11-27T20:00:00.000+08:00")
    assert sender.take(again) == Received(0, 1)
    # Ids are unique for each of a sender's own sources alone.
    assert sender.take([event("e-1", source="https://b.example")]) == Received(1, 0)
    moment = event("moment", subject="member-e-1", time="2026-11-27T12:00:00.5Z")
    assert sender.take(moment) == Received(1, 0)
    found = events_kept(ctx, TENANT, after=0, limit=500)
    assert [json.loads(body)["id"] for _, body in found[:250]] == [one["id"] for one in batch]
    read = JSONFormat().read(CloudEvent, found[0][1])
    assert (read.get_id(), read.get_data()) == ("e-0", {"secret": "of-a-member"})
    numbers = [row.seq for row, _ in found]
    assert acknowledge(ctx, TENANT, numbers[:100]) == 100
    assert acknowledge(ctx, TENANT, numbers[:101]) == 1
    left = events_kept(ctx, TENANT, after=0, limit=500, source="loyalty")
    assert [row.seq for row, _ in left] == numbers[101:]
    assert events_kept(ctx, TENANT, after=0, limit=5, source="other") == []
    # Known still, and empty.
    assert sender.take(batch[:1]) == Received(0, 1)
    empty = {row.seq for row in rows(ctx, "incoming_event") if row.sealed_body is None}
    assert empty == set(numbers[:101])


def test_what_is_kept_shows_no_subject_and_no_data(made: Broker) -> None:
    Sender(made).take(event("e-1"))
    (row,) = rows(made.ctx, "incoming_event")
    assert "member-e-1" not in str(row)
    assert "of-a-member" not in str(row)


def test_two_sources_may_use_the_same_ids(made: Broker) -> None:
    assert Sender(made).take(event("e-1")) == Sender(made, "shop").take(event("e-1"))
    assert len(rows(made.ctx, "incoming_event")) == 2


def test_acknowledged_events_are_forgotten_late_and_others_later(made: Broker) -> None:
    sender = Sender(made)
    sender.take([event("a"), event("b")])
    ((first, _), _) = events_kept(made.ctx, TENANT, after=0, limit=10)
    acknowledge(made.ctx, TENANT, [first.seq])
    made.time[0] += FORGET_SECONDS
    assert forget_acknowledged(made.ctx) == 0
    made.time[0] += 1
    assert forget_acknowledged(made.ctx) == 1
    assert len(events_kept(made.ctx, TENANT, after=0, limit=10)) == 1
    made.time[0] = START + GIVE_UP_SECONDS
    assert forget_unfetched(made.ctx) == 0
    made.time[0] += 1
    assert forget_unfetched(made.ctx) == 1
    assert events_kept(made.ctx, TENANT, after=0, limit=10) == []


def test_a_page_ends_by_its_bytes(made: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    sender = Sender(made)
    sender.take([event(str(number), data="x" * 1_000) for number in range(10)])
    monkeypatch.setattr(inbox_rows, "PAGE_BYTES", 4_000)
    seen, after = [], 0
    while page := events_kept(made.ctx, TENANT, after=after, limit=500):
        assert len(page) <= 3
        seen += [json.loads(body)["id"] for _, body in page]
        after = page[-1][0].seq
    assert seen == [str(number) for number in range(10)]
    monkeypatch.setattr(inbox_rows, "PAGE_BYTES", 10)
    assert len(events_kept(made.ctx, TENANT, after=0, limit=500)) == 1


@pytest.mark.parametrize("bound", ["MOST_WAITING", "MOST_BYTES"])
def test_an_inbox_that_nobody_empties_takes_no_more(
    made: Broker, monkeypatch: pytest.MonkeyPatch, bound: str
) -> None:
    monkeypatch.setattr(inbox, bound, 3)
    sender, other = Sender(made), Sender(made, "other")
    sender.take([event(str(number)) for number in range(5)])
    for _ in range(STRIKES + 1):  # its consumer's fault: no circuit opens
        with pytest.raises(SourceFull):
            sender.take(event("more"))
    assert other.take(event("a")) == Received(1, 0)
    sender.gate = Gate(made.ctx.settings)  # another worker measures
    with pytest.raises(SourceFull):
        sender.take(event("more"))
    acknowledge(made.ctx, TENANT, [row.seq for row in rows(made.ctx, "incoming_event")])
    sender.gate = Gate(made.ctx.settings)
    assert sender.take(event("more")) == Received(1, 0)


def test_what_is_null_is_not_there_and_what_cannot_be_kept_is_refused() -> None:
    given = event("a", dataschema=None, extension=None, datacontenttype=None, data=None)
    (read,) = read_events(json.dumps(given).encode(), ONE, max_bytes=10_000)
    assert json.loads(read.body) == {
        name: value for name, value in given.items() if value is not None or name == "data"
    }
    for data in ("18446744073709551616", "-9223372036854775809", "9" * 200, '{"a": 1, "a": 2}'):
        body = json.dumps(event("a", data="DATA")).replace('"DATA"', data).encode()
        with pytest.raises(InvalidEvent, match=r"64 bits|twice"):
            read_events(body, ONE, max_bytes=10_000)
    exact = json.dumps(event("a", data=[18446744073709551615, -9223372036854775808])).encode()
    (read,) = read_events(exact, ONE, max_bytes=10_000)
    assert json.loads(read.body) == json.loads(exact)


def test_batches_that_overlap_are_kept_at_once(on_each: Broker) -> None:
    sender = Sender(on_each)
    batch = [event(f"e-{number}") for number in range(200)]
    given = [sender.sent(batch[:: (-1) ** number]) for number in range(4)]
    with on_each.ctx.db.reading() as tx:
        row = sources.find(tx, TENANT, sender.name)

    async def all_at_once() -> list[Received]:
        taken = (receive(on_each.ctx, sender.gate, row, one) for one in given)
        return await asyncio.gather(*taken)

    done = asyncio.run(all_at_once())
    assert sum(one.accepted for one in done) == 200


def test_strangers_take_no_place_of_the_sender(made: Broker) -> None:
    sender = Sender(made)
    with made.ctx.db.reading() as tx:
        row = sources.find(tx, TENANT, sender.name)
    gate = sender.gate
    with ExitStack() as strangers:
        for address in ("b", "c"):
            for _ in range(AT_ONCE):
                strangers.enter_context(gate.verifying(row, address))
            with pytest.raises(SourceBusy), gate.verifying(row, address):
                pass
        assert sender.take(event("e-1")) == Received(1, 0)


def test_each_older_secret_counts_until_its_own_day_is_over(made: Broker) -> None:
    sender, made_secrets = Sender(made), []
    for _ in range(3):
        made_secrets.append(rotate_source(made.ctx, TENANT, "loyalty").secret)
        made.time[0] += 100
    for number, secret in enumerate([sender.secret, *made_secrets]):
        assert sender.take(event(str(number)), secret=secret) == Received(1, 0)
    made.time[0] = START + OVERLAP_SECONDS
    with pytest.raises(SignatureRefused):
        sender.take(event("late"))
    assert sender.take(event("late"), secret=made_secrets[0]) == Received(1, 0)
    for _ in range(MOST_PREVIOUS - 2):
        rotate_source(made.ctx, TENANT, "loyalty")
    with pytest.raises(StateConflict, match="wait"):
        rotate_source(made.ctx, TENANT, "loyalty")


def test_signatures_that_do_not_hold(made: Broker) -> None:
    sender = Sender(made)
    good = sender.sent(event("e-1"))
    wrong = [
        replace(good, headers={}),
        replace(good, headers={**good.headers, "webhook-id": "m-2"}),
        replace(good, headers={**good.headers, "webhook-timestamp": str(START + 1)}),
        replace(good, headers={**good.headers, "webhook-timestamp": "now"}),
        replace(good, headers={**good.headers, "webhook-timestamp": "\u0661" * 10}),
        replace(good, headers={**good.headers, "webhook-signature": "v1,AAAA \udcff x"}),
        replace(good, headers={**good.headers, "webhook-signature": ""}),
        replace(good, body=good.body + b" "),
        sender.sent(event("e-1"), secret="whsec_" + base64.b64encode(bytes(32)).decode()),
        sender.sent(event("e-1"), at=START - TOLERANCE_SECONDS - 1),
        sender.sent(event("e-1"), at=START + TOLERANCE_SECONDS + 1),
    ]
    for one in wrong:
        with pytest.raises(SignatureRefused):
            sender.give(one)
    assert rows(made.ctx, "incoming_event") == []
    # Several signatures, one of which is good: a sender that changes its secret.
    several = f"v1,AAAA v1a,x {good.headers['webhook-signature']}"
    rotating = replace(good, headers={**good.headers, "webhook-signature": several})
    assert sender.give(rotating) == Received(1, 0)


def test_strangers_cannot_shut_a_source_out(made: Broker) -> None:
    sender = Sender(made)
    bad = replace(sender.sent(event("x"), address="stranger"), body=b"{}")
    for _ in range(BAD_AT_ONCE + 1):
        with pytest.raises(SignatureRefused):
            sender.give(bad)
    with pytest.raises(SourceBusy) as refused:
        sender.give(bad)
    assert refused.value.retry_after >= 1
    assert sender.take(event("e-1")) == Received(1, 0)
    assert all_sources(made.ctx, TENANT)[0].opened == 0


def test_a_secret_is_rotated_with_a_day_of_both(made: Broker) -> None:
    sender = Sender(made)
    own = "whsec_" + base64.b64encode(secrets.token_bytes(24)).decode()
    assert rotate_source(made.ctx, TENANT, "loyalty", own).secret == own
    assert sender.take(event("by the old one")).accepted == 1
    assert sender.take(event("by the new one"), secret=own).accepted == 1
    made.time[0] += OVERLAP_SECONDS
    with pytest.raises(SignatureRefused):
        sender.take(event("by the old one again"))
    assert sender.take(event("by the new one again"), secret=own).accepted == 1
    for wrong in ("", "whsec_", "whsec_AAAA", own[6:], own + "!", "whsec_" + "A" * 200):
        with pytest.raises(InvalidRequest):
            rotate_source(made.ctx, TENANT, "loyalty", wrong)


@pytest.mark.parametrize(
    "changes",
    [
        {"specversion": "0.3"},
        {"id": ""},
        {"id": 7},
        {"id": "x" * 501},
        {"type": "a\nb"},
        {"subject": None},
        {"time": "2026-11-27"},
        {"time": "2026-11-27 12:00:00Z"},
        {"time": "2026-13-27T12:00:00Z"},
        {"time": "0001-01-01T00:00:00+14:00"},
        {"time": 1795752000},
        {"data_base64": "AAAA"},
        {"Upper": "x"},
        {"under_score": "x"},
        {"ext": {"a": 1}},
        {"ext": 1.5},
        {"ext": 2**31},
        {"datacontenttype": 1},
    ],
)
def test_what_is_no_event_we_take(changes: dict[str, Any]) -> None:
    body = json.dumps([event("good"), event("bad") | changes]).encode()
    with pytest.raises(InvalidEvent, match="event 1"):
        read_events(body, BATCH, max_bytes=10_000)


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"", ONE),
        (b"[]", BATCH),
        (b"{}", BATCH),
        (b"[]", ONE),
        (b"nonsense", ONE),
        (json.dumps([event(str(n)) for n in range(501)]).encode(), BATCH),
        (json.dumps(event("a")).encode(), "application/json"),
        (b'{"specversion":"1.0","x":"\xff"}', ONE),
    ],
)
def test_what_is_no_body_of_events(body: bytes, kind: str) -> None:
    with pytest.raises(InvalidEvent):
        read_events(body, kind, max_bytes=1_000_000)


def test_one_bad_event_refuses_its_batch(made: Broker) -> None:
    with pytest.raises(InvalidEvent):
        Sender(made).take([event("good"), event("bad", time="now")])
    assert rows(made.ctx, "incoming_event") == []


def test_a_flood_is_bounded_opens_the_circuit_and_leaves_others_alone(made: Broker) -> None:
    settings = replace(made.ctx.settings, rate_limits={"events": Rate(0.01, 100)})
    gate = Gate(settings)
    flood, calm = Sender(made, "flood", gate), Sender(made, "calm", gate)
    assert flood.take([event(str(n)) for n in range(100)]) == Received(100, 0)
    for _ in range(STRIKES):
        with pytest.raises(SourceBusy) as busy:
            flood.take(event("over"))
        assert type(busy.value) is SourceBusy
    with pytest.raises(SourcePaused) as paused:
        flood.take(event("over"))
    assert paused.value.retry_after == SHORTEST_SECONDS
    assert calm.take([event(str(n)) for n in range(50)]) == Received(50, 0)
    (_, stands) = all_sources(made.ctx, TENANT)
    assert (stands.name, stands.opened, stands.reason) == ("flood", 1, "flood")
    # Half open: one bad request opens it again, for longer; a good one closes it.
    made.time[0] += SHORTEST_SECONDS
    with pytest.raises(SourceBusy):
        flood.take(event("over"))
    made.time[0] += SHORTEST_SECONDS
    with pytest.raises(SourcePaused):
        flood.take(event("over"))
    made.time[0] += SHORTEST_SECONDS
    flood.gate = Gate(made.ctx.settings)
    assert flood.take(event("over")) == Received(1, 0)
    assert all_sources(made.ctx, TENANT)[1].opened == 0
    assert len(rows(made.ctx, "incoming_event")) == 151


def test_malformed_events_open_the_circuit_too(made: Broker) -> None:
    sender = Sender(made)
    for _ in range(STRIKES - 1):
        with pytest.raises(InvalidEvent):
            sender.take({"specversion": "1.0"})
    sender.take(event("good"))  # begins anew
    for _ in range(STRIKES):
        with pytest.raises(InvalidEvent):
            sender.take({"specversion": "1.0"})
    with pytest.raises(SourcePaused):
        sender.take(event("good too"))
    assert all_sources(made.ctx, TENANT)[0].reason == "malformed"


def test_pauses_double_up_to_a_bound() -> None:
    found = [pause_seconds(number) for number in range(40)]
    assert found[:3] == [SHORTEST_SECONDS, 2 * SHORTEST_SECONDS, 4 * SHORTEST_SECONDS]
    assert set(found[5:]) == {LONGEST_SECONDS}


def test_a_source_is_worked_on_a_few_at_a_time(made: Broker) -> None:
    gate, sender = Gate(made.ctx.settings), Sender(made)
    with made.ctx.db.reading() as tx:
        row = sources.find(tx, TENANT, sender.name)
    with gate.working(row), gate.working(row), gate.working(row), gate.working(row):
        with pytest.raises(SourceBusy), gate.working(row):
            pass
        with gate.working(replace(row, id="another")):
            pass
    probing = replace(row, opened=1)
    with gate.working(probing), pytest.raises(SourceBusy), gate.working(probing):
        pass


def test_names_and_removal(made: Broker) -> None:
    sender = Sender(made)
    for wrong in ("", "A", "a/b", "-a", "a" * 41):
        with pytest.raises(InvalidRequest):
            add_source(made.ctx, TENANT, wrong)
    with pytest.raises(StateConflict):
        add_source(made.ctx, TENANT, "loyalty")
    sender.take(event("e-1"))
    with pytest.raises(StateConflict, match="wait"):
        remove_source(made.ctx, TENANT, "loyalty")
    acknowledge(made.ctx, TENANT, [row.seq for row in rows(made.ctx, "incoming_event")])
    remove_source(made.ctx, TENANT, "loyalty")
    with pytest.raises(NotFound):
        remove_source(made.ctx, TENANT, "loyalty")
    assert rows(made.ctx, "incoming_event") == []


def test_over_http(tmp_path: Path) -> None:
    with world(tmp_path) as at:
        shown = add_source(at.ctx, "demo", "loyalty")
        body = json.dumps([event("a"), event("b")])
        when = dt.datetime.fromtimestamp(at.time[0], dt.UTC)
        headers = {
            "Content-Type": BATCH,
            "Webhook-Id": "m-1",
            "Webhook-Timestamp": str(at.time[0]),
            "Webhook-Signature": Webhook(shown.secret).sign("m-1", when, body),
        }
        sent = at.http.post("/v1/events/loyalty", content=body, headers=headers)
        assert (sent.status_code, sent.json()) == (202, {"accepted": 2, "duplicates": 0})
        refused = at.http.post("/v1/events/loyalty", content=body + " ", headers=headers)
        assert (refused.status_code, refused.json()["code"]) == (403, "event_signature_refused")
        assert at.http.post("/v1/events/nobody", content=body, headers=headers).status_code == 404
        with at.ctx.db.transaction() as tx:
            sources.trip(
                tx, sources.find(tx, "demo", "loyalty"), open_until=at.time[0] + 7, reason="flood"
            )
        paused = at.http.post("/v1/events/loyalty", content=body, headers=headers)
        assert paused.headers["Retry-After"] == "7"
        assert (paused.status_code, paused.json()["code"]) == (429, "event_source_paused")
        assert at.api("GET", "/v1/events").status_code == 403
        page = at.api("GET", "/v1/events?limit=1", at.officer).json()
        (one,) = page["events"]
        assert (one["event"], one["source"]) == (event("a"), "loyalty")
        rest = at.api("GET", f"/v1/events?after={page['next']}", at.officer).json()
        assert [each["event"]["id"] for each in rest["events"]] == ["b"]
        told = {"numbers": [one["number"]]}
        done = at.api("POST", "/v1/events-acknowledged", at.officer, json=told)
        assert done.json() == {"acknowledged": 1}
        assert len(at.api("GET", "/v1/events", at.officer).json()["events"]) == 1
        assert inbox.acknowledge(at.ctx, "acme", [rest["events"][0]["number"]]) == 0
