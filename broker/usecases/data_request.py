"""Ask a customer's wallet for attributes, under a consent: they come sealed to the partner, once.

The wallet shows them from a credential that was issued for the very contact of the consent, by
this tenant or by an issuer that it trusts. What becomes of the answer: `data_answer`.
"""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace

import orjson

from broker.domain.access import Question, stored_terms
from broker.domain.addresses import tenant_url
from broker.domain.decision import Decision
from broker.domain.errors import (
    ConsentNotLive,
    InvalidRequest,
    NotFound,
    UnknownAttribute,
    UnknownPartner,
)
from broker.domain.ids import new_id
from broker.domain.proof import ANSWER_SECONDS, of_contact
from broker.store import consents, data_requests, demands, partners, vault
from broker.store.consents import ConsentRow
from broker.store.data_requests import DataAnswerRow, DataRequestRow
from broker.usecases import audit
from broker.usecases.attribute_keys import published_keys
from broker.usecases.context import Context, at_one_moment
from broker.usecases.decide import Asking, refuse_now
from broker.usecases.presentation_request import Asked, Document, seal_response_key
from broker.usecases.proof_request import NONCE_BYTES, query_of, request_of
from broker.usecases.sealing_key import sealing_key_of
from credentials.jcs import b64url, b64url_decode
from wallet_adapters.errors import WalletProtocolError
from wallet_adapters.openid4vp.proof import (
    MAX_ISSUERS,
    AskedCredential,
    ProofQuery,
    TrustedIssuer,
)
from wallet_adapters.openid4vp.request import x509_hash_client_id
from zkp import Place, Reveal

CREDENTIAL = "data"
NOT_LIVE = "data are asked for under a consent that is in force"


@dataclass(frozen=True)
class OpenedDataRequest:
    """A data request as its partner sees it. `asked` is None once a wallet cannot answer it.

    `waiting` is what can be collected.
    """

    row: DataRequestRow
    attributes: tuple[str, ...]
    waiting: tuple[DataAnswerRow, ...]
    asked: Asked | None


def open_request(
    ctx: Context,
    tenant_id: str,
    partner_id: str,
    *,
    schema: str,
    attributes: Sequence[str],
    question: Question,
    token_hash: str,
) -> OpenedDataRequest | Decision:
    """Ask for attributes (canonical names) out of a credential of a kind, under a live consent.

    Or the denial that collecting one of them would meet now: the customer is not asked in vain.

    `question` is what is decided about each when it is collected; its own attribute is left out.

    1. The consent is the partner's, in force, for this purpose, and covers each attribute; the
       partner has registered a key to seal to.
    2. Each is judged as when it is collected; a denial is recorded. All of that is asked again
       then.
    3. The kind of credential has trusted issuers: this tenant, and those of its list.
    4. One transaction: the request, if the consent is still in force; audit.

    Raises `NotFound`, `ConsentNotLive`, `UnknownAttribute`, `InvalidRequest`, `NoSealingKey`,
    `UnknownPartner` (suspended meanwhile).
    """
    ctx = at_one_moment(ctx)
    # 1.
    with ctx.db.reading() as tx:
        consent = consents.consent(tx, tenant_id, question.consent_id or "")
        if consent.partner_id != partner_id:
            raise NotFound("no such consent")
        _check_covered(ctx, consent.as_published(ctx.now()), attributes, question)
        sealing_key_of(tx, tenant_id, partner_id)
    # 2.
    for name in attributes:
        asked = replace(question, attribute=name)
        denial = refuse_now(ctx, Asking(tenant_id, token_hash, partner_id, asked))
        if denial is not None:
            return denial
    # 3.
    query = _query(ctx, consent, schema, attributes)
    # 4.
    row = _new(ctx, consent, query, question)
    with ctx.db.transaction() as tx:
        # Who ends the consent waits for this, and closes what is asked; who was first is seen.
        if not vault.hold_live(tx, tenant_id, consent.id, ctx.now()):
            raise ConsentNotLive(NOT_LIVE)
        if partners.find(tx, tenant_id, partner_id, lock=True).state != "active":
            raise UnknownPartner("the partner is suspended")
        data_requests.add(tx, row)
        audit.record(
            ctx,
            tx,
            tenant_id=tenant_id,
            type="data.requested",
            consent_id=consent.id,
            subject_id=consent.subject_id,
            body={
                "data_request": row.id,
                "partner": partner_id,
                "attributes": list(attributes),
                "request_hash": row.request_hash,
            },
        )
    return _opened(ctx, row, ())


def find_request(
    ctx: Context, tenant_id: str, partner_id: str, request_id: str
) -> OpenedDataRequest:
    """A data request of a partner's own; raises `NotFound`."""
    with ctx.db.reading() as tx:
        row = data_requests.find(tx, tenant_id, request_id, partner_id)
        waiting = data_requests.waiting(tx, row.id, ctx.now())
    return _opened(ctx, row, tuple(waiting))


def attributes_of(query: ProofQuery) -> tuple[str, ...]:
    """The attributes that a stored request asks to be shown."""
    return tuple(one.place.attribute for one in query.statements if isinstance(one, Reveal))


def question_of(row: DataRequestRow, attribute: str) -> Question:
    """What is decided about an attribute of a request."""
    return Question(**{**orjson.loads(row.question), "attribute": attribute, "own": ()})


def _check_covered(
    ctx: Context, row: ConsentRow, attributes: Sequence[str], question: Question
) -> None:
    if row.state != "granted" or row.valid_until is None or row.valid_until <= ctx.now():
        raise ConsentNotLive(NOT_LIVE)
    terms = stored_terms(row.terms)
    if not set(attributes) <= set(terms.attributes):
        raise UnknownAttribute("the consent does not cover each of these attributes")
    named = terms.names(question.algorithm_id, question.algorithm_version)
    if terms.purpose_id != question.purpose_id or not named:
        raise InvalidRequest("purpose: the consent is for another purpose, algorithm or version")


def _query(ctx: Context, consent: ConsentRow, schema: str, attributes: Sequence[str]) -> ProofQuery:
    own = tenant_url(ctx.settings.public_url, consent.tenant_id)
    issuers = [TrustedIssuer(own, key) for key in published_keys(ctx, consent.tenant_id)]
    with ctx.db.reading() as tx:
        issuers += [
            TrustedIssuer(one.issuer.issuer, b64url_decode(one.issuer.key))
            for one in demands.trusted_issuers(tx, consent.tenant_id)
            if one.issuer.schema == schema
        ]
    shown = [Reveal(Place(CREDENTIAL, name)) for name in attributes]
    try:
        return ProofQuery(
            {CREDENTIAL: AskedCredential(schema, tuple(dict.fromkeys(issuers))[:MAX_ISSUERS])},
            (*shown, of_contact(CREDENTIAL, consent.contact_id)),
        )
    except WalletProtocolError as problem:
        raise InvalidRequest(str(problem)) from problem


def _new(
    ctx: Context, consent: ConsentRow, query: ProofQuery, question: Question
) -> DataRequestRow:
    request_id = new_id(data_requests.PREFIX)
    document = Document(
        client_id=x509_hash_client_id(ctx.keys.request(consent.tenant_id).leaf),
        dcql=query.dcql().as_dict(),
        questions=(),
        grade="",
        random=None,
        response_key=seal_response_key(ctx, request_id),
        clear=False,  # what comes is data: whoever stands between reads none of it
    )
    row = DataRequestRow(
        id=request_id,
        tenant_id=consent.tenant_id,
        partner_id=consent.partner_id,
        consent_id=consent.id,
        question=orjson.dumps(question).decode(),
        nonce=b64url(secrets.token_bytes(NONCE_BYTES)),
        document=document.dump(),
        request_hash="",
        state="open",
        expires_at=ctx.now() + ANSWER_SECONDS,
        created_at=ctx.now(),
    )
    return replace(row, request_hash=b64url(request_of(ctx, row).request_hash))


def _opened(
    ctx: Context, row: DataRequestRow, waiting: tuple[DataAnswerRow, ...]
) -> OpenedDataRequest:
    answerable = row.state_at(ctx.now()) == "open"
    names = attributes_of(query_of(row))
    return OpenedDataRequest(row, names, waiting, Asked.of(ctx, row) if answerable else None)
