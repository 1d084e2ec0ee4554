"""A wallet answered with an error: the customer refused, or the wallet cannot do what is asked."""

from broker.domain.consent import ConsentState
from broker.domain.errors import Gone
from broker.store import consent_locks, consents, presentations
from broker.usecases import audit
from broker.usecases.answering import Accepted, Case, Refused, close_if_all_answered, reject
from broker.usecases.asking import ask_bound, ask_for_everything_bound, ask_for_withdrawal
from broker.usecases.closing import close_consent, close_request
from broker.usecases.context import Context
from wallet_adapters.openid4vp.response import WalletRefusal

# RFC 6749, section 4.1.2.1, and OpenID4VP 1.0, section 8.5.
ERRORS = frozenset(
    {
        *("access_denied", "invalid_client", "invalid_request", "invalid_request_uri_method"),
        *("invalid_scope", "invalid_transaction_data", "server_error", "temporarily_unavailable"),
        *("unauthorized_client", "unsupported_response_type", "vp_formats_not_supported"),
        "wallet_unavailable",
    }
)


def wallet_refused(ctx: Context, case: Case, refusal: WalletRefusal) -> Accepted:
    """The wallet answered with an error (section 8.5): refuse, fall back, or note it.

    An error that says nothing about the customer's will leaves the request open: it carries no
    signature, and whoever knows the address can send one.
    """
    row = case.row
    if refusal.state not in {None, row.id}:
        raise Refused("state_mismatch", "the answer names another request")
    here = {"redirect_uri": case.page_url(ctx)}
    if refusal.transaction_data_unknown and _may_fall_back(case):
        _fall_back(ctx, case)
    elif refusal.error == "access_denied" and row.kind == "consent":
        _deny(ctx, case)
    else:
        # A word that no specification knows may be anything, a customer's own data included.
        known = refusal.error if refusal.error in ERRORS else "other"
        reject(ctx, row, "wallet_error", error=known)
    return Accepted((), here)


def _may_fall_back(case: Case) -> bool:
    if not case.document.transaction_data:
        return False
    # A withdrawal has no lower bar than the grant had: it only ever protects the customer.
    return case.row.kind == "withdrawal" or case.template.allow_bound_signature


def _fall_back(ctx: Context, case: Case) -> None:
    """Ask again, each consent by itself, with the terms bound through the nonce."""
    row = case.row
    with ctx.db.transaction() as tx:
        consent_locks.hold(tx, case.request)
        if not presentations.finish(tx, row.id, "refused", ctx.now()):
            raise Gone("this request has been answered")
        if row.consent_id is not None and row.kind == "withdrawal":
            consent = consents.consent(tx, row.tenant_id, row.consent_id)
            opened = [ask_for_withdrawal(ctx, tx, case.request, consent, bound=True)]
        elif row.proof_id is not None:
            opened = ask_for_everything_bound(
                ctx, tx, case.request, case.document, proof_id=row.proof_id
            )
        else:
            opened = ask_bound(
                ctx,
                tx,
                case.request,
                case.document.questions,
                session_hash=row.session_hash,
                signer=case.document.signer,
            )
        audit.record(
            ctx,
            tx,
            tenant_id=row.tenant_id,
            type="presentation.fallback",
            consent_id=row.consent_id,
            body={"presentation_request": row.id, "opened": [one.id for one in opened]},
        )


def _deny(ctx: Context, case: Case) -> None:
    """The customer refused in the wallet: everything, or in the fallback the one consent."""
    row = case.row
    with ctx.db.transaction() as tx:
        consent_locks.hold(tx, case.request)
        if not presentations.finish(tx, row.id, "refused", ctx.now()):
            raise Gone("this request has been answered")
        if row.consent_id is None:
            close_request(ctx, tx, case.request, "refused", reason="refused_in_wallet")
            return
        consent = consents.consent(tx, row.tenant_id, row.consent_id)
        close_consent(ctx, tx, consent, ConsentState.REFUSED, reason="refused_in_wallet")
        close_if_all_answered(ctx, tx, case)
