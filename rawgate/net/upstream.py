"""The upstream's side of the asyncio shell: one protocol per connection, and one reaper per process.

A connection knows which flow it carries, and hands everything that comes to that flow. An idle connection belongs to
its pool. An octet, a FIN or a reset on an idle connection takes it out of the pool: a request must not be sent where
nobody reads any more, and octets that nobody asked for must never become the response to the next client.
"""

import asyncio
import ssl
from collections.abc import Callable, Collection, Iterator
from math import inf
from time import monotonic
from typing import cast

from rawgate.message import Octets
from rawgate.net import buffered_reading
from rawgate.net.buffered_reading import PIECE_OCTETS, SharedBuffer
from rawgate.net.transports import (
    HIGH_WATER,
    LOW_WATER,
    buffered,
    read_left,
    read_unasked,
    reset_transport,
    write_backlog,
)
from rawgate.net.turn import MOST, Cork, Recipient, Turn
from rawgate.relay.endpoints import ANY_ADDRESS, Endpoint
from rawgate.relay.flow import CLOSED, LOST, RESET, Flow
from rawgate.relay.phases import AWAITING
from rawgate.relay.pool import Pool
from rawgate.relay.ports import UpstreamPort
from rawgate.wire import ResponseReader, ResponseRules

REAP_EVERY = 5.0
"""Seconds between two rounds of the reaper. `Pool` never leases a connection that has been idle too long, so this
decides only how soon its descriptor is free."""

SLOW = 0.25
"""Seconds after which a client that was full and has room again is a slow one: it takes less than about 1 MB a second.
A fast one is full for milliseconds, again and again, and gains nothing by smaller pieces."""

_piece = SharedBuffer(PIECE_OCTETS)
"""One for the process. Its octets are copied before the next read."""


class UpstreamConnection(UpstreamPort, Recipient):
    """One connection to an upstream. The loop duck-types it as an `asyncio.Protocol`; a flow sees an `UpstreamPort`,
    and the turn of the loop a `Recipient`.

    flow  the exchange or tunnel that it carries; None while it is idle
    lost  the loop has called `connection_lost`
    """

    __slots__ = (
        "_came",
        "_closed_for_eof",
        "_cork",
        "_in_pieces",
        "_paused_at",
        "_served",
        "_turn",
        "flow",
        "lost",
        "pool",
    )

    _cork: Cork

    def __init__(
        self, pool: Pool, endpoint: Endpoint, rules: ResponseRules, turn: Turn, address: str = ANY_ADDRESS
    ) -> None:
        self.pool = pool
        self.endpoint = endpoint
        self.address = address
        self.reader = ResponseReader(rules)
        self.flow: Flow | None = None
        self.idle_since = self.retire_at = 0.0
        self.reused = self.is_last = False
        self.last_had_body = self.ever_had_body = False
        self.lost = False
        self._turn = turn
        self._came = b""  # octets of a response that wait for the end of the loop's turn
        self._served = False
        self._paused_at = inf
        self._in_pieces = False  # reads 64 KiB at most (see `net.buffered_reading`)
        self._closed_for_eof = False  # closed by `write_eof`, since its transport cannot half-close

    def __repr__(self) -> str:
        state = "lost" if self.lost else "idle" if self.flow is None else "leased"
        return f"<UpstreamConnection {self.pool.options.name} {self.endpoint.place.authority} {state}>"

    # ── the port ──

    def attach(self, flow: Flow | None) -> None:
        self.flow = flow
        if flow is not None:
            self.reused, self._served = self._served, True
            if self._in_pieces and not self.lost:
                self._read_in_pieces(False)

    def write(self, data: Octets) -> None:
        if not self.lost:
            self._cork.write(data)

    def write_eof(self) -> None:
        if self.lost:
            return
        transport = self._cork.pull()
        if transport.can_write_eof():
            transport.write_eof()
        else:
            self._closed_for_eof = True
            transport.close()

    def pause(self) -> None:
        if not self.lost:
            self._cork.transport.pause_reading()
            self._paused_at = monotonic()

    def resume(self) -> None:
        if not self.lost:
            if not self._in_pieces and monotonic() - self._paused_at >= SLOW:
                self._read_in_pieces(True)
            self._paused_at = inf
            self._cork.transport.resume_reading()

    def buffered(self) -> int:
        return buffered(self._cork.pull())

    def write_backlog(self) -> int:
        return 0 if self.lost else write_backlog(self._cork.pull())

    def is_stale(self) -> bool:
        came = b"" if self.lost else read_unasked(self._cork.transport)
        if came:
            self._unasked(came)
        return came is not None

    def has_failed(self) -> bool:
        return self.lost or self._cork.pull().is_closing()

    def drain(self) -> None:
        if not self.lost:
            self._cork.pull().set_write_buffer_limits(0)

    def close(self) -> None:
        if self.lost:
            return
        transport = self._cork.pull()
        if transport.get_write_buffer_size():
            # The response is here already: nobody waits for an upstream that does not take the rest of its request.
            reset_transport(transport)
        else:
            transport.close()

    def reset(self) -> None:
        if not self.lost:
            reset_transport(self._cork.pull())

    def abandon(self) -> None:
        """A dial that lost its race, or was cancelled, or a fault of ours: end the connection, if there is one yet."""
        cork = getattr(self, "_cork", None)
        if cork is not None:
            cork.transport.abort()

    # ── the loop's callbacks ──

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        wire = cast("asyncio.Transport", transport)
        wire.set_write_buffer_limits(HIGH_WATER, LOW_WATER)
        self._cork = Cork(wire, self._turn)

    def data_received(self, data: bytes) -> None:
        turn = self._turn
        if turn.waiting >= MOST:
            turn.settle()
        flow, came = self.flow, self._came
        if flow is not None and flow.phase is AWAITING and len(came) + len(data) <= turn.small:
            if not came:
                turn.add_response(self)
            self._came = came + data
        elif flow is not None:
            if came:
                # In one piece, as it lay in the socket: what came behind a response is seen before its connection can
                # be leased again.
                data, self._came = came + data, b""
            flow.upstream_data(data, monotonic())
        else:
            # A response to nothing: whatever it is, it is not for the next client.
            self._unasked(data)
            self.pool.lost(self)
            self.reset()

    def handle(self, now: float) -> None:
        came, flow = self._came, self.flow
        self._came = b""
        # A flow that has left meanwhile has reset the connection.
        if came and flow is not None:
            flow.upstream_data(came, now)

    def view_received(self, view: memoryview) -> None:
        self.data_received(bytes(view))

    def _read_in_pieces(self, wanted: bool) -> None:
        """It ends with the next flow."""
        self._in_pieces = wanted
        # The loop looks how to read when reading is resumed, and only then.
        is_reading = self._cork.transport.is_reading()
        self._cork.transport.pause_reading()
        if wanted:
            buffered_reading.begin(self, self._cork.transport, _piece)
        else:
            buffered_reading.end(self, self._cork.transport)
        if is_reading:
            self._cork.transport.resume_reading()

    def _unasked(self, came: bytes) -> None:
        """Octets came that nobody asked for. Behind a request with a body they may be a response to the body, which was
        read as a request: see `Pool.stop_reuse_after_body`. A 408 proves nothing, since a server also sends it before
        it closes a connection on which it has waited in vain (RFC 9110 section 15.5.9)."""
        if self.ever_had_body and not came.startswith((b"HTTP/1.1 408", b"HTTP/1.0 408")):
            self.pool.stop_reuse_after_body(self.endpoint)

    def eof_received(self) -> bool:
        if self._came:
            self.handle(monotonic())
        flow = self.flow
        if flow is None:
            self.pool.lost(self)
            self.close()
            return False
        flow.upstream_eof(monotonic())
        # True keeps our half open: what the flow still writes must go out.
        return self.flow is not None

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        flow = self.flow
        if flow is None:
            self.pool.lost(self)
        else:
            # A response may lie in the socket that the loop did not read before it gave up.
            # Where the loop gives up for an error, it is one of a write: what can be read is read before an error of
            # reading shows.
            flow.upstream_ends(refused=exc is not None)
            for data in self._left():
                flow.upstream_data(data, monotonic())
                flow = self.flow
                if flow is None:
                    return
            if self._closed_for_eof and exc is None:
                # We closed it for want of a half-close, and all was sent before: an end, and no loss.
                flow.upstream_eof(monotonic())
            if self.flow is not None:
                flow.upstream_lost(monotonic(), _how(exc))

    def _left(self) -> Iterator[bytes]:
        """What came before the connection was lost: what waits, and what the loop has not read."""
        came, self._came = self._came, b""
        if came:
            yield came
        yield from read_left(self._cork.transport)

    def pause_writing(self) -> None:
        if self.flow is not None:
            self.flow.upstream_is_full(monotonic())

    def resume_writing(self) -> None:
        if self.flow is not None:
            self.flow.upstream_has_room(monotonic())


def _how(error: Exception | None) -> str:
    """How a connection ended. A write tells of a reset by EPIPE when a read has not told before."""
    if error is None or isinstance(error, ssl.SSLEOFError):
        return CLOSED
    return RESET if isinstance(error, ConnectionResetError | BrokenPipeError) else LOST


class IdleReaper:
    """Every few seconds, until stopped: closes upstream connections that have been idle too long.

    pools   looked at anew each time, since a reload changes them
    chores  called after that, each time
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, pools: Collection[Pool], *chores: Callable[[], None]) -> None:
        self._loop = loop
        self._pools = pools
        self._chores = chores
        self._timer = loop.call_later(REAP_EVERY, self._run)

    def _run(self) -> None:
        now = monotonic()
        for pool in self._pools:
            for upstream in pool.sweep(now):
                upstream.close()
        for chore in self._chores:
            chore()
        self._timer = self._loop.call_later(REAP_EVERY, self._run)

    def stop(self) -> None:
        self._timer.cancel()
