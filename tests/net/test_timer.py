"""One timer for many deadlines: it fires at the nearest, is armed only when it must be, and lets go when closed."""

import asyncio
import gc
import weakref
from collections.abc import Iterator
from typing import cast

import pytest

from harness.checked import clocked_by
from harness.client_side import OK, ClientSide
from harness.fake_loop import FakeLoop
from rawgate.net.timer import LazyTimer


class Owner:
    """Writes down when the timer fires; arms it again for what is due next."""

    def __init__(self, loop: FakeLoop) -> None:
        self.loop = loop
        self.fired: list[float] = []
        self.coming: list[float] = []
        self.timer = LazyTimer(cast("asyncio.AbstractEventLoop", loop), self.expire)

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


@pytest.mark.parametrize("forwarded", [True, False])
def test_a_connection_that_is_gone_waits_for_no_garbage_collector(side: ClientSide, forwarded: bool) -> None:
    """The timer holds its owner by the function that it calls, and the owner holds the timer."""
    client = side.client().get(b"/x" if forwarded else b"/own")
    if forwarded:
        side.upstream()
        client.answer(OK)
    connection = weakref.ref(client.protocol)
    gc.collect()
    gc.disable()
    try:
        client.transport.breaks()
        client.transport.set_protocol(None)  # as uvloop's do
        del client
        assert connection() is None
    finally:
        gc.enable()
