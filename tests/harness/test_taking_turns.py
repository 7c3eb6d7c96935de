"""The harness finds what it is there for: a count that two threads change, and a wait without end."""

import sys
from collections.abc import Callable

import pytest

from harness.taking_turns import StuckError, Turns

HERE = sys.modules[__name__]


class Count:
    def __init__(self) -> None:
        self.value = 0

    def up(self) -> None:
        self.value = self.value + 1

    def is_up(self) -> bool:
        return self.value > 0


def counted(plan: list[int], more: Callable[[Turns, Count], None]) -> int:
    """What a count comes to that each of two threads raises by one."""
    turns, count = Turns(HERE, plan), Count()

    def first() -> None:
        thread = turns.thread(lambda: more(turns, count))
        thread.start()
        more(turns, count)
        thread.join()

    turns.run(first)
    return count.value


def test_a_step_of_the_other_thread_fits_between_any_two_instructions() -> None:
    assert {counted([number], lambda _, count: count.up()) for number in range(1, 40)} == {1, 2}


def test_a_lock_keeps_the_other_out() -> None:
    lock = None

    def up(turns: Turns, count: Count) -> None:
        nonlocal lock
        lock = lock or turns.lock()
        with lock:
            count.up()

    for number in range(1, 60):
        lock = None
        assert counted([number], up) == 2


def test_a_lock_that_is_held_is_not_got_without_waiting() -> None:
    lock = Turns(HERE, []).lock()
    assert lock.acquire(blocking=False)
    assert not lock.acquire(blocking=False)
    lock.release()
    assert lock.acquire(blocking=False)


def test_a_wait_that_nobody_ends_is_told() -> None:
    turns = Turns(HERE, [])

    def first() -> None:
        thread = turns.thread(turns.event().wait)
        thread.start()
        thread.join()

    with pytest.raises(StuckError):
        turns.run(first)


def test_a_join_with_a_timeout_comes_back() -> None:
    turns, done = Turns(HERE, [], patience=3), []

    def first() -> None:
        event = turns.event()
        thread = turns.thread(lambda: done.append(event.wait()))
        thread.start()
        thread.join(1.0)
        assert not done
        event.set()
        thread.join()

    turns.run(first)
    assert done == [True]


def test_to_ask_is_not_to_get_on() -> None:
    turns, count = Turns(HERE, [1] * 100), Count()
    with pytest.raises(StuckError):
        turns.run(lambda: turns.until(count.is_up))
    thread = (turns := Turns(HERE, [])).thread(turns.event().wait)

    def first() -> None:
        thread.start()
        turns.until(count.is_up)

    with pytest.raises(StuckError):
        turns.run(first)
