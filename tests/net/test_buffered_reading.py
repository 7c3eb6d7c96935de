"""Large bodies read into shared buffers: what arrives is what was sent, whoever holds on to a piece of it."""

from collections.abc import Iterable
from typing import cast

import pytest

from harness.in_memory_gateway import LARGE, End, InMemoryGateway, UpstreamEnd, clocked
from harness.invariants import findings
from rawgate.net.buffered_reading import BUFFER_OCTETS, BufferedReading
from rawgate.net.upstream import SLOW, UpstreamConnection

BODY = bytes(range(256)) * 8
HEAD = b"POST /a HTTP/1.1\r\nHost: a.test\r\nContent-Length: %d\r\n\r\n" % len(BODY)
SMALL = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
NEXT = b"GET /next HTTP/1.1\r\nHost: a.test\r\n\r\n"


def reads_into_the_shared_buffer(end: End) -> bool:
    return isinstance(end.reading_into, BufferedReading)


def behind_a_large_body(gateway: InMemoryGateway) -> tuple[End, UpstreamEnd]:
    """A client that has sent one and been responded to, and its upstream."""
    client = gateway.connect()
    client.outbox = HEAD + BODY
    client.advance(len(HEAD))
    upstream = gateway.dialed(gateway.dials[0], stalled=False)
    client.advance(len(BODY))
    upstream.outbox = SMALL
    upstream.advance(len(SMALL))
    return client, upstream


def test_the_bodies_here_are_large() -> None:
    assert LARGE < len(BODY) < BUFFER_OCTETS


@pytest.mark.parametrize("step", [1, 100, 701, 5000])
def test_a_body_goes_up_whole_and_the_next_request_is_read_as_usual(step: int) -> None:
    with clocked(InMemoryGateway(fast=True)) as gateway:
        client = gateway.connect()
        client.outbox = HEAD + BODY + NEXT
        client.advance(len(HEAD))
        upstream = gateway.dialed(gateway.dials[0], stalled=False)
        assert reads_into_the_shared_buffer(client)
        while client.outbox:
            client.advance(step)
        assert upstream.sent.endswith(b"\r\n\r\n" + BODY)
        upstream.outbox = SMALL
        upstream.advance(len(SMALL))
        assert upstream.sent.count(b"GET /next ") == 1
        upstream.outbox = SMALL
        upstream.advance(len(SMALL))
        client.outbox = NEXT
        client.advance(len(NEXT))
        assert not reads_into_the_shared_buffer(client)
        assert upstream.sent.count(b"GET /next ") == 2


@pytest.mark.parametrize("second", [HEAD + BODY, HEAD + BODY + NEXT, NEXT * 6, b"POST /a HTTP/1.1\r\nX: " + b"x" * 900])
def test_a_large_body_behind_another_is_read_there_too(second: bytes) -> None:
    """Head and body in one read of more than may wait for the end of the turn; or something else that is as large."""
    with clocked(InMemoryGateway(fast=True)) as gateway:
        client, upstream = behind_a_large_body(gateway)
        before = len(upstream.sent)
        client.outbox = second
        client.advance(len(second))
        assert reads_into_the_shared_buffer(client) is second.startswith(HEAD)
        if second.startswith(HEAD):
            assert upstream.sent[before:].endswith(b"\r\n\r\n" + BODY)
        for _ in range(6):
            upstream.outbox = SMALL
            upstream.advance(len(SMALL))
        assert upstream.sent.count(b"GET /next ") == second.count(NEXT)
        gateway.settle()
        assert findings(gateway) == []


class Watched:
    """The writes to a transport, and how often its protocol was changed."""

    def __init__(self, end: End, monkeypatch: pytest.MonkeyPatch) -> None:
        self.writes: list[bytes] = []
        self.changes = 0
        set_protocol = end.set_protocol

        def change(protocol: object) -> None:
            self.changes += 1
            set_protocol(protocol)

        def note(pieces: Iterable[bytes | memoryview]) -> None:
            self.writes.append(b"".join(pieces))

        monkeypatch.setattr(end, "set_protocol", change)
        monkeypatch.setattr(end, "write", lambda data: note([data]))
        monkeypatch.setattr(end, "writelines", note)


def test_the_next_large_body_costs_no_system_call_more_than_it_must(monkeypatch: pytest.MonkeyPatch) -> None:
    """What came in one read goes up in one write, and reading is not begun anew."""
    with clocked(InMemoryGateway(fast=True)) as gateway:
        client, upstream = behind_a_large_body(gateway)
        gateway.connections.turn.small = len(BODY) // 2  # a quarter of it holds the head
        up, down = Watched(upstream, monkeypatch), Watched(client, monkeypatch)
        client.outbox = HEAD + BODY
        client.advance(len(HEAD + BODY) - 1)
        assert [written.partition(b"\r\n\r\n")[2] for written in up.writes] == [BODY[:-1]]
        client.advance(1)
        assert up.writes[1:] == [BODY[-1:]]
        assert down.changes == 0


def test_what_a_stalled_peer_has_not_taken_is_left_to_it() -> None:
    """The buffer is renewed, so the next octets do not come over those that still wait to be sent."""
    with clocked(InMemoryGateway(fast=True)) as gateway:
        client = gateway.connect()
        client.outbox = HEAD + BODY
        client.advance(len(HEAD))
        gateway.dialed(gateway.dials[0], stalled=True)
        first = gateway.connections.shared_buffer.view
        client.advance(900)
        assert gateway.connections.shared_buffer.view is not first
        assert bytes(first[:900]) == BODY[:900]


GET = b"GET /a HTTP/1.1\r\nHost: a.test\r\n\r\n"


@pytest.mark.parametrize("seconds", [0.0, SLOW - 0.01, SLOW, 5.0])
def test_a_slow_client_s_response_is_read_in_pieces_until_the_next_request(seconds: float) -> None:
    with clocked(InMemoryGateway(fast=True)) as gateway:
        client = gateway.connect()
        client.outbox = GET
        client.advance(len(GET))
        upstream = gateway.dialed(gateway.dials[0], stalled=False)
        upstream.outbox = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(BODY) + BODY
        client.stall()
        upstream.advance(900)
        gateway.loop.now += seconds
        client.take()
        assert reads_into_the_shared_buffer(upstream) is (seconds >= SLOW)
        while upstream.outbox:
            upstream.advance(500)
            client.take()
        assert client.sent.endswith(b"\r\n\r\n" + BODY)
        client.outbox = GET
        client.advance(len(GET))
        assert not reads_into_the_shared_buffer(upstream)
        upstream.outbox = SMALL
        upstream.advance(len(SMALL))
        assert client.sent.endswith(b"\r\n\r\nok")


def test_a_connection_keeps_nothing_of_what_it_has_handed_on() -> None:
    """A first read may be 256 KiB, and the connection may be idle for a minute."""
    with clocked(InMemoryGateway(fast=True)) as gateway:
        client = gateway.connect()
        client.outbox = HEAD + BODY
        client.advance(len(client.outbox))
        upstream = gateway.dialed(gateway.dials[0], stalled=False)
        upstream.outbox = SMALL
        upstream.advance(len(SMALL))
        assert client.sent.endswith(b"\r\n\r\nok")
        assert cast("UpstreamConnection", upstream.protocol).reader.rest == b""
