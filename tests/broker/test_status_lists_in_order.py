"""On PostgreSQL: who changes several status lists holds them in the order of their ids.

Each test has an act begin while another holds the list with the lower id, and then takes the other
list too, as an erasure does that ends consents of two partners.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextvars import copy_context
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, select, text

from broker.store import status_lists
from broker.store.acting import acting_for
from broker.store.status_lists import LIST, StatusListRow
from tests.broker.flow_world import World, world
from tests.waiting import waited_for

WAIT_SECONDS = 30
OWNERS = 2


@pytest.fixture
def broker(tmp_path: Path, postgres_database: str) -> Iterator[World]:
    with world(tmp_path, database_url=postgres_database) as made:
        yield made


def lists(broker: World) -> dict[str, str]:
    """Partners by their lists, which lie in the table against the order of their ids."""
    owners = [broker.partner, broker.second_partner()]
    ids = [f"sl-{number}" for number in range(OWNERS)]
    with broker.ctx.db.transaction() as tx:
        for name, owner in zip(reversed(ids), owners, strict=True):
            status_lists.add(
                tx,
                StatusListRow(
                    id=name,
                    tenant_id="demo",
                    partner_id=owner,
                    size=1_024,
                    allocated=0,
                    sealed_key=b"",
                    revision=0,
                    published_revision=0,
                    token=None,
                    published_at=None,
                ),
            )
    return dict(zip(reversed(ids), owners, strict=True))


def meet(broker: World, ids: list[str], act: Callable[[Connection], object]) -> None:
    """Run an act while another holds the lowest of the lists, which goes on to the highest."""

    @acting_for("demo")
    def other() -> None:
        with broker.ctx.db.transaction() as tx:
            # However the server would find the rows: in this order they lie in the table.
            tx.execute(text("SET LOCAL enable_indexscan = off; SET LOCAL enable_bitmapscan = off"))
            act(tx)

    with ThreadPoolExecutor(1) as threads:
        with broker.ctx.db.transaction() as tx:
            status_lists.mark_changed(tx, min(ids))
            end: Future[Any] = threads.submit(copy_context().run, other)
            while not end.done() and not waited_for(tx):
                wait([end], timeout=0.05)
            status_lists.mark_changed(tx, max(ids))
        end.result(WAIT_SECONDS)


def test_a_round_that_opens(broker: World) -> None:
    owners = lists(broker)
    renew = lambda tx: status_lists.renew_at(tx, "demo", owners.values(), 7)  # noqa: E731
    meet(broker, list(owners), renew)
    with broker.ctx.db.reading() as tx:
        found = tx.execute(select(LIST.c.renew_at).where(LIST.c.id.in_(owners))).scalars()
        assert list(found) == [7] * OWNERS


def test_a_key_that_is_rotated(broker: World) -> None:
    owners = lists(broker)
    meet(broker, list(owners), lambda tx: status_lists.mark_all_changed(tx, "demo"))
    with broker.ctx.db.reading() as tx:
        found = tx.execute(select(LIST.c.revision).where(LIST.c.id.in_(owners))).scalars()
        assert list(found) == [2] * OWNERS
