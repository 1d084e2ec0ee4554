"""Subject and probe in one run, alternating, so that what slows the machine slows both."""

import gc
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Final

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

SIGNATURE_MS: Final = 0.021 + 0.067
"""One ES256 signature, made and checked, on the machine where bounds in milliseconds were set. A
bound of so many of these, against `signature` in the same run, moves with the machine."""

_SIGNATURES = 20

Measurement = Callable[[], float]
Clock = Callable[[], float]


def interleaved(measurements: Mapping[str, Measurement], *, rounds: int = 7) -> dict[str, float]:
    """Take every measurement once a round and return the median of each by name.

    A first round warms up and is dropped. Every second round goes backwards, so that none profits
    from what ran before it. Raises `ValueError` for no measurements or no rounds.
    """
    if not measurements or rounds < 1:
        raise ValueError("nothing to measure: there must be a measurement and a round")
    for measure in measurements.values():
        measure()
    taken: dict[str, list[float]] = {name: [] for name in measurements}
    for number in range(rounds):
        names = list(measurements)
        for name in names if number % 2 == 0 else reversed(names):
            gc.collect()
            taken[name].append(measurements[name]())
    return {name: statistics.median(values) for name, values in taken.items()}


def seconds_per_call(
    call: Callable[[], object], *, calls: int, clock: Clock = time.perf_counter
) -> Measurement:
    """Return a measurement: the seconds that one of `calls` consecutive calls takes on average.

    With `time.process_time` as the clock only this process's own work counts.
    """

    def measure() -> float:
        start = clock()
        for _ in range(calls):
            call()
        return (clock() - start) / calls

    return measure


def calls_per_second(
    call: Callable[[], object], *, calls: int, clock: Clock = time.perf_counter
) -> Measurement:
    """Return a measurement: how many calls a second does, seen over `calls` consecutive ones."""
    seconds = seconds_per_call(call, calls=calls, clock=clock)
    return lambda: 1 / seconds()


def signature(*, clock: Clock = time.thread_time) -> Measurement:
    """Return a measurement: the seconds of an ES256 signature, made and checked, nothing around."""
    key, algorithm, data = ec.generate_private_key(ec.SECP256R1()), ec.ECDSA(hashes.SHA256()), b"-"
    return seconds_per_call(
        lambda: key.public_key().verify(key.sign(data, algorithm), data, algorithm),
        calls=_SIGNATURES,
        clock=clock,
    )


def verification(*, clock: Clock = time.thread_time) -> Measurement:
    """Return a measurement: the seconds of checking an ES256 signature, nothing around."""
    key, algorithm, data = ec.generate_private_key(ec.SECP256R1()), ec.ECDSA(hashes.SHA256()), b"-"
    made, public = key.sign(data, algorithm), key.public_key()
    return seconds_per_call(
        lambda: public.verify(made, data, algorithm), calls=_SIGNATURES, clock=clock
    )
