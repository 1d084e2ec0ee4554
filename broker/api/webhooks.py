"""Webhooks: where events go, what could not be delivered, and sending it again."""

from typing import Annotated, Any, Literal

import orjson
from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, ConfigDict, Field

from broker.api.deps import AnyCaller, Caller, Ctx
from broker.api.idempotency import Answer, IdempotencyKey, run
from broker.domain.errors import Forbidden, InvalidRequest
from broker.domain.event import TYPES
from broker.domain.webhook import GIVE_UP_SECONDS, KEPT_SECONDS, OVERLAP_SECONDS
from broker.store.outbox import DeliveryRow
from broker.usecases import webhook as usecases
from broker.usecases.webhook import Shown, Standing

router = APIRouter(tags=["webhooks"])

MOST_LETTERS = 500
DAY = 86_400
NO_STORE = {"Cache-Control": "no-store"}
Id = Annotated[str, Field(min_length=1, max_length=64)]

_EXAMPLE: dict[str, Any] = {
    "id": "wh-4k2vq7r3w5x6y2z4a3b5",
    "partner": "p-4k2vq7r3w5x6y2z4a3b5",
    "url": "https://crm.brand.example/consent-events",
    "types": ["consent.granted", "consent.withdrawn"],
    "state": "active",
    "failures": 0,
    "refusals": 0,
    "failing_since": None,
    "code": None,
    "next_attempt_at": None,
    "delivered_at": 1795478400,
    "waiting": 0,
    "dead_letters": 0,
    "created_at": 1795400000,
}


class WebhookIn(BaseModel):
    """Where to send what."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "url": "https://crm.brand.example/consent-events",
                    "types": ["consent.granted", "consent.withdrawn"],
                }
            ]
        },
    )
    url: str = Field(
        min_length=1,
        max_length=2048,
        description="An https address at a public host, without a user in it.",
    )
    types: list[Annotated[str, Field(max_length=64)]] = Field(
        default=[],
        max_length=50,
        description="Every type there is, where none is named. "
        + " ".join(f"`{name}`: {text}" for name, text in TYPES.items()),
    )
    partner: str | None = Field(default=None, max_length=64, description="For officers: whose.")


class WebhookOut(BaseModel):
    """A webhook, and how it does."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})
    id: str
    partner: str
    url: str
    types: list[str] = Field(description="Every type there is, where none is named.")
    state: Literal["active", "disabled"] = Field(
        description="`disabled` after an answer 410: a replay enables it."
    )
    failures: int = Field(description="Attempts that failed in a row.")
    refusals: int = Field(description="Events refused in a row, by 400, 409, 413, 415 or 422.")
    failing_since: int | None = Field(description="Unix seconds.")
    code: str | None = Field(
        description="Why the last attempt failed: `status_503`, `timeout`, `unreachable`, ..."
    )
    next_attempt_at: int | None = Field(description="Of a webhook that fails.")
    delivered_at: int | None = Field(description="When an event was acknowledged last.")
    waiting: int
    dead_letters: int
    created_at: int


class NewWebhookOut(BaseModel):
    """A webhook with its secret."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": "wh-4k2vq7r3w5x6y2z4a3b5",
                    "secret": "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=",
                }
            ]
        }
    )
    id: str
    secret: str = Field(description="For `webhook-signature`. It is shown this once: keep it.")


class WebhooksOut(BaseModel):
    """Webhooks, the oldest first."""

    webhooks: list[WebhookOut]


class LetterOut(BaseModel):
    """An event that was not acknowledged in its time."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "event": "evt-4k2vq7r3w5x6y2z4a3b5",
                    "type": "consent.withdrawn",
                    "subject": "c-b3d5f7h2j4l6n3p5r7t2",
                    "time": 1795478400,
                    "attempts": 31,
                    "code": "unreachable",
                    "dead_since": 1795824000,
                }
            ]
        }
    )
    event: str = Field(description="The event's `id`, which is `webhook-id` too.")
    type: str
    subject: str
    time: int
    attempts: int
    code: str | None
    dead_since: int | None


class LettersOut(BaseModel):
    """Dead letters, the oldest first; `next` goes into `after` for the page behind this one."""

    dead_letters: list[LetterOut]
    next: str | None


class ReplayIn(BaseModel):
    """What to send again; nothing named: every dead letter."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{}, {"since": 1795478400}]},
    )
    since: int | None = Field(
        default=None,
        ge=0,
        le=2**53,
        description="Everything that happened from then on (Unix seconds), delivered or not; it "
        f"goes back {KEPT_SECONDS // DAY} days.",
    )
    events: list[Id] = Field(default=[], max_length=500, description="These events.")
    after: Id | None = Field(default=None, description="`next` of the call before this one.")


class ReplayOut(BaseModel):
    """How many events are sent again; `next` goes into `after` where there are more."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"replayed": 12, "next": None}]})
    replayed: int
    next: str | None


@router.post("/v1/webhooks", status_code=201, response_model=NewWebhookOut)
def post_webhook(
    ctx: Ctx, caller: AnyCaller, body: WebhookIn, key: IdempotencyKey = None
) -> Response:
    """Have events sent to an address of yours, signed (Standard Webhooks), as CloudEvents 1.0.

    The answer is not kept: a retry with the same `Idempotency-Key` is a 409.
    """
    partner_id = _whose(caller, body.partner)

    def work() -> Answer:
        added = usecases.add_webhook(
            ctx, caller.tenant_id, partner_id, url=body.url, types=body.types
        )
        return Answer(201, _shown(added))

    fingerprint = b"POST /v1/webhooks\n" + body.model_dump_json().encode()
    return _answer(run(ctx, caller, fingerprint, key, work, store=False))


@router.get("/v1/webhooks")
def get_webhooks(ctx: Ctx, caller: AnyCaller) -> WebhooksOut:
    """Your webhooks, as a partner; everybody's of the tenant, as an officer. Without secrets."""
    found = usecases.all_webhooks(ctx, caller.tenant_id, _own(caller))
    return WebhooksOut(webhooks=[webhook_out(one) for one in found])


@router.delete("/v1/webhooks/{webhook_id}", status_code=204)
def delete_webhook(ctx: Ctx, caller: AnyCaller, webhook_id: str) -> Response:
    """Send nothing there any more; what was still to be sent is forgotten."""
    usecases.remove_webhook(ctx, caller.tenant_id, _own(caller), webhook_id)
    return Response(status_code=204)


@router.post(
    "/v1/webhooks/{webhook_id}/secret",
    status_code=201,
    response_model=NewWebhookOut,
    description=f"Sign with a new secret. For {OVERLAP_SECONDS // 3600} hours each event carries "
    "a signature by the older one too. The answer is not kept.",
)
def post_secret(
    ctx: Ctx, caller: AnyCaller, webhook_id: str, key: IdempotencyKey = None
) -> Response:
    """Sign with a new secret."""

    def work() -> Answer:
        shown = usecases.rotate_secret(ctx, caller.tenant_id, _own(caller), webhook_id)
        return Answer(201, _shown(shown))

    fingerprint = f"POST /v1/webhooks/{webhook_id}/secret".encode()
    return _answer(run(ctx, caller, fingerprint, key, work, store=False))


@router.get(
    "/v1/webhooks/{webhook_id}/dead-letters",
    description=f"Events that were not acknowledged within {GIVE_UP_SECONDS // DAY} days.",
)
def get_dead_letters(
    ctx: Ctx,
    caller: AnyCaller,
    webhook_id: str,
    limit: Annotated[int, Query(ge=1, le=MOST_LETTERS)] = 100,
    after: Annotated[str | None, Query(min_length=1, max_length=64)] = None,
) -> LettersOut:
    """Events that were not acknowledged in time."""
    found, behind = usecases.dead_letters(
        ctx, caller.tenant_id, _own(caller), webhook_id, limit=limit, after=after
    )
    return LettersOut(dead_letters=[letter_out(one) for one in found], next=behind)


@router.post("/v1/webhooks/{webhook_id}/replay", response_model=ReplayOut)
def post_replay(
    ctx: Ctx, caller: AnyCaller, webhook_id: str, body: ReplayIn, key: IdempotencyKey = None
) -> Response:
    """Send events again: dead letters, or what you name. With the same ids as before.

    A thousand in a call. What waits for its next attempt is sent at once, and a webhook that was
    disabled is active. By a time only where fewer than a thousand wait: 409 otherwise.
    """
    if body.since is not None and body.events:
        raise InvalidRequest("name a time or events, not both")

    def work() -> Answer:
        done = usecases.replay(
            ctx,
            caller.tenant_id,
            _own(caller),
            webhook_id,
            since=body.since,
            event_ids=body.events,
            after=body.after,
        )
        return Answer(200, orjson.dumps({"replayed": done.count, "next": done.next}))

    fingerprint = f"POST /v1/webhooks/{webhook_id}/replay\n".encode()
    return _answer(run(ctx, caller, fingerprint + body.model_dump_json().encode(), key, work))


def webhook_out(one: Standing) -> WebhookOut:
    """The wire form of a webhook."""
    row = one.row
    return WebhookOut(
        id=row.id,
        partner=row.partner_id,
        url=row.url,
        types=orjson.loads(row.types),
        state=row.state,
        failures=row.failures,
        refusals=row.refusals or 0,
        failing_since=row.failing_since,
        code=row.code,
        next_attempt_at=row.retry_at if row.failures else None,
        delivered_at=row.delivered_at,
        waiting=one.waiting,
        dead_letters=one.dead,
        created_at=row.created_at,
    )


def letter_out(one: DeliveryRow) -> LetterOut:
    """The wire form of a dead letter."""
    return LetterOut(
        event=one.event_id,
        type=one.type,
        subject=one.subject,
        time=one.time,
        attempts=one.attempts,
        code=one.code,
        dead_since=one.done_at,
    )


def _shown(one: Shown) -> bytes:
    return orjson.dumps({"id": one.row.id, "secret": one.secret})


def _answer(answer: Answer) -> Response:
    return Response(
        answer.body, status_code=answer.status, media_type="application/json", headers=NO_STORE
    )


def _own(caller: Caller) -> str | None:
    return caller.client_id if caller.role == "partner" else None


def _whose(caller: Caller, partner_id: str | None) -> str:
    if caller.role == "officer":
        if partner_id is None:
            raise InvalidRequest("name the partner whose webhook this is")
        return partner_id
    if partner_id not in {None, caller.client_id}:
        raise Forbidden("a partner has webhooks of its own only")
    return caller.client_id
