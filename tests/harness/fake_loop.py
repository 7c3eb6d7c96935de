"""A loop and transports without sockets and without time, for driving asyncio protocols by hand.

`FakeLoop` keeps what it is asked to call, and calls it when the test lets time pass. `FakeTransport` behaves as
uvloop's does where a protocol can tell: connection_lost comes in a later turn of the loop, nothing is delivered while
reading is paused, writing to a connection that is gone or half-closed raises.

Both call watchers (`FakeLoop.watch`) whenever rawgate's code is called and returns, and whenever it asks for the time,
has something called later, or does something to a transport. A watcher looks at what that code has changed by then. So
no check has to inherit from a class that it checks, which compiled code would not allow.
"""

import asyncio
import os
import socket
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar, cast

from rawgate.net.buffered_reading import BufferedReading
from rawgate.net.transports import Callbacks

T = TypeVar("T")


class FakeTimer:
    """What `call_later` gives back."""

    def __init__(self, due: float, callback: Callable[..., object], arguments: tuple[object, ...]) -> None:
        self.due = due
        self.callback = callback
        self.arguments = arguments
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class FakeLoop:
    """`now`: what both clocks show. `turns`: how many there were. `is_reading`: see `reading`."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now
        self.turns = 0
        self.is_reading = False
        self._ready: list[tuple[Callable[..., object], tuple[object, ...]]] = []
        self._timers: list[FakeTimer] = []
        self._watchers: list[Callable[[], None]] = []

    def watch(self, watcher: Callable[[], None]) -> None:
        """Call this from now on, whenever there may be something new to see. It must change nothing."""
        self._watchers.append(watcher)

    def look(self) -> None:
        """There may be something new to see."""
        for watcher in self._watchers:
            watcher()

    def calls(self, callback: Callable[..., T], *arguments: object) -> T:
        """Call rawgate's code."""
        self.look()
        result = callback(*arguments)
        self.look()
        return result

    def clock(self) -> float:
        self.look()
        return self.now

    def call_soon(self, callback: Callable[..., object], *arguments: object) -> None:
        self.look()
        self._ready.append((callback, arguments))

    def call_later(self, delay: float, callback: Callable[..., object], *arguments: object) -> FakeTimer:
        self.look()
        timer = FakeTimer(self.now + delay, callback, arguments)
        self._timers.append(timer)
        return timer

    @property
    def timers(self) -> list[FakeTimer]:
        """Those that will still fire, the nearest first."""
        return sorted((timer for timer in self._timers if not timer.cancelled), key=lambda timer: timer.due)

    def _nearest(self) -> FakeTimer | None:
        self._timers = [timer for timer in self._timers if not timer.cancelled]
        return min(self._timers, key=lambda timer: timer.due, default=None)

    @contextmanager
    def reading(self) -> Iterator[None]:
        """All that comes meanwhile comes in one turn of the loop: what is to be called soon waits, also for `run`."""
        self.is_reading = True
        try:
            yield
        finally:
            self.is_reading = False

    def run(self) -> None:
        """Turns of the loop until nothing is left to do now."""
        self.look()
        while self._ready and not self.is_reading:
            self.turn()

    def turn(self) -> None:
        """One turn, unless it is still being read: what is to be called soon is called; what that asks for is left for
        the next one."""
        if self.is_reading:
            return
        self.turns += 1
        turn, self._ready = self._ready, []
        for callback, arguments in turn:
            self.calls(callback, *arguments)

    def passes(self, seconds: float) -> None:
        """Let time pass; whatever becomes due on the way is called at its own time."""
        ends = self.now + seconds
        self.run()
        while (timer := self._nearest()) is not None and timer.due <= ends:
            self._timers.remove(timer)
            self.now = max(self.now, timer.due)
            self.calls(timer.callback, *timer.arguments)
            self.run()
        self.now = ends


QUIET, _ = os.pipe()
"""A descriptor from which nothing ever comes."""


class FakeSocket:
    """Remembers whether closing it will reset the connection. Its descriptor is real, but nothing happens there."""

    family = socket.AF_INET

    def __init__(self) -> None:
        self.resets = False
        self.descriptor = QUIET

    def fileno(self) -> int:
        return self.descriptor

    def setsockopt(self, level: int, option: int, value: bytes) -> None:
        assert (level, option) == (socket.SOL_SOCKET, socket.SO_LINGER)
        self.resets = value == b"\x01\0\0\0\0\0\0\0"


class FakeTransport(asyncio.Transport):
    """One connection, seen from its protocol.

    sent      all that was written
    backlog   octets of it that the peer has not taken; the test's to set
    eof_sent  half-closed
    half_closes  whether it can be; TLS transports cannot
    lost      the connection is gone, and the protocol knows, or is just being told
    limits    octets of backlog at which the protocol is told; (0, …) alone does something by itself
    """

    def __init__(self, loop: FakeLoop, protocol: Callbacks, peername: object = ("192.0.2.7", 5000)) -> None:
        super().__init__()
        self.socket = FakeSocket()
        self.sent = b""
        self.backlog = 0
        self.eof_sent = False
        self.half_closes = True
        self.lost = False
        self.reading = True
        self.limits: tuple[int | None, int | None] = (None, None)
        self._loop = loop
        self._protocol: Callbacks | BufferedReading = protocol
        self._peername = peername
        self._closing = False
        self._ending = False
        self._unread: list[bytes] = []
        self._read_in = -1  # the last turn in which octets were read
        loop.calls(protocol.connection_made, self)

    @property
    def reading_into(self) -> object:
        """The protocol that is given what comes."""
        return self._protocol

    # ── what the peer does ──

    def receives(self, data: bytes) -> None:
        """The peer sent this; b"" for its FIN. It comes in a turn of its own, unless the loop is `reading`."""
        self._unread.append(data)
        if not self._loop.is_reading:
            self._read_in = -1
        self._deliver()
        self._loop.turn()

    def breaks(self) -> None:
        """The peer reset the connection; noticed only while reading."""
        assert self.reading, "nobody would notice"
        self._end(ConnectionResetError())
        self._loop.run()

    def takes(self) -> None:
        """The peer takes all that was written."""
        self.backlog = 0
        self._loop.calls(self._protocol.resume_writing)
        if self._closing:
            self._end(None)

    def falls_behind(self, octets: int) -> None:
        """The peer stops taking what is written."""
        self.backlog = octets
        self._loop.calls(self._protocol.pause_writing)

    def _deliver(self) -> None:
        """A loop reads a connection once in a turn; it may notice the end in the same one."""
        while self._unread and self.reading and not self._closing:
            if self._unread[0] and self._read_in == self._loop.turns:
                self._loop.call_soon(self._deliver)
                return
            data = self._unread.pop(0)
            if not data:
                self._arrives(b"")
                if not self._loop.calls(self._protocol.eof_received):
                    self.close()
                continue
            self._read_in = self._loop.turns
            if isinstance(self._protocol, BufferedReading):
                self._fill(self._protocol, data)
            else:
                self._arrives(data)
                self._loop.calls(self._protocol.data_received, data)

    def _arrives(self, data: bytes) -> None:
        """The protocol is about to be given this; b"" for a FIN."""

    def _fill(self, reading: BufferedReading, data: bytes) -> None:
        """Put octets where the protocol wants them; what does not fit comes next. Then, unless that place is left to
        others, put something else there."""
        view = reading.get_buffer(-1)
        count = min(len(data), len(view))
        if data[count:]:
            self._unread.insert(0, data[count:])
        view[:count] = data[:count]
        self._arrives(data[:count])
        self._loop.calls(reading.buffer_updated, count)
        if reading.get_buffer(-1) is view:
            view[:count] = b"!" * count

    # ── asyncio.Transport ──

    def set_protocol(self, protocol: object) -> None:
        self._loop.look()
        self._protocol = cast("asyncio.Protocol | BufferedReading", protocol)

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return {"socket": self.socket, "peername": self._peername}.get(name, default)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._loop.look()
        self.limits = high, low
        if high == 0 and self.backlog:
            self._loop.calls(self._protocol.pause_writing)

    def get_write_buffer_size(self) -> int:
        return self.backlog

    def is_closing(self) -> bool:
        return self._closing

    def is_reading(self) -> bool:
        return self.reading

    def pause_reading(self) -> None:
        self._loop.look()
        assert not self.lost
        self.reading = False

    def resume_reading(self) -> None:
        assert not self.lost
        self.reading = True
        self._loop.call_soon(self._deliver)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self._loop.look()
        assert not self.lost, "written to a connection that is gone"
        assert not self.eof_sent, "written after FIN"
        self.sent += bytes(data)

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        """The views are seen as such."""
        for data in list_of_data:
            self.write(data)

    def can_write_eof(self) -> bool:
        return self.half_closes

    def write_eof(self) -> None:
        self._loop.look()
        assert not self.lost
        assert self.half_closes, "half-closed, and it cannot be"
        self.eof_sent = True

    def close(self) -> None:
        self._loop.look()
        self._closing = True
        if not self.backlog:
            self._end(None)

    def abort(self) -> None:
        self._loop.look()
        self._closing = True
        self._end(None)

    @property
    def was_reset(self) -> bool:
        """Ended so that the peer sees a reset."""
        return self.lost and self.socket.resets

    @property
    def was_closed(self) -> bool:
        """Ended so that the peer sees a FIN, behind all that was written."""
        return self.lost and not self.socket.resets

    def _end(self, reason: Exception | None) -> None:
        if not self._ending:
            self._ending = True
            self._loop.call_soon(self._tell, reason)

    def _tell(self, reason: Exception | None) -> None:
        self._closing = self.lost = True
        self._loop.calls(self._protocol.connection_lost, reason)


@contextmanager
def unread(transport: FakeTransport, octets: bytes | None) -> Iterator[None]:
    """While the block lasts, these lie in the socket; b"" for a FIN."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        before, transport.socket.descriptor = transport.socket.descriptor, ours.fileno()
        if octets is not None:
            theirs.sendall(octets)
        if octets == b"":
            theirs.shutdown(socket.SHUT_WR)
        yield
        transport.socket.descriptor = before
