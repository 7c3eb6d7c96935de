"""Slow clients, a third each: heads that trickle, bodies that trickle, answers that are hardly read.

They do just enough not to be cut for it, but for the heads, whose time is limited however they drip: those are told 408
and come again. No event loop: each client takes its turn, once in two seconds, and never waits.
"""

import socket
import time
from collections.abc import Callable

TURN = 2.0
"""Seconds between two turns of a client."""
SLICES = 1000
"""The crowd takes its turns in so many parts, to spread them over the time."""

Move = Callable[[socket.socket, int], object]


def head(sock: socket.socket, turn: int) -> None:
    """A field line a turn, and never the end."""
    sock.send(b"X-Field-%d: some value\r\n" % turn if turn else b"GET /patient HTTP/1.1\r\nHost: a.test\r\n")


def body(sock: socket.socket, turn: int) -> None:
    """300 octets a second of 10 MB: a little more than `limits.body_rate` asks for."""
    sock.send(bytes(600) if turn else b"POST /patient HTTP/1.1\r\nHost: a.test\r\nContent-Length: 10000000\r\n\r\n")


def reader(sock: socket.socket, turn: int) -> None:
    """Asks for 1 GiB and takes 2 KiB a second of it."""
    if turn:
        sock.recv(4096)
    else:
        sock.send(b"GET /patient/large HTTP/1.1\r\nHost: a.test\r\n\r\n")


KINDS: tuple[Move, ...] = (head, body, reader)


class SlowClient:
    """One of them. `opened`: how many connections it has had."""

    def __init__(self, port: int, move: Move) -> None:
        self.opened = 0
        self._port = port
        self._move = move
        self._sock = self._open()

    def _open(self) -> socket.socket:
        self.opened += 1
        self._turn = 0
        sock = socket.socket()
        # A small window, so that what it does not read stays with the gateway.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.connect(("127.0.0.1", self._port))
        sock.setblocking(False)
        return sock

    def take_turn(self) -> None:
        try:
            self._move(self._sock, self._turn)
            self._turn += 1
            if self._move is not reader and self._sock.recv(4096) is not None:
                raise ConnectionError  # whatever was said, this connection is over
        except BlockingIOError:
            pass
        except OSError:
            self._sock.close()
            self._sock = self._open()

    def close(self) -> None:
        self._sock.close()


class Crowd:
    """So many of them, all connected."""

    def __init__(self, port: int, size: int) -> None:
        self.clients = [SlowClient(port, KINDS[number % len(KINDS)]) for number in range(size)]

    def act(self, until: Callable[[], bool]) -> None:
        """Let them take their turns until it is over."""
        began, number = time.monotonic(), 0
        while not until():
            for client in self.clients[number % SLICES :: SLICES]:
                client.take_turn()
            number += 1
            time.sleep(max(0.0, began + number * TURN / SLICES - time.monotonic()))

    def close(self) -> None:
        for client in self.clients:
            client.close()
