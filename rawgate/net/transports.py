"""What both sides of the shell ask of a transport and its socket.

asyncio's transports hide the socket. Some questions only the socket can answer: whether octets have come that the loop
has not read, and how much of what was written the peer has acknowledged. A reset is also an option of the socket.
"""

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

from rawgate.message import Peer, authority_of
from rawgate.net.tls import TlsTransport

HIGH_WATER = 64 * 1024
"""Octets buffered for a slow peer at which the other side is paused. asyncio's own default, stated here because the
budget of buffers counts with it."""

LOW_WATER = 16 * 1024
"""Octets at which the paused side goes on: a quarter, as in asyncio."""

UNIX = Peer("unix", "unix")
"""The peer of any Unix socket: such a peer has no address."""

STATUS_OCTETS = 12
"""As many octets of a response as tell its status: "HTTP/1.1 408"."""

LAST_READ = 256 * 1024
"""Octets that are read at once of a connection that is lost."""

LAST_READS = 64
"""How often that is done at most: 16 MiB in all, more than a receive buffer (tcp_rmem) holds by default."""

_COUNT = struct.Struct("i")
_RESET = struct.pack("ii", 1, 0)


class Callbacks(Protocol):
    """What a loop calls. Our classes are no subclasses of `asyncio.Protocol`: they are ports already (`relay.ports`),
    and a class that is compiled ahead of time can have one base only."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None: ...

    def data_received(self, data: bytes) -> None: ...

    def eof_received(self) -> bool | None: ...

    def connection_lost(self, exc: Exception | None) -> None: ...

    def pause_writing(self) -> None: ...

    def resume_writing(self) -> None: ...


def protocol_of(callbacks: Callbacks) -> asyncio.Protocol:
    """A cast for the type checker; the loop duck-types protocols."""
    return cast("asyncio.Protocol", callbacks)


def reset_transport(transport: asyncio.Transport) -> None:
    """Close with a TCP reset: SO_LINGER with a time of 0 (socket(7)), then abort.

    A connection that is closing already is reset only if octets are still buffered, which the abort drops: a FIN in
    their place would tell the peer that it has everything. If nothing is buffered, FIN is on its way, and says the
    truth.
    """
    if transport.get_write_buffer_size() or not transport.is_closing():
        sock = transport.get_extra_info("socket")
        if sock is not None and sock.family != socket.AF_UNIX:
            # A socket that is closed already has no descriptor (EBADF), and nothing left to reset.
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    transport.abort()


def write_backlog(transport: asyncio.Transport) -> int:
    """Octets that were written and not acknowledged: those in the loop's buffer, and those in the kernel's (TIOCOUTQ,
    also called SIOCOUTQ: tcp(7)). For a Unix socket the kernel counts what the peer has not read, with its own
    overhead."""
    sock = transport.get_extra_info("socket")
    held = 0
    if sock is not None:
        # A socket that is gone, or a system that does not tell: then the loop's buffer is all that is known.
        with contextlib.suppress(OSError, ValueError):
            (held,) = _COUNT.unpack(ioctl(sock.fileno(), TIOCOUTQ, _COUNT.pack(0)))
    return transport.get_write_buffer_size() + held


def buffered(transport: asyncio.Transport) -> int:
    """Octets that a connection holds in this process: those that were written and that the kernel has not taken, and,
    with TLS, those that were read and are not decrypted yet, since their reader has paused."""
    tls = tls_of(transport)
    return transport.get_write_buffer_size() + (0 if tls is None else tls.unread)


def tls_of(transport: object) -> TlsTransport | None:
    """The TLS of a connection, which is its transport; None: it has none, and the transport is the loop's. (To ask the
    loop's transport is slow: `get_extra_info` takes 1,500 instructions.)"""
    return transport if isinstance(transport, TlsTransport) else None


def has_unread(transport: asyncio.Transport) -> bool:
    """Whether something has come that the loop has not read yet: octets, the end, or a loss."""
    sock = transport.get_extra_info("socket")
    if sock is None:
        return False
    look = select.poll()
    look.register(sock.fileno(), select.POLLIN)
    return bool(look.poll(0))


def read_unasked(transport: asyncio.Transport) -> bytes | None:
    """Read what has come and the loop has not read yet. None: nothing; b"": the end, or a loss. Never waits.

    With TLS, records may have come that carry no octets, such as session tickets: these are nothing.

    For an idle connection, whose peer has no reason to send. The octets are lost to the loop, so the connection must
    not be used after anything but None.
    """
    if transport.is_closing():
        return b""
    if not has_unread(transport):
        return None
    tls = tls_of(transport)
    try:
        descriptor = transport.get_extra_info("socket").fileno()
        if tls is None:
            return os.read(descriptor, STATUS_OCTETS)
        records = os.read(descriptor, LAST_READ)
        return tls.opened(records) if records else b""
    except BlockingIOError:
        return None
    except OSError:
        return b""


def read_left(transport: asyncio.Transport) -> Iterator[bytes]:
    """Read what had come on a connection that is lost: for `connection_lost`, while the socket is still open.

    A loop whose write fails gives the connection up without reading once more. But a peer that responds early, and
    closes while octets of ours are unread, sends a reset behind its response. The response lies in the socket, and on
    Linux the reset does not remove it.
    """
    sock, tls = transport.get_extra_info("socket"), tls_of(transport)
    if sock is None:
        return
    with contextlib.suppress(OSError, ValueError):
        descriptor = sock.fileno()
        look = select.poll()
        look.register(descriptor, select.POLLIN)
        for _ in range(LAST_READS):
            if not look.poll(0) or not (data := os.read(descriptor, LAST_READ)):
                return
            if tls is not None:
                data = tls.opened(data) or b""
            yield data


def peer_of(transport: asyncio.Transport) -> Peer | None:
    """Address and port of the other end, without an IPv6 zone. None: the connection was reset before it was accepted.
    What the client had sent before that could still be read."""
    name = transport.get_extra_info("peername")
    if isinstance(name, tuple):
        address, port = name[0].partition("%")[0], name[1]
        return Peer(address, authority_of(address, port))
    sock = transport.get_extra_info("socket")
    return UNIX if sock is not None and sock.family == socket.AF_UNIX else None
