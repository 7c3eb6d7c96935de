"""The pre-check of a head: octets arrive in any portions, and each is looked at once.

Both lanes rest on it. It knows lines, not fields: where the start line ends, where the head ends, and which octets no
head may hold. It refuses at the first octet that can no longer be right, and the verdict never depends on how the
octets were cut into portions: whatever comes first on the wire decides.

Rules it keeps
- A head ends in CRLF CRLF. A bare CR, a bare LF, a folded line or a control octet other than HTAB refuses it.
- The start line is judged as soon as its CRLF is there, or earlier when it is already too long.
- A head longer than the limit is refused with its first octet too many.
"""

from collections.abc import Callable
from typing import Final

from rawgate.errors import MessageError
from rawgate.wire.grammar import forbidden

Refuse = Callable[[str], MessageError]
Overrun = Callable[[bytearray, int, int], tuple[int, MessageError] | None]


class ScanRules:
    """What is the same for all heads of one kind.

    what       the section's name in a sentence: "The head"
    limit      octets of a whole head, the empty line included
    malformed  makes the error for forbidden octets
    too_large  makes the error for the limit
    overrun    judges a start line that may be unfinished, given the buffer and where the line starts and stops so
               far: (the index of the first octet that made it wrong, the error), or None
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
        """Take octets; returns those that this head cannot need: with one more than the limit it is judged."""
        room = self._rules.limit + 1 - len(self.buffer)
        self.buffer += data[:room]
        return data[room:]

    def skip_start_line(self) -> None:
        """Read a section of field lines alone: the line end in front of it stands for a start line."""
        self.buffer += b"\r\n"
        self.line_end = 0

    def start_line(self) -> bytes | None:
        """The start line without its CRLF, or None while it is incomplete."""
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
        """Refuse forbidden octets between what was seen and `stop`, then a head that has outgrown its limit."""
        end = min(stop, self._rules.limit)
        if name := forbidden(self.buffer, self._seen, end):
            raise self._rules.malformed(f"{self._rules.what} holds {name}.")
        if stop > self._rules.limit:
            raise self._rules.too_large(f"{self._rules.what} is longer than the limit.")
        # Whether a CR is bare, or CRLF starts a fold, shows only with the octet behind it.
        tail = self.buffer[max(end - 2, 0) : end]
        self._seen = max(end - (2 if tail == b"\r\n" else tail.endswith(b"\r")), self.start)


def no_overrun(buffer: bytearray, start: int, stop: int) -> None:
    """An `Overrun` that has nothing against any start line."""
