"""The probe of what the broker does over HTTP: one raw insert and one raw read; beside it a no-op.

    python -m benchmarks.insert_and_read PORT DATABASE

A FastAPI `def` handler under the broker's own server settings, on SQLite with the broker's own
pragmas: statements, one commit for each request, nothing else. Writers wait for each other at a
lock in the process, which is faster than SQLite's own waiting.
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
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel
from sqlalchemy import Column, LargeBinary, MetaData, String, Table, create_engine, event, insert
from sqlalchemy import select as select_from

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


def create_app(database: Path) -> FastAPI:
    """The probe's application."""
    engine = create_engine(f"sqlite:///{database}", connect_args={"check_same_thread": False})

    @event.listens_for(engine, "connect")
    def _configure(connection: Any, _record: object) -> None:  # noqa: ANN401 (the driver's)
        connection.isolation_level = None
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begin(connection: Any) -> None:  # noqa: ANN401
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    ROW.metadata.create_all(engine)
    lock = threading.Lock()
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

    @app.get("/readyz")
    def ready() -> str:
        return "ready"

    return app


@contextlib.contextmanager
def running_probe(home: Path) -> Iterator[int]:
    """The port of a probe in a process of its own. Raises `RuntimeError` if it does not start."""
    port = free_port()
    command = [
        sys.executable,
        "-m",
        "benchmarks.insert_and_read",
        str(port),
        str(home / "probe.db"),
    ]
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
    parser.add_argument("database", type=Path)
    options = parser.parse_args()
    uvicorn.run(
        create_app(options.database),
        host="127.0.0.1",
        port=options.port,
        access_log=False,
        log_level="warning",
        server_header=False,
    )


if __name__ == "__main__":
    main()
