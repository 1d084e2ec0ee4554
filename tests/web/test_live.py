"""Live state over a real connection: an event at once, one after each change."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from httpx2 import Response

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
