"""Status lists: truth in the rows, one signature a second, lists apart by partner."""

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import TextClause, insert, select, update
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from broker.api.logs import route_of
from broker.api.status import FromMemory, Whole
from broker.store import status_lists, tables
from broker.store.acting import acting_for
from broker.store.tables.consents import ENDED
from broker.store.tables.customers import SUPERSEDED
from broker.usecases import status
from broker.usecases.published import PublishedLists
from broker.usecases.status import Allocated, allocate, allocate_many, mark_changed, published
from credentials.jws import parse_jws
from credentials.status import StatusList, verify_status_token
from tests.broker.issuance_world import OTHER_PARTNER, PARTNER, PUBLIC_URL, START, World, world


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[World]:
    with world(tmp_path) as made:
        yield made


def fetch(broker: World, uri: str) -> StatusList:
    """The list at an address, verified as a stranger would."""
    answer = broker.http.get(uri)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/statuslist+jwt"
    return verify_status_token(
        answer.text, uri=uri, anchors=broker.ctx.keys.anchors(), now=broker.time[0]
    )


def granted(broker: World, partner_id: str, number: int) -> Allocated:
    """A granted consent with a place in its partner's list."""
    with broker.ctx.db.transaction() as tx:
        place = allocate(broker.ctx, tx, "demo", partner_id)
        if number == 0:
            for table, values in _parents(partner_id):
                tx.execute(insert(table).values(**values))
        tx.execute(
            insert(tables.Consent).values(
                id=f"c-{partner_id}-{number}",
                tenant_id="demo",
                partner_id=partner_id,
                contact_id=f"ct-{partner_id}",
                request_id=f"cr-{partner_id}",
                item="base",
                state="granted",
                version=1,
                terms="{}",
                terms_hash="",
                status_list_id=place.list_id,
                status_index=place.index,
                created_at=START,
            )
        )
    return place


def end(broker: World, partner_id: str, number: int, state: str) -> None:
    """End a consent, as a withdrawal does."""
    with broker.ctx.db.transaction() as tx:
        list_id = tx.execute(
            update(status_lists.CONSENT)
            .where(status_lists.CONSENT.c.id == f"c-{partner_id}-{number}")
            .values(state=state)
            .returning(status_lists.CONSENT.c.status_list_id)
        ).scalar_one()
        mark_changed(tx, list_id)


def test_what_was_withdrawn_or_superseded_is_in_the_list_and_nothing_else(broker: World) -> None:
    places = [granted(broker, PARTNER, number) for number in range(4)]
    before = fetch(broker, places[0].uri)
    assert [before.get(place.index) for place in places] == [0, 0, 0, 0]
    end(broker, PARTNER, 1, "withdrawn")
    end(broker, PARTNER, 2, "superseded")
    end(broker, PARTNER, 3, "expired")
    broker.advance(1)
    after = fetch(broker, places[0].uri)
    assert [after.get(place.index) for place in places] == [0, 1, 1, 0]
    assert sum(byte.bit_count() for byte in after.data) == 2


def test_superseded_copies_are_in_the_customers_list(broker: World) -> None:
    held = broker.accept(broker.wallet(), broker.invite())
    uri = held[0].claims()["status"]["status_list"]["uri"]
    assert sum(fetch(broker, uri).data) == 0
    broker.accept(broker.wallet(), broker.invite(grade="verified_person", rebind=True))
    broker.advance(1)
    entries = fetch(broker, uri)
    for copy in broker.copies():
        assert entries.get(copy.status_index) == (copy.state == "superseded")
    assert sum(byte.bit_count() for byte in entries.data) == 4


def test_a_list_is_signed_at_most_once_a_second(broker: World) -> None:
    place = granted(broker, PARTNER, 0)
    granted(broker, PARTNER, 1)
    first = broker.http.get(place.uri)
    end(broker, PARTNER, 0, "withdrawn")
    assert broker.http.get(place.uri).content == first.content, "signed in this second already"
    broker.advance(1)
    second = broker.http.get(place.uri)
    assert second.content != first.content
    end(broker, PARTNER, 1, "withdrawn")
    assert broker.http.get(place.uri).content == second.content
    broker.advance(1)
    assert broker.http.get(place.uri).content != second.content


def test_an_unchanged_list_is_signed_anew_at_half_its_ttl(broker: World) -> None:
    place = granted(broker, PARTNER, 0)
    first = broker.http.get(place.uri)
    broker.advance(status.TTL_SECONDS // 2 - 1)
    assert broker.http.get(place.uri).content == first.content
    broker.advance(1)
    second = broker.http.get(place.uri)
    assert second.content != first.content
    claims = parse_jws(second.text, typ="statuslist+jwt")
    assert b'"ttl":60' in claims.payload


def test_another_process_publishes_and_this_one_serves_it(broker: World) -> None:
    place = granted(broker, PARTNER, 0)
    published(broker.ctx, "demo", place.list_id)
    end(broker, PARTNER, 0, "withdrawn")
    broker.advance(1)
    with broker.ctx.db.transaction() as tx:
        assert status_lists.publish(
            tx, place.list_id, revision=1, token="by-another", now=broker.time[0]
        )
    assert broker.http.get(place.uri).text == "by-another"
    with broker.ctx.db.transaction() as tx:
        assert not status_lists.publish(
            tx, place.list_id, revision=1, token="too-soon", now=broker.time[0]
        )


def test_many_readers_at_once_get_one_token(broker: World) -> None:
    place = granted(broker, PARTNER, 0)
    look = acting_for("demo")(lambda _: published(broker.ctx, "demo", place.list_id).token)
    with ThreadPoolExecutor(8) as pool:
        found = set(pool.map(look, range(64)))
    assert len(found) == 1


def test_an_etag_saves_the_body(broker: World) -> None:
    place = granted(broker, PARTNER, 0)
    first = broker.http.get(place.uri)
    assert first.headers["cache-control"] == "public, max-age=60"
    assert first.headers["access-control-allow-origin"] == "*"
    etag = first.headers["etag"]
    for tag in (etag, f"W/{etag}", f'"other", {etag}', "*"):
        again = broker.http.get(place.uri, headers={"If-None-Match": tag})
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["etag"] == etag
    changed = broker.http.get(place.uri, headers={"If-None-Match": '"other"'})
    assert changed.status_code == 200
    broker.advance(20)
    assert broker.http.get(place.uri).headers["cache-control"] == "public, max-age=40"
    end(broker, PARTNER, 0, "withdrawn")
    assert broker.http.get(place.uri, headers={"If-None-Match": etag}).status_code == 304
    broker.advance(1)
    assert broker.http.get(place.uri, headers={"If-None-Match": etag}).status_code == 200


def test_gzip_for_who_takes_it_under_a_tag_of_its_own(broker: World) -> None:
    place = granted(broker, PARTNER, 0)
    end(broker, PARTNER, 0, "withdrawn")
    plain = broker.http.get(place.uri, headers={"Accept-Encoding": "identity"})
    assert "content-encoding" not in plain.headers
    packed = broker.http.get(place.uri, headers={"Accept-Encoding": "br, gzip;q=0.5"})
    assert packed.headers["content-encoding"] == "gzip"
    assert packed.content == plain.content, "the client has unpacked it"
    assert int(packed.headers["content-length"]) < int(plain.headers["content-length"])
    assert packed.headers["etag"] != plain.headers["etag"]
    for answer in (plain, packed):
        assert answer.headers["vary"] == "Accept, Accept-Encoding"
        assert answer.headers["access-control-expose-headers"] == "ETag"
    tag = {"If-None-Match": packed.headers["etag"]}
    again = broker.http.get(place.uri, headers={"Accept-Encoding": "gzip", **tag})
    assert again.status_code == 304
    other = broker.http.get(place.uri, headers={"Accept-Encoding": "identity", **tag})
    assert other.status_code == 200
    for refused in ("", "br", "gzip;q=0", "gzip; q=0.0"):
        answer = broker.http.get(place.uri, headers={"Accept-Encoding": refused})
        assert "content-encoding" not in answer.headers


def test_head_tells_what_get_would(broker: World) -> None:
    place = granted(broker, PARTNER, 0)
    got, told = broker.http.get(place.uri), broker.http.head(place.uri)
    assert (told.status_code, told.content) == (200, b"")
    for name in ("etag", "cache-control", "content-type", "content-length", "vary"):
        assert told.headers[name] == got.headers[name]


def test_a_list_in_memory_is_served_as_any_other(broker: World) -> None:
    place = granted(broker, PARTNER, 0)
    asked, kept = (broker.http.get(place.uri) for _ in range(2))
    assert (kept.content, kept.headers["etag"]) == (asked.content, asked.headers["etag"])
    assert kept.headers.keys() == asked.headers.keys()
    assert broker.http.post(place.uri).status_code == 405


def test_an_answer_kept_for_a_second_keeps_nothing_of_its_callers() -> None:
    seen = []

    async def receive() -> Message:
        raise AssertionError("nothing is read")

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"].append((b"x-of-one-caller", b"1"))
            seen.append(message["headers"])

    whole = Whole(Response(b"token"))
    for _ in range(2):
        asyncio.run(whole({"type": "http"}, receive, send))
    assert [name for name, _ in seen[0]] == [name for name, _ in seen[1]]


@given(st.lists(st.sets(st.integers(0, 95)), min_size=1, max_size=6))
def test_entries_that_are_kept_become_what_fresh_ones_would_be(rounds: list[set[int]]) -> None:
    kept = PublishedLists()
    for places in rounds:
        fresh = StatusList.empty(1, 96)
        fresh.set_all(places, 1)
        assert kept.entries("a", 96, places).data == fresh.data
        assert not any(kept.entries("b", 96, ()).data)


def test_the_entries_of_few_lists_are_kept() -> None:
    kept = PublishedLists()
    first = kept.entries("0", 8, [1])
    assert kept.entries("0", 8, [1]) is first
    for number in range(1, 1 + PublishedLists.MOST_ENTRIES):
        kept.entries(str(number), 8, [1])
    again = kept.entries("0", 8, [2])
    assert again is not first
    assert bytes(again.data) == b"\x04"


def test_a_list_in_memory_is_logged_by_its_route(broker: World) -> None:
    place = granted(broker, PARTNER, 0)
    fetch(broker, place.uri)
    scope: Scope = {"type": "http", "method": "GET", "path": f"/status/{place.list_id}"}
    scope.update(query_string=b"", headers=[], state={"tenant_id": "demo"})
    sent: list[Message] = []

    async def nothing() -> Message:
        return {"type": "http.disconnect"}

    async def routes(_scope: Scope, _receive: Receive, _send: Send) -> None:
        raise AssertionError("it went on to the routes")

    async def send(message: Message) -> None:
        sent.append(message)

    asyncio.run(FromMemory(routes, ctx=broker.ctx)(scope, nothing, send))
    assert sent[0]["status"] == 200
    assert route_of(scope) == "/status/{list_id}"


def test_a_list_that_nobody_asks_for_is_not_signed(broker: World) -> None:
    """Signed when asked: a second later, or a day, whoever asks gets what is (decision 0081)."""
    place = granted(broker, PARTNER, 0)
    fetch(broker, place.uri)
    end(broker, PARTNER, 0, "withdrawn")
    broker.advance(86_400)
    with broker.ctx.db.reading() as tx:
        before = status_lists.find(tx, "demo", place.list_id)
    assert before is not None
    assert before.published_at == START
    assert fetch(broker, place.uri).get(place.index) == 1


@pytest.mark.parametrize("kept", [False, True])
def test_other_forms_and_other_times_are_not_to_be_had(broker: World, *, kept: bool) -> None:
    place = granted(broker, PARTNER, 0)
    if kept:
        fetch(broker, place.uri)
    cwt = broker.http.get(place.uri, headers={"Accept": "application/statuslist+cwt"})
    assert cwt.status_code == 406
    both = "application/statuslist+cwt;q=0.5, application/statuslist+jwt"
    assert broker.http.get(place.uri, headers={"Accept": both}).status_code == 200
    assert broker.http.get(place.uri, params={"time": "1"}).status_code == 501


@pytest.mark.parametrize("kept", [False, True])
def test_a_list_of_nobody_and_a_list_of_another_tenant(broker: World, *, kept: bool) -> None:
    place = granted(broker, PARTNER, 0)
    if kept:
        fetch(broker, place.uri)
    assert broker.http.get("/status/sl-nothing").status_code == 404
    assert broker.http.get(f"/t/acme/status/{place.list_id}").status_code == 404


def test_partners_and_customers_have_lists_of_their_own(broker: World) -> None:
    with broker.ctx.db.transaction() as tx:
        owners = (PARTNER, OTHER_PARTNER, None)
        lists = {
            owner: {allocate(broker.ctx, tx, "demo", owner).uri for _ in range(10)}
            for owner in owners
        }
        tenant = {allocate(broker.ctx, tx, "acme", None).uri}
    assert all(len(uris) == 1 for uris in lists.values())
    assert len(set.union(*lists.values(), tenant)) == 4
    assert next(iter(tenant)).startswith(f"{PUBLIC_URL}/t/acme/status/")


def test_no_place_is_given_twice_and_a_full_list_is_followed_by_another(
    broker: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(status, "LIST_SIZE", 64)
    places = []
    for _ in range(20):
        with broker.ctx.db.transaction() as tx:
            places += allocate_many(broker.ctx, tx, "demo", PARTNER, 5)
    assert len({(place.list_id, place.index) for place in places}) == 100
    # 64 places take 12 batches of 5; a batch is never torn apart.
    assert sorted(
        sum(place.list_id == one for place in places) for one in {p.list_id for p in places}
    ) == [40, 60]
    assert all(0 <= place.index < 64 for place in places)
    assert [place.index for place in places[:60]] != sorted(place.index for place in places[:60])


def test_many_at_once_never_share_a_place(broker: World) -> None:
    @acting_for("demo")
    def take(_: int) -> tuple[str, int]:
        with broker.ctx.db.transaction() as tx:
            place = allocate(broker.ctx, tx, "demo", PARTNER)
        return place.list_id, place.index

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(take, range(100)))) == 100


@pytest.mark.parametrize(("table", "ended"), [("consent", ENDED), ("credential_copy", SUPERSEDED)])
def test_signing_a_list_reads_what_has_ended_and_not_what_lives(
    broker: World, table: str, ended: TextClause
) -> None:
    query = f"SELECT status_index FROM {table} WHERE status_list_id = 'sl-1' AND {ended}"
    with broker.ctx.db.reading() as tx:
        plan = tx.exec_driver_sql(f"EXPLAIN QUERY PLAN {query}").all()
    assert f"ix_{table}_ended" in plan[0].detail


def test_the_key_of_a_list_is_sealed(broker: World) -> None:
    granted(broker, PARTNER, 0)
    with broker.ctx.db.reading() as tx:
        (row,) = tx.execute(select(status_lists.LIST))
    key = broker.ctx.master.open(row.sealed_key, f"status-list:{row.id}")
    assert len(key) == 32
    assert key not in row.sealed_key


def _parents(partner_id: str) -> list[tuple[type, dict[str, object]]]:
    common = {"tenant_id": "demo", "partner_id": partner_id, "created_at": START}
    return [
        (
            tables.Contact,
            {
                "id": f"ct-{partner_id}",
                "subject_ref_hash": partner_id,
                "sealed_subject_ref": b"",
                "grade": "none",
                **common,
            },
        ),
        (
            tables.ConsentRequest,
            {
                "id": f"cr-{partner_id}",
                "contact_id": f"ct-{partner_id}",
                "template_id": "t",
                "template_version": 1,
                "language": "zh",
                "page_token_hash": partner_id,
                "short_code": "AAAA",
                "state": "open",
                "expires_at": START,
                **common,
            },
        ),
    ]
