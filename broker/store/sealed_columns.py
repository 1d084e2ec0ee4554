"""Every column that is sealed under the master key, and the context of each of its rows.

One list, so that a rotated master key reaches all of them; a test fails for a column of bytes that
is neither here nor among those known to be something else (`NOT_SEALED`).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import orjson
from sqlalchemy import (
    ColumnElement,
    Connection,
    LargeBinary,
    Table,
    and_,
    case,
    func,
    select,
    tuple_,
    update,
)

from broker.store.tables import metadata
from credentials.jcs import b64url, b64url_decode

HEADER_BYTES = 9

NOT_SEALED = frozenset(
    {
        # Sealed under the customer's or tenant's log key, which is itself sealed (subject, tenant).
        *("audit_pending.sealed_body", "audit_entry.sealed_body"),
        # Sealed under a code or a token of which there is only a hash.
        "attribute_offer.claims",
        # Public hashes and others' signatures.
        *("audit_pending.leaf_data", "audit_entry.leaf_data", "log_head.root", "log_tile.root"),
        *("log_tile.hashes", "log_tile.nodes", "checkpoint.frontier", "checkpoint_time.token"),
        # Hashes of the pieces of a ciphertext that is not here.
        "envelope.pieces",
    }
)


@dataclass(frozen=True)
class SealedColumn:
    """A column, and the context of a row by the values of `of` (`MasterKey.seal`).

    `member`: the column is JSON text, one member of which is the sealed value in base64url.
    """

    table: str
    column: str
    of: tuple[str, ...]
    context: Callable[..., str]
    member: str | None = None

    @property
    def name(self) -> str:
        """`table.column`, with the member where there is one."""
        return ".".join(filter(None, (self.table, self.column, self.member)))

    @property
    def rows(self) -> Table:
        """The table."""
        return metadata.tables[self.table]

    def primary_key(self) -> list[Any]:
        """Its columns."""
        return list(self.rows.primary_key.columns)

    def begins_with(self, header: bytes) -> ColumnElement[bool]:
        """That a row's value is sealed under the key of `header`."""
        column = self.rows.c[self.column]
        if self.member is None:
            return func.substr(column, 1, HEADER_BYTES, type_=LargeBinary()) == header
        # Nine bytes are twelve characters of base64url, whatever follows them.
        return column.contains(f'"{self.member}":"{b64url(header)}', autoescape=True)

    def is_sealed(self) -> ColumnElement[bool]:
        """That a row holds a sealed value."""
        column = self.rows.c[self.column]
        if self.member is None:
            return and_(column.is_not(None), func.length(column) >= HEADER_BYTES)
        return column.contains(f'"{self.member}":"', autoescape=True)


@dataclass(frozen=True)
class SealedValue:
    """A sealed value of a row: its primary key, its context, and the column as it was read."""

    column: SealedColumn
    key: tuple[Any, ...]
    context: str
    stored: Any
    sealed: bytes


SEALED: Sequence[SealedColumn] = (
    SealedColumn("secret", "sealed", ("label",), "secret:{}".format),
    SealedColumn("signing_key", "sealed", ("id",), "signing-key:{}".format),
    SealedColumn("tenant", "sealed_log_key", ("id",), "log-key:tenant:{}".format),
    SealedColumn("subject", "sealed_log_key", ("id",), "log-key:subject:{}".format),
    SealedColumn("contact", "sealed_subject_ref", ("id",), "contact:{}".format),
    SealedColumn("invitation", "sealed_code", ("id",), "invitation:{}".format),
    SealedColumn("status_list", "sealed_key", ("id",), "status-list:{}".format),
    SealedColumn(
        "presentation_request", "document", ("id",), "response_key:{}".format, "response_key"
    ),
    SealedColumn("proof_request", "document", ("id",), "response_key:{}".format, "response_key"),
    SealedColumn("data_request", "document", ("id",), "response_key:{}".format, "response_key"),
    SealedColumn("join_request", "document", ("id",), "response_key:{}".format, "response_key"),
    SealedColumn("proof_request", "sealed_proof", ("id",), "proof:{}".format),
    SealedColumn("served_request", "sealed", ("presentation_request_id",), "served:{}".format),
    SealedColumn("evidence", "sealed", ("id",), "evidence:{}".format),
    SealedColumn("issued_credential", "sealed", ("consent_id", "kind"), "issued:{}:{}".format),
    SealedColumn("deletion_task", "sealed_receipt", ("id",), "deletion:{}".format),
    SealedColumn("envelope", "sealed_reference", ("id",), "envelope:{}".format),
    SealedColumn("webhook", "sealed_secret", ("id",), "webhook:{}".format),
    SealedColumn("webhook", "sealed_previous", ("id",), "webhook:{}".format),
    SealedColumn("event_source", "sealed_secret", ("id",), "event-source:{}".format),
    SealedColumn("event_source", "sealed_previous", ("id",), "event-source:{}".format),
    SealedColumn(
        "incoming_event", "sealed_body", ("source_id", "event_id"), "incoming:{}:{}".format
    ),
    SealedColumn(
        "campaign_salt", "sealed_salt", ("tenant_id", "salt_hash"), "campaign-salt:{}:{}".format
    ),
    SealedColumn(
        "training_receipt", "sealed_leaves", ("round_id", "partner_id"), "leaves:{}:{}".format
    ),
    SealedColumn(
        "idempotency",
        "sealed",
        ("tenant_id", "client_id", "key_hash"),
        "idempotency:{}:{}:{}".format,
    ),
)


def context_of(table: str, *values: str) -> str:
    """The context of a row of a table with one sealed column, by the values it is made of."""
    return _only(table).context(*values)


@lru_cache
def _only(table: str) -> SealedColumn:
    (column,) = (one for one in SEALED if one.table == table)
    return column


def counts(tx: Connection, column: SealedColumn, headers: Sequence[bytes]) -> Mapping[bytes, int]:
    """How many values begin with each of `headers`, and with none of them (under `b""`).

    In one statement: between two, a serving broker adds a value that then seems to be of neither.
    """
    of = [func.count(case((column.begins_with(header), 1))) for header in headers]
    sealed = func.count(case((column.is_sealed(), 1)))
    total, *each = tx.execute(select(sealed, *of).select_from(column.rows)).one()
    return {**dict(zip(headers, each, strict=True)), b"": total - sum(each)}


def batch(
    tx: Connection, column: SealedColumn, header: bytes, after: tuple[Any, ...] | None, limit: int
) -> list[SealedValue]:
    """Values that do not begin with `header`, in the order of their keys, `after` the last one."""
    table, key = column.rows, column.primary_key()
    value = table.c[column.column]
    names = dict.fromkeys((*(one.name for one in key), *column.of))
    query = (
        select(*(table.c[name] for name in names), value.label("stored_value"))
        .where(column.is_sealed(), ~column.begins_with(header))
        .order_by(*key)
        .limit(limit)
    )
    if after is not None:
        query = query.where(tuple_(*key) > tuple_(*after))
    return [
        SealedValue(
            column,
            tuple(row[one.name] for one in key),
            column.context(*(row[name] for name in column.of)),
            row["stored_value"],
            _sealed(column, row["stored_value"]),
        )
        for row in tx.execute(query).mappings()
    ]


def swap(tx: Connection, value: SealedValue, sealed: bytes) -> bool:
    """Put `sealed` in place of a value; False when the row has changed or gone meanwhile."""
    table, key = value.column.rows, value.column.primary_key()
    column = table.c[value.column.column]
    fresh: Any = sealed
    if value.column.member is not None:
        document = orjson.loads(value.stored)
        document[value.column.member] = b64url(sealed)
        fresh = orjson.dumps(document).decode()
    where = [one == part for one, part in zip(key, value.key, strict=True)]
    done = tx.execute(
        update(table).where(*where, column == value.stored).values({column.name: fresh})
    )
    return done.rowcount == 1


def _sealed(column: SealedColumn, stored: Any) -> bytes:  # noqa: ANN401 (bytes or JSON text)
    if column.member is None:
        return bytes(stored)
    return b64url_decode(orjson.loads(stored)[column.member])
