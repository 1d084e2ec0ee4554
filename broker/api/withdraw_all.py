"""Withdraw everything that a customer has given, on their call to the tenant's own channel."""

from fastapi import APIRouter, Response
from pydantic import BaseModel, ConfigDict, Field

from broker.api.deps import Ctx, OfficerCaller
from broker.api.idempotency import Answer, IdempotencyKey, run
from broker.api.subjects import SubjectIn
from broker.usecases import withdraw_all

router = APIRouter(tags=["consents"])

MOST_CUSTOMERS = 50


class WithdrawalsIn(BaseModel):
    """One person, who is a customer of its own at each partner: named once for each."""

    model_config = ConfigDict(extra="forbid")
    customers: list[SubjectIn] = Field(min_length=1, max_length=MOST_CUSTOMERS)


class WithdrawnAllOut(BaseModel):
    """What was withdrawn."""

    withdrawn: list[str] = Field(description="The consents that ended; decisions deny already.")
    shown_by: int = Field(
        description="By when status lists, log and pages have shown it to every partner, each at "
        "a time of its own (Unix seconds)."
    )


@router.post("/v1/withdrawals", response_model=WithdrawnAllOut)
def withdraw_everything(
    ctx: Ctx, caller: OfficerCaller, body: WithdrawalsIn, key: IdempotencyKey = None
) -> Response:
    """Withdraw all that a person has given, in one act. Officers only.

    For somebody who was recognised through the tenant's own channel; with a wallet they do it from
    any of their consents' pages. The broker does not know that the customers of two partners are
    one person: name each. The next decision denies. Where nothing is granted nothing changes.
    `Idempotency-Key` is optional.
    """

    def work() -> Answer:
        subject_ids = [
            withdraw_all.customer_of(ctx, caller.tenant_id, customer.named())
            for customer in body.customers
        ]
        done = withdraw_all.withdraw_all_by_officer(
            ctx, caller.tenant_id, subject_ids, officer_id=caller.client_id
        )
        out = WithdrawnAllOut(withdrawn=list(done.consents), shown_by=done.shown_by)
        return Answer(200, out.model_dump_json().encode())

    fingerprint = b"POST /v1/withdrawals\x00" + body.model_dump_json().encode()
    answer = run(ctx, caller, fingerprint, key, work, required=False)
    return Response(answer.body, status_code=answer.status, media_type="application/json")
