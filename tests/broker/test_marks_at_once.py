"""On PostgreSQL: two who mark minors at once, through two contacts of one wallet."""

from collections.abc import Collection, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextvars import copy_context
from functools import partial
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from sqlalchemy import Connection

from broker.domain.errors import InvalidRequest
from broker.store import people
from broker.store.acting import acting_for
from broker.store.contacts import CONTACT, ContactRow
from broker.usecases.guardian import Marked, mark
from tests.broker.flow_world import World, world
from tests.waiting import waited_for

WAIT_SECONDS = 60


@pytest.fixture
def broker(tmp_path: Path, postgres_database: str) -> Iterator[World]:
    with world(tmp_path, database_url=postgres_database) as made:
        yield made


@acting_for("demo")
def marked(broker: World, subject_ref: str, guardian_ref: str) -> Marked:
    return mark(
        broker.ctx,
        "demo",
        broker.partner,
        subject_ref,
        age_band="under_14",
        guardian_ref=guardian_ref,
        relation="parent",
    )


def test_no_minor_becomes_a_guardian_through_another_contact_of_theirs(
    broker: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker.customer("crm-minor")
    first = marked(broker, "crm-minor", "crm-parent").contact
    again = marked(broker, "crm-same-minor", "crm-parent").contact
    with broker.ctx.db.transaction() as tx:  # one wallet, and nobody is marked any more
        values = {"minor": None, "guardian_contact_id": None, "subject_id": first.subject_id}
        tx.execute(CONTACT.update().where(CONTACT.c.id.in_([first.id, again.id])).values(values))
    real, looked, begun = people.wards, Event(), list[Future[Any]]()

    def wards(tx: Connection, tenant_id: str, contact_ids: Collection[str]) -> list[ContactRow]:
        found = real(tx, tenant_id, contact_ids)
        if not looked.is_set():  # between looking and marking the other begins
            looked.set()
            other = partial(marked, broker, "crm-sibling", "crm-same-minor")
            begun.append(threads.submit(copy_context().run, other))
            while not begun[0].done() and not waited_for(tx):
                wait(begun, timeout=0.05)
        return found

    monkeypatch.setattr(people, "wards", wards)
    with ThreadPoolExecutor(1) as threads:
        marked(broker, "crm-minor", "crm-parent")
        with pytest.raises(InvalidRequest, match="marked as a minor"):
            begun[0].result(WAIT_SECONDS)
