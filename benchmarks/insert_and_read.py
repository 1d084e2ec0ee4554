"""The probe of what the broker does over HTTP: one raw insert and one raw read; beside it a no-op.

Also a file as it is, for what is sent out of a vault.

    python -m benchmarks.insert_and_read PORT DATABASE [WORKERS]

A FastAPI `def` handler under the broker's own server settings, on SQLite with the broker's own
pragmas: statements, one commit for each request, nothing else. Writers wait for each other at a
lock in the process, which is faster than SQLite's own waiting. On PostgreSQL nobody waits, and
there may be several processes.
"""

import argparse
import contextlib
import secrets
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI, Response
from pydantic import BaseModel
from sqlalchemy import (
    Column,
    Engine,
    LargeBinary,
    MetaData,
    String,
    Table,
    create_engine,
    event,
    insert,
)
from sqlalchemy import select as select_from
from uvicorn.supervisors import Multiprocess

from dev.running import free_port

START_SECONDS = 30
ROW = Table(
    "row",
    MetaData(),
    Column("id", String, primary_key=True),
    Column("tenant", String),
    Column("kind", String),
    Column("body", LargeBinary),
)


class Wanted(BaseModel):
    """What a caller sends."""

    kind: str
    note: str = ""


def _sqlite(url: str) -> Engine:
    engine = create_engine(url, connect_args={"check_same_thread": False})

    @event.listens_for(engine, "connect")
    def _configure(connection: Any, _record: object) -> None:  # noqa: ANN401 (the driver's)
        connection.isolation_level = None
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begin(connection: Any) -> None:  # noqa: ANN401
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


def create_app(url: str) -> FastAPI:
    """The probe's application over a database."""
    in_one_process = url.startswith("sqlite")
    engine = _sqlite(url) if in_one_process else create_engine(url, pool_size=10)
    ROW.metadata.create_all(engine)
    lock = threading.Lock() if in_one_process else contextlib.nullcontext()
    adding, reading = insert(ROW), select_from(ROW)
    app = FastAPI()

    @app.post("/row")
    def add(wanted: Wanted) -> dict[str, str]:
        values = {
            "id": secrets.token_hex(10),
            "tenant": "demo",
            "kind": wanted.kind,
            "body": secrets.token_bytes(300),
        }
        with lock, engine.begin() as connection:
            connection.execute(adding, values)
            row = connection.execute(reading.where(ROW.c.id == values["id"])).one()
        return {"id": row.id, "kind": row.kind}

    @app.get("/nothing")
    async def nothing() -> str:
        return "nothing"

    @app.get("/file/{name}")
    def file(name: str) -> Response:
        # Beside the database, where the benchmark has put it.
        folder = Path(url.removeprefix("sqlite:///")).parent
        return Response((folder / Path(name).name).read_bytes())

    @app.get("/processor-time")
    async def processor_time() -> float:
        return time.process_time()

    @app.get("/readyz")
    def ready() -> str:
        return "ready"

    return app


@contextlib.contextmanager
def running_probe(home: Path, *, url: str | None = None, workers: int = 1) -> Iterator[int]:
    """The port of a probe in processes of its own, on a file in `home` or the database at `url`.

    Raises `RuntimeError` if it does not start.
    """
    port = free_port()
    database = url or f"sqlite:///{home / 'probe.db'}"
    command = [sys.executable, "-m", "benchmarks.insert_and_read"]
    command += [str(port), database, str(workers)]
    process = subprocess.Popen(command, cwd=Path(__file__).resolve().parent.parent)
    try:
        _wait(process, port)
        yield port
    finally:
        process.terminate()
        process.wait()


def _wait(process: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        with (
            contextlib.suppress(urllib.error.URLError, ConnectionError),
            urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5),
        ):
            return
        time.sleep(0.05)
    raise RuntimeError("the probe's server did not start")


def main() -> None:
    """Run the program."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.insert_and_read")
    parser.add_argument("port", type=int)
    parser.add_argument("database")
    parser.add_argument("workers", type=int, nargs="?", default=1)
    options = parser.parse_args()
    config = uvicorn.Config(
        partial(create_app, options.database),
        factory=True,
        host="127.0.0.1",
        port=options.port,
        workers=options.workers,
        access_log=False,
        log_level="warning",
        server_header=False,
    )
    if options.workers > 1:
        Multiprocess(config, sockets=[config.bind_socket()]).run()
    else:
        uvicorn.Server(config).run()


if __name__ == "__main__":
    main()
