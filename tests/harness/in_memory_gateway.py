"""The whole gateway in memory: the real gate, client and upstream protocols, exchange and pool, on a loop and
transports that a test drives. There are no sockets, and time passes only when the test says so.

A test plays the clients (`InMemoryGateway.connect`), the services (`InMemoryGateway.upstreams`), the dialer
(`InMemoryGateway.dials`) and the clock. What each of them saw is kept, and `harness.invariants` checks it.
"""

import asyncio
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, partial
from itertools import count
from typing import Literal, cast

from msgspec import Struct

from harness.checked import check_states, clocked_by
from harness.fake_loop import QUIET as NOTHING
from harness.fake_loop import FakeLoop, FakeTimer, FakeTransport
from rawgate.config.model import Config, Gateway, HashBalance, Jwt, Limits, Route, Secret, Target
from rawgate.config.model import Upstream as UpstreamConfig
from rawgate.errors import OK, UPSTREAM_CONNECT_FAILED, UPSTREAM_TIMEOUT, Problem
from rawgate.message import Decision, Forward, LocalReply, Peer, RequestHead
from rawgate.net.client import ClientConnection
from rawgate.net.generation import Generation, ListenerOptions
from rawgate.net.listener import ClientConnections
from rawgate.net.states import State
from rawgate.net.transports import Callbacks
from rawgate.net.turn import Turn
from rawgate.net.upstream import IdleReaper, UpstreamConnection
from rawgate.observe.line import Record
from rawgate.policy.compile import compile_gate
from rawgate.policy.fetched_keys import AwaitKeys, FetchedKeys
from rawgate.policy.gate import Gate
from rawgate.relay.balance import HASH, ROUND_ROBIN
from rawgate.relay.endpoints import ANY_ADDRESS, Endpoint, Place
from rawgate.relay.lessee import Lessee
from rawgate.relay.options import ClientOptions, UpstreamOptions
from rawgate.relay.pool import Pool
from rawgate.relay.ports import ClientPort
from rawgate.relay.retries import RetryRule
from rawgate.wire import RequestRules, ResponseRules

HEAD, FIELDS, TARGET, BODY = 1200, 24, 320, 3000
"""Limits of one message, small enough to be met."""

LARGE = 700
"""Octets of a body from which on it is read without copies."""

FEW = 150
"""Octets of a connection that may wait for the end of the loop's turn: some heads do, with some of their bodies."""

HIGH, LOW = 600, 100
"""Octets in the write buffer at which the other side is paused, and at which it goes on."""

SURE_TO_FIT = 60
"""Octets of a response's body from which on its end is waited for."""

QUIET = 1500.0
"""Seconds after which nothing may be left open: more than the sum of all deadlines."""

DATE = b"Thu, 01 Jan 1970 00:00:00 GMT"
_ids = count(1)


@cache
def _gate(keyed: bool) -> Gate:
    balance: Literal["round_robin"] | HashBalance = HashBalance(hash="path") if keyed else "round_robin"
    config = Config(
        gateway=Gateway(listen=(), limits=Limits(body=BODY)),
        upstreams={"service": UpstreamConfig(targets=(Target("service", 80, "service"),), balance=balance)},
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


@cache
def _rules(keyed: bool, fast: bool) -> tuple[RequestRules, ResponseRules]:
    gate = _gate(keyed)
    return (
        RequestRules(HEAD, FIELDS, TARGET, gate.wanted, gate.protected, fast, gate.removable),
        ResponseRules(HEAD, FIELDS, gate.response_wanted, fast, gate.response_removable),
    )


def _new_id() -> str:
    return f"{next(_ids):032x}"


class End(FakeTransport):
    """The gateway's transport of one connection, and what its peer does.

    outbox   what the peer is yet to send
    heard    what it has sent
    stalled  the peer takes nothing
    states   that a client's connection has had
    in_socket  it has sent this, and the loop has not read it yet; b"" for its FIN; None: nothing
    """

    def __init__(self, loop: FakeLoop, protocol: Callbacks, peername: tuple[str, int]) -> None:
        self.protocol = protocol
        self.outbox = b""
        self.stalled = False
        self.fin_sent = False
        self.heard = b""
        self.states: list[State] = []
        self.in_socket: bytes | None = None
        self._views: list[tuple[int, memoryview]] = []  # written, not taken yet, and where they stand in `sent`
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

    @property
    def has_ended(self) -> bool:
        """The gateway has read the peer's FIN."""
        return self.fin_sent and self.in_socket is None and not self._unread

    @property
    def remote(self) -> str:
        """As the log names it."""
        return "{}:{}".format(*self.get_extra_info("peername"))

    def advance(self, octets: int) -> None:
        """Send so much of the outbox."""
        self.read_socket()
        data, self.outbox = self.outbox[:octets], self.outbox[octets:]
        if data and not self.silent:
            self.heard += data
            self.receives(data)
            self._loop.run()

    def finish(self) -> None:
        """Send FIN."""
        self.read_socket()
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

    def send_unread(self, octets: int) -> None:
        """Send so much of the outbox, or FIN if that is nothing. The loop reads it in `read_socket`; until then only
        who looks into the socket sees it."""
        if not self.silent and self.in_socket is None and self.reading and not self.is_closing():
            self.in_socket, self.outbox = self.outbox[:octets], self.outbox[octets:]
            self.heard += self.in_socket
            self.fin_sent = not self.in_socket
            self._into_socket(self.in_socket)

    def read_socket(self) -> None:
        """The loop reads what lies in the socket, unless somebody has read it or the connection is gone."""
        data, self.in_socket = self.in_socket, None
        if data is not None:
            self._empty_socket()
            if not self.is_closing() and not self._ending:
                self.receives(data)
            self._loop.run()

    def _into_socket(self, data: bytes) -> None:
        """From now on these octets lie in the socket, or FIN: a real descriptor from which they can be read."""
        self.socket.descriptor, writer = os.pipe()
        os.write(writer, data)
        os.close(writer)

    def _empty_socket(self) -> None:
        if self.socket.descriptor != NOTHING:
            os.close(self.socket.descriptor)
            self.socket.descriptor = NOTHING

    def stall(self) -> None:
        """Take nothing from now on."""
        self.stalled = True

    def take(self, octets: int = 1 << 30) -> None:
        """Take so much of what is waiting; all of it also ends the stalling."""
        self.backlog = max(0, self.backlog - octets)
        self.stalled = self.backlog > 0
        self._views_are_taken(len(self.sent) - self.backlog)
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
        # A write that fails keeps nothing: what it was given is never sent.
        if self.stalled and not self._broken and isinstance(data, memoryview):
            self._views.append((len(self.sent), data))
        super().write(data)
        if self._broken:
            self._end(ConnectionResetError())
        elif self.stalled:
            self.backlog += len(data)
            self._pause_if_full()

    def _views_are_taken(self, position: int) -> None:
        """What was written up to there is taken now. A view that had to wait has what is in its buffer by now."""
        while self._views and (end := self._views[0][0] + len(self._views[0][1])) <= position:
            at, view = self._views.pop(0)
            self.sent = self.sent[:at] + bytes(view) + self.sent[end:]

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

    def write_eof(self) -> None:
        assert not self._closing, "half-closed after close"
        super().write_eof()

    def close(self) -> None:
        assert not self.lost, "closed after the connection was gone"
        super().close()

    def abort(self) -> None:
        assert not self.lost, "aborted after the connection was gone"
        self._full = False
        super().abort()

    def _tell(self, reason: Exception | None) -> None:
        """What came, and the loop has not read, lies in the socket, and can still be read there."""
        left = b"".join(self._unread) + (self.in_socket or b"")
        self.in_socket = None
        self._empty_socket()
        if left:
            self._arrives(left)
            self._into_socket(left)
        super()._tell(reason)
        self._empty_socket()
        self._views_are_taken(len(self.sent))


_numbers = count()


class Asked(Struct, eq=False):
    """A request that was sent up: which one of all, its method, where it begins in `UpstreamEnd.sent`, its client, and
    how much that had been sent before anything that belongs to this request."""

    number: int
    method: bytes
    begins: int
    client: End
    client_had: int = -1

    def look(self) -> None:
        """The turn of the loop is over, or something has come for this request: what was written to the client before
        is known, and is no answer."""
        if self.client_had < 0:
            self.client_had = len(self.client.sent)


class UpstreamEnd(End):
    """The same of a connection to an upstream.

    upstream  the gateway's protocol
    asked     the requests that were sent, by their ids
    arrived   request → what came while the connection served it
    misused   what the connection was used for after octets or FIN had come that belong to no request: the requests that
              it served, and what was written
    """

    def __init__(self, loop: FakeLoop, upstream: UpstreamConnection) -> None:
        self.upstream = upstream
        self.asked: dict[str, Asked] = {}
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
            if name in self.asked:
                self.asked[name].look()
            self.arrived[name] = self.arrived.get(name, b"") + data
        elif not self._stirred:
            self._stirred = True
            self._loop.watch(self._see_who_has_it)

    def _see_who_has_it(self) -> None:
        if self.serves:
            self.misused.add(self.serves)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        flow = self.upstream.flow
        if flow is not None and flow.forward.request_id not in self.asked:
            client = end_of(flow.client)
            # What was written before, of another request, may come in one piece with it.
            begins = len(self.sent) + max(0, bytes(data).find(flow.forward.head))
            asked = Asked(next(_numbers), flow.head.method, begins, client)
            self.asked[flow.forward.request_id] = asked
            self._loop.call_soon(asked.look)
            if self.in_socket is not None and flow.head.method == b"POST":
                self.misused.add(flow.forward.request_id)
        if self._stirred:
            self.misused.add(bytes(data))
        super().write(data)


def end_of(client: ClientPort) -> End:
    """The end of a client's connection."""
    return cast("End", cast("ClientConnection", client)._cork.transport)  # noqa: SLF001 - nobody else needs it


class Dial(Struct, eq=False):
    """One that is under way."""

    lessee: Lessee
    endpoint: Endpoint
    turn: int
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
    hasty               requests whose record says that all went well while their client had not taken all
    most                upstream connections that there may be: the highest of all configurations
    addresses           of the upstream's name
    client_options      of all its configurations
    """

    def __init__(
        self,
        *,
        fast: bool = True,
        connections: int = 3,
        upstreams: int = 2,
        share: int = 1,
        buffers: int = 1500,
        keyed: bool = False,
        repeats: bool = False,
        half_close: bool = False,
    ) -> None:
        """keyed: a path decides which endpoint a request goes to. repeats: what fails is sent again, as far as it may.
        half_close: see `ClientOptions`."""
        self.loop = FakeLoop()
        self.records: list[Record] = []
        self.clients: list[End] = []
        self.upstreams: list[UpstreamEnd] = []
        self.dials: list[Dial] = []
        self.decided: list[Decided] = []
        self.page = b"page" * 500
        self.emptied = False
        self.hasty: list[str] = []
        self.most = upstreams
        self.addresses: tuple[str, ...] = ()
        self._gate = _gate(keyed)
        self._request_rules, self.response_rules = _rules(keyed, fast)
        self._share = share
        self._places: tuple[Place, ...] = (Place(host="service", port=80),)
        self._balance = HASH if keyed else ROUND_ROBIN
        self._repeats = RetryRule(attempts=3, timeout=True, budget=1.0) if repeats else None
        self.client_options = ClientOptions(
            trailer_octets=200, trailer_fields=4, large_body=LARGE, half_close=half_close
        )
        self._keys = FetchedKeys()
        self._keys.begin()
        self.pool = Pool(self._upstream_options(upstreams, 2), self._dial)
        loop = cast("asyncio.AbstractEventLoop", self.loop)
        self.connections = ClientConnections(
            loop=loop,
            turn=Turn(loop, FEW),
            date=lambda: DATE,
            new_id=_new_id,
            log=self,
            generation=self._generation(connections, buffers),
        )
        self.reaper = IdleReaper(loop, [self.pool], self.connections.tidy)

    def write(self, record: Record) -> None:
        """The log (`net.listener.RecordSink`)."""
        self.records.append(record)
        if record.upstream and record.reason == OK.code and record.status != 101 and record.bytes_out >= SURE_TO_FIT:
            self._see_whether_taken(record)
            # What is written may get to the transport at the end of this turn of the loop.
            self.loop.call_soon(self._see_whether_taken, record)

    def _see_whether_taken(self, record: Record) -> None:
        client = next(client for client in self.clients if client.remote == record.remote)
        if client.backlog and not client.gone and record.request_id not in self.hasty:
            self.hasty.append(record.request_id)

    # ── what a test does ──

    def connect(self) -> End:
        """A new client. There are two addresses."""
        number = len(self.clients)
        connection = ClientConnection(self.connections)
        connection.flush_from = SURE_TO_FIT
        states = check_states(connection, self.loop)
        end = End(self.loop, connection, (f"192.0.2.{number % 2}", 1024 + number))
        end.states = states
        self.clients.append(end)
        self.loop.run()
        return end

    def dialed(self, dial: Dial, *, stalled: bool = False) -> UpstreamEnd:
        """This dial succeeds. stalled: nothing is taken there, from the first octet."""
        self._end(dial)
        address = ANY_ADDRESS
        if self.addresses:
            address = self.pool.endpoints.addresses(dial.endpoint, dial.turn, self.addresses, self.loop.now)[0]
        upstream = UpstreamConnection(self.pool, dial.endpoint, self.response_rules, self.connections.turn, address)
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
    def ends(self) -> list[End]:
        """All connections."""
        return [*self.clients, *self.upstreams]

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

    def reload(self, *, connections: int, upstreams: int, queue: int, buffers: int) -> None:
        """A new configuration, with other limits."""
        self.most = max(self.most, upstreams)
        self.connections.renew(self._generation(connections, buffers))
        self.pool.renew(self._upstream_options(upstreams, queue), self.loop.now)
        self.loop.run()

    def retarget(self, *ports: int) -> None:
        """The upstream is at these ports from now on."""
        self._places = tuple([Place(host="service", port=port) for port in ports])
        self.pool.retarget(self._places)
        self.loop.run()

    def readdress(self, addresses: tuple[str, ...]) -> None:
        """The upstream's name has these addresses from now on."""
        self.addresses = addresses
        self.pool.readdress("service", addresses, self.loop.now)
        self.loop.run()

    def flow(self) -> None:
        """Everybody takes and sends all that there is, until nothing moves. No time passes."""
        before = None
        while before != (before := [(end.outbox, len(end.sent), end.backlog) for end in self.ends]):
            for end in self.ends:
                end.take()
                end.advance(len(end.outbox))

    def settle(self) -> None:
        """Let QUIET seconds pass in which nobody does anything. They are over when nobody is left who could."""
        ends = self.loop.now + QUIET
        while self.loop.now < ends and not (len(self.loop.timers) == 1 and all(end.lost for end in self.ends)):
            self.loop.passes(QUIET / 30)

    # ── inside ──

    def _upstream_options(self, connections: int, queue: int) -> UpstreamOptions:
        return UpstreamOptions(
            name="service",
            places=self._places,
            idle_timeout=20.0,
            max_connections=connections,
            queue=queue,
            per_client=self._share,
            max_tunnels=1,
            tunnel_idle=60.0,
            tunnel_max_age=200.0,
            balance=self._balance,
            retry=self._repeats,
        )

    def _generation(self, connections: int, buffers: int) -> Generation:
        return Generation(
            self._decide,
            self._request_rules,
            self.response_rules,
            {"service": self.pool},
            ListenerOptions(connections=connections, buffers=buffers),
            self.client_options,
        )

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
        endpoint, turn = pool.dial_order(lessee, self.loop.now)[0]
        timer = self.loop.call_later(pool.options.connect_timeout, lambda: self._dial_late(dial))
        dial = Dial(lessee, endpoint, turn, timer)
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


def asked_in_order(gateway: InMemoryGateway, name: str) -> list[UpstreamEnd]:
    """The connections on which this request was sent up. The last of them need not be the newest: a dial that fails may
    send a request to a connection that has become idle meanwhile."""
    ends = [end for end in gateway.upstreams if name in end.asked]
    return sorted(ends, key=lambda end: end.asked[name].number)


@contextmanager
def clocked(gateway: InMemoryGateway) -> Iterator[InMemoryGateway]:
    """The clocks of `net` show the gateway's time."""
    with clocked_by(gateway.loop.clock):
        yield gateway
