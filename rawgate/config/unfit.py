"""How a value is refused: one exception for all readers, and the wording that every message shares.

A message reads `what is wrong (expected …; did you mean …?)`. It repeats what was written only through `shown`, and a
reader of key material never does.
"""

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Final

BROKEN: Final = object()
"""Stands for a value that could not be read. Never leaves the converter."""

_SHOWN = 60
_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
_HUGE = 10**18
"""The interpreter refuses to print integers of very many digits."""


class UnfitError(Exception):
    """A value cannot be what its key asks for.

    `instead` is the value to go on with, where one exists: the name of an upstream that is not there is still a name,
    and the rest of its route can be checked.
    """

    def __init__(self, what: str, *, expected: str = "", meant: str = "", instead: object = BROKEN) -> None:
        self.instead = instead
        super().__init__(worded(what, expected=expected, meant=meant))


def worded(what: str, *, expected: str = "", meant: str = "") -> str:
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


def quoted(text: str) -> str:
    """Text between double quotes, escaped as in TOML, cut when it is long."""
    cut = text if len(text) <= _SHOWN else text[:_SHOWN] + "…"
    escaped = cut.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(c if c.isprintable() else _escaped(c) for c in escaped) + '"'


def _escaped(character: str) -> str:
    short = _SHORT.get(character)
    code = ord(character)
    return short or (f"\\u{code:04X}" if code <= 0xFFFF else f"\\U{code:08X}")


def nearest(word: str, words: Iterable[str]) -> str:
    """The closest of `words`, quoted, or "" when none is close."""
    spellings = {other.lower(): other for other in words}
    close = get_close_matches(word.lower(), spellings, n=1)
    return quoted(spellings[close[0]]) if close else ""


def choice(words: Iterable[str]) -> str:
    """`"a", "b" or "c"`."""
    *most, last = [quoted(word) for word in words]
    return f"{', '.join(most)} or {last}" if most else last
