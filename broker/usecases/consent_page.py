"""What a consent page needs beside its state: whether it has changed, and the receipt."""

import hashlib

import orjson

from broker.domain.errors import NotFound
from broker.store import consents, contacts, presentations
from broker.usecases.consent_request import token_hash
from broker.usecases.context import Context
from credentials.jcs import b64url

REVISION_BYTES = 12


def revision(ctx: Context, tenant_id: str, page_token: str) -> str:
    """A short text that changes whenever the page would show something else; raises `NotFound`.

    It reads rows only, so that many open pages may ask every second.
    """
    now = ctx.now()
    with ctx.db.reading() as tx:
        request = consents.request_by_page(tx, tenant_id, token_hash(page_token))
        rows = consents.of_request(tx, request.id)
        contact = contacts.find(tx, tenant_id, request.contact_id)
        waiting = presentations.latest(tx, request.id, "consent")
        invited = (
            contacts.open_invitation(tx, contact.id, now) if contact.subject_id is None else None
        )
        open_ones = [
            row.id for row in presentations.open_ones(tx, request.id) if row.expires_at > now
        ]
    seen = (
        request.state,
        request.expires_at <= now,
        [(row.id, row.state, row.version) for row in rows],
        contact.subject_id is not None,
        None if waiting is None else (waiting.id, waiting.state),
        None if invited is None else invited.id,
        sorted(open_ones),
    )
    return b64url(hashlib.sha256(orjson.dumps(seen)).digest()[:REVISION_BYTES])


def receipt(ctx: Context, tenant_id: str, page_token: str, consent_id: str) -> str:
    """The receipt credential of a consent of this page (SD-JWT VC); raises `NotFound`."""
    with ctx.db.reading() as tx:
        request = consents.request_by_page(tx, tenant_id, token_hash(page_token))
        row = consents.consent(tx, tenant_id, consent_id)
        if row.request_id != request.id:
            raise NotFound("no such consent")
        issued = presentations.issued(tx, tenant_id, consent_id, "receipt")
    return ctx.master.open(issued.sealed, f"issued:{consent_id}:receipt").decode()
