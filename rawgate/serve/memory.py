"""Gives memory back to the system after a peak, and keeps what is loaded out of the garbage collector's sight.

glibc returns freed memory only from the top of its heap: after 1,000 connections that had held 340 MiB in all, it kept
all of that. `malloc_trim(3)` returns every free page, wherever it lies. It walks through the whole heap, so it is
called only when that is worth it, and only once the amount held has stopped falling. Where the C library has no such
function (musl, macOS), nothing is done.

Between peaks it is the other way round. glibc gives the top of its heap back once twice the largest freed block is free
there. With reads of 256 KiB that is at once, and the next read has to fetch and clear the same pages again: 1 MiB down
took twice the CPU time. So a margin is kept (`keep_a_margin`).
"""

import ctypes
import gc
from collections.abc import Callable

GC_THRESHOLDS = (10_000, 50, 1_000)
"""`gc.set_threshold`, instead of CPython's (700, 10, 10): see `collect_rarely`."""

WORTH = 16 * 1024 * 1024
"""Octets that must have been freed since the peak."""

CONNECTION = 16 * 1024
"""An estimate of the octets that a connection costs beside what it holds: its objects, and what passed through it."""


MARGIN = 16 * 1024 * 1024
"""Octets free at the top of the heap that are kept for the next bodies."""

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""Parameters of mallopt(3). Either one, once set, also stops glibc from setting both by what was freed last."""

_LARGE = 1024 * 1024
"""Octets of a block that is not of the heap, but mapped by itself. A read of the loop has 256 KiB."""


def keep_a_margin() -> None:
    """`mallopt(3)`, where there is such a function."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return
    mallopt(_TRIM_THRESHOLD, MARGIN)
    mallopt(_MMAP_THRESHOLD, _LARGE)


def trim_of_this_system() -> Callable[[], object] | None:
    """`malloc_trim(0)`, or None where there is no such function."""
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError):
        return None
    return lambda: trim(0)


class Memory:
    """Watches how much is held, and trims after a peak."""

    def __init__(self, trim: Callable[[], object] | None) -> None:
        self._trim = trim
        self._most = self._last = 0

    def look(self, held: int, peak: int) -> None:
        """To be called every few seconds. held: octets that are held now; peak: the most since the last call."""
        self._most = max(self._most, peak)
        falling, self._last = held < self._last, held
        # Not while it still falls: one walk through the heap at the end does for all. Not while half of it is in use.
        if falling or self._most - held < WORTH or held > self._most // 2:
            return
        self._most = held
        if self._trim is not None:
            self._trim()


def set_aside() -> None:
    """Take all that is loaded now out of the collector's sight: it stays loaded. What has been set aside before, as all
    modules are (`rawgate.cli.main`), is not looked at again: that would take a tenth of a start."""
    gc.collect()
    gc.freeze()


def set_aside_anew() -> None:
    """The same after a reload. All is looked at once more, since a configuration that is no longer served has
    cycles."""
    gc.unfreeze()
    set_aside()


def collect_rarely() -> None:
    """Nearly nothing that is made per request is part of a cycle, so the collector finds little. But a full collection
    over 5,000 open connections took 205 ms, in which nobody was served. So old objects are looked at rarely."""
    gc.set_threshold(*GC_THRESHOLDS)
