"""Several workers under a supervisor: one gateway to its clients, whoever of them dies, hangs, or is replaced."""

import os
import re
import signal
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from threading import Event
from time import monotonic

import pytest

from harness import configs
from harness.gateway import PATIENCE, Gateway, open_files, running, standing_still, wait_open_files
from harness.issuer import Issuer
from harness.load import Load, echo
from harness.stalls import TRIES, again_after_stalls
from harness.upstream import OK, Connection, Upstream, replying
from harness.wire_reader import Message, Stream, read_response
from rawgate.policy.fetched_keys import EXTRA
from rawgate.serve.keys import PATIENCE as PATIENCE_OF_FETCH

pytestmark = pytest.mark.process

GET = b"GET /x HTTP/1.1\r\nHost: h\r\n\r\n"
PING = b"OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n"
"""Answered by the gateway itself."""


@contextmanager
def served(folder: Path, text: str, workers: int = 2) -> Iterator[Gateway]:
    """The text is that of `configs`."""
    text = text.replace("[gateway]\n", f"[gateway]\nworkers = {workers}\n")
    with running(folder, text) as gateway:
        yield gateway


def ask(sock: socket.socket, octets: bytes = GET) -> Message | None:
    sock.sendall(octets)
    return read_response(Stream.of(sock))


def connected(gateway: Gateway, count: int, stack: ExitStack) -> list[socket.socket]:
    return [stack.enter_context(gateway.connect()) for _ in range(count)]


def open_sockets(pid: int) -> int:
    return sum(name.startswith("socket:") for name in open_files(pid))


def killed(gateway: Gateway, pid: int) -> int:
    """Kill this worker, and wait until its successor serves. Returns the successor's process id."""
    before = gateway.workers()
    os.kill(pid, signal.SIGKILL)
    gateway.wait_said(f"(pid {pid}) was killed by SIGKILL")
    new, ends = set[int](), monotonic() + PATIENCE
    while not new and monotonic() < ends:
        new = gateway.workers() - before
    (successor,) = new
    return successor


# ── one gateway ──


def test_all_workers_serve_and_write_one_log(tmp_path: Path) -> None:
    with Upstream(replying(OK)) as upstream, served(tmp_path, configs.one_route(upstream.target), 3) as gateway:
        workers = gateway.workers()
        assert len(workers) == 3
        with ExitStack() as stack:
            idle = {pid: open_sockets(pid) for pid in workers}
            for sock in connected(gateway, 60, stack):
                assert ask(sock, PING) is not None
            busy = {pid for pid in workers if open_sockets(pid) > idle[pid]}
            assert busy == workers
        assert len(gateway.wait_lines(60, reason="ok")) == 60
        assert len({line["requestId"] for line in gateway.log}) == 60
    assert "3 workers" in gateway.wait_said("ready")
    assert gateway.said[-1] == "rawgate: stopped"
    assert gateway.workers() == set()


def test_each_worker_has_ids_of_its_own(tmp_path: Path) -> None:
    """Those that begin later too: they begin with all that their supervisor has, and may not go on with its ids."""
    with Upstream(replying(OK)) as upstream, ExitStack() as stack:
        gateway = stack.enter_context(served(tmp_path, configs.one_route(upstream.target), 3))
        killed(gateway, min(gateway.workers()))
        # The kernel gives each connection to any of them: that one of three gets none of so many has a chance of 1e-11.
        sockets = connected(gateway, 64, stack)
        answers = [message for sock in sockets if (message := ask(sock))]
        assert len({message.value(b"x-request-id") for message in answers}) == len(sockets)
        assert {gateway.worker_of(sock) for sock in sockets} == gateway.workers()


def test_a_unix_socket_is_shared(tmp_path: Path) -> None:
    with served(tmp_path, configs.one_route("http://127.0.0.1:9", listen="unix:gateway.sock")) as gateway:
        for _ in range(10):
            with socket.socket(socket.AF_UNIX) as sock:
                sock.settimeout(PATIENCE)
                sock.connect(str(tmp_path / "gateway.sock"))
                assert ask(sock, PING) is not None
        first = gateway.workers()
        killed(gateway, min(first))
        assert (tmp_path / "gateway.sock").is_socket(), "a worker that ends takes the file with it"
    assert not (tmp_path / "gateway.sock").exists()


def test_as_many_workers_as_there_are_processors(tmp_path: Path) -> None:
    text = configs.one_route("http://127.0.0.1:9").replace("[gateway]\n", '[gateway]\nworkers = "auto"\n')
    processors = len(os.sched_getaffinity(0))
    with running(tmp_path, text) as gateway:
        ready = gateway.wait_said("ready")
        found = re.search(r"(\d+) workers", ready)
        assert (int(found[1]) if found else 1) <= processors


def test_a_limit_is_one_limit(tmp_path: Path) -> None:
    text = configs.one_route("http://127.0.0.1:9") + 'rate_limit = { max = 50, window = "1h" }\n'
    with Upstream(replying(OK)) as upstream, ExitStack() as stack:
        text = text.replace("http://127.0.0.1:9", upstream.target)
        gateway = stack.enter_context(served(tmp_path, text, 4))
        statuses = [message.status for sock in connected(gateway, 100, stack) if (message := ask(sock))]
        assert (statuses.count(200), statuses.count(429)) == (50, 50)
        for pid in gateway.workers():
            killed(gateway, pid)
        statuses = [message.status for sock in connected(gateway, 10, stack) if (message := ask(sock))]
        assert statuses == [429] * 10


def test_wrong_credentials_are_counted_by_all_workers_together(tmp_path: Path) -> None:
    with Upstream(replying(OK)) as upstream, ExitStack() as stack:
        text = (
            configs.gateway("workers = 4", 'auth_failures = { max = 6, window = "1h", delay = "0s" }')
            + configs.api_keys("partners", "x-api-key", "KEYS")
            + configs.upstream("one", upstream.target)
            + configs.route("/", "one", auth="api_keys.partners")
        )
        gateway = stack.enter_context(running(tmp_path, text, {"KEYS": "acme:key-of-acme-0123456789"}))
        guess, known = (GET.replace(b"\r\n\r\n", b"\r\nX-Api-Key: %b\r\n\r\n" % key) for key in KEYS)
        asked = [ask(sock, guess) for sock in connected(gateway, 30, stack)]
        statuses = [message.status for message in asked if message is not None]
        assert (statuses.count(401), statuses.count(429)) == (6, 24)
        good = ask(stack.enter_context(gateway.connect()), known)
        assert good is not None
        assert good.status == 200


KEYS = (b"a-guess-of-a-key-0123", b"key-of-acme-0123456789")


def test_without_a_queue_the_one_connection_serves_all_workers(tmp_path: Path) -> None:
    """It is idle in one of them each time, and the next request may come to another."""
    held, gate = Event(), Event()

    def script(connection: Connection) -> None:
        while (request := connection.request()) is not None:
            if b"/slow" in request.target:
                held.set()
                assert gate.wait(PATIENCE)
            connection.send(OK)

    def status(sock: socket.socket, octets: bytes = GET) -> int | None:
        message = ask(sock, octets)
        return None if message is None else message.status

    with Upstream(script) as upstream, ExitStack() as stack:
        text = configs.gateway() + configs.upstream("one", upstream.target, "max_connections = 1", "queue = 0")
        gateway = stack.enter_context(served(tmp_path, text + configs.route("/", "one"), 3))
        sockets = connected(gateway, 20, stack)
        assert [status(sock) for sock in sockets] == [200] * 20
        slow = sockets.pop()
        slow.sendall(GET.replace(b"/x", b"/slow"))
        assert held.wait(PATIENCE)
        assert [status(sock) for sock in sockets] == [503] * 19
        gate.set()
        message = read_response(Stream.of(slow))
        assert message is not None
        assert message.status == 200
    assert {line["reason"] for line in gateway.log} == {"ok", "queue_full"}


@pytest.mark.parametrize("jwks", ["keys", "discover"])
def test_one_worker_fetches_keys_for_all(tmp_path: Path, jwks: str) -> None:
    """On a machine so busy that a fetch is given up, or that unknown keys may cause another one, there are more: one in
    each span of that length."""
    clients, began = 40, monotonic()
    with Issuer(tmp_path) as issuer, Upstream(replying(OK)) as upstream, ExitStack() as stack:
        where = "discover" if jwks == "discover" else f"{issuer.url}/keys"
        text = (
            configs.gateway()
            + f'[jwt.idp]\nalgorithm = "ES256"\nissuer = "{issuer.url}"\njwks = "{where}"\n'
            + f'jwks_ca = "file:{issuer.authority}"\n'
            + configs.upstream("service", upstream.target)
            + configs.route("/", "service", auth="jwt.idp")
        )
        gateway = stack.enter_context(served(tmp_path, text, 3))
        documents = 2 if jwks == "discover" else 1

        def statuses(token: str) -> set[int]:
            request = GET.replace(b"\r\n\r\n", f"\r\nAuthorization: Bearer {token}\r\n\r\n".encode())
            return {message.status for sock in connected(gateway, clients, stack) if (message := ask(sock, request))}

        assert statuses(issuer.token("alice")) == {200}
        assert documents <= len(issuer.asked) <= documents * (1 + (monotonic() - began) // PATIENCE_OF_FETCH)
        killed(gateway, min(gateway.workers()))
        assert statuses(issuer.token("alice")) == {200}
        issuer.asked.clear()
        issuer.rotate()
        rotated = monotonic()
        assert statuses(issuer.token("alice")) == {200}
        assert statuses(issuer.token("alice", kid="made up")) == {401}
        # One worker asked for all, and once for the key that nobody has.
        assert len(issuer.asked) <= documents * (2 + (monotonic() - rotated) // EXTRA)


# ── who dies, and who hangs ──


def test_a_killed_worker_costs_only_what_it_was_serving(tmp_path: Path) -> None:
    kills, clients = 3, 4
    with Upstream(replying(echo)) as upstream, served(tmp_path, configs.one_route(upstream.target)) as gateway:
        with Load(gateway.connect, clients) as load:
            load.wait_more()
            worker = min(gateway.workers())
            for _ in range(kills):
                worker = killed(gateway, worker)
            load.wait_more()
        assert load.refused == 0, "its socket stays open, and its queue with it"
        assert load.wrong == []
        assert load.lost <= kills * clients
    assert {line["reason"] for line in gateway.log} <= {"ok", "client_gone"}


def test_a_number_without_a_worker_keeps_nobody_waiting(tmp_path: Path) -> None:
    """A worker that has died young several times is not replaced at once. Meanwhile a sibling accepts for it, and what
    it held of the limits is given back. On a machine that was slow for so long that its successor is there already, or
    that it was not young any more, that one dies too: each time there is more time."""

    def script(connection: Connection) -> None:
        while (request := connection.request()) is not None and b"/slow" not in request.target:
            connection.send(OK)
        connection.wait_end()

    with Upstream(script) as upstream, ExitStack() as stack:
        text = configs.gateway() + configs.upstream("one", upstream.target, "max_connections = 1")
        gateway = stack.enter_context(served(tmp_path, text + configs.route("/", "one")))
        sibling = max(gateway.workers())
        for _ in range(4):
            (worker,) = gateway.workers() - {sibling}
            killed(gateway, worker)
        is_alone = False
        for deaths in range(1, TRIES + 1):
            (worker,) = gateway.workers() - {sibling}
            holder = 0
            while holder != worker:
                slow = stack.enter_context(gateway.connect())
                assert ask(slow, PING) is not None
                holder = gateway.worker_of(slow)
            slow.sendall(GET.replace(b"/x", b"/slow"))
            upstream.wait_requests(deaths)
            os.kill(worker, signal.SIGKILL)
            gateway.wait_said(f"(pid {worker}) was killed")
            # It hears the next signal when it has done all about this death, and then has all the time that it takes
            # here.
            gateway.signal(signal.SIGUSR1)
            gateway.wait(lambda deaths=deaths: count(gateway, "SIGUSR1 is ignored") == deaths)  # type: ignore[misc]
            with standing_still(gateway.pid):
                if gateway.workers() != {sibling}:
                    continue
                is_alone = True
                # A worker's own socket gets half of these; with nobody to accept on it, they would wait for its
                # successor.
                for sock in connected(gateway, 30, stack):
                    message = ask(sock)
                    assert message is not None
                    assert message.status == 200
            break
        assert is_alone
        assert any("it is replaced in " in line for line in gateway.said)


def count(gateway: Gateway, text: str) -> int:
    return sum(text in line for line in gateway.said)


def test_out_of_descriptors_the_workers_serve_on(tmp_path: Path) -> None:
    few = 48
    with Upstream(replying(echo)) as upstream, ExitStack() as stack:
        text = configs.one_route(upstream.target).replace("[gateway]\n", "[gateway]\nworkers = 2\n")
        gateway = stack.enter_context(running(tmp_path, text, descriptors=few))
        workers = gateway.workers()
        with Load(gateway.connect) as load:
            load.wait_everybody()
            before = {pid: len(open_files(pid)) for pid in workers}
            crowd = connected(gateway, 4 * few, stack)
            # Where a worker needs another connection to the service, one of the crowd makes room.
            load.wait_more()
            for sock in crowd:
                sock.close()
            for pid, count in before.items():
                wait_open_files(pid, count + load.clients)
            load.wait_more()
            with gateway.connect() as sock:
                message = ask(sock)
                assert message is not None
                assert message.status == 200
        assert (load.lost, load.refused, load.wrong) == (0, 0, [])
        assert gateway.workers() == workers


STUCK = """
from rawgate.config.model import Config, Gateway, Route, Upstream

def forever(path):
    if path == "/forever":
        print("for ever")
        while True:
            pass
    return path

config = Config(
    gateway=Gateway(listen=["127.0.0.1:0"], workers=2),
    upstreams={"one": Upstream(targets=["TARGET"])},
    routes=[Route(prefix="/", upstream="one", auth="none", rewrite=forever)],
)
"""


def test_a_stuck_worker_is_replaced_and_leaves_its_stack_traces(tmp_path: Path) -> None:
    """Before that its sibling accepts for it, so only those lose something whose connections it had."""
    clients = 4
    with ExitStack() as stack:
        upstream = stack.enter_context(Upstream(replying(echo)))
        gateway = stack.enter_context(running(tmp_path, STUCK.replace("TARGET", upstream.target), name="gateway.py"))
        workers = gateway.workers()
        with Load(gateway.connect, clients) as load:
            load.wait_more()
            stack.enter_context(gateway.connect()).sendall(GET.replace(b"/x", b"/forever"))
            gateway.wait_said("for ever")
            for sock in connected(gateway, 20, stack):
                assert ask(sock, PING) is not None
            assert gateway.workers() == workers, "it is still in its place"
            gateway.wait_said("has not answered for")
            gateway.wait_said("in forever")
            gateway.wait_said("was killed by SIGABRT: it is replaced at once")
            load.wait_more()
        assert (load.refused, load.wrong) == (0, [])
        assert load.lost <= clients


COMPILED_AT_LENGTH = """
from os import getpid
from pathlib import Path
from time import sleep
from rawgate.config.model import Config, Gateway, Route, Upstream

is_supervisor, begun = Path(f"/proc/self/task/{getpid()}/children").read_text() != "", Path("begun")
if is_supervisor and not begun.exists():
    begun.touch()
    print("the supervisor compiles")
    sleep(60)

config = Config(
    gateway=Gateway(listen=["127.0.0.1:0"], workers=2),
    upstreams={"one": Upstream(targets=["http://127.0.0.1:9"])},
    routes=[Route(prefix="/", upstream="one", auth="none")],
)
"""


def test_a_worker_that_dies_while_the_supervisor_compiles_is_replaced_at_once(tmp_path: Path) -> None:
    """And the reload is not lost: the second time nothing holds it up."""
    with running(tmp_path, COMPILED_AT_LENGTH, name="gateway.py") as gateway:
        gateway.signal(signal.SIGHUP)
        gateway.wait_said("the supervisor compiles")
        worker = min(gateway.workers())
        os.kill(worker, signal.SIGKILL)
        gateway.wait_said(f"(pid {worker}) was killed by SIGKILL: it is replaced at once")
        gateway.wait_said("reloaded")


def test_without_a_supervisor_the_workers_stop(tmp_path: Path) -> None:
    gate = Event()

    def script(connection: Connection) -> None:
        while connection.request() is not None:
            assert gate.wait(PATIENCE)
            connection.send(OK)

    with Upstream(script) as upstream, served(tmp_path, configs.one_route(upstream.target)) as gateway:
        with gateway.connect() as sock:
            sock.sendall(GET)
            upstream.wait_requests(1)
            gateway.process.kill()
            gateway.wait_said("the supervisor is gone: stopping")
            gate.set()
            message = read_response(Stream.of(sock))
            assert message is not None
            assert message.status == 200, "what has begun is served"
        gateway.wait_end(-signal.SIGKILL)
    assert [line["reason"] for line in gateway.log] == ["ok"]


# ── stop ──


@again_after_stalls(1.0)
def test_a_stop_loses_nothing(tmp_path: Path) -> None:
    """The signal goes to every process, as a terminal and systemd send it. In the time before draining each client that
    is active is told that its connection closes."""
    with Upstream(replying(echo)) as upstream, ExitStack() as stack:
        text = configs.one_route(upstream.target, gateway_has=['timeouts = { pre_stop = "2s" }'])
        gateway = stack.enter_context(served(tmp_path, text, 3))
        with Load(gateway.connect) as load:
            load.wait_more()
            for pid in (*gateway.workers(), gateway.pid):
                os.kill(pid, signal.SIGINT)
            gateway.wait_end(0)
        assert (load.lost, load.wrong) == (0, [])
        assert load.answered == len(gateway.lines(reason="ok")), "each is in the log"


def test_a_second_signal_cuts_what_is_left(tmp_path: Path) -> None:
    def silent(connection: Connection) -> None:
        connection.request()
        connection.wait_end()

    with Upstream(silent) as upstream, served(tmp_path, configs.one_route(upstream.target)) as gateway:
        with gateway.connect() as sock:
            sock.sendall(GET)
            upstream.wait_requests(1)
            gateway.signal()
            gateway.wait_said("draining")
            gateway.signal()
            gateway.wait_end(1)
        assert [line["reason"] for line in gateway.log] == ["draining"]


def test_connections_that_the_kernel_has_accepted_are_served_at_the_end(tmp_path: Path) -> None:
    with served(tmp_path, configs.one_route("http://127.0.0.1:9"), 2) as gateway, ExitStack() as stack:
        workers = gateway.workers()
        with standing_still(*workers):
            sockets = connected(gateway, 20, stack)
            for sock in sockets:
                sock.sendall(PING)
            gateway.signal(signal.SIGTERM)
        assert all(read_response(Stream.of(sock)) is not None for sock in sockets)
        gateway.wait_end(0)
        assert len(gateway.log) == 20


def test_a_worker_that_cannot_begin_ends_the_gateway(tmp_path: Path) -> None:
    """Not for ever again and again: at the start somebody watches."""
    path = tmp_path / "rawgate.toml"
    path.write_text(configs.one_route("http://127.0.0.1:9").replace("[gateway]\n", "[gateway]\nworkers = 2\n"))
    gateway = Gateway(path, {}, descriptors=10)
    gateway.wait_end(1)
    assert any("before it was ready: stopping" in line or "cannot" in line for line in gateway.said)


def test_a_supervisor_that_is_killed_during_a_stop_leaves_no_workers(tmp_path: Path) -> None:
    text = configs.one_route("http://127.0.0.1:9", gateway_has=['timeouts = { pre_stop = "20s" }'])
    with served(tmp_path, text) as gateway:
        workers = gateway.workers()
        gateway.signal(signal.SIGTERM)
        gateway.wait_said("stopping in 20 s")
        gateway.process.kill()
        # They hold its stderr open: it ends with the last of them.
        gateway.wait_end(-signal.SIGKILL)
        assert not [pid for pid in workers if Path(f"/proc/{pid}/exe").exists()]


def test_a_reload_for_which_a_worker_has_no_descriptors_changes_nothing(tmp_path: Path) -> None:
    few = 64
    with ExitStack() as stack:
        text = configs.one_route("http://127.0.0.1:9").replace("[gateway]\n", "[gateway]\nworkers = 2\n")
        gateway = stack.enter_context(running(tmp_path, text, descriptors=few))
        workers = gateway.workers()
        with ExitStack() as crowd:
            connected(gateway, 4 * few, crowd)
            ends = monotonic() + PATIENCE
            while any(len(open_files(pid)) < few for pid in workers):
                assert monotonic() < ends, "a worker has descriptors left"
            more = ", ".join(f'"127.0.0.{last}:0"' for last in range(2, 8))
            (tmp_path / "rawgate.toml").write_text(text.replace('"127.0.0.1:0"', f'"127.0.0.1:0", {more}'))
            gateway.signal(signal.SIGHUP)
            gateway.wait_said("reload refused")
        # Until the workers have seen that the crowd is gone, who comes is turned away.
        answered, ends = None, monotonic() + PATIENCE
        while answered is None and monotonic() < ends:
            with gateway.connect() as sock, suppress(OSError):
                answered = ask(sock, PING)
        assert answered is not None
        assert gateway.workers() == workers
