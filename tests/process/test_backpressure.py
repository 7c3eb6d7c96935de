"""Bodies far larger than the process may become, to and from peers that do not keep up.

A sender pushes as fast as it can while nobody reads at the other end, until its socket takes no more: then whatever the
gateway would ever buffer, it has buffered. After that the rest goes through. The process must have stayed small, and
every octet must arrive.
"""

import contextlib
import select
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from io import BufferedReader
from pathlib import Path
from threading import Event, Thread

import pytest

from harness import configs
from harness.gateway import PATIENCE, Gateway, running

pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(sys.platform != "linux", reason="reads /proc"),
]

MIB = 1024 * 1024
GIB = 1024 * MIB

RSS_LIMIT = 64 * MIB
IN_FLIGHT_LIMIT = 48 * MIB
"""Octets that may be under way to a reader that reads nothing: mostly in the kernel's buffers of two connections."""

STALLED = 0.3
"""Seconds in which a socket takes nothing: the sender is stalled. On a slow machine it may say so too early, which
weakens the test and never breaks it."""

PATTERN = bytes(range(251)) * 1050
"""Its length is no power of two, so that an octet lost or doubled shows."""

TWICE = PATTERN * 2
PIECE = 64 * 1024


UPGRADE = b"Connection: upgrade\r\nUpgrade: websocket\r\n\r\n"

Frame = Callable[[bytes], bytes]


def plain(piece: bytes) -> bytes:
    return piece


def chunk(piece: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(piece), piece)


class Sender:
    """Sends octets in a thread, and says when it was stalled for the first time.

    before  how many had been taken by then
    """

    def __init__(self, sock: socket.socket, pieces: Iterator[bytes], *, close: bool = False) -> None:
        self.stalled = Event()
        self.before = 0
        self._sock = sock
        self._pieces = pieces
        self._close = close
        self._thread = Thread(target=self._run, daemon=True)
        self._thread.start()

    def wait_stalled(self) -> None:
        assert self.stalled.wait(PATIENCE), "the sender was never stopped"

    def join(self) -> None:
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()

    def _run(self) -> None:
        # That it broke off is seen where it is read.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            for piece in self._pieces:
                self._send(memoryview(piece))
            if self._close:
                self._sock.shutdown(socket.SHUT_WR)

    def _send(self, view: memoryview) -> None:
        while view:
            if select.select([], [self._sock], [], STALLED)[1]:
                sent = self._sock.send(view, socket.MSG_DONTWAIT)
                view = view[sent:]
                if not self.stalled.is_set():
                    self.before += sent
            else:
                self.stalled.set()


def body(octets: int, frame: Frame = plain) -> Iterator[bytes]:
    """A body of so many octets of PATTERN, over and over, in framed pieces."""
    sent = 0
    while sent < octets:
        at = sent % len(PATTERN)
        piece = TWICE[at : at + min(PIECE, octets - sent)]
        sent += len(piece)
        yield frame(piece)
    if frame is chunk:
        yield b"0\r\n\r\n"


def read_head(stream: BufferedReader) -> tuple[bytes, dict[bytes, bytes]]:
    """First line, and fields by lower-cased name."""
    first = stream.readline()
    fields = {}
    while (line := stream.readline()) not in (b"\r\n", b""):
        name, _, value = line.partition(b":")
        fields[name.lower()] = value.strip()
    return first, fields


def received(stream: BufferedReader, fields: dict[bytes, bytes]) -> int:
    """Read a whole body; how many octets it has. Each must be the one that belongs there."""
    count = 0
    for data in blocks(stream, fields):
        at = count % len(PATTERN)
        assert data == TWICE[at : at + len(data)], f"an octet is wrong after {count}"
        count += len(data)
    return count


def blocks(stream: BufferedReader, fields: dict[bytes, bytes]) -> Iterator[bytes]:
    if b"content-length" in fields:
        left = int(fields[b"content-length"])
        while left:
            data = stream.read(min(left, PIECE))
            assert data, "it broke off"
            left -= len(data)
            yield data
        return
    assert fields.get(b"transfer-encoding") == b"chunked"
    while size := int(stream.readline(), 16):
        left = size
        while left:
            data = stream.read(min(left, PIECE))
            assert data, "it broke off"
            left -= len(data)
            yield data
        assert stream.readline() == b"\r\n"
    assert stream.readline() == b"\r\n"


def peak(gateway: Gateway) -> int:
    """The most memory that the process ever had, in octets."""
    status = Path(f"/proc/{gateway.pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


class Stage:
    """A gateway and its upstream's listening socket."""

    def __init__(self, gateway: Gateway, listening: socket.socket) -> None:
        self.gateway = gateway
        self._listening = listening

    @contextmanager
    def exchange(self, head: bytes) -> Iterator["Exchange"]:
        """A request that has been sent, up to its head, and the upstream's connection on which it has arrived."""
        with ExitStack() as stack:
            client = stack.enter_context(self.gateway.connect())
            client.sendall(head)
            upstream, _ = self._listening.accept()
            stack.enter_context(upstream)
            upstream.settimeout(PATIENCE)
            exchange = Exchange(client, upstream)
            stack.enter_context(exchange.up)
            stack.enter_context(exchange.down)
            yield exchange


class Exchange:
    """Two sockets, and what comes out of them: `down` at the client, `up` at the upstream.

    fields  of the request
    """

    def __init__(self, client: socket.socket, upstream: socket.socket) -> None:
        self.client = client
        self.upstream = upstream
        self.down = client.makefile("rb")
        self.up = upstream.makefile("rb")
        _, self.fields = read_head(self.up)


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    with ExitStack() as stack:
        listening = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        listening.settimeout(PATIENCE)
        text = configs.one_route(
            f"http://127.0.0.1:{listening.getsockname()[1]}",
            gateway_has=['limits = { body = "2GiB" }', 'timeouts = { drain = "100ms" }'],
            upstream_has=['response_timeout = "60s"'],
        )
        yield Stage(stack.enter_context(running(tmp_path, text)), listening)


@pytest.mark.parametrize(
    ("octets", "field", "frame"),
    [(GIB, b"Content-Length: %d" % GIB, plain), (128 * MIB, b"Transfer-Encoding: chunked", chunk)],
    ids=["counted", "chunked"],
)
def test_a_slow_upstream_does_not_fill_the_gateway(stage: Stage, octets: int, field: bytes, frame: Frame) -> None:
    with stage.exchange(b"POST /x HTTP/1.1\r\nHost: h\r\n%b\r\n\r\n" % field) as exchange:
        sender = Sender(exchange.client, body(octets, frame))
        sender.wait_stalled()
        assert sender.before < IN_FLIGHT_LIMIT
        assert received(exchange.up, exchange.fields) == octets
        sender.join()
        exchange.upstream.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")
        assert read_head(exchange.down)[0] == b"HTTP/1.1 204 No Content\r\n"
        assert stage.gateway.line(status=204)["bytesIn"] == octets
        assert peak(stage.gateway) < RSS_LIMIT


@pytest.mark.parametrize(
    ("octets", "field", "frame"),
    [
        (GIB, b"Content-Length: %d" % GIB, plain),
        (128 * MIB, b"Transfer-Encoding: chunked", chunk),
        (128 * MIB, b"Connection: close", plain),
    ],
    ids=["counted", "chunked", "until close"],
)
def test_a_slow_client_does_not_fill_the_gateway(stage: Stage, octets: int, field: bytes, frame: Frame) -> None:
    with stage.exchange(b"GET /x HTTP/1.1\r\nHost: h\r\n\r\n") as exchange:
        exchange.upstream.sendall(b"HTTP/1.1 200 OK\r\n%b\r\n\r\n" % field)
        sender = Sender(exchange.upstream, body(octets, frame), close=field == b"Connection: close")
        sender.wait_stalled()
        assert sender.before < IN_FLIGHT_LIMIT
        _, fields = read_head(exchange.down)
        assert received(exchange.down, fields) == octets
        sender.join()
        assert stage.gateway.line(status=200)["bytesOut"] == octets
        assert peak(stage.gateway) < RSS_LIMIT


def test_a_tunnel_whose_ends_do_not_read_does_not_fill_the_gateway(stage: Stage) -> None:
    octets = 64 * MIB
    with stage.exchange(b"GET /x HTTP/1.1\r\nHost: h\r\n" + UPGRADE) as exchange:
        exchange.upstream.sendall(b"HTTP/1.1 101 Switching Protocols\r\n" + UPGRADE)
        assert read_head(exchange.down)[0].startswith(b"HTTP/1.1 101 ")
        senders = [Sender(exchange.client, body(octets)), Sender(exchange.upstream, body(octets))]
        for sender in senders:
            sender.wait_stalled()
            assert sender.before < IN_FLIGHT_LIMIT
        for stream in (exchange.up, exchange.down):
            assert received(stream, {b"content-length": b"%d" % octets}) == octets
        for sender in senders:
            sender.join()
        assert peak(stage.gateway) < RSS_LIMIT


@pytest.mark.parametrize("target", [b"/x", b"/nowhere"], ids=["while one is relayed", "answered by the gateway"])
def test_requests_sent_ahead_without_end_do_not_fill_the_gateway(stage: Stage, target: bytes) -> None:
    request = b"GET %b HTTP/1.1\r\nHost: h\r\n\r\n" % target
    requests = request * 1000

    def flood() -> Iterator[bytes]:
        while not over.is_set():
            yield requests

    over = Event()
    with stage.gateway.connect() as client:
        sender = Sender(client, flood())
        sender.wait_stalled()
        assert sender.before < IN_FLIGHT_LIMIT
        over.set()
        assert peak(stage.gateway) < RSS_LIMIT
        client.shutdown(socket.SHUT_RDWR)
        sender.join()
