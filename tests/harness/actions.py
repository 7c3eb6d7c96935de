"""What clients, upstreams, time and the operator may do to a gateway: one function for each action.

Each takes an `InMemoryGateway` and a source of random choices, and does nothing when the action is impossible at the
moment. Most octets are good messages, so that sessions get far; the others are odd.
"""

from collections.abc import Callable
from typing import TypeVar

from harness.in_memory_gateway import End, InMemoryGateway
from harness.messages import ANSWERS, REQUESTS
from harness.mutation import Mutator
from rawgate.relay.endpoints import Place

E = TypeVar("E", bound=End)
Action = Callable[[InMemoryGateway, Mutator], None]

_SPANS = (0.1, 1.0, 4.0, 11.0, 31.0, 80.0)
_MOST_CLIENTS = 6


def _some(ends: list[E], chance: Mutator) -> E | None:
    """One of the newest three, which are likely to be open."""
    return ends[-1 - chance.number(0, min(len(ends), 3) - 1)] if ends else None


def _octets(chance: Mutator) -> int:
    return (10_000, 40, 7, 1)[max(0, chance.number(-3, 3))]


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
        client.take(_octets(chance))


# ── upstreams ──


def a_dial_succeeds(gateway: InMemoryGateway, chance: Mutator) -> None:
    if gateway.dials:
        gateway.dialed(gateway.dials[chance.number(0, len(gateway.dials) - 1)], stalled=chance.chance(0.2))


def a_dial_fails(gateway: InMemoryGateway, chance: Mutator) -> None:
    if gateway.dials:
        gateway.dial_fails(gateway.dials[chance.number(0, len(gateway.dials) - 1)])


def an_upstream_answers(gateway: InMemoryGateway, chance: Mutator) -> None:
    upstream = _some(gateway.upstreams, chance)
    if upstream is not None and upstream.upstream.flow is not None:
        upstream.outbox += chance.pick(ANSWERS)
        upstream.advance(_octets(chance))


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
        upstream.take(_octets(chance))


# ── everything else ──


def time_passes(gateway: InMemoryGateway, chance: Mutator) -> None:
    gateway.loop.passes(_SPANS[chance.number(0, len(_SPANS) - 1)])


def what_is_waited_for_is_here(gateway: InMemoryGateway, _: Mutator) -> None:
    if gateway.pending:
        gateway.open_the_gate()


def endpoints_come_and_go(gateway: InMemoryGateway, chance: Mutator) -> None:
    """The upstream's endpoints become one to three of three."""
    ports = [port for port in (80, 81, 82) if chance.chance(0.5)]
    gateway.pool.retarget([Place(host="service", port=port) for port in ports or [80]])


def the_gateway_drains(gateway: InMemoryGateway, chance: Mutator) -> None:
    """Seldom, since little can happen after it."""
    if gateway.clients and chance.chance(0.1) and not gateway.connections.draining:
        gateway.drain()


def the_gateway_gives_up(gateway: InMemoryGateway, chance: Mutator) -> None:
    if gateway.connections.draining and chance.chance(0.3):
        gateway.abort()


ACTIONS: tuple[Action, ...] = (
    a_client_connects,
    *(a_client_asks,) * 4,
    a_client_asks_something_odd,
    *(a_client_goes_on,) * 2,
    a_client_ends,
    a_client_resets,
    a_client_stalls,
    a_client_takes,
    *(a_dial_succeeds,) * 3,
    a_dial_fails,
    *(an_upstream_answers,) * 4,
    an_upstream_says_something_odd,
    *(an_upstream_goes_on,) * 2,
    an_upstream_ends,
    an_upstream_resets,
    an_upstream_stalls,
    an_upstream_takes,
    time_passes,
    endpoints_come_and_go,
    what_is_waited_for_is_here,
    the_gateway_drains,
    the_gateway_gives_up,
)
