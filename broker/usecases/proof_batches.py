"""Verify together the proofs that wait at the same moment: of a batch each costs a third of one.

Nobody waits for company: who comes while nothing is verified begins at once, and whoever comes
meanwhile is of the next batch. So batches grow with the load, to `MOST`. A batch that fails is
verified one by one, and the next is half as long at most, down to one; each that holds doubles
that. So who sends bad proofs on and on costs what they would without batches, and little more.
"""

import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from zkp import ProvenPresentation, ToVerify, ZkpError, verify_batch
from zkp.errors import ProofInvalid

Found = ProvenPresentation | Exception


@dataclass(eq=False, slots=True)
class _Waiting:
    asked: ToVerify
    found: Found | None = None


class ProofBatches:
    """Those of one worker. Safe from threads, of which each brings a proof of its own."""

    MOST: Final = 16

    def __init__(self) -> None:
        self._turn = threading.Lock()
        self._waiting: deque[_Waiting] = deque()
        self._most = self.MOST

    def verify(self, asked: ToVerify) -> ProvenPresentation:
        """As `zkp.verify`, which see. Raises `ZkpError`."""
        mine = _Waiting(asked)
        self._waiting.append(mine)
        while mine.found is None:
            with self._turn:
                # Another one's turn may have been of this proof too.
                if mine.found is None:
                    self._verify_next()
        if isinstance(mine.found, Exception):
            raise mine.found
        return mine.found

    def _verify_next(self) -> None:
        batch = [self._waiting.popleft() for _ in range(min(len(self._waiting), self._most))]
        told = _verified([one.asked for one in batch])
        failed = any(_is_costly(found) for found in told)
        self._most = max(1, len(batch) // 2) if failed else min(2 * self._most, self.MOST)
        for one, found in zip(batch, told, strict=True):
            one.found = found


def _is_costly(found: Found) -> bool:
    """Whether a batch has to be verified anew for it: what cannot be read is out before."""
    return isinstance(found, ProofInvalid) or not isinstance(found, ProvenPresentation | ZkpError)


def _verified(batch: Sequence[ToVerify]) -> Sequence[Found]:
    try:
        return verify_batch(batch)
    except Exception as error:  # noqa: BLE001 (whatever it is, it is of one of them)
        if len(batch) == 1:
            return [error]
        return [found for one in batch for found in _verified([one])]
