"""Secrets that two sides share and change: each older one counts beside the newest for a day.

`sealed_previous` holds a JSON list of pairs, base64 of a secret and the Unix second until which it
counts; `previous_until` is the last of these.
"""

import base64
from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol

import orjson

from broker.domain.errors import StateConflict
from broker.domain.webhook import OVERLAP_SECONDS
from broker.usecases.context import Context

MOST_PREVIOUS: Final = 8


class Secrets(Protocol):
    """The columns of a row that hold its secrets."""

    @property
    def sealed_secret(self) -> bytes: ...  # noqa: D102
    @property
    def sealed_previous(self) -> bytes | None: ...  # noqa: D102
    @property
    def previous_until(self) -> int | None: ...  # noqa: D102


def secrets_that_count(ctx: Context, row: Secrets, context: str) -> Sequence[bytes]:
    """The secrets of a row that count now, the newest first; `context` is that of their seals."""
    older = [secret for secret, _ in _previous(ctx, row, context)]
    return [ctx.master.open(row.sealed_secret, context), *older]


def rotated(ctx: Context, row: Secrets, context: str, secret: bytes) -> Mapping[str, Any]:
    """The columns of a row with a new secret.

    Raises `StateConflict` where so many were changed within a day that no other may be kept.
    """
    until = ctx.now() + OVERLAP_SECONDS
    older = [
        (ctx.master.open(row.sealed_secret, context), until),
        *_previous(ctx, row, context),
    ]
    if len(older) > MOST_PREVIOUS:
        raise StateConflict(f"the secret was changed {MOST_PREVIOUS} times within a day: wait")
    pairs = [[base64.b64encode(one).decode(), end] for one, end in older]
    return {
        "sealed_secret": ctx.master.seal(secret, context),
        "sealed_previous": ctx.master.seal(orjson.dumps(pairs), context),
        "previous_until": until,
    }


def _previous(ctx: Context, row: Secrets, context: str) -> list[tuple[bytes, int]]:
    now = ctx.now()
    if row.sealed_previous is None or now >= (row.previous_until or 0):
        return []
    pairs = orjson.loads(ctx.master.open(row.sealed_previous, context))
    return [(base64.b64decode(text), end) for text, end in pairs if now < end]
