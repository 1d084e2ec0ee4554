"""Issuance by authorization code: a wallet pushes its request, the customer agrees in a browser.

Who the customer is, the invitation says that `issuer_state` names: a one-time link of the tenant,
with the transaction code where the invitation's grade asks for one.
"""

import hmac
import secrets
from dataclasses import dataclass
from urllib.parse import urlsplit

from sqlalchemy import Connection

from broker.domain.addresses import tenant_url
from broker.domain.errors import NotFound
from broker.domain.ids import new_id
from broker.domain.terms import Party
from broker.store import access_tokens, authorizations, contacts, partners
from broker.store.authorizations import AuthorizationRow
from broker.store.contacts import InvitationRow
from broker.usecases import audit
from broker.usecases.context import Context
from broker.usecases.dpop import kept_as, spend_proof
from broker.usecases.invitation import CUSTOMER_CONFIGURATION, issuer_state, secret_hash
from broker.usecases.redemption import (
    TOKEN_SECONDS,
    TokenAnswer,
    credential_identifiers,
    give_token,
    offer_over,
    refused,
    wrong_tx_code,
)
from credentials.jcs import b64url
from wallet_adapters.errors import WalletProtocolError
from wallet_adapters.oauth import (
    AuthorizationCodeRequest,
    AuthorizationRequest,
    DpopProof,
    authorization_answer,
    authorization_refusal,
    verify_verifier,
)
from wallet_adapters.oauth.errors import (
    ClientNotKnown,
    DpopKeyMismatch,
    IssuerStateInvalid,
    RequestUriInvalid,
)
from wallet_adapters.oauth.par import REQUEST_URI
from wallet_adapters.openid4vci.errors import InvalidGrant
from wallet_adapters.openid4vci.token import requested_configurations

PUSHED_SECONDS = 300
CODE_SECONDS = 60
PUSHED_AT_MOST = 20
SECRET_BYTES = 32


@dataclass(frozen=True)
class Pushed:
    """Where a pushed request can be had, once, and for how many seconds."""

    request_uri: str
    expires_in: int


@dataclass(frozen=True)
class Asked:
    """What the customer is asked: whose card it is, which wallet wants it, where it is sent.

    `origin` is what a browser's policy calls the wallet's address; `coded` says that the
    transaction code is asked for.
    """

    partner: Party
    client_id: str
    origin: str
    coded: bool


def push(
    ctx: Context, tenant_id: str, request: AuthorizationRequest, proof: DpopProof | None
) -> Pushed:
    """Take a wallet's authorization request (RFC 9126, section 2).

    1. The wallet is registered with exactly this redirect address (in development any may come).
    2. It asks for the customer credential and for nothing else.
    3. The key of the DPoP `proof` is the one of `dpop_jkt`, where both are there.
    4. `issuer_state` names an invitation that can still be redeemed.

    Raises leaves of `WalletProtocolError`.
    """
    # 1.
    known = ctx.settings.wallets
    if not ctx.settings.development and (request.client_id, request.redirect_uri) not in known:
        raise ClientNotKnown("this wallet is not registered here with this redirect_uri")
    # 2.
    by_details = bool(requested := requested_configurations(request.details))
    credential_identifiers(requested)
    if any(scope != CUSTOMER_CONFIGURATION for scope in request.scopes) or not (
        request.scopes or by_details
    ):
        raise InvalidGrant(f"ask for the scope {CUSTOMER_CONFIGURATION}", error="invalid_scope")
    # 3.
    thumbprint = request.thumbprint if proof is None else proof.thumbprint
    if request.thumbprint not in {None, thumbprint}:
        raise DpopKeyMismatch("dpop_jkt is not the key of the DPoP proof")
    reference = b64url(secrets.token_bytes(SECRET_BYTES))
    with ctx.db.transaction() as tx:
        # 4.
        invitation = _invited(ctx, tx, tenant_id, request.issuer_state)
        spend_proof(ctx, tx, proof)
        authorizations.add(
            tx,
            AuthorizationRow(
                id=new_id("az"),
                tenant_id=tenant_id,
                invitation_id=invitation.id,
                request_uri_hash=secret_hash(reference),
                code_hash=None,
                client_id=request.client_id,
                redirect_uri=request.redirect_uri,
                wallet_state=request.state,
                code_challenge=request.code_challenge,
                thumbprint=thumbprint,
                by_details=by_details,
                state="pushed",
                expires_at=ctx.now() + PUSHED_SECONDS,
            ),
        )
    return Pushed(REQUEST_URI + reference, PUSHED_SECONDS)


def ask(ctx: Context, tenant_id: str, client_id: str, request_uri: str) -> Asked:
    """What to show the customer; raises `RequestUriInvalid`, `InvalidGrant`."""
    with ctx.db.reading() as tx:
        row = _pushed(ctx, tx, tenant_id, client_id, request_uri, lock=False)
        invitation = contacts.invitation(tx, tenant_id, row.invitation_id)
        if invitation.state != "open" or invitation.expires_at <= ctx.now():
            raise InvalidGrant("the offer was used or is over; ask for a new one")
        contact = contacts.find(tx, tenant_id, invitation.contact_id)
        partner = partners.party(tx, tenant_id, contact.partner_id)
    return Asked(
        partner, row.client_id, _origin(row.redirect_uri), invitation.tx_code_hash is not None
    )


def agree(
    ctx: Context, tenant_id: str, client_id: str, request_uri: str, tx_code: str | None
) -> str:
    """The customer agrees: where their browser goes with a code that is good for a minute.

    A wrong transaction code is counted, and logged. Raises `RequestUriInvalid` or what the
    invitation lacks: `InvalidGrant`, `TxCodeRequired`, `TxCodeUnexpected`, `TxCodeWrong`.
    """
    code = b64url(secrets.token_bytes(SECRET_BYTES))
    with ctx.db.transaction() as tx:
        row = _pushed(ctx, tx, tenant_id, client_id, request_uri, lock=True)
        invitation = contacts.invitation(tx, tenant_id, row.invitation_id)
        problem = offer_over(ctx, tx, invitation) or wrong_tx_code(ctx, tx, invitation, tx_code)
        if problem is None:
            authorizations.move(
                tx,
                row.id,
                "pushed",
                "agreed",
                code_hash=secret_hash(code),
                expires_at=ctx.now() + CODE_SECONDS,
            )
    if problem is not None:
        raise problem
    return authorization_answer(
        row.redirect_uri, issuer=_issuer(ctx, tenant_id), state=row.wallet_state, code=code
    )


def decline(ctx: Context, tenant_id: str, client_id: str, request_uri: str) -> str:
    """The customer declines: where their browser tells the wallet so. The offer stays open."""
    with ctx.db.transaction() as tx:
        row = _pushed(ctx, tx, tenant_id, client_id, request_uri, lock=True)
        authorizations.move(tx, row.id, "pushed", "refused")
    return authorization_refusal(
        row.redirect_uri,
        issuer=_issuer(ctx, tenant_id),
        state=row.wallet_state,
        error="access_denied",
    )


def redeem_authorization_code(
    ctx: Context,
    tenant_id: str,
    request: AuthorizationCodeRequest,
    proof: DpopProof | None = None,
) -> TokenAnswer:
    """Exchange an authorization code for a wallet's access token (RFC 6749, section 4.1.3).

    1. The code is known and was not tried before; a second try ends the token of the first
       (RFC 6749, section 4.1.2). Every try spends the code, also one that fails.
    2. It is not over. Client and redirect address are, to the letter, those of the request.
    3. The code verifier fits the challenge; the DPoP key is the one that the request named.
    4. The invitation can still be redeemed, and is, by compare-and-swap.

    Refusals of a known code are logged. Raises leaves of `WalletProtocolError`.
    """
    token = b64url(secrets.token_bytes(SECRET_BYTES))
    with ctx.db.transaction() as tx:
        row = authorizations.by_code(tx, tenant_id, secret_hash(request.code))
        problem: WalletProtocolError | None
        if row is None:
            problem = InvalidGrant("the authorization code is not one of this server")
        else:
            spend_proof(ctx, tx, proof)
            invitation = contacts.invitation(tx, tenant_id, row.invitation_id)
            problem = _spend(ctx, tx, row, invitation, request, proof)
            if problem is None:
                problem = offer_over(ctx, tx, invitation) or give_token(
                    ctx, tx, invitation, kept_as(token, proof)
                )
    if problem is not None or row is None:
        raise problem or InvalidGrant("the authorization code is not one of this server")
    wanted = (CUSTOMER_CONFIGURATION,) if row.by_details else ()
    return TokenAnswer(token, TOKEN_SECONDS, credential_identifiers(wanted))


def _spend(
    ctx: Context,
    tx: Connection,
    row: AuthorizationRow,
    invitation: InvitationRow,
    request: AuthorizationCodeRequest,
    proof: DpopProof | None,
) -> WalletProtocolError | None:
    # 1.
    if not authorizations.move(tx, row.id, "agreed", "spent"):
        ended = access_tokens.end_of(tx, tenant_id=row.tenant_id, subject=invitation.id)
        if ended:
            audit.record(
                ctx,
                tx,
                tenant_id=row.tenant_id,
                type="authorization.code_reused",
                body={"invitation": invitation.id, "tokens_ended": ended},
            )
        return refused(ctx, tx, invitation, InvalidGrant("the code was used: its token has ended"))
    try:
        _check(ctx, row, request, proof)
    except WalletProtocolError as problem:
        return refused(ctx, tx, invitation, problem)
    return None


def _check(
    ctx: Context,
    row: AuthorizationRow,
    request: AuthorizationCodeRequest,
    proof: DpopProof | None,
) -> None:
    # 2.
    if row.expires_at <= ctx.now():
        raise InvalidGrant(f"the code is over: it is good for {CODE_SECONDS} seconds")
    if request.client_id != row.client_id:
        raise InvalidGrant("the code was given to another client")
    if request.redirect_uri != row.redirect_uri:
        raise InvalidGrant("redirect_uri is not the one of the authorization request")
    # 3.
    verify_verifier(request.code_verifier, row.code_challenge)
    if row.thumbprint is not None and (proof is None or proof.thumbprint != row.thumbprint):
        raise DpopKeyMismatch(
            "the code is bound to another key than that of the DPoP proof", error="invalid_grant"
        )


def _invited(ctx: Context, tx: Connection, tenant_id: str, state: str | None) -> InvitationRow:
    invitation_id = (state or "").partition(".")[0]
    expected = issuer_state(ctx, tenant_id, invitation_id)
    if not hmac.compare_digest(expected.encode(), (state or "").encode("utf-8", "replace")):
        raise IssuerStateInvalid("issuer_state of an offer is needed: ask for an invitation")
    try:
        found = contacts.invitation(tx, tenant_id, invitation_id)
    except NotFound:
        raise IssuerStateInvalid("there is no such offer any more") from None
    if found.state != "open" or found.expires_at <= ctx.now():
        raise IssuerStateInvalid("the offer was used or is over; ask for a new one")
    if authorizations.count_of(tx, found.id) >= PUSHED_AT_MOST:
        raise IssuerStateInvalid("this offer was tried too often; ask for a new one")
    return found


def _pushed(
    ctx: Context, tx: Connection, tenant_id: str, client_id: str, request_uri: str, *, lock: bool
) -> AuthorizationRow:
    reference = secret_hash(request_uri.removeprefix(REQUEST_URI))
    row = authorizations.by_request_uri(tx, tenant_id, reference, lock=lock)
    # One answer for everything: whoever guesses learns nothing.
    if (
        row is None
        or row.client_id != client_id
        or row.state != "pushed"
        or row.expires_at <= ctx.now()
    ):
        raise RequestUriInvalid("the request is unknown, used or over: begin again in the wallet")
    return row


def _origin(redirect_uri: str) -> str:
    parts = urlsplit(redirect_uri)
    # A private-use scheme has no hosts that a policy could tell apart.
    web = parts.scheme in {"http", "https"}
    return f"{parts.scheme}://{parts.netloc}" if web else f"{parts.scheme}:"


def _issuer(ctx: Context, tenant_id: str) -> str:
    return tenant_url(ctx.settings.public_url, tenant_id)
