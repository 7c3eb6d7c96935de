"""The whole gateway in memory: the real gate, client and upstream protocols, exchange and pool, on a loop and
transports that a test drives. There are no sockets, and time passes only when the test says so.

A test plays the clients (`InMemoryGateway.connect`), the services (`InMemoryGateway.upstreams`), the dialer
(`InMemoryGateway.dials`) and the clock. What each of them saw is kept, and `harness.invariants` checks it.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, partial
from itertools import count
from typing import cast

from msgspec import Struct

from harness.checked import check_states, clocked_by
from harness.fake_loop import FakeLoop, FakeTimer, FakeTransport
from rawgate.config.model import Config, Gateway, Jwt, Limits, Route, Secret, Target
from rawgate.config.model import Upstream as UpstreamConfig
from rawgate.errors import OK, UPSTREAM_CONNECT_FAILED, UPSTREAM_TIMEOUT, Problem
from rawgate.message import Decision, Forward, LocalReply, Peer, RequestHead
from rawgate.net.client import ClientConnection
from rawgate.net.generation import Generation, ListenerOptions
from rawgate.net.listener import ClientConnections
from rawgate.net.transports import Callbacks
from rawgate.net.upstream import IdleReaper, UpstreamConnection
from rawgate.observe.line import Record
from rawgate.policy.compile import compile_gate
from rawgate.policy.fetched_keys import AwaitKeys, FetchedKeys
from rawgate.policy.gate import Gate
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
            self._loop.calls(self._protocol.resume_writing)
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
            self._loop.calls(self._protocol.pause_writing)

    def resume_reading(self) -> None:
        super().resume_reading()
        self._notice()

    def abort(self) -> None:
        self._full = False
        super().abort()


class UpstreamEnd(End):
    """The same of a connection to an upstream.

    upstream  the gateway's protocol
    arrived   request → what came while the connection served it
    misused   what the connection was used for after octets or FIN had come that belong to no request: the requests that
              it served, and what was written
    """

    def __init__(self, loop: FakeLoop, upstream: UpstreamConnection) -> None:
        self.upstream = upstream
        self.arrived: dict[str, bytes] = {}
        self.misused: set[str | bytes] = set()
        self._stirred = False
        super().__init__(loop, upstream, ("198.51.100.1", 80))

    @property
    def serves(self) -> str:
        """The id of the request that it serves, or ""."""
        flow = self.upstream.flow
        return "" if flow is None else flow.forward.request_id

    def _arrives(self, data: bytes) -> None:
        name = self.serves
        if name:
            self.arrived[name] = self.arrived.get(name, b"") + data
        elif not self._stirred:
            self._stirred = True
            self._loop.watch(self._see_who_has_it)

    def _see_who_has_it(self) -> None:
        if self.serves:
            self.misused.add(self.serves)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self._stirred:
            self.misused.add(bytes(data))
        super().write(data)


class Dial(Struct, eq=False):
    """One that is under way."""

    lessee: Lessee
    endpoint: Endpoint
    timer: FakeTimer


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
    page                what /page is replied with, by the gateway itself
    """

    def __init__(
        self, *, fast: bool = True, connections: int = 3, upstreams: int = 2, share: int = 1, buffers: int = 1500
    ) -> None:
        gate = _gate()
        self.loop = FakeLoop()
        self.records: list[Record] = []
        self.clients: list[End] = []
        self.upstreams: list[UpstreamEnd] = []
        self.dials: list[Dial] = []
        self.decided: list[Decided] = []
        self.page = b"page" * 500
        self.emptied = False
        self._gate = gate
        self._keys = FetchedKeys()
        self._keys.begin()
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
                ClientOptions(trailer_octets=200, trailer_fields=4, large_body=LARGE),
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
        connection = ClientConnection(self.connections)
        connection.flush_from = SURE_TO_FIT
        check_states(connection, self.loop)
        end = End(self.loop, connection, (f"192.0.2.{number % 2}", 1024 + number))
        self.clients.append(end)
        self.loop.run()
        return end

    def dialed(self, dial: Dial, *, stalled: bool = False) -> UpstreamEnd:
        """This dial succeeds. stalled: nothing is taken there, from the first octet."""
        self._end(dial)
        upstream = UpstreamConnection(self.pool, dial.endpoint, self.response_rules)
        end = UpstreamEnd(self.loop, upstream)
        end.stalled = stalled
        self.upstreams.append(end)
        self.pool.dialed(dial.lessee, upstream, self.loop.now)
        self.loop.run()
        return end

    def dial_fails(self, dial: Dial) -> None:
        self._end(dial)
        self.pool.dial_failed(dial.lessee, UPSTREAM_CONNECT_FAILED, self.loop.now)
        self.loop.run()

    @property
    def pending(self) -> int:
        """Decisions that wait for something, as those about /wait do, and twice those about /wait/twice."""
        return len(self._keys._waiting)  # noqa: SLF001 - nobody else needs the number

    def open_the_gate(self) -> None:
        """What is waited for is here."""
        self._keys.settle(empty=True, retry_at=self.loop.now)
        self._keys.begin()
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
        return self._put_off(decision, waits, now)

    def _put_off(self, decision: Decision, waits: int, now: float) -> Decision:
        """What waits for keys so many times, and then is this decision."""
        if not waits:
            return decision
        request_id, client_id = decision.request_id, decision.client_id
        again = partial(self._once_less, decision, waits)
        return AwaitKeys(self._keys, again, b"", request_id, client_id, "", b"", now)

    def _once_less(self, decision: Decision, waits: int, now: float, wall: float) -> Decision:
        return self._put_off(decision, waits - 1, now)

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


def forwards(gateway: InMemoryGateway) -> dict[str, Decided]:
    """By request id, those that were to be sent on."""
    return {one.decision.request_id: one for one in gateway.decided if isinstance(one.decision, Forward)}


@contextmanager
def clocked(gateway: InMemoryGateway) -> Iterator[InMemoryGateway]:
    """The clocks of `net` show the gateway's time."""
    with clocked_by(gateway.loop.clock):
        yield gateway
