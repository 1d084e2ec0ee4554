"""Redeem an invitation: a wallet gets the access token with which it fetches credentials."""

import secrets
from dataclasses import dataclass, field

from sqlalchemy import Connection

from broker.store import access_tokens, contacts
from broker.store.contacts import InvitationRow
from broker.usecases import audit
from broker.usecases.context import Context
from broker.usecases.dpop import TokenHashes, kept_as, spend_proof
from broker.usecases.invitation import (
    CUSTOMER_CONFIGURATION,
    SECRET_BYTES,
    hash_tx_code,
    secret_hash,
)
from credentials.jcs import b64url
from wallet_adapters.errors import WalletProtocolError
from wallet_adapters.oauth import DpopProof
from wallet_adapters.openid4vci import PreAuthorizedCodeRequest, require_tx_code
from wallet_adapters.openid4vci.errors import InvalidGrant, TxCodeWrong

TOKEN_SECONDS = 600
TX_CODE_TRIES = 5
REFUSALS_LOGGED = 20


@dataclass(frozen=True)
class TokenAnswer:
    """A wallet's access token and its life in seconds.

    `credential_identifiers` maps configurations to identifiers if the wallet asked for them.
    """

    access_token: str = field(repr=False)
    expires_in: int
    credential_identifiers: dict[str, list[str]]


def redeem_pre_authorized_code(
    ctx: Context,
    tenant_id: str,
    request: PreAuthorizedCodeRequest,
    proof: DpopProof | None = None,
) -> TokenAnswer:
    """Exchange an offer's code for a wallet's access token (OpenID4VCI 1.0, section 6).

    1. The code is that of an open offer which is not over.
    2. The transaction code is the one that was given out; the fifth wrong one ends the offer.
    3. One compare-and-swap redeems the offer: of several redemptions at once exactly one wins. The
       token is bound to the key of the DPoP `proof`, where one came.

    A refusal of a known offer is written to the log. Raises leaves of `WalletProtocolError`:
    `InvalidGrant`, `TxCodeRequired`, `TxCodeUnexpected`, `TxCodeWrong`, `DpopProofUsed`.
    """
    identifiers = credential_identifiers(request.configuration_ids)
    token = b64url(secrets.token_bytes(SECRET_BYTES))
    with ctx.db.transaction() as tx:
        row = contacts.invitation_by_code(tx, tenant_id, secret_hash(request.pre_authorized_code))
        if row is not None:  # whoever knows no code writes nothing
            spend_proof(ctx, tx, proof)
        refusal = (
            InvalidGrant("the pre-authorized code is not one of this issuer")
            if row is None
            else _redeem(ctx, tx, row, request.tx_code, kept_as(token, proof))
        )
    # Raised after the commit: the failure that was counted, and its log entry, stay.
    if refusal is not None:
        raise refusal
    return TokenAnswer(token, TOKEN_SECONDS, identifiers)


def _redeem(
    ctx: Context, tx: Connection, row: InvitationRow, tx_code: str | None, hashes: TokenHashes
) -> WalletProtocolError | None:
    # 1. and 2.
    problem = offer_over(ctx, tx, row) or wrong_tx_code(ctx, tx, row, tx_code)
    if problem is not None:
        return problem
    # 3.
    return give_token(ctx, tx, row, hashes)


def offer_over(ctx: Context, tx: Connection, row: InvitationRow) -> WalletProtocolError | None:
    """Why an invitation cannot be redeemed any more, logged; None while it can."""
    if row.state == "open" and row.expires_at <= ctx.now():
        contacts.end_invitation(tx, row.id, "expired")
        return refused(ctx, tx, row, InvalidGrant("the offer is over; ask for a new one"))
    if row.state == "open":
        return None
    problem = {
        "redeemed": "the offer was used already; ask for a new one if that was not you",
        "locked": "the offer was ended after too many wrong transaction codes",
    }.get(row.state, "the offer is over or was replaced by a newer one")
    return refused(ctx, tx, row, InvalidGrant(problem))


def wrong_tx_code(
    ctx: Context, tx: Connection, row: InvitationRow, tx_code: str | None
) -> WalletProtocolError | None:
    """What is wrong with a transaction code, counted; the fifth wrong one ends the offer."""
    presented = hash_tx_code(ctx, row.id, tx_code) if tx_code else None
    try:
        require_tx_code(presented, row.tx_code_hash)
    except TxCodeWrong as problem:
        told = refused(ctx, tx, row, problem)
        if row.tx_code_failures + 1 >= TX_CODE_TRIES:
            contacts.end_invitation(tx, row.id, "locked")
        return told
    except WalletProtocolError as problem:
        return problem
    return None


def give_token(
    ctx: Context, tx: Connection, row: InvitationRow, hashes: TokenHashes
) -> WalletProtocolError | None:
    """Redeem an open invitation by compare-and-swap; the problem when another was first."""
    if not contacts.end_invitation(tx, row.id, "redeemed"):
        return refused(ctx, tx, row, InvalidGrant("the offer was used already"))
    keep_token(tx, row.tenant_id, row.id, hashes, ctx.now() + TOKEN_SECONDS)
    return None


def keep_token(
    tx: Connection, tenant_id: str, subject: str, hashes: TokenHashes, expires_at: int
) -> None:
    """Keep a wallet's access token, for what it had it for, until `expires_at`, Unix seconds."""
    access_tokens.add(
        tx,
        **hashes._asdict(),
        tenant_id=tenant_id,
        subject=subject,
        role="wallet",
        expires_at=expires_at,
    )


def asked_for_another(
    configuration_ids: tuple[str, ...], configuration: str
) -> WalletProtocolError | None:
    """What is wrong where a wallet asks for another configuration than the one of its offer."""
    if all(wanted == configuration for wanted in configuration_ids):
        return None
    return InvalidGrant(
        f"authorization_details may ask for {configuration}, which the offer names",
        error="invalid_authorization_details",
    )


def refused(
    ctx: Context, tx: Connection, row: InvitationRow, problem: WalletProtocolError
) -> WalletProtocolError:
    """Count and log one refused redemption; the problem, to be raised after the commit."""
    failures = contacts.count_refused(tx, row.id)
    if failures > REFUSALS_LOGGED:  # the caller is anonymous: the log is not theirs to fill
        return problem
    audit.record(
        ctx,
        tx,
        tenant_id=row.tenant_id,
        type="invitation.refused",
        body={
            "invitation": row.id,
            "contact": row.contact_id,
            "code": problem.code,
            "refusals": failures,
        },
    )
    return problem


def credential_identifiers(configuration_ids: tuple[str, ...]) -> dict[str, list[str]]:
    """The identifiers for what a wallet asks for by `authorization_details`.

    Raises `InvalidGrant` for anything but what the offer names.
    """
    problem = asked_for_another(configuration_ids, CUSTOMER_CONFIGURATION)
    if problem is not None:
        raise problem
    return {wanted: [wanted] for wanted in configuration_ids}
