"""The command behind `tools/worst`."""

import argparse
import sys
from random import Random

from tools.costing.gateway import MeasuredGateway, measured_gateway
from tools.costing.grammar import MIB, Request, bodies, productions
from tools.costing.search import Find, evolve, founders, measured_again

LANES = ("fast", "h11")
SHOWN = 100
"""Octets of each line of the worst head that are printed."""


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="tools/worst",
        description="Look for the request that costs a gateway the most CPU, within the default limits, beside a small "
        "request that is forwarded. Bodies, which come after the limiter, are shown beside a counted one, not judged.",
        epilog="Exit status 1 when a request was found that costs more than the bound. The same seed makes the same "
        "choices as long as the costs are the same, which they are only nearly.",
    )
    parser.add_argument("--lane", choices=LANES, action="append", help="one parser lane; both")
    parser.add_argument("--seconds", type=float, default=120, metavar="N", help="of search in each lane (%(default)s)")
    parser.add_argument("--bound", type=float, default=10, metavar="N", help="plain requests (%(default)s)")
    parser.add_argument("--rows", type=int, default=40, metavar="N", help="finds that are measured again (%(default)s)")
    parser.add_argument("--heads", type=int, default=1, metavar="N", help="of the worst that are shown (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="where chance begins (%(default)s)")
    return parser.parse_args()


def readable(request: Request) -> str:
    """The head of a request for a person: escaped, its first lines, each cut."""
    lines = request.head(0).removesuffix(b"\r\n\r\n").split(b"\r\n")
    shown = [_cut(line) for line in lines[:6]]
    if len(lines) > len(shown):
        shown.append(f"… {len(lines) - len(shown)} more lines")
    if request.token is not None:
        shown.append(f"token header: {_cut(request.token.header)}")
        shown.append(f"token payload: {_cut(request.token.payload)}")
    return "\n".join(f"    {line}" for line in shown)


def _cut(line: bytes) -> str:
    text = line[:SHOWN].decode("latin-1").encode("unicode_escape").decode()
    return text if len(line) <= SHOWN else f"{text} … ({len(line):,} octets)"


def show(lane: str, finds: list[Find], plain: float, tried: int, heads: int) -> None:
    print(f"\n{lane}: a plain request takes {plain:.0f} µs; {tried:,} bred requests tried")
    print(f"{'CPU µs':>9}{'× plain':>9}  {'step':16}{'find':46}{'bred':>4}{'octets':>8}  outcome")
    for find in finds:
        print(
            f"{find.cost:9,.0f}{find.ratio:9.1f}  {find.production.step:16}{find.production.name:46}{find.bred:4}"
            f"{len(find.request.head(0)):8,}  {find.outcome}"
        )
    for find in finds[:heads]:
        print(f"the head of {find.production.name}, bred {find.bred} times:\n{readable(find.request)}", flush=True)


def show_bodies(gateway: MeasuredGateway) -> None:
    """Print what bodies cost. They are not held to the bound, since a limiter can refuse their request."""
    costs = [(name, gateway.cost(request, 3, 3) / len(request.body) * MIB) for name, request in bodies()]
    counted = costs[0][1]
    print(
        f"bodies, not held to the bound, since a limit can refuse them:\n{'CPU µs per MiB':>17}{'× counted':>11}  body"
    )
    for name, cost in costs:
        print(f"{cost:17,.0f}{cost / counted:11.1f}  {name}", flush=True)


def search(lane: str, options: argparse.Namespace) -> float:
    """Search one lane and print the finds. Returns the worst ratio."""
    with measured_gateway(lane) as gateway:
        finds = founders(gateway, productions())
        finds, tried = evolve(gateway, finds, options.seconds, Random(f"{lane} {options.seed}"))  # noqa: S311
        worst, plain = measured_again(gateway, finds, options.rows)
        show(lane, worst, plain, tried, options.heads)
        show_bodies(gateway)
        return max((find.ratio for find in worst), default=0.0)


def main() -> int:
    options = arguments()
    worst = max(search(lane, options) for lane in options.lane or LANES)
    print(f"\nthe worst find costs {worst:.1f} plain requests; the bound is {options.bound:g}")
    return 1 if worst > options.bound else 0


if __name__ == "__main__":
    sys.exit(main())
