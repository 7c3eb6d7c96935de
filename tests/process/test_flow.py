"""Who is lost, and what is not lost with them: over real sockets, in both lanes.

Requests that are sent again, targets that close without a word, early responses behind which the service resets, cuts
that send what came, clients that leave; and what the log says of why. (Of where the time went: `test_durations`.)
"""

import socket
import struct
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path
from threading import Event

import pytest

from harness import configs
from harness.gateway import PATIENCE, Gateway, running
from harness.upstream import OK, Connection, Script, Upstream, free_port, once, replying, response
from harness.wire_reader import FIN, RESET, Message, Stream, read_body, read_response, read_response_head

pytestmark = pytest.mark.process

Serve = Callable[..., tuple[Gateway, list[Upstream]]]


@pytest.fixture(params=["fast", "h11"])
def serve(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Serve]:
    """Start a gateway before upstreams that play these scripts."""
    with ExitStack() as stack:

        def start(*scripts: Script, options: str = "", gateway: str = "") -> tuple[Gateway, list[Upstream]]:
            upstreams = [stack.enter_context(Upstream(script)) for script in scripts]
            text = configs.one_route(
                *(upstream.target for upstream in upstreams),
                gateway_has=[f'parser = "{request.param}"', gateway],
                upstream_has=[options],
            )
            return stack.enter_context(running(tmp_path, text)), upstreams

        yield start


def get(path: str = "/", *fields: str, method: str = "GET") -> bytes:
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: h", *fields, "", ""]).encode()


def ask(gateway: Gateway, request: bytes) -> Message:
    """The whole response to a request on a connection of its own."""
    with gateway.connect() as sock:
        sock.sendall(request)
        message = read_response(Stream.of(sock), request.partition(b" ")[0])
        assert message is not None
        return message


# ── sent again ──


def serves_one(connection: Connection) -> None:
    """Answers one request, and closes silently when the next one comes."""
    if connection.request() is not None:
        connection.send(OK)
        connection.head()


@pytest.mark.parametrize(("connections", "clients"), [(1, 3), (2, 10), (4, 40)])
def test_no_request_that_may_be_sent_again_fails_at_the_limit(serve: Serve, connections: int, clients: int) -> None:
    options = f'max_connections = {connections}\nqueue_timeout = "{PATIENCE:g}s"'
    gateway, _ = serve(serves_one, options=options)
    with ThreadPoolExecutor(clients) as pool:
        answers = pool.map(lambda _: ask(gateway, get()).status, range(clients))
        assert list(answers) == [200] * clients


def test_a_target_that_closes_without_a_word_is_left_for_another(serve: Serve) -> None:
    gateway, (broken, good) = serve(lambda connection: None, replying(OK))
    with gateway.connect() as sock:
        stream = Stream.of(sock)
        for _ in range(4):
            sock.sendall(get("/", "Connection: keep-alive"))
            message = read_response(stream, b"GET")
            assert message is not None
            assert message.status == 200
    assert len(good.requests) == 4
    assert len(broken.connections) <= 1


# ── an early response, and then a reset ──


def refusing(pause: float) -> Script:
    """Answers behind the head, and closes with the upload unread: then the kernel resets."""

    def script(connection: Connection) -> None:
        if connection.head() is not None:
            Event().wait(pause)  # the upload is under way: no event tells, since it is not to be read
            connection.send(response(b"no", "Connection: close", status="413 Content Too Large"))

    return script


def send_all(sock: socket.socket, *pieces: bytes) -> None:
    """As much as is taken: a response may come, and the connection go, before that is all."""
    with suppress(OSError):
        for piece in pieces:
            sock.sendall(piece)


@pytest.mark.parametrize("pause", [0.0, 0.002, 0.005])
def test_an_early_response_survives_the_reset_behind_it(serve: Serve, pause: float) -> None:
    gateway, _ = serve(refusing(pause))
    chunk = b"c350\r\n" + bytes(50_000) + b"\r\n"
    for _ in range(10):
        with gateway.connect() as sock:
            send_all(sock, get("/", "Transfer-Encoding: chunked", method="POST"), *[chunk] * 100, b"0\r\n\r\n")
            message = read_response(Stream.of(sock), b"POST")
            assert message is not None
            assert (message.status, message.body) == (413, b"no")


def chunked(payload: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(payload), payload)


def test_each_chunk_is_answered_as_it_comes(serve: Serve) -> None:
    def script(connection: Connection) -> None:
        if connection.head() is None:
            return
        connection.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(4):
            connection.send(connection.stream.exactly(len(chunked(b"ping"))))
        assert connection.stream.exactly(5) == b"0\r\n\r\n"
        connection.send(b"0\r\n\r\n")

    gateway, _ = serve(script)
    with gateway.connect() as sock:
        sock.sendall(get("/", "Transfer-Encoding: chunked", method="POST"))
        stream = Stream.of(sock)
        assert read_response_head(stream, b"POST") is not None
        for _ in range(4):
            sock.sendall(chunked(b"ping"))
            assert stream.exactly(len(chunked(b"ping"))) == chunked(b"ping")
        sock.sendall(b"0\r\n\r\n")
        assert stream.exactly(5) == b"0\r\n\r\n"
        stream.rest()
        assert stream.ended == FIN
    line = gateway.line(path="/")
    assert (line["reason"], line["bytesIn"], line["bytesOut"], line.get("detail")) == ("ok", 16, 16, None)


@pytest.mark.parametrize("framing", ["counted", "chunked"])
@pytest.mark.parametrize("octets", [100_000, 8_000_000])
def test_a_service_that_answers_at_once_and_reads_on_gets_the_whole_body(
    serve: Serve, octets: int, framing: str
) -> None:
    bodies: list[int] = []

    def script(connection: Connection) -> None:
        if connection.head() is None:
            return
        connection.send(response(b"ok", status="202 Accepted"))
        bodies.append(len(read_body(connection.stream, connection.requests[-1]).body))

    gateway, (upstream,) = serve(script)
    body = bytes(octets)
    with gateway.connect() as sock:
        if framing == "counted":
            sock.sendall(get("/", f"Content-Length: {octets}", method="POST") + body[:10_000])
        else:
            sock.sendall(get("/", "Transfer-Encoding: chunked", method="POST") + b"%x\r\n" % octets + body[:10_000])
        stream = Stream.of(sock)
        message = read_response(stream, b"POST")
        assert message is not None
        assert (message.status, message.value(b"connection")) == (202, b"close")
        sock.sendall(body[10_000:] + (b"" if framing == "counted" else b"\r\n0\r\n\r\n"))
        stream.rest()
        assert stream.ended == FIN
    upstream.wait(lambda: bodies, "the body")
    assert bodies == [octets]
    line = gateway.line(path="/")
    assert (line["reason"], line["bytesIn"], line.get("detail")) == ("ok", octets, None)


def test_the_log_says_when_the_body_was_not_taken(serve: Serve) -> None:
    gateway, _ = serve(refusing(0.0))
    with gateway.connect() as sock:
        send_all(sock, get("/", "Content-Length: 8000000", method="POST"), *[bytes(80_000)] * 100)
        message = read_response(Stream.of(sock), b"POST")
        assert message is not None
        assert message.status == 413
    line = gateway.line(path="/")
    assert (line["reason"], line["status"]) == ("ok", 413)
    assert line["detail"] == "The service did not take the rest of the request."


# ── cut ──


@pytest.mark.parametrize("how", [FIN, RESET])
@pytest.mark.parametrize("framing", ["counted", "chunked"])
def test_a_cut_sends_what_came_to_a_slow_reader(serve: Serve, framing: str, how: str) -> None:
    octets = 3_000_000

    def script(connection: Connection) -> None:
        if connection.request() is None:
            return
        if framing == "counted":
            connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5000000\r\n\r\n", bytes(octets))
        else:
            connection.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4c4b40\r\n", bytes(octets))
        if how == RESET:
            connection.reset()

    gateway, _ = serve(script)
    with gateway.connect() as sock:
        sock.sendall(get())
        stream = Stream.of(sock)
        assert read_response_head(stream, b"GET") is not None
        rest = stream.rest()
        assert stream.ended == FIN
    if how == FIN:
        assert rest.count(0) == octets
    assert gateway.line(path="/")["reason"] == "upstream_cut"


# ── a client that leaves ──


def holding(opened: Event) -> Script:
    """Answers when it is told to, and sees how the gateway ends the connection."""

    def script(connection: Connection) -> None:
        while connection.request() is not None:
            if opened.is_set():
                connection.send(OK)
            else:
                connection.wait_end()

    return script


@pytest.mark.parametrize("how", ["close", "half-close"])
def test_clients_that_leave_free_their_connections(serve: Serve, how: str) -> None:
    opened = Event()
    gateway, (upstream,) = serve(holding(opened), options=f'max_connections = 5\nqueue_timeout = "{PATIENCE:g}s"')
    with ExitStack() as stack:
        socks = [stack.enter_context(gateway.connect()) for _ in range(6)]
        for sock in socks[:5]:
            sock.sendall(get("/gone"))
        upstream.wait_requests(5)
        socks[5].sendall(get("/queued"))
        for sock in socks[5:] + socks[:5]:
            sock.shutdown(socket.SHUT_WR) if how == "half-close" else sock.close()
        assert [line["status"] for line in gateway.wait_lines(6, reason="client_gone")] == [499] * 6
        opened.set()
        assert ask(gateway, get("/next")).status == 200
    assert len([request for request in upstream.requests if request.target == b"/gone"]) == 5
    five = upstream.connections[:5]
    upstream.wait(lambda: all(connection.stream.ended for connection in five), "the ends of their connections")
    assert {connection.stream.ended for connection in five} == {RESET}


@pytest.mark.parametrize("half_close", ["abort", "serve"])
@pytest.mark.parametrize("began", [b"GE", b"GET /b HTTP/1.1\r\nHost: h"])
def test_a_client_that_leaves_by_reset_within_a_head_has_its_line(serve: Serve, began: bytes, half_close: str) -> None:
    """It comes with another request, so that the gateway has read it when that one is responded to."""
    gateway, _ = serve(replying(OK), gateway=f'half_close = "{half_close}"')
    with gateway.connect() as sock:
        sock.sendall(get("/a") + began)
        assert read_response(Stream.of(sock), b"GET") is not None
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    line = gateway.line(reason="client_gone")
    assert (line["status"], line["path"], line["upstream"]) == (499, "/b" if b"/b" in began else "", None)
    assert line["detail"] == "The client reset the connection within its request head."
    assert len(gateway.log) == 2


def test_a_half_closed_client_is_served_where_the_configuration_says_so(serve: Serve) -> None:
    gateway, _ = serve(replying(OK), gateway='half_close = "serve"')
    with gateway.connect() as sock:
        sock.sendall(get("/1") + get("/2"))
        sock.shutdown(socket.SHUT_WR)
        stream = Stream.of(sock)
        for _ in range(2):
            message = read_response(stream, b"GET")
            assert message is not None
            assert message.status == 200
        stream.rest()
        assert stream.ended == FIN


# ── why ──

BAD = b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n"


def test_the_log_says_why(serve: Serve) -> None:
    gateway, _ = serve(once(BAD, close=False))
    assert ask(gateway, get("/a")).status == 502
    line = gateway.line(reason="upstream_bad_response")
    assert line["detail"]
    assert (line["host"], line["headMs"]) == ("h", None)
    assert ask(gateway, b"GET /b HTTP/1.1\r\n\r\n").status == 400
    assert gateway.line(reason="bad_request")["detail"]


def once_served(how: str, began: bytes = b"") -> Script:
    """Serves one request of a connection; behind the next one it ends it, by FIN or reset."""

    def script(connection: Connection) -> None:
        if connection.request() is not None:
            connection.send(OK)
            if connection.request() is not None:
                connection.send(began)
                if how == RESET:
                    connection.reset()

    return script


@pytest.mark.parametrize(
    ("script", "detail"),
    [
        (once_served(FIN), "It closed a used connection without a word."),
        (once_served(RESET), "It reset a used connection without a word."),
        (once_served(FIN, b"HTTP/1.1 2"), "It closed the connection within the head of its response."),
    ],
    ids=["fin", "reset", "in the head"],
)
def test_the_log_says_how_a_used_connection_was_lost(serve: Serve, script: Script, detail: str) -> None:
    gateway, _ = serve(script)
    with gateway.connect() as sock:
        stream = Stream.of(sock)
        for path, status in (("/first", 200), ("/second", 502)):
            sock.sendall(get(path, "Content-Length: 2", method="POST") + b"hi")
            message = read_response(stream, b"POST")
            assert message is not None
            assert message.status == status
            assert (b"before the head of its response was complete" in message.body) is (status == 502)
    line = gateway.line(path="/second")
    assert (line["reason"], line["detail"]) == ("upstream_reset", detail)


@pytest.mark.parametrize(
    ("target", "detail"),
    [("http://127.0.0.1:{port}", "No connection: connection refused."), ("http://nobody.invalid:{port}", "")],
    ids=["refused", "no name"],
)
def test_the_log_says_why_there_was_no_connection(tmp_path: Path, target: str, detail: str) -> None:
    text = configs.one_route(target.format(port=free_port()))
    with running(tmp_path, text) as gateway:
        message = ask(gateway, get())
        line = gateway.line(path="/")
        assert message.status == line["status"]
        assert line["upstreamMs"] is None
        assert line["waitMs"] >= 0
        if detail:
            assert line["detail"] == detail
        else:
            # Where no name server can be asked, it is "try again".
            assert line["detail"] != "No connection: connection refused."
            assert line["detail"]
        assert line["detail"].encode() not in message.body, "what is behind the gateway is not the client's business"
