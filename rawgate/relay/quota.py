"""Limits on how many there may be at a time: connections to an upstream, its queue, client connections.

A pool and a listener are handed their quotas and count nothing themselves. `Quota` is for one process. A quota that
several processes share has the same methods; it calls back when another process may have given a slot back.
"""

from collections.abc import Callable


class Quota:
    """Slots of one process.

    limit  how many slots there are
    taken  how many of them this process has taken
    """

    __slots__ = ("limit", "taken")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.taken = 0

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.taken} of {self.limit}>"

    @property
    def is_over(self) -> bool:
        """Whether more slots are taken than there are: the limit was lowered."""
        return self.taken > self.limit

    def take(self) -> bool:
        """Take a slot. False: none is free."""
        if self.taken >= self.limit:
            return False
        self.taken += 1
        return True

    def give(self) -> None:
        """Give a slot back."""
        self.taken -= 1

    def on_free(self, freed: Callable[[], None]) -> None:
        """Call `freed`, in a later turn of the loop, when another process may have given a slot back. This quota is
        of one process, which knows of its own slots, so it never calls."""
