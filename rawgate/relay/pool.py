"""Which connection serves which exchange: bookkeeping only, no sockets, no clock.

One pool per upstream. Every connection it counts is in exactly one of four places:

    dialing   asked for, on behalf of one waiter; not there yet
    leased    assigned to one exchange
    idle      at rest, by target, the newest last
    tunnel    switched to another protocol, for as long as that lasts

Rules it keeps
- dialing + leased + idle ≤ max_connections. A tunnel does not count there: it has given its slot back.
- Tunnels, and requests that may become one, ≤ max_tunnels.
- Somebody queues only while nothing is idle and no slot is free, so a newcomer never overtakes the queue.
- Whose turn it is in the queue, `turns` says: the address with the fewest connections. When somebody has to wait and
  another address holds more than its share, one of that address's exchanges makes way: the one that has waited longest
  for its own client. One that waits for the upstream never does.
- A connection is taken off the idle list in the same step that assigns it; nothing is ever handed out twice.
- A dial belongs to the waiter that caused it. Its failure is that waiter's failure; if the waiter has left, a dial that
  succeeds serves the head of the queue, or rests.
- A request goes to the target whose turn it is, and to the address whose turn it is there (see `targets`): by an idle
  connection, or a new one while there is room. Without room any idle one is better than waiting.
- The newest idle connection goes first: the others grow old and are retired, so the pool shrinks to what is needed.
  One that has just carried a request's body goes last.
- A connection that last carried a body is looked at before it is used again, and so is any for a request that cannot be
  sent a second time: what has come on it, even its end, is in the socket already.
- A service that says something nobody asked for behind a request with a body has answered without reading that body,
  and takes it for a request: somebody else's client chose it. Its connections are not used after a body from then on.
- A request that is sent again keeps its slot and gets a new connection in it, even at the limit: a used one may be as
  dead as the one that it had.
- A target that accepts and closes without a word has failed, as one that refuses has. One that does not answer in time
  on a used connection casts doubt on its idle ones from which nothing has come since: they are closed.
- A connection whose state is in doubt is never put back: `release` is called by an exchange that has seen the whole
  response, and nothing after it.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from math import inf

from mypy_extensions import trait

from rawgate.errors import QUEUE_FULL, Reason
from rawgate.message import Options
from rawgate.relay.ports import UpstreamPort
from rawgate.relay.targets import ANY, Targets
from rawgate.relay.turns import Turns


class UpstreamOptions(Options, frozen=True):
    """What an upstream's configuration says about relaying. Seconds and counts; `total_timeout` None: no limit.

    targets: (host, port) each
    per_client: connections that one client address may hold while others wait
    reuse_after_body: whether a connection that has carried a request's body may carry another request
    """

    name: str
    targets: tuple[tuple[str, int], ...]
    connect_timeout: float = 3.0
    response_timeout: float = 5.0
    idle_timeout: float = 60.0
    total_timeout: float | None = None
    max_connections: int = 256
    keep_alive: float = 55.0
    queue: int = 128
    queue_timeout: float = 1.0
    per_client: int = 64
    max_tunnels: int = 10_000
    reuse_after_body: bool = True
    tunnel_idle: float = 3600.0
    tunnel_max_age: float = 86400.0


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


def keep_quiet(text: str) -> None:
    """For pools that nobody watches."""


class Pool:
    """The connections of one upstream. `report` is told, in one line, what the operator should know."""

    def __init__(self, options: UpstreamOptions, dial: Dial, report: Callable[[str], None] = keep_quiet) -> None:
        self.options = options
        self.reuse_after_body = options.reuse_after_body
        self.targets = Targets([_authority(host, port) for host, port in options.targets], self._tell)
        self.tunnels = 0
        self.closed = False
        self._dial = dial
        self._report = report
        self._idle: list[list[UpstreamPort]] = [[] for _ in options.targets]
        self._dialing: dict[Waiter, bool] = {}  # → does the waiter still wait
        self._leased: dict[UpstreamPort, Waiter] = {}
        self._turns = Turns(options.per_client)

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
        return sum(map(len, self._idle))

    @property
    def size(self) -> int:
        """Connections that count against `max_connections`."""
        return self.leased + self.idle + len(self._dialing)

    # ── asking ──

    def acquire(self, waiter: Waiter, now: float) -> UpstreamPort | Reason | None:
        """A connection at once, or None: wait for `leased` or `lease_failed`, or the reason why there will be none."""
        is_single = self.targets.is_single
        upstream = self._take_idle(0, ANY, waiter, now) if is_single else self._take_in_turn(waiter, now)
        if upstream is not None:
            return upstream
        if self.size >= self.options.max_connections:
            for old in self.retire(now):
                old.close()
        if self.size < self.options.max_connections:
            self._start_dial(waiter)
            return None
        upstream = self._take_any_idle(waiter, now)
        if upstream is not None:
            return upstream
        return self._wait(waiter, now)

    def replace(self, upstream: UpstreamPort, waiter: Waiter) -> None:
        """The connection that the waiter has leased is dead: dial a new one in its slot."""
        self._give(upstream)
        self._start_dial(waiter)

    def _wait(self, waiter: Waiter, now: float) -> Reason | None:
        """There is nothing for it: the queue. It is not refused before others have been asked to make way for it."""
        turns = self._turns
        if not turns.counting:
            turns.count(holder.address for holder in (*self._leased.values(), *self._dialing))
        turns.join(waiter)
        if turns.others_over(waiter.address):
            self._ask_for_way(waiter, now)
        if turns.waiting <= self.options.queue:
            return None
        crowding = turns.crowding(waiter)
        turns.leave(crowding)
        if crowding is waiter:
            return QUEUE_FULL
        crowding.lease_failed(QUEUE_FULL, now)
        return None

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
        self._turns.leave(waiter)
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

    def switched(self, upstream: UpstreamPort) -> None:
        """A leased connection has become a tunnel: its slot is free."""
        self.discard(upstream)

    # ── what dials report ──

    def doubt(self, target: int, since: float) -> None:
        """A used connection to this target has been silent since then, for too long: close its idle ones that have been
        at rest for as long. One that was used later has shown that it is alive."""
        idle = self._idle[target]
        old = [upstream for upstream in idle if upstream.rested_at <= since]
        for upstream in old:
            idle.remove(upstream)
            upstream.close()

    def dialed(self, waiter: Waiter, upstream: UpstreamPort, now: float) -> None:
        """A dial succeeded."""
        self.targets.answered(upstream.target, upstream.address)
        self._leased[upstream] = waiter
        if self._dialing.pop(waiter):
            waiter.leased(upstream, now)
        else:
            self.release(upstream, now)

    def dial_failed(self, waiter: Waiter, reason: Reason, now: float, detail: str = "") -> None:
        """A dial failed at every target. detail: how at the last one, for the log."""
        waits = self._dialing.pop(waiter)
        if self._turns.counting:
            self._turns.gave(waiter.address)
        self._promote()
        if waits:
            waiter.lease_failed(reason, now, detail)

    # ── giving back ──

    def release(self, upstream: UpstreamPort, now: float, promised: int = -1, *, carried: bool = False) -> None:
        """A leased connection is free and clean. promised: seconds for which the upstream will keep it, -1 unsaid.
        carried: the request had a body."""
        if self.closed or (carried and not self.reuse_after_body):
            upstream.attach(None)
            upstream.close()
            self.discard(upstream)
            return
        upstream.carried = carried
        if carried:
            upstream.bodies = True
        self._give(upstream)
        waiter = self._turns.take() if self._turns.waiting else None
        if waiter is not None:
            self._pass_on(upstream, waiter, now)
            return
        # A second before the upstream closes it, a request could be on its way already: retire it first.
        rest = self.options.keep_alive if promised < 0 else min(self.options.keep_alive, promised - 1)
        upstream.rested_at = now
        upstream.retire_at = now + rest
        upstream.attach(None)
        idle = self._idle[upstream.target]
        if carried:
            idle.insert(0, upstream)
        else:
            idle.append(upstream)

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

    def suspect(self, target: int) -> None:
        """Something has come, nobody knows for whom, on a connection to this target that has carried a request's body:
        see the module's rules. Told once."""
        if not self.reuse_after_body:
            return
        self.reuse_after_body = False
        name = self.options.name
        place = _authority(*self.options.targets[target])
        self._tell(
            f"{place} sent octets that belong to no request, on a connection that had carried a "
            "request's body. A service that answers without reading a body takes what is left of it for a request, "
            "which its sender has made up. From now on, until a restart, connections to this upstream are not used "
            f'again after a body: say so with upstreams.{name}.reuse = "after-bodiless", or have the service read '
            "each body, or close"
        )

    def discard(self, upstream: UpstreamPort) -> None:
        """A connection is gone, or about to be closed: leased by an exchange, or idle. Nothing, if it is a tunnel's."""
        if upstream in self._leased:
            self._give(upstream)
        else:
            idle = self._idle[upstream.target]
            if upstream not in idle:
                return
            idle.remove(upstream)
        self._promote()

    def retire(self, now: float) -> list[UpstreamPort]:
        """Idle connections that have grown too old, taken off the list: the caller closes them."""
        old = [upstream for idle in self._idle for upstream in idle if upstream.retire_at <= now]
        for upstream in old:
            self._idle[upstream.target].remove(upstream)
        return old

    def sweep(self, now: float) -> list[UpstreamPort]:
        """Every few seconds: as `retire`, and nothing is counted any longer than it is wanted."""
        self._turns.forget()
        return self.retire(now)

    def close(self) -> list[UpstreamPort]:
        """The gateway ends: nothing rests here any more. Returns what was idle, for the caller to close."""
        self.closed = True
        idle = list(self._all_idle())
        for connections in self._idle:
            connections.clear()
        return idle

    # ── inside ──

    def _all_idle(self) -> Iterator[UpstreamPort]:
        for connections in self._idle:
            yield from connections

    def _tell(self, text: str) -> None:
        self._report(f"upstream {self.options.name}: {text}")

    def _give(self, upstream: UpstreamPort) -> None:
        if self._turns.counting:
            self._turns.gave(self._leased[upstream].address)
        del self._leased[upstream]

    def _take_idle(self, target: int, address: str, waiter: Waiter, now: float) -> UpstreamPort | None:
        """The newest that leads to this address of the target, or to any."""
        idle = self._idle[target]
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
        return None

    def _take_in_turn(self, waiter: Waiter, now: float) -> UpstreamPort | None:
        target, address = self.targets.next(now)
        upstream = self._take_idle(target, address, waiter, now)
        if upstream is not None:
            self.targets.took(target, now)
        return upstream

    def _take_any_idle(self, waiter: Waiter, now: float) -> UpstreamPort | None:
        """From the target whose turn it is on."""
        first, count = self.targets.next(now)[0], len(self._idle)
        for step in range(count):
            target = (first + step) % count
            upstream = self._take_idle(target, ANY, waiter, now)
            if upstream is not None:
                self.targets.took(target, now)
                return upstream
        return None

    def _start_dial(self, waiter: Waiter) -> None:
        self._dialing[waiter] = True
        if self._turns.counting:
            self._turns.took(waiter.address)
        self._dial(self, waiter)

    def _promote(self) -> None:
        """A slot is free: whose turn it is dials."""
        if not self._turns.waiting or self.size >= self.options.max_connections:
            return
        waiter = self._turns.take()
        if waiter is not None:
            self._start_dial(waiter)


def _authority(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
