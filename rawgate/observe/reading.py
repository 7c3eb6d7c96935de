"""All counts at one moment, by name: what metrics and status are made of."""

from collections.abc import Callable, Sequence

from msgspec import Struct

from rawgate.observe import histogram, layout
from rawgate.observe.counters import Counters, Snapshot
from rawgate.observe.layout import Names

Totals = Callable[[int, int], list[int]]
"""`(first row, number of rows)` → their sums."""

_REASON_OF_ROW = [
    (reason, kind + 1) for reason in layout.REASON_ROWS for kind in range(layout.CLASSES)
]  # row within a route → reason, and class of status


class RouteCounts(Struct, frozen=True):
    """Of one route; "": of requests that no route was selected for.

    requests  (reason, class of status from 1 to 5) → how many, where there were some
    latency   cells of a histogram
    """

    name: str
    requests: dict[tuple[str, int], int]
    latency: Sequence[int]
    in_flight: int
    tunnels: int

    @property
    def count(self) -> int:
        """Requests that have ended."""
        return sum(self.requests.values())


class UpstreamCounts(Struct, frozen=True):
    """Of one upstream.

    latency    cells of a histogram
    retries_made, retries_refused  requests that were sent again, and those that were not, for want of budget
    targets    authority → whether it works, as far as all workers know
    under_way  authority → requests that are there, or on their way
    sent       authority → requests that were sent there
    ejections  authority → how often it was ejected
    """

    name: str
    latency: Sequence[int]
    retries_made: int
    retries_refused: int
    leased: int
    idle: int
    dialing: int
    tunnels: int
    queued: int
    targets: dict[str, bool]
    under_way: dict[str, int]
    sent: dict[str, int]
    ejections: dict[str, int]


class LimitCounts(Struct, frozen=True):
    """Of one limit: its decisions."""

    name: str
    admitted: int
    limited: int


class StoreCounts(Struct, frozen=True):
    """Of the store of limits over hosts.

    down     workers that take it for down
    asked    requests that waited for its answer; spared: those that a lease decided
    lent     slots that it has lent in advance; used: those of them that requests have used
    fallbacks  requests decided without it: its answer was "late", or it was "down" and not asked
    latency  cells of a histogram, of round trips that were answered
    """

    down: int
    asked: int
    spared: int
    lent: int
    used: int
    fallbacks: dict[str, int]
    latency: Sequence[int]


class Reading(Struct, frozen=True):
    """Of the gateway.

    alive  workers that have set their gauges lately
    store  None: the configuration has none
    """

    routes: tuple[RouteCounts, ...]
    upstreams: tuple[UpstreamCounts, ...]
    limits: tuple[LimitCounts, ...]
    workers: int
    alive: int
    received: int
    sent: int
    log_dropped: int
    clients: int
    arrivals_failed: int
    limiter_keys: int
    limiter_evicted: int
    reloads_done: int
    reloads_refused: int
    store: StoreCounts | None = None


def read(counters: Counters, names: Names, now: float) -> Reading:
    """What the cells say now (monotonic seconds), of what the configuration has. What has no rows is left out."""

    def gauges(start: int, count: int) -> list[int]:
        return counters.gauges(start, count, now)

    table, totals = counters.layout, counters.totals
    process, present = totals(0, layout.PROCESS_ROWS), gauges(0, layout.PROCESS_ROWS)
    return Reading(
        routes=tuple(
            _route(name, table.routes[name], totals, gauges)
            for name in (*names.routes, layout.NO_ROUTE)
            if name in table.routes
        ),
        upstreams=tuple(
            _upstream(name, counters, names, gauges) for name in names.upstreams if name in table.upstreams
        ),
        limits=tuple(
            LimitCounts(name, *totals(table.limits[name], layout.LIMIT_ROWS))
            for name in names.limits
            if name in table.limits
        ),
        workers=counters.workers,
        alive=counters.alive(now),
        received=process[layout.RECEIVED],
        sent=process[layout.SENT],
        log_dropped=process[layout.LOG_DROPPED],
        clients=present[layout.CLIENTS],
        arrivals_failed=process[layout.ARRIVALS_FAILED],
        limiter_keys=present[layout.LIMITER_KEYS],
        limiter_evicted=process[layout.LIMITER_EVICTED],
        reloads_done=process[layout.RELOADS_DONE],
        reloads_refused=process[layout.RELOADS_REFUSED],
    )


def read_store(counters: Counters, now: float) -> StoreCounts:
    """What the cells say of the store now (monotonic seconds)."""
    return _store(counters.totals, counters.gauges(layout.STORE_DOWN, 1, now)[0])


def earlier_store(snapshot: Snapshot) -> StoreCounts:
    """What was counted of the store at an earlier moment. It has no gauge."""
    return _store(snapshot.totals, 0)


def _store(totals: Totals, down: int) -> StoreCounts:
    asked, spared, lent, used, late, missed = totals(layout.STORE, len(layout.STORE_COUNTS))
    latency = totals(layout.STORE_LATENCY, histogram.CELLS)
    return StoreCounts(down, asked, spared, lent, used, {"late": late, "down": missed}, latency)


def earlier_route(snapshot: Snapshot, counters: Counters, name: str) -> RouteCounts:
    """What a route had counted at an earlier moment. It has no gauges."""
    return _route(name, counters.layout.routes[name], snapshot.totals, lambda start, count: [0] * count)


def earlier_upstream(snapshot: Snapshot, counters: Counters, name: str) -> Sequence[int]:
    """The histogram of an upstream at an earlier moment."""
    return snapshot.totals(counters.layout.upstreams[name] + layout.LATENCY, histogram.CELLS)


def earlier_sent(snapshot: Snapshot, counters: Counters, name: str) -> dict[str, int]:
    """How many requests each target of an upstream had been sent at an earlier moment."""
    return {
        target: snapshot.totals(row + layout.SENT_THERE, 1)[0]
        for (upstream, target), row in counters.layout.targets.items()
        if upstream == name
    }


def earlier_limit(snapshot: Snapshot, counters: Counters, name: str) -> LimitCounts:
    """What a limit had decided at an earlier moment."""
    return LimitCounts(name, *snapshot.totals(counters.layout.limits[name], layout.LIMIT_ROWS))


def _route(name: str, start: int, totals: Totals, gauges: Totals) -> RouteCounts:
    cells = totals(start, layout.COUNTED)
    in_flight, tunnels = gauges(start + layout.IN_FLIGHT, 2)
    return RouteCounts(
        name,
        {_REASON_OF_ROW[row]: count for row, count in enumerate(cells[: layout.DURATION]) if count},
        cells[layout.DURATION :],
        in_flight,
        tunnels,
    )


def _upstream(name: str, counters: Counters, names: Names, gauges: Totals) -> UpstreamCounts:
    start, known = counters.layout.upstreams[name], counters.layout.targets
    targets = {one: known[name, one] for upstream, one in names.targets if upstream == name and (name, one) in known}
    latency = counters.totals(start + layout.LATENCY, histogram.CELLS)
    made, refused = counters.totals(start + layout.RETRIES_MADE, 2)
    leased, idle, dialing, tunnels, queued = gauges(start + layout.LEASED, layout.UPSTREAM_ROWS - layout.LEASED)
    return UpstreamCounts(
        name,
        latency,
        made,
        refused,
        leased,
        idle,
        dialing,
        tunnels,
        queued,
        targets={target: not gauges(row + layout.DOWN, 1)[0] for target, row in targets.items()},
        under_way={target: gauges(row + layout.UNDER_WAY, 1)[0] for target, row in targets.items()},
        sent={target: counters.totals(row + layout.SENT_THERE, 1)[0] for target, row in targets.items()},
        ejections={target: counters.totals(row + layout.EJECTIONS, 1)[0] for target, row in targets.items()},
    )
