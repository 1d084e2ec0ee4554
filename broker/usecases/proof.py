"""Check a proof against the request that it answers: from a wallet, or from the partner who has it.

Only requests of this broker are answered: it drew the nonce, so it knows that the proof is no older
than the request and is used once. A nonce that came with the proof would be good for ever.
"""

from dataclasses import dataclass

import orjson
from sqlalchemy import Connection

from broker.domain.demand import Issuer
from broker.domain.errors import Gone, LogUnavailable
from broker.domain.tracing import span
from broker.store import contacts, proofs, registry
from broker.store.demands import shown_text
from broker.store.proofs import ProofRequestRow
from broker.usecases import audit
from broker.usecases.answering import REJECTIONS_LOGGED, Accepted, Refused, Rejected
from broker.usecases.attribute_keys import stolen_keys
from broker.usecases.context import Context, at_one_moment
from broker.usecases.event import tell
from broker.usecases.granting import DAY, sha256
from broker.usecases.presentation_request import Document, Kept, response_key
from broker.usecases.proof_request import OpenedProof, query_of, request_of, requests_of
from broker.usecases.wallet_refusal import ERRORS
from credentials.jcs import b64url
from wallet_adapters.errors import WalletProtocolError
from wallet_adapters.openid4vp.encrypted_response import open_response
from wallet_adapters.openid4vp.errors import StateMismatch
from wallet_adapters.openid4vp.proof import (
    AskedCredential,
    ReceivedCredential,
    ReceivedProof,
    digest_of,
    read_proof,
)
from wallet_adapters.openid4vp.response import ProofResponse, WalletRefusal, parse_proof_response
from wallet_adapters.wire import parse_form
from zkp import ProofRequest, ProvenPresentation, Schema, ToVerify, ZkpError


@dataclass(frozen=True)
class _Checked:
    """A proof that shows what was asked, and the bytes of it that are kept."""

    row: ProofRequestRow
    verified: ProvenPresentation
    received: ReceivedProof


def verify_for_partner(
    ctx: Context, tenant_id: str, partner_id: str, request_id: str, presentation: object
) -> OpenedProof | Rejected:
    """Check a proof that a partner has received, against a proof request of its own.

    Raises `NotFound`, `LogUnavailable`; every other refusal is returned, and logged.
    """
    later, ctx = ctx, at_one_moment(ctx)
    with ctx.db.reading() as tx:
        row = proofs.find(tx, tenant_id, request_id, partner_id)
        stolen = stolen_keys(tx, tenant_id)
    try:
        _check_open(ctx, row)
        checked = _check(ctx, row, read_proof(presentation), stolen)
        return _take(at_one_moment(later), checked)
    except (ZkpError, WalletProtocolError, Gone) as error:
        return _reject(ctx, row, error.code, str(error))
    except Refused as error:
        return _reject(ctx, row, error.reason, str(error))


def answer(ctx: Context, tenant_id: str, request_id: str, body: bytes) -> Accepted | Rejected:
    """Take a wallet's `direct_post` answer (the form as it came) to a request for a proof.

    Raises `NotFound`, `Gone`, `LogUnavailable`; whatever else is refused is returned, and logged.
    """
    later, ctx = ctx, at_one_moment(ctx)
    with ctx.db.reading() as tx:
        row = proofs.find(tx, tenant_id, request_id)
        stolen = stolen_keys(tx, tenant_id)
    try:
        _check_open(ctx, row)
        response = read_answer(ctx, row, body)
        if isinstance(response, WalletRefusal):
            _refused(ctx, row, response)
        else:
            checked = _check(ctx, row, response.proof, stolen)
            _take(at_one_moment(later), checked)
        return Accepted((), {})
    except (ZkpError, WalletProtocolError) as error:
        return _reject(ctx, row, error.code, str(error))
    except Refused as error:
        return _reject(ctx, row, error.reason, str(error))
    except Gone as error:
        _reject(ctx, row, error.code, str(error))
        raise


def read_answer(ctx: Context, row: Kept, body: bytes) -> ProofResponse | WalletRefusal:
    """A wallet's answer, decrypted where it is encrypted or has to be, to this very request.

    Raises leaves of `WalletProtocolError`.
    """
    form, key = parse_form(body), response_key(ctx, row)
    in_the_clear = Document.load(row.document).clear and "response" not in form
    response = parse_proof_response(
        form if key is None or in_the_clear else open_response(form, key)
    )
    if response.state != row.id and not (
        isinstance(response, WalletRefusal) and response.state is None
    ):
        raise StateMismatch("the response's state is not the request's")
    return response


def _check_open(ctx: Context, row: ProofRequestRow) -> None:
    state = row.state_at(ctx.now())
    if state != "open":
        raise Gone(f"this proof request is {state}: a proof is taken once, while it is open")
    if not ctx.log.permits(ctx.now()):
        raise LogUnavailable("the audit log takes no proofs at the moment; try again soon")


def check_proof(
    ctx: Context, row: Kept, received: ReceivedProof, stolen: frozenset[bytes]
) -> ProvenPresentation:
    """Check everything that does not need the database, the cheap before the dear.

    1. The proof says that it answers this request, in one of the forms that it had.
    2. It shows the credentials asked for, each under a key of an issuer that is trusted for it,
       and none under a key of this tenant that was stolen since it was asked (`stolen`).
    3. Each is of the schema asked for, and its header names the issuer of its key.
    4. The proof holds (`zkp.verify`: length, points, challenges, equations), checked together with
       those that wait at the same moment.

    Raises `Refused`, `ZkpError`. No transaction is open here: it takes milliseconds.
    """
    query = query_of(row)
    # 1.
    request = _answered(ctx, row, received)
    # 2.
    if set(received.credentials) != set(query.credentials):
        raise Refused("proof_credentials_differ", "the proof is over other credentials than asked")
    check_not_stolen(received, stolen)
    for name, shown in received.credentials.items():
        if shown.key not in query.credentials[name].keys:
            raise Refused(
                "issuer_not_trusted",
                f"the credential {name} is of an issuer that was not asked for",
            )
    # 3.
    for name, shown in received.credentials.items():
        _check_header(name, query.credentials[name], shown)
    # 4.
    with span("verification"):
        accepted = {name: asked.keys for name, asked in query.credentials.items()}
        return ctx.proofs.verify(ToVerify(request, received.presentation(), accepted))


def check_not_stolen(received: ReceivedProof, stolen: frozenset[bytes]) -> None:
    """Raise `Refused` where a key of these signed what was shown.

    A proof waits for others, so it is looked at twice: before it is verified, and by whoever takes
    it, in the same transaction.
    """
    for name, shown in received.credentials.items():
        if shown.key in stolen:
            raise Refused(
                "issuer_key_compromised",
                f"the credential {name} was signed by a key that is no longer trusted",
            )


def _check(
    ctx: Context, row: ProofRequestRow, received: ReceivedProof, stolen: frozenset[bytes]
) -> _Checked:
    return _Checked(row, check_proof(ctx, row, received, stolen), received)


def _answered(ctx: Context, row: Kept, received: ReceivedProof) -> ProofRequest:
    for request in requests_of(ctx, row):
        if digest_of(request) == received.request:
            return request
    raise Refused(
        "proof_of_another_request",
        "the proof was made for another request: other statements, nonce, audience or address",
    )


def _check_header(name: str, asked: AskedCredential, shown: ReceivedCredential) -> None:
    schema, issuer = Schema.from_header(shown.header)
    if schema.id != asked.schema:
        raise Refused(
            "proof_schema_differs", f"the credential {name} is of another kind than asked for"
        )
    if issuer not in {one.issuer for one in asked.issuers if one.key == shown.key}:
        raise Refused(
            "issuer_not_trusted", f"the credential {name} names another issuer than its key's"
        )


def _take(ctx: Context, checked: _Checked) -> OpenedProof:
    """Write what was proven, once: of several proofs at the same time one is taken.

    It has waited since it came: that the request is open and no key was stolen is looked at again.
    Kept is the proof, sealed; no attribute is in it, since no statement that shows one is asked.
    """
    row, now = checked.row, ctx.now()
    _check_open(ctx, row)
    proof = _kept(checked)
    sealed = ctx.master.seal(proof, f"proof:{row.id}")
    with ctx.db.transaction() as tx:
        check_not_stolen(checked.received, stolen_keys(tx, row.tenant_id))
        template = registry.template(tx, row.tenant_id, row.template_id, row.template_version)
        subject_id = None
        if row.contact_id is not None:
            subject_id = contacts.find(tx, row.tenant_id, row.contact_id).subject_id
        entry_id = audit.record(
            ctx,
            tx,
            tenant_id=row.tenant_id,
            type="proof.verified",
            subject_id=subject_id,
            body={
                "proof_request": row.id,
                "partner": row.partner_id,
                "request_hash": row.request_hash,
                "proof_hash": sha256(proof.decode()),
            },
        )
        proven = proofs.prove(
            tx,
            row.id,
            sealed=sealed,
            shown=_shown(checked),
            entry_id=entry_id,
            now=now,
            kept_until=now + template.evidence_retention_days * DAY,
        )
        if proven is None:
            raise Gone("this proof request has been answered: another proof came first")
        _tell(ctx, tx, row, "proof.verified")
    return OpenedProof(proven, query_of(proven), request_of(ctx, proven), None)


def _kept(checked: _Checked) -> bytes:
    """The proof as somebody could check it again, with the request that it answers."""
    credentials = {
        name: {
            "issuer_key": b64url(one.key.data),
            "header": b64url(one.header),
            "bound": one.bound,
            "revealed": dict(one.revealed),  # the epoch of a status token at most
        }
        for name, one in checked.verified.credentials.items()
    }
    told = {
        "request": checked.verified.request.to_json(),
        "credentials": credentials,
        "proof": b64url(checked.received.proof),
    }
    return orjson.dumps(told, option=orjson.OPT_SORT_KEYS)


def _shown(checked: _Checked) -> str:
    """What decisions read: the statements, and whose credential it was under each name."""
    asked = query_of(checked.row)
    issuers = {}
    for name, one in checked.received.credentials.items():
        schema, issuer = Schema.from_header(one.header)
        issuers[name] = Issuer(schema.id, issuer, b64url(one.key))
    return shown_text(issuers, [statement.to_json() for statement in asked.statements])


def _refused(ctx: Context, row: ProofRequestRow, refusal: WalletRefusal) -> None:
    """The wallet answered with an error: the holder refuses, or has nothing that proves it."""
    if refusal.error != "access_denied":
        known = refusal.error if refusal.error in ERRORS else "other"
        _reject(ctx, row, "wallet_error", "", error=known)
        return
    with ctx.db.transaction() as tx:
        if not proofs.refuse(tx, row.id):
            raise Gone("this proof request has been answered")
        audit.record(
            ctx,
            tx,
            tenant_id=row.tenant_id,
            type="proof.refused",
            body={"proof_request": row.id, "partner": row.partner_id},
        )
        _tell(ctx, tx, row, "proof.refused")


def _tell(ctx: Context, tx: Connection, row: ProofRequestRow, kind: str) -> None:
    tell(
        ctx,
        tx,
        tenant_id=row.tenant_id,
        partner_id=row.partner_id,
        type=kind,
        subject=row.id,
        data={"proof_request": row.id},
    )


def _reject(ctx: Context, row: ProofRequestRow, code: str, message: str, **more: str) -> Rejected:
    """Write into the log that a proof did not count, as often as it has to be known."""
    with ctx.db.transaction() as tx:
        if 0 < proofs.count_rejection(tx, row.id) <= REJECTIONS_LOGGED:
            audit.record(
                ctx,
                tx,
                tenant_id=row.tenant_id,
                type="proof.rejected",
                body={"proof_request": row.id, "partner": row.partner_id, "code": code, **more},
            )
    return Rejected(code, message)
