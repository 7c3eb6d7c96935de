"""Every key of `gateway.limits` and `gateway.timeouts`, each with a gateway of its own and its own code; and the limit
that the system sets, on descriptors.

A scene per key says what is just served and what is one too much. A few are played at the same time, since some wait
for a deadline. All at once was too much for a busy host: those that began last waited for longer than `PATIENCE` for
their gateways.
"""

import signal
import socket
import struct
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path
from threading import Event
from time import monotonic

import pytest

from harness import configs
from harness.gateway import PATIENCE, Gateway, running, standing_still, wait_open_files
from harness.upstream import OK, Connection, Upstream, replying, response
from harness.wire_reader import FIN, RESET, Cut, Message, Stream, read_response
from rawgate.config.model import Limits, Timeouts

pytestmark = pytest.mark.process


def config(target: str, setting: str = "") -> str:
    return (
        configs.gateway(setting)
        + configs.upstream("a", target, 'response_timeout = "20s"')
        + configs.route("/limited", "a", 'rate_limit = { max = 1, window = "1h" }')
        + configs.route("/", "a")
    )


HUGE = response(bytes(1 << 24))


class Held:
    """An upstream's script: what asks for /held is answered when the test lets go; /large gets 16 MiB."""

    def __init__(self) -> None:
        self.let_go = Event()

    def __call__(self, connection: Connection) -> None:
        while (request := connection.request()) is not None:
            if request.target == b"/held":
                assert self.let_go.wait(PATIENCE)
            connection.send(HUGE if request.target == b"/large" else OK)


class Stage:
    """One gateway, its upstream, and clients."""

    def __init__(self, gateway: Gateway, upstream: Upstream, held: Held, stack: ExitStack) -> None:
        self.gateway = gateway
        self.upstream = upstream
        self.held = held
        self._stack = stack

    def client(self, octets: bytes = b"", source: str = "") -> Stream:
        sock = self._stack.enter_context(self.gateway.connect(source))
        sock.sendall(octets)
        return Stream.of(sock)

    def ask(self, octets: bytes, source: str = "") -> int:
        """The status of the answer."""
        return answer(self.client(octets, source)).status

    def refused(self, octets: bytes, status: int, reason: str, source: str = "") -> None:
        """The answer says it, the log says it, and the connection ends well."""
        stream = self.client(octets, source)
        assert answer(stream).status == status
        assert stream.rest() == b""
        assert stream.ended == FIN
        assert self.gateway.line(reason=reason)["status"] == status

    def hold(self) -> Stream:
        """A request that the upstream does not answer yet."""
        count = len(self.upstream.requests)
        stream = self.client(get("/held"))
        self.upstream.wait_requests(count + 1)
        return stream


def answer(stream: Stream) -> Message:
    message = read_response(stream)
    assert message is not None
    return message


def get(target: str = "/", *fields: str) -> bytes:
    return "\r\n".join([f"GET {target} HTTP/1.1", "Host: h", *fields, "", ""]).encode()


def post(length: int, sent: int) -> bytes:
    return b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n" % length + bytes(sent)


def chunked(length: int) -> bytes:
    head = b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
    return head + b"%x\r\n%b\r\n0\r\n\r\n" % (length, bytes(length))


# ── gateway.limits ──


def limits_head(stage: Stage) -> None:
    room = 1024 - len(get("/", "X-A: "))
    assert stage.ask(get("/", "X-A: " + "a" * room)) == 200
    stage.refused(get("/", "X-A: " + "a" * (room + 1)), 431, "head_too_large")


def limits_headers(stage: Stage) -> None:
    assert stage.ask(get("/", *["X-A: 1"] * 4)) == 200  # and Host
    stage.refused(get("/", *["X-A: 1"] * 5), 431, "head_too_large")


def limits_target(stage: Stage) -> None:
    assert stage.ask(get("/" + "a" * 99)) == 200
    stage.refused(get("/" + "a" * 100), 414, "target_too_long")


def limits_body(stage: Stage) -> None:
    assert stage.ask(post(100, 100)) == 200
    assert stage.ask(chunked(100)) == 200
    stage.refused(post(101, 101), 413, "body_too_large")
    assert stage.ask(chunked(101)) == 413
    stage.gateway.wait_lines(2, status=413, reason="body_too_large")


def limits_body_rate(stage: Stage) -> None:
    """Long before `timeouts.body` is over."""
    stage.refused(post(10_000, 5_000), 408, "body_timeout")


def limits_connections(stage: Stage) -> None:
    streams = [stage.hold(), stage.hold()]
    stage.refused(get(), 503, "connection_limit")
    stage.held.let_go.set()
    assert [answer(stream).status for stream in streams] == [200, 200]
    # Both are idle now: the first to become so makes room.
    assert stage.ask(get()) == 200


def limits_per_address(stage: Stage) -> None:
    stream = stage.hold()
    stage.refused(get(), 503, "connection_limit")
    assert stage.ask(get(), "127.0.0.2") == 200
    stage.held.let_go.set()
    assert answer(stream).status == 200


def limits_limiter_keys(stage: Stage) -> None:
    """There is room for one client: the next pushes it out, and it begins anew."""
    assert stage.ask(get("/limited"), "127.0.0.2") == 200
    assert stage.ask(get("/limited"), "127.0.0.2") == 429
    assert stage.ask(get("/limited"), "127.0.0.3") == 200
    assert stage.ask(get("/limited"), "127.0.0.2") == 200
    assert stage.gateway.wait_lines(1, status=429)[0]["reason"] == "rate_limited"


def limits_buffers(stage: Stage) -> None:
    """Answers that nobody reads: together they are too much, and those that hold most are cut."""
    streams = [stage.client(get("/large")) for _ in range(32)]
    stage.gateway.wait_said("gateway.limits.buffers (1,048,576 octets in all)")
    assert stage.gateway.line(path="/large", reason="client_gone")["status"] == 499
    assert stage.ask(get()) == 200
    assert any(stream.rest() is not None and stream.ended == RESET for stream in streams)


# ── gateway.timeouts ──


def timeouts_head(stage: Stage) -> None:
    stage.refused(get()[:-1], 408, "head_timeout")


def timeouts_body(stage: Stage) -> None:
    stage.refused(post(5, 4), 408, "body_timeout")


def timeouts_send(stage: Stage) -> None:
    stream = stage.client(get("/large"))
    assert stage.gateway.line(path="/large", reason="client_gone")["status"] == 499
    stream.rest()
    assert stream.ended == RESET


def timeouts_keep_alive(stage: Stage) -> None:
    """Who was so slow that its connection was closed before its first request comes again."""
    ends, served = monotonic() + PATIENCE, None
    while served is None:
        assert monotonic() < ends
        with suppress(OSError):
            stream = stage.client(get())
            served = read_response(stream)
    assert served.status == 200
    assert stream.rest() == b""
    assert stream.ended == FIN
    assert len(stage.gateway.log) == 1


def timeouts_drain(stage: Stage) -> None:
    stream = stage.hold()
    stage.gateway.signal(signal.SIGTERM)
    assert answer(stream).status == 503
    stage.held.let_go.set()
    stage.gateway.wait_end()
    assert stage.gateway.lines(status=503)[0]["reason"] == "draining"


def timeouts_pre_stop(stage: Stage) -> None:
    stage.gateway.signal(signal.SIGTERM)
    stage.gateway.wait_said("stopping in")
    assert stage.ask(get()) == 200
    stage.gateway.wait_end()


AT_ONCE = 5
"""Scenes that are played at the same time."""

Play = Callable[[Stage], None]

LIMITS: dict[str, tuple[str, Play]] = {
    "head": ('"1KiB"', limits_head),
    "headers": ("5", limits_headers),
    "target": ('"100B"', limits_target),
    "body": ('"100B"', limits_body),
    "body_rate": ('"1KiB"', limits_body_rate),
    "connections": ("2", limits_connections),
    "per_address": ("1", limits_per_address),
    "buffers": ('"1MiB"', limits_buffers),
    "limiter_keys": ("1", limits_limiter_keys),
}
TIMEOUTS: dict[str, tuple[str, Play]] = {
    "head": ('"200ms"', timeouts_head),
    "body": ('"200ms"', timeouts_body),
    "send": ('"200ms"', timeouts_send),
    "keep_alive": ('"200ms"', timeouts_keep_alive),
    "drain": ('"200ms"', timeouts_drain),
    "pre_stop": ('"4s"', timeouts_pre_stop),
}
SCENES = {
    f"{table}.{key}": (f"{table} = {{ {key} = {value} }}", play)
    for table, keys in (("limits", LIMITS), ("timeouts", TIMEOUTS))
    for key, (value, play) in keys.items()
}


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Future[None]]]:
    def perform(directory: Path, setting: str, play: Play) -> None:
        held = Held()
        with ExitStack() as stack:
            upstream = stack.enter_context(Upstream(held))
            text = config(upstream.target, setting)
            gateway = stack.enter_context(running(directory, text))
            play(Stage(gateway, upstream, held, stack))

    with ThreadPoolExecutor(AT_ONCE) as pool:
        yield {name: pool.submit(perform, tmp_path_factory.mktemp(name), *stage) for name, stage in SCENES.items()}


@pytest.mark.parametrize("key", SCENES)
def test_key(played: dict[str, Future[None]], key: str) -> None:
    played[key].result()


def test_every_key_has_a_scene() -> None:
    assert set(LIMITS) == set(Limits.__struct_fields__)
    assert set(TIMEOUTS) == set(Timeouts.__struct_fields__)


# ── descriptors ──

FEW = 64
"""Descriptors: some 14 are the gateway's own."""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_out_of_descriptors_it_serves_on(tmp_path: Path) -> None:
    held = Held()
    with ExitStack() as stack:
        upstream = stack.enter_context(Upstream(held))
        text = config(upstream.target)
        gateway = stack.enter_context(running(tmp_path, text, descriptors=FEW))
        gateway.wait_said(f"warning: {FEW} descriptors cannot hold 10,000 clients and 256 upstream connections")
        sockets = [stack.enter_context(gateway.connect()) for _ in range(3)]
        first, second, third = [Stream.of(sock) for sock in sockets]
        sockets[0].sendall(get("/limited"))
        assert answer(first).status == 200

        # Those that do not fit are closed, and the rest is kept.
        crowd = [stack.enter_context(gateway.connect()) for _ in range(2 * FEW)]
        closed = [sock for sock in crowd[FEW:] if Stream.of(sock).rest() == b""]
        assert len(closed) == FEW
        for sock, stream in zip(sockets[1:], (second, third), strict=True):
            sock.sendall(get("/limited"))
            assert answer(stream).status == 429

        # The upstream connection that is there serves on. For another one a client that is idle makes room.
        sockets[0].sendall(get("/held"))
        upstream.wait_requests(2)
        sockets[1].sendall(get("/held"))
        upstream.wait_requests(3)

        # With no client idle a third cannot be had, and that is no upstream's fault. An answer to the first of two
        # requests shows that the second has begun.
        busy = 0
        for sock in crowd[:FEW]:
            with suppress(OSError, Cut):
                sock.sendall(get("/limited") + b"G")
                message = read_response(Stream.of(sock))
                busy += message is not None and message.status == 429
        assert busy > 0
        sockets[2].sendall(get("/other"))
        told = answer(third)
        assert (told.status, told.value(b"retry-after")) == (503, b"1")
        assert gateway.line(path="/other")["reason"] == "connection_limit"
        held.let_go.set()
        assert answer(first).status == answer(second).status == 200

        # It waits, and does not spin on the listening socket.
        stack.enter_context(gateway.connect())
        assert any(state(gateway.pid) == "S" for _ in range(100_000))

        # With room again, all is as before.
        for sock in crowd:
            sock.close()
        wait_open_files(gateway.pid, FEW - busy)
        held.let_go.clear()
        for number, sock in enumerate(sockets):
            sock.sendall(get("/held"))
            upstream.wait_requests(4 + number)
        held.let_go.set()
        assert answer(first).status == answer(second).status == answer(third).status == 200


def state(pid: int) -> str:
    """Of the process's main thread: R when it runs or wants to, S when it waits."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0]


# ── who cannot be counted ──


def test_a_client_that_left_before_it_was_accepted_is_not_served(tmp_path: Path) -> None:
    """Its octets can still be read, but not its address: it would pass by every limit for addresses, and the log."""
    with Upstream(replying(OK)) as upstream, ExitStack() as stack:
        text = config(upstream.target)
        gateway = stack.enter_context(running(tmp_path, text))
        with standing_still(gateway.pid):
            for _ in range(3):
                with gateway.connect() as sock:
                    sock.sendall(get("/limited"))
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        with gateway.connect() as sock:
            sock.sendall(get())
            assert answer(Stream.of(sock)).status == 200
        gateway.stop()
        assert [line["path"] for line in gateway.log] == ["/"]
        assert [request.target for request in upstream.requests] == [b"/"]
