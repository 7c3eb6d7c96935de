"""Slow but steady: who takes octets is not late, however long it takes in all; who takes too few a second is. Nor is
who was in time, but was not heard, since the gateway itself stood still.

The slow side takes a piece, then waits for a moment: here that is what is tested. It does so for many times the
deadline that ends who takes nothing, and then takes the rest at once. Its buffers are small, so that what it takes
shows at the other end soon.
"""

import socket
from pathlib import Path
from threading import Event

import pytest

from harness import configs
from harness.gateway import PATIENCE, Gateway, running, standing_still
from harness.stalls import again_after_stalls
from harness.upstream import OK, Connection, Upstream, response

pytestmark = pytest.mark.process


def impatient(target: str, body_rate: str) -> str:
    return configs.one_route(
        target,
        gateway_has=['timeouts = { send = "400ms", drain = "100ms" }', f'limits = {{ body_rate = "{body_rate}" }}'],
        upstream_has=['idle_timeout = "400ms"', 'response_timeout = "400ms"'],
    )


LATE = 0.2
"""Seconds: half of those deadlines."""
SIZE = 6_000_000
PIECE = 20_000
PIECES = 80
PAUSE = 0.025
SMALL = 65536


def take(sock: socket.socket, octets: int) -> int:
    """Slowly for 2 s, then as fast as it comes. How many octets came."""
    taken = 0
    while taken < octets:
        data = sock.recv(PIECE)
        if not data:
            break
        taken += len(data)
        if taken < PIECES * PIECE:
            Event().wait(PAUSE)
    return taken


def ask(gateway: Gateway, octets: bytes) -> socket.socket:
    sock = socket.socket()
    sock.settimeout(PATIENCE)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL)
    sock.connect(gateway.address)
    sock.sendall(octets)
    return sock


ANSWER = response(bytes(SIZE))


def large(connection: Connection) -> None:
    while connection.request() is not None:
        connection.send(ANSWER)


def slow(connection: Connection) -> None:
    """Takes a body slowly, and answers."""
    connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL)
    if connection.head() is not None:
        take(connection.sock, SIZE - len(connection.stream.unread))
        connection.send(OK)
        connection.wait_end()


GET = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n" % SIZE


@again_after_stalls(LATE)
def test_a_steady_reader_is_served(tmp_path: Path) -> None:
    with (
        Upstream(large) as upstream,
        running(tmp_path, impatient(upstream.target, "240B")) as gateway,
        ask(gateway, GET) as sock,
    ):
        assert take(sock, SIZE) >= SIZE
        assert gateway.line(status=200)["bytesOut"] == SIZE


@again_after_stalls(LATE)
def test_a_reader_below_the_least_rate_is_cut(tmp_path: Path) -> None:
    with (
        Upstream(large) as upstream,
        running(tmp_path, impatient(upstream.target, "20MiB")) as gateway,
        ask(gateway, GET) as sock,
    ):
        with pytest.raises(ConnectionResetError):
            take(sock, SIZE)
        assert gateway.line(status=499)["reason"] == "client_gone"


@again_after_stalls(LATE)
def test_a_service_that_takes_an_upload_steadily_is_waited_for(tmp_path: Path) -> None:
    with (
        Upstream(slow) as upstream,
        running(tmp_path, impatient(upstream.target, "240B")) as gateway,
        ask(gateway, POST + bytes(SIZE)) as sock,
    ):
        assert sock.recv(65536).startswith(b"HTTP/1.1 200 ")
        assert gateway.line(status=200)["bytesIn"] == SIZE


@again_after_stalls(LATE)
def test_what_came_while_the_gateway_stood_still_was_in_time(tmp_path: Path) -> None:
    """Each deadline is over when it runs again, and what it waited for is here: a response, and the rest of a head."""
    asked, told, answered = Event(), Event(), Event()

    def answers_when_told(connection: Connection) -> None:
        while connection.request() is not None:
            asked.set()
            told.wait(PATIENCE)
            connection.send(OK)
            answered.set()

    text = impatient("{}", "240B").replace("timeouts = {", 'timeouts = { head = "400ms",')
    with (
        Upstream(answers_when_told) as upstream,
        running(tmp_path, text.replace("{}", upstream.target)) as gateway,
        ask(gateway, GET) as asking,
        ask(gateway, GET[:-1]) as beginning,
    ):
        assert asked.wait(PATIENCE)
        with standing_still(gateway.pid):
            Event().wait(4 * LATE)
            told.set()
            assert answered.wait(PATIENCE)
            beginning.sendall(GET[-1:])
        for sock in (asking, beginning):
            assert sock.recv(65536).startswith(b"HTTP/1.1 200 ")
