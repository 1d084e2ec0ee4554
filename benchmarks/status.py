"""Status lists: fetched over HTTP against a no-op; 1,000,000 published anew.

The no-op is a bare FastAPI endpoint under the same server. Publishing anew is everything between a
withdrawal and the next fetch: the row of the list, the places of 10,000 ended consents from the
database, the list, its signature, the row again. 5 ms were asked of a machine on which an ES256
signature is made and checked in 88 us; here they are as many signatures, made and checked in turns.
"""

import itertools
import secrets
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

from sqlalchemy import insert, select, update

from benchmarks.figure import Figure, ratio_at_least, ratio_at_most
from benchmarks.insert_and_read import running_probe
from benchmarks.load import HOST, rate, write_requests
from benchmarks.probe import SIGNATURE_MS, interleaved, signature
from benchmarks.seeding import TEMPLATE, new_partner
from broker.composition import build_context, prepare
from broker.domain.addresses import ROOT_TENANT
from broker.settings import Settings
from broker.store.acting import acting_for
from broker.store.consents import CONSENT
from broker.store.status_lists import LIST
from broker.usecases.consent_request import open_request
from broker.usecases.context import Context
from broker.usecases.status import allocate, mark_changed, published
from dev.running import running_broker

ENTRIES, WITHDRAWN = 1_000_000, 10_000
ROUNDS, TIMES = 7, 15
ASKED_MS = 5


def run() -> list[Figure]:
    """Measure both."""
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        home = Path(folder)
        ctx = build_context(Settings(home=home))
        prepare(ctx)
        with acting_for(ROOT_TENANT):
            ordinary, large = _list_of_a_partner(ctx, "Ordinary"), _list_of_a_partner(ctx, "Large")
            _end_many(ctx, large)
            computing, waiting, signature = _publishing(ctx, large)
        ctx.db.close()
        with (
            running_broker(home, {"BROKER_RATE_LIMITS": "off"}) as broker,
            running_probe(home) as probe,
        ):
            port = urlsplit(broker.address).port or 0
            fetch = write_requests(home / "fetch.requests", [_get(f"/status/{ordinary}")])
            nothing = write_requests(home / "nothing.requests", [_get("/nothing")])
            taken = interleaved(
                {
                    "probe": lambda: rate(probe, nothing, "nothing"),
                    "list": lambda: rate(port, fetch, ""),
                },
                rounds=ROUNDS,
            )
    return [
        Figure(
            name="status: a list over HTTP, against a no-op",
            value=taken["list"],
            unit="1/s",
            probe=taken["probe"],
            bound=ratio_at_least(0.8),
        ),
        Figure(
            name="status: 1,000,000 entries published anew, database included, processor time",
            value=1e3 * computing,
            unit="ms",
            probe=1e3 * signature,
            bound=ratio_at_most(ASKED_MS / SIGNATURE_MS),
        ),
        Figure(
            name="status: the same with waiting for the disk, where the new token is stored",
            value=1e3 * waiting,
            unit="ms",
        ),
    ]


def _get(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode()


def _list_of_a_partner(ctx: Context, name: str) -> str:
    """The list of a new partner, whose consents were asked for."""
    partner_id = new_partner(ctx, name, name)
    open_request(
        ctx,
        ROOT_TENANT,
        partner_id,
        subject_ref=f"crm-{name}",
        template_id=TEMPLATE,
        language="zh",
    )
    with ctx.db.transaction() as tx:
        place = allocate(ctx, tx, ROOT_TENANT, partner_id)
        asked = update(CONSENT).where(CONSENT.c.partner_id == partner_id)
        tx.execute(asked.values(status_list_id=place.list_id, status_index=place.index))
    return place.list_id


def _end_many(ctx: Context, list_id: str) -> None:
    """Make the list one of 1,000,000, of which 1 % have ended."""
    with ctx.db.transaction() as tx:
        tx.execute(update(LIST).where(LIST.c.id == list_id).values(size=ENTRIES))
        row = tx.execute(select(CONSENT).where(CONSENT.c.status_list_id == list_id)).first()
        if row is None:
            raise LookupError("the list has no consent to copy")
        like = {**row._mapping, "state": "withdrawn"}  # noqa: SLF001 (SQLAlchemy's public accessor)
        places = secrets.SystemRandom().sample(range(ENTRIES), WITHDRAWN)
        tx.execute(
            insert(CONSENT),
            [{**like, "id": f"c-{place}", "status_index": place} for place in places],
        )


def _publishing(ctx: Context, list_id: str) -> tuple[float, float, float]:
    """Seconds from a withdrawal's mark to its token, computed and in all; and of a signature."""
    clock = itertools.count(ctx.now(), 2)
    computed, taken, signed, measure = [], [], [], signature()
    for now in itertools.islice(clock, TIMES):
        later = replace(ctx, now=lambda now=now: now)  # type: ignore[misc]  # each its own second
        with ctx.db.transaction() as tx:
            mark_changed(tx, list_id)
        start, start_computing = time.perf_counter(), time.thread_time()
        published(later, ROOT_TENANT, list_id)
        computed.append(time.thread_time() - start_computing)
        taken.append(time.perf_counter() - start)
        signed.append(measure())
    return (
        statistics.median(computed[1:]),
        statistics.median(taken[1:]),
        statistics.median(signed[1:]),
    )
