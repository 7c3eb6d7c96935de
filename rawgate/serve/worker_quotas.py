"""What the limits of all workers are counted in: the memory, its locks, and how one worker wakes another. Linux only.

A worker is woken by an `eventfd(2)`, which its loop reads. It is written after each grant, and many writes make one
event, so a worker that is busy is not flooded.
"""

import asyncio
import contextlib
import os
import secrets

from rawgate.relay.shared_quotas import LOCKS, QuotaMemory, SharedQuotas, octets_needed
from rawgate.serve.shared_memory import Mutexes, shared_memory


class WorkerQuotas:
    """The quotas of all workers. To be made before the first one is forked.

    workers   how many there are
    requests  the counts of requests under way: in each process, its own
    """

    def __init__(self, workers: int, connections: int) -> None:
        """connections: `gateway.limits.connections`. The tables of `per_address` and of requests under way are made for
        so many; a reload may raise it threefold. OSError: the system gives no memory, no locks or no descriptors."""
        self.workers = workers
        memory = memoryview(shared_memory(octets_needed(workers, connections), "rawgate-quotas"))
        locks = Mutexes(LOCKS, "rawgate-quota-locks")
        self._events = [os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC) for _ in range(workers)]
        self._memory = QuotaMemory(memory, locks, workers, connections, self._wake, secrets.token_bytes(16))
        self.requests = self._memory.requests(0)

    def of_worker(self, worker: int, life: int, loop: asyncio.AbstractEventLoop) -> SharedQuotas:
        """In a worker, when it has been forked: its quotas. What dead ones of its number held is given back. From now
        on its loop is woken. life: see `shared_quotas`."""
        self.requests.worker = worker
        quotas = self._memory.of_worker(worker, life)
        loop.add_reader(self._events[worker], self._woken, worker, quotas)
        return quotas

    def forget(self, worker: int, life: int) -> None:
        """A worker has ended this life, however: give back what it held, unless its successor has begun.

        It takes locks, for microseconds each, and 12 ms in all where `gateway.limits.connections` is 10,000. A worker
        that is stopped while it holds one keeps the caller waiting, so the supervisor must not call this.
        """
        self._memory.forget(worker, life)

    def _wake(self, worker: int) -> None:
        os.eventfd_write(self._events[worker], 1)

    def _woken(self, worker: int, quotas: SharedQuotas) -> None:
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._events[worker])
        quotas.woken()
