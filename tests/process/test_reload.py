"""A new configuration for the running process, by SIGHUP and by `rawgate reload`: what is kept, what changes, what is
refused, and that nobody loses a request by it.
"""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Event

import pytest

from harness import configs
from harness.gateway import PATIENCE, Gateway, command, running, standing_still
from harness.load import Load
from harness.upstream import OK, Connection, Script, Upstream, replying
from harness.wire_reader import Message, Stream, read_response, read_response_head

pytestmark = pytest.mark.process

SECRET = "0123456789abcdef0123456789abcdef"
RELOADS = 20


@pytest.fixture(autouse=True, params=[1, 2], ids=["one process", "two workers"])
def workers(request: pytest.FixtureRequest) -> Iterator[int]:
    """Each test with one process that serves alone, and with two under a supervisor."""
    with configs.served_by(request.param):
        yield request.param


def config(
    target: str, *route_has: str, prefix: str = "/", listen: str | Sequence[str] = "127.0.0.1:0", more: str = ""
) -> str:
    """Requests that are held wait for longer than a reload takes on a slow machine."""
    service = configs.upstream("u", target, 'response_timeout = "60s"')
    return configs.gateway(listen=listen) + service + configs.route(prefix, "u", *route_has) + more


class World:
    """A gateway, and a service that answers with the octets that it was asked with."""

    def __init__(self, gateway: Gateway, upstream: Upstream, path: Path, stack: ExitStack) -> None:
        self.stack = stack
        self.gateway = gateway
        self.upstream = upstream
        self.path = path

    def write(self, text: str) -> None:
        self.path.write_text(text)

    def reload(self, text: str | None = None) -> "subprocess.CompletedProcess[str]":
        """Write this configuration, and have it served."""
        if text is not None:
            self.write(text)
        words = [*command(), "reload", self.path.name]
        return subprocess.run(
            words, cwd=self.path.parent, capture_output=True, text=True, timeout=PATIENCE, check=False
        )

    def client(self) -> "Client":
        return Client(self.stack.enter_context(self.gateway.connect()))


class Client:
    """One connection that stays open."""

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock
        self.stream = Stream.of(sock)

    def ask(self, path: str = "/", *fields: str, last: bool = False) -> Message:
        lines = (f"GET {path} HTTP/1.1", "Host: h", *fields, *(["Connection: close"] if last else []), "", "")
        self.socket.sendall("\r\n".join(lines).encode())
        return self.answer()

    def answer(self) -> Message:
        message = read_response(self.stream)
        assert isinstance(message, Message)
        return message


@contextmanager
def served(
    folder: Path, *route_has: str, script: Script | None = None, prefix: str = "/", more: str = ""
) -> Iterator[World]:
    with ExitStack() as stack:
        # It does not end what is idle for as long as reloads take.
        upstream = stack.enter_context(Upstream(script or replying(seen), patience=6 * PATIENCE))
        text = config(upstream.target, *route_has, prefix=prefix, more=more)
        gateway = stack.enter_context(running(folder, text))
        yield World(gateway, upstream, folder / "rawgate.toml", stack)


def seen(request: Message) -> bytes:
    """The head of the request, as the body of the response."""
    head = b"\n".join([request.target, *(b"%b: %b" % field for field in request.fields)])
    return b"HTTP/1.1 200 OK\r\nX-Inner: i\r\nContent-Length: %d\r\n\r\n%b" % (len(head), head)


def test_the_next_request_on_an_open_connection_is_under_the_new_configuration(tmp_path: Path) -> None:
    with served(tmp_path) as world:
        client = world.client()
        first = client.ask("/", "X-Team: red")
        assert b"X-Team: red" in first.body
        assert first.value(b"x-inner") == b"i"
        done = world.reload(
            config(
                world.upstream.target,
                'request_headers = { remove = ["x-team"] }',
                'response_headers = { remove = ["x-inner"] }',
            )
        )
        assert (done.returncode, done.stderr) == (0, "")
        assert "changed: routes./" in done.stdout
        second = client.ask("/", "X-Team: red")
        assert b"X-Team" not in second.body
        assert second.value(b"x-inner") is None
        assert len(world.upstream.connections) == 1, "the connection to the service was kept"


def test_sighup_does_the_same_and_is_told_on_stderr(tmp_path: Path) -> None:
    with served(tmp_path) as world:
        assert world.client().ask("/a").status == 200
        world.write(config(world.upstream.target, prefix="/b"))
        world.gateway.signal(signal.SIGHUP)
        world.gateway.wait_said("removed: routes./")
        client = world.client()
        assert [client.ask("/b").status, client.ask("/a").status] == [200, 404]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[gateway\n", "rawgate.toml:1:"),
        ('[gateway]\nlisten = ["127.0.0.1:0"]\nporst = 1\n', 'did you mean "'),
        (None, "cannot be read"),
    ],
    ids=["not TOML", "unknown key", "gone"],
)
def test_a_configuration_that_cannot_be_served_changes_nothing(tmp_path: Path, text: str | None, told: str) -> None:
    with served(tmp_path) as world:
        client = world.client()
        assert client.ask("/a").status == 200
        if text is None:
            world.path.unlink()
        done = world.reload(text)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.startswith("reload refused for ")
        assert told in done.stderr or text is not None
        assert client.ask("/a").status == 200
        assert world.client().ask("/a").status == 200
        world.gateway.wait_said("reload refused")


def test_a_test_of_the_configuration_s_own_that_fails_refuses_it(tmp_path: Path) -> None:
    with served(tmp_path) as world:
        tests = '[[tests]]\nrequest = "GET /a"\nexpect = { status = 404, reason = "no_route" }\n'
        done = world.reload(config(world.upstream.target, more=tests))
        assert done.returncode == 1
        assert "the test GET /a fails: status is none: the request is forwarded" in done.stderr
        assert world.reload(config(world.upstream.target, prefix="/b", more=tests)).returncode == 0
        assert world.client().ask("/a").status == 404


@pytest.mark.parametrize(("limit", "statuses"), [(4, [200, 200, 429]), (3, [200, 429, 429]), (1, [429, 429, 429])])
def test_a_limit_that_is_half_spent_is_half_spent_after_it(tmp_path: Path, limit: int, statuses: list[int]) -> None:
    def limited(most: int) -> str:
        return f'rate_limit = {{ max = {most}, window = "60s" }}'

    with served(tmp_path, limited(4)) as world:
        client = world.client()
        assert [client.ask().status for _ in range(2)] == [200, 200]
        assert world.reload(config(world.upstream.target, limited(limit), 'name = "/"')).returncode == 0
        assert [client.ask().status for _ in range(3)] == statuses


def test_addresses_come_and_go_and_open_connections_stay(tmp_path: Path) -> None:
    with served(tmp_path) as world:
        client = world.client()
        assert client.ask().status == 200
        old = world.gateway.address
        done = world.reload(config(world.upstream.target, listen=["unix:new.sock", "127.0.0.2:0"]))
        assert done.returncode == 0
        assert "removed: listen 127.0.0.1:0" in done.stdout
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(old, PATIENCE)
        assert client.ask().status == 200
        host, _, port = done.stdout.partition("listening on http://")[2].partition("\n")[0].rpartition(":")
        with socket.create_connection((host, int(port)), PATIENCE) as another:
            assert Client(another).ask().status == 200
        other = socket.socket(socket.AF_UNIX)
        other.settimeout(PATIENCE)
        with other:
            other.connect(str(tmp_path / "new.sock"))
            assert Client(other).ask().status == 200
        assert world.reload(config(world.upstream.target, listen="127.0.0.2:0")).returncode == 0
        assert not (tmp_path / "new.sock").exists()


def test_an_address_that_another_has_refuses_it(tmp_path: Path) -> None:
    with served(tmp_path) as world, socket.create_server(("127.0.0.1", 0)) as taken:
        listen = ["127.0.0.1:0", "127.0.0.2:0", f"127.0.0.1:{taken.getsockname()[1]}"]
        done = world.reload(config(world.upstream.target, prefix="/b", listen=listen))
        assert done.returncode == 1
        assert "another program has this port" in done.stderr
        assert world.client().ask("/a").status == 200


def test_a_request_and_a_tunnel_that_have_begun_go_on(tmp_path: Path) -> None:
    go_on = Event()

    def script(connection: Connection) -> None:
        while (request := connection.request()) is not None:
            if request.value(b"upgrade") is not None:
                connection.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n")
                connection.send(connection.stream.exactly(4))
                return
            assert go_on.wait(PATIENCE)
            connection.send(OK)

    tunnels = configs.route("/t", "u", 'upgrade = ["echo"]')
    with served(tmp_path, script=script, prefix="/w", more=tunnels) as world:
        tunnel, waiting = world.client(), world.client()
        tunnel.socket.sendall(b"GET /t HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n")
        switched = read_response_head(tunnel.stream)
        assert switched is not None
        assert b" 101 " in switched.start
        waiting.socket.sendall(b"GET /w HTTP/1.1\r\nHost: h\r\n\r\n")
        world.upstream.wait_requests(2)
        # Its route stays, else the tunnel would end, sooner or later.
        assert world.reload(config(world.upstream.target, prefix="/elsewhere", more=tunnels)).returncode == 0
        tunnel.socket.sendall(b"ping")
        assert tunnel.stream.exactly(4) == b"ping"
        go_on.set()
        assert waiting.answer().status == 200
        assert waiting.ask("/w").status == 404


def echo(connection: Connection) -> None:
    """Requests are answered, and a WebSocket gets its octets back."""
    while (request := connection.request()) is not None:
        if request.value(b"upgrade") is None:
            connection.send(seen(request))
            continue
        connection.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n")
        for _ in range(RELOADS + 1):
            connection.send(connection.stream.exactly(4))
        return


def test_reloads_under_load_lose_no_request_and_open_no_burst_of_connections(tmp_path: Path, workers: int) -> None:
    """One of them is refused. A WebSocket is open across all, and a limit that was half spent is half spent after."""
    limited = configs.route("/limited", "u", 'rate_limit = { max = 4, window = "1h" }')

    def text(world: World, number: int) -> str:
        told = f'response_headers = {{ set = {{ X-N = "{number}" }} }}'
        # A connection is idle meanwhile.
        whole = configs.gateway('timeouts = { keep_alive = "10m" }')
        return whole + configs.upstream("u", world.upstream.target) + limited + configs.route("/", "u", told)

    with served(tmp_path, script=echo) as world:
        assert world.reload(text(world, -1)).returncode == 0
        client, tunnel = world.client(), world.client()
        assert [client.ask("/limited").status for _ in range(2)] == [200, 200]
        tunnel.socket.sendall(b"GET /t HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n")
        assert read_response_head(tunnel.stream) is not None
        with Load(world.gateway.connect, path="/x", each=7) as load:
            load.wait_more()
            for number in range(RELOADS):
                is_broken = number == RELOADS // 2
                done = world.reload("nonsense" if is_broken else text(world, number))
                assert done.returncode == is_broken, done.stderr
                tunnel.socket.sendall(b"ping")
                assert tunnel.stream.exactly(4) == b"ping"
            load.wait_more()
        assert (load.lost, load.refused, load.wrong) == (0, 0, [])
        assert world.client().ask().value(b"x-n") == str(RELOADS - 1).encode()
        assert [client.ask("/limited").status for _ in range(3)] == [200, 200, 429]
        assert len(world.upstream.connections) <= 5 * workers + 1
    lines = world.gateway.lines(path="/x")
    assert {line["reason"] for line in lines} == {"ok"}
    assert len(lines) == load.answered


def test_files_are_read_again_and_the_environment_is_said_to_be_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("one:first-key-0123456789\n")
    text = (
        configs.gateway()
        + configs.upstream("u", "http://127.0.0.1:9")
        + '[api_keys.file]\nheader = "x-key"\nkeys = "file:keys"\n[api_keys.variable]\nheader = "x-other"\n'
        + 'keys = "env:RELOAD_KEYS"\n'
        + configs.route("/v", "u", auth="api_keys.variable")
        + configs.route("/", "u", auth="api_keys.file")
    )
    with ExitStack() as stack:
        upstream = stack.enter_context(Upstream(replying(OK)))
        gateway = stack.enter_context(running(tmp_path, text, {"RELOAD_KEYS": "a:other-key-0123456789"}))
        world = World(gateway, upstream, tmp_path / "rawgate.toml", stack)
        client = world.client()
        assert client.ask("/", "X-Key: second-key-0123456789").status == 401
        (tmp_path / "keys").write_text("one:second-key-0123456789\n")
        done = world.reload()
        assert "from the environment, as at the start: RELOAD_KEYS" in done.stdout
        assert client.ask("/", "X-Key: second-key-0123456789").status != 401
        assert client.ask("/", "X-Key: first-key-0123456789").status == 401


def test_what_needs_a_restart_is_named(tmp_path: Path) -> None:
    with served(tmp_path) as world:
        text = config(world.upstream.target).replace("[gateway]\n", "[gateway]\nlimits = { limiter_keys = 5000 }\n")
        done = world.reload(text)
        assert done.returncode == 0
        assert "not before a restart: gateway.limits.limiter_keys" in done.stdout


def test_nobody_there_to_reload(tmp_path: Path) -> None:
    (tmp_path / "rawgate.toml").touch()
    words = [*command(), "reload", "rawgate.toml"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("rawgate: no gateway that serves rawgate.toml answers")
    (tmp_path / "rawgate.toml").unlink()
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert (done.returncode, done.stderr.splitlines()[0]) == (
        1,
        "rawgate: there is no file rawgate.toml, and no gateway that was started with it",
    )


def test_a_second_gateway_of_one_configuration_says_that_it_cannot_be_reached(tmp_path: Path) -> None:
    with ExitStack() as stack, Upstream(replying(OK)) as upstream:
        stack.enter_context(running(tmp_path, config(upstream.target)))
        second = stack.enter_context(running(tmp_path, config(upstream.target)))
        second.wait_said("another gateway serves")
        second.signal(signal.SIGHUP)
        second.wait_said("reloaded in")


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
def test_another_user_is_not_obeyed(tmp_path: Path) -> None:
    with served(tmp_path) as world:
        script = (
            "import os, pathlib; from rawgate.serve.control import ask; os.setuid(65534);"
            f"print(ask(pathlib.Path({str(world.path)!r}), 'reload'))"
        )
        done = subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, timeout=PATIENCE, check=False
        )
        assert "(False, ['the gateway runs as another user" in done.stdout


def test_a_link_that_leads_elsewhere_by_now(tmp_path: Path) -> None:
    with served(tmp_path) as world:
        text = world.path.read_text()
        world.path.unlink()
        (tmp_path / "next.toml").write_text(text.replace('prefix = "/"', 'prefix = "/b"'))
        world.path.symlink_to("next.toml")
        assert world.reload().returncode == 0
        assert world.client().ask("/a").status == 404


def test_an_address_that_goes_serves_who_was_let_in(tmp_path: Path) -> None:
    with served(tmp_path) as world:
        text = config(world.upstream.target, listen=["127.0.0.1:0", "127.0.0.2:0"])
        done = world.reload(text)
        host, _, port = done.stdout.partition("listening on http://")[2].partition("\n")[0].rpartition(":")
        with standing_still(world.gateway.pid, *world.gateway.workers()):
            clients = [Client(world.stack.enter_context(socket.create_connection((host, int(port))))) for _ in range(8)]
            for client in clients:
                client.socket.settimeout(PATIENCE)
                client.socket.sendall(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
            world.write(config(world.upstream.target))
            world.gateway.signal(signal.SIGHUP)
        assert {client.answer().status for client in clients} == {200}
        world.gateway.wait_said("removed: listen 127.0.0.2:0")


def waits_for(go_on: Event) -> Script:
    def script(connection: Connection) -> None:
        while connection.request() is not None:
            assert go_on.wait(PATIENCE)
            connection.send(OK)

    return script


def test_a_stop_goes_by_the_new_timeouts(tmp_path: Path) -> None:
    go_on = Event()
    with served(tmp_path, script=waits_for(go_on)) as world:
        text = config(world.upstream.target).replace("[gateway]\n", '[gateway]\ntimeouts = { drain = "50ms" }\n')
        assert world.reload(text).returncode == 0
        world.client().socket.sendall(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        world.upstream.wait_requests(1)
        world.gateway.signal(signal.SIGTERM)
        world.gateway.wait_said("at most 0.05 s")
        world.gateway.wait_end()
        go_on.set()


def test_a_gateway_that_drains_opens_nothing_again(tmp_path: Path) -> None:
    go_on = Event()
    with served(tmp_path, script=waits_for(go_on)) as world:
        client = world.client()
        client.socket.sendall(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        world.upstream.wait_requests(1)
        world.gateway.signal(signal.SIGTERM)
        world.gateway.wait_said("draining: 1 connection")
        done = world.reload(config(world.upstream.target))
        assert done.returncode == 1
        assert "the gateway is stopping" in done.stderr
        go_on.set()
        assert client.answer().status == 200
        world.gateway.wait_end()


def test_a_refused_reload_leaves_the_mode_of_a_socket(tmp_path: Path) -> None:
    path = tmp_path / "g.sock"

    def mode() -> int:
        return path.stat().st_mode & 0o777

    def text(world: World, entry: str, *others: str) -> str:
        usual = configs.gateway(listen="127.0.0.1:0")
        listen = ", ".join([entry, *(f'"{other}"' for other in ("127.0.0.1:0", *others))])
        return config(world.upstream.target).replace(usual, f"[gateway]\nlisten = [{listen}]\n")

    private, public = (f'{{ address = "unix:g.sock", mode = "{which}" }}' for which in ("0600", "0666"))
    with served(tmp_path) as world, socket.create_server(("127.0.0.1", 0)) as taken:
        assert world.reload(text(world, private)).returncode == 0
        assert mode() == 0o600
        assert world.reload(text(world, public, f"127.0.0.1:{taken.getsockname()[1]}")).returncode == 1
        assert mode() == 0o600
        assert world.reload(text(world, public)).returncode == 0
        assert mode() == 0o666
        assert world.reload(text(world, '"unix:g.sock"')).returncode == 0
        assert mode() not in (0o600, 0o666)
        path.unlink()
        done = world.reload(text(world, private))
        assert done.returncode == 1
        assert "cannot change the mode of unix:" in done.stderr


def test_a_file_that_cannot_be_read_to_its_end_holds_up_no_stop(tmp_path: Path) -> None:
    with served(tmp_path) as world:
        world.path.unlink()
        os.mkfifo(world.path)
        world.gateway.signal(signal.SIGHUP)
        assert world.client().ask().status == 200
        world.gateway.signal(signal.SIGTERM)
        world.gateway.wait_end()


def test_while_a_file_does_not_come_workers_that_die_are_replaced(tmp_path: Path) -> None:
    with configs.served_by(2), served(tmp_path) as world:
        world.path.unlink()
        os.mkfifo(world.path)
        world.gateway.signal(signal.SIGHUP)
        first = world.gateway.workers()
        # One of them reads; to kill it ends the reload.
        for pid in first:
            os.kill(pid, signal.SIGKILL)
            world.gateway.wait_said(f"(pid {pid}) was killed by SIGKILL: it is replaced")
        assert "died while it read" in world.gateway.wait_said("died while")
        assert world.client().ask().status == 200
        assert not first & world.gateway.workers()


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
def test_another_user_holds_no_descriptor(tmp_path: Path) -> None:
    with served(tmp_path) as world:
        script = (
            "import os, pathlib, socket; from rawgate.serve.control import address_of; os.setuid(65534);"
            f"s = socket.socket(socket.AF_UNIX); s.connect(address_of(pathlib.Path({str(world.path)!r})));"
            "s.settimeout(9); print(s.recv(99), s.recv(99))"
        )
        done = subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, timeout=PATIENCE, check=False
        )
        assert "runs as another user" in done.stdout
