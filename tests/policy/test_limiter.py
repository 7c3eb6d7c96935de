"""The limiter's promises, held against an exact log of every admitted request, with time handed in."""

import gc
import random
import tracemalloc
from collections.abc import Callable, Sequence
from copy import deepcopy
from fractions import Fraction
from itertools import pairwise
from math import ceil, inf, nextafter, ulp

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from harness.exact_log import is_longer, most_in_any_window
from rawgate.policy.limiter import COUNTERS, SUBWINDOWS, Limiter, Rule

CLIENT = "sub:alice"
WINDOWS = [0.25, 1.0, 7.0, 60.0, 86_400.0, 604_800.0, 0.1, 1 / 3]
STARTS = [0.0, 17.3, 1e6, 1e9 + 0.7]


def make_rule(maximum: int, window: float, capacity: int = 1000) -> Rule:
    return Limiter(capacity).rule("/api", maximum, window)


def seeded(seed: int) -> random.Random:
    return random.Random(seed)  # noqa: S311  the same traces in every run; no secrets


def uniform(dice: random.Random, window: float, maximum: int) -> list[float]:
    """Evenly spaced, at three times the limit."""
    return [i * window / (3 * maximum) for i in range(12 * maximum)]


def poisson(dice: random.Random, window: float, maximum: int) -> list[float]:
    moment, trace = 0.0, []
    for _ in range(12 * maximum):
        moment += dice.expovariate(2 * maximum / window)
        trace.append(moment)
    return trace


def on_off(dice: random.Random, window: float, maximum: int) -> list[float]:
    """Bursts of a tenth of a window, a random silence of up to two windows between them."""
    moment, trace = 0.0, []
    for _ in range(10):
        trace += sorted(moment + dice.uniform(0, window / 10) for _ in range(maximum))
        moment = trace[-1] + dice.uniform(0, 2 * window)
    return trace


def border_bursts(dice: random.Random, window: float, maximum: int) -> list[float]:
    """All that is allowed just before each border of windows and sub-windows, and again just after it."""
    trace: list[float] = []
    for sixteenths in (16, 32, 33, 48, 49, 64, 65, 66):
        border = sixteenths * window / SUBWINDOWS
        trace += [nextafter(border, 0.0)] * maximum + [border] * maximum + [nextafter(border, inf)] * maximum
    return trace


Trace = Callable[[random.Random, float, int], list[float]]
TRACES = [uniform, poisson, on_off, border_bursts]


def admitted_moments(rule: Rule, moments: Sequence[float]) -> list[float]:
    return [now for now in moments if rule.hit(CLIENT, now)[0]]


def ceil_product(factor: int, span: float) -> float:
    """The first float that is not less than the product."""
    product = factor * span
    return product if Fraction(product) >= factor * Fraction(span) else nextafter(product, inf)


class TestNeverMoreThanMaximum:
    @pytest.mark.parametrize("start", STARTS)
    @pytest.mark.parametrize("window", WINDOWS)
    @pytest.mark.parametrize("trace", TRACES)
    def test_in_any_closed_interval_of_a_window(self, trace: Trace, window: float, start: float) -> None:
        for maximum in (1, 7, 100):
            moments = [start + offset for offset in trace(seeded(7), window, maximum)]
            admitted = admitted_moments(make_rule(maximum, window), moments)
            assert len(admitted) >= maximum
            assert most_in_any_window(admitted, window) <= maximum

    @given(
        maximum=st.integers(1, 5),
        window=st.sampled_from(WINDOWS),
        start=st.sampled_from(STARTS),
        gaps=st.lists(st.floats(0, 2.5) | st.integers(0, 20).map(lambda n: n / 16), min_size=1, max_size=150),
    )
    def test_on_any_trace(self, maximum: int, window: float, start: float, gaps: list[float]) -> None:
        moments = [start]
        for gap in gaps:
            moments.append(moments[-1] + gap * window)
        admitted = admitted_moments(make_rule(maximum, window), moments)
        assert most_in_any_window(admitted, window) <= maximum

    @pytest.mark.parametrize("window", WINDOWS)
    @pytest.mark.parametrize("subwindow", [1, 2, 3, 1000, 64_000_000_003])
    def test_one_float_from_a_border(self, window: float, subwindow: int) -> None:
        border = subwindow * window / SUBWINDOWS
        for earlier in (nextafter(border, 0.0), border, nextafter(border, inf)):
            rule = make_rule(1, window)
            assert rule.hit(CLIENT, earlier)[0]
            later = earlier + window
            while is_longer(earlier, later, window):
                later = nextafter(later, 0.0)
            assert not rule.hit(CLIENT, later)[0]

    def test_two_requests_exactly_a_window_apart_are_in_one_interval(self) -> None:
        rule = make_rule(1, 16.0)
        assert rule.hit(CLIENT, 5.0)[0]
        assert not rule.hit(CLIENT, 21.0)[0]
        assert rule.hit(CLIENT, 22.0)[0]

    @pytest.mark.parametrize("maximum", [1, 2, 3, 6, 7, 8, 254, 255, 256, 100_000])
    def test_a_full_window_is_counted_to_the_last_request(self, maximum: int) -> None:
        rule = make_rule(maximum, 16.0)
        hits = [rule.hit(CLIENT, 3.0) for _ in range(maximum + 2)]
        assert [admitted for admitted, _, _ in hits] == [True] * maximum + [False] * 2
        assert not rule.hit(CLIENT, 19.5)[0]
        assert rule.hit(CLIENT, 20.0) == (True, maximum - 1, 17)


class TestAdmitsWhatItCan:
    @pytest.mark.parametrize("window", WINDOWS)
    @pytest.mark.parametrize("trace", TRACES)
    def test_refuses_only_what_seventeen_subwindows_are_full_of(self, trace: Trace, window: float) -> None:
        maximum = 10
        rule = make_rule(maximum, window)
        admitted: list[float] = []
        refused = 0
        for now in trace(seeded(11), window, maximum):
            if rule.hit(CLIENT, now)[0]:
                admitted.append(now)
            else:
                refused += 1
                assert not is_longer(admitted[-maximum], now, window * COUNTERS / SUBWINDOWS)
        assert refused > 0

    @pytest.mark.parametrize("maximum", [1, 10, 100])
    def test_a_client_that_never_stops_gets_max_in_17_16_of_a_window(self, maximum: int) -> None:
        rule = make_rule(maximum, 16.0)
        moments = [i / 64 for i in range(64 * 17 * 5) for _ in range(2)]
        assert len(admitted_moments(rule, moments)) == 5 * maximum

    def test_below_the_limit_nothing_is_refused(self) -> None:
        rule = make_rule(17, 16.0)
        assert all(rule.hit(CLIENT, float(second))[0] for second in range(1000))

    def test_a_long_silence_frees_everything(self) -> None:
        rule = make_rule(5, 0.25)
        for _ in range(6):
            rule.hit(CLIENT, 1.0)
        assert rule.hit(CLIENT, 1e9) == (True, 4, 1)


class TestReset:
    @given(
        maximum=st.integers(1, 4),
        window=st.sampled_from(WINDOWS),
        start=st.sampled_from(STARTS) | st.floats(0, 1e9),
        gaps=st.lists(st.floats(0, 0.5), max_size=40),
        late=st.sampled_from([0.0, 1e-7, 0.3, 1e6]),
    )
    def test_a_retry_then_or_later_is_admitted(
        self, maximum: int, window: float, start: float, gaps: list[float], late: float
    ) -> None:
        rule = make_rule(maximum, window)
        now = start
        admitted, remaining, reset = rule.hit(CLIENT, now)
        for gap in gaps:
            now += gap * window
            admitted, remaining, reset = rule.hit(CLIENT, now)
        while admitted:
            admitted, remaining, reset = rule.hit(CLIENT, now)
        assert reset >= 1
        assert remaining == 0
        assert rule.hit(CLIENT, now + reset + late)[0]

    @given(window=st.sampled_from(WINDOWS), gaps=st.lists(st.floats(0, 0.3), min_size=1, max_size=20))
    @example(window=86400.0, gaps=[0.0, 0.29999999999999993])  # the difference is rounded up beyond a whole second
    def test_a_second_earlier_nothing_would_have_grown(self, window: float, gaps: list[float]) -> None:
        rule = make_rule(100, window)
        now = 1000.0
        for gap in gaps:
            now += gap * window
            _, remaining, reset = rule.hit(CLIENT, now)
        assert 1 <= reset <= ceil(window * COUNTERS / SUBWINDOWS)
        if reset > 1:
            assert rule.hit(CLIENT, now + reset - 1)[1] == remaining - 1
            assert rule.hit(CLIENT, now + reset)[1] > remaining - 2

    @pytest.mark.parametrize(
        ("window", "first", "now", "reset"),
        [
            pytest.param(16.0, 0.0, 0.0, 17, id="from the start of a sub-window"),
            pytest.param(16.0, 0.5, 0.5, 17, id="rounded up"),
            pytest.param(16.0, 0.0, 16.0, 1, id="a whole second before"),
            pytest.param(16.0, 0.0, nextafter(17.0, 0.0), 1, id="the last float before"),
            pytest.param(0.25, 0.0, 0.0, 1, id="less than a second"),
            pytest.param(60.0, 3.75, 10.0, 58, id="a minute"),
        ],
    )
    def test_whole_seconds_rounded_up(self, window: float, first: float, now: float, reset: int) -> None:
        rule = make_rule(2, window)
        rule.hit(CLIENT, first)
        assert rule.hit(CLIENT, now)[2] == reset

    def test_is_about_the_oldest_request_that_counts(self) -> None:
        rule = make_rule(3, 16.0)
        assert [rule.hit(CLIENT, now)[2] for now in (0.0, 5.0, 9.0)] == [17, 12, 8]
        assert rule.hit(CLIENT, 17.0) == (True, 0, 5)

    @given(window=st.floats(16.5, 23.5))
    def test_where_both_difference_and_sum_are_rounded_down(self, window: float) -> None:
        """Half of the last place short of a whole number of seconds before the release, early in the clock's life."""
        release = ceil_product(COUNTERS, window / SUBWINDOWS)
        now = release - int(release) - ulp(release) / 2
        rule = make_rule(1, window)
        assume(0 <= now < window / SUBWINDOWS)
        rule.hit(CLIENT, now)
        _, _, reset = rule.hit(CLIENT, now)
        assert rule.hit(CLIENT, now + reset)[0]

    @pytest.mark.parametrize("subwindow", range(40, 400))
    def test_on_the_very_float_where_a_subwindow_starts(self, subwindow: int) -> None:
        """Multiples of a width that has no short form: about every second one is rounded down."""
        rule = make_rule(1, 16.9)
        now = subwindow * (16.9 / SUBWINDOWS) - 17
        rule.hit(CLIENT, now)
        admitted, _, reset = rule.hit(CLIENT, now)
        assert not admitted
        assert rule.hit(CLIENT, now + reset)[0]


class TestRemaining:
    @given(
        maximum=st.integers(1, 6),
        window=st.sampled_from(WINDOWS),
        gaps=st.lists(st.floats(0, 1.2), min_size=1, max_size=30),
    )
    def test_so_many_more_are_admitted_at_once(self, maximum: int, window: float, gaps: list[float]) -> None:
        rule = make_rule(maximum, window)
        now, remaining = 5.0, 0
        for gap in gaps:
            now += gap * window
            _, remaining, _ = rule.hit(CLIENT, now)
        assert [rule.hit(CLIENT, now)[:2] for _ in range(remaining)] == [(True, n) for n in reversed(range(remaining))]
        assert rule.hit(CLIENT, now)[:2] == (False, 0)

    @given(
        moments=st.lists(st.floats(0, 100), max_size=40).map(sorted),
        refused=st.lists(st.integers(0, 3), min_size=40, max_size=40),
    )
    def test_refused_requests_take_nothing(self, moments: list[float], refused: list[int]) -> None:
        """Requests that were refused can be left out of a trace, and all other decisions stay."""
        quiet, noisy = make_rule(3, 16.0), make_rule(3, 16.0)
        for now, extra in zip(moments, refused, strict=False):
            decision = noisy.hit(CLIENT, now)
            if not decision[0]:
                for _ in range(extra):
                    assert noisy.hit(CLIENT, now) == decision
                continue
            assert quiet.hit(CLIENT, now) == decision


class TestAClockThatStepsBack:
    @given(
        maximum=st.integers(1, 5),
        window=st.sampled_from(WINDOWS),
        steps=st.lists(st.floats(-3, 1.5), min_size=1, max_size=150),
    )
    def test_counts_as_the_latest_time_seen(self, maximum: int, window: float, steps: list[float]) -> None:
        stepping, steady = make_rule(maximum, window), make_rule(maximum, window)
        now, latest = 1000.0, -inf
        admitted = []
        for step in steps:
            now += step * window
            latest = max(latest, now)
            decision = stepping.hit(CLIENT, now)
            assert decision[:2] == steady.hit(CLIENT, latest)[:2]
            if decision[0]:
                admitted.append(latest)
        assert most_in_any_window(admitted, window) <= maximum

    @given(back=st.floats(0, 1e6))
    def test_a_retry_after_reset_is_admitted(self, back: float) -> None:
        rule = make_rule(1, 60.0)
        rule.hit(CLIENT, 1e6)
        admitted, _, reset = rule.hit(CLIENT, 1e6 - back)
        assert not admitted
        assert rule.hit(CLIENT, 1e6 - back + reset)[0]

    def test_before_zero(self) -> None:
        rule = make_rule(1, 16.0)
        assert rule.hit(CLIENT, -0.5)[0]
        assert not rule.hit(CLIENT, 15.5)[0]
        assert rule.hit(CLIENT, 16.0)[0]

    def test_at_capacity(self) -> None:
        limiter = Limiter(2)
        rule = limiter.rule("/api", 1, 16.0)
        for client, now in (("a", 100.0), ("b", 0.0), ("c", 0.0)):
            assert rule.hit(client, now)[0]
        assert len(limiter) == 2
        assert limiter.evicted == 1


class TestKeys:
    def test_clients_do_not_mix(self) -> None:
        rule = make_rule(1, 60.0)
        assert rule.hit("sub:a", 0.0)[0]
        assert rule.hit("key:a", 0.0)[0]
        assert not rule.hit("sub:a", 0.0)[0]

    def test_rules_with_the_same_client_do_not_mix(self) -> None:
        limiter = Limiter(10)
        first, second = limiter.rule("/a", 1, 60.0), limiter.rule("/b", 2, 0.25)
        assert first.hit(CLIENT, 0.0) == (True, 0, 64)
        assert second.hit(CLIENT, 0.0) == (True, 1, 1)
        assert not first.hit(CLIENT, 1.0)[0]
        assert second.hit(CLIENT, 1.0)[0]
        assert len(limiter) == 2

    @pytest.mark.parametrize(
        ("maximum", "window"), [(0, 1.0), (-1, 1.0), (1, 0.0), (1, -1.0), (1, inf), (1, float("nan"))]
    )
    def test_impossible_rules(self, maximum: int, window: float) -> None:
        with pytest.raises(ValueError, match="a rule needs"):
            make_rule(maximum, window)

    def test_no_capacity(self) -> None:
        with pytest.raises(ValueError, match="at least one key"):
            Limiter(0)

    def test_says_how_it_stands(self) -> None:
        limiter = Limiter(10)
        rule = limiter.rule("/a", 3, 60.0)
        rule.hit(CLIENT, 0.0)
        assert repr(rule) == "<Rule /a: 3 in 60 s, 1 clients>"
        assert repr(limiter) == "<Limiter 1 of 10 keys, 1 rings, 0 evicted>"


class TestRulesThatChange:
    """A rule that is asked for again, as a new gate over the same limiter does."""

    def test_the_counters_are_the_same(self) -> None:
        limiter = Limiter(10)
        assert limiter.rule("/a", 2, 16.0).hit(CLIENT, 0.0) == (True, 1, 17)
        assert limiter.rule("/a", 2, 16.0).hit(CLIENT, 0.0) == (True, 0, 17)
        assert limiter.rule("/a", 2, 16.0).hit(CLIENT, 16.0) == (False, 0, 1)
        assert limiter.rule("/a", 2, 16.0).hit(CLIENT, 17.0) == (True, 1, 17)
        assert len(limiter) == 1

    def test_both_may_be_used_side_by_side(self) -> None:
        limiter = Limiter(10)
        old, new = limiter.rule("/a", 3, 16.0), limiter.rule("/a", 1, 16.0)
        assert [old.hit(CLIENT, 0.0)[:2], new.hit(CLIENT, 0.0)[:2]] == [(True, 2), (False, 0)]
        assert [old.hit(CLIENT, 0.0)[:2], new.hit(CLIENT, 0.0)[:2]] == [(True, 1), (False, 0)]

    @pytest.mark.parametrize("maximum", [3, 5, 7, 8, 1000, 10**6])
    def test_a_raised_maximum_counts_what_was_admitted_before(self, maximum: int) -> None:
        limiter = Limiter(10)
        old = limiter.rule("/a", 2, 16.0)
        for now in (0.0, 5.0):
            assert old.hit(CLIENT, now)[0]
        new = limiter.rule("/a", maximum, 16.0)
        assert new.hit(CLIENT, 6.0) == (True, maximum - 3, 11)
        assert new.hit(CLIENT, 17.0)[1] == maximum - 3
        assert new.hit(CLIENT, 22.0)[1] == maximum - 3
        assert old.hit(CLIENT, 22.0) == (False, 0, 12)

    def test_who_is_over_a_lowered_maximum_waits_until_it_is_below(self) -> None:
        limiter = Limiter(10)
        old = limiter.rule("/a", 6, 16.0)
        for now in (0.0, 0.0, 3.0, 4.0, 4.0, 9.0):
            assert old.hit(CLIENT, now)[0]
        new = limiter.rule("/a", 3, 16.0)
        # The two of 0 s, the one of 3 s and the two of 4 s have to go, or three would be left.
        assert new.hit(CLIENT, 10.0) == (False, 0, 11)
        assert new.hit(CLIENT, 20.0) == (False, 0, 1)
        assert new.hit(CLIENT, 21.0) == (True, 1, 5)

    def test_another_window_begins_anew(self) -> None:
        limiter = Limiter(2)
        old = limiter.rule("/a", 1, 16.0)
        assert old.hit(CLIENT, 0.0)[0]
        new = limiter.rule("/a", 1, 32.0)
        assert new.hit(CLIENT, 0.0)[0]
        assert not old.hit(CLIENT, 16.0)[0]
        assert not new.hit(CLIENT, 33.0)[0]
        # What the old ring holds has become empty, and goes first.
        assert new.hit("another", 33.0)[0]
        assert (len(old), len(new), limiter.evicted) == (0, 2, 0)

    @given(
        st.lists(
            st.tuples(st.sampled_from([0.0, 0.5, 1.0, 3.0, 9.0, 40.0]), st.sampled_from([1, 2, 3, 6, 7, 40])),
            min_size=1,
            max_size=60,
        )
    )
    def test_each_decision_keeps_the_maximum_of_its_rule(self, steps: list[tuple[float, int]]) -> None:
        limiter, admitted, now = Limiter(10), list[float](), 0.0
        for gap, maximum in steps:
            now += gap
            let_in, remaining, reset = limiter.rule("/a", maximum, 16.0).hit(CLIENT, now)
            if let_in:
                admitted.append(now)
                assert sum(now - moment <= 16.0 for moment in admitted) <= maximum
                assert remaining < maximum
            else:
                assert sum(now - moment < 17.0 for moment in admitted) >= maximum
                later = deepcopy(limiter).rule("/a", maximum, 16.0)
                assert later.hit(CLIENT, now + reset)[0]
                assert reset == 1 or not deepcopy(limiter).rule("/a", maximum, 16.0).hit(CLIENT, now + reset - 1)[0]

    def test_impossible_numbers_change_nothing(self) -> None:
        limiter = Limiter(10)
        rule = limiter.rule("/a", 1, 16.0)
        with pytest.raises(ValueError, match="a rule needs"):
            limiter.rule("/a", 0, 16.0)
        assert rule.hit(CLIENT, 0.0) == (True, 0, 17)


class TestCapacity:
    def test_an_empty_key_goes_first_and_is_not_counted(self) -> None:
        limiter = Limiter(2)
        slow, quick = limiter.rule("/slow", 1, 3600.0), limiter.rule("/quick", 1, 1.0)
        slow.hit("old", 0.0)
        quick.hit("brief", 50.0)
        assert quick.hit("new", 60.0)[0]
        assert limiter.evicted == 0
        assert not slow.hit("old", 61.0)[0]

    def test_an_empty_key_of_another_rule_goes_before_a_live_one_of_the_same(self) -> None:
        limiter = Limiter(2)
        slow, quick = limiter.rule("/slow", 1, 3600.0), limiter.rule("/quick", 1, 1.0)
        slow.hit("old", 0.0)
        quick.hit("brief", 0.0)
        assert slow.hit("new", 60.0)[0]
        assert (len(slow), len(quick), limiter.evicted) == (2, 0, 0)

    def test_when_all_are_live_the_longest_idle_goes_and_is_counted(self) -> None:
        limiter = Limiter(3)
        first, second = limiter.rule("/a", 5, 3600.0), limiter.rule("/b", 5, 86_400.0)
        first.hit("x", 300.0)
        second.hit("y", 600.0)
        first.hit("z", 900.0)
        first.hit("x", 1200.0)
        first.hit("new", 1500.0)
        assert (len(first), len(second), limiter.evicted) == (3, 0, 1)
        first.hit("newer", 1800.0)
        assert limiter.evicted == 2
        assert first.hit("x", 2100.0)[1] == 2

    def test_among_those_of_one_sub_window_the_first_goes(self) -> None:
        limiter = Limiter(2)
        rule = limiter.rule("/a", 5, 3600.0)
        for moment, client in ((1.0, "x"), (2.0, "y"), (224.0, "x"), (226.0, "new")):
            rule.hit(client, moment)
        assert rule.hit("y", 227.0)[1] == 3, "it is not forgotten"
        assert rule.hit("x", 228.0)[1] == 4

    def test_idle_since_the_last_request_not_the_first(self) -> None:
        limiter = Limiter(2)
        first, second = limiter.rule("/a", 5, 3600.0), limiter.rule("/b", 5, 3600.0)
        first.hit("x", 1.0)
        second.hit("y", 2.0)
        first.hit("x", 3.0)
        first.hit("new", 4.0)
        assert (len(first), len(second)) == (2, 0)

    def test_a_client_that_is_only_refused_is_found_when_it_is_empty(self) -> None:
        limiter = Limiter(2)
        rule = limiter.rule("/a", 1, 16.0)
        rule.hit("full", 0.0)
        rule.hit("live", 8.0)
        assert not rule.hit("full", 16.0)[0]
        assert rule.hit("new", 17.0)[0]
        assert limiter.evicted == 0
        assert not rule.hit("live", 18.0)[0]

    def test_a_known_client_needs_no_room(self) -> None:
        limiter = Limiter(1)
        rule = limiter.rule("/a", 9, 60.0)
        assert [rule.hit(CLIENT, float(now))[1] for now in range(3)] == [8, 7, 6]
        assert limiter.evicted == 0

    @given(
        capacity=st.integers(1, 6),
        hits=st.lists(
            st.tuples(st.integers(0, 2), st.sampled_from("abcdefgh"), st.floats(0.001, 9)), min_size=1, max_size=120
        ),
    )
    def test_a_live_key_goes_only_where_none_is_empty(self, capacity: int, hits: list[tuple[int, str, float]]) -> None:
        limiter = Limiter(capacity)
        windows = [4.0, 16.0, 64.0]
        rules = [limiter.rule(f"/{window}", 2, window) for window in windows]
        width = [window / SUBWINDOWS for window in windows]
        last_admitted: dict[tuple[int, str], float] = {}
        now, evicted = 0.0, 0
        for number, client, gap in hits:
            now += gap
            key = (number, client)
            if key not in last_admitted and len(last_admitted) == capacity:
                empty = [k for k, at in last_admitted.items() if now // width[k[0]] - at // width[k[0]] >= COUNTERS]
                evicted += not empty
                # Which of several empty keys goes makes no difference to any decision: it may as well be all of them.
                for gone in empty or [min(last_admitted, key=last_admitted.__getitem__)]:
                    del last_admitted[gone]
            if rules[number].hit(client, now)[0]:
                last_admitted[key] = now
            assert len(limiter) <= capacity
        assert limiter.evicted == evicted

    def test_a_million_clients_stay_within_capacity_and_memory(self) -> None:
        capacity = 10_000
        limiter = Limiter(capacity)
        rules = [limiter.rule("/a", 100, 60.0), limiter.rule("/b", 5, 1.0)]

        def attack(numbers: range) -> None:
            for number in numbers:
                rules[number & 1].hit(f"ip:10.{number:07}", 1e6 + number * 1e-4)

        attack(range(800_000))
        # Nothing held now outlasts 20 times as many clients as there are places: from here, all that counts is traced.
        gc.collect()
        tracemalloc.start()
        try:
            attack(range(800_000, 1_000_000))
            held, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert len(limiter) == sum(map(len, rules)) == capacity
        assert held < 400 * capacity
        assert peak < 600 * capacity

    def test_keys_with_all_counters_in_use_stay_within_memory(self) -> None:
        clients = [f"sub:user-{number:07}" for number in range(5_000)]
        limiter = Limiter(len(clients))
        rule = limiter.rule("/a", 1000, 16.0)
        gc.collect()
        tracemalloc.start()
        try:
            for second, client in ((second, client) for second in range(40) for client in clients):
                rule.hit(client, 1e6 + second)
            held, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert held < 400 * len(clients)
        assert limiter.evicted == 0

    def test_no_promise_is_broken_while_nothing_was_evicted(self) -> None:
        dice = seeded(5)
        limiter = Limiter(40)
        rule = limiter.rule("/a", 3, 16.0)
        log: dict[str, list[float]] = {}
        now = 0.0
        for _ in range(20_000):
            now += dice.expovariate(4.0)
            client = f"ip:{int(now) // 30}.{dice.randrange(12)}"
            if rule.hit(client, now)[0]:
                log.setdefault(client, []).append(now)
        assert limiter.evicted == 0
        assert len(log) > 10 * limiter.capacity
        assert max(most_in_any_window(moments, 16.0) for moments in log.values()) == 3
        assert all(earlier <= later for moments in log.values() for earlier, later in pairwise(moments))


def test_a_rule_that_is_made_changes_no_counters_until_it_counts() -> None:
    """A reload makes rules in a thread, while the event loop counts under the old ones."""
    limiter = Limiter(10)
    old = limiter.rule("r", 1, 60.0)
    assert old.hit("a", 0.0)[0]
    before = old._ring.most  # noqa: SLF001
    new = limiter.rule("r", 1000, 60.0)
    assert old._ring.most == before  # noqa: SLF001
    assert not old.hit("a", 10.0)[0]
    assert new.hit("a", 10.0) == (True, 998, 54)
