"""A gateway with several workers that is not left in peace: workers are killed or stopped, configurations reloaded and
broken ones refused, the wall clock jumps, descriptors run out, the reader of the log stalls, or the disk behind it is
full. All the while clients ask, and what they lose is counted by what was done last."""

import errno
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from itertools import cycle
from pathlib import Path

from tools.soaking.clock import Clock
from tools.soaking.gateway import PATIENCE, Gateway, start_gateway, start_service

WORKERS = 4
CLIENTS = 8
PAUSE = 0.02
"""Seconds between two requests of a client."""
CLIENT_TIMEOUT = 30.0
"""Seconds that a client waits for an answer: longer than a stopped worker is left in its place."""
EVERY = 3.0
"""Seconds between two disturbances."""
STALL = 2.0
"""Seconds for which the log is not read, the disk is full, or there are no descriptors."""
CROWD = 200
"""Connections that come where there are descriptors for a few only."""
SPARE = 4
"""Descriptors that a worker may open then."""
STEPS = (7200, 0, -172_800, 0)
"""Seconds that the wall clock is wrong, one after the other."""
REQUEST = b"GET /quick HTTP/1.1\r\nHost: a.test\r\n\r\n"
BODY = b"\r\n\r\nok\n"

CONFIG = """
[gateway]
listen = ["127.0.0.1:0"]
workers = {workers}

[upstreams.quick]
targets = ["http://127.0.0.1:{port}"]

[[routes]]
prefix = "/"
upstream = "quick"
auth = "none"
rate_limit = {{ max = 100000000, window = "60s" }}
response_headers = {{ set = {{ X-Generation = "{generation}" }} }}
"""


class Clients:
    """Threads that ask over connections that stay open, and connect again when theirs is lost.

    times   milliseconds of each answered request since the last `take`
    what    is done to the gateway: losses are counted under this name
    lost    requests whose connection ended before the whole response
    refused connections that could not be made
    wrong   responses with another status than 200
    """

    def __init__(self, port: int) -> None:
        self.times: list[float] = []
        self.what = ""
        self.lost, self.refused, self.wrong = Counter[str](), Counter[str](), Counter[str]()
        self._port = port
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(CLIENTS)]
        for thread in self._threads:
            thread.start()

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                sock = socket.create_connection(("127.0.0.1", self._port), CLIENT_TIMEOUT)
            except OSError:
                if not self._stop.is_set():
                    self.refused[self.what] += 1
                continue
            with sock:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                while not self._stop.is_set() and self._ask(sock):
                    time.sleep(PAUSE)

    def _ask(self, sock: socket.socket) -> bool:
        """Whether the connection is good for another request."""
        began = time.perf_counter()
        answer = b""
        with suppress(OSError):
            sock.sendall(REQUEST)
            while not answer.endswith(BODY) and (octets := sock.recv(65536)):
                answer += octets
        if not answer:
            self.lost[self.what] += 1
            return False
        if not answer.startswith(b"HTTP/1.1 200") or not answer.endswith(BODY):
            self.wrong[f"{answer[9:12].decode()} {self.what}"] += 1
            return False
        self.times.append((time.perf_counter() - began) * 1000)
        return b"\r\nConnection: close" not in answer

    def take(self) -> list[float]:
        """The times since the last call, the shortest first."""
        times, self.times = self.times, []
        return sorted(times)

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(CLIENT_TIMEOUT)


class PipeLog:
    """A reader of the access log at the end of a pipe. lines: how many it has read."""

    trouble = "stalled log"

    def __init__(self, _: Path) -> None:
        self.lines = 0
        self._reading, self.writing = os.pipe()
        self._stalled_until = 0.0

    def begin(self) -> None:
        """The gateway has it."""
        os.close(self.writing)
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        while octets := os.read(self._reading, 65536):
            self.lines += octets.count(b"\n")
            time.sleep(max(0.0, self._stalled_until - time.monotonic()))

    def disturb(self, _: list[int]) -> None:
        """Do not read for a while."""
        self._stalled_until = time.monotonic() + STALL


class FileLog:
    """The access log as a file. lines: how many there are."""

    trouble = "full disk"

    def __init__(self, folder: Path) -> None:
        self._path = folder / "access.log"
        self.writing = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def begin(self) -> None:
        """The gateway has it."""
        os.close(self.writing)

    @property
    def lines(self) -> int:
        with self._path.open("rb") as file:
            return sum(1 for _ in file)

    def disturb(self, workers: list[int]) -> None:
        """The file may not grow for a while: the write ends in the middle of a line, then fails, as on a full disk."""
        with limited(workers, resource.RLIMIT_FSIZE, lambda _: self._path.stat().st_size + 1000):
            time.sleep(STALL)


@contextmanager
def limited(workers: list[int], what: int, most: Callable[[int], int]) -> Iterator[None]:
    """These processes have a lower limit of this kind while the block lasts. most: of each, by its process id."""
    before = dict[int, tuple[int, int]]()
    for pid in workers:
        with suppress(ProcessLookupError, FileNotFoundError):
            before[pid] = resource.prlimit(pid, what)
            resource.prlimit(pid, what, (most(pid), before[pid][1]))
    try:
        yield
    finally:
        for pid, limit in before.items():
            with suppress(ProcessLookupError):
                resource.prlimit(pid, what, limit)


class Unrest:
    """What is done to the gateway, one thing after the other. done: how often, by name."""

    def __init__(
        self, gateway: Gateway, config: Path, port: int, log: PipeLog | FileLog, clock: Clock, clients: Clients
    ) -> None:
        self._gateway = gateway
        self._config = config
        self._port = port
        self._log = log
        self._clock = clock
        self._clients = clients
        self._generation = 0
        self._steps = cycle(STEPS)
        self.done = Counter[str]()
        self._next: Iterator[tuple[str, Callable[[], None]]] = cycle(
            (
                ("kill", self._kill),
                ("reload", self._reload),
                ("refused reload", self._break_config),
                (log.trouble, self._disturb_log),
                ("clock step", self._step),
                ("no descriptors", self._crowd),
                ("stopped worker", self._stop_worker),
            )
        )

    def disturb(self) -> None:
        self._clients.what, trouble = next(self._next)
        self.done[self._clients.what] += 1
        trouble()

    def _a_worker(self) -> int:
        """Each time another one."""
        workers = self._gateway.workers()
        return workers[sum(self.done.values()) % len(workers)]

    def _kill(self) -> None:
        os.kill(self._a_worker(), signal.SIGKILL)

    def _stop_worker(self) -> None:
        """As if it were stuck. Its supervisor ends it after a while."""
        worker, ends = self._a_worker(), time.monotonic() + PATIENCE
        os.kill(worker, signal.SIGSTOP)
        while worker in self._gateway.workers() and time.monotonic() < ends:
            time.sleep(0.1)

    def _reload(self) -> None:
        self._generation += 1
        self._config.write_text(config(self._port, self._generation))
        self._command(0)

    def _break_config(self) -> None:
        self._config.write_text(config(self._port, self._generation) + "[nonsense]\n")
        self._command(1)

    def _disturb_log(self) -> None:
        self._log.disturb(self._gateway.workers())

    def _step(self) -> None:
        self._clock.goes_to(next(self._steps))

    def _crowd(self) -> None:
        """More connections than there are descriptors."""
        with (
            limited(self._gateway.workers(), resource.RLIMIT_NOFILE, lambda pid: highest_descriptor(pid) + 1 + SPARE),
            ExitStack() as stack,
        ):
            for _ in range(CROWD):
                stack.enter_context(socket.create_connection(("127.0.0.1", self._gateway.port), CLIENT_TIMEOUT))
            time.sleep(STALL)

    def _command(self, expected: int) -> None:
        command = [sys.executable, "-m", "rawgate", "reload", str(self._config)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
        if done.returncode != expected:
            print(f"reload ended with {done.returncode}: {done.stdout}{done.stderr}")

    def end(self) -> str:
        """Stop the gateway under load. Returns what became of it."""
        self._clients.what = "end"
        os.kill(self._gateway.pid, signal.SIGTERM)
        try:
            return f"ended with {self._gateway.process.wait(PATIENCE)}"
        except subprocess.TimeoutExpired:
            return "did not end"


def highest_descriptor(pid: int) -> int:
    return max(int(entry.name) for entry in Path(f"/proc/{pid}/fd").iterdir())


def config(port: int, generation: int = 0) -> str:
    return CONFIG.format(workers=WORKERS, port=port, generation=generation)


@contextmanager
def disturbed(kind: type[PipeLog | FileLog]) -> Iterator[tuple[Gateway, Unrest, PipeLog | FileLog, Clients]]:
    """kind: where the log goes."""
    compiler = shutil.which("cc")
    if compiler is None:
        raise FileNotFoundError(errno.ENOENT, "a C compiler is needed for the clock that jumps", "cc")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        port = start_service(stack)
        path = folder / "rawgate.toml"
        path.write_text(config(port))
        log, clock = kind(folder), Clock(folder, compiler)
        gateway = start_gateway(stack, path, folder / "stderr", log.writing, clock.environ)
        log.begin()
        clients = Clients(gateway.port)
        stack.callback(clients.stop)
        yield gateway, Unrest(gateway, path, port, log, clock, clients), log, clients
