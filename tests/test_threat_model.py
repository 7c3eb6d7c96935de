"""The threat model: what it says holds a sentence is there."""

import re
from pathlib import Path

import pytest

import rawgate

ROOT = Path(__file__).parents[1]
PAGE = Path(rawgate.__file__).with_name("threat-model.md").read_text("utf-8")
TESTS = sorted(set(re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", PAGE)))
DEFENDED = PAGE.split("## What is defended against")[1].split("## ")[0]


@pytest.mark.parametrize(("file", "name"), TESTS, ids=[name for _, name in TESTS])
def test_what_holds_a_sentence_is_there(file: str, name: str) -> None:
    assert re.search(rf"^ *(?:async )?def {name}\(", (ROOT / file).read_text("utf-8"), re.MULTILINE)


def test_every_defence_is_held_by_a_test() -> None:
    rows = [line.split(" | ") for line in DEFENDED.splitlines() if line.startswith("| ")][1:]
    assert len(rows) > 12
    assert [row[0] for row in rows if "`tests/" not in row[-1]] == []


def test_it_is_a_page() -> None:
    assert len(PAGE.splitlines()) <= 70
