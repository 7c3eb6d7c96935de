"""Large uploads without a copy: asyncio's buffered kind of protocol, put in place of the client's own while it pays.

An ordinary protocol is given a new `bytes` for every read: up to 256 KiB copied out of the loop's buffer, once for each
piece of a body that only passes through. A buffered one says where to read to. Here all connections of a process read
into one *room*: the loop asks for it, reads, and reports, one connection at a time, and the upstream's transport hands
a piece to the kernel before `write` returns. What the kernel does not take stays with that transport, and with it the
room: the next read gets a new one.

1 MiB uploads beside nginx, CPU time a MiB, nine rounds: 1.53 times nginx's as before; with a room of 256 KiB 1.68, of
512 KiB 1.43, of 1 MiB 1.20: what it saves is system calls and wake-ups. Answers gain nothing (0.96 both ways, whatever
the room), since a service sends in smaller pieces; they are read as before, like heads, small bodies, chunks, tunnels.
"""

import asyncio
from typing import Protocol, cast

from rawgate.net.transports import Callbacks, protocol_of

BUFFER_OCTETS = 1024 * 1024
"""Octets read at once, and the most that a stalled upstream makes us keep of an upload."""


class SharedBuffer:
    """Where the octets of one read lie until they are handed on."""

    __slots__ = ("view",)

    def __init__(self) -> None:
        self.view = memoryview(bytearray(BUFFER_OCTETS))

    def renew(self) -> None:
        """Leave what lies here to whoever holds on to it."""
        self.view = memoryview(bytearray(BUFFER_OCTETS))


class ViewReceiver(Callbacks, Protocol):
    """The protocol whose connection it is."""

    def view_received(self, view: memoryview) -> None:
        """Octets of the connection. They are there until this returns."""


class BufferedReading:
    """In the owner's place at its transport, from `begin` to `end`. All but reading stays the owner's."""

    __slots__ = ("_buffer", "_receiver")

    def __init__(self, receiver: ViewReceiver, buffer: SharedBuffer) -> None:
        self._receiver = receiver
        self._buffer = buffer

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._buffer.view

    def buffer_updated(self, nbytes: int) -> None:
        self._receiver.view_received(self._buffer.view[:nbytes])

    def eof_received(self) -> bool | None:
        return self._receiver.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        self._receiver.connection_lost(exc)

    def pause_writing(self) -> None:
        self._receiver.pause_writing()

    def resume_writing(self) -> None:
        self._receiver.resume_writing()


def begin(receiver: ViewReceiver, transport: asyncio.Transport, buffer: SharedBuffer) -> None:
    """Read into the room from now on."""
    # Not a subclass of asyncio's: only what it can do is asked for.
    transport.set_protocol(cast("asyncio.BaseProtocol", BufferedReading(receiver, buffer)))


def end(receiver: ViewReceiver, transport: asyncio.Transport) -> None:
    """Give the owner `bytes` again."""
    transport.set_protocol(protocol_of(receiver))
