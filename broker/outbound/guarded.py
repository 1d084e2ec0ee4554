"""The one client for addresses that somebody else chose.

DID documents, status lists, metadata, webhooks, timestamps: whoever names the address could point
the broker at its own network. A fetch therefore

1. takes https only, without user names, at most 2,048 characters;
2. resolves the name once and refuses it if any answer is not a public address;
3. connects to the address that it has checked (the name goes into TLS and Host only, so a second
   answer of the name server changes nothing);
4. follows at most three redirects, within the same scheme, host and port, and none of a POST;
5. ends after five seconds, name server and redirects included;
6. takes at most 1 MiB, counted after decompression, of one of the expected media types;
7. has no cookies, no proxy and no credentials from the environment.

The development profile may permit plain http and name hosts that are in a private network.
"""

import asyncio
import queue
import socket
import ssl
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache

import httpx2

from broker.domain.errors import FetchFailed, FetchRefused, OutgoingError
from broker.domain.tracing import carried, span
from broker.outbound.gunzip import gunzip
from broker.outbound.public_address import Address, is_private, is_public, read_address
from broker.settings import Settings

SECONDS = 5.0
MAX_BYTES = 1_048_576
MAX_REDIRECTS = 3
MAX_URL_CHARACTERS = 2_048
MAX_ADDRESSES = 4

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_OK = frozenset({200})
_AGENT = "consent-broker"
_NONE: frozenset[str] = frozenset()

Resolve = Callable[[str, int], Sequence[str]]
"""Gives the IP addresses of a host; raises `OSError` when there are none. May block."""

Transport = Callable[[], httpx2.AsyncBaseTransport]


@dataclass(frozen=True)
class Rules:
    """What a deployment permits beyond public addresses over TLS; nothing, unless it develops.

    `private_hosts` are host names in lower case whose addresses may be loopback or private;
    link-local ones stay refused. `traced_hosts` are services of the operator's own, in lower case,
    to which a request carries its trace; strangers learn nothing of it.
    """

    plain_http: bool = False
    private_hosts: frozenset[str] = _NONE
    traced_hosts: frozenset[str] = _NONE


def rules_of(settings: Settings) -> Rules:
    """What a deployment's settings permit."""
    private = settings.private_hosts if settings.development else _NONE
    return Rules(settings.development, private, settings.traced_hosts)


@dataclass(frozen=True)
class Fetched:
    """An answer of an expected status and type. `media_type` is in lower case, no parameters."""

    status: int
    media_type: str
    body: bytes = field(repr=False)


@dataclass(frozen=True)
class _Expected:
    statuses: Collection[int]
    media_types: Collection[str]
    body: bool = True


def resolve_by_system(host: str, port: int) -> Sequence[str]:
    """The addresses that the system's resolver knows. Raises `OSError`."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(entry[4][0]) for entry in found]


@cache
def _public_roots() -> ssl.SSLContext:
    """The public roots, read once: some ten milliseconds. Nobody changes it."""
    return httpx2.create_ssl_context(trust_env=False)


class GuardedClient:
    """Fetches under the rules above. Safe from several threads; not for use in an event loop.

    Nothing is kept between two fetches. Every method raises `FetchRefused` when our rules forbid
    the address or the answer, `FetchFailed` when the other side did not give one.
    """

    def __init__(
        self,
        rules: Rules | None = None,
        *,
        resolve: Resolve = resolve_by_system,
        transport: Transport | None = None,
        seconds: float = SECONDS,
        max_bytes: int = MAX_BYTES,
    ) -> None:
        """`transport` makes what carries one fetch; the default checks TLS by public roots."""
        self._rules = rules or Rules()
        self._resolve, self._seconds, self._max_bytes = resolve, seconds, max_bytes
        if transport is None:
            context = _public_roots()
            self._transport: Transport = lambda: httpx2.AsyncHTTPTransport(
                verify=context, trust_env=False
            )
        else:
            self._transport = transport

    def get(self, url: str, *, accept: Sequence[str], statuses: Collection[int] = _OK) -> Fetched:
        """GET; the answer must be of one of the media types in `accept`."""
        headers = {"Accept": ", ".join(accept)}
        return self._fetch("GET", url, headers, b"", _Expected(statuses, accept))

    def post(
        self,
        url: str,
        body: bytes,
        *,
        content_type: str,
        accept: Sequence[str] = (),
        statuses: Collection[int] = _OK,
        headers: Mapping[str, str] | None = None,
        read: bool = True,
    ) -> Fetched:
        """POST `body`; with an empty `accept` the answer may be of any type.

        Without `read` its status alone counts: what comes behind it is left.
        """
        sent = {**(headers or {}), "Content-Type": content_type}
        if accept:
            sent["Accept"] = ", ".join(accept)
        return self._fetch("POST", url, sent, body, _Expected(statuses, accept, read))

    def _fetch(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes, expected: _Expected
    ) -> Fetched:
        with span("fetch"):
            return self._fetch_in_time(method, url, headers, body, expected)

    def _fetch_in_time(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes, expected: _Expected
    ) -> Fetched:
        deadline = time.monotonic() + self._seconds
        target = _target(url, self._rules)
        addresses = self._addresses(target, deadline)
        if target.host in self._rules.traced_hosts:
            headers = {**headers, **carried()}

        async def within_time() -> Fetched:
            async with asyncio.timeout(max(0.0, deadline - time.monotonic())):
                return await self._follow(method, target, addresses, headers, body, expected)

        try:
            return asyncio.run(within_time())
        except TimeoutError:
            raise FetchFailed(
                "timeout", f"{target.host} did not answer within {self._seconds:g} seconds"
            ) from None
        except OutgoingError:
            raise
        except Exception as error:  # noqa: BLE001 (a stranger's address must not end a thread)
            # The error's own text may quote the answer.
            raise FetchFailed(
                "unreachable", f"{target.host}: no answer ({type(error).__name__})"
            ) from None

    def _addresses(self, target: httpx2.URL, deadline: float) -> list[Address]:
        """Step 2: the addresses of the target, all of them checked."""
        port = target.port or (443 if target.scheme == "https" else 80)
        found = _within(deadline, self._resolve, target.host, port)
        if found is None:
            raise FetchFailed("unreachable", f"{target.host}: the name could not be resolved")
        named = target.host in self._rules.private_hosts
        addresses = []
        for text in dict.fromkeys(found):
            address = read_address(text)
            if address is None or not (is_public(address) or (named and is_private(address))):
                raise FetchRefused(
                    "address", f"{target.host} is not, or not only, at a public address"
                )
            addresses.append(address)
        return addresses[:MAX_ADDRESSES]

    async def _follow(
        self,
        method: str,
        target: httpx2.URL,
        addresses: Sequence[Address],
        headers: Mapping[str, str],
        body: bytes,
        expected: _Expected,
    ) -> Fetched:
        """Step 4."""
        async with self._transport() as transport:
            for _ in range(MAX_REDIRECTS + 1):
                response = await self._send(transport, method, target, addresses, headers, body)
                try:
                    redirected = response.status_code in _REDIRECTS - set(expected.statuses)
                    if not redirected or method != "GET":
                        return await self._read(target.host, response, expected)
                    target = _redirect(target, response)
                finally:
                    await response.aclose()
        raise FetchRefused("redirect", f"{target.host} redirects more than {MAX_REDIRECTS} times")

    async def _send(
        self,
        transport: httpx2.AsyncBaseTransport,
        method: str,
        target: httpx2.URL,
        addresses: Sequence[Address],
        headers: Mapping[str, str],
        body: bytes,
    ) -> httpx2.Response:
        """Step 3: the head of the answer, from the first address that takes a connection."""
        share = self._seconds / len(addresses)
        failure: httpx2.TransportError | None = None
        for address in addresses:
            request = httpx2.Request(
                method,
                target.copy_with(host=str(address)),
                headers={
                    **headers,
                    "Host": target.netloc.decode("ascii"),
                    "User-Agent": _AGENT,
                    "Accept-Encoding": "gzip",
                    "Connection": "close",
                },
                content=body if method == "POST" else None,
                extensions={"sni_hostname": target.host, "timeout": {"connect": share}},
            )
            try:
                return await transport.handle_async_request(request)
            except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
                failure = error
        raise failure or httpx2.ConnectError("no address")

    async def _read(self, host: str, response: httpx2.Response, expected: _Expected) -> Fetched:
        """Step 6."""
        if response.status_code not in expected.statuses:
            raise FetchFailed("status", f"{host} answered with status {response.status_code}")
        media_type = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        if expected.media_types and media_type not in expected.media_types:
            wanted = " or ".join(expected.media_types)
            raise FetchRefused("media_type", f"{host} did not answer with {wanted}")
        if not expected.body:
            return Fetched(response.status_code, media_type, b"")
        encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
        if encoding not in {"identity", "gzip"}:
            raise FetchRefused("encoding", f"{host} answered in an encoding that was not asked for")
        raw = response.aiter_raw()
        parts = gunzip(host, raw, self._max_bytes) if encoding == "gzip" else raw
        body = bytearray()
        async for part in parts:
            body += part
            if len(body) > self._max_bytes:
                raise FetchRefused(
                    "too_large", f"{host} answered with more than {self._max_bytes} bytes"
                )
        return Fetched(response.status_code, media_type, bytes(body))


def check_address(url: str, rules: Rules) -> None:
    """What can be said of an address before it is asked: step 1, and step 2 of a written IP.

    Raises `FetchRefused`.
    """
    target = _target(url, rules)
    address = read_address(target.host)
    if address is not None and not (
        is_public(address) or (target.host in rules.private_hosts and is_private(address))
    ):
        raise FetchRefused("address", f"{target.host} is not a public address")


def _target(url: str, rules: Rules) -> httpx2.URL:
    """Step 1."""
    if len(url) > MAX_URL_CHARACTERS or not url.isascii():
        raise FetchRefused("url", "the address is too long or not in ASCII")
    try:
        target = httpx2.URL(url)
    except httpx2.InvalidURL:
        raise FetchRefused("url", "the address is not a URL") from None
    if target.scheme != "https" and not (target.scheme == "http" and rules.plain_http):
        raise FetchRefused("scheme", "only https addresses are asked")
    if not target.host or target.userinfo:
        raise FetchRefused("url", "the address names no host, or a user")
    if target.port is not None and not 0 < target.port < 65_536:  # noqa: PLR2004 (16 bits)
        raise FetchRefused("url", "the address names a port that there is not")
    return target.copy_with(fragment=None)


def _redirect(target: httpx2.URL, response: httpx2.Response) -> httpx2.URL:
    """Where a redirect leads. Raises `FetchRefused` unless it stays with the host."""
    location = response.headers.get("Location", "")
    try:
        new = target.join(location)
    except httpx2.InvalidURL:
        new = httpx2.URL()
    if (
        not location
        or len(location) > MAX_URL_CHARACTERS
        or new.userinfo
        or (new.scheme, new.host, new.port) != (target.scheme, target.host, target.port)
    ):
        raise FetchRefused("redirect", f"{target.host} redirects to another place")
    return new.copy_with(fragment=None)


def _within(deadline: float, resolve: Resolve, host: str, port: int) -> Sequence[str] | None:
    """The addresses of a host, None when there are none or not in time.

    The system's resolver cannot be told when to stop, so it is left behind in its thread.
    """
    answer: queue.SimpleQueue[Sequence[str]] = queue.SimpleQueue()

    def ask() -> None:
        try:
            answer.put(resolve(host, port))
        except (OSError, UnicodeError):
            answer.put(())

    threading.Thread(target=ask, name="resolve", daemon=True).start()
    try:
        return answer.get(timeout=max(0.0, deadline - time.monotonic())) or None
    except queue.Empty:
        return None
