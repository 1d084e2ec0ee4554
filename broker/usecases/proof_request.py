"""Ask for a proof: statements about attributes that a holder's wallet proves and does not show."""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import orjson

from broker.domain.errors import EpochNotCurrent, InvalidRequest, TooManyQuestions, UnknownPartner
from broker.domain.ids import new_id
from broker.domain.proof import ANSWER_SECONDS, check_statements, of_contact
from broker.domain.proof_question import questions_of
from broker.domain.proof_values import check_together
from broker.domain.template import Template
from broker.store import contacts, demands, partners, proofs, registry
from broker.store.contacts import ContactRow
from broker.store.proofs import ProofRequestRow
from broker.usecases import audit
from broker.usecases.attribute_keys import standing
from broker.usecases.attribute_type import attribute_types
from broker.usecases.context import Context, at_one_moment
from broker.usecases.presentation_request import (
    Asked,
    Document,
    Kept,
    response_uri,
    seal_response_key,
    unsigned_client_id,
)
from broker.usecases.proof_question import count_questions, record_refusal
from credentials.jcs import b64url
from wallet_adapters.errors import WalletProtocolError
from wallet_adapters.openid4vp.dcql import parse_dcql
from wallet_adapters.openid4vp.proof import FORMAT, QUERY, ProofQuery, proof_request
from wallet_adapters.openid4vp.request import x509_hash_client_id
from wallet_adapters.status_token import EPOCH_SECONDS
from zkp import NotRevoked, ProofRequest

NONCE_BYTES = 32


@dataclass(frozen=True)
class OpenedProof:
    """A proof request as its partner sees it. `asked` is None once a wallet cannot answer it.

    `request` is what a proof of it answers, also one that reaches the partner by another way.
    """

    row: ProofRequestRow
    query: ProofQuery
    request: ProofRequest
    asked: Asked | None


def open_request(
    ctx: Context,
    tenant_id: str,
    partner_id: str,
    *,
    template_id: str,
    meta: Mapping[str, Any],
    subject_ref: str | None = None,
    bound: Sequence[str] = (),
) -> OpenedProof:
    """Ask for a proof of statements over credentials of trusted issuers (`meta` of the query).

    The proof is kept as long as the evidence of the template. `subject_ref` says of whom the
    partner asks: decisions about that contact may then rest on what was proven. `bound` names
    credentials that have to be issued for that contact; the statement that says so is added here.

    One transaction: the request, audit. Raises `InvalidRequest`, `StatementShows`,
    `EpochNotCurrent`, `NotFound` (template), `UnknownPartner` (suspended), `TooManyQuestions`
    (which is in the log).
    """
    ctx = at_one_moment(ctx)
    query = _query(meta)
    check_statements(query.statements, ctx.now())
    _check_together(ctx, tenant_id, query)
    _check_binding(query, bound, subject_ref)
    _check_epochs(ctx, tenant_id, query)
    try:
        row = _write(
            ctx,
            tenant_id,
            partner_id,
            query,
            template_id=template_id,
            subject_ref=subject_ref,
            bound=bound,
        )
    except TooManyQuestions as refused:
        record_refusal(ctx, tenant_id, partner_id, refused)
        raise
    return _opened(ctx, row)


def find_request(
    ctx: Context, tenant_id: str, partner_id: str | None, request_id: str
) -> OpenedProof:
    """A proof request, for its partner (or, with None, for an officer). Raises `NotFound`."""
    with ctx.db.reading() as tx:
        row = proofs.find(tx, tenant_id, request_id, partner_id)
    return _opened(ctx, row)


def request_of(ctx: Context, row: Kept, client_id: str | None = None) -> ProofRequest:
    """What a proof answers: the request as it is signed, or under another client id."""
    document = Document.load(row.document)
    return proof_request(
        client_id=document.client_id if client_id is None else client_id,
        response_uri=response_uri(ctx, row.tenant_id, row.id),
        nonce=row.nonce,
        state=row.id,
        dcql=parse_dcql(document.dcql),
    )


def requests_of(ctx: Context, row: Kept) -> list[ProofRequest]:
    """Every form of a request that counts; in development also the unsigned one, by value."""
    found = [request_of(ctx, row)]
    if ctx.settings.development:
        found.append(request_of(ctx, row, unsigned_client_id(ctx, row)))
    return found


def query_of(row: Kept) -> ProofQuery:
    """What a stored request asks."""
    return ProofQuery.of(parse_dcql(Document.load(row.document).dcql))


def _query(meta: Mapping[str, Any]) -> ProofQuery:
    try:
        # By the reader that wallets' requests go through: what it refuses nobody could answer.
        query = {"id": QUERY, "format": FORMAT, "meta": dict(meta)}
        return ProofQuery.of(parse_dcql({"credentials": [query]}))
    except WalletProtocolError as problem:
        raise InvalidRequest(str(problem)) from problem


def _check_together(ctx: Context, tenant_id: str, query: ProofQuery) -> None:
    asked = {name: one.schema for name, one in query.credentials.items()}
    own = {kind.schema.id: kind.schema for kind in attribute_types(ctx, tenant_id)}
    check_together(query.statements, asked, own)


def _check_binding(query: ProofQuery, bound: Sequence[str], subject_ref: str | None) -> None:
    if not bound:
        return
    if subject_ref is None or not query.credentials.keys() >= set(bound):
        raise InvalidRequest("of_contact names credentials of the request, and needs subject_ref")
    try:
        # With as many statements as there will be: the contact is not known yet.
        more = tuple(of_contact(name, "") for name in dict.fromkeys(bound))
        replace(query, statements=query.statements + more)
    except WalletProtocolError as problem:
        raise InvalidRequest(str(problem)) from problem


def _check_epochs(ctx: Context, tenant_id: str, query: ProofQuery) -> None:
    """That a credential is not revoked is asked for now, not for earlier or later.

    By the epochs of this tenant's credentials, and of those issuers in its list whose epochs have
    a length there; of others nobody knows.
    """
    asked = [one for one in query.statements if isinstance(one, NotRevoked)]
    if not asked:
        return
    own = (orjson.loads(row.public_jwk)["x"] for row in standing(ctx, tenant_id))
    lengths = dict.fromkeys(own, EPOCH_SECONDS)
    with ctx.db.reading() as tx:
        for one in demands.trusted_issuers(tx, tenant_id):
            if one.epoch_seconds is not None:
                lengths.setdefault(one.issuer.key, one.epoch_seconds)
    for statement in asked:
        for key in query.credentials[statement.token].keys:
            length = lengths.get(b64url(key))
            if length is not None and statement.epoch != (epoch := ctx.now() // length):
                raise EpochNotCurrent(f"not_revoked: the epoch is {epoch} now")


def _write(
    ctx: Context,
    tenant_id: str,
    partner_id: str,
    query: ProofQuery,
    *,
    template_id: str,
    subject_ref: str | None,
    bound: Sequence[str],
) -> ProofRequestRow:
    # Before the transaction: a key that is not in memory yet is read in one of its own.
    contact_key = ctx.keys.hmac_key("contact")
    schemas = {name: one.schema for name, one in query.credentials.items()}
    questions = questions_of(schemas, query.statements, ctx.now())
    with ctx.db.transaction() as tx:
        if partners.find(tx, tenant_id, partner_id, lock=True).state != "active":
            raise UnknownPartner("the partner is suspended")
        template = registry.template(tx, tenant_id, template_id)
        count_questions(ctx, tx, tenant_id, partner_id, questions)
        contact = None
        if subject_ref is not None:
            contact = contacts.get_or_create(
                tx,
                ctx.master,
                tenant_id=tenant_id,
                partner_id=partner_id,
                subject_ref=subject_ref,
                ref_hash=contacts.subject_ref_hash(contact_key, partner_id, subject_ref),
                now=ctx.now(),
            )
            more = tuple(of_contact(name, contact.id) for name in dict.fromkeys(bound))
            query = replace(query, statements=query.statements + more)
        row = _new(ctx, tenant_id, partner_id, query, template, contact)
        proofs.add(tx, row)
        audit.record(
            ctx,
            tx,
            tenant_id=tenant_id,
            type="proof.requested",
            subject_id=None if contact is None else contact.subject_id,
            body={
                "proof_request": row.id,
                "partner": partner_id,
                "template": f"{template.id}@{template.version}",
                "request_hash": row.request_hash,
                "statements": [statement.kind for statement in query.statements],
            },
        )
    return row


def _new(
    ctx: Context,
    tenant_id: str,
    partner_id: str,
    query: ProofQuery,
    template: Template,
    contact: ContactRow | None,
) -> ProofRequestRow:
    request_id = new_id(proofs.PREFIX)
    document = Document(
        client_id=x509_hash_client_id(ctx.keys.request(tenant_id).leaf),
        dcql=query.dcql().as_dict(),
        questions=(),
        grade="",
        random=None,
        response_key=seal_response_key(ctx, request_id),
        clear=not ctx.settings.encrypted_responses,
    )
    row = ProofRequestRow(
        id=request_id,
        tenant_id=tenant_id,
        partner_id=partner_id,
        template_id=template.id,
        template_version=template.version,
        contact_id=None if contact is None else contact.id,
        nonce=b64url(secrets.token_bytes(NONCE_BYTES)),
        document=document.dump(),
        request_hash="",
        state="open",
        expires_at=ctx.now() + ANSWER_SECONDS,
        created_at=ctx.now(),
    )
    return replace(row, request_hash=b64url(request_of(ctx, row).request_hash))


def _opened(ctx: Context, row: ProofRequestRow) -> OpenedProof:
    answerable = row.state_at(ctx.now()) == "open"
    return OpenedProof(
        row, query_of(row), request_of(ctx, row), Asked.of(ctx, row) if answerable else None
    )
