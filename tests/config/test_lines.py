"""The scanner finds exactly the paths that `tomllib` finds, each on its line."""

import tomllib
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rawgate.config.lines import toml_lines

Path = tuple[str | int, ...]


def paths_of(value: object, path: Path = ()) -> Iterator[Path]:
    yield path
    if isinstance(value, dict):
        for key, item in value.items():
            yield from paths_of(item, (*path, key))
    elif isinstance(value, list):
        for position, item in enumerate(value):
            yield from paths_of(item, (*path, position))


TABLE: dict[str, tuple[str, dict[Path, int]]] = {
    "empty": ("", {}),
    "comments only": ("# a = 1\n\n  # [b]\n", {}),
    "pair": ("a = 1", {("a",): 1}),
    "pair after blank lines": ("\n\n\t\n  a=1", {("a",): 4}),
    "CRLF": ("a = 1\r\nb = 2\r\n", {("a",): 1, ("b",): 2}),
    "table": ("[t]\n\na = 1\n", {("t",): 1, ("t", "a"): 3}),
    "dotted header": ("[a.b]\nc = 1", {("a",): 1, ("a", "b"): 1, ("a", "b", "c"): 2}),
    "blanks and quotes in a header": ("[ a . 'b.c' ]\n", {("a",): 1, ("a", "b.c"): 1}),
    "a table written after it was implied": ("[a.b]\n[a]\n", {("a",): 2, ("a", "b"): 1}),
    "dotted key": ("a . b = 1\na.c = 2", {("a",): 1, ("a", "b"): 1, ("a", "c"): 2}),
    "quoted keys": (
        '"a b" = 1\n\'c"d\' = 2\n"" = 3\n"\\u00e9\\"" = 4',
        {("a b",): 1, ('c"d',): 2, ("",): 3, ('é"',): 4},
    ),
    "keys like numbers and dates": ("1.2 = 1\n2000-01-01 = 2", {("1",): 1, ("1", "2"): 1, ("2000-01-01",): 2}),
    "array": ("a = [1, 2]", {("a",): 1, ("a", 0): 1, ("a", 1): 1}),
    "array over lines": (
        "a = [ # ] , [\n  1,\n\n  # 5,\n  2 # ]\n  ,\n]\nb = 1",
        {("a",): 1, ("a", 0): 2, ("a", 1): 5, ("b",): 8},
    ),
    "arrays in arrays": (
        "a = [\n[],\n[\n1],]",
        {("a",): 1, ("a", 0): 2, ("a", 1): 3, ("a", 1, 0): 4},
    ),
    "inline table": ("a = { b = 1, c.d = 2 }", {("a",): 1, ("a", "b"): 1, ("a", "c"): 1, ("a", "c", "d"): 1}),
    "empty inline table": ("a = {}\nb = 1", {("a",): 1, ("b",): 2}),
    "inline tables in an array": (
        "a = [\n{b = 1},\n{b = 2}]",
        {("a",): 1, ("a", 0): 2, ("a", 0, "b"): 2, ("a", 1): 3, ("a", 1, "b"): 3},
    ),
    "array in an inline table": ("a = {b = [\n1]}", {("a",): 1, ("a", "b"): 1, ("a", "b", 0): 2}),
    "signs inside strings": ("a = \"[b]\\\"#\"\nc = '\\'\n# d = 1\ne = '#'", {("a",): 1, ("c",): 2, ("e",): 4}),
    "string over lines": ('a = """\nb = 1\n\\"""\n"""\nc = 1', {("a",): 1, ("c",): 5}),
    "literal over lines": ("a = '''\n[b]\n''c\\'''\nd = 1", {("a",): 1, ("d",): 4}),
    "quotes before the end of a string": (
        'a = """x"""""\nb = \'\'\'\'\'\'\'\'\nc = """"""',
        {("a",): 1, ("b",): 2, ("c",): 3},
    ),
    "line end escaped": ('a = """x\\\n   y"""\nb = 1', {("a",): 1, ("b",): 3}),
    "date with a blank": (
        "a = 2000-01-01 00:00:00 # x\nb = [2000-01-01 00:00:00,1]",
        {("a",): 1, ("b",): 2, ("b", 0): 2, ("b", 1): 2},
    ),
    "array of tables": (
        "[[r]]\na = 1\n[[r]]\n\n[[r]]\na = 2",
        {("r",): 1, ("r", 0): 1, ("r", 0, "a"): 2, ("r", 1): 3, ("r", 2): 5, ("r", 2, "a"): 6},
    ),
    "tables in an array of tables": (
        "[[r]]\n[r.t]\na = 1\n[[r]]\n[r.t]\na = 2",
        {
            ("r",): 1,
            ("r", 0): 1,
            ("r", 0, "t"): 2,
            ("r", 0, "t", "a"): 3,
            ("r", 1): 4,
            ("r", 1, "t"): 5,
            ("r", 1, "t", "a"): 6,
        },
    ),
    "arrays of tables in arrays of tables": (
        "[[r]]\n[[r.s]]\n[[r.s]]\n[[r]]\n[[r.s]]\n[r.s.t]",
        {
            ("r",): 1,
            ("r", 0): 1,
            ("r", 0, "s"): 2,
            ("r", 0, "s", 0): 2,
            ("r", 0, "s", 1): 3,
            ("r", 1): 4,
            ("r", 1, "s"): 5,
            ("r", 1, "s", 0): 5,
            ("r", 1, "s", 0, "t"): 6,
        },
    ),
    "array of tables under an implied table": ("[[a.r]]\n", {("a",): 1, ("a", "r"): 1, ("a", "r", 0): 1}),
}


@pytest.mark.parametrize(("text", "expected"), TABLE.values(), ids=TABLE.keys())
def test_lines(text: str, expected: dict[Path, int]) -> None:
    assert set(paths_of(tomllib.loads(text))) == {(), *expected}
    assert toml_lines(text) == {(): 1, **expected}


# Documents made by writing out a value: in every style that TOML has for each part of it, chosen at random.

KEYS = st.one_of(st.sampled_from(["a", "b", "c-1", "2"]), st.text(st.characters(codec="utf-8"), max_size=3))
STRINGS = st.text(st.sampled_from("ab\"'\\#[]{}=,.\n é"), max_size=6)
SCALARS = st.one_of(STRINGS, st.integers(-9, 99), st.booleans(), st.datetimes(), st.dates(), st.floats(allow_nan=False))
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(KEYS, inner, max_size=3)),
    max_leaves=8,
)


class Writer:
    """Writes a document, and notes for each path the line on which it writes it."""

    def __init__(self, draw: st.DrawFn) -> None:
        self.text = ""
        self.lines: dict[Path, int] = {(): 1}
        self._draw = draw

    def choose(self, *options: str) -> str:
        return self._draw(st.sampled_from(options))

    def note(self, path: Path) -> None:
        self.lines.setdefault(path, self.text.count("\n") + 1)

    def key(self, key: str) -> None:
        bare = key.isascii() and key.replace("-", "").isalnum()
        if bare and self._draw(st.booleans()):
            self.text += key
        elif "'" not in key and key.isprintable() and self._draw(st.booleans()):
            self.text += f"'{key}'"
        else:
            self.text += basic(key)

    def filler(self) -> None:
        self.text += self.choose("", "", "\n", "# x = [\n", "\t\n \n")

    def table(self, value: dict[str, object], path: Path) -> None:
        """Pairs first, then what has headers of its own."""
        later = []
        for key, item in value.items():
            if (isinstance(item, dict) or is_tables(item)) and self._draw(st.booleans()):
                later.append(key)
            else:
                self.filler()
                self.pair(key, item, path)
                self.text += self.choose("\n", "# ]\n", " \r\n")
        for key in later:
            self.headed(value[key], (*path, key))

    def headed(self, item: object, path: Path) -> None:
        if isinstance(item, dict):
            self.filler()
            self.header("[", path)
            self.table(item, path)
            return
        assert isinstance(item, list)
        for position, element in enumerate(item):
            self.filler()
            self.note(path)
            self.header("[[", path)
            self.lines[(*path, position)] = self.text.count("\n")
            self.table(element, (*path, position))

    def header(self, bracket: str, path: Path) -> None:
        if bracket == "[":
            self.note(path)
        self.text += bracket
        for number, key in enumerate(key for key in path if isinstance(key, str)):
            self.text += self.choose(".", " . ") if number else ""
            self.key(key)
        self.text += "]" * len(bracket) + "\n"

    def pair(self, key: str, item: object, path: Path) -> None:
        """In dotted form where a table has one entry."""
        path = (*path, key)
        self.note(path)
        self.key(key)
        while isinstance(item, dict) and len(item) == 1 and self._draw(st.booleans()):
            ((key, item),) = item.items()
            path = (*path, key)
            self.note(path)
            self.text += self.choose(".", " .\t")
            self.key(key)
        self.text += self.choose("=", " = ")
        self.value(item, path)

    def value(self, item: object, path: Path) -> None:
        if isinstance(item, dict):
            self.text += "{"
            for number, key in enumerate(item):
                self.text += ", " if number else " "
                self.pair(key, item[key], path)
            self.text += "}"
        elif isinstance(item, list):
            self.text += "["
            for position, element in enumerate(item):
                self.filler()
                self.note((*path, position))
                self.value(element, (*path, position))
                self.text += self.choose(",", "\n,", " # ,\n,")
            self.filler()
            self.text += "]"
        else:
            self.text += self.scalar(item)

    def scalar(self, item: object) -> str:
        if isinstance(item, bool):
            return str(item).lower()
        if not isinstance(item, str):
            return str(item)
        style = self.choose("basic", "long", "literal", "long literal")
        if style == "literal" and not set(item) & {"'", "\n"}:
            return f"'{item}'"
        if style == "long literal" and "''" not in item:
            return f"'''\n{item}'''"
        if style == "long":
            escaped = item.replace("\\", "\\\\").replace('"', '\\"')
            return f'"""\n{escaped}"""'
        return basic(item)


def is_tables(item: object) -> bool:
    return isinstance(item, list) and bool(item) and all(isinstance(element, dict) for element in item)


def basic(text: str) -> str:
    return '"' + "".join(c if c.isprintable() and c not in '"\\' else f"\\U{ord(c):08x}" for c in text) + '"'


@st.composite
def documents(draw: st.DrawFn) -> tuple[str, dict[str, object], dict[Path, int]]:
    value = draw(st.dictionaries(KEYS, VALUES, max_size=4))
    writer = Writer(draw)
    writer.table(value, ())
    return writer.text, value, writer.lines


@given(documents())
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_written_documents(document: tuple[str, dict[str, object], dict[Path, int]]) -> None:
    text, value, lines = document
    assert tomllib.loads(text) == value
    assert toml_lines(text) == lines


KEY_PATHS = st.lists(st.sampled_from(["a", "b", '"a"', "'x.y'"]), min_size=1, max_size=3).map(" . ".join)
TRICKY = ["1", "[]", "{}", "[1,]", "{ a.b = 1 }", "[{a = [2]}, {}]", '""', "[\n[\n'''#\n''' ] # ]\n]", '"""\\\n"\n"""']
STATEMENTS = st.one_of(
    KEY_PATHS.map("[{}]".format),
    KEY_PATHS.map("[[ {} ]]".format),
    st.builds("{} = {}".format, KEY_PATHS, st.sampled_from(TRICKY)),
    st.sampled_from(["", "#", "a = [", "]"]),
)


@given(st.lists(STATEMENTS, max_size=6), st.sampled_from(["\n", "\r\n", " # [a]\n\t"]))
@settings(max_examples=500, deadline=None)
def test_whatever_tomllib_accepts(statements: list[str], end: str) -> None:
    text = end.join(statements)
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return  # most of the long ones
    assert set(toml_lines(text)) == set(paths_of(document))
