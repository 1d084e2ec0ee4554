"""Receipts of a round in as few calls as the broker takes them in."""

import base64
from collections.abc import Mapping
from typing import Any, Final

from federation.flower.round_values import HandedOn

LARGEST_CALL: Final = 512 * 1024
"""So many bytes of a body: a broker takes twice as many unless it is told otherwise."""
MOST_RECEIPTS: Final = 1_000
PER_RECEIPT: Final = 512
"""Names, quotes and commas of one."""


def in_calls(given: Mapping[str, HandedOn]) -> list[dict[str, HandedOn]]:
    """Receipts by member, in groups for one call each: one too large for others goes alone."""
    calls: list[dict[str, HandedOn]] = []
    room = 0
    for member, one in given.items():
        size = len(one.token) + len(one.leaves) * 4 // 3 + PER_RECEIPT
        if size > room or len(calls[-1]) == MOST_RECEIPTS:
            calls.append({})
            room = LARGEST_CALL
        calls[-1][member] = one
        room -= size
    return calls


def body_of(given: Mapping[str, HandedOn]) -> dict[str, Any]:
    """One call's body."""
    listed = [
        {"member": member, "receipt": one.token, "leaves": _encoded(one.leaves)}
        for member, one in given.items()
    ]
    return {"receipts": listed}


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")
