"""Encrypt anew, under the current master key, what older ones sealed; while brokers serve."""

from collections.abc import Callable
from dataclasses import dataclass

from broker.store import sealed_columns
from broker.store.sealed_columns import SEALED, SealedValue
from broker.usecases.context import Context
from credentials.errors import SealBroken

BATCH = 200
PASSES = 5
"""A broker that has not read the new key yet may seal some more meanwhile."""

VERSION = b"\x01"


@dataclass(frozen=True)
class Resealed:
    """What a run came to: values sealed anew, and `unopened` ones whose key is not here."""

    done: int
    unopened: int


def under_keys(ctx: Context) -> dict[str, int]:
    """How many sealed values there are under each master key's id (hex); `unknown` if any."""
    headers = [VERSION + key_id for key_id in ctx.master.key_ids]
    total = dict.fromkeys(headers, 0) | {b"": 0}
    with ctx.db.reading() as tx:
        for column in SEALED:
            for header, count in sealed_columns.counts(tx, column, headers).items():
                total[header] += count
    return {
        header[1:].hex() if header else "unknown": count
        for header, count in total.items()
        if header or count
    }


def waiting(ctx: Context) -> int:
    """How many values are under another key than the current one."""
    return sum(count for key, count in under_keys(ctx).items() if key != ctx.master.key_id.hex())


def reseal(ctx: Context, on_progress: Callable[[int], None] = lambda _done: None) -> Resealed:
    """Seal every value anew that is not under the current key.

    In batches, each value by compare-and-swap: what a broker changes meanwhile stays as it wrote
    it. Stopped at any time, it goes on where it was. Plaintexts do not change, so neither does
    anything that is derived of them.
    """
    done = 0
    unopened: set[tuple[str, tuple[object, ...]]] = set()
    for _ in range(PASSES):
        before = done
        for column in SEALED:
            after: tuple[object, ...] | None = None
            while True:
                with ctx.db.reading() as tx:
                    found = sealed_columns.batch(tx, column, ctx.master.header, after, BATCH)
                if not found:
                    break
                after = found[-1].key
                fresh = [(value, _anew(ctx, value)) for value in found]
                unopened |= {(column.name, value.key) for value, new in fresh if new is None}
                with ctx.db.transaction() as tx:
                    swapped = [
                        sealed_columns.swap(tx, value, new)
                        for value, new in fresh
                        if new is not None
                    ]
                done += sum(swapped)
                on_progress(done)
        if done == before:
            break
    return Resealed(done, len(unopened))


def _anew(ctx: Context, value: SealedValue) -> bytes | None:
    try:
        return ctx.master.seal(ctx.master.open(value.sealed, value.context), value.context)
    except SealBroken:
        return None
