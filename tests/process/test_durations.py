"""When a request is over, and whose time it was: through the real process, in both lanes.

No test asserts a time. A line that is not there while nobody reads says that the request is not over; and where time
was lost, the member of the line that holds most of it says who lost it.
"""

import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from threading import Event

import pytest

from harness import configs
from harness.gateway import PATIENCE, Gateway, running
from harness.upstream import OK, Connection, Script, Upstream, response
from harness.wire_reader import Stream, read_response

pytestmark = pytest.mark.process

Serve = Callable[[Script], tuple[Gateway, Upstream]]


@pytest.fixture(params=["fast", "h11"])
def serve(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Serve]:
    """Start a gateway on a port and a Unix socket, before one upstream with one connection that plays this script."""
    with ExitStack() as stack:

        def start(script: Script) -> tuple[Gateway, Upstream]:
            upstream = stack.enter_context(Upstream(script))
            text = configs.one_route(
                upstream.target,
                listen=["127.0.0.1:0", "unix:gateway.sock"],
                gateway_has=[f'parser = "{request.param}"'],
                upstream_has=["max_connections = 1", f'queue_timeout = "{PATIENCE:g}s"'],
            )
            return stack.enter_context(running(tmp_path, text)), upstream

        yield start


def get(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: h\r\n\r\n".encode()


def connect_unix(gateway: Gateway) -> socket.socket:
    """Such a socket has a small and fixed buffer; loopback's would take megabytes."""
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(PATIENCE)
    sock.connect(next(str(path) for kind, path in gateway.addresses if kind == "unix"))
    return sock


@cache
def room() -> int:
    """Octets that the kernel takes for a Unix socket that nobody reads."""
    one, other = socket.socketpair(socket.AF_UNIX)
    with one, other:
        one.setblocking(False)
        return one.send(bytes(16_000_000))


def another_is_served(gateway: Gateway, path: str) -> None:
    """By the one connection to the service, and logged: what was logged before is there too."""
    with gateway.connect() as sock:
        sock.sendall(get(path))
        assert read_response(Stream.of(sock)) is not None
    gateway.line(path=path)


def reading(stream: Stream, count: int, method: bytes = b"GET") -> int:
    """Read so many responses. How many octets their bodies have."""
    messages = [read_response(stream, method) for _ in range(count)]
    return sum(len(message.body) for message in messages if message)


# ── the end ──

WAITING = 30_000
"""Octets that wait in the gateway: fewer than those at which it says that the client is slow."""


def sized(connection: Connection) -> None:
    """As many octets as the path says."""
    while (request := connection.request()) is not None:
        size = request.target[1:]
        connection.send(response(bytes(int(size))) if size.isdigit() else OK)


def test_a_response_is_over_when_the_kernel_has_taken_it(serve: Serve) -> None:
    gateway, _ = serve(sized)
    size = room() + WAITING
    with connect_unix(gateway) as sock:
        sock.sendall(get(f"/{size}"))
        another_is_served(gateway, "/other")
        assert not gateway.lines(path=f"/{size}")
        assert reading(Stream.of(sock), 1) == size
        line = gateway.line(path=f"/{size}")
    assert (line["status"], line["reason"], line["bytesOut"]) == (200, "ok", size)
    assert line["durationMs"] > line["upstreamMs"]


def test_small_responses_to_requests_that_were_sent_ahead_are_over_when_the_kernel_has_taken_them(serve: Serve) -> None:
    gateway, _ = serve(sized)
    first, small, count = room() - 5000, 1000, 40
    with connect_unix(gateway) as sock:
        sock.sendall(get(f"/{first}") + get(f"/{small}") * count)
        gateway.line(path=f"/{first}")
        another_is_served(gateway, "/other")
        assert len(gateway.lines(path=f"/{small}")) < WAITING // small, "the rest would wait in the gateway"
        assert reading(Stream.of(sock), count + 1) == first + small * count
        gateway.wait_lines(count, path=f"/{small}")


def test_a_response_that_is_whole_before_its_request_is_over_when_both_are_taken(serve: Serve) -> None:
    size, responded = room() + WAITING, Event()

    def early(connection: Connection) -> None:
        if (request := connection.head()) is not None:
            connection.send(OK if request.method == b"GET" else response(bytes(size)))
            responded.set()
            connection.wait_end()

    gateway, upstream = serve(early)
    with connect_unix(gateway) as sock:
        sock.sendall(b"POST /early HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nhello")
        assert responded.wait(PATIENCE)
        sock.sendall(b"world")
        upstream.wait(lambda: upstream.connections[0].stream.ended, "the end of the request")
        another_is_served(gateway, "/other")
        assert not gateway.lines(path="/early")
        assert reading(Stream.of(sock), 1, b"POST") == size
        line = gateway.line(path="/early")
    assert (line["status"], line["reason"], line["bytesIn"], line["bytesOut"]) == (200, "ok", 10, size)
