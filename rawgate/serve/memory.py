"""Gives memory back to the system when much of it has been let go.

glibc keeps what is freed below something that is still in use: after 1,000 connections that had held 340 MiB in all,
it kept them. `malloc_trim(3)` returns every page that is free, wherever it lies. It walks through all of the heap, so
it is called when that is worth it, and when it is quiet: when no more is being let go. Where the C library has no such
function (musl, macOS) nothing is done.
"""

import ctypes
from collections.abc import Callable

WORTH = 16 * 1024 * 1024
"""Octets that must have been let go."""

CONNECTION = 16 * 1024
"""Octets that a connection is taken for, beside what it holds: its objects, and memory that went through it."""


def trim_of_this_system() -> Callable[[], object] | None:
    """`malloc_trim(0)`, if there is one."""
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError):
        return None
    return lambda: trim(0)


class Memory:
    """Watches what is held, and trims."""

    def __init__(self, trim: Callable[[], object] | None) -> None:
        self._trim = trim
        self._most = self._last = 0

    def look(self, held: int, peak: int) -> None:
        """Octets that are held now, and the most since the last look. To be called every few seconds."""
        self._most = max(self._most, peak)
        falling, self._last = held < self._last, held
        if falling or self._most - held < WORTH or held > self._most // 2:
            return
        self._most = held
        if self._trim is not None:
            self._trim()
