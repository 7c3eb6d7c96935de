"""The client's side of `net`, driven by hand: octets, losses and passing time, without sockets or a real clock.

Exchange, pool and wire are the real ones. `decide` is made up: it looks at the path. The upstreams are fakes.
"""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any, cast

from harness.checked import check_states
from harness.fake_loop import FakeLoop, FakeTransport
from harness.ports import FakeUpstream, plain_response
from rawgate import errors
from rawgate.errors import Reason
from rawgate.message import Decision, Forward, LocalReply, Peer, Pending, RequestHead, RouteOptions
from rawgate.net.client import ClientConnection
from rawgate.net.generation import Generation, ListenerOptions
from rawgate.net.listener import ClientConnections
from rawgate.observe.access_log import AccessLog, Record
from rawgate.relay.endpoints import Place
from rawgate.relay.flow import Flow
from rawgate.relay.lessee import Lessee
from rawgate.relay.options import ClientOptions, UpstreamOptions
from rawgate.relay.pool import Pool
from rawgate.relay.quota import Quotas
from rawgate.wire import RequestRules, ResponseRules

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
HEAD_LIMIT = 1024
HEAD_TIMEOUT, KEEP_ALIVE, SEND_TIMEOUT, RESPONSE_TIMEOUT = 10.0, 75.0, 30.0, 5.0
ENOUGH = int(240 * SEND_TIMEOUT)
"""Octets that a client has to take in that time."""


class Records(AccessLog):
    """Keeps what is logged."""

    def __init__(self) -> None:
        super().__init__(2)
        self.kept: list[Record] = []

    def write(self, record: Record) -> None:
        self.kept.append(record)


WAIT = 4.0
"""Seconds for which a decision is waited for."""


class Waiting(Pending):
    """A decision that is not made yet: what comes of it is made when it is asked for.

    ready    who is told that it is here; empty when nobody waits
    resumed  (now, wall) of each time that it was asked
    """

    def __init__(self, deadline: float, becomes: Callable[[], Decision], reason: Reason, goes_on: bool) -> None:
        super().__init__(deadline, reason, "waiting", "someone", "a-route", b"X-Route: yes\r\n", goes_on=goes_on)
        self.ready: list[Callable[[], None]] = []
        self.resumed: list[tuple[float, float]] = []
        self._becomes = becomes

    def subscribe(self, ready: Callable[[], None]) -> Callable[[], None]:
        self.ready.append(ready)
        return self.ready.clear

    def resume(self, now: float, wall: float) -> Decision:
        self.resumed.append((now, wall))
        return self._becomes()

    def comes(self) -> None:
        """What it waits for is here."""
        self.ready.pop()()


class ClientSide:
    """All client connections, one pool, and clients that connect to it."""

    def __init__(
        self, options: ListenerOptions, *, half_close: bool = False, quotas: Quotas | None = None, **upstream: Any
    ) -> None:
        """quotas: of client connections."""
        quotas = quotas or Quotas()
        self.loop = FakeLoop()
        self.log = Records()
        self.dials: list[Lessee] = []
        self.upstreams: list[FakeUpstream] = []
        self.waits: list[Waiting] = []  # all that there were: requests for `/wait…`
        self.reason = errors.QUEUE_TIMEOUT  # how they end if nothing comes
        self.goes_on = False  # whether they are decided then
        self.decides = 0
        self.pool = Pool(
            UpstreamOptions(
                name="users", places=(Place(host="a", port=1),), response_timeout=RESPONSE_TIMEOUT, **upstream
            ),
            lambda _, lessee: self.dials.append(lessee),
        )
        self.connections = ClientConnections(
            loop=cast("asyncio.AbstractEventLoop", self.loop),
            date=lambda: b"Thu, 01 Jan 1970 00:00:00 GMT",
            new_id=lambda: "own-id",
            log=self.log,
            generation=Generation(
                self._decide,
                RequestRules(HEAD_LIMIT, 100, 512, frozenset(), frozenset(), True),
                ResponseRules(HEAD_LIMIT, 100, frozenset(), True),
                {"users": self.pool},
                options,
                ClientOptions(send_timeout=SEND_TIMEOUT, half_close=half_close),
            ),
            slots=quotas.named("connections", options.connections),
            addresses=quotas.addresses(options.per_address),
        )

    def _decide(self, head: RequestHead, peer: Peer, now: float, wall: float) -> Decision:
        self.decides += 1
        return self._outcome(head, head.target, "an-id")

    def _outcome(self, head: RequestHead, path: bytes, request_id: str) -> Decision:
        """`/wait/own` becomes what `/own` is, `/wait/wait/own` waits twice."""
        if path.startswith(b"/wait"):
            then = path.removeprefix(b"/wait") or b"/x"
            becomes = partial(self._outcome, head, then, "waiting")
            self.waits.append(Waiting(self.loop.now + WAIT, becomes, self.reason, self.goes_on))
            return self.waits[-1]
        if path == b"/own":
            return LocalReply(404, errors.NO_ROUTE, b"", "", "", request_id, "someone")
        if path == b"/broken":
            raise ZeroDivisionError("a mistake in policy")
        request = b"%b %b HTTP/1.1\r\nHost: a\r\n" % (head.method, path)
        upgrade = b"echo" if head.upgrade else b""
        return Forward(TERMS, request, plain_response, lambda name: True, upgrade, request_id, "someone")

    def client(self, address: str = "192.0.2.7") -> "Client":
        return Client(self, address)

    def upstream(self, upstream: FakeUpstream | None = None) -> FakeUpstream:
        """The connection that the first waiting dial gets, now."""
        upstream = upstream or FakeUpstream(self.pool.endpoints.all[0])
        self.upstreams.append(upstream)
        self.pool.dialed(self.dials.pop(0), upstream, self.loop.now)
        return upstream

    @property
    def waiting(self) -> Waiting:
        """The newest."""
        return self.waits[-1]

    @property
    def awaited(self) -> int:
        """How many decisions are waited for."""
        return sum(len(waiting.ready) for waiting in self.waits)

    @property
    def exchange(self) -> Flow:
        """The exchange or tunnel that has the newest of the leased connections."""
        owner = next(upstream.owner for upstream in reversed(self.upstreams) if upstream.owner is not None)
        assert isinstance(owner, Flow)
        return owner

    def logged(self, *fields: str) -> list[tuple[object, ...]]:
        return [tuple(getattr(record, field) for field in fields) for record in self.log.kept]


TERMS = RouteOptions("a-route", "users", None, 10_000)


class Client:
    """One client connection.

    path  the states that it has had
    """

    def __init__(self, side: ClientSide, address: str) -> None:
        self.side = side
        self.protocol = ClientConnection(side.connections)
        self.path = check_states(self.protocol, side.loop)
        self.transport = FakeTransport(side.loop, self.protocol, (address, 5000))

    def send(self, data: bytes) -> "Client":
        self.transport.receives(data)
        self.side.loop.run()
        return self

    def answer(self, data: bytes = OK) -> None:
        """The upstream that serves this client sends this."""
        self.side.exchange.upstream_data(data, self.side.loop.now)
        self.side.loop.run()

    def get(self, path: bytes = b"/x", *fields: bytes) -> "Client":
        return self.send(request(b"GET", path, *fields))

    @property
    def statuses(self) -> list[int]:
        """Of the responses so far."""
        return [int(piece[:3]) for piece in self.transport.sent.split(b"HTTP/1.1 ")[1:]]


def request(method: bytes, path: bytes, *fields: bytes) -> bytes:
    return b"\r\n".join((b"%b %b HTTP/1.1" % (method, path), b"Host: h", *fields, b"", b""))
