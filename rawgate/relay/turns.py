"""Whose turn it is: who waits for a connection of an upstream, and how many each client address holds meanwhile.

One address alone may have everything. While others wait, it counts who has how much:

- A free slot goes to the address that holds the fewest connections; among equals, to who came first.
- When more wait than may, the address with the most in the queue loses its newest one.
- An address that holds more than its share is known, so that it can be asked to make way.

Counting begins when somebody has to wait, and ends some time after nobody does: a request that finds a connection at
once is not counted.

The next turn is found in a heap whose entries are never changed: whatever changes for an address pushes a new entry,
and an old one is recognised when it comes up. So a turn costs a few comparisons, however many wait.
"""

from collections.abc import Iterable
from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rawgate.relay.pool import Waiter


class Caller:
    """One client address. `held`: connections that it has, or that are dialed for it. `waiting`: who waits, in order of
    arrival, each with its number in that order."""

    __slots__ = ("held", "waiting")

    def __init__(self) -> None:
        self.held = 0
        self.waiting: dict[Waiter, int] = {}

    def first(self) -> int:
        """The number of who has waited longest."""
        return next(iter(self.waiting.values()))


class Turns:
    """The queue of one pool.

    share     connections that an address may hold while others wait
    waiting   how many wait
    counting  whether `took` and `gave` want to know
    """

    __slots__ = ("_callers", "_heap", "_number", "_over", "counting", "share", "waiting")

    def __init__(self, share: int) -> None:
        self.share = share
        self.waiting = 0
        self.counting = False
        self._callers: dict[str, Caller] = {}
        self._over: dict[str, None] = {}
        self._heap: list[tuple[int, int, Caller]] = []
        self._number = 0

    def __contains__(self, waiter: "Waiter") -> bool:
        if not self.waiting:
            return False
        caller = self._callers.get(waiter.address)
        return caller is not None and waiter in caller.waiting

    # ── counting ──

    def count(self, holders: Iterable[str]) -> None:
        """Begin: the address behind each connection, and each dial."""
        self.counting = True
        for address in holders:
            self.took(address)

    def forget(self) -> None:
        """Stop counting, if nobody waits."""
        if not self.waiting:
            self.counting = False
            self._callers.clear()
            self._over.clear()
            self._heap.clear()

    def took(self, address: str) -> None:
        """A connection, or a dial, is for this address now."""
        caller = self._callers.get(address)
        if caller is None:
            caller = self._callers[address] = Caller()
        caller.held += 1
        if caller.held == self.share + 1:
            self._over[address] = None
        self._changed(caller)

    def gave(self, address: str) -> None:
        """It is no longer."""
        caller = self._callers[address]
        caller.held -= 1
        if caller.held == self.share:
            del self._over[address]
        self._changed(caller)
        self._drop(address, caller)

    def held(self, address: str) -> int:
        """Connections of this address, as far as they are counted."""
        caller = self._callers.get(address)
        return 0 if caller is None else caller.held

    def others_over(self, address: str) -> bool:
        """Whether any other address holds more than its share."""
        return len(self._over) > (address in self._over)

    # ── waiting ──

    def join(self, waiter: "Waiter") -> None:
        """Wait, behind all others of the same address."""
        caller = self._callers.get(waiter.address)
        if caller is None:
            caller = self._callers[waiter.address] = Caller()
        self._number += 1
        self.waiting += 1
        caller.waiting[waiter] = self._number
        if len(caller.waiting) == 1:
            self._changed(caller)

    def leave(self, waiter: "Waiter") -> None:
        """Wait no longer; nothing, if it does not wait."""
        if waiter in self:
            address = waiter.address
            caller = self._callers[address]
            del caller.waiting[waiter]
            self.waiting -= 1
            self._changed(caller)
            self._drop(address, caller)

    def take(self) -> "Waiter | None":
        """Whose turn it is; it waits no longer."""
        while self._heap:
            held, number, caller = heappop(self._heap)
            if caller.waiting and caller.held == held and caller.first() == number:
                waiter = next(iter(caller.waiting))
                self.leave(waiter)
                return waiter
        return None

    def crowding(self, newcomer: "Waiter") -> "Waiter":
        """Who is one too many, now that the newcomer waits as well: the newest of the address with most in the queue;
        the newcomer itself, unless another address has at least as many."""
        own = self._callers[newcomer.address]
        most = own
        for caller in self._callers.values():
            if caller is not own and len(caller.waiting) >= len(most.waiting):
                most = caller
        return next(reversed(most.waiting))

    # ── inside ──

    def _changed(self, caller: Caller) -> None:
        if not caller.waiting:
            return
        if len(self._heap) > 4 * self.waiting + 64:
            self._heap = [(one.held, one.first(), one) for one in self._callers.values() if one.waiting]
            heapify(self._heap)
        else:
            heappush(self._heap, (caller.held, caller.first(), caller))

    def _drop(self, address: str, caller: Caller) -> None:
        if not caller.held and not caller.waiting:
            del self._callers[address]
