"""The real program as a child process: start it with a configuration, wait for it, read its log, stop it.

Nothing here sleeps. Two threads read what the process writes, line by line, and a test that needs a line waits on a
condition until it is there. The limit on such a wait only turns a hang into a failure.
"""

import json
import os
import resource
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from threading import Condition, Thread
from time import monotonic
from typing import IO, Any

LogLine = dict[str, Any]
"""One line of the access log."""

PATIENCE = 20.0
"""Seconds to wait for something that must happen."""


def command() -> list[str]:
    """The command that starts the program: `RAWGATE_BIN` if it is set (a path or name, perhaps with arguments), else
    this interpreter with `-m rawgate`."""
    words = shlex.split(os.environ.get("RAWGATE_BIN", ""))
    if not words:
        return [sys.executable, "-m", "rawgate"]
    # The program runs in another directory, where a relative path would mean something else.
    return [str(Path(words[0]).resolve()) if "/" in words[0] else words[0], *words[1:]]


class Gateway:
    """A running process.

    address   host and port of the first TCP listener
    addresses all of them, in the order of `gateway.listen`; Unix sockets as ("unix", path)
    said      what it wrote to stderr so far, line by line
    log       the access log so far
    """

    def __init__(self, config: Path, env: Mapping[str, str], descriptors: int = 0) -> None:
        self.said: list[str] = []
        self.log: list[LogLine] = []
        self.addresses: list[tuple[str, int] | tuple[str, str]] = []
        self._news = Condition()
        self._open = 2
        self.process = subprocess.Popen(
            [*command(), "run", str(config)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, **env},
            cwd=config.parent,
            preexec_fn=partial(resource.setrlimit, resource.RLIMIT_NOFILE, (descriptors,) * 2) if descriptors else None,
        )
        self._threads = [
            Thread(target=self._follow, args=(self.process.stdout, self._note_line), daemon=True),
            Thread(target=self._follow, args=(self.process.stderr, self._note_word), daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    @property
    def address(self) -> tuple[str, int]:
        for host, port in self.addresses:
            if isinstance(port, int):
                return host, port
        raise AssertionError("no TCP listener")

    @property
    def pid(self) -> int:
        return self.process.pid

    # ── what it writes ──

    def _follow(self, pipe: IO[bytes] | None, note: Callable[[str], None]) -> None:
        assert pipe is not None
        with pipe:
            for line in pipe:
                with self._news:
                    note(line.decode())
                    self._news.notify_all()
        with self._news:
            self._open -= 1
            self._news.notify_all()

    def _note_line(self, text: str) -> None:
        self.log.append(json.loads(text))

    def _note_word(self, text: str) -> None:
        self.said.append(text.rstrip("\n"))
        _, found, where = text.strip().partition("listening on ")
        if found:
            self.addresses.append(_address(where))

    def wait(self, look: Callable[[], Any], what: str = "a condition", patience: float = PATIENCE) -> Any:
        """Call `look()` whenever the process has written something, and return its first true value."""
        with self._news:
            self._news.wait_for(lambda: look() or not self._open, patience)
            found = look()
        if not found:
            ended = self.process.poll()
            state = "it runs" if ended is None else f"it has ended with status {ended}"
            raise AssertionError(f"{what} did not come; {state}; log: {self.log[-5:]}; stderr: {self.said[-20:]}")
        return found

    def ready(self) -> None:
        """Wait until the gateway serves."""
        self.wait(lambda: any("ready" in line for line in self.said), "the ready line")

    def wait_said(self, text: str) -> str:
        """Wait for a line on stderr that contains `text`, and return the first one."""
        return str(self.wait(lambda: next((line for line in self.said if text in line), None), f"{text!r} on stderr"))

    def line(self, **fields: Any) -> LogLine:
        """Wait for a log line with these fields, and return the first one: `gateway.line(path="/a", reason="ok")`."""
        line: LogLine = self.wait(lambda: next(iter(self.lines(**fields)), None), f"a log line with {fields}")
        return line

    def lines(self, **fields: Any) -> list[LogLine]:
        """The log lines so far that have these fields."""
        return [line for line in self.log if all(line.get(name) == value for name, value in fields.items())]

    def wait_lines(self, count: int, **fields: Any) -> list[LogLine]:
        """Wait for `count` log lines with these fields, and return them."""
        self.wait(lambda: len(self.lines(**fields)) >= count, f"{count} log lines with {fields}")
        return self.lines(**fields)

    # ── its clients and its end ──

    def connect(self, source: str = "", timeout: float = PATIENCE) -> socket.socket:
        """A new client connection, with TCP_NODELAY. `source`: the client's address."""
        sock = socket.create_connection(self.address, timeout, (source, 0) if source else None)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return sock

    def workers(self) -> set[int]:
        """The processes that it has started."""
        try:
            return {int(pid) for pid in Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()}
        except FileNotFoundError:
            return set()

    def worker_of(self, sock: socket.socket) -> int:
        """The process that has accepted this connection of a client."""
        ours, theirs = (f":{port:04X}" for port in (sock.getsockname()[1], self.address[1]))
        for line in Path("/proc/net/tcp").read_text().splitlines():
            fields = line.split()
            if fields[1].endswith(theirs) and fields[2].endswith(ours):
                link = f"socket:[{fields[9]}]"
                for pid in self.workers():
                    if link in open_files(pid):
                        return pid
        raise AssertionError("no worker has it")

    def wait_serving(self, workers: int) -> None:
        """Wait until so many workers serve: each has answered on a connection. A line that says that one was replaced
        comes before its successor does anything."""
        ends, serving = monotonic() + PATIENCE, set[int]()
        while len(serving) < workers:
            assert monotonic() < ends, f"of {workers} workers {serving} serve"
            with self.connect() as sock:
                sock.sendall(b"OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n")
                assert sock.recv(65536).startswith(b"HTTP/1.1 204 ")
                serving = (serving | {self.worker_of(sock)}) & self.workers()

    def signal(self, number: int = signal.SIGTERM) -> None:
        self.process.send_signal(number)

    def wait_end(self, status: int = 0, patience: float = PATIENCE) -> None:
        """Wait until the process has ended and its output has been read. Its exit status must be `status`."""
        found = self.process.wait(patience)
        for thread in self._threads:
            thread.join(patience)
        assert found == status, f"exit status {found}; stderr: {self.said[-30:]}"

    def stop(self, status: int = 0) -> list[LogLine]:
        """Send SIGTERM and wait for the end. Returns the whole log."""
        self.signal()
        self.wait_end(status)
        return self.log

    def kill(self) -> None:
        """Kill the process, if it still runs, and wait for it."""
        self.process.kill()
        self.process.wait()
        for thread in self._threads:
            thread.join(PATIENCE)


def open_files(pid: int) -> list[str]:
    """What the open descriptors of a process lead to, such as "socket:[1234]"."""
    found = []
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # it was closed just now
            found.append(str(entry.readlink()))
    return found


def wait_open_files(pid: int, most: int) -> None:
    """Wait until a process has at most so many descriptors."""
    ends = monotonic() + PATIENCE
    while (count := len(open_files(pid))) > most:
        assert monotonic() < ends, f"{count} descriptors are open, and not {most}"


@contextmanager
def standing_still(*pids: int) -> Iterator[None]:
    """While the block lasts, these processes do not run: all have stopped when it begins, which is a moment after they
    were told to."""
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        ends = monotonic() + PATIENCE
        while not all(map(_has_stopped, pids)):
            assert monotonic() < ends, "one runs on"
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


def _has_stopped(pid: int) -> bool:
    # The name before it, in brackets, may have blanks.
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


def _address(where: str) -> tuple[str, int] | tuple[str, str]:
    if where.startswith("unix:"):
        return "unix", where.removeprefix("unix:")
    host, _, port = where.partition("://")[2].rpartition(":")
    return host.strip("[]"), int(port)


@contextmanager
def running(
    directory: Path, config: str, env: Mapping[str, str] | None = None, descriptors: int = 0, name: str = "rawgate.toml"
) -> Iterator[Gateway]:
    """Run a gateway with this configuration, which is written to `directory`. At the end SIGTERM must stop it with
    status 0, unless the test has ended it. `descriptors`: its limit of open files; 0: this process's."""
    path = directory / name
    path.write_text(config)
    gateway = Gateway(path, env or {}, descriptors)
    try:
        gateway.ready()
        yield gateway
        if gateway.process.poll() is None:
            gateway.stop()
    finally:
        gateway.kill()
