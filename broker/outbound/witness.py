"""The client of a witness (C2SP tlog-witness), through the guarded client."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from broker.domain.cosignature import Cosigner
from broker.domain.errors import WitnessRefused
from broker.domain.note import NoteSignature
from broker.domain.witnessing import SIZE_TYPE, cosignatures, known_size, submission
from broker.outbound.guarded import GuardedClient

CONFLICT = 409
_STATUSES = (200, CONFLICT)

Prove = Callable[[int], Sequence[bytes]]
"""Gives the consistency proof from a size to the size of the checkpoint at hand."""


@dataclass(frozen=True)
class Witness:
    """A partner that cosigns the log: its key, and its submission prefix."""

    client: GuardedClient
    url: str
    key: Cosigner

    def add_checkpoint(
        self, note: str, size: int, *, old: int, prove: Prove
    ) -> tuple[NoteSignature, ...]:
        """Submit a checkpoint of `size` leaves and give the witness's cosignatures, verified.

        `old` is the size that it cosigned last as far as we know, 0 if we do not; where the
        witness knows better, it is asked once more. Raises `WitnessRefused` (also when it has
        seen a larger tree, or another of this size), `FetchRefused`, `FetchFailed`.
        """
        for _ in range(2):
            answer = self.client.post(
                f"{self.url.rstrip('/')}/add-checkpoint",
                submission(old, prove(old) if 0 < old < size else (), note),
                content_type="text/plain; charset=utf-8",
                statuses=_STATUSES,
            )
            if answer.status != CONFLICT:
                return cosignatures(note, answer.body, self.key)
            if answer.media_type != SIZE_TYPE:
                break
            old = known_size(answer.body)
            if old > size:
                raise WitnessRefused(
                    f"the witness {self.key.name} has cosigned {old} entries and the log has "
                    f"{size}: was an older database restored?"
                )
        raise WitnessRefused(
            f"the witness {self.key.name} does not accept the log's tree of {size} entries: "
            "compare what it has with the checkpoints stored here"
        )
