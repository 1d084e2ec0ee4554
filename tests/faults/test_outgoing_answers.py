"""What another party answers is bounded in time, size and kind, and never repeated."""

import contextlib
import gzip
import os
import socket
import threading
import time
import tracemalloc
from collections.abc import Sequence

import pytest

from broker.domain.errors import FetchFailed, FetchRefused
from tests.faults.hostile import (
    HOST,
    PUBLIC,
    Behaviour,
    Network,
    answering,
    serving,
)

JSON = ("application/json",)
SECRET = b"do-not-repeat-me"


def _drip(first: bytes, rest: bytes) -> Behaviour:
    """Send `rest` for ever, a byte at a time."""

    def answer(connection: socket.socket, _request: bytes) -> None:
        connection.sendall(first)
        with contextlib.suppress(OSError):
            while True:
                for byte in rest:
                    connection.sendall(bytes([byte]))
                    time.sleep(0.02)

    return answer


@pytest.mark.parametrize(
    "behaviour",
    [
        pytest.param(
            _drip(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n", b" "), id="body"
        ),
        pytest.param(_drip(b"HTTP/1.1 200 OK\r\n", b"X-Slow: 1\r\n"), id="headers"),
        pytest.param(_drip(b"", b"HTTP/1.1 100 Continue\r\n\r\n"), id="informational answers"),
        pytest.param(_drip(b"HTTP/1.1 ", b""), id="nothing"),
    ],
)
def test_a_slow_drip_ends_with_the_time_for_all(behaviour: Behaviour) -> None:
    with serving(behaviour) as server, pytest.raises(FetchFailed) as failed:
        Network().client(seconds=0.5).get(f"http://{HOST}:{server.port}/", accept=JSON)
    assert failed.value.reason == "timeout"


def test_redirects_share_the_time() -> None:
    def slow(connection: socket.socket, _request: bytes) -> None:
        time.sleep(1.5)
        answering(status="302 Found", headers=["Location: /again"])(connection, b"")

    with serving(slow) as server, pytest.raises(FetchFailed) as failed:
        Network().client(seconds=2.5).get(f"http://{HOST}:{server.port}/", accept=JSON)
    assert failed.value.reason == "timeout"
    assert len(server.requests) == 2


def test_a_name_server_that_never_answers_is_left_behind() -> None:
    released = threading.Event()

    def hanging(_host: str, _port: int) -> Sequence[str]:
        released.wait(30)
        return [PUBLIC]

    network = Network()
    with pytest.raises(FetchFailed) as failed:
        network.client(resolve=hanging, seconds=0.3).get(f"https://{HOST}/", accept=JSON)
    released.set()
    assert failed.value.reason == "unreachable"
    assert network.connected == []


def test_no_time_at_all_is_used_for_what_has_no_address() -> None:
    with pytest.raises(FetchFailed, match="could not be resolved"):
        Network({HOST: []}).client().get(f"https://{HOST}/", accept=JSON)
    with pytest.raises(FetchFailed, match="could not be resolved"):
        Network({}).client().get(f"https://{HOST}/", accept=JSON)


def _endless(head: bytes, piece: bytes) -> Behaviour:
    def answer(connection: socket.socket, _request: bytes) -> None:
        connection.sendall(head)
        with contextlib.suppress(OSError):
            while True:
                connection.sendall(piece)

    return answer


def test_an_endless_body_is_read_to_the_limit_and_no_further() -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n"
    tracemalloc.start()
    with serving(_endless(head, b"x" * 65_536)) as server, pytest.raises(FetchRefused) as refused:
        Network().client().get(f"http://{HOST}:{server.port}/", accept=JSON)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert refused.value.reason == "too_large"
    assert peak < 16 * 1_048_576


def test_endless_headers_are_refused() -> None:
    behaviour = _endless(b"HTTP/1.1 200 OK\r\n", b"X-More: " + b"x" * 1_000 + b"\r\n")
    with serving(behaviour) as server, pytest.raises(FetchFailed):
        Network().client().get(f"http://{HOST}:{server.port}/", accept=JSON)


@pytest.mark.parametrize("size", [1_048_576, 1_048_577])
def test_one_mebibyte_is_the_limit(size: int) -> None:
    with serving(answering(b"x" * size)) as server:
        client = Network().client()
        if size == 1_048_576:
            assert len(client.get(f"http://{HOST}:{server.port}/", accept=JSON).body) == size
        else:
            with pytest.raises(FetchRefused, match="more than 1048576 bytes"):
                client.get(f"http://{HOST}:{server.port}/", accept=JSON)


def test_a_gzip_bomb_is_not_unpacked_beyond_the_limit() -> None:
    bomb = gzip.compress(b"\0" * 256 * 1_048_576, 9, mtime=0)
    behaviour = answering(bomb, headers=["Content-Encoding: gzip"])
    with serving(behaviour) as server:
        tracemalloc.start()
        with pytest.raises(FetchRefused) as refused:
            Network().client().get(f"http://{HOST}:{server.port}/", accept=JSON)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert refused.value.reason == "too_large"
    assert peak < 16 * 1_048_576


def test_honest_gzip_is_unpacked() -> None:
    body = os.urandom(100_000)
    with serving(
        answering(gzip.compress(body, mtime=0), headers=["Content-Encoding: gzip"])
    ) as server:
        assert Network().client().get(f"http://{HOST}:{server.port}/", accept=JSON).body == body


@pytest.mark.parametrize(
    ("body", "encoding"),
    [
        (b"{}", "gzip"),
        (gzip.compress(b"{}", mtime=0) + b"more", "gzip"),
        (gzip.compress(b"{}", mtime=0) * 2, "gzip"),
        (gzip.compress(b"{}", mtime=0)[:-4], "gzip"),
        (b"", "gzip"),
        (gzip.compress(gzip.compress(b"{}", mtime=0), mtime=0), "gzip, gzip"),
        (b"{}", "br"),
        (b"{}", "deflate"),
    ],
)
def test_other_encodings_and_broken_gzip_are_refused(body: bytes, encoding: str) -> None:
    behaviour = answering(body, headers=[f"Content-Encoding: {encoding}"])
    with serving(behaviour) as server, pytest.raises((FetchRefused, FetchFailed)) as refused:
        Network().client().get(f"http://{HOST}:{server.port}/", accept=JSON)
    assert refused.value.reason == "encoding"


@pytest.mark.parametrize("media_type", ["text/html", "application/json, text/html", "", "json"])
def test_another_media_type_is_refused(media_type: str) -> None:
    behaviour = answering(SECRET, media_type=media_type)
    with serving(behaviour) as server, pytest.raises(FetchRefused) as refused:
        Network().client().get(f"http://{HOST}:{server.port}/", accept=JSON)
    assert refused.value.reason == "media_type"
    assert SECRET.decode() not in str(refused.value)


@pytest.mark.parametrize("status", ["201 Created", "204 No Content", "304 Not Modified", "500 Oh"])
def test_a_status_that_was_not_expected_fails_without_repeating_the_answer(status: str) -> None:
    behaviour = answering(SECRET, status=status, headers=[f"X-Secret: {SECRET.decode()}"])
    with serving(behaviour) as server, pytest.raises(FetchFailed) as failed:
        Network().client().get(f"http://{HOST}:{server.port}/", accept=JSON)
    assert failed.value.reason == "status"
    assert SECRET.decode() not in str(failed.value)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        SECRET,
        b"HTTP/1.1 nine OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{}",
        (
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
            b"Transfer-Encoding: chunked\r\n\r\nzz\r\n"
        ),
        bytes(range(256)) * 20,
    ],
)
def test_a_broken_answer_fails_in_the_family(data: bytes) -> None:
    def broken(connection: socket.socket, _request: bytes) -> None:
        connection.sendall(data)

    with serving(broken) as server, pytest.raises(FetchFailed) as failed:
        Network().client().get(f"http://{HOST}:{server.port}/", accept=JSON)
    assert failed.value.__cause__ is None
    assert SECRET.decode() not in str(failed.value)
