"""Real rows: customers who bind a wallet, sign and withdraw over HTTP, and what it costs.

Each act is done as a partner, an officer and a wallet do it, against a broker in a process of its
own on PostgreSQL. Rows, index entries and log entries are the product's; nothing is made up here.
"""

import json
import os
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from psycopg import Connection, sql

from benchmarks.decisions import Asked
from benchmarks.load import rate, write_requests
from benchmarks.scale.grow import Progress
from broker.cli.journey import ATTRIBUTE, COPIES, PURPOSE, TEMPLATE
from broker.domain.trust import Trust
from broker.outbound.client import Carrier, Client
from credentials.jcs import b64url
from credentials.keys import SoftwareKey
from dev.running import Broker
from wallet_adapters.loopback import Wallet, accept_offer, answer_request

# Of each table: bytes of its rows, bytes of its indexes, rows.
Sizes = dict[str, tuple[int, int, int]]
CONNECTIONS = 16
TICKS = os.sysconf("SC_CLK_TCK")
PAGE_KIB = os.sysconf("SC_PAGE_SIZE") / 1024


@dataclass
class Customers:
    """Whom the flow has made: their references, and the wallets of those who can still withdraw."""

    partner_id: str
    references: list[str] = field(default_factory=list)
    granted: list[tuple[str, Wallet]] = field(default_factory=list)


@dataclass(frozen=True)
class Cost:
    """What one act took: processor time of the broker and of PostgreSQL (ms).

    `memory_mib` is what the broker held afterwards.
    """

    act: str
    times: int
    broker_ms: float
    database_ms: float
    memory_mib: float


class Flow:
    """The demonstration partner and as many wallets as wanted, against a running broker."""

    def __init__(self, broker: Broker, database_pid: int, progress: Progress) -> None:
        told = json.loads((broker.home / "demo-clients.json").read_text(encoding="utf-8"))
        me = told["partner"]
        self._broker, self._database_pid, self._progress = broker, database_pid, progress
        self._partner = Client(broker.address, me["client_id"], me["private_jwk"])
        self._carry = Carrier()
        exported = broker.run("trust", "export")
        self._anchors = Trust.parse(exported.stdout.encode()).roots
        self.customers = Customers(me["client_id"])

    def close(self) -> None:
        """Close the connections."""
        self._carry.close()
        self._partner.close()

    def bind_and_grant(self, number: int) -> None:
        """A new customer takes a credential and signs the first consent of the template."""
        reference = f"crm-{number:08}"
        wallet = Wallet(anchors=list(self._anchors))
        invitation = self._partner.post(
            "/v1/invitations", {"subject_ref": reference, "grade": "code"}, idempotent=True
        )
        accept_offer(
            wallet,
            invitation["offer_uri"],
            carry=self._carry,
            now=int(time.time()),
            tx_code=invitation["tx_code"],
            copies=COPIES,
            dpop_key=SoftwareKey.generate("ES256"),
        )
        asked = self._partner.post(
            "/v1/consent-requests",
            {"subject_ref": reference, "template": TEMPLATE, "language": "zh"},
            idempotent=True,
        )
        answer_request(
            wallet,
            asked["wallet_link"],
            carry=self._carry,
            now=int(time.time()),
            grant=lambda _request: ["consent_base"],
        )
        consent = next(one["id"] for one in asked["consents"] if one["item"] == "base")
        self.customers.references.append(reference)
        self.customers.granted.append((consent, wallet))

    def withdraw(self, number: int) -> None:
        """The customer of `number` withdraws, signed by the same key."""
        consent, wallet = self.customers.granted[number]
        asked = self._partner.post(f"/v1/consents/{consent}/withdrawal", {})
        answer_request(
            wallet,
            asked["wallet_link"],
            carry=self._carry,
            now=int(time.time()),
            grant=["same_key"],
        )

    def decide(self, number: int) -> None:
        """The partner asks whether it may use an attribute of a customer."""
        reference = self.customers.references[number % len(self.customers.references)]
        self._partner.post("/access/v1/evaluation", self._question(reference))

    def costing(self, act: str, times: int, do: Callable[[int], None]) -> Cost:
        """Do something `times` times, one after the other."""

        def all_of_them() -> int:
            for number in range(times):
                self._progress(f"real acts: {act}", number, times)
                do(number)
            return times

        return self._costing(act, all_of_them)

    def decisions_at_once(self, connection: Connection, seconds: float) -> Cost:
        """Decisions over `CONNECTIONS` connections, as fast as they are answered."""
        token = secrets.token_urlsafe(32)
        hashed = b64url(sha256(token.encode()).digest())
        connection.execute(
            "INSERT INTO access_token (token_hash, tenant_id, subject, role, expires_at) "
            "SELECT %s, tenant_id, id, 'partner', %s FROM partner WHERE id = %s",
            (hashed, int(time.time()) + 3600, self.customers.partner_id),
        )
        asked = Asked(self.customers.partner_id, token, tuple(self.customers.references))
        port = urlsplit(self._broker.address).port or 0
        file = write_requests(
            self._broker.home / "decisions",
            [asked.evaluation(one, ATTRIBUTE) for one in asked.contacts],
        )
        self._progress("real acts: decisions at once", 0, 1)

        def load() -> int:
            each = rate(port, file, '"decision":', connections=CONNECTIONS, seconds=seconds)
            # Its connections warm up for a tenth of the time, and are answered then too.
            return int(each * seconds * 1.1)

        return self._costing(f"decide, {CONNECTIONS} at once", load)

    def _costing(self, act: str, work: Callable[[], int]) -> Cost:
        broker, database = processor_seconds(self._broker.pid), self._database_seconds()
        times = work()
        broker = processor_seconds(self._broker.pid) - broker
        database = self._database_seconds() - database
        memory = resident_mib(self._broker.pid)
        return Cost(act, times, 1000 * broker / times, 1000 * database / times, memory)

    def _database_seconds(self) -> float:
        """What PostgreSQL's processes have used, those that have ended too."""
        children = Path(f"/proc/{self._database_pid}/task/{self._database_pid}/children")
        pids = map(int, children.read_text(encoding="ascii").split())
        return sum(map(processor_seconds, pids)) + reaped_seconds(self._database_pid)

    def _question(self, reference: str) -> Mapping[str, Any]:
        return {
            "subject": {"type": "partner", "id": self.customers.partner_id},
            "action": {"name": "read"},
            "resource": {
                "type": "attribute",
                "id": ATTRIBUTE,
                "properties": {"subject_ref": reference},
            },
            "context": {"purpose": PURPOSE, "territory": "CN"},
        }


def processor_seconds(pid: int) -> float:
    """What a process has used, in user and kernel mode together."""
    fields = _status(pid)
    return (int(fields[11]) + int(fields[12])) / TICKS


def reaped_seconds(pid: int) -> float:
    """What those children of a process that have ended had used."""
    fields = _status(pid)
    return (int(fields[13]) + int(fields[14])) / TICKS


def _status(pid: int) -> list[str]:
    """The fields of /proc/PID/stat that follow the name."""
    return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()


def resident_mib(pid: int) -> float:
    """The memory that a process holds now (resident set)."""
    pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    return pages * PAGE_KIB / 1024


def sizes(connection: Connection) -> Sizes:
    """Bytes of each table (with what it stores out of line), of its indexes, and its rows."""
    names = connection.execute(
        "SELECT relname FROM pg_class WHERE relkind IN ('r', 'p') AND NOT relispartition "
        "AND relnamespace = 'public'::regnamespace ORDER BY relname"
    ).fetchall()
    return {name: _size(connection, name) for (name,) in names}


def _size(connection: Connection, name: str) -> tuple[int, int, int]:
    row = connection.execute(
        sql.SQL(
            "SELECT sum(pg_table_size(leaf))::bigint, sum(pg_indexes_size(leaf))::bigint, "
            "(SELECT count(*) FROM {table}) FROM (SELECT {name}::regclass AS leaf UNION "
            "SELECT relid FROM pg_partition_tree({name})) AS leaves"
        ).format(table=sql.Identifier(name), name=sql.Literal(name))
    ).fetchone()
    table, indexes, rows = row or (0, 0, 0)
    return int(table or 0), int(indexes or 0), int(rows)


def written(connection: Connection) -> int:
    """How many bytes of write-ahead log the cluster has written."""
    row = connection.execute("SELECT pg_current_wal_lsn() - '0/0'").fetchone()
    return int(row[0]) if row else 0
