"""Limits over hosts: several of them, a store in memory, answers that come late or not at all, and leases."""

from collections.abc import Callable
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from policy.test_gate import config, decide, request, route
from rawgate.config import model as config_module
from rawgate.message import Forward, LocalReply
from rawgate.policy.budgets import by_client
from rawgate.policy.compile import compile_gate
from rawgate.policy.compile_limits import compile_limiters
from rawgate.policy.limiter import COUNTERS, SUBWINDOWS, Limiter
from rawgate.policy.over_hosts import RETRY_AFTER, UNKNOWN, AwaitStore, Budget, CountOverHosts, OverHosts, Pot
from rawgate.policy.store import PACE, Lease, Question, Store, StoredRule
from tools.storing.model import ModelStore

FACTOR = COUNTERS / SUBWINDOWS
WINDOW = 16.0
OnFailure = Literal["local", "refuse", "allow"]
Shared = Literal["host", "exact", "leased"]


class Host:
    """One gateway process. ahead: seconds by which its clock is before the store's."""

    def __init__(
        self, *limits: tuple[Shared, int], on_failure: OnFailure = "local", ahead: float = 0.0, shadow: bool = False
    ) -> None:
        self.store = Store(100)
        self.store.silent.clear()
        self.woken = 0
        self.store.wake = self._wake
        self.ahead = ahead
        self.told: list[tuple[str, bool]] = []
        limiter = Limiter(100)
        budgets = []
        for number, (shared, maximum) in enumerate(limits):
            name = f"l{number}"
            here = limiter.rule(name, maximum, WINDOW) if shared == "host" or on_failure == "local" else None
            stored = None if shared == "host" else StoredRule(self.store, name, maximum, WINDOW, shared == "leased")
            budgets.append(
                Budget(name, WINDOW, by_client, {"": Pot(maximum, here, here, stored)}, None, shadow, self._tell(name))
            )
        self._count = CountOverHosts(budgets, FACTOR, 0.05, on_failure).count

    def _wake(self) -> None:
        self.woken += 1

    def _tell(self, name: str) -> Callable[[bool], None]:
        return lambda admitted: self.told.append((name, admitted))

    def hit(self, now: float, client: str = "sub:a") -> OverHosts:
        return self._count(request(), "ip:1", client, None, now + self.ahead)

    def ask(self, now: float) -> list[Question]:
        """What goes out."""
        questions = self.store.take_questions(100)
        for question in questions:
            question.sent = now + self.ahead
        return questions

    def answer(self, questions: list[Question], store: ModelStore, handled: float, now: float) -> None:
        """What comes back, of what the store has done at one moment."""
        for one in questions:
            found = store.count(one.key, one.width, one.maximum, one.need, one.extra, round(handled * 1e6))
            one.answer(*found, now + self.ahead)

    def settle(self, counted: OverHosts, now: float) -> OverHosts:
        assert counted.refused == UNKNOWN
        assert counted.settle is not None
        return counted.settle(now + self.ahead)

    def take_back(self, store: ModelStore) -> int:
        undone = self.store.take_undone()
        for one in undone:
            store.take_back(one.key, one.subwindow)
        return len(undone)

    def whole(self, now: float, store: ModelStore, client: str = "sub:a") -> OverHosts:
        """A request whose answer comes at once."""
        counted = self.hit(now, client)
        if counted.refused != UNKNOWN:
            return counted
        self.answer(self.ask(now), store, now, now)
        counted = self.settle(counted, now)
        self.take_back(store)
        return counted


def fields(counted: OverHosts) -> list[str]:
    return counted.fields.decode().splitlines()


def test_hosts_share_what_the_limit_allows() -> None:
    store, one, other = ModelStore(), Host(("exact", 3)), Host(("exact", 3), ahead=-500.0)
    assert [one.whole(100.0, store).refused, other.whole(101.0, store).refused, one.whole(102.5, store).refused] == [
        0
    ] * 3
    refused = other.whole(102.5, store)
    assert refused.refused == 15  # those of second 100 are released at 117
    assert fields(refused)[:2] == ['RateLimit: "l0";r=0;t=15', 'RateLimit-Policy: "l0";q=3;w=17']
    assert one.whole(116.9, store).refused
    assert not one.whole(117.0, store).refused
    assert one.told == [("l0", True), ("l0", True), ("l0", False), ("l0", True)]


def test_hits_of_one_turn_are_one_question() -> None:
    store, host = ModelStore(), Host(("exact", 3))
    waiting = [host.hit(100.0) for _ in range(5)]
    other = host.hit(100.0, "sub:b")
    assert host.woken == 1
    questions = host.ask(100.0)
    assert [question.need for question in questions] == [5, 1]
    host.answer(questions, store, 100.0, 100.0)
    found = [host.settle(one, 100.0) for one in waiting]
    assert [one.refused for one in found] == [0, 0, 0, 17, 17]
    assert [fields(one)[3] for one in found] == [f"x-ratelimit-remaining: {left}" for left in (2, 1, 0, 0, 0)]
    assert host.settle(other, 100.0).refused == 0
    assert store.asked == 2


@pytest.mark.parametrize(
    ("on_failure", "refused"), [("local", [0, 0, 17]), ("refuse", [1, 1, 1]), ("allow", [0, 0, 0])]
)
def test_without_an_answer(on_failure: OnFailure, refused: list[int]) -> None:
    for is_up in (True, False):
        host = Host(("exact", 2), on_failure=on_failure)
        host.store.silent = set() if is_up else {""}
        found = [host.hit(100.0) for _ in range(3)]
        if is_up:
            assert [one.refused for one in found] == [UNKNOWN] * 3
            found = [host.settle(one, 100.0) for one in found]  # their deadlines are over
        assert [one.refused for one in found] == refused
        assert [one.reason.code for one in found] == (
            ["limits_unavailable" if on_failure == "refuse" else "rate_limited"] * 3
        )
        assert bool(found[0].fields) == (on_failure == "local")
        assert host.store.fallbacks == ({"late": 3, "down": 0} if is_up else {"late": 0, "down": 3})


def test_an_answer_after_the_deadline_is_nothing_to_the_request() -> None:
    store, host = ModelStore(), Host(("leased", 100), on_failure="allow")
    counted, questions = host.hit(100.0), host.ask(100.0)
    assert host.settle(counted, 100.05).refused == 0
    host.answer(questions, store, 100.2, 100.3)
    assert host.store.fallbacks["late"] == 1


def test_a_limit_of_the_host_keeps_floods_from_the_store() -> None:
    store, host = ModelStore(), Host(("exact", 5), ("host", 1))
    assert not host.whole(100.0, store).refused
    refused = host.hit(100.0)
    assert refused.refused == 17
    assert fields(refused)[0] == 'RateLimit: "l1";r=0;t=17'
    assert not host.store.waiting()


def test_counted_by_all_or_by_none() -> None:
    store, host = ModelStore(), Host(("host", 2), ("exact", 1), ("exact", 5))
    assert not host.whole(100.0, store).refused
    counted = host.hit(100.5)
    host.answer(host.ask(100.5), store, 100.5, 100.5)
    host.hit(103.0, "sub:b")  # time goes on for this host's own limit
    refused = host.settle(counted, 103.0)
    assert refused.refused == 14
    assert fields(refused)[0] == 'RateLimit: "l0";r=1;t=17, "l1";r=0;t=14, "l2";r=4;t=14'
    assert host.take_back(store) == 1
    free = Host(("exact", 5))
    free.store = host.store
    key = next(key for key in store.counters if b"l2" in key)
    assert sum(store.counters[key][1]) == 1
    assert host.whole(117.0, store).refused == 0


def test_a_shadow_refuses_nobody() -> None:
    store, host = ModelStore(), Host(("exact", 1), shadow=True)
    found = [host.whole(100.0, store) for _ in range(3)]
    assert [(one.refused, one.shadowed, one.fields) for one in found] == [
        (0, False, b""),
        (0, True, b""),
        (0, True, b""),
    ]
    unanswered = Host(("exact", 1), shadow=True, on_failure="refuse")
    unanswered.store.silence("")
    assert unanswered.hit(100.0).refused == 0


# ── leases ──


def test_a_lease_saves_round_trips_and_ends_with_its_sub_window() -> None:
    store, host = ModelStore(), Host(("leased", 1000))
    for tenth in range(30):  # ten a second, in sub-windows of a second
        assert not host.whole(100.0 + tenth / 10, store).refused
    assert host.store.spared > 15
    assert host.store.asked + host.store.spared == 30
    lease = next(iter(host.store.leases.values()))
    assert lease.until <= 103.0
    asked = store.asked
    host.whole(103.0, store)
    assert store.asked == asked + 1
    assert (lease.subwindow, lease.until) == (103, 103.0 + PACE)
    # All that was lent counts, used or not.
    assert sum(store.counters[next(iter(store.counters))][1]) == 31 + host.store.lent - host.store.used


def test_a_lease_is_measured_from_when_it_was_asked_for() -> None:
    store, host = ModelStore(), Host(("leased", 1000), ahead=50.0)
    lease = host.store.lease(StoredRule(host.store, "l0", 1000, WINDOW, True).key("sub:a"), 1_000_000, 1000)
    counted, questions = host.hit(100.2), host.ask(100.2)
    questions[0].extra = 5
    host.answer(questions, store, 100.6, 100.7)
    host.settle(counted, 100.7)
    assert lease.left == 5
    # Four tenths of the sub-window were left when the store counted: since 100.2 they are over at 100.6, not at 101,
    # and a bit earlier, since our clock may run slower than the store's.
    assert lease.until == pytest.approx(150.2 + 0.4 * PACE)
    assert host.hit(100.8).refused == UNKNOWN


def test_a_rare_client_leases_nothing() -> None:
    store, host = ModelStore(), Host(("leased", 100))
    for second in range(0, 100, 2):
        host.whole(100.0 + second, store)
    assert (host.store.lent, host.store.spared) == (0, 0)


def test_a_flood_is_refused_here_until_the_store_releases() -> None:
    store, host = ModelStore(), Host(("leased", 2))
    assert [host.whole(100.0, store).refused for _ in range(4)] == [0, 0, 17, 17]
    assert (store.asked, host.store.spared) == (3, 1)
    assert not host.whole(117.0, store).refused


def test_a_slot_that_is_not_used_goes_back_into_the_hand() -> None:
    store, host = ModelStore(), Host(("leased", 1000), ("exact", 12))
    for tenth in range(12):
        assert not host.whole(100.0 + tenth / 20, store).refused
    lease = next(iter(host.store.leases.values()))
    before = (lease.left, lease.used)
    assert before[0] > 0
    assert host.whole(100.65, store).refused
    assert (lease.left, lease.used) == before


def test_leases_are_forgotten_when_there_are_too_many() -> None:
    store, host = ModelStore(), Host(("leased", 5))
    for number in range(150):
        host.whole(100.0, store, f"sub:{number}")
    assert len(host.store.leases) == 100


def test_appetite_without_a_past_is_none() -> None:
    lease = Lease(1_000_000)
    assert lease.appetite(5.0) == 0
    lease.take(0, 8, 5, 6.0)
    assert lease.appetite(5.5) == 4  # as many again, by half
    assert lease.appetite(5.9) < 2  # but not when it is nearly over
    assert lease.appetite(6.0) == 4  # half of what the sub-window before had
    assert lease.appetite(7.0) == 2  # which had two
    assert lease.appetite(40.0) == 0
    lease.asking = 1
    assert lease.appetite(5.5) == 0


HOSTS = 3
STEP = st.tuples(
    st.sampled_from(["hit", "hit", "hit", "hit", "ask", "handle", "answer", "answer"]),
    st.integers(0, HOSTS - 1),
    st.sampled_from([0.0, 0.0, 0.01, 0.05, 0.2, 0.9, 1.0, 4.0, 16.0]),
)


@given(st.sampled_from(["exact", "leased"]), st.integers(1, 40), st.lists(STEP, max_size=150))
def test_no_window_has_more_than_the_maximum_over_all_hosts(
    shared: Shared, maximum: int, steps: list[tuple[str, int, float]]
) -> None:
    """Questions, the store's work and answers lie apart, in any order that a network may give them. A request counts
    when the store has counted it; one that takes a slot in hand, when it takes it."""
    store, now = ModelStore(), 1000.0
    hosts = [Host((shared, maximum), ahead=number * 77.7 - 50) for number in range(HOSTS)]
    sent: list[tuple[int, list[Question]]] = []
    handled: list[tuple[int, float, list[tuple[Question, tuple[int, int, int, int, int]]]]] = []
    counted: list[float] = []
    for kind, number, wait in steps:
        now += wait
        host = hosts[number]
        if kind == "hit":
            found = host.hit(now)
            if found.refused == 0:
                counted.append(now)
        elif kind == "ask":
            sent.append((number, host.ask(now)))
        elif kind == "handle" and sent:
            sender, questions = sent.pop(0)
            work = [
                (one, store.count(one.key, one.width, one.maximum, one.need, one.extra, round(now * 1e6)))
                for one in questions
            ]
            counted += [now for one, found in work for _ in range(min(found[0], one.need))]
            handled.append((sender, now, work))
        elif kind == "answer" and handled:
            sender, _, work = handled.pop(0)
            for one, answer in work:
                one.answer(*answer, now + hosts[sender].ahead)
    counted.sort()
    for first, moment in enumerate(counted):
        assert sum(moment <= other <= moment + WINDOW for other in counted[first:]) <= maximum


# ── a request that waits ──


def test_a_request_waits_for_all_its_answers() -> None:
    store, host, ready = ModelStore(), Host(("exact", 5), ("leased", 5)), list[str]()
    counted = host.hit(100.0)
    pending = AwaitStore(counted, lambda now: pending.refused(pending.reason), "id", "alice", "/a", b"X: 1\r\n", 100.05)
    assert pending.goes_on
    pending.subscribe(lambda: ready.append("ready"))
    first, second = host.ask(100.0)
    host.answer([first], store, 100.0, 100.0)
    assert ready == []
    second.give_up()
    assert ready == ["ready"]
    late = pending.resume(100.05, 0.0)
    assert isinstance(late, LocalReply)
    assert (late.route, late.client_id, late.fields) == ("/a", "alice", b"X: 1\r\nRetry-After: %d\r\n" % RETRY_AFTER)


@pytest.mark.parametrize(("on_failure", "served"), [("local", True), ("refuse", False), ("allow", True)])
def test_a_request_waits_once_and_for_the_timeout_alone(on_failure: OnFailure, served: bool) -> None:
    store = Store(10)
    store.silent.clear()
    spec = config_module.Store(url=config_module.StoreUrl(text="redis://h"), timeout=0.25, on_failure=on_failure)
    limit = config_module.RateLimit(max=5, window=WINDOW, shared="exact")
    gate = compile_gate(
        replace(config(route(rate_limit=(limit, "named"))), store=spec, limits={"named": limit}),
        new_id=lambda: "0" * 32,
        date=lambda: b"D",
        problems=[],
        warnings=[],
        limiters=compile_limiters(10, lambda kind, text: None, store),
    )
    assert gate is not None
    pending = decide(gate, request(), now=100.0)
    assert isinstance(pending, AwaitStore)
    assert pending.deadline == 100.25
    assert isinstance(pending.resume(pending.deadline, 0.0), Forward) is served


def test_no_limit_counts_with_another_whatever_routes_are_called() -> None:
    limit = config_module.RateLimit(max=1, window=WINDOW)
    routes = [
        route("/a", rate_limit="api"),
        route("/b", name="limits.api", rate_limit=limit),
        route("/c", name="c", rate_limit=(config_module.RateLimit(max=9, window=WINDOW), limit)),
        route("/d", name="c 2", rate_limit=limit),
    ]
    gate = compile_gate(
        replace(config(*routes), limits={"api": limit}),
        new_id=lambda: "0" * 32,
        date=lambda: b"D",
        problems=[],
        warnings=[],
    )
    assert gate is not None
    decided = [decide(gate, request(f"/{name}")) for name in "abcdabcd"]
    assert [isinstance(one, Forward) for one in decided] == [True] * 4 + [False] * 4


def test_who_waits_no_more_is_not_called() -> None:
    host, ready = Host(("exact", 5)), list[str]()
    pending = AwaitStore(host.hit(100.0), lambda now: pending.refused(pending.reason), "id", "a", "/", b"", 100.05)
    pending.subscribe(lambda: ready.append("ready"))()
    host.store.close()
    assert ready == []
    assert "Retry-After" not in pending.refused(host.hit(1.0).reason).fields.decode()


def test_a_store_that_closes_gives_up_what_was_not_sent() -> None:
    host, ready = Host(("exact", 5)), list[str]()
    counted = host.hit(100.0)
    assert counted.wait is not None
    counted.wait(lambda: ready.append("ready"))
    host.store.close()
    assert ready == ["ready"]
    assert not host.store.waiting()
    assert host.settle(counted, 100.0).refused == 0
