"""The budget of retries: in one process, over several, and against a storm."""

from heapq import heappop, heappush
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rawgate.relay.quota import Quota
from rawgate.relay.retries import ALWAYS, RetryBudget


def taken(budget: RetryBudget, share: float, live: int) -> int:
    """How many it allows at once."""
    count = 0
    while budget.take(share, live):
        count += 1
    return count


@pytest.mark.parametrize(
    ("share", "live", "allowed"),
    [
        (0.2, 1, ALWAYS),
        (0.2, 18, ALWAYS),
        (0.2, 24, 4),
        (0.2, 60, 10),
        (0.2, 59, 9),
        (1.0, 60, 30),
        (0.01, 200, ALWAYS),
    ],
)
def test_retries_are_a_share_of_the_others_and_three_always(share: float, live: int, allowed: int) -> None:
    budget = RetryBudget(Quota(ALWAYS))
    assert taken(budget, share, live) == allowed
    assert (budget.retrying, budget.counted()) == (allowed, (allowed, 1))
    assert budget.counted() == (0, 0)


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 100))))
def test_no_more_are_under_way_than_the_share_and_never_fewer_than_three(deeds: list[tuple[bool, int]]) -> None:
    always = Quota(ALWAYS)
    budget, under_way = RetryBudget(always), 0
    for begins, live in deeds:
        if begins:
            may = under_way < ALWAYS or under_way + 1 <= 0.2 * (live - under_way - 1)
            assert budget.take(0.2, live) is may
            under_way += may
        elif under_way:
            budget.give()
            under_way -= 1
    while under_way:
        budget.give()
        under_way -= 1
    assert always.taken == budget.retrying == 0


def test_the_sum_over_processes_keeps_the_share() -> None:
    """`always` is what they share."""
    always = Quota(ALWAYS)
    budgets = [RetryBudget(always) for _ in range(4)]
    live = [60, 0, 5, 35]
    sums = sum(taken(budget, 0.2, count) for budget, count in zip(budgets, live, strict=True))
    assert sums <= 0.2 * sum(live) + ALWAYS
    assert sum(taken(budget, 0.2, 1) for budget in budgets) == 0


@pytest.mark.parametrize("failing", [0.1, 0.5, 1.0])
def test_a_storm_grows_by_a_fifth_at_most(failing: float) -> None:
    """100 clients that ask again as soon as they are answered, of a service where any attempt may fail, and takes as
    long as another. What reaches the service is counted there."""
    chance, budget = Random(4), RetryBudget(Quota(ALWAYS))  # noqa: S311 - a simulation
    ends: list[tuple[float, bool]] = []
    reached = {False: 0, True: 0}

    def send(now: float, is_retry: bool) -> None:
        reached[is_retry] += 1
        heappush(ends, (now + chance.expovariate(10), is_retry))

    for _ in range(100):
        send(0.0, False)
    for _ in range(40_000):
        now, is_retry = heappop(ends)
        if not is_retry and chance.random() < failing and budget.take(0.2, len(ends) + 1):
            send(now, True)
            continue
        if is_retry:
            budget.give()
        send(now, False)
    assert reached[True] <= 0.2 * reached[False] * 1.05, "chance has a little to say"
    if failing == 1.0:
        assert reached[True] >= 0.15 * reached[False], "the budget is used"
