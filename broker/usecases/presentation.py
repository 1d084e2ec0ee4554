"""A wallet's answer: verified with no transaction open, then written in one short transaction.

A rejected presentation is a value, not an error: it is returned, and its audit entry commits.
"""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace

from sqlalchemy import Connection

from broker.domain.consent import BindingGrade
from broker.domain.errors import BrokerError, Gone, LogUnavailable
from broker.domain.template import Template
from broker.store import consents, contacts, credentials, presentations, registry
from broker.store.consents import ConsentRequestRow
from broker.store.contacts import ContactRow
from broker.store.credentials import CopyRow
from broker.store.presentations import PresentationRequestRow
from broker.usecases import audit
from broker.usecases.asking import Document, ask_bound, customer_vct, response_uri
from broker.usecases.consent_request import close_request, page_token_of, page_url, token_hash
from broker.usecases.context import Context
from broker.usecases.granting import Signed, grant_consent, withdraw_consent
from credentials.errors import AudienceMismatch, CredentialError
from credentials.status import StatusCheck
from credentials.verify import VerifiedPresentation
from wallet_adapters.errors import WalletProtocolError
from wallet_adapters.openid4vp.dcql import parse_dcql
from wallet_adapters.openid4vp.request import redirect_uri_client_id
from wallet_adapters.openid4vp.response import AuthorizationResponse, WalletRefusal, parse_authorization_response
from wallet_adapters.openid4vp.verify import ExpectedResponse, verify_response

GRADE_ORDER = tuple(BindingGrade)


@dataclass(frozen=True)
class Accepted:
    """An answer that counted: which consents changed, where the wallet may send the customer next."""

    changed: tuple[str, ...]
    redirect_uri: str | None


@dataclass(frozen=True)
class Rejected:
    """An answer that did not count, and why; nothing but the log has changed."""

    code: str
    message: str


class PresentationRefused(BrokerError):
    """Internal to this module: an answer that verification lets through and the rules do not."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.reason = code


def answer(ctx: Context, tenant_id: str, presentation_request_id: str, body: Mapping[str, str]) -> Accepted | Rejected:
    """Take a wallet's `direct_post` answer to a presentation request.

    1. The request is open (otherwise `Gone`) and the log takes grants (otherwise `LogUnavailable`).
    2. The answer is parsed; a wallet's own error ends the request or falls back (protocols).
    3. Every presentation is verified: chain, signatures, times, nonce, audience, transaction data.
    4. Each is by an active copy of the customer to whom the contact is bound, surely enough.
    5. One transaction writes the outcome; a second answer finds the request closed.
    """
    # 1.
    with ctx.db.reading() as tx:
        row = presentations.find(tx, tenant_id, presentation_request_id)
        request = consents.request(tx, tenant_id, row.consent_request_id)
        template = registry.template(tx, tenant_id, request.template_id, request.template_version)
    if row.state != "open" or row.expires_at <= ctx.now():
        _reject(ctx, row, "request_closed")
        raise Gone("this request has been answered, replaced or has expired")
    if row.kind == "consent" and not ctx.log.permits(ctx.now()):
        raise LogUnavailable("the audit log cannot take grants at the moment; try again soon")
    document = Document.load(row.document)
    try:
        # 2.
        response = parse_authorization_response(body)
        if isinstance(response, WalletRefusal):
            return _wallet_refused(ctx, request, row, document, template, response)
        # 3.
        verified = _verify(ctx, row, document, response)
        # 4. and 5.
        with ctx.db.transaction() as tx:
            return _write(ctx, tx, request, row, document, template, verified)
    except (CredentialError, WalletProtocolError) as error:
        _reject(ctx, row, error.code)
        return Rejected(error.code, str(error))
    except PresentationRefused as error:
        _reject(ctx, row, error.reason)
        return Rejected(error.reason, str(error))


def _verify(
    ctx: Context, row: PresentationRequestRow, document: Document, response: AuthorizationResponse
) -> Mapping[str, VerifiedPresentation]:
    expected = ExpectedResponse(
        client_id=document.client_id,
        nonce=row.nonce,
        state=row.id,
        dcql=parse_dcql(document.dcql),
        transaction_data=tuple(
            dict.fromkeys(q.transaction_data for q in document.questions if q.transaction_data is not None)
        ),
    )
    try:
        return _verified(ctx, response, expected)
    except AudienceMismatch:
        if not ctx.settings.development:
            raise
        # The unsigned form of the request, for development, has a client id of its own.
        unsigned = redirect_uri_client_id(response_uri(ctx, row.tenant_id, row.id))
        return _verified(ctx, response, replace(expected, client_id=unsigned))


def _verified(
    ctx: Context, response: AuthorizationResponse, expected: ExpectedResponse
) -> Mapping[str, VerifiedPresentation]:
    # No status list: the live row of the copy is read in the transaction, fresher than any list.
    return verify_response(
        response, expected=expected, anchors=ctx.keys.anchors(), now=ctx.now(), status=StatusCheck.BY_CALLER
    )


def _write(
    ctx: Context,
    tx: Connection,
    request: ConsentRequestRow,
    row: PresentationRequestRow,
    document: Document,
    template: Template,
    verified: Mapping[str, VerifiedPresentation],
) -> Accepted:
    contact = contacts.find(tx, row.tenant_id, request.contact_id)
    copies = {query: _copy(ctx, tx, row.tenant_id, presentation) for query, presentation in verified.items()}
    questions = {question.query: question for question in document.questions}
    code = secrets.token_urlsafe(24)
    if not presentations.finish(tx, row.id, "answered", ctx.now(), token_hash(code)):
        raise Gone("this request has been answered: another answer came first")
    changed = []
    for query in _counted(row, verified):
        question, copy = questions[query], copies[query]
        consent = consents.consent(tx, row.tenant_id, question.consent_id)
        signed = Signed(verified[query], copy, question, document, row)
        if row.kind == "withdrawal":
            if copy.subject_id != consent.subject_id:
                raise PresentationRefused("not_the_signer", "the credential belongs to another customer than the consent")
            withdraw_consent(ctx, tx, consent, signed)
        else:
            _check_person(contact, copy, template)
            grant_consent(ctx, tx, request, consent, contact, template, signed)
        changed.append(consent.id)
    if row.kind == "consent" and not _waits_for_more(tx, request):
        close_request(ctx, tx, request, "answered", reason="not_signed")
    page = page_url(ctx, row.tenant_id, page_token_of(ctx, request.id))
    return Accepted(tuple(changed), f"{page}/done?response_code={code}")


def _counted(row: PresentationRequestRow, verified: Mapping[str, VerifiedPresentation]) -> list[str]:
    """The queries whose signatures count: all, but one for a withdrawal, the same key before another."""
    if row.kind == "withdrawal":
        return ["same_key" if "same_key" in verified else "other_key"]
    return list(verified)


def _waits_for_more(tx: Connection, request: ConsentRequestRow) -> bool:
    """Whether requests of the fallback (one for each consent) still wait for their answers."""
    return any(row.kind == "consent" for row in presentations.open_ones(tx, request.id))


def _copy(ctx: Context, tx: Connection, tenant_id: str, presentation: VerifiedPresentation) -> CopyRow:
    claims = presentation.credential.claims
    if presentation.credential.vct != customer_vct(ctx, tenant_id):
        raise PresentationRefused("type_mismatch", "a customer credential of this broker was asked for")
    copy = credentials.find_copy(tx, tenant_id, str(claims.get("jti", "")))
    if copy is None:
        raise PresentationRefused("unknown_credential", "the credential is not one that this broker issued")
    if copy.state != "active":
        raise PresentationRefused("credential_superseded", "the credential was replaced: use the newer one in the wallet")
    if copy.holder_thumbprint != presentation.holder_thumbprint:
        raise PresentationRefused("holder_mismatch", "the credential is bound to another key")
    return copy


def _check_person(contact: ContactRow, copy: CopyRow, template: Template) -> None:
    if contact.subject_id is None:
        raise PresentationRefused("contact_not_bound", "the contact is not bound to a wallet yet: redeem its invitation first")
    if copy.subject_id != contact.subject_id:
        raise PresentationRefused("subject_mismatch", "the request was made for another customer's contact")
    if GRADE_ORDER.index(BindingGrade(contact.grade)) < GRADE_ORDER.index(BindingGrade(template.minimum_grade)):
        raise PresentationRefused("binding_too_weak", f"this consent needs a contact bound by {template.minimum_grade}")


def _wallet_refused(
    ctx: Context,
    request: ConsentRequestRow,
    row: PresentationRequestRow,
    document: Document,
    template: Template,
    refusal: WalletRefusal,
) -> Accepted | Rejected:
    """The wallet answered with an error: refuse, fall back without transaction data, or note it."""
    if refusal.state not in {None, row.id}:
        raise PresentationRefused("state_mismatch", "the answer names another request")
    falls_back = (
        refusal.transaction_data_unknown and row.kind == "consent" and template.allow_bound_signature
    )
    with ctx.db.transaction() as tx:
        if not presentations.finish(tx, row.id, "refused", ctx.now()):
            raise Gone("this request has been answered")
        if falls_back:
            asked = [ask_bound(ctx, tx, request, question) for question in document.questions]
            audit.record(
                ctx, tx, tenant_id=row.tenant_id, type="presentation.fallback",
                body={"presentation_request": row.id, "opened": [one.id for one in asked]},
            )
            return Accepted((), page_url(ctx, row.tenant_id, page_token_of(ctx, request.id)))
        if refusal.error == "access_denied" and row.kind == "consent":
            close_request(ctx, tx, request, "refused", reason="refused_in_wallet")
            return Accepted((), page_url(ctx, row.tenant_id, page_token_of(ctx, request.id)))
    _reject(ctx, row, "wallet_error")
    return Rejected("wallet_error", "the wallet answered with an error and nothing was signed")


def _reject(ctx: Context, row: PresentationRequestRow, code: str) -> None:
    with ctx.db.transaction() as tx:
        audit.record(
            ctx, tx, tenant_id=row.tenant_id, type="presentation.rejected", consent_id=row.consent_id,
            body={"presentation_request": row.id, "kind": row.kind, "code": code},
        )


def finish(ctx: Context, tenant_id: str, page_token: str, response_code: str, session: str | None) -> bool:
    """Whether this browser is the one that started the wallet (OpenID4VP section 13.3).

    False for a code of another session; raises `NotFound` for an unknown page.
    """
    with ctx.db.reading() as tx:
        request = consents.request_by_page(tx, tenant_id, token_hash(page_token))
        row = presentations.by_response_code(tx, request.id, token_hash(response_code))
    if row is None:
        return False
    return row.session_hash is None or (
        session is not None and secrets.compare_digest(row.session_hash, token_hash(session))
    )
