"""Consent requests and consents, for partners and officers."""

from typing import Any

from fastapi import APIRouter, Response
from starlette.concurrency import run_in_threadpool

from broker.api.consent_schemas import (
    AutomatedDecisions,
    ConsentOut,
    ConsentRequestIn,
    ConsentRequestOut,
    WithdrawalOut,
    asked_out,
    consent_out,
    request_out,
)
from broker.api.deps import AnyCaller, Caller, Ctx, OfficerCaller, PartnerCaller
from broker.api.idempotency import Answer, IdempotencyKey, run
from broker.domain.errors import NotFound
from broker.store import presentations
from broker.store.consents import ConsentRow
from broker.usecases import automated_decision, consent_request, withdrawal
from broker.usecases.context import Context
from broker.usecases.person import readable_consent

router = APIRouter(tags=["consents"])

SD_JWT = "application/dc+sd-jwt"
_SD_JWT: dict[int | str, dict[str, Any]] = {200: {"content": {SD_JWT: {}}}}


@router.post("/v1/consent-requests", status_code=201, response_model=ConsentRequestOut)
def open_request(
    ctx: Ctx, caller: PartnerCaller, body: ConsentRequestIn, key: IdempotencyKey = None
) -> Response:
    """Ask a customer, known by your own opaque `subject_ref`, for the consents of a template.

    The answer holds a page for the customer and a link that starts a wallet. A retry with the same
    `Idempotency-Key` returns the same request.
    """

    def work() -> Answer:
        opened = consent_request.open_request(
            ctx,
            caller.tenant_id,
            caller.client_id,
            subject_ref=body.subject_ref,
            template_id=body.template,
            language=body.language,
        )
        return Answer(201, request_out(opened).model_dump_json().encode())

    answer = run(
        ctx, caller, b"POST /v1/consent-requests\n" + body.model_dump_json().encode(), key, work
    )
    return _json(answer)


@router.get("/v1/consent-requests/{request_id}")
def get_request(ctx: Ctx, caller: AnyCaller, request_id: str) -> ConsentRequestOut:
    """Follow a consent request: its state, and that of each consent in it."""
    return request_out(
        consent_request.find_request(ctx, caller.tenant_id, _own(caller), request_id)
    )


@router.get("/v1/consents/{consent_id}")
def get_consent(ctx: Ctx, caller: AnyCaller, consent_id: str) -> ConsentOut:
    """A consent: its state now and its terms."""
    return consent_out(_consent(ctx, caller, consent_id), ctx.now())


@router.get("/v1/consents/{consent_id}/credential", response_class=Response, responses=_SD_JWT)
def get_credential(ctx: Ctx, caller: AnyCaller, consent_id: str) -> Response:
    """The consent credential (SD-JWT VC): all that the CRM needs to keep."""
    return _issued(ctx, _consent(ctx, caller, consent_id), "consent")


@router.get("/v1/consents/{consent_id}/receipt", response_class=Response, responses=_SD_JWT)
def get_receipt(ctx: Ctx, caller: AnyCaller, consent_id: str) -> Response:
    """The customer's receipt (SD-JWT VC); customers get it on their page. Officers only."""
    if caller.role != "officer":
        raise NotFound("no such receipt")
    return _issued(ctx, _consent(ctx, caller, consent_id), "receipt")


@router.put("/v1/consents/{consent_id}/automated-decisions")
def put_automated_decisions(
    ctx: Ctx, caller: OfficerCaller, consent_id: str, body: AutomatedDecisions
) -> AutomatedDecisions:
    """Refuse decisions by a program alone, or allow them again, on the customer's word.

    Of a granted consent, from the next decision on (`automated_decision_refused`); other uses go
    on. Customers refuse on the consent's page. Officers only; it is in the log.
    """
    automated_decision.set_refusal(
        ctx, caller.tenant_id, consent_id, refused=body.refused, by=caller.client_id
    )
    return body


@router.post(
    "/v1/consents/{consent_id}/withdrawal",
    response_model=WithdrawalOut,
    responses={202: {"model": WithdrawalOut, "description": "The customer is to sign it."}},
)
async def withdraw(
    ctx: Ctx, caller: AnyCaller, consent_id: str, key: IdempotencyKey = None
) -> Response:
    """Withdraw a consent.

    An officer, who has recognised the customer through the tenant's own channel (a lost wallet),
    withdraws at once (200). A partner gets a link (202) with which its customer signs the
    withdrawal: nobody but the customer can withdraw in their name. `Idempotency-Key` is optional.
    """

    def work() -> Answer:
        if caller.role == "officer":
            grade = withdrawal.withdraw_by_officer(
                ctx, caller.tenant_id, caller.client_id, consent_id
            )
            done = WithdrawalOut(id=consent_id, state="withdrawn", grade=str(grade))
            return Answer(200, done.model_dump_json().encode())
        asked = withdrawal.open_withdrawal_for_partner(
            ctx, caller.tenant_id, caller.client_id, consent_id
        )
        return Answer(202, asked_out(consent_id, asked).model_dump_json().encode())

    if caller.role == "officer" and not key:
        grade = await withdrawal.withdraw_by_officer_at_once(
            ctx, caller.tenant_id, caller.client_id, consent_id
        )
        done = WithdrawalOut(id=consent_id, state="withdrawn", grade=str(grade))
        return _json(Answer(200, done.model_dump_json().encode()))
    fingerprint = f"POST /v1/consents/{consent_id}/withdrawal".encode()
    answer = await run_in_threadpool(run, ctx, caller, fingerprint, key, work, required=False)
    return _json(answer)


def _json(answer: Answer) -> Response:
    return Response(answer.body, status_code=answer.status, media_type="application/json")


def _own(caller: Caller) -> str | None:
    return caller.client_id if caller.role == "partner" else None


def _consent(ctx: Context, caller: Caller, consent_id: str) -> ConsentRow:
    with ctx.db.reading() as tx:
        row = readable_consent(tx, caller.tenant_id, consent_id, _own(caller), ctx.now())
    return row.as_published(ctx.now()) if caller.role == "partner" else row


def _issued(ctx: Context, row: ConsentRow, kind: str) -> Response:
    with ctx.db.reading() as tx:
        issued = presentations.issued(tx, row.tenant_id, row.id, kind)
    text = ctx.master.open(issued.sealed, f"issued:{row.id}:{kind}")
    return Response(text, media_type=SD_JWT, headers={"Cache-Control": "no-store"})
