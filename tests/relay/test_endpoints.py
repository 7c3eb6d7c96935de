"""Whose turn it is, who is left out, and what is told of it."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.ports import FakeUpstream
from rawgate.relay.endpoints import ANY_ADDRESS, Endpoint, Endpoints, Place
from rawgate.relay.health import UNHEALTHY_FOR


def endpoints(count: int = 3) -> tuple[Endpoints, list[str]]:
    said: list[str] = []
    return Endpoints([Place(host=name, port=80) for name in "abcdefgh"[:count]], said.append), said


def dial(of: Endpoints, now: float) -> list[tuple[Endpoint, int]]:
    """What a dial that is started now tries."""
    return of.dial_order(of.choose("", now), "", now)


def order(of: Endpoints, now: float) -> list[int]:
    """The endpoints by their numbers, as a dial that is started now tries them."""
    return [of.all.index(endpoint) for endpoint, _ in dial(of, now)]


def firsts(of: Endpoints, count: int, now: float = 0.0) -> list[int]:
    """Which endpoint is tried first by so many dials."""
    return [order(of, now)[0] for _ in range(count)]


def test_endpoints_take_turns_and_a_failed_one_is_tried_last_for_a_while() -> None:
    of, _ = endpoints()
    assert firsts(of, 6) == [1, 2, 0, 1, 2, 0]
    of.failed(of.all[1], "timed out", 0.0)
    assert order(of, 1.0) == [2, 0, 1]
    assert firsts(of, 4, 1.0) == [0, 2, 0, 2]
    assert set(firsts(of, 3, UNHEALTHY_FOR)) == {0, 1, 2}


def test_when_all_are_down_all_are_tried() -> None:
    of, _ = endpoints(2)
    for at in range(2):
        of.failed(of.all[at], "timed out", 0.0)
    assert {tuple(order(of, 1.0)) for _ in range(2)} == {(0, 1), (1, 0)}


@given(st.lists(st.booleans(), max_size=200), st.integers(2, 5), st.sets(st.integers(0, 4)))
def test_turns_are_even_among_those_that_are_up(dialed: list[bool], count: int, down: set[int]) -> None:
    """Whether they are taken by dials or by idle connections."""
    of, _ = endpoints(count)
    up = set(range(count)) - down
    for at in down & set(range(count)):
        of.failed(of.all[at], "timed out", 0.0)
    taken: Counter[int] = Counter(dict.fromkeys(up or range(count), 0))
    for dials in dialed:
        at = of.all.index(of.choose("", 1.0))
        taken[at] += 1
        if dials:
            assert firsts(of, 1, 1.0) == [at]
        else:
            of.end_turn(of.all[at], 1.0)
    assert set(taken) == (up or set(range(count)))
    assert max(taken.values()) - min(taken.values()) <= 1


# ── addresses ──

FOUND = ("10.0.0.1", "::1", "10.0.0.2")


def test_dials_before_the_first_lookup_share_the_addresses_evenly() -> None:
    of, _ = endpoints(1)
    turns = [dial(of, 0.0)[0][1] for _ in range(30)]
    first = [of.addresses(of.all[0], turn, FOUND, 0.0)[0] for turn in turns]
    assert Counter(first) == dict.fromkeys(FOUND, 10)


def test_the_turns_of_a_failed_address_go_to_all_others() -> None:
    of, _ = endpoints(1)
    of.addresses(of.all[0], 0, FOUND, 0.0)
    assert not of.is_single
    of.address_failed(of.all[0], "::1", "timed out", 0.0)
    asked = [of.addresses(of.all[0], dial(of, 1.0)[0][1], FOUND, 1.0) for _ in range(10)]
    assert {order[-1] for order in asked} == {"::1"}
    assert Counter(order[0] for order in asked) == {"10.0.0.1": 5, "10.0.0.2": 5}
    later = UNHEALTHY_FOR
    assert {of.addresses(of.all[0], dial(of, later)[0][1], FOUND, later)[0] for _ in range(3)} == set(FOUND)


def test_a_new_answer_keeps_what_is_known_of_the_addresses_that_stay() -> None:
    of, _ = endpoints(1)
    of.addresses(of.all[0], 0, FOUND, 0.0)
    of.address_failed(of.all[0], "10.0.0.1", "timed out", 0.0)
    assert of.addresses(of.all[0], 0, ("10.0.0.1", "10.0.0.9"), 1.0) == ["10.0.0.9", "10.0.0.1"]
    assert of.next_address(of.all[0], 1.0) == "10.0.0.9"
    of.addresses(of.all[0], 0, ("10.0.0.9",), 1.0)
    assert of.is_single
    assert of.next_address(of.all[0], 1.0) == ANY_ADDRESS


# ── what is told ──


def test_a_target_that_goes_and_comes_back_is_told_once_each() -> None:
    of, said = endpoints(2)
    for now in (0.0, 1.0, 2.0, 20.0, 40.0):
        of.failed(of.all[0], "connection refused", now)
    of.reached(of.all[0], ANY_ADDRESS, 2.0)
    of.reached(of.all[0], ANY_ADDRESS, 2.0)
    of.reached(of.all[1], ANY_ADDRESS, 2.0)
    assert said == ["a:80 cannot be reached: connection refused", "a:80 can be reached again"]


@pytest.mark.parametrize(("again", "told"), [(UNHEALTHY_FOR - 0.001, False), (UNHEALTHY_FOR, True)])
def test_one_that_was_back_is_told_again_after_a_while(again: float, told: bool) -> None:
    of, said = endpoints(1)
    of.failed(of.all[0], "timed out", 0.0)
    of.reached(of.all[0], ANY_ADDRESS, 2.0)
    of.failed(of.all[0], "timed out", again)
    assert len(said) == 2 + told


def test_an_endpoint_that_flaps_is_reported_seldom_and_correctly() -> None:
    of, said = endpoints(1)
    for step in range(100):
        of.failed(of.all[0], "timed out", step * UNHEALTHY_FOR / 100)
        of.reached(of.all[0], ANY_ADDRESS, 2.0)
    assert len(said) == 2
    of.failed(of.all[0], "timed out", UNHEALTHY_FOR + 1)
    assert said[-1] == "a:80 cannot be reached: timed out"
    of.reached(of.all[0], ANY_ADDRESS, 2.0)
    assert said[-1] == "a:80 can be reached again"


@pytest.mark.parametrize(("found", "count"), [(("10.0.0.1",), 0), (("10.0.0.1", "10.0.0.2"), 2)])
def test_an_address_is_told_where_there_are_others(found: tuple[str, ...], count: int) -> None:
    of, said = endpoints(1)
    of.addresses(of.all[0], 0, found, 0.0)
    of.address_failed(of.all[0], "10.0.0.1", "timed out", 0.0)
    of.reached(of.all[0], "10.0.0.1", 2.0)
    assert said == ["a:80 at 10.0.0.1 cannot be reached: timed out", "a:80 at 10.0.0.1 can be reached again"][:count]


# ── what can be reached, and says nothing ──


def test_a_mute_target_is_left_out_until_it_responds() -> None:
    of, said = endpoints(2)
    first, second = of.all
    of.closed_without_response(first, ANY_ADDRESS, 0.0)
    of.reached(first, ANY_ADDRESS, 2.0)
    assert firsts(of, 2, 1.0) == [1, 1], "that it accepts another connection says nothing"
    of.closed_without_response(first, ANY_ADDRESS, 3 * UNHEALTHY_FOR)
    of.responded(second, ANY_ADDRESS, 2.0)
    of.responded(first, ANY_ADDRESS, 2.0)
    of.responded(first, ANY_ADDRESS, 2.0)
    assert set(firsts(of, 2, 3 * UNHEALTHY_FOR)) == {0, 1}
    assert said == ["a:80 closes new connections without a word", "a:80 responds again"]


def test_an_endpoint_is_left_out_when_all_its_addresses_are_mute() -> None:
    of, said = endpoints(2)
    first = of.all[0]
    of.addresses(first, 0, FOUND, 0.0)
    of.closed_without_response(first, FOUND[1], 0.0)
    of.reached(first, FOUND[1], 2.0)
    assert of.addresses(first, 1, FOUND, 1.0)[-1] == FOUND[1]
    assert set(firsts(of, 2, 1.0)) == {0, 1}
    for address in FOUND:
        of.closed_without_response(first, address, 1.0)
    assert firsts(of, 2, 2.0) == [1, 1]
    assert len(said) == len(FOUND) + 1, "once of each, and of the endpoint"
    of.responded(first, FOUND[1], 2.0)
    assert of.addresses(first, 0, FOUND, 2.0)[0] == FOUND[1]
    assert set(firsts(of, 2, 2.0)) == {0, 1}
    assert said[0] == "a:80 at ::1 closes new connections without a word"
    assert said[-2:] == ["a:80 responds again", "a:80 at ::1 responds again"]


def test_the_only_address_of_a_name_is_its_endpoint() -> None:
    of, said = endpoints(2)
    first = of.all[0]
    of.addresses(first, 0, FOUND[:1], 0.0)
    of.closed_without_response(first, FOUND[0], 0.0)
    assert firsts(of, 2, 1.0) == [1, 1]
    assert said == ["a:80 closes new connections without a word"]


def test_an_address_that_a_name_lost_does_not_count_for_the_others() -> None:
    of, said = endpoints(2)
    first = of.all[0]
    of.addresses(first, 0, FOUND, 0.0)
    of.closed_without_response(first, "10.9.9.9", 0.0)
    of.closed_at_once(first, "10.9.9.9")
    assert set(firsts(of, 2, 1.0)) == {0, 1}
    assert said == []


def test_a_close_within_the_dial_outweighs_the_next_dials_success() -> None:
    of, said = endpoints(2)
    first = of.all[0]
    of.closed_at_once(first, ANY_ADDRESS)
    of.failed(first, "closed as soon as it was open", 0.0)
    of.reached(first, ANY_ADDRESS, 2.0)
    of.closed_without_response(first, ANY_ADDRESS, 2 * UNHEALTHY_FOR)
    assert said == ["a:80 cannot be reached: closed as soon as it was open"]
    of.responded(first, ANY_ADDRESS, 2.0)
    assert said[1:] == ["a:80 responds again"]


class Asked(Place):
    """A place that counts how often it was asked for its key."""

    __slots__ = ()
    times = 0

    @property
    def key(self) -> tuple[str, str, int, str, str, str]:
        Asked.times += 1
        return super().key


def test_what_is_told_of_one_target_costs_the_same_however_many_there_are() -> None:
    """A thousand that Consul tells of may all fail at once."""
    of = Endpoints([Asked(f"10.0.{at // 250}.{at % 250}", 80) for at in range(1000)], lambda _: None)
    place, Asked.times = of.all[999].place.key, 0
    of.checked(place, ANY_ADDRESS, "status 503", 0.0)
    of.eject(place, "status 503", 10.0, 0.0)
    assert of.all[999].health.why(1.0)
    assert Asked.times == 0
    of.retarget([Place("10.0.0.1", 80)])
    of.checked(place, ANY_ADDRESS, "", 1.0)
    of.eject(place, "", 1.0, 1.0)
    assert of.all[0].health.is_up(1.0)


# ── what people are shown ──


def test_a_failure_is_shown_until_a_connection_proves_that_it_is_over() -> None:
    """To be allowed a try again proves nothing: without requests a dead target would be shown as up."""
    of, _ = endpoints(2)
    dead = of.all[0]
    of.failed(dead, "connection refused", 0.0)
    assert dead.why_down(1.0, is_checked=False) == "connection refused"
    for later in (UNHEALTHY_FOR, 10_000.0):
        assert dead.why_down(later, is_checked=False) == "connection refused; may be tried again"
        assert dead.health.is_up(later), "what is shown decides nothing"
    of.reached(dead, ANY_ADDRESS, 10_000.0)
    assert dead.why_down(10_000.0, is_checked=False) == ""


def test_one_that_closes_connections_without_a_word_is_shown_as_down_until_it_responds() -> None:
    of, _ = endpoints(2)
    dead = of.all[0]
    of.closed_without_response(dead, ANY_ADDRESS, 0.0)
    of.reached(dead, ANY_ADDRESS, 100.0)
    assert dead.why_down(100.0, is_checked=False) == "closes new connections without a word; may be tried again"
    of.responded(dead, ANY_ADDRESS, 101.0)
    assert dead.why_down(101.0, is_checked=False) == ""


def test_a_failure_is_over_when_checks_pass_or_an_older_connection_was_used() -> None:
    of, _ = endpoints(2)
    one = of.all[0]
    of.failed(one, "timed out", 100.0)
    assert one.why_down(101.0, is_checked=True) == "timed out"
    assert one.why_down(100.0 + UNHEALTHY_FOR, is_checked=True) == ""
    for idle_since, why in ((99.0, "timed out; may be tried again"), (103.0, "")):
        upstream = FakeUpstream(one)
        upstream.idle_since = idle_since
        one.idle.append(upstream)
        assert one.why_down(100.0 + UNHEALTHY_FOR, is_checked=False) == why
