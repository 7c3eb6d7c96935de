"""Policies whose work does not end with the decision, through the real process: requests under way, shadows in the log,
tokens that no log and no service sees, a reply that needs no service."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from time import time

import pytest

from harness import configs
from harness.gateway import Gateway, running
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


def test_a_websocket_ends_with_its_token_and_at_a_stop(tmp_path: Path) -> None:
    with Upstream(script) as upstream:
        text = (
            configs.gateway('timeouts = { drain = "1s" }')
            + configs.jwt('audience = "x"', 'leeway = "0s"')
            + configs.upstream("one", upstream.target)
            + configs.route("/", "one", auth="jwt.main")
        )
        with running(tmp_path, text, {"JWT_SECRET": SECRET}) as gateway:
            for seconds, code in ((2.0, 1008), (3600.0, 1001)):
                bearer = token({"sub": "alice", "exp": time() + seconds, "aud": "x"})
                with send(gateway, "/tunnel", UPGRADE.decode().strip(), f"Authorization: Bearer {bearer}") as sock:
                    stream = Stream.of(sock)
                    switched = read_response_head(stream)
                    assert switched is not None
                    assert switched.status == 101
                    if code == 1001:
                        gateway.signal()
                    assert stream.rest()[:4] == b"\x88" + bytes((len(ENDED[code]) + 2,)) + code.to_bytes(2, "big")
                    assert stream.ended == FIN
            gateway.wait_end(0)
            assert [(line["reason"], line["status"]) for line in gateway.log] == [
                ("tunnel_expired", 101),
                ("draining", 101),
            ]


ENDED = {1008: REASONS["tunnel_expired"].detail, 1001: REASONS["draining"].detail}
