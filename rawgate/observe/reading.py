"""All counts at one moment, by name: what metrics and status are made of."""

from collections.abc import Callable, Mapping, Sequence

from msgspec import Struct

from rawgate.observe import histogram, layout
from rawgate.observe.counters import Counters, Snapshot
from rawgate.observe.found_targets import OTHER, named, sums
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
    targets    name of a target → whether it works, as far as all workers know
    under_way  name of a target → requests that are there, or on their way
    sent       name of a target → requests that were sent there
    ejections  name of a target → how often it was ejected

    `found_targets.OTHER` stands among them for all that have no name: in `targets` only while there are some.
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


def read(counters: Counters, names: Names, now: float, found: Mapping[str, Sequence[str]]) -> Reading:
    """What the cells say now (monotonic seconds), of what the configuration has. What has no rows is left out. found:
    name of an upstream → the targets that somebody else tells of."""

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
            _upstream(name, counters, names, now, found.get(name, ()))
            for name in names.upstreams
            if name in table.upstreams
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


def earlier_sent(snapshot: Snapshot, counters: Counters, now: UpstreamCounts) -> dict[str, int]:
    """How many requests each target of an upstream had been sent at an earlier moment. now: what is counted there
    now."""
    name, table = now.name, counters.layout
    before = {
        target: snapshot.totals(table.targets[name, target] + layout.SENT_THERE, 1)[0]
        for target in now.sent
        if (name, target) in table.targets
    }
    if name in table.found:
        blocks = snapshot.blocks(table.found[name], layout.FOUND_ROWS)
        counts = sums(blocks, [target for target in now.sent if target not in before and target != OTHER])
        before |= {target: cells[layout.SENT_THERE] for target, cells in counts.items()}
    return before


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


def _upstream(name: str, counters: Counters, names: Names, now: float, found: Sequence[str]) -> UpstreamCounts:
    start, known = counters.layout.upstreams[name], counters.layout.targets
    latency = counters.totals(start + layout.LATENCY, histogram.CELLS)
    made, refused = counters.totals(start + layout.RETRIES_MADE, 2)
    states = counters.gauges(start + layout.LEASED, layout.UPSTREAM_ROWS - layout.LEASED, now)
    leased, idle, dialing, tunnels, queued = states
    counts: dict[str, Sequence[int]] = {}
    present: dict[str, Sequence[int]] = {}
    for upstream, target in names.targets:
        if upstream == name and (name, target) in known:
            row = known[name, target]
            counts[target] = counters.totals(row, layout.TARGET_ROWS)
            present[target] = counters.gauges(row, layout.TARGET_ROWS, now)
    if name in counters.layout.found:
        block, those = counters.layout.found[name], named(found)
        has_others = len(those) < len(set(found))
        all_counts = sums(counters.blocks(block, layout.FOUND_ROWS), those)
        all_present = sums(counters.fresh_blocks(block, layout.FOUND_ROWS, now), those)
        shown = [*those, OTHER] if has_others or any(all_counts[OTHER]) else those
        counts |= {target: all_counts[target] for target in shown}
        present |= {target: all_present[target] for target in ([*those, OTHER] if has_others else those)}
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
        targets={target: not cells[layout.DOWN] for target, cells in present.items()},
        under_way={target: cells[layout.UNDER_WAY] for target, cells in present.items()},
        sent={target: cells[layout.SENT_THERE] for target, cells in counts.items()},
        ejections={target: cells[layout.EJECTIONS] for target, cells in counts.items()},
    )
