"""A gateway with several workers that is not left in peace: workers are killed, configurations reloaded, broken ones
refused, the reader of the log stalls. All the while clients ask, and what they lose is counted."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import cycle
from pathlib import Path

from tools.soaking.gateway import Gateway, start_gateway, start_service

WORKERS = 4
CLIENTS = 8
PAUSE = 0.02
"""Seconds between two requests of a client."""
EVERY = 3.0
"""Seconds between two disturbances."""
STALL = 2.0
"""Seconds for which the log is not read."""
REQUEST = b"GET /quick HTTP/1.1\r\nHost: a.test\r\n\r\n"

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
    lost    requests whose connection ended before the response
    refused connections that could not be made
    wrong   responses with another status than 200
    """

    def __init__(self, port: int) -> None:
        self.times: list[float] = []
        self.lost = self.refused = self.wrong = 0
        self._port = port
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(CLIENTS)]
        for thread in self._threads:
            thread.start()

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                sock = socket.create_connection(("127.0.0.1", self._port), 10)
            except OSError:
                self.refused += 1
                continue
            with sock:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                while not self._stop.is_set() and self._ask(sock):
                    time.sleep(PAUSE)

    def _ask(self, sock: socket.socket) -> bool:
        """Whether the connection is good for another request."""
        began = time.perf_counter()
        try:
            sock.sendall(REQUEST)
            answer = sock.recv(65536)
        except OSError:
            answer = b""
        if not answer:
            self.lost += 1
            return False
        if not answer.startswith(b"HTTP/1.1 200"):
            self.wrong += 1
        self.times.append((time.perf_counter() - began) * 1000)
        return b"\r\nConnection: close" not in answer

    def take(self) -> list[float]:
        """The times since the last call, the shortest first."""
        times, self.times = self.times, []
        return sorted(times)

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(10)


class LogReader:
    """Reads the access log, unless it stalls. lines: how many it has read."""

    def __init__(self, descriptor: int) -> None:
        self.lines = 0
        self._descriptor = descriptor
        self._stalled_until = 0.0
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        while octets := os.read(self._descriptor, 65536):
            self.lines += octets.count(b"\n")
            time.sleep(max(0.0, self._stalled_until - time.monotonic()))

    def stall(self) -> None:
        self._stalled_until = time.monotonic() + STALL


class Unrest:
    """What is done to the gateway, one thing after the other. done: how often, by name."""

    def __init__(self, gateway: Gateway, config: Path, port: int, log: LogReader) -> None:
        self._gateway = gateway
        self._config = config
        self._port = port
        self._log = log
        self._generation = 0
        self._next: Iterator[Callable[[], None]] = cycle((self.kill, self.reload, self.break_config, self.stall))
        self.done = dict.fromkeys(("kill", "reload", "refused reload", "stalled log"), 0)

    def disturb(self) -> None:
        next(self._next)()

    def kill(self) -> None:
        workers = self._gateway.workers()
        if workers:
            os.kill(workers[self.done["kill"] % len(workers)], signal.SIGKILL)
            self.done["kill"] += 1

    def reload(self) -> None:
        self._generation += 1
        self._config.write_text(config(self._port, self._generation))
        self._command(0)
        self.done["reload"] += 1

    def break_config(self) -> None:
        self._config.write_text(config(self._port, self._generation) + "[nonsense]\n")
        self._command(1)
        self.done["refused reload"] += 1

    def stall(self) -> None:
        self._log.stall()
        self.done["stalled log"] += 1

    def _command(self, expected: int) -> None:
        command = [sys.executable, "-m", "rawgate", "reload", str(self._config)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
        if done.returncode != expected:
            print(f"reload ended with {done.returncode}: {done.stdout}{done.stderr}")


def config(port: int, generation: int = 0) -> str:
    return CONFIG.format(workers=WORKERS, port=port, generation=generation)


@contextmanager
def disturbed() -> Iterator[tuple[Gateway, Unrest, LogReader, Clients]]:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        port = start_service(stack)
        path = folder / "rawgate.toml"
        path.write_text(config(port))
        reading, writing = os.pipe()
        gateway = start_gateway(stack, path, folder / "stderr", writing)
        os.close(writing)
        log = LogReader(reading)
        clients = Clients(gateway.port)
        stack.callback(clients.stop)
        yield gateway, Unrest(gateway, path, port, log), log, clients
