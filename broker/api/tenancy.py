"""Tenants by address: the demonstration tenant at the root, others below `/t/{id}`.

A tenant's part of an address is taken off before routing, so that every route exists once:
`/t/acme/v1/consents/c-1` and `/.well-known/jwt-vc-issuer/t/acme` (where RFC 8414 puts the path of
an issuer) arrive as `/v1/consents/c-1` and `/.well-known/jwt-vc-issuer` with the tenant `acme`.

What tells of the process is of no tenant and has one address: whoever blocks `/metrics` at a proxy
has blocked it.
"""

import re
from typing import Final

from fastapi import FastAPI
from starlette.types import ASGIApp, Receive, Scope, Send

from broker.domain.addresses import ROOT_TENANT, TENANT_ID
from broker.store.acting import acting_for

_PREFIX = re.compile(rf"/t/(?P<tenant>{TENANT_ID.pattern})(?P<path>/.*)?", re.DOTALL)
OPERATION: Final = frozenset({"/healthz", "/readyz", "/metrics"})
_WELL_KNOWN = re.compile(rf"(?P<path>/\.well-known/[a-z0-9-]+)/t/(?P<tenant>{TENANT_ID.pattern})")


class Tenancy:
    """ASGI middleware: sets `scope["state"]["tenant_id"]` and takes the tenant off the path.

    The request acts for this tenant: its transactions see no other one's rows.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Route one request."""
        if scope["type"] == "http":
            path: str = scope["path"]
            tenant_id = ROOT_TENANT
            if "/t/" in path:
                found = _PREFIX.fullmatch(path) or _WELL_KNOWN.fullmatch(path)
                if found is not None and _is_theirs(found["tenant"], found["path"]):
                    tenant_id, path = found["tenant"], found["path"] or "/"
                    scope["path"], scope["raw_path"] = path, path.encode()
            scope.setdefault("state", {})["tenant_id"] = tenant_id
            with acting_for(tenant_id):
                await self._app(scope, receive, send)
            return
        await self._app(scope, receive, send)


def _is_theirs(tenant_id: str, path: str | None) -> bool:
    # The demonstration tenant has one address, not two.
    return tenant_id != ROOT_TENANT and path not in OPERATION


def install(app: FastAPI) -> None:
    """Put the middleware around `app`."""
    app.add_middleware(Tenancy)
