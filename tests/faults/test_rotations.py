"""Keys rotate under load: whatever was handed out verifies, and nothing acknowledged is lost."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from itertools import cycle, islice
from pathlib import Path

import httpx2
import pytest
from sqlalchemy import select

from broker.domain.checkpoint import open_checkpoint_of
from broker.domain.evidence import verify_evidence
from broker.domain.trust import Trust
from broker.outbound.client import ApiError
from broker.store.audit import ENTRY
from credentials.issue import CREDENTIAL_TYPE
from credentials.jws import parse_jws
from credentials.sdjwt import parse
from credentials.status import StatusCheck, verify_status_token
from credentials.verify import verify_credential
from dev.running import Broker
from tests.broker.journeys import Holder, client, trust_of
from tests.faults.agreement import check_agreement
from tests.faults.lengths import short_or_long
from tests.faults.load import Load
from tests.faults.serving import Deployment, deployment

ROTATIONS = short_or_long(5, 20)
ORDER = ("issuer", "request", "log", "master")
CONSENTS = 40
LONGEST_WAIT = 120


class Customers:
    """Customers who go the whole way again and again, and everything that they are handed."""

    def __init__(self, broker: Broker, anchors: list[bytes]) -> None:
        self._broker, self._anchors = broker, anchors
        self._stopping = threading.Event()
        self.granted: list[str] = []
        self.credentials: list[tuple[str, int]] = []
        self.wallet_credentials: list[tuple[str, int]] = []
        self.bundles: list[bytes] = []
        self.tokens: list[tuple[str, str, int]] = []
        self.failures: list[str] = []

    @contextmanager
    def running(self) -> Iterator["Customers"]:
        """Act within the block."""
        thread = threading.Thread(target=self._go)
        thread.start()
        try:
            yield self
        finally:
            self._stopping.set()
            thread.join()

    def go_on(self, seen: int) -> None:
        """Wait until somebody has been handed more than `seen` bundles, or has failed."""
        deadline = time.monotonic() + LONGEST_WAIT
        while len(self.bundles) <= seen and not self.failures:
            assert time.monotonic() < deadline, "the customers came to a stop"
            time.sleep(0.05)

    def _go(self) -> None:
        with client(self._broker, "partner") as partner, client(self._broker, "officer") as officer:
            while not self._stopping.is_set():
                with closing(Holder(partner, self._anchors)) as holder:
                    try:
                        holder.join()
                        now = int(time.time())
                        held = holder.wallet.credentials
                        self.wallet_credentials += [(one.credential, now) for one in held]
                        consent_id = holder.grant()
                        self.granted.append(consent_id)
                        path = f"/v1/consents/{consent_id}"
                        self.credentials.append((partner.get(f"{path}/credential").text, now))
                        self._status(self.credentials[-1][0])
                        self.bundles.append(officer.get(f"{path}/evidence").content)
                    except (ApiError, httpx2.HTTPError, ValueError) as error:
                        self.failures.append(repr(error))

    def _status(self, credential: str) -> None:
        uri = parse(credential).payload()["status"]["status_list"]["uri"]
        self.tokens.append((uri, httpx2.get(uri, timeout=30).text, int(time.time())))


def _rotate(made: Deployment, what: str) -> None:
    done = made.servers[0].run("keys", "rotate", what, "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    if what == "master":
        assert (told["remaining"], told["unopened"]) == (0, 0)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_rotations_under_load(postgres_database: str, tmp_path: Path) -> None:
    with deployment(tmp_path, postgres_database, WORKERS="2") as made:
        broker = made.servers[0]
        old_trust = trust_of(broker)
        load = Load(made, "rotated", CONSENTS)
        customers = Customers(broker, list(old_trust.roots))
        with ExitStack() as acting:
            acting.enter_context(load.running())
            acting.enter_context(customers.running())
            for what in islice(cycle(ORDER), ROTATIONS):
                seen = len(customers.bundles)
                _rotate(made, what)
                customers.go_on(seen)
        assert customers.failures == []
        assert load.unexpected == []
        assert load.failed == 0, "an act failed because of a rotation"
        assert load.withdrawn
        trust = trust_of(broker)
        _everything_verifies(customers, load, trust)
        # The old key of the log cosigns: old trust files are good through the overlap.
        assert verify_evidence(customers.bundles[-1], old_trust).verdict == "verified"
        listed = json.loads(broker.run("keys", "list", "--json").stdout)
        counts = listed["master"]["sealed"]
        assert (
            sum(count for key, count in counts.items() if key != listed["master"]["current"]) == 0
        )
        _nothing_is_lost(made, load, customers)


def _everything_verifies(customers: Customers, load: Load, trust: Trust) -> None:
    assert len(customers.bundles) >= ROTATIONS
    for data in customers.bundles:
        report = verify_evidence(data, trust)
        assert report.verdict == "verified", report.failure
    for credential, now in (*customers.credentials, *customers.wallet_credentials):
        verify_credential(
            credential, anchors=trust.roots, now=now + 60, status=StatusCheck.BY_CALLER
        )
    for uri, token, now in customers.tokens:
        verify_status_token(token, uri=uri, anchors=trust.roots, now=now)
    assert load.checkpoints
    for note in load.checkpoints:
        open_checkpoint_of(note, trust.verifiers())
    leaves = {json.dumps(_x5c(credential)) for credential, _ in customers.credentials}
    assert len(leaves) > 1, "no key was rotated while credentials were issued"


def _nothing_is_lost(made: Deployment, load: Load, customers: Customers) -> None:
    check_agreement(
        made.ctx,
        made.servers[0].address,
        withdrawn=load.withdrawn,
        decided=load.decided,
        checkpoints=load.checkpoints,
    )
    with made.ctx.db.reading() as tx:
        of = select(ENTRY.c.consent_id).where(ENTRY.c.type == "consent.granted")
        granted = list(tx.execute(of).scalars())
    assert set(customers.granted) <= set(granted)
    assert len(granted) == len(set(granted))


def _x5c(credential: str) -> object:
    return parse_jws(parse(credential).issuer_jwt, typ=CREDENTIAL_TYPE).header["x5c"]
