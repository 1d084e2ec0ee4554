"""Several server processes on one machine: a parent that keeps them alive, and each of them.

They share the listening socket, the database and the folder of the log head, and nothing else. A
worker that dies is replaced; a worker whose parent has died finishes what it is at and ends, so
that no orphan keeps the port from a broker that is started anew.
"""

import os
import shutil
import signal
import threading
from pathlib import Path

import uvicorn
from fastapi import FastAPI
from uvicorn.supervisors import Multiprocess

from broker.api import logs
from broker.app import create_app
from broker.cli.draining import drain_on_sigterm
from broker.composition import build_context
from broker.settings import Settings, read_settings, share_metrics

GRACE_SECONDS = 10
# Longer than the minute for which proxies keep a connection that nobody uses: one that this end
# had closed by then they would use once more, and answer 502.
IDLE_SECONDS = 75
# A worker answers its parent from a thread, which has to get a turn on a busy machine.
SILENT_SECONDS = 30
PARENT_POLL_SECONDS = 0.5
METRICS_FOLDER = "metrics"


def run(settings: Settings) -> None:
    """Serve with `settings.workers` processes until told to stop; the database is prepared."""
    share_metrics(_empty(settings.home.resolve() / METRICS_FOLDER))
    config = uvicorn.Config(
        "broker.cli.workers:application",
        factory=True,
        workers=settings.workers,
        host=settings.host,
        port=settings.port,
        access_log=False,
        log_config=None,
        server_header=False,
        forwarded_allow_ips=settings.trusted_proxies,
        timeout_graceful_shutdown=GRACE_SECONDS,
        timeout_keep_alive=IDLE_SECONDS,
        timeout_worker_healthcheck=SILENT_SECONDS,
    )
    _Workers(config, sockets=[config.bind_socket()]).run()


class _Workers(Multiprocess):
    """The parent of the workers; told to stop, it lets go of the socket before they do."""

    def terminate_all(self) -> None:
        """Tell each worker to stop.

        The last that closes the socket has new connections refused: a parent that still held it
        would let them wait for nobody, and reset them at its end.
        """
        for shared in self.sockets:
            shared.close()
        super().terminate_all()


def application() -> FastAPI:
    """What one worker serves; it reads the environment that its parent has checked."""
    settings = read_settings()
    logs.configure(as_json=settings.log_json)
    application = create_app(build_context(settings), drain_on_sigterm)
    threading.Thread(target=_end_with, args=(os.getppid(),), name="parent", daemon=True).start()
    return application


def _end_with(parent: int) -> None:
    pause = threading.Event()
    while os.getppid() == parent:
        pause.wait(PARENT_POLL_SECONDS)
    os.kill(os.getpid(), signal.SIGTERM)


def _empty(folder: Path) -> Path:
    """The figures of processes that are gone are not this start's."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, mode=0o700)
    return folder
