"""Credentials that wait for an officer: kept as asked for, approved or refused, then fetched."""

import hashlib
import secrets
from collections.abc import Sequence
from typing import Any

import orjson
from sqlalchemy import Connection

from broker.domain.errors import StateConflict
from broker.store import access_tokens, contacts, deferred
from broker.store.contacts import InvitationRow
from broker.store.deferred import DeferredRow
from broker.usecases import audit
from broker.usecases.context import Context
from credentials.jcs import b64url
from wallet_adapters.openid4vci import KeyProof, deferred_response
from wallet_adapters.openid4vci.errors import CredentialRequestDenied, InvalidTransactionId

DEFERRED_SECONDS = 7 * 86_400
INTERVAL_SECONDS = 300
TRANSACTION_BYTES = 32


def decide_approval(
    ctx: Context, tenant_id: str, invitation_id: str, officer_id: str, *, approve: bool
) -> str:
    """An officer approves an invitation, having recognised the customer, or refuses it.

    Returns the invitation's approval, `given` or `refused`. Raises `NotFound`, `StateConflict`
    when it does not wait for approval.
    """
    after = "given" if approve else "refused"
    with ctx.db.transaction() as tx:
        row = contacts.invitation(tx, tenant_id, invitation_id)
        if not contacts.approve_invitation(tx, row.id, after):
            raise StateConflict("this invitation does not wait for an approval")
        audit.record(
            ctx,
            tx,
            tenant_id=tenant_id,
            type="invitation.approved" if approve else "invitation.disapproved",
            body={"invitation": row.id, "contact": row.contact_id, "officer": officer_id},
        )
    return after


def defer(
    ctx: Context,
    tx: Connection,
    invitation: InvitationRow,
    token_hash: str,
    proofs: Sequence[KeyProof],
) -> dict[str, object]:
    """Keep a credential request until its invitation is approved (OpenID4VCI 1.0, section 8.3).

    The wallet's token lives as long as the request may wait: it is what fetches the credentials.
    Raises `CredentialRequestDenied` when approval was refused.
    """
    _require_not_refused(invitation)
    transaction_id = b64url(secrets.token_bytes(TRANSACTION_BYTES))
    expires_at = ctx.now() + DEFERRED_SECONDS
    deferred.add(
        tx,
        DeferredRow(
            transaction_hash=_hash(transaction_id),
            tenant_id=invitation.tenant_id,
            invitation_id=invitation.id,
            holder_keys=orjson.dumps([proof.holder_jwk for proof in proofs]).decode(),
            expires_at=expires_at,
        ),
    )
    access_tokens.prolong(tx, token_hash, expires_at)
    audit.record(
        ctx,
        tx,
        tenant_id=invitation.tenant_id,
        type="issuance.deferred",
        body={
            "invitation": invitation.id,
            "contact": invitation.contact_id,
            "copies": len(proofs),
        },
    )
    return deferred_response(transaction_id, INTERVAL_SECONDS)


def waiting(
    ctx: Context, tx: Connection, invitation: InvitationRow, transaction_id: str
) -> tuple[str, list[dict[str, Any]]] | None:
    """The row and the keys of a request that may be answered now; None while it has to wait.

    Raises `InvalidTransactionId` for one that is not this wallet's, or is over;
    `CredentialRequestDenied` when approval was refused.
    """
    row = deferred.find(tx, _hash(transaction_id), invitation.id)
    if row is None or row.expires_at <= ctx.now():
        raise InvalidTransactionId("the transaction is unknown, over, or was delivered already")
    _require_not_refused(invitation)
    if invitation.approval == "waiting":
        return None
    return row.transaction_hash, orjson.loads(row.holder_keys)


def deliver(tx: Connection, transaction_hash: str) -> None:
    """Take a request out for its one delivery. Raises `InvalidTransactionId`."""
    if not deferred.remove(tx, transaction_hash):
        raise InvalidTransactionId("the transaction was delivered already")


def _require_not_refused(invitation: InvitationRow) -> None:
    if invitation.approval == "refused":
        raise CredentialRequestDenied("the tenant has not approved this invitation")


def _hash(transaction_id: str) -> str:
    return b64url(hashlib.sha256(transaction_id.encode("utf-8", "replace")).digest())
