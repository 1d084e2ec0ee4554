"""A broker without its server, and the rows that a decision reads, made one at a time."""

import hashlib
import secrets
import time as clocks
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import insert, select, update

from broker.domain.entry import Entry, SealedEntry
from broker.domain.ids import new_id
from broker.domain.terms import (
    AlgorithmTerms,
    AttributeTerms,
    Label,
    Notice,
    Party,
    PurposeTerms,
    Separate,
    Terms,
    Territories,
)
from broker.settings import Settings
from broker.store import access_tokens, audit, contacts, subjects, tables
from broker.store.consents import ConsentRequestRow, ConsentRow, add_consent, add_request
from broker.store.contacts import CONTACT
from broker.store.db import Database
from broker.store.registry import AttributeSpec
from broker.usecases.context import Context
from broker.usecases.keys import KeyRing
from broker.usecases.partner import add_officer, add_partner
from broker.usecases.sequencer import Sequencer
from broker.usecases.tenant import add_algorithm, add_attribute, add_purpose, add_tenant
from credentials.jcs import b64url
from credentials.sealing import MasterKey
from tests.broker.made_tables import begun, make_tables

PUBLIC_URL = "http://127.0.0.1:8000"
START = 1_795_478_400
DAY = 86_400
TENANT = "demo"
PURPOSE = "dpv:ServicePersonalisation"
ALGORITHM = ("churn-v3", "1")
WIRE = f"{PURPOSE}#algo:churn-v3@1"
ATTRIBUTES = {  # name: sensitive
    "purchase_count_12m": False,
    "home_city": False,
    "visit_log": True,
    "id_number": True,
}
ACTIONS = ("read", "profile")
TEXT = Label("文字", "text")


@dataclass
class Broker:
    """A broker, its clock, and ways to make and change what it stores."""

    ctx: Context
    time: list[int] = field(default_factory=lambda: [START])
    labels: int = 0

    def keep_log(self) -> None:
        """Let the sequencer do all that waits, so that the log is up to date."""
        while self.ctx.log.run_once(self.ctx.now()) is not None:
            pass

    def partner(self, name: str, country: str = "CN") -> str:
        """A new partner's id."""
        return add_partner(
            self.ctx,
            TENANT,
            name=name,
            name_zh=name,
            contact="privacy@brand.example",
            country=country,
        ).client_id

    def officer(self, name: str = "Li") -> str:
        """A new officer's id."""
        return add_officer(self.ctx, TENANT, name=name).client_id

    def token(self, client_id: str, role: str = "partner", *, seconds: int = 3600) -> str:
        """A bearer token of a client, good for so many seconds."""
        token = b64url(secrets.token_bytes(32))
        with self.ctx.db.transaction() as tx:
            access_tokens.add(
                tx,
                token_hash=hash_of(token),
                tenant_id=TENANT,
                subject=client_id,
                role=role,
                expires_at=self.ctx.now() + seconds,
            )
        return token

    def contact(self, partner_id: str, subject_ref: str) -> str:
        """The id of a partner's contact, bound to a customer of their own."""
        now = self.ctx.now()
        ref_hash = contacts.subject_ref_hash(
            self.ctx.keys.hmac_key("contact"), partner_id, subject_ref
        )
        with self.ctx.db.transaction() as tx:
            contact = contacts.get_or_create(
                tx,
                self.ctx.master,
                tenant_id=TENANT,
                partner_id=partner_id,
                subject_ref=subject_ref,
                ref_hash=ref_hash,
                now=now,
            )
            if contact.subject_id is None:
                subject_id = new_id("s")
                key = self.ctx.keys.new_log_key(f"subject:{subject_id}")
                subjects.add(tx, subject_id, tenant_id=TENANT, sealed_log_key=key, now=now)
                contacts.bind(tx, contact.id, subject_id=subject_id, grade="link", now=now)
        return contact.id

    def consent(
        self,
        partner_id: str,
        subject_ref: str,
        *,
        state: str = "granted",
        uses_left: int | None = None,
        **terms: Any,  # noqa: ANN401 (passed to `terms_of`)
    ) -> str:
        """The id of a new consent of a contact, in any state."""
        contact_id = self.contact(partner_id, subject_ref)
        now = self.ctx.now()
        signed = terms_of(partner_id, max_uses=uses_left, **{"valid_from": now, **terms})
        with self.ctx.db.transaction() as tx:
            subject_id = tx.execute(
                select(CONTACT.c.subject_id).where(CONTACT.c.id == contact_id)
            ).scalar_one()
            request = ConsentRequestRow(
                id=new_id("cr"),
                tenant_id=TENANT,
                partner_id=partner_id,
                contact_id=contact_id,
                template_id="loyalty-churn",
                template_version=1,
                language="zh",
                page_token_hash=b64url(secrets.token_bytes(32)),
                short_code="482913",
                state="answered",
                expires_at=now + 600,
                created_at=now,
            )
            add_request(tx, request)
            row = ConsentRow(
                id=signed.consent_id,
                tenant_id=TENANT,
                partner_id=partner_id,
                contact_id=contact_id,
                request_id=request.id,
                item="base",
                subject_id=subject_id,
                state=state,
                version=2,
                terms=signed.canonical().decode(),
                terms_hash=signed.hash(),
                grade="signed_and_displayed",
                signed_copy_id=None,
                valid_from=signed.valid_from,
                valid_until=signed.valid_until,
                uses_left=uses_left,
                status_list_id=None,
                status_index=None,
                withdrawal_grade=None,
                created_at=now,
                decided_at=now,
                ended_at=None,
            )
            add_consent(tx, row)
        return signed.consent_id

    def change(self, table: Any, where: Sequence[Any], **values: Any) -> None:  # noqa: ANN401
        """Write columns of rows as an operator's act would: with the next version."""
        if hasattr(table, "version"):
            values["version"] = table.version + 1
        with self.ctx.db.transaction() as tx:
            assert tx.execute(update(table).where(*where).values(**values)).rowcount > 0

    def logged(self, kind: str) -> list[Entry]:
        """The audit entries of a type, opened, in order."""
        with self.ctx.db.reading() as tx:
            rows = [
                *tx.execute(select(audit.ENTRY).order_by(audit.ENTRY.c.log_index)),
                *tx.execute(select(audit.PENDING).order_by(audit.PENDING.c.seq)),
            ]
            return [self._open(tx, row) for row in rows if row.type == kind]

    def _open(self, tx: Any, row: Any) -> Entry:  # noqa: ANN401 (rows of two tables)
        key = self.ctx.keys.log_key(tx, row.tenant_id, row.subject_id)
        names = ("id", "tenant_id", "type", "subject_id", "consent_id", "leaf_data", "sealed_body")
        sealed = SealedEntry(time=row.created_at, **{name: getattr(row, name) for name in names})
        return key.open(sealed)


@contextmanager
def broker(home: Path, database_url: str = "", *, real_time: bool = False) -> Iterator[Broker]:
    """A broker with the tenant `demo` and its registry, without partners.

    Its time stands still unless `real_time`.
    """
    settings = Settings(home=home, public_url=PUBLIC_URL, database_url=database_url)
    time = [START]

    def now() -> int:
        return int(clocks.time()) if real_time else time[0]

    if real_time:  # what was begun minutes ago would be old
        _begin(settings, master := MasterKey.generate(), now)
    else:
        master = begun(settings, _begin)
    ctx = _context(settings, master, now)
    ctx.keys.prepare(TENANT)
    made = Broker(ctx, time)
    made.keep_log()
    yield made
    ctx.db.close()


def _begin(settings: Settings, master: MasterKey, now: Callable[[], int] = lambda: START) -> None:
    db = Database(settings.sqlalchemy_url)
    make_tables(db)
    db.close()
    ctx = _context(settings, master, now)
    _register(ctx)
    ctx.db.close()


def _context(settings: Settings, master: MasterKey, now: Callable[[], int]) -> Context:
    db = Database(settings.sqlalchemy_url)
    keys = KeyRing(db, master, now, PUBLIC_URL)
    log = Sequencer(db, keys.log_signer(), settings, now)
    return Context(settings=settings, db=db, master=master, keys=keys, log=log, now=now)


def terms_of(
    partner_id: str,
    *,
    valid_from: int = START,
    valid_days: int = 180,
    purpose: str = PURPOSE,
    algorithm: tuple[str, str] = ALGORITHM,
    actions: Sequence[str] = ACTIONS,
    attributes: Sequence[str] = ("purchase_count_12m", "home_city"),
    separate: Sequence[Separate] = ("third_party",),
    territories: Sequence[str] = ("CN",),
    retention_days: int = 180,
    max_uses: int | None = None,
) -> Terms:
    """The terms of a new consent."""
    places = tuple(territories)
    return Terms(
        consent_id=new_id("c"),
        controller=Party(TENANT, TEXT, "privacy@retail.example", "CN"),
        partner=Party(partner_id, TEXT, "privacy@brand.example", "CN"),
        purpose=PurposeTerms(purpose, TEXT, necessary_for_service=False),
        algorithm=AlgorithmTerms(
            *algorithm, TEXT, TEXT, automated_decision=True, risk_tier="limited"
        ),
        actions=tuple(actions),
        attributes=tuple(
            AttributeTerms(
                name,
                TEXT,
                "pd:Location",
                ATTRIBUTES.get(name, True),
                required=False,
                stored_in="CN",
            )
            for name in attributes
        ),
        separate=tuple(separate),
        territories=Territories(("CN",), places, places),
        retention_days=retention_days,
        valid_from=valid_from,
        valid_until=valid_from + valid_days * DAY,
        max_uses=max_uses,
        refusal=TEXT,
        notice=Notice("loyalty-churn", 1, "zh", "hash"),
        withdrawal=PUBLIC_URL,
    )


def hash_of(token: str) -> str:
    """A bearer token as it is stored."""
    return b64url(hashlib.sha256(token.encode()).digest())


def _register(ctx: Context) -> None:
    add_tenant(ctx, TENANT, name=TEXT, contact="privacy@retail.example", country="CN")
    for purpose in (PURPOSE, "dpv:Marketing"):
        add_purpose(ctx, TENANT, PurposeTerms(purpose, TEXT, necessary_for_service=False))
    for version in ("1", "2"):
        add_algorithm(
            ctx,
            TENANT,
            PURPOSE,
            AlgorithmTerms(
                "churn-v3", version, TEXT, TEXT, automated_decision=True, risk_tier="limited"
            ),
        )
    for name, sensitive in ATTRIBUTES.items():
        add_attribute(
            ctx, TENANT, AttributeSpec(name, TEXT, "pd:Location", "text", sensitive, stored_in="CN")
        )


def map_field(made: Broker, partner_id: str, name: str, attribute: str) -> None:
    """Give an attribute a partner's own field name."""
    with made.ctx.db.transaction() as tx:
        tx.execute(
            insert(tables.AttributeMapping).values(
                partner_id=partner_id, field=name, tenant_id=TENANT, attribute_id=attribute
            )
        )
