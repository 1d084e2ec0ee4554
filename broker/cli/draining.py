"""SIGTERM: say that one is going, answer what still comes, then stop; nothing acknowledged is lost.

1. `/readyz` says 503 `stopping`, and each answer closes its connection. For the drain time (what a
   load balancer needs to notice) everything is served as before, new connections included.
2. New connections are refused, and streams of events end. Connections that were taken and have not
   asked yet get a moment to do so.
3. The server waits for the answers under way, the sequencer ends its batch, the process ends with
   exit code 0.

A second SIGTERM skips what is left of 1. and 2. SIGINT (Ctrl-C) does from the start.
"""

import asyncio
import signal
from types import FrameType

import structlog
import uvicorn
from sse_starlette.sse import AppStatus

from broker.usecases.context import Context

LINGER_SECONDS = 0.3
_CLOSE = (b"connection", b"close")

_log = structlog.get_logger("broker")


class Draining:
    """What SIGTERM does to the server of this process; made and used in its event loop."""

    def __init__(self, ctx: Context, server: uvicorn.Server) -> None:
        self._ctx, self._server = ctx, server
        self._loop = asyncio.get_running_loop()
        self._task: asyncio.Task[None] | None = None

    def on_signal(self, _signal: int, _frame: FrameType | None) -> None:
        """Take the signal, in the middle of whatever runs."""
        self._loop.call_soon_threadsafe(self._begin)

    def _begin(self) -> None:
        if self._task is None:
            self._task = self._loop.create_task(self._drain())
        else:
            self._server.should_exit = True

    async def _drain(self) -> None:
        # 1.
        seconds = self._ctx.settings.drain_seconds
        _log.info("stopping", drain_seconds=seconds)
        self._ctx.stopping.set()
        server = self._server
        server.config.encoded_headers.append(_CLOSE)
        server.server_state.default_headers.append(_CLOSE)
        await asyncio.sleep(seconds)
        # 2.
        for listening in server.servers:
            listening.close()
        AppStatus.should_exit = True
        await asyncio.sleep(LINGER_SECONDS)
        # 3. is the server's own.
        server.should_exit = True


def drain_on_sigterm(ctx: Context) -> None:
    """Drain on SIGTERM; to be called while the server of this process starts, in its event loop."""
    # The server has taken the signal before it starts the application: the handler is its method.
    server = getattr(signal.getsignal(signal.SIGTERM), "__self__", None)
    if isinstance(server, uvicorn.Server):
        signal.signal(signal.SIGTERM, Draining(ctx, server).on_signal)
