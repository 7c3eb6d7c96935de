"""Which cell counts what: rows for each metric with its labels, by the names of the configuration alone.

    a column:  process │ route "" │ route /a │ route /b │ upstream u │ target u 10.0.0.7:80 │ limit /a │ … │ room

Every process of a gateway has the same layout, although none tells another: all start from the same configuration, and
extend it by the same reloads, in the same order. What a reload adds gets rows behind those that are there. What it
removes keeps its rows, so that a route that comes back goes on with its counts, and requests of it that are still in
flight have somewhere to count. The room is bounded (`room_for`); what finds none is not counted until a restart, and
`extend` says so.

Kinds of blocks, and the rows within each:

    process    PUBLISHED … PROCESS_ROWS
    route      requests by reason and class of status; the histogram of their durations; IN_FLIGHT, TUNNELS
    upstream   the histogram of its durations; RETRIES_MADE … QUEUED
    target     DOWN, UNDER_WAY, SENT_THERE, EJECTIONS
    found      of an upstream whose targets somebody else tells of: see `found_targets`
    limit      ADMITTED, LIMITED
"""

from collections.abc import Sequence
from typing import Final

from rawgate.errors import REASONS
from rawgate.observe import histogram

# Rows of the process.
PUBLISHED: Final = 0  # monotonic milliseconds at which the gauges were set: those of a worker that died grow old
RECEIVED: Final = 1
SENT: Final = 2
LOG_DROPPED: Final = 3
CLIENTS: Final = 4
LIMITER_KEYS: Final = 5
LIMITER_EVICTED: Final = 6
RELOADS_DONE: Final = 7
RELOADS_REFUSED: Final = 8
ARRIVALS_FAILED: Final = 9
STORE_DOWN: Final = 10  # 1 while this worker takes the store for down
STORE: Final = 11  # counts of `STORE_COUNTS`, then the histogram of round trips
STORE_COUNTS: Final = ("asked", "spared", "lent", "used", "late", "down")
STORE_LATENCY: Final = STORE + len(STORE_COUNTS)
PROCESS_ROWS: Final = STORE_LATENCY + histogram.CELLS

# Rows of a route.
CLASSES: Final = 5
"""Classes of status: 1xx (of tunnels) to 5xx."""
REASON_ROWS: Final = {code: at * CLASSES for at, code in enumerate(REASONS)}
DURATION: Final[int] = len(REASONS) * CLASSES
COUNTED: Final[int] = DURATION + histogram.CELLS
"""Rows of a route that are counters, and stand before those that are gauges."""
IN_FLIGHT: Final[int] = COUNTED
TUNNELS: Final[int] = IN_FLIGHT + 1
ROUTE_ROWS: Final[int] = TUNNELS + 1

# Rows of an upstream.
LATENCY: Final = 0
RETRIES_MADE: Final[int] = histogram.CELLS
RETRIES_REFUSED: Final[int] = RETRIES_MADE + 1
LEASED: Final[int] = RETRIES_MADE + 2
IDLE: Final[int] = LEASED + 1
DIALING: Final[int] = LEASED + 2
TUNNELLING: Final[int] = LEASED + 3
QUEUED: Final[int] = LEASED + 4
UPSTREAM_ROWS: Final[int] = LEASED + 5

# Rows of a target: down rather than up, because a cell that nobody has set is 0.
DOWN: Final = 0
UNDER_WAY: Final = 1
SENT_THERE: Final = 2  # requests, and those that were sent again
EJECTIONS: Final = 3
TARGET_ROWS: Final = 4
COUNTS_OF_TARGET: Final = (SENT_THERE, EJECTIONS)
"""Those of them that are counters. The others are gauges."""

# Rows of the targets that are found.
SLOTS: Final = 64
"""Targets of one upstream that are told of by name: more than that nobody reads, and each is a series or two."""
SLOT_ROWS: Final[int] = 1 + TARGET_ROWS
FOUND_ROWS: Final[int] = (1 + SLOTS) * SLOT_ROWS

# Rows of a limit.
ADMITTED: Final = 0
LIMITED: Final = 1
LIMIT_ROWS: Final = 2

NO_ROUTE: Final = ""
"""The route of requests that no route was selected for, as in the log."""

SPARE: Final = 65_536
"""Rows that there are at least for what reloads add: 250 routes. They cost 512 KiB of address space for each worker,
and memory only once they are used."""


class Names:
    """What a configuration has that is counted, in its order.

    targets  pairs of an upstream's name and a target's
    limits   names of limits
    finding  names of upstreams of which somebody else tells targets
    """

    __slots__ = ("finding", "limits", "routes", "targets", "upstreams")

    def __init__(
        self,
        routes: Sequence[str],
        upstreams: Sequence[str],
        targets: Sequence[tuple[str, str]],
        limits: Sequence[str],
        finding: Sequence[str] = (),
    ) -> None:
        self.routes: Final = tuple(routes)
        self.upstreams: Final = tuple(upstreams)
        self.targets: Final = tuple(targets)
        self.limits: Final = tuple(limits)
        self.finding: Final = tuple(finding)

    @property
    def rows(self) -> int:
        """How many rows they need, those of the process and of no route included."""
        return (
            PROCESS_ROWS
            + ROUTE_ROWS * (1 + len(self.routes))
            + UPSTREAM_ROWS * len(self.upstreams)
            + TARGET_ROWS * len(self.targets)
            + LIMIT_ROWS * len(self.limits)
            + FOUND_ROWS * len(self.finding)
        )


def room_for(names: Names) -> int:
    """How many rows a layout that starts with these names gets: as many again for what reloads add, `SPARE` at
    least."""
    return names.rows + max(names.rows, SPARE)


class Layout:
    """Names → the first row of each.

    capacity  rows that there are
    used      rows that are taken
    """

    __slots__ = ("capacity", "found", "limits", "routes", "targets", "upstreams", "used")

    def __init__(self, names: Names, capacity: int | None = None) -> None:
        self.capacity = room_for(names) if capacity is None else capacity
        self.used = PROCESS_ROWS
        self.routes: dict[str, int] = {}
        self.upstreams: dict[str, int] = {}
        self.targets: dict[tuple[str, str], int] = {}
        self.limits: dict[str, int] = {}
        self.found: dict[str, int] = {}
        self._place(self.routes, NO_ROUTE, ROUTE_ROWS)
        self.extend(names)

    def __repr__(self) -> str:
        return f"<Layout {self.used} of {self.capacity} rows, {len(self.routes)} routes>"

    def extend(self, names: Names) -> list[str]:
        """Give rows to what has none yet. Returns the names, as key paths, of what found no room."""
        missed = [f"routes.{name}" for name in names.routes if not self._place(self.routes, name, ROUTE_ROWS)]
        missed += [
            f"upstreams.{name}" for name in names.upstreams if not self._place(self.upstreams, name, UPSTREAM_ROWS)
        ]
        for target in names.targets:
            if target not in self.targets and self._fits(TARGET_ROWS):
                self.targets[target] = self._take(TARGET_ROWS)
            elif target not in self.targets:
                missed.append(f"upstreams.{target[0]}.targets: {target[1]}")
        missed += [f"limit {name}" for name in names.limits if not self._place(self.limits, name, LIMIT_ROWS)]
        missed += [
            f"upstreams.{name}.targets: those that are found"
            for name in names.finding
            if not self._place(self.found, name, FOUND_ROWS)
        ]
        return missed

    def _place(self, blocks: dict[str, int], name: str, rows: int) -> bool:
        """Whether the name has a block, or gets one."""
        if name not in blocks:
            if not self._fits(rows):
                return False
            blocks[name] = self._take(rows)
        return True

    def _fits(self, rows: int) -> bool:
        return self.used + rows <= self.capacity

    def _take(self, rows: int) -> int:
        start = self.used
        self.used += rows
        return start
