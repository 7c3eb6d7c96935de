"""What must be true of the books of an `InMemoryGateway` at any time: each counter equals the number of what exists,
each timer has a live owner, a connection at rest is one on which all octets belong to a request, and nobody is served
who is gone.
"""

from collections import Counter
from collections.abc import Iterator
from typing import cast

from harness.in_memory_gateway import End, InMemoryGateway, UpstreamEnd
from harness.wire_reader import Cut, Malformed, Stream, read_response
from rawgate.net.client import ClientConnection
from rawgate.net.timer import LazyTimer, Timers
from rawgate.relay.exchange import Exchange
from rawgate.relay.flow import Flow
from rawgate.relay.phases import FLUSHING, TUNNEL, UPLOADING

# ruff: noqa: SLF001 - books are private, and what they say is compared with what exists


def miscounts(gateway: InMemoryGateway) -> Iterator[str]:
    """What is wrong, a phrase each."""
    yield from _pool(gateway)
    yield from _queue(gateway)
    yield from _clients(gateway)
    yield from _timers(gateway)
    yield from _left(gateway)
    for end in _live(gateway):
        if end.asked and end.upstream.flow is None and has_more(end, list(end.asked)[-1]):
            yield f"at rest though more had come than an answer: {end.upstream}"


def serving(client: End) -> Flow | None:
    """The flow that this client's connection serves."""
    return cast("ClientConnection", client.protocol).serving()


def has_more(upstream: UpstreamEnd, name: str) -> bool:
    """Whether octets came after the response to this request, where the strict reader can tell."""
    stream = Stream.of(upstream.arrived.get(name, b""))
    try:
        read_response(stream, upstream.asked[name].method)
    except (Malformed, Cut):
        return False
    return bool(stream.unread)


def _connections(gateway: InMemoryGateway) -> list[ClientConnection]:
    """Those of clients that are not gone."""
    return [cast("ClientConnection", client.protocol) for client in gateway.clients if not client.lost]


def _live(gateway: InMemoryGateway) -> list[UpstreamEnd]:
    return [end for end in gateway.upstreams if not end.is_closing()]


def _exchanges(gateway: InMemoryGateway) -> list[Exchange]:
    """Those that hold an upstream connection. A tunnel is none."""
    flows = [end.upstream.flow for end in _live(gateway)]
    return [flow for flow in flows if isinstance(flow, Exchange)]


def _pool(gateway: InMemoryGateway) -> Iterator[str]:
    pool, live = gateway.pool, _live(gateway)
    exchanges = _exchanges(gateway)
    flows = [flow for client in gateway.clients if (flow := serving(client)) is not None]
    if pool.leased != len(exchanges):
        yield f"leased: {pool!r}, {exchanges}"
    if pool.tunnels != sum(flow.has_tunnel_slot for flow in flows) or pool.tunnels > pool.options.max_tunnels:
        yield f"tunnels: {pool!r}, {flows}"
    if pool.idle != sum(end.upstream.flow is None for end in live):
        yield f"idle: {pool!r}, {live}"
    if pool.dialing != len(gateway.dials):
        yield f"dialing: {pool!r}, {gateway.dials}"
    if pool.size > gateway.most or pool.size != pool.slots.taken:
        yield f"too many, or not counted: {pool!r}, {pool.slots}"
    gone = [end.upstream for end in live if end.upstream.endpoint.is_gone and end.upstream.flow is None]
    if gone:
        yield f"at rest where nothing is any more: {gone}"
    load = Counter([id(flow.endpoint) for flow in exchanges] + [id(dial.endpoint) for dial in gateway.dials])
    if any(endpoint.load != load[id(endpoint)] for endpoint in pool.endpoints.all):
        yield f"load: {[(endpoint, endpoint.load) for endpoint in pool.endpoints.all]}, {exchanges}, {gateway.dials}"


def _queue(gateway: InMemoryGateway) -> Iterator[str]:
    pool, queue = gateway.pool, gateway.pool._queue
    flows = [flow for client in gateway.clients if isinstance(flow := serving(client), Exchange)]
    if pool.waiting != sum(pool.queued(flow) for flow in flows):
        yield f"waiting: {pool!r}, {flows}"
    if pool.queue_slots.taken + len(pool._placeless) != pool.waiting:
        yield f"the queue's slots: {pool!r}, {pool.queue_slots}"
    lessees = _exchanges(gateway) + [dial.lessee for dial in gateway.dials]
    held = Counter([lessee.address for lessee in lessees])
    if queue.counting and any(queue.held(name) != held[name] for name in ("ip:192.0.2.0", "ip:192.0.2.1")):
        yield f"held by addresses: {held}, {pool!r}"


def _clients(gateway: InMemoryGateway) -> Iterator[str]:
    book = gateway.connections
    known = book.open | set(book.refused)
    if known != set(_connections(gateway)):
        yield f"clients: {book.open}, {book.refused}"
    if book.slots.taken != len(book.open) - len(book._made_room):
        yield f"slots of clients: {book.slots}, {book.open}, {book._made_room}"
    if book.addresses.counts != Counter([connection.peer.address for connection in book.open]):
        yield f"addresses of clients: {book.addresses.counts}, {book.open}"
    if not known.issuperset(book.buffers._of) or book.buffers.total != sum(book.buffers._of.values()):
        yield f"octets of clients: {book.buffers.total}, {book.buffers._of}"


def _left(gateway: InMemoryGateway) -> Iterator[str]:
    """Whoever has sent FIN is gone, and is served no longer, unless the configuration says otherwise or the response is
    whole."""
    for client in gateway.clients:
        flow = serving(client) if client.has_ended and not gateway.client_options.half_close else None
        if flow is not None and flow.phase not in {TUNNEL, UPLOADING, FLUSHING}:
            yield f"served though its client is gone: {flow!r}"


def _timers(gateway: InMemoryGateway) -> Iterator[str]:
    """Each open client connection waits for one deadline, whichever it is; nobody else does."""
    far = gateway.connections.timers._seconds
    owners = [getattr(timer.callback, "__self__", None) for timer in gateway.loop.timers]
    armed = [owner for owner in owners if isinstance(owner, LazyTimer)] + [one for many in far.values() for one in many]
    live = [connection._timer for connection in _connections(gateway)]
    if Counter(map(id, armed)) != Counter(map(id, live)):
        yield f"{len(armed)} timers are armed, {len(live)} clients are there"
    if sum(isinstance(owner, Timers) for owner in owners) != bool(far) or not all(far.values()):
        yield f"timers of far deadlines: {far}"
    if len(owners) != len(armed) - sum(map(len, far.values())) + bool(far) + len(gateway.dials) + 1:  # the reaper's
        yield f"timers of nobody: {owners}"
