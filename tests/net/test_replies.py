"""Replies of our own with a body, to clients that take it slowly or not at all: whoever takes it gets all of it, and
the log has what came of it."""

from collections.abc import Iterator

import pytest

from harness.client_side import SEND_TIMEOUT
from harness.shell import End, Shell, clocked, recorded
from harness.verdict import findings
from harness.wire_reader import Message, Stream, read_response
from rawgate.net.client import LINGER

PAGE = b"0123456789abcdef" * 65536
GET = b"GET /page HTTP/1.1\r\nHost: stage\r\n\r\n"
LAST = GET.replace(b"Host", b"Connection: close\r\nHost")
POST = b"POST /page HTTP/1.1\r\nHost: stage\r\nContent-Length: 50000\r\n\r\nhello"
NEXT = b"GET /a HTTP/1.1\r\nHost: stage\r\n\r\n"
PIECE = 64 * 1024


@pytest.fixture
def shell() -> Iterator[Shell]:
    shell = Shell(buffers=4 * len(PAGE))
    shell.page = PAGE
    with clocked(shell):
        yield shell
        shell.settle()
        assert findings(shell) == []


def asking(shell: Shell, octets: bytes, *, stalled: bool = True) -> End:
    """A client that asks this, and takes nothing."""
    client = shell.connect()
    client.stalled = stalled
    client.outbox = octets
    client.advance(len(octets))
    return client


def takes_all(shell: Shell, client: End) -> None:
    """Piece by piece, over many times `send_timeout`."""
    while client.backlog:
        assert not client.lost
        assert shell.records == []
        shell.loop.passes(SEND_TIMEOUT - 1)
        client.take(PIECE)


def page(client: End) -> Message:
    message = read_response(Stream.of(client.sent), b"GET")
    assert message is not None
    return message


def outcomes(shell: Shell) -> list[tuple[str, int, int, bool]]:
    return [(record.reason, record.status, record.bytes_out, bool(record.detail)) for record in shell.records]


def test_a_page_is_sent_and_logged(shell: Shell) -> None:
    client = asking(shell, GET, stalled=False)
    message = page(client)
    assert (message.status, message.body) == (200, PAGE)
    assert message.value(b"content-type") == b"text/plain"
    assert outcomes(shell) == [("ok", 200, len(PAGE), False)]
    assert not client.lost


def test_a_slow_reader_gets_the_whole_page_and_then_its_next_response(shell: Shell) -> None:
    client = asking(shell, GET + NEXT)
    takes_all(shell, client)
    assert page(client).body == PAGE
    assert outcomes(shell) == [("ok", 200, len(PAGE), False)]
    assert shell.records[0].duration > SEND_TIMEOUT
    upstream = shell.dialed(shell.dials[0])
    upstream.outbox = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
    upstream.advance(1000)
    assert client.sent.endswith(b"\r\n\r\nok")
    assert recorded(upstream).flow is None


def test_a_slow_reader_gets_the_whole_page_before_its_connection_closes(shell: Shell) -> None:
    client = asking(shell, LAST)
    takes_all(shell, client)
    assert page(client).body == PAGE
    assert outcomes(shell) == [("ok", 200, len(PAGE), False)]
    assert client.was_closed


def test_a_slow_reader_that_still_sends_is_not_reset_while_it_takes_the_page(shell: Shell) -> None:
    """The wait for its end begins when the page is taken: a close before that would reset what the kernel holds."""
    client = asking(shell, POST)
    takes_all(shell, client)
    client.outbox = b"more"
    client.advance(4)
    shell.loop.passes(LINGER - 0.1)
    assert not client.lost
    shell.loop.passes(0.1)
    assert client.was_closed
    assert page(client).body == PAGE
    assert outcomes(shell) == [("ok", 200, len(PAGE), False)]


@pytest.mark.parametrize("octets", [GET, LAST, POST], ids=["kept", "last", "lingering"])
@pytest.mark.parametrize("end", ["takes nothing", "resets", "gateway ends", "holds too much"])
def test_a_page_that_is_not_taken_is_not_logged_as_if_it_were(shell: Shell, octets: bytes, end: str) -> None:
    client = asking(shell, octets)
    client.take(PIECE)
    assert shell.records == []
    reason, status = "client_gone", 499
    if end == "takes nothing":
        shell.loop.passes(2 * SEND_TIMEOUT)
    elif end == "resets":
        client.abort()
    elif end == "gateway ends":
        shell.drain()
        assert shell.records == []
        shell.abort()
        reason, status = "draining", 200
    else:
        shell.connections.buffers.limit = PIECE
        client.protocol.account()  # type: ignore[attr-defined]
    shell.loop.run()
    assert client.lost
    assert outcomes(shell) == [(reason, status, len(PAGE), end == "holds too much")]


def test_draining_lets_a_slow_reader_take_its_page(shell: Shell) -> None:
    client, other = asking(shell, GET), asking(shell, POST)
    shell.drain()
    assert not client.is_closing()
    assert not other.is_closing()
    while client.backlog or other.backlog:
        shell.loop.passes(1)
        client.take(PIECE)
        other.take(PIECE)
    assert (page(client).body, page(other).body) == (PAGE, PAGE)
    shell.loop.passes(LINGER)
    assert shell.emptied
    assert outcomes(shell) == [("ok", 200, len(PAGE), False)] * 2
