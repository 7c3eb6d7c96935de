"""How commands look: at most 100 columns, colour only where it is wanted, nothing that a terminal would obey."""

import os
from collections.abc import Iterable, Mapping
from typing import Literal

from rawgate.errors import RawgateError

WIDTH = 100

Style = Literal["bold", "dim", "green", "yellow", "red", "cyan"]
_CODES: dict[Style, str] = {"bold": "1", "dim": "2", "green": "32", "yellow": "33", "red": "31", "cyan": "36"}


def wants_colour(environ: Mapping[str, str], *, is_terminal: bool) -> bool:
    """Colour only for a person: on a terminal that has it, unless NO_COLOR is set (no-color.org: and not empty)."""
    return is_terminal and not environ.get("NO_COLOR") and environ.get("TERM", "dumb") != "dumb"


class OutputError(RawgateError):
    """What was asked for could not be written: one sentence that says why."""


class Page:
    """Lines on a descriptor, which stays the caller's. Writing never raises; `end` tells whether something was lost."""

    def __init__(self, fd: int, *, colour: bool = False) -> None:
        self._fd = fd
        self._colour = colour
        self._failure = ""

    def paint(self, text: str, *styles: Style) -> str:
        if not (self._colour and styles and text.strip()):
            return text
        return f"\x1b[{';'.join(_CODES[style] for style in styles)}m{text}\x1b[0m"

    def line(self, text: str = "") -> None:
        """Write a line now: the next one may be a while off."""
        data = f"{text}\n".encode("utf-8", "backslashreplace")
        try:
            while data:
                data = data[os.write(self._fd, data) :]
        except BrokenPipeError:
            return  # `| head`: its reader has had enough, and that is no error
        except OSError as error:
            self._failure = os.strerror(error.errno) if error.errno else str(error)

    def end(self) -> None:
        """All is written. Raises OutputError when it is not, though there was a reader for it: the disk is full."""
        if self._failure:
            raise OutputError(f"the output cannot be written: {self._failure}")


def put(fd: int, text: str) -> None:
    """Write a text, and the end of its last line. Raises OutputError."""
    page = Page(fd)
    page.line(text)
    page.end()


def visible(text: str) -> str:
    """The same text, with what is not printable written out: a request may hold what a terminal would obey."""
    return text if text.isprintable() else "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)


def cut(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 1]}…"


def milliseconds(seconds: float) -> str:
    """Three digits, more or less."""
    spent = seconds * 1000
    return f"{spent:.{2 if spent < 1 else 1 if spent < 10 else 0}f} ms"


def status_style(status: int) -> Style:
    return "green" if status < 400 else "yellow" if status < 500 else "red"


def flow(parts: Iterable[str], width: int) -> list[str]:
    """Parts side by side, in as few lines as they need; none is broken, and none longer than `width`."""
    lines: list[str] = []
    for part in parts:
        whole = cut(part, width)
        if lines and len(lines[-1]) + 3 + len(whole) <= width:
            lines[-1] += f" · {whole}"
        else:
            lines.append(whole)
    return lines
