"""Nobody waits in vain: good requests and good answers, in any pieces, with stalls on both sides that end. Without any
time having passed, every request has its answer.
"""

from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from harness.deeds import (
    a_client_goes_on,
    a_client_stalls,
    a_client_takes,
    a_dial_succeeds,
    an_upstream_goes_on,
    an_upstream_stalls,
    an_upstream_takes,
)
from harness.mutation import Mutator
from harness.scenes import ANSWERS, REQUESTS
from harness.shell import End, Shell, clocked, recorded
from harness.verdict import findings
from rawgate.relay.phases import AWAITING

CHANCE = st.randoms(use_true_random=False)
ASKED = [REQUESTS[at] for at in (0, 0, 2, 4, 5, 6, 7, 8, 12)]
ANSWERED = [ANSWERS[at] for at in (0, 2, 3, 4, 6)]
DEEDS = (
    *(a_client_goes_on, a_client_goes_on, a_client_goes_on, a_client_stalls, a_client_takes, a_dial_succeeds),
    *(an_upstream_goes_on, an_upstream_goes_on, an_upstream_stalls, an_upstream_takes),
)


def answer(shell: Shell, chance: Mutator) -> None:
    """Each service that has a whole request begins its answer; to HEAD without a body, which would be taken for the
    next answer."""
    for end in shell.upstreams:
        exchange, arrived = recorded(end).flow, recorded(end).arrived
        is_awaiting = exchange is not None and exchange.phase is AWAITING
        if exchange is not None and is_awaiting and not end.outbox and exchange.forward.request_id not in arrived:
            head, empty, body = chance.pick(ANSWERED).partition(b"\r\n\r\n")
            end.outbox = head + empty + (b"" if exchange.head.method == b"HEAD" else body)


def everything(shell: Shell) -> list[tuple[End, bytes, int, int]]:
    """What changes while something goes on."""
    return [(end, end.outbox, len(end.sent), end.backlog) for end in [*shell.clients, *shell.upstreams]]


def to_the_end(shell: Shell, chance: Mutator) -> None:
    """Everybody takes and sends all that there is, until nothing moves."""
    before = None
    while before != (before := everything(shell)):
        for dial in list(shell.dials):
            shell.dialed(dial, stalled=chance.chance(0.5))
        for end in [*shell.clients, *shell.upstreams]:
            end.take()
            answer(shell, chance)
            end.advance(10_000)


@settings(max_examples=150)
@given(CHANCE, st.booleans(), st.lists(st.lists(st.sampled_from(ASKED), max_size=12), min_size=1, max_size=3))
def test_every_request_gets_its_answer(chance: Random, fast: bool, asked: list[list[bytes]]) -> None:
    mutator = Mutator(chance)
    with clocked(Shell(fast=fast, share=2, buffers=1 << 30)) as shell:
        began = shell.loop.now
        for requests in asked:
            shell.connect().outbox = b"".join(requests)
        for _ in range(mutator.number(0, 40)):
            DEEDS[mutator.number(0, len(DEEDS) - 1)](shell, mutator)
            answer(shell, mutator)
        to_the_end(shell, mutator)
        assert shell.loop.now == began
        # With two connections and two places in the queue, nobody of three was turned away.
        assert [record.status for record in shell.records if record.status not in {200, 204, 401}] == []
        assert len(shell.records) == sum(map(len, asked))
        shell.settle()
        assert findings(shell) == []
