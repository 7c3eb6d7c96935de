"""Rewrites: a table, what nonsense becomes, and what is refused at load."""

import json
import re
from pathlib import Path
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rawgate.config.model import Rewriter
from rawgate.errors import Problem
from rawgate.policy.paths import configured_path, match_key, sendable
from rawgate.policy.rewrite import Rewrite, compile_function, compile_regex, compile_swap

ROWS = [
    json.loads(line) for line in (Path(__file__).parent.parent / "cases" / "rewrites.jsonl").read_text().splitlines()
]
WHERE = ("routes", 3, "rewrite", "to")


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["id"])
def test_table(row: dict[str, str]) -> None:
    """A key that is given lacks parameters or repeated slashes; else it is that of the path."""
    path, problems = row["path"].encode(), list[Problem]()
    key = row["key"].encode("utf-8", "surrogateescape") if "key" in row else match_key(path)
    rewrite: Rewrite | None
    if "prefix" in row:
        rewrite = compile_swap(match_key(configured_path(row["prefix"])), configured_path(row["rewrite"]))
    else:
        rewrite = compile_regex(re.compile(row["pattern"]), row["to"], WHERE, sendable, problems)
    assert rewrite is not None
    sent = rewrite(path, key)
    assert isinstance(sent, str) if row["sent"] == "" else sent == row["sent"].encode()


def _explode(path: str) -> str:
    raise LookupError(path)


@pytest.mark.parametrize(
    "function",
    [
        lambda path: "",
        lambda path: "no-slash",
        lambda path: "//evil.test/x",
        lambda path: "http://evil.test/",
        lambda path: "/a b",
        lambda path: "/a\r\nX-User-Id: root",
        lambda path: "/a\x00",
        lambda path: "/../x",
        lambda path: "/%2e%2e/x",
        lambda path: "/a?b=c",
        lambda path: "/a#b",
        lambda path: "/\u00e9",
        lambda path: "/\ud800",
        lambda path: "/%",
        lambda path: None,
        lambda path: 7,
        lambda path: b"/bytes",
        lambda: "/takes-nothing",
        _explode,
    ],
    ids=[
        "empty",
        "no-slash",
        "network-path",
        "absolute",
        "space",
        "line-break",
        "nul",
        "dots",
        "encoded-dots",
        "query",
        "fragment",
        "not-ascii",
        "surrogate",
        "percent",
        "none",
        "number",
        "bytes",
        "wrong-arity",
        "raises",
    ],
)
def test_nonsense_from_a_function_is_no_path(function: object) -> None:
    line = compile_function(cast("Rewriter", function), sendable)(b"/a", b"/a")
    assert isinstance(line, str)
    assert line.startswith("the rewrite function r")
    assert line.isprintable()
    assert len(line) < 300


def _raises_below(path: str) -> str:
    return str(json.loads(path))


def test_the_line_that_failed_is_told() -> None:
    """That of the function itself, where what it calls is another file's."""
    for function, offset in ((_explode, 1), (_raises_below, 1)):
        said = compile_function(function, sendable)(b"/a", b"/a")
        assert str(said).endswith(f" at {__file__}:{function.__code__.co_firstlineno + offset}")
    said = compile_function(lambda path: "", sendable)(b"/a", b"/a")
    assert f" at {__file__}:" in str(said)


class _UnshowableError(Exception):
    def __repr__(self) -> str:
        raise RuntimeError("not even this")


def _fails_twice(path: str) -> str:
    raise _UnshowableError


class _TwoLines:
    def __repr__(self) -> str:
        return "two\nlines"


def test_what_is_shown_stays_on_one_line_and_whole() -> None:
    said = compile_function(lambda path: cast("str", _TwoLines()), sendable)(b"/a", b"/a")
    assert str(said).startswith("the rewrite function returned two\\nlines, which is")


def test_what_cannot_be_shown_is_a_failure_like_any_other() -> None:
    said = compile_function(_fails_twice, sendable)(b"/a", b"/a")
    assert str(said).startswith("the rewrite function raised a _UnshowableError that cannot be shown at ")
    said = compile_function(lambda path: cast("str", _UnshowableError()), sendable)(b"/a", b"/a")
    assert str(said).startswith("the rewrite function returned a _UnshowableError that cannot be shown, ")


def test_function_gets_and_gives_the_path() -> None:
    rewrite = compile_function(lambda path: path.upper(), sendable)
    assert rewrite(b"/a%c3/b", b"unused") == b"/A%C3/B"


@pytest.mark.parametrize(
    ("pattern", "to", "words"),
    [
        ("/a", "b", "does not start with a slash"),
        ("/(a)", "/\\2", "names the group '2'"),
        ("/(a)", "/\\g<id>", "names the group 'id'"),
        ("/(a)", "/\\n", "bad escape '\\\\n'"),
        ("/(a)", "/\\0", "bad escape"),
        ("/(a)", "/a\\", "bad escape"),
        ("/(a)", "/\\g<1", "bad escape"),
        ("/(a)", "/x?id=\\1", "cannot be sent"),
        ("/(a)", "/\u00e9", "cannot be sent"),
        ("/(.*)", "//\\1", "never makes a path"),
        ("/(.*)", "//evil.test/\\1", "never makes a path"),
        ("/(.*)", "/../\\1", "never makes a path"),
        ("/(.*)", "/\\1/..", "never makes a path"),
        ("/(.*)", "/a/%2e%2E/\\1", "never makes a path"),
        ("/(.*)", "/..;\\1", "never makes a path"),
        ("/(.*)", "/a\\1/%zz", "never makes a path"),
        ("/(.*)", "/\\1%", "never makes a path"),
        ("/(.*)", "/b%0\\1", "never makes a path"),
        ("/(.*)", "/b/./c", "never makes a path"),
        ("/(.*)(.*)", "/\\1/../\\2", "never makes a path"),
    ],
)
def test_refused_at_load(pattern: str, to: str, words: str) -> None:
    problems: list[Problem] = []
    assert compile_regex(re.compile(pattern), to, WHERE, sendable, problems) is None
    (problem,) = problems
    assert problem.path == WHERE
    assert words in problem.message


@pytest.mark.parametrize(
    ("to", "captured"),
    [
        ("/..\\1", "x"),
        ("/.\\1", "well-known"),
        ("/%\\1", "7E"),
        ("/%4\\1", "0"),
        ("/%2e%2\\1", "1"),
        ("/%\\1/..\\1", "7E"),
        ("/\\1./", "a"),
        ("/a\\1", "//"),
        ("/\\1/b", "a"),
    ],
)
def test_what_some_path_makes_good_is_not_refused(to: str, captured: str) -> None:
    rewrite = compile_regex(re.compile("/(.*)"), to, WHERE, sendable, [])
    assert rewrite is not None
    path = f"/{captured}".encode()
    assert rewrite(path, path) == to.replace("\\1", captured).encode()


def test_a_pattern_that_makes_nonsense_is_told() -> None:
    rewrite = compile_regex(re.compile("/api(.*)"), "/\\1", WHERE, sendable, [])
    assert rewrite is not None
    said = "the rewrite pattern made '//x', which is no path that can be sent"
    assert rewrite(b"/api/x", b"/api/x") == said
    assert rewrite(b"/apix", b"/apix") == b"/x"
    assert rewrite(b"/other", b"/other") == b"/other"


_segments = st.lists(st.sampled_from(["a", "b", "c.d", "%C3%A9", "@"]), max_size=3)


@given(_segments, _segments, _segments, st.booleans(), st.booleans())
def test_a_swap_neither_doubles_nor_loses_a_slash(
    prefix: list[str], new: list[str], rest: list[str], slash: bool, new_slash: bool
) -> None:
    path = ("/" + "/".join(prefix + rest) + ("/" if slash and rest else "")).encode()
    replacement = ("/" + "/".join(new) + ("/" if new and new_slash else "")).encode()
    swap = compile_swap(match_key(("/" + "/".join(prefix)).encode()), replacement)
    sent = swap(path, match_key(path))
    assert isinstance(sent, bytes)
    assert b"//" not in sent
    assert [piece for piece in sent.split(b"/") if piece] == [piece.encode() for piece in new + rest]
    if rest:
        assert sent.endswith(b"/") == slash


# The key with and without parameters and repeated slashes: `_segments` of a path, each in both spellings.

_spelt = st.sampled_from([("a", "a"), ("@", "%40"), (";", "%3b"), ("é", "%C3%A9"), ("%2F", "%2f"), ("x.y", "x.y")])
_names = st.lists(_spelt, min_size=1, max_size=3)
_pieces = st.tuples(
    st.sampled_from(["/", "/", "//", "/;/", "/;p//;q/"]), _names, st.sampled_from(["", ";", ";v=%2f;w"])
)


def _key(pieces: list[tuple[str, list[tuple[str, str]], str]]) -> str:
    return "".join("/" + "".join(key for key, _ in names) for _, names, _ in pieces)


def _path(pieces: list[tuple[str, list[tuple[str, str]], str]]) -> str:
    return "".join(slash + "".join(path for _, path in names) + parameter for slash, names, parameter in pieces)


@given(st.lists(_pieces, min_size=1, max_size=3), st.lists(_pieces, max_size=3))
def test_a_prefix_ends_in_the_path_where_it_ends_in_the_key(
    prefix: list[tuple[str, list[tuple[str, str]], str]], rest: list[tuple[str, list[tuple[str, str]], str]]
) -> None:
    path, key = (_path(prefix) + _path(rest)).encode(), (_key(prefix) + _key(rest)).encode()
    assert compile_swap(_key(prefix).encode(), b"/new")(path, key) == b"/new" + _path(rest).encode()


@given(st.lists(_pieces, min_size=1, max_size=4))
def test_a_group_is_sent_as_its_segment_came(pieces: list[tuple[str, list[tuple[str, str]], str]]) -> None:
    pattern = re.compile("/([^/]+)" * len(pieces))
    to = "".join(f"/\\{group}" for group in range(1, len(pieces) + 1))
    rewrite = compile_regex(pattern, to, WHERE, lambda path: True, [])
    assert rewrite is not None
    expected = _path([("/", names, parameter) for _, names, parameter in pieces])
    assert rewrite(_path(pieces).encode(), _key(pieces).encode()) == expected.encode()
