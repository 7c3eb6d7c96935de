"""For tests of short deadlines: a machine, or a container, that stands still for a second lets them pass for nothing.

    @again_after_stalls(0.2)
    def test_…

What fails fails at once where nothing stood still: a test shows what it showed without this.
"""

from collections.abc import Callable
from functools import wraps
from threading import Event, Thread
from time import monotonic
from typing import ParamSpec, Self

import pytest

TRIES = 5
TICK = 0.02

P = ParamSpec("P")


class Stalls:
    """Notices while a block lasts how long this process, and so probably all of the machine, stood still.

    longest  seconds: a thread that wants to run every 20 ms was so late at most
    """

    def __init__(self) -> None:
        self.longest = 0.0
        self._over = Event()
        self._thread = Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        last, is_over = monotonic(), False
        while not is_over:
            is_over = self._over.wait(TICK)
            now = monotonic()
            self.longest, last = max(self.longest, now - last - TICK), now


def again_after_stalls(longest: float) -> Callable[[Callable[P, None]], Callable[P, None]]:
    """A test that is tried again if it fails while something stood still for longer than that, in seconds: at most half
    of the deadline that it is about."""

    def decorate(test: Callable[P, None]) -> Callable[P, None]:
        @wraps(test)
        def tried(*arguments: P.args, **named: P.kwargs) -> None:
            for tries_left in reversed(range(TRIES)):
                with Stalls() as stalls:
                    try:
                        test(*arguments, **named)
                    except (Exception, pytest.fail.Exception):
                        if stalls.longest <= longest or not tries_left:
                            raise
                    else:
                        return

        return tried

    return decorate
