"""When a request is over, and whose time it was: through the real process, in both lanes.

No test asserts a time. A line that is not there while nobody reads says that the request is not over; and where time
was lost, the member of the line that holds most of it says who lost it.
"""

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from threading import Event

import pytest

from harness import configs
from harness.gateway import PATIENCE, Gateway, LogLine, running
from harness.stalls import TRIES, Stalls
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


def test_small_pipelined_responses_end_when_the_kernel_has_taken_them(serve: Serve) -> None:
    gateway, _ = serve(sized)
    first, small, count = room() - 5000, 1000, 40
    with connect_unix(gateway) as sock:
        sock.sendall(get(f"/{first}") + get(f"/{small}") * count)
        gateway.line(path=f"/{first}")
        another_is_served(gateway, "/other")
        assert len(gateway.lines(path=f"/{small}")) < WAITING // small, "the rest would wait in the gateway"
        assert reading(Stream.of(sock), count + 1) == first + small * count
        gateway.wait_lines(count, path=f"/{small}")


def test_a_whole_early_response_ends_when_both_bodies_are_taken(serve: Serve) -> None:
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


# ── whose time it was ──

LATE = 0.4
"""Seconds for which somebody keeps the others waiting: here that is what is tested."""

BIG = 16_000_000
"""Octets of a response that no kernel takes at once."""


def keeps_waiting() -> None:
    Event().wait(LATE)


class Stage:
    """A service that is slow where the path says so, and clients that are slow where their name says so."""

    def __init__(self, serve: Serve) -> None:
        self.held, self.let_go = Event(), Event()
        self.gateway, _ = serve(self.script)

    def script(self, connection: Connection) -> None:
        while (request := connection.request()) is not None:
            match request.target.rpartition(b"/")[2]:
                case b"late":
                    keeps_waiting()
                    connection.send(OK)
                case b"within":
                    connection.send(OK[:-1])
                    keeps_waiting()
                    connection.send(OK[-1:])
                case b"big":
                    connection.send(response(bytes(BIG)))
                case b"hold":
                    self.held.set()
                    assert self.let_go.wait(PATIENCE)
                    connection.send(OK)
                case size:
                    connection.send(response(bytes(int(size))) if size.isdigit() else OK)

    def says(self, sock: socket.socket, *pieces: bytes) -> None:
        """Send these pieces, late from the second on; read the response."""
        sock.sendall(pieces[0])
        for piece in pieces[1:]:
            keeps_waiting()
            sock.sendall(piece)
        assert read_response(Stream.of(sock), pieces[0].partition(b" ")[0]) is not None


def post(path: str) -> bytes:
    return f"POST {path} HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nab".encode()


def nobody(stage: Stage, sock: socket.socket) -> None:
    stage.says(sock, post("/nobody") + b"cd")


def service_before_its_head(stage: Stage, sock: socket.socket) -> None:
    stage.says(sock, post("/service_before_its_head/late") + b"cd")


def service_within_its_body(stage: Stage, sock: socket.socket) -> None:
    stage.says(sock, get("/service_within_its_body/within"))


def client_within_its_head(stage: Stage, sock: socket.socket) -> None:
    octets = get("/client_within_its_head")
    stage.says(sock, octets[:-9], octets[-9:])


def client_within_its_body(stage: Stage, sock: socket.socket) -> None:
    stage.says(sock, post("/client_within_its_body"), b"cd")


def client_before_its_body(stage: Stage, sock: socket.socket) -> None:
    octets = post("/client_before_its_body")
    stage.says(sock, octets[:-2], b"abcd")


def client_takes_its_time(stage: Stage, sock: socket.socket) -> None:
    sock.sendall(get("/client_takes_its_time/big"))
    keeps_waiting()
    assert reading(Stream.of(sock), 1) == BIG


def client_takes_its_time_with_little(stage: Stage, _: socket.socket) -> None:
    size = room() + WAITING
    with connect_unix(stage.gateway) as sock:
        sock.sendall(get(f"/client_takes_its_time_with_little/{size}"))
        keeps_waiting()
        assert reading(Stream.of(sock), 1) == size


def both(stage: Stage, sock: socket.socket) -> None:
    stage.says(sock, post("/both/late"), b"cd")


def pool(stage: Stage, sock: socket.socket) -> None:
    with stage.gateway.connect() as holder:
        holder.sendall(get("/hold"))
        assert stage.held.wait(PATIENCE)
        sock.sendall(get("/pool"))
        keeps_waiting()
        stage.let_go.set()
        assert reading(Stream.of(sock), 1) == 2


def client_leaves_its_body(stage: Stage, sock: socket.socket) -> None:
    sock.sendall(post("/client_leaves_its_body"))
    keeps_waiting()
    sock.close()


WAIT, HEAD, UPSTREAM, CLIENT = "waitMs", "headMs", "upstreamMs", "clientMs"

KINDS: dict[Callable[[Stage, socket.socket], None], tuple[set[str], set[str]]] = {
    service_before_its_head: ({HEAD, UPSTREAM}, {WAIT, CLIENT}),
    service_within_its_body: ({UPSTREAM}, {WAIT, HEAD, CLIENT}),
    client_within_its_head: ({CLIENT}, {WAIT, HEAD, UPSTREAM}),
    client_within_its_body: ({CLIENT, HEAD, UPSTREAM}, {WAIT}),
    client_before_its_body: ({CLIENT, HEAD, UPSTREAM}, {WAIT}),
    client_takes_its_time: ({CLIENT}, {WAIT, HEAD}),
    client_takes_its_time_with_little: ({CLIENT}, {WAIT, HEAD, UPSTREAM}),
    client_leaves_its_body: ({CLIENT, UPSTREAM}, {WAIT, HEAD}),
    pool: ({WAIT}, {HEAD, UPSTREAM, CLIENT}),
    both: ({HEAD, UPSTREAM}, {WAIT}),
}
"""Who is slow → the members that hold most of the line's duration, and those that do not."""


def logged(gateway: Gateway, name: str, count: int) -> LogLine:
    """The line of that number whose path begins with this name, waited for."""

    def look() -> LogLine | None:
        lines = [line for line in gateway.log if line["path"].split("/")[1] == name]
        return lines[count - 1] if len(lines) >= count else None

    line: LogLine = gateway.wait(look, f"a line of {name}")
    return line


def test_a_line_tells_a_slow_client_service_and_pool_apart(serve: Serve) -> None:
    """Who stands still for as long as somebody is slow here would be somebody else who is slow: then it is done
    again."""
    stage = Stage(serve)
    for kind, (most, little) in KINDS.items():
        expected = dict.fromkeys(most, True) | dict.fromkeys(little, False)
        for times in range(1, TRIES + 1):
            stage.held.clear()
            stage.let_go.clear()
            with Stalls() as stalls, stage.gateway.connect() as sock:
                kind(stage, sock)
                line = logged(stage.gateway, kind.__name__, times)
            half = line["durationMs"] / 2
            holds = {name: (line.get(name) or 0.0) > half for name in (*most, *little)}
            if holds == expected or stalls.longest < LATE / 4:
                break
        assert holds == expected, (kind, line)


def test_where_both_are_slow_each_has_its_part(serve: Serve) -> None:
    """The client begins to wait when the service has the half that it sent, and the service when it has the other one.
    So what each waited for is in its own part, however long that was."""
    began, waited = Event(), {HEAD: 0.0, CLIENT: 0.0}

    def late(who: str) -> None:
        since = time.monotonic()
        keeps_waiting()
        waited[who] = (time.monotonic() - since) * 1000

    def script(connection: Connection) -> None:
        assert connection.head() is not None
        half = connection.stream.exactly(2)
        began.set()
        assert half + connection.stream.exactly(2) == b"abcd"
        late(HEAD)
        connection.send(OK)

    gateway, _ = serve(script)
    with gateway.connect() as sock:
        sock.sendall(post("/both"))
        assert began.wait(PATIENCE)
        late(CLIENT)
        sock.sendall(b"cd")
        assert read_response(Stream.of(sock), b"POST") is not None
    line = gateway.line(path="/both")
    assert line[CLIENT] >= waited[CLIENT]
    assert line[HEAD] - line[CLIENT] >= waited[HEAD]


def test_where_nobody_is_slow_nothing_is_said_of_the_client(serve: Serve) -> None:
    """Rather: where its request came whole, and its response fitted. Whether somebody is slow, the machine says too."""
    stage = Stage(serve)
    with stage.gateway.connect() as sock:
        nobody(stage, sock)
    assert CLIENT not in stage.gateway.line(path="/nobody")
