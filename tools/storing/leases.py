"""What leases cost and save: clients of known rates at several workers, in simulated time.

Each client comes at random (Poisson) at its own rate, to any of the workers. *Lost*: slots that were lent and not used,
as a share of `max` for each window. *Saved*: decisions without a round trip. *Admitted*: beside the same requests when
each is asked for.
"""

import random
from collections.abc import Iterator

from rawgate.policy.limiter import SUBWINDOWS
from rawgate.policy.store import Question, Store, StoredRule
from tools.storing.model import ModelStore

MAXIMUM, WINDOW = 1000, 60.0
TRIP = 0.001
"""Seconds from a question to its answer."""


class Worker:
    """Decides as `over_hosts.Said` does."""

    def __init__(self, model: ModelStore, leased: bool) -> None:
        self.store = Store(10_000)
        self.store.silent.clear()
        self.rule = StoredRule(self.store, "a", MAXIMUM, WINDOW, leased)
        self._model = model
        self._under_way: list[tuple[float, Question, tuple[int, int, int, int, int]]] = []

    def hit(self, client: str, now: float) -> bool:
        while self._under_way and self._under_way[0][0] <= now:
            due, question, answer = self._under_way.pop(0)
            question.answer(*answer, due)
        key = self.rule.key(client)
        lease = self.rule.lease(key)
        if lease is not None and lease.left > 0 and now < lease.until:
            lease.left -= 1
            lease.used += 1
            self.store.used += 1
            self.store.spared += 1
            return True
        if lease is not None and now < lease.full_until:
            self.store.spared += 1
            return False
        question = self.rule.ask(key, lease, now)
        (question,) = self.store.take_questions(1)
        question.sent = now
        counted = round((now + TRIP / 2) * 1e6)
        answer = self._model.count(key, question.width, MAXIMUM, question.need, question.extra, counted)
        self._under_way.append((now + TRIP, question, answer))
        return answer[0] > 0


def arrivals(rate: float, windows: int, seed: int) -> Iterator[float]:
    dice, now = random.Random(seed), 1000.0  # noqa: S311 - no secrets
    while now < 1000.0 + windows * WINDOW:
        now += dice.expovariate(rate)
        yield now


def measure(share: float, workers: int, windows: int) -> tuple[float, float, float]:
    """(lost, saved, admitted), each as a share of 1. share: of `max` that the client asks for in a window."""
    admitted = {}
    lost = saved = 0.0
    for leased in (False, True):
        model, dice = ModelStore(), random.Random(3)  # noqa: S311 - no secrets
        crowd = [Worker(model, leased) for _ in range(workers)]
        times = list(arrivals(share * MAXIMUM / WINDOW, windows, 5))
        admitted[leased] = sum(dice.choice(crowd).hit("sub:a", now) for now in times)
        if leased:
            lost = sum(one.store.lent - one.store.used for one in crowd) / windows / MAXIMUM
            saved = sum(one.store.spared for one in crowd) / len(times)
    return lost, saved, admitted[True] / admitted[False]


def tell(windows: int) -> None:
    """Print the table."""
    print(f"max {MAXIMUM:,} in {WINDOW:g} s, sub-windows of {WINDOW / SUBWINDOWS:g} s, {windows} windows")
    print("asked for, of max  workers  lost, of max  round trips saved  admitted, of exact")
    for share in (0.01, 0.1, 0.5, 0.9, 1.5, 10.0):
        for workers in (1, 2, 6, 24):
            lost, saved, admitted = measure(share, workers, windows)
            print(f"{share:17.0%}{workers:9}{lost:14.1%}{saved:19.1%}{admitted:20.1%}")
