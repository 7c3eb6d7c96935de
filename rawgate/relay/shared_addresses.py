"""How many client connections each address has in all worker processes of one gateway, counted in `shared_counts`.

An address that finds no place there may have no connection.
"""

from typing import Final

from rawgate.relay.addresses import Addresses
from rawgate.relay.shared_counts import SharedCounts

WIDTH: Final = 66
"""Octets of a place. An address takes 45 at most, between two marks; a digest takes all of them."""


class SharedAddresses(Addresses):
    """The counts of one worker, of those that all workers share. While there is no limit nothing is shared."""

    __slots__ = ("_shared",)

    def __init__(self, limit: int | None, shared: SharedCounts) -> None:
        super().__init__(limit)
        self._shared = shared

    def enter(self, address: str) -> bool:
        if self.limit is not None and not self._shared.enter(address, self.limit):
            return False
        self.counts[address] = self.counts.get(address, 0) + 1
        return True

    def leave(self, address: str) -> None:
        super().leave(address)
        if self.limit is not None:
            self._shared.leave(address)

    def resize(self, limit: int | None) -> None:
        was, self.limit = self.limit, limit
        if (was is None) != (limit is None):
            for address, count in self.counts.items():
                self._shared.change(address, count if was is None else -count, None)
