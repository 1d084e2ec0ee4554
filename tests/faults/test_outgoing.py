"""Whoever names an address that the broker asks gains nothing but an answer, or none."""

import contextlib
import gzip
import os
import socket
import threading
import time
import tracemalloc
from collections.abc import Sequence
from pathlib import Path

import pytest

from broker.domain.errors import FetchFailed, FetchRefused
from broker.outbound.guarded import GuardedClient, Rules
from tests.faults.hostile import (
    HOST,
    PUBLIC,
    Behaviour,
    Network,
    answering,
    by_path,
    serving,
)

JSON = ("application/json",)
SECRET = b"do-not-repeat-me"

NOT_PUBLIC = [
    "127.0.0.1",
    "127.9.9.9",
    "0.0.0.0",
    "10.1.2.3",
    "172.31.255.255",
    "192.168.0.1",
    "169.254.169.254",
    "100.64.0.1",
    "192.0.0.8",
    "192.0.2.1",
    "192.88.99.1",
    "198.18.0.1",
    "198.51.100.1",
    "203.0.113.9",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::ffff:10.0.0.1",
    "::ffff:93.184.215.14",
    "::7f00:1",
    "64:ff9b::a00:1",
    "100::1",
    "2001::1",
    "2001:db8::1",
    "2002:a00:1::1",
    "3fff::1",
    "fc00::1",
    "fd12::1",
    "fe80::1",
    "fe80::1%eth0",
    "fec0::1",
    "ff02::1",
    "2606:2800::1%eth0",
    "not an address",
]


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_an_address_that_is_not_public_is_never_connected_to(address: str) -> None:
    network = Network({HOST: [address]})
    with pytest.raises(FetchRefused) as refused:
        network.client().get(f"https://{HOST}/did.json", accept=JSON)
    assert refused.value.reason == "address"
    assert network.connected == []


@pytest.mark.parametrize("address", ["1.1.1.1", "172.32.0.1", "100.128.0.1", "2606:4700::1111"])
def test_public_addresses_are_connected_to(address: str) -> None:
    network = Network({HOST: [address]})
    with serving(answering(b"{}")) as server:
        network.client().get(f"http://{HOST}:{server.port}/", accept=JSON)
    assert network.connected == [address]


@pytest.mark.parametrize("answers", [[PUBLIC, "10.0.0.1"], ["::1", PUBLIC], [PUBLIC] * 9 + ["::1"]])
def test_one_private_answer_among_public_ones_is_enough_to_refuse(answers: Sequence[str]) -> None:
    network = Network({HOST: answers})
    with pytest.raises(FetchRefused, match="public address"):
        network.client().get(f"https://{HOST}/", accept=JSON)
    assert network.connected == []


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "[::1]", "2130706433", "0x7f.1", "127.1", "169.254.169.254"]
)
def test_this_machine_is_refused_however_it_is_written(host: str) -> None:
    with serving(answering(SECRET)) as server:
        # The system's own resolver, no test network between.
        client = GuardedClient(Rules(plain_http=True), seconds=2)
        with pytest.raises((FetchRefused, FetchFailed)):
            client.get(f"http://{host}:{server.port}/", accept=JSON)
    assert server.requests == []


def test_a_name_that_changes_its_answer_is_asked_once() -> None:
    answers = iter([[PUBLIC], ["127.0.0.1"], ["10.0.0.1"]])
    asked: list[str] = []

    def rebinding(host: str, _port: int) -> Sequence[str]:
        asked.append(host)
        return next(answers)

    network = Network()
    routes: dict[str, Behaviour] = {
        "/a": answering(status="302 Found", headers=["Location: /b"]),
        "/b": answering(b"{}"),
    }
    with serving(by_path(routes)) as server:
        client = network.client(resolve=rebinding)
        assert client.get(f"http://{HOST}:{server.port}/a", accept=JSON).body == b"{}"
    assert asked == [HOST]
    assert network.connected == [PUBLIC, PUBLIC]


def test_the_name_stays_in_tls_and_host_while_the_address_is_pinned(tmp_path: Path) -> None:
    network = Network()
    with serving(answering(b"{}"), tls=tmp_path) as server:
        client = network.client(plain_http=False, authority=server.authority)
        client.get(f"https://{HOST}:{server.port}/did.json", accept=JSON)
    assert server.names == [HOST]
    assert f"host: {HOST}:{server.port}".encode() in server.requests[0].lower()
    assert network.connected == [PUBLIC]


def test_a_certificate_of_another_name_is_refused(tmp_path: Path) -> None:
    network = Network({"other.example": [PUBLIC]})
    with serving(answering(b"{}"), tls=tmp_path) as server:
        client = network.client(authority=server.authority)
        with pytest.raises(FetchFailed):
            client.get(f"https://other.example:{server.port}/", accept=JSON)
    assert server.requests == []


def test_a_certificate_that_no_public_root_vouches_for_is_refused(tmp_path: Path) -> None:
    with serving(answering(b"{}"), tls=tmp_path) as server, pytest.raises(FetchFailed):
        Network().client().get(f"https://{HOST}:{server.port}/", accept=JSON)
    assert server.requests == []


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        (f"http://{HOST}/", "scheme"),
        (f"ftp://{HOST}/", "scheme"),
        ("file:///etc/passwd", "scheme"),
        ("", "scheme"),
        ("https:///path", "url"),
        (f"https://user:secret@{HOST}/", "url"),
        (f"https://{HOST}:port/", "url"),
        ("https://[::1/", "url"),
        (f"https://{HOST}/" + "a" * 2_048, "url"),
        ("https://bänk.example/", "url"),
        (f"https://{HOST}/\x00\n", "url"),
    ],
)
def test_only_plain_https_addresses_are_asked(url: str, reason: str) -> None:
    network = Network()
    with pytest.raises(FetchRefused) as refused:
        network.client(plain_http=False).get(url, accept=JSON)
    assert refused.value.reason == reason
    assert network.resolved == []


@pytest.mark.parametrize(
    "location",
    [
        "http://127.0.0.1/",
        "http://169.254.169.254/latest/meta-data/",
        "http://other.example/",
        "//other.example/",
        f"https://{HOST}/",
        f"http://user@{HOST}:{{port}}/",
        f"http://{HOST}:1/",
        "file:///etc/passwd",
        "http://[::1",
        "",
    ],
)
def test_a_redirect_to_another_place_is_not_followed(location: str) -> None:
    network = Network({HOST: [PUBLIC], "other.example": [PUBLIC]})

    def redirect(connection: socket.socket, _request: bytes) -> None:
        there = location.replace("{port}", str(server.port))
        connection.sendall(
            f"HTTP/1.1 302 Found\r\nLocation: {there}\r\nContent-Length: 0\r\n\r\n".encode()
        )

    with serving(redirect) as server, pytest.raises(FetchRefused) as refused:
        network.client().get(f"http://{HOST}:{server.port}/", accept=JSON)
    assert refused.value.reason == "redirect"
    assert len(server.requests) == 1
    assert network.resolved == [HOST]


def _chain(length: int) -> Behaviour:
    routes: dict[str, Behaviour] = {
        f"/{step}": answering(status="307 Temporary Redirect", headers=[f"Location: /{step + 1}"])
        for step in range(length)
    }
    return by_path({**routes, f"/{length}": answering(b"{}")})


def test_three_redirects_within_a_host_are_followed_and_a_fourth_is_not() -> None:
    with serving(_chain(3)) as server:
        assert Network().client().get(f"http://{HOST}:{server.port}/0", accept=JSON).status == 200
    with serving(_chain(4)) as server, pytest.raises(FetchRefused) as refused:
        Network().client().get(f"http://{HOST}:{server.port}/0", accept=JSON)
    assert refused.value.reason == "redirect"
    assert len(server.requests) == 4


def test_a_post_is_never_redirected() -> None:
    with serving(_chain(1)) as server, pytest.raises(FetchFailed) as failed:
        Network().client().post(
            f"http://{HOST}:{server.port}/0", b"body", content_type="text/plain"
        )
    assert failed.value.reason == "status"
    assert len(server.requests) == 1


def test_a_post_carries_its_body_and_type() -> None:
    with serving(answering(b"done", media_type="text/plain; charset=utf-8")) as server:
        answer = (
            Network()
            .client()
            .post(
                f"http://{HOST}:{server.port}/hook",
                b"the body",
                content_type="application/cloudevents+json",
                headers={"Webhook-Signature": "v1,abc"},
            )
        )
    assert (answer.status, answer.media_type, answer.body) == (200, "text/plain", b"done")
    head, _, body = server.requests[0].partition(b"\r\n\r\n")
    assert body == b"the body"
    assert b"content-type: application/cloudevents+json" in head.lower()
    assert b"webhook-signature: v1,abc" in head.lower()


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
        time.sleep(0.3)
        answering(status="302 Found", headers=["Location: /again"])(connection, b"")

    with serving(slow) as server, pytest.raises(FetchFailed) as failed:
        Network().client(seconds=0.5).get(f"http://{HOST}:{server.port}/", accept=JSON)
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
    with serving(answering(gzip.compress(body, mtime=0), headers=["Content-Encoding: gzip"])) as server:
        assert Network().client().get(f"http://{HOST}:{server.port}/", accept=JSON).body == body


@pytest.mark.parametrize(
    ("body", "encoding"),
    [
        (b"{}", "gzip"),
        (gzip.compress(b"{}", mtime=0) + b"more", "gzip"),
        (gzip.compress(b"{}", mtime=0) * 2, "gzip"),
        (gzip.compress(b"{}", mtime=0)[:-4], "gzip"),
        (b"", "gzip"),
        (gzip.compress(gzip.compress(b"{}", mtime=0)), "gzip, gzip"),
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


def test_a_refused_connection_goes_on_to_the_next_address_and_then_fails() -> None:
    network = Network({HOST: [PUBLIC, "1.1.1.1"]})
    with serving(answering()) as server:
        closed = server.port
    with pytest.raises(FetchFailed) as failed:
        network.client().get(f"http://{HOST}:{closed}/", accept=JSON)
    assert failed.value.reason == "unreachable"
    assert network.connected == [PUBLIC, "1.1.1.1"]


def test_no_cookie_and_no_proxy_and_no_login_of_the_environment_is_sent(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / ".netrc").write_text(f"machine {HOST} login me password secret\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    routes: dict[str, Behaviour] = {
        "/a": answering(status="302 Found", headers=["Location: /b", "Set-Cookie: id=1"]),
        "/b": answering(b"{}"),
    }
    with serving(by_path(routes)) as server:
        Network().client().get(f"http://{HOST}:{server.port}/a", accept=JSON)
    assert len(server.requests) == 2
    for request in server.requests:
        assert b"cookie" not in request.lower()
        assert b"authorization" not in request.lower()


def test_a_named_private_host_is_asked_and_its_metadata_service_is_not() -> None:
    network = Network({"tsa.internal": ["127.0.0.1"], "cloud.internal": ["169.254.169.254"]})
    named = frozenset({"tsa.internal", "cloud.internal"})
    with serving(answering(b"{}")) as server:
        client = network.client(private_hosts=named)
        assert client.get(f"http://tsa.internal:{server.port}/", accept=JSON).body == b"{}"
        with pytest.raises(FetchRefused, match="public address"):
            client.get(f"http://cloud.internal:{server.port}/", accept=JSON)
        with pytest.raises(FetchRefused, match="public address"):
            network.client().get(f"http://tsa.internal:{server.port}/", accept=JSON)
    assert len(server.requests) == 1
