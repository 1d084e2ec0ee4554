"""Size, nesting and encoding of bodies: refused before parsing, by a process that lives on."""

import asyncio
import gzip
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.types import Message, Receive, Scope, Send

from broker.api.limits import MAX_PARTS, Limits, deeper_than
from tests.broker.clients_world import BYTES, DEPTH, World, world

JSON = {"Content-Type": "application/json", "Idempotency-Key": "one"}


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[World]:
    with world(tmp_path) as made:
        yield made


def test_json_of_90000_levels_gets_a_400_and_the_process_lives_on(broker: World) -> None:
    headers = broker.bearer(broker.officer) | JSON
    body = b"[" * 90_000 + b"]" * 90_000
    answer = broker.http.post("/v1/templates", content=body, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (400, "json_too_deep")
    assert broker.http.get("/healthz").status_code == 200


@pytest.mark.parametrize("body", [b'{"a":' * 50_000, b"[" * 90_000, b'[{"a":[' * 20_000])
def test_unclosed_nesting_is_refused_as_well(broker: World, body: bytes) -> None:
    answer = broker.http.post("/v1/templates", content=body, headers=JSON)
    assert (answer.status_code, answer.json()["code"]) == (400, "json_too_deep")


def test_nesting_is_refused_without_a_content_type_too(broker: World) -> None:
    answer = broker.http.post("/v1/templates", content=b"[" * 90_000)
    assert answer.json()["code"] == "json_too_deep"


def test_a_body_of_countless_small_lists_is_refused() -> None:
    json_body = [(b"content-type", b"application/json")]
    for body in (b"[" + b"[]," * (MAX_PARTS // 2) + b"[]]", b"[" + b"0," * MAX_PARTS + b"0]"):
        whole: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]
        assert collected(whole, json_body, max_bytes=len(body)) == (b"", 400)


def test_json_in_utf_16_which_would_hide_its_brackets_is_refused(broker: World) -> None:
    body = ('{"a":"\\' + '"' + "[" * 500).encode("utf-16-le")
    answer = broker.http.post("/v1/templates", content=body, headers=JSON)
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_request")


def test_a_body_over_the_cap_is_a_413(broker: World) -> None:
    answer = broker.http.post("/v1/templates", content=b" " * (BYTES + 1), headers=JSON)
    assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")


def test_a_chunked_body_over_the_cap_is_a_413_however_it_is_announced(broker: World) -> None:
    def chunks() -> Iterator[bytes]:
        for _ in range(BYTES // 1024 + 1):
            yield b" " * 1024

    answer = broker.http.post("/v1/templates", content=chunks(), headers=JSON)
    assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")


@pytest.mark.parametrize("encoding", ["gzip", "br", "deflate", "gzip, identity"])
def test_a_compressed_body_is_a_415_and_is_not_inflated(broker: World, encoding: str) -> None:
    bomb = gzip.compress(b"[" * 10_000_000)
    answer = broker.http.post(
        "/v1/templates", content=bomb, headers=JSON | {"Content-Encoding": encoding}
    )
    assert (answer.status_code, answer.json()["code"]) == (415, "content_encoding_refused")
    assert answer.headers["accept-encoding"] == "identity"


def test_a_body_at_the_limits_arrives_whole(broker: World) -> None:
    headers = broker.bearer(broker.officer) | JSON
    nested: Any = "x"
    for _ in range(DEPTH - 1):
        nested = [nested]
    answer = broker.http.post("/v1/templates", json={"a": nested}, headers=headers)
    assert answer.json()["code"] == "invalid_template"


def collected(
    chunks: list[Message], headers: list[tuple[bytes, bytes]], *, max_bytes: int = 100
) -> tuple[bytes, int]:
    """What an application below the limits receives of some messages, and the answer's status."""
    seen = b""
    status = 0

    async def app(_scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal seen
        message = await receive()
        seen = message["body"]
        assert not message["more_body"]
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def messages() -> AsyncIterator[Message]:
        for message in chunks:
            yield message

    async def send(message: Message) -> None:
        nonlocal status
        status = message.get("status", status)

    async def run() -> None:
        source = messages()
        scope = {"type": "http", "method": "POST", "path": "/", "headers": headers, "state": {}}
        await Limits(app, max_bytes=max_bytes, max_depth=2)(scope, source.__anext__, send)

    asyncio.run(run())
    return seen, status


def test_chunks_are_joined_in_order() -> None:
    parts = [b"[1,", b"", b"2]"]
    chunks: list[Message] = [
        {"type": "http.request", "body": part, "more_body": at < 2} for at, part in enumerate(parts)
    ]
    assert collected(chunks, []) == (b"[1,2]", 200)


def test_nesting_split_over_chunks_is_seen() -> None:
    chunks: list[Message] = [
        {"type": "http.request", "body": b"[", "more_body": n < 3} for n in range(4)
    ]
    assert collected(chunks, [(b"content-type", b"application/json")]) == (b"", 400)


@pytest.mark.parametrize("length", [b"101", b"-1", b"1e3", b"9" * 5000])
def test_a_length_that_is_too_large_or_none_is_refused_unread(length: bytes) -> None:
    assert collected([], [(b"content-length", length)]) == (b"", 413)


def test_a_form_may_hold_brackets() -> None:
    chunks: list[Message] = [
        {"type": "http.request", "body": b"vp_token=[[[[[", "more_body": False}
    ]
    form = [(b"content-type", b"application/x-www-form-urlencoded; charset=utf-8")]
    assert collected(chunks, form)[1] == 200


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text('[]{}"\\ab\n', max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text('[{"\\', max_size=3), inner, max_size=3)
    ),
    max_leaves=30,
)


def depth_of(value: object) -> int:
    if isinstance(value, dict):
        return 1 + max(map(depth_of, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(depth_of, value), default=0)
    return 0


@given(values, st.integers(0, 6), st.booleans())
def test_the_scan_finds_exactly_the_depth_that_a_parser_would(
    value: object, limit: int, ascii_only: bool
) -> None:
    text = json.dumps(value, ensure_ascii=ascii_only).encode()
    assert deeper_than(text, limit) == (depth_of(value) > limit)


@given(st.text('[]{}"a,', max_size=60), st.integers(0, 5))
def test_whatever_a_parser_may_enter_before_it_fails_is_counted(text: str, limit: int) -> None:
    level = deepest = 0
    for piece in text.split('"')[::2]:
        for letter in piece:
            level += {"[": 1, "{": 1, "]": -1, "}": -1}.get(letter, 0)
            deepest = max(deepest, level)
    if deepest > limit:
        assert deeper_than(text.encode(), limit)


@given(st.binary(max_size=300), st.integers(0, 5))
def test_the_scan_takes_any_bytes(data: bytes, limit: int) -> None:
    assert deeper_than(data, limit) in {True, False}
