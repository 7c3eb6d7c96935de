"""Which connection serves which exchange: bookkeeping only, no sockets, no clock.

One pool per upstream. Every connection it counts is in exactly one of three places:

    dialing   asked for, on behalf of one waiter; not there yet
    leased    assigned to one exchange
    idle      at rest, by target, the newest last

Rules it keeps
- dialing + leased + idle ≤ max_connections.
- Somebody queues only while nothing is idle and no slot is free, so a newcomer never overtakes the queue.
- A connection is taken off the idle list in the same step that assigns it; nothing is ever handed out twice.
- A dial belongs to the waiter that caused it. Its failure is that waiter's failure; if the waiter has left, a dial that
  succeeds serves the head of the queue, or rests.
- The newest idle connection goes first: the others grow old and are retired, so the pool shrinks to what is needed.
- A connection whose state is in doubt is never put back: `release` is called by an exchange that has seen the whole
  response, and nothing after it.
"""

from collections.abc import Callable, Iterator
from typing import Protocol

from rawgate.errors import QUEUE_FULL, Reason
from rawgate.message import Terms
from rawgate.relay.ports import UpstreamPort

UNHEALTHY_FOR = 5.0
"""Seconds for which a target whose dial failed is tried last."""


class UpstreamTerms(Terms, frozen=True):
    """What an upstream's configuration says about relaying. Seconds and counts; `total_timeout` None: no limit.

    targets: (host, port) each
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
    tunnel_idle: float = 3600.0
    tunnel_max_age: float = 86400.0


class Waiter(Protocol):
    """Who asks for a connection."""

    def leased(self, upstream: UpstreamPort, now: float) -> None:
        """Here it is."""

    def lease_failed(self, reason: Reason, now: float) -> None:
        """There will be none."""


Dial = Callable[["Pool", Waiter], None]
"""Starts a dial in the background that ends in `Pool.dialed` or `Pool.dial_failed`; never calls back at once."""


class Pool:
    """The connections of one upstream."""

    def __init__(self, terms: UpstreamTerms, dial: Dial) -> None:
        self.terms = terms
        self.leased = 0
        self.closed = False
        self._dial = dial
        self._idle: list[list[UpstreamPort]] = [[] for _ in terms.targets]
        self._dialing: dict[Waiter, bool] = {}  # → does the waiter still wait
        self._queue: dict[Waiter, None] = {}
        self._down_until = [0.0] * len(terms.targets)
        self._turn = 0
        self._is_single = len(terms.targets) == 1

    def __repr__(self) -> str:
        return (
            f"<Pool {self.terms.name} leased={self.leased} idle={self.idle} dialing={len(self._dialing)} "
            f"queued={len(self._queue)}>"
        )

    @property
    def idle(self) -> int:
        return sum(map(len, self._idle))

    @property
    def size(self) -> int:
        """Connections that count against `max_connections`."""
        return self.leased + self.idle + len(self._dialing)

    # ── asking ──

    def acquire(self, waiter: Waiter, now: float, *, fresh: bool = False) -> UpstreamPort | Reason | None:
        """A connection at once, or None: wait for `leased` or `lease_failed`, or the reason why there will be none.

        fresh: do not take an idle one (the last one taken turned out to be dead, and the others may be too).
        """
        if not fresh:
            upstream = self._take_idle(0 if self._is_single else self._next_target(now), now)
            if upstream is not None:
                return upstream
        if self.size >= self.terms.max_connections:
            for old in self.retire(now):
                old.close()
        if self.size < self.terms.max_connections:
            self._dialing[waiter] = True
            self._dial(self, waiter)
            return None
        upstream = self._take_any_idle(now)
        if upstream is not None and fresh:
            # At the limit, and a new connection is wanted: an idle one makes room for it.
            upstream.close()
            self.discard(upstream, leased=True)
            return self.acquire(waiter, now, fresh=True)
        if upstream is not None:
            return upstream
        if len(self._queue) >= self.terms.queue:
            return QUEUE_FULL
        self._queue[waiter] = None
        return None

    def queued(self, waiter: Waiter) -> bool:
        """In the queue, with no dial of its own under way."""
        return waiter in self._queue

    def leave(self, waiter: Waiter) -> None:
        """The waiter does not want it any more. A dial on its behalf goes on, for whoever is next."""
        self._queue.pop(waiter, None)
        if waiter in self._dialing:
            self._dialing[waiter] = False

    # ── what dials report ──

    def order(self, now: float) -> list[int]:
        """Targets in the order in which one dial should try them: from the one whose turn it is, the healthy first."""
        turns = [(self._turn + step) % len(self._idle) for step in range(len(self._idle))]
        return sorted(turns, key=lambda target: self._down_until[target] > now)

    def target_failed(self, target: int, now: float) -> None:
        """A dial to this target failed; the others go first for a while."""
        self._down_until[target] = now + UNHEALTHY_FOR

    def dialed(self, waiter: Waiter, upstream: UpstreamPort, now: float) -> None:
        """A dial succeeded."""
        self._down_until[upstream.target] = 0.0
        self.leased += 1
        if self._dialing.pop(waiter):
            waiter.leased(upstream, now)
        else:
            self.release(upstream, now)

    def dial_failed(self, waiter: Waiter, reason: Reason, now: float) -> None:
        """A dial failed at every target."""
        waits = self._dialing.pop(waiter)
        self._promote()
        if waits:
            waiter.lease_failed(reason, now)

    # ── giving back ──

    def release(self, upstream: UpstreamPort, now: float, promised: int = -1) -> None:
        """A leased connection is free and clean. promised: seconds for which the upstream will keep it, -1 unsaid."""
        if self.closed:
            self.discard(upstream, leased=True)
            upstream.close()
            return
        if self._queue:
            waiter = self._head_of_queue()
            if waiter is not None:
                waiter.leased(upstream, now)
                return
        # A second before the upstream closes it, a request could be on its way already: retire it first.
        rest = self.terms.keep_alive if promised < 0 else min(self.terms.keep_alive, promised - 1)
        self.leased -= 1
        upstream.retire_at = now + rest
        upstream.attach(None)
        self._idle[upstream.target].append(upstream)

    def discard(self, upstream: UpstreamPort, *, leased: bool = False) -> None:
        """A connection is gone, or about to be closed: leased by an exchange, or idle."""
        if leased:
            self.leased -= 1
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

    def _next_target(self, now: float) -> int:
        """Round robin over the targets that are up; over all of them when none is."""
        count = len(self._idle)
        for step in range(1, count + 1):
            target = (self._turn + step) % count
            if self._down_until[target] <= now:
                self._turn = target
                return target
        self._turn = (self._turn + 1) % count
        return self._turn

    def _take_idle(self, target: int, now: float) -> UpstreamPort | None:
        idle = self._idle[target]
        while idle:
            upstream = idle.pop()
            if upstream.retire_at > now:
                self.leased += 1
                return upstream
            upstream.close()
        return None

    def _take_any_idle(self, now: float) -> UpstreamPort | None:
        for target in range(len(self._idle)):
            upstream = self._take_idle(target, now)
            if upstream is not None:
                return upstream
        return None

    def _promote(self) -> None:
        """A slot is free: the head of the queue dials."""
        if self.size >= self.terms.max_connections:
            return
        waiter = self._head_of_queue()
        if waiter is not None:
            self._dialing[waiter] = True
            self._dial(self, waiter)

    def _head_of_queue(self) -> Waiter | None:
        waiter = next(iter(self._queue), None)
        if waiter is not None:
            del self._queue[waiter]
        return waiter
