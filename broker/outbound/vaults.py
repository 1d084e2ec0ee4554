"""Vaults: where sealed attributes lie. What one promises, and the folder that is there by default.

A path is `tenant/folder/name`, each part of letters, digits, `-` and `_`: nothing that somebody
outside chose, and nothing that leads out of the vault's own place.
"""

import errno
import hmac
import os
import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from broker.domain.errors import EnvelopeDamaged, StateConflict, VaultUnreachable

MARKER: Final = "consent-broker-vault"
PART: Final = ".part"

_PATH = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}/[A-Za-z0-9_-]{1,64}/[A-Za-z0-9_-]{1,64}")
_FOLDER_MODE, _FILE_MODE = 0o700, 0o600
_NO_LINKS = frozenset({errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK})
MARKER_BYTES: Final = 128


@dataclass(frozen=True, slots=True)
class Lying:
    """What lies in a vault: its path, and when it was put there (Unix seconds, the vault's word).

    The path of what a crash left half written ends with `.part`.
    """

    path: str
    since: int


class Vault(Protocol):
    """A place for envelopes. Safe from several threads; every call may block.

    Each method raises `VaultUnreachable` where the vault does not answer or refuses us.
    """

    def put(self, path: str, data: bytes) -> None:
        """Store `data`: when this returns it is durable, when it raises there may be anything."""

    def read(self, path: str, first: int, past: int) -> bytes:
        """The bytes from `first` up to, not with, `past`; fewer where it ends before.

        Raises `EnvelopeDamaged` where nothing is there.
        """

    def delete(self, path: str) -> None:
        """Delete what is there, if anything is: when this returns it is gone."""

    def claim(self) -> None:
        """Mark the vault as this broker's; again changes nothing.

        Raises `StateConflict` where another broker has marked it.
        """

    def is_marked(self) -> bool:
        """Whether it bears this broker's marker."""

    def has(self, path: str) -> bool:
        """Whether something lies at a path, whoever has marked the vault."""

    def lying(self) -> Iterator[Lying]:
        """Everything that lies there, in no order; what is put or deleted meanwhile may be."""


class FolderVault:
    """A folder of this machine, or one that all machines have mounted.

    Files are their owner's alone, written beside their place and moved into it, and synced; links
    are not followed. The file `consent-broker-vault` in the folder says whose vault it is: a mount
    point without its share has none, and nothing that is missing there counts as gone.
    """

    def __init__(self, root: Path, mark: str) -> None:
        """`mark` is what the marker holds."""
        self._root = root
        self._mark = mark

    def claim(self) -> None:
        """Mark the folder as this broker's; again changes nothing.

        Raises `StateConflict` where another broker has marked it, `VaultUnreachable`.
        """
        try:
            self._root.mkdir(parents=True, exist_ok=True, mode=_FOLDER_MODE)
            if self._marker() is None:
                beside = self._root / f"{MARKER}.{secrets.token_hex(4)}{PART}"
                _write(beside, self._mark.encode())
                try:
                    move_new(beside, self._root / MARKER)
                finally:
                    beside.unlink(missing_ok=True)
                _sync(self._root)
            if not self._holds_mark():
                raise StateConflict(
                    f"{self._root} is the vault of another broker: take a folder of its own"
                )
        except OSError as error:
            raise _unreachable(error) from error

    def put(self, path: str, data: bytes) -> None:
        """See `Vault`."""
        place = self._place(path)
        beside = place.with_name(f"{place.name}{PART}")
        try:
            self._check_there()
            place.parent.mkdir(parents=True, exist_ok=True, mode=_FOLDER_MODE)
            beside.unlink(missing_ok=True)
            _write(beside, data)
            beside.replace(place)
            for folder in (place.parent, place.parent.parent, self._root):
                _sync(folder)
        except OSError as error:
            raise _unreachable(error) from error

    def read(self, path: str, first: int, past: int) -> bytes:
        """See `Vault`."""
        try:
            descriptor = os.open(self._place(path), os.O_RDONLY | os.O_NOFOLLOW)
        except FileNotFoundError:
            self._check_there()
            raise EnvelopeDamaged("the vault holds no such envelope any more") from None
        except OSError as error:
            raise _unreachable(error) from error
        try:
            with os.fdopen(descriptor, "rb") as file:
                file.seek(first)
                return file.read(past - first)
        except OSError as error:
            raise _unreachable(error) from error

    def delete(self, path: str) -> None:
        """See `Vault`."""
        place = self._place(path)
        try:
            self._check_there()
            for one in (place, place.with_name(f"{place.name}{PART}")):
                one.unlink(missing_ok=True)
            if place.parent.is_dir():
                _sync(place.parent)
                if not any(place.parent.iterdir()):
                    place.parent.rmdir()
        except OSError as error:
            raise _unreachable(error) from error

    def is_marked(self) -> bool:
        """See `Vault`."""
        try:
            return self._holds_mark()
        except OSError as error:
            raise _unreachable(error) from error

    def has(self, path: str) -> bool:
        """See `Vault`."""
        try:
            return self._place(path).exists()
        except OSError as error:
            raise _unreachable(error) from error

    def lying(self) -> Iterator[Lying]:
        """See `Vault`."""
        self._check_there()
        try:
            for folder, _, names in os.walk(self._root, onerror=_raise):
                for name in names:
                    place = Path(folder) / name
                    path = place.relative_to(self._root).as_posix()
                    if not is_path(path.removesuffix(PART)):
                        continue  # nothing that a broker has put there
                    try:
                        yield Lying(path, int(place.lstat().st_mtime))
                    except FileNotFoundError:
                        continue
        except OSError as error:
            raise _unreachable(error) from error

    def _place(self, path: str) -> Path:
        return self._root / checked_path(path)

    def _check_there(self) -> None:
        """Raise `VaultUnreachable` unless this is the vault: of what is not, nothing is gone."""
        if not self.is_marked():
            raise VaultUnreachable(
                f"the vault's folder lacks its marker, the file {MARKER} of this broker: mount the "
                "share, or mark the folder with: consent-broker vault init"
            )

    def _holds_mark(self) -> bool:
        found = self._marker()
        return found is not None and hmac.compare_digest(found, self._mark.encode())

    def _marker(self) -> bytes | None:
        try:
            descriptor = os.open(self._root / MARKER, os.O_RDONLY | os.O_NOFOLLOW)
        except FileNotFoundError:
            return None
        with os.fdopen(descriptor, "rb") as file:
            return file.read(MARKER_BYTES)


def is_path(path: str) -> bool:
    """Whether a path is one that a broker puts something at."""
    return _PATH.fullmatch(path) is not None


def checked_path(path: str) -> str:
    """The path, if it is one; raises `VaultUnreachable` for what could lead elsewhere."""
    if not is_path(path):
        raise VaultUnreachable("this is no path of a vault")
    return path


def _write(place: Path, data: bytes) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    with os.fdopen(os.open(place, flags, _FILE_MODE), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def move_new(file: Path, place: Path) -> None:
    """Move a file to where none is; one that is there stays.

    A share without hard links cannot tell who was first: then the last one is there.
    """
    try:
        os.link(file, place, follow_symlinks=False)
    except FileExistsError:
        return
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        file.replace(place)


def _raise(error: OSError) -> None:
    raise error


def _unreachable(error: OSError) -> VaultUnreachable:
    return VaultUnreachable(f"the vault's folder does not answer: {error.strerror}")


def _sync(folder: Path) -> None:
    directory = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
