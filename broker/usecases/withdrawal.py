"""Withdraw a consent: by the wallet that gave it, by another key of the customer, or by an officer."""

from broker.domain.consent import ConsentState, WithdrawalGrade
from broker.domain.errors import NotFound, StateConflict
from broker.store import consents
from broker.store.consents import ConsentRow
from broker.usecases.asking import Asked, ask_for_withdrawal
from broker.usecases.consent_request import token_hash
from broker.usecases.context import Context
from broker.usecases.granting import withdraw_consent


def open_withdrawal(ctx: Context, tenant_id: str, page_token: str, consent_id: str) -> Asked:
    """From the consent's own page: a wallet request that signs the withdrawal.

    Raises `NotFound`, `StateConflict` (not granted).
    """
    with ctx.db.transaction() as tx:
        request = consents.request_by_page(tx, tenant_id, token_hash(page_token))
        row = consents.consent(tx, tenant_id, consent_id)
        if row.request_id != request.id:
            raise NotFound("no such consent")
        _check_granted(row)
        return ask_for_withdrawal(ctx, tx, request, row)


def open_withdrawal_for_partner(ctx: Context, tenant_id: str, partner_id: str, consent_id: str) -> Asked:
    """For the partner's own pages: a wallet request that its customer can sign.

    A partner cannot withdraw in the customer's name; it can stop using the data.
    Raises `NotFound`, `StateConflict`.
    """
    with ctx.db.transaction() as tx:
        row = consents.consent(tx, tenant_id, consent_id)
        if row.partner_id != partner_id:
            raise NotFound("no such consent")
        _check_granted(row)
        return ask_for_withdrawal(ctx, tx, consents.request(tx, tenant_id, row.request_id), row)


def withdraw_by_officer(ctx: Context, tenant_id: str, officer_id: str, consent_id: str) -> WithdrawalGrade:
    """For a customer who has lost the wallet and was recognised through the tenant's own channel.

    Raises `NotFound`, `StateConflict`.
    """
    with ctx.db.transaction() as tx:
        row = consents.consent(tx, tenant_id, consent_id)
        _check_granted(row)
        return withdraw_consent(ctx, tx, row, None, officer_id=officer_id)


def _check_granted(row: ConsentRow) -> None:
    if row.state != ConsentState.GRANTED:
        raise StateConflict(f"only a granted consent can be withdrawn; this one is {row.state}")
