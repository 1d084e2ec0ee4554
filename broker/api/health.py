"""Whether the process lives, whether it can serve, and its figures."""

from typing import Literal

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.exc import SQLAlchemyError

from broker.api.deps import Ctx
from broker.api.metrics import CONTENT_TYPE, Measured
from broker.store import audit, deletion_tasks, inbox, outbox, sources, webhooks
from broker.store.acting import acting_for_all
from broker.store.migrate import is_current
from broker.usecases.context import Context

router = APIRouter(tags=["operation"])

NO_STORE = {"Cache-Control": "no-store"}


class Health(BaseModel):
    """The process lives."""

    status: Literal["ok"] = "ok"


class Readiness(BaseModel):
    """Whether requests can be served, and what stands in the way."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"status": "ready", "reasons": []},
                {"status": "not_ready", "reasons": ["log_behind"]},
            ]
        }
    )
    status: Literal["ready", "not_ready"]
    reasons: list[
        Literal[
            "stopping",
            "database_unreachable",
            "migrations_missing",
            "log_rolled_back",
            "log_behind",
            "clock_went_back",
        ]
    ] = Field(
        description=(
            "`stopping`: it was told to stop, and answers what still comes. "
            "`log_rolled_back`: the database is older than the head that was signed last; nothing "
            "is permitted until it is recovered. `log_behind`: the audit log has not caught up for "
            "a minute, or has not run yet; nothing is granted until it has. `clock_went_back`: the "
            "clock is clearly before what it was while the process ran; nothing is permitted until "
            "it is past that again."
        )
    )


@router.get("/healthz")
async def healthz() -> Health:
    """The process lives and answers. It looks at nothing else: restart it only if this fails."""
    return Health()


@router.get("/readyz", responses={503: {"model": Readiness, "description": "Not ready."}})
def readyz(ctx: Ctx, request: Request, response: Response) -> Readiness:
    """Whether to send requests here: database migrated, audit log sound and current."""
    reasons = ["stopping"] if ctx.stopping.is_set() else _database(ctx, request) or _log(ctx)
    response.headers.update(NO_STORE)
    if reasons:
        response.status_code = 503
        return Readiness(status="not_ready", reasons=reasons)
    return Readiness(status="ready", reasons=[])


@router.get(
    "/metrics",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"example": "consent_broker_log_lag_seconds 0.0"}}}},
)
def metrics(ctx: Ctx, measured: Measured) -> Response:
    """Figures for Prometheus. They name no tenant, partner or customer."""
    with acting_for_all(), ctx.db.reading() as tx:
        pending = audit.pending_count(tx, ctx.now())
        overdue = deletion_tasks.overdue_count(tx, ctx.now())
        waiting, dead = outbox.totals(tx)
        unwell = len(webhooks.unwell(tx))
        kept, refused = inbox.waiting(tx)[0], len(sources.refused(tx))
    measured.log_stands(
        lag=ctx.log.lag(ctx.now()), pending=pending, rolled_back=ctx.log.rolled_back is not None
    )
    measured.deletions_stand(overdue=overdue)
    measured.webhooks_stand(waiting=waiting, dead=dead, unwell=unwell)
    measured.inbox_stands(waiting=kept, refused=refused)
    return Response(measured.text(), media_type=CONTENT_TYPE, headers=NO_STORE)


def _database(ctx: Context, request: Request) -> list[str]:
    try:
        with ctx.db.reading() as tx:
            audit.oldest_pending(tx, ctx.now())
        # A process never sees its database go back to an older schema: asked until it is current.
        if not getattr(request.app.state, "migrated", False):
            if not is_current(ctx.db):
                return ["migrations_missing"]
            request.app.state.migrated = True
    except SQLAlchemyError:
        return ["database_unreachable"]
    return []


def _log(ctx: Context) -> list[str]:
    if ctx.log.rolled_back is not None:
        return ["log_rolled_back"]
    if ctx.log.clock_went_back(ctx.now()):
        return ["clock_went_back"]
    return [] if ctx.log.permits(ctx.now()) else ["log_behind"]
