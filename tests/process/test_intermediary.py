"""What RFC 9110 asks of an intermediary, seen from both sides of the real process: Via and loops, Max-Forwards, TRACE,
1xx, trailers, and events that are passed on as they come.

The rows of tests/cases/http_cases.jsonl (test_conformance) have one case of most of these; here are their edges.
"""

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from threading import Event

import pytest

from harness import configs
from harness.gateway import PATIENCE, Gateway, running
from harness.upstream import OK, Connection, Script, Upstream, free_port, once, replying, silent
from harness.wire_reader import Message, Stream, read_response, read_response_head

pytestmark = pytest.mark.process


def numbered(number: int, target: str) -> str:
    """An upstream, and the route that leads to it."""
    return configs.upstream(f"u{number}", target) + configs.route(f"/{number}", f"u{number}")


TESTS = 40
"""That need an upstream, at least."""

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


class Stage:
    """The gateway, and for the present test: an upstream that nobody has used yet, the path to it, and one client."""

    def __init__(self, gateway: Gateway, number: int, upstream: Upstream) -> None:
        self.gateway = gateway
        self.upstream = upstream
        self.path = f"/{number}"
        self.sock = gateway.connect()
        self.stream = Stream.of(self.sock)

    def plays(self, script: Script) -> None:
        self.upstream.script = script

    def send(self, *fields: str, method: str = "GET", version: str = "1.1", body: bytes = b"") -> None:
        lines = [f"{method} {self.path} HTTP/{version}", "Host: h", *fields, "", ""]
        self.sock.sendall("\r\n".join(lines).encode() + body)

    def ask(self, *fields: str, method: str = "GET", version: str = "1.1", body: bytes = b"") -> Message:
        """The final response, whole."""
        self.send(*fields, method=method, version=version, body=body)
        return self.answer(method)

    def answer(self, method: str = "GET") -> Message:
        message = read_response(self.stream, method.encode())
        assert message is not None
        return message

    def head(self) -> Message:
        message = read_response_head(self.stream)
        assert message is not None
        return message

    @property
    def request(self) -> Message:
        """The only one that reached the upstream."""
        (request,) = self.upstream.requests
        return request


Served = tuple[Gateway, list[tuple[int, Upstream]]]


@pytest.fixture(scope="module", params=["fast", "h11"])
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with ExitStack() as stack:
        upstreams = [(number, stack.enter_context(Upstream(silent))) for number in range(TESTS)]
        text = configs.gateway(f'parser = "{request.param}"')
        text += "".join(numbered(number, upstream.target) for number, upstream in upstreams)
        yield stack.enter_context(running(tmp_path_factory.mktemp("intermediary"), text)), upstreams


@pytest.fixture
def stage(served: Served) -> Iterator[Stage]:
    gateway, free = served
    stage = Stage(gateway, *free.pop())
    with stage.sock:
        yield stage
    stage.upstream.stop()


# ── Via and loops: RFC 9110 section 7.6.3 ──


@pytest.mark.parametrize(
    ("version", "fields", "via"),
    [
        ("1.1", (), b"1.1 rawgate"),
        ("1.0", (), b"1.0 rawgate"),
        ("1.1", ("Via: 1.0 fred, 1.1 p.test (a comment)",), b"1.0 fred, 1.1 p.test (a comment), 1.1 rawgate"),
        ("1.1", ("Via: 1.0 fred", "Via: 1.1 p.test"), b"1.0 fred, 1.1 p.test, 1.1 rawgate"),
    ],
)
def test_via_names_the_version_that_came_in(stage: Stage, version: str, fields: tuple[str, ...], via: bytes) -> None:
    stage.plays(replying(OK))
    assert stage.ask(*fields, version=version).status == 200
    assert stage.request.value(b"via") == via


def test_via_cannot_be_taken_away(stage: Stage) -> None:
    stage.plays(replying(OK))
    assert stage.ask("Connection: Via", "Via: 1.1 rawgate").status == 400
    assert stage.upstream.requests == []


@pytest.mark.parametrize("members", [7, 8])
def test_too_many_gateways_of_this_name_are_a_loop(stage: Stage, members: int) -> None:
    stage.plays(replying(OK))
    answer = stage.ask("Via: " + ", ".join(["1.1 rawgate"] * members))
    assert answer.status == (508 if members == 8 else 200)
    assert len(stage.upstream.requests) == (members < 8)


def test_a_gateway_that_is_its_own_upstream_ends_the_loop(tmp_path: Path) -> None:
    port = free_port()
    text = configs.gateway(listen=f"127.0.0.1:{port}") + numbered(0, f"http://127.0.0.1:{port}")
    with running(tmp_path, text) as gateway, gateway.connect() as sock:
        sock.sendall(b"GET /0 HTTP/1.1\r\nHost: h\r\n\r\n")
        answer = read_response(Stream.of(sock))
        assert answer is not None
        assert answer.status == 508
        assert json.loads(answer.body)["reason"] == "loop_detected"
        lines = gateway.wait_lines(9)
    assert [line["reason"] for line in lines] == ["loop_detected"] + ["ok"] * 8


# ── Max-Forwards and TRACE: RFC 9110 sections 7.6.2 and 9.3.8 ──


@pytest.mark.parametrize(
    ("method", "value", "passed"),
    [
        ("OPTIONS", "5", b"4"),
        ("OPTIONS", "1", b"0"),
        ("OPTIONS", "007", b"6"),
        ("OPTIONS", "9" * 100, b"9" * 6),
        # For other methods it has no meaning, and is passed on as it is.
        ("GET", "0", b"0"),
        ("POST", "5", b"5"),
    ],
)
def test_forwards_are_counted(stage: Stage, method: str, value: str, passed: bytes) -> None:
    stage.plays(replying(OK))
    assert stage.ask(f"Max-Forwards: {value}", method=method).status == 200
    assert stage.request.value(b"max-forwards") == passed


@pytest.mark.parametrize(("value", "status"), [("0", 204), ("000", 204), ("-1", 400), ("1, 2", 400), ("x", 400)])
def test_the_last_forward_is_answered_here(stage: Stage, value: str, status: int) -> None:
    answer = stage.ask(f"Max-Forwards: {value}", method="OPTIONS")
    assert answer.status == status
    assert (answer.value(b"allow") is not None) == (status == 204)
    assert stage.upstream.requests == []


@pytest.mark.parametrize("fields", [(), ("Max-Forwards: 0",), ("Max-Forwards: 5",)])
def test_trace_is_not_served(stage: Stage, fields: tuple[str, ...]) -> None:
    """It would show an attacker's script what proxies on the way add, credentials among it."""
    answer = stage.ask("Cookie: secret=1", *fields, method="TRACE")
    assert answer.status == 501
    assert b"secret" not in answer.raw
    assert stage.upstream.requests == []


# ── 1xx: RFC 9110 section 15.2 ──

HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n"


def test_interim_responses_pass_at_once(stage: Stage) -> None:
    seen = Event()

    def script(connection: Connection) -> None:
        connection.request()
        connection.send(HINTS)
        assert seen.wait(PATIENCE)
        connection.send(HINTS, OK)

    stage.plays(script)
    stage.send()
    head = stage.head()
    assert (head.status, head.value(b"link")) == (103, b"</a.css>; rel=preload")
    seen.set()
    assert stage.head().status == 103
    assert stage.answer().body == b"ok"


def test_interim_responses_are_kept_from_http_1_0(stage: Stage) -> None:
    stage.plays(once(HINTS + OK))
    stage.send(version="1.0")
    assert stage.head().status == 200


def test_the_upstream_says_when_the_body_may_come(stage: Stage) -> None:
    asked = Event()

    def script(connection: Connection) -> None:
        head = connection.head()
        assert head is not None
        assert head.value(b"expect") == b"100-continue"
        asked.set()
        connection.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        assert connection.stream.exactly(5) == b"hello"
        connection.send(OK)

    stage.plays(script)
    stage.send("Expect: 100-continue", "Content-Length: 5", method="POST")
    assert stage.head().status == 100
    assert asked.is_set()
    stage.sock.sendall(b"hello")
    assert stage.answer().body == b"ok"


# ── trailers: RFC 9110 section 6.5 ──


def test_trailers_pass_up_but_for_those_that_mean_more(stage: Stage) -> None:
    stage.plays(replying(OK))
    trailers = "X-Sum: abc\r\nx-sum: def\r\nX-User-Id: root\r\nContent-Length: 5\r\nAuthorization: x\r\nHost: evil\r\n"
    stage.ask("Transfer-Encoding: chunked", method="POST", body=b"2\r\nhi\r\n0\r\n%b\r\n" % trailers.encode())
    assert stage.request.body == b"hi"
    assert stage.request.trailers == [(b"X-Sum", b"abc"), (b"x-sum", b"def")]


def test_trailers_pass_down_in_their_order(stage: Stage) -> None:
    stage.plays(replying(CHUNKED + b"2\r\nhi\r\n0\r\nX-Sum: abc\r\nServer-Timing: db;dur=53\r\nX-Sum: def\r\n\r\n"))
    answer = stage.ask("TE: trailers")
    assert answer.body == b"hi"
    assert answer.trailers == [(b"X-Sum", b"abc"), (b"Server-Timing", b"db;dur=53"), (b"X-Sum", b"def")]
    assert stage.ask().status == 200  # on the same two connections
    assert len(stage.upstream.connections) == 1


def test_trailers_are_lost_where_nobody_can_read_them(stage: Stage) -> None:
    """An HTTP/1.0 client knows no chunks: its body ends with the connection."""
    stage.plays(replying(CHUNKED + b"2\r\nhi\r\n0\r\nX-Sum: abc\r\n\r\n"))
    answer = stage.ask(version="1.0")
    assert (answer.framing, answer.body) == ("close", b"hi")


# ── events: https://html.spec.whatwg.org/multipage/server-sent-events.html ──


@pytest.mark.parametrize("framing", ["chunked", "close"])
def test_events_come_one_by_one(stage: Stage, framing: str) -> None:
    """The next is sent only when the one before has arrived: nothing on the way may wait for more."""
    arrived = [Event() for _ in range(20)]
    events = [b"data: %d\n\n" % number for number in range(len(arrived))]

    def script(connection: Connection) -> None:
        connection.request()
        head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-cache\r\n"
        connection.send(head + (b"Transfer-Encoding: chunked\r\n\r\n" if framing == "chunked" else b"\r\n"))
        for event, mark in zip(events, arrived, strict=True):
            connection.send(b"%x\r\n%b\r\n" % (len(event), event) if framing == "chunked" else event)
            assert mark.wait(PATIENCE)
        if framing == "chunked":
            connection.send(b"0\r\n\r\n")

    stage.plays(script)
    stage.send("Accept: text/event-stream")
    head = stage.head()
    assert (head.value(b"content-type"), head.framing) == (b"text/event-stream", "chunked")
    for event, mark in zip(events, arrived, strict=True):
        assert stage.stream.exactly(len(event) + 5) == b"%x\r\n%b\r\n" % (len(event), event)
        mark.set()
    assert stage.stream.exactly(5) == b"0\r\n\r\n"


def test_a_head_comes_before_its_body(stage: Stage) -> None:
    seen = Event()

    def script(connection: Connection) -> None:
        connection.request()
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")
        assert seen.wait(PATIENCE)
        connection.send(b"hello")

    stage.plays(script)
    stage.send()
    assert stage.head().status == 200
    seen.set()
    assert stage.stream.exactly(5) == b"hello"


def test_an_upload_passes_as_it_comes(stage: Stage) -> None:
    pieces = [b"piece %d" % number for number in range(5)]
    arrived = [Event() for _ in pieces]

    def script(connection: Connection) -> None:
        connection.head()
        for piece, mark in zip(pieces, arrived, strict=True):
            assert connection.stream.exactly(len(piece) + 5) == b"%x\r\n%b\r\n" % (len(piece), piece)
            mark.set()
        assert connection.stream.exactly(5) == b"0\r\n\r\n"
        connection.send(OK)

    stage.plays(script)
    stage.send("Transfer-Encoding: chunked", method="POST")
    for piece, mark in zip(pieces, arrived, strict=True):
        stage.sock.sendall(b"%x\r\n%b\r\n" % (len(piece), piece))
        assert mark.wait(PATIENCE)
    stage.sock.sendall(b"0\r\n\r\n")
    assert stage.answer().status == 200
