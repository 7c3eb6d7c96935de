"""A reload under connections that stay open: which configuration reads a head, and which one decides about it.

The gates, connections, exchanges and pools are the real ones; sockets, time and the log are made up.
"""

import asyncio
from collections.abc import Iterator
from typing import Any, cast

import pytest

from harness.checked import check_states, clocked_by
from harness.fake_loop import FakeLoop, FakeTransport
from rawgate.config.model import Config, Gateway, HeaderRules, Limits, Route, Target, Upstream
from rawgate.errors import TUNNEL_OUTDATED, Problem
from rawgate.message import Decision, Peer, RequestHead
from rawgate.net.client import ClientConnection
from rawgate.net.generation import NO_TERMS, Generation, ListenerOptions, Terms
from rawgate.net.listener import ClientConnections
from rawgate.net.upstream import UpstreamConnection
from rawgate.observe.line import Record
from rawgate.policy.compile import compile_gate
from rawgate.relay.endpoints import Place
from rawgate.relay.lessee import Lessee
from rawgate.relay.options import ClientOptions, UpstreamOptions
from rawgate.relay.pool import Pool
from rawgate.relay.upload import RATE_SPAN
from rawgate.wire import RequestRules, ResponseRules

DATE = b"Thu, 01 Jan 1970 00:00:00 GMT"
REQUEST = b"GET /a HTTP/1.1\r\nHost: h\r\nX-Team: red\r\nX-Other: o\r\n\r\n"
RESPONSE = b"HTTP/1.1 200 OK\r\nX-Inner: i\r\nX-Shown: s\r\nContent-Length: 2\r\n\r\nok"
UP, DOWN = HeaderRules(remove=("x-team",)), HeaderRules(remove=("x-inner",))


class Serving:
    """One client and one service, whose connections stay open."""

    def __init__(self, *, fast: bool) -> None:
        self.fast = fast
        self.loop = FakeLoop()
        self.records: list[Record] = []
        self.pool = Pool(UpstreamOptions(name="u", places=(Place(host="a", port=1),)), self._dial)
        self.services: list[FakeTransport] = []
        self.connections = ClientConnections(
            loop=cast("asyncio.AbstractEventLoop", self.loop),
            date=lambda: DATE,
            new_id=lambda: "0" * 32,
            log=self,
            generation=self.generation(),
        )
        self.client = self.connect("192.0.2.7")

    def connect(self, address: str) -> FakeTransport:
        connection = ClientConnection(self.connections)
        check_states(connection, self.loop)
        return FakeTransport(self.loop, connection, (address, 5000))

    def write(self, record: Record) -> None:
        self.records.append(record)

    def generation(
        self,
        up: HeaderRules | None = None,
        down: HeaderRules | None = None,
        head: int = 16384,
        connections: int = 100,
        terms: Terms = NO_TERMS,
    ) -> Generation:
        """A configuration whose one route has these rules."""
        problems: list[Problem] = []
        route = Route(
            prefix="/",
            upstream="u",
            auth="none",
            request_headers=up or HeaderRules(),
            response_headers=down or HeaderRules(),
        )
        config = Config(
            gateway=Gateway(listen=(), limits=Limits(head=head)),
            upstreams={"u": Upstream(targets=(Target("a", 1, "a"),))},
            routes=(route,),
        )
        gate = compile_gate(config, new_id=lambda: "0" * 32, date=lambda: DATE, problems=problems, warnings=[])
        assert gate is not None, problems
        return Generation(
            gate.decide,
            RequestRules(head, 100, 8192, gate.wanted, gate.protected, self.fast, gate.removable, gate.methods),
            ResponseRules(head, 100, gate.response_wanted, self.fast, gate.response_removable),
            {"u": self.pool},
            ListenerOptions(connections=connections, spread=0.0),
            ClientOptions(),
            terms=terms,
        )

    def _dial(self, pool: Pool, lessee: Lessee) -> None:
        generation = self.connections.generation
        upstream = UpstreamConnection(pool, pool.endpoints.all[0], generation.response_rules, self.connections.turn)
        self.services.append(FakeTransport(self.loop, upstream, ("198.51.100.1", 1)))
        pool.dialed(lessee, upstream, self.loop.now)

    def asks(self, octets: bytes = REQUEST) -> None:
        self.client.receives(octets)
        self.loop.run()

    def answers(self, octets: bytes = RESPONSE) -> None:
        self.services[0].receives(octets)
        self.loop.run()

    def exchanges(self) -> tuple[bytes, bytes]:
        """What the service got, and what the client got, of one whole exchange."""
        before = (len(self.services[0].sent) if self.services else 0, len(self.client.sent))
        self.asks()
        self.answers()
        return self.services[0].sent[before[0] :], self.client.sent[before[1] :]


@pytest.fixture(params=["fast", "h11"])
def serving(request: pytest.FixtureRequest) -> Iterator[Serving]:
    serving = Serving(fast=request.param == "fast")
    with clocked_by(serving.loop.clock):
        yield serving


def test_a_field_that_is_newly_removed_goes_on_connections_that_are_open(serving: Serving) -> None:
    up, down = serving.exchanges()
    assert (b"X-Team: red" in up, b"X-Inner: i" in down) == (True, True)
    serving.connections.renew(serving.generation(UP, DOWN))
    up, down = serving.exchanges()
    assert (b"X-Team" in up, b"X-Inner" in down) == (False, False)
    assert (b"X-Other: o" in up, b"X-Shown: s" in down) == (True, True)
    assert len(serving.services) == 1, "the connection to the service is the same"


def test_a_request_keeps_the_configuration_that_it_began_with(serving: Serving) -> None:
    serving.asks(REQUEST[:20])
    serving.connections.renew(serving.generation(UP, DOWN))
    serving.asks(REQUEST[20:])
    assert b"X-Team: red" in serving.services[0].sent
    serving.answers()
    assert b"X-Inner: i" in serving.client.sent


def test_a_pipelined_request_has_the_configuration_of_its_turn(serving: Serving) -> None:
    serving.asks(REQUEST + REQUEST)
    serving.connections.renew(serving.generation(UP, DOWN))
    serving.answers()
    serving.answers()
    assert serving.services[0].sent.count(b"X-Team: red") == 1
    assert serving.client.sent.count(b"X-Inner: i") == 1
    assert serving.client.sent.count(b"200 OK") == 2


def test_new_limits_hold_for_the_next_request_and_the_next_connection(serving: Serving) -> None:
    serving.exchanges()
    serving.connections.renew(serving.generation(head=len(REQUEST) - 1, connections=1))
    second = serving.connect("192.0.2.8")
    serving.loop.run()
    assert serving.client.lost, "the idle one has made room"
    second.receives(REQUEST)
    serving.loop.run()
    assert second.sent.startswith(b"HTTP/1.1 431 ")


def test_an_empty_line_ahead_belongs_to_the_request_behind_it(serving: Serving) -> None:
    serving.asks(b"\r\n")
    serving.connections.renew(serving.generation(UP, DOWN))
    serving.asks(b"\r\n")
    assert b" 400 " in serving.client.sent, "one is ignored, a second one is not: a reload makes no difference"


def test_the_request_behind_an_empty_line_is_under_the_new_rules(serving: Serving) -> None:
    serving.asks(b"\r\n")
    serving.connections.renew(serving.generation(head=len(REQUEST) - 1))
    serving.asks(REQUEST)
    assert serving.client.sent.startswith(b"HTTP/1.1 431 ")


HANDSHAKE = b"GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
SWITCHED = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"


class TermsOf:
    """Lets tunnels go on as long as the number is the same."""

    def __init__(self, number: int) -> None:
        self.number = number

    def hold_in(self, later: object, route: str, client_id: str) -> bool:
        assert (route, client_id) == ("/", "192.0.2.7")
        return isinstance(later, TermsOf) and later.number == self.number


@pytest.mark.parametrize("begins", ["before", "meanwhile"])
@pytest.mark.parametrize("goes_on", [False, True])
def test_a_tunnel_goes_on_as_long_as_it_would_be_let_in(serving: Serving, begins: str, *, goes_on: bool) -> None:
    serving.connections.renew(serving.generation(terms=TermsOf(1)))
    serving.asks(HANDSHAKE)
    if begins == "before":
        serving.answers(SWITCHED)
    serving.connections.renew(serving.generation(terms=TermsOf(1 if goes_on else 2)))
    if begins == "meanwhile":
        serving.answers(SWITCHED)
    serving.loop.passes(0.0)
    assert [record.reason for record in serving.records] == ([] if goes_on else ["tunnel_outdated"])
    close = b"\x88" + bytes((len(TUNNEL_OUTDATED.detail) + 2,)) + (1012).to_bytes(2, "big")
    assert (close in serving.client.sent) is not goes_on
    assert serving.client.sent.startswith(SWITCHED[:12]), "the head of the response comes first"


def test_a_request_is_served_to_its_end_by_a_route_that_is_gone(serving: Serving) -> None:
    serving.connections.renew(serving.generation(terms=TermsOf(1)))
    serving.asks()
    serving.connections.renew(serving.generation(terms=TermsOf(2)))
    serving.answers()
    assert serving.client.sent.startswith(b"HTTP/1.1 200 ")


def test_a_websocket_that_begins_while_the_gateway_drains_ends_as_the_others(serving: Serving) -> None:
    serving.asks(HANDSHAKE)
    serving.connections.drain(lambda: None)
    serving.answers(SWITCHED)
    serving.loop.passes(0.0)
    assert [record.reason for record in serving.records] == ["draining"]
    assert (1001).to_bytes(2, "big") in serving.client.sent


@pytest.mark.parametrize(
    ("upstream", "client", "shortest"),
    [
        ({}, {}, 50.0),
        *(({name: 5.0}, {}, 5.0) for name in ("response_timeout", "idle_timeout", "total_timeout")),
        *(({name: 5.0}, {}, 5.0) for name in ("tunnel_idle", "tunnel_max_age")),
        *(({}, {name: 5.0}, 5.0) for name in ("body_timeout", "send_timeout")),
        ({}, {"body_rate": 240}, RATE_SPAN),
    ],
)
def test_an_upstream_s_shortest_deadline(upstream: dict[str, float], client: dict[str, float], shortest: float) -> None:
    """No look at an exchange's clock is needed more often."""
    names = ("response_timeout", "idle_timeout", "tunnel_idle", "tunnel_max_age")
    spans: dict[str, Any] = dict.fromkeys(names, 50.0) | upstream
    options = UpstreamOptions(name="u", places=(Place(host="a", port=1),), **spans)
    times: dict[str, Any] = {"body_timeout": 60.0, "send_timeout": 60.0, "body_rate": 0, **client}
    pool = Pool(options, lambda _, waiter: None)
    rules = RequestRules(16384, 100, 8192, frozenset(), frozenset(), True)
    answers = ResponseRules(16384, 100, frozenset(), True)
    made = Generation(undecided, rules, answers, {"u": pool}, ListenerOptions(), ClientOptions(**times))
    assert made.pools["u"] == (pool, shortest)


def undecided(head: RequestHead, peer: Peer, now: float, wall: float) -> Decision:
    raise AssertionError("nobody asks")
