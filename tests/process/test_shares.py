"""What one client address may take of a service's connections while others wait: attackers who hold on to theirs."""

import resource
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from select import select
from time import monotonic

import pytest

from harness import configs
from harness.gateway import PATIENCE, Gateway, running
from harness.upstream import OK, Connection, Upstream, response
from harness.wire_reader import Message, Stream, read_response, read_response_head

pytestmark = pytest.mark.process

FEW = 'max_connections = 16\nqueue = 8\nqueue_timeout = "{}"\nresponse_timeout = "60s"'
CROWD = 16 + 8 + 2

GET = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"
LARGE = b"GET /large HTTP/1.1\r\nHost: h\r\n\r\n"
UPLOAD = b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 100000\r\n\r\n" + bytes(400)
UPGRADE = b"Connection: upgrade\r\nUpgrade: websocket\r\n\r\n"
TUNNEL = b"GET /tunnel HTTP/1.1\r\nHost: h\r\n" + UPGRADE


def script(connection: Connection) -> None:
    """8 MiB for /large, a tunnel for /tunnel; /held is not answered."""
    while (request := connection.request()) is not None:
        if request.target == b"/tunnel":
            connection.send(b"HTTP/1.1 101 Switching Protocols\r\n" + UPGRADE)
            connection.wait_end()
            return
        if request.target == b"/held":
            connection.wait_end()
            return
        connection.send(response(bytes(1 << 23)) if request.target == b"/large" else OK)


class Stage:
    def __init__(self, gateway: Gateway, upstream: Upstream, stack: ExitStack) -> None:
        self.gateway = gateway
        self.upstream = upstream
        self._stack = stack

    def connect(self, octets: bytes, source: str = "127.0.0.1") -> socket.socket:
        sock = self._stack.enter_context(self.gateway.connect(source))
        sock.sendall(octets)
        return sock

    def client(self, octets: bytes, source: str = "127.0.0.1") -> Stream:
        return Stream.of(self.connect(octets, source))

    def ask(self, octets: bytes, source: str) -> Message:
        message = read_response(self.client(octets, source))
        assert message is not None
        return message


Start = Callable[[str], Stage]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    with ExitStack() as stack:

        def start(settings: str) -> Stage:
            upstream = stack.enter_context(Upstream(script))
            text = configs.one_route(
                upstream.target, gateway_has=['timeouts = { drain = "100ms" }'], upstream_has=[settings]
            )
            return Stage(stack.enter_context(running(tmp_path, text)), upstream, stack)

        yield start


def test_uploads_that_stall_keep_nobody_else_out(start: Start) -> None:
    stage = start(FEW.format("20s"))
    crowd = [stage.connect(UPLOAD) for _ in range(CROWD)]
    stage.upstream.wait_requests(16)
    stage.gateway.wait_lines(2, reason="queue_full")
    for _ in range(3):
        assert stage.ask(GET, "127.0.0.2").status == 200
    # Two came too late. Each time somebody else asked, one more lost its connection, and was told why.
    assert len(stage.gateway.wait_lines(5, reason="queue_full")) == 5
    told = [Stream.of(sock) for sock in select(crowd, [], [], 0)[0]]
    details = [message.body for stream in told if (message := read_response(stream)) is not None]
    assert sum(b"more than its share" in body for body in details) == 3


def test_readers_that_do_not_read_keep_nobody_else_out(start: Start) -> None:
    stage = start(FEW.format("200ms"))
    for _ in range(CROWD):
        stage.client(LARGE)
    stage.upstream.wait_requests(16)
    # Nobody is cut before the answer fills what lies between: it may take another try or two.
    ends = monotonic() + PATIENCE
    while stage.ask(GET, "127.0.0.2").status != 200:
        assert monotonic() < ends
    assert stage.gateway.line(reason="client_gone")["status"] == 499


def test_who_waits_for_the_service_is_never_ended_for_others(start: Start) -> None:
    stage = start(FEW.format("100ms"))
    for _ in range(16):
        stage.client(GET.replace(b"/", b"/held", 1))
    stage.upstream.wait_requests(16)
    assert stage.ask(GET, "127.0.0.2").status == 503
    assert [line["reason"] for line in stage.gateway.wait_lines(1)] == ["queue_timeout"]


@pytest.fixture
def descriptors() -> Iterator[None]:
    """As many as this process may have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.usefixtures("descriptors")
def test_tunnels_and_requests_do_not_take_each_others_places(start: Start) -> None:
    stage = start('response_timeout = "60s"')
    tunnels = [stage.client(TUNNEL) for _ in range(300)]
    for stream in tunnels:
        head = read_response_head(stream)
        assert head is not None
        assert head.status == 101
    requests = [stage.client(GET.replace(b"/", b"/held", 1)) for _ in range(255)]
    stage.upstream.wait_requests(300 + len(requests))
    assert stage.ask(GET, "127.0.0.2").status == 200
    assert stage.gateway.log == [line for line in stage.gateway.log if line["reason"] == "ok"]


def test_the_places_of_tunnels_end(start: Start) -> None:
    stage = start("max_tunnels = 1")
    stream = stage.client(TUNNEL)
    head = read_response_head(stream)
    assert head is not None
    refused = stage.ask(TUNNEL, "127.0.0.2")
    assert (refused.status, refused.value(b"retry-after")) == (503, b"1")
    assert stage.gateway.line(status=503)["reason"] == "queue_full"
    assert stage.ask(GET, "127.0.0.2").status == 200
