"""The promise of the fast lane: every head that it accepts, the h11 lane accepts and reads alike.

Heads are generated from the grammar and then damaged, since heads that are nearly right are where two readers part.
"""

from collections.abc import Callable
from itertools import permutations
from typing import Any

import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from harness.values import contents
from rawgate.errors import MessageError
from rawgate.wire import RequestReader, RequestRules, ResponseReader, ResponseRules
from rawgate.wire.fast_lane import read_fields
from rawgate.wire.fields import FieldNames

WANTED = frozenset((b"authorization", b"x-user-id", b"date"))
WATCHED = frozenset((b"x-a", b"set-cookie", b"x-forwarded-*"))
REQUEST_RULES = {fast: RequestRules(2048, 12, 200, WANTED, WANTED, fast, WATCHED) for fast in (True, False)}
RESPONSE_RULES = {fast: ResponseRules(2048, 12, WANTED, fast, WATCHED) for fast in (True, False)}

NAMES = st.sampled_from(
    [
        *(b"Host", b"host", b"HOST", b"Content-Length", b"content-length", b"Transfer-Encoding", b"Connection"),
        *(b"connection", b"Keep-Alive", b"Proxy-Connection", b"TE", b"Upgrade", b"Expect", b"Trailer", b"Date"),
        *(b"Authorization", b"AUTHORIZATION", b"X-User-Id", b"X_User_Id", b"X-A", b"x-b", b"Close", b"Set-Cookie"),
        *(b"X-Forwarded-By", b"x_a"),
    ]
) | st.from_regex(rb"[!#$%&'*+.^_`|~0-9a-zA-Z-]{1,6}", fullmatch=True)
VALUES = st.sampled_from(
    [
        *(b"a", b"a:80", b"example.test", b"[::1]", b"a b", b"a/b", b"", b"0", b"5", b"05", b"5, 5", b"+5", b"9" * 18),
        *(b"9" * 19, b"9" * 20, b"0" * 21, b"chunked", b"Chunked", b"gzip, chunked", b"close", b"Close", b"cLoSe"),
        *(b"keep-alive", b"Keep-Alive", b"x-a", b"close, x-b", b"upgrade", b"websocket", b"100-continue", b"timeout=5"),
        *(b" a", b"a ", b"\ta", b"a\tb", b"\xe9", b"Bearer x.y.z"),
        *(b"a" * 255, b"a" * 256, b"a" * 257, b"a b " * 70 + b"c", b"a" * 400, b"a" * 260 + b"\xe9b"),
        *(b"a" * 260 + b"\x00b", b"a" * 260 + b"\tb", b"a" * 260 + b" ", b"a" * 255 + b" "),
    ]
) | st.binary(max_size=6)
ODD_LINES = st.tuples(NAMES, st.sampled_from([b": "] * 6 + [b":", b":  ", b" : "]), VALUES).map(b"".join)
# One line each of what the fast lane has to understand, among lines that it only has to pass.
SANE_LINES = st.tuples(
    st.sampled_from([b"", b"Connection: close", b"Connection: keep-alive"]),
    st.sampled_from([b"", b"Content-Length: 0", b"Content-Length: 007", b"Transfer-Encoding: chunked"]),
    st.sampled_from([b"", b"Authorization: Bearer x.y.z", b"date: now", b"X-USER-ID: me"]),
    st.from_regex(rb"(?:x[a-z!.-]{0,3}: [!-~\x80-\xff](?:[ -~\x80-\xff]{0,6}[!-~])?)?", fullmatch=True),
    st.from_regex(rb"(?:Set-Cookie: [a-z=; ]{0,6}[a-z])?", fullmatch=True),
    st.sampled_from([b"", b"X-A: 1", b"x-forwarded-any: 2"]),
).flatmap(st.permutations)
LINES = st.tuples(SANE_LINES, st.lists(ODD_LINES, max_size=8) | st.just([]) | st.just([])).map(
    lambda both: [line for line in both[0] + both[1] if line]
)
METHODS = st.sampled_from([b"GET", b"POST", b"HEAD", b"OPTIONS"] * 3 + [b"CONNECT", b"TRACE", b"get", b"PURGE"])
TARGETS = st.sampled_from([b"/"] * 12 + [b"/", b"/a?b=c", b"//x", b"*", b"/a#b", b"a", b"http://b/c", b"/\\", b'/"'])
# Where this lane no longer looks at each octet, and the limit.
TARGETS |= st.builds(
    lambda length, odd: b"/" + b"a" * length + odd,
    st.sampled_from([126, 127, 128, 198, 199, 200]),
    st.sampled_from([b"", b"", b"#", b"\xe9", b"\x7f", b"\x00"]),
)
VERSIONS = st.sampled_from([b"HTTP/1.1"] * 12 + [b"HTTP/1.0", b"HTTP/1.2", b"HTTP/2.0"])
STATUSES = st.sampled_from(
    [b"200"] * 12 + [b"299", b"204", b"304", b"404", b"500", b"599", b"600", b"100", b"101", b"20", b"426"]
)
PHRASES = st.sampled_from([b" OK"] * 8 + [b" Not Found", b" ", b"", b"  x", b" \xe9", b" a\tb", b" a "])
DAMAGE: st.SearchStrategy[list[tuple[float, int, bytes]]] = st.just([]) | st.lists(
    st.tuples(
        st.floats(0, 1), st.integers(0, 2), st.sampled_from([b"", b" ", b"\t", b"\r", b"\n", b"\x00", b":", b"a"])
    ),
    max_size=2,
)


def damaged(octets: bytes, damages: list[tuple[float, int, bytes]]) -> bytes:
    """With some octets taken out, and others put in their place."""
    for where, taken, put in damages:
        at = int(where * len(octets))
        octets = octets[:at] + put + octets[at + taken :]
    return octets


def outcome(read: Callable[[bytes], Any], octets: bytes, rest: Callable[[], bytes]) -> Any:
    try:
        head = read(octets)
    except MessageError as error:
        return error.reason
    return type(head).__name__, contents(head), rest() if head is not None else b""


def read_request(fast: bool, octets: bytes) -> Any:
    reader = RequestReader(REQUEST_RULES[fast])
    return outcome(reader.feed, octets, lambda: reader.rest)


def read_response(fast: bool, octets: bytes, method: bytes) -> Any:
    reader = ResponseReader(RESPONSE_RULES[fast])
    return outcome(lambda data: reader.feed(data, method), octets, lambda: reader.rest)


def head(*start_line: bytes, lines: list[bytes], behind: bytes) -> bytes:
    return b" ".join(start_line) + b"\r\n" + b"".join(line + b"\r\n" for line in lines) + b"\r\n" + behind


REQUESTS = st.builds(
    lambda method, target, version, host, lines, behind: head(
        method, target, version, lines=[*host, *lines], behind=behind
    ),
    METHODS,
    TARGETS,
    VERSIONS,
    st.sampled_from([[b"Host: a"]] * 9 + [[]]),
    LINES,
    st.binary(max_size=4),
)
RESPONSES = st.builds(
    lambda version, status, phrase, lines, behind: head(version, status + phrase, lines=lines, behind=behind),
    VERSIONS,
    STATUSES,
    PHRASES,
    LINES,
    st.binary(max_size=4),
)


@given(REQUESTS, DAMAGE)
def test_request_lanes_agree(octets: bytes, damages: list[tuple[float, int, bytes]]) -> None:
    octets = damaged(octets, damages)
    fast = read_request(True, octets)
    event(fast[0] if isinstance(fast, tuple) else fast.code)
    assert fast == read_request(False, octets)


@given(RESPONSES, st.sampled_from([b"GET", b"HEAD", b"POST"]), DAMAGE)
def test_response_lanes_agree(octets: bytes, method: bytes, damages: list[tuple[float, int, bytes]]) -> None:
    octets = damaged(octets, damages)
    fast = read_response(True, octets, method)
    event(fast[0] if isinstance(fast, tuple) else fast.code)
    assert fast == read_response(False, octets, method)


@given(REQUESTS, DAMAGE, st.integers(1, 9))
def test_the_verdict_on_a_request_does_not_depend_on_portions(
    octets: bytes, damages: list[tuple[float, int, bytes]], step: int
) -> None:
    octets = damaged(octets, damages)
    reader = RequestReader(REQUEST_RULES[True])
    portions = [octets[at : at + step] for at in range(0, len(octets), step)]

    def read(_: bytes) -> Any:
        while portions:
            if (request := reader.feed(portions.pop(0))) is not None:
                return request
        return None

    assert outcome(read, b"", lambda: reader.rest + b"".join(portions)) == read_request(True, octets)


# What must not fall out of the fast lane unnoticed: heads as today's clients and servers send them.

REAL_REQUESTS = {
    "curl": b"GET /api HTTP/1.1\r\nHost: 127.0.0.1:8080\r\nUser-Agent: curl/7.88.1\r\nAccept: */*\r\n\r\n",
    "wrk": b"GET /api HTTP/1.1\r\nHost: 127.0.0.1:8080\r\nAuthorization: Bearer a.b.c\r\n\r\n",
    "curl, upload": (
        b"POST /api?x=1 HTTP/1.1\r\nHost: a\r\nUser-Agent: curl/7.88.1\r\nAccept: */*\r\nContent-Length: 3\r\n"
        b"Content-Type: application/x-www-form-urlencoded\r\n\r\nabc"
    ),
    "httpx, stream": (
        b"PUT /api HTTP/1.1\r\nHost: a\r\nAccept: */*\r\nAccept-Encoding: gzip, deflate\r\nConnection: keep-alive\r\n"
        b"User-Agent: python-httpx/0.28.1\r\nTransfer-Encoding: chunked\r\n\r\n"
    ),
    "browser": (
        b"GET /app HTTP/1.1\r\nHost: example.test\r\nConnection: keep-alive\r\n"
        b'sec-ch-ua: "Chromium";v="128", "Not;A=Brand";v="24"\r\nsec-ch-ua-mobile: ?0\r\n'
        b"User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko)\r\n"
        b"Accept: text/html,*/*;q=0.8\r\nReferer: https://example.test/\r\nCookie: a=1; b=2\r\n\r\n"
    ),
}
REAL_RESPONSES = {
    "nginx": (
        b"HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\nDate: Mon, 01 Jan 2024 00:00:00 GMT\r\n"
        b"Content-Type: application/json\r\nContent-Length: 2\r\nConnection: keep-alive\r\n\r\n{}"
    ),
    "Node": (
        b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nDate: Mon, 01 Jan 2024 00:00:00 GMT\r\n"
        b"Connection: keep-alive\r\nKeep-Alive: timeout=5\r\nContent-Length: 2\r\n\r\nok"
    ),
    "uvicorn": (
        b"HTTP/1.1 200 OK\r\ndate: Mon, 01 Jan 2024 00:00:00 GMT\r\nserver: uvicorn\r\ncontent-length: 2\r\n\r\n{}"
    ),
    "chunked": b"HTTP/1.1 404 Not Found\r\nTransfer-Encoding: chunked\r\nSet-Cookie: a\r\nSet-Cookie: b\r\n\r\n0\r\n",
}


@pytest.fixture
def without_h11(monkeypatch: pytest.MonkeyPatch) -> None:
    """The h11 lane reads nothing."""

    def nothing(*_: object) -> None:
        return None

    monkeypatch.setattr(RequestReader, "_read", nothing)
    monkeypatch.setattr(ResponseReader, "_read", nothing)


@pytest.mark.usefixtures("without_h11")
@pytest.mark.parametrize("octets", REAL_REQUESTS.values(), ids=REAL_REQUESTS.keys())
def test_requests_of_real_clients_are_recognised(octets: bytes) -> None:
    assert read_request(True, octets)[0] == "RequestHead"
    assert read_request(False, octets)[1] is None


@pytest.mark.parametrize("length", [1, 2, 3, 8, 255, 256, 257, 300])
def test_each_octet_at_each_place_of_a_value(length: int) -> None:
    """Also behind the place from which on a long value is looked at as a whole."""
    names = FieldNames(frozenset((b"x-a",)))
    for place in {0, length // 2, length - 2, length - 1} - {-1}:
        for octet in range(256):
            value = b"\xe9" * place + bytes([octet]) + b"\xe9" * (length - place - 1)
            head = b"X-A: %b\r\n\r\n" % value
            found = read_fields(head, 0, names, 1024, 8)
            edge = octet == 0x20 and place in (0, length - 1)
            if octet < 0x20 or octet == 0x7F or edge:
                assert found is None, (place, octet)
            else:
                assert found is not None, (place, octet)
                assert found.parsed == {b"x-a": value}


def test_a_spelling_that_was_seen_does_not_stand_for_another() -> None:
    """The first spelling of each length and first letter is remembered in a place of its own."""
    names = FieldNames(frozenset((b"x-a-name-1", b"x-a-name-2")), frozenset((b"x-a-name-3",)))
    lines = [b"X-A-Name-%d: %d" % (number, number) for number in (4, 3, 1, 2)]
    for order in permutations(lines):
        fields = read_fields(b"\r\n".join(order) + b"\r\n\r\n", 0, names, 1024, 8)
        assert fields is not None
        assert fields.parsed == {b"x-a-name-1": b"1", b"x-a-name-2": b"2"}
        assert [name for _, name in fields.removable] == [b"x-a-name-3"]


@pytest.mark.usefixtures("without_h11")
@pytest.mark.parametrize("octets", REAL_RESPONSES.values(), ids=REAL_RESPONSES.keys())
def test_responses_of_real_servers_are_recognised(octets: bytes) -> None:
    assert read_response(True, octets, b"GET")[0] == "ResponseHead"
    assert read_response(False, octets, b"GET")[1] is None
