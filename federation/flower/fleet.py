"""What of a SuperLink members can reach: `/v1/fleet/*`, and nothing beside it.

A SuperLink of Flower serves members, the coordinator and its own workers on one port. The closed
one listens twice: on the loopback for the coordinator and its workers, and outside through this.
"""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any, Final

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

FLEET: Final = "/v1/fleet/"
LARGEST_BODY: Final = 64 * 1024 * 1024
"""Bytes. Flower cuts arrays into pieces of 5 MiB; it reads a body before it asks whose it is."""

LENGTH_DIGITS: Final = 19
MOST_UNDER_WAY: Final = 512 * 1024 * 1024
"""Bytes of all bodies that have come and are worked on: strangers do not fill the memory."""
ALWAYS: Final = 64 * 1024
"""Bytes of a body that is let in whatever else is under way: what keeps members online is less."""
BODY_SECONDS: Final = 120.0
MOST_CONNECTIONS: Final = 512


class FleetAlone:
    """An ASGI application that passes on what members may ask for, within a size, and 404s."""

    def __init__(
        self,
        application: Application,
        *,
        largest_body: int = LARGEST_BODY,
        most_under_way: int = MOST_UNDER_WAY,
        always: int = ALWAYS,
        body_seconds: float = BODY_SECONDS,
    ) -> None:
        self._application = application
        self._largest_body = largest_body
        self._left = most_under_way
        self._always = always
        self._body_seconds = body_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; a scope that is no HTTP request is closed."""
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1000})
        elif scope["type"] == "http":
            refused = self._refusal(scope)
            if refused:
                await _refuse(send, refused)
                return
            taken = _Taken()
            try:
                await self._passed_on(scope, receive, send, taken)
            finally:
                self._left += taken.bytes

    async def _passed_on(self, scope: Scope, receive: Receive, send: Send, taken: "_Taken") -> None:
        """Read the body within its time and the room for all, then let the application have it."""
        messages: list[MutableMapping[str, Any]] = []
        counted = _length(scope) > self._always
        try:
            async with asyncio.timeout(self._body_seconds):
                while not messages or messages[-1].get("more_body", False):
                    messages.append(await receive())
                    # What has come, and not what was said to come: saying so costs nothing.
                    if counted and not self._room(len(messages[-1].get("body", b"")), taken):
                        await _refuse(send, 503)
                        return
        except TimeoutError:
            await _refuse(send, 408)
            return
        messages.reverse()

        async def read() -> MutableMapping[str, Any]:
            return messages.pop() if messages else await receive()

        scope.setdefault("state", {})
        await self._application(scope, read, send)

    def _room(self, size: int, taken: "_Taken") -> bool:
        """Take room for some bytes, where there is any."""
        if size > self._left:
            return False
        self._left -= size
        taken.bytes += size
        return True

    def _refusal(self, scope: Scope) -> int:
        path = scope["path"]
        # What is passed on is not left to how the application behind reads `..`.
        if scope["method"] != "POST" or not path.startswith(FLEET) or ".." in path or "//" in path:
            return 404
        if any(name == b"transfer-encoding" for name, _ in scope["headers"]):
            return 411  # beside a length it would outdo it
        lengths = [value for name, value in scope["headers"] if name == b"content-length"]
        if len(lengths) != 1 or not lengths[0].isdigit():
            return 411
        if len(lengths[0]) > LENGTH_DIGITS:
            return 413
        return 413 if int(lengths[0]) > self._largest_body else 0


@dataclass
class _Taken:
    """The room that a request holds, in bytes."""

    bytes: int = 0


def _length(scope: Scope) -> int:
    return next(int(value) for name, value in scope["headers"] if name == b"content-length")


async def _refuse(send: Send, status: int) -> None:
    headers = [(b"connection", b"close")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": b""})
