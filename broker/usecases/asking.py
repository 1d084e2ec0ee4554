"""Ask a wallet for signatures: what an OpenID4VP request asks, and what its answer will mean.

Every separate consent is a credential query of its own, with its own `transaction_data`, and so
gets a signature of its own; the queries are optional, since a partial grant is normal.
"""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import orjson
from sqlalchemy import Connection

from broker.domain.addresses import tenant_url
from broker.domain.consent import SignatureGrade
from broker.domain.guardian import CUSTOMER, GUARDIAN
from broker.domain.ids import new_id
from broker.domain.signed_content import Kind, bound_text, content, withdrawal_content
from broker.domain.terms import Terms
from broker.store import credentials, presentations
from broker.store.consents import ConsentRequestRow, ConsentRow
from broker.store.presentations import PresentationRequestRow
from broker.usecases.context import Context
from broker.usecases.guardian import signer_of
from broker.usecases.presentation_request import Asked, Document, Question, seal_response_key
from credentials.jcs import b64url
from wallet_adapters.openid4vp.dcql import (
    ClaimsQuery,
    CredentialQuery,
    CredentialSet,
    DcqlQuery,
    optional_each,
    parse_dcql,
)
from wallet_adapters.openid4vp.request import x509_hash_client_id
from wallet_adapters.openid4vp.transaction_data import (
    FallbackNonce,
    encode_transaction_data,
    fallback_nonce,
)
from wallet_adapters.openid4vp.trusted_authorities import authorities_of

WITHDRAWAL_SECONDS = 600
SAME_KEY, OTHER_KEY = "same_key", "other_key"
_SIGNS: dict[str, Kind] = {CUSTOMER: "grant", GUARDIAN: "guardian"}
MOST_AT_ONCE, MOST_COPIES = 16, 64
NONCE_BYTES = 32
CUSTOMER_VCT = "/vct/customer/1"


def customer_vct(ctx: Context, tenant_id: str) -> str:
    """The type of a tenant's customer credentials."""
    return tenant_url(ctx.settings.public_url, tenant_id) + CUSTOMER_VCT


def ask_for_signatures(
    ctx: Context,
    tx: Connection,
    request: ConsentRequestRow,
    rows: Sequence[ConsentRow],
    *,
    session_hash: str | None = None,
) -> Asked:
    """Ask for a signature on each of `rows`, with the terms they carry, and on nothing else.

    Earlier requests for consents of `request` are replaced. The wallet is the customer's, or the
    guardian's where it is the guardian's turn.
    """
    presentations.replace_open(tx, request.id, "consent", ctx.now())
    kind = _SIGNS[signer := signer_of(rows)]
    questions = [
        _question(f"consent_{row.item}".replace("-", "_"), row, content(kind, _terms(row.terms)))
        for row in rows
    ]
    queries = [_copy_query(ctx, request, question.query) for question in questions]
    dcql = optional_each(queries) if len(queries) > 1 else DcqlQuery(tuple(queries))
    return _store(
        ctx,
        tx,
        replace(_displayed_request(ctx, request, dcql, questions), signer=signer),
        kind="consent",
        request=request,
        session_hash=session_hash,
        expires_at=request.expires_at,
    )


def ask_bound(
    ctx: Context,
    tx: Connection,
    request: ConsentRequestRow,
    questions: Sequence[Question],
    *,
    session_hash: str | None,
    signer: str = CUSTOMER,
) -> list[Asked]:
    """Ask for consents without `transaction_data`, by a request each, whose nonce binds the terms.

    For wallets that refuse transaction data types which they do not know. The random part of the
    nonce is kept as evidence; the grade says that the wallet did not display the terms.
    """
    return [
        _store(
            ctx,
            tx,
            replace(
                _bound_request(
                    ctx,
                    request,
                    DcqlQuery((_copy_query(ctx, request, question.query),)),
                    [question],
                    committed := fallback_nonce(bound_text(_SIGNS[signer], _terms(question.terms))),
                ),
                signer=signer,
            ),
            kind="consent",
            request=request,
            consent_id=question.consent_id,
            nonce=committed.nonce,
            session_hash=session_hash,
            expires_at=request.expires_at,
        )
        for question in questions
    ]


def ask_for_withdrawal(
    ctx: Context, tx: Connection, request: ConsentRequestRow, row: ConsentRow, *, bound: bool
) -> Asked:
    """Ask for the withdrawal of a granted consent, by the same key if the wallet still has it.

    The first query names the credential copy that gave the consent (DCQL `values`); the second
    takes any other credential of the wallet, which may belong to the same customer. `bound` is for
    wallets that know no such transaction data: the nonce then binds what is withdrawn.
    """
    terms = _terms(row.terms)
    same = _copy_query(ctx, request, SAME_KEY, copies=(row.signed_copy_id or "",))
    other = _copy_query(ctx, request, OTHER_KEY)
    dcql = DcqlQuery(
        (same, other), (CredentialSet(options=((SAME_KEY,), (OTHER_KEY,)), required=True),)
    )
    questions = [_question(one, row, withdrawal_content(terms)) for one in (SAME_KEY, OTHER_KEY)]
    committed = fallback_nonce(bound_text("withdrawal", terms)) if bound else None
    return _store(
        ctx,
        tx,
        _displayed_request(ctx, request, dcql, questions)
        if committed is None
        else _bound_request(ctx, request, dcql, questions, committed),
        kind="withdrawal",
        request=request,
        consent_id=row.id,
        nonce=None if committed is None else committed.nonce,
        expires_at=ctx.now() + WITHDRAWAL_SECONDS,
    )


def ask_who(ctx: Context, tx: Connection, request: ConsentRequestRow) -> Asked:
    """Ask a wallet for a proof of whose it is: its customer credentials, and no more.

    Several, since a wallet has one for each partner by which it was invited, and nobody but the
    wallet knows that they belong together.
    """
    query = replace(_copy_query(ctx, request, CUSTOMER), multiple=True)
    dcql = DcqlQuery((query,))
    return _store(
        ctx,
        tx,
        _displayed_request(ctx, request, dcql, ()),
        kind="withdrawal",
        request=request,
        expires_at=ctx.now() + WITHDRAWAL_SECONDS,
    )


def ask_for_everything(
    ctx: Context,
    tx: Connection,
    request: ConsentRequestRow,
    rows: Sequence[ConsentRow],
    *,
    proof_id: str,
) -> list[Asked]:
    """Ask for the withdrawal of each of `rows`, each signed for itself and each optional.

    One request, or one for every 16 of them. Whoever may fetch it sees consents of several
    partners: its address goes to nobody but who has proven to be their customer, in `proof_id`.
    """
    opened = []
    for first in range(0, len(rows), MOST_AT_ONCE):
        questions = [
            _question(f"consent_{number}", row, withdrawal_content(_terms(row.terms)))
            for number, row in enumerate(rows[first : first + MOST_AT_ONCE], start=1)
        ]
        queries = [
            _copy_query(ctx, request, question.query, copies=_copies(tx, row))
            for question, row in zip(questions, rows[first : first + MOST_AT_ONCE], strict=True)
        ]
        dcql = optional_each(queries) if len(queries) > 1 else DcqlQuery(tuple(queries))
        opened.append(
            _store(
                ctx,
                tx,
                _displayed_request(ctx, request, dcql, questions),
                kind="withdrawal",
                request=request,
                proof_id=proof_id,
                expires_at=ctx.now() + WITHDRAWAL_SECONDS,
            )
        )
    return opened


def ask_for_everything_bound(
    ctx: Context,
    tx: Connection,
    request: ConsentRequestRow,
    document: Document,
    *,
    proof_id: str,
) -> list[Asked]:
    """The same for wallets that know no such transaction data: a request for each, bound by nonce.

    The grade says that the wallet did not display what is withdrawn.
    """
    queries = {query.id: query for query in parse_dcql(document.dcql).credentials}
    return [
        _store(
            ctx,
            tx,
            _bound_request(
                ctx,
                request,
                DcqlQuery((queries[question.query],)),
                [question],
                committed := fallback_nonce(bound_text("withdrawal", _terms(question.terms))),
            ),
            kind="withdrawal",
            request=request,
            proof_id=proof_id,
            nonce=committed.nonce,
            expires_at=ctx.now() + WITHDRAWAL_SECONDS,
        )
        for question in document.questions
    ]


def _copies(tx: Connection, row: ConsentRow) -> tuple[str, ...]:
    """The credential copies by which the customer of a consent can sign, the newest ones."""
    held = credentials.of_subject(tx, row.subject_id or "")
    return tuple(copy.id for copy in held[-MOST_COPIES:])


def _terms(text: str) -> Terms:
    return Terms.from_json(orjson.loads(text))


def _question(query: str, row: ConsentRow, asked: Mapping[str, Any]) -> Question:
    protocol = {"credential_ids": [query], "transaction_data_hashes_alg": ["sha-256"]}
    data = encode_transaction_data({**asked, **protocol})
    return Question(query, row.id, row.terms, row.terms_hash, data)


def _copy_query(
    ctx: Context, request: ConsentRequestRow, query: str, *, copies: tuple[str, ...] = ()
) -> CredentialQuery:
    """Ask for a copy of the customer credential: any, or one of `copies`."""
    jti = ClaimsQuery(("jti",), values=copies) if copies else ClaimsQuery(("jti",))
    return CredentialQuery(
        id=query,
        vct_values=(customer_vct(ctx, request.tenant_id),),
        claims=(jti,),
        trusted_authorities=authorities_of(ctx.keys.anchors()),
    )


def _client_id(ctx: Context, request: ConsentRequestRow) -> str:
    return x509_hash_client_id(ctx.keys.request(request.tenant_id).leaf)


def _displayed_request(
    ctx: Context, request: ConsentRequestRow, dcql: DcqlQuery, questions: Sequence[Question]
) -> Document:
    return Document(
        client_id=_client_id(ctx, request),
        dcql=dcql.as_dict(),
        questions=tuple(questions),
        grade=SignatureGrade.SIGNED_AND_DISPLAYED,
        random=None,
    )


def _bound_request(
    ctx: Context,
    request: ConsentRequestRow,
    dcql: DcqlQuery,
    questions: Sequence[Question],
    committed: FallbackNonce,
    *,
    signer: str = CUSTOMER,
) -> Document:
    return Document(
        client_id=_client_id(ctx, request),
        dcql=dcql.as_dict(),
        questions=tuple(replace(question, transaction_data=None) for question in questions),
        grade=SignatureGrade.BOUND_NOT_DISPLAYED,
        random=b64url(committed.random),
        signer=signer,
    )


def _store(
    ctx: Context,
    tx: Connection,
    document: Document,
    *,
    kind: str,
    request: ConsentRequestRow,
    expires_at: int,
    consent_id: str | None = None,
    nonce: str | None = None,
    session_hash: str | None = None,
    proof_id: str | None = None,
) -> Asked:
    request_id = new_id("pr")
    sealed = seal_response_key(ctx, request_id)
    row = PresentationRequestRow(
        id=request_id,
        tenant_id=request.tenant_id,
        kind=kind,
        consent_request_id=request.id,
        consent_id=consent_id,
        nonce=b64url(secrets.token_bytes(NONCE_BYTES)) if nonce is None else nonce,
        document=replace(
            document, response_key=sealed, clear=not ctx.settings.encrypted_responses
        ).dump(),
        state="open",
        response_code_hash=None,
        session_hash=session_hash,
        expires_at=expires_at,
        created_at=ctx.now(),
        answered_at=None,
        proof_id=proof_id,
    )
    presentations.add(tx, row)
    return Asked.of(ctx, row)
