"""Spans, for whoever wants to see where the time of a request goes; nothing, until somebody does.

What a span is called and what it says is fixed here, in the code: names of steps, outcomes by their
stable codes. Never an identifier of a customer, a contact or a consent, a token, a path, a message.
Without a tracer a span costs a function call.
"""

from contextlib import AbstractContextManager
from types import TracebackType
from typing import Literal, Protocol, Self

Name = Literal["decision", "verification", "transaction", "fetch"]


class Span(Protocol):
    """A step that is under way."""

    def outcome(self, code: str) -> None:
        """Say by a stable code what came of it."""


class _Nothing:
    """The span of nobody who looks."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        return None

    def outcome(self, code: str) -> None:
        """Nobody hears it."""


class Tracer(Protocol):
    """Makes spans below the one that is under way in this context."""

    def step(self, name: Name) -> AbstractContextManager[Span]:
        """A span of this name."""

    def carried(self) -> dict[str, str]:
        """The headers that carry the trace on."""


_NOTHING = _Nothing()
_tracers: list[Tracer] = []


def span(name: Name) -> AbstractContextManager[Span]:
    """The step `name`, for as long as its block takes; below the request's or step's around it."""
    return _tracers[0].step(name) if _tracers else _NOTHING


def carried() -> dict[str, str]:
    """The headers that carry the trace under way to a service of one's own; empty without one."""
    return _tracers[0].carried() if _tracers else {}


def trace_with(tracer: Tracer | None) -> None:
    """Give this process a tracer, or (None) take it away."""
    _tracers[:] = [] if tracer is None else [tracer]
