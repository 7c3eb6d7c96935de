"""Response heads: each case through both lanes, whole, cut at every point, octet by octet, with octets behind it."""

from collections.abc import Callable
from typing import Any

import pytest

from harness.values import Alike, run
from rawgate.message import CHUNKED, NO_BODY
from rawgate.wire import ResponseReader

Read = Callable[..., tuple[Any, bytes]]
Make = Callable[..., Any]
Cut = Callable[[bytes], list[list[bytes]]]

_OK = b"HTTP/1.1 200 OK\r\n"

# (method, head) → how it differs from a 200 that ends with the connection (see the `response_head` fixture)
ACCEPTED: dict[str, tuple[bytes, bytes, dict[str, object]]] = {
    "length": (
        b"GET",
        _OK + b"Content-Length: 2\r\n\r\n",
        {"body": 2, "length": 2, "parsed": {b"content-length": b"2"}},
    ),
    "length of zero": (
        b"GET",
        _OK + b"Content-Length: 0\r\n\r\n",
        {"body": 0, "length": 0, "parsed": {b"content-length": b"0"}},
    ),
    "length, equal twice": (
        b"GET",
        _OK + b"Content-Length: 2, 2\r\ncontent-length: \t2\r\n\r\n",
        {"body": 2, "length": 2, "parsed": {b"content-length": b"2"}},
    ),
    "chunked": (
        b"GET",
        _OK + b"Transfer-Encoding: CHUNKED\r\n\r\n",
        {"body": CHUNKED, "parsed": {b"transfer-encoding": b"chunked"}},
    ),
    "chunked, common": (
        b"GET",
        _OK + b"Transfer-Encoding: chunked\r\n\r\n",
        {"body": CHUNKED, "parsed": {b"transfer-encoding": b"chunked"}},
    ),
    "until close": (b"GET", _OK + b"X-A: b\r\n\r\n", {"close": True, "passthrough": [run(b"X-A: b")]}),
    "no fields": (b"GET", _OK + b"\r\n", {"close": True}),
    "close": (
        b"GET",
        _OK + b"Connection: close\r\nContent-Length: 2\r\n\r\n",
        {"body": 2, "length": 2, "close": True, "parsed": {b"connection": b"close", b"content-length": b"2"}},
    ),
    "order, case and repeats stay; what policy asked for is known": (
        b"GET",
        _OK + b"b: 1\r\nSet-Cookie: x\r\nServer: s\r\nset-cookie: y\r\nB:2\r\nX_y: \xe9\r\nContent-Length: 0\r\n\r\n",
        {
            "body": 0,
            "length": 0,
            "parsed": {b"server": b"s", b"content-length": b"0"},
            "passthrough": [run(b"b: 1", b"Set-Cookie: x"), run(b"set-cookie: y", b"B: 2", b"X_y: \xe9")],
        },
    ),
    "hop-by-hop and named fields end here": (
        b"GET",
        _OK + b"Connection: X-Hop, keep-alive\r\nX-Hop: 1\r\nKeep-Alive: timeout=5, max=9\r\nProxy-Connection: x\r\n"
        b"Upgrade: h2c\r\nContent-Length: 0\r\nTrailer: t\r\n\r\n",
        {
            "body": 0,
            "length": 0,
            "keep_alive": 5,
            "parsed": {
                b"connection": b"X-Hop, keep-alive",
                b"proxy-connection": b"x",
                b"upgrade": b"h2c",
                b"content-length": b"0",
            },
            "passthrough": [run(b"Trailer: t")],
        },
    ),
    "a named framing field still frames": (
        b"GET",
        _OK + b"Connection: Content-Length\r\nContent-Length: 3\r\n\r\n",
        {"body": 3, "length": 3, "parsed": {b"connection": b"Content-Length"}},
    ),
    # no body, whatever the fields say
    "HEAD": (
        b"HEAD",
        _OK + b"Content-Length: 1234\r\n\r\n",
        {"body": NO_BODY, "length": 1234, "parsed": {b"content-length": b"1234"}},
    ),
    "HEAD, chunked": (
        b"HEAD",
        _OK + b"Transfer-Encoding: chunked\r\n\r\n",
        {"body": NO_BODY, "parsed": {b"transfer-encoding": b"chunked"}},
    ),
    "HEAD, neither": (b"HEAD", _OK + b"\r\n", {"body": NO_BODY}),
    "304": (
        b"GET",
        b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n",
        {
            "status": 304,
            "phrase": b"Not Modified",
            "body": NO_BODY,
            "length": 9,
            "parsed": {b"content-length": b"9"},
        },
    ),
    "304 without length": (
        b"GET",
        b"HTTP/1.1 304 \r\nX-A: b\r\n\r\n",
        {"status": 304, "phrase": b"", "body": NO_BODY, "passthrough": [run(b"X-A: b")]},
    ),
    "204": (
        b"GET",
        b"HTTP/1.1 204 No Content\r\n\r\n",
        {"status": 204, "phrase": b"No Content", "body": NO_BODY},
    ),
    "204 with length of zero": (
        b"GET",
        b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n",
        {"status": 204, "phrase": b"No Content", "body": NO_BODY, "parsed": {b"content-length": b"0"}},
    ),
    "204 with length: what follows is in doubt": (
        b"GET",
        b"HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\n",
        {
            "status": 204,
            "phrase": b"No Content",
            "body": NO_BODY,
            "close": True,
            "parsed": {b"content-length": b"2"},
        },
    ),
    "204 chunked: what follows is in doubt": (
        b"GET",
        b"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n",
        {
            "status": 204,
            "phrase": b"No Content",
            "body": NO_BODY,
            "close": True,
            "parsed": {b"transfer-encoding": b"chunked"},
        },
    ),
    "100": (
        b"POST",
        b"HTTP/1.1 100 Continue\r\n\r\n",
        {"status": 100, "phrase": b"Continue", "body": NO_BODY},
    ),
    "100 with length: it has no body": (
        b"POST",
        b"HTTP/1.1 100 Continue\r\nContent-Length: 2\r\n\r\n",
        {"status": 100, "phrase": b"Continue", "body": NO_BODY, "parsed": {b"content-length": b"2"}},
    ),
    "103": (
        b"GET",
        b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n",
        {"status": 103, "phrase": b"Early Hints", "body": NO_BODY, "passthrough": [run(b"Link: </a>")]},
    ),
    "101": (
        b"GET",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: WebSocket\r\nConnection: Upgrade\r\nSec-Accept: x\r\n\r\n",
        {
            "status": 101,
            "phrase": b"Switching Protocols",
            "body": NO_BODY,
            "upgrade": b"WebSocket",
            "parsed": {b"connection": b"Upgrade"},
            "passthrough": [run(b"Sec-Accept: x")],
        },
    ),
    "426": (
        b"GET",
        b"HTTP/1.1 426 Upgrade Required\r\nUpgrade: h2c\r\nConnection: upgrade\r\nContent-Length: 0\r\n\r\n",
        {
            "status": 426,
            "phrase": b"Upgrade Required",
            "body": 0,
            "length": 0,
            "upgrade": b"h2c",
            "parsed": {b"connection": b"upgrade", b"content-length": b"0"},
        },
    ),
    # status lines
    "1.0": (
        b"GET",
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n",
        {"body": 2, "length": 2, "close": True, "parsed": {b"content-length": b"2"}},
    ),
    "1.0, keep-alive": (
        b"GET",
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\nConnection: Keep-Alive\r\n\r\n",
        {"body": 2, "length": 2, "parsed": {b"content-length": b"2", b"connection": b"Keep-Alive"}},
    ),
    "1.2 is read as 1.1": (
        b"GET",
        b"HTTP/1.2 200 OK\r\nContent-Length: 2\r\n\r\n",
        {"body": 2, "length": 2, "parsed": {b"content-length": b"2"}},
    ),
    "no phrase": (b"GET", b"HTTP/1.1 299 \r\n\r\n", {"status": 299, "phrase": b"", "close": True}),
    "no phrase, no blank": (b"GET", b"HTTP/1.1 599\r\n\r\n", {"status": 599, "phrase": b"", "close": True}),
    "phrase of opaque octets": (
        b"GET",
        b"HTTP/1.1 200 d\xe9j\xe0  vu\r\n\r\n",
        {"phrase": b"d\xe9j\xe0  vu", "close": True},
    ),
}

# octets that must be refused, not before their last one; True: as soon as it is there
REFUSED: dict[str, tuple[bytes, bool]] = {
    "HTTP/2.0": (b"HTTP/2", True),
    "lower case": (b"h", True),
    "HTML": (b"<", True),
    "ICY": (b"I", True),
    "TLS alert": (b"\x15", True),
    "empty line ahead": (b"\r", True),
    "status of two digits": (b"HTTP/1.1 20 OK\r\n", True),
    "status of letters": (b"HTTP/1.1 2OO OK\r\n", True),
    "status of four digits": (b"HTTP/1.1 2000 OK\r\n", True),
    "status 600": (b"HTTP/1.1 600 Odd\r\n", True),
    "status 099": (b"HTTP/1.1 099 Odd\r\n", True),
    "two blanks": (b"HTTP/1.1  200 OK\r\n", True),
    "no minor version": (b"HTTP/1 ", True),
    "two digits of minor version": (b"HTTP/1.10 200 OK\r\n", True),
    "NUL in the phrase": (b"HTTP/1.1 200 O\x00", True),
    "bare LF": (b"HTTP/1.1 200 OK\n", True),
    "bare LF in a value": (_OK + b"X-A: a\n", True),
    "bare CR in a value": (_OK + b"X-A: a\rb", True),
    "NUL in a value": (_OK + b"X-A: \x00", True),
    "DEL in a name": (_OK + b"X\x7f", True),
    "fold": (_OK + b"X-A: a\r\n ", True),
    "blank before the colon": (_OK + b"X-A : v\r\n\r\n", False),
    "no colon": (_OK + b"X-A\r\n\r\n", False),
    "blank in a name": (_OK + b"X A: v\r\n\r\n", False),
    "lengths differ": (_OK + b"Content-Length: 2\r\nContent-Length: 4\r\n\r\n", False),
    "length negative": (_OK + b"Content-Length: -2\r\n\r\n", False),
    "length with sign": (_OK + b"Content-Length: +2\r\n\r\n", False),
    "length with underscore": (_OK + b"Content-Length: 0_2\r\n\r\n", False),
    "length empty": (_OK + b"Content-Length:\r\n\r\n", False),
    "length of 20 digits": (_OK + b"Content-Length: 18446744073709551618\r\n\r\n", False),
    "length of 5000 digits": (_OK + b"Content-Length: " + b"1" * 5000 + b"\r\n\r\n", False),
    "length and coding": (_OK + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n", False),
    "coding unknown": (_OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n", False),
    "coding twice": (_OK + b"Transfer-Encoding: chunked, chunked\r\n\r\n", False),
    "coding in 1.0": (b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", False),
    "connection malformed": (_OK + b"Connection: a b\r\n\r\n", False),
}


@pytest.mark.parametrize("trailing", [b"", b"\r\n \x00body"], ids=["alone", "trailing"])
@pytest.mark.parametrize(("method", "octets", "differences"), ACCEPTED.values(), ids=ACCEPTED.keys())
def test_accepted(
    method: bytes,
    octets: bytes,
    differences: dict[str, object],
    trailing: bytes,
    fast: bool,
    read_response: Read,
    response_head: Make,
    portionings: Cut,
) -> None:
    expected = Alike(response_head(**differences)), trailing
    for portions in portionings(octets + trailing):
        assert read_response(portions, method, fast) == expected


@pytest.mark.parametrize("method", [b"GET", b"HEAD"])
@pytest.mark.parametrize(("octets", "at_once"), REFUSED.values(), ids=REFUSED.keys())
def test_refused(
    octets: bytes, at_once: bool, method: bytes, fast: bool, read_response: Read, portionings: Cut
) -> None:
    assert read_response([octets[:-1]], method, fast)[0] is None
    cuts = portionings(octets + (b"" if at_once else b"more")) if len(octets) < 200 else [[octets]]
    for portions in cuts:
        assert read_response(portions, method, fast)[0] == (502, "upstream_bad_response")


@pytest.mark.parametrize("octets", [b"HTTP0\r\n\r\n", b"H\r\n", b"HT\0\0\0", b"HTTP/2.0 200 OK\r\n\r\n", b"HTTp"])
def test_another_protocol_is_refused_at_its_first_octet_that_is_not_http(
    octets: bytes, fast: bool, read_response: Read, portionings: Cut
) -> None:
    for portions in portionings(octets):
        assert read_response(portions, b"GET", fast)[0] == (502, "upstream_bad_response")


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (b"timeout=5", 5),
        (b"max=100, Timeout=60", 60),
        (b"timeout = 7", 7),
        (b"timeout=0", 0),
        (b"xtimeout=5", -1),
        (b"timeout=", -1),
        (b"timeout=5000000000", -1),
        (b"max=3", -1),
    ],
)
def test_keep_alive(value: bytes, seconds: int, fast: bool, read_response: Read) -> None:
    octets = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nKeep-Alive: " + value + b"\r\n\r\n"
    assert read_response([octets], b"GET", fast)[0].keep_alive == seconds


def test_interim_heads_come_out_one_by_one(fast: bool, make_response_rules: Make) -> None:
    reader = ResponseReader(make_response_rules(fast))
    data = b"HTTP/1.1 102 Processing\r\n\r\n" * 3 + b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
    statuses = []
    while (head := reader.feed(data, b"GET")) is not None:
        statuses.append(head.status)
        data = reader.rest
        if head.status == 200:
            break
    assert statuses == [102, 102, 102, 200]
    assert data == b"ok"


def test_started(fast: bool, make_response_rules: Make) -> None:
    reader = ResponseReader(make_response_rules(fast))
    assert not reader.started
    assert reader.feed(b"HTTP", b"GET") is None
    assert reader.started


def test_head_limit(fast: bool, read_response: Read, portionings: Cut) -> None:
    octets = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"
    for portions in portionings(octets):
        assert read_response(portions, b"GET", fast, head=len(octets))[0].body == 2
        assert read_response(portions, b"GET", fast, head=len(octets) - 1)[0] == (502, "upstream_bad_response")


def test_field_limit(fast: bool, read_response: Read) -> None:
    octets = b"HTTP/1.1 200 OK\r\nA: 1\r\nB: 2\r\nContent-Length: 2\r\n\r\n"
    assert read_response([octets], b"GET", fast, headers=3)[0].passthrough == [run(b"A: 1", b"B: 2")]
    assert read_response([octets], b"GET", fast, headers=2)[0] == (502, "upstream_bad_response")
