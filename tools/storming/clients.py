"""Clients that ask at a fixed rate, whatever becomes of their requests: an open loop.

A request's time runs from the moment at which it was due, not from when it was sent: a gateway that stalls is charged
for all who would have asked meanwhile. A request that is due gets a connection of its own: one that is idle, or a new
one. None is ever sent twice. Each has a path of its own, `/work/NUMBER`, by which the test bed tells how often it came
there.
"""

import socket
import time
from asyncio import AbstractEventLoop
from collections.abc import Callable

from msgspec import Struct

PATIENCE = 10.0
"""Seconds after which a client gives up."""
LOST, TIMED_OUT = 0, -1
"""In place of a status: the connection ended before the response was whole; nothing came within PATIENCE."""
GET = b"GET /work/%d HTTP/1.1\r\nHost: storm.test\r\nUser-Agent: storms\r\nAccept: */*\r\n\r\n"
POST = (
    b"POST /work/%d HTTP/1.1\r\nHost: storm.test\r\nUser-Agent: storms\r\nContent-Length: 16\r\n\r\nsixteen octets.\n"
)


class Answered(Struct, frozen=True):
    """What became of a request. due: monotonic seconds; seconds: from then on; status: or LOST, or TIMED_OUT."""

    number: int
    method: str
    due: float
    seconds: float
    status: int

    @property
    def failed(self) -> bool:
        return not 200 <= self.status < 500


class Clients:
    """So many requests a second from `begins` on, for so many seconds; then `over` is called. Of ten requests one is a
    POST, which nobody may send again.

    answered  the requests that have ended
    late      the most seconds that this process was behind its own schedule
    """

    def __init__(
        self,
        loop: AbstractEventLoop,
        port: int,
        rate: float,
        begins: float,
        seconds: float,
        over: Callable[[], None],
    ) -> None:
        self.answered: list[Answered] = []
        self.late = 0.0
        self._loop = loop
        self._port = port
        self._rate = rate
        self._begins = begins
        self._total = round(rate * seconds)
        self._over = over
        self._sent = 0
        self._idle: list[_Connection] = []
        self._busy: set[_Connection] = set()
        self._tick()

    def close(self) -> None:
        for connection in self._idle:
            connection.close()

    def _tick(self) -> None:
        """Send all that are due."""
        now = time.monotonic()
        while self._sent < self._total and self._due(self._sent) <= now:
            number = self._sent
            self._sent += 1
            self.late = max(self.late, now - self._due(number))
            connection = self._idle.pop() if self._idle else _Connection(self, self._loop, self._port)
            self._busy.add(connection)
            connection.ask(number, "POST" if number % 10 == 9 else "GET", self._due(number))
        if self._sent < self._total:
            self._loop.call_later(max(0.0, self._due(self._sent) - time.monotonic()), self._tick)

    def _due(self, number: int) -> float:
        return self._begins + number / self._rate

    def finished(self, connection: "_Connection", answered: Answered, reusable: bool) -> None:
        self._busy.discard(connection)
        self.answered.append(answered)
        if reusable:
            self._idle.append(connection)
        else:
            connection.close()
        if len(self.answered) == self._total:
            self._over()

    def lost(self, connection: "_Connection") -> None:
        """The gateway has closed an idle connection."""
        self._idle.remove(connection)
        connection.close()


class _Connection:
    def __init__(self, clients: Clients, loop: AbstractEventLoop, port: int) -> None:
        self._clients = clients
        self._loop = loop
        self._asked: tuple[int, str, float] | None = None
        self._got = b""
        self._sock = socket.create_connection(("127.0.0.1", port), PATIENCE)
        self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._sock.setblocking(False)
        loop.add_reader(self._sock.fileno(), self._readable)

    def ask(self, number: int, method: str, due: float) -> None:
        self._asked = number, method, due
        self._got = b""
        self._patience = self._loop.call_later(PATIENCE, self._over, TIMED_OUT)
        try:
            self._sock.send((GET if method == "GET" else POST) % number)
        except OSError:
            self._over(LOST)

    def _readable(self) -> None:
        try:
            data = self._sock.recv(65536)
        except OSError:
            data = b""
        if self._asked is None:
            self._clients.lost(self)
            return
        self._got += data
        head, found, body = self._got.partition(b"\r\n\r\n")
        fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:]) if found else {}
        if found and len(body) >= int(fields.get(b"content-length", len(body) + (1 if data else 0))):
            self._over(int(head[9:12]), reusable=bool(data) and fields.get(b"connection") != b"close")
        elif not data:
            self._over(LOST)

    def _over(self, status: int, reusable: bool = False) -> None:
        if self._asked is None:
            raise RuntimeError("nothing was asked")
        (number, method, due), self._asked = self._asked, None
        self._patience.cancel()
        self._clients.finished(self, Answered(number, method, due, time.monotonic() - due, status), reusable)

    def close(self) -> None:
        self._loop.remove_reader(self._sock.fileno())
        self._sock.close()
