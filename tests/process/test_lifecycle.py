"""From the start of the process to its end: what it says, whom it still serves, and with which status it goes."""

import os
import shlex
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Event

import pytest

from harness import configs
from harness.gateway import PATIENCE, Gateway, command, running, standing_still
from harness.load import Load, echo
from harness.stalls import again_after_stalls
from harness.upstream import OK, Connection, Upstream, replying
from harness.wire_reader import FIN, RESET, Message, Stream, read_response, read_response_head
from rawgate.net.client import FIRST_OCTET

pytestmark = pytest.mark.process

GET = b"GET /x HTTP/1.1\r\nHost: h\r\n\r\n"
OPTIONS = b"OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n"
"""Answered by the gateway itself."""


def config(target: str = "http://127.0.0.1:9", *, port: int = 0, limits: str = "", timeouts: str = "") -> str:
    return configs.one_route(
        target,
        listen=f"127.0.0.1:{port}",
        gateway_has=[f"limits = {{ {limits} }}", f"timeouts = {{ {timeouts} }}"],
        upstream_has=['response_timeout = "20s"'],
    )


class Gate:
    """A script that reads requests, and answers when it is told to; it begins the answer before if told so."""

    def __init__(self, first: bytes = b"", then: bytes = OK) -> None:
        self.first = first
        self.then = then
        self.opened = Event()

    def __call__(self, connection: Connection) -> None:
        while connection.request() is not None:
            if self.first:
                connection.send(self.first)
            assert self.opened.wait(PATIENCE)
            connection.send(self.then)


@contextmanager
def asked(gateway: Gateway, octets: bytes = GET) -> Iterator[Stream]:
    """A connection on which this was sent."""
    with gateway.connect() as sock:
        sock.sendall(octets)
        yield Stream.of(sock)


def answer(stream: Stream) -> Message:
    message = read_response(stream)
    assert message is not None
    return message


def refused(gateway: Gateway) -> bool:
    try:
        gateway.connect().close()
    except ConnectionRefusedError:
        return True
    return False


# ── the end ──


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
def test_a_signal_ends_it_once_what_has_begun_is_served(tmp_path: Path, number: signal.Signals) -> None:
    gate = Gate()
    with Upstream(gate) as upstream, running(tmp_path, config(upstream.target)) as gateway:
        with gateway.connect() as idle, asked(gateway) as busy:
            upstream.wait_requests(1)
            gateway.signal(number)
            gateway.wait_said("draining: 2 connections")
            assert Stream.of(idle).rest() == b""
            assert refused(gateway)
            gate.opened.set()
            served = answer(busy)
            assert (served.status, served.body, served.value(b"connection")) == (200, b"ok", b"close")
            assert busy.rest() == b""
            assert busy.ended == FIN
        gateway.wait_end(0)
        assert gateway.said[-1] == "rawgate: stopped"
        assert [line["reason"] for line in gateway.log] == ["ok"]


def test_requests_sent_before_the_signal_are_not_lost_silently(tmp_path: Path) -> None:
    """The first answer says that it is the last."""
    gate = Gate()
    with Upstream(gate) as upstream, running(tmp_path, config(upstream.target)) as gateway:
        with asked(gateway, GET * 3) as stream:
            upstream.wait_requests(1)
            gateway.signal()
            gateway.wait_said("draining")
            gate.opened.set()
            assert answer(stream).value(b"connection") == b"close"
            assert stream.rest() == b""
            assert stream.ended == FIN
        gateway.wait_end(0)
        assert len(upstream.requests) == 1


@again_after_stalls(FIRST_OCTET / 2)
def test_connections_that_the_kernel_has_accepted_are_served_at_the_end(tmp_path: Path) -> None:
    with running(tmp_path, config()) as gateway, ExitStack() as stack:
        with standing_still(gateway.pid):
            sockets = [stack.enter_context(gateway.connect()) for _ in range(20)]
            for sock in sockets[::2]:
                sock.sendall(OPTIONS)
            gateway.signal(signal.SIGTERM)
        gateway.wait_said("draining")
        for sock in sockets[1::2]:  # its connection is open, and its request comes a little later
            sock.sendall(OPTIONS)
        assert {answer(Stream.of(sock)).status for sock in sockets} == {204}
        gateway.wait_end()
        assert len(gateway.log) == 20


def test_systemd_may_open_the_sockets(tmp_path: Path) -> None:
    """Socket activation: descriptors from 3 on, for the process whose id the environment names."""
    with socket.create_server(("127.0.0.1", 0)) as handed:
        port = handed.getsockname()[1]
        path = tmp_path / "rawgate.toml"
        path.write_text(configs.one_route("http://127.0.0.1:9", listen=f"127.0.0.1:{port}"))
        words = shlex.join([*command(), "run", str(path)])
        with socket.create_connection(("127.0.0.1", port)) as early:
            early.sendall(OPTIONS)
            process = subprocess.Popen(
                ["bash", "-c", f"exec env LISTEN_PID=$$ LISTEN_FDS=1 {words} 3<&{handed.fileno()}"],
                pass_fds=[handed.fileno()],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
            )
            try:
                early.settimeout(PATIENCE)
                assert answer(Stream.of(early)).status == 204
            finally:
                process.terminate()
                said = process.communicate(timeout=PATIENCE)[1].decode()
        assert f"listening on http://127.0.0.1:{port}" in said


def test_the_whole_log_is_written_before_the_end(tmp_path: Path) -> None:
    count = 500
    with Upstream(replying(OK)) as upstream, running(tmp_path, config(upstream.target)) as gateway:
        with asked(gateway, GET * count) as stream:
            assert [answer(stream).status for _ in range(count)] == [200] * count
            log = gateway.stop()
        assert len(log) == count
        assert len({line["requestId"] for line in log}) == count


UNFINISHED = b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\nhalf"


@pytest.mark.parametrize("begun", [False, True], ids=["no answer", "half an answer"])
def test_when_the_time_to_drain_is_over_the_rest_is_ended_and_said(tmp_path: Path, begun: bool) -> None:
    gate = Gate(UNFINISHED if begun else b"")
    text = 'drain = "100ms"'
    with Upstream(gate) as upstream, running(tmp_path, config(upstream.target, timeouts=text)) as gateway:
        with asked(gateway) as stream:
            upstream.wait_requests(1)
            if begun:
                assert read_response_head(stream) is not None
                assert stream.exactly(4) == b"half"
            gateway.signal()
            if not begun:
                told = answer(stream)
                assert (told.status, told.value(b"connection")) == (503, b"close")
                assert told.value(b"retry-after") is not None
            stream.rest()
            assert stream.ended == FIN
        gateway.wait_end(0)
        assert "rawgate: cut 1 connection" in gateway.said
        assert [(line["reason"], line["status"]) for line in gateway.log] == [("draining", 200 if begun else 503)]
        gate.opened.set()


def test_a_second_signal_ends_it_at_once(tmp_path: Path) -> None:
    gate = Gate(UNFINISHED)
    with Upstream(gate) as upstream, running(tmp_path, config(upstream.target)) as gateway:
        with asked(gateway) as stream:
            read_response_head(stream)
            gateway.signal()
            gateway.wait_said("draining")
            gateway.signal(signal.SIGINT)
            stream.rest()
            assert stream.ended == FIN
        gateway.wait_end(1)
        assert len(gateway.log) == 1
        gate.opened.set()


def test_the_end_comes_while_an_upstream_is_dialed(tmp_path: Path) -> None:
    """Nobody waits for the dial any more, and nothing is said about it."""
    text = 'drain = "0s"'
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full, ExitStack() as stack:
        address = full.getsockname()
        stack.enter_context(socket.create_connection(address))
        gateway = stack.enter_context(running(tmp_path, config(f"http://127.0.0.1:{address[1]}", timeouts=text)))
        # When the first is answered, the second has been read too.
        stream = stack.enter_context(asked(gateway, OPTIONS + GET))
        assert answer(stream).status == 204
        gateway.signal()
        assert answer(stream).status == 503
        gateway.wait_end(0)
        assert all(line.startswith("rawgate: ") for line in gateway.said)


def test_before_it_stops_it_serves_on_while_the_balancer_learns(tmp_path: Path) -> None:
    """From the signal on each response says that it is the last one on its connection."""
    gate = Gate()
    with Upstream(gate) as upstream, ExitStack() as stack:
        text = config(upstream.target, timeouts='pre_stop = "1h"')
        gateway = stack.enter_context(running(tmp_path, text))
        idle, silent = (stack.enter_context(gateway.connect()) for _ in "ab")
        idle.sendall(OPTIONS)
        rested = Stream.of(idle)
        assert answer(rested).value(b"connection") is None
        busy = stack.enter_context(asked(gateway))
        upstream.wait_requests(1)
        gateway.signal()
        gateway.wait_said("stopping in 3600 s")
        gate.opened.set()
        new = stack.enter_context(asked(gateway))
        for sock in (idle, silent):
            sock.sendall(OPTIONS)
        for stream in (busy, new, rested, Stream.of(silent)):
            assert answer(stream).value(b"connection") == b"close"
            assert (stream.rest(), stream.ended) == (b"", FIN)
        gateway.signal()
        gateway.wait_end(1)
        assert [line["reason"] for line in gateway.log] == ["ok"] * 5


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGUSR2])
def test_signals_that_mean_nothing_here_are_said_and_ignored(tmp_path: Path, number: signal.Signals) -> None:
    gate = Gate()
    with Upstream(gate) as upstream, running(tmp_path, config(upstream.target)) as gateway:
        with asked(gateway) as stream:
            upstream.wait_requests(1)
            gateway.signal(number)
            gateway.wait_said(f"rawgate: {number.name} is ignored: ")
            gate.opened.set()
            assert answer(stream).value(b"connection") is None
        assert [line["reason"] for line in gateway.stop()] == ["ok"]


def test_a_second_signal_before_it_stops_ends_it_at_once(tmp_path: Path) -> None:
    with running(tmp_path, config(timeouts='pre_stop = "1h"')) as gateway:
        gateway.signal()
        gateway.wait_said("stopping in")
        gateway.signal()
        gateway.wait_end(1)


def test_a_tunnel_is_reset_when_the_time_to_drain_is_over(tmp_path: Path) -> None:
    def script(connection: Connection) -> None:
        connection.head()
        connection.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\nhi")
        connection.wait_end()

    asks = b"GET /x HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"
    with Upstream(script) as upstream, running(tmp_path, config(upstream.target, timeouts='drain = "50ms"')) as gateway:
        with asked(gateway, asks) as stream:
            read_response_head(stream)
            assert stream.exactly(2) == b"hi"
            gateway.signal()
            stream.rest()
            assert stream.ended == RESET
        gateway.wait_end(0)
        assert [(line["reason"], line["status"]) for line in gateway.log] == [("draining", 101)]


# ── the start ──


def start(directory: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run it until it ends by itself."""
    return subprocess.run(
        [*command(), "run", *arguments], cwd=directory, capture_output=True, text=True, timeout=PATIENCE, check=False
    )


def write(directory: Path, text: str) -> str:
    path = directory / "rawgate.toml"
    path.write_text(text)
    return path.name


def test_a_port_that_is_taken_is_said_in_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = start(tmp_path, write(tmp_path, config(port=port)))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.count("\n") == 1
    assert f"cannot listen on 127.0.0.1:{port}: " in done.stderr


def test_if_one_address_cannot_be_had_none_is_served(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        both = ["127.0.0.1:0", f"127.0.0.1:{taken.getsockname()[1]}"]
        done = start(tmp_path, write(tmp_path, configs.one_route("http://127.0.0.1:9", listen=both)))
    assert done.returncode == 1
    assert "pid" not in done.stderr, "the ready line"
    assert "Traceback" not in done.stderr


def test_a_bad_configuration_is_reported_whole_and_nothing_listens(tmp_path: Path) -> None:
    text = config(limits='headers = "many"', timeouts="haed = 1")
    done = start(tmp_path, write(tmp_path, text))
    assert (done.returncode, done.stdout) == (1, "")
    lines = done.stderr.splitlines()
    assert [line.split(": ")[:2] for line in lines[:-1]] == [
        ["rawgate.toml:3", "gateway.limits.headers"],
        ["rawgate.toml:4", "gateway.timeouts.haed"],
    ]
    assert lines[-1] == "rawgate: 2 problems; nothing was started"


def test_a_configuration_that_is_not_there(tmp_path: Path) -> None:
    done = start(tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("rawgate.toml")
    assert "No such file" in done.stderr
    assert "Traceback" not in done.stderr


# ── how many connections ──


def test_over_the_limit_the_longest_idle_connection_makes_room(tmp_path: Path) -> None:
    gate = Gate()
    with Upstream(gate) as upstream, ExitStack() as stack:
        gateway = stack.enter_context(running(tmp_path, config(upstream.target, limits="connections = 3")))
        busy = stack.enter_context(asked(gateway))
        upstream.wait_requests(1)
        # Each is known to be served, and so idle, before the next comes.
        older = stack.enter_context(asked(gateway, OPTIONS))
        assert answer(older).status == 204
        newer = stack.enter_context(asked(gateway, OPTIONS))
        assert answer(newer).status == 204
        last = stack.enter_context(asked(gateway))
        assert older.rest() == b""
        upstream.wait_requests(2)
        gate.opened.set()
        assert (answer(busy).status, answer(last).status) == (200, 200)


def test_over_the_limit_with_none_idle_the_newcomer_gets_a_503(tmp_path: Path) -> None:
    gate = Gate()
    with Upstream(gate) as upstream, ExitStack() as stack:
        gateway = stack.enter_context(running(tmp_path, config(upstream.target, limits="connections = 1")))
        first = stack.enter_context(asked(gateway))
        upstream.wait_requests(1)
        with asked(gateway) as second:
            told = answer(second)
            assert (told.status, told.value(b"retry-after")) == (503, b"1")
            assert second.rest() == b""
        assert gateway.line(status=503)["reason"] == "connection_limit"
        gate.opened.set()
        assert answer(first).status == 200


def test_one_address_has_no_more_than_its_part(tmp_path: Path) -> None:
    with Upstream(replying(OK)) as upstream, ExitStack() as stack:
        gateway = stack.enter_context(running(tmp_path, config(upstream.target, limits="per_address = 1")))
        first = stack.enter_context(asked(gateway))
        assert answer(first).status == 200
        with asked(gateway) as second:
            assert answer(second).status == 503
        with gateway.connect("127.0.0.2") as other:
            other.sendall(GET)
            assert answer(Stream.of(other)).status == 200


# ── the reader of the log ──


def run_with_stdout(directory: Path, text: str, stdout: int) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [*command(), "run", write(directory, text)], cwd=directory, stdout=stdout, stderr=subprocess.PIPE
    )


def port_of(process: "subprocess.Popen[bytes]") -> int:
    assert process.stderr is not None
    port = 0
    for line in process.stderr:
        if b"listening on" in line:
            port = int(line.rpartition(b":")[2])
        if b"ready" in line:
            return port
    raise AssertionError("it did not start")


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("reader", ["gone", "stalled", "full disk"])
def test_traffic_goes_on_without_a_reader_of_the_log(tmp_path: Path, reader: str, workers: int) -> None:
    count = 1000  # lines: more than a pipe takes
    read_end, write_end = os.pipe()
    if reader == "full disk":
        os.close(write_end)
        write_end = os.open("/dev/full", os.O_WRONLY)
    with Upstream(replying(echo)) as upstream, ExitStack() as stack:
        stack.enter_context(configs.served_by(workers))
        text = config(upstream.target)
        process = stack.enter_context(run_with_stdout(tmp_path, text, write_end))
        stack.callback(process.kill)
        os.close(write_end)
        if reader != "stalled":
            os.close(read_end)
        address = "127.0.0.1", port_of(process)
        with Load(lambda: socket.create_connection(address, PATIENCE)) as load:
            load.wait_more(count)
        assert (load.lost, load.refused, load.wrong) == (0, 0, [])
        process.terminate()
        if reader == "stalled":
            # It comes back: all is there.
            with os.fdopen(read_end, "rb") as pipe:
                assert len(pipe.read().splitlines()) == load.answered
        assert process.wait(PATIENCE) == 0
        assert process.stderr is not None
        assert b"Traceback" not in process.stderr.read()


# Code of a configuration's own

FAILING = """
from rawgate.config.model import Config, Gateway, Route, Upstream


def rewrite(path: str) -> str:
    raise KeyError(path)


config = Config(
    gateway=Gateway(listen=["127.0.0.1:0"]),
    upstreams={"one": Upstream(targets=["http://127.0.0.1:9"])},
    routes=[Route(prefix="/", upstream="one", auth="none", rewrite=rewrite)],
)
"""
SENSELESS = configs.one_route("http://127.0.0.1:9") + "rewrite = { pattern = '(.*)', to = '/\\1' }"


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("config.py", FAILING, "the rewrite function raised KeyError('/x')"),
        ("rawgate.toml", SENSELESS, "the rewrite pattern made '//x', which is no path that can be sent"),
    ],
)
def test_a_rewrite_that_fails_is_told_on_stderr(tmp_path: Path, name: str, text: str, said: str) -> None:
    with running(tmp_path, text, name=name) as gateway:
        with gateway.connect() as client:
            client.sendall(GET)
            answer = read_response(Stream.of(client), b"GET")
            assert answer is not None
            assert answer.status == 500
        assert gateway.line()["reason"] == "internal"
        gateway.wait_said(f"route /: {said}")


# Unix sockets


def test_a_unix_socket_that_is_served_is_not_taken_over(tmp_path: Path) -> None:
    text = config().replace('"127.0.0.1:0"', '"unix:gateway.sock"')
    with running(tmp_path, text) as first:
        again = subprocess.run(
            [*command(), "run", str(tmp_path / "rawgate.toml")], capture_output=True, text=True, timeout=PATIENCE
        )
        assert again.returncode == 1
        assert again.stderr.startswith(f"rawgate: cannot listen on unix:{tmp_path / 'gateway.sock'}: Address already")
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(tmp_path / "gateway.sock"))
            client.sendall(OPTIONS)
            assert client.recv(65536).startswith(b"HTTP/1.1 204 ")
        first.stop()
    assert not (tmp_path / "gateway.sock").exists(), "it is taken away at the end"


@pytest.mark.parametrize("mode", ["0660", "600", "0777"])
def test_a_unix_socket_has_the_mode_that_is_asked_for(tmp_path: Path, mode: str) -> None:
    text = config().replace('"127.0.0.1:0"', f'{{ address = "unix:gateway.sock", mode = "{mode}" }}')
    with running(tmp_path, text):
        assert (tmp_path / "gateway.sock").stat().st_mode & 0o777 == int(mode, 8)


def test_whoever_comes_over_a_unix_socket_is_believed_when_asked(tmp_path: Path) -> None:
    text = config().replace('"127.0.0.1:0"]', '"unix:gateway.sock"]\ntrusted_proxies = ["unix"]')
    with running(tmp_path, text) as gateway, socket.socket(socket.AF_UNIX) as client:
        client.connect(str(tmp_path / "gateway.sock"))
        client.sendall(OPTIONS.replace(b"\r\n\r\n", b"\r\nX-Forwarded-For: 203.0.113.9\r\n\r\n"))
        assert client.recv(65536).startswith(b"HTTP/1.1 204 ")
        line = gateway.line()
        assert (line["clientId"], line["remote"]) == ("203.0.113.9", "unix")


def test_a_leftover_unix_socket_is_replaced(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as leftover:
        leftover.bind(str(tmp_path / "gateway.sock"))
    with (
        running(tmp_path, config().replace('"127.0.0.1:0"', '"unix:gateway.sock"')),
        socket.socket(socket.AF_UNIX) as client,
    ):
        client.connect(str(tmp_path / "gateway.sock"))
        client.sendall(OPTIONS)
        assert client.recv(65536).startswith(b"HTTP/1.1 204 ")
