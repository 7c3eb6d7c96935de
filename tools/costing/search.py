"""The search: every production once, then chance, led by what costs most.

Each production is the founder of a line; a line keeps its costliest members, so that one great find does not crowd out
all others, and what is reported is the worst of each line. A child belongs to the line of its costlier parent; when
chance has put in what costs more than all that it had, only its head tells. A member's cost is measured once, quickly,
before it is let in; the report measures again, beside plain requests.
"""

import time
from collections.abc import Sequence
from random import Random

from msgspec import Struct

from tools.costing.grammar import PLAIN, Production, Request
from tools.costing.mutation import child
from tools.costing.stage import Stage

LINE = 2
"""Members of a line."""
PARENTS = 40
"""The costliest members, from which parents are drawn."""
QUICK = 6
"""Requests of a quick measurement."""
BATCHES, BATCH = 5, 12
"""Of a careful one."""


class Find(Struct):
    """A request with what it costs. Microseconds; `ratio`: to a plain request. `bred`: by how many generations it
    differs from its production. `outcome`: status and reason of its log line."""

    production: Production
    request: Request
    cost: float
    bred: int = 0
    ratio: float = 0.0
    outcome: str = ""


def founders(stage: Stage, productions: Sequence[Production]) -> list[Find]:
    """The productions, measured."""
    return [Find(made, made.request, stage.cost(made.request, 2, QUICK)) for made in productions]


def evolve(stage: Stage, finds: list[Find], seconds: float, random: Random) -> tuple[list[Find], int]:
    """The finds with the best of their children, and how many were tried."""
    tried = 0
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        finds.sort(key=lambda find: -find.cost)
        pair = finds[int(PARENTS * random.random() ** 2) % len(finds)], random.choice(finds)
        parent, other = sorted(pair, key=lambda find: -find.cost)
        request = child(parent.request, other.request, random)
        made = Find(parent.production, request, stage.batch(request, QUICK), parent.bred + 1)
        tried += 1
        line = [find for find in finds if find.production is parent.production]
        if len(line) < LINE:
            finds.append(made)
        elif made.cost > line[-1].cost:
            finds.remove(line[-1])
            finds.append(made)
    return finds, tried


def judged(stage: Stage, finds: list[Find], most: int) -> tuple[list[Find], float]:
    """The worst of each line, costliest first, at most so many, each measured anew between plain requests; and what a
    plain one costs."""
    finds.sort(key=lambda find: -find.cost)
    best: dict[str, Find] = {}
    for find in finds:
        best.setdefault(find.production.name, find)
    chosen = list(best.values())[:most]
    plain = []
    for find in chosen:
        costs, beside = [], []
        for _ in range(BATCHES):
            beside.append(stage.batch(PLAIN, 4 * BATCH))
            costs.append(stage.batch(find.request, BATCH))
        costs.sort()
        beside.sort()
        find.cost = costs[BATCHES // 2]
        find.ratio = find.cost / beside[BATCHES // 2]
        find.outcome = stage.outcome(find.request)
        plain.append(beside[BATCHES // 2])
    chosen.sort(key=lambda find: -find.ratio)
    return chosen, sorted(plain)[len(plain) // 2]
