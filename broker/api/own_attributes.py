"""The tenant's own attributes, for officers: declare them, set their values."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Response
from pydantic import BaseModel, ConfigDict, Field

from broker.api.deps import Ctx, OfficerCaller
from broker.domain.own_attribute import MOST, MOST_LISTED, Declared, Kind, Type, Value
from broker.usecases import own_attribute

router = APIRouter(tags=["registry"])

_DECLARED: dict[str, Any] = {"on": "partner", "type": "long", "values": []}
_VALUES: dict[str, Any] = {"values": {"contractTier": 2}}


class DeclarationBody(BaseModel):
    """What an own attribute is of, and its type."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [_DECLARED]})
    on: Kind = Field(description="Of a `partner`, an `attribute` of the dictionary, a `request`.")
    type: Type
    values: list[str] = Field(
        default_factory=list,
        max_length=MOST_LISTED,
        description="The texts that it may have; required for texts of a request.",
    )


class DeclaredOut(DeclarationBody):
    """A declaration."""

    name: str


class ValuesBody(BaseModel):
    """Own attributes by name; null unsets one, what is left out stays."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [_VALUES]})
    values: Annotated[dict[str, Value | list[str] | None], Field(max_length=MOST)]


class SetOut(BaseModel):
    """The values of one partner or attribute."""

    kind: str
    of: str = Field(description="A partner's client id, or an attribute.")
    values: dict[str, Any]


class ListedSetOut(SetOut):
    """The same, and what of it no policy sees."""

    unseen: list[str] = Field(
        description="Values that count as missing: not declared any more, or so that they do not "
        "fit. Set them again, or null."
    )


class OwnAttributesOut(BaseModel):
    """Declarations, values as they are now, and the schema that policies are written for."""

    declared: list[DeclaredOut]
    values: list[ListedSetOut]
    policy_schema: str = Field(description="Cedar, with the declarations in it.")


@router.get("/v1/own-attributes")
def get_own_attributes(ctx: Ctx, caller: OfficerCaller) -> OwnAttributesOut:
    """What the tenant's own policies can look at besides the broker's schema. Officers only."""
    found = own_attribute.listed(ctx, caller.tenant_id)
    return OwnAttributesOut(
        declared=[DeclaredOut(**one.to_json()) for one in found.declared],
        values=[
            ListedSetOut(
                kind=one.kind, of=one.of, values=dict(one.values), unseen=found.unseen(one)
            )
            for one in found.values
        ],
        policy_schema=found.schema,
    )


@router.put("/v1/own-attributes/{name}")
def put_own_attribute(
    ctx: Ctx, caller: OfficerCaller, name: str, body: DeclarationBody
) -> DeclaredOut:
    """Declare an own attribute, or declare it otherwise. Officers only.

    Policies that are added from now on can use it, with `has`: a value may be missing. 409
    `state_conflict` where the policies in force use it.
    """
    one = Declared(body.on, name, body.type, tuple(body.values))
    own_attribute.declare(ctx, caller.tenant_id, one, by=caller.client_id)
    return DeclaredOut(**one.to_json())


@router.delete("/v1/own-attributes/{name}", status_code=204, response_class=Response)
def delete_own_attribute(ctx: Ctx, caller: OfficerCaller, name: str) -> Response:
    """Declare it no more. Officers only. 409 `state_conflict` where policies in force use it."""
    own_attribute.drop(ctx, caller.tenant_id, name, by=caller.client_id)
    return Response(status_code=204)


@router.put("/v1/own-attributes/of/{kind}/{of}")
def put_own_values(
    ctx: Ctx,
    caller: OfficerCaller,
    kind: Literal["partner", "attribute"],
    of: str,
    body: ValuesBody,
) -> SetOut:
    """Set own attributes of a partner or an attribute; the next decision follows. Officers only."""
    values = own_attribute.put(
        ctx, caller.tenant_id, kind, of, dict(body.values), by=caller.client_id
    )
    return SetOut(kind=kind, of=of, values=dict(values))
