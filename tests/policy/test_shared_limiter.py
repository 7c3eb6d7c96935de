"""The shared limiter, held against the limiter of one process, and killed at every store."""

from collections.abc import Callable
from functools import partial
from hashlib import sha256
from math import exp, inf, lgamma, log, log1p
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.exact_log import most_in_any_window
from rawgate.message import Locks
from rawgate.policy.compile_limits import shared_limiters, shared_limiters_need
from rawgate.policy.limiter import Limiter
from rawgate.policy.shared_limiter import LOAD, PLACES, ROOM, SharedLimiter, locks_needed, octets_needed

SEED = b"sixteen octets.."
Hit = tuple[bool, int, int]


class PlainLocks(Locks):
    """Locks of one process, which notice what would stop several."""

    def __init__(self) -> None:
        self.held: list[int] = []

    def acquire(self, stripe: int) -> bool:
        assert all(stripe > other for other in self.held)
        self.held.append(stripe)
        return False

    def release(self, stripe: int) -> None:
        self.held.remove(stripe)


class KilledError(Exception):
    """The process dies here."""


class Mortal(bytearray):
    """Memory whose user dies after so many octets have been stored: at any of them, also within one store."""

    left: float = inf
    stores = 0

    def __setitem__(self, place: Any, value: Any) -> None:
        octets = bytes([value]) if isinstance(value, int) else bytes(value)
        start = place.start if isinstance(place, slice) else place
        if isinstance(place, slice):
            assert place.stop - place.start == len(octets), "it would move what comes after"
        kept = int(min(self.left, len(octets)))
        super().__setitem__(slice(start, start + kept), octets[:kept])
        self.left -= len(octets)
        self.stores += len(octets)
        if self.left < 0:
            raise KilledError


def over(memory: bytearray, capacity: int, tell: Callable[[int], object] = bool) -> SharedLimiter:
    """What one of the processes has."""
    return SharedLimiter(memory, PlainLocks(), capacity, SEED, tell)


def fresh(capacity: int = 1000) -> SharedLimiter:
    return over(bytearray(octets_needed(capacity)), capacity)


RINGS = (("/a", 16.0), ("/a", 0.25), ("/b", 16.0), ("", 86_400.0))
GAPS = st.sampled_from([0.0, 1 / 64, 0.3, 1.0, 15.0, 17.0, 1e6, -0.02, -2.0, -40.0])
MAXIMA = st.sampled_from([1, 2, 3, 7, 255, 1_000_000_000])
STEPS = st.lists(
    st.tuples(st.sampled_from(RINGS), MAXIMA, st.sampled_from(["sub:a", "sub:b", "", "ip:" + "x" * 200]), GAPS),
    min_size=1,
    max_size=80,
)


class TestSameAnswersAsTheLimiterOfOneProcess:
    @given(steps=STEPS, processes=st.integers(1, 3))
    def test_on_any_rings_times_and_maxima(
        self, steps: list[tuple[tuple[str, float], int, str, float]], processes: int
    ) -> None:
        """In several buckets: `capacity` is more than one holds."""
        memory, alone, now = bytearray(octets_needed(300)), Limiter(300), 1000.0
        together = [over(memory, 300) for _ in range(processes)]
        for number, ((name, window), maximum, client, gap) in enumerate(steps):
            now += gap
            shared = together[number % processes].rule(name, maximum, window)
            assert shared.hit(client, now) == alone.rule(name, maximum, window).hit(client, now)
        assert len(together[0]) == len(alone)
        assert together[0].evicted == 0

    @given(
        capacity=st.integers(1, 6),
        hits=st.lists(
            st.tuples(st.integers(0, 2), st.sampled_from("abcdefgh"), st.floats(0.001, 9)), min_size=1, max_size=120
        ),
    )
    def test_at_capacity(self, capacity: int, hits: list[tuple[int, str, float]]) -> None:
        together, alone, now = fresh(capacity), Limiter(capacity), 0.0
        windows = (4.0, 16.0, 64.0)
        ours, theirs = ([limiter.rule(f"/{window}", 2, window) for window in windows] for limiter in (together, alone))
        for number, client, gap in hits:
            now += gap
            assert ours[number].hit(client, now) == theirs[number].hit(client, now)
            assert together.evicted == alone.evicted
            assert len(together) <= capacity

    @given(
        maximum=st.integers(1, 5),
        window=st.sampled_from([0.25, 1 / 3, 7.0, 60.0]),
        gaps=st.lists(st.floats(0, 2.5) | st.integers(0, 20).map(lambda n: n / 16), min_size=1, max_size=150),
    )
    def test_never_more_than_maximum_in_any_window(self, maximum: int, window: float, gaps: list[float]) -> None:
        limiter, now, admitted = fresh(), 17.3, []
        for gap in gaps:
            now += gap * window
            if limiter.rule("/", maximum, window).hit("sub:a", now)[0]:
                admitted.append(now)
        assert most_in_any_window(admitted, window) <= maximum


class TestKeys:
    def test_whole_keys_are_compared(self) -> None:
        """Names and clients that read the same one after the other, and clients that differ in their last octet."""
        limiter = fresh()
        pairs = [("a", "bc"), ("ab", "c"), ("abc", ""), ("", "abc"), ("a", "bc\0"), ("a\0", "bc"), ("a", "b")]
        for size in (1, 80, ROOM - 13, ROOM - 12, ROOM - 11, 200, 5000):
            pairs += [("", "x" * size + last) for last in "yzä"]
        for name, client in pairs:
            assert limiter.rule(name, 1, 60.0).hit(client, 0.0)[0]
            assert not limiter.rule(name, 1, 60.0).hit(client, 0.0)[0]
        assert len(limiter) == len(pairs)

    def test_a_digest_is_not_taken_for_a_key_that_reads_the_same(self) -> None:
        limiter, long = fresh(), b"x" * (ROOM + 1)
        window = limiter.rule("", 1, 60.0)._window  # noqa: SLF001
        assert limiter.count(window, 1, long, 0.0)[0]
        assert limiter.count(window, 1, sha256(long).digest(), 0.0)[0]
        assert not limiter.count(window, 1, long, 0.0)[0]

    def test_text_that_is_no_unicode(self) -> None:
        rule = fresh().rule("\udc80", 1, 60.0)
        assert [rule.hit(client, 0.0)[0] for client in ("\ud800", "\ud801", "\ud800")] == [True, True, False]

    def test_keys_of_one_tag_in_one_bucket(self) -> None:
        limiter = fresh(PLACES)
        rule = limiter.rule("/", 1, 60.0)
        clients = [f"ip:{number}" for number in range(PLACES)]
        assert all(rule.hit(client, 0.0)[0] for client in clients)
        assert not any(rule.hit(client, 0.0)[0] for client in clients)
        tags = limiter._memory[64 : 64 + PLACES]  # noqa: SLF001
        assert len(set(tags)) < PLACES

    def test_more_keys_than_are_remembered(self) -> None:
        """A process remembers where a key belongs for the latest few thousand of them."""
        limiter = fresh(10_000)
        rule = limiter.rule("/", 1, 60.0)
        clients = [f"ip:{number}" for number in range(6000)]
        assert all(rule.hit(client, 0.0)[0] for client in clients)
        assert not any(rule.hit(client, 0.0)[0] for client in clients)
        assert len(limiter._homes) < 4097  # noqa: SLF001

    def test_a_key_that_another_process_has_removed_is_not_where_it_was(self) -> None:
        """Its octets are still there, until another key takes the place."""
        memory = bytearray(octets_needed(2))
        one, other = (over(memory, 2).rule("/", 1, 60.0) for _ in range(2))
        assert [one.hit(client, 0.0)[0] for client in ("a", "b", "a")] == [True, True, False]
        assert other.hit("c", 200.0)[0], "the other two are empty, and go"
        assert one.hit("a", 200.0)[0]
        assert not other.hit("a", 200.0)[0]
        assert len(over(memory, 2)) == 2

    def test_other_seeds_choose_other_buckets(self) -> None:
        def memory(seed: bytes) -> bytearray:
            memory = bytearray(octets_needed(1000))
            SharedLimiter(memory, PlainLocks(), 1000, seed).rule("/", 1, 60.0).hit("a", 0.0)
            return memory

        assert memory(SEED) == memory(SEED)
        assert len({bytes(memory(bytes([octet]) * 16)) for octet in range(8)}) == 8

    @pytest.mark.parametrize(
        ("maximum", "window"), [(0, 1.0), (2**32 - 1, 1.0), (1, 0.0), (1, -1.0), (1, inf), (1, float("nan"))]
    )
    def test_impossible_rules(self, maximum: int, window: float) -> None:
        with pytest.raises(ValueError, match="a rule needs"):
            fresh().rule("/", maximum, window)

    def test_the_largest_maximum(self) -> None:
        assert fresh().rule("/", 2**32 - 2, 60.0).hit("a", 0.0) == (True, 2**32 - 3, 64)

    def test_no_capacity(self) -> None:
        with pytest.raises(ValueError, match="at least one key"):
            fresh(0)

    def test_says_how_it_stands(self) -> None:
        limiter = fresh(10)
        rule = limiter.rule("/a", 3, 60.0)
        rule.hit("a", 0.0)
        assert repr(rule) == "<SharedRule /a: 3 in 60 s>"
        assert repr(limiter) == "<SharedLimiter 1 of 10 keys, 0 evicted>"


class TestCapacity:
    @pytest.mark.parametrize("capacity", [1, PLACES, PLACES + 1, 10_000])
    def test_so_many_live_keys_are_all_kept_and_it_stays_bounded(self, capacity: int) -> None:
        limiter = fresh(capacity)
        rule = limiter.rule("/", 1, 60.0)
        assert all(rule.hit(f"ip:{number}", 0.0)[0] for number in range(capacity))
        assert (len(limiter), limiter.evicted) == (capacity, 0)
        assert not any(rule.hit(f"ip:{number}", 1.0)[0] for number in range(capacity))
        more = max(2 * capacity, 300)
        assert all(rule.hit(f"sub:{number}", 2.0)[0] for number in range(more))
        assert len(limiter) <= max(2 * capacity + PLACES, capacity)
        assert limiter.evicted == capacity + more - len(limiter) > 0

    def test_empty_keys_all_go_before_a_live_one(self) -> None:
        limiter = fresh(4)
        slow, quick = limiter.rule("/slow", 1, 3600.0), limiter.rule("/quick", 1, 1.0)
        slow.hit("old", 0.0)
        for client in "abc":
            quick.hit(client, 50.0)
        assert slow.hit("new", 60.0)[0]
        assert (len(limiter), limiter.evicted) == (2, 0)
        assert not slow.hit("old", 61.0)[0]

    def test_a_request_with_an_older_now_stays_counted_as_long_as_it_counts(self) -> None:
        limiter = fresh(1)
        rule = limiter.rule("/", 9, 16.0)
        rule.hit("a", 10.0)
        rule.hit("a", 5.0)  # counts as one of 10 s
        rule.hit("b", 24.0)
        assert limiter.evicted == 1

    @pytest.mark.parametrize("capacity", [129, 200, 1000, 10_000, 100_000, 1_000_000])
    def test_uneven_buckets_do_not_overflow_before(self, capacity: int) -> None:
        """The probability that any bucket gets more keys than places, at most: binomial tail times buckets."""
        buckets = -(-capacity // LOAD)

        def probability(keys: int) -> float:
            ways = lgamma(capacity + 1) - lgamma(keys + 1) - lgamma(capacity - keys + 1)
            return exp(ways - keys * log(buckets) + (capacity - keys) * log1p(-1 / buckets))

        assert octets_needed(capacity) >= buckets * PLACES * 320
        assert buckets * sum(probability(keys) for keys in range(PLACES + 1, min(capacity, 400) + 1)) < 1e-8

    def test_evictions_are_told_once_by_whoever_came_to_the_number(self) -> None:
        memory, told = bytearray(octets_needed(2)), list[tuple[int, int]]()

        def tell(number: int, count: int) -> None:
            told.append((number, count))

        processes = [over(memory, 2, partial(tell, number)) for number in range(3)]
        rules = [limiter.rule("/", 1, 60.0) for limiter in processes]
        for number in range(122):
            rules[number % 3].hit(f"ip:{number}", float(number) / 100)
        assert [limiter.evicted for limiter in processes] == [120] * 3
        assert told == [(2, 1), (11 % 3, 10), (101 % 3, 100)]


def test_each_of_three_limiters_has_its_own_part() -> None:
    octets, count = shared_limiters_need(2)
    assert (octets, count) == (3 * octets_needed(2), 3 * locks_needed(2))
    memory, told = bytearray(octets), list[str]()
    limiters = shared_limiters(memory, PlainLocks(), 2, lambda about, text: told.append(text), SEED)
    for kind in (limiters.credentials, limiters.addresses, limiters.failures):
        for client in "abc":
            assert kind.rule("/", 1, 60.0).hit(client, 0.0)[0]
        assert not kind.rule("/", 1, 60.0).hit("c", 0.0)[0]
    assert limiters.evicted == 3
    assert [text.partition(" are")[0] for text in told] == [
        "limits.limiter_keys = 2 clients",
        "limits.limiter_keys = 2 addresses",
        "limits.limiter_keys = 2 addresses with wrong credentials",
    ]
    assert len(memory) == octets


def answers(memory: bytearray, capacity: int, now: float) -> tuple[list[Hit], int]:
    """All that can be seen of the state: what each client would be told now and later, and the number of evictions."""
    # Each on a copy of its own, since a hit changes the state.
    told = [
        over(bytearray(memory), capacity).rule(name, 3, window).hit(client, later)
        for later in (now, now + 3.0, now + 14.0, now + 18.0)
        for name, window in (("/", 16.0), ("/long", 3600.0))
        for client in ("a", "b", "c", "d")
    ]
    return told, over(bytearray(memory), capacity).evicted


Past = list[tuple[str, str, float]]
CRASHES: dict[str, tuple[int, Past, tuple[str, str, float]]] = {
    "a new key": (4, [], ("/", "a", 5.0)),
    "a new key beside another": (4, [("/", "b", 5.0)], ("/", "a", 5.0)),
    "a known key": (4, [("/", "a", 5.0)], ("/", "a", 5.0)),
    "again, the other half": (4, [("/", "a", 5.0), ("/", "a", 5.5)], ("/", "a", 5.6)),
    "a known key, later": (4, [("/", "a", 5.0), ("/", "a", 9.0)], ("/", "a", 22.5)),
    "a refused one": (4, [("/", "a", 5.0)] * 3, ("/", "a", 5.0)),
    "a refused one, later": (4, [("/", "a", 5.0)] * 3, ("/", "a", 9.0)),
    "an older now": (4, [("/", "a", 9.0)], ("/", "a", 5.0)),
    "a place that was another's": (1, [("/", "b", 5.0), ("/", "b", 5.0)], ("/", "a", 30.0)),
    "several empty keys": (3, [("/", "b", 5.0), ("/", "c", 5.0), ("/long", "d", 6.0)], ("/", "a", 30.0)),
}


@pytest.mark.parametrize("crash", CRASHES)
def test_killed_at_any_octet_the_state_is_the_old_or_the_new_one(crash: str) -> None:
    capacity, past, (name, client, now) = CRASHES[crash]
    before = Mortal(octets_needed(capacity))
    for past_name, past_client, moment in past:
        over(before, capacity).rule(past_name, 3, 16.0 if past_name == "/" else 3600.0).hit(past_client, moment)
    after = Mortal(before)
    over(after, capacity).rule(name, 3, 16.0).hit(client, now)
    old, new = answers(before, capacity, now), answers(after, capacity, now)
    seen = []
    for octets in range(after.stores + 1):
        memory = Mortal(before)
        memory.left = octets
        dying = over(memory, capacity)
        if octets < after.stores:
            with pytest.raises(KilledError):
                dying.rule(name, 3, 16.0).hit(client, now)
        else:
            dying.rule(name, 3, 16.0).hit(client, now)
        seen.append(answers(memory, capacity, now))
    assert all(state in (old, new) for state in seen)
    assert seen[-1] == new
    # Once it is the new state it stays the new one.
    assert seen == sorted(seen, key=lambda state: state == new)


def test_killed_while_a_live_key_is_evicted() -> None:
    """Two changes, each whole: the eviction, then the new key. The number of evictions is never too small."""
    capacity, past = 2, (("b", 5.0), ("c", 6.0), ("c", 6.0))
    before = Mortal(octets_needed(capacity))
    for client, moment in past:
        over(before, capacity).rule("/", 3, 16.0).hit(client, moment)
    after = Mortal(before)
    over(after, capacity).rule("/", 3, 16.0).hit("a", 7.0)

    def remaining(memory: bytearray, client: str) -> int:
        """What the next hit would leave: 2 of 3 for a client that is not there."""
        return over(bytearray(memory), capacity).rule("/", 3, 16.0).hit(client, 7.0)[1]

    states = []
    for octets in range(after.stores + 1):
        memory = Mortal(before)
        memory.left = octets
        dying = over(memory, capacity)
        if octets < after.stores:
            with pytest.raises(KilledError):
                dying.rule("/", 3, 16.0).hit("a", 7.0)
        else:
            dying.rule("/", 3, 16.0).hit("a", 7.0)
        states.append((over(memory, capacity).evicted, *(remaining(memory, client) for client in "abc")))
    # (evicted, then what "a", "b" and "c" have left): counted, evicted, added.
    assert list(dict.fromkeys(states)) == [(0, 2, 1, 0), (1, 2, 1, 0), (1, 2, 2, 0), (1, 1, 2, 0)]
