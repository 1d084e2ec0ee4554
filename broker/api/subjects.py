"""Customers' rights, for compliance officers: everything held about one, and its erasure.

The customer is named in the body, never in an address: addresses end up in logs.
"""

from typing import Annotated, Any, Literal, Self

import orjson
from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, ConfigDict, Field, model_validator

from broker.api.consent_schemas import SubjectRef
from broker.api.deps import Ctx, OfficerCaller
from broker.api.idempotency import Answer, IdempotencyKey, run
from broker.domain.schemas import SUBJECT_EXPORT
from broker.store import erasures
from broker.store.erasures import ErasureRow
from broker.usecases.erasure import erase
from broker.usecases.person import Named
from broker.usecases.subject_export import export_subject

router = APIRouter(tags=["subjects"])

PUBLIC = {"Cache-Control": "public, max-age=86400", "Access-Control-Allow-Origin": "*"}
NO_STORE = {"Cache-Control": "no-store"}
Id = Annotated[str, Field(min_length=1, max_length=64)]


class SubjectIn(BaseModel):
    """Whom it is about: a partner's reference, or any consent of theirs."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"partner": "p-4k2vq7r3w5x6y2z4a3b5", "subject_ref": "crm-000381"},
                {"consent": "c-b3d5f7h2j4l6n3p5r7t2"},
            ]
        },
    )
    partner: Id | None = Field(default=None, description="The partner whose reference it is.")
    subject_ref: SubjectRef | None = None
    consent: Id | None = Field(
        default=None, description="A consent of the customer, in place of the reference."
    )

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        by_ref = (self.partner is not None, self.subject_ref is not None)
        if (self.consent is None) != all(by_ref) or (self.consent is not None and any(by_ref)):
            message = "name the customer by partner and subject_ref, or by consent"
            raise ValueError(message)
        return self

    def named(self) -> Named:
        """The customer as the use cases name them."""
        return Named(self.partner, self.subject_ref, self.consent)


class ErasureOut(BaseModel):
    """An erasure: over, or when the last signed evidence may go."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": "er-a2c4e6g2i4k6m2o4q6s2",
                    "state": "held",
                    "requested_by": "o-4k2vq7r3w5x6y2z4a3b5",
                    "begun_at": 1795478400,
                    "held_until": 1921622400,
                    "finished_at": None,
                }
            ]
        }
    )
    id: str
    state: Literal["held", "finished"]
    requested_by: str = Field(description="The officer, or `operator` for the command line.")
    begun_at: int = Field(description="Unix seconds.")
    held_until: int = Field(description="When the last that is held is deleted, Unix seconds.")
    finished_at: int | None


class BegunOut(ErasureOut):
    """An erasure that was just begun, and what it has done at once."""

    withdrawn: int = Field(description="Consents that were granted and are withdrawn now.")
    deletion_tasks: int = Field(description="Recipients' tasks, one for each consent.")


class ErasuresOut(BaseModel):
    """The erasures of a tenant, those first that end soonest."""

    erasures: list[ErasureOut]


@router.post(
    "/v1/subject-exports",
    response_class=Response,
    responses={
        200: {
            "description": "By the schema `/schemas/subject-export/1.json`.",
            "content": {"application/json": {"schema": {"type": "object"}}},
        }
    },
)
def post_export(ctx: Ctx, officer: OfficerCaller, body: SubjectIn) -> Response:
    """Everything held about one customer, by the schema `/schemas/subject-export/1.json`.

    For their right of access and portability (PIPL 45, GDPR 15 and 20). It reads, so it takes no
    `Idempotency-Key`; that it was handed out enters the log each time.
    """
    told = export_subject(ctx, officer.tenant_id, body.named(), by=officer.client_id)
    return Response(orjson.dumps(told), media_type="application/json", headers=NO_STORE)


@router.post("/v1/subject-erasures", status_code=201, response_model=BegunOut)
def post_erasure(
    ctx: Ctx, officer: OfficerCaller, body: SubjectIn, key: IdempotencyKey = None
) -> Response:
    """Erase a customer (PIPL 47, GDPR 17). It cannot be undone.

    At once decisions deny and the customer's references, wallet keys and offers are forgotten.
    Within a minute, at a second of its own, the partner sees that its consents are withdrawn and
    gets its deletion tasks; within half a minute more all that the law does not hold is deleted.
    Signed evidence stays sealed until its time (`held_until`), then it is deleted and the
    customer's log key destroyed.
    """

    def work() -> Answer:
        begun = erase(ctx, officer.tenant_id, body.named(), by=officer.client_id)
        out = BegunOut(
            **erasure_out(begun.erasure).model_dump(),
            withdrawn=begun.withdrawn,
            deletion_tasks=begun.tasks,
        )
        return Answer(201, orjson.dumps(out.model_dump()))

    fingerprint = b"POST /v1/subject-erasures\n" + body.model_dump_json().encode()
    answer = run(ctx, officer, fingerprint, key, work)
    return Response(answer.body, status_code=answer.status, media_type="application/json")


@router.get("/v1/subject-erasures")
def get_erasures(
    ctx: Ctx,
    officer: OfficerCaller,
    state: Annotated[Literal["held"] | None, Query(description="Those that are not over.")] = None,
) -> ErasuresOut:
    """The erasures of the tenant, with the date until which the law holds something."""
    with ctx.db.reading() as tx:
        found = erasures.of_tenant(tx, officer.tenant_id, pending=state is not None)
    return ErasuresOut(erasures=[erasure_out(row) for row in found])


@router.get(
    "/schemas/subject-export/1.json",
    response_class=Response,
    responses={200: {"content": {"application/schema+json": {}}}},
)
async def get_export_schema() -> Response:
    """The JSON Schema of a customer's export."""
    return Response(SUBJECT_EXPORT, media_type="application/schema+json", headers=PUBLIC)


def erasure_out(row: ErasureRow) -> ErasureOut:
    """The wire form of an erasure."""
    values: dict[str, Any] = {
        name: getattr(row, name)
        for name in ("id", "requested_by", "begun_at", "held_until", "finished_at")
    }
    return ErasureOut(state="held" if row.finished_at is None else "finished", **values)
