"""Which connections to a service are used again: none that has ended or said something nobody asked for, none after a
body when the service does not read bodies."""

from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread

import pytest

from harness import configs
from harness.gateway import PATIENCE, Gateway, running, standing_still
from harness.upstream import OK, Connection, Upstream
from harness.wire_reader import Message, Stream, read_response

pytestmark = pytest.mark.process

PLANTED = b"GET /planted HTTP/1.1\r\nHost: h\r\nX-User-Id: root\r\n\r\n"
POST = b"POST /post HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n" % len(PLANTED) + PLANTED
GET = b"GET /get HTTP/1.1\r\nHost: h\r\n\r\n"


class ReadsNoBodies(BaseHTTPRequestHandler):
    """Answers each request with its path, and leaves a body where it is. `seen`: those paths."""

    protocol_version = "HTTP/1.1"
    seen: list[str]
    arrived: Event

    def do_GET(self) -> None:
        self.seen.append(self.path)
        if self.path == "/planted":
            self.arrived.set()
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.path)))
        self.end_headers()
        self.wfile.write(self.path.encode())

    def do_POST(self) -> None:
        self.do_GET()

    def log_message(self, *_: object) -> None:
        """Quiet."""


@contextmanager
def careless() -> Iterator[tuple[int, type[ReadsNoBodies]]]:
    """Such a server: its port, and what it has seen."""
    handler = type("Handler", (ReadsNoBodies,), {"seen": [], "arrived": Event()})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        thread = Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield server.server_address[1], handler
        finally:
            server.shutdown()
            thread.join(PATIENCE)


def ask(gateway: Gateway, octets: bytes) -> Message:
    with gateway.connect() as sock:
        sock.sendall(octets)
        message = read_response(Stream.of(sock))
    assert message is not None
    return message


def test_the_response_to_a_planted_request_reaches_nobody(tmp_path: Path) -> None:
    with careless() as (port, handler), running(tmp_path, configs.one_route(f"http://127.0.0.1:{port}")) as gateway:
        assert ask(gateway, POST).body == b"/post"
        assert handler.arrived.wait(PATIENCE)
        said = gateway.wait_said("sent octets that belong to no request")
        assert f"upstream one: 127.0.0.1:{port}" in said
        for _ in range(5):
            assert ask(gateway, POST).body == b"/post"
            assert [ask(gateway, GET).body for _ in range(3)] == [b"/get"] * 3
        gateway.stop()
        assert [line for line in gateway.said if "belong to no request" in line] == [said]
    assert "/planted" in handler.seen


def test_after_bodiless_is_said_by_nobody_and_keeps_connections_apart(tmp_path: Path) -> None:
    def script(connection: Connection) -> None:
        while connection.request() is not None:
            connection.send(OK)

    with (
        Upstream(script) as upstream,
        running(tmp_path, configs.one_route(upstream.target, upstream_has=['reuse = "after-bodiless"'])) as gateway,
    ):
        for octets in (GET, GET, POST, GET, POST):
            assert ask(gateway, octets).status == 200
        assert [len(connection.requests) for connection in upstream.connections] == [3, 2]


@pytest.mark.parametrize("how", ["fin", "reset"])
def test_a_post_is_not_sent_on_a_connection_that_has_ended(tmp_path: Path, how: str) -> None:
    """The end is in the socket, but the request is read first: the gateway stands still while both arrive."""
    end, ended = Event(), Event()

    def script(connection: Connection) -> None:
        while connection.request() is not None:
            connection.send(OK)
            if connection is upstream.connections[0]:
                assert end.wait(PATIENCE)
                if how == "reset":
                    connection.reset()
                else:
                    connection.sock.close()
                ended.set()
                return

    with (
        Upstream(script) as upstream,
        running(tmp_path, configs.one_route(upstream.target)) as gateway,
        gateway.connect() as sock,
    ):
        stream = Stream.of(sock)
        sock.sendall(GET)
        assert read_response(stream) is not None
        with standing_still(gateway.pid):
            sock.sendall(POST)
            end.set()
            assert ended.wait(PATIENCE)
        message = read_response(stream)
        assert message is not None
        assert message.status == 200
        assert len(upstream.connections) == 2
