"""Processes that count in one shared limiter, note what they were told, and are killed and replaced meanwhile.

Each has a log of its own in shared memory, so that its death loses nothing of it. A note is written in this order: the
key and the time; the mark ASKED; then the hit; the time after it; the mark ADMITTED or REFUSED. So the notes of a
process that was killed are complete but for the last, which may be ASKED: then nobody knows whether it was counted.
"""

import os
import random
import signal
import time
from bisect import bisect_left
from collections.abc import Callable, Iterator
from mmap import mmap
from struct import Struct
from typing import NamedTuple

from rawgate.message import Locks
from rawgate.policy.shared_limiter import SharedLimiter, locks_needed, octets_needed
from rawgate.serve.shared_memory import Mutexes, shared_memory

ASKED, ADMITTED, REFUSED = 1, 2, 3
_NOTE = Struct("<ddIBxxx")  # before the hit, after it, key, mark
_AFTER, _MARK = 8, 20
_MOMENT = Struct("<d")


class Rule(NamedTuple):
    maximum: int
    window: float


class Note(NamedTuple):
    """A hit. `before`, `after`: monotonic seconds. Where the mark is ASKED, `after` is when the process was dead."""

    before: float
    after: float
    key: int
    mark: int


class _Log:
    """The notes of one process, and of those that replace it."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.memory = shared_memory(size * _NOTE.size, "rawgate-notes")

    def __len__(self) -> int:
        return bisect_left(range(self.size), 1, key=lambda number: not self.memory[number * _NOTE.size + _MARK])

    def notes(self) -> Iterator[Note]:
        count = len(self)
        unpacked = list(_NOTE.iter_unpack(self.memory[: count * _NOTE.size]))
        for number, (before, after, key, mark) in enumerate(unpacked):
            if mark == ASKED:
                after = unpacked[number + 1][0] if number + 1 < count else float("inf")
            yield Note(before, after, key, mark)


class Unlocked(Locks):
    """No locks at all: what the verdict must notice."""

    def acquire(self, stripe: int) -> bool:
        return False

    def release(self, stripe: int) -> None:
        pass


class _Noticing(Locks):
    """Counts the locks whose holder was found dead: in one octet for each process, up to 255."""

    def __init__(self, locks: Locks, found: mmap, number: int) -> None:
        self._locks = locks
        self._found = found
        self._number = number

    def acquire(self, stripe: int) -> bool:
        holder_died = self._locks.acquire(stripe)
        if holder_died:
            self._found[self._number] = min(self._found[self._number] + 1, 255)
        return holder_died

    def release(self, stripe: int) -> None:
        self._locks.release(stripe)


class Crowd:
    """So many processes with `hits` in all, by so many clients in turn, at each of the rules in turn.

    kills, found  how many processes were killed; how many locks of a dead holder were taken
    """

    def __init__(self, processes: int, hits: int, clients: int, rules: tuple[Rule, ...], locked: bool = True) -> None:
        self.rules = rules
        self.clients = clients
        self.capacity = max(100_000, 2 * clients * len(rules))
        self.kills = 0
        self._memory = shared_memory(octets_needed(self.capacity), "rawgate-limits")
        self._locks: Locks = Mutexes(locks_needed(self.capacity)) if locked else Unlocked()
        self._seed = os.urandom(16)
        self._logs = [_Log(-(-hits // processes)) for _ in range(processes)]
        self._found = shared_memory(processes, "rawgate-found")

    @property
    def found(self) -> int:
        return sum(self._found[:])

    @property
    def evicted(self) -> int:
        return self._limiter(self._locks).evicted

    def run(self, kill_every: float | None, most: float) -> None:
        """Until all have done their hits. kill_every: seconds between kills; most: seconds until all are killed, and
        RuntimeError."""
        running = {self._fork(number): number for number in range(len(self._logs))}
        ends = time.monotonic() + most
        dice = random.Random(7)  # noqa: S311  no secrets
        try:
            while running:
                time.sleep(kill_every or 0.01)
                self._reap(running)
                if kill_every is not None and running:
                    victim = dice.choice(sorted(running))
                    os.kill(victim, signal.SIGKILL)
                    self.kills += 1
                    os.waitpid(victim, 0)
                    number = running.pop(victim)
                    running[self._fork(number)] = number
                if time.monotonic() > ends:
                    raise RuntimeError(f"{len(running)} processes have not come to their end")
        finally:
            for pid in running:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)

    @staticmethod
    def _reap(running: dict[int, int]) -> None:
        for pid in list(running):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                del running[pid]
                if status:
                    raise RuntimeError(f"a process ended with {os.waitstatus_to_exitcode(status)}")

    def _fork(self, number: int) -> int:
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                self._count(number)
                status = 0
            finally:
                os._exit(status)
        return pid

    def _limiter(self, locks: Locks) -> SharedLimiter:
        return SharedLimiter(self._memory, locks, self.capacity, self._seed)

    def _count(self, number: int) -> None:
        """What one process does, from where the one before it was killed."""
        limiter = self._limiter(_Noticing(self._locks, self._found, number))
        hits: list[Callable[[str, float], tuple[bool, int, int]]] = [
            limiter.rule(f"/{rule.window}", rule.maximum, rule.window).hit for rule in self.rules
        ]
        log, clients, keys = self._logs[number], self.clients, self.clients * len(hits)
        memory, now = log.memory, time.monotonic
        names = [f"sub:client-{client}" for client in range(clients)]
        for turn in range(len(log), log.size):
            key = (turn + number * keys // len(self._logs)) % keys
            at, moment = turn * _NOTE.size, now()
            _NOTE.pack_into(memory, at, moment, 0.0, key, 0)
            memory[at + _MARK] = ASKED
            admitted = hits[key // clients](names[key % clients], moment)[0]
            _MOMENT.pack_into(memory, at + _AFTER, now())
            memory[at + _MARK] = ADMITTED if admitted else REFUSED

    def notes(self) -> Iterator[tuple[int, list[Note]]]:
        """The number of each rule, and all notes about one client at it."""
        by_key: dict[int, list[Note]] = {}
        for log in self._logs:
            for note in log.notes():
                by_key.setdefault(note.key, []).append(note)
        for key, notes in by_key.items():
            yield key // self.clients, notes
