"""A log to test: entries, a database of either kind, and a check of everything that is stored."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, func, select
from sqlalchemy.exc import OperationalError

from broker.domain.checkpoint import Checkpoint, open_checkpoint
from broker.domain.entry import Entry, LogKey, SealedEntry
from broker.domain.merkle import leaf_hash, root_of
from broker.domain.tiles import RightEdge
from broker.settings import Settings
from broker.store import audit, log_tree
from broker.store.db import Database
from broker.store.head_file import FILE_NAME, HeadFile
from broker.usecases.keys import KeyRing
from broker.usecases.sequencer import Sequencer
from credentials.jws import Signer
from credentials.keys import SoftwareKey

LOG_KEY = LogKey(bytes(range(32)))
SIGNING_KEY = SoftwareKey.generate("Ed25519")
REFUSES = {
    "sqlite": (
        "CREATE TRIGGER broken BEFORE INSERT ON {table} BEGIN SELECT RAISE(ABORT, 'broken'); END",
        "DROP TRIGGER broken",
    ),
    "postgresql": (
        (
            "CREATE FUNCTION broken() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN RAISE EXCEPTION 'broken'; END $$;"
            "CREATE TRIGGER broken BEFORE INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION broken()"
        ),
        "DROP TRIGGER broken ON {table}; DROP FUNCTION broken()",
    ),
}


class FailingDatabase(Database):
    """A database whose n-th write transaction from now on fails, before or after its commit."""

    fails_at = 0
    persists = False
    writes = 0

    def arm(self, fails_at: int, *, persists: bool) -> None:
        self.fails_at, self.persists, self.writes = fails_at, persists, 0

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        self.writes += 1
        failing = self.writes == self.fails_at
        with super().transaction() as connection:
            yield connection
            if failing and not self.persists:
                raise OperationalError("COMMIT", None, OSError("the connection was lost"))
        if failing:
            raise OperationalError("COMMIT", None, OSError("the answer to COMMIT was lost"))


@contextmanager
def table_refuses(db: Database, table: str) -> Iterator[None]:
    """No row gets into a table, as when its disk or its index is broken."""
    with db.transaction() as tx:
        broken, mended = (text.format(table=table) for text in REFUSES[tx.dialect.name])
        tx.exec_driver_sql(broken)
    try:
        yield
    finally:
        with db.transaction() as tx:
            tx.exec_driver_sql(mended)


class FailingHeadFile(HeadFile):
    """A head file whose next write fails, before or after the note is there."""

    fails: str | None = None

    def write(self, note: str) -> None:
        if self.fails == "failed":
            raise OSError("no space left on device")
        super().write(note)
        if self.fails == "persisted":
            raise OSError("the disk went away after the write")


class FailingKey:
    """A key in a device that can be unplugged."""

    alg = "Ed25519"

    def __init__(self, key: SoftwareKey) -> None:
        self.fails = False
        self._key = key

    def public_jwk(self) -> dict[str, str]:
        return self._key.public_jwk()

    def sign(self, data: bytes) -> bytes:
        if self.fails:
            raise OSError("the key device does not answer")
        return self._key.sign(data)


def settings(home: Path, url: str = "") -> Settings:
    return Settings(home=home, public_url="https://log.example/broker", database_url=url)


def sequencer(
    db: Database,
    home: Path,
    key: Signer = SIGNING_KEY,
    file: HeadFile | None = None,
    clock: Callable[[], int] = lambda: 0,
) -> Sequencer:
    return Sequencer(db, key, settings(home), clock, file or HeadFile(home / FILE_NAME))


def entries(*names: object, time: int = 0) -> list[SealedEntry]:
    return [
        LOG_KEY.seal(Entry(f"e-{name}", "demo", "test.happened", time, {"name": str(name)}))
        for name in names
    ]


def append(db: Database, *names: object, time: int = 0) -> None:
    with db.transaction() as tx:
        audit.append(tx, *entries(*names, time=time))


def drain(log: Sequencer, now: int = 0) -> None:
    """Run until nothing waits and everything is signed."""
    while log.run_once(now) is not None:
        now += 1


def count_pending(db: Database) -> int:
    with db.reading() as tx:
        return int(tx.execute(select(func.count()).select_from(audit.PENDING)).scalar_one())


def checkpoints(db: Database, log: Sequencer) -> list[Checkpoint]:
    with db.reading() as tx:
        found = select(log_tree.CHECKPOINT.c.note).order_by(log_tree.CHECKPOINT.c.size)
        return [open_checkpoint(note, log.verifier) for note in tx.execute(found).scalars()]


def check_whole_log(db: Database, log: Sequencer, names: Sequence[object]) -> None:
    """One tree, every entry in it once, every tile right, every checkpoint a prefix of it."""
    with db.reading() as tx:
        columns = (audit.ENTRY.c.log_index, audit.ENTRY.c.id, audit.ENTRY.c.leaf_data)
        rows = tx.execute(select(*columns).order_by(audit.ENTRY.c.log_index)).all()
        head = log_tree.head(tx)
        stored = {
            (row.level, row.position): (row.hashes, row.nodes, row.root)
            for row in tx.execute(select(log_tree.TILE))
        }
    assert head is not None
    assert [row.log_index for row in rows] == list(range(len(names)))
    assert sorted(row.id for row in rows) == sorted(f"e-{name}" for name in names)
    leaves = [leaf_hash(row.leaf_data) for row in rows]
    assert (head.size, head.root) == (len(leaves), root_of(leaves))
    _, tiles = RightEdge().extend(leaves)
    assert stored == {tuple(tile.at): (tile.hashes, tile.nodes, tile.root) for tile in tiles}
    for checkpoint in checkpoints(db, log):
        assert checkpoint.root == root_of(leaves[: checkpoint.size])


def pending_bodies(
    db: Database, keys: KeyRing, tenant_id: str, kind: str
) -> list[Mapping[str, Any]]:
    """What entries of a tenant and no customer say that the sequencer has not met yet."""
    names = ("id", "tenant_id", "type", "subject_id", "consent_id", "leaf_data", "sealed_body")
    with db.reading() as tx:
        rows = tx.execute(select(audit.PENDING).order_by(audit.PENDING.c.seq)).all()
        key = keys.log_key(tx, tenant_id, None)
    return [
        key.open(
            SealedEntry(time=row.created_at, **{name: getattr(row, name) for name in names})
        ).body
        for row in rows
        if (row.tenant_id, row.type, row.subject_id) == (tenant_id, kind, None)
    ]
