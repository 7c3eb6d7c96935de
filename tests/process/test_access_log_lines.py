"""The access log of the real process: one line for every request, whatever became of it, and the line is true.

Each scene below plays one outcome, on a connection of its own, and says which status the client saw. All are played at
the same time, since many wait for a deadline. Afterwards the gateway is stopped, and the log is looked at as a whole: a
scene's lines are those whose `remote` is its socket's address.
"""

import json
import re
import signal
import socket
import struct
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from threading import Event

import pytest
from msgspec import Struct

from harness import configs
from harness.gateway import Gateway, LogLine, running
from harness.tokens import SECRET, token
from harness.upstream import Connection, Upstream, free_port, replying, response
from harness.wire_reader import Cut, Message, Stream, read_response, read_response_head

pytestmark = pytest.mark.process

PATIENT = 'response_timeout = "20s"'
UPSTREAMS = {
    "stage": [PATIENT, 'tunnel_idle = "800ms"'],
    "patient": [],
    "aged": ['tunnel_max_age = "800ms"'],
    "slow": ['response_timeout = "300ms"'],
    "narrow": ["max_connections = 1", "queue = 0", PATIENT],
    "queueing": ["max_connections = 1", "queue = 1", 'queue_timeout = "300ms"', PATIENT],
    "nobody": [],
}
"""To each leads a route of its name."""


def text(lane: str, target: str) -> str:
    parts = [
        configs.gateway(
            f'parser = "{lane}"',
            'timeouts = { head = "500ms", body = "500ms", drain = "5s" }',
            'limits = { head = "2KiB", target = "1KiB", body = "100B" }',
        ),
        configs.jwt(),
    ]
    nobody = f"http://127.0.0.1:{free_port()}"
    for name, lines in UPSTREAMS.items():
        parts.append(configs.upstream(name, nobody if name == "nobody" else target, *lines))
        parts.append(configs.route(f"/{name}", name, f'name = "{name}"'))
    parts += [
        configs.route("/locked", "stage", 'name = "locked"', auth="jwt.main"),
        configs.route("/limited", "stage", 'name = "limited"', 'rate_limit = { max = 1, window = "1h" }'),
        configs.route("/read", "stage", 'name = "read"', 'methods = ["GET"]'),
    ]
    return "".join(parts)


FIELDS = [
    "time",
    "requestId",
    "method",
    "host",
    "path",
    "route",
    "clientId",
    "status",
    "durationMs",
    "upstream",
    "waitMs",
    "headMs",
    "upstreamMs",
    "bytesIn",
    "bytesOut",
    "remote",
    "reason",
]

HIDDEN = "hush-hush"
"""In every query below, and in no log line."""

RESET = struct.pack("ii", 1, 0)


# ── the upstream ──


class HoldingUpstream:
    """What the upstream does is in the last part of the path. `let_go` ends the requests that it holds."""

    def __init__(self) -> None:
        self.let_go = Event()

    def script(self, connection: Connection) -> None:
        while (request := connection.request()) is not None:
            match request.target.partition(b"?")[0].rpartition(b"/")[2]:
                case b"hold":
                    self.let_go.wait(20)
                    connection.send(response())
                case b"silent":
                    connection.wait_end()
                    return
                case b"reset":
                    connection.reset()
                    return
                case b"bad":
                    connection.send(b"HTTP/1.1 200 OK\r\nX-A : 1\r\n\r\n")
                case b"cut":
                    connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nok")
                    return
                case b"tunnel":
                    # In one piece, as the client's are: whoever is slow between two would meet the tunnel's end.
                    connection.send(
                        b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\npong"
                    )
                    assert connection.stream.exactly(4) == b"ping"
                    connection.wait_end()
                    return
                case _:
                    connection.send(response(b"hello"))


# ── the client ──


class Scenery(Struct, frozen=True):
    """What all scenes share. `sockets` closes their connections, when all is over."""

    gateway: Gateway
    upstream: Upstream
    sockets: ExitStack


class Client:
    """One connection of a scene."""

    def __init__(self, scenery: Scenery) -> None:
        self.scenery = scenery
        self.sock = scenery.sockets.enter_context(scenery.gateway.connect())
        self.remote = "{}:{}".format(*self.sock.getsockname())
        self.stream = Stream.of(self.sock)

    def another(self) -> "Client":
        return Client(self.scenery)

    def send(self, request: str, *lines: str, body: str = "") -> None:
        octets = "\r\n".join([f"{request} HTTP/1.1", "Host: a.test", *lines, "", body]).encode("latin-1")
        self.sock.sendall(octets)

    def ask(self, request: str, *lines: str, body: str = "") -> int:
        """The status of the answer."""
        self.send(request, *lines, body=body)
        return self.status()

    def status(self) -> int:
        message: Message | None = read_response(self.stream, b"GET")
        assert message is not None
        return message.status

    def leave(self) -> None:
        """With a reset."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        self.sock.close()

    def held_by_upstream(self, count: int, target: bytes) -> None:
        """Wait until the upstream has got so many requests for that."""
        requests = self.scenery.upstream.requests
        self.scenery.upstream.wait(lambda: sum(request.target.startswith(target) for request in requests) >= count)


# ── scenes ──


def ok(client: Client) -> int:
    return client.ask(f"POST /stage/ok?{HIDDEN}", "Content-Length: 3", body="abc")


def no_route(client: Client) -> int:
    return client.ask(f"GET /nowhere?{HIDDEN}")


def method_not_allowed(client: Client) -> int:
    return client.ask(f"DELETE /read/7?{HIDDEN}")


def auth_missing(client: Client) -> int:
    return client.ask(f"GET /locked?{HIDDEN}")


def auth_malformed(client: Client) -> int:
    return client.ask(f"GET /locked?{HIDDEN}", "Authorization: Bearer not.a.token")


def auth_bad_signature(client: Client) -> int:
    bad = token({"sub": "alice", "exp": 4_000_000_000}, "another secret of at least 32 octets")
    return client.ask(f"GET /locked?{HIDDEN}", f"Authorization: Bearer {bad}")


def rate_limited(client: Client) -> int:
    first = client.another()
    assert first.ask(f"GET /limited?{HIDDEN}") == 200
    return client.ask(f"GET /limited?{HIDDEN}")


def bad_request(client: Client) -> int:
    return client.ask(f"GET /stage/a?{HIDDEN}", "X-A : 1")


def head_timeout(client: Client) -> int:
    client.sock.sendall(f"GET /stage/a?{HIDDEN} HTTP/1.1\r\nHost: a".encode())
    return client.status()


def body_timeout(client: Client) -> int:
    return client.ask(f"POST /stage/a?{HIDDEN}", "Content-Length: 9", body="abc")


def target_too_long(client: Client) -> int:
    return client.ask(f"GET /stage/{'a' * 1500}?{HIDDEN}")


def head_too_large(client: Client) -> int:
    return client.ask(f"GET /stage/a?{HIDDEN}", f"X-A: {'a' * 3000}")


def body_too_large(client: Client) -> int:
    return client.ask(f"POST /stage/a?{HIDDEN}", "Content-Length: 101", body="a" * 101)


def expectation_failed(client: Client) -> int:
    return client.ask(f"POST /stage/a?{HIDDEN}", "Expect: 200-ok", "Content-Length: 1", body="a")


def not_implemented(client: Client) -> int:
    return client.ask(f"TRACE /stage/a?{HIDDEN}")


def version_unsupported(client: Client) -> int:
    client.sock.sendall(f"GET /stage/a?{HIDDEN} HTTP/2.0\r\nHost: a\r\n\r\n".encode())
    return client.status()


def upstream_connect_failed(client: Client) -> int:
    return client.ask(f"GET /nobody/a?{HIDDEN}")


def upstream_reset(client: Client) -> int:
    return client.ask(f"GET /stage/reset?{HIDDEN}")


def upstream_bad_response(client: Client) -> int:
    return client.ask(f"GET /stage/bad?{HIDDEN}")


def upstream_timeout(client: Client) -> int:
    return client.ask(f"GET /slow/silent?{HIDDEN}")


def upstream_cut(client: Client) -> int:
    client.send(f"GET /stage/cut?{HIDDEN}")
    head = read_response_head(client.stream)
    assert head is not None
    with pytest.raises(Cut, match="fin"):
        client.stream.exactly(10)
    return head.status


def queue_full(client: Client) -> int:
    client.another().send(f"GET /narrow/hold?{HIDDEN}")
    client.held_by_upstream(1, b"/narrow/hold")
    return client.ask(f"GET /narrow/a?{HIDDEN}")


def queue_timeout(client: Client) -> int:
    client.another().send(f"GET /queueing/hold?{HIDDEN}")
    client.held_by_upstream(1, b"/queueing/hold")
    return client.ask(f"GET /queueing/a?{HIDDEN}")


def client_gone(client: Client) -> int:
    client.send(f"GET /stage/held/silent?{HIDDEN}")
    client.held_by_upstream(1, b"/stage/held/silent")
    client.leave()
    return 499


def head_cut(client: Client) -> int:
    # FIN goes along with the octets: had it to wait for its turn, the head would be late before it is cut.
    client.sock.send(f"GET /stage/a?{HIDDEN} HTTP/1.1\r\nHost: a".encode(), getattr(socket, "MSG_MORE", 0))
    client.sock.shutdown(socket.SHUT_WR)
    return client.status()


def tunnel(client: Client, target: str) -> int:
    client.send(f"GET {target}?{HIDDEN}", "Connection: Upgrade", "Upgrade: websocket", body="ping")
    head = read_response_head(client.stream)
    assert client.stream.exactly(4) == b"pong"
    assert client.stream.rest() == b""
    assert client.stream.ended != "silent"
    assert head is not None
    return head.status


def tunnel_idle(client: Client) -> int:
    return tunnel(client, "/stage/tunnel")


def tunnel_max_age(client: Client) -> int:
    return tunnel(client, "/aged/tunnel")


def tunnel_reset(client: Client) -> int:
    client.send(f"GET /patient/tunnel?{HIDDEN}", "Connection: Upgrade", "Upgrade: websocket", body="ping")
    head = read_response_head(client.stream)
    assert client.stream.exactly(4) == b"pong"
    client.leave()
    assert head is not None
    return head.status


FORWARDED = {"route": "stage", "upstream": "stage"}
UNROUTED = {"route": "", "upstream": None, "upstreamMs": None, "bytesIn": 0}
LOCKED = {"route": "locked", "upstream": None, "bytesIn": 0, "method": "GET", "path": "/locked"}

SCENES: dict[Callable[[Client], int], LogLine] = {
    ok: FORWARDED | {"status": 200, "method": "POST", "path": "/stage/ok", "bytesIn": 3, "bytesOut": 5},
    no_route: UNROUTED | {"status": 404, "method": "GET", "path": "/nowhere"},
    method_not_allowed: {"status": 405, "method": "DELETE", "path": "/read/7", "upstream": None},
    auth_missing: LOCKED | {"status": 401, "clientId": "127.0.0.1"},
    auth_malformed: LOCKED | {"status": 401, "clientId": "127.0.0.1"},
    auth_bad_signature: LOCKED | {"status": 401, "clientId": "127.0.0.1"},
    rate_limited: {"status": 429, "route": "limited", "upstream": None, "path": "/limited"},
    bad_request: UNROUTED | {"status": 400, "method": "GET", "path": "/stage/a"},
    head_timeout: UNROUTED | {"status": 408, "method": "GET", "path": "/stage/a"},
    body_timeout: FORWARDED | {"status": 408, "bytesIn": 3},
    target_too_long: UNROUTED | {"status": 414, "method": "GET"},
    head_too_large: UNROUTED | {"status": 431, "method": "GET", "path": "/stage/a"},
    body_too_large: {"status": 413, "path": "/stage/a"},
    expectation_failed: {"status": 417, "path": "/stage/a", "upstream": None},
    not_implemented: {"status": 501, "method": "TRACE", "path": "/stage/a", "upstream": None},
    version_unsupported: UNROUTED | {"status": 505},
    upstream_connect_failed: {"status": 502, "route": "nobody", "upstream": "nobody"},
    upstream_reset: FORWARDED | {"status": 502},
    upstream_bad_response: FORWARDED | {"status": 502},
    upstream_timeout: {"status": 504, "route": "slow", "upstream": "slow"},
    upstream_cut: FORWARDED | {"status": 200, "bytesOut": 2},
    queue_full: {"status": 503, "route": "narrow", "upstream": "narrow"},
    queue_timeout: {"status": 503, "route": "queueing", "upstream": "queueing"},
    client_gone: FORWARDED | {"status": 499, "path": "/stage/held/silent", "bytesOut": 0},
    head_cut: UNROUTED | {"status": 400, "method": "GET", "path": "/stage/a", "reason": "bad_request"},
    tunnel_idle: FORWARDED | {"status": 101, "bytesIn": 4, "bytesOut": 4},
    tunnel_reset: {"status": 101, "route": "patient", "bytesIn": 4, "bytesOut": 4, "reason": "client_gone"},
    tunnel_max_age: {"status": 101, "route": "aged", "upstream": "aged", "bytesIn": 4, "bytesOut": 4},
}
"""Scene → what its line must say, besides the reason, which is the scene's name where nothing else is said."""

NAMES = [scene.__name__ for scene in SCENES]


class Played:
    """What the clients saw, and the whole log."""

    def __init__(self, log: list[LogLine], seen: dict[str, tuple[str, int]], requests: int) -> None:
        self.log = log
        self.seen = seen
        self.requests = requests

    def lines(self, scene: str) -> list[LogLine]:
        return [line for line in self.log if line["remote"] == self.seen[scene][0]]


@pytest.fixture(scope="module", params=["fast", "h11"])
def played(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Played:
    holding = HoldingUpstream()
    with Upstream(holding.script) as upstream:
        config = text(request.param, upstream.target)
        with running(tmp_path_factory.mktemp("log"), config, {"JWT_SECRET": SECRET}) as gateway, ExitStack() as sockets:
            scenery = Scenery(gateway, upstream, sockets)

            def play(scene: Callable[[Client], int]) -> tuple[str, int]:
                client = Client(scenery)
                return client.remote, scene(client)

            with ThreadPoolExecutor(len(SCENES)) as pool:
                seen = dict(zip(NAMES, pool.map(play, SCENES), strict=True))
            holding.let_go.set()
            # The scenes that need a second request: its line is there, too.
            requests = len(SCENES) + 3
            gateway.wait_lines(requests)
            sockets.close()
            gateway.stop()
    return Played(gateway.log, seen, requests)


@pytest.mark.parametrize("scene", SCENES, ids=NAMES)
def test_one_line_with_its_reason(played: Played, scene: Callable[[Client], int]) -> None:
    (line,) = played.lines(scene.__name__)
    told = {"reason": scene.__name__} | SCENES[scene]
    assert {name: line[name] for name in told} == told


@pytest.mark.parametrize("scene", NAMES)
def test_status_is_what_the_client_saw(played: Played, scene: str) -> None:
    (line,) = played.lines(scene)
    assert line["status"] == played.seen[scene][1]


def test_as_many_lines_as_requests(played: Played) -> None:
    assert len(played.log) == played.requests
    assert len({line["requestId"] for line in played.log}) == played.requests


def test_fields_in_their_order(played: Played) -> None:
    for line in played.log:
        assert list(line) == FIELDS + [name for name in ("clientMs", "detail", "attempts") if name in line]


def test_details_are_sentences(played: Played) -> None:
    for line in played.log:
        assert re.fullmatch(r"[A-Z].*\.", line.get("detail", "None."))


def test_no_query(played: Played) -> None:
    assert HIDDEN not in json.dumps(played.log)


def test_values_have_their_form(played: Played) -> None:
    for line in played.log:
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line["time"])
        assert re.fullmatch("[0-9a-f]{32}", line["requestId"])
        assert (line["upstream"] is None) == (line["waitMs"] is None)
        assert 0 <= (line["headMs"] or 0) <= (line["upstreamMs"] or 0)
        # Each is rounded by itself.
        assert 0 <= (line["waitMs"] or 0) + (line["upstreamMs"] or 0) <= line["durationMs"] + 0.002
        if "clientMs" in line:
            assert 1 <= line["clientMs"] <= line["durationMs"] + 0.002
        assert line["bytesIn"] >= 0
        assert line["bytesOut"] >= 0


@pytest.mark.parametrize(
    ("scene", "at_least"),
    [("head_timeout", 500), ("body_timeout", 500), ("upstream_timeout", 300), ("queue_timeout", 300)],
)
def test_duration_covers_the_wait(played: Played, scene: str, at_least: float) -> None:
    (line,) = played.lines(scene)
    assert line["durationMs"] >= at_least


@pytest.mark.parametrize("scene", ["head_timeout", "body_timeout"])
def test_whom_the_gateway_waited_for_in_vain(played: Played, scene: str) -> None:
    (line,) = played.lines(scene)
    assert line["clientMs"] > line["durationMs"] / 2


def test_connection_limit(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Refused before a request was read: the line has neither method nor path."""
    holding = HoldingUpstream()
    with (
        Upstream(holding.script) as upstream,
        running(
            tmp_path_factory.mktemp("crowded"),
            configs.one_route(upstream.target, gateway_has=["limits = { connections = 1 }"]),
        ) as gateway,
        ExitStack() as sockets,
    ):
        first = Client(Scenery(gateway, upstream, sockets))
        first.send("GET /hold")
        first.held_by_upstream(1, b"/hold")
        second = first.another()
        assert second.status() == 503
        line = gateway.line(remote=second.remote)
        told = {"reason": "connection_limit", "status": 503, "method": "", "path": "", "upstream": None}
        assert {name: line[name] for name in told} == told
        holding.let_go.set()
        assert first.status() == 200
        gateway.line(remote=first.remote, reason="ok")
        sockets.close()
        assert len(gateway.stop()) == 2


TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
GOOD = f"00-{TRACE}-00f067aa0ba902b7-00"


@pytest.mark.parametrize("lane", ["fast", "h11"])
def test_the_trace_of_each_request(tmp_path: Path, lane: str) -> None:
    def exchange(path: str, *fields: str) -> tuple[str, str, LogLine]:
        """traceparent and tracestate as the upstream got them, and the line of the log."""
        lines_before = len(running_now.log)
        with running_now.connect() as sock:
            lines = [f"GET {path} HTTP/1.1", "Host: h", "Connection: close", *fields, "", ""]
            sock.sendall("\r\n".join(lines).encode())
            read_response(Stream.of(sock))
        got = upstream.requests[-1]
        line = running_now.wait_lines(lines_before + 1)[-1]
        return (got.value(b"traceparent") or b"").decode(), (got.value(b"tracestate") or b"").decode(), line

    def text(*lines: str) -> str:
        return (
            configs.gateway(f'parser = "{lane}"', *lines)
            + configs.upstream("u", upstream.target)
            + configs.route("/a", "u")
        )

    good, bad, state = f"traceparent: {GOOD}", "traceparent: 00-" + "0" * 32, "Tracestate: a=1"
    with ExitStack() as stack:
        upstream = stack.enter_context(Upstream(replying(response())))
        running_now = stack.enter_context(running(tmp_path, text('trace = "make"')))
        assert exchange("/a", good, state)[:2] == (GOOD, "a=1")
        made = set()
        for fields in ([], [state], [bad, state], [good, good, state]):
            parent, gone, line = exchange("/a", *fields)
            assert gone == ""
            assert re.fullmatch("00-[0-9a-f]{32}-[0-9a-f]{16}-01", parent)
            assert parent[3:35] == line["traceId"]
            made.add(line["traceId"])
        assert len(made) == 4
        assert exchange("/none", good)[2]["traceId"] == TRACE
        assert "traceId" not in exchange("/none", bad)[2]
        (tmp_path / "rawgate.toml").write_text(text())
        running_now.signal(signal.SIGHUP)
        running_now.wait_said("changed: gateway.trace")
        parent, passed, line = exchange("/a", bad, state)
        assert (f"traceparent: {parent}", passed, "traceId" in line) == (bad, "a=1", False)


@pytest.mark.parametrize("lane", ["fast", "h11"])
def test_what_the_operator_asks_of_the_log(tmp_path: Path, lane: str) -> None:
    def text(log: str) -> str:
        gateway = configs.gateway(f'parser = "{lane}"', f"log = {{ {log} }}")
        limit = 'rate_limit = { max = 2, window = "1h" }'
        return (
            gateway
            + configs.upstream("u", upstream.target)
            + configs.route("/a", "u")
            + configs.route("/q", "u", limit)
        )

    def get(path: str) -> None:
        with running_now.connect() as sock:
            sock.sendall(f"GET {path} HTTP/1.1\r\nHost: h\r\nUser-Agent: probe/1\r\nConnection: close\r\n\r\n".encode())
            read_response(Stream.of(sock))

    with ExitStack() as stack:
        upstream = stack.enter_context(Upstream(replying(response())))
        before = text('fields = ["User-Agent", "X-None"], quiet = ["/q"]')
        running_now = stack.enter_context(running(tmp_path, before))
        for path in ("/q", "/q", "/q", "/a", "/none"):
            get(path)
        lines = running_now.wait_lines(3)
        assert [(line["route"], line["reason"]) for line in lines] == [
            ("/q", "rate_limited"),
            ("/a", "ok"),
            ("", "no_route"),
        ]
        assert [line["fields"] for line in lines] == [{"user-agent": "probe/1"}] * 3
        (tmp_path / "rawgate.toml").write_text(text('quiet = ["/a"]'))
        running_now.signal(signal.SIGHUP)
        running_now.wait_said("changed: gateway.log")
        for path in ("/a", "/q"):
            get(path)
        last = running_now.wait_lines(4)[-1]
        assert (last["route"], last["reason"], "fields" in last) == ("/q", "rate_limited", False)
