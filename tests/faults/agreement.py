"""What has to agree whatever happened: rows, log entries, status lists, tree and checkpoints."""

import http.client
import time
from collections import Counter
from collections.abc import Iterable
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy import select, update

from broker.domain.checkpoint import open_checkpoint_of
from broker.domain.merkle import leaf_hash, root_of
from broker.store.audit import ENTRY, PENDING
from broker.store.consents import CONSENT
from broker.store.erasures import ERASURE
from broker.store.log_tree import CHECKPOINT, HEAD
from broker.usecases.context import Context
from credentials.status import Status, verify_status_token

SETTLE_SECONDS = 30
EVER_GRANTED = ("granted", "withdrawn", "superseded", "expired")
ENDED = ("withdrawn", "superseded")


def check_agreement(
    ctx: Context,
    address: str,
    *,
    withdrawn: Iterable[str] = (),
    decided: Iterable[str] = (),
    checkpoints: Iterable[str] = (),
) -> int:
    """Check everything at once; the number of log entries.

    `withdrawn` are consents and `decided` decisions' entries that were acknowledged to a client,
    `checkpoints` the notes that the public has seen.
    """
    entries = settled(ctx)
    with ctx.db.reading() as tx:
        rows = tx.execute(select(CONSENT)).all()
        head = tx.execute(select(HEAD)).one()
        stored = tx.execute(select(CHECKPOINT).order_by(CHECKPOINT.c.size)).all()
    # Every row has the entries of its life, once each, and no entry is without its row.
    for kind, states in (
        ("consent.granted", EVER_GRANTED),
        ("consent.withdrawn", ("withdrawn",)),
        ("consent.superseded", ("superseded",)),
    ):
        written = Counter(entry.consent_id for entry in entries if entry.type == kind)
        assert written == Counter(row.id for row in rows if row.state in states), kind
    # What was acknowledged is there, once.
    ended = {row.id for row in rows if row.state == "withdrawn"}
    assert set(withdrawn) <= ended
    decisions = Counter(entry.id for entry in entries if entry.type == "decision")
    assert all(decisions[entry_id] == 1 for entry_id in decided)
    # The tree is the one over all entries, and each checkpoint is of its beginning.
    assert [entry.log_index for entry in entries] == list(range(len(entries)))
    assert len({entry.id for entry in entries}) == len(entries)
    leaves = [leaf_hash(entry.leaf_data) for entry in entries]
    assert (head.size, head.root) == (len(leaves), root_of(leaves))
    assert stored[-1].size == head.size
    for note in {*checkpoints, *(row.note for row in stored)}:
        signed = open_checkpoint_of(note, ctx.log.verifiers())
        assert signed.size <= len(leaves)
        assert signed.root == root_of(leaves[: signed.size])
    _check_status_lists(ctx, address, rows)
    return len(entries)


def show_held(ctx: Context) -> None:
    """As if the minute were over for which ends are held back from partners."""
    now = int(time.time())
    with ctx.db.transaction() as tx:
        for column in (PENDING.c.not_before, CONSENT.c.shown_from, ERASURE.c.shown_from):
            later = update(column.table).where(column > now)
            tx.execute(later.values({column.name: now}))


def settled(ctx: Context) -> list[Any]:
    """All entries by index, once nothing waits and the newest tree is signed."""
    deadline = time.monotonic() + SETTLE_SECONDS
    while time.monotonic() < deadline:
        with ctx.db.reading() as tx:
            waiting = tx.execute(select(PENDING.c.id).limit(1)).one_or_none()
            size = tx.execute(select(HEAD.c.size)).scalar_one()
            signed = tx.execute(select(CHECKPOINT.c.size).where(CHECKPOINT.c.size == size)).all()
            if waiting is None and signed:
                return list(tx.execute(select(ENTRY).order_by(ENTRY.c.log_index)).all())
        time.sleep(0.1)
    raise AssertionError("the log does not settle")


def _check_status_lists(ctx: Context, address: str, rows: Iterable[Any]) -> None:
    """The bits that the public sees are the ended consents', no more and no fewer."""
    time.sleep(1.1)  # a list is at most a second behind its rows
    placed = [row for row in rows if row.status_list_id is not None]
    for list_id in {row.status_list_id for row in placed}:
        connection = http.client.HTTPConnection(urlsplit(address).netloc, timeout=30)
        connection.request("GET", f"/status/{list_id}")
        answer = connection.getresponse()
        token = answer.read().decode()
        connection.close()
        assert answer.status == 200
        uri = f"{ctx.settings.public_url}/status/{list_id}"
        entries = verify_status_token(token, uri=uri, anchors=ctx.keys.anchors(), now=ctx.now())
        shown = {place for place in range(entries.size) if entries.get(place) == Status.INVALID}
        ended = {r.status_index for r in placed if r.status_list_id == list_id and r.state in ENDED}
        assert shown == ended
