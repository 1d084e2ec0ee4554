"""Who a request comes from, as far as can be said before anything is looked up.

A token counts as its client's only after it was good once, and until half a minute after its end:
whoever sends tokens that do not exist stays an address among others. What was learned is bounded,
belongs to this process, and proves nothing: every request is authenticated all the same.
"""

import hashlib
import ipaddress
from collections.abc import Hashable
from typing import NamedTuple, TypeVar

import structlog
from sqlalchemy.exc import SQLAlchemyError
from starlette.types import Scope

from broker.domain.addresses import ROOT_TENANT
from broker.store import access_tokens
from broker.usecases.context import Context

KNOWN_AT_MOST = 20_000
LOOK_AGAIN_SECONDS = 30
UNAUTHENTICATED = 401
IPV6_SITE = 64  # a customer of a network has a /64 and every address in it
PAGES = "/c/"
EVERYTHING = "/mine/"
PRESENTATIONS = "/openid4vp/"
WALLETS = ("/openid4vci/", PRESENTATIONS)
TOKEN_HASH = "token_hash"

T = TypeVar("T")
Caller = tuple[str, str]
"""Tenant and client id."""

_log = structlog.get_logger("broker.request")


class _Known(NamedTuple):
    caller: Caller
    token_hash: str
    looked_at: int


class Callers:
    """The clients behind tokens and the customers' pages that were met lately."""

    def __init__(self, ctx: Context, *, most: int = KNOWN_AT_MOST) -> None:
        self._ctx, self._most = ctx, most
        self._clients: dict[bytes, _Known] = {}
        self._pages: dict[bytes, None] = {}

    def client(self, scope: Scope) -> Caller | None:
        """The client whose token this is, if it was good before."""
        token = _token(scope)
        known = None if token is None else self._clients.get(_digest(scope, token))
        return None if known is None else known.caller

    def page(self, scope: Scope) -> Hashable | None:
        """The customer's page that is asked for, if it was there before."""
        page = _page(scope)
        key = None if page is None else _digest(scope, page)
        return key if key in self._pages else None

    async def learn(self, scope: Scope, status: int) -> None:
        """Remember what a request that was answered with `status` has shown, or that it is over.

        Raises nothing when the database fails: the answer has been sent.
        """
        page = _page(scope)
        if page is not None:
            if status < 400:  # noqa: PLR2004 (the page is there)
                self._remember(self._pages, _digest(scope, page), None)
            return
        token = _token(scope)
        if token is None:
            return
        try:
            await self._learn_client(scope, _digest(scope, token), status)
        except SQLAlchemyError:
            _log.exception("caller_not_learned")

    async def _learn_client(self, scope: Scope, key: bytes, status: int) -> None:
        refused, known, now = status == UNAUTHENTICATED, self._clients.get(key), self._ctx.now()
        if known is None:
            # A wallet's token is good for a call or two: it is not worth a look.
            token_hash = scope["state"].get(TOKEN_HASH)
            if token_hash is None or refused or scope["path"].startswith(WALLETS):
                return
        elif refused or now - known.looked_at >= LOOK_AGAIN_SECONDS:
            token_hash = known.token_hash
        else:
            return
        tenant_id = scope["state"].get("tenant_id", ROOT_TENANT)
        found = await self._ctx.db.read(lambda tx: access_tokens.find(tx, tenant_id, token_hash))
        if found is None or found.expires_at <= now:
            self._clients.pop(key, None)
        else:
            self._remember(self._clients, key, _Known((tenant_id, found.subject), token_hash, now))

    def _remember(self, known: dict[bytes, T], key: bytes, value: T) -> None:
        known.pop(key, None)
        if len(known) >= self._most:
            del known[next(iter(known))]
        known[key] = value


def address_of(scope: Scope) -> str:
    """The remote address (an IPv6 one by its /64), as the server was told it by a trusted proxy."""
    host: str = (scope.get("client") or ("", 0))[0]
    if ":" not in host:
        return host
    try:
        address = ipaddress.IPv6Address(host.partition("%")[0])
    except ValueError:
        return host
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.IPv6Network((address, IPV6_SITE), strict=False))


def is_withdrawal(scope: Scope) -> bool:
    """Whether somebody may be withdrawing: on a page, by an officer, with a wallet; one or all.

    What a wallet is asked to sign, a grant or a withdrawal, its addresses do not tell.
    """
    path = scope["path"]
    if path.startswith((EVERYTHING, PRESENTATIONS)):
        return True
    return scope["method"] != "GET" and ("withdrawal" in path or path.endswith("/everything"))


def _token(scope: Scope) -> bytes | None:
    for name, value in scope["headers"]:
        if name == b"authorization":
            token: bytes = value
            return token
    return None


def _page(scope: Scope) -> bytes | None:
    path: str = scope["path"]
    return path[len(PAGES) :].partition("/")[0].encode() if path.startswith(PAGES) else None


def _digest(scope: Scope, secret: bytes) -> bytes:
    tenant_id: str = scope["state"].get("tenant_id", ROOT_TENANT)
    return hashlib.sha256(tenant_id.encode() + b"\x00" + secret).digest()
