"""A server that misbehaves on purpose, and a network in which it seems to be a public one."""

import contextlib
import datetime as dt
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import httpx2
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from broker.outbound.guarded import GuardedClient, Resolve, Rules

PUBLIC = "93.184.215.14"
HOST = "issuer.example"

Behaviour = Callable[[socket.socket, bytes], None]
"""What the server does with a connection once it has read the head of a request."""


@dataclass
class Server:
    """Where it listens, the requests it has read (head and body), and the names TLS asked for."""

    port: int
    requests: list[bytes] = field(default_factory=list)
    names: list[str | None] = field(default_factory=list)
    authority: Path | None = None


@dataclass
class Network:
    """Names with their addresses; every connection goes to this machine, and is noted."""

    addresses: Mapping[str, Sequence[str]] = field(default_factory=lambda: {HOST: [PUBLIC]})
    resolved: list[str] = field(default_factory=list)
    connected: list[str] = field(default_factory=list)

    def resolve(self, host: str, _port: int) -> Sequence[str]:
        self.resolved.append(host)
        if host not in self.addresses:
            raise OSError("no such name")
        return self.addresses[host]

    def client(
        self,
        *,
        plain_http: bool = True,
        private_hosts: frozenset[str] = frozenset(),
        authority: Path | None = None,
        resolve: Resolve | None = None,
        seconds: float = 5.0,
        max_bytes: int = 1_048_576,
    ) -> GuardedClient:
        context = ssl.create_default_context(cafile=authority)
        return GuardedClient(
            Rules(plain_http, private_hosts),
            resolve=resolve or self.resolve,
            transport=lambda: _Wired(self.connected, context),
            seconds=seconds,
            max_bytes=max_bytes,
        )


class _Wired(httpx2.AsyncBaseTransport):
    """Connects to this machine whatever public address is asked for."""

    def __init__(self, connected: list[str], context: ssl.SSLContext) -> None:
        self._connected = connected
        self._real = httpx2.AsyncHTTPTransport(verify=context, trust_env=False)

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        self._connected.append(request.url.host)
        request.url = request.url.copy_with(host="127.0.0.1")
        return await self._real.handle_async_request(request)

    async def aclose(self) -> None:
        await self._real.aclose()


@contextlib.contextmanager
def serving(behaviour: Behaviour, tls: Path | None = None) -> Iterator[Server]:
    """Serve until the block ends; over TLS as `HOST` when given a folder for the certificates."""
    listening = socket.create_server(("127.0.0.1", 0))
    server = Server(listening.getsockname()[1])
    context = None
    if tls is not None:
        server.authority = tls / "authority.pem"
        context = _tls(tls, server)
    ended = threading.Event()

    def answer(connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection:
            connection.settimeout(10)
            speaking = context.wrap_socket(connection, server_side=True) if context else connection
            with speaking:
                request = _read_request(speaking)
                server.requests.append(request)
                behaviour(speaking, request)

    def accept() -> None:
        while not ended.is_set():
            with contextlib.suppress(OSError):
                connection, _ = listening.accept()
                threading.Thread(target=answer, args=(connection,), daemon=True).start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        ended.set()
        with contextlib.suppress(OSError):
            listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        thread.join()


def answering(
    body: bytes = b"",
    *,
    status: str = "200 OK",
    media_type: str = "application/json",
    headers: Sequence[str] = (),
) -> Behaviour:
    """Answer every request alike."""
    lines = [
        f"HTTP/1.1 {status}",
        f"Content-Length: {len(body)}",
        f"Content-Type: {media_type}",
        *headers,
    ]
    data = "\r\n".join([*lines, "", ""]).encode() + body

    def answer(connection: socket.socket, _request: bytes) -> None:
        connection.sendall(data)

    return answer


def by_path(behaviours: Mapping[str, Behaviour]) -> Behaviour:
    """Answer by the path of the request; 404 elsewhere."""

    def answer(connection: socket.socket, request: bytes) -> None:
        path = request.split(b" ", 2)[1].decode()
        behaviours.get(path, answering(status="404 Not Found"))(connection, request)

    return answer


def _read_request(connection: socket.socket) -> bytes:
    data = b""
    while b"\r\n\r\n" not in data:
        part = connection.recv(65_536)
        if not part:
            raise OSError("closed before the request was complete")
        data += part
    head, _, body = data.partition(b"\r\n\r\n")
    lengths = [
        int(line.split(b":")[1])
        for line in head.split(b"\r\n")
        if line.lower().startswith(b"content-length:")
    ]
    while lengths and len(body) < lengths[0]:
        body += connection.recv(65_536)
    return head + b"\r\n\r\n" + body


def _tls(folder: Path, server: Server) -> ssl.SSLContext:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, HOST)])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(minutes=5))
        .not_valid_after(now + dt.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(HOST)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / "authority.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "authority.pem", folder / "key.pem")
    context.sni_callback = lambda _socket, asked, _context: server.names.append(asked)
    return context
