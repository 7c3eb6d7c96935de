"""The budget of retries: in one process, over several, and against storms of slow and of fast failures."""

from heapq import heappop, heappush
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rawgate.relay.quota import Quota
from rawgate.relay.retries import ALWAYS, RESERVE, RetryBudget

SHARE = 0.2


def earned(requests: int, share: float = SHARE, always: Quota | None = None) -> RetryBudget:
    """A budget after so many requests."""
    budget = RetryBudget(always or Quota(ALWAYS))
    for _ in range(requests):
        budget.earn(share)
    return budget


def taken(budget: RetryBudget, share: float, live: int) -> int:
    """How many it allows at once."""
    count = 0
    while budget.take(share, live, live):
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
def test_those_under_way_are_a_share_of_the_others_and_three_always(share: float, live: int, allowed: int) -> None:
    budget = earned(live, share)
    assert taken(budget, share, live) == allowed
    assert (budget.retrying, budget.counted()) == (allowed, (allowed, 1))
    assert budget.counted() == (0, 0)


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 100)), max_size=50))
def test_no_more_are_under_way_than_the_share_and_never_fewer_than_three(deeds: list[tuple[bool, int]]) -> None:
    """While so much was earned that only those under way count."""
    always = Quota(ALWAYS)
    budget, under_way = earned(10_000, always=always), 0
    for begins, live in deeds:
        if begins:
            may = under_way < ALWAYS or under_way + 1 <= SHARE * (live - under_way - 1)
            assert budget.take(SHARE, live, 10_000) is may
            under_way += may
        elif under_way:
            budget.give()
            under_way -= 1
    while under_way:
        budget.give()
        under_way -= 1
    assert always.taken == budget.retrying == 0


def test_what_was_earned_is_worth_something_while_those_who_earned_it_are_there() -> None:
    budget = earned(10_000)
    made = 0
    while budget.take(SHARE, 5, 5):
        budget.give()
        made += 1
    assert made == RESERVE + 1


@given(
    st.floats(0.05, 1.0), st.lists(st.sampled_from(["comes", "ends", "fails", "fails", "is answered"]), max_size=300)
)
def test_in_any_span_they_are_a_share_of_the_requests_in_it_and_the_reserve(share: float, deeds: list[str]) -> None:
    """The service counts. A retry is there in the place of its request."""
    budget, number = RetryBudget(Quota(ALWAYS)), 0
    first, again = list[int](), list[int]()  # requests that are there, by number: in their first attempt, in a retry
    there: list[set[int]] = []  # after each deed
    retries: list[int] = []
    for deed in deeds:
        is_retry = False
        if deed == "comes":
            number += 1
            first.append(number)
            budget.earn(share)
        elif deed == "ends" and first:
            first.pop(0)
        elif deed == "fails" and first:
            live = len(first) + len(again)
            one = first.pop(0)
            is_retry = budget.take(share, live, live)
            again += [one] * is_retry
        elif deed == "is answered" and again:
            again.pop(0)
            budget.give()
        there.append({*first, *again})
        retries.append(int(is_retry))
    for begin in range(len(deeds)):
        seen, made = set(there[begin - 1]) if begin else set[int](), 0
        for end in range(begin, len(deeds)):
            seen |= there[end]
            made += retries[end]
            assert made <= share * len(seen) + RESERVE + 1e-3


def test_the_sum_over_processes_keeps_the_share() -> None:
    """`always` is what they share."""
    always = Quota(ALWAYS)
    live = [60, 0, 5, 35]
    budgets = [earned(count, always=always) for count in live]
    sums = sum(taken(budget, SHARE, count) for budget, count in zip(budgets, live, strict=True))
    assert sums <= SHARE * sum(live) + ALWAYS
    assert sum(taken(budget, SHARE, 1) for budget in budgets) == 0


@pytest.mark.parametrize("failing", [0.1, 0.5, 1.0])
@pytest.mark.parametrize("quickness", [1.0, 1000.0], ids=["slow", "fast"])
def test_a_storm_grows_by_a_fifth_at_most(failing: float, quickness: float) -> None:
    """100 clients that ask again as soon as they are answered, of a service where any attempt may fail, and takes as
    long as another; or fails a thousand times as fast. What reaches the service is counted there."""
    chance, budget = Random(4), RetryBudget(Quota(ALWAYS))  # noqa: S311 - a simulation
    ends: list[tuple[float, bool, bool]] = []
    reached = {False: 0, True: 0}

    def send(now: float, is_retry: bool) -> None:
        reached[is_retry] += 1
        fails = chance.random() < failing
        takes = chance.expovariate(10 * quickness if fails else 10)
        heappush(ends, (now + takes, is_retry, fails))
        if not is_retry:
            budget.earn(SHARE)

    for _ in range(100):
        send(0.0, False)
    for _ in range(40_000):
        now, is_retry, fails = heappop(ends)
        if not is_retry and fails and budget.take(SHARE, len(ends) + 1, len(ends) + 1):
            send(now, True)
            continue
        if is_retry:
            budget.give()
        send(now, False)
    assert reached[True] <= SHARE * reached[False] + RESERVE
    if failing == 1.0:
        assert reached[True] >= 0.15 * reached[False], "the budget is used"


def test_one_client_whose_requests_fail_at_once_is_a_storm_too() -> None:
    """Never more than one attempt is under way, so only their number says how many retries there are."""
    budget, made = RetryBudget(Quota(ALWAYS)), 0
    for _ in range(1000):
        budget.earn(SHARE)
        if budget.take(SHARE, 1, 1):
            made += 1
            budget.give()
    assert made == 1000 * SHARE + RESERVE
