"""How many client connections each address has in all worker processes of one gateway: a table in shared memory.

The table is an array of buckets. An address belongs to one bucket, by a hash with a secret, so that nobody can choose
addresses that meet in one. A bucket has `PLACES` places and a lock. A place has the address, compared whole, and one
count for each worker. No place ever moves. So a worker may die at any moment and damages nothing: it has changed its
own count only, or the address of a place that nobody counts in, and `forget` frees such a place.

The table has four places for each connection that the gateway may have when it starts, so a quarter of a bucket is
taken at most, on average. An address that finds its bucket full may have no connection.
"""

from collections.abc import Callable
from hashlib import blake2b
from typing import Final

from rawgate.message import Locks
from rawgate.relay.addresses import Addresses

PLACES: Final = 64
FILLED: Final = 16
"""Places of a bucket, and how many of them are taken on average when there are as many addresses as connections."""

WIDTH: Final = 64
"""Octets of a place, for a key: an address (45 octets at most) between two marks."""

BEGIN: Final = b"\1"
END: Final = b"\2"
"""They are in no address. So a key is found only where a place begins, and only whole. The last octet of a key is in no
unused place, so the search leaps over those: with zeros in its place it took four times as long."""


def bucket_size(workers: int) -> int:
    """Octets: the addresses, then the counts, 4 octets for each worker and place."""
    return PLACES * (WIDTH + 4 * workers)


def octets_needed(workers: int, connections: int) -> int:
    """Of a table for so many connections in all."""
    return bucket_size(workers) * (-(-connections // FILLED))


class Bucket:
    """One bucket: `places` are the addresses, one after the other, `counts` the counts."""

    __slots__ = ("_workers", "counts", "places")

    def __init__(self, memory: memoryview, workers: int) -> None:
        self._workers = workers
        self.places = memory[: PLACES * WIDTH]
        self.counts = memory[PLACES * WIDTH :].cast("I")

    def find(self, key: bytes) -> int:
        """The place of a key; -1: it has none."""
        at = bytes(self.places).find(key)
        return at if at < 0 else at // WIDTH

    def occupy(self, key: bytes) -> int:
        """Give a key a place of its own. -1: all are taken. Its first octet is written last: a place whose key was only
        half written is free."""
        place = bytes(self.places[::WIDTH]).find(0)
        if place >= 0:
            at = place * WIDTH
            self.places[at + 1 : at + len(key)] = key[1:]
            self.places[at] = key[0]
        return place

    def free_if_unused(self, place: int) -> None:
        """Free it, unless a worker counts in it."""
        if not self.total(place):
            self.places[place * WIDTH] = 0

    def total(self, place: int) -> int:
        """In all workers."""
        first = place * self._workers
        return sum(self.counts[first : first + self._workers].tolist())

    def add(self, place: int, worker: int, count: int) -> None:
        """Add to a worker's count. It does not fall below 0 for connections that found no place."""
        at = place * self._workers + worker
        self.counts[at] = max(0, self.counts[at] + count)

    def forget(self, worker: int) -> None:
        """Empty the column of a worker."""
        for place in range(PLACES):
            if self.places[place * WIDTH]:
                self.counts[place * self._workers + worker] = 0
                self.free_if_unused(place)


class SharedAddresses(Addresses):
    """The counts of one worker, of those that all workers share. While there is no limit nothing is shared."""

    __slots__ = ("_first_lock", "_locks", "_memory", "_secret", "_size", "_stripes", "_worker", "_workers")

    def __init__(
        self,
        limit: int | None,
        memory: memoryview,
        secret: bytes,
        locks: Locks,
        stripes: range,
        worker: int,
        workers: int,
    ) -> None:
        """memory: the table, all zeros before the first worker has it. secret: the same in all workers, 64 octets at
        most. stripes: the locks that it may use."""
        super().__init__(limit)
        self._memory = memory
        self._secret = secret
        self._locks = locks
        self._first_lock = stripes.start
        self._stripes = len(stripes)
        self._worker = worker
        self._workers = workers
        self._size = bucket_size(workers)

    def enter(self, address: str) -> bool:
        if self.limit is not None and not self._change(address, 1, self.limit):
            return False
        self.counts[address] = self.counts.get(address, 0) + 1
        return True

    def leave(self, address: str) -> None:
        super().leave(address)
        if self.limit is not None:
            self._change(address, -1, None)

    def resize(self, limit: int | None) -> None:
        was, self.limit = self.limit, limit
        if (was is None) != (limit is None):
            for address, count in self.counts.items():
                self._change(address, count if was is None else -count, None)

    def forget(self, is_dead: Callable[[], bool]) -> None:
        """Give back what this worker held, which is dead, unless it is not dead any more: it has a successor. For an
        object that is made for this call."""
        for number in range(len(self._memory) // self._size):
            bucket = self._enter(number)
            try:
                if not is_dead():
                    return
                bucket.forget(self._worker)
            finally:
                self._exit(number)

    def _change(self, address: str, count: int, limit: int | None) -> bool:
        """Add to the count of an address. limit: connections that it may have in all; None: it has them already. False:
        it may not, or there is no place for it."""
        text = address.encode()
        key = BEGIN + text + END
        digest = blake2b(text, key=self._secret, digest_size=8).digest()
        number = int.from_bytes(digest, "little") % (len(self._memory) // self._size)
        bucket = self._enter(number)
        try:
            place = bucket.find(key)
            if place < 0:
                place = bucket.occupy(key) if count > 0 else -1
            elif limit is not None and bucket.total(place) >= limit:
                return False
            if place < 0:
                return False
            bucket.add(place, self._worker, count)
            bucket.free_if_unused(place)
            return True
        finally:
            self._exit(number)

    def _enter(self, number: int) -> Bucket:
        """A bucket, with its lock."""
        self._locks.acquire(self._first_lock + number % self._stripes)
        start = number * self._size
        return Bucket(self._memory[start : start + self._size], self._workers)

    def _exit(self, number: int) -> None:
        self._locks.release(self._first_lock + number % self._stripes)
