"""How many client connections each address has in all processes: exact, bounded, and whole after a death."""

from collections import Counter

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from harness.quotas import Workers
from rawgate.relay.shared_addresses import SharedAddresses
from rawgate.relay.shared_counts import FILLED, PLACES

LONGEST = "0000:0000:0000:0000:0000:ffff:255.255.255.255"


def both(limit: int | None = 2, connections: int = 100) -> tuple[SharedAddresses, SharedAddresses, Workers]:
    workers = Workers(2, connections)
    one, other = (workers.memory.addresses(limit, number) for number in range(2))
    return one, other, workers


@pytest.mark.parametrize("address", ["192.0.2.1", "unix", "::1", LONGEST])
def test_an_address_has_so_many_in_all_processes_together(address: str) -> None:
    one, other, _ = both()
    assert [one.enter(address), other.enter(address)] == [True, True]
    assert [one.enter(address), other.enter(address)] == [False, False]
    assert one.enter("192.0.2.10")
    one.leave(address)
    assert [other.enter(address), one.enter(address)] == [True, False]
    assert (one.counts, other.counts) == ({"192.0.2.10": 1}, {address: 2})


def test_addresses_are_compared_whole() -> None:
    one, other, _ = both(limit=1, connections=1)
    for address in ("110.0.0.1", "10.0.0.1", "0.0.0.1", "10.0.0.11", "1"):
        assert one.enter(address), address
        assert not other.enter(address), address


def test_a_limit_may_come_and_go() -> None:
    one, other, _ = both(limit=None)
    for addresses in (one, other):
        for _ in range(2):
            assert addresses.enter("192.0.2.1")
    for limit, free in ((5, True), (5, False), (None, True), (6, False), (7, True)):
        one.resize(limit)
        other.resize(limit)
        assert one.enter("192.0.2.1") is free
    for _ in range(2):
        other.leave("192.0.2.1")
    assert one.counts == {"192.0.2.1": 5}
    one.resize(6)
    other.resize(6)
    assert [other.enter("192.0.2.1") for _ in range(2)] == [True, False]


def test_a_dead_process_has_no_connections() -> None:
    one, other, workers = both()
    for address in ("192.0.2.1", "192.0.2.2"):
        one.enter(address)
    other.enter("192.0.2.1")
    workers.memory.forget(0, 1)
    assert [other.enter("192.0.2.1"), other.enter("192.0.2.1")] == [True, False]
    assert [other.enter("192.0.2.2") for _ in range(3)] == [True, True, False]


def test_there_is_a_place_for_as_many_addresses_as_connections_and_then_some() -> None:
    count = 2000
    one, other, _ = both(limit=1, connections=count)
    for turn in range(3):
        names = [f"2001:db8:{turn}::{number:x}" for number in range(2 * count)]
        assert all(one.enter(name) for name in names)
        assert not any(other.enter(name) for name in names[::97])
        for name in names:
            one.leave(name)


def test_a_bucket_that_is_full_takes_no_other_address() -> None:
    one, other, _ = both(limit=2, connections=FILLED)
    names = [f"192.0.2.{number}" for number in range(PLACES)]
    assert all(one.enter(name) for name in names)
    assert not other.enter("198.51.100.1")
    assert other.enter(names[0])
    one.leave(names[1])
    assert other.enter("198.51.100.1")
    one.resize(None)
    assert one.enter("198.51.100.2")
    one.resize(2)
    one.leave("198.51.100.2")
    assert not one.enter("198.51.100.2"), "it found no place, and it still finds none"


class AddressMachine(RuleBasedStateMachine):
    """Connections come to three workers and go, and workers die."""

    def __init__(self) -> None:
        super().__init__()
        self.workers = Workers(3, connections=40)
        self.limit: int | None = 2
        self.each = [self.workers.memory.addresses(2, number) for number in range(3)]

    def count(self) -> Counter[str]:
        return sum((Counter(addresses.counts) for addresses in self.each), Counter())

    @rule(worker=st.integers(0, 2), number=st.integers(0, 9))
    def enter(self, worker: int, number: int) -> None:
        address = f"10.0.0.{number}"
        free = self.limit is None or self.count()[address] < self.limit
        assert self.each[worker].enter(address) is free

    @rule(worker=st.integers(0, 2), data=st.data())
    def leave(self, worker: int, data: st.DataObject) -> None:
        if self.each[worker].counts:
            self.each[worker].leave(data.draw(st.sampled_from(sorted(self.each[worker].counts))))

    @rule(worker=st.integers(0, 2))
    def die(self, worker: int) -> None:
        self.workers.memory.forget(worker, 1)
        self.each[worker] = self.workers.memory.addresses(self.limit, worker)

    @rule(limit=st.sampled_from([None, 1, 2, 3]))
    def reload(self, limit: int | None) -> None:
        self.limit = limit
        for addresses in self.each:
            addresses.resize(limit)

    @invariant()
    def no_count_is_zero(self) -> None:
        assert all(count > 0 for count in self.count().values())


AddressMachine.TestCase.settings = settings(max_examples=50, stateful_step_count=40, deadline=None)
TestAddressMachine = AddressMachine.TestCase
