"""Kill switches, for officers: stop a partner, a purpose, an algorithm or all of one's tenant."""

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from broker.api.deps import Ctx, OfficerCaller
from broker.domain.kill_switch import KillSwitch, Kind
from broker.usecases import kill_switch

router = APIRouter(tags=["registry"])


class KillSwitchOut(BaseModel):
    """A switch that is on."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"kind": "algorithm", "id": "churn-v3@1"}]}
    )
    kind: Kind
    id: str = Field(description="A client id, a purpose, `<algorithm>@<version>`, or the tenant.")


class KillSwitchesOut(BaseModel):
    """The switches of the tenant that are on."""

    kill_switches: list[KillSwitchOut]


class KillSwitchState(BaseModel):
    """Whether a switch is on."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"on": True}]})
    on: bool = Field(description="True: every decision on it is a denial (`kill_switch`).")


@router.get("/v1/kill-switches")
def get_kill_switches(ctx: Ctx, caller: OfficerCaller) -> KillSwitchesOut:
    """The kill switches that are on. Officers only."""
    found = kill_switch.turned_on(ctx, caller.tenant_id)
    return KillSwitchesOut(kill_switches=[KillSwitchOut(kind=s.kind, id=s.id) for s in found])


@router.put("/v1/kill-switches/{kind}/{switch_id}")
def put_kill_switch(
    ctx: Ctx, caller: OfficerCaller, kind: Kind, switch_id: str, body: KillSwitchState
) -> KillSwitchState:
    """Stop something at once, or let it go on; the next decision follows. Officers only.

    Consents stay as they are. It is in the log, with the officer; done again it changes nothing.
    """
    switch = KillSwitch(kind, switch_id)
    kill_switch.turn(ctx, caller.tenant_id, switch, on=body.on, officer_id=caller.client_id)
    return body
