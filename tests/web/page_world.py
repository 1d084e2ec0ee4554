"""A broker with its consent pages and a customer with a wallet, over real SQLite and real HTTP."""

import secrets
import socket
import threading
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import uvicorn
from fastapi import FastAPI
from fastapi.testclient import TestClient
from httpx2 import Client

from broker.app import create_app
from broker.domain.consent import BindingGrade
from broker.settings import Settings
from broker.store import partners
from broker.store.db import Database
from broker.usecases import consent_request, invitation
from broker.usecases.bootstrap import ensure_demo_tenant
from broker.usecases.context import Context
from broker.usecases.keys import KeyRing
from broker.usecases.sequencer import Sequencer
from credentials.sealing import MasterKey
from tests.broker.made_tables import make_tables
from wallet_adapters.loopback import (
    KNOWN_TRANSACTION_DATA,
    Answer,
    Message,
    Wallet,
    accept_offer,
    answer_request,
)

LOYALTY = "loyalty-churn"
START = 1_795_401_600
PUBLIC_URL = "http://127.0.0.1:8000"


@dataclass
class PageWorld:
    """A broker, its clock, and what partner and customer do besides looking at pages."""

    ctx: Context
    app: FastAPI
    http: Client
    time: list[int]
    partner_id: str
    wallet: Wallet

    def advance(self, seconds: int) -> None:
        """Let time pass, with the log keeping up."""
        self.time[0] += seconds
        while self.ctx.log.run_once(self.time[0]) is not None:
            pass

    def ask(self, subject_ref: str = "crm-1", template: str = LOYALTY) -> str:
        """Open a consent request as the partner does; the path of its page."""
        opened = consent_request.open_request(
            self.ctx,
            "demo",
            self.partner_id,
            subject_ref=subject_ref,
            template_id=template,
            language="zh",
        )
        self.advance(0)
        return opened.page_url.removeprefix(self.ctx.settings.public_url)

    def invite(
        self, subject_ref: str = "crm-1", grade: BindingGrade = BindingGrade.LINK
    ) -> invitation.Opened:
        """Offer the customer's card, as the partner does."""
        return invitation.open_invitation(self.ctx, "demo", self.partner_id, subject_ref, grade)

    def take_card(self, subject_ref: str = "crm-1") -> None:
        """Have the wallet take the card of a contact."""
        opened = self.invite(subject_ref)
        self.accept(opened.offer_uri)

    def accept(self, offer_uri: str, tx_code: str | None = None) -> None:
        """Have the wallet take the credentials of an offer."""
        accept_offer(
            self.wallet, offer_uri, carry=self.carry, now=self.ctx.now(), tx_code=tx_code, copies=4
        )
        self.advance(0)

    def sign(
        self, wallet_link: str, known_types: Collection[str] = KNOWN_TRANSACTION_DATA
    ) -> str | None:
        """Have the wallet answer a request; where it would send the customer's browser."""
        went_to = answer_request(
            self.wallet,
            wallet_link,
            carry=self.carry,
            now=self.ctx.now(),
            known_types=known_types,
        )
        self.advance(0)
        return went_to

    def carry(self, message: Message) -> Answer:
        """Carry a wallet's message over HTTP."""
        answer = self.http.request(
            message.method,
            message.url,
            headers=dict(message.headers),
            content=message.body,
            follow_redirects=False,
        )
        return Answer(answer.status_code, answer.content)


@contextmanager
def broker(home: Path, public_url: str, clock: list[int]) -> Iterator[tuple[Context, FastAPI]]:
    """The demonstration tenant, with pages and the wallets' endpoints."""
    settings = Settings(home=home, public_url=public_url)
    db = Database(settings.sqlalchemy_url)
    make_tables(db)
    master = MasterKey.generate()
    keys = KeyRing(db, master, lambda: clock[0], public_url)
    log = Sequencer(db, keys.log_signer(), settings, lambda: clock[0])
    ctx = Context(settings=settings, db=db, master=master, keys=keys, log=log, now=lambda: clock[0])
    ensure_demo_tenant(ctx)
    # Its lifespan is left out: the log is driven by hand, so that time can stand still.
    yield ctx, create_app(ctx)
    db.close()


@contextmanager
def page_world(home: Path) -> Iterator[PageWorld]:
    """A world in this process, its clock standing still until it is moved."""
    clock = [START]
    with broker(home, PUBLIC_URL, clock) as (ctx, app):
        yield _peopled(ctx, app, TestClient(app, base_url=PUBLIC_URL), clock)


@contextmanager
def served_world(home: Path) -> Iterator[PageWorld]:
    """The same behind a real port, for a real browser."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    public_url = f"http://127.0.0.1:{port}"
    clock = [START]
    with broker(home, public_url, clock) as (ctx, app):
        server = uvicorn.Server(
            uvicorn.Config(
                app,
                host="127.0.0.1",
                port=port,
                log_level="warning",
                lifespan="off",
                timeout_graceful_shutdown=1,  # a page that still listens must not hold a test up
            )
        )
        thread = threading.Thread(target=server.run, name=f"pages-{secrets.token_hex(2)}")
        thread.start()
        while not server.started:
            time.sleep(0.01)
        try:
            # The server shares this process with the test, and the machine with other tests.
            with Client(base_url=public_url, timeout=30) as http:
                yield _peopled(ctx, app, http, clock)
        finally:
            server.should_exit = True
            thread.join()


def _peopled(ctx: Context, app: FastAPI, http: Client, clock: list[int]) -> PageWorld:
    with ctx.db.reading() as tx:
        partner_id = partners.of_tenant(tx, "demo")[0].id
    wallet = Wallet(anchors=list(ctx.keys.anchors()))
    world = PageWorld(ctx, app, http, clock, partner_id, wallet)
    world.advance(0)
    return world
