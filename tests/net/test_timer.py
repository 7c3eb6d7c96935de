"""One timer for many deadlines: it fires at the nearest, shares the loop's while far, and lets go when closed."""

import asyncio
import gc
import weakref
from collections.abc import Iterator
from math import inf
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.checked import clocked_by
from harness.client_side import OK, ClientSide, request
from harness.fake_loop import FakeLoop, FakeTransport
from rawgate.net.client import ClientConnection
from rawgate.net.timer import LazyTimer, Timers


class Owner:
    """Writes down when the timer fires; arms it again for what is due next."""

    def __init__(self, loop: FakeLoop, timers: Timers | None = None) -> None:
        self.loop = loop
        self.fired: list[float] = []
        self.coming: list[float] = []
        self.timers = timers or Timers(cast("asyncio.AbstractEventLoop", loop))
        self.timer = LazyTimer(self.timers, self.expire)

    def another(self) -> "Owner":
        """On the same loop."""
        return Owner(self.loop, self.timers)

    def expire(self) -> None:
        self.fired.append(self.loop.now)
        if self.coming:
            self.timer.arm(self.coming.pop(0))


@pytest.fixture
def owner() -> Iterator[Owner]:
    loop = FakeLoop()
    with clocked_by(loop.clock):
        yield Owner(loop)


def test_it_fires_at_the_nearest_deadline_whatever_the_order(owner: Owner) -> None:
    for due in (1030.0, 1010.0, 1020.0):
        owner.timer.arm(due)
        assert len(owner.loop.timers) == 1
    owner.loop.passes(100)
    assert owner.fired == [1010.0]


def test_the_loop_reads_once_more_before_a_deadline_is_over(owner: Owner) -> None:
    """uvloop calls timers first, then what is to be called soon, and reads after that."""
    owner.timer.arm(1010.0)
    with owner.loop.reading():
        owner.loop.passes(10)
    owner.loop.turn()
    assert owner.fired == []
    owner.loop.turn()
    assert owner.fired == [1010.0]


def test_closed_meanwhile_it_fires_no_more(owner: Owner) -> None:
    owner.timer.arm(1010.0)
    with owner.loop.reading():
        owner.loop.passes(10)
        owner.timer.close()
    owner.loop.run()
    owner.timer.arm(1020.0)
    owner.loop.passes(100)
    assert owner.fired == []


def test_a_later_deadline_does_not_arm_it_again(owner: Owner) -> None:
    owner.timer.arm(1010.0)
    (armed,) = owner.loop.timers
    owner.timer.arm(1010.0)
    owner.timer.arm(1500.0)
    assert owner.loop.timers == [armed]


def test_a_deadline_that_has_passed_is_due_at_once(owner: Owner) -> None:
    owner.timer.arm(900.0)
    owner.loop.passes(0)
    assert owner.fired == [1000.0]


def test_its_owner_may_arm_it_when_it_fires(owner: Owner) -> None:
    owner.coming = [1015.0, 1040.0]
    owner.timer.arm(1010.0)
    owner.loop.passes(100)
    assert owner.fired == [1010.0, 1015.0, 1040.0]


def test_after_closing_it_never_fires(owner: Owner) -> None:
    owner.timer.arm(1010.0)
    owner.timer.close()
    owner.timer.arm(1001.0)
    owner.timer.close()
    assert owner.loop.timers == []
    owner.loop.passes(100)
    assert owner.fired == []


def test_far_deadlines_share_one_timer_of_the_loop(owner: Owner) -> None:
    """Each fires at its own time all the same; the last second it waits for with a timer of its own."""
    others = [owner.another() for _ in range(5)]
    for late, other in enumerate([owner, *others]):
        other.timer.arm(1010.25 + late / 8)
    assert [timer.due for timer in owner.loop.timers] == [1010.0]
    owner.loop.passes(10)
    assert len(owner.loop.timers) == 6
    owner.loop.passes(10)
    assert [other.fired for other in [owner, *others]] == [[1010.25 + late / 8] for late in range(6)]
    assert owner.loop.timers == []


def test_the_last_far_deadline_leaves_no_timer_behind(owner: Owner) -> None:
    other = owner.another()
    owner.timer.arm(1010.5)
    other.timer.arm(1020.5)
    owner.timer.close()
    assert [timer.due for timer in owner.loop.timers] == [1020.0]
    other.timer.arm(1001.0)
    assert [timer.due for timer in owner.loop.timers] == [1001.0]
    other.timer.close()
    assert owner.loop.timers == []


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("arm"), st.integers(0, 3), st.integers(-8, 80)),
        st.tuples(st.just("close"), st.integers(0, 3), st.just(0)),
        st.tuples(st.just("pass"), st.just(0), st.integers(0, 40)),
    ),
    max_size=30,
)


@given(steps=STEPS)
def test_each_fires_once_at_the_nearest_deadline_since_it_fired_last(steps: list[tuple[str, int, int]]) -> None:
    """Beside an owner that works it out with a pencil. Time is in eighths of a second."""
    loop = FakeLoop()
    with clocked_by(loop.clock):
        first = Owner(loop)
        owners = [first, *(first.another() for _ in range(3))]
        armed: dict[int, float] = {}
        expected: list[list[float]] = [[] for _ in owners]
        closed: set[int] = set()
        for what, which, eighths in (*steps, ("pass", 0, 200)):
            if what == "arm" and which not in closed:
                armed[which] = min(armed.get(which, inf), loop.now + eighths / 8)
            if what == "arm":
                owners[which].timer.arm(loop.now + eighths / 8)
            elif what == "close":
                owners[which].timer.close()
                armed.pop(which, None)
                closed.add(which)
            else:
                began, ends = loop.now, loop.now + eighths / 8
                loop.passes(eighths / 8)
                for one in [one for one, due in armed.items() if due <= ends]:
                    expected[one].append(max(began, armed.pop(one)))
            assert len(loop.timers) <= len(armed)
        assert [owner.fired for owner in owners] == expected
        assert loop.timers == []


@pytest.mark.parametrize("forwarded", [True, False])
def test_a_connection_that_is_gone_waits_for_no_garbage_collector(side: ClientSide, forwarded: bool) -> None:
    """The timer holds its owner by the function that it calls, and the owner holds the timer."""
    transport = FakeTransport(side.loop, ClientConnection(side.connections))
    transport.receives(request(b"GET", b"/x" if forwarded else b"/own"))
    if forwarded:
        side.upstream()
        side.exchange.upstream_data(OK, side.loop.now)
    held = weakref.ref(transport)  # by the connection, which cannot be asked itself
    gc.collect()
    gc.disable()
    try:
        transport.breaks()
        transport.set_protocol(None)  # as uvloop's do
        del transport
        assert held() is None
    finally:
        gc.enable()
