"""How a value is refused: one exception for all readers, and one wording for all messages.

A message reads `what is wrong (expected …; did you mean …?)`. It repeats a written value only through `shown`, which
cuts and escapes it. Readers of key material never repeat a value.
"""

import re
from collections.abc import Iterable
from typing import Final

from rawgate.config.reserved_names import USUAL_METHODS

BROKEN: Final = object()
"""Takes the place of a value that could not be read. It never leaves the converter."""

_SHOWN = 60
_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
_HUGE = 10**18
"""Larger integers are not printed: the interpreter refuses to, from some thousand digits on."""


class InvalidError(Exception):
    """A value is not what its key asks for.

    fallback  the value to go on with, where there is one: an unknown upstream still has a name, and the rest of its
              route can be checked
    meant     what the message proposes, or ""
    """

    def __init__(self, what: str, *, expected: str = "", meant: str = "", fallback: object = BROKEN) -> None:
        self.fallback = fallback
        self.meant = meant
        super().__init__(problem_text(what, expected=expected, meant=meant))


def problem_text(what: str, *, expected: str = "", meant: str = "") -> str:
    """The text of a problem: `what (expected …; did you mean …?)`. Parts that are "" are left out."""
    hints = [f"expected {expected}"] if expected and expected != meant else []
    if meant:
        hints.append(f"did you mean {meant}?")
    return f"{what} ({'; '.join(hints)})" if hints else what


def shown(value: object) -> str:
    """A value as its author wrote it, short and on one line. Of tables and lists only the kind is shown."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, float) or (isinstance(value, int) and abs(value) < _HUGE):
        return str(value)
    if isinstance(value, int):
        return "a very large number"
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, list | tuple):
        return "a list"
    return f"a value of type {type(value).__name__}"


def quoted(text: str, longest: int = _SHOWN) -> str:
    """Text between double quotes, escaped as in TOML, and cut after `longest` characters."""
    cut = text if len(text) <= longest else text[:longest] + "…"
    escaped = cut.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(c if c.isprintable() else _escaped(c) for c in escaped) + '"'


def _escaped(character: str) -> str:
    short = _SHORT.get(character)
    code = ord(character)
    return short or (f"\\u{code:04X}" if code <= 0xFFFF else f"\\U{code:08X}")


def nearest(word: str, words: Iterable[str]) -> str:
    """The one of `words` that was probably meant by `word`, quoted; "" when there is none, or more than one.

    The two words may differ in case and in the signs between their parts ("rateLimit"), and in one mistake for each
    four letters. Short words that differ in more are different words.
    """
    mistakes = {other: _mistakes(plain(word), plain(other)) for other in words}
    fewest = min(mistakes.values(), default=0)
    close = [other for other, count in mistakes.items() if count == fewest]
    if len(close) != 1 or not fewest <= max(1, len(plain(close[0])) // 4) < len(plain(close[0])):
        return ""
    return quoted(close[0])


def plain(word: str) -> str:
    """A word in lower case, without "-", "_" and blanks: the same for all spellings of it."""
    return re.sub(r"[-_\s]", "", word.lower())


def _mistakes(word: str, other: str) -> int:
    """How many letters are missing, too many, wrong, or swapped with their neighbour (Damerau; optimal alignment)."""
    before: list[int] = []
    last = list(range(len(other) + 1))
    for row, letter in enumerate(word, 1):
        here = [row]
        for column, theirs in enumerate(other, 1):
            cost = min(last[column] + 1, here[-1] + 1, last[column - 1] + (letter != theirs))
            if row > 1 and column > 1 and letter == other[column - 2] and word[row - 2] == theirs:
                cost = min(cost, before[column - 2] + 1)
            here.append(cost)
        before, last = last, here
    return last[-1]


def choice(words: Iterable[str]) -> str:
    """`"a", "b" or "c"`."""
    *most, last = [quoted(word) for word in words]
    return f"{', '.join(most)} or {last}" if most else last


def one_meant(value: object) -> str:
    """The text that was meant by a list of one text, or ""."""
    alone = isinstance(value, list | tuple) and len(value) == 1 and isinstance(value[0], str)
    return shown(value[0]) if alone and isinstance(value, list | tuple) else ""


def pieces(text: str) -> list[str]:
    """The members of a list that is written as one text: "GET, POST", "GET|POST"."""
    return [piece for piece in re.split(r"[\s,|]+", text) if piece]


def method_meant(value: str) -> str:
    """A method, in capitals where it is a usual one; quoted."""
    return quoted(value.upper() if value.upper() in USUAL_METHODS else value)
