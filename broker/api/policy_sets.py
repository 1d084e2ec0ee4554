"""Policy sets, for officers: keep one, try it on past decisions, put it in force."""

from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Path, Response
from pydantic import BaseModel, ConfigDict, Field

from broker.api.deps import Ctx, OfficerCaller
from broker.api.idempotency import Answer, IdempotencyKey, canonical, run
from broker.domain.policies import CONSENT_SCHEMA
from broker.domain.policy_set import LARGEST_TEXT, never_applying
from broker.usecases import policy_set
from broker.usecases.policy_preview import preview

router = APIRouter(tags=["registry"])

MOST_TRIED = 1_000
_OWN = (
    '@id("own.no-training-abroad") @law("contract") @code("own_training_abroad") '
    '@obligation("stop") @zh("合同不允许在境外训练。") @en("No training abroad by contract.") '
    'forbid (principal, action == Action::"train", resource) when { context.territory != "CN" };'
)
Text = Annotated[
    str,
    Field(
        min_length=1,
        max_length=LARGEST_TEXT,
        description="Cedar policies, each a `forbid` with `@id` (`own.…`), `@law`, `@code` "
        "(`own_…`), `@obligation`, `@zh` and `@en`, for `/schemas/policies.cedarschema`.",
    ),
]
Number = Annotated[int, Field(strict=True, ge=0, le=policy_set.MOST_SETS)]
Kept = Annotated[int, Path(ge=1, le=policy_set.MOST_SETS)]


class PolicySetIn(BaseModel):
    """A set to keep."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"text": _OWN}]})
    text: Text


class PolicySetOut(BaseModel):
    """A set; number 0 is the broker's policies alone."""

    number: int
    digest: str | None = Field(description="SHA-256 of the text, base64url.")
    version: str | None = Field(
        description="What a decision under it names as `policies`; null where it does not load."
    )
    in_force: bool
    added_by: str | None
    created_at: int | None
    problem: str | None = Field(
        default=None,
        description="Why it does not load, known of the set in force and of those loaded lately.",
    )


class PolicySetsOut(BaseModel):
    """The tenant's sets, oldest first."""

    policy_sets: list[PolicySetOut]


class PolicySetText(BaseModel):
    """A set's text."""

    number: int
    text: str


class PolicySetAdded(PolicySetText):
    """A set that is kept now."""

    never_apply: list[str] = Field(
        description="The `@id`s of policies that no request can meet, for example because they ask "
        "for an attribute that the schema does not have."
    )


class PolicySwitch(BaseModel):
    """Which set is to be in force."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"number": 0, "expected": 0}]}
    )
    number: Number = Field(description="0: the broker's policies alone.")
    expected: Number = Field(description="Which has to be in force now, as you have seen it.")


class PreviewIn(BaseModel):
    """Policies to try; an empty text is the broker's policies alone."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"text": _OWN, "last": 100}]}
    )
    text: Annotated[str, Field(max_length=LARGEST_TEXT)]
    last: Annotated[int, Field(strict=True, ge=1, le=MOST_TRIED)] = MOST_TRIED


class ChangeOut(BaseModel):
    """A decision that would be another; conditions are empty for a permit."""

    id: str
    time: int
    partner: str
    action: str
    attribute: str
    purpose: str
    was: list[str]
    becomes: list[str]


class PreviewOut(BaseModel):
    """What would change for the latest decisions."""

    in_force: str
    candidate: str
    tried: int
    skipped: int = Field(description="Too old to have kept what they rested on, or erased.")
    decided_otherwise: int = Field(description="Judged otherwise by what is in force now, too.")
    now_denied: int
    now_permitted: int
    other_reasons: int
    by_condition: dict[str, int]
    examples: list[ChangeOut]


@router.get("/v1/policy-sets")
def get_policy_sets(ctx: Ctx, caller: OfficerCaller) -> PolicySetsOut:
    """The policy sets, and which is in force. Officers only."""
    found = policy_set.listed(ctx, caller.tenant_id)
    return PolicySetsOut(policy_sets=[PolicySetOut(**one) for one in found])


@router.get("/v1/policy-sets/{number}")
def get_policy_set(ctx: Ctx, caller: OfficerCaller, number: Kept) -> PolicySetText:
    """The text of a set. Officers only."""
    found = policy_set.find(ctx, caller.tenant_id, number)
    return PolicySetText(number=found.number, text=found.text)


@router.post("/v1/policy-sets", status_code=201, response_model=PolicySetAdded)
def post_policy_set(
    ctx: Ctx, caller: OfficerCaller, body: PolicySetIn, key: IdempotencyKey = None
) -> Response:
    """Keep a set, checked against the schema; it counts once it is put in force. Officers only."""

    def work() -> Answer:
        made = policy_set.add(ctx, caller.tenant_id, body.text, added_by=caller.client_id)
        never = never_applying(made.text, CONSENT_SCHEMA)
        told = {"number": made.number, "text": made.text, "never_apply": never}
        return Answer(201, orjson.dumps(told))

    fingerprint = b"POST /v1/policy-sets\n" + canonical(body.model_dump())
    answer = run(ctx, caller, fingerprint, key, work)
    return Response(answer.body, status_code=answer.status, media_type="application/json")


@router.put("/v1/policy-sets/in-force")
def put_policy_set_in_force(ctx: Ctx, caller: OfficerCaller, body: PolicySwitch) -> PolicySwitch:
    """Put a set in force: from the next decision on, at every worker. Officers only.

    409 `state_conflict` where another set is in force than expected. It is in the log.
    """
    policy_set.switch(
        ctx, caller.tenant_id, body.number, expected=body.expected, by=caller.client_id
    )
    return body


@router.post("/v1/policy-sets/preview")
def post_policy_preview(ctx: Ctx, caller: OfficerCaller, body: PreviewIn) -> PreviewOut:
    """Judge past decisions again by a text: what would change? Nothing is kept. Officers only."""
    found = preview(ctx, caller.tenant_id, body.text, last=body.last)
    told: dict[str, Any] = found.to_json()
    return PreviewOut(**told)


@router.get(
    "/schemas/policies.cedarschema",
    response_class=Response,
    responses={200: {"content": {"text/plain": {}}}},
)
async def get_policy_schema() -> Response:
    """The Cedar schema: what policies can look at."""
    return Response(CONSENT_SCHEMA, media_type="text/plain; charset=utf-8")
