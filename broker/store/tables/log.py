"""The append-only log."""

from sqlalchemy import BigInteger, Index
from sqlalchemy import text as sql
from sqlmodel import Field, SQLModel

from broker.store.tables.base import SEQUENCE, one_of, text, time

# Which entries are held back; a query finds the index by these very words.
HELD = sql("not_before IS NOT NULL")
# Which entries are of fees, likewise.
CHARGED = sql("type = 'fee.charged'")


class AuditPending(SQLModel, table=True):
    """An act that has happened and waits for its place in the log.

    `seq` only orders what waits; an entry is pending because it is here, whatever its number.
    One with `not_before` gets no place earlier than then.
    """

    __tablename__ = "audit_pending"
    __table_args__ = (
        # Partial: the entries that come in their thousands need not touch it.
        Index("ix_audit_pending_held", "not_before", sqlite_where=HELD, postgresql_where=HELD),
    )
    seq: int = Field(sa_type=SEQUENCE, primary_key=True)
    id: str = Field(unique=True)
    tenant_id: str
    type: str
    consent_id: str | None = None
    subject_id: str | None = None
    leaf_data: bytes
    sealed_body: bytes
    created_at: int = time()
    not_before: int | None = time(nullable=True)


class AuditEntry(SQLModel, table=True):
    """An entry of the log, at its index. Append-only: the database refuses change.

    No foreign keys: the log outlives what it tells of.
    """

    __tablename__ = "audit_entry"
    __table_args__ = (
        Index("ix_audit_entry_consent", "consent_id", "log_index"),
        Index("ix_audit_entry_subject", "subject_id", "log_index"),
        # Partial: no other entry touches it.
        Index(
            "ix_audit_entry_fee",
            *("tenant_id", "log_index"),
            sqlite_where=CHARGED,
            postgresql_where=CHARGED,
        ),
    )
    log_index: int = Field(
        sa_type=SEQUENCE, primary_key=True, sa_column_kwargs={"autoincrement": False}
    )
    id: str = Field(unique=True)
    tenant_id: str
    type: str
    consent_id: str | None = None
    subject_id: str | None = None
    leaf_data: bytes
    sealed_body: bytes
    created_at: int = time()


class LogHead(SQLModel, table=True):
    """The one row (`id` 1) that two sequencers cannot both advance."""

    __tablename__ = "log_head"
    id: int = Field(primary_key=True)
    origin: str
    size: int = Field(sa_type=BigInteger)
    root: bytes


class LogTile(SQLModel, table=True):
    """A full tile of the tree: 256 hashes, the 254 nodes above them, the root; append-only.

    The root stands first: behind 16 kB of blobs SQLite would read all of them to reach it.
    """

    __tablename__ = "log_tile"
    level: int = Field(primary_key=True)
    position: int = Field(sa_type=BigInteger, primary_key=True)
    root: bytes
    hashes: bytes
    nodes: bytes


class CheckpointRow(SQLModel, table=True):
    """A signed checkpoint, unique by size; append-only.

    `frontier` is the hashes of the tree's perfect subtrees, largest first: the right side of every
    proof below this checkpoint, which would take reading up to 255 rows a level otherwise.
    """

    __tablename__ = "checkpoint"
    size: int = Field(sa_type=SEQUENCE, primary_key=True, sa_column_kwargs={"autoincrement": False})
    frontier: bytes
    note: str = text()
    signed_at: int = time()


class CheckpointTime(SQLModel, table=True):
    """When a checkpoint was there, in the word of somebody other than the broker."""

    __tablename__ = "checkpoint_time"
    __table_args__ = (
        one_of("kind", "rfc3161", "witness"),
        Index("ix_checkpoint_time_source", "kind", "source", "size"),
    )
    size: int = Field(sa_type=BigInteger, primary_key=True)
    kind: str = Field(primary_key=True)
    source: str = Field(primary_key=True)
    token: bytes
    at: int = time()
