"""The strict reader accepts what RFC 9112 allows a sender, and nothing else."""

import pytest

from harness.wire_reader import FIN, Cut, Malformed, Stream, read_body, read_request, read_response, read_response_head

HEAD = b"POST /a?b HTTP/1.1\r\nHost: a\r\n"
TE = b"Transfer-Encoding: chunked\r\n"

GOOD = {
    "no body": (HEAD + b"\r\n", b""),
    "length": (HEAD + b"Content-Length: 5\r\n\r\nhello", b"hello"),
    "chunked": (HEAD + TE + b"\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\nX-T: 1\r\n\r\n", b"hello"),
    "empty value": (HEAD + b"X-A:\r\nX-B: \t \r\n\r\n", b""),
    "obs-text": (HEAD + b"X-A: caf\xe9\r\n\r\n", b""),
}

BAD = {
    "bare LF": b"GET / HTTP/1.1\nHost: a\r\n\r\n",
    "bare CR": HEAD + b"X-A: b\rX-B: c\r\n\r\n",
    "two blanks": b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
    "blank at the end": b"GET / HTTP/1.1 \r\nHost: a\r\n\r\n",
    "no version": b"GET /\r\nHost: a\r\n\r\n",
    "no Host": b"GET / HTTP/1.1\r\n\r\n",
    "two Hosts": HEAD + b"Host: a\r\n\r\n",
    "leading CRLF": b"\r\n" + HEAD + b"\r\n",
    "folded": HEAD + b"X-A: b\r\n c\r\n\r\n",
    "blank before the colon": HEAD + b"X-A : b\r\n\r\n",
    "no colon": HEAD + b"X-A\r\n\r\n",
    "no name": HEAD + b": b\r\n\r\n",
    "NUL": HEAD + b"X-A: b\0\r\n\r\n",
    "DEL": HEAD + b"X-A: b\x7f\r\n\r\n",
    "two framings": HEAD + b"Content-Length: 0\r\n" + TE + b"\r\n0\r\n\r\n",
    "two lengths": HEAD + b"Content-Length: 0\r\nContent-Length: 0\r\n\r\n",
    "list of lengths": HEAD + b"Content-Length: 0, 0\r\n\r\n",
    "signed length": HEAD + b"Content-Length: +0\r\n\r\n",
    "other coding": HEAD + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "extension": HEAD + TE + b"\r\n0;a\r\n\r\n",
    "blank after the size": HEAD + TE + b"\r\n0 \r\n\r\n",
    "no size": HEAD + TE + b"\r\n\r\n\r\n",
    "spill": HEAD + TE + b"\r\n2\r\nokay0\r\n\r\n",
    "bad trailer": HEAD + TE + b"\r\n0\r\nX T: 1\r\n\r\n",
}


@pytest.mark.parametrize("name", GOOD)
def test_reads(name: str) -> None:
    octets, body = GOOD[name]
    stream = Stream.of(octets + b"next")
    message = read_request(stream)
    assert message is not None
    assert (message.method, message.target, message.body) == (b"POST", b"/a?b", body)
    assert message.complete
    assert message.raw == octets
    assert stream.unread == b"next"


@pytest.mark.parametrize("name", BAD)
def test_refuses(name: str) -> None:
    with pytest.raises(Malformed):
        read_request(Stream.of(BAD[name]))


@pytest.mark.parametrize("name", GOOD)
def test_cut_anywhere(name: str) -> None:
    octets, _ = GOOD[name]
    for length in range(1, len(octets)):
        with pytest.raises(Cut, match=FIN):
            read_request(Stream.of(octets[:length]))


def test_the_end_before_a_message() -> None:
    assert read_request(Stream.of(b"")) is None
    assert read_response(Stream.of(b"")) is None


@pytest.mark.parametrize(
    ("method", "octets", "body"),
    [
        (b"GET", b"HTTP/1.1 200 OK\r\n\r\nall of it", b"all of it"),
        (b"HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", b""),
        (b"GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", b""),
        (b"GET", b"HTTP/1.1 204 \r\n\r\n", b""),
        (b"GET", b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", b"ok"),
    ],
)
def test_reads_responses(method: bytes, octets: bytes, body: bytes) -> None:
    message = read_response(Stream.of(octets), method)
    assert message is not None
    assert (message.body, message.complete) == (body, True)


@pytest.mark.parametrize(
    "octets",
    [
        b"HTTP/1.0 200 OK\r\n\r\n",
        b"HTTP/1.1 600 Odd\r\n\r\n",
        b"HTTP/1.1 200\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\nTransfer-Encoding: chunked\r\n\r\n",
    ],
)
def test_refuses_responses(octets: bytes) -> None:
    with pytest.raises(Malformed):
        read_response(Stream.of(octets))


def test_what_came_of_a_body_that_breaks_off() -> None:
    stream = Stream.of(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel")
    message = read_response_head(stream)
    assert message is not None
    with pytest.raises(Cut):
        read_body(stream, message)
    assert (message.body, message.complete) == (b"hel", False)
