"""C2SP tlog-checkpoint: the text that a log signs about its tree.

Three lines: the log's origin, the number of leaves in decimal, the root hash in base64; extension
lines may follow and are kept. Source: https://c2sp.org/tlog-checkpoint.
"""

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass

from broker.domain.errors import MalformedCheckpoint, MalformedNote, UnverifiedNote
from broker.domain.merkle import HASH_BYTES, LARGEST_SIZE
from broker.domain.note import (
    NoteSigner,
    NoteVerifier,
    decode_base64,
    parse_note,
    sign_note,
    signer_of,
    verify_note,
)

_DECIMAL = re.compile(r"0|[1-9][0-9]{0,18}")
_CORE_LINES = 3


@dataclass(frozen=True)
class Checkpoint:
    """A log's tree at one size."""

    origin: str
    size: int
    root: bytes
    extensions: tuple[str, ...] = ()

    def text(self) -> str:
        """The note text."""
        lines = (
            self.origin,
            str(self.size),
            base64.b64encode(self.root).decode(),
            *self.extensions,
        )
        return "".join(f"{line}\n" for line in lines)

    @classmethod
    def parse(cls, text: str) -> "Checkpoint":
        """Read a note text. Raises `MalformedCheckpoint`."""
        lines = text.split("\n")
        if lines.pop() != "" or len(lines) < _CORE_LINES or not all(lines):
            raise MalformedCheckpoint("a checkpoint is an origin, a size and a root hash by line")
        origin, size, root, *extensions = lines
        if not _DECIMAL.fullmatch(size) or int(size) > LARGEST_SIZE:
            raise MalformedCheckpoint("a checkpoint's size is a decimal without leading zeroes")
        try:
            text.encode()
            root_hash = decode_base64(root)
        except UnicodeEncodeError:
            raise MalformedCheckpoint("a checkpoint is UTF-8 text") from None
        except MalformedNote:
            raise MalformedCheckpoint("a checkpoint's root hash is base64") from None
        if len(root_hash) != HASH_BYTES:
            raise MalformedCheckpoint("a checkpoint's root hash has 32 bytes")
        return cls(origin, int(size), root_hash, tuple(extensions))


def sign_checkpoint(checkpoint: Checkpoint, signers: Sequence[NoteSigner]) -> str:
    """The checkpoint as a signed note; the log's own key first."""
    return sign_note(checkpoint.text(), signers)


def open_checkpoint_of(note: bytes | str, logs: Sequence[NoteVerifier]) -> Checkpoint:
    """The checkpoint in a note that one of `logs` has signed, by the first whose line it has.

    For logs whose keys were rotated. Raises as `open_checkpoint`.
    """
    return open_checkpoint(note, signer_of(parse_note(note), logs))


def open_checkpoint(note: bytes | str, log: NoteVerifier, origin: str | None = None) -> Checkpoint:
    """The checkpoint in a note that `log` has signed; with `origin`, only of that log.

    Without `origin` it must be the key's own name, as logs name their keys. Raises
    `MalformedNote`, `UnverifiedNote` or `MalformedCheckpoint`.
    """
    parsed = parse_note(note)
    verify_note(parsed, [log])
    checkpoint = Checkpoint.parse(parsed.text)
    if checkpoint.origin != (log.name if origin is None else origin):
        raise UnverifiedNote("the checkpoint is of another log")
    return checkpoint
