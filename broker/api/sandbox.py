"""The sandbox, for officers: try one new source or partner at a time on marked test subjects."""

from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Response
from pydantic import BaseModel, ConfigDict, Field

from broker.api.deps import Ctx, OfficerCaller
from broker.api.idempotency import Answer, IdempotencyKey, canonical, run
from broker.domain.sandbox import (
    LEAST_VALUE,
    LONGEST_REPORT,
    MOST_VALUE,
    WHOLE,
    Figures,
    Kind,
    Trial,
)
from broker.usecases import sandbox

router = APIRouter(tags=["registry"])

_FIGURES: dict[str, Any] = {"quality": 97, "value": 12, "report": "QA-2026-031"}


class TrialIn(BaseModel):
    """What is to be tried."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"kind": "source", "name": "points-alliance"}]},
    )
    kind: Kind
    name: str = Field(
        min_length=1, max_length=64, description="A source's name, or a partner's client id."
    )


class FiguresBody(BaseModel):
    """What the trial has shown."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [_FIGURES]})
    quality: Annotated[int, Field(strict=True, ge=0, le=WHOLE)] = Field(
        description="Of the test subjects' values, how many per cent were right."
    )
    value: Annotated[int, Field(strict=True, ge=LEAST_VALUE, le=MOST_VALUE)] = Field(
        description="By how many per cent the purpose was served better; below 0: worse."
    )
    report: str = Field(
        min_length=1, max_length=LONGEST_REPORT, description="Where the test is written down."
    )


class TrialOut(BaseModel):
    """A trial; times are Unix seconds."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": "tr-4k2vq7r3w5x6y2z4a3b5",
                    "kind": "source",
                    "name": "points-alliance",
                    "opened_by": "o-4k2vq7r3w5x6y2z4a3b5",
                    "opened_at": 1795478400,
                    "uses": 40,
                    "ended_at": 1795564800,
                    "ended_by": "o-4k2vq7r3w5x6y2z4a3b5",
                    "outcome": "signed_off",
                    "figures": _FIGURES,
                }
            ]
        }
    )
    id: str
    kind: Kind
    name: str
    opened_by: str
    opened_at: int
    uses: int = Field(description="Permits of test subjects' data in it.")
    ended_at: int | None
    ended_by: str | None
    outcome: str | None = Field(description="`signed_off`, or `ended` without; null: it runs.")
    figures: FiguresBody | None


class TrialsOut(BaseModel):
    """The trials, oldest first; at most one has no end."""

    trials: list[TrialOut]


class MarkedContact(BaseModel):
    """A contact, and whether it is a test subject."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"partner": "p-4k2vq7r3w5x6y2z4a3b5", "subject_ref": "crm-test-1", "on": True}
            ]
        },
    )
    partner: str = Field(min_length=1, max_length=64)
    subject_ref: str = Field(min_length=1, max_length=1024, description="The partner's contact.")
    on: bool


@router.get("/v1/sandbox")
def get_sandbox(ctx: Ctx, caller: OfficerCaller) -> TrialsOut:
    """What is in the sandbox, and what was. Officers only."""
    return TrialsOut(trials=[_out(one) for one in sandbox.listed(ctx, caller.tenant_id)])


@router.post("/v1/sandbox", status_code=201, response_model=TrialOut)
def post_sandbox(
    ctx: Ctx, caller: OfficerCaller, body: TrialIn, key: IdempotencyKey = None
) -> Response:
    """Put a draft source, or a partner, into the sandbox. Officers only.

    From the next decision on its use is permitted for test subjects alone (`PUT
    /v1/test-subjects`). 409 `state_conflict` while another is in it.
    """

    def work() -> Answer:
        made = sandbox.start(ctx, caller.tenant_id, body.kind, body.name, by=caller.client_id)
        return Answer(201, orjson.dumps(made.to_json()))

    fingerprint = b"POST /v1/sandbox\n" + canonical(body.model_dump())
    answer = run(ctx, caller, fingerprint, key, work)
    return Response(answer.body, status_code=answer.status, media_type="application/json")


@router.put("/v1/sandbox/{trial_id}/sign-off")
def put_sign_off(ctx: Ctx, caller: OfficerCaller, trial_id: str, body: FiguresBody) -> TrialOut:
    """Sign off the quality and the value of what was tried: it is open. Officers only.

    409 `state_conflict` where nothing was permitted in the trial, or it is over.
    """
    figures = Figures(**body.model_dump())
    return _out(sandbox.sign_off(ctx, caller.tenant_id, trial_id, figures, by=caller.client_id))


@router.delete("/v1/sandbox/{trial_id}")
def delete_trial(ctx: Ctx, caller: OfficerCaller, trial_id: str) -> TrialOut:
    """End a trial without a sign-off. Officers only.

    A source is a draft again; a partner's every question is denied (`partner_not_signed_off`)
    until it was tried again. It can still ask customers: suspend it to end that too.
    """
    return _out(sandbox.end(ctx, caller.tenant_id, trial_id, by=caller.client_id))


@router.put("/v1/test-subjects")
def put_test_subject(ctx: Ctx, caller: OfficerCaller, body: MarkedContact) -> MarkedContact:
    """Mark a contact as a test subject, or as none any more. Officers only; it is in the log."""
    sandbox.mark(
        ctx, caller.tenant_id, body.partner, body.subject_ref, on=body.on, by=caller.client_id
    )
    return body


def _out(one: Trial) -> TrialOut:
    told: dict[str, Any] = one.to_json()
    return TrialOut(**told)
