"""The command behind `tools/witness`."""

import argparse
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from witnesses.fronts import FRONTS, Start, front_missing, rawgate
from witnesses.judge import Finding, findings
from witnesses.servers import SERVERS, Server, serving
from witnesses.spellings import KINDS, Spelling, everything

DIRECT = "nothing"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="tools/witness",
        description="For each server and each kind of spelling: how many got through to what they may not reach.",
        epilog="Exit status 1 when anything got through rawgate, or did not start. The same seed and numbers give the "
        "same spellings.",
    )
    parser.add_argument("--only", action="append", default=[], metavar="SERVER", help="this one; may be given again")
    parser.add_argument("--front", action="append", default=[], choices=FRONTS, help="this one; may be given again")
    parser.add_argument("--list", action="store_true", help="the servers, and what they need that is missing here")
    parser.add_argument(
        "--show", type=int, default=3, metavar="N", help="findings printed of each kind and server (%(default)s)"
    )
    parser.add_argument("--combined", type=int, default=400, metavar="N", help="combined paths (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="where chance begins (%(default)s)")
    parser.add_argument("--parser", choices=("fast", "h11"), default="fast", help="rawgate's lane (%(default)s)")
    chosen = parser.parse_args()
    for name in chosen.only:
        if name not in map(str, SERVERS):
            parser.error(f"no server is called {name!r} (there are {', '.join(map(str, SERVERS))})")
    return chosen


def fronts(chosen: argparse.Namespace) -> Iterator[tuple[str, Start]]:
    """The fronts that were chosen and can run here."""
    for name in chosen.front or FRONTS:
        if missing := front_missing(name):
            print(f"without {name}: {missing}")
        elif name == "rawgate":
            yield name, partial(rawgate, parser=chosen.parser)
        else:
            yield name, FRONTS[name]


@contextmanager
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="witness") as name:
        yield Path(name)


def ask(server: Server, started: dict[str, Start], spellings: Sequence[Spelling]) -> dict[str, list[Finding]]:
    """Front → findings: spellings that got through it to what this server guards."""
    found = {}
    with folder() as home, serving(server, home) as port:
        for name, start in started.items():
            with folder() as directory, start(server, port, directory) as address:
                found[name] = findings(server, address, spellings, guarded=name != DIRECT)
    return found


def row(server: Server, found: dict[str, list[Finding]]) -> str:
    counts = {name: Counter(one.spelling.kind for one in some) for name, some in found.items()}
    cells = (" · ".join(str(count[kind]) for count in counts.values()) for kind in KINDS)
    return f"| {server} | {' | '.join(cells)} |"


def list_servers(servers: Sequence[Server]) -> None:
    for server in servers:
        print(f"{server.name:20}{server.missing() or 'ready'}")


def show_findings(name: str, some: list[Finding], most: int) -> None:
    """Print the findings of a front, at most `most` of each server and kind."""
    print(f"\nthrough {name}: {len(some)}")
    shown = Counter[tuple[str, str]]()
    for one in some:
        shown[one.server, one.spelling.kind] += 1
        if shown[one.server, one.spelling.kind] <= most:
            print(f"  {one}")


def main() -> int:
    # SystemExit unwinds the context managers, which end the servers: these have process groups of their own.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    chosen = arguments()
    servers = [server for server in SERVERS if not chosen.only or server.name in chosen.only]
    if chosen.list:
        list_servers(servers)
        return 0
    spellings = everything(chosen.combined, chosen.seed)
    started = dict(fronts(chosen))
    numbers = Counter(one.kind for one in spellings)
    print(f"\nIn each cell: {' · '.join(started)}.\n")
    print(f"| server | {' | '.join(f'{kind} of {numbers[kind]}' for kind in KINDS)} |\n|---|{'---|' * len(KINDS)}")
    through, failed = dict[str, list[Finding]](), list[str]()
    for server in servers:
        if missing := server.missing():
            print(f"| {server} | {missing} |" + " |" * (len(KINDS) - 1))
            continue
        try:
            found = ask(server, started, spellings)
        except AssertionError as failure:
            failed.append(f"{server}: {failure}")
            print(f"| {server} | did not start |" + " |" * (len(KINDS) - 1))
            continue
        print(row(server, found), flush=True)
        for name, some in found.items():
            through.setdefault(name, []).extend(some)
    for name, some in through.items():
        if name != DIRECT:
            show_findings(name, some, chosen.show)
    for text in failed:
        print(f"\n{text}")
    return 1 if through.get("rawgate") or failed else 0


if __name__ == "__main__":
    sys.exit(main())
