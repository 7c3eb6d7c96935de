"""How a value is refused: one exception for all readers, and the wording that every message shares.

A message reads `what is wrong (expected …; did you mean …?)`. It repeats what was written only through `shown`, and a
reader of key material never does.
"""

import re
from collections.abc import Iterable
from typing import Final

from rawgate.config.reserved_names import USUAL_METHODS

BROKEN: Final = object()
"""Stands for a value that could not be read. Never leaves the converter."""

_SHOWN = 60
_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
_HUGE = 10**18
"""The interpreter refuses to print integers of very many digits."""


class InvalidError(Exception):
    """A value cannot be what its key asks for.

    `fallback` is the value to go on with, where one exists: the name of an upstream that is not there is still a name,
    and the rest of its route can be checked. `meant` is what the message proposes.
    """

    def __init__(self, what: str, *, expected: str = "", meant: str = "", fallback: object = BROKEN) -> None:
        self.fallback = fallback
        self.meant = meant
        super().__init__(problem_text(what, expected=expected, meant=meant))


def problem_text(what: str, *, expected: str = "", meant: str = "") -> str:
    """`what (expected …; did you mean …?)`, each part only where there is one."""
    hints = [f"expected {expected}"] if expected and expected != meant else []
    if meant:
        hints.append(f"did you mean {meant}?")
    return f"{what} ({'; '.join(hints)})" if hints else what


def shown(value: object) -> str:
    """A value as its author wrote it, short and on one line; tables and lists by their kind only."""
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
    """Text between double quotes, escaped as in TOML, cut when it is long."""
    cut = text if len(text) <= longest else text[:longest] + "…"
    escaped = cut.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(c if c.isprintable() else _escaped(c) for c in escaped) + '"'


def _escaped(character: str) -> str:
    short = _SHORT.get(character)
    code = ord(character)
    return short or (f"\\u{code:04X}" if code <= 0xFFFF else f"\\U{code:08X}")


def nearest(word: str, words: Iterable[str]) -> str:
    """The one of `words` that `word` may be a slip of, quoted; "" when there is none. A slip is a word in other letters
    or with other signs between ("rateLimit"), or one mistake for each four letters: of two short words that differ in
    more, one is not meant by the other."""
    mistakes = {other: _mistakes(plain(word), plain(other)) for other in words}
    fewest = min(mistakes.values(), default=0)
    close = [other for other, count in mistakes.items() if count == fewest]
    if len(close) != 1 or not fewest <= max(1, len(plain(close[0])) // 4) < len(plain(close[0])):
        return ""
    return quoted(close[0])


def plain(word: str) -> str:
    """A word without what tells its spellings apart: the case of letters, and "-", "_" or blanks between."""
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
    """The element that was meant by a list of one text, or ""."""
    alone = isinstance(value, list | tuple) and len(value) == 1 and isinstance(value[0], str)
    return shown(value[0]) if alone and isinstance(value, list | tuple) else ""


def pieces(text: str) -> list[str]:
    """The members of a list that is written as one text: "GET, POST", "GET|POST"."""
    return [piece for piece in re.split(r"[\s,|]+", text) if piece]


def method_meant(value: str) -> str:
    """A method in the letters that a usual one has."""
    return quoted(value.upper() if value.upper() in USUAL_METHODS else value)
