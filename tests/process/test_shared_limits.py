"""Several processes count in one limiter, and one after the other is killed. `tools/limits` does it at length."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tools.limiting.processes import ADMITTED, ASKED, REFUSED, Note, Rule
from tools.limiting.verdict import LONG, Verdict

pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(sys.platform != "linux", reason="several workers are for Linux"),
]


def limits(*arguments: str) -> subprocess.CompletedProcess[str]:
    """In a program of its own, which forks before it has any thread."""
    command = [sys.executable, "-m", "tools.limiting", *arguments]
    return subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("clients", ["1", "10000"])
def test_limits_hold_while_processes_are_killed(clients: str) -> None:
    done = limits("--hits", "40000", "--clients", clients, "--kill-every", "0.03")
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert int(re.findall(r"(\d+) killed", done.stdout)[0]) > 0


def test_limits_are_exact_where_nobody_is_killed() -> None:
    done = limits("--hits", "40000", "--clients", "1", "7", "--kill-every", "0")
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert "0 killed" in done.stdout


def test_without_locks_they_do_not_hold() -> None:
    """Or these tests would see nothing."""
    done = limits("--hits", "40000", "--clients", "1", "--kill-every", "0", "--without-locks")
    assert (done.returncode, done.stderr) == (1, ""), done.stdout


def verdict(rule: Rule, *notes: tuple[float, float, int]) -> tuple[int, int, int]:
    found = Verdict(rule)
    found.add(Note(before, after, 0, mark) for before, after, mark in notes)
    return found.too_many, found.too_few, found.lost


IN_16 = Rule(2, 16.0)
IN_LONG = Rule(2, LONG)


@pytest.mark.parametrize(
    ("rule", "notes", "expected"),
    [
        (IN_16, [(0.0, 0.1, ADMITTED), (1.0, 1.1, ADMITTED), (15.0, 16.0, ADMITTED)], (1, 0, 0)),
        (IN_16, [(0.0, 0.1, ADMITTED), (1.0, 1.1, ADMITTED), (15.0, 16.1, ADMITTED)], (0, 0, 0)),
        (IN_16, [(0.0, 0.1, ADMITTED), (1.0, 1.1, ADMITTED), (15.0, 15.1, REFUSED)], (0, 0, 0)),
        (IN_16, [(0.0, 0.1, ADMITTED), (1.0, 1.1, ADMITTED), (17.0, 17.1, REFUSED)], (0, 0, 0)),
        (IN_16, [(0.0, 0.1, ADMITTED), (1.0, 1.1, ADMITTED), (17.2, 17.3, REFUSED)], (0, 1, 0)),
        (IN_16, [(0.0, 0.1, ADMITTED), (1.0, 1.1, REFUSED)], (0, 1, 0)),
        (IN_16, [(0.0, 0.1, ADMITTED), (1.0, 1.1, ASKED), (2.0, 2.1, REFUSED)], (0, 0, 0)),
        (IN_LONG, [(0.0, 0.1, ADMITTED), (1.0, 1.1, ADMITTED), (2.0, 2.1, REFUSED)], (0, 0, 0)),
        (IN_LONG, [(0.0, 0.1, ADMITTED), (1.0, 1.1, ASKED), (2.0, 2.1, REFUSED)], (0, 0, 0)),
        (IN_LONG, [(0.0, 0.1, ADMITTED), (1.0, 1.1, ASKED), (2.0, 2.1, ADMITTED)], (0, 0, 0)),
        (IN_LONG, [(0.0, 0.1, ADMITTED), (1.0, 1.1, ADMITTED), (2.0, 2.1, ADMITTED)], (1, 0, 1)),
        (IN_LONG, [(0.0, 0.1, ADMITTED), (1.0, 1.1, REFUSED)], (0, 1, 1)),
    ],
)
def test_the_verdict(rule: Rule, notes: list[tuple[float, float, int]], expected: tuple[int, int, int]) -> None:
    assert verdict(rule, *notes) == expected
