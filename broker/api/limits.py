"""Limits before parsing: size of a body, nesting of JSON, no compressed bodies.

A 180 kB body of nested JSON once killed a server process, because an imported library had raised
the recursion limit. Nothing here parses: a few passes over the bytes find the depth, and what is
over a limit gets an answer before any parser sees it.
"""

from typing import Final

from fastapi import FastAPI
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from broker.api.problems import problem

MAX_PARTS: Final = 10_000
_ONE_KIND: Final = bytes.maketrans(b"{}", b"[]")
_NO_BRACKETS: Final = bytes(set(range(256)) - set(b"[]{}"))
_FORMS: Final = (b"application/x-www-form-urlencoded", b"multipart/form-data")


_NUL = 400, "invalid_request", "an address holds no NUL"


class Limits:
    """ASGI middleware: reads the whole body (up to the cap), checks it, hands it on."""

    def __init__(self, app: ASGIApp, *, max_bytes: int, max_depth: int) -> None:
        self._app, self._max_bytes, self._max_depth = app, max_bytes, max_depth

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Check one request and pass it on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        refusal = _NUL if _holds_nul(scope) else await self._check(scope, receive)
        if isinstance(refusal, bytes):
            await self._app(scope, _replay(refusal, receive), send)
            return
        status, code, detail = refusal
        # The rest of the body is not read: the connection cannot be used again.
        headers = {"Connection": "close"}
        if status == 415:  # noqa: PLR2004 (RFC 9110, section 12.5.3: name what is accepted)
            headers["Accept-Encoding"] = "identity"
        await problem(scope, status, code, detail, headers=headers)(scope, receive, send)

    async def _check(self, scope: Scope, receive: Receive) -> bytes | tuple[int, str, str]:
        kind = b""
        for name, value in scope["headers"]:
            if name == b"content-length" and (
                not value.isdigit() or int(value[:20]) > self._max_bytes
            ):
                return self._too_large()
            if name == b"content-encoding" and value.strip().lower() not in {b"", b"identity"}:
                return 415, "content_encoding_refused", "send the body without Content-Encoding"
            if name == b"content-type":
                kind = value.partition(b";")[0].strip().lower()
        body = await _read(receive, self._max_bytes)
        if body is None:
            return self._too_large()
        if body and kind not in _FORMS:
            if b"\x00" in body and kind.endswith(b"json"):
                # RFC 8259, section 8.1. Another encoding would hide its brackets from the scan.
                return 400, "invalid_request", "JSON is sent in UTF-8"
            if deeper_than(body, self._max_depth):
                return 400, "json_too_deep", f"JSON may be nested {self._max_depth} levels deep"
            # Half a million small lists in 1 MiB take a parser and the collector 0.7 s, and 70,000
            # wrong members of an object a validator 0.8 s to tell of each.
            if sum(map(body.count, (b"[", b"{", b","))) > MAX_PARTS:
                most = (
                    f"JSON may hold {MAX_PARTS} values, those with commas and brackets in texts too"
                )
                return 400, "json_too_large", most
        return body

    def _too_large(self) -> tuple[int, str, str]:
        return 413, "body_too_large", f"a body may have {self._max_bytes} bytes"


def _holds_nul(scope: Scope) -> bool:
    """Whether an address has a NUL: no name has one, and PostgreSQL takes none in a text."""
    return "\x00" in scope.get("path", "") or b"%00" in scope.get("query_string", b"")


def deeper_than(data: bytes, depth: int) -> bool:
    """Whether JSON text nests lists and objects more than `depth` levels.

    Exact for JSON. Text that is no JSON may be called too deep when it is not, never the reverse:
    whatever a parser enters before it fails is counted. Every step is one pass of compiled code.
    """
    # The number of opening brackets bounds the depth: honest bodies are never looked at closer.
    if data.count(b"[") + data.count(b"{") <= depth:
        return False
    # Without its escapes a string ends at the next quote; every second piece is outside of them.
    plain = data.replace(rb"\\", b"").replace(rb"\"", b"") if b"\\" in data else data
    brackets = b"".join(plain.split(b'"')[::2]).translate(_ONE_KIND, _NO_BRACKETS)
    # Each turn takes away the innermost pairs: as many turns as levels. What is left is unclosed.
    levels = 0
    while True:
        outer = brackets.replace(b"[]", b"")
        if len(outer) == len(brackets):
            return levels + brackets.count(b"[") > depth
        levels += 1
        if levels > depth:
            return True
        brackets = outer


def install(app: FastAPI, *, max_bytes: int, max_depth: int) -> None:
    """Put the middleware around `app`."""
    app.add_middleware(Limits, max_bytes=max_bytes, max_depth=max_depth)


async def _read(receive: Receive, max_bytes: int) -> bytes | None:
    parts: list[bytes] = []
    size = 0
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        part: bytes = message.get("body", b"")
        size += len(part)
        if size > max_bytes:
            return None
        if part:
            parts.append(part)
        more = message.get("more_body", False)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _replay(body: bytes, receive: Receive) -> Receive:
    sent = False

    async def replay() -> Message:
        nonlocal sent
        if sent:
            return await receive()
        sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay
