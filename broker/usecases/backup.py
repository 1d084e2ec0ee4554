"""Back up a deployment into one sealed file while it serves; verify such a file; restore it.

In it: the database at one moment, the head of the log that was signed last before that moment, the
withdrawals and erasures. Not in it: the master key, which opens it. What the database holds sealed
stays sealed.
"""

import hashlib
import secrets
import tarfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, cast

import orjson

from broker.domain.backup import (
    DATABASE,
    ID_BYTES,
    LARGEST_MANIFEST,
    MANIFEST,
    BackupFile,
    Manifest,
)
from broker.domain.errors import BackupInvalid, BackupRefused
from broker.settings import Settings
from broker.store import head_file, outside_copies
from broker.store.database_copy import copy_database, holds_something, put_database
from broker.store.durable import new_file, sync_folder
from broker.store.migrate import is_known
from broker.store.scratch import scratch_folder
from broker.store.sealed_file import OpeningReader, SealingWriter, partial
from credentials.sealing import MasterKey

OUTSIDE = (head_file.FILE_NAME, outside_copies.FILE_NAME)
_CHUNK = 1_048_576

Step = Callable[[str, int, int], None]
"""Told which step is at work, how much of it is done, and of how much (0: not known)."""


@dataclass(frozen=True)
class Restored:
    """What a restore has done: the backup, and the withdrawals that it added to the file here."""

    manifest: Manifest
    withdrawals_added: int
    has_head: bool


def backup(settings: Settings, master: MasterKey, out: Path, now: int, step: Step) -> Manifest:
    """Write the backup of a deployment that may be serving to the new file `out`.

    Copies lie in the home until they are sealed, never where backups are kept.

    1. The files outside of the database are copied first: what they name is then in the database's
       copy too.
    2. The database is copied at one moment.
    3. Everything is sealed into one file, durable and whole when it gets its name.

    Raises `BackupRefused`, `OSError`.
    """
    if out.exists():
        raise BackupRefused(f"{out} is there already: name another file")
    with _begun(out) as file, scratch_folder(settings.home) as scratch:
        # 1.
        for name in OUTSIDE:
            if (settings.home / name).exists():
                (scratch / name).write_bytes((settings.home / name).read_bytes())
        # 2.
        moment = copy_database(
            settings.sqlalchemy_url,
            scratch / DATABASE,
            lambda done, of: step("database", done, of),
        )
        # 3.
        names = [name for name in (DATABASE, *OUTSIDE) if (scratch / name).exists()]
        manifest = Manifest(
            engine=settings.sqlalchemy_url.partition(":")[0].partition("+")[0],
            taken_at=now,
            schema=moment.schema,
            origin=moment.origin,
            log_size=moment.log_size,
            public_url=settings.public_url,
            files={name: _measured(scratch / name) for name in names},
        )
        _seal(scratch, manifest, SealingWriter(file, master, secrets.token_bytes(ID_BYTES)), step)
    return manifest


def verify(master: MasterKey, file: Path, step: Step, into: Path | None = None) -> Manifest:
    """Check every byte of a backup against its seals and its manifest; unpack it into `into`.

    Raises `BackupInvalid`, `OSError`.
    """
    size, done = file.stat().st_size, 0

    def told(count: int) -> None:
        nonlocal done
        done += count
        step("open", done, size)

    with file.open("rb") as source:
        reader = OpeningReader(source, master, told)
        try:
            with tarfile.open(fileobj=cast("BinaryIO", reader), mode="r|") as archive:
                manifest, found = _unpack(archive, into)
        except tarfile.TarError:
            raise BackupInvalid("what this backup holds is not an archive") from None
        reader.finish()
    for name, expected in manifest.files.items():
        if found.get(name) != expected:
            raise BackupInvalid(f"{name} in this backup is not what its manifest says")
    return manifest


def restore(
    settings: Settings, master: MasterKey, file: Path, step: Step, *, force: bool
) -> Restored:
    """Put a backup in the place of the database; no broker may be using it.

    1. The whole backup is opened and checked, before anything is touched: seals (and so the master
       key), hashes, whether this version knows its schema, the same kind of database.
    2. The database is empty, or `force`; nobody else uses it. It is replaced, or nothing is.
    3. Withdrawals and erasures that the file here lacks are added to it. `log-head` stays as it is:
       it tells whether this backup is old. One that is missing is not taken from the backup, which
       would let an old database pass for the newest.

    Raises `BackupInvalid`, `BackupRefused`, `OSError`.
    """
    url = settings.sqlalchemy_url
    with scratch_folder(settings.home) as scratch:
        # 1.
        manifest = verify(master, file, step, scratch)
        if not url.startswith(manifest.engine):
            raise BackupRefused(
                f"this backup is of {manifest.engine}, and DATABASE_URL names another kind of "
                "database"
            )
        if not is_known(manifest.schema):
            raise BackupRefused(
                f"this backup has the schema {manifest.schema} of a newer broker: install that one"
            )
        # 2.
        if holds_something(url) and not force:
            raise BackupRefused("the database is not empty: --force replaces all that is in it")
        step("database", 0, 0)
        put_database(url, scratch / DATABASE, scratch)
        step("database", 1, 1)
        # 3.
        added = _add_withdrawals(settings.home, scratch / outside_copies.FILE_NAME)
    return Restored(manifest, added, (settings.home / head_file.FILE_NAME).exists())


def _add_withdrawals(home: Path, theirs: Path) -> int:
    """Acts that the backup's file of withdrawals and erasures has and this machine's lacks."""
    ours = home / outside_copies.FILE_NAME
    added = 0
    for read in (outside_copies.read, outside_copies.read_erasures):
        known = {replace(copy, at=0) for copy in read([ours] if ours.exists() else [])}
        for copy in read([theirs] if theirs.exists() else []):
            if replace(copy, at=0) not in known:
                outside_copies.keep(home, copy)
                added += 1
    return added


def _measured(path: Path) -> BackupFile:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256")
    return BackupFile(path.stat().st_size, digest.hexdigest())


@contextmanager
def _begun(out: Path) -> Iterator[BinaryIO]:
    """The file to write to: it gets its name when the block ends, and is gone when that fails."""
    fresh = partial(out)
    try:
        with new_file(fresh) as file:
            yield file
    except FileExistsError:
        raise BackupRefused(
            f"{fresh} is there: another backup is being written, or one was cut off; then remove it"
        ) from None
    fresh.replace(out)
    sync_folder(out.parent)


def _seal(scratch: Path, manifest: Manifest, writer: SealingWriter, step: Step) -> None:
    total, done = sum(file.size for file in manifest.files.values()), 0
    with tarfile.open(fileobj=cast("BinaryIO", writer), mode="w|") as archive:
        told = orjson.dumps(manifest.to_json(), option=orjson.OPT_SORT_KEYS)
        archive.addfile(_entry(MANIFEST, len(told)), BytesIO(told))
        for name, of in manifest.files.items():
            with (scratch / name).open("rb") as source:
                archive.addfile(_entry(name, of.size), source)
            done += of.size
            step("seal", done, total)
    writer.close()


def _entry(name: str, size: int) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = size, 0o600
    return entry


def _unpack(archive: tarfile.TarFile, into: Path | None) -> tuple[Manifest, dict[str, BackupFile]]:
    """The manifest, and what each file that it names really is."""
    first = archive.next()
    head = None if first is None else archive.extractfile(first)
    if first is None or head is None or first.name != MANIFEST or first.size > LARGEST_MANIFEST:
        raise BackupInvalid("this backup does not begin with its manifest")
    manifest = Manifest.parse(head.read())
    found: dict[str, BackupFile] = {}
    allowed: Sequence[str] = (DATABASE, *OUTSIDE)
    while (entry := archive.next()) is not None:
        source = archive.extractfile(entry)
        if source is None or entry.name not in allowed:
            raise BackupInvalid("this backup holds something that does not belong there")
        digest = hashlib.sha256()
        target = None if into is None else (into / entry.name).open("xb")
        try:
            while data := source.read(_CHUNK):
                digest.update(data)
                if target is not None:
                    target.write(data)
        finally:
            if target is not None:
                target.close()
        found[entry.name] = BackupFile(entry.size, digest.hexdigest())
    return manifest, found
