"""Events that partners are told of, where they are sent, and events of others."""

from sqlalchemy import BigInteger, Index, LargeBinary, Text, TextClause, UniqueConstraint
from sqlalchemy import text as sql
from sqlmodel import Field, SQLModel

from broker.store.tables.base import SEQUENCE, one_of, text, time

# What is still to be sent, and to be fetched; queries find the indexes by these very words.
WAITING = sql("state = 'waiting'")
DEAD = sql("state = 'dead'")
KEPT = sql("acknowledged_at IS NULL")


def _partial(name: str, *columns: str, where: TextClause) -> Index:
    return Index(name, *columns, sqlite_where=where, postgresql_where=where)


class Webhook(SQLModel, table=True):
    """An address that gets events; `types` is a JSON list, `code` why the last attempt failed.

    `failures` counts those in a row, since `failing_since`, and `refusals` the events refused in a
    row (none: NULL). Whoever sends holds the row until `leased_until`.
    """

    __table_args__ = (one_of("state", "active", "disabled"),)
    id: str = Field(primary_key=True)
    tenant_id: str = Field(foreign_key="tenant.id", index=True)
    partner_id: str = Field(foreign_key="partner.id", index=True)
    url: str = text()
    types: str = text()
    state: str = "active"
    sealed_secret: bytes
    sealed_previous: bytes | None = Field(default=None, sa_type=LargeBinary)
    previous_until: int | None = time(nullable=True)
    failures: int = 0
    refusals: int | None = None
    failing_since: int | None = time(nullable=True)
    code: str | None = Field(default=None, sa_type=Text)
    retry_at: int = time()
    leased_until: int = time()
    delivered_at: int | None = time(nullable=True)
    created_at: int = time()


class OutgoingEvent(SQLModel, table=True):
    """What happened, once for each subject, type and time; `body` is the event as it is sent."""

    __tablename__ = "outgoing_event"
    __table_args__ = (UniqueConstraint("partner_id", "subject", "type", "time"),)
    id: str = Field(primary_key=True)
    tenant_id: str = Field(foreign_key="tenant.id")
    partner_id: str = Field(foreign_key="partner.id")
    type: str
    subject: str
    time: int = Field(sa_type=BigInteger)
    body: str = text()
    created_at: int = Field(sa_type=BigInteger, index=True)


class Delivery(SQLModel, table=True):
    """An event on its way to one webhook, in the order of `seq`; dead from `expires_at` on."""

    __table_args__ = (
        one_of("state", "waiting", "delivered", "dead"),
        UniqueConstraint("webhook_id", "event_id"),
        Index("ix_delivery_state", "webhook_id", "state", "seq"),
        _partial("ix_delivery_order", "webhook_id", "subject", "seq", where=WAITING),
        _partial("ix_delivery_due", "webhook_id", "next_at", where=WAITING),
        _partial("ix_delivery_turn", "webhook_id", "attempts", "seq", where=WAITING),
        _partial("ix_delivery_over", "expires_at", where=WAITING),
        _partial("ix_delivery_dead", "webhook_id", "seq", where=DEAD),
        Index("ix_delivery_event", "event_id"),
    )
    seq: int | None = Field(default=None, primary_key=True, sa_type=SEQUENCE)
    tenant_id: str = Field(foreign_key="tenant.id")
    webhook_id: str = Field(foreign_key="webhook.id")
    event_id: str = Field(foreign_key="outgoing_event.id")
    subject: str
    state: str = "waiting"
    attempts: int = 0
    code: str | None = Field(default=None, sa_type=Text)
    next_at: int = time()
    expires_at: int = time()
    done_at: int | None = time(nullable=True)


class EventSource(SQLModel, table=True):
    """A system whose signed events are taken; refused until `open_until` while its circuit is open.

    `opened` counts how often in a row it was opened, `reason` is why the last time.
    """

    __tablename__ = "event_source"
    __table_args__ = (UniqueConstraint("tenant_id", "name"),)
    id: str = Field(primary_key=True)
    tenant_id: str = Field(foreign_key="tenant.id")
    name: str
    sealed_secret: bytes
    sealed_previous: bytes | None = Field(default=None, sa_type=LargeBinary)
    previous_until: int | None = time(nullable=True)
    opened: int = 0
    open_until: int = time()
    reason: str | None = Field(default=None, sa_type=Text)
    created_at: int = time()


class IncomingEvent(SQLModel, table=True):
    """An event of a source, once; `sealed_body` is emptied when its consumer has acknowledged it.

    `event_id` is a keyed hash of its source and its id there, `subject_hash` one of its source and
    its subject, which may be a customer's name elsewhere. `time` is Unix microseconds.
    """

    __tablename__ = "incoming_event"
    __table_args__ = (
        UniqueConstraint("source_id", "event_id"),
        UniqueConstraint("source_id", "subject_hash", "type", "time"),
        _partial("ix_incoming_event_kept", "tenant_id", "seq", where=KEPT),
        _partial("ix_incoming_event_of_source", "source_id", where=KEPT),
        _partial("ix_incoming_event_unfetched", "received_at", where=KEPT),
        Index("ix_incoming_event_acknowledged", "acknowledged_at"),
    )
    seq: int | None = Field(default=None, primary_key=True, sa_type=SEQUENCE)
    tenant_id: str = Field(foreign_key="tenant.id")
    source_id: str = Field(foreign_key="event_source.id")
    event_id: str = text()
    subject_hash: str
    type: str = text()
    time: int = Field(sa_type=BigInteger)
    sealed_body: bytes | None = Field(default=None, sa_type=LargeBinary)
    received_at: int = Field(sa_type=BigInteger)
    acknowledged_at: int | None = Field(default=None, sa_type=BigInteger)
