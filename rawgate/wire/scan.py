"""The pre-check of heads for the h11 lane, and of trailer sections. Octets arrive in any portions; each is looked at
once.

It knows lines, not fields: where the start line ends, where the head ends, and which octets no head may hold. It
refuses a head at the first octet that makes it invalid. So the result never depends on how the octets were cut into
portions.

Rules it keeps
- A head ends in CRLF CRLF. A bare CR, a bare LF, a folded line or a control octet other than HTAB refuses it.
- The start line is judged as soon as its CRLF is there, or earlier when it is already too long.
- A head is refused at its first octet beyond the limit.
"""

from collections.abc import Callable
from typing import Final

from rawgate.errors import MessageError
from rawgate.wire.grammar import forbidden

Refuse = Callable[[str], MessageError]
Overrun = Callable[[bytearray, int, int], tuple[int, MessageError] | None]


class ScanRules:
    """The rules for all heads of one kind.

    what       the name of the section in a sentence: "The head"
    limit      octets of a whole head, the empty line included
    malformed  makes the error for forbidden octets
    too_large  makes the error for the limit
    overrun    judges a start line that may be incomplete. `overrun(buffer, start, stop)` returns None, or the index of
               the octet that made the line invalid and the error
    blank      whether one empty line before the start line is ignored (RFC 9112 section 2.2, for servers only)
    """

    __slots__ = ("blank", "limit", "malformed", "overrun", "too_large", "what")

    def __init__(
        self, what: str, limit: int, malformed: Refuse, too_large: Refuse, overrun: Overrun, blank: bool
    ) -> None:
        self.what: Final = what
        self.limit: Final = limit
        self.malformed: Final = malformed
        self.too_large: Final = too_large
        self.overrun: Final = overrun
        self.blank: Final = blank


class HeadScan:
    """The octets of one unfinished head."""

    __slots__ = ("_rules", "_seen", "buffer", "line_end", "start")

    def __init__(self, rules: ScanRules) -> None:
        self._rules = rules
        self.reset()

    def reset(self) -> None:
        """Forget everything: the next octet is the first of a head."""
        self.buffer = bytearray()
        self.start = 0  # index of the start line
        self.line_end = -1  # index of the start line's CR; -1: not there yet
        self._seen = 0  # octets before this index have been looked at

    def take(self, data: bytes) -> bytes:
        """Take octets, at most one more than the limit, which is enough to refuse the head. Returns the others."""
        room = self._rules.limit + 1 - len(self.buffer)
        self.buffer += data[:room]
        return data[room:]

    def skip_start_line(self) -> None:
        """Prepare for a section without a start line: put an empty one in its place."""
        self.buffer += b"\r\n"
        self.line_end = 0

    def start_line(self) -> bytes | None:
        """The start line without its CRLF; None while it is incomplete."""
        buffer = self.buffer
        if self._rules.blank and not self.start and buffer[:2] == b"\r\n":
            self.start = self._seen = 2
        found = buffer.find(b"\r\n", self._seen)
        stop = found + 2 if found >= 0 else len(buffer)
        overrun = self._rules.overrun(buffer, self.start, stop)
        self._look(overrun[0] if overrun else stop)
        if overrun:
            raise overrun[1]
        if found < 0:
            return None
        if found == self.start:
            raise self._rules.malformed("The head starts with an empty line.")
        self.line_end = found
        return bytes(buffer[self.start : found])

    def head_end(self) -> int:
        """The index after the empty line, or 0 while the head is incomplete. The start line must be complete."""
        found = self.buffer.find(b"\r\n\r\n", max(self.line_end, self._seen - 2))
        stop = found + 4 if found >= 0 else len(self.buffer)
        self._look(stop)
        return stop if found >= 0 else 0

    def _look(self, stop: int) -> None:
        """Check the octets up to `stop` that were not seen yet, then the length of the head."""
        end = min(stop, self._rules.limit)
        if name := forbidden(self.buffer, self._seen, end):
            raise self._rules.malformed(f"{self._rules.what} holds {name}.")
        if stop > self._rules.limit:
            raise self._rules.too_large(f"{self._rules.what} is longer than the limit.")
        # The next octet decides whether a CR is bare or a CRLF starts a fold, so these are looked at again.
        tail = self.buffer[max(end - 2, 0) : end]
        self._seen = max(end - (2 if tail == b"\r\n" else tail.endswith(b"\r")), self.start)


def no_overrun(buffer: bytearray, start: int, stop: int) -> None:
    """An `Overrun` that accepts every start line."""
