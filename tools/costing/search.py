"""The search: measures every production once, then breeds at random from those that cost most.

Each production founds a lineage. A lineage keeps its costliest members only, so that one great find does not crowd out
all others, and the report has the worst of each lineage. A child belongs to the lineage of its costlier parent, even
where its cost comes from a part that the other parent or a mutation brought: its head shows that. A member's cost is
measured quickly before it is let in; the report measures it again, beside plain requests.
"""

import time
from collections.abc import Sequence
from random import Random

from msgspec import Struct

from tools.costing.gateway import MeasuredGateway
from tools.costing.grammar import PLAIN, Production, Request
from tools.costing.mutation import child

LINEAGE = 2
"""Members of a lineage."""
PARENTS = 40
"""The costliest members, from which parents are drawn."""
QUICK = 6
"""Requests in a quick measurement."""
BATCHES, BATCH = 5, 12
"""Batches in a careful measurement, and requests in a batch."""


class Find(Struct):
    """A request and its cost.

    cost     microseconds of CPU
    bred     generations between the production and this request
    ratio    cost divided by that of a plain request
    outcome  status and reason of its log line
    """

    production: Production
    request: Request
    cost: float
    bred: int = 0
    ratio: float = 0.0
    outcome: str = ""


def founders(gateway: MeasuredGateway, productions: Sequence[Production]) -> list[Find]:
    """A find for each production, measured quickly."""
    return [Find(made, made.request, gateway.cost(made.request, 2, QUICK)) for made in productions]


def evolve(gateway: MeasuredGateway, finds: list[Find], seconds: float, random: Random) -> tuple[list[Find], int]:
    """Breed for so many seconds. Returns the finds with the costliest of their children, and how many were tried."""
    tried = 0
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        finds.sort(key=lambda find: -find.cost)
        pair = finds[int(PARENTS * random.random() ** 2) % len(finds)], random.choice(finds)
        parent, other = sorted(pair, key=lambda find: -find.cost)
        request = child(parent.request, other.request, random)
        made = Find(parent.production, request, gateway.batch(request, QUICK), parent.bred + 1)
        tried += 1
        lineage = [find for find in finds if find.production is parent.production]
        if len(lineage) < LINEAGE:
            finds.append(made)
        elif made.cost > lineage[-1].cost:
            finds.remove(lineage[-1])
            finds.append(made)
    return finds, tried


def measured_again(gateway: MeasuredGateway, finds: list[Find], most: int) -> tuple[list[Find], float]:
    """The worst of each lineage, costliest first, at most `most`, measured carefully in turn with plain requests; and
    the cost of a plain request."""
    finds.sort(key=lambda find: -find.cost)
    best: dict[str, Find] = {}
    for find in finds:
        best.setdefault(find.production.name, find)
    chosen = list(best.values())[:most]
    plain = []
    for find in chosen:
        costs, beside = [], []
        for _ in range(BATCHES):
            beside.append(gateway.batch(PLAIN, 4 * BATCH))
            costs.append(gateway.batch(find.request, BATCH))
        costs.sort()
        beside.sort()
        find.cost = costs[BATCHES // 2]
        find.ratio = find.cost / beside[BATCHES // 2]
        find.outcome = gateway.outcome(find.request)
        plain.append(beside[BATCHES // 2])
    chosen.sort(key=lambda find: -find.ratio)
    return chosen, sorted(plain)[len(plain) // 2]
