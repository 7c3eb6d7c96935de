"""The book of client connections, and what they share.

The book admits or refuses a new connection, knows which one has been idle longest, and ends all of them when the
gateway ends. What happens on a connection is in `net.client`.

Over the limit, the connection that has been idle longest makes room: RFC 9112 section 9.5 lets a server close an idle
connection at any time, and a client must be ready for it. One whose next request lies in the socket, and has only not
been read yet, is not idle any more: where many connections come in one turn of the loop, that is so of most. Where
processes share the limit, it may be one of another process. That process is asked by waiting for a slot (see
`relay.quota`), and the newcomer waits meanwhile, for `ADMISSION` at most. So nobody is refused while a connection is
idle anywhere. What was rejected: to refuse the newcomer and let the next one have the slot, since a process whose own
connections are all busy would refuse half of them; and to count how many are idle in each process, since that is a
write for each request, and a connection that was idle when it was counted may have begun a request since.
"""

import asyncio
from collections.abc import Callable
from itertools import islice
from typing import Final, Protocol

from rawgate.message import Peer
from rawgate.net import buffered_reading
from rawgate.net.buffer_budget import UNACCOUNTED, BufferBudget
from rawgate.net.generation import Generation
from rawgate.net.timer import Timers
from rawgate.net.turn import Turn
from rawgate.observe.line import Record
from rawgate.relay.addresses import Addresses
from rawgate.relay.flow import Flow
from rawgate.relay.phases import TUNNEL
from rawgate.relay.quota import Quota

REFUSED = 256
"""Connections over the limit that may wait at once until their client has read its 503; one more closes the oldest of
them. So refusing costs few descriptors, however many connections come: `serve.descriptors` counts these in. HAProxy,
beyond its `maxconn`, leaves new connections in the kernel's queue instead, and their clients hear nothing."""


ADMISSION = 0.25
"""Seconds that a newcomer over the limit waits for another process to close an idle connection. That takes one turn of
its loop; the rest is for a process that is busy."""

LOOKED_AT: Final = 16
"""Idle connections whose sockets are looked into, at most, until one is found that nothing has come on. A look is a
system call, and a newcomer costs one as a rule."""


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

    def admitted(self) -> None:
        """It waited, and is let in."""

    def serving(self) -> Flow | None:
        """The flow that it serves; None: there is none."""

    def has_unread(self) -> bool:
        """Whether something has come that the loop has not read yet."""

    def renewed(self) -> None:
        """There is a new generation: end a tunnel that it would not have let in. Where it asks other things of clients
        in the handshake than were asked of this one, end the connection, after a request that has begun."""

    def drain(self) -> None:
        """The gateway drains: close, unless a request has begun, or the first one may be on its way."""

    def give_up(self) -> None:
        """The gateway ends now."""

    def close(self) -> None:
        """Close after what is buffered has been sent."""


class ClientConnections:
    """What all client connections share: the present generation, the log, and the book of open connections.

    date        the value of a Date field for now
    generation  what new requests are read and decided by
    slots       for connections that were let in
    addresses   how many of them each address has
    """

    def __init__(
        self,
        *,
        loop: asyncio.AbstractEventLoop,
        date: Callable[[], bytes],
        new_id: Callable[[], str],
        log: RecordSink,
        generation: Generation,
        turn: Turn | None = None,
        slots: Quota | None = None,
        addresses: Addresses | None = None,
        tell: Callable[[str, str], None] = lambda about, text: None,
    ) -> None:
        """turn: None: one of this book's own, which upstream connections do not share. slots, addresses: None:
        `options.connections` and `per_address` of this book's own. tell: takes what the
        operator should know, a subject and a line; it may leave lines out when one subject has too many."""
        self.loop = loop
        self.timers = Timers(loop)
        self.turn = Turn(loop) if turn is None else turn
        self.date = date
        self.new_id = new_id
        self.log = log
        self.generation = generation
        self.tell = tell
        self.slots = Quota(generation.options.connections) if slots is None else slots
        self.slots.on_free(self._heed_others)
        self.addresses = Addresses(generation.options.per_address) if addresses is None else addresses
        self.shared_buffer = buffered_reading.SharedBuffer()
        self.winding_down = False
        self.draining = False
        self.open: set[Connection] = set()  # those that were let in
        self.waiting: dict[Connection, None] = {}  # those that wait to be let in, in order of arrival
        self.refused: dict[Connection, None] = {}  # those that were not, and are being told so
        self.idle: dict[Connection, None] = {}  # the longest idle first
        self.failed_arrivals = 0  # connections that ended before any HTTP, in a handshake or a PROXY header
        self._made_room: set[Connection] = set()  # those that are closing, and whose slot a newcomer has
        self.buffers = BufferBudget(generation.options.buffers, loop.call_soon)
        self.emptied: Callable[[], None] | None = None

    def renew(self, generation: Generation) -> None:
        """From now on new requests are read and decided by this one, on open connections too. Requests that have begun
        end under the one before; tunnels, which may have no end of their own, go on as far as its terms hold."""
        self.generation = generation
        self.slots.resize(generation.options.connections)
        self.addresses.resize(generation.options.per_address)
        self.buffers.limit = generation.options.buffers
        for connection in (*self.open, *self.waiting):
            connection.renewed()

    def admit(self, connection: Connection) -> bool | None:
        """Enter a new connection in the book. False: there are too many, and the connection must be refused; it does
        not count against any limit. None: it waits. Then `admitted` is called, or it calls `admit_late`."""
        if self.addresses.enter(connection.peer.address):
            if not self.waiting and (self.slots.take() or self._make_room()):
                self.open.add(connection)
                return True
            if self.slots.is_shared and not self.draining and len(self.waiting) < REFUSED:
                self.waiting[connection] = None
                self._admit_waiting()
                return None if connection in self.waiting else True
            self.addresses.leave(connection.peer.address)
        self._refuse(connection)
        return False

    def admit_late(self, connection: Connection) -> bool:
        """It has waited for long enough. Returns whether it is let in after all; if not, it must be refused."""
        self._admit_waiting()
        if connection in self.waiting and self._make_room():
            self._let_in(connection)
        if connection in self.open:
            return True
        self._stop_waiting(connection)
        self._refuse(connection)
        return False

    def _make_room(self) -> bool:
        """Close the connection that has been idle longest. Somebody else has its slot. False: none is idle."""
        oldest = self._longest_idle()
        if oldest is None:
            return False
        self._make_room_of(oldest)
        return True

    def _make_room_of(self, connection: Connection) -> None:
        self._made_room.add(connection)
        connection.close()

    def close_idle(self) -> bool:
        """Close the connection that has been idle longest. False: none is idle."""
        oldest = self._longest_idle()
        if oldest is not None:
            oldest.close()
        return oldest is not None

    def _longest_idle(self) -> Connection | None:
        """None: none is idle, as far as can be seen: see `LOOKED_AT`."""
        return next((one for one in islice(self.idle, LOOKED_AT) if not one.has_unread()), None)

    def _admit_waiting(self) -> None:
        """Let those in that wait, as far as slots are free."""
        while self.waiting and self.slots.take_or_wait():
            self._let_in(next(iter(self.waiting)))

    def _let_in(self, connection: Connection) -> None:
        """It has waited, and has a slot now."""
        self.open.add(connection)
        self._end_waiting(connection)
        connection.admitted()

    def _stop_waiting(self, connection: Connection) -> None:
        """It is not let in."""
        self._end_waiting(connection)
        self.addresses.leave(connection.peer.address)

    def _end_waiting(self, connection: Connection) -> None:
        del self.waiting[connection]
        if not self.waiting:
            self.slots.stop_waiting()

    def _refuse(self, connection: Connection) -> None:
        """Enter it among those that are being told so."""
        if len(self.refused) >= REFUSED:
            oldest = next(iter(self.refused))
            del self.refused[oldest]
            oldest.close()
        self.refused[connection] = None

    def _heed_others(self) -> None:
        """Another process waits for a slot, or has given one that is waited for here."""
        self._admit_waiting()
        while (oldest := self._longest_idle()) is not None and self.slots.give_if_due():
            self._make_room_of(oldest)

    def leave(self, connection: Connection, *, comes_back: bool = False) -> None:
        """Take a connection that is gone out of the book. comes_back: it is entered at once as another one."""
        if connection in self.open:
            self.open.discard(connection)
            if connection in self._made_room:
                self._made_room.discard(connection)
            else:
                self.slots.give()
            self.addresses.leave(connection.peer.address)
        elif connection in self.waiting:
            self._stop_waiting(connection)
        else:
            self.refused.pop(connection, None)
        if not comes_back:
            self._tell_if_empty()

    def _tell_if_empty(self) -> None:
        if self.emptied is not None and not self.open and not self.refused and not self.waiting:
            self.emptied()

    def in_flight(self) -> tuple[dict[str, int], dict[str, int]]:
        """By route: how many requests are being forwarded, and how many tunnels there are."""
        requests: dict[str, int] = {}
        tunnels: dict[str, int] = {}
        for connection in self.open:
            flow = connection.serving()
            if flow is not None:
                counts = tunnels if flow.phase is TUNNEL else requests
                route = flow.forward.options.route
                counts[route] = counts.get(route, 0) + 1
        return requests, tunnels

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
        """Serve the requests that have begun, and close all other connections. WebSockets, which have no end of their
        own, end one by one, within `spread`. Calls `emptied` when the last connection is gone."""
        self.wind_down()
        self.draining = True
        self.emptied = emptied
        for connection in (*self.open, *self.waiting):
            connection.drain()
        self._tell_if_empty()

    def abort(self) -> None:
        """End every connection now."""
        for connection in (*self.open, *self.waiting, *self.refused):
            connection.give_up()
