"""Events of other systems: taken in by their signature, kept for the tenant's own consumer."""

from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Depends, Path, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from broker.api.callers import address_of
from broker.api.deps import Ctx, OfficerCaller, TenantId
from broker.domain.event import MEDIA_TYPE
from broker.domain.incoming import BATCH_TYPE, MOST_AT_ONCE
from broker.domain.webhook import ID, SIGNATURE, TIMESTAMP
from broker.store import sources
from broker.usecases import inbox
from broker.usecases.inbox import Gate, Sent

router = APIRouter(tags=["events"])

MOST_EVENTS = 500
HIGHEST = 2**53

_EVENT: dict[str, Any] = {
    "type": "object",
    "description": "A CloudEvent 1.0 in JSON; data is not looked at.",
    "required": ["specversion", "id", "source", "type", "subject", "time"],
    "properties": {
        "specversion": {"const": "1.0"},
        **{
            name: {"type": "string", "minLength": 1, "maxLength": 500}
            for name in ("id", "source", "type", "subject")
        },
        "time": {"type": "string", "format": "date-time"},
    },
}
_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            MEDIA_TYPE: {"schema": _EVENT},
            BATCH_TYPE: {
                "schema": {
                    "type": "array",
                    "items": _EVENT,
                    "minItems": 1,
                    "maxItems": MOST_AT_ONCE,
                }
            },
        },
    },
    "parameters": [
        {"name": name, "in": "header", "required": True, "schema": {"type": "string"}}
        for name in (ID, TIMESTAMP, SIGNATURE)
    ],
}


class ReceivedOut(BaseModel):
    """What became of the events: both kinds are kept, none is missing."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"accepted": 480, "duplicates": 20}]})
    accepted: int
    duplicates: int = Field(
        description="There before, by `source` and `id`, or by `source`, `subject`, `type` and "
        "`time`."
    )


class KeptOut(BaseModel):
    """An event that waits for its consumer."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "number": 17,
                    "source": "loyalty",
                    "received_at": 1795478400,
                    "event": {
                        "specversion": "1.0",
                        "id": "a-1",
                        "source": "https://loyalty.example",
                        "type": "member.moved",
                        "subject": "member-77",
                        "time": "2026-11-27T12:00:00Z",
                    },
                }
            ]
        }
    )
    number: int
    source: str
    received_at: int = Field(description="Unix seconds.")
    event: dict[str, Any]


class KeptEventsOut(BaseModel):
    """Events in the order in which they came; `next`, where there are any, goes into `after`."""

    events: list[KeptOut]
    next: int | None


class AcknowledgedIn(BaseModel):
    """Events that their consumer has."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"numbers": [17]}]})
    numbers: list[Annotated[int, Field(ge=1, le=HIGHEST)]] = Field(
        min_length=1, max_length=MOST_EVENTS
    )


class AcknowledgedOut(BaseModel):
    """How many of them were there still."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"acknowledged": 1}]})
    acknowledged: int


async def get_gate(request: Request, ctx: Ctx) -> Gate:
    """What this worker counts, made on first use."""
    state = request.app.state
    gate: Gate | None = getattr(state, "event_gate", None)
    if gate is None:
        gate = state.event_gate = Gate(ctx.settings)
    return gate


@router.post(
    "/v1/events/{source}",
    status_code=202,
    openapi_extra=_BODY,
    responses={
        429: {
            "description": "More than the source may send, or its circuit is open: keep the "
            "events and send them again after `Retry-After` seconds."
        }
    },
)
async def post_events(
    ctx: Ctx,
    request: Request,
    tenant_id: TenantId,
    source: Annotated[str, Path(max_length=40)],
    gate: Annotated[Gate, Depends(get_gate)],
) -> ReceivedOut:
    """For registered sources: one event or a batch, signed as Standard Webhooks say.

    202 says that every event is kept durably; the same again changes nothing. All other answers
    say that none of them is.
    """
    row = await ctx.db.read(lambda tx: sources.find(tx, tenant_id, source))
    address = address_of(request.scope)
    gate.enter(row, address, ctx.now())  # before its body comes
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    sent = Sent(address, request.headers, kind, await request.body())
    done = await inbox.receive(ctx, gate, row, sent)
    return ReceivedOut(accepted=done.accepted, duplicates=done.duplicates)


@router.get("/v1/events", response_model=KeptEventsOut)
def get_events(
    ctx: Ctx,
    caller: OfficerCaller,
    source: Annotated[str | None, Query(min_length=1, max_length=40)] = None,
    limit: Annotated[int, Query(ge=1, le=MOST_EVENTS)] = 100,
    after: Annotated[int, Query(ge=0, le=HIGHEST)] = 0,
) -> Response:
    """For the tenant's consumer, with an officer's token: events that it has not acknowledged.

    A page ends after 4 MiB, or one event, before it has `limit` of them.
    """
    found = inbox.events_kept(ctx, caller.tenant_id, after=after, limit=limit, source=source)
    events = [
        {
            "number": row.seq,
            "source": row.source,
            "received_at": row.received_at,
            "event": orjson.Fragment(body),
        }
        for row, body in found
    ]
    page = {"events": events, "next": found[-1][0].seq if found else None}
    return Response(orjson.dumps(page), media_type="application/json")


@router.post("/v1/events-acknowledged")
def post_acknowledged(ctx: Ctx, caller: OfficerCaller, body: AcknowledgedIn) -> AcknowledgedOut:
    """For the tenant's consumer: these events are stored on its side. Their content goes here."""
    count = inbox.acknowledge(ctx, caller.tenant_id, body.numbers)
    return AcknowledgedOut(acknowledged=count)
