"""The process behind `upstreams.Upstreams`: `python -m harness.upstreams_server COUNT` prints the targets' ports, then
takes one `Order` a line from its standard input, and prints a line when it is done. It ends when its orders end.

Sockets are read and written here as they are, without transports: only so can a connection be left unread, a SYN
unanswered, or a connection reset at a chosen moment.
"""

import os
import random
import socket
import struct
import sys
import time
from asyncio import AbstractEventLoop
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from math import exp, log

import msgspec
import uvloop

from harness.upstreams import HEALTH, Arrival, Conduct, Order, Seen

BACKLOG = 1024
FILLERS = 4
"""More than the one connection that fits in line where the backlog is 0."""
_RESET = struct.pack("ii", 1, 0)
RESPONSE = b"HTTP/1.1 %d %b\r\nContent-Type: text/plain\r\nX-Target: %d\r\nContent-Length: 3\r\n%b\r\n"
CLOSE = b"Connection: close\r\n"
BODY = b"ok\n"


class Connection:
    """One accepted connection. `busy`: a request is in work or in line."""

    def __init__(self, target: "Target", sock: socket.socket) -> None:
        self.target = target
        self.sock = sock
        self.busy = False
        self._got = b""
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def listen(self) -> None:
        """Read from now on."""
        self.target.loop.add_reader(self.sock.fileno(), self._readable)

    def deafen(self) -> None:
        """Read no more, until `listen`."""
        self.target.loop.remove_reader(self.sock.fileno())

    def is_owed(self) -> bool:
        """Whether something has come that was not read."""
        try:
            return self.sock.recv(1, socket.MSG_PEEK) != b""
        except BlockingIOError:
            return False
        except OSError:
            return True

    def _readable(self) -> None:
        try:
            data = self.sock.recv(65536)
        except OSError:
            data = b""
        if not data:
            self.end()
            return
        self._got += data
        if not self.busy:
            self._next()

    def _next(self) -> None:
        """Take the next request, if all of it is there."""
        head, found, rest = self._got.partition(b"\r\n\r\n")
        if not found:
            return
        line, *fields = head.split(b"\r\n")
        lengths = [field[15:] for field in fields if field[:15].lower() == b"content-length:"]
        length = int(lengths[0]) if lengths else 0
        if len(rest) < length:
            return
        self._got = rest[length:]
        self.busy = True
        method, path, _ = line.decode("latin-1").split(" ")
        self.target.requested(self, method, path)

    def respond(self, status: int, cut: bool = False) -> None:
        conduct = self.target.conduct
        closing = conduct.closing or conduct.network == "leaving"
        phrase = b"OK" if status == 200 else b"Out of Order"
        head = RESPONSE % (status, phrase, self.target.number, CLOSE if closing else b"")
        self.busy = False
        # So few octets always fit into the kernel's buffer.
        with suppress(OSError):
            self.sock.send(head + (BODY[:1] if cut else BODY))
        if closing or cut:
            self.end()
        else:
            self._next()

    def end(self, reset: bool = False) -> None:
        if self.sock.fileno() < 0:
            return
        self.deafen()
        if reset:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.sock.close()
        self.target.ended(self)


class Target:
    """One server."""

    def __init__(self, loop: AbstractEventLoop, number: int, news: Callable[[], None]) -> None:
        """news: called when a request has come or a connection has ended."""
        self.loop = loop
        self.number = number
        self._news = news
        self.conduct = Conduct()
        self.open: set[Connection] = set()
        self.forget()
        # Bound and never listening, this keeps the port. Another socket may listen at the same one (SO_REUSEADDR).
        self._claim = socket.socket()
        self._claim.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._claim.bind(("127.0.0.1", 0))
        self.port: int = self._claim.getsockname()[1]
        self._listener: socket.socket | None = None
        self._fillers: list[socket.socket] = []
        self._line: deque[Connection] = deque()
        self._working = 0
        self._era = 0  # work that was begun in an earlier one has no end
        self._up_since = 0.0
        self._dice = random.Random(number)  # noqa: S311 - no secrets
        self._listen()

    def forget(self) -> None:
        self.arrivals: list[Arrival] = []
        self.peak = self.connections = self.checks = 0

    def seen(self) -> Seen:
        return Seen(self.arrivals, self.peak, self.connections, self.checks)

    def begin_anew(self) -> None:
        """No connections, no work, no memory."""
        if self._listener is not None:
            self._clear_line()
        for connection in list(self.open):
            connection.end(reset=True)
        self._line.clear()
        self._working = 0
        self._era += 1
        self._up_since = 0.0
        self.forget()

    # ── the network ──

    def behave(self, conduct: Conduct) -> None:
        before, self.conduct = self.conduct.network, conduct
        if conduct.network == before:
            return
        if before == "silent":
            self._break_silence()
        if conduct.network == "up":
            self._up_since = time.monotonic()
            self._listen()
        elif conduct.network == "silent":
            self._listen()
            self._fall_silent()
        else:
            self._stop_listening()
            for connection in list(self.open):
                if conduct.network == "down" or not connection.busy:
                    connection.end(reset=conduct.network == "down")

    def _listen(self) -> None:
        if self._listener is None:
            self._listener = socket.create_server(("127.0.0.1", self.port), backlog=BACKLOG)
            self._listener.setblocking(False)
            self.loop.add_reader(self._listener.fileno(), self._acceptable)

    def _stop_listening(self) -> None:
        if self._listener is not None:
            self.loop.remove_reader(self._listener.fileno())
            self._listener.close()
            self._listener = None

    def _fall_silent(self) -> None:
        """The kernel drops the SYNs for a socket whose line is full."""
        assert self._listener is not None
        self.loop.remove_reader(self._listener.fileno())
        self._listener.listen(0)
        for _ in range(FILLERS):
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.1", self.port))
            self._fillers.append(filler)
        for connection in self.open:
            connection.deafen()

    def _break_silence(self) -> None:
        assert self._listener is not None
        for filler in self._fillers:
            filler.close()
        self._fillers = []
        self._clear_line()
        self._listener.listen(BACKLOG)
        self.loop.add_reader(self._listener.fileno(), self._acceptable)
        for connection in list(self.open):
            # What was said into the silence was lost there.
            if connection.busy or connection.is_owed():
                connection.end(reset=True)
            else:
                connection.listen()

    def _clear_line(self) -> None:
        """Reset what waits to be accepted."""
        assert self._listener is not None
        with suppress(BlockingIOError):
            while True:
                sock, _ = self._listener.accept()
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                sock.close()

    def _acceptable(self) -> None:
        assert self._listener is not None
        try:
            sock, _ = self._listener.accept()
        except OSError:
            return
        connection = Connection(self, sock)
        self.connections += 1
        self.open.add(connection)
        if self.conduct.accept == "serve":
            connection.listen()
        elif self.conduct.accept != "hold":
            connection.end(reset=self.conduct.accept == "reset")

    def release(self, count: int) -> None:
        """Answer so many that are in line, whatever the conduct says of workers and times."""
        for _ in range(count):
            self._working += 1
            self._done(self._line.popleft(), self._era)

    def ended(self, connection: Connection) -> None:
        self.open.discard(connection)
        self._news()

    # ── the work ──

    def requested(self, connection: Connection, method: str, path: str) -> None:
        if path == HEALTH:
            self.checks += 1
            connection.respond(200 if self.conduct.ready else 503)
            return
        self.arrivals.append(Arrival(time.monotonic(), method, path))
        self._line.append(connection)
        self.peak = max(self.peak, self._working + len(self._line))
        self._news()
        self._work()

    def _work(self) -> None:
        while self._line and self._working < self.conduct.workers:
            connection = self._line.popleft()
            self._working += 1
            seconds = self._seconds()
            if seconds > 0:
                self.loop.call_later(seconds, self._done, connection, self._era)
            else:
                self._done(connection, self._era)

    def _seconds(self) -> float:
        """How long the next piece of work takes."""
        conduct, dice = self.conduct, self._dice
        _, median, sigma = dice.choices(conduct.times, [share for share, _, _ in conduct.times])[0]
        seconds = exp(dice.gauss(log(median), sigma)) if median > 0 else 0.0
        if conduct.warm_up > 0:
            passed = (time.monotonic() - self._up_since) / conduct.warm_up
            seconds *= 1 + (conduct.cold - 1) * max(0.0, 1 - passed)
        return seconds

    def _done(self, connection: Connection, era: int) -> None:
        """What is silent keeps its work and its responses to itself, as a host does whose cable is cut."""
        if era != self._era:
            return
        self._working -= 1
        answer = self.conduct.answer
        if connection in self.open and self.conduct.network != "silent" and answer != "nothing":
            if answer in ("close", "reset"):
                connection.end(reset=answer == "reset")
            else:
                connection.respond(200 if answer == "cut" else int(answer), cut=answer == "cut")
        self._work()


class Bed:
    """All targets, and the orders for them."""

    def __init__(self, loop: AbstractEventLoop, count: int) -> None:
        self.targets = [Target(loop, number, self._news) for number in range(count)]
        self._loop = loop
        self._got = b""
        self._awaited: Callable[[], bool] | None = None
        self._say([target.port for target in self.targets])
        loop.add_reader(0, self._readable)

    def _readable(self) -> None:
        data = os.read(0, 65536)
        if not data:
            self._loop.stop()
            return
        *lines, self._got = (self._got + data).split(b"\n")
        for line in lines:
            self._obey(msgspec.json.decode(line, type=Order))

    def _obey(self, order: Order) -> None:
        for number in order.targets:
            if order.conduct is not None:
                self.targets[number].behave(order.conduct)
            if order.anew:
                self.targets[number].begin_anew()
        if order.release is not None:
            number, count = order.release
            self.targets[number].release(count)
        if order.report:
            self._say([target.seen() for target in self.targets])
        elif order.empty:
            self._await(lambda: not any(self.targets[number].open for number in order.empty))
        elif order.arrived is not None:
            number, count = order.arrived
            self._await(lambda: len(self.targets[number].arrivals) >= count)
        else:
            self._say(True)

    def _await(self, look: Callable[[], bool]) -> None:
        self._awaited = look
        self._news()

    def _news(self) -> None:
        """Something has happened: perhaps somebody waits for it."""
        if self._awaited is not None and self._awaited():
            self._awaited = None
            self._say(True)

    @staticmethod
    def _say(value: object) -> None:
        sys.stdout.buffer.write(msgspec.json.encode(value) + b"\n")
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    running = uvloop.new_event_loop()
    bed = Bed(running, int(sys.argv[1]))
    running.run_forever()
