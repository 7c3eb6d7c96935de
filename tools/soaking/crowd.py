"""Slow clients, a third of each kind: heads that trickle, bodies that trickle, responses that are hardly read.

Bodies and readers are just fast enough not to be cut off. Heads cannot be: their time is limited however they trickle,
so these clients get a 408 and connect again. There is no event loop: each client takes a turn every two seconds and
never blocks.
"""

import socket
import time
from collections.abc import Callable

TURN = 2.0
"""Seconds between two turns of one client."""
SLICES = 1000
"""Parts into which a round of turns is divided, to spread it evenly over TURN."""

Move = Callable[[socket.socket, int], object]


def head(sock: socket.socket, turn: int) -> None:
    """Sends a field line each turn and never ends the head."""
    sock.send(b"X-Field-%d: some value\r\n" % turn if turn else b"GET /patient HTTP/1.1\r\nHost: a.test\r\n")


def body(sock: socket.socket, turn: int) -> None:
    """Sends 300 octets a second of 10 MB: a little more than `limits.body_rate` demands."""
    sock.send(bytes(600) if turn else b"POST /patient HTTP/1.1\r\nHost: a.test\r\nContent-Length: 10000000\r\n\r\n")


def reader(sock: socket.socket, turn: int) -> None:
    """Requests 1 GiB and reads 2 KiB a second of it."""
    if turn:
        sock.recv(4096)
    else:
        sock.send(b"GET /patient/large HTTP/1.1\r\nHost: a.test\r\n\r\n")


KINDS: tuple[Move, ...] = (head, body, reader)


class SlowClient:
    """A slow client. `opened`: how many connections it has made."""

    def __init__(self, port: int, move: Move) -> None:
        self.opened = 0
        self._port = port
        self._move = move
        self._sock = self._open()

    def _open(self) -> socket.socket:
        self.opened += 1
        self._turn = 0
        sock = socket.socket()
        # A small receive window, so that what the client does not read stays in the gateway.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.connect(("127.0.0.1", self._port))
        sock.setblocking(False)
        return sock

    def take_turn(self) -> None:
        try:
            self._move(self._sock, self._turn)
            self._turn += 1
            if self._move is not reader and self._sock.recv(4096) is not None:
                raise ConnectionError  # a response or FIN: either way this connection is over
        except BlockingIOError:
            pass
        except OSError:
            self._sock.close()
            self._sock = self._open()

    def close(self) -> None:
        self._sock.close()


class Crowd:
    """So many slow clients, all connected."""

    def __init__(self, port: int, size: int) -> None:
        self.clients = [SlowClient(port, KINDS[number % len(KINDS)]) for number in range(size)]

    def act(self, until: Callable[[], bool]) -> None:
        """Take turns, at their pace, until `until()` is true."""
        began, number = time.monotonic(), 0
        while not until():
            for client in self.clients[number % SLICES :: SLICES]:
                client.take_turn()
            number += 1
            time.sleep(max(0.0, began + number * TURN / SLICES - time.monotonic()))

    def close(self) -> None:
        for client in self.clients:
            client.close()
