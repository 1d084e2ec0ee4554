"""What several benchmarks start from: a partner, consents that were granted, a client's token.

Each acts for the demonstration tenant.
"""

import secrets
from hashlib import sha256

from sqlalchemy import update

from broker.domain.addresses import ROOT_TENANT
from broker.domain.ids import new_id
from broker.store import access_tokens, contacts, subjects
from broker.store.acting import acting_for
from broker.store.consents import CONSENT
from broker.usecases.consent_request import open_request
from broker.usecases.context import Context
from broker.usecases.partner import add_partner
from credentials.jcs import b64url

TEMPLATE = "loyalty-churn"
DAY_SECONDS = 86_400


@acting_for(ROOT_TENANT)
def new_partner(ctx: Context, name: str = "Benchmark", name_zh: str = "基准") -> str:
    """A partner's client id."""
    added = add_partner(
        ctx,
        ROOT_TENANT,
        name=name,
        name_zh=name_zh,
        contact="privacy@brand.example",
        country="CN",
    )
    return added.client_id


@acting_for(ROOT_TENANT)
def granted(ctx: Context, partner_id: str, customers: int) -> tuple[str, ...]:
    """So many customers who have granted what the template asks for, as the partner names them."""
    names = tuple(f"crm-{number:06}" for number in range(customers))
    for name in names:
        open_request(
            ctx, ROOT_TENANT, partner_id, subject_ref=name, template_id=TEMPLATE, language="zh"
        )
    _grant_all(ctx, partner_id)
    return names


@acting_for(ROOT_TENANT)
def token_of(ctx: Context, client_id: str, role: str) -> str:
    """An access token of a partner or an officer, good for a day."""
    token = b64url(secrets.token_bytes(32))
    with ctx.db.transaction() as tx:
        access_tokens.add(
            tx,
            token_hash=b64url(sha256(token.encode()).digest()),
            tenant_id=ROOT_TENANT,
            subject=client_id,
            role=role,
            expires_at=ctx.now() + DAY_SECONDS,
        )
    return token


def _grant_all(ctx: Context, partner_id: str) -> None:
    """Put every consent where a customer's signature would have put it, each customer apart."""
    now = ctx.now()
    with ctx.db.transaction() as tx:
        rows = tx.execute(CONSENT.select().where(CONSENT.c.partner_id == partner_id)).all()
        for contact_id in {row.contact_id for row in rows}:
            subject_id = new_id("s")
            key = ctx.keys.new_log_key(f"subject:{subject_id}")
            subjects.add(tx, subject_id, tenant_id=ROOT_TENANT, sealed_log_key=key, now=now)
            contacts.bind(tx, contact_id, subject_id=subject_id, grade="link", now=now)
            tx.execute(
                update(CONSENT)
                .where(CONSENT.c.contact_id == contact_id)
                .values(
                    state="granted",
                    subject_id=subject_id,
                    valid_from=now,
                    valid_until=now + 180 * DAY_SECONDS,
                )
            )
