"""Messages for a person, on stderr. They must neither fail nor delay what is served, whoever reads them.

The reader of stderr may have gone (`2>&1 | head`), may have stalled, or its disk may be full. Python's own stream then
does three bad things: it raises in whatever code was serving; it keeps what it could not write, which makes the exit
status 120; and it blocks the event loop while the reader is stalled. So while a gateway serves, `sys.stderr` is a
stream that drops what is not taken at once. Tracebacks go there too. So does what a configuration's own code prints,
since stdout belongs to the log.
"""

import contextlib
import io
import os
import select
import sys
from collections.abc import Callable, Iterator

REPORT_EVERY = 1.0
"""Seconds between two reports about one thing, such as a route's failing rewrite: one per request would be a flood."""

PIECE = 4096
"""Octets that a pipe takes without blocking once poll(2) calls it writable: PIPE_BUF (pipe(7))."""


class Unfailing(io.TextIOBase):
    """A text stream to a descriptor. The caller keeps the descriptor, and closes it. Writing never raises and never
    waits: what is not taken at once is lost."""

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
    """While the block lasts, everything that is printed goes to stderr by a stream that cannot fail."""
    stream = Unfailing(sys.stderr.fileno())
    with contextlib.redirect_stderr(stream), contextlib.redirect_stdout(stream):
        yield


class Voice:
    """Tells the operator something, in one line. `who`: which process says it; "": the gateway."""

    def __init__(self) -> None:
        self.who = ""

    def __call__(self, text: str) -> None:
        with contextlib.suppress(OSError):
            sys.stderr.write(f"rawgate: {self.who}{text}\n")
            sys.stderr.flush()


say = Voice()


class Throttled:
    """A `Report` that passes on one line a second about each route or limit, and says with the next line how many it
    left out."""

    def __init__(self, say: Callable[[str], None], clock: Callable[[], float]) -> None:
        self._say = say
        self._clock = clock
        self._quiet: dict[str, tuple[float, int]] = {}  # until when, and how many were kept back

    def __call__(self, about: str, text: str) -> None:
        now = self._clock()
        until, kept = self._quiet.get(about, (-REPORT_EVERY, 0))
        if now < until:
            self._quiet[about] = (until, kept + 1)
            return
        self._quiet[about] = (now + REPORT_EVERY, 0)
        self._say(f"{text} ({kept} more since the last report)" if kept else text)
