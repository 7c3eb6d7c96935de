"""A tunnel: octets pass both ways, unread, after an exchange has switched protocols (101, RFC 9110 section 15.2.2).

The tunnel takes over both ports, and what the outcome says of the request. It passes half-closes on, and is over when
both sides have ended. When one side is lost, the other one is reset: nothing in the octets would show that some are
missing.

A tunnel ends when its credential does: somewhat before, at a moment that differs from tunnel to tunnel, so that a
thousand whose tokens were made at one time do not come back at one time. So does one whose route, service or key was
taken out of the configuration, in the time that the gateway gives it. When the gateway drains, WebSockets end likewise;
other protocols last until it is over. A WebSocket gets a close frame where its stream stands between two frames; else,
and in other protocols, the connection just ends.
"""

from binascii import crc32
from math import inf
from typing import Final

from rawgate import errors
from rawgate.errors import Reason
from rawgate.message import Octets
from rawgate.relay.flow import CLOSED, Flow
from rawgate.relay.phases import DONE, OVER, RESPONSE_END, TUNNEL
from rawgate.relay.ports import UpstreamPort
from rawgate.relay.websocket import GOING_AWAY, POLICY_VIOLATION, SERVICE_RESTART, Frames, close_frame

WEBSOCKET: Final = b"websocket"

_CODES: Final = {
    errors.DRAINING: GOING_AWAY,
    errors.TUNNEL_EXPIRED: POLICY_VIOLATION,
    errors.TUNNEL_OUTDATED: SERVICE_RESTART,
}
"""What the close frame says, where a tunnel ends for one of these reasons."""

SPREAD: Final = 10.0
PART: Final = 0.1
"""Ends of tunnels are spread over so many seconds before the credentials end, or over that part of the time that is
left, if it is less. No precedent. It ends within the leeway of most tokens (30 s), so a client that comes back has had
reason to get a new one."""


def spread(left: float) -> float:
    """How long before the end of its credential a tunnel ends at most; `left`: until then. Seconds."""
    return min(SPREAD, PART * max(0.0, left))


class Tunnel(Flow):
    """See the module."""

    __slots__ = ("_down", "_ends_at", "_ends_by", "_up")

    def __init__(self, exchange: Flow, data: bytes, now: float) -> None:
        """exchange: it has just switched. data: what came behind the 101, and is passed on."""
        super().__init__(exchange.client, exchange.pool, exchange.forward, exchange.head, exchange.client_options, now)
        self.phase = TUNNEL
        self.status = 101
        self.bytes_out = len(data)
        self.asked_at, self.leased_at, self.head_at = exchange.asked_at, exchange.leased_at, now
        self.attempts, self.endpoint = exchange.attempts, exchange.endpoint
        # `upstream_ended` is not taken over: where the 101 lay in the socket of a connection that is lost,
        # `upstream_lost` is yet to come, and a loss is no half-close.
        self.upstream = exchange.upstream
        self.upstream_full, self.upstream_pace = exchange.upstream_full, exchange.upstream_pace
        self.client_pace = exchange.client_pace
        self.client_since, self.client_waited = exchange.client_since, exchange.client_waited
        self.has_tunnel_slot = exchange.has_tunnel_slot
        self.wants_body = True
        is_websocket = self.forward.upgrade == WEBSOCKET
        self._up: Frames | None = Frames() if is_websocket else None
        self._down: Frames | None = Frames() if is_websocket else None
        if self._down is not None:
            self._down.feed(data)
        self._ends_at, self._ends_by = inf, errors.TUNNEL_EXPIRED
        extras = self.forward.extras
        if extras is not None and extras.until < inf:
            until = self.client.monotonic(extras.until)
            self._ends_at = until - spread(until - now) * self._share()
            self.client.arm(self._ends_at)

    def _number(self) -> int:
        """Of this tunnel: 32 bits, as good as random."""
        return crc32(self.forward.request_id.encode())

    def _share(self) -> float:
        """From 0 to 1, and as likely one as the other."""
        return self._number() / 0x1_0000_0000

    def client_data(self, data: Octets, now: float) -> bytes:
        self.waiting_since = now
        self.bytes_in += len(data)
        if self._up is not None:
            self._up.feed(data)
        if self.upstream is not None:
            self.upstream.write(data)
        return b""

    def client_fin(self, now: float) -> bool:
        return False

    def client_eof(self, now: float) -> None:
        self.client_ended = True
        if self.upstream is not None:
            self.upstream.write_eof()
        self._end_if_both_have(now)

    def client_lost(self, now: float, detail: str = "") -> None:
        """The status stays the one that the client was told, as in nginx: a tunnel has no response to be complete."""
        if self.phase is not DONE:
            self.detail = detail
            self.drop_upstream(errors.CLIENT_GONE, now)
            self.finish(OVER, errors.CLIENT_GONE, now)

    def upstream_data(self, data: bytes, now: float) -> None:
        self.waiting_since = now
        self.bytes_out += len(data)
        if self._down is not None:
            self._down.feed(data)
        self.client.write(data)

    def upstream_eof(self, now: float) -> None:
        self.waiting_since = now
        self.upstream_ended = True
        self.client.write_eof()
        self._end_if_both_have(now)

    def upstream_lost(self, now: float, how: str = CLOSED) -> None:
        if self.phase is not DONE:
            self.cut(errors.UPSTREAM_CUT, now, shows=False)

    def _end_if_both_have(self, now: float) -> None:
        if self.client_ended and self.upstream_ended:
            self.close_upstream(now)
            self.finish(RESPONSE_END, errors.OK, now)

    def tell_pool(self, upstream: UpstreamPort, reason: Reason, now: float) -> None:
        """Nothing to do: the pool let the connection go when it switched (`Pool.switched`)."""

    def deadline(self) -> tuple[float, Reason]:
        options = self.pool.options
        idle, oldest = self.waiting_since + options.tunnel_idle, self.started + options.tunnel_max_age
        due, reason = (idle, errors.TUNNEL_IDLE) if idle < oldest else (oldest, errors.TUNNEL_MAX_AGE)
        return (self._ends_at, self._ends_by) if self._ends_at < due else (due, reason)

    def has_progressed(self, reason: Reason, now: float) -> bool:
        """A side that takes octets is not idle, however slowly it takes them."""
        if reason is not errors.TUNNEL_IDLE:
            return False
        pace = self.client_pace
        takes = self.client_takes(pace, 0, now) if pace is not None else self.upstream_full and self.upstream_takes(now)
        if takes:
            self.waiting_since = now
        return takes

    def end_soon(self, reason: Reason, spread: float, now: float) -> None:
        if reason is errors.DRAINING and self._down is None:
            return
        ends_at = now + spread * self._share()
        if ends_at < self._ends_at:
            self._ends_at, self._ends_by = ends_at, reason
            self.client.arm(ends_at)

    def timed_out(self, reason: Reason, now: float) -> None:
        if reason is errors.DRAINING and not self._may_be_told():
            self._ends_at = inf  # there may be another moment, before the gateway gives up
        elif reason in _CODES:
            self._part(reason, now)
        else:
            self.drop_upstream(reason, now)
            self.finish(OVER, reason, now)

    def give_up(self, reason: Reason, now: float) -> None:
        if self.phase is DONE:
            return
        if self._may_be_told():
            self._part(reason, now)
        else:
            self.cut(reason, now, shows=False)

    def _may_be_told(self) -> bool:
        """Whether a close frame for the client may be written now."""
        return self._down is not None and self._down.is_between() and not self.upstream_ended

    def _part(self, reason: Reason, now: float) -> None:
        """End both sides, each with a close frame where it may have one."""
        code = _CODES.get(reason, GOING_AWAY)
        if self._may_be_told():
            frame = close_frame(code, reason.detail)
            self.bytes_out += len(frame)
            self.client.write(frame)
            self.linger = True  # else what the client still sends could reset the connection before it has read this
        if self.upstream is not None and self._up is not None and self._up.is_between() and not self.client_ended:
            self.upstream.write(close_frame(code, reason.detail, self._number().to_bytes(4, "big")))
            self.close_upstream(now)
        else:
            self.drop_upstream(reason, now)
        self.finish(OVER, reason, now)
