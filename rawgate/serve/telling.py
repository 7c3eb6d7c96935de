"""What a person is told, on stderr: nothing that serves may fail, or wait, because nobody takes it.

The reader of stderr may have gone (`2>&1 | head`) or stalled, its disk may be full. Python's own stream raises then, in
whatever was serving; it keeps what it could not write, and the exit status becomes 120 because of that; a stalled
reader holds up the event loop. So while a gateway serves, `sys.stderr` is a stream that drops what is not taken.
Tracebacks go there too. So does what a configuration's own code prints: stdout belongs to the log.
"""

import contextlib
import io
import os
import select
import sys
from collections.abc import Iterator

PIECE = 4096
"""Octets that a pipe takes without blocking once it is said to be writable: PIPE_BUF (pipe(7))."""


class Unfailing(io.TextIOBase):
    """A text stream to a descriptor, which stays the caller's. Writing never raises and never waits; what is not taken
    at once is lost."""

    encoding = "utf-8"

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._look = select.poll()
        self._look.register(descriptor, select.POLLOUT)

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._descriptor

    def write(self, text: str) -> int:
        octets = text.encode("utf-8", "backslashreplace")
        with contextlib.suppress(OSError):
            while octets and self._look.poll(0):
                octets = octets[os.write(self._descriptor, octets[:PIECE]) :]
        return len(text)


@contextlib.contextmanager
def unfailing() -> Iterator[None]:
    """For as long as the block lasts, all that is printed goes to stderr, and cannot fail."""
    stream = Unfailing(sys.stderr.fileno())
    with contextlib.redirect_stderr(stream), contextlib.redirect_stdout(stream):
        yield


def say(text: str) -> None:
    """Tell the operator, in one line."""
    with contextlib.suppress(OSError):
        sys.stderr.write(f"rawgate: {text}\n")
        sys.stderr.flush()
