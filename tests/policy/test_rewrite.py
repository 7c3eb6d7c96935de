"""Rewrites: a table, what nonsense becomes, and what is refused at load."""

import json
from pathlib import Path
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rawgate.config.model import RegexRewrite, Rewriter
from rawgate.errors import Problem
from rawgate.policy.paths import configured_path, match_key, sendable
from rawgate.policy.rewrite import Rewrite, compile_function, compile_regex, compile_swap

ROWS = [
    json.loads(line) for line in (Path(__file__).parent.parent / "cases" / "rewrites.jsonl").read_text().splitlines()
]
WHERE = ("routes", 3, "rewrite")


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["id"])
def test_table(row: dict[str, str]) -> None:
    path, problems = row["path"].encode(), list[Problem]()
    rewrite: Rewrite | None
    if "prefix" in row:
        rewrite = compile_swap(match_key(configured_path(row["prefix"])), configured_path(row["rewrite"]))
    else:
        rewrite = compile_regex(RegexRewrite(row["pattern"], row["to"]), WHERE, sendable, problems)
    assert rewrite is not None
    assert rewrite(path, match_key(path)) == row["sent"].encode()


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
    said: list[str] = []
    assert compile_function(cast("Rewriter", function), sendable, said.append)(b"/a", b"/a") == b""
    (line,) = said
    assert line.startswith("the rewrite function r")
    assert "\n" not in line


def test_function_gets_and_gives_the_path() -> None:
    rewrite = compile_function(lambda path: path.upper(), sendable, pytest.fail)
    assert rewrite(b"/a%c3/b", b"unused") == b"/A%C3/B"


@pytest.mark.parametrize(
    ("pattern", "to", "key", "words"),
    [
        ("/(", "/b", "pattern", "not a regular expression"),
        ("/a", "b", "to", "does not start with a slash"),
        ("/(a)", "/\\2", "to", "names the group '2'"),
        ("/(a)", "/\\g<id>", "to", "names the group 'id'"),
        ("/(a)", "/\\n", "to", "bad escape '\\\\n'"),
        ("/(a)", "/\\0", "to", "bad escape"),
        ("/(a)", "/a\\", "to", "bad escape"),
        ("/(a)", "/\\g<1", "to", "bad escape"),
        ("/(a)", "/x?id=\\1", "to", "cannot be sent"),
        ("/(a)", "/\u00e9", "to", "cannot be sent"),
    ],
)
def test_refused_at_load(pattern: str, to: str, key: str, words: str) -> None:
    problems: list[Problem] = []
    assert compile_regex(RegexRewrite(pattern, to), WHERE, sendable, problems) is None
    assert [problem.path for problem in problems] == [(*WHERE, key)]
    assert words in problems[0].message


_segments = st.lists(st.sampled_from(["a", "b", "c.d", "%C3%A9", "@"]), max_size=3)


@given(_segments, _segments, _segments, st.booleans(), st.booleans())
def test_a_swap_neither_doubles_nor_loses_a_slash(
    prefix: list[str], new: list[str], rest: list[str], slash: bool, new_slash: bool
) -> None:
    path = ("/" + "/".join(prefix + rest) + ("/" if slash and rest else "")).encode()
    replacement = ("/" + "/".join(new) + ("/" if new and new_slash else "")).encode()
    swap = compile_swap(match_key(("/" + "/".join(prefix)).encode()), replacement)
    sent = swap(path, match_key(path))
    assert b"//" not in sent
    assert [piece for piece in sent.split(b"/") if piece] == [piece.encode() for piece in new + rest]
    if rest:
        assert sent.endswith(b"/") == slash
