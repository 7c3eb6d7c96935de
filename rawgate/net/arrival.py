"""What comes before HTTP on a client connection, at addresses that ask for it: the PROXY protocol, then TLS.

An arrival is in the book of connections from the first moment on, so the limits hold for handshakes, too. It is idle
there: while connections are short, the oldest arrivals make room first. When all is said, a `ClientConnection` takes
over. Nothing of this is in the way of connections at plain addresses.

What goes wrong here has no request, so it has no line in the access log. It is counted, and the operator is told, with
a limit on how often. A client that connects and sends nothing (a look at the port, a spare connection of a browser's)
is neither.
"""

import asyncio
from collections.abc import Callable
from time import monotonic, time
from typing import Final, cast

from rawgate.message import Peer, authority_of
from rawgate.net.client import FIRST_OCTET, ClientConnection
from rawgate.net.listener import ClientConnections
from rawgate.net.timer import LazyTimer
from rawgate.net.tls import TlsTransport
from rawgate.net.tls_contexts import ServerTls, certificate_name, ends_at, why_not_secured
from rawgate.net.transports import has_unread, peer_of, protocol_of
from rawgate.relay.flow import Flow
from rawgate.wire.client_hello import HANDSHAKE_FAILURE, NO_APPLICATION_PROTOCOL, ClientHelloReader, is_tls
from rawgate.wire.proxy import ProxyError, ProxyReader

PLAIN: Final = "This port speaks TLS, and the client sent plain HTTP: the URL begins with https://."
"""Detail of the 400 that a client without TLS gets."""


class Entrance:
    """How clients come in at one address. A reload may change it.

    name     the address, for messages
    tls      what is spoken there; None: none. Not the name of it in a configuration: an address that goes has clients
             that are let in later than the next configuration takes its place, which may have no such name
    proxied  each connection begins with the PROXY protocol
    """

    __slots__ = ("name", "proxied", "tls")

    def __init__(self, name: str = "", tls: ServerTls | None = None, *, proxied: bool = False) -> None:
        self.name = name
        self.tls = tls
        self.proxied = proxied


def entering(connections: ClientConnections, entrance: Entrance) -> Callable[[], asyncio.Protocol]:
    """Returns what `create_server` calls for each new connection."""
    return lambda: protocol_of(
        ClientConnection(connections)
        if entrance.tls is None and not entrance.proxied
        else Arrival(connections, entrance)
    )


class Arrival:
    """One connection that does not speak HTTP yet. The loop duck-types it as an `asyncio.Protocol`; the book sees a
    `Connection`."""

    __slots__ = (
        "_connections",
        "_context",
        "_entrance",
        "_hello",
        "_over",
        "_proxy",
        "_raw",
        "_said",
        "_socket_peer",
        "_timer",
        "_tls",
        "last",
        "peer",
    )

    _raw: asyncio.Transport
    _socket_peer: Peer
    peer: Peer

    def __init__(self, connections: ClientConnections, entrance: Entrance) -> None:
        self._connections = connections
        self._entrance = entrance
        self._timer = LazyTimer(connections.timers, self._expire)
        self._proxy = ProxyReader() if entrance.proxied else None
        self._context = entrance.tls
        self._hello = ClientHelloReader()
        self._tls: TlsTransport | None = None
        self._said = False  # the client has sent something
        self._over = False
        self.last = False

    # ── the loop's callbacks, until TLS begins ──

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._raw = cast("asyncio.Transport", transport)
        peer = peer_of(self._raw)
        if peer is None:
            self._raw.abort()
            return
        self.peer = self._socket_peer = peer
        if self._proxy is not None:
            if not self._connections.generation.is_proxy(peer.address):
                self._tell("it is not one of gateway.trusted_proxies, which alone may speak the PROXY protocol")
                self._raw.abort()
                return
            # Until the header is here nobody knows whose connection it is. It counts as one of a client of its own.
            self.peer = Peer(f"{peer.text} {id(self)}", peer.text)
        self._enter()
        context, options = self._context, self._connections.generation.options
        self._timer.arm(monotonic() + (options.head_timeout if context is None else context.handshake_timeout))
        if self._connections.draining:
            self.close()

    def data_received(self, data: bytes) -> None:
        self._said = True
        if self._proxy is not None:
            try:
                origin = self._proxy.feed(data)
            except ProxyError as error:
                self._fail(str(error))
                return
            if origin is None:
                return
            data, self._proxy = self._proxy.rest, None
            self._leave(comes_back=True)
            self.peer = self._socket_peer
            if origin.address:
                self.peer = Peer(origin.address, authority_of(origin.address, origin.port))
            if self._context is None:
                self._hand_over(self._raw, self.peer, data)
                return
            self._enter()
        if data:
            self._begin_tls(data)

    def eof_received(self) -> bool:
        if self._said:
            self._tell("it closed the connection before it had said all")
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._end()

    def pause_writing(self) -> None:
        """Nothing is written here that could be too much."""

    def resume_writing(self) -> None:
        """See `pause_writing`."""

    # ── TLS ──

    def _begin_tls(self, octets: bytes) -> None:
        context = self._context
        if context is None:
            return
        if not self._hello.octets and not is_tls(octets):
            self._leave(comes_back=True)
            self._hand_over(self._raw, self.peer, b"", PLAIN)
            return
        hello = self._hello.feed(octets)
        if hello is None:
            return
        if hello.protocols and b"http/1.1" not in hello.protocols:
            self._raw.write(NO_APPLICATION_PROTOCOL)
            self._fail("it does not offer HTTP/1.1")
            return
        if hello.is_costly:
            self._raw.write(HANDSHAKE_FAILURE)
            self._fail("no TLS: it offers no curve for the key, or its first message is too large")
            return
        self._tls = tls = TlsTransport(context.first, self, self._connections.loop)
        tls.tls.context = context.shown_to(hello.server_name)
        self._raw.set_protocol(protocol_of(tls))
        tls.connection_made(self._raw)
        tls.data_received(bytes(self._hello.octets))

    def secured(self, transport: TlsTransport) -> None:
        certificate = transport.tls.getpeercert()
        if ends_at(certificate) < time():
            # Only in a session that is resumed, whose certificate OpenSSL does not look at again.
            self._tell("no TLS: its certificate has expired")
            self._end()
            transport.cut()
            transport.close()
            return
        self._leave(comes_back=True)
        peer = self.peer
        name = certificate_name(certificate)
        # It follows the protocol of asyncio's transports.
        above = cast("asyncio.Transport", transport)
        self._hand_over(above, Peer(peer.address, peer.text, "https", name), b"")

    def not_secured(self, error: Exception | None) -> None:
        if not self._over:
            self._tell(f"no TLS: {why_not_secured(error)}")
        self._end()

    # ── the book ──

    def _enter(self) -> None:
        """Into the book of connections. Over the limit it is heard to the end, too, so that the client's 503 can be
        read; the book bounds how many of those there are."""
        if self._connections.admit(self):
            self.admitted()

    def admitted(self) -> None:
        """It has a slot. Like an idle connection it may have to make room."""
        self._connections.idle[self] = None

    def _leave(self, *, comes_back: bool = False) -> None:
        """Out of the book. comes_back: for what this connection becomes in the same step."""
        self._connections.idle.pop(self, None)
        self._connections.leave(self, comes_back=comes_back)

    def _hand_over(self, transport: asyncio.Transport, peer: Peer, data: bytes, refusal: str = "") -> None:
        """From now on HTTP is spoken."""
        self._over = True
        self._timer.close()
        client = ClientConnection(self._connections, peer, refusal)
        protocol = protocol_of(client)
        transport.set_protocol(protocol)
        client.connection_made(transport)
        if not self._is_admitted():
            client.last = True  # it was in the queue of an address that goes: it has its request, and no second one
        if data:
            client.data_received(data)

    def serving(self) -> Flow | None:
        """It serves no flow."""
        return None

    def has_unread(self) -> bool:
        return has_unread(self._raw)

    def account(self) -> None:
        """It holds less than is accounted for."""

    def renewed(self) -> None:
        if not self._is_admitted():
            self.close()

    def _is_admitted(self) -> bool:
        """Whether the present generation lets clients in by the rules of this one's handshake."""
        return self._context is None or self._connections.generation.admits(self._context.first)

    def drain(self) -> None:
        """Its client has been let in, and its request is on its way: see `FIRST_OCTET`."""
        self._timer.arm(monotonic() + FIRST_OCTET)

    def give_up(self) -> None:
        self.close()

    def close(self) -> None:
        self._end()
        self._raw.close()

    # ── endings ──

    def _expire(self) -> None:
        if self._said:
            self._tell("it did not end its handshake in time")
        self.close()

    def _fail(self, why: str) -> None:
        self._tell(why)
        self.close()

    def _tell(self, why: str) -> None:
        self._connections.failed_arrivals += 1
        where = self._entrance.name
        self._connections.tell(where, f"{where}: client {self._socket_peer.text}: {why}")

    def _end(self) -> None:
        """It is over: out of the book, once."""
        if not self._over:
            self._over = True
            self._timer.close()
            self._leave()
