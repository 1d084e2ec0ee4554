"""A backup as a value: what is in it, of which log, and what each file's bytes have to be.

A backup is one file: a line that names the format, a random id, then pieces of a tar archive, each
sealed for its place (`PIECE`), so that none can be left out, moved or taken from another backup.
The archive holds `manifest.json` first, then the files that it lists. A new layout takes a new
first line; readers take the lines that they know.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from broker.domain.errors import BackupInvalid

FORMAT = b"consent-broker backup 1\n"
ID_BYTES = 16
PIECE_BYTES = 1_048_576
MANIFEST = "manifest.json"
DATABASE = "database"
LARGEST_MANIFEST = 65_536


@dataclass(frozen=True)
class BackupFile:
    """A file of a backup: its size in bytes and its SHA-256 (hex)."""

    size: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """What a backup holds; `taken_at` is Unix seconds, `schema` the newest migration in it."""

    engine: str
    taken_at: int
    schema: str
    origin: str
    log_size: int
    public_url: str
    files: Mapping[str, BackupFile]

    def to_json(self) -> dict[str, Any]:
        """As it stands in the backup."""
        return {**vars(self), "files": {name: vars(file) for name, file in self.files.items()}}

    @classmethod
    def parse(cls, data: bytes) -> "Manifest":
        """Read a manifest that was sealed with its backup. Raises `BackupInvalid`."""
        try:
            told = json.loads(data)
            files = {str(name): BackupFile(**file) for name, file in told.pop("files").items()}
            manifest = cls(**told, files=files)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            raise BackupInvalid("the manifest of this backup is of another version") from None
        if DATABASE not in manifest.files:
            raise BackupInvalid("the manifest of this backup names no database")
        return manifest


def piece(backup_id: bytes, number: int, *, last: bool) -> str:
    """The context for which a piece of a backup is sealed."""
    return f"backup:{backup_id.hex()}:{number}:{'last' if last else 'more'}"
