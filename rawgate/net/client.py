"""The client's side of the asyncio shell: one protocol per connection.

It reads heads, asks `decide` about each, and hands a request that is to be forwarded to an `Exchange`. It serves one
request at a time; what the client sends ahead (pipelining) is held, in order, until its turn comes. `net.states` says
which states a connection has, and which may follow which.

`ClientConnection` is one class of many methods because all of them move one state: the loop's seven callbacks, the
twelve methods of the port that an exchange sees, the steps of a request, and the ways in which a connection ends. What
does not need the state is elsewhere: the turn of the loop (`net.turn`), octets held (`net.inbound`), the timer
(`net.timer`), own replies and records (`net.replies`), and the book of all connections (`net.listener`).
"""

import asyncio
import contextlib
import traceback
from collections.abc import Callable
from math import inf
from time import monotonic, time
from typing import Final, cast

from rawgate import errors
from rawgate.errors import Reason, RequestError
from rawgate.message import NO_BODY, Forward, LocalReply, Octets, Peer, Pending, RequestHead
from rawgate.net import buffered_reading
from rawgate.net.buffer_budget import WORTH_ACCOUNTING
from rawgate.net.inbound import Inbound
from rawgate.net.listener import ADMISSION, ClientConnections
from rawgate.net.replies import CurrentRequest
from rawgate.net.states import BUSY, CLOSED, CLOSING, FULL, HEAD, IDLE, LINGERING, NEXT, PENDING, WAITING, State
from rawgate.net.timer import LazyTimer
from rawgate.net.transports import (
    HIGH_WATER,
    LOW_WATER,
    buffered,
    has_unread,
    peer_of,
    protocol_of,
    reset_transport,
    tls_of,
    write_backlog,
)
from rawgate.net.turn import MOST, Cork, Recipient
from rawgate.relay.exchange import Exchange
from rawgate.relay.flow import Flow
from rawgate.relay.guarded_exchange import GuardedExchange
from rawgate.relay.pace import Pace
from rawgate.relay.phases import TUNNEL
from rawgate.relay.ports import ClientPort
from rawgate.wire import RequestReader

LINGER = 5.0
"""Seconds for which we read and drop what a client still sends after the last response on its connection.

A close while octets are unread makes the kernel send a reset, and the reset can overtake the response: RFC 9112
section 9.6 asks for this wait. nginx's `lingering_timeout` is 5 s too, but starts anew with each read, for up to 30 s
(`lingering_time`); Go's server waits half a second. Ours is 5 s in all: a client that sends on is not paid for longer.
"""

REFUSED_LINGER = 1.0
"""The same for a connection over the limit. That client has sent a head at most, and each such connection costs a
descriptor at a time when descriptors are short."""

FIRST_OCTET = 1.0
"""Seconds that a new connection has for its first request once the gateway drains: its client has just been let in, and
its request is on its way. A closed connection would lose it. As many for a handshake before that."""

SURE_TO_FIT: Final = 16 * 1024
"""Octets of a response for which there is room in the kernel while the client reads: what a socket's send buffer has at
first (tcp(7), tcp_wmem)."""

LEFT_IN_HEAD: Final = "The client reset the connection within its request head."
HELD_TOO_MUCH: Final = "All client connections together held more than gateway.limits.buffers, and this one held most."
"""Details of `client_gone`: of a head that ends so, and where the gateway ended the connection."""


def protocol_factory(connections: ClientConnections) -> Callable[[], asyncio.Protocol]:
    """Returns what `create_server` calls for each new connection."""
    return lambda: protocol_of(ClientConnection(connections))


class ClientConnection(ClientPort, Recipient):
    """One client connection. The loop duck-types it as an `asyncio.Protocol`; an exchange sees a `ClientPort`, and the
    turn of the loop a `Recipient`."""

    __slots__ = (
        "_accounted",
        "_arrived_as",
        "_behind",
        "_came",
        "_check_every",
        "_connections",
        "_cork",
        "_due",
        "_flow",
        "_flushing",
        "_forget",
        "_full",
        "_generation",
        "_inbound",
        "_into_shared",
        "_pace",
        "_pending",
        "_reader",
        "_refusal",
        "_request",
        "_state",
        "_timer",
        "_turn",
        "peer",
    )

    # Made in `connection_made`.
    _cork: Cork
    _inbound: Inbound
    _request: CurrentRequest
    peer: Peer

    def __init__(self, connections: ClientConnections, peer: Peer | None = None, refusal: str = "") -> None:
        """peer: None: who the socket says. refusal: why it is not served, the detail of its 400; "": it is."""
        self._connections = connections
        self._arrived_as = peer
        self._refusal = refusal
        self._generation = connections.generation
        self._reader = RequestReader(self._generation.request_rules)
        self._timer = LazyTimer(connections.timers, self._expire)
        self._turn = connections.turn
        self._came = b""  # octets of a head that wait for the end of the loop's turn
        self._behind: memoryview | None = None  # those behind them in the shared buffer; for the time of one call
        self._into_shared = False  # octets come in the shared buffer (see `net.buffered_reading`)
        self._state: State = IDLE
        self._flow: Flow | None = None
        self._pending: Pending | None = None
        self._forget: Callable[[], None] | None = None
        self.last = False  # no further request will be served here
        # A client that has been sent more than is sure to fit, or sends ahead, may have left octets in the kernel: from
        # then on the end of each of its responses is looked at.
        self.flush_from = SURE_TO_FIT
        self._full = False  # the transport buffers more than HIGH_WATER for the client, or anything while it is flushed
        self._flushing = False  # the transport tells when it buffers nothing
        self._accounted = False  # the budget knows of octets that this connection holds
        self._pace = Pace(0, 0.0)  # in the states full and closing: how fast the client takes what is buffered
        self._due = inf  # deadline of the present state; a busy connection has its flow's instead
        self._check_every = inf  # seconds between two looks at the flow's deadline

    def __repr__(self) -> str:
        return f"<ClientConnection {self.peer.text} {self._state} held={len(self._inbound.held)} {self._flow or ''}>"

    # ── the loop's callbacks ──

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        wire = cast("asyncio.Transport", transport)
        wire.set_write_buffer_limits(HIGH_WATER, LOW_WATER)
        self._cork = Cork(wire, self._turn)
        self._inbound = Inbound(wire, self._generation.request_rules.head)
        peer = self._arrived_as or peer_of(wire)
        if peer is None:
            # Without an address neither the limiter nor the log could say whose requests these are.
            self._state = CLOSING
            wire.abort()
            return
        self.peer = peer
        self._request = CurrentRequest(self._connections, self._cork, self._reader, peer)
        now = monotonic()
        admitted = self._connections.admit(self)
        if admitted is None:
            self._state = WAITING
            self._due = now + ADMISSION
            self._timer.arm(self._due)
        elif admitted:
            self._enter(now)
        else:
            self._refuse_entry(now)

    def admitted(self) -> None:
        if self._state is WAITING:
            self._enter(monotonic())

    def abandon(self) -> None:
        self._cork.transport.abort()

    def _enter(self, now: float) -> None:
        self._rest(now)
        self.last = self.last or self._connections.winding_down
        if self._refusal:
            self._begin(now)
            self._refuse(errors.BAD_REQUEST, now, self._refusal)
        elif self._connections.draining:
            if self._arrived_as is None:
                self.close()
            else:
                self.drain()  # it was let in before, and its handshake has ended now

    def _refuse_entry(self, now: float) -> None:
        self._begin(now)
        self._refuse(errors.CONNECTION_LIMIT, now, linger=REFUSED_LINGER)

    def data_received(self, data: bytes) -> None:
        turn = self._turn
        if turn.waiting >= MOST:
            turn.settle()
        state = self._state
        if state is IDLE and len(data) <= turn.small:
            turn.add_request(self)
            self._begin(turn.began, turn.wall)
            self._came = data
        elif self._came:
            self._came += data
            if len(self._came) > turn.small:
                self.handle(monotonic())
        elif state is IDLE or state is HEAD:
            now = monotonic()
            if state is IDLE:
                self._begin(now)
            else:
                self._request.client_waited = now - self._request.began
            self._read(data, now)
        elif state is BUSY and not self._inbound.paused and not self._inbound.held:
            self._deliver(data, monotonic())
        elif state is BUSY or state is PENDING or state is NEXT or state is FULL or state is WAITING:
            self._hold(data)
        # Otherwise the last response is out (linger, closing): the octets are dropped.

    def handle(self, now: float) -> None:
        came, behind = self._came, self._behind
        if came:
            self._came, self._behind = b"", None
            self._read(came, now)
            if behind is not None:
                self._read_view(behind, now)

    def view_received(self, view: memoryview) -> None:
        """Octets in the shared buffer (see `net.buffered_reading`): of a large body, or of a request behind one."""
        small = self._turn.small
        if self._state is IDLE and len(view) > small:
            # The next large body, and its head before it: only a beginning is copied, 4 KiB, in which most heads end.
            # What goes up of it is less than may wait for the end of the turn, and leaves with the rest in one write.
            beginning = small // 4
            self.data_received(bytes(view[:beginning]))
            self._behind = view[beginning:]
            self._turn.settle()
        else:
            self._read_view(view, monotonic())

    def _read_view(self, view: memoryview, now: float) -> None:
        """Where no large body is wanted, reading is the ordinary kind again, and these octets are handled as if it had
        read them."""
        flow = self._flow
        if flow is None or self._state is not BUSY or not self._wants_body():
            self._into_shared = False
            buffered_reading.end(self, self._cork.transport)
            self.data_received(bytes(view))
        elif self._inbound.paused or self._inbound.held:
            self._hold(bytes(view))
        else:
            upstream = flow.upstream
            self._deliver(view, now)
            if upstream is not None and upstream.buffered():
                # The upstream's transport holds on to the view: the next read needs another buffer.
                self._connections.shared_buffer.renew()

    def eof_received(self) -> bool:
        """FIN. It means that the client is gone (see `relay.exchange`): the gateway gives up what the client waits for,
        and sends nothing on that the client sent ahead. With `half_close`, FIN is only the end of what the client
        sends, and all requests before it are served."""
        if self._came:
            self.handle(monotonic())
        self._inbound.ended = True
        state, flow = self._state, self._flow
        if flow is not None:
            if not flow.client_fin(monotonic()):
                self._pass_eof()
        elif state is HEAD:
            self._refuse(errors.BAD_REQUEST, monotonic(), "The request head was not complete.")
        elif state is PENDING and not self._generation.client_options.half_close:
            self._forget_pending()
            self.close()
        elif state is IDLE or state is LINGERING:
            self.close()
        # False would make the loop close the transport before the responses are out.
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        # `write_eof` had to close the transport of a tunnel, and all was sent before: the client's end, and no loss.
        ends = self._state is CLOSING and exc is None
        if self._state is HEAD:
            self._abandon_head(LEFT_IN_HEAD)
        self._set_state(CLOSED)
        self._timer.close()
        self._forget_pending()
        if self._flow is not None and ends:
            self._flow.client_eof(monotonic())
        if self._flow is not None:
            self._flow.client_lost(monotonic())
        if self._full:
            self._request.cut(errors.CLIENT_GONE)
        if self._accounted:
            self._connections.buffers.account(self, 0)
        self._connections.leave(self)

    def pause_writing(self) -> None:
        self._full = True
        self.flush_from = 0
        self.account()
        if self._flow is not None:
            self._flow.client_is_full(monotonic())
        elif self._state is IDLE or self._state is NEXT:
            # The last response was written at the end of the loop's turn, behind its request.
            self._rest(monotonic())

    def resume_writing(self) -> None:
        self._full = False
        if self._flushing:
            self._flushing = False
            self._cork.transport.set_write_buffer_limits(HIGH_WATER, LOW_WATER)
        self.account()
        if self._flow is not None:
            self._flow.client_has_room(monotonic())
            return
        self._request.taken()
        if self._state is FULL:
            self._rest(monotonic())
            self._inbound.read_on()
        elif self._state is LINGERING:
            self._linger_for(LINGER, monotonic())

    # ── the port ──

    def write(self, data: Octets) -> None:
        self._cork.write(data)

    def flush(self) -> None:
        self.flush_from = 0
        # asyncio and uvloop write at once: what the transport buffers is what the kernel did not take. (uvloop before
        # 0.22 writes at the end of the loop's turn, and tells then.)
        if self._state is BUSY and self._cork.pull().get_write_buffer_size():
            self._flushing = True
            self._cork.transport.set_write_buffer_limits(0)

    def expect_large_body(self) -> None:
        if self._state is BUSY and not self._into_shared:
            self._into_shared = True
            buffered_reading.begin(self, self._cork.transport, self._connections.shared_buffer)

    def write_eof(self) -> None:
        # `close` leaves the flow in place: `connection_lost` will tell it of the end.
        if self._state is CLOSED:
            return
        transport = self._cork.pull()
        if transport.can_write_eof():
            transport.write_eof()
        else:
            self.close()

    def pause(self) -> None:
        self._inbound.paused = True
        self.account()

    def resume(self) -> None:
        inbound = self._inbound
        inbound.paused = False
        if inbound.held:
            self._deliver(inbound.take(), monotonic())
        if inbound.ended:
            self._pass_eof()
        if self._state is not CLOSED:
            if self._accounted:
                self.account()
            inbound.read_on()

    def reset(self) -> None:
        if self._state is not CLOSED:
            self._set_state(CLOSING)
            reset_transport(self._cork.pull())

    def cut(self) -> None:
        tls = tls_of(self._cork.transport)
        if tls is not None:
            tls.cut()

    def buffered(self) -> int:
        return self._cork.pull().get_write_buffer_size()

    def write_backlog(self) -> int:
        return 0 if self._state is CLOSED else write_backlog(self._cork.pull())

    def date(self) -> bytes:
        return self._connections.date()

    def monotonic(self, wall: float) -> float:
        return monotonic() + (wall - time())

    def arm(self, due: float) -> None:
        self._timer.arm(due)

    def attach(self, flow: Flow) -> None:
        self._flow = flow
        # It was a request until now. What became of the gateway meanwhile holds for the tunnel, too.
        if self._connections.draining:
            self.drain()
        self.renewed()

    def finished(self, flow: Flow) -> None:
        """The flow is over: its record is written, then the next request has its turn, or the connection ends."""
        self._flow = None
        if self._accounted:
            self.account()
        self._request.log(flow)
        if self._state is not BUSY:
            return  # the connection is ending already; that is why the flow is over
        if flow.keep_open:
            self._rest(flow.over_at)
        elif flow.linger or self._inbound.held:
            # The client was still sending, or had sent ahead: a close could reset the connection.
            self._linger(flow.over_at)
        else:
            self.close()

    # ── one request after the other ──

    def _rest(self, now: float) -> None:
        """A request is over, or the connection is new: wait for the next request."""
        connections = self._connections
        if self._full:
            # Otherwise a client that asks and never reads would make us keep all of its responses.
            self._set_state(FULL)
            self._inbound.stop_reading()
            self._await_sending(now)
        elif self._inbound.held:
            # In the loop's next turn: a long pipeline must not recurse, nor hold up all other connections.
            self._state = NEXT
            connections.loop.call_soon(self._next)
        elif self._inbound.ended or self.last:
            self.close()
        else:
            self._state = IDLE
            connections.idle[self] = None
            self._due = now + connections.generation.options.keep_alive
            self._timer.arm(self._due)

    def _next(self) -> None:
        """Read what the client sent ahead."""
        if self._state is not NEXT:
            return
        now = monotonic()
        self.flush_from = 0
        held = self._inbound.take()
        self._begin(now)
        self._read(held, now)
        self._inbound.read_on()
        if self._inbound.ended and (self._state is IDLE or self._state is HEAD):
            # FIN came while these octets were held; nothing is left before it now.
            self.eof_received()

    def _begin(self, now: float, wall: float = 0.0) -> None:
        """The first octet of a request is here: from now on the request is under the present generation. wall: Unix
        seconds; 0: of this moment."""
        self._set_state(HEAD)
        generation = self._connections.generation
        if generation is not self._generation and not self._reader.started:
            empty_line = self._reader.size > 0  # came ahead of the request; a second one is refused
            self._generation = generation
            self._reader = RequestReader(generation.request_rules)
            if empty_line:
                self._reader.feed(b"\r\n")
            self._request.reader = self._reader
            self._inbound.limit = generation.request_rules.head
        self._request.begin(now, wall)

    def _read(self, data: bytes, now: float) -> None:
        """Read octets of a head; what follows the head may be among them."""
        reader = self._reader
        try:
            head = reader.feed(data)
        except RequestError as error:
            self._refuse(error.reason, now, error.detail)
            return
        if head is not None:
            self._request.head = head
            self._inbound.held = rest = reader.rest
            reader.rest = b""
            if self._accounted or len(rest) > WORTH_ACCOUNTING:
                self.account()
            self._decide(head, now)
        elif reader.started:
            # The deadline counts from the first octet of the head: dripping does not postpone it.
            self._due = self._request.began + self._generation.options.head_timeout
            self._timer.arm(self._due)
        else:
            # Nothing but the empty lines that a client may send before a request (RFC 9112 section 2.2).
            self._rest(now)

    def _decide(self, head: RequestHead, now: float, pending: Pending | None = None) -> None:
        """Ask for the decision, and act on it. pending: the decision has waited, and goes on from there."""
        try:
            if pending is None:
                decision = self._generation.decide(head, self.peer, now, self._request.wall)
            else:
                decision = pending.resume(now, time())
        except Exception:  # noqa: BLE001 - a mistake in policy must reach the client as a 500, and people as a traceback
            traceback.print_exc()
            if pending is None:
                self._refuse(errors.INTERNAL, now)
            else:
                self.last = True
                self._reply(pending.refused(errors.INTERNAL), head, now)
            return
        if isinstance(decision, Forward):
            self._forward(decision, head, now)
        elif isinstance(decision, LocalReply):
            self._reply(decision, head, now)
        else:
            self._wait_for(decision, now)

    def _forward(self, forward: Forward, head: RequestHead, now: float) -> None:
        generation = self._generation
        if self._inbound.ended and not generation.client_options.half_close:
            # The request was sent ahead, and its client has gone meanwhile.
            if forward.extras is not None and forward.extras.leave is not None:
                forward.extras.leave()
            self._request.abandon(forward.request_id, forward.client_id, route=forward.options.route)
            self.close()
            return
        pool, shortest = generation.pools[forward.options.upstream]
        own = forward.options.response_timeout
        self._check_every = shortest if own is None else min(shortest, own)
        self._state = BUSY
        self._inbound.paused = True  # until there is a connection to send the body to
        options, rules = generation.client_options, generation.response_rules
        if pool.guard.is_on:
            exchange: Exchange = GuardedExchange(self, pool, forward, head, options, rules, now)
        else:
            exchange = Exchange(self, pool, forward, head, options, rules, now)
        self._flow = exchange
        self._timer.arm(now + self._check_every)
        exchange.start(now)

    def _reply(self, local: LocalReply, head: RequestHead, now: float) -> None:
        """Write policy's reply. The body of a request that is not forwarded is not read to its end, so a request with
        a body is the last one on its connection."""
        bodiless = head.body == NO_BODY
        keep = bodiless and not head.close and not self.last
        self._write_reply(local, keep=keep)
        if keep:
            self._rest(now)
        elif self._inbound.held or not bodiless:
            self._linger(now)
        else:
            self.close()

    def _refuse(self, reason: Reason, now: float, detail: str = "", linger: float = LINGER) -> None:
        """Reply to what never became a decision (a malformed head, a deadline, a limit of the gateway), and end the
        connection: where the next request begins is unknown, or unwanted."""
        if self._state is HEAD:
            self._request.client_waited = now - self._request.began
        self._write_reply(self._request.refusal(reason, detail), keep=False)
        self._linger(now, linger)

    def _write_reply(self, local: LocalReply, *, keep: bool) -> None:
        """Its record is written when the client has taken it: at once, unless it is large and the client slow."""
        self._request.reply(local, keep=keep)
        if not self._full:
            self._request.taken()

    def _abandon_head(self, detail: str) -> None:
        """The connection ends within a head, or while one waits for the end of the loop's turn: nobody is left to read
        a reply, but the attempt has its record, as one that ends by FIN has."""
        if self._came:
            # It is not decided about any more. Its line says what was asked for, if the head is well-formed.
            with contextlib.suppress(RequestError):
                self._request.head = self._reader.feed(self._came)
            self._came = b""
        if detail is LEFT_IN_HEAD and self._request.head is not None:
            detail = ""
        self._request.client_waited = monotonic() - self._request.began
        self._request.abandon(self._connections.new_id(), self.peer.address, detail=detail)

    # ── a decision that waits ──

    def _wait_for(self, pending: Pending, now: float) -> None:
        self._state = PENDING
        self._due = pending.deadline
        self._timer.arm(self._due)
        self._pending = pending
        self._forget = pending.subscribe(lambda: self._ready(pending))

    def _ready(self, pending: Pending) -> None:
        """What the decision waited for is here. Said late, or twice, it is nothing: nobody waits for that any more."""
        head = self._request.head
        if pending is self._pending and head is not None:
            self._forget = self._pending = None
            self._decide(head, monotonic(), pending)

    def _stop_waiting(self) -> Pending | None:
        """Wait no more. Returns what was waited for."""
        pending = self._pending
        if self._forget is not None:
            self._forget()
        self._forget = self._pending = None
        return pending

    def _forget_pending(self, detail: str = "") -> None:
        """The client is gone: if a decision was awaited, forget it, and write the request's record."""
        pending = self._stop_waiting()
        if pending is not None:
            self._request.abandon(pending.request_id, pending.client_id, route=pending.route, detail=detail)

    def _refuse_pending(self, now: float, reason: Reason) -> None:
        """The decision does not come. reason: why."""
        pending, head = self._stop_waiting(), self._request.head
        if pending is not None and head is not None:
            self._reply(pending.refused(reason), head, now)

    def _end_wait(self, now: float) -> None:
        """What the decision waits for has not come in time."""
        pending, head = self._stop_waiting(), self._request.head
        if pending is None or head is None:
            return
        if pending.goes_on:
            self._decide(head, now, pending)
        else:
            self._reply(pending.refused(pending.reason), head, now)

    # ── octets ──

    def _deliver(self, data: Octets, now: float) -> None:
        """Hand octets of a body, or of a tunnel, to the flow; what lies beyond the body's end is held."""
        flow = self._flow
        if flow is not None and flow.wants_body:
            data = flow.client_data(data, now)
        if data:
            self._hold(bytes(data))

    def _wants_body(self) -> bool:
        return self._flow is not None and self._flow.wants_body

    def _hold(self, data: bytes) -> None:
        inbound = self._inbound
        inbound.hold(data)
        if self._accounted or len(inbound.held) > WORTH_ACCOUNTING:
            self.account()

    def _pass_eof(self) -> None:
        """Tell the flow of the client's FIN in its place: after all that was sent before it."""
        flow = self._flow
        if flow is not None and self._inbound.is_at_end() and not flow.client_ended:
            flow.client_eof(monotonic())

    def serving(self) -> Flow | None:
        """The flow that it serves; None: there is none."""
        return self._flow

    # ── memory ──

    def account(self) -> None:
        """Tell the budget how many octets this connection holds: read and unused, or written and not taken."""
        octets = len(self._inbound.held) + self._reader.size
        if self._state is not CLOSED:
            octets += buffered(self._cork.pull())
        upstream = None if self._flow is None else self._flow.upstream
        if upstream is not None:
            octets += upstream.buffered()
        self._accounted = octets > 0
        self._connections.buffers.account(self, octets)

    def evict(self) -> None:
        """All connections together hold too much, and this one holds most: reset it. Its request has its record."""
        state, flow = self._state, self._flow
        if state is HEAD:
            self._abandon_head(HELD_TOO_MUCH)
        self._set_state(CLOSING)
        self._inbound.held = b""
        if flow is not None:
            flow.client_lost(monotonic(), HELD_TOO_MUCH)
        elif state is PENDING:
            self._forget_pending(HELD_TOO_MUCH)
        else:
            self._request.cut(errors.CLIENT_GONE, HELD_TOO_MUCH)
        reset_transport(self._cork.pull())

    # ── endings ──

    def _set_state(self, state: State) -> None:
        self._connections.idle.pop(self, None)
        self._state = state

    def _linger(self, now: float, span: float = LINGER) -> None:
        """The last response is out: half-close, and drop what the client still sends; see `LINGER`."""
        if self._inbound.ended or not self._cork.transport.can_write_eof():
            self.close()
            return
        self._set_state(LINGERING)
        self._inbound.held = b""
        if self._accounted:
            self.account()
        self._cork.pull().write_eof()
        self._inbound.read_on()
        if self._full:
            self._await_sending(now)
        else:
            self._linger_for(span, now)

    def _linger_for(self, span: float, now: float) -> None:
        """The client has taken the response, and has so much time to end."""
        self._due = now + (min(span, REFUSED_LINGER) if self._connections.draining else span)
        self._timer.arm(self._due)

    def close(self) -> None:
        """Close after what is buffered has been sent. Nothing more is read."""
        if self._state is CLOSED:
            return
        self._set_state(CLOSING)
        self._await_sending(monotonic())
        self._cork.pull().close()

    def _await_sending(self, now: float) -> None:
        """The client has `send_timeout` to take some of what is buffered; then `_overdue` looks at its pace."""
        self._pace = Pace(self.write_backlog(), now)
        self._due = now + self._generation.client_options.send_timeout
        self._timer.arm(self._due)

    def has_unread(self) -> bool:
        return has_unread(self._cork.transport)

    def renewed(self) -> None:
        flow, present, tls = self._flow, self._connections.generation, tls_of(self._cork.transport)
        if tls is not None and not present.admits(tls.context):
            self.last = True
            self._end_soon(errors.TUNNEL_OUTDATED)
            return
        if flow is None or flow.phase is not TUNNEL or present is self._generation:
            return
        forward = flow.forward
        if not self._generation.terms.hold_in(present.terms, forward.options.route, forward.client_id):
            flow.end_soon(errors.TUNNEL_OUTDATED, present.options.spread, monotonic())

    def drain(self) -> None:
        """The gateway drains: a connection without a request closes; one with a request closes after it, since `last`
        is set. A request may have come, and not have been read yet."""
        self._end_soon(errors.DRAINING)

    def _end_soon(self, reason: Reason) -> None:
        """See `drain`. reason: of a tunnel's end."""
        if self._flow is not None:
            self._flow.end_soon(reason, self._connections.generation.options.spread, monotonic())
        elif self._state is WAITING or (self._state is LINGERING and not self._full):
            self.close()
        elif self._state is IDLE and not self.has_unread():
            if self._request.began:
                self.close()
            else:
                self._due = monotonic() + FIRST_OCTET
                self._timer.arm(self._due)

    def give_up(self) -> None:
        """The gateway ends now. A request without a response is replied to with 503; half a response is cut. A client
        that had not taken what was written before is reset, since nobody will wait for it."""
        now = monotonic()
        if self._came:
            self.handle(now)
        stuck = self.buffered() > 0
        state = self._state
        self.last = True
        if self._flow is not None:
            self._flow.give_up(errors.DRAINING, now)
        elif state is HEAD:
            self._refuse(errors.DRAINING, now)
        elif state is PENDING:
            self._refuse_pending(now, errors.DRAINING)
        if stuck:
            self._request.cut(errors.DRAINING)
            self.reset()
        else:
            self.close()

    # ── time ──

    def _expire(self) -> None:
        """The timer fired. It may have been armed for something that is over: find out what is due now."""
        # What was waited for may have come in this turn of the loop.
        self._turn.settle()
        now = monotonic()
        flow = self._flow
        if flow is not None:
            due = flow.expire(now)
            if self._flow is not None:
                self._timer.arm(min(due, now + self._check_every))
                return
        elif now >= self._due:
            self._overdue(now)
        if self._state is not CLOSED:
            self._timer.arm(self._due)

    def _overdue(self, now: float) -> None:
        """The present state has lasted too long."""
        state = self._state
        self._due = inf
        if state is WAITING:
            if not self._connections.admit_late(self):
                self._refuse_entry(now)
        elif state is HEAD:
            self._refuse(errors.HEAD_TIMEOUT, now)
        elif state is PENDING:
            self._end_wait(now)
        elif state is CLOSING or state is FULL or (state is LINGERING and self._full):
            options = self._generation.client_options
            # A slow reader that takes some, and as much as `body_rate` asks for, is not late.
            if self._pace.look(self.write_backlog(), now) and self._pace.reaches(options.body_rate, now):
                self._due = now + options.send_timeout
            else:
                reset_transport(self._cork.pull())
        elif state is IDLE or state is LINGERING:
            self.close()
