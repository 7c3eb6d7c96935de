"""Counts by key that all worker processes of one gateway share: a table in shared memory.

The table is an array of buckets. A key belongs to one bucket, by a hash with a secret, so that nobody can choose keys
that meet in one. A bucket has `PLACES` places and a lock. A place has the key, compared whole, and one count for each
worker. No place ever moves. So a worker may die at any moment and damages nothing: it has changed its own count only,
or the key of a place that nobody counts in, and `forget` frees such a place.

What is counted exists while a client connection does. The table has four places for each connection that the gateway
may have when it starts, so a quarter of a bucket is taken at most, on average. A key that finds its bucket full is
counted nowhere, and is refused.

In front of the buckets each number of a worker has an octet that says whether one of that number has ever counted
anything. While nobody uses a table, no page of it is touched, by `forget` neither.

A key that does not fit its place is replaced by its SHA-256 under a mark of its own, so it is never taken for a key
that stands there as it is. That is whole enough: see `policy.shared_limiter`.
"""

from collections.abc import Callable
from hashlib import blake2b, sha256
from typing import Final

from rawgate.message import Counts, Locks

PLACES: Final = 64
FILLED: Final = 16
"""Places of a bucket, and how many of them are taken on average when there are as many keys as connections."""

BEGIN: Final = b"\1"
DIGEST: Final = b"\3"
END: Final = b"\2"
"""Around a key, and in place of the first mark around a digest. A key with the last mark in it is kept as a digest. So
one key is never found in another. The last octet of a key is in no unused place, so the search leaps over those: with
zeros in its place it took four times as long."""


def bucket_size(workers: int, width: int) -> int:
    """Octets: the keys, then the counts, 4 octets for each worker and place."""
    return PLACES * (width + 4 * workers)


def octets_needed(workers: int, width: int, connections: int) -> int:
    """Of a table for so many connections in all. width: octets of a place, for a key between two marks."""
    return _header(workers) + bucket_size(workers, width) * (-(-connections // FILLED))


def _header(workers: int) -> int:
    """Octets in front of the buckets. Whole cells of 8, so that what follows is aligned."""
    return -(-workers // 8) * 8


class Bucket:
    """One bucket: `places` are the keys, one after the other, `counts` the counts."""

    __slots__ = ("_width", "_workers", "counts", "places")

    def __init__(self, memory: memoryview, workers: int, width: int) -> None:
        self._workers = workers
        self._width = width
        self.places = memory[: PLACES * width]
        self.counts = memory[PLACES * width :].cast("I")

    def find(self, key: bytes) -> int:
        """The place of a key; -1: it has none."""
        places, width = bytes(self.places), self._width
        at = places.find(key)
        while at > 0 and at % width:
            at = places.find(key, at + 1)
        return at if at < 0 else at // width

    def occupy(self, key: bytes) -> int:
        """Give a key a place of its own. -1: all are taken. Its first octet is written last: a place whose key was only
        half written is free."""
        place = bytes(self.places[:: self._width]).find(0)
        if place >= 0:
            at = place * self._width
            self.places[at + 1 : at + len(key)] = key[1:]
            self.places[at] = key[0]
        return place

    def free_if_unused(self, place: int) -> None:
        """Free it, unless a worker counts in it."""
        if not self.total(place):
            self.places[place * self._width] = 0

    def total(self, place: int) -> int:
        """In all workers."""
        first = place * self._workers
        return sum(self.counts[first : first + self._workers].tolist())

    def add(self, place: int, worker: int, count: int) -> None:
        """Add to a worker's count. It does not fall below 0 for what found no place."""
        at = place * self._workers + worker
        self.counts[at] = max(0, self.counts[at] + count)

    def forget(self, worker: int) -> None:
        """Empty the column of a worker."""
        for place in range(PLACES):
            if self.places[place * self._width]:
                self.counts[place * self._workers + worker] = 0
                self.free_if_unused(place)


class SharedCounts(Counts):
    """The counts of one worker, of those that all workers share.

    worker  the number of this one, from 0. A process that is forked from one with another number sets its own
    """

    __slots__ = (
        "_buckets",
        "_first_lock",
        "_locks",
        "_room",
        "_secret",
        "_size",
        "_stripes",
        "_used",
        "_width",
        "_workers",
        "worker",
    )

    def __init__(
        self, memory: memoryview, width: int, secret: bytes, locks: Locks, stripes: range, worker: int, workers: int
    ) -> None:
        """memory: the table, all zeros before the first worker has it. width: as in `octets_needed`, 66 at least.
        secret: the same in all workers, 64 octets at most. stripes: the locks that it may use."""
        self.worker = worker
        header = _header(workers)
        self._used, self._buckets = memory[:header], memory[header:]
        self._width = width
        self._room = width - len(BEGIN + END)
        self._secret = secret
        self._locks = locks
        self._first_lock = stripes.start
        self._stripes = len(stripes)
        self._workers = workers
        self._size = bucket_size(workers, width)

    def enter(self, key: str, most: int) -> bool:
        return self.change(key, 1, most)

    def leave(self, key: str) -> None:
        self.change(key, -1, None)

    def forget(self, worker: int, is_dead: Callable[[], bool]) -> None:
        """Give back what that worker held, which is dead, unless it is not dead any more: it has a successor."""
        if not self._used[worker]:
            return
        for number in range(len(self._buckets) // self._size):
            bucket = self._take(number)
            try:
                if not is_dead():
                    return
                bucket.forget(worker)
            finally:
                self._give_back(number)

    def change(self, key: str, count: int, most: int | None) -> bool:
        """Add to the count of a key. most: what it may be in all workers, before one is added; None: what is counted
        is there already. False: it may not, or there is no place for it."""
        text = key.encode("utf-8", "surrogatepass")
        if len(text) <= self._room and END not in text:
            entry = BEGIN + text + END
        else:
            entry = DIGEST + sha256(text).hexdigest().encode() + END
        digest = blake2b(text, key=self._secret, digest_size=8).digest()
        number = int.from_bytes(digest, "little") % (len(self._buckets) // self._size)
        bucket = self._take(number)
        try:
            place = bucket.find(entry)
            if place < 0:
                place = bucket.occupy(entry) if count > 0 else -1
            elif most is not None and bucket.total(place) >= most:
                return False
            if place < 0:
                return False
            self._used[self.worker] = 1
            bucket.add(place, self.worker, count)
            bucket.free_if_unused(place)
            return True
        finally:
            self._give_back(number)

    def _take(self, number: int) -> Bucket:
        """A bucket, with its lock."""
        self._locks.acquire(self._first_lock + number % self._stripes)
        start = number * self._size
        return Bucket(self._buckets[start : start + self._size], self._workers, self._width)

    def _give_back(self, number: int) -> None:
        self._locks.release(self._first_lock + number % self._stripes)
