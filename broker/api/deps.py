"""What handlers depend on: the context, the tenant of the address, who calls.

All are coroutines: on the event loop a look-up in SQLite costs less than a thread would.
"""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from broker.api.dpop import token_of
from broker.domain.addresses import ROOT_TENANT
from broker.domain.errors import Forbidden, NotFound, Unauthorized, UnknownPartner
from broker.store import access_tokens, registry
from broker.store.access_tokens import Role
from broker.usecases.context import Context

_bearer = HTTPBearer(
    auto_error=False,
    description=(
        "An access token of `POST /oauth/token`; as `DPoP` with a proof where it was had with one "
        "(RFC 9449), which the strict profile demands."
    ),
)


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls: a client by its id, or a wallet by its invitation's id."""

    tenant_id: str
    client_id: str
    role: Role
    suspended: bool = False


async def get_context(request: Request) -> Context:
    """The context that the composition root made."""
    context: Context = request.app.state.context
    return context


Ctx = Annotated[Context, Depends(get_context)]


async def get_tenant_id(request: Request, ctx: Ctx) -> str:
    """The tenant of the address; raises `NotFound` for one that does not exist."""
    tenant_id: str = request.scope.get("state", {}).get("tenant_id", ROOT_TENANT)
    # Tenants are never deleted, so one that was seen needs no further look.
    state = request.app.state
    known: frozenset[str] = getattr(state, "known_tenants", frozenset())
    if tenant_id not in known:
        if not await ctx.db.read(lambda tx: registry.has_tenant(tx, tenant_id)):
            raise NotFound("there is no such tenant")
        state.known_tenants = known | {tenant_id}
    return tenant_id


TenantId = Annotated[str, Depends(get_tenant_id)]


async def get_any_caller(
    ctx: Ctx,
    tenant_id: TenantId,
    request: Request,
    _documented: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
) -> Caller:
    """The holder of a valid token, suspended or not; raises `Unauthorized`, `DpopRefused`."""
    token_hash = await token_of(ctx, request)
    found = await ctx.db.read(lambda tx: access_tokens.find(tx, tenant_id, token_hash))
    if found is None or found.expires_at <= ctx.now():
        raise Unauthorized("the access token is unknown or has expired: get a new one")
    return Caller(tenant_id, found.subject, found.role, found.suspended)


_AnyToken = Annotated[Caller, Depends(get_any_caller)]


async def get_caller(caller: _AnyToken) -> Caller:
    """A partner or an officer; raises `Unauthorized`, `Forbidden`, `UnknownPartner` (suspended)."""
    if caller.role == "wallet":
        raise Forbidden("a wallet's token is good for the credential endpoint only")
    if caller.role == "coordinator":
        raise Forbidden("a coordinator's token is good for /v1/federation/ only")
    return _active(caller)


async def get_partner(caller: _AnyToken) -> Caller:
    """A partner; raises `Unauthorized`, `Forbidden`, `UnknownPartner` (suspended)."""
    if caller.role != "partner":
        raise Forbidden("this is for partners")
    return _active(caller)


async def get_partner_even_suspended(caller: _AnyToken) -> Caller:
    """A partner whose suspension the use case answers for, with a decision and its audit entry."""
    if caller.role != "partner":
        raise Forbidden("this is for partners")
    return caller


async def get_officer(caller: _AnyToken) -> Caller:
    """A compliance officer; raises `Unauthorized`, `Forbidden`."""
    if caller.role != "officer":
        raise Forbidden("this is for compliance officers")
    return _active(caller)


async def get_coordinator(caller: _AnyToken) -> Caller:
    """A coordinator of federated training; raises `Unauthorized`, `Forbidden`."""
    if caller.role != "coordinator":
        raise Forbidden("this is for coordinators of federated training")
    return _active(caller)


async def get_federation_reader(caller: _AnyToken) -> Caller:
    """A coordinator or an officer; raises `Unauthorized`, `Forbidden`."""
    if caller.role not in {"coordinator", "officer"}:
        raise Forbidden("this is for coordinators of federated training and compliance officers")
    return _active(caller)


async def get_wallet(caller: _AnyToken) -> Caller:
    """A wallet that redeemed an offer; `client_id` is the invitation's id."""
    if caller.role != "wallet":
        raise Unauthorized("this endpoint takes a token that was had for a pre-authorized code")
    return caller


AnyCaller = Annotated[Caller, Depends(get_caller)]
PartnerCaller = Annotated[Caller, Depends(get_partner)]
DecisionCaller = Annotated[Caller, Depends(get_partner_even_suspended)]
OfficerCaller = Annotated[Caller, Depends(get_officer)]
CoordinatorCaller = Annotated[Caller, Depends(get_coordinator)]
FederationReader = Annotated[Caller, Depends(get_federation_reader)]
WalletToken = Annotated[Caller, Depends(get_wallet)]


def _active(caller: Caller) -> Caller:
    if not caller.suspended:
        return caller
    if caller.role == "partner":
        raise UnknownPartner("the partner is suspended: ask the tenant that it works for")
    raise Forbidden(f"the {caller.role} is suspended: ask the tenant")
