"""Data out of a vault, against the same bytes as a file and the same decision alone.

All of it is processor time of the server: what waits for the disk waits for the decision's entry,
which the decision alone has too. 2 ms were asked where an ES256 signature is made and checked in
88 us; here they are as many signatures, measured in turns with it.
"""

import os
import secrets
import tempfile
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path
from urllib.parse import quote, urlsplit

from sqlalchemy import select

from benchmarks.decisions import ATTRIBUTE, PERMITTED, PURPOSE, Asked
from benchmarks.figure import Figure, ratio_at_most
from benchmarks.insert_and_read import running_probe
from benchmarks.load import HOST, driven, write_requests
from benchmarks.probe import SIGNATURE_MS, interleaved, signature
from benchmarks.seeding import granted, new_partner, token_of
from broker.composition import build_context, prepare
from broker.domain.addresses import ROOT_TENANT
from broker.domain.ids import new_id
from broker.domain.vault import piece_digests
from broker.settings import Settings
from broker.store import vault
from broker.store.acting import acting_for
from broker.store.consents import CONSENT
from broker.store.vault import EnvelopeRow
from broker.usecases.context import Context
from broker.usecases.vault_register import open_to_change
from credentials.jcs import b64url
from dev.running import running_broker

CUSTOMERS = 50
ROUNDS = 5
REQUESTS = 100
SIZES = {"4 KiB": 4_096, "1 MiB": 1_048_576}
ASKED_MS = 2


@dataclass(frozen=True)
class Filled:
    """Who asks, and the consents under which envelopes of one size lie in the vault."""

    asked: Asked
    consents: tuple[str, ...]

    def transfer(self, consent_id: str) -> bytes:
        """A request for the data as bytes."""
        path = f"/v1/data/{consent_id}/{ATTRIBUTE}?territory=CN&purpose={quote(PURPOSE, safe='')}"
        return _get(path, f"Authorization: Bearer {self.asked.token}")


def run() -> list[Figure]:
    """Measure, for each size, what one transfer after the other costs the server."""
    return [_of_size(name, size) for name, size in SIZES.items()]


def _of_size(name: str, size: int) -> Figure:
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        home = Path(folder)
        content = secrets.token_bytes(size)
        filled = populate(Settings(home=home), content)
        (home / "plain").write_bytes(content)
        with running_broker(home) as broker, running_probe(home) as probe:
            at = urlsplit(broker.address).port or 0
            evaluations = [filled.asked.evaluation(one, ATTRIBUTE) for one in filled.asked.contacts]
            transfers = [filled.transfer(one) for one in filled.consents]
            signed = signature()
            of_broker, of_probe = partial(_spent_by, broker.pid), partial(_spent_by_probe, probe)
            each = partial(_milliseconds, home)
            taken = interleaved(
                {
                    "plain": each("plain", probe, [_get("/file/plain")], of_probe),
                    "decision": each("decision", at, evaluations, of_broker, PERMITTED),
                    "data": each("data", at, transfers, of_broker),
                    "signature": lambda: signed() * 1_000,
                },
                rounds=ROUNDS,
            )
    without = taken["plain"] + taken["decision"]
    return Figure(
        name=f"data: {name} out of a vault, beyond decision and plain transfer, in signatures",
        value=taken["data"] - without,
        unit="ms",
        probe=taken["signature"],
        bound=ratio_at_most(ASKED_MS / SIGNATURE_MS),
    )


def populate(settings: Settings, content: bytes) -> Filled:
    """A broker's database and vault, with an envelope for each customer."""
    ctx = build_context(settings)
    prepare(ctx)
    partner_id = new_partner(ctx)
    contacts = granted(ctx, partner_id, CUSTOMERS)
    token = token_of(ctx, partner_id, "partner")
    consents = _fill(ctx, partner_id, content)
    ctx.db.close()
    return Filled(Asked(partner_id, token, contacts), consents)


@acting_for(ROOT_TENANT)
def _fill(ctx: Context, partner_id: str, content: bytes) -> tuple[str, ...]:
    place = open_to_change(ctx, "local")
    now = ctx.now()
    with ctx.db.transaction() as tx:
        chosen = select(CONSENT.c.id).where(
            CONSENT.c.partner_id == partner_id, CONSENT.c.item == "base"
        )
        consents = tuple(tx.execute(chosen.order_by(CONSENT.c.id)).scalars())
        for consent_id in consents:
            row = EnvelopeRow(
                id=new_id("env"),
                tenant_id=ROOT_TENANT,
                partner_id=partner_id,
                consent_id=consent_id,
                attribute=ATTRIBUTE,
                masking="none",
                vault="local",
                path=f"{ROOT_TENANT}/benchmark/{consent_id}",
                kid="",
                digest=b64url(sha256(content).digest()),
                size=len(content),
                pieces=piece_digests(content),
                sealed_reference=b"",
                state="stored",
                signed_at=now,
                created_at=now,
            )
            vault.add(tx, row)
            place.put(row.path, content)
    return consents


def _get(path: str, *headers: str) -> bytes:
    return "\r\n".join([f"GET {path} HTTP/1.1", f"Host: {HOST}", *headers, "", ""]).encode()


def _milliseconds(
    home: Path,
    name: str,
    port: int,
    requests: list[bytes],
    spent: Callable[[], float],
    expect: str = "",
) -> Callable[[], float]:
    """The processor time of a server for one request, whatever else the machine does."""
    sent = (requests * REQUESTS)[:REQUESTS]
    path = write_requests(home / f"{name}.requests", sent)

    def measure() -> float:
        before = spent()
        driven(port, path, expect, connections=1, once=True)
        return (spent() - before) * 1_000 / REQUESTS

    return measure


def _spent_by(pid: int) -> float:
    """Seconds of processor time that a process has used: proc(5), fields 14 and 15."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _spent_by_probe(port: int) -> float:
    with urllib.request.urlopen(f"http://{HOST}:{port}/processor-time", timeout=30) as answer:
        return float(answer.read())
