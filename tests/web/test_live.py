"""Live state over a real connection: an event at once, one after each change."""

import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from httpx2 import Response

from broker.web import live
from tests.web.markup import Markup
from tests.web.page_world import PageWorld, served_world
from tests.web.visiting import Visitor


@pytest.fixture
def served(tmp_path: Path) -> Iterator[PageWorld]:
    with served_world(tmp_path) as made:
        yield made


def events(answer: Response) -> Iterator[str]:
    """The data of each `state` event."""
    name = ""
    for line in answer.iter_lines():
        if line.startswith("event: "):
            name = line.removeprefix("event: ")
        elif line.startswith("data: ") and name == "state":
            yield line.removeprefix("data: ")


def revision(page: Markup) -> str:
    return page.root.one("body").attributes["data-revision"]


def test_an_event_follows_each_change(served: PageWorld) -> None:
    visitor = Visitor(served, served.ask())
    seen = revision(visitor.see())
    with served.http.stream("GET", f"{visitor.path}/events", timeout=20) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert answer.headers["cache-control"] == "no-store"
        told = events(answer)
        assert next(told) == seen
        for change in (served.invite, served.take_card, lambda: visitor.choose("base")):
            change()
            now = next(told)
            assert now != seen
            seen = now
        assert revision(visitor.see()) == seen
        served.sign(visitor.wallet_link())
        assert next(told) != seen


def test_a_page_that_only_waits_has_one_revision(served: PageWorld) -> None:
    visitor = Visitor(served, served.ask())
    first = revision(visitor.see())
    served.ask("crm-2")
    served.advance(60)
    assert revision(visitor.see()) == first
    assert revision(visitor.see("?step=2&lang=en")) == first


def test_there_are_no_events_of_an_unknown_page(served: PageWorld) -> None:
    answer = served.http.get("/c/unknown/events")
    assert answer.status_code == 404
    assert answer.headers["content-type"].startswith("text/html")


def open_streams() -> int:
    """How many are open, once those that are going have gone."""
    deadline = time.monotonic() + 20
    while len(live.places) and time.monotonic() < deadline:
        time.sleep(0.02)
    return len(live.places)


def test_a_page_has_so_many_streams_and_then_polls(served: PageWorld) -> None:
    visitor = Visitor(served, served.ask())
    seen, path = revision(visitor.see()), f"{visitor.path}/events"
    with ExitStack() as opened:
        streams = [
            events(opened.enter_context(served.http.stream("GET", path, timeout=20)))
            for _ in range(live.OPEN_OF_A_PAGE)
        ]
        assert [next(told) for told in streams] == [seen] * live.OPEN_OF_A_PAGE
        # One more is told what it came for and when to come again, and keeps nothing open.
        once = served.http.get(path, timeout=20)
        assert once.status_code == 200
        lines = once.text.split()
        assert lines.count(seen) == 1
        again = int(lines[lines.index("retry:") + 1])
        assert live.POLL_MILLISECONDS <= again < 2 * live.POLL_MILLISECONDS
        # Other pages are not concerned.
        other = Visitor(served, served.ask("crm-2"))
        with served.http.stream("GET", f"{other.path}/events", timeout=20) as answer:
            assert "retry: 2000" in next(line for line in answer.iter_lines() if "retry" in line)
    assert open_streams() == 0
    with served.http.stream("GET", path, timeout=20) as answer:
        assert "retry: 2000" in next(line for line in answer.iter_lines() if "retry" in line)
    assert open_streams() == 0


def test_a_process_has_so_many_streams(served: PageWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "OPEN_AT_MOST", 1)
    paths = [f"{served.ask(subject_ref)}/events" for subject_ref in ("crm-1", "crm-2")]
    with served.http.stream("GET", paths[0], timeout=20) as answer:
        told = events(answer)
        assert next(told)
        assert "retry: 2000" not in served.http.get(paths[1], timeout=20).text
    assert open_streams() == 0


def test_many_streams_look_less_often_each() -> None:
    places = live.Places()
    with ExitStack() as opened:
        assert places.pause() == live.EVERY_SECONDS
        for number in range(live.OPEN_AT_MOST):
            assert opened.enter_context(places.taken(number))
        assert not opened.enter_context(places.taken("more"))
        assert places.pause() == live.OPEN_AT_MOST / live.LOOKS_A_SECOND
    assert len(places) == 0
