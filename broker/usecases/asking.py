"""Ask a wallet for signatures: build the OpenID4VP request, serve it, keep each object served.

Every separate consent is a credential query of its own, with its own `transaction_data`, and so
gets a signature of its own; the queries are optional, since a partial grant is normal.
"""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import orjson
from sqlalchemy import Connection

from broker.domain.addresses import tenant_url
from broker.domain.consent import SignatureGrade
from broker.domain.errors import Gone, InvalidRequest
from broker.domain.ids import new_id
from broker.store import presentations
from broker.store.consents import ConsentRequestRow, ConsentRow
from broker.store.presentations import PresentationRequestRow, ServedRow
from broker.usecases.context import Context
from credentials.jcs import b64url
from wallet_adapters.openid4vp.dcql import ClaimsQuery, CredentialQuery, CredentialSet, DcqlQuery, optional_each, parse_dcql
from wallet_adapters.openid4vp.request import (
    build_request,
    redirect_uri_client_id,
    request_link,
    request_link_by_value,
    sign_request,
    x509_hash_client_id,
)
from wallet_adapters.openid4vp.transaction_data import encode_transaction_data, fallback_nonce

CONSENT_TYPE = "urn:consent-broker:consent:1"
WITHDRAWAL_TYPE = "urn:consent-broker:withdrawal:1"
WITHDRAWAL_SECONDS = 600
SERVED_AT_MOST = 20
CUSTOMER_VCT = "/vct/customer/1"


@dataclass(frozen=True)
class Question:
    """One credential query of a request: what its signature will stand for."""

    query: str
    consent_id: str
    terms: str
    terms_hash: str
    transaction_data: str | None


@dataclass(frozen=True)
class Document:
    """The parts of a presentation request that its answer is checked against."""

    client_id: str
    dcql: dict[str, Any]
    questions: tuple[Question, ...]
    grade: str
    random: str | None

    def dump(self) -> str:
        """The document as the JSON text of its row."""
        return orjson.dumps(self).decode()

    @classmethod
    def load(cls, text: str) -> Self:
        """The document of a row."""
        parts = orjson.loads(text)
        parts["questions"] = tuple(Question(**question) for question in parts["questions"])
        return cls(**parts)


@dataclass(frozen=True)
class Asked:
    """A wallet request: its id, the link that starts a wallet, when it ends (Unix seconds)."""

    id: str
    wallet_link: str
    expires_at: int

    @classmethod
    def of(cls, ctx: Context, row: PresentationRequestRow) -> Self:
        """What a stored request looks like to whoever starts the wallet."""
        link = request_link(
            client_id=Document.load(row.document).client_id, request_uri=request_uri(ctx, row.tenant_id, row.id)
        )
        return cls(row.id, link, row.expires_at)


def request_uri(ctx: Context, tenant_id: str, presentation_request_id: str) -> str:
    """Where a wallet fetches the request object."""
    return f"{tenant_url(ctx.settings.public_url, tenant_id)}/openid4vp/request/{presentation_request_id}"


def response_uri(ctx: Context, tenant_id: str, presentation_request_id: str) -> str:
    """Where a wallet posts its answer (`direct_post`)."""
    return f"{tenant_url(ctx.settings.public_url, tenant_id)}/openid4vp/response/{presentation_request_id}"


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
    """Ask for a signature on each of `rows` (with the terms that they carry), in place of earlier requests."""
    presentations.replace_open(tx, request.id, "consent", ctx.now())
    vct = customer_vct(ctx, request.tenant_id)
    questions, queries = [], []
    for row in rows:
        query = f"consent_{row.item}".replace("-", "_")
        data = encode_transaction_data(
            {
                "type": CONSENT_TYPE,
                "credential_ids": [query],
                "transaction_data_hashes_alg": ["sha-256"],
                "terms": orjson.loads(row.terms),
            }
        )
        questions.append(Question(query, row.id, row.terms, row.terms_hash, data))
        queries.append(CredentialQuery(id=query, vct_values=(vct,), claims=(ClaimsQuery(("jti",)),)))
    dcql = optional_each(queries) if len(queries) > 1 else DcqlQuery(tuple(queries))
    return _store(
        ctx, tx, request, "consent", None, dcql, tuple(questions),
        grade=SignatureGrade.SIGNED_AND_DISPLAYED, nonce=b64url(secrets.token_bytes(32)), random=None,
        session_hash=session_hash, expires_at=request.expires_at,
    )


def ask_bound(ctx: Context, tx: Connection, request: ConsentRequestRow, question: Question) -> Asked:
    """Ask for one consent without `transaction_data`: its terms are bound through the nonce.

    For wallets that refuse transaction data types which they do not know. The random part is kept
    as evidence; the grade says that the wallet did not display the terms.
    """
    committed = fallback_nonce(b64url(question.terms.encode()))
    vct = customer_vct(ctx, request.tenant_id)
    query = CredentialQuery(id=question.query, vct_values=(vct,), claims=(ClaimsQuery(("jti",)),))
    bound = Question(question.query, question.consent_id, question.terms, question.terms_hash, None)
    return _store(
        ctx, tx, request, "consent", question.consent_id, DcqlQuery((query,)), (bound,),
        grade=SignatureGrade.BOUND_NOT_DISPLAYED, nonce=committed.nonce, random=b64url(committed.random),
        session_hash=None, expires_at=request.expires_at,
    )


def ask_for_withdrawal(ctx: Context, tx: Connection, request: ConsentRequestRow, row: ConsentRow) -> Asked:
    """Ask for the withdrawal of a granted consent, signed by the same key if the wallet still has it.

    The first query names the credential copy that gave the consent (DCQL `values`); the second
    takes any other credential of the wallet, which may belong to the same customer.
    """
    presentations.replace_open(tx, request.id, "withdrawal", ctx.now(), row.id)
    vct = customer_vct(ctx, request.tenant_id)
    same = CredentialQuery(
        id="same_key", vct_values=(vct,), claims=(ClaimsQuery(("jti",), values=(row.signed_copy_id or "",)),)
    )
    other = CredentialQuery(id="other_key", vct_values=(vct,), claims=(ClaimsQuery(("jti",)),))
    either = CredentialSet(options=(("same_key",), ("other_key",)), required=True)
    questions = tuple(
        Question(query, row.id, row.terms, row.terms_hash, _withdrawal_data(row, query))
        for query in ("same_key", "other_key")
    )
    return _store(
        ctx, tx, request, "withdrawal", row.id, DcqlQuery((same, other), (either,)), questions,
        grade=SignatureGrade.SIGNED_AND_DISPLAYED, nonce=b64url(secrets.token_bytes(32)), random=None,
        session_hash=None, expires_at=ctx.now() + WITHDRAWAL_SECONDS,
    )


def _withdrawal_data(row: ConsentRow, query: str) -> str:
    return encode_transaction_data(
        {
            "type": WITHDRAWAL_TYPE,
            "credential_ids": [query],
            "transaction_data_hashes_alg": ["sha-256"],
            "consent_id": row.id,
            "terms_hash": row.terms_hash,
            "effect": "the_next_use_is_refused",
        }
    )


def serve(ctx: Context, tenant_id: str, presentation_request_id: str, *, wallet_nonce: str | None, method: str) -> str:
    """The signed request object for a wallet.

    A GET again gets the same stored bytes; a POST gets the same nonce and terms, signed anew with
    the wallet's nonce (OpenID4VP section 5.10). Each object served is kept as evidence.
    Raises `NotFound`, `Gone` (answered, replaced, expired), `InvalidRequest` (fetched too often).
    """
    now = ctx.now()
    context = f"served:{presentation_request_id}"
    with ctx.db.reading() as tx:
        row = presentations.find(tx, tenant_id, presentation_request_id)
        _check_open(row, now)
        before = presentations.served(tx, row.id, "get") if method == "get" else []
        if before:
            return ctx.master.open(before[0].sealed, context).decode()
        if presentations.served_count(tx, row.id) >= SERVED_AT_MOST:
            raise InvalidRequest("this request was fetched too often: open a new one")
    key = ctx.keys.request(tenant_id)
    signed = sign_request(request_parameters(ctx, row, wallet_nonce=wallet_nonce), key.signer, key.x5c)
    sealed = ctx.master.seal(signed.encode(), context)
    with ctx.db.transaction() as tx:
        _check_open(presentations.find(tx, tenant_id, presentation_request_id), now)
        before = presentations.served(tx, row.id, "get") if method == "get" else []
        if before:
            return ctx.master.open(before[0].sealed, context).decode()
        presentations.add_served(
            tx,
            ServedRow(
                id=new_id("sr"), tenant_id=tenant_id, presentation_request_id=row.id, method=method,
                sealed=sealed, served_at=now,
            ),
        )
    return signed


def request_parameters(ctx: Context, row: PresentationRequestRow, *, wallet_nonce: str | None) -> dict[str, Any]:
    """The parameters of a request object (OpenID4VP 1.0 section 5)."""
    document = Document.load(row.document)
    data = list(dict.fromkeys(q.transaction_data for q in document.questions if q.transaction_data is not None))
    return build_request(
        client_id=document.client_id,
        response_uri=response_uri(ctx, row.tenant_id, row.id),
        nonce=row.nonce,
        state=row.id,
        dcql=parse_dcql(document.dcql),
        transaction_data=data,
        wallet_nonce=wallet_nonce,
    )


def development_link(ctx: Context, row: PresentationRequestRow) -> str | None:
    """The same request unsigned, by value, under the client id prefix `redirect_uri`.

    For wallets in development that have no trust in the broker's root yet; None in production.
    """
    if not ctx.settings.development:
        return None
    client_id = redirect_uri_client_id(response_uri(ctx, row.tenant_id, row.id))
    return request_link_by_value(request_parameters(ctx, row, wallet_nonce=None) | {"client_id": client_id})


def _check_open(row: PresentationRequestRow, now: int) -> None:
    if row.state != "open":
        raise Gone("this request has been answered or replaced")
    if row.expires_at <= now:
        raise Gone("this request has expired: nothing was signed")


def _store(
    ctx: Context,
    tx: Connection,
    request: ConsentRequestRow,
    kind: str,
    consent_id: str | None,
    dcql: DcqlQuery,
    questions: tuple[Question, ...],
    *,
    grade: SignatureGrade,
    nonce: str,
    random: str | None,
    session_hash: str | None,
    expires_at: int,
) -> Asked:
    client_id = x509_hash_client_id(ctx.keys.request(request.tenant_id).leaf)
    row = PresentationRequestRow(
        id=new_id("pr"),
        tenant_id=request.tenant_id,
        kind=kind,
        consent_request_id=request.id,
        consent_id=consent_id,
        nonce=nonce,
        document=Document(client_id, dcql.as_dict(), questions, str(grade), random).dump(),
        state="open",
        response_code_hash=None,
        session_hash=session_hash,
        expires_at=expires_at,
        created_at=ctx.now(),
        answered_at=None,
    )
    presentations.add(tx, row)
    return Asked.of(ctx, row)
