"""The idle connections of one pool: which of them may serve a request, and which one does.

Rules
- The newest goes first. The others grow old and are retired, so the pool shrinks to what is needed. A connection whose
  last request had a body goes last.
- No connection is used after its `retire_at`.
- A connection whose last request had a body is looked at before it is used again. So is any connection for a request
  that cannot be sent a second time. What has come on a connection, even its end, is in the socket already, so one look
  tells.
- Each idle connection has a slot. The slot of a connection that is closed here is given back here.
"""

from collections.abc import Iterator

from rawgate.relay.endpoints import ANY_ADDRESS, Endpoint, Endpoints
from rawgate.relay.lessee import Lessee
from rawgate.relay.ports import UpstreamPort
from rawgate.relay.quota import Quota


def is_unfit(upstream: UpstreamPort, lessee: Lessee) -> bool:
    """Whether this request must not go out on this connection. Looks into the socket only where a mistake does harm."""
    return (upstream.last_had_body or lessee.unrepeatable) and upstream.is_stale()


class IdleConnections:
    """Those of all endpoints. Each endpoint has its own list, the newest last.

    reuse_after_body  whether a connection is used again after a request with a body
    """

    __slots__ = ("_endpoints", "_slots", "reuse_after_body")

    def __init__(self, endpoints: Endpoints, slots: Quota, reuse_after_body: bool) -> None:
        self._endpoints = endpoints
        self._slots = slots
        self.reuse_after_body = reuse_after_body

    def __iter__(self) -> Iterator[UpstreamPort]:
        for endpoint in self._endpoints.all:
            yield from endpoint.idle

    def count(self) -> int:
        return sum([len(endpoint.idle) for endpoint in self._endpoints.all])

    # ── one becomes leased ──

    def take_from(self, endpoint: Endpoint, lessee: Lessee, now: float) -> UpstreamPort | None:
        """One to the endpoint that was chosen, and to the address whose turn it is there."""
        upstream = self.take(endpoint, self._endpoints.next_address(endpoint, now), lessee, now)
        if upstream is not None:
            self._endpoints.end_turn(endpoint, now)
        return upstream

    def take_any(self, chosen: Endpoint, lessee: Lessee, now: float) -> UpstreamPort | None:
        """One to any endpoint. The one that was chosen comes first."""
        for endpoint in self._endpoints.rotated(chosen):
            upstream = self.take(endpoint, ANY_ADDRESS, lessee, now)
            if upstream is not None:
                self._endpoints.end_turn(endpoint, now)
                return upstream
        return None

    def close_oldest(self) -> bool:
        """Close the one that has been idle for longest, and give its slot back. False: there is none."""
        oldest = min(self, key=lambda one: one.idle_since, default=None)
        if oldest is None:
            return False
        oldest.endpoint.idle.remove(oldest)
        oldest.close()
        self._slots.give()
        return True

    def take(self, endpoint: Endpoint, address: str, lessee: Lessee, now: float) -> UpstreamPort | None:
        """The newest that leads to this address of the endpoint. Closes those that it finds unfit on its way."""
        idle = endpoint.idle
        at = len(idle)
        while at:
            at -= 1
            upstream = idle[at]
            if address and upstream.address != address:
                continue
            del idle[at]
            usable = upstream.retire_at > now and (self.reuse_after_body or not upstream.last_had_body)
            if usable and not is_unfit(upstream, lessee):
                return upstream
            upstream.close()
            self._slots.give()
        return None

    # ── one becomes idle, or ends ──

    def put(self, upstream: UpstreamPort, now: float, seconds: float) -> None:
        """It is idle from now on, for so many seconds at most."""
        upstream.idle_since = now
        upstream.retire_at = now + seconds
        upstream.attach(None)
        if upstream.last_had_body:
            upstream.endpoint.idle.insert(0, upstream)
        else:
            upstream.endpoint.idle.append(upstream)

    def remove(self, upstream: UpstreamPort) -> bool:
        """Its connection is gone. Returns whether it was idle."""
        if upstream not in upstream.endpoint.idle:
            return False
        upstream.endpoint.idle.remove(upstream)
        self._slots.give()
        return True

    def close_idle_since(self, endpoint: Endpoint, since: float) -> None:
        """Close those of an endpoint that have been idle since then, or for longer. `inf`: all of them."""
        for upstream in [upstream for upstream in endpoint.idle if upstream.idle_since <= since]:
            endpoint.idle.remove(upstream)
            upstream.close()
            self._slots.give()

    def close_elsewhere(self, endpoint: Endpoint, addresses: tuple[str, ...]) -> None:
        """Close those of an endpoint that lead to none of these addresses."""
        for upstream in [upstream for upstream in endpoint.idle if upstream.address not in addresses]:
            endpoint.idle.remove(upstream)
            upstream.close()
            self._slots.give()

    def close_surplus(self) -> None:
        """Close those that have been idle for longest, while others have a right to their slots: there are more
        connections than slots, or another process waits for one."""
        for upstream in sorted(self, key=lambda one: one.idle_since):
            if not self._slots.give_if_due():
                return
            upstream.endpoint.idle.remove(upstream)
            upstream.close()

    def retire(self, now: float) -> list[UpstreamPort]:
        """Take those off the lists that have grown too old. The caller closes them."""
        old = [upstream for upstream in self if upstream.retire_at <= now]
        for upstream in old:
            upstream.endpoint.idle.remove(upstream)
            self._slots.give()
        return old
