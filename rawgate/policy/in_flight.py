"""How many requests of a client of a route are being served at the moment.

The counts of one process are here. Several workers count in memory that they share (`relay.shared_counts`), so that a
client has no more requests under way in all of them together.
"""

from collections.abc import Callable
from typing import Final

from rawgate.message import Counts


class OwnCounts(Counts):
    """The counts of one process."""

    __slots__ = ("_counts",)

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}

    def __len__(self) -> int:
        return sum(self._counts.values())

    def enter(self, key: str, most: int) -> bool:
        count = self._counts.get(key, 0)
        if count >= most:
            return False
        self._counts[key] = count + 1
        return True

    def leave(self, key: str) -> None:
        left = self._counts[key] - 1
        if left:
            self._counts[key] = left
        else:
            del self._counts[key]


class InFlight:
    """The requests of one route that are under way."""

    __slots__ = ("_counts", "_route")

    def __init__(self, route: str, counts: Counts) -> None:
        self._route: Final = route
        self._counts: Final = counts

    def enter(self, client: str, most: int) -> Callable[[], None] | None:
        """One more request of a client that has fewer than `most`: returns what ends it, once. None: it has as many."""
        # No name of a client has a line end, so no two pairs make one key.
        key = f"{self._route}\n{client}"
        counts = self._counts
        if not counts.enter(key, most):
            return None

        def leave() -> None:
            counts.leave(key)

        return leave
