"""Who is ejected, for how long, and that there are never too many: cases, and a machine of several processes."""

from math import floor

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from rawgate import errors
from rawgate.errors import OK, Reason
from rawgate.relay.ejection import LONGEST, Ejected, Ejections, Ejector, Terms
from rawgate.relay.endpoints import Endpoint, Endpoints, Place

TERMS = Terms(failures=3, seconds=10.0, at_most=0.5)


class Process:
    """One process with its endpoints. What it asks for is written down."""

    def __init__(self, count: int, terms: Terms = TERMS) -> None:
        self.endpoints = Endpoints([Place(host=name, port=80) for name in "abcdefghijkl"[:count]], lambda text: None)
        self.ejector = Ejector(self.endpoints, terms, lambda *asked: self.asked.append(asked))
        self.asked: list[tuple[Endpoint, str, int]] = []

    def use(self, at: int, reason: Reason = errors.UPSTREAM_TIMEOUT, status: int = 0, now: float = 0.0) -> None:
        self.ejector.done(self.endpoints.all[at], reason, status, 0.1, now)

    def ejected(self, now: float) -> list[int]:
        return [at for at, endpoint in enumerate(self.endpoints.all) if endpoint.health.ejected_until > now]


FAILING = [
    (errors.UPSTREAM_CONNECT_FAILED, 0, "no connection"),
    (errors.UPSTREAM_TIMEOUT, 0, "timed out"),
    (errors.UPSTREAM_RESET, 0, "reset"),
    (errors.UPSTREAM_RESET.because("a note"), 0, "reset"),
    (errors.UPSTREAM_BAD_RESPONSE, 0, "no valid response"),
    (errors.UPSTREAM_CUT, 200, "broken off"),
    (OK, 502, "status 502"),
    (OK, 503, "status 503"),
    (OK, 504, "status 504"),
]


@pytest.mark.parametrize(("reason", "status", "what"), FAILING)
def test_what_fails_in_a_row_is_asked_to_be_ejected(reason: Reason, status: int, what: str) -> None:
    process = Process(2)
    for _ in range(2):
        process.use(0, reason, status)
    assert process.asked == []
    process.use(0, reason, status)
    assert process.asked == [(process.endpoints.all[0], f"3 failures in a row, the last: {what}", 0)]


@pytest.mark.parametrize(
    ("reason", "status", "counts_on"),
    [
        (OK, 200, False),
        (OK, 404, False),
        (OK, 500, False),  # it has answered: whether that is a failure the configuration may say
        (OK, 101, False),
        (errors.CLIENT_GONE, 0, True),
        (errors.CLIENT_GONE, 200, True),
        (errors.BODY_TIMEOUT, 0, True),
        (errors.CONNECTION_LIMIT, 0, True),  # no descriptors: of the gateway's own making
    ],
)
def test_what_ends_a_series_and_what_says_nothing(reason: Reason, status: int, counts_on: bool) -> None:
    process = Process(2)
    process.use(0)
    process.use(0)
    process.use(0, reason, status)
    process.use(0)
    assert bool(process.asked) is counts_on


def test_which_statuses_are_failures_is_configured() -> None:
    process = Process(2, Terms(failures=2, seconds=10.0, at_most=0.5, statuses=frozenset((500, 503))))
    process.use(0, OK, 500)
    process.use(0, OK, 502)
    process.use(0, OK, 503)
    assert process.asked == []
    process.use(0, OK, 500)
    assert process.asked == [(process.endpoints.all[0], "2 failures in a row, the last: status 500", 0)]


def test_a_single_failure_is_told_as_one() -> None:
    process = Process(2, Terms(failures=1, seconds=10.0, at_most=0.5))
    process.use(1)
    assert process.asked[0][1] == "1 failure: timed out"


def test_each_endpoint_has_a_series_of_its_own() -> None:
    process = Process(3)
    for at in (0, 1, 2, 0, 1, 2):
        process.use(at)
    assert process.asked == []


@pytest.mark.parametrize(
    ("count", "at_most", "allowed"),
    [(1, 1.0, 0), (2, 0.1, 1), (2, 0.5, 1), (3, 0.5, 1), (4, 0.5, 2), (10, 0.3, 3), (3, 1.0, 3), (12, 0.01, 1)],
)
def test_how_many_may_be_ejected(count: int, at_most: float, allowed: int) -> None:
    process, ejections = Process(count, Terms(1, 10.0, at_most)), Ejections()
    for at in range(count):
        process.use(at)
        if process.asked:
            endpoint, why, last = process.asked.pop()
            ejected = ejections.ask("u", endpoint.place.key, 10.0, last, 0.0)
            assert ejected is not None
            process.ejector.eject(endpoint.place.key, why, ejected.until, ejected.number, 0.0)
    assert len(process.ejected(0.0)) == allowed


def test_a_change_of_the_terms_takes_all_back() -> None:
    process = Process(2)
    process.ejector.eject(process.endpoints.all[0].place.key, "why", 10.0, 1, 0.0)
    assert process.ejected(5.0) == [0]
    process.ejector.end_all(5.0)
    assert process.ejected(5.0) == []


# ── how long ──

PLACE = Place(host="a", port=80).key
OTHER = Place(host="b", port=80).key


def ejected(ejections: Ejections, now: float, last: int = 0, seconds: float = 10.0) -> Ejected:
    found = ejections.ask("u", PLACE, seconds, last, now)
    assert found is not None
    return found


def test_each_ejection_is_longer_up_to_a_limit() -> None:
    ejections, now, lasted = Ejections(), 0.0, []
    for number in range(40):
        one = ejected(ejections, now, number)
        lasted.append(one.until - now)
        now = one.until + 1.0
    assert lasted[:4] == [10.0, 20.0, 30.0, 40.0]
    assert lasted[-1] == LONGEST


def test_one_that_is_configured_longer_lasts_so_long() -> None:
    ejections = Ejections()
    assert ejected(ejections, 0.0, seconds=900.0).until == 900.0
    assert ejected(ejections, 901.0, 1, seconds=900.0).until == 1801.0


@pytest.mark.parametrize(("well", "lasts"), [(0.0, 40.0), (9.9, 40.0), (10.0, 30.0), (25.0, 20.0), (30.0, 10.0)])
def test_each_time_without_one_takes_one_off(well: float, lasts: float) -> None:
    ejections, now = Ejections(), 0.0
    for number in range(3):
        now = ejected(ejections, now, number).until
    assert ejected(ejections, now + well, 3).until == now + well + lasts


def test_one_is_ejected_once() -> None:
    ejections = Ejections()
    assert ejected(ejections, 0.0).number == 1
    assert ejections.ask("u", PLACE, 10.0, 1, 5.0) is None, "requests that were under way fail later"


def test_who_does_not_know_of_the_last_one_is_refused() -> None:
    ejections = Ejections()
    ejected(ejections, 0.0)
    assert ejections.ask("u", OTHER, 10.0, 0, 0.0) is None
    assert ejections.ask("v", OTHER, 10.0, 0, 0.0) is not None, "another upstream is another count"
    granted = ejections.ask("u", OTHER, 10.0, 1, 0.0)
    assert granted is not None
    assert granted.number == 2


def test_what_is_forgotten_begins_anew() -> None:
    ejections = Ejections()
    ejected(ejections, 0.0)
    ejections.forget("u")
    again = ejected(ejections, 1.0)
    assert (again.until, again.number) == (11.0, 1)


class Host(RuleBasedStateMachine):
    """Processes whose requests fail as they like, and news that comes when it comes."""

    COUNT = 7

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.terms = Terms(failures=2, seconds=10.0, at_most=0.45)
        self.processes = [Process(self.COUNT, self.terms) for _ in range(3)]
        self.news: list[list[tuple[Endpoint, str, Ejected]]] = [[] for _ in self.processes]
        self.ejections = Ejections()
        self.until = [0.0] * self.COUNT
        self.granted: dict[int, tuple[float, float]] = {}

    @rule(at=st.integers(0, COUNT - 1), process=st.integers(0, 2), times=st.integers(1, 3))
    def fail(self, at: int, process: int, times: int) -> None:
        for _ in range(times):
            self.processes[process].use(at, now=self.now)

    @rule(at=st.integers(0, COUNT - 1), process=st.integers(0, 2))
    def succeed(self, at: int, process: int) -> None:
        self.processes[process].use(at, OK, 200, self.now)
        assert self.processes[process].endpoints.all[at].health.failures == 0

    @rule(process=st.integers(0, 2))
    def decide(self, process: int) -> None:
        """All that this process asked for reaches who decides."""
        asked = self.processes[process].asked
        while asked:
            endpoint, why, last = asked.pop(0)
            at = self.processes[process].endpoints.all.index(endpoint)
            one = self.ejections.ask("u", endpoint.place.key, self.terms.seconds, last, self.now)
            if one is None:
                continue
            assert self.until[at] <= self.now, "it is ejected already"
            lasts = round(one.until - self.now, 6)
            before, ended = self.granted.get(at, (0.0, self.now))
            assert self.terms.seconds <= lasts <= min(before + self.terms.seconds, LONGEST)
            decayed = floor((self.now - ended) / self.terms.seconds)
            assert lasts >= min(LONGEST, before + self.terms.seconds * (1 - decayed))
            self.until[at], self.granted[at] = one.until, (lasts, one.until)
            for news in self.news:
                news.append((endpoint, why, one))

    @rule(process=st.integers(0, 2))
    def hear(self, process: int) -> None:
        news = self.news[process]
        while news:
            endpoint, why, one = news.pop(0)
            self.processes[process].ejector.eject(endpoint.place.key, why, one.until, one.number, self.now)

    @rule(seconds=st.sampled_from([0.1, 1.0, 10.0, 35.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @invariant()
    def never_too_many(self) -> None:
        most = max(1, floor(self.terms.at_most * self.COUNT))
        assert sum(until > self.now for until in self.until) <= most
        for process in self.processes:
            assert len(process.ejected(self.now)) <= most


TestHost = Host.TestCase
TestHost.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
