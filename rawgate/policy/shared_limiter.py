"""How often a client may call, counted by several processes together: the limiter over memory that they share.

Its promise, its arithmetic and its answers are those of `limiter`; only where a tally lives is different. Memory and
locks are handed in, made before the processes were forked. Each process has a `SharedLimiter` of its own over them.

**The table.** It consists of buckets of 128 places; a place holds one key and its tally. A hash of the key selects the
bucket, so a key needs one lock and has one home. An octet for each place, its *tag*, is 0 for a free place and 8 bits
of the hash otherwise: one search in 128 octets finds the places worth a look.

**Keys.** A key is the ring (window and name) and the client, as octets, and is compared whole. So two clients never
share a tally, and processes that load the same rules agree on every ring without a word. A key over 110 octets is
replaced by its SHA-256, which cannot be mistaken for a shorter key, since the length is compared first. That is whole
enough: nobody knows two texts with the same SHA-256, and whoever found such a pair could as well forge the signatures
by which clients are known.

The hash is BLAKE2s of a secret seed and the key. Without a secret, a sender with many addresses could choose some that
share a bucket, and make it forget him. Python's `hash` of text has a secret too, but each program that is started has
its own. (BLAKE2's own key takes a second block, and to name its arguments takes longer than the hash. With this seed
most keys fit one block of BLAKE2s, which takes 0.25 µs; BLAKE2b took 0.35.)

**A process may die at any instruction**, and leaves the state before its change or the one after it. Nothing has to be
repaired, because each change becomes visible by the store of one octet:

    count a request    a tally has two halves, of which one is valid: the new tally is written to the other half, then
                       the octet that says which is valid
    add a key          key and tally are written to a free place, then its tag
    remove a key       its tag becomes 0

A processor that stops a process has done all its stores up to one instruction and none after it, and the lock, which
the kernel passes on, orders them for the next holder. A journal was rejected: twice as many stores, and a repair. A
process that dies between hit and reply has counted a request that was not served. So the limit holds, and is not
exceeded by one.

**Full buckets.** Where a bucket is full, all its empty keys go (see `limiter`); if there are none, the one that is idle
for longest, and is counted in `evicted`. That number is increased first: killed between the two, a process has counted
one too many, never one too few. There are twice as many places as `capacity`, so a bucket of 128 is half full on
average. Keys do not spread evenly, but with `capacity` live keys a bucket overflows anywhere with a probability of
10**-9 at 100,000 keys, 10**-8 at a million (binomial tail times the number of buckets; smaller tables less). Up to 128
keys the table is one bucket with that many places, and then what goes is what goes in one process.

**Memory.** A place takes 320 octets, a table at most 640 for each key of `capacity`. Only what is touched takes memory,
and places are taken from the front of their bucket. A table for 100,000 keys takes 3.4 MB with 1,000 keys in it, 9.7
with 10,000, 38 with 100,000, and at most 64.

**Time.** `now` is the same clock in all processes. One may come with a `now` that is slightly older than the latest of
that client: it counts as that one's.

**Cost.** A hit takes 1.4 µs more than in the limiter of one process (compiled; `limiter.md` has the figures): the lock
0.3, the others for carrying a tally between the memory and Python's numbers. Computing where a key belongs takes 0.3
more, and to look for it in its bucket 0.2; a process remembers both for some thousand keys, from their second hit on:
those that come once must not push out the others. A new key takes 1.9 more, of which 0.8 are the processor's way to
memory that it has not seen lately. Only the eviction of a live key takes long, 10 to 20 µs.
"""

from collections.abc import Callable
from hashlib import blake2s, sha256
from math import inf
from struct import Struct
from typing import TYPE_CHECKING, Final

from rawgate.message import Locks
from rawgate.policy.limiter import COUNTERS, Tally, Window, until

if TYPE_CHECKING:
    from mmap import mmap

PLACES: Final = 128
"""Of a bucket."""
LOAD: Final = 64
"""Live keys of a bucket, on average, when there are `capacity`."""
LOCKS: Final = 1024
"""At most; several buckets may share one. Even 64 processes seldom want the same one of so many."""

DIGIT: Final = 32
"""Bits of a counter, so a maximum is at most 4,294,967,294."""
_OCTETS: Final = COUNTERS * DIGIT // 8
"""Of all counters of a tally."""
ROOM: Final = 110
"""Octets of a key that is kept whole."""

# A place: the length of the key, the key, which half is valid (0 or 1), two halves.
_ENTRY: Final = 1 + ROOM
_HALVES: Final = _ENTRY + 1
_TALLY: Final = Struct("<ddqdI68s")
"""A half: when the last request was admitted, when the tally becomes empty; the other fields of a `Tally`."""
_HALF: Final = _TALLY.size
_LATER: Final = 8
"""Where the rest of a half begins, after when the last request was admitted: it is the same for all keys that are new
in a sub-window."""
_FRESH: Final = Struct(f"<{_HALVES}sd{_HALF - _LATER}s")
"""A place for a new key: the key with its length, then 0, as the first half is valid, and that half."""
_ONE: Final = (1).to_bytes(_OCTETS, "little")
"""The counters of a key with one request."""
_PLACE: Final = _HALVES + 2 * _HALF
_TIMES: Final = Struct("<dd")
_BUCKET: Final = PLACES + PLACES * _PLACE

# Before the first bucket: `evicted`, in two halves as well.
_NUMBER: Final = Struct("<Q")
_WHICH: Final = 16
_HEADER: Final = 64

_NOTHING: Final = b"\0"
_LENGTHS: Final = tuple(bytes([length]) for length in range(ROOM + 1))
_DIGEST: Final = b"\xff"
"""In place of the length, before a SHA-256."""
_RING: Final = Struct("<dI")

_HOMES: Final = 4096
"""Keys whose place is remembered: under 2 MB."""


def _buckets(capacity: int) -> int:
    return 1 if capacity <= PLACES else -(-capacity // LOAD)


def octets_needed(capacity: int) -> int:
    """Octets of memory for a limiter with that many keys."""
    return _HEADER + _buckets(capacity) * _BUCKET


def locks_needed(capacity: int) -> int:
    """Locks for a limiter with that many keys: for the buckets, and one for `evicted`."""
    return min(_buckets(capacity), LOCKS) + 1


class _Home:
    """Where a key belongs.

    entry   the key as it stands in a place
    at      first octet of its bucket
    stripe  number of its lock
    tag     1 to 255
    here    where it was found last; -1: nowhere yet. The key may have gone since
    mark    where the tag of that place is
    """

    __slots__ = ("at", "entry", "here", "mark", "stripe", "tag")

    def __init__(self, entry: bytes, at: int, stripe: int, tag: int) -> None:
        self.entry: Final = entry
        self.at: Final = at
        self.stripe: Final = stripe
        self.tag: Final = tag
        self.here = self.mark = -1


class SharedRule:
    """At most `maximum` requests of a client in any window. Made by `SharedLimiter.rule`."""

    __slots__ = ("_limiter", "_ring", "_window", "maximum", "name")

    def __init__(self, limiter: "SharedLimiter", name: str, maximum: int, window: Window) -> None:
        self.name = name
        self.maximum = maximum
        self._limiter = limiter
        self._window = window
        octets = name.encode("utf-8", "surrogatepass")
        self._ring = _RING.pack(window.seconds, len(octets)) + octets

    def __repr__(self) -> str:
        return f"<SharedRule {self.name}: {self.maximum} in {self._window.seconds:g} s>"

    def hit(self, client: str, now: float) -> tuple[bool, int, int]:
        """As `limiter.Rule.hit`; here `now` is older than an earlier one of that client also where processes differ."""
        key = self._ring + client.encode("utf-8", "surrogatepass")
        return self._limiter.count(self._window, self.maximum, key, now)

    def undo(self, client: str) -> None:
        """As `limiter.Rule.undo`. Until then, other processes may refuse a request of that client which would have
        been admitted without it; none admits one too many."""
        self.undo_in(client, self._window.current)

    @property
    def subwindow(self) -> int:
        """As `limiter.Rule.subwindow`."""
        return self._window.current

    def undo_in(self, client: str, subwindow: int) -> None:
        """As `limiter.Rule.undo_in`."""
        self._limiter.take_back(self._window, self._ring + client.encode("utf-8", "surrogatepass"), subwindow)


class SharedLimiter:
    """The keys of all rings of all processes, at least `capacity` (≥ 1), and at most twice as many.

    memory  all 0 when the first process begins; from `first_octet` on, `octets_needed(capacity)` of it belong to this
            limiter
    locks   from `first_lock` on, `locks_needed(capacity)` of them
    seed    16 random octets, the same in all processes
    tell    is called with `evicted` at 1, 10, 100 and so on, by the process that has come to that number
    """

    __slots__ = (
        "_buckets",
        "_count_lock",
        "_evicted",
        "_first_bucket",
        "_first_lock",
        "_fresh",
        "_fresh_in",
        "_fresh_of",
        "_homes",
        "_locks",
        "_memory",
        "_places",
        "_seed",
        "_stripes",
        "_tell",
        "_to_tell",
        "_windows",
        "capacity",
    )

    def __init__(
        self,
        memory: "mmap | bytearray",
        locks: Locks,
        capacity: int,
        seed: bytes,
        tell: Callable[[int], object] = bool,
        first_octet: int = 0,
        first_lock: int = 0,
    ) -> None:
        if capacity < 1:
            raise ValueError(f"a limiter needs room for at least one key, not {capacity}")
        self.capacity = capacity
        self._memory = memory
        self._locks = locks
        self._seed = seed
        self._tell = tell
        self._to_tell = 0
        self._buckets = _buckets(capacity)
        self._places = min(capacity, PLACES)
        self._evicted = first_octet
        self._first_bucket = first_octet + _HEADER
        self._first_lock = first_lock
        self._stripes = locks_needed(capacity) - 1
        self._count_lock = first_lock + self._stripes
        self._windows: dict[float, Window] = {}
        # The half of a new key from `_LATER` on, in this window and sub-window.
        self._fresh_of: Window | None = None
        self._fresh_in = 0
        self._fresh = b""
        self._homes: dict[bytes, _Home] = {}

    def __len__(self) -> int:
        """How many keys there are, empty ones included. It looks at every bucket, a microsecond for ten of them."""
        starts = range(self._first_bucket, self._first_bucket + self._buckets * _BUCKET, _BUCKET)
        return sum(self._places - self._memory[at : at + self._places].count(0) for at in starts)

    def __repr__(self) -> str:
        return f"<SharedLimiter {len(self)} of {self.capacity} keys, {self.evicted} evicted>"

    @property
    def evicted(self) -> int:
        """How many keys were removed although they had counted requests, by all processes. While it is 0, every rule
        keeps its promise."""
        self._locks.acquire(self._count_lock)
        try:
            return self._read_evicted()
        finally:
            self._locks.release(self._count_lock)

    def rule(self, name: str, maximum: int, window: float) -> SharedRule:
        """A rule over the ring of that name and window. `maximum` ≥ 1; `window` in seconds, > 0; ValueError for
        others. It touches no shared memory."""
        if not 1 <= maximum < (1 << DIGIT) - 1 or not 0 < window < inf:
            raise ValueError(
                f"a rule needs a maximum from 1 to {(1 << DIGIT) - 2} and a window over 0 s, not {maximum} and {window}"
            )
        shared = self._windows.get(window)
        if shared is None:
            shared = Window(window)
            shared.widen(DIGIT)
            self._windows[window] = shared
        return SharedRule(self, name, maximum, shared)

    def count(self, window: Window, maximum: int, key: bytes, now: float) -> tuple[bool, int, int]:
        """Count a request of that key at `now`: (admitted, remaining, reset)."""
        if not window.begin <= now < window.end:
            window.turn(now)
        remembered = self._homes.get(key)
        home = self._home_of(key) if remembered is None else remembered
        self._locks.acquire(home.stripe)  # where the last holder died, nothing is to be repaired
        try:
            here = self._find(home)
            if here >= 0:
                decision = self._count_known(window, maximum, now, here + _HALVES)
            else:
                decision = self._count_new(window, maximum, now, home)
        finally:
            self._locks.release(home.stripe)
        if remembered is None and here >= 0:
            self._remember(key, home)
        if self._to_tell:
            number, self._to_tell = self._to_tell, 0
            self._tell(number)
        return decision

    def take_back(self, window: Window, key: bytes, subwindow: int) -> None:
        """Take back a request of that key which this process has counted in that sub-window."""
        remembered = self._homes.get(key)
        home = self._home_of(key) if remembered is None else remembered
        self._locks.acquire(home.stripe)
        try:
            self._take_back(window, home, subwindow)
        finally:
            self._locks.release(home.stripe)

    def _take_back(self, window: Window, home: _Home, subwindow: int) -> None:
        """The same with the lock held. A key that has gone meanwhile has no count any more."""
        here = self._find(home)
        if here >= 0:
            halves = here + _HALVES
            tally, empty = self._read_tally(halves)
            window.take_back(tally, subwindow)
            self._write_tally(halves, tally, empty)

    def _find(self, home: _Home) -> int:
        """Where the place of a key begins; -1: it has none."""
        entry, memory, here = home.entry, self._memory, home.here
        # Where it was last, it most often still is: a key has one place, and moves only when it has gone meanwhile.
        if here >= 0 and memory[here : here + len(entry)] == entry and memory[home.mark] == home.tag:
            return here
        tags = memory[home.at : home.at + PLACES]
        place = tags.find(home.tag) if home.tag in tags else -1
        while place >= 0:
            here = home.at + PLACES + place * _PLACE
            if memory[here : here + len(entry)] == entry:
                home.here, home.mark = here, home.at + place
                return here
            place = tags.find(home.tag, place + 1)
        return -1

    def _read_tally(self, halves: int) -> tuple[Tally, float]:
        """The tally in one of these halves, and when it becomes empty."""
        valid: int = self._memory[halves - 1]
        admitted, empty, current, release, counted, counts = _TALLY.unpack_from(self._memory, halves + valid * _HALF)
        tally = Tally(current, release, admitted)
        tally.counted = counted
        tally.counts = int.from_bytes(counts, "little")
        return tally, empty

    def _write_tally(self, halves: int, tally: Tally, empty: float) -> None:
        """In place of the one that is there: to the other half, which becomes valid by the last store."""
        memory = self._memory
        other: int = 1 - memory[halves - 1]
        counts, at = tally.counts.to_bytes(_OCTETS, "little"), halves + other * _HALF
        half = _TALLY.pack(tally.admitted, empty, tally.current, tally.release, tally.counted, counts)
        memory[at : at + _HALF] = half
        memory[halves - 1] = other

    def _home_of(self, key: bytes) -> _Home:
        """Compute it. The hash costs as much as a lock."""
        size = len(key)
        entry = _LENGTHS[size] + key if size <= ROOM else _DIGEST + sha256(key).digest()
        digest = blake2s(self._seed + entry).digest()
        # One by one: compiled, that is quicker than `unpack`.
        bucket = (digest[0] | digest[1] << 8 | digest[2] << 16 | digest[3] << 24) % self._buckets
        at = self._first_bucket + bucket * _BUCKET
        return _Home(entry, at, self._first_lock + bucket % self._stripes, digest[4] or 1)

    def _remember(self, key: bytes, home: _Home) -> None:
        """It has come for the second time at least. Those that come once would only push out the others."""
        if len(self._homes) >= _HOMES:
            self._homes.clear()
        self._homes[key] = home

    def _count_new(self, window: Window, maximum: int, now: float, home: _Home) -> tuple[bool, int, int]:
        """The same for a key that has no place; with the lock held."""
        memory, at = self._memory, home.at
        place = memory.find(_NOTHING, at, at + self._places) - at
        if place < 0:
            place = self._make_room(at, now)
        if window is not self._fresh_of or window.current != self._fresh_in:
            self._fresh_of, self._fresh_in = window, window.current
            self._fresh = _TALLY.pack(0.0, window.newest, window.current, window.newest, 1, _ONE)[_LATER:]
        here = at + PLACES + place * _PLACE
        # What `Window.count` makes of an empty tally.
        memory[here : here + _FRESH.size] = _FRESH.pack(home.entry, now, self._fresh)
        memory[at + place] = home.tag
        return True, maximum - 1, until(window.newest, now)

    def _count_known(self, window: Window, maximum: int, now: float, halves: int) -> tuple[bool, int, int]:
        """The same for the tally in one of these halves; with the lock held."""
        tally, empty = self._read_tally(halves)
        has_passed = tally.current < window.current
        if has_passed:
            window.advance(tally)
        decision = window.count(tally, maximum, now)
        if decision[0]:
            empty = window.newest if tally.current == window.current else window.released(tally.current)
        elif not has_passed:
            return decision
        self._write_tally(halves, tally, empty)
        return decision

    def _make_room(self, at: int, now: float) -> int:
        """Remove what can go from a full bucket. Returns a place that is free."""
        memory = self._memory
        free = idlest = -1
        since = inf
        for place in range(self._places):
            halves = at + PLACES + place * _PLACE + _HALVES
            valid: int = memory[halves - 1]
            admitted, empty = _TIMES.unpack_from(memory, halves + valid * _HALF)
            if empty <= now:
                memory[at + place] = 0
                free = place
            elif admitted < since:
                since = admitted
                idlest = place
        if free < 0:
            self._count_evicted()
            memory[at + idlest] = 0
            free = idlest
        return free

    def _count_evicted(self) -> None:
        self._locks.acquire(self._count_lock)
        try:
            number = self._read_evicted() + 1
            memory, at = self._memory, self._evicted
            other = 1 - memory[at + _WHICH]
            memory[at + other * 8 : at + other * 8 + 8] = _NUMBER.pack(number)
            memory[at + _WHICH] = other
        finally:
            self._locks.release(self._count_lock)
        if number == 10 ** (len(str(number)) - 1):
            self._to_tell = number  # once the bucket is free again

    def _read_evicted(self) -> int:
        number: int = _NUMBER.unpack_from(self._memory, self._evicted + self._memory[self._evicted + _WHICH] * 8)[0]
        return number
