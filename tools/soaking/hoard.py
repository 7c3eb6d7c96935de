"""Clients that ask and ask, and never read: how much memory they can make the gateway hold, and keep.

Each sends requests that the gateway answers itself, as many as its connection takes, in turns, until a turn in which
nobody could send anything. Then all of them close.
"""

import contextlib
import socket
import time

REQUESTS = b"GET /nope HTTP/1.1\r\nHost: nowhere.test\r\n\r\n" * 8000
"""More than one read of the gateway."""
TURNS = 50
PAUSE = 0.2
"""Seconds between turns: the gateway has time to read."""


class Hoard:
    """So many of them."""

    def __init__(self, port: int, size: int) -> None:
        self._sockets = [_connected(port) for _ in range(size)]
        self._sent = [0] * size

    def press(self) -> None:
        """Send until nothing more is taken."""
        for _ in range(TURNS):
            if not sum([self._turn(number) for number in range(len(self._sockets))]):
                return
            time.sleep(PAUSE)

    def _turn(self, number: int) -> int:
        """Octets that one connection took; the requests go on where they were cut."""
        sent = 0
        # A connection that the gateway has closed takes no more.
        with contextlib.suppress(OSError):
            sent = self._sockets[number].send(memoryview(REQUESTS)[self._sent[number] % len(REQUESTS) :])
        self._sent[number] += sent
        return sent

    def close(self) -> None:
        for sock in self._sockets:
            sock.close()


def _connected(port: int) -> socket.socket:
    sock = socket.socket()
    # A small window, so that what it does not read stays with the gateway.
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.connect(("127.0.0.1", port))
    sock.setblocking(False)
    return sock
