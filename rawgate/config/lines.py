"""Finds the line of each key in a TOML document. `tomllib` reads the values, but does not tell where they are.

The scanner reads only documents that `tomllib` has accepted, so it checks nothing. It follows keys, brackets and
strings and skips the rest. A property holds its promise: it finds exactly the paths that `tomllib` finds, of every
table, array, element and value.

    document   = (blank | comment | header | pair)*
    header     = "[" key "]" | "[[" key "]]"        a table's line is its header's, or the first that implies it
    pair       = key "=" value                      a value's line is the one its key, or its element, begins on
    value      = string | array | inline table | anything up to a comma, a bracket, a comment or the line's end
"""

import re
import tomllib
from bisect import bisect_right

from rawgate.errors import Key

Path = tuple[Key, ...]

_SPACE = re.compile(r"[ \t]*")
_BLANK = re.compile(r"(?:[ \t\n]|#[^\n]*)*")
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_STRING = re.compile(
    r'"""(?:[^\\]|\\.)*?"{3,5}'  # ends at the last of up to five quotes: two may belong to the content
    r"|'''.*?'{3,5}"
    r'|"(?:[^"\\]|\\.)*"'
    r"|'[^']*'",
    re.DOTALL,
)
_SCALAR = re.compile(r"[^,\]}#\n]+")


def toml_lines(text: str) -> dict[Path, int]:
    """Key path → line, from 1, of a document that `tomllib` accepts. The document itself is `()`, on line 1."""
    scanner = _Scanner(text.replace("\r\n", "\n"))
    scanner.document()
    return scanner.lines


class _Scanner:
    def __init__(self, text: str) -> None:
        self.lines: dict[Path, int] = {(): 1}
        self._text = text
        self._at = 0
        self._starts = [0, *(match.end() for match in re.finditer("\n", text))]
        self._elements: dict[Path, int] = {}

    def document(self) -> None:
        table: Path = ()
        self._skip(_BLANK)
        while self._at < len(self._text):
            if self._peek("["):
                table = self._header()
            else:
                self._pair(table)
            self._skip(_BLANK)

    def _header(self) -> Path:
        line = self._line()
        element = self._peek("[[")
        self._at += 2 if element else 1
        *parents, last = self._key()
        self._skip(_SPACE)
        self._at += 2 if element else 1
        path: Path = ()
        for part in parents:
            path = self._last_element((*path, part))
            self.lines.setdefault(path, line)
        path = (*path, last)
        if not element:
            # A longer header may have implied this table before; its own header is the better line.
            self.lines[path] = line
            return path
        self.lines.setdefault(path, line)
        self._elements[path] = self._elements.get(path, 0) + 1
        path = self._last_element(path)
        self.lines[path] = line
        return path

    def _last_element(self, path: Path) -> Path:
        """The path that a header means: inside an array of tables, that of the last element."""
        count = self._elements.get(path)
        return path if count is None else (*path, count - 1)

    def _pair(self, table: Path) -> None:
        line = self._line()
        path = table
        for part in self._key():
            path = (*path, part)
            self.lines.setdefault(path, line)
        self._skip(_SPACE)
        self._at += 1  # the equals sign
        self._skip(_SPACE)
        self._value(path)

    def _key(self) -> list[str]:
        parts = []
        while True:
            self._skip(_SPACE)
            parts.append(self._key_part())
            self._skip(_SPACE)
            if not self._peek("."):
                return parts
            self._at += 1

    def _key_part(self) -> str:
        if self._peek('"') or self._peek("'"):
            # `tomllib` reads the escapes.
            return str(tomllib.loads(f"key = {self._take(_STRING)}")["key"])
        return self._take(_BARE_KEY)

    def _value(self, path: Path) -> None:
        if self._peek('"') or self._peek("'"):
            self._take(_STRING)
        elif self._peek("["):
            self._array(path)
        elif self._peek("{"):
            self._inline_table(path)
        else:
            self._take(_SCALAR)

    def _array(self, path: Path) -> None:
        self._at += 1
        position = 0
        self._skip(_BLANK)
        while not self._peek("]"):
            element = (*path, position)
            self.lines[element] = self._line()
            self._value(element)
            position += 1
            self._separator()
        self._at += 1

    def _inline_table(self, path: Path) -> None:
        self._at += 1
        self._skip(_BLANK)
        while not self._peek("}"):
            self._pair(path)
            self._separator()
        self._at += 1

    def _separator(self) -> None:
        self._skip(_BLANK)
        if self._peek(","):
            self._at += 1
            self._skip(_BLANK)

    def _line(self) -> int:
        return bisect_right(self._starts, self._at)

    def _peek(self, mark: str) -> bool:
        return self._text.startswith(mark, self._at)

    def _skip(self, pattern: re.Pattern[str]) -> None:
        match = pattern.match(self._text, self._at)
        self._at = match.end() if match else self._at

    def _take(self, pattern: re.Pattern[str]) -> str:
        match = pattern.match(self._text, self._at)
        assert match is not None, f"line {self._line()} is not TOML"  # noqa: S101 (the caller's promise)
        self._at = match.end()
        return match[0]
