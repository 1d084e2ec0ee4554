"""Many rows out of real ones: every column is a real row's, but for what makes rows differ.

Identifiers are made from a row's number, so that tables agree with each other without a join and
a database of one size is the same each time. They are as long as the product's and as random.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from psycopg import Connection, sql

TENANTS = 4
PARTNERS = 20
SKEW = 2.5  # the share of partner r falls like r^(1/SKEW - 1): the largest has 30 %
CONSENTS_PER_CONTACT = 3
LIST_SIZE = 131_072
CHUNK = 100_000
SAMPLES = 50
DAY = 86_400

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Step:
    """One step of a load: seconds it took."""

    name: str
    seconds: float


def identifier(prefix: str, number: str) -> str:
    """SQL of an identifier: `prefix` and 20 characters that look random."""
    return f"'{prefix}-' || substr(md5('{prefix}' || ({number})::text), 1, 20)"


def draw(salt: int, number: str, below: int) -> str:
    """SQL of a number from 0 to before `below`, as random as its hash."""
    return f"((hashint8extended({number}, {salt}) & 2147483647) % {below})"


def hashed(salt: str, number: str) -> str:
    """SQL of 43 characters, the length of a SHA-256 in base64url."""
    return f"substr(md5('{salt}' || ({number})) || md5(({number}) || '{salt}'), 1, 43)"


CONTACT = f"(i / {CONSENTS_PER_CONTACT})"
# How a hundred consents stand; of a contact's three, two are mostly refused, as in the real flow.
STATE = """CASE WHEN b.number % 3 <> 0 AND b.hundred < 60 THEN 'refused'
    WHEN b.hundred < 70 THEN 'granted' WHEN b.hundred < 80 THEN 'expired'
    WHEN b.hundred < 92 THEN 'withdrawn' WHEN b.hundred < 95 THEN 'superseded'
    ELSE 'requested' END"""


# Places are given out in the order of asking, list after list of the partner.
LIST = f"'sl-' || substr(md5('sl' || b.partner || '.' || b.number / {6 * LIST_SIZE}), 1, 20)"


@dataclass(frozen=True)
class Made:
    """How rows of a table are made.

    `samples`: which real rows are taken (as `s`, with `also`). `base` and `then`: what is worked
    out once for each number `i`, and from that (as `b`). `columns`: what differs from `s`.
    """

    samples: str
    base: Mapping[str, str]
    columns: Mapping[str, str]
    then: Mapping[str, str] = field(default_factory=dict)
    also: str = "true AS whole"


def _owner(contact: str) -> dict[str, str]:
    """A contact and its partner: a few partners have most of the customers."""
    uniform = f"{draw(1, contact, 1_000_000)} / 1e6::float8"
    return {"contact": contact, "partner": f"floor({PARTNERS} * power({uniform}, {SKEW}))::int"}


OWNED = {
    "tenant_id": identifier("t", f"b.partner % {TENANTS}"),
    "partner_id": identifier("p", "b.partner"),
}


def _consent(now: int) -> Made:
    signed = "b.state NOT IN ('refused', 'requested')"
    return Made(
        "state = 'granted'",
        {**_owner(CONTACT), "hundred": draw(8, "i", 100), "span": draw(2, "i", 2000)},
        {
            **OWNED,
            "id": "b.id",
            "contact_id": identifier("ct", "b.contact"),
            "request_id": identifier("cr", "b.contact"),
            "subject_id": f"CASE WHEN {signed} THEN {identifier('s', 'b.contact')} END",
            "state": "b.state",
            "terms": "s.head || b.id || s.tail",
            "terms_hash": hashed("terms", "b.number"),
            # A live consent ends somewhere in the next half year; one in two thousand is due.
            "valid_until": f"{now} - 60 + CASE WHEN b.state = 'expired' THEN -7776 * b.span "
            "ELSE 7776 * b.span END",
            "created_at": f"{now} - 15000 * b.span - b.number % 15000",
            "status_list_id": f"CASE WHEN {signed} THEN {LIST} END",
            "status_index": f"CASE WHEN {signed} THEN {draw(3, 'b.number', LIST_SIZE)} END",
        },
        {"state": STATE, "id": identifier("c", "b.number")},
        "split_part(terms, id, 1) AS head, split_part(terms, id, 2) AS tail",
    )


def _contact(now: int) -> Made:
    return Made(
        "subject_id IS NOT NULL",
        _owner("i"),
        {
            **OWNED,
            "id": identifier("ct", "b.number"),
            "subject_id": identifier("s", "b.number"),
            "subject_ref_hash": hashed("ref", "b.number"),
            "created_at": f"{now} - b.number % {360 * DAY}",
        },
    )


def _request(now: int) -> Made:
    # One in five hundred is open; of those one in twenty has run out.
    return Made(
        "true",
        {**_owner("i"), "opened": f"{draw(4, 'i', 500)} = 0", "ends": draw(5, "i", 20)},
        {
            **OWNED,
            "id": identifier("cr", "b.number"),
            "contact_id": identifier("ct", "b.number"),
            "page_token_hash": hashed("page", "b.number"),
            "state": "CASE WHEN b.opened THEN 'open' ELSE 'answered' END",
            "expires_at": f"CASE WHEN b.opened THEN {now} - 3600 + b.ends * 3600"
            f" ELSE {now} - b.number % {360 * DAY} END",
            "created_at": f"{now} - b.number % {360 * DAY}",
        },
    )


def _entry(now: int) -> Made:
    return Made(
        "type LIKE 'consent.%' OR type = 'decision'",
        _owner(CONTACT),
        {
            "log_index": "b.number",
            "id": identifier("e", "b.number"),
            "tenant_id": OWNED["tenant_id"],
            "consent_id": identifier("c", draw(6, "b.number", 2**30)),
            "subject_id": identifier("s", draw(7, "b.number", 2**28)),
            "created_at": f"{now - 360 * DAY} + b.number / 10",
        },
    )


TABLES: Mapping[str, Callable[[int], Made]] = {
    "contact": _contact,
    "consent_request": _request,
    "consent": _consent,
    "audit_entry": _entry,
}


class Growing:
    """Fills tables of a database that holds real rows; indexes are built after the rows."""

    def __init__(self, connection: Connection, now: int, progress: Progress) -> None:
        self._connection, self._now, self._progress = connection, now, progress
        self.steps: list[Step] = []

    def fill(self, counts: Mapping[str, int]) -> None:
        """Add `counts` rows to each table, without its indexes, and then make the indexes."""
        self._connection.execute("SET session_replication_role = replica")
        self._clients()
        for table, count in counts.items():
            definitions = self._without_indexes(table)
            self._unlogged(table)
            start = time.perf_counter()
            self._rows(table, count)
            self._done(f"{table}: {count:,} rows", start)
            for number, (name, definition) in enumerate(definitions, 1):
                self._progress(f"{table}: {name}", number, len(definitions))
                start = time.perf_counter()
                self._connection.execute(definition.replace(" ON ONLY ", " ON "))
                self._done(f"{table}: {name}", start)
            start = time.perf_counter()
            self._connection.execute(sql.SQL("VACUUM ANALYZE {}").format(sql.Identifier(table)))
            self._done(f"{table}: vacuum, analyze", start)
        self._connection.execute("RESET session_replication_role")

    def _clients(self) -> None:
        """More tenants and partners like the demonstration's, and a token for each partner."""
        for tenant in range(TENANTS):
            for table in ("tenant", "purpose", "algorithm", "attribute"):
                key = "id" if table == "tenant" else "tenant_id"
                self._copy(table, f"{key} = 'demo'", {key: identifier("t", str(tenant))})
        for partner in range(PARTNERS):
            new = {
                "id": identifier("p", str(partner)),
                "tenant_id": identifier("t", str(partner % TENANTS)),
                "name": f"'Partner {partner}'",
            }
            self._copy("partner", "tenant_id = 'demo'", new)
            token = {
                "token_hash": f"'token-{partner}'",
                "tenant_id": new["tenant_id"],
                "subject": new["id"],
                "role": "'partner'",
            }
            self._copy("access_token", "role = 'partner'", token)

    def _copy(self, table: str, where: str, changed: Mapping[str, str]) -> None:
        names = self._columns(table)
        values = [
            sql.SQL(changed[name]) if name in changed else sql.Identifier(name) for name in names
        ]
        one = (
            "SELECT * FROM {} WHERE {} LIMIT 1" if "id" in changed else "SELECT * FROM {} WHERE {}"
        )
        if table == "access_token":
            one += " LIMIT 1"
        self._connection.execute(
            sql.SQL("INSERT INTO {} ({}) SELECT {} FROM (" + one + ") AS s").format(
                sql.Identifier(table),
                sql.SQL(", ").join(map(sql.Identifier, names)),
                sql.SQL(", ").join(values),
                sql.Identifier(table),
                sql.SQL(where),
            )
        )

    def _unlogged(self, table: str) -> None:
        """Spare the load its write-ahead log: what it would have cost is measured elsewhere."""
        leaves = self._connection.execute(
            "SELECT oid::regclass::text FROM pg_class WHERE oid = %(table)s::regclass AND "
            "relkind = 'r' UNION ALL SELECT relid::regclass::text "
            "FROM pg_partition_tree(%(table)s) WHERE isleaf AND parentrelid IS NOT NULL",
            {"table": table},
        ).fetchall()
        for (leaf,) in leaves:
            self._connection.execute(
                sql.SQL("ALTER TABLE {} SET UNLOGGED").format(sql.Identifier(leaf))
            )

    def _done(self, name: str, start: float) -> None:
        self.steps.append(Step(name, time.perf_counter() - start))

    def _rows(self, table: str, count: int) -> None:
        made = TABLES[table](self._now)
        sample = sql.Identifier(f"sample_{table}")
        self._connection.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(sample))
        self._connection.execute(
            sql.SQL(
                "CREATE TABLE {} AS SELECT (row_number() OVER ()) - 1 AS n, "
                "*, {} FROM (SELECT * FROM {} WHERE {} LIMIT {}) AS few"
            ).format(
                sample,
                sql.SQL(made.also),
                sql.Identifier(table),
                sql.SQL(made.samples),
                SAMPLES,
            )
        )
        self._connection.execute(sql.SQL("ALTER TABLE {} ADD PRIMARY KEY (n)").format(sample))
        self._connection.execute(sql.SQL("ANALYZE {}").format(sample))
        self._insert(table, sample, made, count)
        self._connection.execute(sql.SQL("DROP TABLE {}").format(sample))

    def _insert(self, table: str, sample: sql.Identifier, made: Made, count: int) -> None:
        names = self._columns(table)
        values = [
            sql.SQL(made.columns[name]) if name in made.columns else sql.Identifier("s", name)
            for name in names
        ]
        base = [sql.SQL(f", {value} AS {name}") for name, value in made.base.items()]
        then = [sql.SQL(f", {value} AS {name}") for name, value in made.then.items()]
        statement = sql.SQL(
            "INSERT INTO {table} ({names}) SELECT {values} "
            "FROM (SELECT b.* {then} FROM (SELECT i AS number, "
            "i % (SELECT max(n) + 1 FROM {sample}) AS pick {base} "
            "FROM generate_series({start}::bigint, {end}::bigint) AS i OFFSET 0) AS b "
            "OFFSET 0) AS b "
            "JOIN {sample} s ON s.n = b.pick"
        )
        parts = {
            "table": sql.Identifier(table),
            "names": sql.SQL(", ").join(map(sql.Identifier, names)),
            "base": sql.Composed(base),
            "then": sql.Composed(then),
            "values": sql.SQL(", ").join(values),
            "sample": sample,
        }
        # Entries of the log go on where the real ones end.
        first = self._first(table)
        for done in range(0, count, CHUNK):
            self._progress(f"{table}: rows", done, count)
            start, end = first + done, first + min(done + CHUNK, count) - 1
            self._connection.execute(statement.format(**parts, start=start, end=end))

    def _first(self, table: str) -> int:
        if table != "audit_entry":
            return 0
        row = self._connection.execute("SELECT max(log_index) + 1 FROM audit_entry").fetchone()
        return int(row[0]) if row else 0

    def _columns(self, table: str) -> list[str]:
        return [
            name
            for (name,) in self._connection.execute(
                "SELECT attname FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0 "
                "AND NOT attisdropped ORDER BY attnum",
                (table,),
            )
        ]

    def _without_indexes(self, table: str) -> list[tuple[str, str]]:
        """Drop a table's constraints and indexes; their names and what makes them again."""
        found = self._connection.execute(
            "SELECT conname, format('ALTER TABLE %%s ADD CONSTRAINT %%I %%s', conrelid::regclass, "
            "conname, pg_get_constraintdef(oid)), true FROM pg_constraint "
            "WHERE conrelid = %(table)s::regclass AND contype IN ('p', 'u') UNION ALL "
            "SELECT indexrelid::regclass::text, pg_get_indexdef(indexrelid), false FROM pg_index "
            "WHERE indrelid = %(table)s::regclass AND NOT EXISTS (SELECT 1 FROM pg_constraint "
            "WHERE conindid = indexrelid AND contype IN ('p', 'u'))",
            {"table": table},
        ).fetchall()
        for name, _, constraint in found:
            if constraint:
                self._connection.execute(
                    sql.SQL("ALTER TABLE {} DROP CONSTRAINT {} CASCADE").format(
                        sql.Identifier(table), sql.Identifier(name)
                    )
                )
            else:
                self._connection.execute(sql.SQL("DROP INDEX {}").format(sql.Identifier(name)))
        return [(name, definition) for name, definition, _ in found]
