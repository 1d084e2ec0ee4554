"""Real servers of S3 and WebDAV, on this machine: one asks for a known key, one for a password."""

import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cheroot import wsgi
from wsgidav.wsgidav_app import WsgiDAVApp

from broker.settings import VaultPlace
from dev.running import free_port
from tests.npm import installed
from tests.programs import require

HERE = Path(__file__).parent
KEY = "S3RVER"  # what the server knows


@contextmanager
def s3(folder: Path) -> Iterator[VaultPlace]:
    """An S3 server with an empty bucket below `folder`."""
    modules, port = installed(HERE, "serve S3"), free_port()
    program = [str(require("node", "serve S3")), str(modules / "s3rver/bin/s3rver.js")]
    told = ["-d", str(folder), "-a", "127.0.0.1", "-p", str(port), "--configure-bucket", "vault"]
    with subprocess.Popen(
        [*program, *told], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as server:
        try:
            _wait(port)
            yield VaultPlace("s3", f"http://127.0.0.1:{port}", KEY, KEY, "vault")
        finally:
            server.kill()


@contextmanager
def webdav(folder: Path) -> Iterator[VaultPlace]:
    """A WebDAV server of `folder`."""
    port = free_port()
    settings = {
        "provider_mapping": {"/": str(folder)},
        "simple_dc": {"user_mapping": {"*": {"broker": {"password": "a password"}}}},
        "http_authenticator": {"accept_digest": False, "default_to_digest": False},
        "logging": {"enable": False},
        "verbose": 0,
    }
    server = wsgi.Server(("127.0.0.1", port), WsgiDAVApp(settings))
    thread = threading.Thread(target=server.start, daemon=True)
    thread.start()
    try:
        _wait(port)
        yield VaultPlace("webdav", f"http://127.0.0.1:{port}/", "broker", "a password")
    finally:
        server.stop()
        thread.join(10)


def _wait(port: int) -> None:
    for _ in range(300):
        with socket.socket() as one:
            if one.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise AssertionError("the server does not start")
