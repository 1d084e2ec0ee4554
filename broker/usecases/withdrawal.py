"""Withdraw a consent: by the wallet that gave it, another key of the customer, or an officer."""

from sqlalchemy import Connection

from broker.domain.consent import ConsentState, SignatureGrade, WithdrawalGrade
from broker.domain.errors import NotFound, StateConflict
from broker.store import consent_locks, consents, presentations
from broker.store.consents import ConsentRequestRow, ConsentRow
from broker.usecases.asking import WITHDRAWAL_SECONDS, ask_for_withdrawal
from broker.usecases.consent_request import token_hash
from broker.usecases.context import Context
from broker.usecases.granting import withdraw_consent
from broker.usecases.presentation_request import Asked


def open_withdrawal(ctx: Context, tenant_id: str, page_token: str, consent_id: str) -> Asked:
    """From the consent's own page: a wallet request that signs the withdrawal.

    Raises `NotFound`, `StateConflict` (not granted).
    """
    with ctx.db.transaction() as tx:
        request = consents.request_by_page(tx, tenant_id, token_hash(page_token))
        row = consents.consent(tx, tenant_id, consent_id)
        if row.request_id != request.id:
            raise NotFound("no such consent")
        _check_granted(row.as_published(ctx.now()))
        return _ask(ctx, tx, request, row)


def open_withdrawal_for_partner(
    ctx: Context, tenant_id: str, partner_id: str, consent_id: str
) -> Asked:
    """For the partner's own pages: a wallet request that its customer can sign.

    A partner cannot withdraw in the customer's name; it can stop using the data.
    Raises `NotFound`, `StateConflict`.
    """
    with ctx.db.transaction() as tx:
        row = consents.consent(tx, tenant_id, consent_id)
        if row.partner_id != partner_id:
            raise NotFound("no such consent")
        _check_granted(row.as_published(ctx.now()))
        return _ask(ctx, tx, consents.request(tx, tenant_id, row.request_id), row)


def withdraw_by_officer(
    ctx: Context, tenant_id: str, officer_id: str, consent_id: str
) -> WithdrawalGrade:
    """For a customer who has lost the wallet and was recognised through the tenant's own channel.

    Raises `NotFound`, `StateConflict`.
    """
    return ctx.db.run(lambda tx: _by_officer(ctx, tx, tenant_id, officer_id, consent_id))


async def withdraw_by_officer_at_once(
    ctx: Context, tenant_id: str, officer_id: str, consent_id: str
) -> WithdrawalGrade:
    """The same from the event loop: several that come together share one commit."""
    return await ctx.db.write(lambda tx: _by_officer(ctx, tx, tenant_id, officer_id, consent_id))


def _by_officer(
    ctx: Context, tx: Connection, tenant_id: str, officer_id: str, consent_id: str
) -> WithdrawalGrade:
    row = consent_locks.hold_consent(tx, tenant_id, consent_id)
    _check_granted(row)
    return withdraw_consent(ctx, tx, row, None, officer_id=officer_id)


def _ask(ctx: Context, tx: Connection, request: ConsentRequestRow, row: ConsentRow) -> Asked:
    """The request that waits already, or a new one.

    Asking again takes nothing away from a wallet that is about to answer. A wallet that could not
    display the consent cannot display its withdrawal either, and is spared the detour.
    """
    waiting = presentations.latest(tx, request.id, "withdrawal", row.id)
    if (
        waiting is not None
        and waiting.state == "open"
        and waiting.expires_at > ctx.now() + WITHDRAWAL_SECONDS // 2
    ):
        return Asked.of(ctx, waiting)
    bound = row.grade == SignatureGrade.BOUND_NOT_DISPLAYED
    return ask_for_withdrawal(ctx, tx, request, row, bound=bound)


def _check_granted(row: ConsentRow) -> None:
    if row.state != ConsentState.GRANTED:
        raise StateConflict(f"only a granted consent can be withdrawn; this one is {row.state}")
