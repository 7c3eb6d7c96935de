"""rawgate's limiter beside the strategies of the `limits` package, decision by decision.

    python benchmarks/limiter_compare.py

Each strategy starts every trace anew. Its decisions are compared with an exact log of the requests that it admitted,
with closed windows (two requests exactly a window apart are in one):

    admitted         requests of the trace
    too strict       refused although the log had fewer than the limit in the window before (share of all requests)
    beyond           most admitted in any window, wherever it starts, less the limit
    bytes a key      tracemalloc: `CLIENTS` clients that have each used up the limit, evenly over the window; without
                     the clients' names
    ns a decision    CPU time of the same requests, best of `ROUNDS`, with the loop around them; varies from run to run

`limits` reads `time.time` and cleans up in a thread every 10 ms. Here both follow the trace's clock: the clean-up runs
between decisions, once in a sixteenth of a window or in a round of the clients, and is not timed.
"""

import gc
import random
import time
import tracemalloc
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import accumulate, groupby
from typing import NamedTuple
from unittest.mock import patch

from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import (
    FixedWindowRateLimiter,
    MovingWindowRateLimiter,
    RateLimiter,
    SlidingWindowCounterRateLimiter,
)

from rawgate.policy.limiter import Limiter

MAXIMUM = 100
WINDOW = 60.0
START = 1_700_000_040.0
"""A multiple of the window, where the sliding-window counter has a border."""
CLIENTS = 500
ROUNDS = 3

Hit = Callable[[str, float], bool]


class Clock:
    """The trace's time, and the clean-up that would run in a thread."""

    def __init__(self) -> None:
        self.now = START
        self.clean_up: Callable[[], None] = lambda: None

    def time(self) -> float:
        return self.now

    def timer(self, interval: float, function: Callable[[], None]) -> "Clock":
        self.clean_up = function
        return self

    def start(self) -> None:
        """Does nothing: the interface of a timer, which here is run by hand."""

    def is_alive(self) -> bool:
        return True


def rawgate(clock: Clock) -> Hit:
    hit = Limiter(100_000).rule("/", MAXIMUM, WINDOW).hit
    return lambda client, now: hit(client, now)[0]


def limits_strategy(strategy: type[RateLimiter]) -> Callable[[Clock], Hit]:
    def make(clock: Clock) -> Hit:
        limiter = strategy(MemoryStorage())
        item = RateLimitItemPerMinute(MAXIMUM)

        def hit(client: str, now: float) -> bool:
            clock.now = now
            return limiter.hit(item, client)

        return hit

    return make


STRATEGIES: dict[str, Callable[[Clock], Hit]] = {
    "rawgate": rawgate,
    "limits MovingWindow": limits_strategy(MovingWindowRateLimiter),
    "limits SlidingWindowCounter": limits_strategy(SlidingWindowCounterRateLimiter),
    "limits FixedWindow": limits_strategy(FixedWindowRateLimiter),
}


@contextmanager
def fresh(strategy: str) -> Iterator[tuple[Clock, Hit]]:
    """An empty limiter of that strategy, with its own clock."""
    clock = Clock()
    with patch("time.time", clock.time), patch("threading.Timer", clock.timer):
        yield clock, STRATEGIES[strategy](clock)


def uniform(share: float) -> list[float]:
    """Evenly spaced requests for 15 minutes. `share`: their rate divided by the limit's."""
    return [START + i * WINDOW / (share * MAXIMUM) for i in range(int(15 * share * MAXIMUM))]


def poisson(dice: random.Random) -> list[float]:
    """Exponential gaps; the mean rate is the limit."""
    return [START + offset for offset in accumulate(dice.expovariate(MAXIMUM / WINDOW) for _ in range(3000))]


def on_off(dice: random.Random) -> list[float]:
    """Twenty requests a second for ten seconds, then silence for up to a minute."""
    trace: list[float] = []
    moment = START
    for _ in range(20):
        trace += [moment + i / 20 for i in range(200)]
        moment = trace[-1] + dice.uniform(0, 60)
    return trace


def border_burst() -> list[float]:
    """Every two windows: one request, a burst up to the border between them, another from it, then three a second."""
    trace: list[float] = []
    for begin in (START + 2 * WINDOW * i for i in range(10)):
        border = begin + WINDOW
        trace.append(begin)
        trace += [border - (150 - i) / 3000 for i in range(150)]
        trace += [border + (i + 1) / 3000 for i in range(150)]
        trace += [border + 1 + i / 3 for i in range(170)]
    return trace


def traces() -> dict[str, list[float]]:
    dice = random.Random(2024)  # noqa: S311  the same traces in every run; no secrets
    return {
        "uniform, 0.9 × limit": uniform(0.9),
        "uniform, 2 × limit": uniform(2.0),
        "Poisson, 1 × limit": poisson(dice),
        "on/off": on_off(dice),
        "border burst": border_burst(),
    }


class Score(NamedTuple):
    admitted: int
    too_strict: int
    beyond: int


def score(trace: list[float], decisions: list[bool]) -> Score:
    """Compare decisions with the exact log of what they admitted."""
    log: deque[float] = deque()
    too_strict = most = 0
    for now, admitted in zip(trace, decisions, strict=True):
        while log and now - log[0] > WINDOW:
            log.popleft()
        if admitted:
            log.append(now)
            most = max(most, len(log))
        elif len(log) < MAXIMUM:
            too_strict += 1
    return Score(sum(decisions), too_strict, max(0, most - MAXIMUM))


def decide(strategy: str, trace: list[float]) -> list[bool]:
    decisions: list[bool] = []
    with fresh(strategy) as (clock, hit):
        for _, moments in groupby(trace, lambda moment: moment // (WINDOW / 16)):
            decisions += [hit("sub:alice", now) for now in moments]
            clock.clean_up()
    return decisions


def use_up(clock: Clock, hit: Hit, clients: list[str]) -> float:
    """Let each client use up the limit, evenly over a window. Returns the CPU seconds of all decisions."""
    seconds = 0.0
    for step in range(MAXIMUM):
        now = START + step * WINDOW / MAXIMUM
        begin = time.process_time()
        for client in clients:
            hit(client, now)
        seconds += time.process_time() - begin
        clock.clean_up()
    return seconds


def nanoseconds(strategy: str, clients: list[str]) -> float:
    rounds = []
    for _ in range(ROUNDS):
        with fresh(strategy) as (clock, hit):
            rounds.append(use_up(clock, hit, clients))
    return min(rounds) / (MAXIMUM * len(clients)) * 1e9


def octets_per_key(strategy: str, clients: list[str]) -> float:
    gc.collect()
    tracemalloc.start()
    try:
        with fresh(strategy) as (clock, hit):
            use_up(clock, hit, clients)
            gc.collect()
            return tracemalloc.get_traced_memory()[0] / len(clients)
    finally:
        tracemalloc.stop()


def main() -> None:
    table = traces()
    print(f"{MAXIMUM} requests in {WINDOW:g} s\n")
    print("| trace | strategy | admitted | too strict | beyond |")
    print("|---|---|--:|--:|--:|")
    for name, trace in table.items():
        for strategy in STRATEGIES:
            result = score(trace, decide(strategy, trace))
            share = f"{100 * result.too_strict / len(trace):.1f} %"
            print(f"| {name} | {strategy} | {result.admitted} of {len(trace)} | {share} | {result.beyond} |")
    print("\n| strategy | bytes a key | ns a decision |")
    print("|---|--:|--:|")
    clients = [f"sub:user-{number:07}" for number in range(CLIENTS)]
    for strategy in STRATEGIES:
        octets, speed = octets_per_key(strategy, clients), nanoseconds(strategy, clients)
        print(f"| {strategy} | {octets:,.0f} | {speed:,.0f} |")


if __name__ == "__main__":
    main()
