"""C2SP tlog-proof: one text file that shows offline that something is in a log.

The lines: `c2sp.org/tlog-proof@v1`; optionally `extra` and base64; `index` and the entry's index;
the inclusion proof, one base64 hash a line; a blank line; the signed checkpoint, verbatim.
Files end in `.tlog-proof`. Source: https://c2sp.org/tlog-proof.
"""

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass

from broker.domain.checkpoint import Checkpoint, open_checkpoint
from broker.domain.errors import MalformedNote, MalformedProof, UnverifiedNote
from broker.domain.merkle import HASH_BYTES, LARGEST_SIZE, verify_inclusion
from broker.domain.note import (
    LARGEST_NOTE,
    NoteVerifier,
    decode_base64,
    parse_note,
    verify_note,
)

FILE_SUFFIX = ".tlog-proof"
LONGEST_PATH = 63

_HEADER = "c2sp.org/tlog-proof@v1"
_INDEX = re.compile(r"index (0|[1-9][0-9]{0,18})")


@dataclass(frozen=True)
class LogProof:
    """A leaf's place in a signed tree. `extra` is the application's and is not authenticated."""

    index: int
    path: tuple[bytes, ...]
    checkpoint: str
    extra: bytes = b""

    def encode(self) -> str:
        """The file."""
        lines = [_HEADER]
        if self.extra:
            lines.append(f"extra {base64.b64encode(self.extra).decode()}")
        lines.append(f"index {self.index}")
        lines += (base64.b64encode(sibling).decode() for sibling in self.path)
        return "\n".join(lines) + "\n\n" + self.checkpoint

    @classmethod
    def parse(cls, data: bytes | str) -> "LogProof":
        """Read a file; the checkpoint in it is not verified yet. Raises `MalformedProof`."""
        if len(data) > LARGEST_NOTE:
            raise MalformedProof(f"a log proof has at most {LARGEST_NOTE} bytes")
        try:
            text = data.decode() if isinstance(data, bytes) else data
        except UnicodeError:
            raise MalformedProof("a log proof is UTF-8 text") from None
        head, blank, checkpoint = text.partition("\n\n")
        lines = head.split("\n")
        if not blank or lines.pop(0) != _HEADER:
            raise MalformedProof(f"a log proof starts with {_HEADER} and holds a checkpoint")
        try:
            extra = b""
            if lines and lines[0].startswith("extra "):
                extra = decode_base64(lines.pop(0).removeprefix("extra "))
            match = _INDEX.fullmatch(lines.pop(0) if lines else "")
            path = tuple(decode_base64(line) for line in lines)
        except MalformedNote as error:
            raise MalformedProof(f"a line of the log proof: {error}") from None
        if match is None or int(match[1]) > LARGEST_SIZE:
            raise MalformedProof("a log proof says `index` and a decimal without leading zeroes")
        if len(path) > LONGEST_PATH or any(len(sibling) != HASH_BYTES for sibling in path):
            raise MalformedProof("a log proof's path has at most 63 hashes of 32 bytes")
        return cls(int(match[1]), path, checkpoint, extra)


def verify_log_proof(
    proof: LogProof, leaf: bytes, log: NoteVerifier, witnesses: Sequence[NoteVerifier] = ()
) -> Checkpoint:
    """The checkpoint of `log` in whose tree leaf hash `leaf` stands at `proof.index`.

    1. The leaf hash: the caller's, from data that it has and perhaps `proof.extra`.
    2. The checkpoint is signed by `log` and of the log of that name.
    3. Each of `witnesses` has cosigned it. How many are enough is the caller's policy.
    4. The path leads from the leaf to the checkpoint's root.

    Raises `MalformedNote`, `MalformedCheckpoint`, `UnverifiedNote`, `MalformedProof`,
    `InvalidProof`.
    """
    # 2.
    checkpoint = open_checkpoint(proof.checkpoint, log)
    # 3.
    if witnesses:
        signed = verify_note(parse_note(proof.checkpoint), witnesses)
        present = {(line.name, line.key_id) for line in signed}
        if any((key.name, key.key_id) not in present for key in witnesses):
            raise UnverifiedNote("a witness that is asked for has not cosigned the checkpoint")
    # 4.
    verify_inclusion(leaf, proof.index, checkpoint.size, proof.path, checkpoint.root)
    return checkpoint
