"""The command behind `tools/limits`: four processes count together, one of them is killed again and again."""

import argparse
import sys
import time
from collections.abc import Sequence

from tools.limiting.processes import Crowd, Rule
from tools.limiting.verdict import LONG, Verdict


def rules_for(hits: int, clients: int) -> tuple[Rule, ...]:
    """A short window that is full again and again, and one that no run outlasts."""
    each = hits // clients // 2
    return Rule(max(1, min(100, each // 16)), 0.25), Rule(max(1, each // 3), LONG)


def play(processes: int, hits: int, clients: int, kill_every: float | None, locked: bool) -> bool:
    """Run it and print the table. Returns whether the limits held."""
    crowd = Crowd(processes, hits, clients, rules_for(hits, clients), locked)
    began = time.monotonic()
    crowd.run(kill_every, most=60 + hits / 5000)
    seconds = time.monotonic() - began
    verdicts = [Verdict(rule) for rule in crowd.rules]
    for number, notes in crowd.notes():
        verdicts[number].add(notes)
    done = sum(verdict.hits for verdict in verdicts)
    print(
        f"\n{done:,} hits by {clients:,} clients in {processes} processes, {seconds:.1f} s; {crowd.kills} killed, "
        f"{crowd.found} of them with a lock; {crowd.evicted} evicted"
    )
    print("     max  window s      hits  admitted  unknown  most in a window  too many  too few  lost")
    for verdict in verdicts:
        print(
            f"{verdict.rule.maximum:8,}{verdict.rule.window:10g}{verdict.hits:10,}{verdict.admitted:10,}"
            f"{verdict.unknown:9,}{verdict.peak:18,}{verdict.too_many:10,}{verdict.too_few:9,}{verdict.lost:6,}",
            flush=True,
        )
    return done >= hits and not crowd.evicted and all(verdict.holds for verdict in verdicts)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="tools/limits", description="Processes that count together and are killed: does the limit hold exactly?"
    )
    parser.add_argument("--hits", type=int, default=1_000_000, help="of each run (1000000)")
    parser.add_argument("--processes", type=int, default=4, help="that count at a time (4)")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 10_000], help="a run for each number (1 10000)")
    parser.add_argument("--kill-every", type=float, default=0.05, metavar="S", help="seconds; 0: nobody (0.05)")
    parser.add_argument("--without-locks", action="store_true", help="to see that this is noticed")
    chosen = parser.parse_args(arguments)
    held = [
        play(chosen.processes, chosen.hits, clients, chosen.kill_every or None, not chosen.without_locks)
        for clients in chosen.clients
    ]
    return 0 if all(held) else 1


if __name__ == "__main__":
    sys.exit(main())
