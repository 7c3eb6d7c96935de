"""Anything in any order, to the whole gateway: octets, FINs, resets and stalls on both sides, dials that succeed, fail
or hang, time, and the end of the gateway. Afterwards each request has its one line, and nothing is left open.
"""

from collections.abc import Callable
from random import Random

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from harness.actions import ACTIONS, Action
from harness.books import miscounts
from harness.in_memory_gateway import InMemoryGateway, clocked
from harness.invariants import findings
from harness.messages import ANSWERS, REQUESTS
from harness.mutation import Mutator
from harness.stuck import stuck
from rawgate.net.timer import LazyTimer

CHANCE = st.randoms(use_true_random=False)


class AnyOrder(RuleBasedStateMachine):
    """One shell, and everything that may happen to it."""

    def __init__(self) -> None:
        super().__init__()
        self.gateway = InMemoryGateway()
        self.clock = clocked(self.gateway)

    @initialize(fast=st.booleans(), connections=st.integers(1, 3), upstreams=st.integers(1, 2))
    def start(self, fast: bool, connections: int, upstreams: int) -> None:
        self.gateway = InMemoryGateway(fast=fast, connections=connections, upstreams=upstreams)
        self.clock = clocked(self.gateway)
        self.clock.__enter__()
        self.gateway.connect()

    @rule(action=st.sampled_from(ACTIONS), chance=CHANCE)
    def something_happens(self, action: Action, chance: Random) -> None:
        action(self.gateway, Mutator(chance))

    @invariant()
    def the_books_are_right(self) -> None:
        assert list(miscounts(self.gateway)) == []

    def teardown(self) -> None:
        if not self.gateway.clients:
            return
        try:
            self.gateway.flow()
            assert list(stuck(self.gateway)) == []
            self.gateway.settle()
            assert findings(self.gateway) == []
        finally:
            self.clock.__exit__(None, None, None)


def test_anything_in_any_order() -> None:
    run_state_machine_as_test(AnyOrder, settings=settings(max_examples=150, stateful_step_count=50))


# ── the check ──


def served() -> InMemoryGateway:
    """One request, answered."""
    gateway = InMemoryGateway()
    with clocked(gateway):
        client = gateway.connect()
        client.outbox = REQUESTS[4]
        client.advance(1000)
        upstream = gateway.dialed(gateway.dials[0])
        upstream.outbox = ANSWERS[0]
        upstream.advance(1000)
        gateway.settle()
    return gateway


def test_the_judge_lets_what_is_right_pass() -> None:
    gateway = served()
    assert len(gateway.records) == 1
    assert findings(gateway) == []


GHOST = b"GET /smuggled HTTP/1.1\r\nHost: service\r\nX-Request-Id: ghost\r\n\r\n"


@pytest.mark.parametrize(
    ("up", "down", "finding"),
    [
        ((b"", GHOST), (b"", b""), "nobody asked for"),
        ((b"PUT /a", b"PUT /b"), (b"", b""), "is not what was decided"),
        ((b"hello", b"hullo"), (b"", b""), "a body became"),
        ((b"Content-Length", b"Transfer-Encoding: chunked\r\nContent-Length"), (b"", b""), "sent what is no request"),
        ((b"", b""), (b"", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"), "sent more than its responses"),
        ((b"", b""), (b"ok", b"on"), "became 200"),
        ((b"", b""), (b"200 OK", b"201 OK"), "the client saw 201"),
        ((b"", b""), (b"\r\n\r\nok", b"\r\n\r\no"), "cut, but not as a cut"),
        ((b"", b""), (b"X-Request-Id: 0", b"X-Request-Id: 1"), "a response to another request"),
    ],
)
def test_the_judge_finds(up: tuple[bytes, bytes], down: tuple[bytes, bytes], finding: str) -> None:
    """What did not happen: octets that were sent, with something put in place of something else."""
    gateway = served()
    for end, (what, instead) in (gateway.upstreams[0], up), (gateway.clients[0], down):
        end.sent = end.sent.replace(what, instead, 1) if what else end.sent + instead
    assert any(finding in found for found in findings(gateway)), findings(gateway)


def test_the_judge_finds_what_is_left() -> None:
    gateway = InMemoryGateway()
    with clocked(gateway):
        gateway.connect()
        assert any("left open" in found for found in findings(gateway))


def under_way() -> InMemoryGateway:
    """One request, and a half of its answer."""
    gateway = InMemoryGateway()
    with clocked(gateway):
        client = gateway.connect()
        client.outbox = REQUESTS[0]
        client.advance(1000)
        upstream = gateway.dialed(gateway.dials[0])
        upstream.outbox = ANSWERS[2]
        upstream.advance(300)
        assert list(stuck(gateway)) == list(miscounts(gateway)) == []
    return gateway


def test_the_judge_finds_what_is_not_passed_on() -> None:
    gateway = under_way()
    gateway.clients[0].sent = gateway.clients[0].sent[:-1]
    assert any("went down" in found for found in stuck(gateway))


def test_the_judge_finds_what_is_not_read() -> None:
    gateway = under_way()
    gateway.upstreams[0].pause_reading()
    assert any("nobody reads" in found for found in stuck(gateway))


def leak_a_slot(gateway: InMemoryGateway) -> None:
    gateway.pool.slots.take()


def leak_a_place_in_the_queue(gateway: InMemoryGateway) -> None:
    gateway.pool.queue_slots.take()


def miscount_the_load(gateway: InMemoryGateway) -> None:
    gateway.pool.endpoints.all[0].sent += 1


def leak_a_slot_of_clients(gateway: InMemoryGateway) -> None:
    gateway.connections.slots.take()


def arm_a_timer_for_nobody(gateway: InMemoryGateway) -> None:
    LazyTimer(gateway.connections.timers, lambda: None).arm(gateway.loop.now + 1.0)


def arm_a_far_timer_for_nobody(gateway: InMemoryGateway) -> None:
    LazyTimer(gateway.connections.timers, lambda: None).arm(gateway.loop.now + 60.0)


def lose_a_fin(gateway: InMemoryGateway) -> None:
    gateway.clients[0].fin_sent = True


@pytest.mark.parametrize(
    ("fault", "finding"),
    [
        (leak_a_slot, "not counted"),
        (leak_a_place_in_the_queue, "the queue's slots"),
        (miscount_the_load, "load"),
        (leak_a_slot_of_clients, "slots of clients"),
        (arm_a_timer_for_nobody, "timers are armed"),
        (arm_a_far_timer_for_nobody, "timers are armed"),
        (lose_a_fin, "its client is gone"),
    ],
)
def test_the_judge_finds_a_wrong_book(fault: Callable[[InMemoryGateway], None], finding: str) -> None:
    gateway = under_way()
    with clocked(gateway):
        fault(gateway)
    assert any(finding in found for found in miscounts(gateway)), list(miscounts(gateway))


def test_a_view_that_waits_has_what_is_in_its_buffer_when_it_is_taken() -> None:
    gateway = under_way()
    client, octets = gateway.clients[0], bytearray(b"1234")
    client.stall()
    client.write(memoryview(octets))
    octets[:] = b"5678"
    client.take()
    assert client.sent.endswith(b"5678")
