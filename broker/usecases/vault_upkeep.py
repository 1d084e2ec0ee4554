"""What keeps vaults in order: envelopes of ended consents go, and what is there is checked."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Final

import structlog
from sqlalchemy import Connection

from broker.domain.errors import BrokerError, EnvelopeDamaged, UnknownVault, VaultUnreachable
from broker.domain.vault import check_piece, piece_span
from broker.outbound.vaults import PART, Lying, Vault
from broker.store import consents, vault
from broker.store.vault import EnvelopeRow
from broker.usecases import audit
from broker.usecases.context import Context
from broker.usecases.vault_register import open_to_change, open_vault

DUE_AT_ONCE: Final = 100
CHECKED_AT_ONCE: Final = 200

_log = structlog.get_logger("broker")


def delete_due(ctx: Context) -> int:
    """Delete what is due by now from its vault, of any tenant; how many envelopes that were.

    The file goes first, then one transaction says so: after a crash between it is done again. What
    a vault does not take now is tried again by the next call; one that answers nothing at all is
    left until then, since waiting for it would hold up the others.
    """
    done, now = 0, ctx.now()
    silent: set[str] = set()
    last: EnvelopeRow | None = None
    while True:
        with ctx.db.reading() as tx:
            due = vault.due(tx, now, DUE_AT_ONCE, last)
        for row in due:
            if row.vault in silent:
                continue
            try:
                open_to_change(ctx, row.vault).delete(row.path)
            except BrokerError as error:
                _log.warning("envelope_not_deleted", vault=row.vault, code=error.code)
                if isinstance(error, VaultUnreachable) and not _answers(ctx, row):
                    silent.add(row.vault)
                continue
            with ctx.db.transaction() as tx:
                done += _deleted(ctx, tx, row)
        if len(due) < DUE_AT_ONCE:
            return done
        last = due[-1]  # those that could not be deleted do not hold up the others


def _answers(ctx: Context, row: EnvelopeRow) -> bool:
    """Whether a vault that would not delete an envelope says at least if it is there."""
    try:
        open_vault(ctx, row.vault).has(row.path)
    except VaultUnreachable:
        return False
    return True


@dataclass(frozen=True)
class Damage:
    """An envelope that its vault does not give as it was put in; `code` says why."""

    envelope_id: str
    consent_id: str
    attribute: str
    vault: str
    code: str


def check(
    ctx: Context, tenant_id: str, told: Callable[[EnvelopeRow], None] = lambda _row: None
) -> tuple[int, list[Damage]]:
    """Read every stored envelope of a tenant and compare it; how many, and what is wrong.

    `told` is called after each.
    """
    damaged: list[Damage] = []
    count, after = 0, ""
    while True:
        with ctx.db.reading() as tx:
            rows = vault.stored(tx, tenant_id, after, CHECKED_AT_ONCE)
        if not rows:
            return count, damaged
        for row in rows:
            try:
                check_whole(open_vault(ctx, row.vault), row)
            except (VaultUnreachable, EnvelopeDamaged, UnknownVault) as error:
                damaged.append(Damage(row.id, row.consent_id, row.attribute, row.vault, error.code))
            count += 1
            told(row)
        after = rows[-1].id


def strays(ctx: Context, name: str, before: int | None = None) -> Iterator[Lying]:
    """What lies in a vault and no row names, put there before `before` (None: ever).

    A restored database knows nothing of what is newer than it; a restored vault may hold what was
    deleted since. Rows are written first, so what is being put there now is no stray. Raises
    `VaultUnreachable`.
    """
    for some in _batches(open_to_change(ctx, name).lying()):
        with ctx.db.reading() as tx:
            named = vault.named(tx, name, [_placed(one.path) for one in some])
        for one in some:
            if _placed(one.path) not in named and (before is None or one.since < before):
                yield one


def delete_strays(ctx: Context, name: str, before: int) -> int:
    """Delete what `strays` names; how much that was."""
    place, gone = open_to_change(ctx, name), 0
    for one in list(strays(ctx, name, before)):
        place.delete(_placed(one.path))
        gone += 1
    return gone


def _placed(path: str) -> str:
    return path.removesuffix(PART)


def _batches(lying: Iterator[Lying]) -> Iterator[list[Lying]]:
    while some := list(islice(lying, CHECKED_AT_ONCE)):
        yield some


def check_whole(place: Vault, row: EnvelopeRow) -> None:
    """Read an envelope and compare it; raises `EnvelopeDamaged`, `VaultUnreachable`."""
    for number in range(-(-row.size // piece_span(0, row.size).length)):
        span = piece_span(number, row.size)
        check_piece(row.pieces, number, place.read(row.path, span.first, span.past))


def _deleted(ctx: Context, tx: Connection, row: EnvelopeRow) -> bool:
    """Write that an envelope is gone from its vault, once."""
    if not vault.stands(tx, row.id):
        return False
    if row.state == "writing":  # it was never there for anybody
        return vault.forget(tx, row.id)
    consent = consents.consent(tx, row.tenant_id, row.consent_id)
    entry_id = audit.record(
        ctx,
        tx,
        tenant_id=row.tenant_id,
        type="envelope.deleted",
        consent_id=row.consent_id,
        subject_id=consent.subject_id,
        body={
            "envelope": row.id,
            "attribute": row.attribute,
            "masking": row.masking,
            "vault": row.vault,
            "digest": row.digest,
        },
    )
    return vault.deleted(tx, row.id, entry_id, ctx.now())
