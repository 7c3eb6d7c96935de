"""So many at a time: connections to an upstream, places in its queue, client connections.

A pool and a listener are handed their quotas, and count nothing themselves. `Quota` is for one process. One that
several processes share has the same methods, and says through `on_free` when there may be a slot that another process
gave back.
"""

from collections.abc import Callable


class Quota:
    """Slots of one process.

    limit  how many there are
    taken  how many of them are taken, by this process
    """

    __slots__ = ("limit", "taken")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.taken = 0

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.taken} of {self.limit}>"

    def take(self) -> bool:
        """Take a slot. False: there is none."""
        if self.taken >= self.limit:
            return False
        self.taken += 1
        return True

    def give(self) -> None:
        """Give a slot back."""
        self.taken -= 1

    def on_free(self, freed: Callable[[], None]) -> None:
        """Call `freed`, in a later turn of the loop, when a slot may be free that somebody else gave back. What this
        process gives back it knows by itself; there is nobody else here."""
