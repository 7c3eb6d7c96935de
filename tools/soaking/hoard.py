"""Clients that send requests and never read: how much memory they can make the gateway hold, and how much it keeps.

The gateway responds to these requests itself. In each turn every client sends as much as its connection takes, until a
turn in which no client can send anything. Then all of them close.
"""

import contextlib
import socket
import time

REQUESTS = b"GET /nope HTTP/1.1\r\nHost: nowhere.test\r\n\r\n" * 8000
"""Longer than what the gateway reads at once."""
TURNS = 50
PAUSE = 0.2
"""Seconds between turns, in which the gateway reads."""


class Hoard:
    """So many clients that never read."""

    def __init__(self, port: int, size: int) -> None:
        self._sockets = [_connected(port) for _ in range(size)]
        self._sent = [0] * size

    def press(self) -> None:
        """Take turns until the gateway accepts nothing more."""
        for _ in range(TURNS):
            if not sum([self._turn(number) for number in range(len(self._sockets))]):
                return
            time.sleep(PAUSE)

    def _turn(self, number: int) -> int:
        """Send on one connection, from where its last turn ended. Returns how many octets it took."""
        sent = 0
        # The gateway may have closed the connection.
        with contextlib.suppress(OSError):
            sent = self._sockets[number].send(memoryview(REQUESTS)[self._sent[number] % len(REQUESTS) :])
        self._sent[number] += sent
        return sent

    def close(self) -> None:
        for sock in self._sockets:
            sock.close()


def _connected(port: int) -> socket.socket:
    sock = socket.socket()
    # A small receive window, so that what the client does not read stays in the gateway.
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.connect(("127.0.0.1", port))
    sock.setblocking(False)
    return sock
