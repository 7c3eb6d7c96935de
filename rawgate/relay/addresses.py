"""How many client connections each address has, and may have. `shared_addresses` counts those of all processes."""


class Addresses:
    """The counts of one process.

    limit   connections that an address may have; None: any number
    counts  address → how many it has in this process; none with 0
    """

    __slots__ = ("counts", "limit")

    def __init__(self, limit: int | None) -> None:
        self.limit = limit
        self.counts: dict[str, int] = {}

    def enter(self, address: str) -> bool:
        """It has one connection more. False: it has as many as it may have, and this one is not counted."""
        count = self.counts.get(address, 0)
        if self.limit is not None and count >= self.limit:
            return False
        self.counts[address] = count + 1
        return True

    def leave(self, address: str) -> None:
        """It has one connection less."""
        count = self.counts.pop(address) - 1
        if count:
            self.counts[address] = count

    def resize(self, limit: int | None) -> None:
        """From now on an address may have so many. Those that are there stay."""
        self.limit = limit
