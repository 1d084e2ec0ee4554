"""After an old backup was restored: withdraw and erase again what was, open a new origin.

A log that was rolled back must not sign again under its name: others hold heads of it that this
tree does not extend. The tree goes on under a new origin, whose name says which head it follows.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection

from broker.domain.addresses import ROOT_TENANT
from broker.domain.checkpoint import Checkpoint
from broker.domain.consent import ConsentState
from broker.domain.errors import (
    LogRolledBack,
    MalformedCheckpoint,
    MalformedNote,
    NotFound,
    StateConflict,
)
from broker.domain.note import parse_note
from broker.store import consents, log_reopening, log_tree, outside_copies
from broker.store.head_file import FILE_NAME, HeadFile
from broker.store.outside_copies import WithdrawalCopy
from broker.usecases import audit
from broker.usecases.context import Context
from broker.usecases.erasure import erase_again
from broker.usecases.granting import withdraw_consent

AFTER = "-after-"
_ROOT_DIGITS = 16


@dataclass(frozen=True)
class Rollback:
    """The head that was signed last, and the size of the log in the database now."""

    signed: Checkpoint
    size: int
    reason: str

    @property
    def new_origin(self) -> str:
        """The name under which the log goes on: the first one, and the head that it follows."""
        first = self.signed.origin.split(AFTER, maxsplit=1)[0]
        return f"{first}{AFTER}{self.signed.size}-{self.signed.root.hex()[:_ROOT_DIGITS]}"


@dataclass(frozen=True)
class Recovered:
    """What a recovery has done again, and how many withdrawals were of lost consents."""

    origin: str
    withdrawn: int
    unknown: int
    erased: int


def rollback(ctx: Context) -> Rollback | None:
    """How the log was rolled back; None when it extends the head that was signed last.

    Raises `LogRolledBack` when the file with that head is missing or unreadable: then there is
    nothing to recover from but the operator's own knowledge (`Sequencer.adopt`).
    """
    try:
        ctx.log.check()
    except LogRolledBack as error:
        reason = str(error)
    else:
        return None
    note = HeadFile(ctx.settings.home / FILE_NAME).read()
    if note is None:
        raise LogRolledBack(reason)
    try:
        signed = Checkpoint.parse(parse_note(note).text)
    except (MalformedNote, MalformedCheckpoint):
        raise LogRolledBack(f"{FILE_NAME} does not hold a signed head: restore it") from None
    with ctx.db.reading() as tx:
        head = log_tree.head(tx)
    return Rollback(signed, head.size if head else 0, reason)


def recover(ctx: Context, copies: Sequence[Path]) -> Recovered:
    """Replay what `copies` tell of and go on under a new origin. No broker may be serving.

    1. The log is rolled back, otherwise `StateConflict`.
    2. In one transaction: each consent that is granted here and was withdrawn is withdrawn, in the
       tenant's name, since what the customer signed was lost with the database; each customer who
       was erased is erased, and their log key destroyed where nothing is held any more; the old
       head goes into the log; the log gets its new origin. A crash before the commit leaves
       everything.
    3. The head file of the old origin is set aside. A crash before it is mended by running again.

    Raises `LogRolledBack` without a readable head, `OSError` for unreadable copies.
    """
    # 1.
    found = rollback(ctx)
    if found is None:
        raise StateConflict("the log extends its last signed head: there is nothing to recover")
    lost, erased = outside_copies.read(copies), outside_copies.read_erasures(copies)
    origin, withdrawn, unknown, erased_again = found.new_origin, 0, 0, 0
    # 2.
    with ctx.db.transaction() as tx:
        head = log_tree.head(tx)
        if head is None or head.origin != origin:
            for copy in lost:
                done = _withdraw_again(ctx, tx, copy)
                withdrawn += done is True
                unknown += done is None
            for erasure in erased:
                erased_again += erase_again(ctx, tx, erasure)
            body = {
                "old_origin": found.signed.origin,
                "old_size": found.signed.size,
                "old_root": found.signed.root.hex(),
                "from_size": found.size,
                "origin": origin,
                "withdrawn_again": withdrawn,
                "erased_again": erased_again,
            }
            audit.record(ctx, tx, tenant_id=ROOT_TENANT, type="log.recovered", body=body)
            log_tree.create_head(tx, origin)
            log_reopening.reopen(tx, origin)
    # 3.
    kept = ctx.settings.home / FILE_NAME
    kept.rename(kept.with_name(f"{FILE_NAME}.{found.signed.size}"))
    ctx.db.empty_write_ahead_log()
    return Recovered(origin, withdrawn, unknown, erased_again)


def _withdraw_again(ctx: Context, tx: Connection, copy: WithdrawalCopy) -> bool | None:
    """True when the consent was granted, False when it is over already, None when it is unknown."""
    try:
        row = consents.consent(tx, copy.tenant_id, copy.consent_id)
    except NotFound:
        return None
    if row.state != ConsentState.GRANTED:
        return False
    withdraw_consent(ctx, tx, row, None)
    return True
