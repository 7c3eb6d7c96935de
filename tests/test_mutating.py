"""`tools/mutate`: what it changes, what it draws, and that its list of changes without effect is true to the source."""

import ast
import sys
from pathlib import Path

import pytest

from tools.mutating import listed
from tools.mutating.__main__ import Outcome, drawn, modules, report
from tools.mutating.changes import Mutant, mutants
from tools.mutating.scratch import LATE

ROOT = Path(__file__).parents[1]

SOURCE = '''\
LIMIT = 5


class Book:
    """A made-up module, with a name that is not ASCII: Bücher."""

    def __init__(self) -> None:
        self.count = 0

    def lend(self, who: str, days: int = 1) -> bool:
        assert days > 0
        if not who or days > LIMIT:  # Bücher
            raise ValueError(f"{days + 1} for {who}")
        self.last = who
        self.count += 1
        self.told(
            who,
            most=days - 1,
        )
        while who:
            break
        return self.open(who)

    def find(self, shelf: list[int]) -> int | None:
        found = [book for book in shelf if book == 1]
        found = found[:2]
        return found[0] if found else None

    def __repr__(self) -> str:
        return str(self.count + 1)
'''

CHANGES = [
    "self.count = 0 → self.count = 1",
    "if not who or days > LIMIT: → if not who and days > LIMIT:",
    "if not who or days > LIMIT: → if not (not who or days > LIMIT):",
    "if not who or days > LIMIT: → if who or days > LIMIT:",
    "if not who or days > LIMIT: → if not who or days >= LIMIT:",
    "raise ValueError(f'{days + 1} for {who}') → pass",
    "self.last = who → pass",
    "self.count += 1 → pass",
    "self.count += 1 → self.count -= 1",
    "self.count += 1 → self.count += 2",
    "self.told(who, most=days - 1) → pass",
    "self.told(who, most=days - 1) → self.told(who, most=days + 1)",
    "self.told(who, most=days - 1) → self.told(who, most=days - 2)",
    "while who: → while not who:",
    "break → pass",
    "return self.open(who) → return not (self.open(who))",
    "found = [book for book in shelf if book == 1] → pass",
    "found = [book for book in shelf if book == 1] → found = [book for book in shelf if book != 1]",
    "found = [book for book in shelf if book == 1] → found = [book for book in shelf if book == 2]",
    "found = found[:2] → pass",
    "found = found[:2] → found = found[:3]",
    "return found[0] if found else None → return None",
    "return found[0] if found else None → return found[0] if not found else None",
    "return found[0] if found else None → return found[1] if found else None",
]


@pytest.fixture
def made(tmp_path: Path) -> list[Mutant]:
    (tmp_path / "book.py").write_text(SOURCE, "utf-8")
    return mutants(tmp_path, "book.py")


def test_every_operator_constant_condition_and_statement_is_changed_once(made: list[Mutant]) -> None:
    assert [mutant.change for mutant in made] == CHANGES
    assert {mutant.function for mutant in made} == {"Book.__init__", "Book.lend", "Book.find"}


def test_a_changed_module_is_the_change_and_nothing_else(made: list[Mutant]) -> None:
    for mutant in made:
        before, _, after = mutant.change.partition(" → ")
        old, new = SOURCE.splitlines(), mutant.source.decode().splitlines()
        first, last = mutant.lines
        assert new[: first - 1] == old[: first - 1]
        assert new[len(new) - (len(old) - last) :] == old[last:]
        assert " ".join(ast.unparse(ast.parse(mutant.source)).split()) != " ".join(
            ast.unparse(ast.parse(SOURCE)).split()
        )
        assert before != after


def test_two_that_read_alike_in_one_function_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "twice.py").write_text("def twice() -> None:\n    call()\n    call()\n")
    assert [mutant.change for mutant in mutants(tmp_path, "twice.py")] == ["call() → pass", "call() → pass (2)"]


def test_what_is_drawn_depends_on_the_seed_and_not_on_the_lines(made: list[Mutant], tmp_path: Path) -> None:
    chosen = drawn(made, 8, seed=1)
    assert len(chosen) == 8
    assert [listed.key(mutant) for mutant in drawn(made, 8, seed=2)] != [listed.key(mutant) for mutant in chosen]
    (tmp_path / "book.py").write_text("import ast\n\n" + SOURCE, "utf-8")
    moved = drawn(mutants(tmp_path, "book.py"), 8, seed=1)
    assert [listed.key(mutant) for mutant in moved] == [listed.key(mutant) for mutant in chosen]


def test_survivors_are_accepted_when_listed_and_listed_ones_must_survive(
    made: list[Mutant], capsys: pytest.CaptureFixture[str]
) -> None:
    first, second, third, fourth = made[:4]
    good = [Outcome(first, 1), Outcome(second, 0), Outcome(third, LATE), Outcome(fourth, 2)]
    same = {listed.key(second): "a reason"}
    assert report(good, same)
    assert [line.split() for line in capsys.readouterr().out.splitlines() if line.startswith("all")] == [
        ["all", "4", "3", "1", "1", "0"]
    ]
    assert not report(good, {})
    assert f"survived\n    book.py:12 Book.lend\n    {second.change}" in capsys.readouterr().out
    assert not report([Outcome(second, 1)], same)
    assert "noticed, though" in capsys.readouterr().out
    assert not report([Outcome(first, None)], {})
    assert "no test runs it" in capsys.readouterr().out


def test_an_entry_of_the_list_says_why() -> None:
    text = '[[same]]\nmodule = "m"\nfunction = "f"\nchange = "a → b"\n'
    assert listed.read(text + 'why = "because"\n') == {listed.Key("m", "f", "a → b"): "because"}
    for wrong in (text, text + 'why = ""\n', text + 'why = "because"\nline = 3\n'):
        with pytest.raises(ValueError, match="an entry has"):
            listed.read(wrong)


@pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="other versions write a statement in other words")
def test_the_list_names_only_what_can_be_changed() -> None:
    same = listed.read(listed.FILE.read_text("utf-8"))
    named = {key.module for key in same}
    assert named <= set(modules())
    assert listed.stale(same, [mutant for module in named for mutant in mutants(ROOT, module)]) == []
