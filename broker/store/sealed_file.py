"""A sealed backup as a stream: written and read piece by piece, whole or not at all."""

from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from broker.domain.backup import FORMAT, ID_BYTES, PIECE_BYTES, piece
from broker.domain.errors import BackupInvalid
from credentials.errors import SealBroken
from credentials.sealing import MasterKey

_LENGTH_BYTES = 4
_LONGEST_PIECE = PIECE_BYTES + 1024


class SealingWriter:
    """Takes bytes, writes sealed pieces; `close` writes the last."""

    def __init__(self, file: BinaryIO, master: MasterKey, backup_id: bytes) -> None:
        self._file, self._master, self._id = file, master, backup_id
        self._number = 0
        self._waiting = bytearray()
        file.write(FORMAT + backup_id)

    def write(self, data: bytes) -> int:
        """Take `data`."""
        self._waiting += data
        while len(self._waiting) > PIECE_BYTES:
            self._seal(bytes(self._waiting[:PIECE_BYTES]), last=False)
            del self._waiting[:PIECE_BYTES]
        return len(data)

    def close(self) -> None:
        """Write the last piece."""
        self._seal(bytes(self._waiting), last=True)

    def _seal(self, data: bytes, *, last: bool) -> None:
        sealed = self._master.seal(data, piece(self._id, self._number, last=last))
        self._file.write(len(sealed).to_bytes(_LENGTH_BYTES) + sealed)
        self._number += 1


class OpeningReader:
    """Gives the bytes that were sealed; every method raises `BackupInvalid` for anything else."""

    def __init__(self, file: BinaryIO, master: MasterKey, read: Callable[[int], None]) -> None:
        """`read` is told how many bytes of the file were read."""
        self._file, self._master, self._told = file, master, read
        if file.read(len(FORMAT)) != FORMAT:
            raise BackupInvalid("this is not a backup that this version of the broker can read")
        self._id = file.read(ID_BYTES)
        self._number = 0
        self._open = b""
        self._ended = False

    def read(self, size: int) -> bytes:
        """The next `size` bytes, fewer at the end."""
        while len(self._open) < size and not self._ended:
            self._open += self._next()
        data, self._open = self._open[:size], self._open[size:]
        return data

    def finish(self) -> None:
        """Read to the end: what follows has to be there and to open as well."""
        while not self._ended:
            self._next()
        if self._file.read(1):
            raise BackupInvalid("there is something behind the end of this backup")

    def _next(self) -> bytes:
        length = int.from_bytes(self._file.read(_LENGTH_BYTES))
        sealed = self._file.read(length) if 0 < length <= _LONGEST_PIECE else b""
        self._told(_LENGTH_BYTES + len(sealed))
        for last in (False, True):
            try:
                opened = self._master.open(sealed, piece(self._id, self._number, last=last))
            except SealBroken:
                continue
            self._number += 1
            self._ended = last
            return opened
        if (
            sealed[1 : 1 + len(self._master.key_id)] not in self._master.key_ids
            and not self._number
        ):
            raise BackupInvalid(
                "this backup was sealed under another master key: set BROKER_MASTER_KEY, or put "
                "master.key back, from where you keep it"
            )
        raise BackupInvalid(f"this backup is damaged or cut off, in or after piece {self._number}")


def partial(path: Path) -> Path:
    """Where a backup is written before it is whole."""
    return path.with_name(f"{path.name}.partial")
