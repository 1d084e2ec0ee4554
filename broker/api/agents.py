"""Agents that act under a partner: which there are, and what they did, each act checked."""

from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, ConfigDict, Field

from broker.api.deps import AnyCaller, Caller, Ctx, PartnerCaller
from broker.api.idempotency import Answer, IdempotencyKey, run
from broker.domain.agent import LONGEST_ACTION, PERMIT_SECONDS, SIGNED_WITHIN
from broker.store import agents
from broker.store.agents import ActionRow, AgentRow
from broker.usecases import agent as usecases

router = APIRouter(tags=["agents"])

MOST_ACTIONS = 500


class AgentOut(BaseModel):
    """A registered agent."""

    id: str
    partner: str
    name: str
    state: str = Field(description="`active` or `suspended`.")
    jwk: dict[str, Any] = Field(description="Its public key.")
    created_at: int = Field(description="Unix seconds.")


class AgentsOut(BaseModel):
    """The agents of a partner, or of all."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "agents": [
                        {
                            "id": "ag-4k2vq7r3w5x6y2z4a3b5",
                            "partner": "p-4k2vq7r3w5x6y2z4a3b5",
                            "name": "Coupon writer",
                            "state": "active",
                            "jwk": {"kty": "EC", "crv": "P-256", "x": "...", "y": "..."},
                            "created_at": 1795478400,
                        }
                    ]
                }
            ]
        }
    )
    agents: list[AgentOut]


class ActionIn(BaseModel):
    """What an agent signed."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"action": "eyJhbGciOiJFUzI1NiIsInR5cCI6ImFnZW50LWFjd..."}]
        },
    )
    action: str = Field(
        min_length=1,
        max_length=LONGEST_ACTION,
        description=(
            "A compact JWS of type `agent-action+jwt` by the agent's registered key. Its claims, "
            "all of them and no other: `iss` (the agent's id), `aud` (the tenant's address), `iat` "
            f"(at most {SIGNED_WITHIN} seconds ago), `jti` (each once), `action` (`read`, "
            "`profile`, `train`, `share` or `publish`), `decisions` (the entries, `context.id`, of "
            "the permits that it rests on, which were asked for this agent at most "
            f"{PERMIT_SECONDS} seconds ago) and `consents` (the consents of those decisions)."
        ),
    )


class ActionOut(BaseModel):
    """An action, and whether it rests on what it names."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": "aa-4k2vq7r3w5x6y2z4a3b5",
                    "agent": "ag-4k2vq7r3w5x6y2z4a3b5",
                    "partner": "p-4k2vq7r3w5x6y2z4a3b5",
                    "action": "read",
                    "accepted": False,
                    "reasons": ["consent_over"],
                    "decisions": ["e-7m3xk2p5qz4vt6nw8y2b"],
                    "consents": ["c-b3d5f7h2j4l6n3p5r7t2"],
                    "created_at": 1795478400,
                }
            ]
        }
    )
    id: str
    agent: str
    partner: str
    action: str
    accepted: bool
    reasons: list[str] = Field(
        description="Empty where it is accepted: `agent_suspended`, `kill_switch`, "
        "`decision_unknown`, `decision_denied`, `decision_of_another_agent`, `decision_too_old`, "
        "`action_differs`, `consents_differ`, `consent_over`, `permit_used` (a permit that "
        "counted a use carries one action)."
    )
    decisions: list[str]
    consents: list[str]
    created_at: int = Field(description="Unix seconds.")


class ActionsOut(BaseModel):
    """Actions, oldest first; `next` goes into `after` for the page behind this one."""

    actions: list[ActionOut]
    next: str | None


@router.get("/v1/agents")
def get_agents(ctx: Ctx, caller: AnyCaller) -> AgentsOut:
    """Your registered agents, as a partner; everybody's of the tenant, as an officer."""
    with ctx.db.reading() as tx:
        found = agents.of_tenant(tx, caller.tenant_id, _own(caller))
    return AgentsOut(agents=[agent_out(row) for row in found])


@router.post("/v1/agent-actions", status_code=201, response_model=ActionOut)
def post_action(
    ctx: Ctx, caller: PartnerCaller, body: ActionIn, key: IdempotencyKey = None
) -> Response:
    """Say, signed by an agent of yours, what it does and on which permits and consents it rests.

    It is checked against them. One that does not hold is an answer too: `accepted` false, with
    every reason; then the agent has to leave it. Both are kept and are in the log.
    """

    def work() -> Answer:
        row = usecases.act(ctx, caller.tenant_id, caller.client_id, body.action)
        return Answer(201, orjson.dumps(action_out(row).model_dump()))

    fingerprint = b"POST /v1/agent-actions\n" + body.model_dump_json().encode()
    answer = run(ctx, caller, fingerprint, key, work)
    return Response(answer.body, status_code=answer.status, media_type="application/json")


@router.get("/v1/agent-actions")
def get_actions(
    ctx: Ctx,
    caller: AnyCaller,
    agent: Annotated[str | None, Query(min_length=1, max_length=64)] = None,
    limit: Annotated[int, Query(ge=1, le=MOST_ACTIONS)] = 100,
    after: Annotated[str | None, Query(min_length=1, max_length=64)] = None,
) -> ActionsOut:
    """What agents did: your own, as a partner; everybody's of the tenant, as an officer."""
    found, behind = usecases.actions(
        ctx, caller.tenant_id, _own(caller), limit=limit, agent_id=agent, after=after
    )
    return ActionsOut(actions=[action_out(row) for row in found], next=behind)


@router.get("/v1/agent-actions/{action_id}")
def get_action(ctx: Ctx, caller: AnyCaller, action_id: str) -> ActionOut:
    """One action. From its decisions `/v1/uses/{entry}/lineage` leads to what was signed."""
    return action_out(usecases.action(ctx, caller.tenant_id, _own(caller), action_id))


def agent_out(row: AgentRow) -> AgentOut:
    """The wire form of an agent."""
    return AgentOut(
        id=row.id,
        partner=row.partner_id,
        name=row.name,
        state=row.state,
        jwk=orjson.loads(row.jwk),
        created_at=row.created_at,
    )


def action_out(row: ActionRow) -> ActionOut:
    """The wire form of an action."""
    return ActionOut(
        id=row.id,
        agent=row.agent_id,
        partner=row.partner_id,
        action=row.action,
        accepted=bool(row.accepted),
        reasons=orjson.loads(row.reasons),
        decisions=orjson.loads(row.decisions),
        consents=orjson.loads(row.consents),
        created_at=row.created_at,
    )


def _own(caller: Caller) -> str | None:
    return caller.client_id if caller.role == "partner" else None
