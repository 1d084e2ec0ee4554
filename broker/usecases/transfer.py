"""Hand an envelope out of a vault to its partner: decided, counted, checked, stopped.

1. Find the envelope in the masking that has to be, and what of it is asked for; read its first
   piece and check it.
2. Decide (`decide`): live consent, policies, uses. Whatever the vault cannot give is a reason to
   deny, so that nothing is counted for data that do not come, and the log has it.
3. Read the following pieces, a few at once, and check each against its digest; before each is sent
   look again whether the consent is in force, nobody was stopped, and what a transfer abroad rests
   on still counts. Where that ended the question is judged again, by what is there instead.

A transfer that is stopped has its entry, and ends before its announced length: the partner sees
that it is not whole. Parts of one transfer carry one `Idempotency-Key`, and are one use.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NoReturn

from sqlalchemy import Connection
from starlette.concurrency import run_in_threadpool

from broker.domain.access import Question
from broker.domain.conditions import (
    ENVELOPE_DAMAGED,
    NOT_IN_VAULT,
    NOT_MASKED_SO,
    VAULT_UNREACHABLE,
    Reason,
)
from broker.domain.decision import MASK, Decision
from broker.domain.errors import (
    EnvelopeDamaged,
    RangeNotSatisfiable,
    StateConflict,
    TransferStopped,
    Unauthorized,
    UnknownVault,
    VaultUnreachable,
)
from broker.domain.masking import masking_for, stored_maskings
from broker.domain.vault import Span, check_piece, piece_span, read_range
from broker.outbound.vaults import Vault
from broker.store import access_tokens, consents, cross_border, vault
from broker.store.decisions import Asker
from broker.store.vault import EnvelopeRow, InUse
from broker.usecases import audit
from broker.usecases.context import Context
from broker.usecases.decide import Asking, decide, permits_still
from broker.usecases.judgement import asker_of
from broker.usecases.vault_register import open_vault
from wallet_adapters.envelope import UNMASKED

AHEAD: Final = 4
"""How many pieces are read at once: what it costs to begin is paid less often, and a service of
objects is asked less often. No more than that of a transfer is in memory."""


@dataclass(frozen=True)
class Wanted:
    """What a partner asks for, with which token (hash): the question names consent and attribute.

    `range_header` is the request's Range, None without one or where all is to be sent.
    """

    tenant_id: str
    token_hash: str
    question: Question
    key: str | None
    range_header: str | None = None


@dataclass(frozen=True)
class Transfer:
    """A permitted transfer; `parts` gives its bytes, once."""

    ctx: Context
    row: EnvelopeRow
    decision: Decision
    span: Span
    whole: bool
    in_use: InUse
    asked: tuple[Asking, Asker] = field(repr=False)
    place: Vault = field(repr=False)
    first: bytes = field(repr=False)

    async def parts(self) -> AsyncIterator[bytes]:
        """The bytes in pieces, each checked; raises `TransferStopped`, which is logged.

        Nothing is sent that another piece follows which cannot be: the caller closes the
        connection then.
        """
        numbers = self.span.pieces()
        ready, sent = [self.first], 0
        for number in numbers:
            if not ready:
                try:
                    some = range(number, min(number + AHEAD, numbers.stop))
                    ready = await run_in_threadpool(_pieces, self.place, self.row, some)
                except (VaultUnreachable, EnvelopeDamaged) as error:
                    await self._stop(sent, error.code)
            await self._go_on(sent)
            part = self.span.within(number, ready.pop(0))
            yield part
            sent += len(part)

    async def _go_on(self, sent: int) -> None:
        if not await self.ctx.db.read(self._in_force):
            await self._stop(sent, "not_in_force")

    def _in_force(self, tx: Connection) -> bool:
        now = self.ctx.now()
        if not vault.in_use(tx, self.in_use, now):
            return False
        return cross_border.in_force(
            tx, self.row.tenant_id, self.decision.rests_on, now
        ) or permits_still(self.ctx, tx, *self.asked, self.decision)

    async def _stop(self, sent: int, why: str) -> NoReturn:
        await self.ctx.db.write(lambda tx: self._record(tx, sent, why))
        raise TransferStopped("the transfer was stopped: ask again for the decision as it is now")

    def _record(self, tx: Connection, sent: int, why: str) -> None:
        consent = consents.consent(tx, self.row.tenant_id, self.row.consent_id)
        audit.record(
            self.ctx,
            tx,
            tenant_id=self.row.tenant_id,
            type="transfer.stopped",
            consent_id=self.row.consent_id,
            subject_id=consent.subject_id,
            body={
                "decision": self.decision.entry_id,
                "envelope": self.row.id,
                "partner": self.row.partner_id,
                "sent": sent,
                "cause": why,
            },
        )


async def open_transfer(ctx: Context, wanted: Wanted) -> Transfer | Decision:
    """A transfer that may begin, or the denial.

    Raises `RangeNotSatisfiable`, `Unauthorized`, `StateConflict` (it is masked otherwise now), and
    what `decide` raises.
    """
    partner_id, found = await ctx.db.read(lambda tx: _find(tx, ctx, wanted))
    # 1.
    row = found.row
    span, unsatisfiable = _span(wanted.range_header, row)
    missing = NOT_MASKED_SO if found.masked_otherwise else NOT_IN_VAULT
    refusals, place, first = (
        ((missing,), None, b"") if row is None else await _first_piece(ctx, row, span)
    )
    # 2.
    asking = Asking(
        wanted.tenant_id,
        wanted.token_hash,
        partner_id,
        wanted.question,
        wanted.key,
        refusals=refusals,
        data=found.logged,
    )
    decision = await decide(ctx, asking)
    if not decision.permit or row is None or place is None:
        return decision
    if unsatisfiable is not None:  # it tells the envelope's size: to those alone who may have it
        raise unsatisfiable
    demanded = {one.properties["masking"] for one in decision.obligations if one.id == MASK}
    if not demanded <= {row.masking}:
        raise StateConflict("how this is masked has changed: ask again, under a new key")
    question = wanted.question
    in_use = InUse(
        row.consent_id, question.purpose_id, question.algorithm_id, question.algorithm_version
    )
    return Transfer(
        ctx,
        row,
        decision,
        span or Span(0, row.size),
        span is None,
        in_use,
        (asking, asker_of(ctx, asking)),
        place,
        first,
    )


@dataclass(frozen=True)
class _Found:
    """The envelope to give out, if there is one, and what the log says of it."""

    row: EnvelopeRow | None
    masked_otherwise: bool
    logged: Mapping[str, str]


def _span(
    header: str | None, row: EnvelopeRow | None
) -> tuple[Span | None, RangeNotSatisfiable | None]:
    try:
        return None if row is None else read_range(header, row.size), None
    except RangeNotSatisfiable as error:
        return None, error


def _find(tx: Connection, ctx: Context, wanted: Wanted) -> tuple[str, _Found]:
    token = access_tokens.find(tx, wanted.tenant_id, wanted.token_hash)
    if token is None or token.expires_at <= ctx.now():
        raise Unauthorized("the access token is unknown or has expired: get a new one")
    question = wanted.question
    rows = vault.wanted(
        tx, wanted.tenant_id, token.subject, question.consent_id or "", question.attribute
    )
    if not rows:
        return token.subject, _Found(None, masked_otherwise=False, logged={})
    maskings = stored_maskings(vault.maskings(tx, wanted.tenant_id, rows[0].attribute))
    return token.subject, _chosen(rows, maskings, question.role)


def _chosen(
    rows: Sequence[EnvelopeRow], maskings: Sequence[tuple[str, str]], role: str | None
) -> _Found:
    """The envelope in the masking that the role demands.

    Where none is demanded, the one that is not masked, or else what the customer has put there.
    """
    demanded = masking_for(maskings, role) or UNMASKED
    by_masking = {row.masking: row for row in rows}
    row = by_masking.get(demanded)
    if row is None and demanded == UNMASKED:
        row = rows[0]
    if row is None:
        return _Found(None, masked_otherwise=True, logged={"masking": demanded})
    logged = {"envelope": row.id, "masking": row.masking}
    if role is not None and role in dict(maskings):  # no text of the caller's own
        logged["role"] = role
    return _Found(row, masked_otherwise=False, logged=logged)


async def _first_piece(
    ctx: Context, row: EnvelopeRow, span: Span | None
) -> tuple[tuple[Reason, ...], Vault | None, bytes]:
    number = 0 if span is None else span.pieces()[0]
    try:
        place = open_vault(ctx, row.vault)
        (first,) = await run_in_threadpool(_pieces, place, row, range(number, number + 1))
    except (VaultUnreachable, UnknownVault):
        return (VAULT_UNREACHABLE,), None, b""
    except EnvelopeDamaged:
        return (ENVELOPE_DAMAGED,), None, b""
    return (), place, first


def _pieces(place: Vault, row: EnvelopeRow, numbers: range) -> list[bytes]:
    """Some pieces, read at once and each checked, up to the first that is damaged.

    Raises `EnvelopeDamaged` where that is the first of all, `VaultUnreachable`.
    """
    start = piece_span(numbers[0], row.size).first
    data = place.read(row.path, start, piece_span(numbers[-1], row.size).past)
    found: list[bytes] = []
    for number in numbers:
        span = piece_span(number, row.size)
        try:
            piece = data[span.first - start : span.past - start]
            found.append(check_piece(row.pieces, number, piece))
        except EnvelopeDamaged:
            if not found:
                raise
            break
    return found
