"""Whatever can be lost, in every phase of an exchange, over real sockets.

Upstreams that die before, in and after their head and body, or do not come up at all; clients that reset or half-close;
deadlines on either side. What the client gets is a whole message, or one of which it can tell that it is not.

One gateway serves all tests of this module; each test has an upstream, and so a path, of its own.
"""

import asyncio
import re
import select
import socket
import struct
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from threading import Event
from time import monotonic
from typing import Self, cast

import pytest
import uvloop

from harness import configs
from harness.gateway import PATIENCE, Gateway, LogLine, running
from harness.stalls import again_after_stalls
from harness.upstream import OK, Connection, Script, Upstream, free_port, once, replying, response, silent
from harness.wire_reader import FIN, RESET, Message, Stream, read_response, read_response_head
from rawgate import errors
from rawgate.message import Decision, LocalReply, Pending
from rawgate.net.client import protocol_factory
from rawgate.net.generation import Generation, ListenerOptions
from rawgate.net.listener import ClientConnections
from rawgate.net.transports import reset_transport
from rawgate.observe.access_log import AccessLog, Record
from rawgate.relay.options import ClientOptions
from rawgate.wire import RequestRules, ResponseRules

pytestmark = pytest.mark.process

MIB = 1024 * 1024


def gateway_of(timeouts: str) -> str:
    return configs.gateway('limits = { body = "64MiB" }', f"timeouts = {{ {timeouts} }}")


def numbered(number: int, targets: list[str], options: str = "") -> str:
    """An upstream, and the routes that lead to it."""
    name = f"u{number}"
    return (
        configs.upstream(name, targets, options)
        + configs.route(f"/{number}/small", name, 'body = "64KiB"')
        + configs.route(f"/{number}/hasty", name, 'response_timeout = "150ms"')
        + configs.route(f"/{number}", name)
    )


# kind → options of its upstreams, how many of them there are
KINDS = {
    "plain": ('response_timeout = "60s"', 64),  # longer than a client waits: only the hasty route ends earlier
    "hasty": ('response_timeout = "20s"\nidle_timeout = "150ms"', 2),
    "brief": ('response_timeout = "20s"\ntotal_timeout = "1s"', 1),
    "narrow": ('response_timeout = "20s"\nmax_connections = 1\nqueue = 1\nqueue_timeout = "20s"', 3),
    "impatient": ('response_timeout = "20s"\nmax_connections = 1\nqueue = 1\nqueue_timeout = "50ms"', 1),
}


class Client:
    """One client connection."""

    def __init__(self, gateway: Gateway) -> None:
        self.sock = gateway.connect()
        self.stream = Stream.of(self.sock)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()

    def send(self, *pieces: bytes) -> Self:
        for piece in pieces:
            self.sock.sendall(piece)
        return self

    def answer(self, method: bytes = b"GET") -> Message:
        """The final response, whole."""
        message = read_response(self.stream, method)
        assert message is not None
        return message

    def head(self) -> Message:
        message = read_response_head(self.stream)
        assert message is not None
        return message

    def octets(self, count: int) -> bytes:
        return self.stream.exactly(count)

    def end(self) -> str:
        """Read on until the connection ends; how it ended."""
        self.stream.rest()
        return self.stream.ended

    def reset(self) -> None:
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()


class Stage:
    """The gateway, and for the present test: its upstreams and clients."""

    def __init__(self, gateway: Gateway, free: dict[str, list[tuple[str, Upstream]]]) -> None:
        self.gateway = gateway
        self._free = free
        self._open = ExitStack()

    def upstream(self, script: Script, kind: str = "plain") -> tuple[str, Upstream]:
        """An upstream that nobody has used yet, and the path that leads to it."""
        path, upstream = self._free[kind].pop()
        upstream.script = script
        self._open.callback(upstream.stop)
        return path, upstream

    def client(self) -> Client:
        return self._open.enter_context(Client(self.gateway))

    def get(self, path: str, *fields: str) -> Client:
        return self.client().send(get(path, *fields))

    def line(self, path: str, **fields: object) -> LogLine:
        return self.gateway.line(path=path, **fields)

    def close(self) -> None:
        self._open.close()


def get(path: str, *fields: str, method: str = "GET", version: str = "1.1") -> bytes:
    lines = [f"{method} {path} HTTP/{version}", "Host: h", *fields]
    return "\r\n".join([*lines, "", ""]).encode()


def post(path: str, octets: int, *fields: str, method: str = "POST") -> bytes:
    return get(path, f"Content-Length: {octets}", *fields, method=method)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Gateway, dict[str, list[tuple[str, Upstream]]]]]:
    text = gateway_of('drain = "1s"')
    free: dict[str, list[tuple[str, Upstream]]] = {}
    number = 0
    with ExitStack() as stack:
        for kind, (options, count) in KINDS.items():
            for _ in range(count):
                upstream = stack.enter_context(Upstream(silent))
                free.setdefault(kind, []).append((f"/{number}", upstream))
                text += numbered(number, [upstream.target], options)
                number += 1
        yield stack.enter_context(running(tmp_path_factory.mktemp("losses"), text)), free


@pytest.fixture
def stage(served: tuple[Gateway, dict[str, list[tuple[str, Upstream]]]]) -> Iterator[Stage]:
    stage = Stage(*served)
    yield stage
    stage.close()


# ── the upstream is lost before it has answered ──


def at_once(connection: Connection) -> None:
    """Closes before anything is said."""


def at_once_by_reset(connection: Connection) -> None:
    connection.reset()


def unanswered(connection: Connection) -> None:
    connection.request()


def reset_unanswered(connection: Connection) -> None:
    connection.request()
    connection.reset()


def reset_in_the_head(connection: Connection) -> None:
    connection.request()
    connection.send(b"HTTP/1.1 200 OK\r\nContent-")
    connection.reset()


IN_DIAL = r"No connection: .*\."
LOSSES: list[tuple[Script, str, str]] = [
    (at_once, "upstream_(reset|connect_failed)", rf"It (closed|reset) a new connection without a word\.|{IN_DIAL}"),
    (at_once_by_reset, "upstream_(reset|connect_failed)", rf"It reset a new connection without a word\.|{IN_DIAL}"),
    (unanswered, "upstream_reset", r"It closed a new connection without a word\."),
    (reset_unanswered, "upstream_reset", r"It reset a new connection without a word\."),
    (
        once(b"HTTP/1.1 200 OK\r\nContent-"),
        "upstream_reset",
        r"It closed the connection within the head of its response\.",
    ),
    (reset_in_the_head, "upstream_reset", r"It reset (the connection within the head of its response|a new .*)\."),
    (
        once(b"HTTP/1.1 100 Continue\r\n\r\n"),
        "upstream_reset",
        r"It closed the connection behind an interim response \(1xx\)\.",
    ),
]


@pytest.mark.parametrize(
    ("script", "reason", "detail"),
    LOSSES,
    ids=[
        "fin at once",
        "reset at once",
        "fin, unanswered",
        "reset, unanswered",
        "fin in the head",
        "reset in the head",
        "fin after 100",
    ],
)
def test_an_upstream_that_dies_before_its_response_is_a_502(
    stage: Stage, script: Script, reason: str, detail: str
) -> None:
    path, upstream = stage.upstream(script)
    client = stage.get(path)
    answer = client.answer()
    assert answer.status == 502
    assert re.search(rb'"reason":"%b"' % reason.encode(), answer.body)
    line = stage.line(path)
    assert (line["status"], line["upstream"]) == (502, f"u{path[1:]}")
    assert re.fullmatch(reason, line["reason"])
    assert re.fullmatch(detail, line["detail"])
    assert line["detail"].encode() not in answer.body, "how it ended is not the client's business"
    upstream.script = replying(OK)
    assert client.send(get(path)).answer().status == 200


def test_an_upstream_that_dies_after_accept_stalls_no_client(stage: Stage) -> None:
    """The end may come before the gateway has even taken up its new connection."""
    path, _ = stage.upstream(at_once_by_reset)
    client = stage.client()
    for _ in range(50):
        assert client.send(get(path)).answer().status == 502


def test_a_malformed_head_is_a_502(stage: Stage) -> None:
    path, upstream = stage.upstream(once(b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", close=False))
    assert stage.get(path).answer().status == 502
    assert stage.line(path)["reason"] == "upstream_bad_response"
    upstream.wait(lambda: upstream.connections[0].stream.ended, "the end of the connection")


@pytest.mark.parametrize("kind", ["refused", "swallowed"])
@again_after_stalls(0.1)
def test_an_upstream_that_cannot_be_reached(tmp_path: Path, kind: str) -> None:
    """The other target serves: but its turn comes only when the first has failed."""
    with ExitStack() as stack:
        port = free_port() if kind == "refused" else stack.enter_context(swallowing())
        up = stack.enter_context(Upstream(replying(OK)))
        dead = f"http://127.0.0.1:{port}"
        options = 'connect_timeout = "200ms"'
        text = gateway_of('drain = "1s"') + numbered(0, [dead], options) + numbered(1, [dead, up.target], options)
        gateway = stack.enter_context(running(tmp_path, text))
        client = stack.enter_context(Client(gateway))
        status, reason = (502, "upstream_connect_failed") if kind == "refused" else (504, "upstream_timeout")
        assert client.send(get("/0")).answer().status == status
        assert gateway.line(path="/0")["reason"] == reason
        for _ in range(3):
            assert client.send(get("/1")).answer().status == 200


class swallowing:  # noqa: N801 - reads as what it does
    """A port that takes no more SYNs: its backlog, of one, is full. Linux drops what does not fit."""

    def __enter__(self) -> int:
        if sys.platform != "linux":
            pytest.skip("needs Linux's handling of a full backlog")
        self._listening = socket.create_server(("127.0.0.1", 0), backlog=0)
        port: int = self._listening.getsockname()[1]
        self._first = socket.create_connection(("127.0.0.1", port))
        return port

    def __exit__(self, *_: object) -> None:
        self._first.close()
        self._listening.close()


# ── the upstream is lost in its body ──

COUNTED = b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\nhalf"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n"
IN_A_CHUNK = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n14\r\nhalf"
UNTIL_CLOSE = b"HTTP/1.1 200 OK\r\n\r\nhalf"


@pytest.mark.parametrize("version", ["1.1", "1.0"])
@pytest.mark.parametrize(
    ("began", "loss"),
    [
        (COUNTED, FIN),
        (COUNTED, RESET),
        (CHUNKED, FIN),
        (CHUNKED, RESET),
        (IN_A_CHUNK, FIN),
        (UNTIL_CLOSE, RESET),
        (CHUNKED, "malformed"),
    ],
    ids=[
        "counted, fin",
        "counted, reset",
        "chunked, fin",
        "chunked, reset",
        "in a chunk, fin",
        "until close, reset",
        "chunked, malformed",
    ],
)
def test_a_broken_answer_cuts_the_client(stage: Stage, began: bytes, loss: str, version: str) -> None:
    goes_on = Event()

    def script(connection: Connection) -> None:
        connection.request()
        connection.send(began)
        assert goes_on.wait(PATIENCE)
        if loss == RESET:
            connection.reset()
        elif loss == "malformed":
            connection.send(b"XX\r\n")
            connection.wait_end()

    path, _ = stage.upstream(script)
    client = stage.client().send(get(path, version=version))
    head = client.head()
    assert head.status == 200
    if head.framing == "chunked":
        assert client.octets(9) == b"4\r\nhalf\r\n"
    else:
        assert client.octets(4) == b"half"
    goes_on.set()
    assert client.end() == (RESET if head.framing == "close" else FIN)
    assert client.stream.unread == b""
    line = stage.line(path)
    assert (line["status"], line["reason"], line["bytesOut"]) == (200, "upstream_cut", 4)


@pytest.mark.parametrize("version", ["1.1", "1.0"])
def test_fin_is_the_end_of_a_body_without_another(stage: Stage, version: str) -> None:
    path, _ = stage.upstream(once(UNTIL_CLOSE, b"half"))
    client = stage.client().send(get(path, version=version))
    answer = client.answer()
    assert answer.body == b"halfhalf"
    assert answer.framing == ("chunked" if version == "1.1" else "close")
    assert stage.line(path)["reason"] == "ok"
    if version == "1.1":
        assert client.send(get(path)).answer().status == 200


@pytest.mark.parametrize("loss", [FIN, RESET, "more octets"])
def test_an_upstream_that_goes_after_its_answer_is_not_asked_again(stage: Stage, loss: str) -> None:
    answered = Event()

    def script(connection: Connection) -> None:
        connection.request()
        connection.send(OK)
        assert answered.wait(PATIENCE)
        if loss == RESET:
            connection.reset()
        elif loss == "more octets":
            connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged")
            connection.wait_end()

    path, upstream = stage.upstream(script)
    client = stage.get(path)
    assert client.answer().body == b"ok"
    first = upstream.connections[0]
    upstream.script = replying(OK)
    answered.set()
    upstream.wait(lambda: first.sock.fileno() < 0, "the end of the first connection")
    assert client.send(get(path)).answer().body == b"ok"
    assert len(upstream.requests) == 2


# ── deadlines ──


@pytest.mark.parametrize("began", [b"", b"HTTP/1.1 200 OK\r\nContent-"], ids=["no answer", "half a head"])
def test_an_upstream_that_does_not_answer_is_a_504(stage: Stage, began: bytes) -> None:
    path, upstream = stage.upstream(once(began, close=False) if began else silent)
    client = stage.get(f"{path}/hasty")
    assert client.answer().status == 504
    assert stage.line(f"{path}/hasty")["reason"] == "upstream_timeout"
    upstream.wait(lambda: upstream.connections and upstream.connections[0].stream.ended, "the end of the connection")
    upstream.script = replying(OK)
    assert client.send(get(path)).answer().status == 200


def test_an_upstream_that_falls_silent_in_its_body_cuts_the_client(stage: Stage) -> None:
    path, _ = stage.upstream(once(CHUNKED, close=False), "hasty")
    client = stage.get(path)
    client.head()
    assert client.end() == FIN
    assert stage.line(path)["reason"] == "upstream_cut"


def test_an_upstream_that_drips_is_cut_when_the_total_time_is_over(stage: Stage) -> None:
    def script(connection: Connection) -> None:
        connection.request()
        connection.send(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:  # until the gateway goes
            connection.send(b"x")
            select.select([connection.sock], [], [], 0.01)

    path, _ = stage.upstream(script, "brief")
    client = stage.client()
    # Where the machine stood still for so long, the time was over before the head came.
    while (head := client.send(get(path)).head()).status == 504:
        client.octets(head.length)
    assert client.end() == FIN
    stage.line(path, reason="upstream_cut")


def test_an_upstream_that_does_not_take_the_request_is_a_504(stage: Stage) -> None:
    ended = Event()

    def script(connection: Connection) -> None:
        connection.head()
        assert ended.wait(PATIENCE)

    path, _ = stage.upstream(script, "hasty")
    client = stage.client().send(post(path, 32 * MIB))
    assert pour(client, 32 * MIB) < 32 * MIB
    assert client.answer().status == 504
    ended.set()
    assert stage.line(path)["reason"] == "upstream_timeout"


def pour(client: Client, octets: int) -> int:
    """Send until there is something to read, or all is sent. How many octets that were."""
    piece, sent = bytes(256 * 1024), 0
    client.sock.setblocking(False)
    while sent < octets:
        readable, writable, _ = select.select([client.sock], [client.sock], [], PATIENCE)
        if readable:
            break
        assert writable, "neither taken nor answered"
        sent += client.sock.send(piece[: octets - sent])
    client.sock.settimeout(PATIENCE)
    return sent


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Gateway, Upstream]]:
    """A gateway that has little patience with its clients once they have begun."""
    with ExitStack() as stack:
        upstream = stack.enter_context(Upstream(replying(response(bytes(16 * MIB)))))
        text = gateway_of('head = "100ms", body = "150ms", send = "150ms"')
        text += numbered(0, [upstream.target])
        yield stack.enter_context(running(tmp_path_factory.mktemp("strict"), text)), upstream


@pytest.mark.parametrize(("octets", "reason"), [(b"GET /0", "head_timeout"), (post("/0/x", 5) + b"he", "body_timeout")])
def test_a_client_that_falls_silent_in_its_request_is_a_408(
    strict: tuple[Gateway, Upstream], octets: bytes, reason: str
) -> None:
    gateway, _ = strict
    with Client(gateway).send(octets) as client:
        answer = client.answer()
        assert answer.status == 408
        assert answer.value(b"connection") == b"close"
        assert client.end() == FIN
    assert gateway.line(reason=reason)["status"] == 408


def test_a_client_that_says_nothing_is_closed_silently(tmp_path: Path) -> None:
    text = gateway_of('keep_alive = "100ms"') + numbered(0, ["http://127.0.0.1:9"])
    with running(tmp_path, text) as gateway, Client(gateway) as client:
        assert client.end() == FIN
        assert client.stream.octets == b""


def test_a_client_that_does_not_take_its_answer_is_reset(strict: tuple[Gateway, Upstream]) -> None:
    gateway, _ = strict
    with Client(gateway).send(get("/0/big")) as client:
        line = gateway.line(path="/0/big")
        assert (line["status"], line["reason"]) == (499, "client_gone")
        assert client.end() == RESET


# ── the answer comes before the request has ended ──


@pytest.mark.parametrize("framing", ["counted", "chunked"])
@pytest.mark.parametrize("stubborn", [False, True], ids=["stops when answered", "sends on"])
def test_an_early_answer_reaches_a_client_that_still_sends(stage: Stage, framing: str, stubborn: bool) -> None:
    over = Event()

    def script(connection: Connection) -> None:
        connection.head()
        connection.send(response(b"enough", status="413 Content Too Large"))
        assert over.wait(PATIENCE)

    path, _ = stage.upstream(script)
    octets = 32 * MIB  # more than all buffers on the way hold
    if framing == "counted":
        client = stage.client().send(post(path, octets))
    else:
        client = stage.client().send(get(path, "Transfer-Encoding: chunked", method="POST"), b"%x\r\n" % octets)
    if stubborn:
        client.send(bytes(octets))
    else:
        pour(client, octets)
    answer = client.answer()
    over.set()
    assert (answer.status, answer.body) == (413, b"enough")
    assert answer.value(b"connection") == b"close"
    assert client.end() == FIN
    assert stage.line(path)["reason"] == "ok"


def test_a_refusal_reaches_a_client_that_still_sends(stage: Stage) -> None:
    """A chunked body shows only on the way that it is too large."""
    path, upstream = stage.upstream(lambda connection: connection.request() and None)
    path += "/small"
    client = stage.client().send(get(path, "Transfer-Encoding: chunked", method="POST"))
    client.send(b"800000\r\n", bytes(8 * MIB))
    assert client.answer().status == 413
    assert client.end() == FIN
    assert stage.line(path)["reason"] == "body_too_large"
    assert not upstream.requests[0].complete


def test_an_answer_to_the_expectation_is_relayed_before_the_body(stage: Stage) -> None:
    def script(connection: Connection) -> None:
        connection.head()
        connection.send(response(b"no", status="417 Expectation Failed"))
        connection.wait_end()

    path, _ = stage.upstream(script)
    client = stage.client().send(post(path, 5, "Expect: 100-continue"))
    assert client.answer().status == 417
    assert client.end() == FIN


def test_an_upstream_that_dies_before_its_100_is_a_502(stage: Stage) -> None:
    path, _ = stage.upstream(lambda connection: connection.head() and None)
    client = stage.client().send(post(path, 5, "Expect: 100-continue"))
    assert client.answer().status == 502
    assert client.end() == FIN


# ── a connection that was at rest turns out to be dead ──


def dies_at_the_second(connection: Connection) -> None:
    """Serves one request; the head of the next one kills it."""
    connection.request()
    connection.send(OK)
    connection.head()
    connection.reset()


def stirs_at_the_second(connection: Connection) -> None:
    connection.request()
    connection.send(OK)
    connection.head()
    connection.send(b"HTTP/1.1 200")


@pytest.mark.parametrize(
    ("method", "script", "status", "seen"),
    [
        ("GET", dies_at_the_second, 200, 3),
        ("HEAD", dies_at_the_second, 200, 3),
        ("DELETE", dies_at_the_second, 200, 3),
        ("POST", dies_at_the_second, 502, 2),
        ("PATCH", dies_at_the_second, 502, 2),
        ("GET", stirs_at_the_second, 502, 2),
    ],
)
def test_a_request_is_sent_again_only_where_that_is_safe(
    stage: Stage, method: str, script: Script, status: int, seen: int
) -> None:
    path, upstream = stage.upstream(script)
    client = stage.get(path)
    assert client.answer().status == 200
    client.send(get(path, method=method))
    assert client.answer(method.encode()).status == status
    assert [request.method for request in upstream.requests] == [b"GET", *[method.encode()] * (seen - 1)]
    assert len(upstream.connections) == seen - 1
    stage.line(path, method=method, status=status)


def test_a_request_whose_body_was_passed_on_is_not_sent_again(stage: Stage) -> None:
    path, upstream = stage.upstream(dies_at_the_second)
    client = stage.get(path)
    assert client.answer().status == 200
    assert client.send(post(path, 5, method="PUT") + b"hello").answer().status == 502
    assert len(upstream.requests) == 2


def test_a_request_is_sent_again_once(stage: Stage) -> None:
    path, upstream = stage.upstream(dies_at_the_second)
    client = stage.get(path)
    assert client.answer().status == 200
    upstream.script = reset_unanswered
    assert client.send(get(path)).answer().status == 502
    assert len(upstream.requests) == 3


# ── the queue ──


class Gate:
    """A script that answers each request when it is told to."""

    def __init__(self) -> None:
        self.opened = Event()

    def __call__(self, connection: Connection) -> None:
        while connection.request() is not None:
            assert self.opened.wait(PATIENCE)
            connection.send(OK)


def test_a_full_queue_refuses_and_the_others_are_served_in_turn(stage: Stage) -> None:
    gate = Gate()
    path, upstream = stage.upstream(gate, "narrow")
    first = stage.get(path)
    upstream.wait_requests(1)
    waiting = {client.sock: client for client in (stage.get(path), stage.get(path))}
    # One of them waits in the queue, the other does not fit: nobody can say which.
    refused, _, _ = select.select(list(waiting), [], [], PATIENCE)
    client = waiting.pop(refused[0])
    answer = client.answer()
    assert answer.status == 503
    assert answer.value(b"retry-after") is not None
    assert stage.line(path, status=503)["reason"] == "queue_full"
    gate.opened.set()
    (other,) = waiting.values()
    assert (first.answer().status, other.answer().status) == (200, 200)
    assert client.send(get(path)).answer().status == 200
    assert len(upstream.connections) == 1


def test_the_queue_is_left_when_the_time_is_over(stage: Stage) -> None:
    gate = Gate()
    path, upstream = stage.upstream(gate, "impatient")
    first = stage.get(path)
    upstream.wait_requests(1)
    answer = stage.get(path).answer()
    assert answer.status == 503
    assert answer.value(b"retry-after") is not None
    assert stage.line(path, status=503)["reason"] == "queue_timeout"
    gate.opened.set()
    assert first.answer().status == 200
    assert len(upstream.requests) == 1


def test_a_client_that_leaves_the_queue_makes_room(stage: Stage) -> None:
    gate = Gate()
    path, upstream = stage.upstream(gate, "narrow")
    first = stage.get(path)
    upstream.wait_requests(1)
    waiting = {client.sock: client for client in (stage.get(path), stage.get(path))}
    # That one is refused shows that the other is in the queue: a reset may overtake octets that nobody has read yet.
    refused, _, _ = select.select(list(waiting), [], [], PATIENCE)
    assert waiting.pop(refused[0]).answer().status == 503
    (queued,) = waiting.values()
    queued.reset()
    assert stage.line(path, status=499)["reason"] == "client_gone"
    second = stage.get(path)
    gate.opened.set()
    assert (first.answer().status, second.answer().status) == (200, 200)


def test_a_connection_that_dies_frees_its_place_for_the_queue(stage: Stage) -> None:
    dies = Event()

    def script(connection: Connection) -> None:
        connection.request()
        assert dies.wait(PATIENCE)

    path, upstream = stage.upstream(script, "narrow")
    first = stage.get(path)
    upstream.wait_requests(1)
    second = stage.client().send(get(path, method="HEAD"))
    upstream.script = replying(OK)
    dies.set()
    assert first.answer().status == 502
    assert second.answer(b"HEAD").status == 200


# ── the client is lost ──


def holding(began: bytes) -> tuple[Script, list[str], Event]:
    """A script that reads a head, sends this, and notes how the gateway ends the connection."""
    ends: list[str] = []
    over = Event()

    def script(connection: Connection) -> None:
        connection.head()
        if began:
            connection.send(began)
        ends.append(connection.wait_end())
        over.set()

    return script, ends, over


SWITCHED = b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"
UPGRADE = ("Connection: upgrade", "Upgrade: websocket")

PHASES: dict[str, tuple[Callable[[str], bytes], bytes]] = {
    "sending": (lambda path: post(path, 5) + b"he", b""),
    "awaiting": (get, b""),
    "early": (lambda path: post(path, 5) + b"he", COUNTED),
    "relaying": (get, COUNTED),
    "relaying chunked": (get, CHUNKED),
    "tunnel": (lambda path: get(path, *UPGRADE), SWITCHED + b"hi"),
}


@pytest.mark.parametrize("phase", PHASES)
def test_a_client_that_resets_takes_its_upstream_connection_with_it(stage: Stage, phase: str) -> None:
    request, began = PHASES[phase]
    script, ends, over = holding(began)
    path, upstream = stage.upstream(script)
    client = stage.client().send(request(path))
    if began:
        client.head()
    else:
        upstream.wait_requests(1)
    client.reset()
    assert over.wait(PATIENCE)
    assert ends == [RESET]
    line = stage.line(path)
    assert (line["status"], line["reason"]) == (101 if phase == "tunnel" else 499, "client_gone")


def test_a_client_that_half_closes_in_its_body_is_lost(stage: Stage) -> None:
    script, ends, over = holding(b"")
    path, upstream = stage.upstream(script)
    client = stage.client().send(post(path, 5) + b"he")
    upstream.wait_requests(1)
    client.sock.shutdown(socket.SHUT_WR)
    assert client.end() == FIN
    assert client.stream.octets == b""
    assert over.wait(PATIENCE)
    assert ends == [RESET]
    assert stage.line(path)["reason"] == "client_gone"


def test_a_client_that_goes_while_its_answer_flows_stops_the_upstream(stage: Stage) -> None:
    """Its reset is behind octets that were never taken: noticed when writing, not when reading."""
    script, ends, over = flooding()
    path, _ = stage.upstream(script)
    client = stage.get(path)
    client.head()
    client.reset()
    assert over.wait(PATIENCE)
    assert ends == [RESET]
    assert stage.line(path)["reason"] == "client_gone"


def flooding() -> tuple[Script, list[str], Event]:
    """A script that sends without end, and notes how the gateway ends the connection."""
    ends: list[str] = []
    over = Event()

    def script(connection: Connection) -> None:
        connection.head()
        connection.send(b"HTTP/1.1 200 OK\r\n\r\n")
        try:
            while True:
                connection.send(bytes(256 * 1024))
        except OSError:
            ends.append(RESET)
        over.set()

    return script, ends, over


# ── tunnels ──


def test_half_closes_pass_through_a_tunnel(stage: Stage) -> None:
    def script(connection: Connection) -> None:
        connection.head()
        connection.send(SWITCHED)
        assert connection.stream.rest() == b"ping"
        assert connection.stream.ended == FIN
        connection.send(b"pong")

    path, _ = stage.upstream(script)
    client = stage.get(path, *UPGRADE)
    assert client.head().status == 101
    client.send(b"ping").sock.shutdown(socket.SHUT_WR)
    assert client.octets(4) == b"pong"
    assert client.end() == FIN
    line = stage.line(path)
    assert (line["status"], line["reason"], line["bytesIn"], line["bytesOut"]) == (101, "ok", 4, 4)


def test_an_upstream_that_half_closes_a_tunnel_still_listens(stage: Stage) -> None:
    def script(connection: Connection) -> None:
        connection.head()
        connection.send(SWITCHED + b"bye")
        connection.send_eof()
        assert connection.stream.rest() == b"ping"

    path, _ = stage.upstream(script)
    client = stage.get(path, *UPGRADE)
    assert client.head().status == 101
    assert client.stream.rest() == b"bye"
    client.send(b"ping").sock.close()
    assert stage.line(path)["reason"] == "ok"


def test_an_upstream_that_resets_a_tunnel_resets_the_client(stage: Stage) -> None:
    goes = Event()

    def script(connection: Connection) -> None:
        connection.head()
        connection.send(SWITCHED + b"hi")
        assert goes.wait(PATIENCE)
        connection.reset()

    path, _ = stage.upstream(script)
    client = stage.get(path, *UPGRADE)
    assert client.head().status == 101
    assert client.octets(2) == b"hi"
    goes.set()
    assert client.end() == RESET
    assert stage.line(path)["reason"] == "upstream_cut"


# ── a decision that waits, on real loops ──


class Records(AccessLog):
    """Keeps the reasons that are logged."""

    def __init__(self) -> None:
        super().__init__(2)
        self.reasons: list[str] = []

    def write(self, record: Record) -> None:
        self.reasons.append(record.reason)


class Keys(Pending):
    """What the decision waits for: it arrives when the test says so."""

    def __init__(self, patience: float) -> None:
        super().__init__(monotonic() + patience, errors.KEYS_UNAVAILABLE, "an-id", "someone")
        self.asked = asyncio.Event()
        self.forgotten = asyncio.Event()
        self._ready: list[Callable[[], None]] = []

    def subscribe(self, ready: Callable[[], None]) -> Callable[[], None]:
        self._ready.append(ready)
        self.asked.set()
        return self.forgotten.set

    def arrive(self) -> None:
        for ready in self._ready:
            ready()

    def resume(self, now: float, wall: float) -> Decision:
        return LocalReply(204, errors.OK, b"", "", "", "an-id", "someone")


Loop = Callable[[], asyncio.AbstractEventLoop]


@pytest.mark.parametrize("factory", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
@pytest.mark.parametrize(
    ("outcome", "answer", "reason"),
    [("ready", b"HTTP/1.1 204 ", "ok"), ("late", b"HTTP/1.1 503 ", "keys_unavailable"), ("lost", b"", "client_gone")],
)
def test_a_pending_decision(factory: Loop, outcome: str, answer: bytes, reason: str) -> None:
    async def scene() -> None:
        keys, log = Keys(0.05 if outcome == "late" else PATIENCE), Records()
        loop = asyncio.get_running_loop()
        connections = ClientConnections(
            loop=loop,
            date=lambda: b"Thu, 01 Jan 1970 00:00:00 GMT",
            new_id=lambda: "own-id",
            log=log,
            generation=Generation(
                lambda head, peer, now, wall: keys,
                RequestRules(16384, 100, 8192, frozenset(), frozenset(), True),
                ResponseRules(16384, 100, frozenset(), True),
                {},
                ListenerOptions(head_timeout=PATIENCE),
                ClientOptions(),
            ),
        )
        server = await loop.create_server(protocol_factory(connections), "127.0.0.1", 0)
        gone = asyncio.Event()
        connections.emptied = gone.set
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.write(get("/"))
        await keys.asked.wait()
        if outcome == "ready":
            keys.arrive()
        if outcome == "lost":
            reset_transport(cast("asyncio.Transport", writer.transport))
            await keys.forgotten.wait()
        else:
            assert (await reader.readuntil(b"\r\n")).startswith(answer)
            assert keys.forgotten.is_set() == (outcome == "late")
            writer.close()
        await gone.wait()
        assert log.reasons == [reason]
        server.close()
        await server.wait_closed()

    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(asyncio.wait_for(scene(), PATIENCE))


@pytest.mark.parametrize("factory", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
@pytest.mark.parametrize("last", [False, True])
def test_a_large_reply_of_our_own(factory: Loop, last: bool) -> None:
    """More than all buffers on the way hold: the transport says when the client has taken it, also while it closes."""
    page = b"0123456789abcdef" * (1 << 20)

    async def scene() -> None:
        log = Records()
        loop = asyncio.get_running_loop()
        connections = ClientConnections(
            loop=loop,
            date=lambda: b"Thu, 01 Jan 1970 00:00:00 GMT",
            new_id=lambda: "own-id",
            log=log,
            generation=Generation(
                lambda head, peer, now, wall: LocalReply(
                    200, errors.OK, b"", "", "", "an-id", "someone", body=page, content_type=b"text/plain"
                ),
                RequestRules(16384, 100, 8192, frozenset(), frozenset(), True),
                ResponseRules(16384, 100, frozenset(), True),
                {},
                ListenerOptions(),
                ClientOptions(),
            ),
        )
        server = await loop.create_server(protocol_factory(connections), "127.0.0.1", 0)
        gone = asyncio.Event()
        connections.emptied = gone.set
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        client.setblocking(False)
        await loop.sock_connect(client, server.sockets[0].getsockname())
        reader, writer = await asyncio.open_connection(sock=client)
        for asked in range(1 if last else 2):
            writer.write(get("/", *(("Connection: close",) if last else ())))
            assert b"Content-Length: %d\r\n" % len(page) in await reader.readuntil(b"\r\n\r\n")
            assert len(log.reasons) == asked
            body = await reader.readexactly(len(page))
            assert body[-16:] == page[-16:]
        if last:
            assert await reader.read() == b""
        writer.close()
        await gone.wait()
        assert log.reasons == ["ok"] * (1 if last else 2)
        server.close()
        await server.wait_closed()

    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(asyncio.wait_for(scene(), PATIENCE))
