"""Own replies: octet for octet, and as h11 reads them."""

import json

import h11
import pytest

from rawgate.errors import AUTH_BAD_SIGNATURE, NO_ROUTE, OK, REASONS
from rawgate.wire.reply import PHRASES, problem, reply

DATE = b"Sun, 06 Nov 1994 08:49:37 GMT"


def test_refusal() -> None:
    octets = reply(404, NO_ROUTE, "", "r1", b"Vary: Origin\r\n", date=DATE, head_only=False, connection=b"close")
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


def test_head_has_the_fields_without_the_body() -> None:
    whole = reply(404, NO_ROUTE, "", "r", b"", date=DATE, head_only=False, connection=b"")
    assert reply(404, NO_ROUTE, "", "r", b"", date=DATE, head_only=True, connection=b"") == whole.partition(b"{")[0]


@pytest.mark.parametrize(("status", "length"), [(200, b"Content-Length: 0\r\n"), (204, b"")])
def test_success_has_no_body(status: int, length: bytes) -> None:
    octets = reply(status, OK, "", "r", b"A: b\r\n", date=DATE, head_only=False, connection=b"")
    assert octets == (
        b"HTTP/1.1 %d %b\r\nDate: %b\r\n%bCache-Control: no-store\r\nX-Request-Id: r\r\nA: b\r\n\r\n"
        % (status, PHRASES[status].encode(), DATE, length)
    )


REFUSALS = [code for code, reason in REASONS.items() if reason.status >= 400 and code != "client_gone"]


@pytest.mark.parametrize("code", REFUSALS)
def test_h11_reads_every_refusal(code: str) -> None:
    refusal = REASONS[code]
    connection = h11.Connection(h11.CLIENT)
    connection.send(h11.Request(method="GET", target="/", headers=[("Host", "a")]))
    connection.send(h11.EndOfMessage())
    connection.receive_data(reply(refusal.status, refusal, "", "r", b"", date=DATE, head_only=False, connection=b""))
    response = connection.next_event()
    assert isinstance(response, h11.Response)
    assert (response.status_code, response.reason) == (refusal.status, PHRASES[refusal.status].encode())
    data = connection.next_event()
    assert isinstance(data, h11.Data)
    assert json.loads(bytes(data.data))["status"] == refusal.status
    assert isinstance(connection.next_event(), h11.EndOfMessage)
    assert connection.trailing_data == (b"", False)
