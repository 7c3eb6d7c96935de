"""The whole gateway in memory: the real gate, client and upstream protocols, exchange and pool, on a loop and
transports that a test drives. There are no sockets, and time passes only when the test says so.

A test plays the clients (`InMemoryGateway.connect`), the services (`InMemoryGateway.upstreams`), the dialer
(`InMemoryGateway.dials`) and the clock. What each of them saw is kept, and `harness.invariants` checks it.
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from itertools import count
from typing import cast
from unittest import mock

from msgspec import Struct

from harness.checked import CheckedConnection, clocked_by
from harness.fake_loop import FakeLoop, FakeTimer, FakeTransport
from rawgate.config.model import Config, Gateway, Jwt, Limits, Route, Secret, Target
from rawgate.config.model import Upstream as UpstreamConfig
from rawgate.errors import OK, QUEUE_TIMEOUT, UPSTREAM_CONNECT_FAILED, UPSTREAM_TIMEOUT, Problem
from rawgate.message import Decision, Forward, LocalReply, Octets, Peer, Pending, RequestHead
from rawgate.net import client
from rawgate.net.generation import Generation, ListenerOptions
from rawgate.net.listener import ClientConnections
from rawgate.net.transports import Callbacks
from rawgate.net.upstream import IdleReaper, UpstreamConnection
from rawgate.observe.line import Record
from rawgate.policy.compile import compile_gate
from rawgate.policy.gate import Gate
from rawgate.relay import exchange
from rawgate.relay.endpoints import Endpoint, Place
from rawgate.relay.lessee import Lessee
from rawgate.relay.options import ClientOptions, UpstreamOptions
from rawgate.relay.pool import Pool
from rawgate.wire import RequestRules, ResponseRules

HEAD, FIELDS, TARGET, BODY = 1200, 24, 320, 3000
"""Limits of one message, small enough to be met."""

LARGE = 700
"""Octets of a body from which on it is read without copies."""

HIGH, LOW = 600, 100
"""Octets in the write buffer at which the other side is paused, and at which it goes on."""

SURE_TO_FIT = 60
"""Octets of a response's body from which on its end is waited for."""

QUIET = 1500.0
"""Seconds after which nothing may be left open: more than the sum of all deadlines."""

DATE = b"Thu, 01 Jan 1970 00:00:00 GMT"
_ids = count(1)


@cache
def _gate() -> Gate:
    config = Config(
        gateway=Gateway(listen=(), limits=Limits(body=BODY)),
        upstreams={"service": UpstreamConfig(targets=(Target("service", 80, "service"),))},
        routes=(
            Route(prefix="/locked", upstream="service", auth="jwt.main"),
            Route(prefix="/", upstream="service", auth="none"),
        ),
        jwt={"main": Jwt(algorithm=("HS256",), secret=(Secret("test", b"s" * 32),))},
    )
    problems: list[Problem] = []
    gate = compile_gate(config, new_id=_new_id, date=lambda: DATE, problems=problems, warnings=[])
    assert gate is not None, problems
    return gate


def _new_id() -> str:
    return f"{next(_ids):032x}"


class End(FakeTransport):
    """The gateway's transport of one connection, and what its peer does.

    outbox   what the peer is yet to send
    heard    what it has sent
    stalled  the peer takes nothing
    """

    def __init__(self, loop: FakeLoop, protocol: Callbacks, peername: tuple[str, int]) -> None:
        self.protocol = protocol
        self.outbox = b""
        self.stalled = False
        self.fin_sent = False
        self.heard = b""
        self._full = False
        self._broken = False
        self._high, self._low = HIGH, LOW
        super().__init__(loop, protocol, peername)

    # ── what the peer does ──

    @property
    def gone(self) -> bool:
        """The peer can do nothing more: it has left, or has been told that the connection is over."""
        return self._broken or self.lost

    @property
    def silent(self) -> bool:
        """The peer can send nothing more."""
        return self.gone or self.fin_sent

    def advance(self, octets: int) -> None:
        """Send so much of the outbox."""
        data, self.outbox = self.outbox[:octets], self.outbox[octets:]
        if data and not self.silent:
            self.heard += data
            self.receives(data)
            self._loop.run()

    def finish(self) -> None:
        """Send FIN."""
        if not self.silent:
            self.fin_sent = True
            self.receives(b"")
            self._loop.run()

    def leave(self) -> None:
        """Reset the connection. Noticed while reading, or with the next write."""
        if not self.gone:
            self._broken = True
            self._notice()
            self._loop.run()

    def stall(self) -> None:
        """Take nothing from now on."""
        self.stalled = True

    def take(self, octets: int = 1 << 30) -> None:
        """Take so much of what is waiting; all of it also ends the stalling."""
        self.backlog = max(0, self.backlog - octets)
        self.stalled = self.backlog > 0
        if self.lost:
            return
        if self._full and self.backlog <= self._low:
            self._full = False
            self._protocol.resume_writing()
        if self._closing and not self.backlog:
            self._end(None)
        self._loop.run()

    def _notice(self) -> None:
        if self._broken and self.reading and not self.fin_sent:
            self._end(ConnectionResetError())

    # ── asyncio.Transport ──

    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert data, "an empty write"
        assert not self._closing, "written after close"
        super().write(data)
        if self._broken:
            self._end(ConnectionResetError())
        elif self.stalled:
            self.backlog += len(data)
            self._pause_if_full()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Those that are asked for stand for the shell's own, which are smaller; 0 is 0."""
        self._high, self._low = (0, 0) if high == 0 else (HIGH, LOW)
        self._pause_if_full()

    def _pause_if_full(self) -> None:
        if self.backlog > self._high and not self._full:
            self._full = True
            self._protocol.pause_writing()

    def resume_reading(self) -> None:
        super().resume_reading()
        self._notice()

    def abort(self) -> None:
        self._full = False
        super().abort()


class RecordedUpstream(UpstreamConnection):
    """Keeps what arrived for which request, and what was sent after octets had come that belong to no request."""

    def __init__(self, pool: Pool, endpoint: Endpoint, rules: ResponseRules) -> None:
        super().__init__(pool, endpoint, rules)
        self.arrived: dict[str, bytes] = {}
        self.stirred = False
        self.misused = b""

    def data_received(self, data: bytes) -> None:
        if self.flow is None:
            self.stirred = True
        else:
            name = self.flow.forward.request_id
            self.arrived[name] = self.arrived.get(name, b"") + data
        super().data_received(data)

    def eof_received(self) -> bool:
        self.stirred |= self.flow is None
        return super().eof_received()

    def write(self, data: Octets) -> None:
        if self.stirred:
            self.misused += data
        super().write(data)


class Dial(Struct, eq=False):
    """One that is under way."""

    lessee: Lessee
    endpoint: Endpoint
    timer: FakeTimer


WAIT = 7.0
"""Seconds for which a decision is waited for."""


class Waiting(Pending):
    """A decision of the gate that is withheld until `InMemoryGateway.open_the_gate`, `waits` times."""

    def __init__(self, gateway: "InMemoryGateway", decision: Decision, waits: int) -> None:
        super().__init__(gateway.loop.now + WAIT, QUEUE_TIMEOUT, decision.request_id, decision.client_id)
        self._gateway = gateway
        self._decision = decision
        self._waits = waits

    def subscribe(self, ready: Callable[[], None]) -> Callable[[], None]:
        self._gateway.pending[self] = ready

        def forget() -> None:
            self._gateway.pending.pop(self, None)

        return forget

    def resume(self, now: float, wall: float) -> Decision:
        return Waiting(self._gateway, self._decision, self._waits - 1) if self._waits > 1 else self._decision


class Decided(Struct, eq=False):
    """A head that was accepted, the decision about it, and the client's address."""

    head: RequestHead
    decision: Decision
    peer: str


class InMemoryGateway:
    """The gateway, its clients, and the services behind it.

    clients, upstreams  the connections, in the order in which they were made
    dials               under way; the test's to end
    records             the log
    decided             heads that were accepted, in order
    pending             decisions that are put off: requests for /wait; for /wait/twice, twice
    page                what /page is replied with, by the gateway itself
    """

    def __init__(
        self, *, fast: bool = True, connections: int = 3, upstreams: int = 2, share: int = 1, buffers: int = 1500
    ) -> None:
        gate = _gate()
        self.loop = FakeLoop()
        self.records: list[Record] = []
        self.clients: list[End] = []
        self.upstreams: list[End] = []
        self.dials: list[Dial] = []
        self.decided: list[Decided] = []
        self.pending: dict[Waiting, Callable[[], None]] = {}
        self.page = b"page" * 500
        self.emptied = False
        self._gate = gate
        options = UpstreamOptions(
            name="service",
            places=(Place(host="service", port=80),),
            idle_timeout=20.0,
            max_connections=upstreams,
            queue=2,
            per_client=share,
            max_tunnels=1,
            tunnel_idle=60.0,
            tunnel_max_age=200.0,
        )
        self.pool = Pool(options, self._dial)
        self.response_rules = ResponseRules(HEAD, FIELDS, gate.response_wanted, fast, gate.response_removable)
        loop = cast("asyncio.AbstractEventLoop", self.loop)
        self.connections = ClientConnections(
            loop=loop,
            date=lambda: DATE,
            new_id=_new_id,
            log=self,
            generation=Generation(
                self._decide,
                RequestRules(HEAD, FIELDS, TARGET, gate.wanted, gate.protected, fast, gate.removable),
                self.response_rules,
                {"service": self.pool},
                ListenerOptions(connections=connections, buffers=buffers),
                ClientOptions(trailer_octets=200, trailer_fields=4),
            ),
        )
        self.reaper = IdleReaper(loop, [self.pool], self.connections.tidy)

    def write(self, record: Record) -> None:
        """The log (`net.listener.RecordSink`)."""
        self.records.append(record)

    # ── what a test does ──

    def connect(self) -> End:
        """A new client. There are two addresses."""
        number = len(self.clients)
        end = End(self.loop, CheckedConnection(self.connections), (f"192.0.2.{number % 2}", 1024 + number))
        self.clients.append(end)
        self.loop.run()
        return end

    def dialed(self, dial: Dial, *, stalled: bool = False) -> End:
        """This dial succeeds. stalled: nothing is taken there, from the first octet."""
        self._end(dial)
        protocol = RecordedUpstream(self.pool, dial.endpoint, self.response_rules)
        end = End(self.loop, protocol, ("198.51.100.1", 80))
        end.stalled = stalled
        self.upstreams.append(end)
        self.pool.dialed(dial.lessee, protocol, self.loop.now)
        self.loop.run()
        return end

    def dial_fails(self, dial: Dial) -> None:
        self._end(dial)
        self.pool.dial_failed(dial.lessee, UPSTREAM_CONNECT_FAILED, self.loop.now)
        self.loop.run()

    def open_the_gate(self) -> None:
        """What is waited for is here."""
        for waiting in list(self.pending):
            self.pending.pop(waiting)()
        self.loop.run()

    def drain(self) -> None:
        def emptied() -> None:
            self.emptied = True

        self.connections.drain(emptied)
        self.loop.run()

    def abort(self) -> None:
        self.connections.abort()
        self.loop.run()

    def settle(self) -> None:
        """Let QUIET seconds pass in which nobody does anything."""
        self.loop.passes(QUIET)

    def served(self, end: End) -> str:
        """The id of the request that this upstream connection serves, or ""."""
        flow = recorded(end).flow
        return "" if flow is None else flow.forward.request_id

    # ── inside ──

    def _decide(self, head: RequestHead, peer: Peer, now: float, wall: float) -> Decision:
        decision = self._gate.decide(head, peer, now, wall)
        if head.target == b"/page":
            decision = LocalReply(
                200,
                OK,
                b"",
                "",
                "",
                decision.request_id,
                decision.client_id,
                body=self.page,
                content_type=b"text/plain",
            )
        self.decided.append(Decided(head, decision, peer.text))
        waits = 2 if head.target == b"/wait/twice" else int(head.target == b"/wait")
        return Waiting(self, decision, waits) if waits else decision

    def _dial(self, pool: Pool, lessee: Lessee) -> None:
        endpoint = pool.dial_order(lessee, self.loop.now)[0][0]
        dial = Dial(lessee, endpoint, self.loop.call_later(pool.options.connect_timeout, lambda: self._dial_late(dial)))
        self.dials.append(dial)

    def _dial_late(self, dial: Dial) -> None:
        """The dialer keeps `connect_timeout`."""
        self._end(dial)
        self.pool.dial_failed(dial.lessee, UPSTREAM_TIMEOUT, self.loop.now)

    def _end(self, dial: Dial) -> None:
        dial.timer.cancel()
        self.dials.remove(dial)


def recorded(end: End) -> RecordedUpstream:
    """The protocol of an upstream connection."""
    return cast("RecordedUpstream", end.protocol)


def forwards(gateway: InMemoryGateway) -> dict[str, Decided]:
    """By request id, those that were to be sent on."""
    return {one.decision.request_id: one for one in gateway.decided if isinstance(one.decision, Forward)}


@contextmanager
def clocked(gateway: InMemoryGateway) -> Iterator[InMemoryGateway]:
    """The clocks of `net` show the shell's time, and bodies are called large that others would not call so."""
    with (
        clocked_by(gateway.loop.clock),
        mock.patch.object(exchange, "LARGE_BODY", LARGE),
        mock.patch.object(client, "SURE_TO_FIT", SURE_TO_FIT),
    ):
        yield gateway
