"""Counts what happens in cells that any process of the gateway can read.

    worker 0's column │ worker 1's column │ …         unsigned 64-bit cells, `Layout.capacity` in each column

A worker writes to its own column only, so there is no lock, and no count is lost to another. The sum over all columns
is the gateway's count. A worker that is started in the place of one that died goes on with its column. With several
workers the cells are memory that all of them inherit; with one they are its own.

Counters only grow. Gauges (connections, queues, health) are set from time to time, and with them the time: what a
worker had set is not counted any more once it is older than `STALE`, since that worker is gone.

Requests are counted where each of them passes in one piece, on its way to the access log, before that queues or drops
it: so the counts are exact whatever becomes of the lines. Counting in the log's thread was rejected for that reason,
and counting in the core because that would cost those who do not ask for it. Without an admin listener there is no
`CountingSink`, and the log is given its records directly.

The sink counts in lists, and copies those that have changed to the cells after `COPY_AFTER`. A cell is several times as
dear as an element of a list, whose arithmetic is compiled: with cells alone a request took 16 % more instructions.
Whoever reads in the same process has them copied first. Another process sees them that much later, and a worker that is
killed loses what it counted in that time, as it loses the requests that it was serving.
"""

from array import array
from collections.abc import Callable
from typing import Final

from rawgate.observe import histogram, layout
from rawgate.observe.layout import Layout, Names
from rawgate.observe.line import Record

COPY_AFTER: Final = 0.1
"""Seconds from a first count to the copy."""

STALE: Final = 5.0
"""Seconds after which gauges are those of a worker that is gone: a few times what lies between two settings."""

SWITCHED: Final = 101


class Counters:
    """The cells of all workers.

    own  this worker's column
    """

    __slots__ = ("_columns", "layout", "own")

    def __init__(self, layout: Layout, cells: memoryview, worker: int = 0) -> None:
        """cells: `octets_for(layout, workers)` octets, all zero at first; the same memory in every worker. worker: this
        one's number, from 0."""
        rows = layout.capacity
        whole = cells.cast("B").cast("Q")
        self.layout: Final = layout
        self._columns: Final = [whole[at : at + rows] for at in range(0, len(whole) - rows + 1, rows)]
        self.own: Final = self._columns[worker]

    def __repr__(self) -> str:
        return f"<Counters of {len(self._columns)} workers, {self.layout!r}>"

    @property
    def workers(self) -> int:
        """How many columns there are."""
        return len(self._columns)

    def totals(self, start: int, count: int) -> list[int]:
        """The sums over all workers, of so many rows from `start` on."""
        return _sums(self._columns, start, count)

    def gauges(self, start: int, count: int, now: float) -> list[int]:
        """The same of gauges, without those of workers that are gone. now: monotonic seconds."""
        return _sums(self._fresh(now), start, count)

    def blocks(self, start: int, count: int) -> list[list[int]]:
        """The same rows of each worker, one by one."""
        return [column[start : start + count].tolist() for column in self._columns]

    def fresh_blocks(self, start: int, count: int, now: float) -> list[list[int]]:
        """The same without those of workers that are gone. now: monotonic seconds."""
        return [column[start : start + count].tolist() for column in self._fresh(now)]

    def snapshot(self) -> "Snapshot":
        """What has been counted until now."""
        used = self.layout.used
        return Snapshot([memoryview(column[:used].tobytes()).cast("Q") for column in self._columns])

    def alive(self, now: float) -> int:
        """How many workers have set their gauges lately."""
        return len(self._fresh(now))

    def _fresh(self, now: float) -> list[memoryview]:
        return [column for column in self._columns if now - column[layout.PUBLISHED] / 1000 <= STALE]


class Snapshot:
    """All counts of one moment."""

    __slots__ = ("_columns",)

    def __init__(self, columns: list[memoryview]) -> None:
        self._columns: Final = columns

    def totals(self, start: int, count: int) -> list[int]:
        """As `Counters.totals`; 0 in rows that a reload has added since."""
        sums = _sums(self._columns, start, count)
        return sums or [0] * count

    def blocks(self, start: int, count: int) -> list[list[int]]:
        """As `Counters.blocks`; empty ones where a reload has added the rows since."""
        return [column[start : start + count].tolist() for column in self._columns]


def _sums(columns: list[memoryview], start: int, count: int) -> list[int]:
    cells: list[list[int]] = [column[start : start + count].tolist() for column in columns]
    if len(cells) == 1:
        return cells[0]
    return [sum(row) for row in zip(*cells, strict=True)] if cells else [0] * count


def octets_for(layout: Layout, workers: int) -> int:
    """How much memory the cells take."""
    return 8 * layout.capacity * workers


def private_counters(names: Names) -> Counters:
    """Those of a gateway that is one process."""
    layout = Layout(names)
    return Counters(layout, memoryview(bytearray(octets_for(layout, 1))))


class Decisions:
    """Counts what each limit decides, by its name: how many requests were admitted, and how many were not."""

    __slots__ = ("counts",)

    def __init__(self) -> None:
        self.counts: Final[dict[str, list[int]]] = {}

    def watch(self, limit: str) -> Callable[[bool], None]:
        """What is to be told of each decision of that limit. A reload asks again, and the counts go on."""
        counts = self.counts.setdefault(limit, [0, 0])

        def told(admitted: bool) -> None:
            at = layout.ADMITTED if admitted else layout.LIMITED
            counts[at] = counts[at] + 1

        return told


class Block:
    """Rows of this worker's column that are counted in a list. start: the first one; -1: there was no room for them."""

    __slots__ = ("changed", "counts", "start")

    def __init__(self, column: memoryview, start: int, rows: int) -> None:
        self.start: Final = start
        self.counts: Final[list[int]] = [0] * rows if start < 0 else column[start : start + rows].tolist()
        self.changed = False

    def count_latency(self, first: int, seconds: float) -> None:
        """Count in the histogram whose cells begin at `first`."""
        counts, latency = self.counts, histogram.microseconds(seconds)
        # Written out: compiled, `+=` on an element is an operation on objects.
        at, total = first + histogram.bucket_of(latency), first + histogram.SUM
        counts[at] = counts[at] + 1
        counts[total] = counts[total] + latency


class CountingSink:
    """Counts each finished request, and hands its record on.

    A tunnel is counted as a request, and not among the latencies: how long people keep one open says nothing about how
    fast anything is.
    """

    __slots__ = ("_changed", "_column", "_later", "_layout", "_received", "_routes", "_sent", "_upstreams", "_write")

    def __init__(
        self,
        counters: Counters,
        write: Callable[[Record], None],
        later: Callable[[float, Callable[[], None]], object],
    ) -> None:
        """write: the log's. later: calls a function after so many seconds, as `loop.call_later` does."""
        self._layout: Final = counters.layout
        self._column: Final = counters.own
        self._write: Final = write
        self._later: Final = later
        self._routes: Final[dict[str, Block]] = {}
        self._upstreams: Final[dict[str, Block]] = {}
        self._changed: Final[list[Block]] = []
        self._received: int = self._column[layout.RECEIVED]
        self._sent: int = self._column[layout.SENT]

    def write(self, record: Record) -> None:
        """Count one. Only the event loop's thread may call it."""
        block = self._routes.get(record.route)
        if block is None:
            block = self._routes[record.route] = self._block(self._layout.routes, record.route, layout.COUNTED)
        status = record.status
        # 1xx to 5xx. What is none of these would be a mistake of ours.
        kind = status // 100 - 1 if 100 <= status < 600 else layout.CLASSES - 1
        counts, at = block.counts, layout.REASON_ROWS[record.reason] + kind
        counts[at] = counts[at] + 1
        self._received += record.bytes_in
        self._sent += record.bytes_out
        if not block.changed:
            self._mark(block)
        if status != SWITCHED:
            block.count_latency(layout.DURATION, record.duration)
            if record.leased_at >= 0:
                self._count_upstream(record)
        self._write(record)

    def _count_upstream(self, record: Record) -> None:
        block = self._upstreams.get(record.upstream)
        if block is None:
            rows = histogram.CELLS
            block = self._upstreams[record.upstream] = self._block(self._layout.upstreams, record.upstream, rows)
        block.count_latency(layout.LATENCY, record.ended_at - record.leased_at)
        if not block.changed:
            self._mark(block)

    def _block(self, starts: dict[str, int], name: str, rows: int) -> Block:
        return Block(self._column, starts.get(name, -1), rows)

    def _mark(self, block: Block) -> None:
        block.changed = True
        if not self._changed:
            self._later(COPY_AFTER, self.copy)
        self._changed.append(block)

    def copy(self) -> None:
        """Copy to the cells what has changed."""
        column = self._column
        for block in self._changed:
            block.changed = False
            if block.start >= 0:
                column[block.start : block.start + len(block.counts)] = memoryview(array("Q", block.counts))
        self._changed.clear()
        column[layout.RECEIVED], column[layout.SENT] = self._received, self._sent
