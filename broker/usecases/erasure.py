"""Erase a customer (PIPL 47, GDPR 17): at once what may go, the rest when the law lets go of it.

1. One transaction begins it: every granted consent is withdrawn, each recipient gets a deletion
   task, and references, wallet keys and offers are emptied. So is what a guardian alone signed for
   a child, this customer or one before, unless another than this one is named by now: nobody's
   wallet could withdraw it any more. Decisions deny at once; what else the
   partner may fetch shows it at a time of its own (`shown_from`), as a withdrawal of everything is
   shown (decision 0080): two partners whose customer is erased in the same second would find by it
   that the customer is one.
2. From then on `release_due` closes what waits for an answer and empties requests, pages and
   terms that nobody signed. Signed evidence and what it proves stay sealed until its time is over.
3. `release_due` deletes each piece of evidence at its time. With the last one the customer's log
   key is destroyed, with the second step where there is none: the bodies of their log entries then
   open to nobody. The salted hashes stay in the tree; bundles that were handed out go on verifying.

What remains for good: ids that lead to nobody, the states and list places of consents, because the
public status lists are made of them, and deletion tasks with their receipts.

The entries that tell of it are the tenant's: they can be read when the customer's cannot. A copy
outside of the database lets `log recover` erase again what a restored backup has brought back.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from secrets import randbelow

import orjson
from sqlalchemy import Connection

from broker.domain.consent import ConsentState
from broker.domain.errors import LogUnavailable, NotFound, StateConflict
from broker.domain.guardian import GUARDIAN
from broker.domain.held import Held
from broker.domain.ids import new_id
from broker.domain.terms import Terms
from broker.store import consent_locks, contacts, credentials, erasures, outside_copies, people
from broker.store.consents import ConsentRow
from broker.store.erasures import ErasureRow
from broker.store.outside_copies import ErasureCopy
from broker.usecases import audit
from broker.usecases.closing import close_request
from broker.usecases.context import Context
from broker.usecases.deletion import open_task
from broker.usecases.granting import withdraw_consent
from broker.usecases.guardian import signer
from broker.usecases.person import Named, Person, find_person
from broker.usecases.status import mark_changed
from broker.usecases.unlearning import note_end

OPERATOR = "operator"
DUE_AT_ONCE = 100
QUIET_SECONDS = 3_600


@dataclass(frozen=True)
class Begun:
    """What the first transaction of an erasure has done."""

    erasure: ErasureRow
    withdrawn: int
    tasks: int


def erase(ctx: Context, tenant_id: str, named: Named, *, by: str) -> Begun:
    """Begin a customer's erasure, and finish it where nothing is held.

    `by` is an officer's id or `OPERATOR`. It is done even when the log is behind. Raises
    `NotFound`, `StateConflict` (erased already), `LogUnavailable` (no copy outside can be kept).
    """

    def begin(tx: Connection) -> Begun:
        person = find_person(ctx, tx, tenant_id, named, hold=True)
        # Where nothing was ever asked there is nothing that a partner could see change.
        seen = erasures.seen_by_partners(tx, person.contact_ids) or bool(_alone(tx, person))
        held = Held.at(ctx.now(), randbelow) if seen else None
        return erase_person(ctx, tx, person, by=by, held=held)

    begun = ctx.db.run(begin)
    _forget(ctx, begun.erasure)
    return begun


def erase_person(
    ctx: Context, tx: Connection, person: Person, *, by: str, held: Held | None
) -> Begun:
    """The transaction of `erase`, on contacts that the caller holds.

    The partner sees it when `held` is over, at once when None.
    """
    if person.erasure_id is not None:
        raise StateConflict("this customer was erased already: subject erasures tells until when")
    with erasures.overwriting(tx):
        withdrawn, tasks = _withdraw(ctx, tx, person, by, held)
        erasure = _begin(ctx, tx, person, by, held)
        _keep_outside(ctx, person)
        audit.record(
            ctx,
            tx,
            tenant_id=person.tenant_id,
            type="subject.erased",
            body={
                "erasure": erasure.id,
                "by": by,
                "contacts": list(person.contact_ids),
                "withdrawn": withdrawn,
                "deletion_tasks": tasks,
                "held_until": erasure.held_until,
            },
        )
        if held is None:
            erasure = _go_on(ctx, tx, erasure, person.contact_ids)
    return Begun(erasure, withdrawn, tasks)


def erase_again(ctx: Context, tx: Connection, copy: ErasureCopy) -> int:
    """Erase what a restored backup has brought back; how many customers that were.

    Contacts that the backup does not know, or that are erased in it, are passed over.
    """
    erased = 0
    for contact_id in copy.contact_ids:
        try:
            contact = contacts.find(tx, copy.tenant_id, contact_id)
        except NotFound:
            continue
        if contact.erasure_id is None:
            every = (
                (contact,)
                if contact.subject_id is None
                else tuple(contacts.of_subject(tx, copy.tenant_id, contact.subject_id))
            )
            person = Person(copy.tenant_id, contact.subject_id, every)
            # Partners have seen it before the backup was restored.
            erase_person(ctx, tx, person, by=OPERATOR, held=None)
            erased += 1
    return erased


def release_due(ctx: Context) -> int:
    """Empty and delete what is due by now; how many erasures were looked after.

    On SQLite it also empties the write-ahead log of what it still holds of the erased.
    """
    now = ctx.now()
    with ctx.db.reading() as tx:
        due = erasures.releasable(tx, now, DUE_AT_ONCE)
        recent = erasures.touched_since(tx, now - QUIET_SECONDS)
    for erasure in due:
        with ctx.db.transaction() as tx, erasures.overwriting(tx):
            contact_ids = _contact_ids(tx, erasure)
            people.hold(tx, contact_ids)
            _go_on(ctx, tx, erasures.find(tx, erasure.tenant_id, erasure.id), contact_ids)
        _forget(ctx, erasure)
    if due or recent:
        ctx.db.empty_write_ahead_log()
    return len(due)


def _withdraw(
    ctx: Context, tx: Connection, person: Person, by: str, held: Held | None
) -> tuple[int, int]:
    """Withdraw, and tell recipients; how many were withdrawn, how many tasks there are."""
    # Held back, an entry of the consent names no officer: two partners would compare the names.
    officer_id = None if by == OPERATOR or held is not None else by
    since = None if held is None else held.until
    withdrawn = tasks = 0
    # In the order of status lists: of two who end many consents, one waits for the other.
    _hold_requests(tx, person)
    rows = people.consents(tx, person.contact_ids, lock=True)
    for row in sorted(rows, key=lambda row: (row.status_list_id or "", row.id)):
        if row.subject_id is not None:  # it was granted once: the partner has had the data
            tasks += open_task(ctx, tx, row, "erased", since=since) is not None
            # What was withdrawn was noted then: from then on it was in no round.
            if row.state not in {ConsentState.GRANTED, ConsentState.WITHDRAWN}:
                note_end(ctx, tx, row, since)
        if row.state == ConsentState.GRANTED:
            withdraw_consent(ctx, tx, row, None, officer_id=officer_id, held=held)
            withdrawn += 1
    for row in _alone(tx, person, lock=True):
        # The same task as of a withdrawal: it is the guardian that is erased, not the child.
        tasks += open_task(ctx, tx, row, "withdrawn", since=since) is not None
        withdraw_consent(ctx, tx, row, None, officer_id=officer_id, held=held)
        withdrawn += 1
    return withdrawn, tasks


def _hold_requests(tx: Connection, person: Person) -> None:
    """Hold all consent requests of which a consent may end here, in one go and so in one order."""
    wards = [one.id for one in people.wards(tx, person.tenant_id, person.contact_ids)]
    given = people.for_others(tx, person.tenant_id, person.subject_id, wards)
    consent_locks.hold_of_contacts(
        tx, {*person.contact_ids, *wards, *(row.contact_id for row in given)}
    )


def _alone(tx: Connection, person: Person, *, lock: bool = False) -> list[ConsentRow]:
    """The consents in force that nobody's wallet can withdraw after them, of children.

    A guardian gave them alone, this customer or one before. In the order of status lists.
    """
    found = []
    wards = [one.id for one in people.wards(tx, person.tenant_id, person.contact_ids)]
    for row in people.for_others(tx, person.tenant_id, person.subject_id, wards, lock=lock):
        if row.state != ConsentState.GRANTED:
            continue
        terms = Terms.from_json(orjson.loads(row.terms))
        if terms.guardian is None or not terms.guardian.alone:
            continue  # the minor has a wallet
        child = contacts.find(tx, row.tenant_id, row.contact_id)
        guardian = signer(tx, child, GUARDIAN)
        if guardian.erasure_id is not None or guardian.subject_id in {None, person.subject_id}:
            found.append(row)
    return sorted(found, key=lambda row: (row.status_list_id or "", row.id))


def _begin(ctx: Context, tx: Connection, person: Person, by: str, held: Held | None) -> ErasureRow:
    """Empty what no partner looks at, and let no wallet and no reference lead to the customer."""
    now, contact_ids = ctx.now(), person.contact_ids
    erasures.close_invitations(tx, contact_ids)
    if person.subject_id is not None:
        lists = {copy.status_list_id for copy in credentials.supersede(tx, person.subject_id)}
        for list_id in sorted(lists):
            mark_changed(tx, list_id)
        erasures.forget_keys_of_copies(tx, person.subject_id)
        erasures.forget_guardian(tx, person.subject_id)
    shown_from = now if held is None else held.until
    erasure = ErasureRow(
        id=new_id("er"),
        tenant_id=person.tenant_id,
        subject_id=person.subject_id,
        requested_by=by,
        begun_at=now,
        held_until=max(erasures.held_until(tx, contact_ids) or now, shown_from),
        finished_at=None,
        shown_from=shown_from,
    )
    erasures.add(tx, erasure)
    erasures.empty_contacts(tx, contact_ids, erasure.id)
    return erasure


def _go_on(
    ctx: Context, tx: Connection, erasure: ErasureRow, contact_ids: Sequence[str]
) -> ErasureRow:
    """Do what is due of an erasure that is shown; nothing when another worker was first."""
    if erasure.finished_at is not None:
        return erasure
    if erasure.shown_from is not None:
        for request in consent_locks.hold_of_contacts(tx, contact_ids):
            if request.state == "open":
                close_request(ctx, tx, request, "expired", reason="erased")
        erasures.empty_requests(tx, contact_ids)
        erasures.shown(tx, erasure.id)
    erasures.release(tx, contact_ids, ctx.now())
    if erasures.held_until(tx, contact_ids) is None:
        return _finish(ctx, tx, erasure)
    return erasures.find(tx, erasure.tenant_id, erasure.id)


def _finish(ctx: Context, tx: Connection, erasure: ErasureRow) -> ErasureRow:
    """Destroy the customer's log key: nothing is held any more."""
    erasures.finish(tx, erasure.id, ctx.now())
    if erasure.subject_id is not None:
        erasures.destroy_log_key(tx, erasure.subject_id)
    audit.record(
        ctx,
        tx,
        tenant_id=erasure.tenant_id,
        type="subject.log_key_destroyed" if erasure.subject_id else "subject.released",
        body={"erasure": erasure.id},
    )
    return erasures.find(tx, erasure.tenant_id, erasure.id)


def _contact_ids(tx: Connection, erasure: ErasureRow) -> list[str]:
    found = people.contacts_of_erasure(tx, erasure.tenant_id, erasure.id)
    return [contact.id for contact in found]


def _keep_outside(ctx: Context, person: Person) -> None:
    copy = ErasureCopy(person.tenant_id, person.contact_ids, ctx.now())
    try:
        outside_copies.keep(ctx.settings.home, copy)
    except OSError as error:
        raise LogUnavailable(
            f"the erasure cannot be kept outside of the database ({error.strerror}): try again"
        ) from error


def _forget(ctx: Context, erasure: ErasureRow) -> None:
    """After the commit: what this process still holds of the erased."""
    if erasure.subject_id is not None:
        ctx.keys.forget_log_keys(erasure.subject_id)
    ctx.db.empty_write_ahead_log()
