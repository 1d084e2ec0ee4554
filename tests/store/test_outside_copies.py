"""Copies outside of the database: durable before the commit, and with many at once few flushes."""

import asyncio
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import Connection

from broker.domain.errors import LogUnavailable
from broker.store import outside_copies
from broker.store.db import Database
from broker.store.migrate import migrate
from broker.store.outside_copies import FILE_NAME, WithdrawalCopy, keep, keep_with, read


def copy(number: int) -> WithdrawalCopy:
    return WithdrawalCopy("demo", f"c-{number}", number)


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    opened = Database(f"sqlite:///{tmp_path / 'broker.db'}")
    migrate(opened)
    yield opened
    opened.close()


def test_many_threads_keep_every_line_and_share_flushes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushes = []
    begun = threading.Event()
    real = os.fdatasync

    def slow(descriptor: int) -> None:
        flushes.append(descriptor)
        if len(flushes) == 1:
            begun.set()
            # Long enough for all others to be waiting behind this one.
            while len(outside_copies._waiting[tmp_path / FILE_NAME]) < 15:  # noqa: SLF001
                threading.Event().wait(0.001)
        real(descriptor)

    monkeypatch.setattr(os, "fdatasync", slow)
    with ThreadPoolExecutor(16) as pool:
        first = pool.submit(keep, tmp_path, copy(0))
        begun.wait(10)
        list(pool.map(lambda number: keep(tmp_path, copy(number)), range(1, 16)))
        first.result()
    assert read([tmp_path / FILE_NAME]) == [copy(number) for number in range(16)]
    assert len(flushes) == 2, "one for the first, one for all who came meanwhile"


def test_a_disk_that_fails_fails_each_and_loses_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures = iter([True, False])
    real = outside_copies._write  # noqa: SLF001

    def write(path: Path, data: bytes) -> None:
        if next(failures, False):
            raise OSError(28, "No space left on device")
        real(path, data)

    monkeypatch.setattr(outside_copies, "_write", write)
    with pytest.raises(OSError, match="No space"):
        keep(tmp_path, copy(1))
    keep(tmp_path, copy(2))
    assert read([tmp_path / FILE_NAME]) == [copy(2)], "the first was told that it failed"


def test_a_line_is_there_when_the_commit_is_and_not_without_its_act(
    db: Database, tmp_path: Path
) -> None:
    with db.transaction() as tx:
        keep_with(tx, tmp_path, copy(1))
        assert not (tmp_path / FILE_NAME).exists(), "with the commit, not before"
    assert read([tmp_path / FILE_NAME]) == [copy(1)]

    def undone() -> None:
        with db.transaction() as tx:
            keep_with(tx, tmp_path, copy(2))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        undone()
    with db.transaction() as tx:
        keep_with(tx, tmp_path, copy(3))
    assert read([tmp_path / FILE_NAME]) == [copy(1), copy(3)]


def test_writes_of_one_group_share_a_flush(
    db: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[int] = []
    real = outside_copies.keep

    def counted(folder: Path, *copies: WithdrawalCopy) -> None:
        kept.append(len(copies))
        real(folder, *copies)

    monkeypatch.setattr(outside_copies, "keep", counted)

    async def all_at_once() -> None:
        def work(number: int) -> None:
            async_write = db.write(lambda tx: keep_with(tx, tmp_path, copy(number)))
            tasks.append(asyncio.ensure_future(async_write))

        tasks: list[asyncio.Future[None]] = []
        for number in range(20):
            work(number)
        await asyncio.gather(*tasks)

    asyncio.run(all_at_once())
    assert read([tmp_path / FILE_NAME]) == [copy(number) for number in range(20)]
    assert sum(kept) == 20
    assert len(kept) < 20


def test_a_group_whose_copies_cannot_be_kept_is_not_committed(
    db: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_path: Path, _data: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(outside_copies, "_write", full)

    def work(tx: Connection) -> None:
        tx.exec_driver_sql("CREATE TABLE made_here (id INTEGER)")
        keep_with(tx, tmp_path, copy(1))

    with pytest.raises(LogUnavailable, match="No space"):
        asyncio.run(db.write(work))
    with db.reading() as tx:
        found = tx.exec_driver_sql("SELECT name FROM sqlite_master WHERE name = 'made_here'")
        assert found.one_or_none() is None
