"""Decides which connection serves which exchange. A pool keeps books only: it has no sockets and no clock.

There is one pool for each upstream. Each connection that it counts is in exactly one of four states:

    dialing   asked for, on behalf of one lessee; not connected yet
    leased    serves one exchange
    idle      serves nobody (see `idle`)
    tunnel    has switched to another protocol, and stays so until it ends

Rules
- Each connection that is dialing, leased or idle has a slot of `max_connections`. A tunnel has none: it gave its slot
  back when it switched.
- Tunnels, and requests that may become one, are `max_tunnels` at most.
- Processes may share the slots (see `quota`). While somebody waits for one in another process, a connection that nobody
  here needs is closed, and its slot given back. It takes that process a turn of its loop, and until then nobody here
  knows whether there is such a connection. So who finds the queue full, or finds none, is refused after `GRACE` only.
- A lessee waits only while nothing is idle and no slot is free, so a newcomer never overtakes the queue.
- `fair_queue` decides whose turn it is: the client address with the fewest connections comes first. When a lessee has
  to wait while another address holds more than its share, an exchange of such an address makes way. It is the exchange
  that has waited longest for its own client. An exchange that waits for the upstream never makes way.
- A connection leaves the idle list in the same step that leases it, so none is handed out twice.
- A dial belongs to the lessee that caused it, and its failure is that lessee's failure. If the lessee has left, the new
  connection serves the head of the queue, or becomes idle.
- A request goes to the endpoint that `balance` chooses, and to the address whose turn it is there (see `endpoints`). It
  takes an idle connection, or a new one while a slot is free. Without a free slot, any idle one is better than waiting.
- Where the key of a request decides, no other endpoint will do. Without a free slot the connection that has been idle
  for longest gives up its own, and so does a connection to another endpoint that becomes free while the request waits.
- The same is done for an endpoint that has less than half of what it is due of the requests under way: one that is
  back, say, while all slots are taken by connections to the others. As long as requests wait, they would keep them.
- A service may respond without reading a request's body. It then reads that body as a request, which the body's sender
  has made up. Octets that nobody asked for, behind a request with a body, give such a service away. From then on no
  connection to its upstream is used again after a body.
- A request that is sent again keeps its slot and gets a new connection, even at the limit. A used connection may be as
  dead as the one that failed. It goes to another endpoint, if one is up, but where a used connection just ended.
- An address that accepts a connection, and closes it without an octet, has failed until it responds to a request, as
  one that refuses has failed until it accepts.
- An endpoint may be silent on a reused connection until a deadline is over. Its other connections that have been idle
  since then may be dead as well, so they are closed.
- A connection in doubt never becomes idle: `done` keeps a connection only if the exchange has seen the whole response,
  and nothing after it.
- A connection to an endpoint that is gone, or to an address that its name has left, ends with its exchange. So does one
  beyond a limit that was lowered.
- Whoever tells where an upstream is (DNS, Consul) may not have answered yet. Then a request waits as part of its dial,
  and so with a slot: the others queue, and no time is longer than it is configured to be. Once the question has failed,
  nobody waits any more: it is asked again by itself, and until it is answered there is no target.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from math import inf
from typing import Final

from rawgate.errors import OK, QUEUE_FULL, UPSTREAM_RESET, Reason
from rawgate.relay.balance import Draw, never_by_chance
from rawgate.relay.breaker import NO_PROBE
from rawgate.relay.endpoints import ANY_ADDRESS, Endpoint, Endpoints, Place
from rawgate.relay.fair_queue import FairQueue
from rawgate.relay.guard import Guard
from rawgate.relay.idle import IdleConnections, is_unfit
from rawgate.relay.lessee import Lessee
from rawgate.relay.options import UpstreamOptions
from rawgate.relay.ports import UpstreamPort
from rawgate.relay.quota import Quota

GRACE: Final = 0.05
"""Seconds that a request may wait without a place in the queue, while another process may have an idle connection to
close for it. That takes a turn of that process's loop, so some milliseconds even when it is busy. A process that was
asked for so long, and has closed none, has none: as long as somebody waits here, further requests are refused at once.
What was rejected: to refuse such a request, and let the next one have the slot, since with `queue = 0` requests were
refused while connections were idle; and to count what is idle in each process, which is a write for each request."""

Dial = Callable[["Pool", Lessee], None]
"""Starts a dial in the background, which ends in `Pool.dialed` or `Pool.dial_failed`. It never calls back at once."""


def ignore(text: str) -> None:
    """The `report` of a pool that nobody watches."""


class Outcomes(ABC):
    """Hears how each use of an upstream connection ended: for health checks, ejection, circuit breakers."""

    __slots__ = ()

    @abstractmethod
    def done(self, endpoint: Endpoint, reason: Reason, status: int, seconds: float, now: float) -> None:
        """A use is over.

        reason: OK, or why it ended. status: the response's, 0 if none came. seconds: from the lease, or from the start
        of a dial that failed, until the endpoint had done its part.
        """


class Pool:
    """The connections of one upstream.

    endpoints     where it can be reached
    slots         slots of `max_connections`
    queue_slots   slots of `queue`
    tunnel_slots  slots of `max_tunnels`
    guard         the upstream's circuit breaker, and the budget of its retries
    outcomes      hears how each use ended; None: nobody does
    expects_places  there are no endpoints, since whoever tells them is being asked for the first time
    untold        as in `UpstreamOptions`
    """

    def __init__(
        self,
        options: UpstreamOptions,
        dial: Dial,
        report: Callable[[str], None] = ignore,
        slots: Quota | None = None,
        queue_slots: Quota | None = None,
        tunnel_slots: Quota | None = None,
        guard: Guard | None = None,
        draw: Draw = never_by_chance,
    ) -> None:
        """report: is called with one line that the operator should know. slots, queue_slots, tunnel_slots, guard: None:
        this pool's own. draw: random numbers for `balance`."""
        self.options = options
        self.endpoints = Endpoints(options.places, self._tell, options.balance, options.zone, draw)
        self.endpoints.start_slowly(options.slow_start)
        self.slots = Quota(options.max_connections) if slots is None else slots
        self.queue_slots = Quota(options.queue) if queue_slots is None else queue_slots
        self.tunnel_slots = Quota(options.max_tunnels) if tunnel_slots is None else tunnel_slots
        self.guard = Guard(options, report) if guard is None else guard
        self.outcomes: Outcomes | None = None
        self.expects_places = options.expects_more and not options.places and not options.is_futile
        self.untold = options.untold
        self._is_new = options.expects_more
        self.closed = False
        self._wake: list[Callable[[], None]] = []  # who waits for places
        self._dial = dial
        self._report = report
        self._dialing: dict[Lessee, bool] = {}  # → whether the lessee still waits
        self._dialing_to: dict[Lessee, Endpoint] = {}  # → where its dial began
        self._chosen: Endpoint | None = None  # for the dial that is just being started
        self._leased: dict[UpstreamPort, Lessee] = {}
        self._idle = IdleConnections(self.endpoints, self.slots, options.reuse_after_body)
        self._queue = FairQueue(options.per_client)
        self._placeless: set[Lessee] = set()  # who is in the queue without a slot of it
        self._looked_at = 0  # the endpoint that `_elsewhere` looked at last
        self._asked_at = 0.0  # since when somebody has been in the queue, if somebody is
        self.slots.on_free(self._heed_others)

    def __repr__(self) -> str:
        return (
            f"<Pool {self.options.name} leased={self.leased} idle={self.idle} dialing={len(self._dialing)} "
            f"queued={self._queue.waiting} tunnels={self.tunnels}>"
        )

    @property
    def leased(self) -> int:
        return len(self._leased)

    @property
    def idle(self) -> int:
        return self._idle.count()

    @property
    def dialing(self) -> int:
        return len(self._dialing)

    @property
    def waiting(self) -> int:
        """Requests in the queue."""
        return self._queue.waiting

    @property
    def size(self) -> int:
        """Connections that have a slot."""
        return self.leased + self.idle + len(self._dialing)

    @property
    def tunnels(self) -> int:
        """Slots of `max_tunnels` that are taken."""
        return self.tunnel_slots.taken

    @property
    def reuse_after_body(self) -> bool:
        """Whether a connection is used again after a request with a body."""
        return self._idle.reuse_after_body

    # ── leasing ──

    def acquire(self, lessee: Lessee, now: float) -> UpstreamPort | Reason | None:
        """Lease a connection. Returns it if there is one now, or the reason why there will be none. None: the lessee
        waits, and `Lessee.leased` or `Lessee.lease_failed` follows."""
        endpoints, idle = self.endpoints, self._idle
        if endpoints.is_single:
            chosen, is_bound = endpoints.all[0], False
            upstream = idle.take(chosen, ANY_ADDRESS, lessee, now)
        else:
            is_bound = endpoints.is_sticky and bool(lessee.key)
            chosen = endpoints.choose(lessee.key if is_bound else "", now)
            upstream = idle.take_from(chosen, lessee, now)
        if upstream is None:
            # With a queue, a slot that is given to this process is for the queue.
            if not self._queue.waiting and (
                self.slots.take()
                or self._take_retired(now)
                or ((is_bound or self._is_neglected(chosen)) and self._take_idle())
            ):
                self._start_dial(lessee, chosen)
                return None
            upstream = None if is_bound else idle.take_any(chosen, lessee, now)
        if upstream is None:
            return self._wait(lessee, now)
        self._lease(upstream, lessee)
        return upstream

    def _take_retired(self, now: float) -> bool:
        """Take the slot of an idle connection that has grown too old."""
        for old in self._idle.retire(now):
            old.close()
        return self.slots.take()

    def _take_idle(self) -> bool:
        """Take the slot of an idle connection, wherever it leads. Another process that waits may be given it first."""
        while self._idle.close_oldest():
            if self.slots.take():
                return True
        return False

    def redial(
        self, upstream: UpstreamPort, lessee: Lessee, reason: Reason, status: int, seconds: float, now: float
    ) -> None:
        """The lessee's request failed on this connection, which has ended, and is to be sent again. Dial a new one in
        its slot, to another endpoint if one is up. reason, status, seconds: see `Outcomes`."""
        is_old = upstream.reused and reason is UPSTREAM_RESET
        if not is_old:
            # A used one may have died of its age, which says nothing about the endpoint. The dial will.
            self._tell_outcome(upstream.endpoint, reason, status, seconds, now)
        self._end_lease(upstream)
        endpoints, chosen = self.endpoints, None
        if not (is_old or endpoints.is_empty):
            chosen = endpoints.another(upstream.endpoint, "" if endpoints.is_single else lessee.key, now)
        self._start_dial(lessee, chosen)

    def leave(self, lessee: Lessee) -> None:
        """The lessee wants no connection any more. A dial on its behalf goes on, and serves whoever is next."""
        if lessee in self._queue:
            self._queue.leave(lessee)
            self._free_queue_slot(lessee)
        if lessee in self._dialing:
            self._dialing[lessee] = False

    # ── the queue ──

    def _wait(self, lessee: Lessee, now: float) -> Reason | None:
        """Let the lessee join the queue. It is refused only after others have been asked to make way for it."""
        queue = self._queue
        if not queue.counting:
            queue.start_counting(holder.address for holder in (*self._leased.values(), *self._dialing))
        if not queue.waiting:
            self._asked_at = now
        queue.join(lessee)
        if not self.queue_slots.take():
            self._placeless.add(lessee)
        self.preempt_for(lessee, now)
        self._dial_for_next()
        if lessee not in self._placeless or self._may_be_idle_elsewhere(now) or self.find_place(lessee, now):
            return None
        self._placeless.discard(lessee)
        queue.leave(lessee)
        # Where nobody may wait, a slot that another process gives is for the next request. This one has asked for it;
        # `stop_waiting` comes later.
        return QUEUE_FULL

    def _may_be_idle_elsewhere(self, now: float) -> bool:
        """Whether another process may close an idle connection yet for those who wait here; see `GRACE`."""
        elsewhere = self.slots.limit - self.slots.taken
        return elsewhere > 0 and len(self._placeless) <= elsewhere and now < self._asked_at + GRACE

    def find_place(self, lessee: Lessee, now: float) -> bool:
        """Find a place in the queue for a lessee that is in it without one: a free one, or that of another who has to
        leave for it. False: there is none. Only who is in the queue may ask."""
        while not self.queue_slots.take():
            loser = self._queue.newest_of_longest(lessee)
            has_place = loser not in self._placeless
            if not has_place and loser.address == lessee.address:
                return False
            self._queue.leave(loser)
            self._placeless.discard(loser)
            loser.lease_failed(QUEUE_FULL, now)
            if has_place:
                break
        self._placeless.discard(lessee)
        return True

    def preempt_for(self, lessee: Lessee, now: float) -> bool:
        """Let an exchange make way for a lessee that waits. It is one of an address that holds more than its share, and
        of those the one that has waited longest for its client; there may be none. Returns whether the lessee has left
        the queue by now."""
        queue, longest, victim = self._queue, inf, None
        if queue.others_over(lessee.address):
            for holder in self._leased.values():
                if holder.address != lessee.address and queue.held(holder.address) > queue.share:
                    since = holder.stalled_since
                    if since < longest:
                        longest, victim = since, holder
        if victim is not None:
            victim.make_way(now)
        return lessee not in queue

    def queued(self, lessee: Lessee) -> bool:
        """Whether it is in the queue. It is not while a dial of its own is under way."""
        return lessee in self._queue

    def has_place(self, lessee: Lessee) -> bool:
        """Whether one that is in the queue has a slot of it. If not, it waits for `GRACE` at most."""
        return lessee not in self._placeless

    def _free_queue_slot(self, lessee: Lessee) -> None:
        """The lessee has left the queue."""
        if lessee in self._placeless:
            self._placeless.discard(lessee)
        else:
            self.queue_slots.give()
        if not self._queue.waiting:
            self.slots.stop_waiting()

    def _take_next(self) -> Lessee | None:
        """Take the lessee whose turn it is out of the queue."""
        lessee = self._queue.take() if self._queue.waiting else None
        if lessee is not None:
            self._free_queue_slot(lessee)
        return lessee

    def _dial_for_next(self) -> None:
        """A slot may be free: use it for the lessee whose turn it is, and the next one for the next. Then wait, if
        somebody is left."""
        while self._queue.waiting and self.slots.take_or_wait():
            lessee = self._take_next()
            if lessee is not None:
                self._start_dial(lessee)
            else:
                self.slots.give()
                return

    def _heed_others(self) -> None:
        """Another process waits for a slot, or has given one that is waited for here."""
        self._dial_for_next()
        if not self._queue.waiting:
            self.slots.stop_waiting()
            self._idle.close_surplus()

    # ── tunnels ──

    def reserve_tunnel(self) -> bool:
        """Take a slot of `max_tunnels` for an exchange that may become a tunnel. False: none is free."""
        return self.tunnel_slots.take()

    def free_tunnel(self) -> None:
        """Give such a slot back."""
        self.tunnel_slots.give()

    def switched(self, upstream: UpstreamPort, seconds: float, now: float) -> None:
        """A connection that was leased so many seconds ago has become a tunnel. Its slot is free."""
        self._tell_outcome(upstream.endpoint, OK, 101, seconds, now)
        self._end_lease(upstream)
        self._free_slot()

    # ── dials ──

    def dial_order(self, lessee: Lessee, now: float) -> list[tuple[Endpoint, int]]:
        """In which order this dial tries the endpoints, each with the turn of its addresses (see `endpoints`). To be
        asked as soon as the dial is started: many may start at once, and each needs a turn of its own. Again when there
        was no endpoint then."""
        key = "" if self.endpoints.is_single else lessee.key
        order = self.endpoints.dial_order(self._chosen or self.endpoints.choose(key, now), key, now)
        first, before = order[0][0], self._dialing_to.get(lessee)
        if before is not None:
            before.dialing -= 1
        first.dialing += 1
        self._dialing_to[lessee] = first
        return order

    def _end_dial(self, lessee: Lessee) -> bool:
        """The dial on behalf of this lessee is over. Returns whether it still waits."""
        first = self._dialing_to.pop(lessee, None)
        if first is not None:
            first.dialing -= 1
        return self._dialing.pop(lessee)

    def dialed(self, lessee: Lessee, upstream: UpstreamPort, now: float) -> None:
        """A dial succeeded."""
        endpoint = upstream.endpoint
        self.endpoints.reached(endpoint, upstream.address, now)
        upstream.is_last = endpoint.is_gone or (bool(endpoint.addresses) and upstream.address not in endpoint.addresses)
        self._leased[upstream] = lessee
        if self._end_dial(lessee):
            endpoint.sent += 1
            lessee.leased(upstream, now)
        else:
            endpoint.ended -= 1  # no request was sent, and `_hand_on` is about to end one
            self._hand_on(upstream, now, self.options.keep_alive)

    def unreachable(self, endpoint: Endpoint, reason: Reason, why: str, seconds: float, now: float) -> None:
        """A dial failed at this endpoint, so many seconds after it turned to it. It may go on to others."""
        self.endpoints.failed(endpoint, why, now)
        self._tell_outcome(endpoint, reason, 0, seconds, now)

    def dial_failed(
        self, lessee: Lessee, reason: Reason, now: float, detail: str = "", endpoint: Endpoint | None = None
    ) -> None:
        """A dial failed at every endpoint. endpoint: the last one; detail: how it failed there, for the log."""
        waits = self._end_dial(lessee)
        if self._queue.counting:
            self._queue.release(lessee.address)
        self._free_slot()
        if waits:
            lessee.lease_failed(reason, now, detail, endpoint)
        else:
            # Where clients leave before a dial is over, nobody else would learn that no dial succeeds.
            self.guard.ended(NO_PROBE, reason, 0, now)

    # ── what exchanges and connections report ──

    def done(
        self,
        upstream: UpstreamPort,
        reason: Reason,
        status: int,
        seconds: float,
        now: float,
        keep: bool = False,
        keep_alive: int = -1,
        had_body: bool = False,
    ) -> None:
        """An exchange needs its connection no longer. reason, status, seconds: see `Outcomes`.

        keep: the connection is clean and may be used again; if not, the caller has ended it. keep_alive: for how many
        seconds the upstream will keep it, by the response's Keep-Alive field; -1: the field does not say. had_body: the
        request had a body.
        """
        self._tell_outcome(upstream.endpoint, reason, status, seconds, now)
        if not keep:
            self._end_lease(upstream)
            self._free_slot()
            return
        if had_body:
            upstream.ever_had_body = True
            if not self._idle.reuse_after_body:
                self._close_leased(upstream)
                return
        upstream.last_had_body = had_body
        longest = self.options.keep_alive
        # Retire it a second before the upstream closes it, since a request may be on its way at that moment. Node's
        # undici takes off one second or two.
        self._hand_on(upstream, now, longest if keep_alive < 0 else min(longest, keep_alive - 1))

    def _hand_on(self, upstream: UpstreamPort, now: float, seconds: float) -> None:
        """A leased connection is free. It serves whoever is next, or is idle for so many seconds at most."""
        if self.closed or upstream.is_last:
            self._close_leased(upstream)
            return
        if not self._queue.waiting:
            self.slots.stop_waiting()
        self._end_lease(upstream)
        if self.slots.give_if_due():
            upstream.attach(None)
            upstream.close()
            self._dial_for_next()
            return
        lessee = self._take_next()
        if lessee is None:
            self._idle.put(upstream, now, seconds)
            return
        elsewhere = self._elsewhere(upstream, lessee, now)
        if elsewhere is not None or is_unfit(upstream, lessee):
            upstream.attach(None)
            upstream.close()
            self._start_dial(lessee, elsewhere)
        else:
            self._lease(upstream, lessee)
            lessee.leased(upstream, now)

    def _elsewhere(self, upstream: UpstreamPort, lessee: Lessee, now: float) -> Endpoint | None:
        """Where this request goes instead of the endpoint of the connection: where its key leads, or to one that is
        neglected. Of those one is looked at each time, so a thousand of them cost no more. None: the connection will
        do."""
        endpoints = self.endpoints
        if endpoints.is_single:
            return None
        if endpoints.is_sticky and lessee.key:
            chosen = endpoints.choose(lessee.key, now)
        else:
            self._looked_at = (self._looked_at + 1) % len(endpoints.all)
            chosen = endpoints.all[self._looked_at]
            if not (chosen.health.is_up(now) and self._is_neglected(chosen)):
                return None
        return None if chosen is upstream.endpoint else chosen

    def _is_neglected(self, endpoint: Endpoint) -> bool:
        """Whether it has less than half of what it is due of the requests under way here, and is due two at least."""
        due = endpoint.part * (len(self._leased) + len(self._dialing))
        return due >= 2.0 and 2 * endpoint.load < due

    def _close_leased(self, upstream: UpstreamPort) -> None:
        upstream.attach(None)
        upstream.close()
        self._end_lease(upstream)
        self._free_slot()

    def close_silent(self, endpoint: Endpoint, since: float) -> None:
        """This endpoint has been silent since then, for too long, on a reused connection. Close those that have been
        idle for as long. One that became idle later has shown since then that it works."""
        self._idle.close_idle_since(endpoint, since)

    def stop_reuse_after_body(self, endpoint: Endpoint) -> None:
        """Octets that nobody asked for came from this endpoint, behind a request with a body. See the module's rules.
        The operator hears of it once."""
        if not self._idle.reuse_after_body:
            return
        self._idle.reuse_after_body = False
        name = self.options.name
        self._tell(
            f"{endpoint.place.name} sent octets that belong to no request, on a connection that had carried a "
            "request's body. A service that answers without reading a body takes what is left of it for a request, "
            "which its sender has made up. From now on, until a restart, connections to this upstream are not used "
            f'again after a body: say so with upstreams.{name}.reuse = "after-bodiless", or have the service read '
            "each body, or close"
        )

    def lost(self, upstream: UpstreamPort) -> None:
        """A connection that served nobody is gone."""
        if self._idle.remove(upstream):
            self._dial_for_next()

    # ── from time to time ──

    def retire(self, now: float) -> list[UpstreamPort]:
        """Take idle connections off the books that have grown too old. The caller closes them."""
        return self._idle.retire(now)

    def sweep(self, now: float) -> list[UpstreamPort]:
        """To be called every few seconds. Does as `retire`, and stops counting when nobody waits."""
        self._queue.stop_counting()
        if not self._queue.waiting:
            self.slots.stop_waiting()
        return self._idle.retire(now)

    def close(self) -> list[UpstreamPort]:
        """The gateway ends, so no connection becomes idle any more. Returns the idle ones, for the caller to close."""
        self.closed = True
        idle = self._idle.retire(inf)
        for quota in (self.slots, self.queue_slots, self.tunnel_slots):
            quota.let_go()
        self.guard.let_go()
        return idle

    def renew(self, options: UpstreamOptions, now: float = -inf) -> None:
        """The configuration says something else from now on. Connections and queue are kept; exchanges that have begun
        go by the new times too. An upstream that was found not to read bodies stays so. now: as in `retarget`."""
        was_found = self.options.reuse_after_body and not self._idle.reuse_after_body
        self._idle.reuse_after_body = options.reuse_after_body and not was_found
        self.options = options
        self.slots.resize(options.max_connections)
        self.queue_slots.resize(options.queue)
        self.tunnel_slots.resize(options.max_tunnels)
        self.guard.renew(options)
        self._queue.reshare(options.per_client)
        self._idle.close_surplus()
        self.endpoints.rebalance(options.balance, options.zone)
        self.follow(options, now)
        self.endpoints.start_slowly(options.slow_start)
        self._dial_for_next()

    def follow(self, options: UpstreamOptions, now: float) -> None:
        """The upstream is where these options say. now: as in `retarget`."""
        self.untold = options.untold
        self.retarget(options.places, options.expects_more, now, options.is_futile)

    def retarget(
        self, places: Sequence[Place], expects_more: bool = False, now: float = -inf, is_futile: bool = False
    ) -> None:
        """From now on the upstream is at these places. Connections to places that stay are kept. expects_more: of those
        who tell places, somebody has not answered yet. Where nobody has, it stays where it was until then, as Envoy
        keeps a cluster while its successor warms up. is_futile: nobody need wait for them.

        now: what is new begins its slow start then; -inf: it has its full share at once. So does what is there when an
        upstream begins, until all who tell its places have answered once: none of them is newer than the others."""
        if expects_more and not places:
            self.expects_places = self.endpoints.is_empty and not is_futile
            if is_futile:
                self._wake_all()
            return
        for gone in self.endpoints.retarget(places, -inf if self._is_new else now):
            self._idle.close_idle_since(gone, inf)
        for upstream in self._leased:
            upstream.is_last = upstream.is_last or upstream.endpoint.is_gone
        self._is_new = self._is_new and expects_more
        self.expects_places = False
        self._wake_all()

    def _wake_all(self) -> None:
        waiting, self._wake = self._wake, []
        for wake in waiting:
            wake()

    def readdress(self, host: str, addresses: tuple[str, ...], now: float) -> None:
        """A name has these addresses from now on. Idle connections to others are closed, and those that are leased end
        with their exchanges, as with Envoy's strict DNS: what is elsewhere by now may be somebody else's soon."""
        for endpoint in self.endpoints.all:
            if endpoint.place.host != host:
                continue
            if endpoint.addresses:
                self.endpoints.addresses(endpoint, endpoint.turn, addresses, now)
            self._idle.close_elsewhere(endpoint, addresses)
            for upstream in self._leased:
                if upstream.endpoint is endpoint and upstream.address not in addresses:
                    upstream.is_last = True

    def call_with_places(self, wake: Callable[[], None]) -> None:
        """Call `wake` once, when it is known where the upstream is, or that it is nowhere, or the question has
        failed."""
        self._wake.append(wake)

    # ── inside ──

    def _tell(self, text: str) -> None:
        self._report(f"upstream {self.options.name}: {text}")

    def _tell_outcome(self, endpoint: Endpoint, reason: Reason, status: int, seconds: float, now: float) -> None:
        if self.outcomes is not None:
            self.outcomes.done(endpoint, reason, status, seconds, now)

    def _lease(self, upstream: UpstreamPort, lessee: Lessee) -> None:
        self._leased[upstream] = lessee
        upstream.endpoint.sent += 1
        if self._queue.counting:
            self._queue.hold(lessee.address)

    def _end_lease(self, upstream: UpstreamPort) -> None:
        """The connection is leased no longer. It still has its slot."""
        lessee = self._leased.pop(upstream)
        upstream.endpoint.ended += 1
        if self._queue.counting:
            self._queue.release(lessee.address)

    def _start_dial(self, lessee: Lessee, chosen: Endpoint | None = None) -> None:
        """chosen: where it begins; None: where the dial's turn is."""
        self._dialing[lessee] = True
        if self._queue.counting:
            self._queue.hold(lessee.address)
        self._chosen = chosen
        self._dial(self, lessee)
        self._chosen = None

    def _free_slot(self) -> None:
        self.slots.give()
        self._dial_for_next()
