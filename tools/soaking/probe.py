"""A quick client: sends requests at a fixed rate over a few kept-alive connections, and measures how long each takes.

It runs in a process of its own, so that the rest of this tool cannot delay it:
`python -m tools.soaking.probe PORT SECONDS` prints a line of JSON.
"""

import json
import socket
import subprocess
import sys
import time

from msgspec import Struct

RATE = 250
"""Requests a second: far below the gateway's capacity, so that any delay comes from the slow clients."""
CONNECTIONS = 8
REQUEST = b"GET /quick HTTP/1.1\r\nHost: a.test\r\nUser-Agent: probe\r\nAccept: */*\r\n\r\n"


class Times(Struct, frozen=True):
    """Milliseconds. `failed`: requests without a 200."""

    requests: int
    failed: int
    p50: float
    p99: float
    longest: float


def measure(port: int, seconds: float) -> Times:
    sockets = [socket.create_connection(("127.0.0.1", port), 10) for _ in range(CONNECTIONS)]
    for sock in sockets:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    taken, failed = [], 0
    began = time.monotonic()
    for number in range(int(seconds * RATE)):
        time.sleep(max(0.0, began + number / RATE - time.monotonic()))
        sock = sockets[number % CONNECTIONS]
        start = time.perf_counter()
        sock.sendall(REQUEST)
        answer = sock.recv(65536)
        taken.append((time.perf_counter() - start) * 1000)
        failed += not answer.startswith(b"HTTP/1.1 200")
    taken.sort()
    return Times(len(taken), failed, taken[len(taken) // 2], taken[len(taken) * 99 // 100], taken[-1])


class Probe:
    """A measurement that is running in its process."""

    def __init__(self, port: int, seconds: float) -> None:
        command = [sys.executable, "-m", "tools.soaking.probe", str(port), str(seconds)]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE)  # noqa: S603

    @property
    def over(self) -> bool:
        return self._process.poll() is not None

    def times(self) -> Times:
        """Wait for the end of the measurement and return its result."""
        out, _ = self._process.communicate()
        return Times(*json.loads(out))


if __name__ == "__main__":
    found = measure(int(sys.argv[1]), float(sys.argv[2]))
    print(json.dumps([getattr(found, name) for name in Times.__struct_fields__]))
