"""Deletion tasks: each recipient is told what to delete, and answers with a signed receipt."""

import hashlib
import hmac

import orjson
from sqlalchemy import Connection

from broker.domain.access import stored_terms
from broker.domain.addresses import tenant_url
from broker.domain.deletion import Asked, Receipt, read_receipt
from broker.domain.errors import NotFound, StateConflict
from broker.domain.event import written
from broker.domain.held import Held
from broker.domain.ids import new_id
from broker.store import consents, deletion_tasks, partners
from broker.store.consents import ConsentRow
from broker.store.deletion_tasks import DeletionTaskRow
from broker.usecases import audit
from broker.usecases.context import Context
from broker.usecases.event import tell
from credentials.jcs import b64url

DAY = 86_400


def open_task(
    ctx: Context, tx: Connection, row: ConsentRow, reason: str, *, since: int | None = None
) -> str | None:
    """Tell the partner of a consent to delete what it got; the task's id, None without terms.

    It has as long as the terms let it keep the data, and at most `settings.deletion_days`. A task
    that is there already is only made to be done sooner. A partner learns of a task from its
    `since` on, now when None.
    """
    terms = stored_terms(row.terms)
    if not terms.attributes:
        return None
    now = ctx.now() if since is None else since
    due_at = now + min(terms.retention_days, ctx.settings.deletion_days) * DAY
    earlier = deletion_tasks.of_consent(tx, row.id)
    if earlier is not None:
        if deletion_tasks.hasten(tx, earlier.id, due_at):
            _tell(ctx, tx, row, earlier.id, due_at, since)
        return earlier.id
    task = DeletionTaskRow(
        id=new_id("dt"),
        tenant_id=row.tenant_id,
        partner_id=row.partner_id,
        consent_id=row.id,
        reason=reason,
        attributes=orjson.dumps(terms.attributes).decode(),
        state="open",
        created_at=now,
        due_at=due_at,
    )
    deletion_tasks.add(tx, task)
    _tell(ctx, tx, row, task.id, due_at, since)
    return task.id


def tasks(
    ctx: Context,
    tenant_id: str,
    partner_id: str | None,
    *,
    limit: int,
    state: str | None = None,
    consent_id: str | None = None,
    after: str | None = None,
) -> tuple[list[DeletionTaskRow], str | None]:
    """Tasks of a partner, or (None) of the tenant, oldest first, and where the next page begins.

    `after` is the last task of the page before. Raises `NotFound` for one that is not there.
    """
    with ctx.db.reading() as tx:
        behind = None
        if after is not None:
            behind = deletion_tasks.find(tx, tenant_id, after, partner_id)
        found = deletion_tasks.listed(
            tx,
            tenant_id,
            now=ctx.now(),
            limit=limit + 1,
            partner_id=partner_id,
            state=state,
            consent_id=consent_id,
            after=behind,
        )
    return found[:limit], found[limit - 1].id if len(found) > limit else None


def asked(ctx: Context, row: DeletionTaskRow) -> Asked:
    """What the receipt of a task has to say."""
    return Asked(
        task_id=row.id,
        partner_id=row.partner_id,
        consent_id=row.consent_id,
        attributes=tuple(orjson.loads(row.attributes)),
        audience=tenant_url(ctx.settings.public_url, row.tenant_id),
        created_at=row.created_at,
    )


def take_receipt(
    ctx: Context, tenant_id: str, partner_id: str, task_id: str, token: str
) -> DeletionTaskRow:
    """Keep a partner's receipt; the same one again changes nothing.

    Verified with no transaction open, then one writes the row and the log entry. Raises
    `NotFound` (not its task), `ReceiptInvalid`, `StateConflict` (another receipt came first).
    """
    with ctx.db.reading() as tx:
        row = deletion_tasks.find(tx, tenant_id, task_id, partner_id)
        key = orjson.loads(partners.find(tx, tenant_id, partner_id).jwk)
    if row.state == "done":
        return _again(ctx, row, token)
    receipt = read_receipt(token, asked(ctx, row), key, ctx.now())
    with ctx.db.transaction() as tx:
        sealed = ctx.master.seal(token.encode(), _context(row.id))
        if not deletion_tasks.done(tx, row.id, sealed, ctx.now()):
            return _again(ctx, deletion_tasks.find(tx, tenant_id, task_id, partner_id), token)
        _record(ctx, tx, row, receipt, token)
        return deletion_tasks.find(tx, tenant_id, task_id, partner_id)


def receipt_of(ctx: Context, tenant_id: str, partner_id: str | None, task_id: str) -> str:
    """The receipt of a task (compact JWS), for its partner or (None) an officer.

    Raises `NotFound`.
    """
    with ctx.db.reading() as tx:
        row = deletion_tasks.find(tx, tenant_id, task_id, partner_id)
    token = opened_receipt(ctx, row)
    if token is None:
        raise NotFound("there is no receipt yet: the task is open")
    return token


def opened_receipt(ctx: Context, row: DeletionTaskRow) -> str | None:
    """The receipt of a task that is done."""
    if row.sealed_receipt is None:
        return None
    return ctx.master.open(row.sealed_receipt, _context(row.id)).decode()


def _tell(
    ctx: Context, tx: Connection, row: ConsentRow, task_id: str, due_at: int, since: int | None
) -> None:
    tell(
        ctx,
        tx,
        tenant_id=row.tenant_id,
        partner_id=row.partner_id,
        type="deletion.requested",
        subject=row.id,
        data={"consent": row.id, "task": task_id, "due_at": written(due_at)},
        held=None if since is None else Held(since),
    )


def _again(ctx: Context, row: DeletionTaskRow, token: str) -> DeletionTaskRow:
    if not hmac.compare_digest((opened_receipt(ctx, row) or "").encode(), token.encode()):
        raise StateConflict("this task has another receipt already: its first one counts")
    return row


def _record(
    ctx: Context, tx: Connection, row: DeletionTaskRow, receipt: Receipt, token: str
) -> None:
    consent = consents.consent(tx, row.tenant_id, row.consent_id)
    audit.record(
        ctx,
        tx,
        tenant_id=row.tenant_id,
        type="deletion.confirmed",
        consent_id=row.consent_id,
        subject_id=consent.subject_id,
        body={
            "task": row.id,
            "partner": row.partner_id,
            "deleted_at": receipt.deleted_at,
            "method": receipt.method,
            "receipt": b64url(hashlib.sha256(token.encode()).digest()),
        },
    )


def _context(task_id: str) -> str:
    return f"deletion:{task_id}"
