"""The wall clock jumps, as when a host has slept, or NTP corrects it: what counts time goes on by another clock,
and what goes by the date follows it."""

import ssl
from collections.abc import Callable
from contextlib import ExitStack, suppress
from datetime import datetime, timedelta
from pathlib import Path
from time import time

import pytest

from harness import configs
from harness.certificates import Authority
from harness.gateway import running
from harness.load import Load, echo
from harness.tokens import SECRET, token
from harness.upstream import Connection, Upstream
from harness.wire_reader import Stream, read_response
from tools.soaking.clock import Clock

pytestmark = pytest.mark.process

HOUR = 3600


@pytest.fixture
def clock(tmp_path: Path, program: Callable[[str], str]) -> Clock:
    return Clock(tmp_path, program("cc"))


def script(connection: Connection) -> None:
    while (request := connection.request()) is not None:
        if request.target == b"/silent":
            connection.wait_end()
            return
        connection.send(echo(request))


@pytest.mark.parametrize("workers", [1, 2])
def test_only_dates_follow_the_wall_clock(tmp_path: Path, clock: Clock, workers: int) -> None:
    bearer = f"Authorization: Bearer {token({'sub': 'alice', 'exp': int(time()) + HOUR})}\r\n"
    with ExitStack() as stack:
        upstream = stack.enter_context(Upstream(script))
        text = (
            configs.gateway(f"workers = {workers}")
            + configs.jwt()
            + configs.upstream("one", upstream.target, 'response_timeout = "20s"')
            + configs.route("/token", "one", auth="jwt.main")
            + configs.route("/limited", "one", 'rate_limit = { max = 2, window = "1h" }')
            + configs.route("/silent", "one", 'response_timeout = "2s"')
            + configs.route("/", "one")
        )
        gateway = stack.enter_context(running(tmp_path, text, {"JWT_SECRET": SECRET, **clock.environ}))
        idle, waiting = stack.enter_context(gateway.connect()), stack.enter_context(gateway.connect())

        def status(path: str, fields: str = "") -> int:
            idle.sendall(f"GET {path} HTTP/1.1\r\nHost: h\r\n{fields}\r\n".encode())
            message = read_response(Stream.of(idle))
            assert message is not None
            return message.status

        with Load(gateway.connect) as load:
            load.wait_more()
            assert [status("/limited"), status("/token", bearer)] == [200, 200]
            waiting.sendall(b"GET /silent HTTP/1.1\r\nHost: h\r\n\r\n")
            clock.goes_to(2 * HOUR)
            assert status("/token", bearer) == 401, "it has expired"
            assert [status("/limited"), status("/limited")] == [200, 429], "an hour has not passed"
            clock.goes_to(-48 * HOUR)
            assert [status("/limited"), status("/token", bearer)] == [429, 200]
            message = read_response(Stream.of(waiting))
            assert message is not None
            assert message.status == 504, "its deadline came in time"
            load.wait_more()
        assert (load.lost, load.refused, load.wrong) == (0, 0, [])
        gateway.stop()
    told = {line["path"]: datetime.fromisoformat(line["time"]).timestamp() - time() for line in gateway.log}
    assert abs(told["/token"] + 48 * HOUR) < HOUR, "the log has the date of the clock"
    assert max(line["durationMs"] for line in gateway.log) < 1000 * HOUR
    assert min(line["durationMs"] for line in gateway.log) >= 0
    assert gateway.said[-1] == "rawgate: stopped"


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_session_ends_with_the_certificate(tmp_path: Path, clock: Clock, version: ssl.TLSVersion) -> None:
    """A client whose session is resumed is not verified again, however often it comes back."""
    authority = Authority()
    authority.issue("api.test").write(tmp_path, "api")
    (tmp_path / "root.pem").write_bytes(authority.pem)
    context = authority.client_context(authority.issue("alice.test", ends=timedelta(seconds=HOUR)), tmp_path)
    context.maximum_version = version
    request = b"GET /x HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"
    with Upstream(script) as upstream, ExitStack() as stack:
        text = configs.one_route(upstream.target) + "[tls.public]\n"
        text += 'certificates = [{ chain = "file:api.pem", key = "file:api.key" }]\nclient_ca = "file:root.pem"\n'
        text = text.replace('listen = ["127.0.0.1:0"]', 'listen = [{ address = "127.0.0.1:0", tls = "public" }]')
        gateway = stack.enter_context(running(tmp_path, text, clock.environ))
        session = None
        for ahead, answer in ((0, b"HTTP/1.1 200"), (HOUR // 2, b"HTTP/1.1 200"), (HOUR + 60, b"")):
            clock.goes_to(ahead)
            raw = stack.enter_context(gateway.connect())
            with context.wrap_socket(raw, server_hostname="api.test", session=session) as one:
                assert one.session_reused == (ahead > 0)
                one.sendall(request)
                with suppress(ConnectionError, ssl.SSLEOFError):
                    assert one.recv(65536)[:12] == answer
                session = one.session
        gateway.wait_said("no TLS: its certificate has expired")
        gateway.stop()
        assert [line["status"] for line in gateway.log] == [200, 200]
