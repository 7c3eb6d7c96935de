"""Replies of our own with a body, to clients that take it slowly or not at all: whoever takes it gets all of it, and
the log has what came of it."""

from collections.abc import Iterator

import pytest

from harness.client_side import SEND_TIMEOUT
from harness.in_memory_gateway import End, InMemoryGateway, clocked
from harness.invariants import findings
from harness.wire_reader import Message, Stream, read_response
from rawgate.net.client import LINGER

PAGE = b"0123456789abcdef" * 65536
GET = b"GET /page HTTP/1.1\r\nHost: stage\r\n\r\n"
LAST = GET.replace(b"Host", b"Connection: close\r\nHost")
POST = b"POST /page HTTP/1.1\r\nHost: stage\r\nContent-Length: 50000\r\n\r\nhello"
NEXT = b"GET /a HTTP/1.1\r\nHost: stage\r\n\r\n"
PIECE = 64 * 1024


@pytest.fixture
def gateway() -> Iterator[InMemoryGateway]:
    gateway = InMemoryGateway(buffers=4 * len(PAGE))
    gateway.page = PAGE
    with clocked(gateway):
        yield gateway
        gateway.settle()
        assert findings(gateway) == []


def asking(gateway: InMemoryGateway, octets: bytes, *, stalled: bool = True) -> End:
    """A client that asks this, and takes nothing."""
    client = gateway.connect()
    client.stalled = stalled
    client.outbox = octets
    client.advance(len(octets))
    return client


def takes_all(gateway: InMemoryGateway, client: End) -> None:
    """Piece by piece, over many times `send_timeout`."""
    while client.backlog:
        assert not client.lost
        assert gateway.records == []
        gateway.loop.passes(SEND_TIMEOUT - 1)
        client.take(PIECE)


def page(client: End) -> Message:
    message = read_response(Stream.of(client.sent), b"GET")
    assert message is not None
    return message


def outcomes(gateway: InMemoryGateway) -> list[tuple[str, int, int, bool]]:
    return [(record.reason, record.status, record.bytes_out, bool(record.detail)) for record in gateway.records]


def test_a_page_is_sent_and_logged(gateway: InMemoryGateway) -> None:
    client = asking(gateway, GET, stalled=False)
    message = page(client)
    assert (message.status, message.body) == (200, PAGE)
    assert message.value(b"content-type") == b"text/plain"
    assert outcomes(gateway) == [("ok", 200, len(PAGE), False)]
    assert not client.lost


def test_a_slow_reader_gets_the_whole_page_and_then_its_next_response(gateway: InMemoryGateway) -> None:
    client = asking(gateway, GET + NEXT)
    takes_all(gateway, client)
    assert page(client).body == PAGE
    assert outcomes(gateway) == [("ok", 200, len(PAGE), False)]
    assert gateway.records[0].duration > SEND_TIMEOUT
    upstream = gateway.dialed(gateway.dials[0])
    upstream.outbox = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
    upstream.advance(1000)
    assert client.sent.endswith(b"\r\n\r\nok")
    assert upstream.upstream.flow is None


def test_a_slow_reader_gets_the_whole_page_before_its_connection_closes(gateway: InMemoryGateway) -> None:
    client = asking(gateway, LAST)
    takes_all(gateway, client)
    assert page(client).body == PAGE
    assert outcomes(gateway) == [("ok", 200, len(PAGE), False)]
    assert client.was_closed


def test_a_slow_reader_that_still_sends_gets_the_whole_page(gateway: InMemoryGateway) -> None:
    """The wait for its end begins when the page is taken: a close before that would reset what the kernel holds."""
    client = asking(gateway, POST)
    takes_all(gateway, client)
    client.outbox = b"more"
    client.advance(4)
    gateway.loop.passes(LINGER - 0.1)
    assert not client.lost
    gateway.loop.passes(0.1)
    assert client.was_closed
    assert page(client).body == PAGE
    assert outcomes(gateway) == [("ok", 200, len(PAGE), False)]


@pytest.mark.parametrize("octets", [GET, LAST, POST], ids=["kept", "last", "lingering"])
@pytest.mark.parametrize("end", ["takes nothing", "resets", "gateway ends", "holds too much"])
def test_a_page_that_is_not_taken_is_not_logged_as_if_it_were(
    gateway: InMemoryGateway, octets: bytes, end: str
) -> None:
    client = asking(gateway, octets)
    client.take(PIECE)
    assert gateway.records == []
    reason, status = "client_gone", 499
    if end == "takes nothing":
        gateway.loop.passes(2 * SEND_TIMEOUT)
    elif end == "resets":
        client.abort()
    elif end == "gateway ends":
        gateway.drain()
        assert gateway.records == []
        gateway.abort()
        reason, status = "draining", 200
    else:
        gateway.connections.buffers.limit = PIECE
        client.protocol.account()  # type: ignore[attr-defined]
    gateway.loop.run()
    assert client.lost
    assert outcomes(gateway) == [(reason, status, len(PAGE), end == "holds too much")]


def test_draining_lets_a_slow_reader_take_its_page(gateway: InMemoryGateway) -> None:
    client, other = asking(gateway, GET), asking(gateway, POST)
    gateway.drain()
    assert not client.is_closing()
    assert not other.is_closing()
    while client.backlog or other.backlog:
        gateway.loop.passes(1)
        client.take(PIECE)
        other.take(PIECE)
    assert (page(client).body, page(other).body) == (PAGE, PAGE)
    gateway.loop.passes(LINGER)
    assert gateway.emptied
    assert outcomes(gateway) == [("ok", 200, len(PAGE), False)] * 2
