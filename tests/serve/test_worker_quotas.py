"""Quotas of real processes: forked, woken by the real event, and killed. A witness counts, beside the quota, what they
have."""

import asyncio
import faulthandler
import gc
import os
import select
import signal
import sys
from collections.abc import Awaitable, Callable
from random import Random

import pytest
import uvloop

from harness.quotas import User
from rawgate.relay.quota import Quota
from rawgate.serve.shared_memory import Mutexes, shared_memory
from rawgate.serve.worker_quotas import WorkerQuotas

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="several workers are for Linux")

WORKERS, LIMIT, CLIENTS, ROUNDS, KILLS = 4, 5, 4, 700, 20
PATIENCE = 60.0
"""Seconds after which a process that still waits for a slot has been forgotten. A busy host alone takes some."""

STUCK = 1.5 * PATIENCE
"""Seconds after which one that does not even notice that says where it is, and ends: a lock that is never given back
stops the whole process."""


class Witness:
    """Counts who holds a slot, under a lock of its own."""

    def __init__(self) -> None:
        self.counts = memoryview(shared_memory(4 * WORKERS, "rawgate-test")).cast("I")
        self.lock = Mutexes(1, "rawgate-test-lock")

    def change(self, worker: int, by: int) -> None:
        self.lock.acquire(0)
        try:
            self.counts[worker] += by
            if sum(self.counts) > LIMIT:
                os._exit(3)
        finally:
            self.lock.release(0)

    def forget(self, worker: int) -> None:
        self.lock.acquire(0)
        self.counts[worker] = 0
        self.lock.release(0)


class Waiting(User):
    """A worker whose clients are told when they are served."""

    def __init__(self, quota: Quota) -> None:
        super().__init__(quota)
        self.told: dict[int, asyncio.Future[None]] = {}

    def serve(self, who: int) -> None:
        super().serve(who)
        self.told.pop(who).set_result(None)


async def work(worker: int, life: int, shared: WorkerQuotas, witness: Witness, seed: int, tell: int) -> None:
    """Clients of one worker take slots, hold them for some turns of the loop, and give them back, at random."""
    loop = asyncio.get_running_loop()
    user = Waiting(shared.of_worker(worker, life, loop).named("q", LIMIT))
    chance, numbers = Random(seed), iter(range(10**9))  # noqa: S311 - not a secret

    async def client() -> None:
        for _ in range(ROUNDS):
            who, told = next(numbers), loop.create_future()
            user.told[who] = told
            user.arrive(who)
            await told
            witness.change(worker, 1)
            for _ in range(chance.randrange(3)):
                await asyncio.sleep(0)
            witness.change(worker, -1)
            (user.release if chance.random() < 0.7 else user.discard)()
            os.write(tell, bytes([worker]))

    async with asyncio.timeout(PATIENCE):
        await asyncio.gather(*(client() for _ in range(CLIENTS)))


def forked(does: Callable[[], Awaitable[None]]) -> int:
    """A process that does this, and nothing else. Returns its id."""
    gc.freeze()
    child = os.fork()
    if child == 0:
        faulthandler.dump_traceback_later(STUCK, exit=True)
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(_as_coroutine(does))
            os._exit(0)
        except BaseException:  # noqa: BLE001  a forked test must not go on as a second pytest
            os._exit(1)
    return child


async def _as_coroutine(does: Callable[[], Awaitable[None]]) -> None:
    await does()


def test_workers_share_exactly_whatever_dies() -> None:
    shared, witness, chance = WorkerQuotas(WORKERS, 10), Witness(), Random(7)  # noqa: S311 - not a secret
    heard, tell = os.pipe()

    def start(worker: int, seed: int) -> int:
        return forked(lambda: work(worker, lives[worker], shared, witness, seed, tell))

    def bury(worker: int) -> None:
        witness.forget(worker)
        shared.forget(worker, lives[worker])

    lives = dict.fromkeys(range(WORKERS), 1)
    running = {worker: start(worker, worker) for worker in range(WORKERS)}
    kills = 0
    try:
        while running:
            ready, _, _ = select.select([heard], [], [], 0.05)
            if ready:
                os.read(heard, chance.randrange(1, 400) if kills < KILLS else 65536)
            if ready and kills < KILLS:
                worker = chance.choice(list(running))
                os.kill(running[worker], signal.SIGKILL)
                kills += 1
            for worker, child in list(running.items()):
                ended, status = os.waitpid(child, os.WNOHANG)
                if ended:
                    del running[worker]
                    assert os.waitstatus_to_exitcode(status) in {0, -signal.SIGKILL}
                    bury(worker)
                    if status and kills < KILLS:
                        lives[worker] += 1
                        running[worker] = start(worker, 100 + kills)
    finally:
        for child in running.values():
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
        os.close(heard)
        os.close(tell)
    assert kills == KILLS
    assert list(witness.counts) == [0] * WORKERS
    loop = asyncio.new_event_loop()
    quota = shared.of_worker(0, KILLS + 2, loop).named("q", LIMIT)
    assert [quota.take() for _ in range(LIMIT + 1)] == [True] * LIMIT + [False]
    loop.close()


def test_a_loop_hears_once_of_many_wakes() -> None:
    shared = WorkerQuotas(2, 10)

    async def scene() -> None:
        loop = asyncio.get_running_loop()
        one, other = (shared.of_worker(worker, 1, loop).named("q", 1) for worker in range(2))
        heard = asyncio.Event()
        times: list[bool] = []

        def freed() -> None:
            times.append(other.take())
            heard.set()

        other.on_free(freed)
        assert one.take()
        assert not other.take_or_wait()
        one.give()
        shared._wake(1)  # noqa: SLF001 - as anybody may
        assert times == []
        await heard.wait()
        assert times == [True]
        for worker in range(2):
            loop.remove_reader(shared._events[worker])  # noqa: SLF001 - the test's own end

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(scene())
