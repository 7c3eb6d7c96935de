"""Own replies: octet for octet, and as h11 reads them."""

import json

import h11
import pytest

from rawgate.errors import AUTH_BAD_SIGNATURE, NO_ROUTE, OK, QUEUE_FULL, REASONS, Reason
from rawgate.message import LocalReply
from rawgate.wire.reply import PHRASES, body_octets, problem, reply

DATE = b"Sun, 06 Nov 1994 08:49:37 GMT"


def refusal(reason: Reason, fields: bytes = b"", request_id: str = "r") -> LocalReply:
    return LocalReply(reason.status, reason, fields, "", "", request_id, "")


def page(status: int, body: bytes = b"", kind: bytes = b"", fields: bytes = b"") -> LocalReply:
    return LocalReply(status, OK, fields, "", "", "r", "", body=body, content_type=kind)


def written(local: LocalReply, *, head_only: bool = False, connection: bytes = b"") -> bytes:
    return reply(local, date=DATE, head_only=head_only, connection=connection)


def test_refusal() -> None:
    octets = written(refusal(NO_ROUTE, b"Vary: Origin\r\n", "r1"), connection=b"close")
    head, _, body = octets.partition(b"\r\n\r\n")
    assert head == (
        b"HTTP/1.1 404 Not Found\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nContent-Type: application/problem+json\r\n"
        b"Content-Length: %d\r\nCache-Control: no-store\r\nX-Request-Id: r1\r\nVary: Origin\r\nConnection: close"
        % len(body)
    )
    assert json.loads(body) == {
        "type": "about:blank",
        "title": "Not Found",
        "status": 404,
        "detail": "No route matches this host and path.",
        "reason": "no_route",
        "requestId": "r1",
    }


def test_the_detail_can_be_given_and_the_reason_is_the_public_one() -> None:
    document = json.loads(problem(AUTH_BAD_SIGNATURE, 'a "detail"', "r"))
    assert (document["detail"], document["reason"]) == ('a "detail"', "auth_invalid")


@pytest.mark.parametrize(
    "local", [refusal(NO_ROUTE), page(200, b"{}", b"application/json"), page(503, b"{}"), page(404, b"", b"text/plain")]
)
def test_head_has_the_fields_without_the_body(local: LocalReply) -> None:
    head, line, body = written(local).partition(b"\r\n\r\n")
    assert b"Content-Length: %d\r\n" % len(body) in head + b"\r\n"
    assert written(local, head_only=True) == head + line


@pytest.mark.parametrize(("status", "length"), [(200, b"Content-Length: 0\r\n"), (204, b"")])
def test_success_has_no_body(status: int, length: bytes) -> None:
    assert written(page(status, fields=b"A: b\r\n")) == (
        b"HTTP/1.1 %d %b\r\nDate: %b\r\n%bCache-Control: no-store\r\nX-Request-Id: r\r\nA: b\r\n\r\n"
        % (status, PHRASES[status].encode(), DATE, length)
    )


HTML = b"text/html; charset=utf-8"


def test_a_page_is_written_as_it_was_given() -> None:
    local = page(200, b"<p>up", HTML, b"ETag: x\r\n")
    assert written(local, connection=b"close") == (
        b"HTTP/1.1 200 OK\r\nDate: %b\r\nContent-Type: %b\r\nContent-Length: 5\r\nCache-Control: no-store\r\n"
        b"X-Request-Id: r\r\nETag: x\r\nConnection: close\r\n\r\n<p>up" % (DATE, HTML)
    )
    assert body_octets(written(local)) == 5
    assert body_octets(written(local, head_only=True)) == 0


def test_a_refusal_with_content_of_its_own_has_no_problem_document() -> None:
    local = LocalReply(404, NO_ROUTE, b"", "", "", "r", "", body=b"<p>gone", content_type=HTML)
    assert written(local).endswith(b"\r\n\r\n<p>gone")
    empty = LocalReply(404, NO_ROUTE, b"", "", "", "r", "", content_type=HTML)
    assert b"Content-Type: %b\r\nContent-Length: 0\r\n" % HTML in written(empty)


@pytest.mark.parametrize("status", PHRASES)
def test_h11_reads_a_page_of_every_status(status: int) -> None:
    """Two replies on one connection: h11 finds the end of the first, and so the beginning of the second."""
    connection = h11.Connection(h11.CLIENT)
    octets = written(page(status, b"page", HTML))
    connection.receive_data(octets + octets)
    for _ in range(2):
        connection.send(h11.Request(method="GET", target="/", headers=[("Host", "a")]))
        connection.send(h11.EndOfMessage())
        response = connection.next_event()
        assert isinstance(response, h11.Response)
        assert (response.status_code, response.reason) == (status, PHRASES[status].encode())
        names = {name for name, _ in response.headers}
        framed = {b"content-length"} if status not in {204, 304} else set()
        typed = {b"content-type"} if status not in {204, 205, 304} else set()
        assert names & {b"content-length", b"content-type"} == framed | typed
        event = connection.next_event()
        assert isinstance(event, h11.Data) == bool(typed)
        if isinstance(event, h11.Data):
            assert bytes(event.data) == b"page"
            event = connection.next_event()
        assert isinstance(event, h11.EndOfMessage)
        connection.start_next_cycle()
    assert connection.trailing_data == (b"", False)


CACHED = b"Vary: Accept\r\ncache-control: max-age=60\r\n"


@pytest.mark.parametrize(
    ("local", "stored"),
    [
        (page(200, b"x"), False),
        (page(200, b"x", fields=b"X-Cache-Control: max-age=60\r\n"), False),
        (page(308, fields=b"Location: /new\r\n"), False),
        (page(200, b"x", fields=CACHED), True),
        (page(404, b"x", fields=CACHED), True),
        (page(200, b"", HTML, CACHED), True),
        (page(304, fields=CACHED), True),
        (page(308, fields=b"Location: /new\r\n" + CACHED), True),
        (page(204, fields=CACHED), False),
        (refusal(NO_ROUTE, CACHED), False),
    ],
)
def test_only_a_page_or_a_redirect_that_says_so_may_be_stored(local: LocalReply, stored: bool) -> None:
    assert (b"Cache-Control: no-store\r\n" not in written(local)) == stored


@pytest.mark.parametrize(
    ("local", "times"),
    [
        (refusal(QUEUE_FULL), [b"1"]),
        (refusal(QUEUE_FULL, b"retry-after: 30\r\n"), [b"30"]),
        (refusal(NO_ROUTE), []),
        (page(503, b"down"), []),
    ],
)
def test_a_503_says_once_when_to_come_again(local: LocalReply, times: list[bytes]) -> None:
    lines = written(local).split(b"\r\n")
    assert [line.partition(b": ")[2] for line in lines if line.lower().startswith(b"retry-after:")] == times


REFUSALS = [code for code, reason in REASONS.items() if reason.status >= 400 and code != "client_gone"]


@pytest.mark.parametrize("code", REFUSALS)
def test_h11_reads_every_refusal(code: str) -> None:
    reason = REASONS[code]
    connection = h11.Connection(h11.CLIENT)
    connection.send(h11.Request(method="GET", target="/", headers=[("Host", "a")]))
    connection.send(h11.EndOfMessage())
    connection.receive_data(written(refusal(reason)))
    response = connection.next_event()
    assert isinstance(response, h11.Response)
    assert (response.status_code, response.reason) == (reason.status, PHRASES[reason.status].encode())
    data = connection.next_event()
    assert isinstance(data, h11.Data)
    assert json.loads(bytes(data.data))["status"] == reason.status
    assert isinstance(connection.next_event(), h11.EndOfMessage)
    assert connection.trailing_data == (b"", False)
