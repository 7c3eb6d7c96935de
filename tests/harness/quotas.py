"""A quota as several processes would share one."""

from collections.abc import Callable

from rawgate.relay.quota import Quota


class Shared(Quota):
    """Slots of several owners that stand for several processes: each has one of these, over one count."""

    everybody: "list[Shared]"

    def __init__(self, limit: int, everybody: "list[Shared]") -> None:
        super().__init__(limit)
        self.everybody = everybody
        everybody.append(self)
        self.freed: Callable[[], None] | None = None

    def take(self) -> bool:
        if sum(one.taken for one in self.everybody) >= self.limit:
            return False
        self.taken += 1
        return True

    def on_free(self, freed: Callable[[], None]) -> None:
        self.freed = freed

    def wake(self) -> None:
        """The loop of this process hears that another has given something back."""
        assert self.freed is not None
        self.freed()
