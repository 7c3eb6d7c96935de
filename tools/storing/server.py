"""A real store on this host: started for a test or a proof, and broken by it."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from harness.upstream import free_port

STORE = os.environ.get("RAWGATE_STORE", "redis-server")
"""The program: `RAWGATE_STORE=valkey-server tools/test …` is with Valkey."""


def store_program() -> str:
    """Its path; SystemExit where it is not installed."""
    path = shutil.which(STORE, path=f"{os.environ.get('PATH', os.defpath)}:/usr/local/bin:/usr/sbin")
    if path is None:
        raise SystemExit(f"stores: {STORE} is not installed")
    return path


PATIENCE = 20.0
"""Seconds until it answers at the latest."""


class RedisServer:
    """One process. It keeps nothing on disk: what was counted is lost with it."""

    def __init__(
        self, program: str, folder: Path, *arguments: str, sentinel: Path | None = None, password: str = ""
    ) -> None:
        """sentinel: the file of one that watches others, and counts nothing. password: what it is told by `say`."""
        self.password = password
        self.path = str(folder / "redis.sock")
        self.port = free_port()
        self._command = [program, *([str(sentinel), "--sentinel"] if sentinel is not None else [])]
        self._command += ["--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(folder), *arguments]
        if sentinel is None:
            self._command += ["--unixsocket", self.path, "--enable-debug-command", "local"]
            self._command += ["--save", "", "--appendonly", "no"]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    def start(self) -> None:
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL)  # noqa: S603 - as it was told
        ends = time.monotonic() + PATIENCE
        while time.monotonic() < ends:
            with contextlib.suppress(OSError):
                if say(self.port, "PING").startswith((b"+PONG", b"-NOAUTH", b"-NOPERM")):
                    return
            time.sleep(0.01)
        raise RuntimeError("it did not start")

    def wait_for(self, text: str, *words: str) -> None:
        """Until the reply to a command has this text."""
        ends = time.monotonic() + PATIENCE
        while text.encode() not in self.say(*words):
            if time.monotonic() > ends:
                raise RuntimeError(f"no {text!r} in the reply to {words}")
            time.sleep(0.01)

    @property
    def is_running(self) -> bool:
        return self._process is not None

    def wait_for_all_of(self, master: "RedisServer") -> None:
        """Until this replica has all that its master has counted."""
        self.wait_for("master_link_status:up", "INFO", "replication")
        offset = next(line for line in master.say("INFO", "replication").split() if b"master_repl_offset" in line)
        ends = time.monotonic() + PATIENCE
        while offset not in self.say("INFO", "replication"):
            if time.monotonic() > ends:
                raise RuntimeError("a replica does not follow")
            time.sleep(0.01)

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()  # which ends one that is paused, too
            self._process.wait()
            self._process = None

    def restart(self) -> None:
        self.stop()
        self.start()

    def pause(self) -> None:
        """It takes connections, and does not answer."""
        self._signal(signal.SIGSTOP)
        if self._process is not None:
            os.waitid(os.P_PID, self._process.pid, os.WSTOPPED)  # it may run on for a moment

    def go_on(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None:
            os.kill(self._process.pid, number)

    def say(self, *words: str, password: str = "") -> bytes:
        """One command. Returns what comes first of the reply."""
        return say(self.port, *words, password=password or self.password)


def say(port: int, *words: str, password: str = "") -> bytes:
    """One command to a server on this host."""
    with socket.create_connection(("127.0.0.1", port), PATIENCE) as sock:
        for command in (("AUTH", password), words) if password else (words,):
            parts = [f"${len(word.encode())}\r\n{word}\r\n" for word in command]
            sock.sendall(f"*{len(command)}\r\n{''.join(parts)}".encode())
            reply = sock.recv(65536)
        return reply


@contextmanager
def redis_server(
    program: str, folder: Path, *arguments: str, sentinel: Path | None = None, password: str = ""
) -> Iterator[RedisServer]:
    """One that runs while the block lasts."""
    server = RedisServer(program, folder, *arguments, sentinel=sentinel, password=password)
    try:
        server.start()
        yield server
    finally:
        server.stop()
