"""What recipients have to delete, and their signed receipts."""

from typing import Annotated, Any, Literal

import orjson
from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, ConfigDict, Field

from broker.api.deps import AnyCaller, Caller, Ctx, PartnerCaller
from broker.api.idempotency import Answer, IdempotencyKey, run
from broker.domain.deletion import LONGEST_RECEIPT, METHODS
from broker.store.deletion_tasks import DeletionTaskRow
from broker.usecases import deletion

router = APIRouter(tags=["deletion"])

MOST_TASKS = 500
TaskState = Literal["open", "done", "overdue"]


class TaskOut(BaseModel):
    """A deletion task."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": "dt-a2c4e6g2i4k6m2o4q6s2",
                    "partner": "p-4k2vq7r3w5x6y2z4a3b5",
                    "consent": "c-b3d5f7h2j4l6n3p5r7t2",
                    "reason": "withdrawn",
                    "attributes": ["purchase_count_12m"],
                    "state": "open",
                    "overdue": False,
                    "created_at": 1795478400,
                    "due_at": 1798070400,
                    "received_at": None,
                }
            ]
        }
    )
    id: str
    partner: str
    consent: str
    reason: Literal["withdrawn", "erased"]
    attributes: list[str] = Field(description="Canonical names of what has to be deleted.")
    state: Literal["open", "done"]
    overdue: bool
    created_at: int = Field(description="Unix seconds.")
    due_at: int = Field(
        description="As long as the terms let the data be kept, and at most the broker's limit."
    )
    received_at: int | None = Field(description="When the receipt came.")


class TasksOut(BaseModel):
    """Deletion tasks, oldest first; `next` goes into `after` for the page behind this one."""

    tasks: list[TaskOut]
    next: str | None


class ReceiptIn(BaseModel):
    """A signed receipt."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"receipt": "eyJhbGciOiJFUzI1NiIsInR5cCI6ImRlbGV0aW9uLXJlY2VpcHQ..."}]
        },
    )
    receipt: str = Field(
        min_length=1,
        max_length=LONGEST_RECEIPT,
        description=(
            "A compact JWS of type `deletion-receipt+jwt` by the key that you are registered with. "
            "Its claims, all of them and no other: `iss` (your client id), `aud` (the tenant's "
            "address), `iat`, `task`, `consent`, `attributes` (those of the task), `deleted_at`, "
            f"`method` (one of {', '.join(METHODS)})."
        ),
    )


@router.get("/v1/deletion-tasks")
def get_tasks(
    ctx: Ctx,
    caller: AnyCaller,
    state: TaskState | None = None,
    consent: Annotated[str | None, Query(min_length=1, max_length=64)] = None,
    limit: Annotated[int, Query(ge=1, le=MOST_TASKS)] = 100,
    after: Annotated[str | None, Query(min_length=1, max_length=64)] = None,
) -> TasksOut:
    """What you have to delete, as a partner; everybody's tasks of the tenant, as an officer.

    A withdrawal or an erasure makes one for each consent. `overdue` are those that are open though
    their time is over.
    """
    found, behind = deletion.tasks(
        ctx,
        caller.tenant_id,
        _own(caller),
        limit=limit,
        state=state,
        consent_id=consent,
        after=after,
    )
    return TasksOut(tasks=[task_out(row, ctx.now()) for row in found], next=behind)


@router.post("/v1/deletion-tasks/{task_id}/receipt", response_model=TaskOut)
def post_receipt(
    ctx: Ctx, caller: PartnerCaller, task_id: str, body: ReceiptIn, key: IdempotencyKey = None
) -> Response:
    """Say, signed, that you have deleted what the task names. It is kept as evidence.

    The first receipt counts; the same one again changes nothing.
    """

    def work() -> Answer:
        row = deletion.take_receipt(ctx, caller.tenant_id, caller.client_id, task_id, body.receipt)
        return Answer(200, orjson.dumps(task_out(row, ctx.now()).model_dump()))

    fingerprint = f"POST /v1/deletion-tasks/{task_id}/receipt\n".encode()
    answer = run(
        ctx, caller, fingerprint + body.model_dump_json().encode(), key, work, required=False
    )
    return Response(answer.body, status_code=answer.status, media_type="application/json")


@router.get(
    "/v1/deletion-tasks/{task_id}/receipt",
    response_class=Response,
    responses={200: {"content": {"application/jwt": {}}}},
)
def get_receipt(ctx: Ctx, caller: AnyCaller, task_id: str) -> Response:
    """The receipt of a task (compact JWS), for its partner and for officers."""
    token = deletion.receipt_of(ctx, caller.tenant_id, _own(caller), task_id)
    return Response(token, media_type="application/jwt", headers={"Cache-Control": "no-store"})


def task_out(row: DeletionTaskRow, now: int) -> TaskOut:
    """The wire form of a task."""
    values: dict[str, Any] = {
        name: getattr(row, name)
        for name in ("id", "reason", "state", "created_at", "due_at", "received_at")
    }
    return TaskOut(
        partner=row.partner_id,
        consent=row.consent_id,
        attributes=orjson.loads(row.attributes),
        overdue=row.overdue(now),
        **values,
    )


def _own(caller: Caller) -> str | None:
    return caller.client_id if caller.role == "partner" else None
