"""The log of the server: one JSON line for each request, without personal data.

A line holds the route's template, never the path (consent pages and offers have secrets in
theirs), no query, no body, no header of the caller. An error is named by its type and the places
in the code that it came through, never by its message, which may quote what a customer sent.
"""

import contextlib
import logging
import re
import secrets
import sys
import time
from collections.abc import Mapping, MutableMapping
from types import TracebackType
from typing import Any

import orjson
import structlog
from fastapi import FastAPI
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from broker.api import metrics

UNMATCHED = "unmatched"
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
FRAMES = 20
# A caller's own id is told back as it came; our log takes only what cannot be anything else.
_UUID = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}")
_ECHO = re.compile(rb"[\x21-\x7e](?:[\x20-\x7e]{0,126}[\x21-\x7e])?")

_log = structlog.get_logger("broker.request")


class Logs:
    """ASGI middleware, the outermost: gives each request its id, logs and measures its answer."""

    def __init__(self, app: ASGIApp, *, measured: metrics.Metrics) -> None:
        self._app, self._measured = app, measured

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, and log it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        theirs = next((value for name, value in scope["headers"] if name == b"x-request-id"), b"")
        request_id = _request_id(theirs)
        echo = theirs if _ECHO.fullmatch(theirs) else request_id.encode()
        scope.setdefault("state", {})["request_id"] = request_id
        status = 500

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = message.setdefault("headers", [])
                if not any(name.lower() == b"x-request-id" for name, _ in headers):
                    message["headers"] = [*headers, (b"x-request-id", echo)]
            await send(message)

        try:
            await self._app(scope, receive, answer)
        finally:
            seconds = time.perf_counter() - began
            method = scope["method"] if scope["method"] in METHODS else "other"
            route = route_of(scope)
            self._measured.answered(method, route, status, seconds)
            _log.info(
                "request",
                method=method,
                route=route,
                status=status,
                ms=round(seconds * 1000, 2),
                request_id=request_id,
            )


def install(app: FastAPI) -> None:
    """Put the middleware around `app`."""
    app.add_middleware(Logs, measured=metrics.of(app))


class _Lossy:
    """A file that loses what it cannot write: no act fails, and no thread ends, for its log line.

    The disk that is full for the log is often the database's too; whoever tells of that must live.
    """

    def __init__(self, file: Any) -> None:  # noqa: ANN401 (bytes or text)
        self._file = file

    def write(self, line: Any) -> None:  # noqa: ANN401
        """Write, or lose the line."""
        with contextlib.suppress(OSError):
            self._file.write(line)

    def flush(self) -> None:
        """Hand over what is buffered; what cannot be is tried again with the next line."""
        with contextlib.suppress(OSError):
            self._file.flush()


def configure(*, as_json: bool = True) -> None:
    """Send every log line of the process to standard output: ours, the server's, libraries'.

    One JSON object a line, or (`as_json` False) coloured text for a person at a terminal.
    """
    steps: list[structlog.typing.Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        name_error,
    ]
    _libraries(steps, as_json=as_json)
    binary: Any = _Lossy(sys.stdout.buffer)
    text: Any = _Lossy(sys.stdout)
    if as_json:
        # Bytes straight to the file: a line costs 10 us, by way of the standard library 100.
        render: structlog.typing.Processor = structlog.processors.JSONRenderer(serializer=_json)
        factory: Any = structlog.BytesLoggerFactory(binary)
    else:
        factory = structlog.PrintLoggerFactory(text)
        render = structlog.dev.ConsoleRenderer()
    structlog.configure(
        processors=[*steps, render],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=factory,
    )


def _libraries(steps: list[structlog.typing.Processor], *, as_json: bool) -> None:
    def text(value: object, **_options: object) -> str:
        return _json(value).decode()

    render: structlog.typing.Processor = (
        structlog.processors.JSONRenderer(serializer=text)
        if as_json
        else structlog.dev.ConsoleRenderer()
    )
    handler = logging.StreamHandler(_Lossy(sys.stdout))
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, render],
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *steps],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)  # below that some libraries tell addresses, which hold secrets
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logging.getLogger(name).handlers.clear()
        logging.getLogger(name).propagate = True


def name_error(_logger: object, _method: str, event: MutableMapping[str, Any]) -> Mapping[str, Any]:
    """Structlog processor: an error's types and places in place of its message."""
    found = event.pop("exc_info", None)
    error = sys.exc_info()[1] if found is True else found[1] if isinstance(found, tuple) else found
    if isinstance(error, BaseException):
        event["error"] = " < ".join(_kinds(error))
        event["at"] = _places(error.__traceback__)
    return event


def route_of(scope: Scope) -> str:
    """The template of the route that answered, or `unmatched`."""
    path = getattr(scope.get("route"), "path", None)
    return path if isinstance(path, str) else UNMATCHED


def _kinds(error: BaseException) -> list[str]:
    kinds: list[str] = []
    current: BaseException | None = error
    while current is not None and len(kinds) < FRAMES:
        kinds.append(f"{type(current).__module__}.{type(current).__qualname__}{_driver(current)}")
        hidden = current.__suppress_context__
        current = current.__cause__ or (None if hidden else current.__context__)
    return kinds


def _driver(error: BaseException) -> str:
    # A database driver's own code says what failed without saying on which values.
    code = getattr(error, "sqlite_errorname", None) or getattr(error, "sqlstate", None)
    return f"({code})" if isinstance(code, str) and code.isascii() else ""


def _places(trace: TracebackType | None) -> list[str]:
    places = []
    while trace is not None:
        code = trace.tb_frame.f_code
        module = trace.tb_frame.f_globals.get("__name__", "?")
        places.append(f"{module}:{code.co_name}:{trace.tb_lineno}")
        trace = trace.tb_next
    return places[-FRAMES:]


def _request_id(theirs: bytes) -> str:
    text = theirs.decode("latin-1").lower()
    return text if _UUID.fullmatch(text) else secrets.token_hex(16)


def _json(value: object, **_options: object) -> bytes:
    return orjson.dumps(value, default=_kind_alone)


def _kind_alone(value: object) -> str:
    return type(value).__name__
