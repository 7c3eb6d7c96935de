"""The command behind `tools/mutate`."""

import argparse
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from queue import SimpleQueue
from tempfile import TemporaryDirectory
from typing import NamedTuple

from tools.mutating import ROOMS, TESTS, listed
from tools.mutating.changes import Mutant, mutants
from tools.mutating.covering import Covering
from tools.mutating.scratch import LATE, Scratch

ROOT = Path(__file__).parents[2]

AT_ONCE = 2
"""Test runs at the same time."""


class Outcome(NamedTuple):
    """status: pytest's, LATE, or None: no test runs the statement."""

    mutant: Mutant
    status: int | str | None

    @property
    def survived(self) -> bool:
        return self.status in (0, None)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="tools/mutate",
        description="Change the program in one small place at a time, run the quick tests that come by there, and "
        "tell which changes no test notices.",
        epilog="Exit status 1 when one survived that tools/mutating/equivalent.toml does not list, or when that list "
        "is wrong. The same seed draws the same changes as long as their statements stay as they are.",
    )
    parser.add_argument(
        "modules", nargs="*", metavar="MODULE", help=f"as rawgate/wire/body.py; all of {', '.join(ROOMS)}"
    )
    parser.add_argument("--count", type=int, default=320, metavar="N", help="changes that are drawn (%(default)s)")
    parser.add_argument("--all", action="store_true", help="every change, none drawn")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="where chance begins (%(default)s)")
    parser.add_argument("--match", default="", metavar="TEXT", help="only changes with this in their place or text")
    parser.add_argument("--seconds", type=float, default=20, metavar="N", help="for one test (%(default)s)")
    parser.add_argument("--list", action="store_true", help="print the changes, and try none")
    return parser.parse_args()


def drawn(possible: Sequence[Mutant], count: int, seed: int) -> list[Mutant]:
    """Chosen by what they are, not by where they stand: a change elsewhere in a module draws the same ones."""

    def chance(mutant: Mutant) -> bytes:
        return sha256(f"{seed} {listed.key(mutant)}".encode()).digest()

    return sorted(sorted(possible, key=chance)[:count], key=possible.index)


def modules() -> list[str]:
    return [str(path.relative_to(ROOT)) for room in ROOMS for path in sorted((ROOT / "rawgate" / room).rglob("*.py"))]


def test_files() -> list[str]:
    return [
        str(path.relative_to(ROOT)) for room in TESTS for path in sorted((ROOT / "tests" / room).rglob("test_*.py"))
    ]


def play(chosen: Sequence[Mutant], seconds: float) -> Iterator[Outcome]:
    """Try each, two at a time, in their order."""
    with TemporaryDirectory(prefix="rawgate-mutate-") as name, ThreadPoolExecutor(AT_ONCE) as pool:
        directory = Path(name)
        free = SimpleQueue[Scratch]()
        for number in range(AT_ONCE):
            scratch = Scratch(ROOT, directory / str(number))
            scratch.compile(test_files())
            free.put(scratch)
        covering = Covering()

        def watch(file: str) -> None:
            scratch = free.get()
            covering.watch(scratch, file, directory / f"{file.replace('/', '.')}.coverage")
            free.put(scratch)

        def attempt(mutant: Mutant) -> Outcome:
            files = covering.files(mutant)
            if not files:
                return Outcome(mutant, None)
            scratch = free.get()
            status: int | str | None = None
            # The first alone: it mostly notices, and reading all of them takes longer than running it.
            for some in (files[:1], files[1:]):
                if some and status in (0, None):
                    status = scratch.try_out(mutant.module, mutant.source, some, seconds)
            free.put(scratch)
            return Outcome(mutant, status)

        list(pool.map(watch, test_files()))
        yield from pool.map(attempt, chosen)


def report(outcomes: Sequence[Outcome], same: dict[listed.Key, str]) -> bool:
    """Print the table and what is wrong. Whether all is well."""
    columns = ("changes", "noticed", "late", "listed", "survived")
    counts: dict[str, Counter[str]] = {}
    wrong = []
    for outcome in outcomes:
        mutant = outcome.mutant
        accepted = listed.key(mutant) in same
        count = counts.setdefault(mutant.module, Counter())
        count["changes"] += 1
        if outcome.survived:
            count["listed" if accepted else "survived"] += 1
        else:
            count["noticed"] += 1
            count["late"] += outcome.status == LATE
        if outcome.survived and not accepted:
            unseen = ": no test runs it" if outcome.status is None else ""
            wrong.append(f"survived{unseen}\n    {mutant.place}\n    {mutant.change}")
        elif accepted and not outcome.survived:
            wrong.append(f"noticed, though equivalent.toml lists it\n    {mutant.place}\n    {mutant.change}")
    print(f"\n{'module':32}" + "".join(f"{name:>10}" for name in columns))
    for module, count in [*counts.items(), ("all", sum(counts.values(), Counter()))]:
        print(f"{module:32}" + "".join(f"{count[name]:10,}" for name in columns))
    for text in wrong:
        print(f"\n{text}")
    return not wrong


def main() -> int:
    chosen = arguments()
    named = chosen.modules or modules()
    possible = [mutant for module in named for mutant in mutants(ROOT, module)]
    same = listed.read(listed.FILE.read_text("utf-8"))
    old = listed.stale([entry for entry in same if entry.module in named], possible)
    for module, function, change in old:
        print(f"equivalent.toml lists what cannot be changed any more\n    {module} {function}\n    {change}")
    matching = [mutant for mutant in possible if chosen.match in f"{mutant.place} {mutant.change}"]
    tried = matching if chosen.all or chosen.match else drawn(matching, chosen.count, chosen.seed)
    if chosen.list:
        for mutant in tried:
            print(f"{mutant.place}\n    {mutant.change}")
        return 0
    outcomes = []
    for outcome in play(tried, chosen.seconds):
        outcomes.append(outcome)
        if outcome.survived and listed.key(outcome.mutant) not in same:
            print(f"{len(outcomes)}/{len(tried)} {outcome.mutant.place}\n    {outcome.mutant.change}", flush=True)
    return 0 if report(outcomes, same) and not old else 1


if __name__ == "__main__":
    sys.exit(main())
