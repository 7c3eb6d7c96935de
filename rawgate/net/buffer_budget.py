"""What all client connections together hold in our memory, and who has to go when that is too much.

A connection holds octets that it has read and could not hand on, and octets that were written to it, or to its
upstream, and that the kernel has not taken. Each is bounded: about `limits.head` and one read of the loop (256 KiB) on
the way in, 64 KiB and one piece on the way out, 1 MiB of an upload (`net.buffered_reading`); but 10,000 times that is
more than a machine may have. So the sum has a limit too. Beyond it the connections that hold most are reset, until the
sum is well below.

Connections enter what they hold when that becomes much: when they hold back octets, when a side is full, when it has
room again. An ordinary request enters nothing. What is less than that is looked for now and then
(`ClientConnections.tidy`).
"""

from collections.abc import Callable
from typing import Final, Protocol

from rawgate.net.transports import HIGH_WATER

WORTH_ACCOUNTING: Final = 16 * 1024
"""Octets held back with a request from which on they are entered at once."""

UNACCOUNTED = HIGH_WATER + 2 * WORTH_ACCOUNTING
"""Octets that a connection may hold without having entered them: unsent, unread, and of a head."""

WELL_BELOW = 7 / 8
"""Of the limit: where closing ends, so that it does not begin again with the next octets."""


class Holder(Protocol):
    """A connection that holds something."""

    def evict(self) -> None:
        """End at once, and let go of everything."""


class BufferBudget:
    """The book.

    total   octets that are held, as far as they were entered
    peak    the most that it has been since `renew`
    closed  connections that had to go since `renew`
    """

    def __init__(self, limit: int, later: Callable[[Callable[[], None]], object]) -> None:
        """later: calls in another turn of the loop. Whoever enters something is in the middle of handing octets on,
        and must not be ended there."""
        self.limit = limit
        self.total = self.peak = 0
        self.closed = 0
        self._later = later
        self._of: dict[Holder, int] = {}
        self._relieving = False

    def account(self, holder: Holder, octets: int) -> None:
        """What a connection holds now; 0: nothing."""
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
        """Begin a new time of counting."""
        self.peak = self.total
        self.closed = 0
