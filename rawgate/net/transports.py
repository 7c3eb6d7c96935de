"""What both sides of the shell ask of a transport."""

import asyncio
import contextlib
import os
import select
import socket
import struct
from collections.abc import Iterator
from fcntl import ioctl
from termios import TIOCOUTQ
from typing import Protocol, cast

from rawgate.message import Peer

HIGH_WATER = 64 * 1024
"""Octets buffered for a slow peer before the other side is paused; it goes on at `LOW_WATER`."""

LOW_WATER = 16 * 1024

UNIX = Peer("unix", "unix")
"""The other end of any Unix socket."""

STATUS_OCTETS = 12
"""Octets of a response that tell its status: "HTTP/1.1 408"."""

LAST_READ = 256 * 1024
"""Octets that are read at once of a connection that is lost; at most `LAST_READS` times: more than a receive buffer."""

LAST_READS = 64

_COUNT = struct.Struct("i")
_RESET = struct.pack("ii", 1, 0)


class Callbacks(Protocol):
    """What a loop calls. Ours are no subclasses of `asyncio.Protocol`: they are ports (see `relay.ports`), and compiled
    ahead of time a class can have one base only."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None: ...

    def data_received(self, data: bytes) -> None: ...

    def eof_received(self) -> bool | None: ...

    def connection_lost(self, exc: Exception | None) -> None: ...

    def pause_writing(self) -> None: ...

    def resume_writing(self) -> None: ...


def protocol_of(callbacks: Callbacks) -> asyncio.Protocol:
    """The same object, as the loop's methods are declared to take it: of it they only ask what it can do."""
    return cast("asyncio.Protocol", callbacks)


def reset_transport(transport: asyncio.Transport) -> None:
    """Close with a TCP reset: SO_LINGER with a time of 0 (socket(7)), then abort.

    A connection that is closing already is reset if that drops octets which are still to be sent: behind them a FIN
    would say that they were all. If nothing is left to send, its FIN is on its way and says the truth.
    """
    if transport.get_write_buffer_size() or not transport.is_closing():
        sock = transport.get_extra_info("socket")
        if sock is not None and sock.family != socket.AF_UNIX:
            # A socket that is closed already has no descriptor (EBADF), and nothing left to reset.
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    transport.abort()


def write_backlog(transport: asyncio.Transport) -> int:
    """Octets written that have not been acknowledged: what the loop buffers, and what the kernel holds (TIOCOUTQ, also
    called SIOCOUTQ: tcp(7)). Of a Unix socket: what the peer has not read, counted with the kernel's own overhead."""
    sock = transport.get_extra_info("socket")
    held = 0
    if sock is not None:
        # A socket that is gone, or a system that does not tell: then what we hold must do.
        with contextlib.suppress(OSError, ValueError):
            (held,) = _COUNT.unpack(ioctl(sock.fileno(), TIOCOUTQ, _COUNT.pack(0)))
    return transport.get_write_buffer_size() + held


def read_unasked(transport: asyncio.Transport) -> bytes | None:
    """What has come that the loop has not read: None is nothing, b"" the end or a loss; anything else is taken away.
    Does not wait."""
    sock = transport.get_extra_info("socket")
    if transport.is_closing():
        return b""
    if sock is None:
        return None
    descriptor = sock.fileno()
    look = select.poll()
    look.register(descriptor, select.POLLIN)
    if not look.poll(0):
        return None
    try:
        return os.read(descriptor, STATUS_OCTETS)
    except BlockingIOError:
        return None
    except OSError:
        return b""


def read_left(transport: asyncio.Transport) -> Iterator[bytes]:
    """What had come on a connection that is lost, and was not read: for `connection_lost`, while the socket is open.

    A loop that fails to write gives the connection up without another look. But a peer that answers early, and closes
    with octets of ours unread, resets behind its answer: that lies in the socket, and a reset does not take it away.
    """
    sock = transport.get_extra_info("socket")
    if sock is None:
        return
    with contextlib.suppress(OSError, ValueError):
        descriptor = sock.fileno()
        look = select.poll()
        look.register(descriptor, select.POLLIN)
        for _ in range(LAST_READS):
            if not look.poll(0) or not (data := os.read(descriptor, LAST_READ)):
                return
            yield data


def peer_of(transport: asyncio.Transport) -> Peer | None:
    """The other end: address and port, without an IPv6 zone. None when it is gone: a client may have reset its
    connection before it was accepted, and what it sent before that can still be read."""
    name = transport.get_extra_info("peername")
    if isinstance(name, tuple):
        address, port = name[0].partition("%")[0], name[1]
        return Peer(address, f"[{address}]:{port}" if ":" in address else f"{address}:{port}")
    sock = transport.get_extra_info("socket")
    return UNIX if sock is not None and sock.family == socket.AF_UNIX else None
