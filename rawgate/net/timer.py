"""One timer per connection, for whatever the connection waits for.

A timer that is armed and cancelled for each request would cost two calls into the loop for each request, and nearly
none of them would ever fire. This one is armed only when a deadline is nearer than the one that it is set to. When it
fires, its owner works out what is due by now, and arms it for what is due next.
"""

import asyncio
from collections.abc import Callable
from math import inf
from time import monotonic


class LazyTimer:
    """Calls `expire` at the nearest of the deadlines that it was given, or earlier. Never after `close`."""

    __slots__ = ("_armed_at", "_expire", "_handle", "_loop")

    def __init__(self, loop: asyncio.AbstractEventLoop, expire: Callable[[], None]) -> None:
        self._loop = loop
        self._expire: Callable[[], None] | None = expire
        self._armed_at = inf
        self._handle: asyncio.TimerHandle | None = None

    def arm(self, due: float) -> None:
        """Fire at `due` (monotonic seconds) at the latest."""
        if due < self._armed_at:
            if self._handle is not None:
                self._handle.cancel()
            self._armed_at = due
            self._handle = self._loop.call_later(max(0.0, due - monotonic()), self._fire)

    def _fire(self) -> None:
        self._handle = None
        self._armed_at = inf
        if self._expire is not None:
            self._expire()

    def close(self) -> None:
        """Never fire again, and let go of the owner. The owner holds the timer, so the two are a reference cycle until
        then, and the garbage collector looks for cycles rarely (`serve.run`)."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
        self._armed_at = -inf
        self._expire = None
