"""Heads that go out: as octets, and read back by the other side's reader."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.values import run
from rawgate.message import CHUNKED, NO_BODY, UNTIL_CLOSE
from rawgate.wire import (
    LAST_CHUNK,
    RequestReader,
    RequestRules,
    ResponseReader,
    chunk,
    last_chunk,
    request_head,
    response_tail,
)

Make = Callable[..., Any]

_LINE = b"GET / HTTP/1.1\r\nHost: a\r\n"
_STATUS = b"HTTP/1.1 200 OK\r\nX-A: b\r\n"


@pytest.mark.parametrize(
    ("arguments", "fields"),
    [
        ((NO_BODY, False, b""), b""),
        ((NO_BODY, False, b"", True), b"Content-Length: 0\r\n"),
        ((5, False, b""), b"Content-Length: 5\r\n"),
        ((5, True, b"", True), b"Content-Length: 5\r\nExpect: 100-continue\r\n"),
        ((CHUNKED, False, b""), b"Transfer-Encoding: chunked\r\n"),
        ((CHUNKED, True, b"", True), b"Transfer-Encoding: chunked\r\nExpect: 100-continue\r\n"),
        ((NO_BODY, False, b"websocket"), b"Connection: Upgrade\r\nUpgrade: websocket\r\n"),
    ],
)
def test_request_head(arguments: tuple[Any, ...], fields: bytes) -> None:
    assert request_head(_LINE, *arguments) == _LINE + fields + b"\r\n"


@pytest.mark.parametrize(
    ("arguments", "fields"),
    [
        ((5, 5, b""), b"Content-Length: 5\r\n"),
        ((NO_BODY, 0, b""), b"Content-Length: 0\r\n"),
        ((NO_BODY, -1, b""), b""),
        ((NO_BODY, 1234, b"keep-alive"), b"Content-Length: 1234\r\nConnection: keep-alive\r\n"),
        ((CHUNKED, -1, b"close"), b"Transfer-Encoding: chunked\r\nConnection: close\r\n"),
        ((UNTIL_CLOSE, -1, b"close"), b"Connection: close\r\n"),
        ((NO_BODY, -1, b"upgrade", b"websocket"), b"Upgrade: websocket\r\nConnection: upgrade\r\n"),
        ((0, 0, b"", b"websocket"), b"Content-Length: 0\r\nUpgrade: websocket\r\nConnection: upgrade\r\n"),
        ((0, 0, b"close", b"h"), b"Content-Length: 0\r\nUpgrade: h\r\nConnection: close, upgrade\r\n"),
    ],
)
def test_response_head(arguments: tuple[Any, ...], fields: bytes) -> None:
    assert response_tail(*arguments) == fields + b"\r\n"


def test_chunks() -> None:
    assert chunk(b"a" * 17) == b"11\r\n" + b"a" * 17 + b"\r\n"
    assert last_chunk([]) == LAST_CHUNK
    assert last_chunk([(b"A", b"b"), (b"C", b"")]) == b"0\r\nA: b\r\nC: \r\n\r\n"


@given(st.integers(-1, 1 << 40), st.booleans(), st.booleans())
def test_a_written_request_head_is_read_back(body: int, expect: bool, announced: bool) -> None:
    for fast in (True, False):
        reader = RequestReader(RequestRules(4096, 10, 100, frozenset(), frozenset(), fast))
        head = reader.feed(request_head(_LINE, body, expect, b"", announced) + b"rest")
        assert head is not None
        assert (head.body, head.expect, head.close, reader.rest) == (body, expect and body != 0, False, b"rest")


@pytest.mark.parametrize("method", [b"GET", b"HEAD"])
@pytest.mark.parametrize("framing", [CHUNKED, UNTIL_CLOSE, 0, 9])
def test_a_written_response_head_is_read_back(
    framing: int, method: bytes, fast: bool, make_response_rules: Make
) -> None:
    reader = ResponseReader(make_response_rules(fast))
    length = max(framing, -1)
    head = reader.feed(_STATUS + response_tail(framing, length, b""), method)
    assert head is not None
    expected = framing if method == b"GET" else NO_BODY
    assert (head.body, head.length, head.passthrough) == (expected, length, [run(b"X-A: b")])
