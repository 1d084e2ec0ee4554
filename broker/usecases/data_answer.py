"""What a wallet shows for a data request: verified, masked, sealed to the partner, handed on once.

The attributes are in the memory of one worker while it answers the wallet, and nowhere else. What
waits for the partner is a JWE to the partner's own key, in a row, since the worker that is asked
for it may be another: no key of the broker opens it, and minutes later it is deleted.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import Connection

from broker.domain.access import Question
from broker.domain.conditions import NOT_MASKED_SO
from broker.domain.decision import Decision
from broker.domain.errors import (
    ConsentNotLive,
    Gone,
    LogUnavailable,
    NoSealingKey,
    StateConflict,
    Unauthorized,
)
from broker.domain.masking import masking_for, stored_maskings
from broker.store import access_tokens, consents, data_requests, vault
from broker.store.data_requests import DataAnswerRow, DataRequestRow
from broker.usecases import audit
from broker.usecases.answering import REJECTIONS_LOGGED, Accepted, Refused, Rejected
from broker.usecases.attribute_keys import stolen_keys
from broker.usecases.context import Context, at_one_moment
from broker.usecases.data_request import CREDENTIAL, attributes_of, question_of
from broker.usecases.decide import Asking, decide
from broker.usecases.proof import check_not_stolen, check_proof, read_answer
from broker.usecases.proof_request import query_of
from broker.usecases.sealing_key import sealing_key_of
from broker.usecases.wallet_refusal import ERRORS
from wallet_adapters.envelope import UNMASKED, Sealed, seal_envelope
from wallet_adapters.errors import WalletProtocolError
from wallet_adapters.masking import masked
from wallet_adapters.openid4vp.proof import ReceivedProof
from wallet_adapters.openid4vp.response import WalletRefusal
from zkp import Value, ZkpError

COLLECTED = "this was collected, or its consent has ended: ask the wallet again"
COLLECT_SECONDS = 300
"""How long what was shown waits for its partner."""


def answer(ctx: Context, tenant_id: str, request_id: str, body: bytes) -> Accepted | Rejected:
    """Take a wallet's `direct_post` answer (the form as it came) to a data request.

    1. The request is open and the log takes entries.
    2. The answer is decrypted and read; it shows what was asked, by a trusted issuer, for this
       contact (`proof.check_proof`).
    3. Each attribute is masked as the role of the request demands, and sealed to the partner.
    4. One transaction keeps that for some minutes, if the consent is still in force, the request
       open and no key stolen meanwhile, and tells.

    Raises `NotFound`, `Gone`, `LogUnavailable`; whatever else is refused is returned, and logged.
    """
    later, ctx = ctx, at_one_moment(ctx)
    with ctx.db.reading() as tx:
        row = data_requests.find(tx, tenant_id, request_id)
        stolen = stolen_keys(tx, tenant_id)
    try:
        # 1.
        _check_open(ctx, row)
        if not ctx.log.permits(ctx.now()):
            raise LogUnavailable("the audit log takes no answers at the moment; try again soon")
        # 2.
        response = read_answer(ctx, row, body)
        if isinstance(response, WalletRefusal):
            _refused(ctx, row, response)
            return Accepted((), {})
        shown = check_proof(ctx, row, response.proof, stolen).credentials[CREDENTIAL].revealed
        # 3. and 4.
        ctx = at_one_moment(later)
        _keep(ctx, row, response.proof, _sealed(ctx, row, shown))
        return Accepted((), {})
    except (ZkpError, WalletProtocolError, ConsentNotLive, NoSealingKey) as error:
        return _reject(ctx, row, error.code, str(error))
    except Refused as error:
        return _reject(ctx, row, error.reason, str(error))
    except Gone as error:
        _reject(ctx, row, error.code, str(error))
        raise


@dataclass(frozen=True)
class Collected:
    """What a partner gets: a JWE to its own key, and what it owes."""

    answer: DataAnswerRow
    decision: Decision


async def collect(
    ctx: Context,
    tenant_id: str,
    token_hash: str,
    request_id: str,
    attribute: str,
    *,
    supported: frozenset[str] | None = None,
) -> Collected | Decision:
    """Hand an attribute that was shown to its partner, once, or the denial.

    1. The request is the partner's, and the attribute waits.
    2. Decide (`decide`): live consent, policies, uses, obligations that the partner can carry out.
       It is one use, whatever is sent how often: it is handed out once.
    3. In the transaction of a permit, delete what waits and give it out: of several who ask at
       once, one gets it, and for the others nothing is counted or recorded. An end of the consent
       has deleted it.

    What is lost on its way to the partner cannot be repeated: ask the wallet again. Raises
    `Unauthorized`, `NotFound`, `Gone`, `StateConflict` (not answered yet, or masked otherwise).
    """
    # 1.
    partner_id, row, found, demanded = await ctx.db.read(
        lambda tx: _find(tx, ctx, tenant_id, token_hash, request_id, attribute)
    )
    taken: list[DataAnswerRow] = []

    # 3.
    def hand_out(tx: Connection) -> None:
        taken[:] = [_taken(ctx, tx, row, found)]

    # 2.
    asking = Asking(
        tenant_id,
        token_hash,
        partner_id,
        question_of(row, attribute),
        f"data request {row.id} {attribute}",
        refusals=() if demanded in {UNMASKED, found.masking} else (NOT_MASKED_SO,),
        data={"data_request": row.id, "masking": found.masking},
        supported=supported,
        hand_out=hand_out,
    )
    decision = await decide(ctx, asking)
    if not decision.permit:
        return decision
    if not taken:  # the first answer to what was collected meanwhile
        raise Gone(COLLECTED)
    return Collected(taken[0], decision)


def _taken(
    ctx: Context, tx: Connection, row: DataRequestRow, found: DataAnswerRow
) -> DataAnswerRow:
    demanded = _demanded(tx, row.tenant_id, question_of(row, found.attribute))
    if demanded not in {UNMASKED, found.masking}:
        raise StateConflict("how this is masked has changed: ask the wallet again")
    taken = data_requests.take(tx, row.id, found.attribute, ctx.now())
    if taken is None:
        raise Gone(COLLECTED)
    return taken


def _find(
    tx: Connection, ctx: Context, tenant_id: str, token_hash: str, request_id: str, attribute: str
) -> tuple[str, DataRequestRow, DataAnswerRow, str]:
    token = access_tokens.find(tx, tenant_id, token_hash)
    if token is None or token.expires_at <= ctx.now():
        raise Unauthorized("the access token is unknown or has expired: get a new one")
    row = data_requests.find(tx, tenant_id, request_id, token.subject)
    if row.state_at(ctx.now()) == "open":
        raise StateConflict("the wallet has not answered yet: follow GET /v1/data-requests/{id}")
    for one in data_requests.waiting(tx, row.id, ctx.now()):
        if one.attribute == attribute:
            question = question_of(row, attribute)
            return token.subject, row, one, _demanded(tx, tenant_id, question)
    raise Gone("nothing waits: it was refused, collected, ended with its consent, or too late")


def _demanded(tx: Connection, tenant_id: str, question: Question) -> str:
    found = stored_maskings(vault.maskings(tx, tenant_id, question.attribute))
    return masking_for(found, question.role) or UNMASKED


def _sealed(ctx: Context, row: DataRequestRow, shown: Mapping[str, Value]) -> list[DataAnswerRow]:
    names = attributes_of(query_of(row))
    with ctx.db.reading() as tx:
        key = sealing_key_of(tx, row.tenant_id, row.partner_id)
        maskings = {name: _demanded(tx, row.tenant_id, question_of(row, name)) for name in names}
    found = []
    for name in names:
        masking = maskings[name]
        value = shown[name] if masking == UNMASKED else masked(masking, shown[name])
        sealed = Sealed(row.consent_id, name, masking, value)
        found.append(
            DataAnswerRow(
                request_id=row.id,
                attribute=name,
                tenant_id=row.tenant_id,
                consent_id=row.consent_id,
                masking=masking,
                envelope=seal_envelope(sealed, key),
                expires_at=ctx.now() + COLLECT_SECONDS,
            )
        )
    return found


def _check_open(ctx: Context, row: DataRequestRow) -> None:
    state = row.state_at(ctx.now())
    if state != "open":
        raise Gone(f"this data request is {state}: it is answered once, while it is open")


def _keep(
    ctx: Context, row: DataRequestRow, received: ReceivedProof, answers: list[DataAnswerRow]
) -> None:
    _check_open(ctx, row)
    with ctx.db.transaction() as tx:
        check_not_stolen(received, stolen_keys(tx, row.tenant_id))
        # Who ends the consent waits for this, and deletes what it has kept.
        if not vault.hold_live(tx, row.tenant_id, row.consent_id, ctx.now()):
            raise ConsentNotLive("the consent has ended: nothing is handed on")
        consent = consents.consent(tx, row.tenant_id, row.consent_id)
        if not data_requests.answer(tx, row.id, answers, ctx.now()):
            raise Gone("this data request has been answered: another answer came first")
        audit.record(
            ctx,
            tx,
            tenant_id=row.tenant_id,
            type="data.presented",
            consent_id=row.consent_id,
            subject_id=consent.subject_id,
            body={
                "data_request": row.id,
                "partner": row.partner_id,
                "request_hash": row.request_hash,
                "maskings": {one.attribute: one.masking for one in answers},
            },
        )


def _refused(ctx: Context, row: DataRequestRow, refusal: WalletRefusal) -> None:
    if refusal.error != "access_denied":
        known = refusal.error if refusal.error in ERRORS else "other"
        _reject(ctx, row, "wallet_error", "", error=known)
        return
    with ctx.db.transaction() as tx:
        if not data_requests.refuse(tx, row.id):
            raise Gone("this data request has been answered")
        _record(ctx, tx, row, "data.refused", {})


def _reject(ctx: Context, row: DataRequestRow, code: str, message: str, **more: str) -> Rejected:
    """Write into the log that an answer did not count, as often as it has to be known."""
    with ctx.db.transaction() as tx:
        if 0 < data_requests.count_rejection(tx, row.id) <= REJECTIONS_LOGGED:
            _record(ctx, tx, row, "data.rejected", {"code": code, **more})
    return Rejected(code, message)


def _record(
    ctx: Context, tx: Connection, row: DataRequestRow, kind: str, more: Mapping[str, str]
) -> None:
    audit.record(
        ctx,
        tx,
        tenant_id=row.tenant_id,
        type=kind,
        consent_id=row.consent_id,
        subject_id=consents.consent(tx, row.tenant_id, row.consent_id).subject_id,
        body={"data_request": row.id, "partner": row.partner_id, **more},
    )
