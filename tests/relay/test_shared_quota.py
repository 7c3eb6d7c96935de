"""A quota that workers share: whose turn it is, as single cases; that it is exact, starves nobody and loses nothing, as
a machine that does whatever workers may; and that a worker may die anywhere."""

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from harness.quotas import User, Workers
from rawgate.relay import shared_quota
from rawgate.relay.shared_quota import PRESSURE, TICKETS


class World:
    """Workers, and one user of the quota "q" in each."""

    def __init__(self, count: int = 2, limit: int = 4) -> None:
        self.workers = Workers(count)
        self.limit = limit
        self.users = [User(quotas.named("q", limit)) for quotas in self.workers.quotas]
        self.arrived = 0

    def arrive(self, worker: int) -> int:
        self.arrived += 1
        self.users[worker].arrive(self.arrived)
        return self.arrived

    def hold(self, *counts: int) -> None:
        """Each worker takes so many."""
        for worker, count in enumerate(counts):
            for _ in range(count):
                self.arrive(worker)
            assert self.users[worker].busy == count

    def settle(self) -> None:
        self.workers.settle()

    def die(self, worker: int) -> None:
        self.workers.die(worker)
        self.users[worker] = User(self.workers.quotas[worker].named("q", self.limit))

    def busy(self) -> list[int]:
        return [user.busy for user in self.users]

    def cells(self) -> memoryview:
        return self.workers.memory.records[0]


# ── whose turn it is ──


def test_all_workers_together_have_so_many() -> None:
    w = World(3, limit=4)
    w.hold(2, 1, 1)
    for worker in range(3):
        assert not w.users[worker].quota.take()
    w.users[0].discard()
    assert w.users[2].quota.take()


def test_who_waits_gets_the_slot_that_another_worker_frees() -> None:
    w = World()
    w.hold(4, 0)
    first, second = w.arrive(1), w.arrive(1)
    w.users[0].release()
    assert w.users[1].served == [], "it is woken, and takes it in a turn of its own"
    assert not w.users[0].quota.take(), "nobody can come between"
    w.settle()
    assert w.users[1].served == [first]
    w.users[0].discard()
    w.settle()
    assert w.users[1].served == [first, second]
    assert w.busy() == [2, 2]


def test_an_idle_one_is_closed_for_who_begins_to_wait() -> None:
    w = World()
    w.hold(4, 0)
    for _ in range(3):
        w.users[0].release()
    assert (w.users[0].idle, w.workers.woken) == (3, [])
    who = [w.arrive(1) for _ in range(2)]
    w.settle()
    assert w.users[1].served == who
    assert (w.users[0].idle, w.busy()) == (1, [1, 2]), "no more are closed than are waited for"


@pytest.mark.parametrize(
    ("held", "goes"),
    [((3, 1), True), ((4, 0), True), ((2, 2), False), ((1, 3), False), ((1, 0), True), ((2, 1), False)],
)
@pytest.mark.parametrize("freed", [User.release, User.discard])
def test_a_worker_that_waits_itself_gives_to_who_holds_two_fewer_or_none(
    held: tuple[int, int], goes: bool, freed: Callable[[User], None]
) -> None:
    w = World(limit=sum(held))
    w.hold(*held)
    for worker in (0, 1):
        w.arrive(worker)
    w.settle()
    freed(w.users[0])
    w.settle()
    assert w.busy() == ([held[0] - 1, held[1] + 1] if goes else list(held))


def test_of_several_the_one_that_has_waited_longest_comes_first() -> None:
    w = World(4, limit=6)
    w.hold(6, 0, 0, 0)
    order = [3, 1, 2]
    for worker in order:
        w.arrive(worker)
        w.arrive(worker)
    for number in range(6):
        w.users[0].release()
        w.settle()
        assert w.users[order[number % 3]].busy == number // 3 + 1
    assert w.busy() == [0, 2, 2, 2]


def test_with_equal_load_nothing_moves() -> None:
    w = World(2, limit=8)
    w.hold(4, 4)
    for _ in range(40):
        w.arrive(0)
        w.arrive(1)
    w.settle()
    for _ in range(30):
        for user in w.users:
            user.release()
            assert user.busy == 4
    assert w.workers.woken == []


def test_who_is_passed_over_as_often_as_there_are_slots_is_next() -> None:
    w = World(2, limit=3)
    w.hold(2, 1)
    for _ in range(20):
        w.arrive(0)
    who = w.arrive(1)
    frees = 0
    while who not in w.users[1].served:
        w.users[0].release()
        w.settle()
        frees += 1
    assert frees == 4, "it was passed over three times"


def test_a_grant_that_comes_too_late_goes_on() -> None:
    w = World(3, limit=1)
    w.hold(1, 0, 0)
    late, next_one = w.arrive(1), w.arrive(2)
    w.users[0].release()
    w.users[1].leave(late)
    w.settle()
    assert w.users[2].served == [next_one]
    w.users[2].discard()
    w.settle()
    assert w.users[0].quota.take()


def test_a_newcomer_does_not_take_what_was_granted_to_another_worker() -> None:
    w = World(3, limit=1)
    w.hold(1, 0, 0)
    w.arrive(1)
    w.users[0].discard()
    w.arrive(2)
    w.settle()
    assert w.busy() == [0, 1, 0]


def test_a_higher_limit_is_granted_and_a_lower_one_is_given_back() -> None:
    w = World(2, limit=2)
    w.hold(2, 0)
    who = [w.arrive(1) for _ in range(2)]
    w.users[0].quota.resize(4)
    w.settle()
    assert w.users[1].served == who
    w.users[1].quota.resize(3)
    assert w.users[0].quota.give_if_due()
    assert not w.users[0].quota.give_if_due()


def test_a_dead_worker_s_slots_go_to_who_waits() -> None:
    w = World(3, limit=3)
    w.hold(2, 1, 0)
    who = w.arrive(2)
    w.arrive(0)
    w.workers.turn(0)
    w.die(0)
    w.settle()
    assert w.users[2].served == [who]
    assert [w.users[0].quota.take() for _ in range(2)] == [True, False]


def test_nothing_is_locked_while_nobody_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    w = World()
    w.hold(2, 2)
    monkeypatch.setattr(w.workers.memory.locks, "acquire", lambda stripe: pytest.fail("a lock"))
    for user in w.users:
        user.release()
        user.arrive(0)


# ── anything, in any order ──


class QuotaMachine(RuleBasedStateMachine):
    """Workers whose clients come, leave and are served, and that die."""

    @initialize(count=st.integers(2, 4), limit=st.integers(1, 5))
    def begin(self, count: int, limit: int) -> None:
        self.w = World(count, limit)
        self.count = count
        self.waited: dict[int, int] = {}  # worker that waits → slots freed since the last time it got one
        self.held = 0

    def pick(self, data: st.DataObject, fits: Callable[[User], object]) -> User | None:
        users = [user for user in self.w.users if fits(user)]
        return data.draw(st.sampled_from(users)) if users else None

    @rule(data=st.data())
    def arrive(self, data: st.DataObject) -> None:
        self.w.arrive(data.draw(st.integers(0, self.count - 1)))

    @rule(data=st.data(), deed=st.sampled_from([User.release, User.discard]))
    def free(self, data: st.DataObject, deed: Callable[[User], None]) -> None:
        user = self.pick(data, lambda user: user.busy)
        if user is None:
            return
        before = [list(user.served) for user in self.w.users]
        deed(user)
        self.w.settle()
        for worker, user in enumerate(self.w.users):
            if not user.queue or user.served != before[worker]:
                self.waited.pop(worker, None)
            else:
                self.waited[worker] = self.waited.get(worker, 0) + 1
                # It may have been lowered or raised meanwhile: five is the highest.
                assert self.waited[worker] <= 5 + self.count, "starved"

    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        user = self.pick(data, lambda user: user.queue)
        if user is not None:
            user.leave(data.draw(st.sampled_from(user.queue)))
            self.waited.clear()

    @rule(data=st.data())
    def turn(self, data: st.DataObject) -> None:
        self.w.workers.turn(data.draw(st.integers(0, self.count - 1)))

    @rule(data=st.data())
    def die(self, data: st.DataObject) -> None:
        self.w.die(data.draw(st.integers(0, self.count - 1)))
        self.waited.clear()

    @rule(limit=st.integers(1, 5))
    def reload(self, limit: int) -> None:
        self.w.limit = limit
        for user in self.w.users:
            user.quota.resize(limit)
        self.waited.clear()

    @rule()
    def rest(self) -> None:
        """When all loops have heard of everything, nobody waits beside a slot that is not used."""
        self.w.settle()
        busy, queued = sum(self.w.busy()), [user for user in self.w.users if user.queue]
        if queued:
            assert busy >= self.w.limit
            assert all(user.idle == 0 for user in self.w.users)

    @invariant()
    def never_more_than_the_limit(self) -> None:
        held = sum(user.busy + user.idle for user in self.w.users)
        assert held == sum(user.quota.taken for user in self.w.users)
        granted = shared_quota.HEADER + shared_quota.GRANTED * self.count
        held += sum(self.w.cells()[granted : granted + self.count])
        assert held <= max(self.w.limit, self.held), "after a lower limit, what is taken only becomes less"
        self.held = held

    @invariant()
    def in_order_of_arrival_within_a_worker(self) -> None:
        for user in self.w.users:
            assert user.served == sorted(user.served)
            assert user.queue == sorted(user.queue)
            assert not (user.queue and user.idle)

    @invariant()
    def the_pressure_is_known(self) -> None:
        w, cells = self.w, self.w.cells()
        since = shared_quota.HEADER + shared_quota.SINCE * self.count
        waiting = sum(number > 0 for number in cells[since : since + self.count])
        granted = sum(cells[since - self.count : since])
        surplus = sum(user.quota.taken for user in w.users) + granted - w.limit
        assert cells[PRESSURE] == waiting + max(0, surplus)
        assert not waiting or surplus >= 0, "a slot is free, and somebody waits"


QuotaMachine.TestCase.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
TestQuotaMachine = QuotaMachine.TestCase


# ── dead in the middle of it ──


def crowded() -> World:
    """Slots are taken, idle, granted and waited for."""
    w = World(4, limit=4)
    w.hold(2, 1, 1, 0)
    w.arrive(3)
    w.users[2].release()
    w.arrive(1)
    return w


def joins(user: User) -> None:
    user.queue.append(99)
    user.serve_queue()


DEEDS: dict[str, Callable[[World], object]] = {
    "gives": lambda w: w.users[0].discard(),
    "gives if due": lambda w: w.users[0].release(),
    "joins": lambda w: joins(w.users[0]),
    "takes a grant": lambda w: w.workers.turn(3),
    "stops waiting": lambda w: w.users[1].leave(w.users[1].queue[0]),
    "resizes": lambda w: w.users[0].quota.resize(5),
}
DOER = {"takes a grant": 3, "stops waiting": 1}


def moments(w: World, deed: Callable[[World], object]) -> list[tuple[bytes, list[int]]]:
    """What the memory was, and who had been woken, before each line of the quota's code that the deed runs through."""
    seen: list[tuple[bytes, list[int]]] = []
    memory = w.cells()

    def trace(frame: FrameType, event: str, argument: object) -> Any:
        if frame.f_code.co_filename != shared_quota.__file__:
            return None
        now = (memory.tobytes(), list(w.workers.woken))
        if not seen or seen[-1] != now:
            seen.append(now)
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        deed(w)
    finally:
        sys.settrace(before)
    return seen


@pytest.mark.skipif(not shared_quota.__file__.endswith(".py"), reason="only interpreted code is traced")
@pytest.mark.parametrize("name", DEEDS)
def test_nothing_is_lost_wherever_a_worker_dies(name: str) -> None:
    deed, doer = DEEDS[name], DOER.get(name, 0)
    total = len(moments(crowded(), deed))
    assert total > 2
    for moment in range(total):
        w = crowded()
        others = [worker for worker in range(4) if worker != doer]
        memory, woken = moments(w, deed)[moment]
        w.cells()[:] = memoryview(memory).cast("Q")
        w.workers.woken[:] = woken
        limit = w.cells()[shared_quota.LIMIT]
        w.limit = limit
        # The lock comes free, and the dead one is not forgotten yet: still nobody gets too much.
        for worker in others:
            while not w.users[worker].queue and w.users[worker].quota.take():
                w.users[worker].busy += 1
        assert sum(w.users[worker].quota.taken for worker in others) <= limit
        w.die(doer)
        w.settle()
        queued = [worker for worker in others if w.users[worker].queue]
        held = [w.users[worker].quota.taken for worker in others]
        assert sum(held) == limit or not queued
        assert all(w.users[worker].idle == 0 for worker in others if queued)
        # And all slots come back.
        for worker in others:
            w.users[worker].queue.clear()
            w.users[worker].stop_waiting()
            while w.users[worker].quota.taken:
                w.users[worker].quota.give()
        w.settle()
        free = 0
        while w.users[0].quota.take():
            free += 1
        assert free == limit


def test_the_numbers_of_those_who_wait_only_grow() -> None:
    w = World(2, limit=1)
    w.hold(1, 0)
    before = w.cells()[TICKETS]
    for _ in range(3):
        w.users[1].leave(w.arrive(1))
    assert w.cells()[TICKETS] == before + 3
