"""The quotas that the worker processes of one gateway share, by name, in one piece of shared memory.

`QuotaMemory` is made before the workers are forked; each worker takes its `SharedQuotas` from it. A configuration names
its quotas, and whoever asks for a name first makes the record: so after a reload all workers meet in the same records,
old and new, without a word to each other. A record that no worker has open may serve another name.

A quota may have a circuit breaker beside it (see `breaker`), which all workers share as well. It belongs to the same
record, and ends with it.

The memory: the life of each worker, records (see `shared_quota`), as many breakers, then two tables of counts (see
`shared_counts`): of client connections by address, and of requests under way.

The *life* of a worker is the number of its process, among those that have had its number so far. A worker that begins
writes it before all else. So a sibling can give back what a dead one held, while the supervisor starts its successor:
under each lock it looks whether the successor has begun, and leaves everything alone if so. The successor forgets what
is left itself, before it takes a slot.
"""

from collections.abc import Callable
from hashlib import sha256
from typing import Final

from rawgate.message import Locks
from rawgate.relay.addresses import Addresses
from rawgate.relay.breaker import CELLS, Breaker, private_cells
from rawgate.relay.quota import NoRoomError, Quota, Quotas
from rawgate.relay.shared_addresses import WIDTH, SharedAddresses
from rawgate.relay.shared_counts import SharedCounts
from rawgate.relay.shared_counts import octets_needed as counts_need
from rawgate.relay.shared_quota import HEADER, LIMIT, NAME, OPEN, SharedQuota, cells_needed

RECORDS: Final = 1366
"""Quotas that there is room for: four for each upstream, and that of client connections. While workers go over to a
new configuration one by one, the upstreams of both count."""

LOCKS: Final = 64
"""Locks that are needed. The first guards who has which record. Quotas and buckets of addresses share the others."""

REQUEST_WIDTH: Final = 128
"""Octets of a place in the table of requests under way: most names of a route and a client fit."""

_REGISTER: Final = 0
_OTHERS: Final = range(1, LOCKS)


def octets_needed(workers: int, connections: int) -> int:
    """Of the memory for so many workers, and so many client connections in all."""
    tables = counts_need(workers, WIDTH, connections) + counts_need(workers, REQUEST_WIDTH, connections)
    return 8 * workers + 8 * RECORDS * (cells_needed(workers) + CELLS) + tables


class QuotaMemory:
    """What the quotas of all workers are made of."""

    def __init__(
        self,
        memory: memoryview,
        locks: Locks,
        workers: int,
        connections: int,
        wake: Callable[[int], None],
        secret: bytes,
    ) -> None:
        """memory: `octets_needed` octets, all 0. locks: `LOCKS` of them. wake: lets a worker call `SharedQuotas.woken`
        in a later turn of its loop; it may come more than once for one call. secret: random, 64 octets at most."""
        self.locks = locks
        self.workers = workers
        self.wake = wake
        self._secret = secret
        size = cells_needed(workers)
        self._lives = memory[: 8 * workers].cast("Q")
        memory = memory[8 * workers :]
        cells = memory[: 8 * RECORDS * (size + CELLS)].cast("Q")
        self.records = [cells[number * size : (number + 1) * size] for number in range(RECORDS)]
        breakers = cells[RECORDS * size :]
        self._breakers = [breakers[number * CELLS : (number + 1) * CELLS] for number in range(RECORDS)]
        tables = memory[8 * RECORDS * (size + CELLS) :]
        octets = counts_need(workers, WIDTH, connections)
        self._addresses, self._requests = tables[:octets], tables[octets:]

    def of_worker(self, worker: int, life: int) -> "SharedQuotas":
        """The quotas of a worker that has just been forked: number 0, 1, …, in its life 1, 2, …. What earlier ones of
        that number held is forgotten."""
        self._lives[worker] = life
        self.forget(worker, life)
        return SharedQuotas(self, worker)

    def forget(self, worker: int, life: int) -> None:
        """A worker is dead: give back what it held in this life and before, and wake those who wait for it. Any process
        may call this, at any time: it does nothing once a later life has begun. It takes one lock after the other."""
        lives = self._lives

        def is_dead() -> bool:
            return lives[worker] <= life

        for number, record in enumerate(self.records):
            if record[HEADER + OPEN * self.workers + worker]:
                self.quota(number, worker, lambda quota: None).forget(is_dead)
        self.locks.acquire(_REGISTER)
        try:
            for record in self.records if is_dead() else ():
                record[HEADER + OPEN * self.workers + worker] = 0
        finally:
            self.locks.release(_REGISTER)
        for counts in (self._counts(self._addresses, WIDTH, worker), self.requests(worker)):
            counts.forget(worker, is_dead)

    def quota(self, number: int, worker: int, closed: Callable[[SharedQuota], None]) -> SharedQuota:
        """A worker's quota of this record."""
        return SharedQuota(self.records[number], self.locks, _stripe(number), worker, self.wake, closed)

    def breaker(self, number: int) -> Breaker:
        """The breaker of this record."""
        return Breaker(self._breakers[number], self.locks, _stripe(number))

    def addresses(self, limit: int | None, worker: int) -> SharedAddresses:
        """A worker's counts of client connections."""
        return SharedAddresses(limit, self._counts(self._addresses, WIDTH, worker))

    def requests(self, worker: int) -> SharedCounts:
        """A worker's counts of requests under way."""
        return self._counts(self._requests, REQUEST_WIDTH, worker)

    def _counts(self, memory: memoryview, width: int, worker: int) -> SharedCounts:
        return SharedCounts(memory, width, self._secret, self.locks, _OTHERS, worker, self.workers)

    def enter(self, name: str, limit: int, worker: int) -> int:
        """Note that the worker has the quota of this name open, once more. Returns the number of its record. Raises
        NoRoomError."""
        self.locks.acquire(_REGISTER)
        try:
            number = self._find(sha256(name.encode()).digest(), limit)
            self.records[number][HEADER + OPEN * self.workers + worker] += 1
            return number
        finally:
            self.locks.release(_REGISTER)

    def leave(self, number: int, worker: int) -> None:
        """The worker has one quota of this record less open."""
        self.locks.acquire(_REGISTER)
        try:
            self.records[number][HEADER + OPEN * self.workers + worker] -= 1
        finally:
            self.locks.release(_REGISTER)

    def _find(self, name: bytes, limit: int) -> int:
        """The record of this name; a new one if no worker has it open."""
        unused = -1
        for number, record in enumerate(self.records):
            if not any(record[HEADER + OPEN * self.workers :].tolist()):
                unused = number if unused < 0 else unused
            elif record[:NAME].tobytes() == name:
                return number
        if unused < 0:
            raise NoRoomError(f"there is room for {RECORDS} quotas only: use fewer upstreams, or restart")
        record = self.records[unused]
        empty = memoryview(name + bytes(8 * (len(record) - NAME))).cast("Q")
        record[:] = empty
        record[LIMIT] = limit
        self._breakers[unused][:] = private_cells()
        return unused


def _stripe(number: int) -> int:
    return _OTHERS.start + number % len(_OTHERS)


class SharedQuotas(Quotas):
    """The quotas of one worker, shared with the others."""

    __slots__ = ("_memory", "_numbers", "_worker")

    def __init__(self, memory: QuotaMemory, worker: int) -> None:
        self._memory = memory
        self._worker = worker
        self._numbers: dict[SharedQuota, int] = {}  # of those that are open

    def named(self, name: str, limit: int) -> Quota:
        return self._named(name, limit)

    def guarded(self, name: str, limit: int) -> tuple[Quota, Breaker]:
        quota = self._named(name, limit)
        return quota, self._memory.breaker(self._numbers[quota])

    def _named(self, name: str, limit: int) -> SharedQuota:
        number = self._memory.enter(name, limit, self._worker)
        quota = self._memory.quota(number, self._worker, self._closed)
        self._numbers[quota] = number
        if quota.limit != limit:
            quota.resize(limit)
        return quota

    def addresses(self, limit: int | None) -> Addresses:
        return self._memory.addresses(limit, self._worker)

    def woken(self) -> None:
        """Another worker has woken this one."""
        for quota in tuple(self._numbers):
            quota.woken()

    def _closed(self, quota: SharedQuota) -> None:
        self._memory.leave(self._numbers.pop(quota), self._worker)
