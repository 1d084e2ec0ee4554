"""Withdraw everything that a customer has given, on their call to the tenant's own channel."""

from typing import Annotated, Self

from fastapi import APIRouter, Response
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from broker.api.consent_schemas import SubjectRef
from broker.api.deps import Ctx, OfficerCaller
from broker.api.idempotency import Answer, IdempotencyKey, run
from broker.usecases import withdraw_all
from broker.usecases.person import Named

router = APIRouter(tags=["consents"])

MOST_CUSTOMERS = 50

Id = Annotated[str, StringConstraints(min_length=1, max_length=64)]


class CustomerIn(BaseModel):
    """Which customer: by a consent that they gave, or by a partner's own name for them."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"consent": "c-b3d5f7h2j4l6n3p5r7t2"},
                {"partner": "p-4k2vq7", "subject_ref": "crm-000381"},
            ]
        },
    )
    consent: Id | None = Field(default=None, description="A consent that the customer gave.")
    partner: Id | None = Field(default=None, description="A partner's client id.")
    subject_ref: SubjectRef | None = Field(
        default=None, description="That partner's own opaque contact."
    )

    @model_validator(mode="after")
    def one_way(self) -> Self:
        """Either a consent, or partner and contact."""
        by_contact = (self.partner is not None, self.subject_ref is not None)
        if by_contact not in {(True, True), (False, False)} or by_contact[0] == bool(self.consent):
            raise ValueError("name a consent, or a partner and its subject_ref")
        return self


class WithdrawalsIn(BaseModel):
    """One person, who is a customer of its own at each partner: named once for each."""

    model_config = ConfigDict(extra="forbid")
    customers: list[CustomerIn] = Field(min_length=1, max_length=MOST_CUSTOMERS)


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
            withdraw_all.customer_of(
                ctx,
                caller.tenant_id,
                Named(named.partner, named.subject_ref, named.consent),
            )
            for named in body.customers
        ]
        done = withdraw_all.withdraw_all_by_officer(
            ctx, caller.tenant_id, subject_ids, officer_id=caller.client_id
        )
        out = WithdrawnAllOut(withdrawn=list(done.consents), shown_by=done.shown_by)
        return Answer(200, out.model_dump_json().encode())

    fingerprint = b"POST /v1/withdrawals\x00" + body.model_dump_json().encode()
    answer = run(ctx, caller, fingerprint, key, work, required=False)
    return Response(answer.body, status_code=answer.status, media_type="application/json")
