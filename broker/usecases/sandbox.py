"""The sandbox: one new source or partner of a tenant at a time, tried on marked test subjects.

1. An officer marks contacts as test subjects, and starts a trial. The database holds one at a time.
2. Decisions on what is tried permit uses of test subjects alone, and count them.
3. An officer signs off, with figures, which opens it; or ends the trial, and nothing is opened.

What was open before stays open: a partner is tried only where somebody starts that.
"""

from dataclasses import asdict
from typing import Any

from sqlalchemy import Connection

from broker.domain.data_source import CLOSED, DRAFT, ENDED, OPEN, SANDBOX
from broker.domain.errors import NotFound, StateConflict
from broker.domain.ids import new_id
from broker.domain.sandbox import ENDED as WITHOUT
from broker.domain.sandbox import SIGNED_OFF, Figures, Kind, Trial, check_figures
from broker.store import contacts, data_sources, partners, registry
from broker.store import sandbox as store
from broker.usecases import audit
from broker.usecases.context import Context

OPERATOR = "operator"


def start(ctx: Context, tenant_id: str, kind: Kind, name: str, *, by: str = OPERATOR) -> Trial:
    """Put a source (by its name) or a partner (by its client id) into the sandbox.

    Raises `StateConflict` (another is in it; the source is open or closed), `NotFound`,
    `UnknownPartner`.
    """
    with ctx.db.transaction() as tx:
        data_sources.touch(tx, tenant_id)
        made = Trial(new_id("tr"), kind, name, by, ctx.now(), 0, None, None, None, None)
        if kind == "partner":
            store.start(tx, tenant_id, made, partners.find(tx, tenant_id, name).id)
            partners.set_admission(tx, tenant_id, name, SANDBOX)
        else:
            source = data_sources.find(tx, tenant_id, name)
            store.start(tx, tenant_id, made, source.id)
            if source.state != DRAFT:
                cure = "revise its checklist first" if source.state == CLOSED else "it is in use"
                raise StateConflict(f"the data source is {source.state}: {cure}")
            data_sources.set_state(tx, source, SANDBOX)
        _record(ctx, tx, tenant_id, made, "started", by=by)
    return made


def sign_off(
    ctx: Context, tenant_id: str, trial_id: str, figures: Figures, *, by: str = OPERATOR
) -> Trial:
    """Open what was tried: `by` stands for the quality and the value that the figures tell.

    Raises `InvalidRequest`, `NotFound`, `StateConflict` (over, or nothing was used in it).
    """
    check_figures(figures)
    return _end(ctx, tenant_id, trial_id, SIGNED_OFF, figures, by)


def end(ctx: Context, tenant_id: str, trial_id: str, *, by: str = OPERATOR) -> Trial:
    """End a trial without a sign-off: a source is a draft again, a partner is denied every use.

    Raises `NotFound`, `StateConflict` (it is over).
    """
    return _end(ctx, tenant_id, trial_id, WITHOUT, None, by)


def listed(ctx: Context, tenant_id: str) -> list[Trial]:
    """The trials of a tenant, oldest first; the one that runs has no end. Raises `NotFound`."""
    with ctx.db.reading() as tx:
        registry.tenant(tx, tenant_id)
        return store.every(tx, tenant_id)


def mark(
    ctx: Context,
    tenant_id: str,
    partner_id: str,
    subject_ref: str,
    *,
    on: bool,
    by: str = OPERATOR,
) -> bool:
    """Make a partner's contact a test subject, or one no more; whether that changed anything.

    Raises `NotFound` (tenant, contact), `UnknownPartner`.
    """
    hashed = contacts.subject_ref_hash(ctx.keys.hmac_key("contact"), partner_id, subject_ref)
    with ctx.db.transaction() as tx:
        data_sources.touch(tx, tenant_id)
        partners.find(tx, tenant_id, partner_id)
        contact = contacts.by_ref(tx, partner_id, hashed)
        if contact is None:
            raise NotFound("the partner has no such contact: invite them first")
        if not store.mark(tx, tenant_id, contact.id, on=on):
            return False
        audit.record(
            ctx,
            tx,
            tenant_id=tenant_id,
            type="test_subject.marked" if on else "test_subject.unmarked",
            body={"partner": partner_id, "contact": contact.id, "by": by},
            subject_id=contact.subject_id,
        )
    return True


def _end(
    ctx: Context, tenant_id: str, trial_id: str, outcome: str, figures: Figures | None, by: str
) -> Trial:
    with ctx.db.transaction() as tx:
        data_sources.touch(tx, tenant_id)
        trial = store.find(tx, tenant_id, trial_id)
        store.end(tx, trial, outcome=outcome, figures=figures, by=by, now=ctx.now())
        if figures is not None and trial.uses == 0:
            raise StateConflict(
                "nothing was permitted in this trial yet: mark a test subject and try it"
            )
        if trial.kind == "partner":
            admission = None if outcome == SIGNED_OFF else ENDED
            partners.set_admission(tx, tenant_id, trial.name, admission)
        else:
            source = data_sources.find(tx, tenant_id, trial.name)
            data_sources.set_state(tx, source, OPEN if outcome == SIGNED_OFF else DRAFT)
        _record(ctx, tx, tenant_id, trial, outcome, by=by, figures=figures)
        return store.find(tx, tenant_id, trial_id)


def _record(
    ctx: Context,
    tx: Connection,
    tenant_id: str,
    trial: Trial,
    act: str,
    *,
    by: str,
    figures: Figures | None = None,
) -> None:
    body: dict[str, Any] = {"trial": trial.id, trial.kind: trial.name, "by": by}
    if figures is not None:
        body |= {"uses": trial.uses, **asdict(figures)}
    audit.record(ctx, tx, tenant_id=tenant_id, type=f"sandbox.{act}", body=body)
