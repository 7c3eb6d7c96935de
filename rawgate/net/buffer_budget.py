"""A budget for the octets that all client connections hold in memory, and the eviction of those that hold most.

A connection holds two kinds of octets: those that it has read and could not hand on (with TLS, as records), and those
that were written to it, or to its upstream, and that the kernel has not taken. Both are bounded for each connection:
about `limits.head` and one read of the loop (256 KiB) on the way in, 64 KiB and one piece on the way out, 1 MiB of an
upload (`net.buffered_reading`). But 10,000 times that is more than a machine may have, so the sum has a limit too.
Beyond it the connections that hold most are reset, until the sum is well below the limit. (Envoy has an overload action
that does the same: `reset_high_memory_stream`.)

A connection accounts for its octets when they become many: when it holds back octets, when a side is full, when that
side has room again. An ordinary request accounts for nothing, and costs nothing here. `ClientConnections.tidy` looks
for smaller portions now and then.
"""

from collections.abc import Callable
from typing import Final, Protocol

from rawgate.net.transports import HIGH_WATER

WORTH_ACCOUNTING: Final = 16 * 1024
"""A connection that holds back more octets than this, behind a request, accounts for them at once."""

UNACCOUNTED = HIGH_WATER + 2 * WORTH_ACCOUNTING
"""Octets that a connection may hold without having accounted for them: written, read, and of a head."""

WELL_BELOW = 7 / 8
"""The share of the limit at which eviction ends, so that it does not begin again with the next octets."""


class Holder(Protocol):
    """A connection that holds octets."""

    def evict(self) -> None:
        """End at once, and let go of all octets."""


class BufferBudget:
    """Adds up what connections account for.

    total   octets that are held, as far as they were accounted for
    peak    the highest `total` since `renew`
    closed  connections that were evicted since `renew`
    """

    def __init__(self, limit: int, later: Callable[[Callable[[], None]], object]) -> None:
        """limit: octets. later: calls a function in another turn of the loop (`call_soon`): a connection that accounts
        for octets is in the middle of handing them on, and must not be ended there."""
        self.limit = limit
        self.total = self.peak = 0
        self.closed = 0
        self._later = later
        self._of: dict[Holder, int] = {}
        self._relieving = False

    def account(self, holder: Holder, octets: int) -> None:
        """A connection holds so many octets now. 0 takes it out of the book."""
        self.total += octets - self._of.pop(holder, 0)
        if octets:
            self._of[holder] = octets
        if self.total > self.peak:
            self.peak = self.total
        if self.total > self.limit and not self._relieving:
            self._relieving = True
            self._later(self._relieve)

    def _relieve(self) -> None:
        self._relieving = False
        for holder in sorted(self._of, key=self._of.__getitem__, reverse=True):
            if self.total <= self.limit * WELL_BELOW:
                return
            self.account(holder, 0)
            self.closed += 1
            holder.evict()

    def renew(self) -> None:
        """Begin to count `peak` and `closed` anew."""
        self.peak = self.total
        self.closed = 0
