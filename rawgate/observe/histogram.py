"""Latencies in buckets: counts that only grow, so those of several processes add up, and two readings can be
subtracted.

The buckets are fixed, because only then do sums over processes, restarts and versions mean anything. Their steps are
those of Prometheus' client libraries (1, 2.5, 5), from 100 µs, where a request ends that we reply to ourselves, to
60 s, where nearly every client has given up; above 5 s they are Envoy's (10, 30, 60 s), as deadlines are set to those.

A latency is a whole number of microseconds: compiled, a search among integers costs a fifth of one among floats.
"""

from collections.abc import Sequence
from typing import Final

BOUNDS: Final[list[int]] = [
    *(100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000),
    *(100_000, 250_000, 500_000, 1_000_000, 2_500_000, 5_000_000),
    *(10_000_000, 30_000_000, 60_000_000),
]
"""Microseconds: upper bounds of the buckets, each inclusive (Prometheus' `le`)."""

BUCKETS: Final[int] = len(BOUNDS) + 1
"""What lies beyond the last bound has a bucket, too."""
SUM: Final[int] = BUCKETS
"""Which cell of a histogram holds the sum, in microseconds. Nanoseconds would overflow within a month of 10,000
requests at a time."""
CELLS: Final[int] = BUCKETS + 1


def microseconds(seconds: float) -> int:
    """A span, rounded; none is below 0."""
    return int(seconds * 1e6 + 0.5) if seconds > 0 else 0


def bucket_of(latency: int) -> int:
    """The bucket of a latency in microseconds."""
    low, high, bounds = 0, len(BOUNDS), BOUNDS
    while low < high:
        middle = (low + high) >> 1
        if bounds[middle] < latency:
            low = middle + 1
        else:
            high = middle
    return low


def percentile(cells: Sequence[int], part: float) -> float | None:
    """Seconds within which this part (0 to 1) of what the cells have counted ended; None: they have counted nothing.

    Within a bucket it is interpolated, as Prometheus' `histogram_quantile` does; beyond the last bound it is that
    bound.
    """
    rank, below, lower = part * sum(cells[:BUCKETS]), 0, 0
    if rank <= 0:
        return None
    for at, upper in enumerate(BOUNDS):
        if below + cells[at] >= rank:
            return (lower + (upper - lower) * (rank - below) / cells[at]) / 1e6
        below, lower = below + cells[at], upper
    return lower / 1e6
