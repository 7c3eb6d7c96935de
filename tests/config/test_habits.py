"""What people write who come from elsewhere, and what `check` says to it: `tests/cases/config_habits.toml`."""

import tomllib
from pathlib import Path
from typing import Any

import pytest

from config.test_report import ENVIRON, REST, brings
from rawgate.config.invalid import nearest
from rawgate.config.load import load_content
from rawgate.errors import ConfigError
from rawgate.serve.load import compile_draft

CASES = tomllib.loads((Path(__file__).parents[1] / "cases" / "config_habits.toml").read_text("utf-8"))["case"]


def said(folder: Path, snippet: str, *, alone: bool = False) -> list[str]:
    """The lines of `check`, without the file's name; `alone`: as it stands, without what it leaves out."""
    file = folder / "c.toml"
    # A verifier that no route asks for would be told of: the route here asks for it, and with open ones it is left out.
    rest = {**REST, "routes": REST["routes"].replace("none", "jwt.main")}
    if brings(snippet, "routes") and 'auth = "none"' in snippet:
        del rest["jwt"]
    added = [] if alone else [text for section, text in rest.items() if not brings(snippet, section)]
    content = "\n".join([snippet.rstrip("\n"), *added]).encode()
    file.write_bytes(content)
    try:
        draft = load_content(file, content, ENVIRON)
        lines = compile_draft(draft, new_id=lambda: "0" * 32, date=lambda: b"now").warnings
    except ConfigError as error:
        lines = tuple(error.lines)
    return [line.removeprefix(f"{file}:") for line in lines]


@pytest.mark.parametrize("case", CASES, ids=[case["toml"].replace("\n", " ")[-60:] for case in CASES])
def test_habit(tmp_path: Path, case: dict[str, Any]) -> None:
    assert said(tmp_path, case["toml"], alone=case.get("alone", False)) == case["says"]


def test_nothing_of_a_secret_is_said(tmp_path: Path) -> None:
    """Whatever it looks like, unless it is the name of something that is there."""
    for secret in (
        "$2b$12$abcdefghijklmnopqrstuv",
        "${ABC}",
        "HUNTER2HUNTER2",
        "/hunter2/x",
        "@hunter2",
        "env.HUNTER2",
    ):
        (line,) = said(tmp_path, f'[jwt.main]\nalgorithm = "HS256"\nsecret = "{secret}"\n')
        assert "unter2" not in line.lower()
        assert "did you mean" not in line


@pytest.mark.parametrize(
    ("start", "said"),
    [
        ("utf-8-sig", "starts with a byte-order mark (expected UTF-8 without one)"),
        ("utf-16", "is text in UTF-16, as PowerShell writes it (expected UTF-8)"),
    ],
)
def test_what_editors_put_before_a_text(tmp_path: Path, start: str, said: str) -> None:
    draft = load_content(tmp_path / "c.toml", "a = 1".encode(start), {})
    assert draft.report(draft.problems) == [f"{tmp_path}/c.toml:1: {said}"]


@pytest.mark.parametrize(
    ("word", "words", "meant"),
    [
        ("path", ["auth", "name"], ""),
        ("hots", ["host", "case"], '"host"'),
        ("rateLimit", ["rate_limit"], '"rate_limit"'),
        ("ES256", ["HS256", "RS256"], ""),
        ("user", ["user1", "user2"], ""),
        ("connect_timeuot", ["connect_timeout", "total_timeout"], '"connect_timeout"'),
        ("a", ["b"], ""),
        ("x", [], ""),
    ],
)
def test_a_proposal_is_a_slip_or_none_is_made(word: str, words: list[str], meant: str) -> None:
    assert nearest(word, words) == meant
