"""Vaults: where sealed attributes lie. What one promises, and the folder that is there by default.

A path is `tenant/folder/name`, each part of letters, digits, `-` and `_`: nothing that somebody
outside chose, and nothing that leads out of the vault's own place.
"""

import os
import re
from pathlib import Path
from typing import Protocol

from broker.domain.errors import EnvelopeDamaged, VaultUnreachable

_PATH = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}/[A-Za-z0-9_-]{1,64}/[A-Za-z0-9_-]{1,64}")
_FOLDER_MODE, _FILE_MODE = 0o700, 0o600


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


class FolderVault:
    """A folder of this machine, or one that all machines have mounted.

    Files are their owner's alone, written beside their place and moved into it, and synced; links
    are not followed.
    """

    def __init__(self, root: Path) -> None:
        """The folder is made when something is put into it."""
        self._root = root

    def put(self, path: str, data: bytes) -> None:
        """See `Vault`."""
        place = self._place(path)
        beside = place.with_name(f"{place.name}.part")
        try:
            place.parent.mkdir(parents=True, exist_ok=True, mode=_FOLDER_MODE)
            beside.unlink(missing_ok=True)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
            with os.fdopen(os.open(beside, flags, _FILE_MODE), "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
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
            raise _missing(self._root) from None
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
            if not self._root.is_dir():
                # Not mounted, perhaps: nothing can be said to be gone.
                raise VaultUnreachable("the vault's folder is not there")
            for one in (place, place.with_name(f"{place.name}.part")):
                one.unlink(missing_ok=True)
            if place.parent.is_dir():
                _sync(place.parent)
                if not any(place.parent.iterdir()):
                    place.parent.rmdir()
        except OSError as error:
            raise _unreachable(error) from error

    def _place(self, path: str) -> Path:
        return self._root / checked_path(path)


def checked_path(path: str) -> str:
    """The path, if it is one; raises `VaultUnreachable` for what could lead elsewhere."""
    if _PATH.fullmatch(path) is None:
        raise VaultUnreachable("this is no path of a vault")
    return path


def _missing(root: Path) -> EnvelopeDamaged | VaultUnreachable:
    if root.is_dir():
        return EnvelopeDamaged("the vault holds no such envelope any more")
    return VaultUnreachable("the vault's folder is not there")


def _unreachable(error: OSError) -> VaultUnreachable:
    return VaultUnreachable(f"the vault's folder does not answer: {error.strerror}")


def _sync(folder: Path) -> None:
    directory = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
