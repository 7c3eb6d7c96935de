"""Two threads whose order a test decides: one of them runs at a time, and they change places where the plan says.

    with patch("module.Lock", turns.lock), patch("module.Event", turns.event), patch("module.Thread", turns.thread):
        turns.run(first)        # `first` may start one thread more; returns when both have ended

The plan is a list of numbers: after so many instructions (bytecodes) of the module the other thread goes on, and so
forth; when it is used up, whoever runs goes on until it has to wait. The interpreter switches at fewer places, so what
holds here holds there. A wait that can never end raises `StuckError`, in either thread: here no time passes.
"""

import sys
import threading
from collections.abc import Callable, Iterable
from math import inf
from types import FrameType, ModuleType
from typing import Any


class StuckError(Exception):
    """Both threads wait for something that neither will do."""


class Turns:
    """One run of two threads.

    module    whose instructions are counted
    plan      numbers of instructions (≥ 1) until the threads change places
    patience  how many times a `join` with a timeout lets the other thread go on before time is up
    """

    def __init__(self, module: ModuleType, plan: Iterable[int], patience: float = inf) -> None:
        self._file = module.__file__
        self._plan = iter(plan)
        self._left: float = next(self._plan, inf)
        self.patience = patience
        self._turn = [threading.Semaphore(0), threading.Semaphore(0)]
        self._runs = 0
        self._alive = [True, False]
        self._threads: list[threading.Thread] = []
        self._fruitless = 0  # changes of place since one of the two could do something
        self._is_asking = False
        self._timed = 0  # threads in a wait that ends by itself
        self._raised: list[BaseException] = []

    def run(self, first: Callable[[], object]) -> None:
        """Run this, and the thread that it starts, to their ends. Raises what either raised."""
        self.begin(0, first)
        self._turn[0].release()
        for thread in self._threads:  # which grows meanwhile
            thread.join()
        if self._raised:
            raise self._raised[0]

    def begin(self, number: int, target: Callable[[], object]) -> None:
        """Start the first or the second thread, 0 or 1."""

        def body() -> None:
            self._turn[number].acquire()
            sys.settrace(self._trace)
            try:
                target()
            except BaseException as error:  # noqa: BLE001 - handed on to who called `run`
                self._raised.append(error)
            finally:
                sys.settrace(None)
                self._alive[number] = False
                self._fruitless = 0
                self._runs = 1 - number
                self._turn[1 - number].release()

        self._alive[number] = True
        self._threads.append(threading.Thread(target=body))
        self._threads[-1].start()

    def second_has_ended(self) -> bool:
        return not self._alive[1]

    def step(self) -> None:
        """One instruction: perhaps the last one of this turn. For fakes of what may take long."""
        if self._is_asking:
            return
        self._fruitless = 0
        self._left -= 1
        if self._left <= 0:
            self._left = next(self._plan, inf)
            self._change()

    def until(self, condition: Callable[[], object]) -> None:
        """Let the other thread go on until this is true."""
        while not self._holds(condition):
            self._fruitless += 1
            if self._raised or not self._alive[1 - self._runs] or (self._fruitless > 4 and not self._timed):
                raise StuckError
            self._change()

    def until_or_late(self, condition: Callable[[], object], changes: float) -> None:
        """The same, for so many changes of place at most."""
        self._timed += 1
        while not self._holds(condition) and changes > 0 and self._alive[1 - self._runs]:
            changes -= 1
            self._change()
        self._timed -= 1

    def _holds(self, condition: Callable[[], object]) -> bool:
        """Ask. What the module does to answer is no step: nobody gets on by it."""
        self._is_asking = True
        holds = bool(condition())
        self._is_asking = False
        return holds

    def _change(self) -> None:
        me, other = self._runs, 1 - self._runs
        if self._alive[other]:
            self._runs = other
            self._turn[other].release()
            self._turn[me].acquire()

    def _trace(self, frame: FrameType, event: str, _: Any) -> Any:
        if frame.f_code.co_filename != self._file:
            return None
        frame.f_trace_opcodes = True
        if event == "opcode":
            self.step()
        return self._trace

    def lock(self) -> "Lock":
        """In place of threading.Lock."""
        return Lock(self)

    def event(self) -> "Event":
        """In place of threading.Event."""
        return Event(self)

    def thread(self, target: Callable[[], object], **_: object) -> "Thread":
        """In place of threading.Thread."""
        return Thread(self, target)


class Lock:
    def __init__(self, turns: Turns) -> None:
        self._turns = turns
        self._is_held = False

    def acquire(self, blocking: bool = True) -> bool:
        if blocking:
            self._turns.until(lambda: not self._is_held)
        if self._is_held:
            return False
        self._is_held = True
        return True

    def release(self) -> None:
        assert self._is_held
        self._is_held = False

    def __enter__(self) -> None:
        self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()


class Event:
    """A wait with a timeout takes one turn of the other thread's."""

    def __init__(self, turns: Turns) -> None:
        self._turns = turns
        self._is_set = False

    def is_set(self) -> bool:
        return self._is_set

    def set(self) -> None:
        self._is_set = True

    def clear(self) -> None:
        self._is_set = False

    def wait(self, timeout: float | None = None) -> bool:
        if timeout is None:
            self._turns.until(self.is_set)
        else:
            self._turns.until_or_late(self.is_set, 1)
        return self._is_set


class Thread:
    def __init__(self, turns: Turns, target: Callable[[], object]) -> None:
        self._turns = turns
        self._target = target

    def start(self) -> None:
        self._turns.begin(1, self._target)

    def join(self, timeout: float | None = None) -> None:
        if timeout is None or self._turns.patience == inf:
            self._turns.until(self._turns.second_has_ended)
        else:
            self._turns.until_or_late(self._turns.second_has_ended, self._turns.patience)
