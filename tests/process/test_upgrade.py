"""Upgrades through the real process: WebSocket by the libraries that people use, as clients and as servers, and raw
octets for what no library would do.

Not here: half-closes and resets of tunnels (test_losses), their back-pressure (test_backpressure), their end at a stop
(test_lifecycle), the log lines of `tunnel_idle` and `tunnel_max_age` (test_access_log_lines).
"""

import asyncio
import json
import os
import resource
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import websockets.asyncio.client
import websockets.asyncio.server

from harness import configs
from harness.gateway import PATIENCE, Gateway, running
from harness.upstream import OK, Connection, Script, Upstream, replying, response, silent
from harness.websocket_clients import CLIENTS, HEARD, converse
from harness.websocket_servers import SERVERS, in_a_loop
from harness.wire_reader import FIN, Message, Stream, read_response, read_response_head

pytestmark = pytest.mark.process

NODE = Path(__file__).parent / "servers"


def service(name: str, port: int, options: str = "") -> str:
    lines = ("max_connections = 1100", 'response_timeout = "20s"', options)
    return configs.upstream(name, f"http://127.0.0.1:{port}", *lines) + configs.route(f"/{name}", name)


# ── libraries ──


@pytest.fixture(scope="module")
def node(program: Callable[[str], str]) -> str:
    """Node, with the package `ws` where its scripts look for it."""
    path = program("node")
    if not (NODE / "node_modules" / "ws").is_dir():
        missing = "npm's ws is not installed (npm install in tests/process/servers)"
        if os.environ.get("RAWGATE_REQUIRE") == "1":
            pytest.fail(missing)
        pytest.skip(missing)
    return path


@contextmanager
def node_server(node: str) -> Iterator[int]:
    with subprocess.Popen([node, NODE / "ws_server.mjs"], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline())
        finally:
            process.kill()


def node_client(node: str, host: str, port: int, path: str) -> object:
    done = subprocess.run(
        [node, NODE / "ws_client.mjs", f"ws://{host}:{port}{path}"], capture_output=True, timeout=60, check=True
    )
    return json.loads(done.stdout)


@pytest.mark.parametrize("server", [*SERVERS, "ws"])
@pytest.mark.parametrize("client", [*CLIENTS, "ws"])
def test_a_conversation(request: pytest.FixtureRequest, tmp_path: Path, client: str, server: str) -> None:
    """8 MiB in one message, many small ones, in several frames, pings and closes from both sides, compressed."""
    node: str = request.getfixturevalue("node") if "ws" in {client, server} else ""
    serving: AbstractContextManager[int] = node_server(node) if server == "ws" else SERVERS[server]()
    with serving as port, running(tmp_path, configs.gateway() + service("a", port)) as gateway:
        host, listening = gateway.address
        if client == "ws":
            heard = node_client(node, host, listening, "/a")
        else:
            heard = converse(CLIENTS[client], host, listening, "/a")
        assert heard == HEARD
        lines = gateway.wait_lines(2, status=101)
    # The large message and its echo, which no compression makes smaller. Which tunnel ends first, nobody can say.
    assert max(min(line["bytesIn"], line["bytesOut"]) for line in lines) > 8 * 1024 * 1024


@pytest.fixture
def descriptors() -> Iterator[None]:
    """As many as this process may have: clients and servers of the tunnels live in it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.usefixtures("descriptors")
def test_a_thousand_tunnels_at_once(tmp_path: Path) -> None:
    tunnels = 1000
    # On a slow machine each waits for long while the others have their turns.
    patient: Any = {"open_timeout": 3 * PATIENCE, "close_timeout": 3 * PATIENCE, "ping_interval": None}

    async def echo(connection: websockets.asyncio.server.ServerConnection) -> None:
        async for message in connection:
            await connection.send(message)

    async def start() -> tuple[int, Callable[[], Any]]:
        server = await websockets.asyncio.server.serve(echo, "127.0.0.1", 0, compression=None, backlog=1024, **patient)

        async def end() -> None:
            server.close()
            await server.wait_closed()

        port: int = server.sockets[0].getsockname()[1]
        return port, end

    async def talk(url: str) -> None:
        dials = asyncio.Semaphore(100)

        async def connect() -> websockets.asyncio.client.ClientConnection:
            async with dials:
                return await websockets.asyncio.client.connect(url, compression=None, proxy=None, **patient)

        async def ask(number: int, connection: websockets.asyncio.client.ClientConnection) -> None:
            for turn in range(3):
                await connection.send(f"{number} {turn}")
                assert await connection.recv() == f"{number} {turn}"

        connections = await asyncio.gather(*(connect() for _ in range(tunnels)))
        await asyncio.gather(*(ask(number, connection) for number, connection in enumerate(connections)))
        await asyncio.gather(*(connection.close() for connection in connections))

    with in_a_loop(start) as port, running(tmp_path, configs.gateway() + service("a", port)) as gateway:
        host, listening = gateway.address
        asyncio.run(talk(f"ws://{host}:{listening}/a"))
        assert len(gateway.wait_lines(tunnels, status=101, reason="ok")) == tunnels


# ── raw octets ──

SWITCHED = b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"
WEBSOCKET = ("Connection: Upgrade", "Upgrade: websocket")


def numbered(number: int, target: str) -> str:
    """One upstream, and the routes that lead to it: each test has one that nobody has used yet."""
    root, name = f"/{number}", f"u{number}"
    return (
        configs.upstream(name, target)
        + configs.upstream(f"idle{number}", target, 'tunnel_idle = "200ms"')
        + configs.upstream(f"aged{number}", target, 'tunnel_max_age = "500ms"')
        + configs.route(f"{root}/idle", f"idle{number}")
        + configs.route(f"{root}/aged", f"aged{number}")
        + configs.route(f"{root}/locked", name, auth="api_keys.main")
        + configs.route(f"{root}/limited", name, 'rate_limit = { max = 1, window = "1h" }')
        + configs.route(f"{root}/named", name, 'upgrade = ["websocket", "irc"]')
        + configs.route(f"{root}/none", name, "upgrade = []")
        + configs.route(root, name)
    )


TESTS = 48
"""That need an upstream, at least."""


class Client:
    """One connection to the gateway."""

    def __init__(self, gateway: Gateway, root: str) -> None:
        self.root = root
        self.sock = gateway.connect()
        self.stream = Stream.of(self.sock)

    def send(self, path: str, *fields: str, line: str = "GET {} HTTP/1.1", then: bytes = b"") -> None:
        """`path` begins behind the part that leads to this test's upstream."""
        lines = [line.format(self.root + path), "Host: h", *fields, "", ""]
        self.sock.sendall("\r\n".join(lines).encode() + then)

    def ask(self, path: str, *fields: str, line: str = "GET {} HTTP/1.1", then: bytes = b"") -> Message:
        """The final answer, or the head of a 101."""
        self.send(path, *fields, line=line, then=then)
        return self.answer()

    def answer(self) -> Message:
        message = read_response(self.stream)
        assert message is not None
        return message

    def end(self) -> str:
        self.stream.rest()
        return self.stream.ended


class Stage:
    """The gateway, and for the present test: an upstream, its number, and clients."""

    def __init__(self, gateway: Gateway, number: int, upstream: Upstream) -> None:
        self.gateway = gateway
        self.upstream = upstream
        self.root = f"/{number}"
        self.sockets = ExitStack()

    def plays(self, script: Script) -> None:
        """What the upstream does with connections from now on."""
        self.upstream.script = script

    def client(self) -> Client:
        client = Client(self.gateway, self.root)
        self.sockets.callback(client.sock.close)
        return client


Served = tuple[Gateway, list[tuple[int, Upstream]]]


@pytest.fixture(scope="module", params=["fast", "h11"])
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with ExitStack() as stack:
        upstreams = [(number, stack.enter_context(Upstream(silent))) for number in range(TESTS)]
        text = configs.gateway(f'parser = "{request.param}"') + configs.api_keys("main", "x-key", "KEYS")
        text += "".join(numbered(number, upstream.target) for number, upstream in upstreams)
        directory = tmp_path_factory.mktemp("upgrade")
        gateway = stack.enter_context(running(directory, text, {"KEYS": "me:a-key-of-the-tests"}))
        yield gateway, upstreams


@pytest.fixture
def stage(served: Served) -> Iterator[Stage]:
    gateway, free = served
    stage = Stage(gateway, *free.pop())
    with stage.sockets:
        yield stage
    stage.upstream.stop()


def echoing(connection: Connection) -> None:
    """Answers requests; one that offers a protocol is switched, and what comes then is sent back."""
    while (request := connection.request()) is not None:
        offered = request.value(b"upgrade")
        if offered is None:
            connection.send(OK)
            continue
        connection.send(SWITCHED.replace(b"websocket", offered))
        while connection.stream.unread or connection.stream.more():
            connection.send(connection.stream.exactly(len(connection.stream.unread)))
        return


def answering(*pieces: bytes) -> Script:
    """Sends these to the first request of a connection, whatever it is."""

    def script(connection: Connection) -> None:
        if connection.request() is not None:
            connection.send(*pieces)
            connection.wait_end()

    return script


def test_octets_that_come_with_the_101(stage: Stage) -> None:
    frames = bytes(range(256)) * 300
    stage.plays(answering(SWITCHED + frames))
    client = stage.client()
    assert client.ask("", *WEBSOCKET).status == 101
    assert client.stream.exactly(len(frames)) == frames


def test_octets_that_come_with_the_request_wait_for_the_101(stage: Stage) -> None:
    seen: list[bytes] = []

    def script(connection: Connection) -> None:
        assert connection.head() is not None
        connection.sock.setblocking(False)
        with pytest.raises(BlockingIOError):
            connection.sock.recv(1)
        connection.sock.settimeout(PATIENCE)
        connection.send(SWITCHED)
        seen.append(connection.stream.exactly(5))
        connection.send(b"thanks")

    stage.plays(script)
    client = stage.client()
    assert client.ask("", *WEBSOCKET, then=b"early").status == 101
    assert client.stream.exactly(6) == b"thanks"
    assert seen == [b"early"]


def test_the_101_reaches_the_client_as_the_upstream_said_it(stage: Stage) -> None:
    stage.plays(answering(SWITCHED.replace(b"\r\n\r\n", b"\r\nSec-WebSocket-Accept: abc=\r\nX-A: 1\r\nX-A: 2\r\n\r\n")))
    answer = stage.client().ask("", *WEBSOCKET, "Sec-WebSocket-Key: abc=", "Sec-WebSocket-Version: 13")
    assert answer.start == b"HTTP/1.1 101 Switching Protocols"
    assert answer.value(b"connection") == b"upgrade"
    assert answer.value(b"upgrade") == b"websocket"
    assert answer.value(b"sec-websocket-accept") == b"abc="
    assert answer.values(b"x-a") == [b"1", b"2"]
    (request,) = stage.upstream.requests
    assert request.value(b"connection") == b"Upgrade"
    assert request.value(b"upgrade") == b"websocket"
    assert request.value(b"sec-websocket-key") == b"abc="


def test_interim_responses_before_the_101_pass(stage: Stage) -> None:
    stage.plays(answering(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + SWITCHED + b"hi"))
    client = stage.client()
    client.send("", *WEBSOCKET)
    heads = [read_response_head(client.stream) for _ in range(2)]
    assert [head.status for head in heads if head] == [103, 101]
    assert client.stream.exactly(2) == b"hi"


# ── the gateway's own steps come first ──


@pytest.mark.parametrize(
    ("path", "fields", "status"),
    [
        ("nowhere", (), 404),
        ("/locked", (), 401),
        ("/locked", ("X-Key: wrong-key-of-the-tests",), 401),
        ("/locked", ("X-Key: a-key-of-the-tests",), 101),
    ],
)
def test_who_may_not_call_may_not_upgrade(stage: Stage, path: str, fields: tuple[str, ...], status: int) -> None:
    stage.plays(echoing)
    client = stage.client()
    answer = client.ask(path, *WEBSOCKET, *fields)
    assert answer.status == status
    assert len(stage.upstream.requests) == (status == 101)
    if status != 101:
        # A normal answer: the connection serves on.
        assert client.ask("").body == b"ok"


def test_upgrades_count_as_requests(stage: Stage) -> None:
    stage.plays(echoing)
    client = stage.client()
    assert stage.client().ask("/limited", *WEBSOCKET).status == 101
    answer = client.ask("/limited", *WEBSOCKET)
    assert answer.status == 429
    assert answer.value(b"retry-after") is not None
    assert len(stage.upstream.requests) == 1


# ── answers that are no 101 ──


@pytest.mark.parametrize("status", ["200 OK", "302 Found", "400 Bad Request", "403 Forbidden", "426 Upgrade Required"])
def test_any_other_answer_is_a_normal_one(stage: Stage, status: str) -> None:
    def script(connection: Connection) -> None:
        while connection.request() is not None:
            connection.send(response(b"no", "Upgrade: websocket", "Connection: upgrade", status=status))

    stage.plays(script)
    client = stage.client()
    for _ in range(2):
        answer = client.ask("", *WEBSOCKET)
        assert (answer.status, answer.body) == (int(status[:3]), b"no")
        # RFC 9110 section 15.5.22: with a 426, Upgrade says what would do.
        assert answer.values(b"upgrade") == ([b"websocket"] if status.startswith("426") else [])
    assert [request.target for request in stage.upstream.requests] == [stage.root.encode()] * 2


def test_octets_sent_early_for_a_declined_upgrade_are_a_request(stage: Stage) -> None:
    stage.plays(replying(OK))
    client = stage.client()
    assert client.ask("", *WEBSOCKET, then=f"GET {stage.root}/next HTTP/1.1\r\nHost: h\r\n\r\n".encode()).status == 200
    assert client.answer().status == 200
    assert [request.target for request in stage.upstream.requests] == [
        stage.root.encode(),
        f"{stage.root}/next".encode(),
    ]


@pytest.mark.parametrize(
    ("path", "fields", "line", "body", "switched"),
    [
        ("", (), "GET {} HTTP/1.1", b"", "websocket"),
        ("", WEBSOCKET, "GET {} HTTP/1.0", b"", "websocket"),
        ("", ("Upgrade: websocket",), "GET {} HTTP/1.1", b"", "websocket"),
        ("", (*WEBSOCKET, "Content-Length: 2"), "POST {} HTTP/1.1", b"hi", "websocket"),
        ("", WEBSOCKET, "GET {} HTTP/1.1", b"", "irc"),
        ("", WEBSOCKET, "GET {} HTTP/1.1", b"", "websocket, irc"),
        ("/none", WEBSOCKET, "GET {} HTTP/1.1", b"", "websocket"),
        ("/named", ("Connection: Upgrade", "Upgrade: irc"), "GET {} HTTP/1.1", b"", "websocket"),
    ],
    ids=["nothing offered", "1.0", "no Connection", "with a body", "another", "two", "not on this route", "not this"],
)
def test_a_101_that_nobody_asked_for_is_a_502(
    stage: Stage, path: str, fields: tuple[str, ...], line: str, body: bytes, switched: str
) -> None:
    ends: list[str] = []

    def script(connection: Connection) -> None:
        connection.request()
        connection.send(SWITCHED.replace(b"websocket", switched.encode()) + b"HTTP/1.1 200 OK\r\n\r\n")
        ends.append(connection.wait_end())

    stage.plays(script)
    client = stage.client()
    answer = client.ask(path, *fields, line=line, then=body)
    assert answer.status == 502
    assert client.end() == FIN
    assert stage.gateway.line(requestId=answer.values(b"x-request-id")[0].decode())["reason"] == "upstream_bad_response"
    stage.upstream.wait(lambda: ends, "the end of the upstream's connection")


# ── tokens ──


@pytest.mark.parametrize(
    ("path", "offered", "passed"),
    [
        ("", "websocket", b"websocket"),
        ("", "WebSocket", b"websocket"),
        ("", "irc", None),
        ("", "irc, websocket", b"websocket"),
        ("", "h2c", None),
        ("", "h2c, websocket", b"websocket"),
        ("", "TLS/1.0", None),
        ("/named", "irc", b"irc"),
        ("/named", "irc/2.9", b"irc/2.9"),
        ("/named", "websocket, irc", b"websocket"),
        ("/named", "h2c", None),
        ("/none", "websocket", None),
    ],
)
def test_only_a_token_that_the_route_names_is_offered(
    stage: Stage, path: str, offered: str, passed: bytes | None
) -> None:
    stage.plays(echoing)
    client = stage.client()
    answer = client.ask(
        path, f"Upgrade: {offered}", "HTTP2-Settings: AAMAAABkAAQAAP__", "Connection: Upgrade, HTTP2-Settings"
    )
    (request,) = stage.upstream.requests
    assert request.value(b"upgrade") == passed
    assert request.values(b"http2-settings") == []
    if passed is None:
        assert answer.status == 200
        assert request.value(b"connection") is None
        assert client.ask("").status == 200
    else:
        assert answer.status == 101
        client.sock.sendall(b"ping")
        assert client.stream.exactly(4) == b"ping"


def test_h2c_cannot_be_named(tmp_path: Path) -> None:
    text = configs.gateway() + service("a", 1) + 'upgrade = ["h2c"]\n'
    with pytest.raises(AssertionError, match="h2c"), running(tmp_path, text):
        pass


# ── deadlines ──


@pytest.mark.parametrize(("path", "reason"), [("/idle", "tunnel_idle"), ("/aged", "tunnel_max_age")])
def test_a_tunnel_that_is_over_ends_on_both_sides(stage: Stage, path: str, reason: str) -> None:
    ends: list[str] = []

    def script(connection: Connection) -> None:
        connection.request()
        connection.send(SWITCHED)
        ends.append(connection.wait_end())

    stage.plays(script)
    client = stage.client()
    # Sent with the request, so that it is there before the tunnel begins to be idle.
    assert client.ask(path, *WEBSOCKET, then=b"hello").status == 101
    assert client.end() != "silent"
    stage.upstream.wait(lambda: ends, "the end of the upstream's connection")
    assert ends != ["silent"]
    stage.gateway.line(path=stage.root + path, reason=reason, bytesIn=5)


def test_a_tunnel_ends_at_its_age_however_busy_it_is(stage: Stage) -> None:
    """Both ways full all the time: whoever sends into it must not keep it alive."""

    def script(connection: Connection) -> None:
        connection.request()
        connection.send(SWITCHED)
        while True:
            connection.send(bytes(65536))

    stage.plays(script)
    client = stage.client()
    assert client.ask("/aged", *WEBSOCKET, then=bytes(1000)).status == 101
    while client.sock.recv(262144):
        pass
    stage.gateway.line(path=stage.root + "/aged", reason="tunnel_max_age")
