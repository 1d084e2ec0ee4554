"""A wallet's answer: verified with no transaction open, then written in one short transaction.

A rejected presentation is a value, not an error: it is returned, and its audit entry commits.
"""

import secrets
from collections.abc import Mapping
from dataclasses import replace

from sqlalchemy import Connection

from broker.domain.consent import BindingGrade
from broker.domain.errors import Gone, LogUnavailable, StateConflict
from broker.domain.guardian import CUSTOMER, GUARDIAN
from broker.domain.template import Template
from broker.domain.tracing import span
from broker.store import (
    consent_locks,
    consents,
    contacts,
    credentials,
    data_requests,
    join_requests,
    presentations,
    proofs,
    registry,
)
from broker.store.consents import ConsentRow
from broker.store.contacts import ContactRow
from broker.store.credentials import CopyRow
from broker.store.presentations import PresentationRequestRow
from broker.usecases import data_answer, joining, proof
from broker.usecases.answering import (
    Accepted,
    Case,
    Refused,
    Rejected,
    close_if_all_answered,
    reject,
)
from broker.usecases.asking import OTHER_KEY, SAME_KEY, customer_vct
from broker.usecases.consent_request import token_hash
from broker.usecases.context import Context, at_one_moment
from broker.usecases.countersigning import take
from broker.usecases.granting import Signed, withdraw_consent
from broker.usecases.guardian import signer
from broker.usecases.presentation_request import Document, response_key, unsigned_client_id
from broker.usecases.wallet_refusal import wallet_refused
from broker.usecases.withdraw_all import prove, withdraw_signed
from credentials.errors import AudienceMismatch, CredentialError
from credentials.status import StatusCheck
from credentials.verify import VerifiedPresentation
from wallet_adapters.errors import WalletProtocolError
from wallet_adapters.openid4vp.dcql import parse_dcql
from wallet_adapters.openid4vp.encrypted_response import open_response
from wallet_adapters.openid4vp.response import (
    AuthorizationResponse,
    WalletRefusal,
    direct_post_answer,
    parse_authorization_response,
)
from wallet_adapters.openid4vp.verify import ExpectedResponse, verify_response, verify_several
from wallet_adapters.wire import parse_form

GRADE_ORDER = tuple(BindingGrade)
RESPONSE_CODE_BYTES = 24
_OTHERS = (
    (data_requests.is_one, data_answer.answer),
    (proofs.is_one, proof.answer),
    (join_requests.is_one, joining.answer),
)


def answer(
    ctx: Context, tenant_id: str, presentation_request_id: str, body: bytes
) -> Accepted | Rejected:
    """Take a wallet's `direct_post` answer (the form as it came) to a presentation request.

    1. The request is open (otherwise `Gone`) and the log takes grants (otherwise `LogUnavailable`).
    2. The answer is decrypted, if it is encrypted or has to be, and parsed; a wallet's own error
       ends the request, falls back, or is noted.
    3. Every presentation is verified: chain, signatures, times, nonce, audience, transaction data.
    4. Each is by an active copy of the customer to whom the contact is bound, surely enough.
    5. One transaction writes the outcome; a second answer finds the request closed (`Gone`), an
       answer about a consent that has changed meanwhile raises `StateConflict`.

    Whatever is refused has its audit entry. An answer to a request for a proof is taken by
    `proof.answer`, one to a data request by `data_answer.answer`, a
    node's membership by `joining.answer`.
    """
    for is_one, take_answer in _OTHERS:
        if is_one(presentation_request_id):
            return take_answer(ctx, tenant_id, presentation_request_id, body)
    ctx = at_one_moment(ctx)
    # 1.
    with ctx.db.reading() as tx:
        row = presentations.find(tx, tenant_id, presentation_request_id)
        request = consents.request(tx, tenant_id, row.consent_request_id)
        template = registry.template(tx, tenant_id, request.template_id, request.template_version)
    case = Case(row, request, template, Document.load(row.document))
    try:
        if row.state != "open" or row.expires_at <= ctx.now():
            raise Gone("this request has been answered, replaced or has expired")
        if row.kind == "consent" and not ctx.log.permits(ctx.now()):
            raise LogUnavailable("the audit log takes no grants at the moment; try again soon")
        # 2.
        response = parse_authorization_response(_opened(ctx, case, body))
        if isinstance(response, WalletRefusal):
            return wallet_refused(ctx, case, response)
        # 3.
        if row.asks_who:
            return _recognise(ctx, case, response)
        with span("verification"):
            verified = _verify(ctx, case, response)
        # 4. and 5.
        return ctx.db.run(lambda tx: _write(ctx, tx, case, verified))
    except (CredentialError, WalletProtocolError) as error:
        reject(ctx, row, error.code)
        return Rejected(error.code, str(error))
    except Refused as error:
        reject(ctx, row, error.reason)
        return Rejected(error.reason, str(error))
    except (Gone, StateConflict) as error:
        reject(ctx, row, error.code)
        raise


def _opened(ctx: Context, case: Case, body: bytes) -> dict[str, str]:
    form, key = parse_form(body), response_key(ctx, case.row)
    in_the_clear = case.document.clear and "response" not in form
    return form if key is None or in_the_clear else open_response(form, key)


def _verify(
    ctx: Context, case: Case, response: AuthorizationResponse
) -> Mapping[str, VerifiedPresentation]:
    expected = _expected(case)
    try:
        return _verified(ctx, response, expected)
    except AudienceMismatch:
        if not ctx.settings.development:
            raise
        # The unsigned form of the request, for development, has a client id of its own.
        unsigned = unsigned_client_id(ctx, case.row)
        return _verified(ctx, response, replace(expected, client_id=unsigned))


def _expected(case: Case) -> ExpectedResponse:
    return ExpectedResponse(
        client_id=case.document.client_id,
        nonce=case.row.nonce,
        state=case.row.id,
        dcql=parse_dcql(case.document.dcql),
        transaction_data=case.document.transaction_data,
    )


def _verified(
    ctx: Context, response: AuthorizationResponse, expected: ExpectedResponse
) -> Mapping[str, VerifiedPresentation]:
    # No status list: the live row of the copy is read in the transaction, fresher than any list.
    return verify_response(
        response,
        expected=expected,
        anchors=ctx.keys.anchors(),
        now=ctx.now(),
        status=StatusCheck.BY_CALLER,
    )


def _recognise(ctx: Context, case: Case, response: AuthorizationResponse) -> Accepted:
    """A wallet shows whose it is; nobody else's browser learns where its answer leads."""
    verified = verify_several(
        response,
        expected=_expected(case),
        anchors=ctx.keys.anchors(),
        now=ctx.now(),
        status=StatusCheck.BY_CALLER,
    )
    row, code = case.row, secrets.token_urlsafe(RESPONSE_CODE_BYTES)

    def proven(tx: Connection) -> str:
        copies = [_copy(ctx, tx, row.tenant_id, one) for one in verified[CUSTOMER]]
        if not presentations.finish(tx, row.id, "answered", ctx.now(), token_hash(code)):
            raise Gone("this request has been answered: another answer came first")
        return prove(ctx, tx, case, copies)

    return Accepted((), direct_post_answer(ctx.db.run(proven), response_code=code))


def _write(
    ctx: Context, tx: Connection, case: Case, verified: Mapping[str, VerifiedPresentation]
) -> Accepted:
    row = case.row
    contact = contacts.find(tx, row.tenant_id, case.request.contact_id, lock=True)
    consent_locks.hold(tx, case.request)
    copies = {query: _copy(ctx, tx, row.tenant_id, one) for query, one in verified.items()}
    code = secrets.token_urlsafe(RESPONSE_CODE_BYTES)
    if not presentations.finish(tx, row.id, "answered", ctx.now(), token_hash(code)):
        raise Gone("this request has been answered: another answer came first")
    if row.proof_id is not None:
        ended, page = withdraw_signed(ctx, tx, case, verified, copies)
        return Accepted(tuple(ended), direct_post_answer(page, response_code=code))
    return _write_each(ctx, tx, case, contact, signed=(verified, copies), code=code)


def _write_each(
    ctx: Context,
    tx: Connection,
    case: Case,
    contact: ContactRow,
    *,
    signed: tuple[Mapping[str, VerifiedPresentation], Mapping[str, CopyRow]],
    code: str,
) -> Accepted:
    row, (verified, copies) = case.row, signed
    questions = {question.query: question for question in case.document.questions}
    changed = []
    for query in _counted(row, verified):
        question, copy = questions[query], copies[query]
        consent = consents.consent(tx, row.tenant_id, question.consent_id)
        by = Signed(verified[query], copy, question, case.document, row)
        if row.kind == "withdrawal":
            if copy.subject_id not in _may_withdraw(tx, contact, consent):
                raise Refused(
                    "not_the_signer", "the credential belongs to another customer than the consent"
                )
            if consent.as_published(ctx.now()) is not consent:
                continue  # withdrawn with everything else, which this page does not show yet
            withdraw_consent(ctx, tx, consent, by)
        else:
            signing = signer(tx, contact, case.document.signer)
            _check_person(signing, copy, case.template)
            take(ctx, tx, consent, by, contact=contact, template=case.template)
        changed.append(consent.id)
    close_if_all_answered(ctx, tx, case)
    return Accepted(
        tuple(changed), direct_post_answer(case.page_url(ctx) + "/done", response_code=code)
    )


def _counted(
    row: PresentationRequestRow, verified: Mapping[str, VerifiedPresentation]
) -> list[str]:
    """The queries whose signatures count: for a withdrawal one, the same key before another."""
    if row.kind == "withdrawal":
        return [SAME_KEY if SAME_KEY in verified else OTHER_KEY]
    return list(verified)


def _copy(
    ctx: Context, tx: Connection, tenant_id: str, presentation: VerifiedPresentation
) -> CopyRow:
    claims = presentation.credential.claims
    if presentation.credential.vct != customer_vct(ctx, tenant_id):
        raise Refused("type_mismatch", "a customer credential of this broker was asked for")
    copy = credentials.find_copy(tx, tenant_id, str(claims.get("jti", "")))
    if copy is None:
        raise Refused("unknown_credential", "the credential is not one that this broker issued")
    if copy.state != "active":
        raise Refused(
            "credential_superseded", "the credential was replaced: use the newer one in the wallet"
        )
    chain = presentation.credential.issuer_chain
    stolen = None if chain is None else ctx.keys.compromised_since(chain.leaf)
    # The row is there since its log entry is: it bears out when the credential was issued.
    if stolen is not None and copy.issued_at >= stolen:
        raise Refused(
            "issuer_key_compromised",
            "the credential was signed by a key that is no longer trusted: ask the company for a "
            "new invitation",
        )
    if copy.holder_thumbprint != presentation.holder_thumbprint:
        raise Refused("holder_mismatch", "the credential is bound to another key")
    return copy


def _may_withdraw(tx: Connection, contact: ContactRow, consent: ConsentRow) -> set[str | None]:
    """The customer; of what a guardian signed also that guardian, and the minor's of now."""
    able = {consent.subject_id, consent.guardian_id}
    if consent.guardian_id is not None:
        able.add(signer(tx, contact, GUARDIAN).subject_id)
    return able - {None, ""}


def _check_person(contact: ContactRow, copy: CopyRow, template: Template) -> None:
    if contact.subject_id is None:
        raise Refused(
            "contact_not_bound",
            "the contact is not bound to a wallet yet: redeem its invitation first",
        )
    if copy.subject_id != contact.subject_id:
        raise Refused("subject_mismatch", "the request was made for another customer's contact")
    if GRADE_ORDER.index(BindingGrade(contact.grade)) < GRADE_ORDER.index(
        BindingGrade(template.minimum_grade)
    ):
        raise Refused(
            "binding_too_weak", f"this consent needs a contact bound by {template.minimum_grade}"
        )


def finish(
    ctx: Context, tenant_id: str, page_token: str, response_code: str, session: str | None
) -> bool:
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
