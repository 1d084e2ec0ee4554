"""The numbers that a decision compares, for the engine and for a cache of its answers."""

from typing import NamedTuple

LARGEST = 2**63 - 1


class Proof(NamedTuple):
    """What is demanded to be proven and what was, in seconds; None: nothing was, or no epoch."""

    max_age: int
    age: int | None
    status_until: int | None


class Measures(NamedTuple):
    """The numbers of a request: times in Unix seconds, and the uses left where they are counted."""

    now: int
    valid_from: int
    valid_until: int
    uses_left: int | None
    proof: Proof | None

    def compared(self) -> "Measures":
        """How each number stands to the one that it is compared with, and no more.

        Whoever only compares them in that way (`policy_measures`) finds the same in both. What the
        engine cannot hold stays as it is, for the engine to refuse.
        """
        proof = self.proof
        numbers = [self.now, self.valid_from, self.valid_until, self.uses_left or 0]
        if proof is not None:
            numbers += [proof.age or 0, proof.max_age, proof.status_until or 0]
        if max(numbers) > LARGEST or min(numbers) < -LARGEST:
            return self
        if proof is not None:
            until = proof.status_until
            proof = Proof(
                1,
                None if proof.age is None else 1 + _sign(proof.age - proof.max_age),
                None if until is None else 1 + _sign(until - self.now),
            )
        return Measures(
            now=1,
            valid_from=1 + _sign(self.valid_from - self.now),
            valid_until=1 + _sign(self.valid_until - self.now),
            uses_left=None if self.uses_left is None else _sign(self.uses_left),
            proof=proof,
        )


def _sign(number: int) -> int:
    return (number > 0) - (number < 0)
