"""The output of commands: lines of at most 100 columns, colour only where it is wanted, no control characters from
outside.

Lines are written with write(2), past Python's buffered stream. So a line is out before the next one is computed, and an
error is known where it happens; the interpreter's own flush at exit would turn it into status 120.
"""

import os
from collections.abc import Iterable, Mapping
from typing import Literal

from rawgate.errors import RawgateError

WIDTH = 100

Style = Literal["bold", "dim", "green", "yellow", "red", "cyan"]
_CODES: dict[Style, str] = {"bold": "1", "dim": "2", "green": "32", "yellow": "33", "red": "31", "cyan": "36"}


def wants_colour(environ: Mapping[str, str], *, is_terminal: bool) -> bool:
    """Whether to colour: on a terminal that can, unless NO_COLOR is set and not empty (no-color.org)."""
    return is_terminal and not environ.get("NO_COLOR") and environ.get("TERM", "dumb") != "dumb"


class OutputError(RawgateError):
    """The output could not be written. One sentence: why."""


class Page:
    """Writes lines to a descriptor, which stays the caller's. Writing never raises; `end` reports what went wrong."""

    def __init__(self, fd: int, *, colour: bool = False) -> None:
        self._fd = fd
        self._colour = colour
        self._failure = ""

    def paint(self, text: str, *styles: Style) -> str:
        if not (self._colour and styles and text.strip()):
            return text
        return f"\x1b[{';'.join(_CODES[style] for style in styles)}m{text}\x1b[0m"

    def line(self, text: str = "") -> None:
        """Write a line at once, since the next one may take a while."""
        data = f"{text}\n".encode("utf-8", "backslashreplace")
        try:
            while data:
                data = data[os.write(self._fd, data) :]
        except BrokenPipeError:
            return  # `| head`: the reader has seen enough, which is no error
        except OSError as error:
            self._failure = os.strerror(error.errno) if error.errno else str(error)

    def end(self) -> None:
        """Call it last. Raises OutputError when a line was lost for another reason than a reader that left: a full
        disk."""
        if self._failure:
            raise OutputError(f"the output cannot be written: {self._failure}")


def put(fd: int, text: str) -> None:
    """Write a whole text and a final line feed. Raises OutputError."""
    page = Page(fd)
    page.line(text)
    page.end()


def visible(text: str) -> str:
    """The text with unprintable characters escaped. A request may hold escape sequences, which a terminal would
    obey."""
    return text if text.isprintable() else "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)


def cut(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 1]}…"


def milliseconds(seconds: float) -> str:
    """`0.42 ms`, `4.2 ms`, `42 ms`: two or three digits, so that a column of them can be compared."""
    spent = seconds * 1000
    return f"{spent:.{2 if spent < 1 else 1 if spent < 10 else 0}f} ms"


def status_style(status: int) -> Style:
    return "green" if status < 400 else "yellow" if status < 500 else "red"


def flow(parts: Iterable[str], width: int) -> list[str]:
    """Parts side by side, on as few lines as possible. A part is never split; one that is too long is cut."""
    lines: list[str] = []
    for part in parts:
        whole = cut(part, width)
        if lines and len(lines[-1]) + 3 + len(whole) <= width:
            lines[-1] += f" · {whole}"
        else:
            lines.append(whole)
    return lines
