"""Policies whose work does not end with the decision, through the real process: requests under way, shadows in the log,
tokens that no log and no service sees, a reply that needs no service."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from queue import Queue
from signal import SIGHUP
from threading import Thread
from time import time

import pytest
import websockets.sync.client
import websockets.sync.connection
import websockets.sync.server
from websockets.exceptions import ConnectionClosed, InvalidStatus

from harness import configs
from harness.gateway import PATIENCE, Gateway, running
from harness.tokens import SECRET, token
from harness.upstream import OK, Connection, Upstream
from harness.wire_reader import FIN, Message, Stream, read_response, read_response_head
from rawgate.errors import REASONS

pytestmark = pytest.mark.process

TOKEN = token({"sub": "alice", "exp": 4e9, "aud": "x"})
UPGRADE = b"Connection: Upgrade\r\nUpgrade: websocket\r\n"


def script(connection: Connection) -> None:
    """A tunnel for /tunnel; the response to /held comes when the other side goes away."""
    while (request := connection.request()) is not None:
        if request.target == b"/tunnel":
            connection.send(b"HTTP/1.1 101 Switching Protocols\r\n" + UPGRADE + b"\r\n")
        if request.target in (b"/tunnel", b"/held"):
            connection.wait_end()
            return
        connection.send(OK)


@pytest.fixture(params=["fast", "h11"])
def stage(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[tuple[Gateway, Upstream]]:
    with ExitStack() as stack:
        upstream = stack.enter_context(Upstream(script))
        text = (
            configs.gateway(
                f'parser = "{request.param}"',
                'timeouts = { drain = "100ms" }',
                'auth_failures = { max = 2, window = "1h", delay = "50ms" }',
            )
            + configs.jwt('audience = "*"', 'token = ["query:t", "cookie:t", "subprotocol"]')
            + configs.upstream("one", upstream.target)
            + '[[routes]]\npath = "/healthz"\nhost = "*.test"\nauth = "none"\nrespond = { body = "fine" }\n'
            + configs.route("/held", "one", "concurrency = 1")
            + configs.route("/shadow", "one", 'rate_limit = { max = 1, window = "1h" }', 'shadow = ["rate_limit"]')
            + configs.route("/", "one", auth="jwt.main")
        )
        yield stack.enter_context(running(tmp_path, text, {"JWT_SECRET": SECRET})), upstream


def send(gateway: Gateway, target: str, *fields: str) -> socket.socket:
    sock = gateway.connect()
    lines = [f"GET {target} HTTP/1.1", "Host: a.test", *fields, "", ""]
    sock.sendall("\r\n".join(lines).encode())
    return sock


def ask(gateway: Gateway, target: str, *fields: str) -> Message:
    with send(gateway, target, *fields) as sock:
        message = read_response(Stream.of(sock))
    assert message is not None
    return message


def test_policies(stage: tuple[Gateway, Upstream]) -> None:
    gateway, upstream = stage

    # A request that is under way keeps the next one out until its client goes.
    with send(gateway, "/held"):
        upstream.wait_requests(1)
        assert ask(gateway, "/held").status == 429
    gateway.wait_lines(2, route="/held")
    assert sorted(line["reason"] for line in gateway.lines(route="/held")) == ["client_gone", "concurrency_limited"]
    with send(gateway, "/held"):
        upstream.wait_requests(2)

    # A shadow is in the log alone.
    assert [ask(gateway, "/shadow").status for _ in range(2)] == [200, 200]
    lines = gateway.wait_lines(2, route="/shadow")
    assert [line.get("shadow") for line in lines] == [None, ["rate_limited"]]

    # Tokens go no further, and a page may open its WebSocket.
    assert ask(gateway, f"/x?a=1&t={TOKEN}", "Cookie: a=b").status == 200
    assert ask(gateway, "/x?a=1", f"Cookie: a=b; t={TOKEN}").status == 200
    with send(gateway, "/tunnel", UPGRADE.decode().strip(), f"Sec-WebSocket-Protocol: bearer, {TOKEN}") as sock:
        switched = read_response_head(Stream.of(sock))
        assert switched is not None
        assert switched.status == 101
        assert switched.values(b"sec-websocket-protocol") == [b"bearer"]
    seen = upstream.wait_requests(7)[4:]
    assert [message.target for message in seen] == [b"/x?a=1", b"/x?a=1", b"/tunnel"]
    assert not any(TOKEN.encode() in message.raw for message in seen)

    # Who guesses is slowed down; who knows is not.
    told = [ask(gateway, f"/x?t={each}").status for each in ("a", "b", "c", TOKEN)]
    assert told == [401, 401, 429, 200]
    assert gateway.line(reason="auth_limited")["detail"] == "The credential: auth_malformed."

    reply = ask(gateway, "/healthz")
    assert (reply.status, reply.body) == (200, b"fine")
    gateway.wait_lines(7, route="/")
    assert not any(TOKEN in str(line) for line in gateway.stop())


SPANS = (1.0, 5.0, 25.0)
"""Seconds for which a token holds: the next longer one where the machine was too slow for what comes before its end."""


def expiring(ends: float) -> str:
    return "Bearer " + token({"sub": "alice", "exp": ends, "aud": "x"})


@contextmanager
def tunnel(gateway: Gateway, *spans: float) -> Iterator[Stream]:
    """A tunnel by a token that holds for the first of these spans for which the machine is quick enough."""
    for seconds in spans:
        ends = time() + seconds
        with send(gateway, "/tunnel", UPGRADE.decode().strip(), f"Authorization: {expiring(ends)}") as sock:
            stream = Stream.of(sock)
            switched = read_response_head(stream)
            assert switched is not None
            if switched.status == 101:
                yield stream
                return
            assert time() > ends, switched
    raise AssertionError("the machine is too slow")


def test_a_websocket_ends_with_its_token_and_at_a_stop(tmp_path: Path) -> None:
    with Upstream(script) as upstream:
        text = (
            configs.gateway('timeouts = { drain = "1s" }')
            + configs.jwt('audience = "x"', 'leeway = "0s"')
            + configs.upstream("one", upstream.target)
            + configs.route("/", "one", auth="jwt.main")
        )
        with running(tmp_path, text, {"JWT_SECRET": SECRET}) as gateway:
            for spans, code in ((SPANS, 1008), ((3600.0,), 1001)):
                with tunnel(gateway, *spans) as stream:
                    if code == 1001:
                        gateway.signal()
                    assert stream.rest()[:4] == b"\x88" + bytes((len(ENDED[code]) + 2,)) + code.to_bytes(2, "big")
                    assert stream.ended == FIN
            gateway.wait_end(0)
            lines = gateway.lines(status=101)
            assert [line["reason"] for line in lines] == ["tunnel_expired", "draining"]
            assert all(line["upstreamMs"] > 0 for line in lines)


Closed = tuple[int, str] | None
"""Code and reason of the close frame that the other side sent."""


@contextmanager
def echoing() -> Iterator[tuple[str, "Queue[Closed]"]]:
    """A library's WebSocket server: its URL, and how each of its connections was closed."""
    seen: Queue[Closed] = Queue()

    def echo(connection: websockets.sync.server.ServerConnection) -> None:
        with suppress(ConnectionClosed):
            for message in connection:
                connection.send(message)
        seen.put(closed_by(connection))

    with websockets.sync.server.serve(echo, "127.0.0.1", 0) as server, ExitStack() as stack:
        thread = Thread(target=server.serve_forever)
        thread.start()
        stack.callback(thread.join, PATIENCE)
        stack.callback(server.shutdown)
        yield f"http://127.0.0.1:{server.socket.getsockname()[1]}", seen


def websocket(gateway: Gateway, path: str, **fields: str) -> websockets.sync.client.ClientConnection:
    host, port = gateway.address
    headers = {name.replace("_", "-"): value for name, value in fields.items()}
    return websockets.sync.client.connect(f"ws://{host}:{port}{path}", additional_headers=headers, proxy=None)


def echoed(client: websockets.sync.client.ClientConnection, *messages: str) -> int:
    """How many of these come back before the other side closes, for which this waits."""
    count = 0
    with suppress(ConnectionClosed):
        for message in messages:
            client.send(message)
            assert client.recv(PATIENCE) == message
            count += 1
        client.recv(PATIENCE)
    return count


def test_libraries_see_a_websocket_end_with_its_token(tmp_path: Path) -> None:
    """Both ends are a library's: what it takes for a proper close is one."""
    with echoing() as (url, seen):
        text = (
            configs.gateway()
            + configs.jwt('audience = "x"', 'leeway = "0s"')
            + configs.upstream("one", url)
            + configs.route("/", "one", auth="jwt.main")
        )
        with running(tmp_path, text, {"JWT_SECRET": SECRET}) as gateway:
            for seconds in SPANS:
                ends, said = time() + seconds, 0
                with suppress(InvalidStatus), websocket(gateway, "/", Authorization=expiring(ends)) as client:
                    said = echoed(client, "before the end", "x" * 70_000)
                    closes = closed_by(client), seen.get(timeout=PATIENCE)
                    # No close can be sent in the middle of a message.
                    assert said < 2 or closes == ((1008, ENDED[1008]),) * 2
                # Tunnels end a little before their tokens, not all at once.
                assert time() > ends - seconds / 2, "it ended early"
                if said == 2:
                    break
            assert said == 2, "the machine is too slow"
            assert gateway.line(path="/", status=101)["reason"] == "tunnel_expired"


@pytest.mark.parametrize("workers", [1, 2])
def test_a_websocket_ends_when_a_reload_takes_out_what_let_it_in(tmp_path: Path, workers: int) -> None:
    """Its route, or its key. The others go on, and so does one that began before the reload on a route that has only
    got other limits."""
    with echoing() as (url, seen), configs.served_by(workers):
        base = configs.gateway('timeouts = { drain = "100ms" }') + configs.upstream("one", url)
        base += configs.api_keys("partners", "x-api-key", "UNUSED").replace("env:UNUSED", "file:keys")
        base += configs.route("/feed", "one", auth="api_keys.partners")
        (tmp_path / "keys").write_text(f"acme:{ACME}\nbeta:{BETA}\n")
        with (
            running(tmp_path, base + configs.route("/old", "one") + configs.route("/", "one")) as gateway,
            ExitStack() as stack,
        ):
            clients = [
                stack.enter_context(websocket(gateway, path, x_api_key=key))
                for path, key in (("/old", ""), ("/feed", ACME), ("/feed", BETA), ("/", ""))
            ]
            (tmp_path / "keys").write_text(f"beta:{BETA}\n")
            limited = configs.route("/", "one", 'rate_limit = { max = 1, window = "1h" }')
            (tmp_path / "rawgate.toml").write_text(base + limited)
            gateway.signal(SIGHUP)
            for client in clients[:2]:
                with pytest.raises(ConnectionClosed):
                    client.recv(PATIENCE)
                assert closed_by(client) == seen.get(timeout=PATIENCE) == (1012, ENDED[1012])
            for client in clients[2:]:
                client.send("on")
                assert client.recv(PATIENCE) == "on"
                client.close()
            gateway.wait_lines(4)
            ends = {(line["route"], line["clientId"]): line["reason"] for line in gateway.log}
            assert ends == {
                ("/old", "127.0.0.1"): "tunnel_outdated",
                ("/feed", "acme"): "tunnel_outdated",
                ("/feed", "beta"): "ok",
                ("/", "127.0.0.1"): "ok",
            }


def closed_by(connection: websockets.sync.connection.Connection) -> Closed:
    close = connection.protocol.close_rcvd
    return None if close is None else (int(close.code), close.reason)


ACME, BETA = "key-of-acme-0123456789", "key-of-beta-0123456789"
ENDED = {
    1001: REASONS["draining"].detail,
    1008: REASONS["tunnel_expired"].detail,
    1012: REASONS["tunnel_outdated"].detail,
}
