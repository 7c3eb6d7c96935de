"""Which connection serves which exchange: bookkeeping only, no sockets, no clock.

One pool per upstream. Every connection it counts is in exactly one of four places:

    dialing   asked for, on behalf of one waiter; not there yet
    leased    assigned to one exchange
    idle      at rest, by endpoint, the newest last
    tunnel    switched to another protocol, for as long as that lasts

Rules it keeps
- Each that is dialing, leased or idle has a slot of max_connections. A tunnel has none: it has given its slot back.
- Tunnels, and requests that may become one, ≤ max_tunnels.
- Somebody queues only while nothing is idle and no slot is free, so a newcomer never overtakes the queue.
- Whose turn it is in the queue, `turns` says: the address with the fewest connections. When somebody has to wait and
  another address holds more than its share, one of that address's exchanges makes way: the one that has waited longest
  for its own client. One that waits for the upstream never does.
- A connection is taken off the idle list in the same step that assigns it; nothing is ever handed out twice.
- A dial belongs to the waiter that caused it. Its failure is that waiter's failure; if the waiter has left, a dial that
  succeeds serves the head of the queue, or rests.
- A request goes to the endpoint whose turn it is, and to the address whose turn it is there (see `endpoints`): by an
  idle connection, or a new one while there is room. Without room any idle one is better than waiting.
- The newest idle connection goes first: the others grow old and are retired, so the pool shrinks to what is needed.
  One that has just carried a request's body goes last.
- A connection that last carried a body is looked at before it is used again, and so is any for a request that cannot be
  sent a second time: what has come on it, even its end, is in the socket already.
- A service that says something nobody asked for behind a request with a body has answered without reading that body,
  and takes it for a request: somebody else's client chose it. Its connections are not used after a body from then on.
- A request that is sent again keeps its slot and gets a new connection in it, even at the limit: a used one may be as
  dead as the one that it had.
- An address that accepts and closes without a word has failed, as one that refuses has, until it responds. An endpoint
  that does not answer in time on a used connection casts doubt on its idle ones from which nothing has come since: they
  are closed.
- A connection whose state is in doubt is never put back: `done` is told to keep it only by an exchange that has seen
  the whole response, and nothing after it.
- A connection to an endpoint that is gone ends with the exchange that has it.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from math import inf
from typing import Final

from mypy_extensions import trait

from rawgate.errors import OK, QUEUE_FULL, UPSTREAM_RESET, Reason
from rawgate.relay.endpoints import ANY, Endpoint, Endpoints, Place
from rawgate.relay.ports import UpstreamPort
from rawgate.relay.quota import Quota
from rawgate.relay.turns import Turns


class UpstreamOptions:
    """What an upstream's configuration says about relaying. Seconds and counts; `total_timeout` None: no limit.

    per_client: connections that one client address may hold while others wait
    reuse_after_body: whether a connection that has carried a request's body may carry another request
    """

    __slots__ = (
        "connect_timeout",
        "idle_timeout",
        "keep_alive",
        "max_connections",
        "max_tunnels",
        "name",
        "per_client",
        "places",
        "queue",
        "queue_timeout",
        "response_timeout",
        "reuse_after_body",
        "total_timeout",
        "tunnel_idle",
        "tunnel_max_age",
    )

    def __init__(
        self,
        name: str,
        places: tuple[Place, ...],
        connect_timeout: float = 3.0,
        response_timeout: float = 5.0,
        idle_timeout: float = 60.0,
        total_timeout: float | None = None,
        max_connections: int = 256,
        keep_alive: float = 55.0,
        queue: int = 128,
        queue_timeout: float = 1.0,
        per_client: int = 64,
        max_tunnels: int = 10_000,
        reuse_after_body: bool = True,
        tunnel_idle: float = 3600.0,
        tunnel_max_age: float = 86400.0,
    ) -> None:
        self.name: Final = name
        self.places: Final = places
        self.connect_timeout: Final = connect_timeout
        self.response_timeout: Final = response_timeout
        self.idle_timeout: Final = idle_timeout
        self.total_timeout: Final = total_timeout
        self.max_connections: Final = max_connections
        self.keep_alive: Final = keep_alive
        self.queue: Final = queue
        self.queue_timeout: Final = queue_timeout
        self.per_client: Final = per_client
        self.max_tunnels: Final = max_tunnels
        self.reuse_after_body: Final = reuse_after_body
        self.tunnel_idle: Final = tunnel_idle
        self.tunnel_max_age: Final = tunnel_max_age


@trait
class Waiter(ABC):
    """Who asks for a connection. It is a base class for the reason that ports are (see `relay.ports`), and a trait
    (mypyc's word) since an exchange has another base; a trait has no slots of its own."""

    __slots__ = ()

    careful: bool
    """Its request cannot be sent a second time: the connection must be good."""

    @property
    @abstractmethod
    def address(self) -> str:
        """Of the client, as a limiter's bucket: whose share of the connections this is."""

    @property
    @abstractmethod
    def stalled_since(self) -> float:
        """Monotonic time since when it has had its connection and has waited for its own client; `inf`: it does not."""

    @abstractmethod
    def leased(self, upstream: UpstreamPort, now: float) -> None:
        """Here it is."""

    @abstractmethod
    def lease_failed(self, reason: Reason, now: float, detail: str = "") -> None:
        """There will be none. detail: why, for the log."""

    @abstractmethod
    def make_way(self, now: float) -> None:
        """End now, and give the connection back: others wait for it."""


Dial = Callable[["Pool", Waiter], None]
"""Starts a dial in the background that ends in `Pool.dialed` or `Pool.dial_failed`; never calls back at once."""


def ignore(text: str) -> None:
    """For pools that nobody watches."""


class Outcomes(ABC):
    """Who wants to hear how each use of an upstream connection ended: health, ejection, breakers."""

    __slots__ = ()

    @abstractmethod
    def done(self, endpoint: Endpoint, reason: Reason, status: int, seconds: float, now: float) -> None:
        """reason: OK, or why it ended. status: the response's, 0 if none came. seconds: from the lease, or from the
        start of a dial that failed, until the endpoint had done its part."""


class Pool:
    """The connections of one upstream.

    endpoints  where it can be reached
    slots      of max_connections
    queue      places for those who wait
    outcomes   hears how each use ended, if anybody wants to
    """

    def __init__(
        self,
        options: UpstreamOptions,
        dial: Dial,
        report: Callable[[str], None] = ignore,
        slots: Quota | None = None,
        queue: Quota | None = None,
    ) -> None:
        """report: is told, in one line, what the operator should know. slots, queue: None: this pool's own."""
        self.options = options
        self.reuse_after_body = options.reuse_after_body
        self.endpoints = Endpoints(options.places, self._tell)
        self.slots = Quota(options.max_connections) if slots is None else slots
        self.queue = Quota(options.queue) if queue is None else queue
        self.outcomes: Outcomes | None = None
        self.tunnels = 0
        self.closed = False
        self._dial = dial
        self._report = report
        self._dialing: dict[Waiter, bool] = {}  # → does the waiter still wait
        self._leased: dict[UpstreamPort, Waiter] = {}
        self._turns = Turns(options.per_client)
        self._unplaced: Waiter | None = None  # who has just joined the queue, while there is no place in it
        self.slots.on_free(self._promote)

    def __repr__(self) -> str:
        return (
            f"<Pool {self.options.name} leased={self.leased} idle={self.idle} dialing={len(self._dialing)} "
            f"queued={self._turns.waiting} tunnels={self.tunnels}>"
        )

    @property
    def leased(self) -> int:
        return len(self._leased)

    @property
    def idle(self) -> int:
        return sum([len(endpoint.idle) for endpoint in self.endpoints.all])

    @property
    def size(self) -> int:
        """Connections that have a slot."""
        return self.leased + self.idle + len(self._dialing)

    # ── asking ──

    def acquire(self, waiter: Waiter, now: float) -> UpstreamPort | Reason | None:
        """A connection at once, or None: wait for `leased` or `lease_failed`, or the reason why there will be none."""
        endpoints = self.endpoints
        if endpoints.is_single:
            upstream = self._take_idle(endpoints.all[0], ANY, waiter, now)
        else:
            upstream = self._take_in_turn(waiter, now)
        if upstream is not None:
            return upstream
        if self.slots.take() or self._take_retired(now):
            self._start_dial(waiter)
            return None
        upstream = self._take_any_idle(waiter, now)
        if upstream is not None:
            return upstream
        return self._wait(waiter, now)

    def _take_retired(self, now: float) -> bool:
        """A slot of a connection that has grown too old."""
        for old in self.retire(now):
            old.close()
        return self.slots.take()

    def replace(self, upstream: UpstreamPort, waiter: Waiter, seconds: float, now: float) -> None:
        """The connection that the waiter leased so many seconds ago is dead: dial a new one in its slot."""
        self._tell_outcome(upstream.endpoint, UPSTREAM_RESET, 0, seconds, now)
        self._take_back(upstream)
        self._start_dial(waiter)

    def _wait(self, waiter: Waiter, now: float) -> Reason | None:
        """There is nothing for it: the queue. It is not refused before others have been asked to make way for it."""
        turns = self._turns
        if not turns.counting:
            turns.count(holder.address for holder in (*self._leased.values(), *self._dialing))
        turns.join(waiter)
        if not self.queue.take():
            self._unplaced = waiter
        if turns.others_over(waiter.address):
            self._ask_for_way(waiter, now)
        if self._unplaced is not waiter:
            return None
        self._unplaced = None
        if self.queue.take():
            return None
        crowding = turns.crowding(waiter)
        turns.leave(crowding)
        if crowding is waiter:
            return QUEUE_FULL
        crowding.lease_failed(QUEUE_FULL, now)  # its place is the newcomer's
        return None

    def _left_queue(self, waiter: Waiter) -> None:
        if waiter is self._unplaced:
            self._unplaced = None
        else:
            self.queue.give()

    def _next_waiter(self) -> Waiter | None:
        """Whose turn it is; it waits no longer."""
        waiter = self._turns.take() if self._turns.waiting else None
        if waiter is not None:
            self._left_queue(waiter)
        return waiter

    def _ask_for_way(self, waiter: Waiter, now: float) -> None:
        """End the exchange that has waited longest for its own client, out of those whose address has too much."""
        turns, longest, victim = self._turns, inf, None
        for holder in self._leased.values():
            if holder.address != waiter.address and turns.held(holder.address) > turns.share:
                since = holder.stalled_since
                if since < longest:
                    longest, victim = since, holder
        if victim is not None:
            victim.make_way(now)

    def insist(self, waiter: Waiter, now: float) -> bool:
        """Its time in the queue is over: once more, look for somebody to make way. Whether it waits no longer."""
        if self._turns.others_over(waiter.address):
            self._ask_for_way(waiter, now)
        return waiter not in self._turns

    def queued(self, waiter: Waiter) -> bool:
        """In the queue, with no dial of its own under way."""
        return waiter in self._turns

    def leave(self, waiter: Waiter) -> None:
        """The waiter does not want it any more. A dial on its behalf goes on, for whoever is next."""
        if waiter in self._turns:
            self._turns.leave(waiter)
            self._left_queue(waiter)
        if waiter in self._dialing:
            self._dialing[waiter] = False

    # ── tunnels ──

    def reserve_tunnel(self) -> bool:
        """Take a place for an exchange that may become a tunnel. False: all are taken."""
        if self.tunnels >= self.options.max_tunnels:
            return False
        self.tunnels += 1
        return True

    def free_tunnel(self) -> None:
        """A place that was reserved is free again."""
        self.tunnels -= 1

    def switched(self, upstream: UpstreamPort, seconds: float, now: float) -> None:
        """A connection that was leased so many seconds ago has become a tunnel: its slot is free."""
        self._tell_outcome(upstream.endpoint, OK, 101, seconds, now)
        self._take_back(upstream)
        self._free_slot()

    # ── what dials report ──

    def doubt(self, endpoint: Endpoint, since: float) -> None:
        """A used connection to this endpoint has been silent since then, for too long: close its idle ones that have
        been at rest for as long. One that was used later has shown that it is alive."""
        for upstream in [upstream for upstream in endpoint.idle if upstream.rested_at <= since]:
            self._close_idle(upstream)

    def dialed(self, waiter: Waiter, upstream: UpstreamPort, now: float) -> None:
        """A dial succeeded."""
        self.endpoints.answered(upstream.endpoint, upstream.address)
        self._leased[upstream] = waiter
        if self._dialing.pop(waiter):
            waiter.leased(upstream, now)
        else:
            self._rest(upstream, now, self.options.keep_alive)

    def unreachable(self, endpoint: Endpoint, reason: Reason, why: str, seconds: float, now: float) -> None:
        """A dial has failed at this endpoint, so many seconds after it was begun there; it may go on to others."""
        self.endpoints.failed(endpoint, why, now)
        self._tell_outcome(endpoint, reason, 0, seconds, now)

    def dial_failed(self, waiter: Waiter, reason: Reason, now: float, detail: str = "") -> None:
        """A dial failed at every endpoint. detail: how at the last one, for the log."""
        waits = self._dialing.pop(waiter)
        if self._turns.counting:
            self._turns.gave(waiter.address)
        self._free_slot()
        if waits:
            waiter.lease_failed(reason, now, detail)

    # ── giving back ──

    def done(
        self,
        upstream: UpstreamPort,
        reason: Reason,
        status: int,
        seconds: float,
        now: float,
        keep: bool = False,
        promised: int = -1,
        carried: bool = False,
    ) -> None:
        """The use of a leased connection is over; how, is for `Outcomes`.

        keep: it is clean and may be used again; else the caller has ended it. promised: seconds for which the upstream
        will keep it, -1 unsaid. carried: the request had a body.
        """
        self._tell_outcome(upstream.endpoint, reason, status, seconds, now)
        if not keep:
            self._take_back(upstream)
            self._free_slot()
            return
        if carried:
            upstream.bodies = True
            if not self.reuse_after_body:
                self._close_leased(upstream)
                return
        upstream.carried = carried
        # A second before the upstream closes it, a request could be on its way already: retire it first.
        keep_alive = self.options.keep_alive
        self._rest(upstream, now, keep_alive if promised < 0 else min(keep_alive, promised - 1))

    def _rest(self, upstream: UpstreamPort, now: float, seconds: float) -> None:
        """A leased connection is free: it goes to whose turn it is, or rests for so many seconds."""
        if self.closed or upstream.endpoint.is_gone:
            self._close_leased(upstream)
            return
        self._take_back(upstream)
        waiter = self._next_waiter()
        if waiter is not None:
            self._pass_on(upstream, waiter, now)
            return
        upstream.rested_at = now
        upstream.retire_at = now + seconds
        upstream.attach(None)
        if upstream.carried:
            upstream.endpoint.idle.insert(0, upstream)
        else:
            upstream.endpoint.idle.append(upstream)

    def _close_leased(self, upstream: UpstreamPort) -> None:
        upstream.attach(None)
        upstream.close()
        self._take_back(upstream)
        self._free_slot()

    def _pass_on(self, upstream: UpstreamPort, waiter: Waiter, now: float) -> None:
        """From one exchange to the next."""
        if (upstream.carried or waiter.careful) and upstream.is_spoilt():
            upstream.attach(None)
            upstream.close()
            self._start_dial(waiter)
        else:
            self._leased[upstream] = waiter
            self._turns.took(waiter.address)
            waiter.leased(upstream, now)

    def suspect(self, endpoint: Endpoint) -> None:
        """Something has come, nobody knows for whom, on a connection to this endpoint that has carried a request's
        body: see the module's rules. Told once."""
        if not self.reuse_after_body:
            return
        self.reuse_after_body = False
        name = self.options.name
        self._tell(
            f"{endpoint.place.authority} sent octets that belong to no request, on a connection that had carried a "
            "request's body. A service that answers without reading a body takes what is left of it for a request, "
            "which its sender has made up. From now on, until a restart, connections to this upstream are not used "
            f'again after a body: say so with upstreams.{name}.reuse = "after-bodiless", or have the service read '
            "each body, or close"
        )

    def lost(self, upstream: UpstreamPort) -> None:
        """A connection is gone that served nobody."""
        if upstream in upstream.endpoint.idle:
            upstream.endpoint.idle.remove(upstream)
            self._free_slot()

    def retire(self, now: float) -> list[UpstreamPort]:
        """Idle connections that have grown too old, taken off the list: the caller closes them."""
        old = [upstream for upstream in self._all_idle() if upstream.retire_at <= now]
        for upstream in old:
            upstream.endpoint.idle.remove(upstream)
            self.slots.give()
        return old

    def sweep(self, now: float) -> list[UpstreamPort]:
        """Every few seconds: as `retire`, and nothing is counted any longer than it is wanted."""
        self._turns.forget()
        return self.retire(now)

    def close(self) -> list[UpstreamPort]:
        """The gateway ends: nothing rests here any more. Returns what was idle, for the caller to close."""
        self.closed = True
        return self.retire(inf)

    def retarget(self, places: Sequence[Place]) -> None:
        """From now on the upstream is at these places, at least one. Connections to those that stay are kept."""
        for gone in self.endpoints.retarget(places):
            for upstream in list(gone.idle):
                self._close_idle(upstream)
        self._promote()

    # ── inside ──

    def _all_idle(self) -> Iterator[UpstreamPort]:
        for endpoint in self.endpoints.all:
            yield from endpoint.idle

    def _tell(self, text: str) -> None:
        self._report(f"upstream {self.options.name}: {text}")

    def _tell_outcome(self, endpoint: Endpoint, reason: Reason, status: int, seconds: float, now: float) -> None:
        if self.outcomes is not None:
            self.outcomes.done(endpoint, reason, status, seconds, now)

    def _take_back(self, upstream: UpstreamPort) -> None:
        """It is leased no longer; it still has its slot."""
        waiter = self._leased.pop(upstream)
        if self._turns.counting:
            self._turns.gave(waiter.address)

    def _close_idle(self, upstream: UpstreamPort) -> None:
        upstream.endpoint.idle.remove(upstream)
        upstream.close()
        self.slots.give()

    def _take_idle(self, endpoint: Endpoint, address: str, waiter: Waiter, now: float) -> UpstreamPort | None:
        """The newest that leads to this address of the endpoint, or to any."""
        idle = endpoint.idle
        at = len(idle)
        while at:
            at -= 1
            upstream = idle[at]
            if address and upstream.address != address:
                continue
            del idle[at]
            good = upstream.retire_at > now and (self.reuse_after_body or not upstream.carried)
            if good and not ((upstream.carried or waiter.careful) and upstream.is_spoilt()):
                self._leased[upstream] = waiter
                if self._turns.counting:
                    self._turns.took(waiter.address)
                return upstream
            upstream.close()
            self.slots.give()
        return None

    def _take_in_turn(self, waiter: Waiter, now: float) -> UpstreamPort | None:
        endpoint, address = self.endpoints.next(now)
        upstream = self._take_idle(endpoint, address, waiter, now)
        if upstream is not None:
            self.endpoints.took(endpoint, now)
        return upstream

    def _take_any_idle(self, waiter: Waiter, now: float) -> UpstreamPort | None:
        """From the endpoint whose turn it is on."""
        for endpoint in self.endpoints.ring(now):
            upstream = self._take_idle(endpoint, ANY, waiter, now)
            if upstream is not None:
                self.endpoints.took(endpoint, now)
                return upstream
        return None

    def _start_dial(self, waiter: Waiter) -> None:
        self._dialing[waiter] = True
        if self._turns.counting:
            self._turns.took(waiter.address)
        self._dial(self, waiter)

    def _free_slot(self) -> None:
        self.slots.give()
        self._promote()

    def _promote(self) -> None:
        """A slot may be free: whose turn it is dials."""
        if self._turns.waiting and self.slots.take():
            waiter = self._next_waiter()
            if waiter is not None:
                self._start_dial(waiter)
            else:
                self.slots.give()
