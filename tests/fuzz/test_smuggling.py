"""Whatever octets a client or an upstream sends, in whatever pieces: nobody is smuggled anything.

The whole gateway runs in memory (`harness.in_memory_gateway`). The strict reader reads what it sent to either side, and
`harness.invariants` compares that with the log.
"""

from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from harness.in_memory_gateway import InMemoryGateway, UpstreamEnd, clocked
from harness.invariants import findings
from harness.mutation import Mutator
from rawgate.relay.phases import AWAITING

CHANCE = st.randoms(use_true_random=False)
PLAIN = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
GET, POST = (
    b"GET /a HTTP/1.1\r\nHost: a.test\r\n\r\n",
    b"POST /a HTTP/1.1\r\nHost: a.test\r\nContent-Length: 2\r\n\r\nhi",
)


def answer_all(gateway: InMemoryGateway) -> None:
    """Connections come at once, and each whole request gets its answer at once."""
    while True:
        for dial in list(gateway.dials):
            gateway.dialed(dial)
        waiting = [end for end in gateway.upstreams if waits(end)]
        if not waiting:
            return
        for end in waiting:
            end.outbox = PLAIN
            end.advance(len(PLAIN))


def waits(end: UpstreamEnd) -> bool:
    exchange = end.upstream.flow
    return exchange is not None and exchange.phase is AWAITING and not end.gone


@settings(max_examples=400)
@given(CHANCE, st.booleans())
def test_from_clients(chance: Random, fast: bool) -> None:
    mutator = Mutator(chance)
    octets = b"".join(mutator.request() for _ in range(mutator.number(1, 4)))
    with clocked(InMemoryGateway(fast=fast)) as gateway:
        client = gateway.connect()
        for portion in mutator.portions(octets):
            client.outbox = portion
            client.advance(len(portion))
            answer_all(gateway)
        if mutator.chance(0.5):
            client.finish()
        answer_all(gateway)
        gateway.settle()
        assert findings(gateway) == []


@settings(max_examples=400)
@given(CHANCE, st.booleans(), st.sampled_from([GET, GET.replace(b"GET", b"HEAD"), POST, GET.replace(b"/1.1", b"/1.0")]))
def test_from_upstreams(chance: Random, fast: bool, request: bytes) -> None:
    mutator = Mutator(chance)
    octets = b"".join(mutator.response() for _ in range(mutator.number(1, 3)))
    with clocked(InMemoryGateway(fast=fast)) as gateway:
        client = gateway.connect()
        client.outbox = request
        client.advance(len(request))
        end = gateway.dialed(gateway.dials[0])
        for portion in mutator.portions(octets):
            end.outbox = portion
            end.advance(len(portion))
        if mutator.chance(0.5):
            end.finish()
        # The next one must not get anything of this.
        client.outbox = GET
        client.advance(len(GET))
        answer_all(gateway)
        gateway.settle()
        assert findings(gateway) == []
