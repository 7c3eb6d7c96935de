"""The circuit breaker against a model that remembers every request; and what several processes see of it."""

from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.quotas import OneHolder
from rawgate import errors
from rawgate.relay.breaker import (
    CELLS,
    ENDED,
    FAILED,
    LONGEST,
    NO_PROBE,
    PARTS,
    REFUSED,
    UNTIL,
    Breaker,
    BreakerRule,
    OneProcess,
    has_failed,
    private_cells,
    says_something,
)

RULE = BreakerRule(errors=0.5, least=4, within=10.0, open_for=5.0)


def made(cells: memoryview | None = None) -> Breaker:
    return Breaker(private_cells() if cells is None else cells, OneProcess())


def fails(breaker: Breaker, count: int, now: float, rule: BreakerRule = RULE) -> None:
    for _ in range(count):
        assert breaker.admit(rule, now) == NO_PROBE
        breaker.ended(rule, NO_PROBE, True, now)


def opened(now: float = 100.0) -> Breaker:
    breaker = made()
    fails(breaker, 4, now)
    assert breaker.is_open
    return breaker


# ── when it opens ──


def test_it_opens_when_enough_requests_have_ended_and_enough_of_them_failed() -> None:
    breaker = made()
    fails(breaker, 3, 100.0)
    assert not breaker.is_open, "three are fewer than the least"
    assert breaker.ended(RULE, NO_PROBE, False, 100.0), "four, of which three failed"
    assert breaker.admit(RULE, 100.0) == REFUSED


def test_it_stays_closed_while_fewer_fail_than_the_rule_says() -> None:
    breaker = made()
    for failed in [False, False, True] * 20:
        assert not breaker.ended(RULE, NO_PROBE, failed, 100.0)


def test_old_failures_do_not_count() -> None:
    breaker = made()
    fails(breaker, 3, 100.0)
    fails(breaker, 3, 110.0)
    assert not breaker.is_open
    fails(breaker, 1, 118.9)
    assert breaker.is_open


Deed = tuple[float, bool]


@given(st.lists(st.tuples(st.floats(0.0, 4.0), st.booleans()), max_size=60), st.integers(1, 8), st.floats(0.05, 1.0))
def test_it_agrees_with_a_log_of_all_requests(deeds: list[Deed], least: int, errors_: float) -> None:
    rule = BreakerRule(errors=errors_, least=least, within=10.0, open_for=5.0)
    breaker, log, now = made(), deque[tuple[int, bool]](), 1000.0
    for passes, failed in deeds:
        now += passes
        part = int(now * 1e9) // int(1e9)
        log.append((part, failed))
        while log[0][0] <= part - PARTS:
            log.popleft()
        opens = len(log) >= least and sum(failed for _, failed in log) >= errors_ * len(log)
        assert breaker.ended(rule, NO_PROBE, failed, now) is opens
        if opens:
            return


def test_a_clock_that_is_slightly_behind_counts_in_the_present_part() -> None:
    breaker = made()
    fails(breaker, 2, 101.0)
    fails(breaker, 2, 100.9)
    assert breaker.is_open


def test_another_length_of_the_window_begins_the_count_anew() -> None:
    breaker, longer = made(), BreakerRule(errors=0.5, least=4, within=60.0, open_for=5.0)
    fails(breaker, 3, 100.0)
    fails(breaker, 3, 100.0, longer)
    assert not breaker.is_open


# ── open, and probes ──


def test_one_request_at_a_time_decides() -> None:
    breaker = opened()
    assert breaker.admit(RULE, 104.9) == REFUSED
    probe = breaker.admit(RULE, 105.0)
    assert probe > 0
    assert breaker.admit(RULE, 105.0) == REFUSED
    assert breaker.ended(RULE, probe, False, 106.0)
    assert not breaker.is_open
    assert breaker.admit(RULE, 106.0) == NO_PROBE
    fails(breaker, 3, 106.0)
    assert not breaker.is_open, "the count has begun anew"


def test_each_probe_that_fails_opens_it_for_twice_as_long() -> None:
    breaker, now = opened(), 105.0
    lasted = []
    for _ in range(6):
        probe = breaker.admit(RULE, now)
        assert not breaker.ended(RULE, probe, True, now), "it was open before"
        lasted.append(breaker.due_in(now))
        now += lasted[-1] + 0.001
    assert lasted == pytest.approx([10.0, 20.0, 40.0, 40.0, 40.0, 40.0])
    assert breaker.ended(RULE, breaker.admit(RULE, now), False, now)
    fails(breaker, 4, now)
    assert breaker.due_in(now) == pytest.approx(5.0), f"not {LONGEST} times"


def test_a_probe_that_never_ends_is_followed_by_another_one() -> None:
    breaker = opened()
    probe = breaker.admit(RULE, 105.0)
    assert breaker.admit(RULE, 109.9) == REFUSED
    other = breaker.admit(RULE, 110.0)
    assert other > 0
    assert breaker.ended(RULE, probe, False, 111.0), "what it says is true, however late"
    breaker.ended(RULE, other, True, 111.0)
    assert not breaker.is_open, "one of many now"


def test_a_probe_that_says_nothing_lets_another_one_go_at_once() -> None:
    breaker = opened()
    breaker.withdrawn(breaker.admit(RULE, 105.0), 105.5)
    assert breaker.due_in(105.5) == 0.0
    assert breaker.admit(RULE, 105.5) > 0


def test_what_was_sent_before_it_opened_decides_nothing() -> None:
    breaker = opened()
    breaker.ended(RULE, NO_PROBE, False, 106.0)
    assert breaker.is_open


def test_a_probe_of_an_earlier_time_decides_nothing() -> None:
    breaker = opened()
    late, first = breaker.admit(RULE, 105.0), breaker.admit(RULE, 110.0)
    breaker.ended(RULE, first, False, 110.0)
    fails(breaker, 4, 111.0)
    breaker.withdrawn(late, 112.0)
    breaker.ended(RULE, late, False, 112.0)
    assert breaker.is_open
    assert breaker.due_in(112.0) == pytest.approx(4.0)


@pytest.mark.parametrize(("now", "seconds"), [(100.0, 5), (100.1, 5), (104.5, 1), (106.0, 1)])
def test_clients_are_told_whole_seconds(now: float, seconds: int) -> None:
    assert opened().retry_after(now) == seconds


def test_a_breaker_that_is_taken_away_is_closed() -> None:
    breaker = opened()
    breaker.reset()
    assert breaker.admit(RULE, 100.0) == NO_PROBE
    assert breaker.due_in(100.0) == 0.0


# ── what it is told ──


@pytest.mark.parametrize(
    ("reason", "status", "says", "failed"),
    [
        (errors.OK, 200, True, False),
        (errors.OK, 101, True, False),
        (errors.OK, 404, True, False),
        (errors.OK, 429, True, False),
        (errors.OK, 500, True, True),
        (errors.OK, 503, True, True),
        (errors.UPSTREAM_CONNECT_FAILED, 0, True, True),
        (errors.UPSTREAM_RESET, 0, True, True),
        (errors.UPSTREAM_BAD_RESPONSE, 0, True, True),
        (errors.UPSTREAM_TIMEOUT, 0, True, True),
        (errors.UPSTREAM_CUT, 200, True, True),
        (errors.CLIENT_GONE, 0, False, False),
        (errors.CLIENT_GONE, 200, False, False),
        (errors.BODY_TIMEOUT, 0, False, False),
        (errors.QUEUE_FULL, 0, False, False),
        (errors.QUEUE_TIMEOUT, 0, False, False),
        (errors.CONNECTION_LIMIT, 0, False, False),
        (errors.DRAINING, 0, False, False),
        (errors.CIRCUIT_OPEN, 0, False, False),
    ],
)
def test_what_an_end_says_of_the_service(reason: errors.Reason, status: int, says: bool, failed: bool) -> None:
    assert says_something(reason) is says
    assert has_failed(reason, status) is failed


# ── several processes ──


def test_processes_share_one_state() -> None:
    cells = private_cells()
    one, other = made(cells), made(cells)
    fails(one, 2, 100.0)
    fails(other, 2, 100.0)
    assert one.is_open
    probe = one.admit(RULE, 105.0)
    assert other.admit(RULE, 105.0) == REFUSED
    assert one.ended(RULE, probe, False, 105.0)
    assert other.admit(RULE, 105.0) == NO_PROBE


def test_what_a_dead_process_left_half_done_is_counted_anew() -> None:
    locks, cells = OneHolder(), private_cells()
    breaker = Breaker(cells, locks)
    fails(breaker, 3, 100.0)
    cells[FAILED] += 5
    locks.died = True
    breaker.ended(RULE, NO_PROBE, True, 100.0)
    assert (cells[ENDED], cells[FAILED]) == (1, 1)


def test_one_that_was_let_go_leaves_the_cells_alone() -> None:
    cells = private_cells()
    breaker = made(cells)
    breaker.let_go()
    fails(breaker, 4, 100.0)
    assert cells.tolist() == [0] * CELLS
    assert repr(breaker) == "<Breaker open until 105.000, 4 of 4 failed>"
    assert repr(made(cells)) == "<Breaker closed, 0 of 0 failed>"
    assert cells[UNTIL] == 0
