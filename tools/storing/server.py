"""A real redis-server on this host: started for a test or a proof, and broken by it."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PATIENCE = 10.0
"""Seconds until it answers at the latest."""


class RedisServer:
    """One process. It keeps nothing on disk: what was counted is lost with it."""

    def __init__(self, program: str, folder: Path, *arguments: str) -> None:
        self.path = str(folder / "redis.sock")
        self.port = _free_port()
        self._command = [
            *(program, "--port", str(self.port), "--bind", "127.0.0.1", "--unixsocket", self.path),
            *("--dir", str(folder), "--save", "", "--appendonly", "no", "--enable-debug-command", "local", *arguments),
        ]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    def start(self) -> None:
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL)  # noqa: S603 - as it was told
        self.wait_at(self.port)

    @staticmethod
    def wait_at(port: int) -> None:
        """Until a server answers there."""
        ends = time.monotonic() + PATIENCE
        while time.monotonic() < ends:
            try:
                if say(port, "PING").startswith((b"+PONG", b"-NOAUTH", b"-NOPERM")):
                    return
            except OSError:
                time.sleep(0.01)
        raise RuntimeError("redis-server did not start")

    def wait_for(self, text: str, *words: str) -> None:
        """Until the reply to a command has this text."""
        ends = time.monotonic() + PATIENCE
        while text.encode() not in self.say(*words):
            if time.monotonic() > ends:
                raise RuntimeError(f"no {text!r} in the reply to {words}")
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

    def go_on(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None:
            os.kill(self._process.pid, number)

    def say(self, *words: str, password: str = "") -> bytes:
        """One command. Returns what comes first of the reply."""
        return say(self.port, *words, password=password)


def say(port: int, *words: str, password: str = "") -> bytes:
    """One command to a server on this host."""
    with socket.create_connection(("127.0.0.1", port), PATIENCE) as sock:
        for command in (("AUTH", password), words) if password else (words,):
            parts = [f"${len(word.encode())}\r\n{word}\r\n" for word in command]
            sock.sendall(f"*{len(command)}\r\n{''.join(parts)}".encode())
            reply = sock.recv(65536)
        return reply


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


@contextmanager
def redis_server(program: str, folder: Path, *arguments: str) -> Iterator[RedisServer]:
    """One that runs while the block lasts."""
    server = RedisServer(program, folder, *arguments)
    try:
        server.start()
        yield server
    finally:
        server.stop()
