"""Services that are not what they should be: missing, lying, endless, somebody else's."""

import socket
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from broker.domain.errors import EnvelopeDamaged, StateConflict, VaultUnreachable
from broker.outbound.object_vaults import ObjectVault
from broker.outbound.vaults import MARKER
from broker.setting_forms import SettingsError, VaultPlace, vaults
from tests.faults.hostile import Behaviour, Server, answering, serving
from tests.object_stores import servers

PATH = "demo/a-consent/an-envelope"
PLACES = {
    "s3": VaultPlace("s3", "", "THE-KEY", "the secret", "vault"),
    "webdav": VaultPlace("webdav", "", "broker", "the secret"),
}


def opened(kind: str, server: Server, scheme: str = "http") -> ObjectVault:
    address = f"{scheme}://127.0.0.1:{server.port}"
    return ObjectVault("archive", replace(PLACES[kind], address=address), "mine")


def saying(status: str, body: bytes = b"", *headers: str) -> Behaviour:
    """One answer to everything, on a connection of its own."""
    return answering(body, status=status, headers=("Connection: close", *headers))


def asked(server: Server) -> list[dict[str, str]]:
    """The headers of each request, in lower case."""
    heads = (one.partition(b"\r\n\r\n")[0].decode().split("\r\n")[1:] for one in server.requests)
    return [
        {name.lower(): told for name, _, told in (line.partition(": ") for line in head)}
        for head in heads
    ]


def endless(connection: socket.socket, request: bytes) -> None:
    """A hundred gigabytes, as a part of as many: nobody has to wait for them."""
    size = 10**11
    part = b"\r\nrange:" in request.lower()
    head = f"""HTTP/1.1 {"206 Partial Content" if part else "200 OK"}
Connection: close
Content-Length: {size}
ETag: "x"
Last-Modified: Thu, 26 Nov 2026 10:00:00 GMT
{f"Content-Range: bytes 0-{size - 1}/{size}" if part else "Accept-Ranges: bytes"}

"""
    connection.sendall(head.replace("\n", "\r\n").encode())
    if request.startswith(b"HEAD "):
        return
    with suppress(OSError):  # who asked has gone
        while True:
            connection.sendall(b"x" * 65_536)


@pytest.mark.parametrize("kind", PLACES)
def test_no_more_is_taken_than_was_asked_for(kind: str) -> None:
    with serving(endless) as server:
        vault = opened(kind, server)
        with pytest.raises(VaultUnreachable):
            vault.read(PATH, 0, 10)
        with pytest.raises(VaultUnreachable, match="more than it was asked for"):
            vault.put(PATH, b"sealed")  # the marker


@pytest.mark.parametrize("kind", PLACES)
def test_what_a_service_says_reaches_nobody(kind: str) -> None:
    def quoting(connection: socket.socket, request: bytes) -> None:
        saying("403 Forbidden", b"no: the secret, in " + request)(connection, request)

    with serving(quoting) as server:
        vault = opened(kind, server)
        acts = (
            lambda: vault.read(PATH, 0, 6),
            lambda: vault.put(PATH, b"x"),
            lambda: vault.delete(PATH),
            lambda: vault.has(PATH),
            lambda: list(vault.lying()),
            vault.claim,
        )
        for act in acts:
            with pytest.raises(VaultUnreachable) as refused:
                act()
            told = f"{refused.value}{refused.value.__cause__}"
            assert not any(one in told for one in ("secret", "THE-KEY", str(server.port)))
            assert refused.value.__suppress_context__
    assert "the secret" not in repr(PLACES[kind])


@pytest.mark.parametrize("kind", PLACES)
def test_another_server_is_not_told_the_secret(kind: str) -> None:
    with serving(saying("404 Not Found")) as elsewhere:
        away = f"Location: http://127.0.0.1:{elsewhere.port}/x"
        with serving(saying("307 Temporary Redirect", b"", away)) as server:
            with pytest.raises(VaultUnreachable):
                opened(kind, server).put(PATH, b"sealed")
            assert all("authorization" in one for one in asked(server))
        assert all("authorization" not in one for one in asked(elsewhere))


@pytest.mark.parametrize("kind", PLACES)
def test_a_certificate_that_nobody_vouches_for_is_refused(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ALLOW_INVALID_CERTIFICATES", "true")
    with serving(saying("404 Not Found"), tmp_path) as server:
        with pytest.raises(VaultUnreachable, match="does not answer"):
            opened(kind, server, "https").read(PATH, 0, 6)
        assert server.requests == []


def test_variables_of_other_programs_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, told in {
        "AWS_SESSION_TOKEN": "ambient",
        "AWS_ACCESS_KEY_ID": "AMBIENT",
        "AWS_SKIP_SIGNATURE": "true",
        "AWS_UNSIGNED_PAYLOAD": "true",
        "AWS_ENDPOINT": "http://127.0.0.1:1",
        "AWS_REGION": "elsewhere-1",
    }.items():
        monkeypatch.setenv(name, told)
    with serving(saying("404 Not Found")) as server:
        with pytest.raises(VaultUnreachable, match="lacks the marker"):
            opened("s3", server).put(PATH, b"sealed")
        (found,) = asked(server)
    assert "Credential=THE-KEY/" in found["authorization"]
    assert "/us-east-1/s3/" in found["authorization"]
    assert "x-amz-security-token" not in found
    assert len(found["x-amz-content-sha256"]) == 64


@pytest.mark.parametrize("kind", PLACES)
def test_of_two_brokers_at_once_one_has_the_vault(kind: str) -> None:
    """The other one marks it between our look and our mark."""
    marked = []

    def crossed(connection: socket.socket, request: bytes) -> None:
        if request.startswith(b"PUT "):
            assert MARKER.encode() in request.splitlines()[0]
            only_new = b"\r\nif-none-match: *\r\n" in request.lower()
            marked.append(only_new)
            status = "412 Precondition Failed" if only_new else "201 Created"
            saying(status, b"", 'ETag: "x"')(connection, request)
        elif marked:
            told = ('ETag: "x"', "Last-Modified: Thu, 26 Nov 2026 10:00:00 GMT")
            saying("200 OK", b"another's", *told)(connection, request)
        else:
            saying("404 Not Found")(connection, request)

    with serving(crossed) as server, pytest.raises(StateConflict):
        opened(kind, server).claim()
    assert marked == [kind == "s3"]


@pytest.mark.parametrize("kind", PLACES)
def test_a_place_that_is_not_there_is_no_empty_vault(kind: str, tmp_path: Path) -> None:
    with getattr(servers, kind)(tmp_path) as place:
        missing = {"s3": {"bucket": "nothing"}, "webdav": {"address": f"{place.address}no/thing/"}}
        vault = ObjectVault("archive", replace(place, **missing[kind]), "mine")
        acts = (
            lambda: vault.read(PATH, 0, 6),
            lambda: vault.put(PATH, b"x"),
            lambda: vault.delete(PATH),
            lambda: list(vault.lying()),
        )
        for act in acts:
            with pytest.raises(VaultUnreachable):
                act()
        if kind == "s3":  # WebDAV makes the folder
            with pytest.raises(VaultUnreachable):
                vault.claim()


def test_every_page_of_a_list_is_read_and_what_nobody_put_is_left_out() -> None:
    """A service lists some at once, and may list whatever it likes."""

    def listing(connection: socket.socket, request: bytes) -> None:
        target = request.split(b" ", 2)[1].decode()
        if "list-type=2" not in target:
            told = ('ETag: "x"', "Last-Modified: Thu, 26 Nov 2026 10:00:00 GMT")
            saying("200 OK", b"mine", *told)(connection, request)
            return
        last = "continuation-token=next" in target
        names = ("demo/c/3", "demo/x%2F..%2Fy/1") if last else ("demo/a/1", "demo/b/2", MARKER)
        found = "".join(
            f"<Contents><Key>{name}</Key><Size>1</Size><ETag>x</ETag>"
            "<LastModified>2026-11-26T10:00:00.000Z</LastModified></Contents>"
            for name in names
        )
        more = "" if last else "<NextContinuationToken>next</NextContinuationToken>"
        body = f"<ListBucketResult>{found}{more}</ListBucketResult>"
        saying("200 OK", body.encode())(connection, request)

    with serving(listing) as server:
        found = [one.path for one in opened("s3", server).lying()]
    assert found == ["demo/a/1", "demo/b/2", "demo/c/3"]


@pytest.mark.parametrize("kind", PLACES)
def test_what_is_shorter_than_it_was_is_damaged(kind: str, tmp_path: Path) -> None:
    with getattr(servers, kind)(tmp_path) as place:
        vault = ObjectVault("archive", place, "mine")
        vault.claim()
        vault.put(PATH, b"sealed")
        assert vault.read(PATH, 4, 10) == b"ed"
        for first in (6, 1_000):
            with pytest.raises(EnvelopeDamaged):
                vault.read(PATH, first, first + 4)


@pytest.mark.parametrize(
    "address",
    [
        "https://:p@dav.example/",
        "https://@dav.example/",
        "https://dav.example/#x",
        "https://dav.example/?x",
        "https:///vault",
        "http://127.0.0.1.example/",
    ],
)
def test_an_address_holds_no_secret(tmp_path: Path, address: str) -> None:
    file = tmp_path / "vaults.json"
    file.write_text(f'{{"archive": {{"kind": "webdav", "address": "{address}"}}}}')
    file.chmod(0o600)
    with pytest.raises(SettingsError, match="https://"):
        vaults(str(file), development=False)
