"""The book of client connections, and what they share.

The book admits or refuses a new connection, knows which one has been idle longest, and ends all of them when the
gateway ends. What happens on a connection is in `net.client`.
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import Final, Protocol

from rawgate.message import Decide, Peer
from rawgate.net import buffered_reading
from rawgate.net.buffer_budget import UNACCOUNTED, BufferBudget
from rawgate.observe.line import Record
from rawgate.relay.exchange import RATE_SPAN
from rawgate.relay.flow import ClientOptions
from rawgate.relay.pool import Pool
from rawgate.wire import RequestRules

REFUSED = 256
"""Connections over the limit that may wait at once until their client has read its 503; one more closes the oldest of
them. So refusing costs few descriptors, however many connections come: `serve.descriptors` counts these in. HAProxy,
beyond its `maxconn`, leaves new connections in the kernel's queue instead, and their clients hear nothing."""


class ListenerOptions:
    """What the configuration says about client connections.

    head_timeout  seconds from the first octet of a head to its end, however it drips. 10, as in the haproxy.cfg
                  that many distributions ship (`timeout http-request`); Apache's mod_reqtimeout gives 20, nginx 60
    keep_alive    seconds that a connection may be idle; 75, as in nginx
    connections   how many may be open at once
    per_address   how many of them one address may have; None: no limit
    buffers       octets that all of them together may hold in memory (see `net.buffer_budget`)
    """

    __slots__ = ("buffers", "connections", "head_timeout", "keep_alive", "per_address")

    def __init__(
        self,
        head_timeout: float = 10.0,
        keep_alive: float = 75.0,
        connections: int = 10_000,
        per_address: int | None = None,
        buffers: int = 256 * 1024 * 1024,
    ) -> None:
        self.head_timeout: Final = head_timeout
        self.keep_alive: Final = keep_alive
        self.connections: Final = connections
        self.per_address: Final = per_address
        self.buffers: Final = buffers


class RecordSink(Protocol):
    """Takes the record of each finished request: the access log, or the demo."""

    def write(self, record: Record) -> None:
        """Take one. It must neither block nor raise: the event loop calls it for each request."""


class Connection(Protocol):
    """What the book asks of a connection that is in it."""

    peer: Peer
    last: bool

    def account(self) -> None:
        """Tell the budget how many octets it holds."""

    def drain(self) -> None:
        """The gateway drains: close, unless a request has begun."""

    def give_up(self) -> None:
        """The gateway ends now."""

    def close(self) -> None:
        """Close after what is buffered has been sent."""


class ClientConnections:
    """What all client connections share: options, rules, pools, the log, and the book of open connections.

    decide   see `rawgate.message`
    date     the value of a Date field for now
    pools    by upstream name
    """

    def __init__(
        self,
        *,
        loop: asyncio.AbstractEventLoop,
        decide: Decide,
        date: Callable[[], bytes],
        new_id: Callable[[], str],
        pools: Mapping[str, Pool],
        log: RecordSink,
        options: ListenerOptions,
        client_options: ClientOptions,
        request_rules: RequestRules,
    ) -> None:
        self.loop = loop
        self.decide = decide
        self.date = date
        self.new_id = new_id
        self.log = log
        self.options = options
        self.client_options = client_options
        self.request_rules = request_rules
        # With each pool, the shortest of the times that a flow can wait for: how often to ask a flow what is due.
        self.pools = {name: (pool, _shortest_deadline(pool, client_options)) for name, pool in pools.items()}
        self.shared_buffer = buffered_reading.SharedBuffer()
        self.winding_down = False
        self.draining = False
        self.open: set[Connection] = set()  # those that were let in
        self.refused: dict[Connection, None] = {}  # those that were not, and are being told so
        self.idle: dict[Connection, None] = {}  # the longest idle first
        self.by_address: dict[str, int] = {}
        self.buffers = BufferBudget(options.buffers, loop.call_soon)
        self.emptied: Callable[[], None] | None = None

    def admit(self, connection: Connection) -> bool:
        """Enter a new connection in the book. False: there are too many, and the connection must be refused; it does
        not count against any limit."""
        address = connection.peer.address
        if self._has_room(address):
            self.open.add(connection)
            self.by_address[address] = self.by_address.get(address, 0) + 1
            return True
        if len(self.refused) >= REFUSED:
            oldest = next(iter(self.refused))
            del self.refused[oldest]
            oldest.close()
        self.refused[connection] = None
        return False

    def _has_room(self, address: str) -> bool:
        options = self.options
        if options.per_address is not None and self.by_address.get(address, 0) >= options.per_address:
            return False
        if len(self.open) >= options.connections:
            # The connection that has been idle longest makes room: RFC 9112 section 9.5 lets a server close an idle
            # connection at any time, and a client must be ready for it.
            oldest = next(iter(self.idle), None)
            if oldest is None:
                return False
            oldest.close()
        return True

    def leave(self, connection: Connection) -> None:
        """Take a connection that is gone out of the book."""
        if connection in self.open:
            self.open.discard(connection)
            address = connection.peer.address
            self.by_address[address] -= 1
            if not self.by_address[address]:
                del self.by_address[address]
        else:
            self.refused.pop(connection, None)
        self._tell_if_empty()

    def _tell_if_empty(self) -> None:
        if self.emptied is not None and not self.open and not self.refused:
            self.emptied()

    def tidy(self) -> None:
        """Every few seconds: account for portions that are too small to be accounted at once. Only when there are so
        many connections that the sum of such portions can exceed the budget."""
        if len(self.open) * UNACCOUNTED > self.buffers.limit:
            for connection in self.open:
                connection.account()

    def wind_down(self) -> None:
        """Serve on, new connections included; each response says `Connection: close`."""
        self.winding_down = True
        for connection in self.open:
            connection.last = True

    def drain(self, emptied: Callable[[], None]) -> None:
        """Serve the requests that have begun, and close all other connections. Calls `emptied` when the last connection
        is gone."""
        self.wind_down()
        self.draining = True
        self.emptied = emptied
        for connection in list(self.open):
            connection.drain()
        self._tell_if_empty()

    def abort(self) -> None:
        """End every connection now."""
        for connection in (*self.open, *self.refused):
            connection.give_up()


def _shortest_deadline(pool: Pool, client: ClientOptions) -> float:
    options = pool.options
    spans = [options.response_timeout, options.idle_timeout, options.tunnel_idle, options.tunnel_max_age]
    spans += [client.body_timeout, client.send_timeout]
    if client.body_rate:
        spans.append(RATE_SPAN)
    if options.total_timeout is not None:
        spans.append(options.total_timeout)
    return min(spans)
