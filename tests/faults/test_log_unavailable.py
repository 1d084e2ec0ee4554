"""The log cannot be written, or is a minute behind: nothing is granted, withdrawals are accepted.

Each fault is made where it would happen, in the database, in the folder or by another sequencer
that holds the lock, under a broker that serves; when it is over, the broker goes on by itself.
"""

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import select

from broker.domain.entry import Entry, LogKey
from broker.outbound.client import Carrier
from broker.store import audit
from broker.store.consents import CONSENT
from broker.store.head_file import FILE_NAME
from dev.running import free_port, running_broker
from tests.broker import builders
from tests.broker.log_fixtures import table_refuses
from tests.faults.agreement import check_agreement
from tests.faults.lengths import SOAK
from tests.faults.serving import Deployment, asked, behind, deployment, fresh_key
from wallet_adapters.errors import WalletProtocolError
from wallet_adapters.loopback import Wallet, accept_offer, answer_request

SEQUENCER_LOCK = 0x6C6F67
HEALTHY_SECONDS = 5 if SOAK else 30
LONGEST_WAIT = 60


@dataclass
class Place:
    """Where a broker has its things."""

    home: Path
    url: str
    engine: str


@contextlib.contextmanager
def head_file_refuses(place: Place) -> Iterator[None]:
    """The signed head cannot be kept outside of the database."""
    in_the_way = place.home / f"{FILE_NAME}.new"
    in_the_way.mkdir()
    try:
        yield
    finally:
        in_the_way.rmdir()


@contextlib.contextmanager
def lock_is_held(place: Place, made: Deployment) -> Iterator[None]:
    """Another sequencer holds the lock and does nothing, while an entry waits for 100 s."""
    with psycopg.connect(place.url) as session:
        session.execute("SELECT pg_advisory_lock(%s)", (SEQUENCER_LOCK,))
        while _waiting(made):  # the first that waits says how far behind the log is
            session.execute("SELECT pg_advisory_unlock(%s)", (SEQUENCER_LOCK,))
            time.sleep(0.2)
            session.execute("SELECT pg_advisory_lock(%s)", (SEQUENCER_LOCK,))
        body = {"test": "this entry is old"}
        old = Entry("e-old", builders.TENANT, "test.old", made.ctx.now() - 100, body)
        with made.ctx.db.transaction() as tx:
            audit.append(tx, LogKey(bytes(32)).seal(old))
        yield


def _waiting(made: Deployment) -> int:
    with made.ctx.db.reading() as tx:
        return audit.pending_count(tx, made.ctx.now())


FAULTS: dict[str, Callable[[Place, Deployment], contextlib.AbstractContextManager[None]]] = {
    "entries get no index": lambda _place, made: table_refuses(made.ctx.db, "audit_entry"),
    "checkpoints are not stored": lambda _place, made: table_refuses(made.ctx.db, "checkpoint"),
    "the head file": lambda place, _made: head_file_refuses(place),
    "the lock is held": lock_is_held,
}
SHORT = [("sqlite", "the head file"), ("postgresql", "the lock is held")]
LONG = [
    *(("sqlite", fault) for fault in FAULTS if fault != "the lock is held"),
    *(("postgresql", fault) for fault in FAULTS),
]


@pytest.fixture
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    engine: str = request.param
    url = "" if engine == "sqlite" else request.getfixturevalue("postgres_database")
    return Place(tmp_path, url, engine)


def permitted(made: Deployment, subject_ref: str) -> bool:
    answer = made.caller("partner").post(
        "/access/v1/evaluation", asked(made.partner_id, subject_ref)
    )
    assert answer.status == 200, answer
    return bool(answer.json["decision"])


def ready(made: Deployment) -> bool:
    return made.caller("partner").get("/readyz").status == 200


def until(happens: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not happens():
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.1)


class Customer:
    """A customer with a wallet, asked and not answered yet, and another who is invited."""

    def __init__(self, made: Deployment) -> None:
        self.made = made
        self._carry = Carrier()
        self.wallet = Wallet(anchors=list(made.ctx.keys.anchors()))
        self.take(self.invited("asked"))
        body = {"subject_ref": "asked", "template": "loyalty-churn"}
        opened = self._post("/v1/consent-requests", body)
        self.request, self.link = opened["id"], opened["wallet_link"]

    def invited(self, subject_ref: str) -> str:
        """The offer of a new invitation."""
        body = {"subject_ref": subject_ref, "grade": "link"}
        offer: str = self._post("/v1/invitations", body)["offer_uri"]
        return offer

    def take(self, offer: str) -> None:
        """Redeem an offer: the contact is bound to the wallet."""
        accept_offer(self.wallet, offer, carry=self._carry, now=self.made.ctx.now(), copies=4)

    def sign(self) -> None:
        """Grant what was asked."""
        answer_request(self.wallet, self.link, carry=self._carry, now=self.made.ctx.now())

    def granted(self) -> int:
        """How many of the consents that were asked for are granted."""
        with self.made.ctx.db.reading() as tx:
            mine = select(CONSENT.c.id).where(
                CONSENT.c.request_id == self.request, CONSENT.c.state == "granted"
            )
            return len(tx.execute(mine).all())

    def close(self) -> None:
        """Close the connection."""
        self._carry.close()

    def _post(self, path: str, body: dict[str, str]) -> dict[str, str]:
        answer = self.made.caller("partner").post(path, body, **{"Idempotency-Key": fresh_key()})
        assert answer.status == 201, answer
        told: dict[str, str] = answer.json
        return told


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(("place", "fault"), LONG if SOAK else SHORT, indirect=["place"])
def test_nothing_is_granted(place: Place, fault: str) -> None:
    with contextlib.ExitStack() as wallets:
        _check_nothing_is_granted(place, fault, wallets)


def _check_nothing_is_granted(place: Place, fault: str, wallets: contextlib.ExitStack) -> None:
    port = str(free_port())
    with deployment(place.home, place.url, PORT=port) as made:
        stopped = made.servers[0]
        withdrawn, _kept = made.granted("withdrawn"), made.granted("kept")
        customer = wallets.enter_context(contextlib.closing(Customer(made)))
        until(lambda: permitted(made, "kept"), HEALTHY_SECONDS)
        if fault == "the lock is held":
            with FAULTS[fault](place, made):
                _check_refused(made, customer, withdrawn)
            _check_healed(made, customer, withdrawn)
            return
        # A broker that runs is believed for a minute; one that starts is not believed at all.
        if SOAK:
            with FAULTS[fault](place, made):
                made.granted("waits")
                until(lambda: not ready(made), LONGEST_WAIT + HEALTHY_SECONDS)
                assert not permitted(made, "kept")
            until(lambda: ready(made), HEALTHY_SECONDS)
    with behind([stopped]) as made, contextlib.ExitStack() as stack:
        customer.made = made
        with FAULTS[fault](place, made):
            made.granted("waits too")
            again = running_broker(place.home, stopped.environment, ready=False)
            made.servers[0] = stack.enter_context(again)
            _check_refused(made, customer, withdrawn)
        _check_healed(made, customer, withdrawn)


def _check_refused(made: Deployment, customer: Customer, withdrawn: str) -> None:
    until(lambda: not ready(made), HEALTHY_SECONDS)
    answer = made.caller("partner").post("/access/v1/evaluation", asked(made.partner_id, "kept"))
    assert (answer.status, answer.json["decision"]) == (200, False)
    codes = [reason["code"] for reason in answer.json["context"]["reasons"]]
    assert codes == ["log_unavailable"]
    with pytest.raises(WalletProtocolError):
        customer.sign()
    assert customer.granted() == 0
    offer = customer.invited(f"invited-{fresh_key()}")
    held = len(customer.wallet.credentials)
    with pytest.raises(WalletProtocolError):
        customer.take(offer)
    assert len(customer.wallet.credentials) == held
    path = f"/v1/consents/{withdrawn}/withdrawal"
    assert made.caller("officer").post(path, {}).status == 200


def _check_healed(made: Deployment, customer: Customer, withdrawn: str) -> None:
    """By itself: nobody restarts anything."""
    until(lambda: ready(made), HEALTHY_SECONDS)
    assert permitted(made, "kept")
    assert not permitted(made, "withdrawn")
    customer.sign()
    assert customer.granted() > 0
    check_agreement(made.ctx, made.servers[0].address, withdrawn=[withdrawn])
