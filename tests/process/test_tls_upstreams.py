"""TLS to services, and services on Unix sockets, through the real process."""

import getpass
import os
import socket
import ssl
import subprocess
from collections.abc import Callable
from pathlib import Path
from threading import Event, Thread
from time import monotonic

import pytest

from harness.certificates import DAY, Authority, server_context
from harness.configs import one_route
from harness.configs import upstream as upstream_table
from harness.gateway import PATIENCE, Gateway, running
from harness.upstream import OK, Connection, Script, Upstream, replying, response
from harness.wire_reader import RESET, Cut, Message, Stream, read_body, read_response_head

pytestmark = pytest.mark.process

Program = Callable[[str], str]
GET = b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n"
BUSY = response(b"busy", status="503 Service Unavailable")


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture(scope="module")
def folder(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tls-out")
    (folder / "root.pem").write_bytes(authority.pem)
    authority.issue("gateway.test").write(folder, "ours")
    return folder


OWN_CA = 'tls = { ca = "file:root.pem" }'


@pytest.fixture
def serving(authority: Authority, folder: Path) -> ssl.SSLContext:
    return server_context(authority.issue("127.0.0.1", "users.test"), folder)


def ask(gateway: Gateway, request: bytes = GET) -> Message:
    with gateway.connect() as sock:
        return asked(sock, request)


def asked(sock: socket.socket, request: bytes = GET) -> Message:
    sock.sendall(request)
    stream = Stream.of(sock)
    message = read_response_head(stream)
    assert message is not None
    return read_body(stream, message)


@pytest.mark.parametrize("parser", ["fast", "h11"])
def test_requests_share_a_verified_connection(folder: Path, serving: ssl.SSLContext, parser: str) -> None:
    """Session tickets that come while a connection is idle are not taken for octets of a response."""
    with Upstream(replying(OK), tls=serving) as upstream:
        text = one_route(upstream.target, upstream_has=(OWN_CA,), gateway_has=(f'parser = "{parser}"',))
        with running(folder, text) as gateway, gateway.connect() as sock:
            for _ in range(5):
                assert asked(sock).body == b"ok"
            large = b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 3000000\r\n\r\n" + b"y" * 3_000_000
            assert asked(sock, large).body == b"ok"
        assert len(upstream.connections) == 1
        assert len(upstream.requests[-1].body) == 3_000_000
        assert upstream.requests[0].value(b"host") == f"127.0.0.1:{upstream.port}".encode()


def test_sessions_are_resumed(folder: Path, serving: ssl.SSLContext) -> None:
    resumed: list[bool | None] = []

    def closing(connection: Connection) -> None:
        connection.request()
        resumed.append(connection.sock.session_reused if isinstance(connection.sock, ssl.SSLSocket) else None)
        connection.send(OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1))

    with (
        Upstream(closing, tls=serving) as upstream,
        running(folder, one_route(upstream.target, upstream_has=(OWN_CA,))) as gateway,
    ):
        for _ in range(3):
            assert ask(gateway).body == b"ok"
    assert resumed == [False, True, True]


@pytest.mark.parametrize(
    ("names", "options", "detail"),
    [
        (("127.0.0.1",), "", "its certificate is from an unknown authority"),
        (("other.test",), OWN_CA, "its certificate is for another name than '127.0.0.1'"),
        (("127.0.0.1",), 'tls = { ca = "file:root.pem", server_name = "a.test" }', "for another name than 'a.test'"),
        (("127.0.0.1", "expired"), OWN_CA, "its certificate has expired"),
    ],
)
def test_detail_says_why_it_is_not_trusted(
    folder: Path, authority: Authority, names: tuple[str, ...], options: str, detail: str
) -> None:
    shown = authority.issue(*names, ends=-DAY / 2 if "expired" in names else DAY)
    with (
        Upstream(replying(OK), tls=server_context(shown, folder)) as upstream,
        running(folder, one_route(upstream.target, upstream_has=(options,) if options else ())) as gateway,
    ):
        assert ask(gateway).start.startswith(b"HTTP/1.1 502 ")
        assert detail in gateway.line(reason="upstream_connect_failed")["detail"]
        gateway.wait_said("cannot be reached: its certificate")
        assert upstream.requests == []


def test_checks_ejection_and_retries_go_over_tls_and_trust_as_requests_do(
    folder: Path, authority: Authority, serving: ssl.SSLContext
) -> None:
    is_well = Event()

    def ailing(request: Message) -> bytes:
        return OK if is_well.is_set() and request.target == b"/health" else BUSY

    others = server_context(authority.issue("other.test"), folder)
    lines = (
        OWN_CA,
        'health = { path = "/health", interval = "100ms", timeout = "5s", rise = 1, fall = 1 }',
    )
    more = 'eject = { failures = 2, for = "1m" }', "retry = {}"
    with (
        Upstream(replying(ailing), tls=serving) as bad,
        Upstream(replying(OK), tls=serving) as good,
        Upstream(replying(OK), tls=others) as stranger,
        running(
            folder,
            one_route(bad.target, good.target, upstream_has=(*lines, *more))
            + upstream_table("strange", stranger.target, *lines),
        ) as gateway,
    ):
        gateway.wait_said(f"{stranger.target} is left out: health check: its certificate is for another name")
        gateway.wait_said(f"{bad.target} is left out: health check: status 503")
        is_well.set()
        gateway.wait_said(f"{bad.target} passes its health checks again")
        ends = monotonic() + PATIENCE
        while not any("is ejected" in line for line in gateway.said):
            assert ask(gateway).body == b"ok"
            assert monotonic() < ends
        assert "2 failures in a row, the last: status 503" in gateway.wait_said(f"{bad.target} is ejected for 1m: ")
        assert len(gateway.wait_lines(2, attempts=2, target=good.target)) == 2
        assert stranger.requests == []


def test_a_breaker_over_tls(folder: Path, serving: ssl.SSLContext) -> None:
    is_well = Event()
    with Upstream(replying(lambda request: OK if is_well.is_set() else BUSY), tls=serving) as upstream:
        text = one_route(upstream.target, upstream_has=(OWN_CA, 'breaker = { of = 4, for = "100ms" }'))
        with running(folder, text) as gateway:
            for _ in range(4):
                assert ask(gateway).body == b"busy"
            gateway.wait_said("the circuit is open")
            is_well.set()
            ends = monotonic() + PATIENCE
            while ask(gateway).body != b"ok":
                assert monotonic() < ends
            gateway.wait_said("the circuit is closed again")


def test_detail_says_that_there_is_no_tls(folder: Path) -> None:
    def plain(connection: Connection) -> None:
        connection.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        connection.wait_end()

    with Upstream(plain) as upstream:
        target = upstream.target.replace("http:", "https:")
        with running(folder, one_route(target)) as gateway:
            assert ask(gateway).start.startswith(b"HTTP/1.1 502 ")
            line = gateway.line(reason="upstream_connect_failed")
            assert line["detail"] == "No connection: it does not speak TLS there."


def test_a_handshake_that_hangs_is_a_timeout(folder: Path) -> None:
    with Upstream(lambda connection: connection.wait_end()) as upstream:
        target = upstream.target.replace("http:", "https:")
        with running(folder, one_route(target, upstream_has=('connect_timeout = "300ms"',))) as gateway:
            assert ask(gateway).start.startswith(b"HTTP/1.1 504 ")
            assert gateway.line(reason="upstream_timeout")
        # The gateway has closed the connection that nobody waits for.
        upstream.wait(
            lambda: upstream.connections and upstream.connections[0].stream.ended, "the end of the connection"
        )
        assert upstream.connections[0].stream.ended in ("fin", RESET)


@pytest.mark.parametrize("shows", [True, False])
def test_service_that_asks_for_a_certificate(folder: Path, authority: Authority, shows: bool) -> None:
    context = server_context(authority.issue("127.0.0.1"), folder)
    context.load_verify_locations(cadata=authority.pem.decode())
    context.verify_mode = ssl.CERT_REQUIRED
    ours = ', certificate = { chain = "file:ours.pem", key = "file:ours.key" }' if shows else ""
    options = f'tls = {{ ca = "file:root.pem"{ours} }}'
    with (
        Upstream(replying(OK), tls=context) as upstream,
        running(folder, one_route(upstream.target, upstream_has=(options,))) as gateway,
    ):
        status = ask(gateway).start.split()[1]
        assert status == (b"200" if shows else b"502")


def test_name_for_sni_and_verification(folder: Path, authority: Authority) -> None:
    asked_for: list[str | None] = []
    context = server_context(authority.issue("users.test"), folder)
    context.sni_callback = lambda tls, name, first: asked_for.append(name)
    options = 'tls = { ca = "file:root.pem", server_name = "Users.test" }'
    with (
        Upstream(replying(OK), tls=context) as upstream,
        running(folder, one_route(upstream.target, upstream_has=(options,))) as gateway,
    ):
        assert ask(gateway).body == b"ok"
    assert asked_for == ["users.test"]


def test_verify_false_takes_anything(folder: Path, authority: Authority) -> None:
    context = server_context(authority.issue("other.test", ends=-DAY / 2), folder)
    with (
        Upstream(replying(OK), tls=context) as upstream,
        running(folder, one_route(upstream.target, upstream_has=("tls = { verify = false }",))) as gateway,
    ):
        gateway.wait_said("the certificate is not verified")
        assert ask(gateway).body == b"ok"


def until_close(alert: bool) -> Script:
    """A response that ends with the connection: by a closure alert, or by FIN alone."""

    def script(connection: Connection) -> None:
        connection.request()
        connection.send(b"HTTP/1.1 200 OK\r\n\r\nsome")
        if alert and isinstance(connection.sock, ssl.SSLSocket):
            connection.sock.unwrap().close()

    return script


@pytest.mark.parametrize("alert", [True, False])
def test_a_body_until_close_is_whole_after_the_alert_alone(folder: Path, serving: ssl.SSLContext, alert: bool) -> None:
    with (
        Upstream(until_close(alert), tls=serving) as upstream,
        running(folder, one_route(upstream.target, upstream_has=(OWN_CA,))) as gateway,
    ):
        if alert:
            assert ask(gateway).body == b"some"
        else:
            with pytest.raises(Cut):
                ask(gateway)
        assert gateway.line(path="/x")["reason"] == ("ok" if alert else "upstream_cut")


def test_location_of_the_service_itself(folder: Path, serving: ssl.SSLContext) -> None:
    with (
        Upstream(lambda connection: replying(moved(connection))(connection), tls=serving) as upstream,
        running(folder, one_route(upstream.target, upstream_has=(OWN_CA,))) as gateway,
    ):
        assert ask(gateway).value(b"location") == b"/there"


def moved(connection: Connection) -> bytes:
    port = connection.sock.getsockname()[1]
    return b"HTTP/1.1 302 Found\r\nLocation: https://127.0.0.1:%d/there\r\nContent-Length: 0\r\n\r\n" % port


# ── Unix sockets ──


def test_unix_socket(folder: Path) -> None:
    """It may come later than the gateway."""
    path = folder / "users.sock"
    with running(folder, one_route("unix:users.sock")) as gateway:
        assert ask(gateway).start.startswith(b"HTTP/1.1 502 ")
        assert gateway.line(status=502)["detail"] == "No connection: no such file or directory."
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(str(path))
            listening.listen()
            heads: list[bytes] = []
            thread = Thread(target=serve_twice, args=(listening, heads))
            thread.start()
            with gateway.connect() as sock:
                assert asked(sock).body == b"ok"
                assert asked(sock).body == b"ok"
            thread.join(20)
    assert len(heads) == 2
    assert b"\r\nHost: localhost\r\n" in heads[0]


def serve_twice(listening: socket.socket, heads: list[bytes]) -> None:
    """Two requests on one connection."""
    listening.settimeout(20)
    connection, _ = listening.accept()
    with connection:
        for _ in range(2):
            heads.append(connection.recv(65536))
            connection.sendall(OK)


# ── a real server ──

NGINX = """
user {user};
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log stderr crit;
events {{}}
http {{
    access_log off;
    ssl_session_cache shared:tls:1m;
    server {{
        listen 127.0.0.1:{port} ssl;
        ssl_protocols TLSv1.2 TLSv1.3;
        ssl_certificate {folder}/nginx.pem;
        ssl_certificate_key {folder}/nginx.key;
        location / {{ return 200 "$ssl_protocol $ssl_session_reused"; }}
        location /last {{ keepalive_timeout 0; return 200 "$ssl_protocol $ssl_session_reused"; }}
    }}
}}
"""


def test_nginx(folder: Path, authority: Authority, program: Program) -> None:
    """nginx takes over a socket that listens already, as it does when it is upgraded: nobody waits for it."""
    authority.issue("127.0.0.1").write(folder, "nginx")
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port, file = listening.getsockname()[1], listening.fileno()
        conf = folder / "nginx.conf"
        conf.write_text(NGINX.format(folder=folder, port=port, user=getpass.getuser()))
        command = (program("nginx"), "-p", str(folder), "-c", str(conf), "-e", "stderr")
        with subprocess.Popen(command, env={**os.environ, "NGINX": f"{file};"}, pass_fds=(file,)) as child:
            try:
                text = one_route(f"https://127.0.0.1:{port}", upstream_has=(OWN_CA,))
                with running(folder, text) as gateway, gateway.connect() as sock:
                    assert asked(sock, GET.replace(b"/x", b"/last")).body == b"TLSv1.3 ."
                    assert asked(sock).body == b"TLSv1.3 r"
                    assert asked(sock).body == b"TLSv1.3 r"
            finally:
                child.terminate()
