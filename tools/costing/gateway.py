"""A gateway and its upstream as processes, and the CPU time that a request takes in the gateway."""

import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from statistics import median

from harness.gateway import Gateway, running
from harness.wire_reader import Cut, Stream, read_response
from tools.costing.configuration import ENVIRONMENT, configuration, write_keys
from tools.costing.grammar import Request

PATIENCE = 2.0
"""Seconds without an octet after which no response is expected any more."""
STRANGER, PROXY = "127.0.0.2", "127.0.0.1"
"""Addresses that requests come from; the second is a trusted proxy's."""


class MeasuredGateway:
    """A gateway whose CPU time is read. `sent`: requests so far; the number makes each request differ."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self.sent = 0

    def cpu(self) -> int:
        """Nanoseconds of CPU time of all threads of the gateway, user and system."""
        total = 0
        for task in Path(f"/proc/{self._gateway.pid}/task").iterdir():
            with suppress(FileNotFoundError):
                total += int((task / "schedstat").read_text().split()[0])
        return total

    def batch(self, request: Request, count: int) -> float:
        """Microseconds of CPU for each of `count` such requests, writing their log lines included."""
        self._gateway.log.clear()
        written = [request.octets(self.sent + number) for number in range(count)]
        self.sent += count
        before = self.cpu()
        answers = self._play(request, written)
        with suppress(AssertionError):  # a request that is cut off without a response may have no line
            self._gateway.wait(lambda: len(self._gateway.log) >= answers, patience=PATIENCE)
        return (self.cpu() - before) / 1000 / count / request.copies

    def cost(self, request: Request, batches: int, count: int) -> float:
        """The median of several batches."""
        return median(self.batch(request, count) for _ in range(batches))

    def outcome(self, request: Request) -> str:
        """Status and reason in the log line of one such request."""
        self.batch(request, 1)
        lines = self._gateway.log
        return f"{lines[0]['status']} {lines[0]['reason']}" if lines else "no answer"

    def _play(self, request: Request, written: list[bytes]) -> int:
        """Send them one after the other, on as few connections as the gateway allows. Returns how many log lines to
        expect."""
        answers = 0
        while written:
            with self._connect(request) as sock:
                stream = Stream.of(sock)
                kept = True
                while written and kept:
                    answered, kept = _exchange(sock, stream, request, written.pop())
                    answers += answered
        return answers

    def _connect(self, request: Request) -> socket.socket:
        return self._gateway.connect(PROXY if request.proxied else STRANGER, PATIENCE)


def _exchange(sock: socket.socket, stream: Stream, request: Request, octets: bytes) -> tuple[int, bool]:
    """Returns how many log lines to expect, and whether the connection can be used again."""
    with suppress(OSError):  # refused while it was being sent
        sock.sendall(octets)
    for number in range(request.copies):
        try:
            answer = read_response(stream, request.method)
        except Cut:
            return number + 1, False
        if answer is None:
            return number, False
        if answer.value(b"connection") == b"close":
            return number + 1, False
    return request.copies, True


@contextmanager
def measured_gateway(lane: str) -> Iterator[MeasuredGateway]:
    """A gateway with this parser lane, and its upstream."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        service = subprocess.Popen([sys.executable, "-m", "tools.costing.upstream"], stdout=subprocess.PIPE, text=True)
        stack.callback(service.wait)
        stack.callback(service.kill)
        write_keys(folder)
        port = int(service.stdout.readline()) if service.stdout else 0
        gateway = stack.enter_context(running(folder, configuration(lane, port), ENVIRONMENT))
        yield MeasuredGateway(gateway)
