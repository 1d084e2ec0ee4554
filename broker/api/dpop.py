"""DPoP at the edge: what a request presents, and how a refusal asks for better (RFC 9449)."""

from urllib.parse import quote

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response

from broker.api.callers import TOKEN_HASH
from broker.api.problems import problem
from broker.domain.addresses import ROOT_TENANT
from broker.usecases.context import Context
from broker.usecases.dpop import dpop_nonce, presented_token
from wallet_adapters.oauth.dpop import ALGORITHMS
from wallet_adapters.oauth.errors import DpopNonceRequired, DpopRefused

HEADER = "DPoP"
NONCE_HEADER = "DPoP-Nonce"
_ALGORITHMS = f'algs="{" ".join(ALGORITHMS)}"'
# RFC 3986, section 3.3: what a path segment may hold unescaped, and the slash.
_PATH_SAFE = "/!$&'()*+,;=:@~"


def install(app: FastAPI) -> None:
    """Answer refused proofs with 401 and a challenge."""
    app.add_exception_handler(DpopRefused, _refused)


async def token_of(ctx: Context, request: Request) -> str:
    """The row of the token that a request presents; raises `Unauthorized`, `DpopRefused`."""
    token_hash = await presented_token(
        ctx,
        tenant_of(request),
        request.headers.get("authorization"),
        proofs_of(request),
        method=request.method,
        path=path_of(request),
    )
    request.scope.setdefault("state", {})[TOKEN_HASH] = token_hash
    return token_hash


def proofs_of(request: Request) -> list[str]:
    """The DPoP proofs of a request; a good one has exactly one."""
    return request.headers.getlist(HEADER)


def path_of(request: Request) -> str:
    """The path below the tenant's address, escaped as an address has it."""
    return quote(request.scope["path"], safe=_PATH_SAFE)


def tenant_of(request: Request) -> str:
    """The tenant of the address, existing or not."""
    tenant_id: str = request.scope.get("state", {}).get("tenant_id", ROOT_TENANT)
    return tenant_id


def challenge(request: Request) -> str:
    """The challenge of a 401: which scheme, and, where a token was sent, that it is not good."""
    ctx: Context = request.app.state.context
    scheme = request.headers.get("authorization", "").partition(" ")[0].lower()
    # RFC 6750, section 3.1: without credentials the challenge carries no error.
    error = ['error="invalid_token"'] if scheme else []
    if ctx.settings.strict or scheme == "dpop":
        return "DPoP " + ", ".join([*error, _ALGORITHMS])
    return " ".join(["Bearer", *error])


def nonce_header(ctx: Context, request: Request, error: Exception | None = None) -> dict[str, str]:
    """The nonce for the client's next proof, where one is demanded (RFC 9449, section 8)."""
    if ctx.settings.strict or isinstance(error, DpopNonceRequired):
        return {NONCE_HEADER: dpop_nonce(ctx, tenant_of(request))}
    return {}


async def _refused(request: Request, error: Exception) -> Response:
    if not isinstance(error, DpopRefused):
        raise error
    ctx: Context = request.app.state.context
    headers = {
        "WWW-Authenticate": f'DPoP error="{error.error}", {_ALGORITHMS}',
        **nonce_header(ctx, request, error),
    }
    return problem(request.scope, 401, error.code, str(error), headers=headers)
