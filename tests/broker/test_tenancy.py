"""A tenant's part of an address is taken off before routing, and nothing else is."""

import asyncio

import pytest
from starlette.types import Receive, Scope, Send

from broker.api.tenancy import Tenancy


def routed(path: str) -> tuple[str, str]:
    """The tenant and the path that the application sees."""
    seen: list[tuple[str, str]] = []

    async def app(scope: Scope, _receive: Receive, _send: Send) -> None:
        seen.append((scope["state"]["tenant_id"], scope["path"]))

    async def nothing() -> dict[str, object]:
        return {}

    async def nowhere(_message: object) -> None:
        return None

    scope = {"type": "http", "path": path, "raw_path": path.encode()}
    asyncio.run(Tenancy(app)(scope, nothing, nowhere))
    return seen[0]


@pytest.mark.parametrize(
    ("path", "tenant", "seen"),
    [
        ("/v1/consents/c-1", "demo", "/v1/consents/c-1"),
        ("/t/acme/v1/consents/c-1", "acme", "/v1/consents/c-1"),
        ("/t/acme", "acme", "/"),
        ("/t/acme/", "acme", "/"),
        ("/.well-known/jwt-vc-issuer", "demo", "/.well-known/jwt-vc-issuer"),
        ("/.well-known/jwt-vc-issuer/t/acme", "acme", "/.well-known/jwt-vc-issuer"),
        ("/t/acme/.well-known/did.json", "acme", "/.well-known/did.json"),
        # One address for each thing: these match no route afterwards.
        ("/t/demo/v1/purposes", "demo", "/t/demo/v1/purposes"),
        ("/t/Acme/v1/purposes", "demo", "/t/Acme/v1/purposes"),
        ("/t/-acme/v1", "demo", "/t/-acme/v1"),
        ("/t/" + "a" * 40, "demo", "/t/" + "a" * 40),
        ("/t/acme/t/other/v1", "acme", "/t/other/v1"),
        ("/v1/t/acme", "demo", "/v1/t/acme"),
        # What tells of the process is of no tenant: nothing that a proxy blocks has another name.
        ("/t/acme/healthz", "demo", "/t/acme/healthz"),
        ("/t/acme/readyz", "demo", "/t/acme/readyz"),
        ("/t/acme/metrics", "demo", "/t/acme/metrics"),
        ("/t/demo/metrics", "demo", "/t/demo/metrics"),
        ("/t/acme/t/other/metrics", "acme", "/t/other/metrics"),
        ("/t/acme\n", "demo", "/t/acme\n"),
    ],
)
def test_the_tenant_of_an_address(path: str, tenant: str, seen: str) -> None:
    assert routed(path) == (tenant, seen)
