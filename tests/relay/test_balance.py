"""Who gets how much, and who is next: weights, zones, backups, panic; and the three ways to pick."""

import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from heapq import heappop, heappush
from itertools import count, pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rawgate.relay.balance import (
    ENOUGH,
    HASH,
    LEAST_REQUESTS,
    ROUND_ROBIN,
    SLOTS,
    Draw,
    allot,
    never_by_chance,
    slot_of,
)
from rawgate.relay.endpoints import RENEWED_EVERY, Endpoint, Endpoints, Place
from rawgate.relay.health import UNHEALTHY_FOR

MANY = 100_000
WAYS = (ROUND_ROBIN, LEAST_REQUESTS, HASH)


def ignore(text: str) -> None:
    pass


def chance(seed: int) -> Draw:
    return Random(seed).random  # noqa: S311 - the same numbers in every run


def place(at: int, weight: int = 1, zone: str = "", backup: bool = False) -> Place:
    return Place(f"10.0.0.{at}", 80, weight=weight, zone=zone, backup=backup)


def endpoints(
    *places: Place, way: str = ROUND_ROBIN, zone: str = "", draw: Draw = never_by_chance, down: Sequence[int] = ()
) -> Endpoints:
    of = Endpoints(places, ignore, way, zone, draw)
    for at in down:
        of.failed(of.all[at], "refused", 0.0)
    return of


def weighing(*weights: int, way: str = ROUND_ROBIN, draw: Draw = never_by_chance) -> Endpoints:
    return endpoints(*(place(at, weight) for at, weight in enumerate(weights)), way=way, draw=draw)


def parts(of: Endpoints, now: float = 1.0) -> list[float]:
    allot(of.all, now)
    return [endpoint.part for endpoint in of.all]


def taken(of: Endpoints, number: int, now: float = 1.0, first: int = 0) -> list[int]:
    """Which endpoints get so many requests, each over before the next one. Their keys are numbers from `first` on."""
    found = []
    at = {endpoint: position for position, endpoint in enumerate(of.all)}
    for key in range(first, first + number):
        chosen = of.choose(f"ip:{key}", now)
        of.end_turn(chosen, now)
        found.append(at[chosen])
    return found


# ── how much each one gets ──


@pytest.mark.parametrize(
    ("levels", "down", "expected"),
    [
        # weights of own zone, of others, of backups; those down; parts
        (((1, 3), (), ()), (), (0.25, 0.75)),
        (((1, 1), (1, 1), (1,)), (), (0.5, 0.5, 0, 0, 0)),
        # A quarter of the zone is gone: the rest can take 1.05.
        (((1, 1, 1, 1), (1,), ()), (0,), (0, 1 / 3, 1 / 3, 1 / 3, 0)),
        # Half of it: the rest takes 0.7, and the other zones 0.3, by their weights.
        (((1, 1), (1, 2), ()), (0,), (0, 0.7, 0.1, 0.2)),
        (((1, 1), (1, 2), (5,)), (0, 1), (0, 0, 1 / 3, 2 / 3, 0)),
        # Backups take what both leave.
        (((1, 1), (1, 1, 1, 1, 1, 1, 1), (1,)), (0, 2, 3, 4, 5, 6, 7), (0, 0.7, *(0,) * 6, 0.2, 0.1)),
        (((1,), (), (1, 1)), (0,), (0, 0.5, 0.5)),
        # All together cannot take all: by what each can.
        (((1, 1), (), (1, 1)), (0, 1, 2), (0, 0, 0, 1.0)),
        (((1, 1, 1, 1), (), ()), (0, 1), (0, 0, 0.5, 0.5)),
        # None is up: all are tried.
        (((1, 3), (), (4,)), (0, 1, 2), (0.125, 0.375, 0.5)),
        (((1,), (1,), ()), (0, 1), (0.5, 0.5)),
    ],
)
def test_parts(levels: tuple[tuple[int, ...], ...], down: tuple[int, ...], expected: tuple[float, ...]) -> None:
    number = count()
    own, others, backups = ([(next(number), weight) for weight in level] for level in levels)
    places = [place(at, weight, "here") for at, weight in own]
    places += [place(at, weight, "there" if at % 2 else "") for at, weight in others]
    places += [place(at, weight, "here", backup=True) for at, weight in backups]
    assert parts(endpoints(*places, zone="here", down=down)) == pytest.approx(expected)


def test_without_a_zone_of_its_own_all_zones_are_alike() -> None:
    assert parts(endpoints(place(0, zone="a"), place(1, zone="b"))) == [0.5, 0.5]
    assert parts(endpoints(place(0, zone="a"), place(1, zone="b"), zone="c")) == [0.5, 0.5]


@given(
    st.lists(st.tuples(st.integers(1, 20), st.integers(0, 2), st.booleans()), min_size=1, max_size=12),
)
def test_parts_are_all_of_the_requests_and_only_grow_with_what_is_up(found: list[tuple[int, int, bool]]) -> None:
    places = [
        place(at, weight, ("here", "there", "here")[level], level == 2) for at, (weight, level, _) in enumerate(found)
    ]
    of = endpoints(*places, zone="here", down=[at for at, (_, _, up) in enumerate(found) if not up])
    given = parts(of)
    assert sum(given) == pytest.approx(1.0)
    if any(up for _, _, up in found):
        assert all(part == 0.0 or up for part, (_, _, up) in zip(given, found, strict=True)), (
            "what is down gets nothing"
        )
    for level in range(3):
        alike = [
            (weight, part)
            for part, (weight, of_level, up) in zip(given, found, strict=True)
            if up and of_level == level
        ]
        assert all(part * alike[0][0] == pytest.approx(alike[0][1] * weight) for weight, part in alike)


def test_in_panic_all_are_tried_that_could_be_reached() -> None:
    """What checks and ejections say of most of them is no longer believed. That one could not be reached is."""
    of = endpoints(*map(place, range(4)), down=(0,))
    of.checked(of.all[1].place.key, "", "status 500", 1.0)
    assert parts(of) == pytest.approx([0.0, 0.0, 0.5, 0.5]), "half of them are enough"
    of.eject(of.all[2].place.key, "5 failures", 9.0, 1.0)
    assert parts(of) == pytest.approx([0.0, 1 / 3, 1 / 3, 1 / 3])


def test_a_slow_start_is_a_smaller_part_and_no_reason_to_spill_over() -> None:
    of = endpoints(place(0, zone="here"), place(1, zone="here"), place(2), zone="here", down=(0,))
    health = of.all[0].health
    health.slow_start = 10.0
    assert parts(of, UNHEALTHY_FOR + 5.0) == pytest.approx([1 / 3, 2 / 3, 0.0])
    assert parts(of, UNHEALTHY_FOR + 10.0) == [0.5, 0.5, 0.0]


# ── each way meets the parts ──


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("weights", [(1, 1, 1), (5, 1, 1), (7, 3), (1, 2, 3, 4, 10)])
def test_weights_are_met_within_a_hundredth(way: str, weights: tuple[int, ...]) -> None:
    got = Counter(taken(weighing(*weights, way=way, draw=chance(7)), MANY))
    for at, weight in enumerate(weights):
        assert abs(got[at] / MANY - weight / sum(weights)) < 0.01


@pytest.mark.parametrize("way", WAYS)
def test_what_spills_over_is_met_within_a_hundredth(way: str) -> None:
    places = [*(place(at, zone="here") for at in range(4)), place(4, 1, "a"), place(5, 3, "b"), place(6, backup=True)]
    of = endpoints(*places, way=way, zone="here", draw=chance(7), down=(0, 1))
    got = Counter(taken(of, MANY))
    for at, part in enumerate((0.0, 0.0, 0.35, 0.35, 0.075, 0.225, 0.0)):
        assert abs(got[at] / MANY - part) < 0.01


@pytest.mark.parametrize("way", WAYS)
def test_the_union_of_all_processes_meets_the_weights(way: str) -> None:
    together: Counter[int] = Counter()
    for seed in range(8):
        of = weighing(3, 2, 1, way=way, draw=chance(seed))
        together.update(taken(of, MANY // 8, first=seed * MANY))
    for at, weight in enumerate((3, 2, 1)):
        assert abs(together[at] / together.total() - weight / 6) < 0.01


# ── round robin ──


def test_turns_of_different_weights_interleave() -> None:
    got = taken(weighing(5, 1, 1), 14)
    assert Counter(got) == {0: 10, 1: 2, 2: 2}
    assert max(len(run) for run in "".join(map(str, got)).replace("1", "2").split("2")) <= 4


@given(st.lists(st.integers(1, 9), min_size=2, max_size=6), st.floats(0, 0.999))
def test_nobody_waits_for_longer_than_a_round_and_a_turn(weights: list[int], start: float) -> None:
    total = sum(weights)
    got = taken(weighing(*weights, draw=lambda: start), 4 * total)
    for at, weight in enumerate(weights):
        turns = [when for when, one in enumerate(got) if one == at]
        assert max(later - earlier for earlier, later in pairwise(turns)) <= total / weight + len(weights)


def test_processes_begin_at_places_of_their_own() -> None:
    starts = {taken(weighing(1, 1, 1, draw=[start].pop), 1)[0] for start in (0.0, 0.4, 0.8)}
    assert starts == {0, 1, 2}


def test_one_that_is_back_gets_its_part_and_no_more() -> None:
    of = weighing(1, 1, 1)
    of.failed(of.all[0], "refused", 0.0)
    assert 0 not in taken(of, 3000)
    assert Counter(taken(of, 300, UNHEALTHY_FOR)) == {0: 100, 1: 100, 2: 100}


def test_other_weights_apply_at_once_and_owe_nothing() -> None:
    of = weighing(1, 1)
    taken(of, 1001)
    of.retarget([place(0, 9), place(1, 1)])
    got = Counter(taken(of, 1000))
    assert abs(got[0] - 900) <= 2


class Compared(float):
    """A number that counts how often it was compared."""

    times = 0

    def __lt__(self, other: float) -> bool:
        Compared.times += 1
        return float(self) < other


def test_new_parts_cost_each_endpoint_a_step_however_many_there_are() -> None:
    """Parts may change four times a second. With a search for each of 4,096 endpoints the gateway stood still."""
    of = weighing(*[1] * 500)
    of.choose("", 0.0)
    for endpoint in of.all:
        endpoint.due = Compared(endpoint.due)
    of.failed(of.all[0], "refused", 1.0)
    of.choose("", 1.0)
    assert Compared.times < 5 * 500


# ── least requests ──


def queues(way: str, slow: int, seed: int = 3) -> list[int]:
    """The longest queue at each of four targets that serve one request after the other; one needs `slow` times as long.
    Half as many requests come as they could serve if all were quick."""
    draw = Random(seed)  # noqa: S311 - the same numbers in every run
    of = weighing(1, 1, 1, 1, way=way, draw=draw.random)
    longest, busy_until, now = [0] * 4, [0.0] * 4, 0.0
    ends: list[tuple[float, int]] = []
    for _ in range(20_000):
        now += draw.expovariate(2.0)
        while ends and ends[0][0] <= now:
            of.all[heappop(ends)[1]].ended += 1
        chosen = of.choose("", now)
        of.end_turn(chosen, now)
        chosen.sent += 1
        at = of.all.index(chosen)
        busy_until[at] = max(now, busy_until[at]) + draw.expovariate(1.0) * (slow if at == 0 else 1)
        heappush(ends, (busy_until[at], at))
        longest[at] = max(longest[at], chosen.load)
    return longest


def test_the_longest_queue_is_shorter_than_with_turns_when_one_target_is_slow() -> None:
    turns, least = queues(ROUND_ROBIN, slow=10), queues(LEAST_REQUESTS, slow=10)
    assert max(least) * 20 < max(turns), (least, turns)


def test_of_two_the_one_with_fewer_requests_for_its_weight() -> None:
    of = weighing(4, 1, way=LEAST_REQUESTS, draw=chance(1))
    of.all[0].sent, of.all[1].sent = 7, 2
    assert set(taken(of, 100)) == {0}, "7 of 4 are fewer than 2 of 1"
    of.all[0].sent = 9
    assert set(taken(of, 100)) == {1}


def test_dials_under_way_count() -> None:
    of = weighing(1, 1, way=LEAST_REQUESTS, draw=chance(1))
    of.all[0].dialing = 1
    assert set(taken(of, 100)) == {1}


@pytest.mark.parametrize("drawn", [0.0, 0.5, 0.999999999])
def test_any_number_that_may_be_drawn_leads_to_an_endpoint(drawn: float) -> None:
    of = weighing(3, 3, 3, way=LEAST_REQUESTS, draw=lambda: drawn)
    assert set(taken(of, 10)) <= {0, 1, 2}


# ── hash ──


def owners(of: Endpoints, number: int = 20_000, now: float = 1.0) -> list[str]:
    return [of.choose(f"ip:198.51.{key // 250}.{key % 250}", now).place.host for key in range(number)]


def moved(before: list[str], after: list[str]) -> float:
    return sum(one != other for one, other in zip(before, after, strict=True)) / len(before)


@pytest.mark.parametrize("number", [2, 3, 10, 50])
def test_one_leaving_moves_only_its_own_clients(number: int) -> None:
    of = endpoints(*map(place, range(number)), way=HASH)
    before = owners(of)
    of.retarget([place(at) for at in range(number) if at != 1])
    after = owners(of)
    assert 0 < moved(before, after) <= 2 / number
    assert all(one == other for one, other in zip(before, after, strict=True) if one != "10.0.0.1")
    of.retarget([place(at) for at in reversed(range(number))])
    assert owners(of) == before, "whatever the order in which they are given"


def test_clients_of_one_that_is_down_go_to_the_others_and_come_back() -> None:
    of = endpoints(*map(place, range(5)), way=HASH)
    before = owners(of)
    of.failed(of.all[2], "refused", 1.0)
    after = owners(of)
    assert "10.0.0.2" not in after
    assert moved(before, after) <= 2 / 5
    assert len({other for one, other in zip(before, after, strict=True) if one == "10.0.0.2"}) == 4, "not all to one"
    assert owners(of, now=1.0 + UNHEALTHY_FOR) == before


def test_what_spills_over_moves_nobody_else() -> None:
    places = [place(at, zone="here" if at < 4 else "there") for at in range(8)]
    of = endpoints(*places, way=HASH, zone="here")
    before = owners(of)
    of.failed(of.all[0], "refused", 1.0)
    of.failed(of.all[1], "refused", 1.0)
    after = owners(of)
    lost = sum(one in ("10.0.0.0", "10.0.0.1") for one in before) / len(before)
    assert moved(before, after) <= lost + (1 - ENOUGH / 2) * (1 - lost) + 0.01
    assert all(
        int(other[-1]) >= 4 for one, other in zip(before, after, strict=True) if one != other and one > "10.0.0.1"
    )


def test_more_weight_takes_from_the_others_and_moves_nobody_between_them() -> None:
    of = weighing(1, 1, 1, way=HASH)
    before = owners(of)
    of.retarget([place(0, 2), place(1), place(2)])
    changed = [other for one, other in zip(before, owners(of), strict=True) if one != other]
    assert set(changed) == {"10.0.0.0"}


def test_every_process_has_the_same_hash() -> None:
    """Strings' own hash differs in each."""
    code = (
        "from rawgate.relay.endpoints import Endpoints, Place\n"
        "of = Endpoints([Place(host, 80) for host in 'abcdefgh'], print, 'hash')\n"
        "print(''.join(of.choose(f'sub:{key}', 0.0).place.host for key in range(60)))"
    )
    run = [
        subprocess.run(
            [sys.executable, "-c", code], env={"PYTHONHASHSEED": seed}, capture_output=True, check=True, text=True
        )
        for seed in ("1", "2")
    ]
    assert run[0].stdout == run[1].stdout
    assert len(set(run[0].stdout.strip())) > 4


def test_requests_without_a_key_take_turns() -> None:
    of = weighing(1, 1, 1, way=HASH)
    got = []
    for _ in range(9):
        chosen = of.choose("", 1.0)
        of.end_turn(chosen, 1.0)
        got.append(of.all.index(chosen))
    assert Counter(got) == {0: 3, 1: 3, 2: 3}


def test_a_dial_that_fails_goes_where_the_clients_of_that_target_will_be() -> None:
    of = endpoints(*map(place, range(6)), way=HASH)
    for key in map(str, range(50)):
        first = of.choose(key, 1.0)
        second = of.dial_order(first, key, 1.0)[1][0]
        of.failed(first, "refused", 1.0)
        assert of.choose(key, 1.0) is second
        of.reached(first, "", 1.0)


@given(st.text(max_size=300))
def test_any_key_has_a_slot(key: str) -> None:
    assert 0 <= slot_of(key) < SLOTS


# ── what changes is noticed ──


@pytest.mark.parametrize("way", WAYS)
def test_one_that_goes_down_gets_nothing_more_and_one_that_is_back_does(way: str) -> None:
    of = weighing(1, 1, way=way, draw=chance(5))
    assert set(taken(of, 100)) == {0, 1}
    of.all[0].health.failed("refused", 1.0)  # nobody has told the endpoints
    assert set(taken(of, 100, 1.1)) == {1}
    of.reached(of.all[0], "", 1.2)
    assert set(taken(of, 100, 1.2)) == {0, 1}
    of.all[0].health.failed("refused", 2.0)
    taken(of, 1, 2.0)
    assert set(taken(of, 100, 2.0 + UNHEALTHY_FOR + RENEWED_EVERY)) == {0, 1}


def test_another_way_and_another_zone_apply_from_the_next_request_on() -> None:
    of = endpoints(place(0, zone="a"), place(1, zone="b"), zone="a")
    assert set(taken(of, 20)) == {0}
    of.rebalance(HASH, "b")
    assert of.is_sticky
    assert set(taken(of, 20)) == {1}
    of.rebalance(ROUND_ROBIN, "")
    assert Counter(taken(of, 20)) == {0: 10, 1: 10}


def test_a_dial_tries_those_that_get_requests_before_backups_and_those_before_what_is_down() -> None:
    places = [place(0, backup=True), place(1, zone="there"), place(2, zone="here"), place(3, zone="here")]
    of = endpoints(*places, zone="here", down=(3,))
    order = [of.all.index(endpoint) for endpoint, _ in of.dial_order(of.choose("", 1.0), "", 1.0)]
    assert order[2:] == [0, 3]
    assert set(order[:2]) == {1, 2}


def test_what_an_endpoint_shows() -> None:
    endpoint = Endpoint(place(0))
    endpoint.sent, endpoint.ended, endpoint.dialing = 5, 3, 1
    assert endpoint.load == 3
