"""A span for each request: named by its route's template, with tenant, status and request id.

The path stays out of it, because page tokens and offers are in paths; so do query, headers and
body. A tenant is named once it was found to exist.
"""

from typing import TYPE_CHECKING, Final

from fastapi import FastAPI
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from broker.api.callers import TOKEN_HASH
from broker.api.logs import METHODS, route_of
from broker.api.tenancy import OPERATION
from broker.domain.addresses import ROOT_TENANT

if TYPE_CHECKING:  # its libraries are an extra
    from broker.outbound.telemetry import Telemetry

_CARRIED: Final = b"traceparent"  # and no tracestate, in which callers may write what they like


class Tracing:
    """ASGI middleware: one span around each request."""

    def __init__(self, app: ASGIApp, *, telemetry: "Telemetry") -> None:
        self._app, self._telemetry = app, telemetry

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request within its span."""
        if scope["type"] != "http" or scope["path"] in OPERATION:
            await self._app(scope, receive, send)
            return
        theirs = {
            name.decode(): value.decode("latin-1")
            for name, value in scope["headers"]
            if name == _CARRIED
        }
        status = 500

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        with self._telemetry.request(theirs) as span:
            try:
                await self._app(scope, receive, answer)
            finally:
                method = scope["method"] if scope["method"] in METHODS else "_OTHER"
                span.answered(method, route_of(scope), status, _known(scope, status))


def install(app: FastAPI, telemetry: "Telemetry | None") -> None:
    """Put the middleware around `app`, where there is a telemetry."""
    if telemetry is not None:
        app.add_middleware(Tracing, telemetry=telemetry)


def _known(scope: Scope, status: int) -> dict[str, str]:
    state = scope.get("state", {})
    told = {"request_id": str(state.get("request_id", ""))}
    tenant_id: str = state.get("tenant_id", ROOT_TENANT)
    met: frozenset[str] = getattr(scope["app"].state, "known_tenants", frozenset())
    # A token that was good is of a tenant that exists.
    authenticated = TOKEN_HASH in state and status < 400  # noqa: PLR2004 (it was answered)
    if tenant_id == ROOT_TENANT or tenant_id in met or authenticated:
        told["tenant"] = tenant_id
    return told
