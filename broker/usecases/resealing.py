"""Encrypt anew, under the current master key, what older ones sealed; while brokers serve."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from broker.store import sealed_columns
from broker.store.sealed_columns import SEALED, SealedColumn, SealedValue
from broker.usecases.context import Context
from credentials.errors import SealBroken

BATCH = 200
PASSES = 5
"""Rows that change while they are sealed anew are met again in the next pass."""

ROUNDS = 40
"""How often brokers may be waited for that seal under an older key still."""

VERSION = b"\x01"


@dataclass(frozen=True)
class Resealed:
    """What a run came to: values sealed anew, and `unopened` ones whose key is not here.

    `settled`: the last look found nothing more to do.
    """

    done: int
    unopened: int
    settled: bool


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
    done = unopened = 0
    for _ in range(PASSES):
        before, contested, unopened = done, 0, 0
        for column in SEALED:
            for batch in _batches(ctx, column):
                fresh = [(value, _anew(ctx, value)) for value in batch]
                opened = [(value, new) for value, new in fresh if new is not None]
                with ctx.db.transaction() as tx:
                    swapped = sum(sealed_columns.swap(tx, value, new) for value, new in opened)
                unopened += len(fresh) - len(opened)
                contested += len(opened) - swapped
                done += swapped
                on_progress(done)
        if done == before and not contested:
            return Resealed(done, unopened, settled=True)
    return Resealed(done, unopened, settled=False)


def reseal_while_brokers_follow(
    ctx: Context,
    pause: Callable[[int], None],
    on_progress: Callable[[int], None] = lambda _done: None,
) -> Resealed:
    """The same right after a rotation, when brokers may not have read the new key yet.

    `pause` waits for longer than brokers take to read it; it is told how many waits there were.
    Settled is a run that finds nothing, a whole pause after the last one that found something: a
    busy broker may seal under the older key after any fixed time.
    """
    done = unopened = 0
    for number in range(ROUNDS):
        found = reseal(ctx, partial(_from, on_progress, done))
        done, unopened = done + found.done, found.unopened
        if number > 0 and found.done == 0 and found.settled:
            return Resealed(done, unopened, settled=True)
        pause(number)
    return Resealed(done, unopened, settled=False)


def _batches(ctx: Context, column: SealedColumn) -> Iterator[list[SealedValue]]:
    """The values that are not under the current key, in the order of their rows."""
    after: tuple[object, ...] | None = None
    while True:
        with ctx.db.reading() as tx:
            found = sealed_columns.batch(tx, column, ctx.master.header, after, BATCH)
        if not found:
            return
        after = found[-1].key
        yield found


def _from(on_progress: Callable[[int], None], before: int, done: int) -> None:
    on_progress(before + done)


def _anew(ctx: Context, value: SealedValue) -> bytes | None:
    try:
        return ctx.master.seal(ctx.master.open(value.sealed, value.context), value.context)
    except SealBroken:
        return None
