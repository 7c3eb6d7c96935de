"""One timer per connection, for whatever the connection waits for.

A timer that is armed and cancelled for each request would cost two calls into the loop for each request, and nearly
none of them would ever fire. `LazyTimer` is armed only when a deadline is nearer than the one that it is set to. When
it fires, its owner works out what is due by now, and arms it for what is due next.

Most connections are idle, and an idle connection waits for a deadline that is a minute away. A timer of the loop's is
700 octets, so such deadlines have none: `Timers` keeps them by the second that they are in, with one timer of the
loop's for all. What comes near gets its own. (A timing wheel of two levels: Varghese and Lauck, 1987.)
"""

import asyncio
from collections.abc import Callable
from math import inf
from time import monotonic
from typing import Final

FAR: Final = 2.0
"""Seconds. A deadline that is further away is kept by its second, which has not begun then."""


class Timers:
    """The far deadlines of one loop."""

    __slots__ = ("_handle", "_next", "_seconds", "loop")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._seconds: dict[int, set[LazyTimer]] = {}  # second of the monotonic clock → whose deadlines are in it
        self._next = 0  # the second that `_handle` waits for; 0: it waits for none
        self._handle: asyncio.TimerHandle | None = None

    def add(self, timer: "LazyTimer", second: int) -> None:
        """Call `timer.comes_near` when the second begins."""
        timers = self._seconds.get(second)
        if timers is not None:
            timers.add(timer)
            return
        self._seconds[second] = {timer}
        if not self._next or second < self._next:
            self._wait()

    def discard(self, timer: "LazyTimer", second: int) -> None:
        """Do not."""
        timers = self._seconds[second]
        timers.discard(timer)
        if not timers:
            del self._seconds[second]
            if second == self._next:
                self._wait()

    def _wait(self) -> None:
        """For the nearest second."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
        if not self._seconds:
            self._next = 0
            return
        self._next = min(self._seconds)
        self._handle = self.loop.call_later(max(0.0, self._next - monotonic()), self._begin, self._next)

    def _begin(self, second: int) -> None:
        """It begins, or has begun."""
        self._handle = None
        for timer in self._seconds.pop(second):
            timer.comes_near()
        self._wait()


class LazyTimer:
    """Calls `expire` at the nearest of the deadlines that it was given. Never after `close`."""

    __slots__ = ("_armed_at", "_expire", "_handle", "_second", "_timers")

    def __init__(self, timers: Timers, expire: Callable[[], None]) -> None:
        self._timers = timers
        self._expire: Callable[[], None] | None = expire
        self._armed_at = inf
        # What waits for it: a timer of the loop's, or the far deadlines, in this second of theirs.
        self._handle: asyncio.TimerHandle | None = None
        self._second = 0

    def arm(self, due: float) -> None:
        """Fire at `due` (monotonic seconds) at the latest."""
        if due < self._armed_at:
            self._disarm()
            self._armed_at = due
            if due - monotonic() > FAR:
                self._second = int(due)
                self._timers.add(self, self._second)
            else:
                self.comes_near()

    def comes_near(self) -> None:
        """From now on it waits with a timer of the loop's: its second has begun, or was never far away."""
        self._second = 0
        self._handle = self._timers.loop.call_later(max(0.0, self._armed_at - monotonic()), self._fire)

    def _disarm(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
        elif self._second:
            self._timers.discard(self, self._second)
            self._second = 0

    def _fire(self) -> None:
        """The time is over. What had come by then is read first: uvloop looks at its timers before it reads, so a
        process that did not run for a while would find each deadline missed. What is called soon in this turn of the
        loop comes before that, too."""
        self._handle = None
        self._timers.loop.call_soon(self._timers.loop.call_soon, self._end)

    def _end(self) -> None:
        if self._expire is not None:
            self._armed_at = inf
            self._expire()

    def close(self) -> None:
        """Never fire again, and let go of the owner. The owner holds the timer, so the two are a reference cycle until
        then, and the garbage collector looks for cycles rarely (`serve.run`)."""
        self._disarm()
        self._armed_at = -inf
        self._expire = None
