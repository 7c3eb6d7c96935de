"""The command behind `tools/fuzz`."""

import argparse
import sys
from random import Random
from time import monotonic
from traceback import format_exc
from typing import TYPE_CHECKING

from tools.fuzzing import NAMES

if TYPE_CHECKING:
    from tools.fuzzing.lanes import Lane

MOST_SHOWN = 10
"""Findings of one lane that are printed; all are counted."""


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="tools/fuzz",
        description="Fuzz the HTTP/1.1 of both sides from grammar-aware mutations, and compare independent readings.",
        epilog="Exit status 1 when anything disagreed. The same seed and count give the same inputs.",
    )
    parser.add_argument("lanes", nargs="*", default=NAMES, metavar="LANE", help=f"of {', '.join(NAMES)}; all of them")
    parser.add_argument("--inputs", type=int, default=100_000, metavar="N", help="for each lane (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="where chance begins (%(default)s)")
    parser.add_argument(
        "--atheris",
        metavar="DIRECTORY",
        help="coverage-guided instead, one lane at a time, until a finding or --inputs; new inputs are kept in the "
        "directory (needs `pip install atheris`)",
    )
    chosen = parser.parse_args()
    for name in chosen.lanes:
        if name not in NAMES:
            parser.error(f"no lane is called {name!r} (there are {', '.join(NAMES)})")
    if chosen.atheris and len(chosen.lanes) != 1:
        parser.error("--atheris takes one lane")
    return chosen


def finding_of(lane: "Lane", octets: bytes) -> str:
    """The lane's finding, or "". An exception is a finding too."""
    try:
        return lane.check(octets)
    except Exception:  # noqa: BLE001 - any exception is what fuzzing looks for
        return format_exc()


def run(name: str, inputs: int, seed: int) -> int:
    """Play one lane and print its summary line. Returns the number of findings."""
    from tools.fuzzing.lanes import LANES

    lane = LANES[name](Random(f"{name} {seed}"))  # noqa: S311 - repeatable on purpose
    began = monotonic()
    wrong = 0
    for number in range(inputs):
        octets = lane.make()
        finding = finding_of(lane, octets)
        if finding:
            wrong += 1
            if wrong <= MOST_SHOWN:
                print(f"{name} #{number}: {finding}\n  {octets!r}", flush=True)
    rate = inputs / max(monotonic() - began, 1e-9)
    print(
        f"{name}: {inputs} inputs ({lane.fast} of them for the fast lane), {wrong} disagreements, "
        f"{rate:.0f} a second, seed {seed}",
        flush=True,
    )
    return wrong


def main() -> int:
    chosen = arguments()
    if chosen.atheris:
        from tools.fuzzing.coverage import run_guided

        return run_guided(chosen.lanes[0], chosen.atheris, chosen.inputs, chosen.seed)
    return 1 if sum([run(name, chosen.inputs, chosen.seed) for name in chosen.lanes]) else 0


if __name__ == "__main__":
    sys.exit(main())
