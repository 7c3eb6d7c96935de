"""Sets the gauges of this worker from what it serves, so that any worker can tell of all.

What counts itself (requests, latencies) is in `observe.counters`. What can only be looked at (connections, queues,
health) is looked at here: every second, and before this worker answers about the gateway. Nothing is paid for it per
request.
"""

import asyncio
from array import array
from collections import deque
from time import monotonic
from typing import TYPE_CHECKING

from rawgate.config.model import Config, named_limits, route_names
from rawgate.observe import layout
from rawgate.observe.access_log import AccessLog
from rawgate.observe.counters import Counters, CountingSink, Decisions, Snapshot
from rawgate.observe.found_targets import Slots
from rawgate.observe.layout import Names
from rawgate.serve.load import name_of
from rawgate.serve.service import Service, found_endpoints

if TYPE_CHECKING:
    from rawgate.relay.endpoints import Endpoint

EVERY = 1.0
"""Seconds between two settings of the gauges."""

SNAPSHOT_EVERY = 5
"""After so many settings the counts are kept for a while, so that rates can be told."""

SNAPSHOTS = 3
"""Rates are over the age of the oldest: 10 to 15 s, after a start less."""


def names_of(config: Config) -> Names:
    """What is counted of a configuration."""
    names = route_names(config.routes)
    return Names(
        names,
        tuple(config.upstreams),
        [
            (name, name_of(target))
            for name, spec in config.upstreams.items()
            for target in spec.targets
            if not target.source
        ],
        [*named_limits(config)],
        [name for name, spec in config.upstreams.items() if any(target.source for target in spec.targets)],
    )


class Counting:
    """What counts in this worker, from before it serves until its end.

    decisions  is told what limits decide
    sink       counts requests, and hands their records on to the log
    """

    def __init__(
        self, counters: Counters, decisions: Decisions, log: AccessLog, loop: asyncio.AbstractEventLoop
    ) -> None:
        self.counters = counters
        self.decisions = decisions
        self.log = log
        self.sink = CountingSink(counters, log.write, loop.call_later)


class Publisher:
    """Keeps this worker's column up to date.

    snapshots  (monotonic seconds, the counts then), the oldest first; there is always one
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, service: Service, counting: Counting) -> None:
        self.counters = counters = counting.counters
        self.snapshots: deque[tuple[float, Snapshot]] = deque(maxlen=SNAPSHOTS)
        self._loop = loop
        self._service = service
        self._counting = counting
        # A worker that follows one that died goes on with its counts.
        self._dropped_before = counters.own[layout.LOG_DROPPED]
        self._evicted_before = counters.own[layout.LIMITER_EVICTED]
        self._failed_before = counters.own[layout.ARRIVALS_FAILED]
        self._store_before = counters.own[layout.STORE : layout.PROCESS_ROWS].tolist()
        self._decided_before: dict[str, list[int]] = {}
        self._counted: dict[Endpoint, tuple[int, int]] = {}  # → requests and ejections that its row has by now
        self._rows: dict[Endpoint, int] = {}
        self._slots: dict[str, Slots] = {}
        self._turns = 0
        self._timer: asyncio.Handle = loop.call_soon(self._run)
        self._keep(monotonic())

    def stop(self) -> None:
        """Set no more."""
        self._timer.cancel()

    def _run(self) -> None:
        self.publish()
        self._turns += 1
        if self._turns % SNAPSHOT_EVERY == 0:
            self._keep(monotonic())
        self._timer = self._loop.call_later(EVERY, self._run)

    def _keep(self, now: float) -> None:
        self.snapshots.append((now, self.counters.snapshot()))

    def publish(self) -> None:
        """Set everything now."""
        self._counting.sink.copy()
        now, own, service = monotonic(), self.counters.own, self._service
        limiters = service.loaded.gate.limiters
        own[layout.PUBLISHED] = int(now * 1000)
        own[layout.LOG_DROPPED] = self._dropped_before + self._counting.log.dropped
        own[layout.CLIENTS] = len(service.connections.open)
        own[layout.ARRIVALS_FAILED] = self._failed_before + service.connections.failed_arrivals
        own[layout.LIMITER_KEYS] = len(limiters.credentials) + len(limiters.addresses)
        own[layout.LIMITER_EVICTED] = self._evicted_before + limiters.evicted
        self._publish_routes()
        self._publish_upstreams()
        self._publish_targets(now)
        self._publish_decisions()
        self._publish_store()

    def _publish_store(self) -> None:
        keeper, own = self._service.stores, self.counters.own
        if keeper is None:
            return
        store = keeper.store
        counts = (store.asked, store.spared, store.lent, store.used, store.fallbacks["late"], store.fallbacks["down"])
        now = zip(self._store_before, (*counts, *keeper.latency), strict=True)
        own[layout.STORE : layout.PROCESS_ROWS] = memoryview(array("Q", [before + count for before, count in now]))
        own[layout.STORE_DOWN] = int(not store.is_up)

    def _publish_routes(self) -> None:
        own, (requests, tunnels) = self.counters.own, self._service.connections.in_flight()
        for name, start in self.counters.layout.routes.items():
            own[start + layout.IN_FLIGHT] = requests.get(name, 0)
            own[start + layout.TUNNELS] = tunnels.get(name, 0)

    def _publish_upstreams(self) -> None:
        own, table, pools = self.counters.own, self.counters.layout, self._service.pools
        for name, start in table.upstreams.items():
            pool = pools.get(name)
            states = (0,) * 5 if pool is None else (pool.leased, pool.idle, pool.dialing, pool.tunnels, pool.waiting)
            for row, count in enumerate(states, start + layout.LEASED):
                own[row] = count
            for row, count in enumerate((0, 0) if pool is None else pool.guard.budget.counted()):
                own[start + layout.RETRIES_MADE + row] += count

    def _publish_targets(self, now: float) -> None:
        own = self.counters.own
        # What a target that is gone was sent in its last second still goes to its row.
        for endpoint in self._rows:
            self._count(endpoint)
        rows = self._rows = self._rows_of_targets()
        # Several may share a row. Whoever reads meanwhile must see no half of a sum.
        every = {*rows.values(), *(row for slots in self._slots.values() for row in slots.rows)}
        down, under_way = dict.fromkeys(every, 0), dict.fromkeys(every, 0)
        checked = self._checked()
        for endpoint, row in rows.items():
            self._count(endpoint)
            down[row] += bool(endpoint.why_down(now, endpoint in checked))
            under_way[row] += endpoint.load
        for row in every:
            own[row + layout.DOWN], own[row + layout.UNDER_WAY] = down[row], under_way[row]
        self._counted = {endpoint: self._counted[endpoint] for endpoint in rows}

    def _checked(self) -> "set[Endpoint]":
        """The targets that have health checks."""
        specs = self._service.config.upstreams
        return {
            endpoint
            for name, pool in self._service.pools.items()
            if specs[name].health is not None
            for endpoint in pool.endpoints.all
        }

    def _rows_of_targets(self) -> "dict[Endpoint, int]":
        """The first row of each target that has one."""
        table, specs, rows = self.counters.layout, self._service.config.upstreams, {}
        for name, pool in self._service.pools.items():
            for endpoint in pool.endpoints.all:
                row = table.targets.get((name, endpoint.place.name), -1)
                if row >= 0:
                    rows[endpoint] = row
            found = found_endpoints(specs[name].targets, pool.endpoints) if name in table.found else []
            if name in table.found:
                slots = self._slots.setdefault(name, Slots(self.counters.own, table.found[name]))
                slots.settle(endpoint.place.name for endpoint in found)
                rows |= {endpoint: slots.row(endpoint.place.name) for endpoint in found}
        return rows

    def _count(self, endpoint: "Endpoint") -> None:
        own, row = self.counters.own, self._rows[endpoint]
        sent, ejections = self._counted.get(endpoint, (0, 0))
        own[row + layout.SENT_THERE] += endpoint.sent - sent
        own[row + layout.EJECTIONS] += endpoint.ejections - ejections
        self._counted[endpoint] = endpoint.sent, endpoint.ejections

    def _publish_decisions(self) -> None:
        own, table = self.counters.own, self.counters.layout
        for name, counts in self._counting.decisions.counts.items():
            start = table.limits.get(name, -1)
            if start >= 0:
                before = self._decided_before.setdefault(name, own[start : start + layout.LIMIT_ROWS].tolist())
                for row, (earlier, count) in enumerate(zip(before, counts, strict=True), start):
                    own[row] = earlier + count
