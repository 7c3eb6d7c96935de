"""A tunnel: octets pass both ways, unread, after an exchange has switched protocols (101, RFC 9110 section 15.2.2).

The tunnel takes over both ports, and what the outcome says of the request. It passes half-closes on, and is over when
both sides have ended. When one side is lost, the other one is reset: nothing in the octets would show that some are
missing.
"""

from rawgate import errors
from rawgate.errors import Reason
from rawgate.message import Octets
from rawgate.relay.flow import CLOSED, Flow
from rawgate.relay.phases import DONE, OVER, RESPONSE_END, TUNNEL
from rawgate.relay.ports import UpstreamPort


class Tunnel(Flow):
    """See the module."""

    __slots__ = ()

    def __init__(self, exchange: Flow, octets: int, now: float) -> None:
        """exchange: it has just switched. octets: how many came behind the 101, and are passed on."""
        super().__init__(exchange.client, exchange.pool, exchange.forward, exchange.head, exchange.client_options, now)
        self.phase = TUNNEL
        self.status = 101
        self.bytes_out = octets
        self.asked_at, self.leased_at, self.head_at = exchange.asked_at, exchange.leased_at, now
        self.upstream = exchange.upstream
        self.upstream_ended = exchange.upstream_ended
        self.upstream_full, self.upstream_pace = exchange.upstream_full, exchange.upstream_pace
        self.client_pace = exchange.client_pace
        self.client_since, self.client_waited = exchange.client_since, exchange.client_waited
        self.has_tunnel_slot = exchange.has_tunnel_slot
        self.wants_body = True

    def client_data(self, data: Octets, now: float) -> bytes:
        self.waiting_since = now
        self.bytes_in += len(data)
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
            self.ended_at = now
            self.clock_client(now)
            self.close_upstream(now)
            self.finish(RESPONSE_END, errors.OK, now)

    def tell_pool(self, upstream: UpstreamPort, reason: Reason, now: float) -> None:
        """Nothing to do: the pool let the connection go when it switched (`Pool.switched`)."""

    def deadline(self) -> tuple[float, Reason]:
        options = self.pool.options
        idle, oldest = self.waiting_since + options.tunnel_idle, self.started + options.tunnel_max_age
        return (idle, errors.TUNNEL_IDLE) if idle < oldest else (oldest, errors.TUNNEL_MAX_AGE)

    def has_progressed(self, reason: Reason, now: float) -> bool:
        """A side that takes octets is not idle, however slowly it takes them."""
        if reason is errors.TUNNEL_MAX_AGE:
            return False
        pace = self.client_pace
        takes = self.client_takes(pace, 0, now) if pace is not None else self.upstream_full and self.upstream_takes(now)
        if takes:
            self.waiting_since = now
        return takes

    def timed_out(self, reason: Reason, now: float) -> None:
        self.drop_upstream(reason, now)
        self.finish(OVER, reason, now)

    def give_up(self, reason: Reason, now: float) -> None:
        if self.phase is not DONE:
            self.cut(reason, now, shows=False)
