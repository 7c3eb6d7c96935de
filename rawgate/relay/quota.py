"""Limits on how many there may be at a time: connections to an upstream, its queue, its tunnels, client connections.

A pool and a book of connections are handed their quotas and count nothing themselves. `Quota` is for one process. One
that several processes share has the same methods (`shared_quota`): there, somebody in another process may wait for a
slot that this process has, and may give one back that somebody waits for here.
"""

from collections.abc import Callable

from rawgate.errors import RawgateError
from rawgate.relay.addresses import Addresses
from rawgate.relay.breaker import Breaker, OneProcess, private_cells


class Quota:
    """Slots of one process.

    limit      how many slots there are
    taken      how many of them this process has taken
    is_shared  whether other processes have slots of it too
    """

    __slots__ = ("is_shared", "limit", "taken")

    def __init__(self, limit: int, *, is_shared: bool = False) -> None:
        self.limit = limit
        self.taken = 0
        self.is_shared = is_shared

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.taken} of {self.limit}>"

    def take(self) -> bool:
        """Take a slot. False: none is free."""
        if self.taken >= self.limit:
            return False
        self.taken += 1
        return True

    def give(self) -> None:
        """Give a slot back."""
        self.taken -= 1

    # ── for the sake of other processes ──

    def take_or_wait(self) -> bool:
        """Take a slot. False: none is free, and from now on somebody waits here: as soon as this process is given a
        slot, the function that `on_free` got is called. This quota is of one process, which knows of its own slots."""
        return self.take()

    def stop_waiting(self) -> None:
        """Nobody waits here any more. To be called as soon as that is so; a slot that was given goes to others."""

    def give_if_due(self) -> bool:
        """A slot is taken, and nobody uses it now. Give it back if it is another's turn, or if more are taken than
        there are, since the limit was lowered. Returns whether it was given back."""
        if self.taken <= self.limit:
            return False
        self.taken -= 1
        return True

    def on_free(self, freed: Callable[[], None]) -> None:
        """Call `freed`, in a later turn of the loop, when this process was given a slot that it waits for, and when
        others wait: it shall give back slots that nobody uses here. This quota never calls."""

    # ── a reload ──

    def resize(self, limit: int) -> None:
        """From now on there are so many slots. Who has one keeps it."""
        self.limit = limit

    def let_go(self) -> None:
        """Nobody waits here any more, and no slot will be taken. What is taken will be given back."""


class NoRoomError(RawgateError):
    """More quotas than there is memory for. One sentence: what to do."""


class Quotas:
    """Where the quotas of a configuration come from. These are of this process alone."""

    __slots__ = ()

    def named(self, name: str, limit: int) -> Quota:
        """The quota of this name, such as "upstreams.users.queue". Processes that share quotas get the same slots by
        the same name. Raises NoRoomError."""
        return Quota(limit)

    def guarded(self, name: str, limit: int) -> tuple[Quota, Breaker]:
        """As `named`, with a circuit breaker of the same name."""
        return Quota(limit), Breaker(private_cells(), OneProcess())

    def addresses(self, limit: int | None) -> Addresses:
        """How many client connections each address has. limit: how many it may have."""
        return Addresses(limit)
