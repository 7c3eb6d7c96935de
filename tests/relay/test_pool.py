"""The pool's bookkeeping: its rules as single cases, and as invariants of a machine that does whatever it may."""

from typing import Any, cast

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from harness.ports import FakeUpstream, FakeWaiter
from rawgate.errors import QUEUE_FULL, UPSTREAM_CONNECT_FAILED
from rawgate.relay.pool import UNHEALTHY_FOR, Pool, UpstreamTerms, Waiter
from rawgate.relay.ports import UpstreamPort


class Fixture:
    """A pool whose dials are only written down."""

    def __init__(self, targets: tuple[tuple[str, int], ...] = (("a", 1),), **terms: Any) -> None:
        self.dials: list[Waiter] = []
        self.pool = Pool(UpstreamTerms("u", targets, **terms), lambda _pool, waiter: self.dials.append(waiter))

    def connect(self, waiter: Waiter, now: float = 0.0, target: int = 0) -> FakeUpstream:
        """The dial made for this waiter succeeds."""
        self.dials.remove(waiter)
        upstream = FakeUpstream(target)
        self.pool.dialed(waiter, upstream, now)
        return upstream

    def lease(self, now: float = 0.0, target: int = 0) -> tuple[FakeWaiter, FakeUpstream]:
        waiter = FakeWaiter()
        assert self.pool.acquire(waiter, now) is None
        return waiter, self.connect(waiter, now, target)


def test_the_first_request_dials_and_the_second_reuses() -> None:
    f = Fixture()
    waiter, upstream = f.lease()
    assert waiter.got == [upstream]
    f.pool.release(upstream, 1.0)
    assert f.pool.acquire(FakeWaiter(), 1.0) is upstream
    assert f.pool.leased == 1


def test_the_newest_idle_connection_goes_first() -> None:
    f = Fixture()
    (_, old), (_, new) = f.lease(), f.lease()
    f.pool.release(old, 1.0)
    f.pool.release(new, 2.0)
    assert f.pool.acquire(FakeWaiter(), 3.0) is new


def test_an_idle_connection_is_not_leased_after_its_time() -> None:
    f = Fixture(keep_alive=10.0)
    _, upstream = f.lease()
    f.pool.release(upstream, 0.0)
    assert f.pool.acquire(FakeWaiter(), 10.0) is None
    assert upstream.closed
    assert len(f.dials) == 1


@pytest.mark.parametrize(("promised", "retire_at"), [(-1, 55.0), (5, 4.0), (100, 55.0), (0, -1.0)])
def test_the_upstreams_own_keep_alive_retires_a_connection_a_second_early(promised: int, retire_at: float) -> None:
    f = Fixture(keep_alive=55.0)
    _, upstream = f.lease()
    f.pool.release(upstream, 0.0, promised)
    assert upstream.retire_at == retire_at


def test_retire_takes_the_old_ones_off_the_list() -> None:
    f = Fixture(keep_alive=10.0)
    (_, old), (_, new) = f.lease(), f.lease()
    f.pool.release(old, 0.0)
    f.pool.release(new, 5.0)
    assert f.pool.retire(10.0) == [old]
    assert f.pool.idle == 1


def test_at_the_limit_requests_queue_in_order_and_then_are_refused() -> None:
    f = Fixture(max_connections=1, queue=2)
    _, upstream = f.lease()
    first, second, third = FakeWaiter(), FakeWaiter(), FakeWaiter()
    assert f.pool.acquire(first, 0.0) is None
    assert f.pool.acquire(second, 0.0) is None
    assert f.pool.acquire(third, 0.0) is QUEUE_FULL
    assert f.pool.queued(first)
    f.pool.release(upstream, 1.0)
    assert (first.got, second.got) == ([upstream], [])
    f.pool.release(upstream, 2.0)
    assert second.got == [upstream]


def test_who_leaves_the_queue_is_not_served() -> None:
    f = Fixture(max_connections=1)
    _, upstream = f.lease()
    gone, stays = FakeWaiter(), FakeWaiter()
    f.pool.acquire(gone, 0.0)
    f.pool.acquire(stays, 0.0)
    f.pool.leave(gone)
    f.pool.release(upstream, 1.0)
    assert (gone.got, stays.got) == ([], [upstream])


def test_a_lost_connection_lets_the_head_of_the_queue_dial() -> None:
    f = Fixture(max_connections=1)
    _, upstream = f.lease()
    queued = FakeWaiter()
    f.pool.acquire(queued, 0.0)
    f.pool.discard(upstream, leased=True)
    assert f.dials == [queued]
    assert not f.pool.queued(queued)


def test_a_failed_dial_is_the_failure_of_its_own_waiter_and_the_chance_of_the_next() -> None:
    f = Fixture(max_connections=1)
    first, second = FakeWaiter(), FakeWaiter()
    f.pool.acquire(first, 0.0)
    f.pool.acquire(second, 0.0)
    f.dials.remove(first)
    f.pool.dial_failed(first, UPSTREAM_CONNECT_FAILED, 1.0)
    assert first.failed == [UPSTREAM_CONNECT_FAILED]
    assert f.dials == [second]
    assert second.failed == []


def test_a_dial_whose_waiter_has_left_serves_the_queue_or_rests() -> None:
    f = Fixture(max_connections=1)
    gone, queued = FakeWaiter(), FakeWaiter()
    f.pool.acquire(gone, 0.0)
    f.pool.acquire(queued, 0.0)
    f.pool.leave(gone)
    upstream = f.connect(gone)
    assert (gone.got, queued.got) == ([], [upstream])
    f.pool.release(upstream, 1.0)
    assert f.pool.idle == 1


def test_fresh_never_takes_an_idle_connection_and_makes_room_for_a_new_one() -> None:
    f = Fixture(max_connections=1)
    _, upstream = f.lease()
    f.pool.release(upstream, 0.0)
    waiter = FakeWaiter()
    assert f.pool.acquire(waiter, 1.0, fresh=True) is None
    assert f.dials == [waiter]
    assert upstream.closed
    assert f.pool.size == 1


def test_targets_take_turns_and_a_failed_one_is_tried_last_for_a_while() -> None:
    f = Fixture(targets=(("a", 1), ("b", 2), ("c", 3)))
    turns = []
    for _ in range(6):
        f.pool.acquire(FakeWaiter(), 0.0)
        turns.append(f.pool.order(0.0)[0])
    assert turns == [1, 2, 0, 1, 2, 0]
    f.pool.target_failed(1, 0.0)
    f.pool.acquire(FakeWaiter(), 1.0)
    assert f.pool.order(1.0) == [2, 0, 1]
    f.pool.acquire(FakeWaiter(), UNHEALTHY_FOR + 1.0)
    f.pool.acquire(FakeWaiter(), UNHEALTHY_FOR + 1.0)
    assert f.pool.order(UNHEALTHY_FOR + 1.0)[0] == 1


def test_at_the_limit_an_idle_connection_of_another_target_is_better_than_the_queue() -> None:
    f = Fixture(targets=(("a", 1), ("b", 2)), max_connections=1)
    _, upstream = f.lease(target=1)
    f.pool.release(upstream, 0.0)
    assert f.pool.acquire(FakeWaiter(), 0.0) is upstream
    f.pool.release(upstream, 0.0)
    assert f.pool.acquire(FakeWaiter(), 0.0) is upstream


def test_a_closed_pool_keeps_nothing() -> None:
    f = Fixture()
    (_, idle), (_, busy) = f.lease(), f.lease()
    f.pool.release(idle, 0.0)
    assert f.pool.close() == [idle]
    f.pool.release(busy, 0.0)
    assert busy.closed
    assert f.pool.size == 0


class PoolMachine(RuleBasedStateMachine):
    """Anything that callers may do, in any order. The model: who holds which connection, and who waits since when."""

    def __init__(self) -> None:
        super().__init__()
        self.f = Fixture(targets=(("a", 1), ("b", 2)), max_connections=3, queue=3, keep_alive=10.0)
        self.now = 0.0
        self.waiting: list[FakeWaiter] = []
        self.busy: list[UpstreamPort] = []

    def settle(self) -> None:
        """Move those who were served or failed out of the waiting."""
        for waiter in list(self.waiting):
            if waiter.got or waiter.failed:
                self.waiting.remove(waiter)
                assert len(waiter.got) + len(waiter.failed) == 1
                for upstream in waiter.got:
                    assert upstream not in self.busy, "handed out twice"
                    assert not cast("FakeUpstream", upstream).closed
                    self.busy.append(upstream)

    @rule(fresh=st.booleans())
    def acquire(self, fresh: bool) -> None:
        waiter = FakeWaiter()
        queue_before = [w for w in self.waiting if self.f.pool.queued(w)]
        got = self.f.pool.acquire(waiter, self.now, fresh=fresh)
        if isinstance(got, FakeUpstream):
            assert not queue_before, "overtook the queue"
            assert got not in self.busy, "handed out twice"
            assert not got.closed
            assert got.retire_at > self.now
            self.busy.append(got)
        elif got is QUEUE_FULL:
            assert len(queue_before) == 3
        else:
            self.waiting.append(waiter)

    @precondition(lambda self: self.f.dials)
    @rule(data=st.data(), which=st.sampled_from([0, 1]))
    def dial_succeeds(self, data: st.DataObject, which: int) -> None:
        waiter = data.draw(st.sampled_from(self.f.dials))
        self.f.connect(waiter, self.now, which)
        self.settle()

    @precondition(lambda self: self.f.dials)
    @rule(data=st.data())
    def dial_fails(self, data: st.DataObject) -> None:
        waiter = data.draw(st.sampled_from(self.f.dials))
        self.f.dials.remove(waiter)
        self.f.pool.dial_failed(waiter, UPSTREAM_CONNECT_FAILED, self.now)
        self.settle()

    @precondition(lambda self: self.busy)
    @rule(data=st.data(), clean=st.booleans())
    def give_back(self, data: st.DataObject, clean: bool) -> None:
        upstream = data.draw(st.sampled_from(self.busy))
        self.busy.remove(upstream)
        if clean:
            self.f.pool.release(upstream, self.now)
        else:
            self.f.pool.discard(upstream, leased=True)
        self.settle()

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        waiter = data.draw(st.sampled_from(self.waiting))
        self.waiting.remove(waiter)
        self.f.pool.leave(waiter)

    @rule(seconds=st.sampled_from([0.5, 4.0, 11.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def sweep(self) -> None:
        for upstream in self.f.pool.retire(self.now):
            assert upstream not in self.busy
            assert upstream.retire_at <= self.now

    @invariant()
    def counts_agree(self) -> None:
        pool = self.f.pool
        assert pool.leased == len(self.busy)
        assert pool.size == pool.leased + pool.idle + len(self.f.dials)
        assert pool.size <= 3

    @invariant()
    def nobody_queues_while_there_is_room(self) -> None:
        queued = [w for w in self.waiting if self.f.pool.queued(w)]
        if queued:
            assert self.f.pool.idle == 0
            assert self.f.pool.size == 3


PoolMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestPoolMachine = PoolMachine.TestCase
