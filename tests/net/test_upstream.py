"""The upstream's side of the shell, driven by hand: octets, losses and dials, without sockets.

The pool is the real one, and so is the exchange; only what lies outside of the process is made up.
"""

import asyncio
import socket
from typing import Any, cast

import pytest

from harness.fake_loop import FakeLoop, FakeTransport, unread
from harness.ports import FakeClient
from rawgate import errors
from rawgate.message import Forward, RequestHead, RouteOptions
from rawgate.net import upstream as module
from rawgate.net.turn import Turn
from rawgate.net.upstream import REAP_EVERY, IdleReaper, UpstreamConnection
from rawgate.relay.endpoints import Place
from rawgate.relay.exchange import Exchange
from rawgate.relay.lessee import Lessee
from rawgate.relay.options import ClientOptions, UpstreamOptions
from rawgate.relay.pool import Pool
from rawgate.wire import ResponseRules

RULES = ResponseRules(16384, 100, frozenset(), fast=True)
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
STARTED = b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\nhalf"
CLOSE_DELIMITED = b"HTTP/1.1 200 OK\r\n\r\nhalf"


class UpstreamSide:
    """A pool, and connections that come when asked for."""

    def __init__(self, **options: Any) -> None:
        self.loop = FakeLoop()
        self.lessees: list[Lessee] = []
        self.pool = Pool(
            UpstreamOptions(name="users", places=(Place(host="a", port=1),), **options),
            lambda _, lessee: self.lessees.append(lessee),
        )
        self.turn = Turn(cast("asyncio.AbstractEventLoop", self.loop))
        self.clients: list[FakeClient] = []
        self.upstreams: list[UpstreamConnection] = []
        self.upgrade = b""
        self.transports: list[FakeTransport] = []

    def exchange(self, method: bytes = b"GET", body: int = 0) -> Exchange:
        """A new exchange that has asked the pool; when the pool dials, it is given a new connection."""
        self.clients.append(FakeClient())
        head = RequestHead(method, b"/x", 1, b"h", {}, [], body, False, False, self.upgrade, 10)
        forward = Forward(
            RouteOptions("r", "users", None, 1000),
            b"%b /x HTTP/1.1\r\nHost: a\r\n" % method,
            lambda forward, head: b"HTTP/1.1 %d X\r\n" % head.status,
            lambda name: True,
            self.upgrade,
            "id",
            "someone",
        )
        exchange = Exchange(self.clients[-1], self.pool, forward, head, ClientOptions(), RULES, self.loop.now)
        exchange.start(self.loop.now)
        if self.lessees:
            self.connect(self.lessees.pop())
        return exchange

    def connect(self, lessee: Lessee) -> None:
        upstream = UpstreamConnection(self.pool, self.pool.endpoints.all[0], RULES, self.turn)
        self.upstreams.append(upstream)
        self.transports.append(FakeTransport(self.loop, upstream))
        self.pool.dialed(lessee, upstream, self.loop.now)


@pytest.fixture
def side(monkeypatch: pytest.MonkeyPatch) -> UpstreamSide:
    side = UpstreamSide()
    monkeypatch.setattr(module, "monotonic", side.loop.clock)
    return side


# ── octets and losses ──


def test_a_response_passes_and_the_connection_rests_and_is_taken_again(side: UpstreamSide) -> None:
    first = side.exchange()
    used = [side.upstreams[0].reused]
    side.transports[0].receives(OK)
    assert (first.reason, first.status, side.pool.idle) == (errors.OK, 200, 1)
    second = side.exchange()
    assert second.upstream is side.upstreams[0]
    used.append(side.upstreams[0].reused)
    assert used == [False, True]
    assert side.transports[0].sent.count(b"GET /x") == 2


LOSSES = {"fin": "closed", "reset": "reset"}


@pytest.mark.parametrize(
    ("began", "reason"),
    [(b"", errors.UPSTREAM_RESET), (STARTED, errors.UPSTREAM_CUT)],
    ids=["before the head", "in the body"],
)
@pytest.mark.parametrize("loss", LOSSES)
def test_a_loss_reaches_the_exchange(side: UpstreamSide, loss: str, began: bytes, reason: errors.Reason) -> None:
    exchange = side.exchange()
    transport = side.transports[0]
    if began:
        transport.receives(began)
    _lose(transport, loss)
    side.loop.run()
    assert exchange.reason is reason
    assert exchange.detail == ("" if began else f"It {LOSSES[loss]} a new connection without a word.")
    assert side.pool.size == 0
    assert transport.lost


@pytest.mark.parametrize(
    ("error", "how"),
    [(BrokenPipeError(), "It reset"), (ConnectionResetError(), "It reset"), (TimeoutError(), "The network lost")],
)
def test_a_loss_is_told_from_a_reset(side: UpstreamSide, error: OSError, how: str) -> None:
    exchange = side.exchange()
    side.transports[0]._end(error)  # noqa: SLF001 - what the loop does when it gives a connection up
    side.loop.run()
    assert exchange.detail == f"{how} a new connection without a word."


def test_a_close_delimited_body_ends_with_fin_and_breaks_off_with_a_reset(side: UpstreamSide) -> None:
    outcomes = []
    for loss in ("fin", "reset"):
        exchange = side.exchange()
        side.transports[-1].receives(CLOSE_DELIMITED)
        _lose(side.transports[-1], loss)
        side.loop.run()
        outcomes.append((exchange.reason, exchange.keep_open, side.transports[-1].lost))
    assert outcomes == [(errors.OK, True, True), (errors.UPSTREAM_CUT, False, True)]


@pytest.mark.parametrize("answer", [OK, OK[:-1], b""])
def test_what_lies_in_the_socket_is_read_before_a_loss_is_believed(side: UpstreamSide, answer: bytes) -> None:
    """The loop could not write, and gave the connection up; the answer had come before."""
    exchange = side.exchange(b"POST", 5)
    exchange.client_data(b"he", side.loop.now)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(answer)
        theirs.close()
        transport = side.transports[-1]
        transport.socket.descriptor = ours.fileno()
        transport.breaks()
    assert exchange.reason is {OK: errors.OK, OK[:-1]: errors.UPSTREAM_CUT, b"": errors.UPSTREAM_RESET}[answer]
    assert side.clients[-1].sent.startswith(b"HTTP/1.1 200 " if answer else b"HTTP/1.1 502 ")
    assert side.clients[-1].sent.endswith(answer[-1:] or b"}")
    assert side.pool.size == 0


@pytest.mark.parametrize("taken", [True, False])
def test_an_upstream_that_cannot_half_close_ends_the_whole_tunnel(side: UpstreamSide, taken: bool) -> None:
    """So it is with TLS: what came from the client is sent, then the connection is closed."""
    side.upgrade = b"echo"
    side.exchange()
    transport, client = side.transports[0], side.clients[0]
    transport.half_closes = False
    transport.receives(b"HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n")
    tunnel = client.tunnel
    assert tunnel is not None
    tunnel.client_data(b"last words", side.loop.now)
    transport.falls_behind(10)
    tunnel.client_eof(side.loop.now)
    assert not transport.lost
    if taken:
        transport.takes()
    else:
        transport.breaks()
    side.loop.run()
    assert transport.sent.endswith(b"last words")
    assert tunnel.reason is (errors.OK if taken else errors.UPSTREAM_CUT)
    assert client.eof_sent is taken
    assert side.pool.size == 0


def _lose(transport: FakeTransport, loss: str) -> None:
    if loss == "fin":
        transport.receives(b"")
    else:
        transport.breaks()


def post(side: UpstreamSide) -> FakeTransport:
    """A connection at rest that has carried a body."""
    exchange = side.exchange(b"POST", 5)
    exchange.client_data(b"hello", side.loop.now)
    side.transports[-1].receives(OK)
    assert side.pool.idle == 1
    return side.transports[-1]


@pytest.mark.parametrize(
    ("octets", "method", "good"),
    [
        (b"HTTP/1.1 200 OK\r\n", b"POST", False),
        (b"x", b"POST", False),
        (b"HTTP/1.1 408 Request Timeout\r\n", b"POST", True),
        (b"HTTP/1.1 200 OK\r\n", b"GET", True),
    ],
)
@pytest.mark.parametrize("read", [True, False], ids=["read by the loop", "seen in the socket"])
def test_an_answer_to_nothing_behind_a_body_casts_doubt_on_the_upstream(
    side: UpstreamSide, octets: bytes, method: bytes, good: bool, read: bool
) -> None:
    if method == b"POST":
        transport = post(side)
    else:
        side.exchange()
        transport = side.transports[0]
        transport.receives(OK)
    if read:
        transport.receives(octets)
    else:
        with unread(transport, octets):
            assert side.upstreams[0].is_stale()
    assert side.pool.reuse_after_body is good


def test_a_late_response_is_noticed_after_another_request_too(side: UpstreamSide) -> None:
    transport = post(side)
    side.exchange()
    transport.receives(OK)
    transport.receives(b"HTTP/1.1 200 OK\r\n")
    assert not side.pool.reuse_after_body


@pytest.mark.parametrize("what", ["nothing", "octets", "fin"])
def test_what_is_in_the_socket_is_seen_before_the_loop_reads_it(side: UpstreamSide, what: str) -> None:
    transport = post(side)
    octets = {"nothing": None, "octets": b"HTTP/1.1 400 Bad Request\r\n", "fin": b""}[what]
    with unread(transport, octets):
        again = side.exchange(b"POST", 5)
    assert (again.upstream is side.upstreams[0]) is (what == "nothing")
    assert transport.is_closing() is (what != "nothing")
    assert side.pool.leased == 1
    assert side.pool.reuse_after_body is (what != "octets")


@pytest.mark.parametrize("event", ["octets", "fin", "reset"])
def test_an_idle_connection_that_stirs_is_not_handed_out_again(side: UpstreamSide, event: str) -> None:
    side.exchange()
    transport = side.transports[0]
    transport.receives(OK)
    assert side.pool.idle == 1
    if event == "octets":
        transport.receives(b"HTTP/1.1 408 Request Timeout\r\n\r\n")
    else:
        _lose(transport, event)
    assert side.pool.size == 0
    side.loop.run()
    assert transport.lost
    assert side.exchange().upstream is side.upstreams[1]


def test_an_idle_connection_that_ends_and_stalls_is_not_waited_for(side: UpstreamSide) -> None:
    """The last octets of its request are still to be sent: a close that waits for them could wait for ever."""
    side.exchange()
    transport = side.transports[0]
    transport.backlog = 10
    transport.receives(OK)
    transport.receives(b"")
    side.loop.run()
    assert transport.was_reset
    assert side.pool.size == 0


def test_a_full_side_pauses_the_other_one(side: UpstreamSide) -> None:
    exchange = side.exchange()
    transport = side.transports[0]
    exchange.client_is_full(side.loop.now)
    reading = [transport.reading]
    exchange.client_has_room(side.loop.now)
    assert [*reading, transport.reading] == [False, True]
    transport.falls_behind(100_000)
    assert side.clients[0].paused
    assert side.upstreams[0].write_backlog() == 100_000
    transport.takes()
    assert not exchange.upstream_full


@pytest.mark.parametrize(("backlog", "reset"), [(0, False), (10, True)], ids=["all taken", "some left"])
def test_closing_waits_for_nobody(side: UpstreamSide, backlog: int, reset: bool) -> None:
    """The answer is here: an upstream that has not taken the whole request is not waited for."""
    side.exchange()
    transport = side.transports[0]
    transport.backlog = backlog
    side.upstreams[0].close()
    side.loop.run()
    assert (transport.was_reset, transport.was_closed) == (reset, not reset)


def test_little_is_buffered_for_a_service_that_does_not_take_it(side: UpstreamSide) -> None:
    side.exchange()
    assert side.transports[0].limits == (64 * 1024, 16 * 1024)


def test_what_is_asked_of_a_lost_connection_does_nothing(side: UpstreamSide) -> None:
    side.exchange()
    upstream, transport = side.upstreams[0], side.transports[0]
    transport.breaks()
    sent = transport.sent
    assert upstream.write_backlog() == 0
    upstream.write(b"x")
    upstream.pause()
    upstream.resume()
    upstream.write_eof()
    upstream.close()
    upstream.reset()
    assert (transport.sent, transport.eof_sent, transport.was_reset) == (sent, False, False)


def test_a_reset_replaces_a_close_that_waits_for_a_slow_peer(side: UpstreamSide) -> None:
    """What is buffered will be dropped; a FIN would say that it was all."""
    side.exchange()
    transport = side.transports[0]
    transport.backlog = 10
    transport.close()
    side.upstreams[0].reset()
    side.loop.run()
    assert transport.was_reset


def test_the_representation_says_in_which_state_it_is(side: UpstreamSide) -> None:
    side.exchange()
    upstream, transport = side.upstreams[0], side.transports[0]
    states = [repr(upstream)]
    transport.receives(OK)
    states.append(repr(upstream))
    transport.breaks()
    states.append(repr(upstream))
    assert states == [f"<UpstreamConnection users a:1 {state}>" for state in ("leased", "idle", "lost")]


# ── the reaper of idle connections ──


def test_the_sweep_closes_what_has_grown_old_until_it_is_stopped(side: UpstreamSide) -> None:
    chores: list[float] = []
    loop = cast("asyncio.AbstractEventLoop", side.loop)
    reaper = IdleReaper(loop, [side.pool], lambda: chores.append(side.loop.now))
    begun = side.loop.now
    side.exchange()
    transport = side.transports[0]
    transport.receives(OK)
    side.upstreams[0].retire_at = side.loop.now + 2 * REAP_EVERY - 1
    side.loop.passes(REAP_EVERY)
    assert not transport.lost
    side.loop.passes(REAP_EVERY)
    assert transport.was_closed
    assert side.pool.size == 0
    assert chores == [begun + REAP_EVERY, begun + 2 * REAP_EVERY]
    reaper.stop()
    assert side.loop.timers == []
