"""The product's own statements against many rows: what each does, cold and warm.

The functions of `store/` run as the broker runs them; `auto_explain` tells of each statement that
the server executed how long it took and how many pages it touched. They run as the broker's role,
which row-level security binds.
"""

import json
import random
import statistics
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

from psycopg.errors import Diagnostic
from sqlalchemy import Connection, text

from benchmarks.scale.grow import CONSENTS_PER_CONTACT, LIST_SIZE, identifier
from broker.cli.journey import ATTRIBUTE
from broker.domain.access import Question
from broker.domain.consent import ConsentState, transition
from broker.store import audit, consent_locks, consents, contacts, decisions, status_lists
from broker.store.acting import acting_for_all
from broker.store.db import Database
from broker.store.decisions import Asker
from broker.store.status_lists import StatusListRow
from broker.usecases.closing import DUE_AT_ONCE

# What a superuser says of the broker's role before its statements are watched.
WATCHED = {
    "session_preload_libraries": "auto_explain",
    "auto_explain.log_min_duration": "0",
    "auto_explain.log_analyze": "on",
    "auto_explain.log_buffers": "on",
    "auto_explain.log_timing": "off",
    "auto_explain.log_format": "json",
    "auto_explain.log_level": "notice",
    "client_min_messages": "notice",
}
OURS = "/* which row to ask about */"
SCANS = ("Seq Scan", "Index Scan", "Index Only Scan", "Bitmap Heap Scan")


@dataclass(frozen=True)
class Executed:
    """One statement as the server executed it: milliseconds, pages met in memory and read."""

    milliseconds: float
    hit: int
    read: int
    scans: tuple[str, ...]


@dataclass(frozen=True)
class Taken:
    """What an act takes of the database: medians, and the slowest of twenty (milliseconds).

    `scans` are the ways in which its statements reach their rows.
    """

    act: str
    milliseconds: float
    slow_milliseconds: float
    hit: float
    read: float
    rows: float
    scans: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """The figures as a JSON object."""
        return asdict(self)


Act = Callable[[Connection, int], int]


class Statements:
    """Acts of the broker on a database that was grown to `consents` rows."""

    def __init__(self, url: str, count: int, now: int, seed: int = 1) -> None:
        self._db = Database(url, pool_size=1)
        self._count, self._now = count, now
        self._random = random.Random(seed)
        self._seen: list[Executed] = []

    def close(self) -> None:
        """Close the connections."""
        self._db.close()

    def acts(self) -> Mapping[str, Act]:
        """What is measured, by name; each gets a random contact's number and returns rows."""
        return {
            "decision: read": self._read,
            "decision: hold": self._hold,
            "withdrawal: update": self._withdraw,
            "grant: live twins": self._twins,
            "expiry: consents due": lambda tx, _: len(consents.due(tx, self._now, DUE_AT_ONCE)),
            "expiry: requests due": lambda tx, _: len(
                consent_locks.hold_due(tx, self._now, DUE_AT_ONCE)
            ),
            "status list: places": self._places,
            "customer: contacts": self._contacts,
            "evidence: entries of a consent": self._entries_of_consent,
            "evidence: entries of a customer": self._entries_of_subject,
        }

    def measure(self, times: int) -> list[Taken]:
        """Every act `times` times, each time for another row, in a transaction that is undone."""
        with acting_for_all():
            return [self._measure(name, act, times) for name, act in self.acts().items()]

    def _measure(self, name: str, act: Act, times: int) -> Taken:
        runs, rows = [], []
        with self._watching() as tx:
            for _ in range(times):
                number = self._random.randrange(self._count // CONSENTS_PER_CONTACT)
                self._seen.clear()
                rows.append(act(tx, number))
                self._told(tx)
                runs.append(list(self._seen))
                tx.rollback()
        spent = [sum(one.milliseconds for one in run) for run in runs]
        return Taken(
            act=name,
            milliseconds=statistics.median(spent),
            slow_milliseconds=sorted(spent)[int(0.95 * len(spent))],
            hit=statistics.median(sum(one.hit for one in run) for run in runs),
            read=statistics.median(sum(one.read for one in run) for run in runs),
            rows=statistics.median(rows),
            scans=tuple(dict.fromkeys(scan for run in runs for one in run for scan in one.scans)),
        )

    @contextmanager
    def _watching(self) -> Iterator[Connection]:
        def notice(told: Diagnostic) -> None:
            found = _executed(told.message_primary or "")
            if found is not None:
                self._seen.append(found)

        with self._db.engine.connect() as tx:
            driver: Any = tx.connection.driver_connection
            driver.add_notice_handler(notice)
            try:
                yield tx
            finally:
                driver.remove_notice_handler(notice)

    def _asked(self, tx: Connection, number: int) -> tuple[Asker, Question]:
        row = tx.execute(
            text(
                f"{OURS} SELECT c.tenant_id, c.partner_id, c.subject_ref_hash, t.token_hash "
                "FROM contact c JOIN access_token t ON t.subject = c.partner_id "
                f"AND t.token_hash LIKE 'token-%' WHERE c.id = {_id('ct', number)}"
            )
        ).one()
        question = Question(
            action="read",
            attribute=ATTRIBUTE,
            purpose_id="dpv:ServicePersonalisation",
            algorithm_id="churn-v3",
            algorithm_version="1",
            territory="CN",
        )
        asker = Asker(row.tenant_id, row.token_hash, row.partner_id, row.subject_ref_hash, "")
        return asker, question

    def _read(self, tx: Connection, number: int) -> int:
        found = decisions.read(tx, *self._asked(tx, number))
        return 0 if found is None else len(found.rows)

    def _hold(self, tx: Connection, number: int) -> int:
        asker, question = self._asked(tx, number)
        found = decisions.read(tx, asker, question)
        if found is None:
            return 0
        self._told(tx)
        self._seen.clear()
        decisions.hold(tx, found)
        return len(found.rows)

    def _withdraw(self, tx: Connection, number: int) -> int:
        granted = tx.execute(
            text(
                f"{OURS} SELECT id FROM consent WHERE contact_id = {_id('ct', number)} "
                f"AND partner_id = (SELECT partner_id FROM contact WHERE id = {_id('ct', number)}) "
                "AND state = 'granted'"
            )
        ).first()
        if granted is None:
            return 0
        change = transition(ConsentState.GRANTED, ConsentState.WITHDRAWN)
        consents.move(tx, granted.id, change, self._now, withdrawal_grade="same_key")
        return 1

    def _twins(self, tx: Connection, number: int) -> int:
        row = tx.execute(
            text(f"{OURS} SELECT id, tenant_id FROM consent WHERE id = {_id('c', 3 * number)}")
        ).one()
        consent = consents.consent(tx, row.tenant_id, row.id)
        self._told(tx)
        self._seen.clear()
        return len(consents.live_twins(tx, consent, "loyalty-churn"))

    def _places(self, tx: Connection, number: int) -> int:
        listed = tx.execute(
            text(
                f"{OURS} SELECT status_list_id, tenant_id, partner_id FROM consent "
                f"WHERE status_list_id IS NOT NULL AND contact_id = {_id('ct', number)} AND "
                f"partner_id = (SELECT partner_id FROM contact WHERE id = {_id('ct', number)})"
            )
        ).first()
        if listed is None:
            return 0
        row = StatusListRow(
            *(listed.status_list_id, listed.tenant_id, listed.partner_id, LIST_SIZE, LIST_SIZE),
            *(b"", 0, 0, None, None),
        )
        return len(status_lists.set_places(tx, row, self._now))

    def _contacts(self, tx: Connection, number: int) -> int:
        asker, _ = self._asked(tx, number)
        subject = self._text(tx, f"SELECT {_id('s', number)}")
        return len(contacts.of_subject(tx, asker.tenant_id, subject))

    def _entries_of_consent(self, tx: Connection, number: int) -> int:
        return len(audit.entries_of_consent(tx, self._logged(tx, number, "consent_id")))

    def _entries_of_subject(self, tx: Connection, number: int) -> int:
        return len(audit.entries_about(tx, self._logged(tx, number, "subject_id"), []))

    def _logged(self, tx: Connection, number: int, column: str) -> str:
        index = CONSENTS_PER_CONTACT * number
        return self._text(tx, f"SELECT {column} FROM audit_entry WHERE log_index = {index}")

    def _told(self, tx: Connection) -> None:
        """A statement's plan is told when the next one begins."""
        self._text(tx, "SELECT 1")

    def _text(self, tx: Connection, statement: str) -> str:
        return str(tx.execute(text(f"{OURS} {statement}")).scalar_one())


def _id(prefix: str, number: int) -> str:
    return identifier(prefix, str(number))


def _executed(notice: str) -> Executed | None:
    """The statement that a notice of auto_explain tells of, unless it is one of this module's."""
    head, found, plan = notice.partition("plan:")
    if not found:
        return None
    told = json.loads(plan)
    if told["Query Text"].startswith(OURS):
        return None
    top = told["Plan"]
    return Executed(
        milliseconds=float(head.removeprefix("duration: ").partition(" ")[0]),
        hit=int(top.get("Shared Hit Blocks", 0)),
        read=int(top.get("Shared Read Blocks", 0)),
        scans=tuple(_scans(top)),
    )


def _scans(plan: Mapping[str, Any]) -> Iterator[str]:
    if plan["Node Type"] in SCANS:
        yield f"{plan['Node Type']} {plan.get('Index Name', plan.get('Relation Name', ''))}".strip()
    if plan["Node Type"] == "Bitmap Index Scan":
        yield f"Bitmap Index Scan {plan['Index Name']}"
    for part in plan.get("Plans", ()):
        yield from _scans(part)
