"""The command behind `tools/storms`."""

import argparse
import platform
import sys
import time
from collections.abc import Iterator, Sequence
from datetime import date
from functools import partial
from pathlib import Path

import msgspec
import uvloop

from harness.upstreams import Upstreams
from tools.storming.clients import Clients
from tools.storming.contenders import CONTENDERS, Contender
from tools.storming.report import Figures, figures, tables
from tools.storming.storms import CALM, RATE, STORMS, TARGETS, Storm

SETTLE = 2.5
"""Seconds between the start of a gateway and the first request: time for its first checks."""


def play(storm: Storm, contender: Contender, bed: Upstreams, rate: float, workers: int) -> Figures:
    """One storm before one gateway, from its start to its end."""
    bed.reset()
    loop = uvloop.new_event_loop()
    with contender.start(bed.ports, workers, storm.zoned) as port:
        began = time.monotonic() + SETTLE
        for act in storm.acts:
            loop.call_later(SETTLE + act.at, partial(bed.tell, act.targets, **act.changes))
        clients = Clients(loop, port, rate, began, storm.seconds, loop.stop)
        loop.run_forever()
        clients.close()
        seen = bed.seen()
    loop.close()
    return figures(storm, contender.name, began, clients.answered, seen, clients.late)


def played(storms: Sequence[Storm], contenders: Sequence[Contender], rate: float, workers: int) -> Iterator[Figures]:
    with Upstreams(TARGETS, CALM) as bed:
        for storm in storms:
            for contender in contenders:
                print(f"{storm.name} before {contender.name}: {storm.seconds:.0f} s", file=sys.stderr, flush=True)
                yield play(storm, contender, bed, rate, workers)


def main(arguments: Sequence[str] | None = None) -> None:
    names = [storm.name for storm in STORMS]
    gateways = [contender.name for contender in CONTENDERS]
    parser = argparse.ArgumentParser(
        prog="tools/storms",
        description="Storms over failing targets, before one gateway after the other: what clients and targets saw.",
        epilog="; ".join(f"{storm.name}: {storm.says}" for storm in STORMS),
    )
    parser.add_argument("storms", nargs="*", metavar="STORM", help=f"of {', '.join(names)}; none: all")
    parser.add_argument("--gateway", action="append", choices=gateways, help="only this one; may be said again")
    parser.add_argument("--rate", type=float, default=RATE, help=f"requests a second ({RATE:.0f})")
    parser.add_argument("--workers", type=int, default=2, help="processes or threads of each gateway (2)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there, too")
    options = parser.parse_args(arguments)
    if unknown := set(options.storms) - set(names):
        parser.error(f"no such storm: {', '.join(sorted(unknown))}")
    storms = [storm for storm in STORMS if not options.storms or storm.name in options.storms]
    contenders = [one for one in CONTENDERS if not options.gateway or one.name in options.gateway]
    rows = list(played(storms, contenders, options.rate, options.workers))
    about = [
        f"{date.today()}, {platform.system()} {platform.release()}, Python {platform.python_version()}",
        f"{options.rate:.0f} requests a second, a tenth of them POSTs; {options.workers} workers each",
        *dict.fromkeys(one.version() for one in contenders),
    ]
    print("\n".join(about), end="\n\n")
    print(tables(rows))
    print(f"\nThe clients themselves were late by {max(row.late for row in rows):.0f} ms at most.")
    if options.json:
        options.json.write_bytes(msgspec.json.format(msgspec.json.encode({"about": about, "storms": rows})))


if __name__ == "__main__":
    main()
