"""Whoever names an address that the broker asks gains nothing but an answer, or none."""

import socket
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
