"""Ask for a consent that a denial names: AuthZEN Access Request and Approval Profile, draft 1.

The draft of 2026-06 of the OpenID AuthZEN working group. Of it: requestable denials with a
`binding_token`, submission of one item, the task and its status, completion by evaluating again.
Not of it: bundles (`items`), catalogs, forms, callbacks (webhooks tell of each change of a consent)
and cancellation. An `approval` in a later evaluation is not needed and not believed: that reads the
live consent.
"""

from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from broker.api.access_requests_openapi import ACCESS_REQUEST, TASK
from broker.api.authzen import parse_access_request
from broker.api.callers import TOKEN_HASH
from broker.api.deps import Ctx, PartnerCaller
from broker.api.errors import status_of
from broker.api.idempotency import Answer, IdempotencyKey, canonical, run
from broker.api.problems import problem
from broker.domain.access_request import (
    ExpiredDenial,
    InvalidDenialBinding,
    NotRequestable,
    UnknownTask,
    moment,
)
from broker.domain.addresses import tenant_url
from broker.domain.errors import BrokerError, IdempotencyConflict
from broker.usecases import access_request
from broker.usecases.access_request import Task
from broker.usecases.context import Context
from broker.usecases.decide import Asking

ERROR = "urn:openid:authzen:access-request:error:"
NO_STORE = {"Cache-Control": "no-store"}
_OURS: dict[type[BrokerError], str] = {
    NotRequestable: "not_requestable",
    ExpiredDenial: "expired_denial",
    InvalidDenialBinding: "invalid_denial_binding",
    IdempotencyConflict: "duplicate_request",
    UnknownTask: "unknown_task",
}

router = APIRouter(tags=["access"])


async def _body(request: Request) -> bytes:
    return await request.body()


Body = Annotated[bytes, Depends(_body)]


@router.post(
    "/access/v1/requests",
    status_code=202,
    openapi_extra=ACCESS_REQUEST,
    response_class=Response,
)
def post_request(
    request: Request, ctx: Ctx, caller: PartnerCaller, body: Body, key: IdempotencyKey = None
) -> Response:
    """Open the consent request that a denial names; the answer is a task to follow.

    Send the evaluation as it was, and as `denial` what its answer had: `evaluation_id` and
    `expires_at`, `template` and `binding_token` of `access_request`. The customer answers at
    `task.links.ticket`. When the task is approved, evaluate again.

    Only the item of the template that covers the denied use is asked for. A denial opens one
    request. It is judged again: what was refused, withdrawn or stopped since, or would be permitted
    now, is `not_requestable`.
    """

    def work() -> Answer:
        asking = Asking(
            caller.tenant_id,
            request.scope["state"][TOKEN_HASH],
            caller.client_id,
            evaluation.question,
            value=evaluation.value,
            supported=evaluation.supported,
        )
        task = access_request.submit(ctx, asking, denial, language=language)
        return Answer(202, orjson.dumps(_told(ctx, task)))

    try:
        evaluation, denial, language = parse_access_request(body)
        if evaluation.partner_id != caller.client_id:
            raise InvalidDenialBinding("the subject is not the caller or one of its agents")
        fingerprint = b"POST /access/v1/requests\n" + canonical(orjson.loads(body))
        answer = run(ctx, caller, fingerprint, key, work)
    except tuple(_OURS) as error:
        return _problem(request, error)
    return Response(
        answer.body,
        status_code=answer.status,
        media_type="application/json",
        headers={**NO_STORE, "Location": orjson.loads(answer.body)["task"]["status_endpoint"]},
    )


@router.get("/access/v1/requests/{task_id}", openapi_extra=TASK, response_class=Response)
def get_request(request: Request, ctx: Ctx, caller: PartnerCaller, task_id: str) -> Response:
    """What has become of an access request: pending, approved, denied or expired."""
    try:
        task = access_request.find(ctx, caller.tenant_id, caller.client_id, task_id)
    except UnknownTask as error:
        return _problem(request, error)
    body = orjson.dumps(_told(ctx, task))
    return Response(body, media_type="application/json", headers=NO_STORE)


def _told(ctx: Context, task: Task) -> dict[str, Any]:
    row = task.row
    base = tenant_url(ctx.settings.public_url, row.tenant_id)
    told: dict[str, Any] = {
        "task": {
            "id": row.id,
            "status": task.status,
            "status_endpoint": f"{base}/access/v1/requests/{row.id}",
            "links": {"ticket": task.page_url},
        }
    }
    if task.status == "pending":
        told["task"]["expires_at"] = moment(task.expires_at)
    if task.status == "approved" and task.approved_until is not None:
        approval = {"id": row.id, "approved_until": moment(task.approved_until)}
        told["result"] = {"mode": "reevaluate", "approval": approval}
    return told


def _problem(request: Request, error: BrokerError) -> Response:
    told = next(name for kind, name in _OURS.items() if isinstance(error, kind))
    status = status_of(error.code)
    return problem(request.scope, status, error.code, str(error), more={"type": ERROR + told})
