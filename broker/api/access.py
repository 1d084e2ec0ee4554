"""The decision point, as AuthZEN 1.0 speaks: may this partner use this attribute, for this, now?

    subject   {"type": "partner", "id": <client id>}, or
              {"type": "agent", "id": <your own name>, "properties": {"partner": <client id>}}
    action    {"name": "read" | "profile" | "train" | "share" | "publish"}
    resource  {"type": "attribute", "id": <canonical or your own field name>,
               "properties": {"subject_ref": <your contact>} or {"consent": <consent id>},
                             and {"source": <name>} where an outside source supplied it}
    context   {"purpose": "dpv:ServicePersonalisation#algo:churn-v3@1", "territory": "CN"}

A partner asks for itself and for its agents: anything else is denied with `subject_not_caller`.
A consent that is not the caller's is not told apart from one that is not there. Without a
territory the partner's own country counts. A denial is an answer (200), recorded like a permit.
With `"value": {"amount": "12.50", "currency": "CNY"}` in the context, what the use is worth to the
partner, a permit is charged for, and `context.fee` says what.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import orjson
from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from broker.api import metrics
from broker.api.authzen import Evaluation, Evaluations, parse_evaluation, parse_evaluations
from broker.api.authzen_openapi import EVALUATION, EVALUATIONS
from broker.api.deps import Ctx, TenantId
from broker.api.dpop import tenant_of, token_of
from broker.api.errors import status_of
from broker.domain.addresses import tenant_url
from broker.domain.decision import EXPLAIN, MASK, OBLIGATION, Decision
from broker.domain.errors import (
    BrokerError,
    IdempotencyConflict,
    IdempotencyInProgress,
    IdempotencyKeyRequired,
    InvalidRequest,
)
from broker.domain.policy import consent_policies
from broker.usecases.context import Context
from broker.usecases.decide import Asking, decide, decide_all
from broker.usecases.malformed_question import log_malformed

LONGEST_KEY = 200
NO_STORE = {"Cache-Control": "no-store"}
# Errors of one evaluation; those of the caller's token are errors of the whole request.
_OF_ONE = (IdempotencyConflict, IdempotencyInProgress, IdempotencyKeyRequired)

router = APIRouter(tags=["access"])
T = TypeVar("T", Evaluation, Evaluations)


@router.post("/access/v1/evaluation", openapi_extra=EVALUATION, response_class=Response)
async def evaluate(request: Request) -> Response:
    """May this attribute be used so? Permit with obligations, or deny with every reason.

    An `Idempotency-Key` is needed where the consent counts its uses or `context.value` is declared:
    a retry then gets the first answer and is neither counted nor charged for, as long as it would
    still be permitted.
    """
    ctx: Context = request.app.state.context
    caller = _Caller(request, await token_of(ctx, request))
    evaluation = await _read(ctx, caller, request, parse_evaluation)
    decision = await decide(ctx, caller.asking(evaluation, caller.key))
    return _json(_counted(request, decision.to_json()))


@router.post("/access/v1/evaluations", openapi_extra=EVALUATIONS, response_class=Response)
async def evaluate_all(request: Request) -> Response:
    """Several evaluations: all of them, or until the first denial, or until the first permit.

    What stands at the top of the request is the default of each. Without a list it is one
    evaluation and answered as one. An error of one evaluation is its denial with
    `context.error`.
    """
    ctx: Context = request.app.state.context
    caller = _Caller(request, await token_of(ctx, request))
    batch = await _read(ctx, caller, request, parse_evaluations)
    if batch.single:
        decision = await decide(ctx, caller.asking(batch.items[0], caller.key))
        return _json(_counted(request, decision.to_json()))
    answers = await _answers(ctx, caller, batch)
    return _json({"evaluations": [_counted(request, answer) for answer in answers]})


@router.get("/.well-known/authzen-configuration")
async def configuration(ctx: Ctx, tenant_id: TenantId) -> dict[str, str | list[str]]:
    """Where this decision point is, and what it can oblige to (AuthZEN 1.0, section 9)."""
    base = tenant_url(ctx.settings.public_url, tenant_id)
    access = f"{base}/access/v1"
    return {
        "policy_decision_point": base,
        "access_evaluation_endpoint": f"{access}/evaluation",
        "access_evaluations_endpoint": f"{access}/evaluations",
        "access_request_endpoint": f"{access}/requests",
        "capabilities": ["urn:openid:authzen:capability:access-request"],
        "search_subject_endpoint": f"{access}/search/subject",
        "search_resource_endpoint": f"{access}/search/resource",
        "search_action_endpoint": f"{access}/search/action",
        "supported_obligations": [
            OBLIGATION + name for name in (*consent_policies().obligations, MASK, EXPLAIN)
        ],
    }


class _Caller:
    """What the headers say of the caller; the token is checked together with the facts."""

    def __init__(self, request: Request, token_hash: str) -> None:
        """Raise `InvalidRequest` for an unusable key."""
        self.tenant_id = tenant_of(request)
        self.token_hash = token_hash
        self.key = request.headers.get("idempotency-key") or None
        if self.key is not None and len(self.key) > LONGEST_KEY:
            raise InvalidRequest(f"an Idempotency-Key has at most {LONGEST_KEY} characters")

    def asking(self, evaluation: Evaluation, key: str | None) -> Asking:
        """The evaluation as a question of this caller."""
        return Asking(
            self.tenant_id,
            self.token_hash,
            evaluation.partner_id,
            evaluation.question,
            key,
            evaluation.value,
            supported=evaluation.supported,
        )


async def _read(ctx: Context, caller: _Caller, request: Request, parse: Callable[[bytes], T]) -> T:
    """The question; one that cannot be read is in the log before it is refused."""
    body = await request.body()
    try:
        return parse(body)
    except InvalidRequest as error:
        await run_in_threadpool(log_malformed, ctx, caller.tenant_id, caller.token_hash, error.code)
        raise


async def _answers(ctx: Context, caller: _Caller, batch: Evaluations) -> list[dict[str, Any]]:
    """The answers in order; with a semantic that stops early, up to and with the deciding one."""
    # One key stands for the batch: each evaluation has its own, made of it and its place.
    keys = [
        None if caller.key is None else f"{index}:{caller.key}" for index in range(len(batch.items))
    ]
    questions = [caller.asking(item, key) for item, key in zip(batch.items, keys, strict=True)]
    if batch.semantic == "execute_all":
        return [_told(one) for one in await decide_all(ctx, questions)]
    stop = batch.semantic == "permit_on_first_permit"
    answers: list[dict[str, Any]] = []
    for asking in questions:
        answers.append(await _answer(ctx, asking))
        if answers[-1]["decision"] is stop:
            break
    return answers


async def _answer(ctx: Context, asking: Asking) -> dict[str, Any]:
    (one,) = await decide_all(ctx, [asking])
    return _told(one)


def _told(answer: Decision | BrokerError) -> dict[str, Any]:
    if isinstance(answer, Decision):
        return answer.to_json()
    if isinstance(answer, _OF_ONE):
        return _error(answer)
    raise answer


def _error(error: BrokerError) -> dict[str, Any]:
    """An evaluation that could not be made (section 6.2.1)."""
    told = {"status": status_of(error.code), "code": error.code, "message": str(error)}
    return {"decision": False, "context": {"error": told}}


def _counted(request: Request, answer: dict[str, Any]) -> dict[str, Any]:
    metrics.of(request.app).decided("permit" if answer["decision"] else "deny")
    return answer


def _json(value: dict[str, Any]) -> Response:
    return Response(orjson.dumps(value), media_type="application/json", headers=NO_STORE)
