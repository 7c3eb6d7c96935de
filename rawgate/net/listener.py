"""The book of client connections, and what they share.

The book admits or refuses a new connection, knows which one has been idle longest, and ends all of them when the
gateway ends. What happens on a connection is in `net.client`.
"""

import asyncio
from collections.abc import Callable
from typing import Protocol

from rawgate.message import Peer
from rawgate.net import buffered_reading
from rawgate.net.buffer_budget import UNACCOUNTED, BufferBudget
from rawgate.net.generation import Generation
from rawgate.observe.line import Record
from rawgate.relay.quota import Quota

REFUSED = 256
"""Connections over the limit that may wait at once until their client has read its 503; one more closes the oldest of
them. So refusing costs few descriptors, however many connections come: `serve.descriptors` counts these in. HAProxy,
beyond its `maxconn`, leaves new connections in the kernel's queue instead, and their clients hear nothing."""


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
    """What all client connections share: the present generation, the log, and the book of open connections.

    date        the value of a Date field for now
    generation  what new requests are read and decided by
    slots       for connections that were let in
    """

    def __init__(
        self,
        *,
        loop: asyncio.AbstractEventLoop,
        date: Callable[[], bytes],
        new_id: Callable[[], str],
        log: RecordSink,
        generation: Generation,
        slots: Quota | None = None,
    ) -> None:
        """slots: None: `options.connections` of this book's own."""
        self.loop = loop
        self.date = date
        self.new_id = new_id
        self.log = log
        self.generation = generation
        self.slots = Quota(generation.options.connections) if slots is None else slots
        self.shared_buffer = buffered_reading.SharedBuffer()
        self.winding_down = False
        self.draining = False
        self.open: set[Connection] = set()  # those that were let in
        self.refused: dict[Connection, None] = {}  # those that were not, and are being told so
        self.idle: dict[Connection, None] = {}  # the longest idle first
        self.by_address: dict[str, int] = {}
        self._made_room: set[Connection] = set()  # those that are closing, and whose slot a newcomer has
        self.buffers = BufferBudget(generation.options.buffers, loop.call_soon)
        self.emptied: Callable[[], None] | None = None

    def renew(self, generation: Generation) -> None:
        """From now on new requests are read and decided by this one, on open connections too."""
        self.generation = generation
        self.slots.limit = generation.options.connections
        self.buffers.limit = generation.options.buffers

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
        per_address = self.generation.options.per_address
        if per_address is not None and self.by_address.get(address, 0) >= per_address:
            return False
        if not self.slots.take():
            # The connection that has been idle longest makes room: RFC 9112 section 9.5 lets a server close an idle
            # connection at any time, and a client must be ready for it.
            oldest = next(iter(self.idle), None)
            if oldest is None:
                return False
            self._made_room.add(oldest)
            oldest.close()
        return True

    def leave(self, connection: Connection) -> None:
        """Take a connection that is gone out of the book."""
        if connection in self.open:
            self.open.discard(connection)
            if connection in self._made_room:
                self._made_room.discard(connection)
            else:
                self.slots.give()
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
