"""Proofs that wait at the same moment are verified together, and each is told of its own."""

import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from broker.usecases import proof_batches
from broker.usecases.proof_batches import ProofBatches
from tests.zkp.test_batch import spoilt
from tests.zkp.world import World, of, request
from zkp import AtMost, ProvenPresentation, ToVerify, prove, verify_batch
from zkp.errors import ProofInvalid

SOME = 5


@pytest.fixture(scope="module")
def proofs() -> list[ToVerify]:
    """Of as many issuers."""
    made = []
    for _ in range(SOME):
        world = World.make()
        asked = request(AtMost(of("income"), 30_000))
        made.append(ToVerify(asked, prove(asked, world.held), world.issuers))
    return made


class Slow:
    """Verifies when it is told to, and keeps how many there were each time."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.sizes: list[int] = []
        self.begun, self.go = threading.Event(), threading.Event()
        monkeypatch.setattr(proof_batches, "verify_batch", self.verify)

    def verify(self, batch: Sequence[ToVerify]) -> Any:  # noqa: ANN401
        self.sizes.append(len(batch))
        self.begun.set()
        assert self.go.wait(60)
        return verify_batch(batch)


def at_once(batches: ProofBatches, slow: Slow, proofs: Sequence[ToVerify]) -> list[object]:
    """What each is told, where the first has begun before the others come."""

    def one(asked: ToVerify) -> object:
        try:
            return batches.verify(asked)
        except Exception as error:  # noqa: BLE001
            return error

    with ThreadPoolExecutor(len(proofs)) as pool:
        told = [pool.submit(one, proofs[0])]
        assert slow.begun.wait(60)
        told += [pool.submit(one, asked) for asked in proofs[1:]]
        try:
            until = time.monotonic() + 60
            while len(batches._waiting) < len(proofs) - 1:  # noqa: SLF001
                assert time.monotonic() < until
                time.sleep(0.01)
        finally:
            slow.go.set()
        return [found.result() for found in told]


def test_those_that_wait_go_together_and_the_bad_one_alone_is_refused(
    proofs: list[ToVerify], monkeypatch: pytest.MonkeyPatch
) -> None:
    batches, slow = ProofBatches(), Slow(monkeypatch)
    told = at_once(batches, slow, [*proofs[:3], spoilt(proofs[3]), proofs[4]])
    assert slow.sizes == [1, SOME - 1]
    assert isinstance(told[3], ProofInvalid)
    for number in (0, 1, 2, 4):
        found = told[number]
        assert isinstance(found, ProvenPresentation)
        assert found.request == proofs[number].request


def test_a_batch_has_an_end(proofs: list[ToVerify], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ProofBatches, "MOST", 2)
    batches, slow = ProofBatches(), Slow(monkeypatch)
    told = at_once(batches, slow, proofs)
    assert slow.sizes == [1, 2, 2]
    assert all(isinstance(found, ProvenPresentation) for found in told)


def test_what_nobody_expected_is_of_one_alone(
    proofs: list[ToVerify], monkeypatch: pytest.MonkeyPatch
) -> None:
    batches, slow = ProofBatches(), Slow(monkeypatch)
    broken = replace(proofs[2], request=None)  # type: ignore[arg-type]
    told = at_once(batches, slow, [*proofs[:2], broken, *proofs[3:]])
    assert isinstance(told[2], AttributeError)
    assert all(isinstance(told[number], ProvenPresentation) for number in (0, 1, 3, 4))


def test_after_a_failure_batches_are_shorter_and_grow_again(
    proofs: list[ToVerify], monkeypatch: pytest.MonkeyPatch
) -> None:
    batches, slow = ProofBatches(), Slow(monkeypatch)
    at_once(batches, slow, [proofs[0], *map(spoilt, proofs[1:])])  # four bad ones wait together
    assert slow.sizes == [1, 4]

    def sizes_then() -> list[int]:
        slow.sizes.clear()
        slow.begun.clear()
        slow.go.clear()
        told = at_once(batches, slow, proofs)
        assert all(isinstance(found, ProvenPresentation) for found in told)
        return slow.sizes

    # Two at most, which the first one that holds has doubled.
    assert sizes_then() == [1, 4]
    with pytest.raises(ProofInvalid):
        batches.verify(spoilt(proofs[0]))
    # One at most, then two.
    assert sizes_then() == [1, 2, 2]
