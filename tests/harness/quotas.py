"""Quotas that several workers share: workers in this process, whose loops a test runs by hand, and who uses a quota."""

from rawgate.message import Locks
from rawgate.relay.quota import Quota
from rawgate.relay.shared_quotas import LOCKS, QuotaMemory, SharedQuotas, octets_needed


class OneHolder(Locks):
    """Locks of workers that take turns: whoever takes one gives it back before anybody else does anything. `died`: a
    holder has died, and nobody has been told."""

    def __init__(self) -> None:
        self.held: int | None = None
        self.died = False

    def acquire(self, stripe: int) -> bool:
        assert self.held is None, "a second lock"
        assert 0 <= stripe < LOCKS
        self.held = stripe
        died, self.died = self.died, False
        return died

    def release(self, stripe: int) -> None:
        assert self.held == stripe
        self.held = None


class Workers:
    """Workers that share quotas.

    woken  those whose loops have not heard of it yet, in order
    """

    def __init__(self, count: int = 2, connections: int = 100) -> None:
        self.woken: list[int] = []
        octets = memoryview(bytearray(octets_needed(count, connections)))
        self.memory = QuotaMemory(octets, OneHolder(), count, connections, self.woken.append, b"a secret")
        self.lives = [1] * count
        self.quotas: list[SharedQuotas] = [self.memory.of_worker(number, 1) for number in range(count)]

    def turn(self, worker: int) -> None:
        """The loop of this worker hears that it was woken, if it was."""
        if worker in self.woken:
            self.woken[:] = [other for other in self.woken if other != worker]
            self.quotas[worker].woken()

    def settle(self) -> None:
        """Turns of all loops, until nobody is woken any more."""
        for _ in range(1000):
            if not self.woken:
                return
            self.turn(self.woken[0])
        raise AssertionError("they wake each other for ever")

    def die(self, worker: int) -> None:
        """It is killed, its slots are given back, and another one has its place."""
        self.woken[:] = [other for other in self.woken if other != worker]
        self.lives[worker] += 1
        self.quotas[worker] = self.memory.of_worker(worker, self.lives[worker])


class User:
    """A worker that uses a quota as a pool does. What waits are numbers, in order of arrival.

    busy, idle  how many slots are used, and how many are taken but not used
    served      who has got a slot, in order
    """

    def __init__(self, quota: Quota) -> None:
        self.quota = quota
        self.queue: list[int] = []
        self.busy = self.idle = 0
        self.served: list[int] = []
        quota.on_free(self.heed)

    def arrive(self, who: int) -> None:
        if not self.queue:
            if self.idle:
                self.idle -= 1
                self.serve(who)
                return
            if self.quota.take():
                self.serve(who)
                return
        self.queue.append(who)
        self.serve_queue()

    def serve(self, who: int) -> None:
        self.busy += 1
        self.served.append(who)

    def serve_queue(self) -> None:
        while self.queue and self.quota.take_or_wait():
            self.serve(self.queue.pop(0))
        self.stop_waiting()

    def stop_waiting(self) -> None:
        if not self.queue:
            self.quota.stop_waiting()

    def release(self) -> None:
        """One that is busy is over, and its slot may be used again."""
        self.stop_waiting()
        self.busy -= 1
        if self.quota.give_if_due():
            self.serve_queue()
        elif self.queue:
            self.serve(self.queue.pop(0))
            self.stop_waiting()
        else:
            self.idle += 1

    def discard(self) -> None:
        """One that is busy is over, and its slot is given back."""
        self.busy -= 1
        self.quota.give()
        self.serve_queue()

    def leave(self, who: int) -> None:
        self.queue.remove(who)
        self.stop_waiting()

    def heed(self) -> None:
        self.serve_queue()
        while not self.queue and self.idle and self.quota.give_if_due():
            self.idle -= 1
