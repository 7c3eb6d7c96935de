"""Each cell of the README's comparison that is about somebody else has a line that says where it comes from."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")
PAGE = (ROOT / "rawgate/comparison.md").read_text("utf-8")

WHY = re.search(r"^## Why\n(.*?)^## ", README, re.MULTILINE | re.DOTALL)
assert WHY
HEAD, _, *ROWS = (
    [cell.strip() for cell in line.strip("|").split("|")] for line in WHY[1].splitlines() if line.startswith("|")
)
PEERS = HEAD[2:]
CELLS = [(row[0], peer, cell) for row in ROWS for peer, cell in zip(PEERS, row[2:], strict=True)]

SECTIONS = dict(re.findall(r"^## ([^\n]+)\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL))


def test_there_is_something_to_compare() -> None:
    assert HEAD[:2] == ["", "rawgate"]
    assert len(PEERS) == 5
    assert [row[0] for row in ROWS] == list(SECTIONS)


@pytest.mark.parametrize(("row", "peer", "cell"), CELLS, ids=[f"{row}-{peer}" for row, peer, _ in CELLS])
def test_a_cell_has_its_source(row: str, peer: str, cell: str) -> None:
    sources = re.findall(rf"^\| {re.escape(peer)} \| {re.escape(cell)} \| (.+) \|$", SECTIONS[row], re.MULTILINE)
    assert len(sources) == 1
    assert re.search(r"\]\([^)]+\)", sources[0])


def test_no_source_is_left_of_a_cell_that_is_gone() -> None:
    assert len(re.findall(r"^\| (?!peer \|).+ \|$", PAGE, re.MULTILINE)) == len(CELLS)


def test_the_sources_are_dated() -> None:
    for section in SECTIONS.values():
        assert section.startswith("\n| peer | cell | 2026-11, from |\n")


def test_the_figures_of_the_cases_are_those_of_the_tests() -> None:
    lanes = re.findall(
        r"^\| \w+ \| (\d+) \| (\d+) \|$", (ROOT / "tests/process/CONFORMANCE.md").read_text(), re.MULTILINE
    )
    ours = next(row[1] for row in ROWS if "cases" in row[0])
    found = re.search(r"of (\d+): \[(\d+)\]", ours)
    assert found
    assert set(lanes) == {found.groups()}
    shared = len((ROOT / "tests/cases/http_cases.jsonl").read_text("utf-8").splitlines())
    assert f"{shared} are in rawgate's list of {found[1]}" in README
