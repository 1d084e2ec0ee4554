"""Unlearning tasks, for coordinators and officers."""

from typing import Annotated, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field

from broker.api.campaigns import HASH
from broker.api.deps import Caller, Ctx, FederationReader
from broker.usecases import unlearning_task
from broker.usecases.unlearning_task import Residual, Task

router = APIRouter(tags=["federation"])

MOST_TASKS = 500
_HASH_PATTERN = r"^[A-Za-z0-9_-]{43}$"
_DISTANCE = Field(
    pattern=r"^(0|[1-9][0-9]{0,14})(\.[0-9]{1,15})?$",
    description="|w - w*| / |w*|, where w* is trained without the rows: a decimal in text.",
)


class ResidualIn(BaseModel):
    """How far models are from one that never saw the rows."""

    model_config = ConfigDict(extra="forbid")
    before: Annotated[str, _DISTANCE]
    after: Annotated[str, _DISTANCE]


class MeasuredOut(BaseModel):
    """The weights that a residual was measured from, each by its file's SHA-256."""

    before: str = Field(description="A model that the task has tainted.")
    after: str = Field(description="The model that the task was closed with.")
    reference: str = Field(description="Of a model that never saw the rows.")


class ResidualOut(BaseModel):
    """How far models are from one that never saw the rows."""

    before: Annotated[str, _DISTANCE]
    after: Annotated[str, _DISTANCE]
    measured: MeasuredOut | None = Field(
        description="What the broker's operator measured it from; null: it is what was said, or "
        "the task was closed before schema 0038."
    )


class TaintedOut(BaseModel):
    """A version that a task has tainted."""

    model: str = Field(description=HASH)
    taint: Literal["used", "descends"]
    state_before: Literal["candidate", "pilot", "active", "tainted", "retired"]
    state: Literal["candidate", "pilot", "active", "tainted", "retired"]


class UnlearningOut(BaseModel):
    """An unlearning task."""

    id: str
    campaign: str = Field(description="The campaign's id.")
    policy: Literal["exclude", "rollback_replay", "retrain"]
    state: Literal["open", "done"]
    opened_at: int
    since: int | None = Field(
        description="The last of the withdrawals, Unix seconds; officers only."
    )
    withdrawals: int | None = Field(description="How many; officers only.")
    base: str | None = Field(
        description="The model from which rounds are done anew, of an earlier campaign where what "
        "this one began with is tainted. Null under `exclude`, and where none is left."
    )
    tainted: list[TaintedOut]
    model: str | None = Field(description="What the task was closed with.")
    taint: Literal["used", "descends"] | None = Field(
        description="Of that model: `descends` says that something of the rows is left in it."
    )
    residual: ResidualOut | None = Field(
        description="What whoever closed the task measured, or said; null: nothing."
    )
    closed_at: int | None
    closed_by: str | None


class UnlearningsOut(BaseModel):
    """Unlearning tasks, oldest first; `next` goes into `after` for the page behind this one."""

    tasks: list[UnlearningOut]
    next: str | None


class UnlearningCloseIn(BaseModel):
    """How a task ends."""

    model_config = ConfigDict(extra="forbid")
    model: str | None = Field(
        default=None,
        pattern=_HASH_PATTERN,
        description="The model that its policy asks for; null where all tainted ones are retired.",
    )
    residual: ResidualIn | None = None


@router.get("/v1/federation/tasks")
def get_unlearning_tasks(
    ctx: Ctx,
    caller: FederationReader,
    of: Annotated[
        str | None, Query(alias="campaign", max_length=64, description="A campaign's id.")
    ] = None,
    state: Literal["open", "done"] | None = None,
    limit: Annotated[int, Query(ge=1, le=MOST_TASKS)] = 100,
    after: Annotated[str | None, Query(min_length=1, max_length=64)] = None,
) -> UnlearningsOut:
    """What campaigns have to unlearn. Coordinators and officers.

    A withdrawal of a row that models used opens a task within a minute, or extends the open one.
    """
    found, behind = unlearning_task.tasks(
        ctx, caller.tenant_id, limit=limit, campaign_id=of, state=state, after=after
    )
    return UnlearningsOut(tasks=[_out(caller, one) for one in found], next=behind)


@router.post("/v1/federation/tasks/{task_id}/close")
def post_unlearning_close(
    ctx: Ctx, caller: FederationReader, task_id: str, body: UnlearningCloseIn
) -> UnlearningOut:
    """Close a task with the model that its policy asks for. Coordinators and officers.

    The same call again answers as the first time.
    """
    told = body.residual
    closed = unlearning_task.close_task(
        ctx,
        caller.tenant_id,
        task_id,
        model=body.model,
        residual=None if told is None else Residual(told.before, told.after),
        by=caller.client_id,
    )
    return _out(caller, closed)


def _out(caller: Caller, task: Task) -> UnlearningOut:
    officer = caller.role == "officer"
    return UnlearningOut.model_validate(unlearning_task.told(task, withdrawals=officer))
