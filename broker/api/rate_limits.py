"""Rate limits: so many requests for each client, so many for each address without a known token.

    decisions    each client, at the decision point
    client       each client, at everything else
    address      each remote address (IPv6: each /64): token endpoint, wallets, pages, the open log
    withdrawal   each client and each address, when the one above is used up: for withdrawals, for
                 the customer's page, where they begin, and for wallets that answer a request
    page         each customer's page that was there before, when both above are used up

`events` counts events of each source, not requests (`usecases/inbox.py`). Each worker counts for
itself. `/healthz` and `/readyz` are never counted. What is over a limit is answered with 429 before
its body is read, in the form of the protocol that was spoken.
"""

import math
from collections.abc import Callable, Hashable, Mapping
from time import monotonic
from typing import Final

import orjson
from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from broker.api import callers
from broker.api.callers import Callers
from broker.api.problems import problem
from broker.domain.buckets import Buckets, Taken
from broker.usecases.context import Context

CODE = "rate_limited"
DETAIL = "too many requests: repeat this one after the seconds that Retry-After says"
UNLIMITED: Final = frozenset({"/healthz", "/readyz"})
# Errors there have the form of RFC 6749, section 5.2.
PROTOCOLS: Final = ("/oauth/", *callers.WALLETS)
PAGES: Final = (callers.PAGES, "/oauth/authorize")

RefusePage = Callable[[Request, Mapping[str, str]], Response]
"""The page that asks a customer for patience, with these headers."""


class RateLimits:
    """ASGI middleware: counts each request, and refuses what is over."""

    def __init__(self, app: ASGIApp, *, ctx: Context, refuse_page: RefusePage) -> None:
        self._app, self._refuse_page = app, refuse_page
        self._callers = Callers(ctx)
        self._buckets = {
            name: Buckets(rate.per_second, rate.burst)
            for name, rate in ctx.settings.rate_limits.items()
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Count one request, and pass it on or refuse it."""
        if scope["type"] != "http" or scope["path"] in UNLIMITED:
            await self._app(scope, receive, send)
            return
        now = monotonic()
        name, taken = self._take(scope, now)
        if not taken.admitted:
            await self._refusal(scope, self._fields(name, taken))(scope, receive, send)
            return
        status = 500
        # Far from a limit nobody needs to be told of it.
        told = self._fields(name, taken) if taken.left * 2 < self._buckets[name].burst else {}

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                for header, value in told.items():
                    message["headers"].append((header.lower().encode(), value.encode()))
            await send(message)

        await self._app(scope, receive, answer)
        await self._callers.learn(scope, status)

    def _take(self, scope: Scope, now: float) -> tuple[str, Taken]:
        """The first bucket that has room, or the last that has none."""
        first, *more = self._ways(scope)
        name, taken = first[0], self._buckets[first[0]].take(first[1], now)
        for other, key in more:
            if taken.admitted:
                break
            name, taken = other, self._buckets[other].take(key, now)
        return name, taken

    def _ways(self, scope: Scope) -> list[tuple[str, Hashable]]:
        path: str = scope["path"]
        client = self._callers.client(scope)
        if client is not None and path.startswith("/access/"):
            return [("decisions", client)]
        who: Hashable = client or callers.address_of(scope)
        ways: list[tuple[str, Hashable]] = [("address" if client is None else "client", who)]
        if callers.is_withdrawal(scope) or path.startswith(callers.PAGES):
            ways.append(("withdrawal", who))
        page = self._callers.page(scope) if path.startswith(callers.PAGES) else None
        return ways if page is None else [*ways, ("page", page)]

    def _fields(self, name: str, taken: Taken) -> dict[str, str]:
        """The fields of draft-ietf-httpapi-ratelimit-headers-10, and Retry-After on a refusal."""
        buckets = self._buckets[name]
        seconds = max(1, math.ceil(taken.reset))
        told = {
            "RateLimit-Policy": f'"{name}";q={buckets.burst};w={math.ceil(buckets.seconds)}',
            "RateLimit": f'"{name}";r={taken.left};t={seconds}',
        }
        return told if taken.admitted else {"Retry-After": str(seconds), **told}

    def _refusal(self, scope: Scope, headers: Mapping[str, str]) -> Response:
        path: str = scope["path"]
        if path.startswith(PAGES):
            return self._refuse_page(Request(scope), headers)
        if path.startswith(PROTOCOLS):
            body = {"error": "temporarily_unavailable", "error_description": DETAIL, "code": CODE}
            return Response(
                orjson.dumps(body),
                status_code=429,
                media_type="application/json",
                headers={"Cache-Control": "no-store", **headers},
            )
        return problem(scope, 429, CODE, DETAIL, headers=headers)


def install(app: FastAPI, ctx: Context, refuse_page: RefusePage) -> None:
    """Put the middleware around `app`, unless nothing is limited."""
    if ctx.settings.rate_limits:
        app.add_middleware(RateLimits, ctx=ctx, refuse_page=refuse_page)
