"""The client's side of the asyncio shell: one protocol per connection.

It reads heads, asks `decide` about each, and hands a request that is to be forwarded to an `Exchange`. It serves one
request at a time; what the client sends ahead (pipelining) is held, in order, until its turn comes.

    idle      between requests; closed silently when `keep_alive` is over
    next      a request is answered and the octets that follow it are here already; taken up in the loop's next turn
    head      part of a request head is here; 408 when it does not end in time
    pending   `decide` waits for something; it is asked again when told
    busy      an exchange is under way; the exchange knows what it waits for
    full      answered, but the client has not taken enough of it to be served again; nothing is read meanwhile
    linger    the last reply is out, with FIN behind it, but the client may still be sending: read and drop what comes,
              since closing a socket with unread octets resets it, and the reset could overtake the reply
    closing   no more is read; what is buffered is being sent
    closed

One lazy timer serves all of these: it is armed when a deadline is nearer than the one it is set to, never cancelled and
armed again per request; when it fires it works out what is due now, and sleeps until then.

On uvloop a reset is noticed only while reading. So reading goes on while a request is being answered, until
`limits.head` octets are held; only then is the socket left alone. With answers waiting to be taken it is left alone at
once: a reset is noticed there when they cannot be written.
"""

import asyncio
import traceback
from collections.abc import Callable, Mapping
from math import inf
from time import monotonic, time
from typing import Final, Protocol, cast

from rawgate import errors
from rawgate.errors import Reason, RequestError
from rawgate.message import NO_BODY, Decide, Forward, LocalReply, Octets, Options, Peer, Pending, RequestHead
from rawgate.net import intake
from rawgate.net.holdings import Holdings
from rawgate.net.transports import HIGH_WATER, LOW_WATER, peer_of, protocol_of, reset_transport, unsent
from rawgate.observe.line import Record
from rawgate.relay.exchange import RATE_SPAN, Exchange
from rawgate.relay.flow import NEVER, ClientOptions, Flow
from rawgate.relay.pace import Pace
from rawgate.relay.pool import Pool
from rawgate.relay.ports import ClientPort
from rawgate.wire import CONNECTION, RequestReader, RequestRules, body_octets, reply

LINGER = 5.0
"""Seconds for which a client that is still sending may go on after the last reply."""

REFUSED_LINGER = 1.0
"""The same for a connection that is one too many. It has read nothing of ours yet, and at most a head is on its way."""

REFUSED = 256
"""Connections over the limit that may linger at once: one more, and the oldest of them is closed. So refusing holds few
descriptors, however many connections come."""

HELD_TOO_MUCH: Final = "All client connections together held more than gateway.limits.buffers, and this one held most."
"""Detail of `client_gone`, where it is us who ended it."""

MUCH: Final = 16 * 1024
"""Octets held back with a request from which on they are entered at once (see `holdings`)."""

UNENTERED = HIGH_WATER + 2 * MUCH
"""Octets that a connection may hold without having entered them: unsent, unread, and of a head."""


class ConnectionState:
    """Where a client connection stands."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return self.name


IDLE: Final = ConnectionState("idle")
NEXT: Final = ConnectionState("next")
HEAD: Final = ConnectionState("head")
PENDING: Final = ConnectionState("pending")
BUSY: Final = ConnectionState("busy")
FULL: Final = ConnectionState("full")
LINGERING: Final = ConnectionState("linger")
CLOSING: Final = ConnectionState("closing")
CLOSED: Final = ConnectionState("closed")


class ListenerOptions(Options, frozen=True):
    """What the configuration says about client connections. Seconds, counts, octets; `per_address` None: no limit."""

    head_timeout: float = 10.0
    keep_alive: float = 75.0
    connections: int = 10_000
    per_address: int | None = None
    buffers: int = 256 * 1024 * 1024


class RecordSink(Protocol):
    """Where finished requests are reported: the access log, or whatever else wants to know."""

    def write(self, record: Record) -> None:
        """Take one. Must neither block nor raise: it is called where requests flow."""


class Listener:
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
        # For each pool, the shortest time in which anything of an exchange can become due: how often to look.
        self.pools = {name: (pool, _shortest(pool, client_options)) for name, pool in pools.items()}
        self.room = intake.Room()
        self.winding_down = False
        self.draining = False
        self.open: set[Downstream] = set()  # those that were let in
        self.refused: dict[Downstream, None] = {}  # those that were not, and are being told so
        self.idle: dict[Downstream, None] = {}
        self.by_address: dict[str, int] = {}
        self.holdings = Holdings(options.buffers, loop.call_soon)
        self.emptied: Callable[[], None] | None = None

    def protocol(self) -> asyncio.Protocol:
        """For a new connection (asyncio's protocol factory)."""
        return protocol_of(Downstream(self))

    def admit(self, connection: "Downstream") -> bool:
        """Enter a new connection in the book. False: there are too many; it takes nobody's place, and may not stay."""
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
            # The longest idle keep-alive connection makes room; a client must expect that it closes at any time.
            oldest = next(iter(self.idle), None)
            if oldest is None:
                return False
            oldest.close()
        return True

    def leave(self, connection: "Downstream") -> None:
        """A connection is gone."""
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
        """Every few seconds: find what is held in portions too small to be entered at once, when there may be enough of
        them to matter."""
        if len(self.open) * UNENTERED > self.holdings.limit:
            for connection in self.open:
                connection.enter()

    def wind_down(self) -> None:
        """Serve on, new connections too; each response says `Connection: close`."""
        self.winding_down = True
        for connection in self.open:
            connection.last = True

    def drain(self, emptied: Callable[[], None]) -> None:
        """Serve what has begun, close the rest; `emptied` is called when the last connection is gone."""
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


def _shortest(pool: Pool, client: ClientOptions) -> float:
    options = pool.options
    spans = [options.response_timeout, options.idle_timeout, options.tunnel_idle, options.tunnel_max_age]
    spans += [client.body_timeout, client.send_timeout]
    if client.body_rate:
        spans.append(RATE_SPAN)
    if options.total_timeout is not None:
        spans.append(options.total_timeout)
    return min(spans)


class Downstream(ClientPort):
    """One client connection: to the loop an `asyncio.Protocol`, by what it can do."""

    __slots__ = (
        "_armed_at",
        "_began",
        "_due",
        "_ended",
        "_entered",
        "_exchange",
        "_forget",
        "_full",
        "_head",
        "_held",
        "_listener",
        "_pace",
        "_paused",
        "_pending",
        "_reader",
        "_reading",
        "_shortest",
        "_state",
        "_timer",
        "_transport",
        "_wall",
        "peer",
    )

    _transport: asyncio.Transport
    peer: Peer

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._reader = RequestReader(listener.request_rules)
        self._state = IDLE
        self._exchange: Flow | None = None
        self._head: RequestHead | None = None
        self._pending: Pending | None = None
        self._forget: Callable[[], None] | None = None
        self._held = b""
        self._ended = False  # the client has half-closed
        self.last = False  # no further request will be served here
        self._paused = False  # the exchange does not want body octets for now
        self._reading = True  # the transport delivers
        self._full = False  # the client takes less than is written to it
        self._entered = False  # in the book of what is held
        self._pace = Pace(0, 0.0)  # while it is full or closing: how fast it takes what is buffered
        self._began = 0.0  # monotonic time of the first octet of the request
        self._wall = 0.0  # the same, as the time of day
        self._due = inf  # when the present state, unless busy, has lasted long enough
        self._shortest = inf  # while busy: how often to ask the exchange
        self._armed_at = inf
        self._timer: asyncio.TimerHandle | None = None

    def __repr__(self) -> str:
        return f"<Downstream {self.peer.text} {self._state} held={len(self._held)} {self._exchange or ''}>"

    # ── the loop's callbacks ──

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(HIGH_WATER, LOW_WATER)
        peer = peer_of(self._transport)
        if peer is None:
            # Nobody could say whose requests these are: not the limiter, not the log.
            self._state = CLOSING
            self._transport.abort()
            return
        self.peer = peer
        now = monotonic()
        if self._listener.admit(self):
            self._rest(now)
            self.last = self._listener.winding_down
            if self._listener.draining:
                self.close()
        else:
            self._begin(now)
            self._refuse(errors.CONNECTION_LIMIT, now, linger=REFUSED_LINGER)

    def data_received(self, data: bytes) -> None:
        state = self._state
        if state is IDLE or state is HEAD:
            self._read(data, monotonic())
        elif state is BUSY and not self._paused and not self._held:
            self._deliver(data, monotonic())
        elif state is BUSY or state is PENDING or state is NEXT or state is FULL:
            self._hold(data)

    def take(self, view: memoryview) -> None:
        """Octets of a large body (see `intake`); whatever comes in its place is taken as usual."""
        exchange = self._exchange
        is_wanted = self._state is BUSY and exchange is not None and exchange.wants_body
        if exchange is None or not is_wanted:
            intake.end(self, self._transport)
            self.data_received(bytes(view))
        elif self._paused or self._held:
            self._hold(bytes(view))
        else:
            upstream = exchange.upstream
            self._deliver(view, monotonic())
            if upstream is not None and upstream.buffered():
                self._listener.room.renew()
            if not exchange.wants_body:
                intake.end(self, self._transport)

    def eof_received(self) -> bool:
        """FIN. The client is gone (see `relay.exchange`): what it waits for is given up, and nothing that it sent ahead
        is sent on. Or, with `half_close`, all that was sent before is still answered."""
        self._ended = True
        state, exchange = self._state, self._exchange
        if exchange is not None:
            if not exchange.client_fin(monotonic()):
                self._pass_eof()
        elif state is HEAD:
            self._refuse(errors.BAD_REQUEST, monotonic(), "the request head was not complete")
        elif state is PENDING and not self._listener.client_options.half_close:
            self._forget_pending()
            self.close()
        elif state is IDLE or state is LINGERING:
            self.close()
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self._set_state(CLOSED)
        if self._timer is not None:
            self._timer.cancel()
        if self._exchange is not None:
            self._exchange.client_lost(monotonic())
        else:
            self._forget_pending()
        if self._entered:
            self._listener.holdings.enter(self, 0)
        self._listener.leave(self)

    def pause_writing(self) -> None:
        self._full = True
        self.enter()
        if self._exchange is not None:
            self._exchange.client_is_full(monotonic())

    def resume_writing(self) -> None:
        self._full = False
        self.enter()
        if self._exchange is not None:
            self._exchange.client_has_room(monotonic())
        elif self._state is FULL:
            self._rest(monotonic())
            self._read_on()

    # ── the port ──

    def write(self, data: Octets) -> None:
        self._transport.write(data)

    def bulk(self) -> None:
        if self._state is BUSY:
            intake.begin(self, self._transport, self._listener.room)

    def write_eof(self) -> None:
        if self._state is not CLOSED:
            self._transport.write_eof()

    def pause(self) -> None:
        self._paused = True
        self.enter()

    def resume(self) -> None:
        self._paused = False
        if self._entered:
            self.enter()
        held, self._held = self._held, b""
        if held:
            self._deliver(held, monotonic())
        if self._ended:
            self._pass_eof()
        self._read_on()

    def reset(self) -> None:
        if self._state is not CLOSED:
            self._set_state(CLOSING)
            reset_transport(self._transport)

    def buffered(self) -> int:
        return self._transport.get_write_buffer_size()

    def unsent(self) -> int:
        return 0 if self._state is CLOSED else unsent(self._transport)

    def date(self) -> bytes:
        return self._listener.date()

    def arm(self, due: float) -> None:
        if due < self._armed_at:
            if self._timer is not None:
                self._timer.cancel()
            self._armed_at = due
            self._timer = self._listener.loop.call_later(max(0.0, due - monotonic()), self._expire)

    def attach(self, flow: Flow) -> None:
        self._exchange = flow

    def finished(self, exchange: Flow) -> None:
        """The exchange is over: one log line, then the next request or the end of the connection."""
        self._exchange = None
        if self._entered:
            self.enter()
        forward = exchange.forward
        head = exchange.head
        now = exchange.over_at
        self._listener.log.write(
            Record(
                self._wall,
                forward.request_id,
                head.method,
                head.authority,
                head.target,
                forward.options.route,
                forward.client_id,
                exchange.status,
                now - self._began,
                forward.options.upstream,
                exchange.asked_at,
                exchange.leased_at,
                exchange.head_at,
                exchange.ended_at,
                exchange.bytes_in,
                exchange.bytes_out,
                self.peer.text,
                exchange.reason.code,
                exchange.detail,
            )
        )
        if self._state is not BUSY:
            return
        if exchange.keep_open:
            self._rest(now)
        elif exchange.linger or self._held:
            self._linger(now)
        else:
            self.close()

    # ── one request after the other ──

    def _rest(self, now: float) -> None:
        """Between requests."""
        listener = self._listener
        if self._full:
            # Or a client that asks and asks and never reads would have us remember all the answers.
            self._state = FULL
            self._stop_reading()
            self._await_sending(now)
        elif self._held:
            self._state = NEXT
            listener.loop.call_soon(self._next)
        elif self._ended or self.last:
            self.close()
        else:
            self._state = IDLE
            listener.idle[self] = None
            self._due = now + listener.options.keep_alive
            if self._due < self._armed_at:
                self.arm(self._due)

    def _next(self) -> None:
        """Take up what the client sent ahead."""
        if self._state is not NEXT:
            return
        held, self._held = self._held, b""
        self._state = IDLE
        self._listener.idle[self] = None
        self._read(held, monotonic())
        self._read_on()
        if self._ended and (self._state is IDLE or self._state is HEAD):
            self.eof_received()

    def _begin(self, now: float) -> None:
        """The first octet of a request."""
        self._listener.idle.pop(self, None)
        self._state = HEAD
        self._head = None
        self._began = now
        self._wall = time()

    def _read(self, data: bytes, now: float) -> None:
        """Octets of a head, perhaps of more than that."""
        if self._state is IDLE:
            self._begin(now)
        reader = self._reader
        try:
            head = reader.feed(data)
        except RequestError as error:
            self._refuse(error.reason, now, error.detail)
            return
        if head is not None:
            self._head = head
            self._held = rest = reader.rest
            if self._entered or len(rest) > MUCH:
                self.enter()
            self._decide(head, now)
        elif reader.started:
            self._due = self._began + self._listener.options.head_timeout
            self.arm(self._due)
        else:
            self._rest(now)

    def _decide(self, head: RequestHead, now: float) -> None:
        try:
            decision = self._listener.decide(head, self.peer, now, self._wall)
        except Exception:  # noqa: BLE001 - a mistake in policy must reach the client as a 500, and people as a traceback
            traceback.print_exc()
            self._refuse(errors.INTERNAL, now)
            return
        if isinstance(decision, Forward):
            self._forward(decision, head, now)
        elif isinstance(decision, LocalReply):
            self._answer(decision, head, now)
        else:
            self._wait_for(decision, now)

    def _forward(self, forward: Forward, head: RequestHead, now: float) -> None:
        listener = self._listener
        if self._ended and not listener.client_options.half_close:
            # It was sent ahead, and its client has gone.
            gone = errors.CLIENT_GONE
            self._log_own(forward.request_id, forward.client_id, forward.options.route, gone.status, gone, 0)
            self.close()
            return
        pool, shortest = listener.pools[forward.options.upstream]
        own = forward.options.response_timeout
        self._shortest = shortest if own is None else min(shortest, own)
        self._state = BUSY
        self._paused = True  # until there is a connection to send the body to
        exchange = Exchange(self, pool, forward, head, listener.client_options, now)
        self._exchange = exchange
        if now + self._shortest < self._armed_at:
            self.arm(now + self._shortest)
        exchange.start(now)

    def _answer(self, answer: LocalReply, head: RequestHead, now: float) -> None:
        """A reply of our own. The body of a request that is not forwarded is not read to its end."""
        bodiless = head.body == NO_BODY
        keep = bodiless and not head.close and not self.last
        out = reply(
            answer.status,
            answer.reason,
            answer.detail,
            answer.request_id,
            answer.fields,
            date=self._listener.date(),
            head_only=head.method == b"HEAD",
            connection=CONNECTION[keep][head.minor],
        )
        self._transport.write(out)
        detail = answer.note or answer.detail
        self._log_own(
            answer.request_id, answer.client_id, answer.route, answer.status, answer.reason, body_octets(out), detail
        )
        if keep:
            self._rest(now)
        elif self._held or not bodiless:
            self._linger(now)
        else:
            self.close()

    def _refuse(self, reason: Reason, now: float, detail: str = "", linger: float = LINGER) -> None:
        """Something that never became a decision: a malformed head, a deadline, a limit of the gateway."""
        request_id = self._listener.new_id()
        out = reply(
            reason.status,
            reason,
            detail,
            request_id,
            b"",
            date=self._listener.date(),
            head_only=self._method() == b"HEAD",
            connection=b"close",
        )
        self._transport.write(out)
        self._log_own(request_id, self.peer.address, "", reason.status, reason, body_octets(out), detail)
        self._linger(now, linger)

    def _method(self) -> bytes:
        return self._reader.line[0] if self._head is None else self._head.method

    def _log_own(
        self,
        request_id: str,
        client_id: str,
        route: str,
        status: int,
        reason: Reason,
        bytes_out: int,
        detail: str = "",
    ) -> None:
        """The log line of a request that met no upstream."""
        head = self._head
        self._listener.log.write(
            Record(
                self._wall,
                request_id,
                self._method(),
                b"" if head is None else head.authority,
                self._reader.line[1] if head is None else head.target,
                route,
                client_id,
                status,
                monotonic() - self._began,
                "",
                NEVER,
                NEVER,
                NEVER,
                NEVER,
                0,
                bytes_out,
                self.peer.text,
                reason.code,
                detail,
            )
        )

    # ── a decision that waits ──

    def _wait_for(self, pending: Pending, now: float) -> None:
        self._state = PENDING
        self._due = now + self._listener.options.head_timeout
        self.arm(self._due)
        self._pending = pending
        self._forget = pending.subscribe(self._ready)

    def _stop_waiting(self) -> None:
        if self._forget is not None:
            self._forget()
        self._forget = self._pending = None

    def _forget_pending(self, detail: str = "") -> None:
        """The client is gone; whether a decision was waited for shows here."""
        if self._pending is not None:
            request_id, client_id = self._pending.request_id, self._pending.client_id
            self._stop_waiting()
            self._log_own(request_id, client_id, "", errors.CLIENT_GONE.status, errors.CLIENT_GONE, 0, detail)

    def _ready(self) -> None:
        if self._state is PENDING and self._head is not None:
            self._forget = self._pending = None
            self._decide(self._head, monotonic())

    # ── octets ──

    def _deliver(self, data: Octets, now: float) -> None:
        """Octets of a body (or of a tunnel); what lies beyond its end is held."""
        exchange = self._exchange
        if exchange is not None and exchange.wants_body:
            data = exchange.client_data(data, now)
        if data:
            self._hold(bytes(data))

    def _hold(self, data: bytes) -> None:
        self._held += data
        if self._entered or len(self._held) > MUCH:
            self.enter()
        if len(self._held) > self._listener.request_rules.head:
            self._stop_reading()

    def _stop_reading(self) -> None:
        if self._reading:
            self._reading = False
            self._transport.pause_reading()

    def _read_on(self) -> None:
        if not self._reading and self._state is not CLOSED and len(self._held) <= self._listener.request_rules.head:
            self._reading = True
            self._transport.resume_reading()

    def _pass_eof(self) -> None:
        """The exchange learns of the client's FIN in its place: after all that was sent before it."""
        exchange = self._exchange
        if exchange is not None and not self._held and not self._paused and not exchange.client_ended:
            exchange.client_eof(monotonic())

    # ── what is held ──

    def enter(self) -> None:
        """Enter in the book what this connection holds."""
        octets = len(self._held) + self._reader.size
        if self._state is not CLOSED:
            octets += self._transport.get_write_buffer_size()
        upstream = None if self._exchange is None else self._exchange.upstream
        if upstream is not None:
            octets += upstream.buffered()
        self._entered = octets > 0
        self._listener.holdings.enter(self, octets)

    def shed(self) -> None:
        """All connections together hold too much, and this one holds most: it ends, and its request has its line."""
        state, exchange = self._state, self._exchange
        self._set_state(CLOSING)
        self._held = b""
        if exchange is not None:
            exchange.client_lost(monotonic(), HELD_TOO_MUCH)
        elif state is PENDING:
            self._forget_pending(HELD_TOO_MUCH)
        reset_transport(self._transport)

    # ── endings ──

    def _set_state(self, state: ConnectionState) -> None:
        self._listener.idle.pop(self, None)
        self._state = state

    def _linger(self, now: float, span: float = LINGER) -> None:
        """The last reply is out; see the module's theory."""
        if self._ended:
            self.close()
            return
        self._set_state(LINGERING)
        self._held = b""
        if self._entered:
            self.enter()
        self._transport.write_eof()
        self._read_on()
        self._due = now + (min(span, REFUSED_LINGER) if self._listener.draining else span)
        self.arm(self._due)

    def close(self) -> None:
        """No more is read; what is buffered is sent first."""
        if self._state is CLOSED:
            return
        self._set_state(CLOSING)
        self._await_sending(monotonic())
        self._transport.close()

    def _await_sending(self, now: float) -> None:
        """What is unsent has `send_timeout` to shrink."""
        self._pace = Pace(self.unsent(), now)
        self._due = now + self._listener.client_options.send_timeout
        self.arm(self._due)

    def drain(self) -> None:
        """The gateway ends: what has begun is served, what has not is closed."""
        if self._state is IDLE or self._state is LINGERING:
            self.close()

    def give_up(self) -> None:
        """The gateway ends now. A request that has no answer yet is given one; half an answer is cut."""
        now = monotonic()
        stuck = self.buffered() > 0
        state = self._state
        if self._exchange is not None:
            self._exchange.give_up(errors.DRAINING, now)
        elif state is HEAD or state is PENDING:
            self._stop_waiting()
            self._refuse(errors.DRAINING, now)
        if stuck:
            self.reset()
        else:
            self.close()

    # ── time ──

    def _expire(self) -> None:
        self._timer = None
        self._armed_at = inf
        now = monotonic()
        exchange = self._exchange
        if exchange is not None:
            due = exchange.expire(now)
            if self._exchange is not None:
                self.arm(min(due, now + self._shortest))
                return
        elif now >= self._due:
            self._overdue(now)
        if self._state is not CLOSED:
            self.arm(self._due)

    def _overdue(self, now: float) -> None:
        state = self._state
        self._due = inf
        if state is HEAD:
            self._refuse(errors.HEAD_TIMEOUT, now)
        elif state is PENDING:
            self._stop_waiting()
            self._refuse(errors.KEYS_UNAVAILABLE, now)
        elif state is CLOSING or state is FULL:
            options = self._listener.client_options
            if self._pace.look(self.unsent(), now) and self._pace.keeps(options.body_rate, now):
                self._due = now + options.send_timeout
            else:
                reset_transport(self._transport)
        elif state is IDLE or state is LINGERING:
            self.close()
