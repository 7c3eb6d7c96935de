"""Nobody waits in vain: good requests and good answers, in any pieces, with stalls on both sides that end. Without any
time having passed, every request has its answer.
"""

from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from harness.actions import (
    a_client_goes_on,
    a_client_stalls,
    a_client_takes,
    a_dial_succeeds,
    an_upstream_goes_on,
    an_upstream_stalls,
    an_upstream_takes,
)
from harness.in_memory_gateway import End, InMemoryGateway, clocked
from harness.invariants import findings
from harness.messages import ANSWERS, REQUESTS
from harness.mutation import Mutator
from rawgate.relay.phases import AWAITING

CHANCE = st.randoms(use_true_random=False)
ASKED = [REQUESTS[at] for at in (0, 0, 2, 4, 5, 6, 7, 8, 12)]
ANSWERED = [ANSWERS[at] for at in (0, 2, 3, 4, 6)]
ACTIONS = (
    *(a_client_goes_on, a_client_goes_on, a_client_goes_on, a_client_stalls, a_client_takes, a_dial_succeeds),
    *(an_upstream_goes_on, an_upstream_goes_on, an_upstream_stalls, an_upstream_takes),
)


def answer(gateway: InMemoryGateway, chance: Mutator) -> None:
    """Each service that has a whole request begins its answer; to HEAD without a body, which would be taken for the
    next answer."""
    for end in gateway.upstreams:
        exchange, arrived = end.upstream.flow, end.arrived
        is_awaiting = exchange is not None and exchange.phase is AWAITING
        if exchange is not None and is_awaiting and not end.outbox and exchange.forward.request_id not in arrived:
            head, empty, body = chance.pick(ANSWERED).partition(b"\r\n\r\n")
            end.outbox = head + empty + (b"" if exchange.head.method == b"HEAD" else body)


def everything(gateway: InMemoryGateway) -> list[tuple[End, bytes, int, int]]:
    """What changes while something goes on."""
    return [(end, end.outbox, len(end.sent), end.backlog) for end in [*gateway.clients, *gateway.upstreams]]


def to_the_end(gateway: InMemoryGateway, chance: Mutator) -> None:
    """Everybody takes and sends all that there is, until nothing moves."""
    before = None
    while before != (before := everything(gateway)):
        for dial in list(gateway.dials):
            gateway.dialed(dial, stalled=chance.chance(0.5))
        for end in [*gateway.clients, *gateway.upstreams]:
            end.take()
            answer(gateway, chance)
            end.advance(10_000)


@settings(max_examples=150)
@given(CHANCE, st.booleans(), st.lists(st.lists(st.sampled_from(ASKED), max_size=12), min_size=1, max_size=3))
def test_every_request_gets_its_answer(chance: Random, fast: bool, asked: list[list[bytes]]) -> None:
    mutator = Mutator(chance)
    with clocked(InMemoryGateway(fast=fast, share=2, buffers=1 << 30)) as gateway:
        began = gateway.loop.now
        for requests in asked:
            gateway.connect().outbox = b"".join(requests)
        for _ in range(mutator.number(0, 40)):
            ACTIONS[mutator.number(0, len(ACTIONS) - 1)](gateway, mutator)
            answer(gateway, mutator)
        to_the_end(gateway, mutator)
        assert gateway.loop.now == began
        # With two connections and two places in the queue, nobody of three was turned away.
        assert [record.status for record in gateway.records if record.status not in {200, 204, 401}] == []
        assert len(gateway.records) == sum(map(len, asked))
        gateway.settle()
        assert findings(gateway) == []
