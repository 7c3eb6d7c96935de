"""How often a client may call: an exact sliding window.

**The promise.** For every rule and client, no interval of length `window` has more than `maximum` admitted requests,
wherever the interval starts; both its ends belong to it. A refused request is not counted. It gets the number of whole
seconds after which a retry is admitted, if that client sends nothing in between.

**The window.** Time is divided into sub-windows of `window / 16`. Each request is counted in its sub-window. A
sub-window is released as a whole once all of it lies outside the trailing window. So 17 counters are enough: 16 whole
sub-windows and the current one. An admitted request counts for at least `window` and at most 17/16 of it. The last
sixteenth is the price of constant memory; a log of timestamps would be free of it but grows with `maximum`. Two cheaper
ways were rejected, because both admit up to twice `maximum` around a border: one counter that restarts at fixed
borders, and an estimate from the counters of two windows. nginx's `limit_req` is a leaky bucket, which has no such
promise per window.

**One integer is the ring.** The 17 counters are the digits of one integer; the lowest digit is the current sub-window.
The base B is a power of two greater than `maximum + 1`:

    n sub-windows pass                 shift left by n digits and cut off all beyond the 17th
    number of counted requests         the sum of the digits, which is counts mod (B - 1), as in "casting out nines"; it
                                       is at most `maximum`, so it never reaches B - 1
    age of the oldest that counts      the bit length gives the highest digit that is not 0

There is no loop over sub-windows, however long a client was silent. The values that all clients of a ring share, the
number of the current sub-window and the starts of the next 17, are computed once for each sub-window.

**Rounding.** The promise holds for the exact values of the floats that are given. A sixteenth of a float is exact.
CPython's `//` gives the exact floor while quotients stay below 2**50, because it divides after subtracting the
remainder of `fmod`, which is exact. The start of a sub-window is the first float that lies in it. A `window` of 0.25 s
after 10**9 s of uptime is well within these bounds.

**Rules change.** A *ring* holds the counters of one name and window, and outlives its rules: a rule is a ring and a
`maximum`. So a new gate over the same limiter goes on with the counters of the old one, the old one may still decide
beside it, and a gate that is compiled and not used changes nothing.
- Another `maximum`: the counters stay, since they say what was admitted, whatever was allowed then. It holds at once; a
  client that is over a lowered one waits until it is below. The base of a ring only grows. When it does, the counters
  of all its clients are written anew, once: at most 4 µs for each (CPython 3.11, all 17 counters in use).
- Another `window`: another ring, in which every client begins anew. Counters of one width say nothing of the borders of
  another: moved to the nearest ones, they would let too much in or refuse for too long. What the old ring holds is
  empty after its window, and then goes first.

**Memory.** One `Limiter` for all rings of a process holds at most `capacity` keys (ring, client). A key takes 240 to
340 octets, its 16-letter name and its place in the dictionary included (tracemalloc, CPython 3.11, 100,000 keys,
`maximum` 100; the upper end after keys have come and gone at capacity). At capacity, a key without counted requests is
removed first. If all keys have some, the key that is idle for longest, to a sixteenth of its window, is removed and
counted in `evicted`: the promise holds while that count is 0. Each ring keeps its keys in the order of the sub-windows
of their last admitted requests. Within one ring that is also the order in which they become empty, so the first keys of
all rings show whether there is an empty one. A refused request does not move its key, because that would break the
order; nor does one in the sub-window of the last, since a key's neighbours are in no cache when it comes: a hundredth
of a request's time.

This module knows no clock (`now` is an argument), no routes and no header fields.
"""

from collections import OrderedDict
from collections.abc import Callable
from math import ceil, inf, nextafter
from typing import Final

SUBWINDOWS: Final = 16
COUNTERS: Final = SUBWINDOWS + 1


class Tally:
    """The state of one client in one ring. Times are monotonic seconds.

    counts    the 17 counters as digits, the current sub-window lowest
    counted   their sum
    current   number of the sub-window that was current at the client's last request
    release   when the oldest sub-window with counted requests is released
    admitted  when the last request was admitted
    """

    __slots__ = ("admitted", "counted", "counts", "current", "release")

    def __init__(self, current: int, release: float, admitted: float) -> None:
        self.counts = 0
        self.counted = 0
        self.current = current
        self.release = release
        self.admitted = admitted


class Window:
    """The sub-windows of one window, and what becomes of a tally in them. It holds no tallies.

    seconds  the length of the window
    current  number of the current sub-window, which is `begin` <= now < `end`
    newest   when the current sub-window will be released
    most     up to which the counters count
    """

    __slots__ = (
        "_base_less_one",
        "_mask",
        "_releases",
        "_width",
        "begin",
        "current",
        "digit",
        "end",
        "most",
        "newest",
        "seconds",
    )

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._width = seconds / SUBWINDOWS
        self.digit = self._mask = self._base_less_one = self.most = 0
        self.turn(0.0)

    def widen(self, digit: int) -> None:
        """Give each counter so many bits."""
        self.digit = digit
        self._mask = (1 << digit * COUNTERS) - 1
        self._base_less_one = (1 << digit) - 1
        self.most = (1 << digit) - 2

    def turn(self, now: float) -> None:
        """Make the sub-window of `now` the current one."""
        current = int(now // self._width)
        self.current = current
        self.begin = self._start(current)
        self.end = self._start(current + 1)
        # Age of a sub-window → when it is released.
        self._releases = tuple(self._start(current - age + COUNTERS) for age in range(COUNTERS))
        self.newest = self._releases[0]

    def _start(self, subwindow: int) -> float:
        """The first float that lies in that sub-window or after it."""
        moment = subwindow * self._width
        return moment if moment // self._width >= subwindow else nextafter(moment, inf)

    def released(self, subwindow: int) -> float:
        """When that sub-window is released."""
        return self._start(subwindow + COUNTERS)

    def advance(self, tally: Tally) -> None:
        """Move to the current sub-window and release those that now lie outside the window."""
        passed = self.current - tally.current
        # After years of silence the shift would build a huge integer, so it is left out.
        counts = (tally.counts << passed * self.digit) & self._mask if passed < COUNTERS else 0
        # If no counts are left, this request is admitted and becomes the oldest: `| 1` stands for it.
        age = ((counts | 1).bit_length() - 1) // self.digit
        tally.counts = counts
        tally.current = self.current
        tally.counted = counts % self._base_less_one
        tally.release = self._releases[age]

    def count(self, tally: Tally, maximum: int, now: float) -> tuple[bool, int, int]:
        """Count a request at `now`, which lies in the current sub-window, or before that of the tally. Returns what
        `Rule.hit` returns."""
        free = maximum - tally.counted
        release = tally.release
        admitted = free > 0
        if admitted:
            free -= 1
            tally.counted += 1
            tally.counts += 1
            tally.admitted = now
        elif free < 0:  # counted under a rule that allowed more
            free = 0
            release = self._release_below(maximum, tally)
        return admitted, free, until(release, now)

    def take_back(self, tally: Tally, subwindow: int) -> None:
        """Take back a request that was counted when that sub-window was current here. Where time has gone on, here or
        for others, it has grown older; of the sub-windows in which it may stand, the oldest that holds any loses one,
        so that no limit is exceeded."""
        oldest = max(tally.current - subwindow, 0)
        if oldest > SUBWINDOWS:
            return  # it was released
        for age in range(oldest, -1, -1):
            place = age * self.digit
            if tally.counts >> place & self._base_less_one:
                tally.counts -= 1 << place
                tally.counted -= 1
                first = ((tally.counts | 1).bit_length() - 1) // self.digit
                tally.release = self.released(tally.current - first)
                return

    def _release_below(self, maximum: int, tally: Tally) -> float:
        """When a client that has more than `maximum` counted requests has fewer than that."""
        left, age = tally.counted, COUNTERS
        while left >= maximum:
            age -= 1
            left -= tally.counts >> age * self.digit & self._base_less_one
        return self.released(tally.current - age)


def until(release: float, now: float) -> int:
    """Whole seconds from `now` to a release, at least 1: the least number whose sum with `now` is not before it."""
    reset = ceil(release - now)
    # Difference and sum are rounded.
    if now + reset < release:
        reset += 1
    elif now + (reset - 1) >= release and reset > 1:
        reset -= 1
    return reset


class Ring(Window):
    """The counters of all clients for one name and window.

    tallies  by client, in the order of the sub-windows in which they were last admitted
    """

    __slots__ = ("_limiter", "name", "tallies")

    def __init__(self, limiter: "Limiter", name: str, seconds: float) -> None:
        super().__init__(seconds)
        self.name = name
        self.tallies: OrderedDict[str, Tally] = OrderedDict()
        self._limiter = limiter

    def make_room(self, maximum: int) -> None:
        """Let counters count up to `maximum`."""
        old, digit = self.digit, (maximum + 1).bit_length()
        if digit > old:
            self.widen(digit)
            for tally in self.tallies.values():
                tally.counts = _widened(tally.counts, old, digit)

    def add(self, client: str, now: float) -> Tally:
        """Counters for a new client."""
        self._limiter.reserve(now)
        tally = Tally(self.current, self.newest, now)
        self.tallies[client] = tally
        return tally

    def idle_since(self) -> float:
        """When the first client was last admitted, in seconds; infinity without clients."""
        return next(iter(self.tallies.values())).admitted if self.tallies else inf

    def has_empty(self, now: float) -> bool:
        """Whether the first client has no counted requests any more. If not, none is without."""
        if not self.tallies:
            return False
        if not self.begin <= now < self.end:
            self.turn(now)
        tally = next(iter(self.tallies.values()))
        if tally.current < self.current:
            self.advance(tally)
        return not tally.counts

    def forget_first(self) -> None:
        """Forget the first client: none was last admitted in an earlier sub-window."""
        self.tallies.popitem(last=False)


def _widened(counts: int, old: int, digit: int) -> int:
    """The same counters with `digit` bits each in place of `old`."""
    wide = place = 0
    while counts:
        wide |= (counts & (1 << old) - 1) << place
        counts >>= old
        place += digit
    return wide


class Rule:
    """At most `maximum` requests of a client in any window of its ring. Made by `Limiter.rule`."""

    __slots__ = ("_ring", "maximum")

    def __init__(self, ring: Ring, maximum: int) -> None:
        self._ring = ring
        self.maximum = maximum

    def __len__(self) -> int:
        return len(self._ring.tallies)

    def __repr__(self) -> str:
        ring = self._ring
        return f"<Rule {ring.name}: {self.maximum} in {ring.seconds:g} s, {len(self)} clients>"

    def hit(self, client: str, now: float) -> tuple[bool, int, int]:
        """Count a request of `client` at `now` (seconds of a monotonic clock): (admitted, remaining, reset).

        `remaining` more would be admitted at `now`. `reset` is in whole seconds, at least 1: at `now + reset` the
        oldest of the requests that count are released, `remaining` has grown, and a client that was refused is admitted
        if it sent nothing in between. A `now` before an earlier hit of that client counts as the time of that hit;
        `reset` is still what to add to `now`.
        """
        ring = self._ring
        # Here and not when the rule is made: a reload makes it in a thread, while others count.
        if self.maximum > ring.most:
            ring.make_room(self.maximum)
        if not ring.begin <= now < ring.end:
            ring.turn(now)
        tally = ring.tallies.get(client)
        if tally is None:
            tally = ring.add(client, now)
        elif tally.current < ring.current:
            ring.advance(tally)
        moves = tally.admitted < ring.begin
        decision = ring.count(tally, self.maximum, now)
        if moves and decision[0]:
            ring.tallies.move_to_end(client)
        return decision

    def undo(self, client: str) -> None:
        """Take back what `hit` has just admitted, before time goes on: another limit refuses that request. The client
        stays where it is among the idle ones."""
        self.undo_in(client, self._ring.current)

    @property
    def subwindow(self) -> int:
        """In which `hit` has counted the latest request: for `undo_in`."""
        return self._ring.current

    def undo_in(self, client: str, subwindow: int) -> None:
        """As `undo`, also when time has gone on."""
        tally = self._ring.tallies.get(client)
        if tally is not None:
            self._ring.take_back(tally, subwindow)


class Limiter:
    """The keys of all rings of a process, at most `capacity` (≥ 1).

    `evicted` counts the keys that were removed although they had counted requests. While it is 0, every rule keeps its
    promise. `tell` is called with this count at 1, 10, 100 and so on.
    """

    __slots__ = ("_places", "_rings", "_tell", "_tell_at", "capacity", "evicted")

    def __init__(self, capacity: int, tell: Callable[[int], object] = bool) -> None:
        if capacity < 1:
            raise ValueError(f"a limiter needs room for at least one key, not {capacity}")
        self.capacity = capacity
        self.evicted = 0
        self._tell = tell
        self._tell_at = 1
        self._places = capacity
        self._rings: dict[tuple[str, float], Ring] = {}

    def __len__(self) -> int:
        return self.capacity - self._places

    def __repr__(self) -> str:
        return f"<Limiter {len(self)} of {self.capacity} keys, {len(self._rings)} rings, {self.evicted} evicted>"

    def rule(self, name: str, maximum: int, window: float) -> Rule:
        """A rule over the ring of that name and window, which is made when it is first asked for. `maximum` ≥ 1;
        `window` in seconds, > 0; ValueError for others."""
        if maximum < 1 or not 0 < window < inf:
            raise ValueError(f"a rule needs a maximum of at least 1 and a window over 0 s, not {maximum} and {window}")
        ring = self._rings.get((name, window))
        if ring is None:
            ring = self._rings[name, window] = Ring(self, name, window)
        return Rule(ring, maximum)

    def reserve(self, now: float) -> None:
        """Make room for a key that a ring is about to add; at capacity, remove another key."""
        if self._places:
            self._places -= 1
            return
        for ring in tuple(self._rings.values()):  # a reload may add one meanwhile
            if ring.has_empty(now):
                ring.forget_first()
                return
        min(tuple(self._rings.values()), key=Ring.idle_since).forget_first()
        self.evicted += 1
        if self.evicted == self._tell_at:
            self._tell_at *= 10
            self._tell(self.evicted)
