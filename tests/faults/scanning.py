"""Search everything that a broker keeps for values, in every form that they could have taken.

Whatever is sealed is opened with the broker's own keys first; a sealed column that nobody here
knows how to open fails the scan. What is base64 or compressed inside is unpacked, several times
over, so that a value in the payload of a signature in an evidence bundle is found as well.
"""

import base64
import binascii
import hashlib
import json
import re
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg
from sqlalchemy import select

from broker.domain.entry import SealedEntry
from broker.domain.errors import NotFound
from broker.store import tables
from broker.usecases.context import Context
from tests.postgres import Server

DEPTH = 4
LONGEST_UNPACKED = 4_000_000
_ENCODED = re.compile(rb"[A-Za-z0-9+/_-]{16,}")
_URL_SAFE = bytes.maketrans(b"-_", b"+/")

# How each sealed column is opened: the context that its row was sealed for.
OPENERS: dict[tuple[str, str], Callable[[Any], str]] = {
    ("tenant", "sealed_log_key"): lambda row: f"log-key:tenant:{row.id}",
    ("subject", "sealed_log_key"): lambda row: f"log-key:subject:{row.id}",
    ("signing_key", "sealed"): lambda row: f"signing-key:{row.id}",
    ("secret", "sealed"): lambda row: f"secret:{row.label}",
    ("idempotency", "sealed"): lambda row: (
        f"idempotency:{row.tenant_id}:{row.client_id}:{row.key_hash}"
    ),
    ("contact", "sealed_subject_ref"): lambda row: f"contact:{row.id}",
    ("invitation", "sealed_code"): lambda row: f"invitation:{row.id}",
    ("status_list", "sealed_key"): lambda row: f"status-list:{row.id}",
    ("served_request", "sealed"): lambda row: f"served:{row.presentation_request_id}",
    ("evidence", "sealed"): lambda row: f"evidence:{row.id}",
    ("issued_credential", "sealed"): lambda row: f"issued:{row.consent_id}:{row.kind}",
    ("proof_request", "sealed_proof"): lambda row: f"proof:{row.id}",
    ("deletion_task", "sealed_receipt"): lambda row: f"deletion:{row.id}",
    ("envelope", "sealed_reference"): lambda row: f"envelope:{row.id}",
    ("webhook", "sealed_secret"): lambda row: f"webhook:{row.id}",
    ("webhook", "sealed_previous"): lambda row: f"webhook:{row.id}",
    ("event_source", "sealed_secret"): lambda row: f"event-source:{row.id}",
    ("event_source", "sealed_previous"): lambda row: f"event-source:{row.id}",
    ("incoming_event", "sealed_body"): lambda row: f"incoming:{row.source_id}:{row.event_id}",
    ("campaign_salt", "sealed_salt"): lambda row: f"campaign-salt:{row.tenant_id}:{row.salt_hash}",
    ("training_receipt", "sealed_leaves"): lambda row: f"leaves:{row.round_id}:{row.partner_id}",
}
ENTRIES = ("audit_entry", "audit_pending")


@dataclass(frozen=True)
class Found:
    """A value that was found: in which form, in which place."""

    value: str
    form: str
    place: str


def forms(value: str) -> dict[str, list[bytes]]:
    """What a value looks like in each form that the broker must not keep it in."""
    data = value.encode()
    digest = hashlib.sha256(data).digest()
    found = {
        "raw": [data, *_escaped(value)],
        "base64": _aligned(data, base64.b64encode),
        "base64url": _aligned(data, base64.urlsafe_b64encode),
        "hex": [data.hex().encode(), data.hex().upper().encode()],
        "sha256": [digest],
        "sha256 in hex": [digest.hex().encode(), digest.hex().upper().encode()],
        "sha256 in base64": _aligned(digest, base64.b64encode),
        "sha256 in base64url": _aligned(digest, base64.urlsafe_b64encode),
    }
    return {name: list(dict.fromkeys(patterns)) for name, patterns in found.items()}


def _escaped(value: str) -> Iterator[bytes]:
    yield json.dumps(value)[1:-1].encode()
    yield quote(value, safe="").encode()
    yield value.encode("utf-16-le")


def _aligned(data: bytes, encode: Callable[[bytes], bytes]) -> list[bytes]:
    """The letters that stand for `data` wherever it begins within a longer encoding."""
    found = []
    for before in range(3):
        text = encode(b"\x00" * before + data).rstrip(b"=")
        first = (before * 8 + 5) // 6  # letters that also hold bits of what comes before
        last = (before + len(data)) * 8 // 6  # and those after it that hold bits of what follows
        found.append(text[first:last])
    return found


class Scan:
    """A search for values; `found` grows with each place that is looked at."""

    def __init__(self, values: list[str]) -> None:
        self._patterns = [
            (value, form, pattern)
            for value in values
            for form, patterns in forms(value).items()
            for pattern in patterns
        ]
        self.found: list[Found] = []
        self.places: set[str] = set()

    def look(self, place: str, data: bytes | str | None, *, unpack: bool = True) -> None:
        """Search one blob, and what is packed in it."""
        if not data:
            return
        self.places.add(place)
        whole = data.encode("utf-8", "surrogatepass") if isinstance(data, str) else data
        for blob in unpacked(whole) if unpack else (whole,):
            for value, form, pattern in self._patterns:
                if pattern in blob:
                    told = Found(value, form, place)
                    if told not in self.found:
                        self.found.append(told)

    def files(self, folder: Path, name: str) -> None:
        """Every file below a folder, as it lies there."""
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                kind = f"{name}/{path.relative_to(folder)}"
                # Pages of a database are searched as they are: what they hold is read as rows.
                self.look(kind, path.read_bytes(), unpack="broker.db" not in path.name)

    def cluster(self, server: Server, database: str) -> None:
        """What PostgreSQL has written of a database: its files and the write-ahead log."""
        server.execute("CHECKPOINT")
        with psycopg.connect(server.url("postgres")) as connection:
            chosen = "SELECT oid FROM pg_database WHERE datname = %s"
            (oid,) = connection.execute(chosen, (database,)).fetchone() or (0,)
        for folder in (server.folder / "data" / "base" / str(oid), server.folder / "data/pg_wal"):
            for path in filter(Path.is_file, folder.rglob("*")):
                self.look(f"cluster/{folder.name}", path.read_bytes(), unpack=False)

    def database(self, ctx: Context) -> int:
        """Every column of every row, opened with every key; how many entries opened to nobody."""
        closed = 0
        with ctx.db.reading() as tx:
            for name, table in tables.metadata.tables.items():
                for row in tx.execute(select(table)):
                    for column in table.columns.keys():  # noqa: SIM118 (a collection of its own)
                        self._column(ctx, name, column, row)
                    if name in ENTRIES:
                        body = opened_entry(ctx, tx, row)
                        closed += body is None
                        self.look(f"{name}.sealed_body, opened", body)
        return closed

    def _column(self, ctx: Context, name: str, column: str, row: Any) -> None:  # noqa: ANN401 (a row of any)
        value = getattr(row, column)
        if isinstance(value, str | bytes):
            self.look(f"{name}.{column}", value)
        elif value is not None:
            self.look(f"{name}.{column}", str(value))
        if not column.startswith("sealed") or name in ENTRIES or not value:
            return
        context = OPENERS[name, column](row)
        self.look(f"{name}.{column}, opened", ctx.master.open(value, context))


def opened_entry(ctx: Context, tx: Any, row: Any) -> bytes | None:  # noqa: ANN401 (a connection, a row of either)
    """The body of an entry; None when its key is destroyed."""
    names = ("id", "tenant_id", "type", "subject_id", "consent_id", "leaf_data", "sealed_body")
    sealed = SealedEntry(time=row.created_at, **{name: getattr(row, name) for name in names})
    try:
        key = ctx.keys.log_key(tx, row.tenant_id, row.subject_id)
    except NotFound:
        return None
    return key.open(sealed).canonical()


def unknown_sealed_columns() -> list[str]:
    """Sealed columns that the scan could not open: each has to be in `OPENERS`."""
    return [
        f"{name}.{column}"
        for name, table in tables.metadata.tables.items()
        for column in table.columns.keys()  # noqa: SIM118
        if column.startswith("sealed") and name not in ENTRIES and (name, column) not in OPENERS
    ]


def unpacked(data: bytes) -> Iterator[bytes]:
    """The bytes themselves and everything that is encoded or compressed inside, level by level."""
    seen: set[bytes] = set()
    level = [data]
    for _ in range(DEPTH):
        deeper: list[bytes] = []
        for blob in level:
            if blob in seen or len(blob) > LONGEST_UNPACKED:
                continue
            seen.add(blob)
            yield blob
            deeper += _inside(blob)
        level = deeper


def _inside(blob: bytes) -> Iterator[bytes]:
    for encoded in _ENCODED.findall(blob):
        text = encoded.translate(_URL_SAFE)
        try:
            yield base64.b64decode(text + b"=" * (-len(text) % 4), validate=True)
        except binascii.Error:
            continue
    if blob[:1] == b"\x78":
        try:
            yield zlib.decompressobj().decompress(blob, LONGEST_UNPACKED)
        except zlib.error:
            return
