"""Where an upstream can be reached, and whose turn it is: its targets, and the addresses that the name of each has.

Two wheels turn. Requests go round the targets; those of one target go round its addresses, so that a name with several
addresses has its load on all of them. A wheel moves on when an idle connection is taken, or when a dial is started: a
dial that is still under way has had its turn, so a burst is spread as evenly as what comes one by one.

What could not be reached is left out for `UNHEALTHY_FOR` seconds, which means that it is tried after all others. The
operator is told when something goes, with the reason, and when it comes back; of one that comes and goes all the time,
once in `UNHEALTHY_FOR`.
"""

from collections.abc import Callable, Sequence
from math import inf

UNHEALTHY_FOR = 5.0
"""Seconds for which a target, or an address, whose dial failed is tried last."""

ANY = ""
"""Stands for the address of a target that has one only, or whose addresses are not known yet."""


class Standing:
    """Whether something could be reached when that was last tried."""

    __slots__ = ("_is_told", "_quiet_until", "down_until")

    def __init__(self) -> None:
        self.down_until = 0.0
        self._is_told = False  # that it is gone
        self._quiet_until = -inf

    def failed(self, now: float) -> bool:
        """It could not be. Returns whether to tell."""
        self.down_until = now + UNHEALTHY_FOR
        if self._is_told or now < self._quiet_until:
            return False
        self._is_told, self._quiet_until = True, now + UNHEALTHY_FOR
        return True

    def answered(self) -> bool:
        """It could be. Returns whether to tell."""
        self.down_until = 0.0
        was_told, self._is_told = self._is_told, False
        return was_told


class Target:
    """One target, and its addresses as they were looked up last; `turn` counts up to whose turn it was."""

    __slots__ = ("addresses", "by_address", "name", "standing", "turn")

    def __init__(self, name: str) -> None:
        self.name = name
        self.standing = Standing()
        self.addresses: tuple[str, ...] = ()
        self.by_address: dict[str, Standing] = {}
        self.turn = 0

    def next_turn(self, now: float) -> int:
        """The turn after this one, leaving out addresses that are down unless all are."""
        count = len(self.addresses)
        for turn in range(self.turn + 1, self.turn + 1 + count):
            if self.by_address[self.addresses[turn % count]].down_until <= now:
                return turn
        return self.turn + 1


class Targets:
    """Those of one upstream. `tell` is told, in one line, what the operator should know.

    is_single  there is nothing to choose
    """

    def __init__(self, names: Sequence[str], tell: Callable[[str], None]) -> None:
        self._targets = [Target(name) for name in names]
        self._tell = tell
        self._turn = 0
        self.is_single = len(names) == 1

    # ── whose turn it is ──

    def next(self, now: float) -> tuple[int, str]:
        """The target whose turn it is, and the address; `ANY` when it makes no difference. Nothing moves."""
        at = self._next_target(now)
        target = self._targets[at]
        if len(target.addresses) < 2:
            return at, ANY
        return at, target.addresses[target.next_turn(now) % len(target.addresses)]

    def took(self, at: int, now: float) -> None:
        """The turn of this target, and of its next address, is over."""
        self._turn = at
        target = self._targets[at]
        target.turn = target.next_turn(now)

    def order(self, now: float) -> list[tuple[int, int]]:
        """(target, turn of its addresses) in the order in which a dial that is started now should try them: from the
        one whose turn it is, the healthy first. It has had its turn then."""
        first, count = self._next_target(now), len(self._targets)
        self.took(first, now)
        ring = [(first + step) % count for step in range(count)]
        ring.sort(key=lambda at: self._targets[at].standing.down_until > now)
        return [(at, self._targets[at].turn) for at in ring]

    def _next_target(self, now: float) -> int:
        count = len(self._targets)
        for step in range(1, count + 1):
            at = (self._turn + step) % count
            if self._targets[at].standing.down_until <= now:
                return at
        return (self._turn + 1) % count

    def is_only(self, at: int, now: float) -> bool:
        """Whether no other target is up."""
        return all(other.standing.down_until > now for other in self._targets if other is not self._targets[at])

    # ── what dials find ──

    def addresses(self, at: int, turn: int, found: tuple[str, ...], now: float) -> list[str]:
        """The name of a target has these addresses. Returns them in the order in which to try them: from the one whose
        turn it is, the healthy first."""
        target = self._targets[at]
        if target.addresses != found:
            target.addresses = found
            target.by_address = {one: target.by_address.get(one) or Standing() for one in found}
            self.is_single = len(self._targets) == 1 and len(found) < 2
        ring = [found[(turn + step) % len(found)] for step in range(len(found))]
        return sorted(ring, key=lambda one: target.by_address[one].down_until > now)

    def failed(self, at: int, why: str, now: float) -> None:
        """A target could not be reached, at none of its addresses."""
        target = self._targets[at]
        if target.standing.failed(now):
            self._tell(f"{target.name} cannot be reached: {why}")

    def address_failed(self, at: int, address: str, why: str, now: float) -> None:
        """One address of a target could not be reached. Told where it has others: else the target's failure is."""
        target = self._targets[at]
        standing = target.by_address.get(address)
        if standing is not None and len(target.addresses) > 1 and standing.failed(now):
            self._tell(f"{target.name} at {address} cannot be reached: {why}")

    def answered(self, at: int, address: str) -> None:
        """A target could be reached, at this address."""
        target = self._targets[at]
        if target.standing.answered():
            self._tell(f"{target.name} can be reached again")
        standing = target.by_address.get(address)
        if standing is not None and standing.answered():
            self._tell(f"{target.name} at {address} can be reached again")
