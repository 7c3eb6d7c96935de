"""A hundred gateways, ten million clients: what they ask of how many stores, and what the loss of one costs.

Rates of clients follow Zipf's law, as those of public APIs roughly do: the i-th asks in proportion to 1 / (i + 1000).
Clients are put into classes by rate. For each class the questions per request are simulated (`leases.measure`), once
with requests that any worker may get, once with a balancer that gives each client to one gateway. The sums are over all
clients. Two figures are measured with a real redis-server and stand here as constants.
"""

from bisect import bisect_left
from math import ceil, exp

from rawgate.policy.limiter import COUNTERS, SUBWINDOWS
from tools.storing.leases import MAXIMUM, WINDOW, measure

GATEWAYS, WORKERS, CLIENTS = 100, 4, 10_000_000
REQUESTS = 1_000_000
"""A second, over all gateways."""
FLATTENED = 1000

OCTETS = 245
"""Of a counter: 100,000 clients with keys of 45 octets, Redis 7.0 (used_memory). Valkey 8.0: 229."""
MICROSECONDS = 28.5
"""Of a store's processor for one question that comes alone, over 400 connections (used_cpu of INFO, redis-benchmark,
two busy cores). At this size a worker seldom has two for the same store at a time. 500 together take 13 to 17 each."""
BUSY = 0.5
"""How much of its one processor a store should need at most, so that questions do not queue."""

SHARES = (0.0001, 0.001, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
"""Classes of clients: upper ends of what they ask for, as a share of `max` in a window."""


def crowd() -> list[tuple[float, int]]:
    """For each class: requests a second of all its clients, and how many these are."""
    weights = [1 / (number + FLATTENED) for number in range(CLIENTS)]
    scale = REQUESTS / sum(weights)
    classes = [(0.0, 0)] * len(SHARES)
    for weight in weights:
        rate = weight * scale
        at = min(bisect_left(SHARES, rate * WINDOW / MAXIMUM), len(SHARES) - 1)
        requests, count = classes[at]
        classes[at] = requests + rate, count + 1
    return classes


def keys_at_a_time(classes: list[tuple[float, int]]) -> int:
    """Counters that a store has: of clients that came within 17/16 of the window."""
    span = WINDOW * COUNTERS / SUBWINDOWS
    return round(sum(count * (1 - exp(-rate / count * span)) for rate, count in classes if count))


def asked(classes: list[tuple[float, int]], workers: int) -> float:
    """Questions a second."""
    found = 0.0
    for (rate, count), share in zip(classes, SHARES, strict=True):
        if count:
            each = rate / count * WINDOW / MAXIMUM
            windows = max(2, min(200, round(50 / (each * MAXIMUM))))
            found += rate * (1 - measure(min(each, share), workers, windows)[1])
    return found


def tell() -> None:
    """Print the tables."""
    classes = crowd()
    keys = keys_at_a_time(classes)
    print(f"{GATEWAYS} gateways of {WORKERS} workers, {CLIENTS:,} clients, {REQUESTS:,} requests a second,")
    print(f"max {MAXIMUM:,} in {WINDOW:g} s for each client")
    print("\nof max, up to   clients   requests/s")
    for (rate, count), share in zip(classes, SHARES, strict=True):
        print(f"{share:13.2%}{count:11,}{rate:13,.0f}")
    print(f"\ncounters at a time: {keys:,}, {keys * OCTETS / 2**30:.1f} GiB in all stores together")
    most = BUSY * 1e6 / MICROSECONDS
    print(f"a store answers {most:,.0f} questions a second with {BUSY:.0%} of a processor\n")
    print("                                      questions/s   stores   lost with one of them")
    ways = [
        ("exact", float(REQUESTS)),
        ("leased, any worker", asked(classes, GATEWAYS * WORKERS)),
        ("leased, a gateway for each client", asked(classes, WORKERS)),
    ]
    for name, questions in ways:
        stores = ceil(questions / most)
        each = questions / stores / GATEWAYS / WORKERS
        print(f"{name:36}{questions:13,.0f}{stores:9}   counts of {keys // stores:,} clients;", end=" ")
        print(f"a worker asks a store {each:.0f} times a second")
