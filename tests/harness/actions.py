"""What clients, upstreams, time and the operator may do to a gateway: one function for each action.

Each takes an `InMemoryGateway` and a source of random choices, and does nothing when the action is impossible at the
moment. Most octets are good messages, so that sessions get far; the others are odd.
"""

from collections.abc import Callable, Sequence
from typing import TypeVar

from harness.in_memory_gateway import End, InMemoryGateway, UpstreamEnd
from harness.messages import ANSWERS, REQUESTS, SWITCHES
from harness.mutation import Mutator

E = TypeVar("E", bound=End)
Action = Callable[[InMemoryGateway, Mutator], None]

_SPANS = (0.1, 0.1, 1.0, 1.0, 4.0, 11.0, 31.0, 80.0)
_MOST_CLIENTS = 8


def _some(ends: Sequence[E], chance: Mutator) -> E | None:
    """One of the newest three, which are likely to be open."""
    return ends[-1 - chance.number(0, min(len(ends), 3) - 1)] if ends else None


def _octets(chance: Mutator) -> int:
    return (10_000, 10_000, 10_000, 700, 700, 40, 7, 1)[chance.number(0, 7)]


def _take(end: End, chance: Mutator) -> None:
    """Some, or nearly all of what waits: then there is room for more, but nothing more is taken."""
    end.take(end.backlog - 50 if end.backlog > 50 and chance.chance(0.3) else _octets(chance))


# ── clients ──


def a_client_connects(gateway: InMemoryGateway, _: Mutator) -> None:
    if len(gateway.clients) < _MOST_CLIENTS and not gateway.connections.draining:
        gateway.connect()


def a_client_asks(gateway: InMemoryGateway, chance: Mutator) -> None:
    if (client := _some(gateway.clients, chance)) is not None:
        client.outbox += chance.pick(REQUESTS)
        client.advance(_octets(chance))


def a_client_asks_something_odd(gateway: InMemoryGateway, chance: Mutator) -> None:
    if (client := _some(gateway.clients, chance)) is not None:
        client.outbox += chance.request()
        client.advance(_octets(chance))


def a_client_goes_on(gateway: InMemoryGateway, chance: Mutator) -> None:
    if (client := _some(gateway.clients, chance)) is not None:
        client.advance(_octets(chance))


def a_client_ends(gateway: InMemoryGateway, chance: Mutator) -> None:
    if (client := _some(gateway.clients, chance)) is not None:
        client.finish()


def a_client_resets(gateway: InMemoryGateway, chance: Mutator) -> None:
    if (client := _some(gateway.clients, chance)) is not None:
        client.leave()


def a_client_stalls(gateway: InMemoryGateway, chance: Mutator) -> None:
    if (client := _some(gateway.clients, chance)) is not None:
        client.stall()


def a_client_takes(gateway: InMemoryGateway, chance: Mutator) -> None:
    if (client := _some(gateway.clients, chance)) is not None:
        _take(client, chance)


# ── upstreams ──


def a_dial_succeeds(gateway: InMemoryGateway, chance: Mutator) -> None:
    if gateway.dials:
        gateway.dialed(gateway.dials[chance.number(0, len(gateway.dials) - 1)], stalled=chance.chance(0.2))


def a_dial_fails(gateway: InMemoryGateway, chance: Mutator) -> None:
    if gateway.dials:
        gateway.dial_fails(gateway.dials[chance.number(0, len(gateway.dials) - 1)])


def _answer(upstream: UpstreamEnd, chance: Mutator) -> None:
    """One more answer is in the outbox, if there is anything to answer."""
    flow = upstream.upstream.flow
    if flow is not None:
        upstream.outbox += SWITCHES if flow.forward.upgrade and chance.chance(0.5) else chance.pick(ANSWERS)


def an_upstream_answers(gateway: InMemoryGateway, chance: Mutator) -> None:
    if (upstream := _some(gateway.upstreams, chance)) is not None:
        _answer(upstream, chance)
        upstream.advance(_octets(chance))


def an_upstream_answers_and_resets(gateway: InMemoryGateway, chance: Mutator) -> None:
    """A write to it fails before its answer is read."""
    if (upstream := _some(gateway.upstreams, chance)) is not None:
        _answer(upstream, chance)
        upstream.send_unread(_octets(chance))
        upstream.leave()


def an_upstream_says_something_odd(gateway: InMemoryGateway, chance: Mutator) -> None:
    if (upstream := _some(gateway.upstreams, chance)) is not None:
        upstream.outbox += chance.response()
        upstream.advance(_octets(chance))


def an_upstream_goes_on(gateway: InMemoryGateway, chance: Mutator) -> None:
    if (upstream := _some(gateway.upstreams, chance)) is not None:
        upstream.advance(_octets(chance))


def an_upstream_ends(gateway: InMemoryGateway, chance: Mutator) -> None:
    if (upstream := _some(gateway.upstreams, chance)) is not None:
        upstream.finish()


def an_upstream_resets(gateway: InMemoryGateway, chance: Mutator) -> None:
    if (upstream := _some(gateway.upstreams, chance)) is not None:
        upstream.leave()


def an_upstream_stalls(gateway: InMemoryGateway, chance: Mutator) -> None:
    if (upstream := _some(gateway.upstreams, chance)) is not None:
        upstream.stall()


def an_upstream_takes(gateway: InMemoryGateway, chance: Mutator) -> None:
    if (upstream := _some(gateway.upstreams, chance)) is not None:
        _take(upstream, chance)


# ── everything else ──


def something_lies_unread(gateway: InMemoryGateway, chance: Mutator) -> None:
    """What a client or a service sends lies in the socket while something else happens."""
    if (end := _some(gateway.upstreams if chance.chance(0.7) else gateway.clients, chance)) is not None:
        if chance.chance(0.5):
            end.outbox += chance.pick(ANSWERS if isinstance(end, UpstreamEnd) else REQUESTS)
        end.send_unread(_octets(chance))
        (a_client_asks, a_client_asks, the_gateway_drains, time_passes)[chance.number(0, 3)](gateway, chance)
        end.read_socket()


def everybody_leaves(gateway: InMemoryGateway, chance: Mutator) -> None:
    """Seldom, as draining is."""
    if chance.chance(0.1):
        for client in gateway.clients:
            client.leave()


def what_is_due(gateway: InMemoryGateway, chance: Mutator) -> None:
    """What is waited for: a dial succeeds, a message goes on, a service answers. Where nothing is, a client asks."""
    sending = [end for end in gateway.ends if end.outbox and not end.silent]
    asked = [end for end in gateway.upstreams if end.upstream.flow is not None and not end.silent]
    if gateway.dials and chance.chance(0.6):
        a_dial_succeeds(gateway, chance)
    elif sending and chance.chance(0.6):
        sending[chance.number(0, len(sending) - 1)].advance(_octets(chance))
    elif asked and chance.chance(0.7):
        upstream = asked[chance.number(0, len(asked) - 1)]
        _answer(upstream, chance)
        upstream.advance(_octets(chance))
    elif all(client.silent for client in gateway.clients):
        a_client_connects(gateway, chance)
    else:
        a_client_asks(gateway, chance)


def a_client_is_slow(gateway: InMemoryGateway, chance: Mutator) -> None:
    """It takes nothing for a while, and then some."""
    a_client_stalls(gateway, chance)
    for _ in range(chance.number(1, 3)):
        what_is_due(gateway, chance)
    gateway.loop.passes(0.5)
    a_client_takes(gateway, chance)


def time_passes(gateway: InMemoryGateway, chance: Mutator) -> None:
    gateway.loop.passes(_SPANS[chance.number(0, len(_SPANS) - 1)])


def what_is_waited_for_is_here(gateway: InMemoryGateway, _: Mutator) -> None:
    if gateway.pending:
        gateway.open_the_gate()


def endpoints_come_and_go(gateway: InMemoryGateway, chance: Mutator) -> None:
    """The upstream's endpoints become one to three of three."""
    gateway.retarget(*[port for port in (80, 81, 82) if chance.chance(0.5)] or [80])


def addresses_come_and_go(gateway: InMemoryGateway, chance: Mutator) -> None:
    """The upstream's name gets one or two of three addresses."""
    first = chance.number(0, 2)
    gateway.readdress(tuple([f"198.51.100.{(first + step) % 3}" for step in range(chance.number(1, 2))]))


def the_configuration_changes(gateway: InMemoryGateway, chance: Mutator) -> None:
    connections, upstreams, queue = chance.number(1, 5), chance.number(1, 4), chance.number(0, 3)
    buffers = 1500 if chance.chance(0.5) else 1 << 30
    gateway.reload(connections=connections, upstreams=upstreams, queue=queue, buffers=buffers)


def the_gateway_drains(gateway: InMemoryGateway, chance: Mutator) -> None:
    """Seldom, since little can happen after it."""
    if gateway.clients and chance.chance(0.2) and not gateway.connections.draining:
        gateway.drain()


def the_gateway_gives_up(gateway: InMemoryGateway, chance: Mutator) -> None:
    if gateway.connections.draining:
        gateway.abort()


_READ: tuple[Action, ...] = (
    *(what_is_due,) * 6,
    a_client_connects,
    *(a_client_asks,) * 3,
    a_client_asks_something_odd,
    *(a_client_goes_on,) * 2,
    a_client_ends,
    a_client_resets,
    a_client_takes,
    *(an_upstream_answers,) * 3,
    an_upstream_says_something_odd,
    *(an_upstream_goes_on,) * 2,
    an_upstream_ends,
    an_upstream_resets,
    an_upstream_takes,
)


def the_loop_reads_a_lot(gateway: InMemoryGateway, chance: Mutator) -> None:
    """Several things come in one turn of the loop, on any connections."""
    with gateway.loop.reading():
        for _ in range(chance.number(2, 8)):
            _READ[chance.number(0, len(_READ) - 1)](gateway, chance)
    gateway.loop.run()


ACTIONS: tuple[Action, ...] = (
    *(what_is_due,) * 25,
    *(a_client_connects,) * 2,
    *(a_client_asks,) * 8,
    a_client_asks_something_odd,
    *(a_client_goes_on,) * 2,
    a_client_ends,
    a_client_resets,
    *(a_client_stalls,) * 3,
    *(a_client_takes,) * 2,
    *(a_client_is_slow,) * 3,
    *(a_dial_succeeds,) * 3,
    a_dial_fails,
    *(an_upstream_answers,) * 4,
    an_upstream_says_something_odd,
    *(an_upstream_goes_on,) * 2,
    an_upstream_ends,
    an_upstream_resets,
    *(an_upstream_stalls,) * 2,
    *(an_upstream_takes,) * 2,
    an_upstream_answers_and_resets,
    *(something_lies_unread,) * 2,
    *(the_loop_reads_a_lot,) * 8,
    everybody_leaves,
    time_passes,
    endpoints_come_and_go,
    addresses_come_and_go,
    the_configuration_changes,
    what_is_waited_for_is_here,
    the_gateway_drains,
    the_gateway_gives_up,
)
