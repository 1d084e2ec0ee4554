"""Issue customer credentials to a wallet (OpenID4VCI 1.0): one copy for each proven key."""

from dataclasses import dataclass, field
from functools import partial
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

from broker.domain.addresses import tenant_url
from broker.domain.credential_types import CUSTOMER
from broker.domain.errors import LogUnavailable, StateConflict, Unauthorized
from broker.domain.ids import new_id
from broker.store import contacts, credentials, subjects
from broker.store.contacts import InvitationRow, Invited
from broker.store.credentials import CopyRow
from broker.usecases import audit
from broker.usecases.context import Context
from broker.usecases.deferral import INTERVAL_SECONDS, defer, deliver, waiting
from broker.usecases.invitation import CUSTOMER_CONFIGURATION
from broker.usecases.nonces import Nonce, read_nonce, spend_nonce
from broker.usecases.notification import notification_id
from broker.usecases.redemption import REFUSALS_LOGGED
from broker.usecases.status import allocate_many, list_uri, mark_changed
from credentials.issue import issue_sd_jwt_vc
from credentials.keys import thumbprint
from credentials.model import StatusReference
from wallet_adapters.errors import WalletProtocolError
from wallet_adapters.openid4vci import (
    CredentialRequest,
    KeyProof,
    credential_response,
    deferred_response,
    parse_credential_request,
    parse_deferred_request,
    resolve_configuration,
    verify_key_proofs,
)
from wallet_adapters.openid4vci.errors import CredentialRequestDenied, ProofKeyBound

BATCH_SIZE = 4
# A wallet without batches asks once for each copy; one whose answer was lost asks again.
COPIES_PER_INVITATION = 2 * BATCH_SIZE
PROOF_ALGORITHMS = ("ES256", "Ed25519")
DAY = 86_400
VALID_DAYS = 730
ATTEMPTS = 3


@dataclass(frozen=True)
class Issued:
    """What one credential request has written: the copies, and the keys they are bound to."""

    copies: tuple[CopyRow, ...]
    keys: tuple[dict[str, Any], ...] = field(repr=False)


@dataclass(frozen=True)
class _Wanted:
    """A credential request that holds by itself; what the database says is still open.

    `transaction_hash` names the deferred request that this is the delivery of.
    """

    proofs: tuple[KeyProof, ...]
    nonces: tuple[Nonce, ...]
    transaction_hash: str | None = None


async def issue_customer_credentials(
    ctx: Context, tenant_id: str, token_hash: str, body: bytes
) -> dict[str, object]:
    """Answer a credential request of the wallet that redeemed an invitation.

    1. The token is a wallet's and valid; the log takes what would be granted.
    2. The request is well formed, for the configuration that the offer named, and no larger than
       a batch.
    3. Each proof verifies under a key of its own.
    4. Each nonce is one of this issuer and not too old.
    5. One transaction: the nonces are unspent, the keys unbound, the invitation is redeemed and
       has copies left, its contact is free, bound by this very invitation, or to be bound anew.
       Then customer, binding, places in the status list, copies and the log entry are written.
       What changed since 1 is found by compare-and-swap; then 5 is tried again.
    6. The copies are signed. A crash between 5 and 6 leaves rows that nobody holds; the wallet
       repeats its request.

    An invitation that waits for an officer's approval ends before step 5 with a transaction id. A
    refusal after step 2 is written to the log. `token_hash` is the row of the token. Raises leaves
    of `WalletProtocolError`, `Unauthorized`, `LogUnavailable`.
    """
    # 1.
    invited = await _invited(ctx, tenant_id, token_hash)
    # 2.
    request = parse_credential_request(body, max_batch=BATCH_SIZE)
    _check_configuration(request)
    try:
        # 3. and 4.
        wanted = _verify(ctx, tenant_id, request)
        if invited.invitation.approval in {"waiting", "refused"}:
            return await ctx.db.write(
                partial(_defer, ctx, invited=invited, token_hash=token_hash, wanted=wanted)
            )
        # 5.
        issued = await _issue(ctx, tenant_id, token_hash, invited, wanted)
    except WalletProtocolError as problem:
        code, invitation = problem.code, invited.invitation
        await ctx.db.write(lambda tx: _record_refusal(ctx, tx, invitation, code))
        raise
    # 6.
    return _delivered(ctx, invited.invitation, issued)


async def issue_deferred_credentials(
    ctx: Context, tenant_id: str, token_hash: str, body: bytes
) -> dict[str, object]:
    """Answer a deferred credential request (section 9): the credentials, or that it takes longer.

    The keys were proven when the wallet asked; everything else is judged now, like step 5 of
    `issue_customer_credentials`. Raises the same, and `InvalidTransactionId`.
    """
    invited = await _invited(ctx, tenant_id, token_hash)
    transaction_id = parse_deferred_request(body)
    found = await ctx.db.read(lambda tx: waiting(ctx, tx, invited.invitation, transaction_id))
    if found is None:
        return deferred_response(transaction_id, INTERVAL_SECONDS)
    transaction_hash, keys = found
    proofs = tuple(
        KeyProof(holder_jwk=key, thumbprint=thumbprint(key), nonce="", issued_at=ctx.now())
        for key in keys
    )
    wanted = _Wanted(proofs, (), transaction_hash)
    return _delivered(
        ctx, invited.invitation, await _issue(ctx, tenant_id, token_hash, invited, wanted)
    )


async def _invited(ctx: Context, tenant_id: str, token_hash: str) -> Invited:
    invited = await ctx.db.read(lambda tx: contacts.invited(tx, tenant_id, token_hash))
    if invited is None or invited.expires_at <= ctx.now():
        raise Unauthorized("send the token that was had for a pre-authorized code; it lives short")
    if not ctx.log.permits(ctx.now()):
        raise LogUnavailable("the audit log cannot take bindings at the moment; try again soon")
    return invited


def _defer(
    ctx: Context, tx: Connection, *, invited: Invited, token_hash: str, wanted: _Wanted
) -> dict[str, object]:
    for nonce in wanted.nonces:
        spend_nonce(tx, nonce, ctx.now())
    return defer(ctx, tx, invited.invitation, token_hash, wanted.proofs)


def _delivered(ctx: Context, invitation: InvitationRow, issued: Issued) -> dict[str, object]:
    """The credential response: the copies, signed, and an id to tell what became of them."""
    signed = [_sign(ctx, *pair) for pair in zip(issued.copies, issued.keys, strict=True)]
    copies = [copy.id for copy in issued.copies]
    return credential_response(signed, notification_id(ctx, invitation.id, copies))


def _check_configuration(request: CredentialRequest) -> None:
    # A wallet that asked by authorization_details requests by identifier, others by configuration.
    by_identifier = request.credential_identifier is not None
    resolve_configuration(
        request,
        configuration_ids=(CUSTOMER_CONFIGURATION,),
        credential_identifiers=(
            {CUSTOMER_CONFIGURATION: CUSTOMER_CONFIGURATION} if by_identifier else None
        ),
    )


def _verify(ctx: Context, tenant_id: str, request: CredentialRequest) -> _Wanted:
    proofs = verify_key_proofs(
        request.proofs,
        issuer_url=tenant_url(ctx.settings.public_url, tenant_id),
        now=ctx.now(),
        algorithms=PROOF_ALGORITHMS,
    )
    values = dict.fromkeys(proof.nonce for proof in proofs)
    return _Wanted(proofs, tuple(read_nonce(ctx, tenant_id, value) for value in values))


async def _issue(
    ctx: Context, tenant_id: str, token_hash: str, invited: Invited, wanted: _Wanted
) -> Issued:
    found: Invited | None = invited
    for _ in range(ATTEMPTS):
        if found is None:
            break
        work = partial(_write, ctx, invited=found, wanted=wanted)
        try:
            return await ctx.db.write(work)
        except StateConflict:
            found = await ctx.db.read(lambda tx: contacts.invited(tx, tenant_id, token_hash))
    raise CredentialRequestDenied("the contact is being bound by others at the same time")


def _write(ctx: Context, tx: Connection, *, invited: Invited, wanted: _Wanted) -> Issued:
    now = ctx.now()
    for nonce in wanted.nonces:
        spend_nonce(tx, nonce, now)
    if wanted.transaction_hash is not None:
        deliver(tx, wanted.transaction_hash)
    invitation = invited.invitation
    thumbprints = [proof.thumbprint for proof in wanted.proofs]
    if invitation.subject_id is None:
        subject_id, told = _bind(ctx, tx, invited)
    else:
        subject_id, told = invitation.subject_id, None
        _check_repetition(tx, invitation, subject_id, len(thumbprints))
    places = allocate_many(ctx, tx, invitation.tenant_id, None, len(thumbprints))
    copies = tuple(
        CopyRow(
            id=new_id("cc"),
            tenant_id=invitation.tenant_id,
            subject_id=subject_id,
            invitation_id=invitation.id,
            holder_thumbprint=thumbprint,
            grade=invitation.grade,
            status_list_id=place.list_id,
            status_index=place.index,
            state="active",
            issued_at=now,
            expires_at=_midnight(now) + VALID_DAYS * DAY,
        )
        for thumbprint, place in zip(thumbprints, places, strict=True)
    )
    try:
        credentials.add(tx, copies)
    except IntegrityError:
        # The one constraint that a new copy can break: a key has at most one copy, in any tenant.
        raise ProofKeyBound(
            "a key of this batch is bound to a credential already; make new keys"
        ) from None
    audit.record(
        ctx,
        tx,
        tenant_id=invitation.tenant_id,
        type="customer_credential.issued" if told is None else "contact.bound",
        subject_id=subject_id,
        body={
            "invitation": invitation.id,
            "contact": invitation.contact_id,
            "partner": invited.contact.partner_id,
            "grade": invitation.grade,
            "copies": [copy.id for copy in copies],
            **(told or {}),
        },
    )
    return Issued(copies, tuple(proof.holder_jwk for proof in wanted.proofs))


def _bind(ctx: Context, tx: Connection, invited: Invited) -> tuple[str, dict[str, Any]]:
    """Bind the contact of an invitation to its wallet: a new customer, or the same one anew.

    Returns the customer and what the log is to tell of the binding.
    """
    invitation, contact = invited.invitation, invited.contact
    if invitation.state != "redeemed":
        raise CredentialRequestDenied("the invitation of this token is over")
    if contact.subject_id is not None and not invitation.rebinding:
        raise CredentialRequestDenied("the contact was bound to another wallet meanwhile")
    subject_id = contact.subject_id or new_id("s")
    if contact.subject_id is None:
        subjects.add(
            tx,
            subject_id,
            tenant_id=invitation.tenant_id,
            sealed_log_key=ctx.keys.new_log_key(f"subject:{subject_id}"),
            now=ctx.now(),
        )
    bound = contacts.bind(
        tx,
        contact.id,
        subject_id=subject_id,
        grade=invitation.grade,
        now=ctx.now(),
        expected=contact.subject_id,
    )
    if not bound or not contacts.set_invited_subject(tx, invitation.id, subject_id):
        raise StateConflict("the contact or the invitation has changed since it was read")
    if contact.subject_id is None:
        return subject_id, {"rebound": False, "superseded": []}
    # After the update above, which has waited for others who bind this contact: their copies show.
    superseded = credentials.supersede(tx, subject_id)
    for list_id in sorted({copy.status_list_id for copy in superseded}):
        mark_changed(tx, list_id)
    return subject_id, {"rebound": True, "superseded": [copy.id for copy in superseded]}


def _check_repetition(
    tx: Connection, invitation: InvitationRow, subject_id: str, count: int
) -> None:
    contacts.lock_invitation(tx, invitation.id)
    states = credentials.states_of_invitation(tx, subject_id, invitation.id)
    if any(state != "active" for state in states):
        # A token from before a re-binding must not bring the lost wallet back.
        raise CredentialRequestDenied("the contact was bound anew; this token is over")
    if len(states) + count > COPIES_PER_INVITATION:
        raise CredentialRequestDenied(
            f"an invitation is good for {COPIES_PER_INVITATION} copies; ask for a new one"
        )


def _record_refusal(ctx: Context, tx: Connection, invitation: InvitationRow, code: str) -> None:
    if contacts.count_refused(tx, invitation.id) > REFUSALS_LOGGED:
        return
    audit.record(
        ctx,
        tx,
        tenant_id=invitation.tenant_id,
        type="issuance.refused",
        subject_id=invitation.subject_id,
        body={"invitation": invitation.id, "contact": invitation.contact_id, "code": code},
    )


def _sign(ctx: Context, copy: CopyRow, holder_jwk: dict[str, Any]) -> str:
    base = tenant_url(ctx.settings.public_url, copy.tenant_id)
    key = ctx.keys.issuer(copy.tenant_id)
    uri = list_uri(ctx, copy.tenant_id, copy.status_list_id)
    return issue_sd_jwt_vc(
        signer=key.signer,
        x5c=key.x5c,
        issuer=base,
        vct=base + CUSTOMER.path,
        claims={"jti": copy.id, "binding_grade": copy.grade},
        disclosable=(),
        holder_jwk=holder_jwk,
        status=StatusReference(uri, copy.status_index),
        issued_at=_midnight(copy.issued_at),
        expires_at=copy.expires_at,
    )


def _midnight(now: int) -> int:
    # Copies must not be linkable by the second in which they were made (SD-JWT VC, section 8.1).
    return now - now % DAY
