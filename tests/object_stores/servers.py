"""Real servers of S3 and WebDAV, on this machine: one asks for a known key, one for a password."""

import re
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cheroot import wsgi
from wsgidav.wsgidav_app import WsgiDAVApp

from broker.settings import VaultPlace
from tests.npm import installed
from tests.programs import require

HERE = Path(__file__).parent
KEY = "S3RVER"  # what the server knows

_LISTENS = re.compile(r"127\.0\.0\.1:[0-9]+")


@contextmanager
def s3(folder: Path) -> Iterator[VaultPlace]:
    """An S3 server with an empty bucket below `folder`."""
    modules = installed(HERE, "serve S3")
    program = [str(require("node", "serve S3")), str(modules / "s3rver/bin/s3rver.js")]
    told = ["-d", str(folder), "-a", "127.0.0.1", "-p", "0", "--configure-bucket", "vault"]
    with subprocess.Popen(
        [*program, *told], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as server:
        try:
            assert server.stdout is not None
            told_at = (_LISTENS.search(line) for line in server.stdout)
            address = next((found[0] for found in told_at if found is not None), None)
            assert address is not None, "the S3 server does not start"
            threading.Thread(target=server.stdout.read, daemon=True).start()  # no full pipe
            yield VaultPlace("s3", f"http://{address}", KEY, KEY, "vault")
        finally:
            server.kill()


@contextmanager
def webdav(folder: Path) -> Iterator[VaultPlace]:
    """A WebDAV server of `folder`."""
    settings = {
        "provider_mapping": {"/": str(folder)},
        "simple_dc": {"user_mapping": {"*": {"broker": {"password": "a password"}}}},
        "http_authenticator": {"accept_digest": False, "default_to_digest": False},
        "logging": {"enable": False},
        "verbose": 0,
    }
    server = wsgi.Server(("127.0.0.1", 0), WsgiDAVApp(settings))
    server.prepare()  # binds and listens: who connects from now on is answered
    thread = threading.Thread(target=server.serve, daemon=True)
    thread.start()
    try:
        address = f"http://127.0.0.1:{server.bind_addr[1]}/"
        yield VaultPlace("webdav", address, "broker", "a password")
    finally:
        server.stop()
        thread.join(10)
