"""The audit log: hashing and tree, durable append, inclusion proof at 1,000,000 entries."""

import random
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.figure import Figure, ratio_at_least, value_at_least, value_at_most
from benchmarks.probe import interleaved
from broker.domain.entry import Entry, LogKey, SealedEntry, leaf_data
from broker.domain.merkle import inclusion_proof, leaf_hash, verify_inclusion
from broker.domain.tiles import TILE_WIDTH, RightEdge
from broker.store import audit, log_tree, tables
from broker.store.audit import append
from broker.store.db import Database
from broker.store.log_tree import StoredCheckpoint

BATCH = 256
TREE_BATCHES = 40
APPEND_BATCHES = 20
LARGE = 1_000_000
PROOFS = 300

TABLES = [audit.PENDING, audit.ENTRY, log_tree.TILE, log_tree.CHECKPOINT]

_LOG_KEY = LogKey(bytes(range(32)))
_COLUMNS = ("id", "tenant_id", "type", "consent_id", "subject_id", "leaf_data", "sealed_body")
_ROW = (*_COLUMNS, "created_at")


def run() -> list[Figure]:
    """Measure the figures of the log."""
    return [hashing(), *durable_append(), proof_at_a_million()]


def hashing() -> Figure:
    """From an act to the tree's new root: canonical JSON, salt, leaf, tiles; CPU time."""
    entries = [_entry(number) for number in range(BATCH * TREE_BATCHES)]

    def rate() -> float:
        edge = RightEdge()
        start = time.process_time()
        for first in range(0, len(entries), BATCH):
            leaves = [
                leaf_hash(leaf_data(_LOG_KEY.salt(entry.id), entry.canonical()))
                for entry in entries[first : first + BATCH]
            ]
            edge, _ = edge.extend(leaves)
            edge.frontier().root()
        return len(entries) / (time.process_time() - start)

    value = interleaved({"rate": rate})["rate"]
    return Figure(
        name="log: hashing and tree in batches of 256",
        value=value,
        unit="1/s",
        bound=value_at_least(40_000),
    )


def durable_append() -> list[Figure]:
    """Entries committed in batches, against raw `executemany` of the same rows.

    The bounded figure appends sealed entries; the other one also makes, hashes and encrypts them.
    """
    sealed = [_LOG_KEY.seal(_entry(number)) for number in range(BATCH)]
    with _database() as (db, path):
        raw = sqlite3.connect(path, isolation_level=None)
        raw.execute("PRAGMA synchronous=FULL")
        columns = ", ".join(_ROW)
        holes = ", ".join("?" for _ in _ROW)
        insert = f"INSERT INTO audit_pending ({columns}) VALUES ({holes})"
        serial = iter(range(10**9))

        def ours() -> float:
            batches = [_renamed(sealed, serial) for _ in range(APPEND_BATCHES)]
            start = time.perf_counter()
            for batch in batches:
                with db.transaction() as tx:
                    append(tx, *batch)
            return BATCH * APPEND_BATCHES / (time.perf_counter() - start)

        def with_sealing() -> float:
            batches = [[_entry(next(serial)) for _ in range(BATCH)] for _ in range(APPEND_BATCHES)]
            start = time.perf_counter()
            for batch in batches:
                with db.transaction() as tx:
                    append(tx, *(_LOG_KEY.seal(entry) for entry in batch))
            return BATCH * APPEND_BATCHES / (time.perf_counter() - start)

        def probe() -> float:
            batches = [_renamed(sealed, serial) for _ in range(APPEND_BATCHES)]
            rows = [[tuple(_values(entry)) for entry in batch] for batch in batches]
            start = time.perf_counter()
            for batch in rows:
                raw.execute("BEGIN IMMEDIATE")
                raw.executemany(insert, batch)
                raw.execute("COMMIT")
            return BATCH * APPEND_BATCHES / (time.perf_counter() - start)

        taken = interleaved({"ours": ours, "with sealing": with_sealing, "probe": probe})
        raw.close()
    return [
        Figure(
            name="log: durable append in batches of 256",
            value=taken["ours"],
            unit="1/s",
            probe=taken["probe"],
            bound=ratio_at_least(0.6),
        ),
        Figure(
            name="log: durable append in batches of 256, sealing included",
            value=taken["with sealing"],
            unit="1/s",
            probe=taken["probe"],
        ),
    ]


def proof_at_a_million() -> Figure:
    """One inclusion proof read from the database, tiles and all, at a random place."""
    leaves = [number.to_bytes(32, "big") for number in range(LARGE)]
    edge, tiles = RightEdge().extend([leaf_hash(leaf) for leaf in leaves])
    with _database() as (db, _):
        with db.transaction() as tx:
            tx.execute(log_tree.TILE.insert(), [log_tree.tile_values(tile) for tile in tiles])
            start = LARGE - LARGE % TILE_WIDTH
            tx.execute(audit.ENTRY.insert(), [_row(n, leaves[n]) for n in range(start, LARGE)])
            frontier = b"".join(edge.frontier().hashes)
            log_tree.add_checkpoint(tx, StoredCheckpoint(LARGE, "", 0, frontier))
        root, places = edge.frontier().root(), random.Random(1)  # the same places every time

        def microseconds() -> float:
            indexes = [places.randrange(LARGE) for _ in range(PROOFS)]
            with db.reading() as tx:
                start = time.perf_counter()
                proofs = [
                    inclusion_proof(n, LARGE, log_tree.TileReader(tx, LARGE)) for n in indexes
                ]
                taken = time.perf_counter() - start
            for index, proof in zip(indexes, proofs, strict=True):
                verify_inclusion(leaf_hash(leaves[index]), index, LARGE, proof, root)
            return taken / PROOFS * 1e6

        value = interleaved({"proof": microseconds}, rounds=5)["proof"]
    return Figure(
        name="log: inclusion proof at 1,000,000 entries",
        value=value,
        unit="us",
        bound=value_at_most(1000),
    )


@contextmanager
def _database() -> Iterator[tuple[Database, Path]]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "log.db"
        db = Database(f"sqlite:///{path}")
        with db.transaction() as tx:
            # Without the triggers: the tree of a million has only its last entries here.
            tables.metadata.create_all(tx, tables=TABLES)
        yield db, path
        db.close()


def _entry(number: int) -> Entry:
    return Entry(
        id=f"e-{number:020d}",
        tenant_id="demo",
        type="decision",
        time=1_700_000_000,
        body={
            "decision": "permit",
            "partner": "p-aaaaaaaaaaaaaaaaaaaa",
            "attribute": "purchase.history",
            "purpose": "dpv:ServicePersonalisation#algo:churn-v3@1",
            "territory": "CN",
            "policy": "2026-11-23.1",
            "obligations": [],
        },
        subject_id="s-aaaaaaaaaaaaaaaaaaaa",
        consent_id="c-aaaaaaaaaaaaaaaaaaaa",
    )


def _renamed(sealed: list[SealedEntry], serial: Iterator[int]) -> list[SealedEntry]:
    """The same rows under ids that are not taken yet, random as real ones are."""
    return [
        SealedEntry(
            f"e-{random.getrandbits(64):016x}{next(serial):08x}",
            entry.tenant_id,
            entry.type,
            entry.time,
            entry.subject_id,
            entry.consent_id,
            entry.leaf_data,
            entry.sealed_body,
        )
        for entry in sealed
    ]


def _values(entry: SealedEntry) -> Iterator[object]:
    return (getattr(entry, "time" if name == "created_at" else name) for name in _ROW)


def _row(index: int, leaf: bytes) -> dict[str, object]:
    return {
        "log_index": index,
        "id": f"e-{index}",
        "tenant_id": "demo",
        "type": "decision",
        "leaf_data": leaf,
        "sealed_body": b"",
        "created_at": 0,
    }
