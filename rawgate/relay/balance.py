"""Which endpoint of an upstream a request goes to: first how much each one gets, then how the next one is picked.

**How much.** `allot` gives each endpoint its part of the requests. Endpoints stand in levels:

    0  those in the gateway's own zone; all of them, where the gateway has no zone
    1  those in other zones, and in none that is known
    2  backups

A level takes requests before the next one does, by how much of its weight is up. Half of a level may be slow or gone
while the rest can still carry all, so a level takes `ENOUGH` times the part of its weight that is up, at most all of
what is left. The next level takes what that leaves. So requests spill over in proportion, and never all at once. Within
a level each gets its part by its weight; in a slow start by less (`Health.share`).

When all levels together cannot carry the load, it is divided by what each can. A level of which less than `PANIC` is up
is then in panic: it is more likely that the checks are wrong, or that all are overloaded, than that so many are broken.
All of it is tried then, but for those that could not be reached: that is no opinion. When nothing at all is up, all are
tried. The numbers and rules are those of Envoy's priority levels.

**The next one** is picked in one of three ways (`Way`). All of them deal with parts alone, so a spill-over and a slow
start look the same to each: smaller parts.

    round robin     whoever has waited longest for its part: virtual time, as in weighted fair queueing
    least requests  of two that are drawn at random, by their parts, the one with fewer requests per part
    hash            the same key gets the same endpoint, in every process: weighted rendezvous

Random numbers are handed in.
"""

from abc import ABC, abstractmethod
from bisect import bisect
from collections.abc import Callable, Sequence
from math import log
from typing import TYPE_CHECKING, Final
from zlib import crc32

from mypy_extensions import i64

if TYPE_CHECKING:
    from rawgate.relay.endpoints import Endpoint

Draw = Callable[[], float]
"""A random number from 0 to 1, without 1."""

ROUND_ROBIN: Final = "round_robin"
LEAST_REQUESTS: Final = "least_requests"
HASH: Final = "hash"

LEVELS: Final = 3

ENOUGH: Final = 1.4
"""How much a level takes of the requests, for each part of its weight that is up: Envoy's overprovisioning factor."""

PANIC: Final = 0.5
"""Envoy's `healthy_panic_threshold`, of which all is tried below it."""

SLOTS: Final = 65_536
"""Keys are hashed to so many slots, and each slot belongs to an endpoint. With three endpoints each has its part to a
half in a hundred; the table of an upstream takes 512 KiB. Envoy's Maglev tables have as many (65,537)."""


def never_by_chance() -> float:
    """The `Draw` of one process that nobody shares an upstream with."""
    return 0.0


# ── how much each one gets ──


def allot(endpoints: "Sequence[Endpoint]", now: float) -> "list[Endpoint]":
    """Set the `part` of each endpoint, and `counted_up`: by what it was set. All parts together are 1. Returns those
    that have one."""
    whole, healthy = [0.0] * LEVELS, [0.0] * LEVELS
    for endpoint in endpoints:
        weight = float(endpoint.place.weight)
        endpoint.part = 0.0
        endpoint.counted_up = endpoint.health.is_up(now)
        whole[endpoint.level] += weight
        if endpoint.counted_up:
            healthy[endpoint.level] += weight
    able = [min(1.0, ENOUGH * healthy[level] / whole[level]) if whole[level] else 0.0 for level in range(LEVELS)]
    is_enough = sum(able) >= 1.0
    tried = [
        endpoint
        for endpoint in endpoints
        if endpoint.counted_up
        or (
            not is_enough
            and healthy[endpoint.level] < PANIC * whole[endpoint.level]
            and endpoint.health.is_reachable(now)
        )
    ] or list(endpoints)
    weights, sums = [], [0.0] * LEVELS
    for endpoint in tried:
        weight = endpoint.place.weight * (endpoint.health.share(now) if endpoint.counted_up else 1.0)
        weights.append(weight)
        sums[endpoint.level] += weight
    loads = _loads(able) if any(able) else [one / sum(sums) for one in sums]
    for endpoint, weight in zip(tried, weights, strict=True):
        endpoint.part = loads[endpoint.level] * weight / sums[endpoint.level]
    return [endpoint for endpoint in tried if endpoint.part > 0.0]


def _loads(able: list[float]) -> list[float]:
    """What each level takes of the requests, by what it can take: all of them, or less."""
    total = sum(able)
    if total <= 1.0:
        return [one / total for one in able]
    left, loads = 1.0, []
    for one in able:
        loads.append(min(left, one))
        left -= loads[-1]
    return loads


# ── which one is next ──


class Way(ABC):
    """A way of balancing among those endpoints of one upstream that have a part.

    is_sticky  the same key gets the same endpoint, so another one is no substitute
    """

    is_sticky: bool = False

    @abstractmethod
    def arrange(self, mix: "list[Endpoint]") -> None:
        """From now on these get requests, at least one, each its `part`."""

    @abstractmethod
    def choose(self, key: str) -> "Endpoint":
        """The next one. key: of the request, "" for none."""

    def end_turn(self, endpoint: "Endpoint") -> None:  # noqa: B027 - most ways need not know
        """A request goes to this endpoint."""

    def distance(self, endpoint: "Endpoint", key: str) -> float:
        """Of two endpoints that could stand in for the one chosen, the one with the smaller distance is to."""
        return 0.0


class RoundRobin(Way):
    """Each endpoint is due again after a step that is as long as its part is small, and the one that is due first has
    its turn. So heavy and light ones interleave smoothly: weights 5, 1, 1 give `b a a c a a a`, not `a a a a a b c`.

    Each process starts at a place of its own, or the first requests of all of them would meet at one endpoint.
    """

    def __init__(self, draw: Draw) -> None:
        self._mix: list[Endpoint] = []
        self._start = draw()

    def arrange(self, mix: "list[Endpoint]") -> None:
        """One that stays keeps the part of its step that is over; a new one has waited for half of its own."""
        staying = [endpoint.due for endpoint in self._mix if endpoint.part > 0.0 and not endpoint.is_gone]
        first = min(staying, default=0.0)
        count = len(mix)
        start = 1 + int(self._start * count)
        for at, endpoint in enumerate(mix):
            step = 1.0 / endpoint.part
            if not staying:
                endpoint.due = (at - start) % count / count * step
            elif endpoint.step > 0.0:
                endpoint.due = (endpoint.due - first) * step / endpoint.step
            else:
                endpoint.due = step / 2
        for endpoint in self._mix:
            endpoint.step = 0.0
        for endpoint in mix:
            endpoint.step = 1.0 / endpoint.part
        self._mix = mix

    def choose(self, key: str) -> "Endpoint":
        chosen = self._mix[0]
        due = chosen.due
        for endpoint in self._mix:
            if endpoint.due < due:
                chosen, due = endpoint, endpoint.due
        return chosen

    def end_turn(self, endpoint: "Endpoint") -> None:
        endpoint.due += endpoint.step


class LeastRequests(Way):
    """The power of two choices: it avoids who is slow nearly as well as a look at all of them, and unlike that one it
    does not send a herd to whoever is free, since each process and each request looks at another pair."""

    def __init__(self, draw: Draw) -> None:
        self._draw = draw
        self._mix: list[Endpoint] = []
        self._ends: list[float] = []  # the parts, added up

    def arrange(self, mix: "list[Endpoint]") -> None:
        self._mix, self._ends, end = mix, [], 0.0
        for endpoint in mix:
            end += endpoint.part
            self._ends.append(end)

    def choose(self, key: str) -> "Endpoint":
        mix, ends = self._mix, self._ends
        last = len(mix) - 1
        if not last:
            return mix[0]
        at = min(bisect(ends, self._draw() * ends[last]), last)
        one = mix[at]
        # The second is drawn as if the first were not there.
        part = one.part
        drawn = self._draw() * (ends[last] - part)
        other = mix[min(bisect(ends, drawn if drawn < ends[at] - part else drawn + part), last)]
        return one if one.load * other.part <= other.load * part else other


class Hash(Way):
    """Weighted rendezvous: for each slot of keys every endpoint draws a number by hash, and the least number by part
    wins. When an endpoint goes, its slots go to those that are next in each of them, and no other slot moves; when it
    is back they come back. When parts change, only as much moves as must.

    Winners are remembered until parts change: a choice is one look, with a hundred endpoints as with three. Rejected: a
    ring, whose parts waver by a twelfth with nginx's 160 points for each; Maglev's table, which moves slots between
    those that stay, and is filled whole at each change.

    Requests without a key take turns, as nginx has it.
    """

    is_sticky = True

    def __init__(self, draw: Draw) -> None:
        self._turns = RoundRobin(draw)
        self._mix: list[Endpoint] = []
        self._owners: list[Endpoint | None] = []

    def arrange(self, mix: "list[Endpoint]") -> None:
        self._turns.arrange(mix)
        self._mix = mix
        self._owners = [None] * SLOTS

    def choose(self, key: str) -> "Endpoint":
        if not key:
            return self._turns.choose(key)
        slot = slot_of(key)
        owner = self._owners[slot]
        if owner is None:
            owner = self._mix[0]
            least = number_of(owner, slot) / owner.part
            for endpoint in self._mix:
                number = number_of(endpoint, slot) / endpoint.part
                if number < least:
                    owner, least = endpoint, number
            self._owners[slot] = owner
        return owner

    def end_turn(self, endpoint: "Endpoint") -> None:
        self._turns.end_turn(endpoint)

    def distance(self, endpoint: "Endpoint", key: str) -> float:
        return number_of(endpoint, slot_of(key)) / (endpoint.part or endpoint.place.weight) if key else 0.0


def way_of(name: str, draw: Draw) -> Way:
    """The way of that name."""
    if name == LEAST_REQUESTS:
        return LeastRequests(draw)
    return Hash(draw) if name == HASH else RoundRobin(draw)


# ── hashes ──


def _mixed(number: i64) -> i64:
    """32 bits, each of which depends on each of those given (the last step of MurmurHash3). Factors below 2**31 keep
    products within a machine word; CPython's own integers have no such bounds."""
    number ^= number >> 16
    number = number * 0x45D9F3B & 0xFFFFFFFF
    number ^= number >> 16
    number = number * 0x45D9F3B & 0xFFFFFFFF
    return number ^ (number >> 16)


def seed_of(text: str) -> int:
    """What an endpoint with this URL draws its numbers by. The same in every process, and on every host."""
    return crc32(text.encode())


def slot_of(key: str) -> int:
    """The slot of a key."""
    mixed: i64 = _mixed(crc32(key.encode("utf-8", "surrogateescape")))
    return int(mixed & (SLOTS - 1))


def number_of(endpoint: "Endpoint", slot: int) -> float:
    """What the endpoint draws for a slot: exponentially distributed, so that the least of several, each divided by its
    part, is each one's as often as its part says."""
    seed: i64 = endpoint.seed
    mixed: i64 = _mixed(seed ^ _mixed(slot + 1))
    return -log((float(int(mixed)) + 0.5) / 4294967296.0)
