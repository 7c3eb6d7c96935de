"""Memory and locks that are shared with forked processes, some of which are killed."""

import errno
import os
import signal
import struct
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from rawgate.serve.shared_memory import Mutexes, shared_memory

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="several workers are for Linux")


class Child:
    """A process forked to do one thing. Each side waits for the other's octets, never for time."""

    def __init__(self, does: Callable[["Child"], None]) -> None:
        self._from_child, self._tell_parent = os.pipe()
        self._from_parent, self._tell_child = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            try:
                does(self)
                os._exit(0)
            except BaseException:  # noqa: BLE001  a forked test must not go on as a second pytest
                os._exit(1)

    def tell(self) -> None:
        """In the child: say that it has come here, and wait until the parent lets it go on."""
        os.write(self._tell_parent, b"x")
        os.read(self._from_parent, 1)

    def wait(self) -> None:
        """In the parent: until the child has come to `tell`."""
        assert os.read(self._from_child, 1) == b"x"

    def go_on(self) -> None:
        os.write(self._tell_child, b"x")

    def end(self) -> int:
        """Wait for its end. 0, the exit status, or the negative number of the signal that ended it."""
        status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        for descriptor in (self._from_child, self._tell_parent, self._from_parent, self._tell_child):
            os.close(descriptor)
        return status

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        assert self.end() == -signal.SIGKILL


def test_memory_is_zero_and_shared_both_ways() -> None:
    memory = shared_memory(10_000, "rawgate-test")
    assert len(memory) == 10_000
    assert memory[:] == bytes(10_000)

    def does(child: Child) -> None:
        memory[1] = 7
        child.tell()
        memory[3] = memory[2]

    child = Child(does)
    child.wait()
    assert memory[1] == 7
    memory[2] = 9
    child.go_on()
    assert child.end() == 0
    assert memory[3] == 9


def descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def test_memory_leaves_no_descriptor() -> None:
    before = descriptors()
    kept = shared_memory(1, "rawgate-test")
    assert descriptors() - before <= 1  # the one that mmap keeps
    kept.close()
    assert descriptors() == before


def test_what_is_not_touched_takes_no_memory() -> None:
    def resident() -> int:
        return int(Path("/proc/self/statm").read_text("ascii").split()[1])

    before = resident()
    memory = shared_memory(1 << 40, "rawgate-test")
    memory[1 << 39] = 1
    assert resident() - before < 1000


# Every test gives back what it holds: a lock that is held when its memory goes spoils the next ones of this thread.


def test_a_lock_is_taken_and_given_back() -> None:
    locks = Mutexes(3)
    for stripe in (0, 2, 0):
        assert not locks.acquire(stripe)
        locks.release(stripe)


def test_misuse_is_an_error_and_no_deadlock() -> None:
    locks = Mutexes(1)
    assert not locks.acquire(0)
    with pytest.raises(OSError, match="deadlock") as twice:
        locks.acquire(0)
    assert twice.value.errno == errno.EDEADLK
    locks.release(0)
    with pytest.raises(OSError, match="not permitted"):
        locks.release(0)
    with pytest.raises(IndexError):
        locks.acquire(1)


def test_no_two_processes_hold_one_lock() -> None:
    """Each adds to a number in the memory in two steps, which would lose some if they met."""
    memory, locks, times = shared_memory(8, "rawgate-test"), Mutexes(2), 20_000

    def does(child: Child) -> None:
        for _ in range(times):
            locks.acquire(1)
            (number,) = struct.unpack("Q", memory)
            memory[:] = struct.pack("Q", number + 1)
            locks.release(1)

    children = [Child(does) for _ in range(3)]
    assert [child.end() for child in children] == [0, 0, 0]
    assert struct.unpack("Q", memory) == (3 * times,)


def test_the_next_holder_is_told_of_a_killed_one_once() -> None:
    locks = Mutexes(3)

    def does(child: Child) -> None:
        locks.acquire(0)
        locks.acquire(2)
        child.tell()

    child = Child(does)
    child.wait()
    child.kill()
    for stripe, told in ((0, True), (1, False), (2, True), (0, False), (2, False)):
        assert locks.acquire(stripe) == told
        locks.release(stripe)


def test_who_waits_gets_the_lock_of_a_killed_holder() -> None:
    locks = Mutexes(1)

    def holds(child: Child) -> None:
        locks.acquire(0)
        child.tell()

    def waits(child: Child) -> None:
        child.tell()
        assert locks.acquire(0)
        locks.release(0)

    holder = Child(holds)
    holder.wait()
    waiting = Child(waits)
    waiting.wait()
    waiting.go_on()
    holder.kill()
    assert waiting.end() == 0
    assert not locks.acquire(0)
    locks.release(0)


def test_a_repairer_that_is_killed_leaves_the_repair_to_the_next() -> None:
    locks = Mutexes(1)

    def does(child: Child, told: bool) -> None:
        assert locks.acquire(0) == told
        child.tell()

    for told in (False, True, True):
        child = Child(partial(does, told=told))
        child.wait()
        child.kill()
    assert locks.acquire(0)
    locks.release(0)
    assert not locks.acquire(0)
    locks.release(0)


def test_a_forked_child_does_not_hold_what_its_parent_holds() -> None:
    locks = Mutexes(1)
    locks.acquire(0)

    def does(child: Child) -> None:
        with pytest.raises(OSError, match="not permitted"):
            locks.release(0)

    assert Child(does).end() == 0
    locks.release(0)


def test_a_system_without_robust_mutexes_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ctypes.PyDLL", lambda name: object())
    with pytest.raises(OSError, match="no robust mutexes") as refused:
        Mutexes(1)
    assert refused.value.errno == errno.ENOTSUP
