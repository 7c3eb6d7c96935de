"""The window as a script, in a real redis-server, beside the limiter of one process and an exact log of times."""

from collections.abc import Callable, Iterator
from math import ceil
from pathlib import Path
from typing import Any

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rawgate.policy.limiter import COUNTERS, SUBWINDOWS, Limiter
from rawgate.policy.store_scripts import CLOCK, COUNT, LONGEST, SHARE, TAKE_BACK, counter_key, key_prefix, width_of
from tools.storing.model import ModelStore
from tools.storing.server import STORE, redis_server

pytestmark = pytest.mark.process

TIMED = COUNT.replace(CLOCK, "{ARGV[5], ARGV[6]}")
"""The same script with a clock of ours: nothing but where it reads the time is different."""

QUICK = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
WINDOW = 16.0
WIDTH = 1_000_000
STEPS = st.lists(st.tuples(st.sampled_from([0, 0, 0, 1, 3, 4, 5, 64, 68, 80, 1000]), st.integers(1, 5)), max_size=60)
"""Quarters of a sub-window since the hit before, and what it may be at most."""


class Script:
    """The counter of one client in the store. Times are in microseconds."""

    def __init__(self, client: Any) -> None:
        self._count = client.register_script(TIMED)
        self._take_back = client.register_script(TAKE_BACK)
        self._client = client
        self.key = b"counter"
        client.flushall()

    def hit(self, maximum: int, now: int, need: int = 1, extra: int = 0) -> list[int]:
        arguments = (WIDTH, maximum, need, extra, *divmod(now, 1_000_000))
        found: list[int] = self._count(keys=[self.key], args=arguments)
        return found

    def take_back(self, subwindow: int, count: int = 1) -> int:
        found: int = self._take_back(keys=[self.key], args=(WIDTH, subwindow, count))
        return found

    def expires(self) -> int:
        """Milliseconds."""
        found: int = self._client.pttl(self.key)
        return found


@pytest.fixture(scope="module")
def client(program: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    folder: Path = tmp_path_factory.mktemp("redis")
    with redis_server(program(STORE), folder) as server:
        client = redis.Redis(unix_socket_path=server.path)
        yield client
        client.close()


def test_the_clock_is_all_that_tests_change() -> None:
    assert COUNT.count(CLOCK) == 1


@QUICK
@given(STEPS)
def test_it_answers_as_the_limiter_of_one_process(client: Any, steps: list[tuple[int, int]]) -> None:
    script, limiter, now = Script(client), Limiter(10), 10_000_000
    for quarters, maximum in steps:
        now += quarters * WIDTH // 4
        granted, free, release, left, subwindow = script.hit(maximum, now)
        admitted, remaining, reset = limiter.rule("a", maximum, WINDOW).hit("c", now / 1e6)
        assert (granted, free, max(1, ceil(release / 1e6))) == (int(admitted), remaining, reset)
        assert (subwindow, left) == (now // WIDTH, WIDTH - now % WIDTH)


@QUICK
@given(STEPS)
def test_no_window_has_more_than_the_maximum(client: Any, steps: list[tuple[int, int]]) -> None:
    script, now, maximum = Script(client), 10_000_000, 3
    log: list[int] = []
    for quarters, need in steps:
        now += quarters * WIDTH // 4
        granted, free, *_ = script.hit(maximum, now, need, extra=need)
        log += [now] * granted
        inside = sum(time >= now - WINDOW * 1e6 for time in log)
        assert inside <= maximum
        # What counts is released after 17/16 of the window, so fewer than these are never refused.
        counts = sum(time > now - WIDTH * COUNTERS for time in log)
        assert granted >= min(need, maximum - (counts - granted)) or granted + free == 0


@QUICK
@given(st.lists(st.tuples(st.sampled_from([0, 1, 4, 8, 64, 68, 80]), st.booleans()), max_size=40))
def test_what_is_taken_back_never_counted(client: Any, steps: list[tuple[int, bool]]) -> None:
    """Beside a limiter that never saw it; it is taken back one step later, when time has gone on."""
    script, limiter, now = Script(client), Limiter(10), 10_000_000
    held: list[int] = []
    for quarters, stays in steps:
        now += quarters * WIDTH // 4
        for subwindow in held:
            script.take_back(subwindow)
        held = []
        granted, _, release, _, subwindow = script.hit(3, now)
        if not stays and granted:
            held.append(subwindow)
            continue
        admitted, _, reset = limiter.rule("a", 3, WINDOW).hit("c", now / 1e6)
        assert bool(granted) == admitted
        assert admitted or ceil(release / 1e6) == reset


def test_a_question_of_several(client: Any) -> None:
    script = Script(client)
    assert script.hit(10, 0, need=3)[:2] == [3, 7]
    assert script.hit(10, 0, need=9)[:2] == [7, 0]
    assert script.hit(10, 0, need=1) == [0, 0, COUNTERS * WIDTH, WIDTH, 0]


def test_more_is_lent_only_while_there_is_much(client: Any) -> None:
    script = Script(client)
    assert script.hit(100, 0, need=1, extra=50)[:2] == [1 + 99 // SHARE, 75]
    assert script.hit(100, 0, need=1, extra=3)[:2] == [4, 71]
    assert script.hit(33, 0, need=1, extra=50)[:2] == [1, 3]


def test_it_expires_when_the_last_is_released(client: Any) -> None:
    script = Script(client)
    script.hit(5, 0)
    assert 16_900 < script.expires() <= 17_001
    script.take_back(0)
    assert 16_000 < script.expires() <= 17_001


def test_a_clock_that_is_set_back_stands_still(client: Any) -> None:
    script = Script(client)
    assert script.hit(2, 100 * WIDTH)[0] == 1
    granted, free, release, left, subwindow = script.hit(2, 98 * WIDTH)
    assert (granted, free, subwindow) == (1, 0, 100)
    assert (release, left) == (19 * WIDTH, 3 * WIDTH)
    assert script.hit(2, 98 * WIDTH)[0] == 0
    # Set back by more than a window: it would stand still for too long.
    assert script.hit(2, 50 * WIDTH) == [1, 1, COUNTERS * WIDTH, WIDTH, 50]


def test_to_take_back_what_is_gone_is_nothing(client: Any) -> None:
    script = Script(client)
    assert script.take_back(5) == 0
    script.hit(2, 100 * WIDTH)
    assert script.take_back(100 - COUNTERS) == 0
    assert script.hit(2, 100 * WIDTH)[:2] == [1, 0]
    assert script.take_back(100, 5) == 1
    assert script.hit(2, 100 * WIDTH)[:2] == [1, 1]


@pytest.mark.parametrize(("window", "width"), [(16.0, 1_000_000), (1.0, 62_500), (0.001, 63), (60.0, 3_750_000)])
def test_a_sub_window_is_a_sixteenth_rounded_up(window: float, width: int) -> None:
    assert width_of(window) == width
    assert width_of(window) * SUBWINDOWS >= window * 1e6


def test_keys() -> None:
    prefix = key_prefix("limits.daily", 60.0)
    assert prefix == b"rawgate:limits.daily:3750000:"
    assert counter_key(prefix, "sub:al\u00efce") == prefix + "sub:al\u00efce".encode()
    long, longer = "x" * (LONGEST + 1), "x" * (LONGEST + 2)
    assert counter_key(prefix, long) != counter_key(prefix, longer)
    assert len(counter_key(prefix, longer)) == len(prefix) + 71
    assert key_prefix("limits.daily", 61.0) != prefix


@pytest.mark.parametrize("name", ["/users/{id}", "a:1:sub", "a%3A1%3Asub", "a"])
def test_a_name_is_no_other_and_chooses_no_node(name: str) -> None:
    """A Cluster puts keys with the same text in braces on the same node."""
    assert key_prefix(name, 60.0).split(b":")[2:] == [b"3750000", b""]
    assert all(key_prefix(name, 60.0) != key_prefix(other, 60.0) for other in ("b", "a:1", "a{}") if other != name)
    assert not {*b"{}"} & {*counter_key(key_prefix(name, 60.0), "sub:{a}")}
    assert counter_key(b"", "sub:{a}") != counter_key(b"", "sub:{b}")


@QUICK
@given(st.lists(st.tuples(st.sampled_from([0, 1, 4, 5, 68, -4, -80]), *[st.integers(0, 6)] * 4), max_size=30))
def test_the_model_answers_as_the_script(client: Any, steps: list[tuple[int, int, int, int, int]]) -> None:
    script, model, now = Script(client), ModelStore(), 1_000_000_000
    for quarters, maximum, need, extra, back in steps:
        now += quarters * WIDTH // 4
        answer = script.hit(maximum + 1, now, need, extra)
        assert tuple(answer) == model.count(script.key, WIDTH, maximum + 1, need, extra, now)
        if back > 4:
            script.take_back(answer[4] - back + 4, back)
            model.take_back(script.key, answer[4] - back + 4, back)
