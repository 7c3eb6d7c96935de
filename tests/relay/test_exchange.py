"""The exchange without a loop: a script of octets in, octets out, losses and passing time.

The middle part walks DESIGN's table row by row: every phase, with the upstream lost, the deadline passed, and the
client lost.
"""

from collections.abc import Callable
from math import inf
from typing import Any

import pytest

from harness.ports import EPOCH, RULES, FakeClient, FakeUpstream, plain_response
from rawgate import errors
from rawgate.errors import Reason
from rawgate.message import CHUNKED, Extras, Forward, RequestHead, RouteOptions
from rawgate.relay.deadlines import REST_TIMEOUT
from rawgate.relay.endpoints import ANY_ADDRESS, Place
from rawgate.relay.exchange import (
    INTERIM_LIMIT,
    MADE_WAY,
    NOT_SENT,
    NOT_TAKEN,
    Exchange,
)
from rawgate.relay.flow import CLOSED, LOST, NEVER, RESET, Flow
from rawgate.relay.lessee import Lessee
from rawgate.relay.options import LARGE_BODY, ClientOptions, UpstreamOptions
from rawgate.relay.phases import (
    AWAITING,
    DONE,
    EARLY,
    FLUSHING,
    LEASING,
    RELAYING,
    SENDING,
    TABLE,
    TUNNEL,
    UPLOADING,
    IllegalTransitionError,
    Phase,
)
from rawgate.relay.pool import Pool
from rawgate.relay.upload import RATE_SPAN

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
OK_HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"
CHUNKED_HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


Make = Callable[[], tuple["World", FakeUpstream | None]]


class World:
    """One exchange, its two ports, its pool, and a clock."""

    def __init__(
        self,
        method: bytes = b"GET",
        body: int = 0,
        *,
        minor: int = 1,
        close: bool = False,
        expect: bool = False,
        upgrade: bytes = b"",
        body_limit: int = 1000,
        response_timeout: float | None = None,
        address: str = "",
        pool: Pool | None = None,
        client: ClientOptions | None = None,
        until: float = inf,
        **options: Any,
    ) -> None:
        self.now = 100.0
        self.dials: list[Lessee] = []
        self.pool = pool or Pool(UpstreamOptions(name="u", places=(Place(host="a", port=1),), **options), self.dial)
        self.client = FakeClient()
        parsed = {b"content-length": b"%d" % body} if body > 0 else {}
        head = RequestHead(method, b"/x", minor, b"h", parsed, [], body, close, expect, upgrade, 10)
        self.forward = Forward(
            RouteOptions("r", "u", response_timeout, body_limit),
            b"%b /x HTTP/1.1\r\nHost: a\r\n" % method,
            plain_response,
            lambda name: name != b"x-user-id",
            upgrade,
            "id",
            "someone",
            address=address,
            extras=None if until == inf else Extras(until=EPOCH + until),
        )
        self.first = Exchange(self.client, self.pool, self.forward, head, client or ClientOptions(), RULES, self.now)

    def dial(self, pool: Pool, lessee: Lessee) -> None:
        self.dials.append(lessee)

    @property
    def exchange(self) -> Flow:
        """The exchange, or the tunnel that has taken over."""
        return self.client.tunnel or self.first

    def start(self) -> "World":
        self.first.start(self.now)
        return self

    def port(self, at: int = 0, *, reused: bool = False) -> FakeUpstream:
        """A new connection to one of the pool's endpoints."""
        return FakeUpstream(self.pool.endpoints.all[at], reused=reused)

    def connected(self, *, reused: bool = False) -> FakeUpstream:
        """Start, and give it a connection."""
        self.start()
        upstream = self.port(reused=reused)
        self.pool.dialed(self.dials.pop(), upstream, self.now)
        return upstream

    def up(self, data: bytes) -> bytes:
        return self.exchange.client_data(data, self.now)

    def down(self, data: bytes) -> None:
        self.exchange.upstream_data(data, self.now)

    def passes(self, seconds: float) -> None:
        self.now += seconds
        self.exchange.expire(self.now)

    def outcome(self) -> tuple[Reason, int]:
        assert self.client.over == [self.exchange]
        assert self.exchange.phase is DONE
        assert self.exchange.leased_at <= self.exchange.ended_at <= self.exchange.over_at
        return self.exchange.reason, self.exchange.status


def status_of(sent: bytes) -> int:
    return int(sent.split(b" ", 2)[1])


# ── whole exchanges ──


def test_a_bodiless_request_goes_up_and_its_answer_comes_down() -> None:
    w = World()
    upstream = w.connected()
    assert upstream.sent == b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n"
    w.down(OK_HEAD + b"ok")
    assert w.client.sent == b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
    assert w.outcome() == (errors.OK, 200)
    assert w.exchange.keep_open
    assert w.pool.idle == 1
    assert upstream.owner is None


def test_a_connection_rests_for_no_longer_than_its_upstream_keeps_it() -> None:
    w = World(keep_alive=55.0)
    upstream = w.connected()
    w.down(b"HTTP/1.1 200 OK\r\nKeep-Alive: timeout=5\r\nContent-Length: 2\r\n\r\nok")
    assert w.pool.idle == 1
    assert upstream.retire_at == w.now + 4.0


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_the_answer_may_come_in_any_pieces(size: int) -> None:
    whole = CHUNKED_HEAD + b"5;x=y\r\nhello\r\n3\r\nyou\r\n0\r\nX-T: v\r\n\r\n"
    w = World()
    w.connected()
    for at in range(0, len(whole), size):
        w.down(whole[at : at + size])
    head, _, body = w.client.sent.partition(b"\r\n\r\n")
    assert head.endswith(b"Transfer-Encoding: chunked")
    assert body.endswith(b"0\r\nX-T: v\r\n\r\n")
    assert w.exchange.bytes_out == 8
    assert w.outcome() == (errors.OK, 200)


def test_a_counted_body_goes_up_and_what_follows_is_given_back() -> None:
    w = World(b"POST", 5)
    upstream = w.connected()
    assert (w.client.paused, w.exchange.wants_body) == (False, True)
    assert w.up(b"he") == b""
    assert w.up(b"lloGET /2") == b"GET /2"
    assert not w.exchange.wants_body
    assert upstream.sent.endswith(b"Content-Length: 5\r\n\r\nhello")
    w.down(OK_HEAD + b"ok")
    assert w.outcome() == (errors.OK, 200)
    assert w.exchange.bytes_in == 5


def test_a_chunked_body_is_framed_anew_and_its_trailers_are_filtered() -> None:
    w = World(b"POST", CHUNKED)
    upstream = w.connected()
    w.up(b"2;ext\r\nhe\r\n3\r\nllo\r\n")
    w.up(b"0\r\nX-T: v\r\nX-User-Id: root\r\n\r\n")
    assert upstream.sent.endswith(b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-T: v\r\n\r\n")


@pytest.mark.parametrize(("trailer", "pooled"), [(b"X-T: v\r\n", 0), (b"", 1), (b"X-User-Id: root\r\n", 1)])
def test_a_connection_that_carried_trailers_is_not_used_again(trailer: bytes, pooled: int) -> None:
    w = World(b"POST", CHUNKED)
    upstream = w.connected()
    w.up(b"2\r\nhe\r\n0\r\n" + trailer + b"\r\n")
    w.down(OK_HEAD + b"ok")
    assert w.outcome() == (errors.OK, 200)
    assert (w.pool.idle, upstream.closed) == (pooled, not pooled)


def test_a_close_delimited_answer_is_chunked_for_http_1_1() -> None:
    w = World()
    upstream = w.connected()
    w.down(b"HTTP/1.1 200 OK\r\n\r\nabc")
    assert not w.client.over
    w.exchange.upstream_eof(w.now)
    assert w.client.sent.endswith(b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n")
    assert w.outcome() == (errors.OK, 200)
    assert w.exchange.keep_open
    assert upstream.closed
    assert w.pool.size == 0


@pytest.mark.parametrize("head", [b"HTTP/1.1 200 OK\r\n\r\n", CHUNKED_HEAD])
def test_an_http_1_0_client_gets_an_answer_of_unknown_length_until_close(head: bytes) -> None:
    w = World(minor=0)
    w.connected()
    w.down(head + (b"3\r\nabc\r\n0\r\n\r\n" if head is CHUNKED_HEAD else b"abc"))
    if head is not CHUNKED_HEAD:
        w.exchange.upstream_eof(w.now)
    assert w.client.sent == b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nabc"
    assert w.outcome() == (errors.OK, 200)
    assert not w.exchange.keep_open


@pytest.mark.parametrize(
    ("method", "head"),
    [
        (b"HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 1234\r\n\r\n"),
        (b"HEAD", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
        (b"GET", b"HTTP/1.1 204 No Content\r\n\r\n"),
        (b"GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n"),
        (b"GET", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
    ],
)
def test_an_answer_without_a_body_ends_with_its_head(method: bytes, head: bytes) -> None:
    w = World(method)
    w.connected()
    w.down(head)
    assert w.outcome()[0] is errors.OK
    assert w.pool.idle == 1
    assert w.exchange.bytes_out == 0


@pytest.mark.parametrize(
    "answer",
    [
        OK_HEAD + b"okEXTRA",
        b"HTTP/1.1 204 No Content\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
        CHUNKED_HEAD + b"0\r\n\r\nHTTP/1.1 200 OK\r\n",
    ],
)
def test_a_connection_in_doubt_is_not_pooled(answer: bytes) -> None:
    w = World()
    upstream = w.connected()
    w.down(answer)
    assert w.outcome()[0] is errors.OK
    assert w.pool.size == 0
    assert upstream.closed
    assert b"EXTRA" not in w.client.sent


@pytest.mark.parametrize("body", [0, 5])
@pytest.mark.parametrize("answer", [OK_HEAD + b"okEXTRA", CHUNKED_HEAD + b"0\r\n\r\nEXTRA"])
def test_octets_behind_the_answer_to_a_body_cast_doubt_on_the_upstream(body: int, answer: bytes) -> None:
    w = World(b"POST", body)
    w.connected()
    if body:
        w.up(b"hello")
    w.down(answer)
    assert w.pool.reuse_after_body is (body == 0)


def test_octets_behind_an_early_answer_cast_doubt_too() -> None:
    w, _ = sending()
    w.down(OK_HEAD + b"okEXTRA")
    assert not w.pool.reuse_after_body


def test_interim_responses_pass_to_http_1_1_and_not_to_1_0() -> None:
    for minor in (1, 0):
        w = World(minor=minor)
        w.connected()
        w.down(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + OK_HEAD + b"ok")
        assert w.client.sent.startswith(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200") == bool(minor)
        assert w.outcome() == (errors.OK, 200)


def test_a_flood_of_interim_responses_is_refused() -> None:
    w = World()
    upstream = w.connected()
    w.down(b"HTTP/1.1 102 Processing\r\n\r\n" * (INTERIM_LIMIT + 1))
    assert w.outcome() == (errors.UPSTREAM_BAD_RESPONSE, 502)
    assert upstream.was_reset


def test_expectation_and_continue_are_passed_on() -> None:
    w = World(b"POST", 5, expect=True)
    upstream = w.connected()
    assert b"Expect: 100-continue\r\n" in upstream.sent
    w.down(b"HTTP/1.1 100 Continue\r\n\r\n")
    assert w.client.sent == b"HTTP/1.1 100 Continue\r\n\r\n"
    w.up(b"hello")
    w.down(OK_HEAD + b"ok")
    assert w.outcome() == (errors.OK, 200)


def test_a_body_over_the_limit_is_refused_in_the_middle() -> None:
    w = World(b"POST", CHUNKED, body_limit=4)
    upstream = w.connected()
    w.up(b"3\r\nabc\r\n")
    w.up(b"3\r\ndef\r\n")
    assert w.outcome() == (errors.BODY_TOO_LARGE, 413)
    assert upstream.was_reset
    assert w.exchange.linger
    assert b"Connection: close\r\n" in w.client.sent


def test_no_request_is_served_behind_a_refused_body() -> None:
    """What came behind it in the same read is dropped, so the next octets would be taken for the start of a request."""
    w = World(b"POST", CHUNKED, body_limit=4)
    w.connected()
    w.up(b"5\r\nhello\r\n0\r\n\r\nGET /next HTTP/1.1\r\nX: ")
    assert w.outcome() == (errors.BODY_TOO_LARGE, 413)
    assert not w.exchange.keep_open
    assert w.exchange.linger
    assert b"Connection: close\r\n" in w.client.sent


def test_a_malformed_chunk_is_refused_and_the_upstream_never_sees_an_end() -> None:
    w = World(b"POST", CHUNKED)
    upstream = w.connected()
    w.up(b"5\r\nhelloXX0\r\n\r\n")
    assert w.outcome() == (errors.BAD_REQUEST, 400)
    assert upstream.was_reset
    assert not upstream.sent.endswith(b"0\r\n\r\n")


def test_the_own_reply_to_head_has_no_body() -> None:
    w = World(b"HEAD", queue=0, max_connections=0)
    w.start()
    assert w.outcome() == (errors.QUEUE_FULL, 503)
    assert w.client.sent.endswith(b"\r\n\r\n")


def test_a_draining_gateway_says_close() -> None:
    w = World()
    w.connected()
    w.client.last = True
    w.down(OK_HEAD + b"ok")
    assert b"Connection: close\r\n" in w.client.sent
    assert not w.exchange.keep_open


def test_http_1_0_keep_alive_is_confirmed() -> None:
    w = World(minor=0)
    w.connected()
    w.down(OK_HEAD + b"ok")
    assert b"Connection: keep-alive\r\n" in w.client.sent
    assert w.exchange.keep_open


# ── back-pressure ──


def test_a_full_side_pauses_the_other_one() -> None:
    w = World(b"POST", 5)
    upstream = w.connected()
    states = []
    for event in ("upstream_is_full", "upstream_has_room", "client_is_full", "client_has_room"):
        getattr(w.exchange, event)(w.now)
        states.append((w.client.paused, upstream.paused))
    assert states == [(True, False), (False, False), (False, True), (False, False)]


def test_the_answer_is_logged_when_a_slow_client_has_taken_it() -> None:
    w = World()
    upstream = w.connected()
    w.down(OK_HEAD + b"o")
    w.exchange.client_is_full(w.now)
    w.down(b"k")
    assert w.exchange.phase is FLUSHING
    assert w.pool.idle == 1, "the upstream is free already"
    assert not upstream.paused
    assert not w.client.over
    w.exchange.client_has_room(w.now)
    assert w.outcome() == (errors.OK, 200)


# ── the table: every phase with every loss ──


def leasing() -> tuple[World, None]:
    return World(max_connections=0, queue_timeout=1.0).start(), None


def dialing() -> tuple[World, None]:
    return World().start(), None


def awaiting_100() -> tuple[World, FakeUpstream]:
    w = World(b"POST", 5, expect=True)
    return w, w.connected()


def sending() -> tuple[World, FakeUpstream]:
    w = World(b"POST", 5)
    upstream = w.connected()
    w.up(b"he")
    return w, upstream


def awaiting() -> tuple[World, FakeUpstream]:
    w = World(b"POST", 5)
    upstream = w.connected()
    w.up(b"hello")
    return w, upstream


def early() -> tuple[World, FakeUpstream]:
    w, upstream = sending()
    w.down(OK_HEAD + b"o")
    return w, upstream


def relaying() -> tuple[World, FakeUpstream]:
    w = World()
    upstream = w.connected()
    w.down(OK_HEAD + b"o")
    return w, upstream


def flushing() -> tuple[World, None]:
    w, _ = relaying()
    w.exchange.client_is_full(w.now)
    w.down(b"k")
    return w, None


def tunnel(protocol: bytes = b"websocket", until: float = inf) -> tuple[World, FakeUpstream]:
    w = World(upgrade=protocol, tunnel_idle=60.0, tunnel_max_age=100.0, until=until)
    upstream = w.connected()
    w.down(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: %b\r\n\r\n" % protocol)
    w.client.sent = upstream.sent = b""
    return w, upstream


@pytest.mark.parametrize(
    ("make", "phase"),
    [
        (leasing, LEASING),
        (dialing, LEASING),
        (awaiting_100, SENDING),
        (sending, SENDING),
        (awaiting, AWAITING),
        (early, EARLY),
        (relaying, RELAYING),
        (flushing, FLUSHING),
        (tunnel, TUNNEL),
    ],
)
def test_client_lost(make: Make, phase: Phase) -> None:
    w, upstream = make()
    assert w.exchange.phase is phase
    w.exchange.client_lost(w.now)
    assert w.outcome() == (errors.CLIENT_GONE, 101 if phase is TUNNEL else 499)
    if upstream is not None:
        assert upstream.was_reset
        assert w.pool.size == 0


@pytest.mark.parametrize(
    ("make", "reason", "status"),
    [
        (awaiting_100, errors.UPSTREAM_RESET, 502),
        (sending, errors.UPSTREAM_RESET, 502),
        (awaiting, errors.UPSTREAM_RESET, 502),
    ],
)
def test_upstream_lost_before_the_head(make: Make, reason: Reason, status: int) -> None:
    w, _ = make()
    w.exchange.upstream_lost(w.now)
    assert w.outcome() == (reason, status)
    assert status_of(w.client.sent) == status
    assert not w.client.was_reset
    assert w.pool.size == 0


@pytest.mark.parametrize("make", [early, relaying])
@pytest.mark.parametrize("how", ["lost", "eof"])
def test_upstream_lost_after_the_head_cuts_the_client(make: Make, how: str) -> None:
    w, _ = make()
    sent, incomplete = w.client.sent, make is early
    if how == "lost":
        w.exchange.upstream_lost(w.now)
    else:
        w.exchange.upstream_eof(w.now)
    assert w.outcome() == (errors.UPSTREAM_CUT, 200)
    assert not w.client.was_reset
    assert (w.exchange.keep_open, w.exchange.linger) == (False, incomplete)
    assert w.client.sent == sent, "nothing that could pass for an end"


@pytest.mark.parametrize(
    ("minor", "head", "reset"),
    [
        (1, b"HTTP/1.1 200 OK\r\n\r\nabc", False),
        (1, CHUNKED_HEAD + b"3\r\nabc\r\n", False),
        (1, b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc", False),
        (0, b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc", False),
        (0, b"HTTP/1.1 200 OK\r\n\r\nabc", True),
        (0, CHUNKED_HEAD + b"3\r\nabc\r\n", True),
    ],
)
def test_a_cut_is_a_reset_only_where_the_end_would_pass_for_the_bodys(minor: int, head: bytes, reset: bool) -> None:
    w = World(minor=minor)
    w.connected()
    w.down(head)
    w.exchange.upstream_lost(w.now)
    assert w.outcome() == (errors.UPSTREAM_CUT, 200)
    assert w.client.was_reset is reset
    assert not w.exchange.keep_open


def test_upstream_lost_in_a_tunnel_cuts_the_client() -> None:
    w, _ = tunnel()
    w.exchange.upstream_lost(w.now)
    assert w.outcome() == (errors.UPSTREAM_CUT, 101)
    assert w.client.was_reset


def test_a_client_that_has_ended_is_cut_when_the_upstream_was_lost_behind_its_101() -> None:
    """The loop had given the connection up, and the 101 lay in its socket: what the client sent ahead gets nowhere."""
    w = World(upgrade=b"websocket")
    w.connected()
    w.exchange.upstream_ends(refused=True)
    w.down(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
    w.up(b"ahead")
    w.exchange.client_eof(w.now)
    w.exchange.upstream_lost(w.now)
    assert w.outcome() == (errors.UPSTREAM_CUT, 101)
    assert w.client.was_reset


@pytest.mark.parametrize("answer", [b"nonsense\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n"])
def test_a_bad_answer_is_a_502(answer: bytes) -> None:
    w = World()
    upstream = w.connected()
    w.down(answer)
    assert w.outcome() == (errors.UPSTREAM_BAD_RESPONSE, 502)
    assert upstream.was_reset


def test_a_bad_chunk_right_behind_the_head_is_a_502_and_later_a_cut() -> None:
    w = World()
    w.connected()
    w.down(CHUNKED_HEAD + b"zz\r\n")
    assert w.outcome() == (errors.UPSTREAM_BAD_RESPONSE, 502)
    w = World()
    w.connected()
    w.down(CHUNKED_HEAD + b"2\r\nok\r\n")
    w.down(b"zz\r\n")
    assert w.outcome() == (errors.UPSTREAM_CUT, 200)
    assert not w.exchange.keep_open


@pytest.mark.parametrize(
    ("make", "after", "reason", "status", "cut"),
    [
        (leasing, 1.0, errors.QUEUE_TIMEOUT, 503, False),
        (awaiting_100, 5.0, errors.UPSTREAM_TIMEOUT, 504, False),
        (sending, 30.0, errors.BODY_TIMEOUT, 408, False),
        (awaiting, 5.0, errors.UPSTREAM_TIMEOUT, 504, False),
        (early, 60.0, errors.UPSTREAM_CUT, 200, False),
        (relaying, 60.0, errors.UPSTREAM_CUT, 200, False),
        (flushing, 30.0, errors.CLIENT_GONE, 499, True),
        (tunnel, 60.0, errors.TUNNEL_IDLE, 101, False),
    ],
)
def test_deadlines(make: Make, after: float, reason: Reason, status: int, cut: bool) -> None:
    w, upstream = make()
    w.exchange.client_options = ClientOptions(body_rate=0)
    due = w.exchange.expire(w.now)
    assert due == w.now + after
    w.passes(after - 0.001)
    assert not w.client.over
    w.passes(0.001)
    assert w.outcome() == (reason, status)
    assert w.client.was_reset == cut
    if upstream is not None:
        assert upstream.was_reset


def test_a_tunnel_has_a_maximum_age() -> None:
    w, _ = tunnel()
    for _ in range(4):
        w.passes(25.0)
        if not w.client.over:
            w.down(b"x")
    assert w.outcome() == (errors.TUNNEL_MAX_AGE, 101)


def test_the_age_of_a_tunnel_ends_it_however_busy_it_is() -> None:
    w, _ = tunnel()
    w.client.backlog = 1000
    w.exchange.client_is_full(w.now)
    for _ in range(4):
        w.client.backlog -= 100
        w.passes(25.0)
    assert w.outcome() == (errors.TUNNEL_MAX_AGE, 101)


def test_the_queue_arms_its_own_deadline() -> None:
    w, _ = leasing()
    assert w.client.armed == [w.now + 1.0]


def test_a_503_says_when_to_come_back() -> None:
    w, _ = leasing()
    w.passes(1.0)
    assert b"Retry-After: 1\r\n" in w.client.sent


@pytest.mark.parametrize("reason", [errors.UPSTREAM_CONNECT_FAILED, errors.UPSTREAM_TIMEOUT])
def test_a_failed_dial_is_told(reason: Reason) -> None:
    w, _ = dialing()
    w.pool.dial_failed(w.dials.pop(), reason, w.now)
    assert w.outcome() == (reason, reason.status)
    assert w.exchange.keep_open


def test_no_deadline_runs_against_an_upstream_that_we_paused() -> None:
    w, _ = relaying()
    w.client.backlog = 1_000_000
    w.exchange.client_is_full(w.now)
    for _ in range(10):
        w.client.backlog -= 29 * 240
        w.passes(29.0)
    assert not w.client.over, "slow, but it takes enough"
    w.passes(30.0)
    assert w.outcome() == (errors.CLIENT_GONE, 499)


def test_a_client_that_takes_next_to_nothing_is_cut() -> None:
    w, _ = relaying()
    w.client.backlog = 1_000_000
    w.exchange.client_is_full(w.now)
    w.client.backlog -= 30 * 240 - 1
    w.passes(30.0)
    assert w.outcome() == (errors.CLIENT_GONE, 499)


def test_the_rate_of_a_client_counts_from_when_it_was_full() -> None:
    """One large lump says that it is there; what it takes afterwards may be little, but not nothing."""
    w, _ = relaying()
    w.client.backlog = 1_000_000
    w.exchange.client_is_full(w.now)
    for taken in (90 * 240, 1, 1):
        w.client.backlog -= taken
        w.passes(30.0)
        assert not w.client.over
    w.client.backlog -= 1
    w.passes(30.0)
    assert w.outcome() == (errors.CLIENT_GONE, 499)


def test_a_tunnel_may_be_as_slow_as_it_likes() -> None:
    w, _ = tunnel()
    w.client.backlog = 1000
    w.exchange.client_is_full(w.now)
    w.client.backlog -= 1
    w.passes(60.0)
    assert not w.client.over


def test_an_upstream_that_still_takes_the_request_is_not_late() -> None:
    w = World(b"POST", 1000, idle_timeout=20.0)
    upstream = w.connected()
    w.up(bytes(1000))
    for left in (900, 500, 500, 500, 400, 0):
        upstream.backlog = left
        w.passes(5.0)
        assert not w.client.over, left
    w.passes(4.9)
    assert not w.client.over
    w.passes(0.1)
    assert w.outcome() == (errors.UPSTREAM_TIMEOUT, 504)


def test_an_upstream_that_stops_taking_the_request_is_late() -> None:
    w = World(b"POST", 1000, idle_timeout=20.0)
    upstream = w.connected()
    w.up(bytes(1000))
    upstream.backlog = 500
    for _ in range(4):
        w.passes(5.0)
        assert not w.client.over
    w.passes(5.0)
    assert w.outcome() == (errors.UPSTREAM_TIMEOUT, 504)


def test_an_upstream_that_has_taken_nothing_is_late_at_once() -> None:
    w = World(b"POST", 1000)
    upstream = w.connected()
    w.up(bytes(1000))
    upstream.backlog = 1100
    w.passes(5.0)
    assert w.outcome() == (errors.UPSTREAM_TIMEOUT, 504)


def test_a_full_upstream_is_waited_for_as_long_as_it_takes_some() -> None:
    w, upstream = sending()
    upstream.backlog = 1000
    w.exchange.upstream_is_full(w.now)
    w.passes(59.0)
    upstream.backlog = 500
    w.passes(1.0)
    assert not w.client.over
    w.passes(60.0)
    assert w.outcome() == (errors.UPSTREAM_TIMEOUT, 504)


def test_a_client_that_trickles_is_refused_and_one_above_the_rate_is_not() -> None:
    for octets, refused in ((239, True), (240, False)):
        w = World(b"POST", 100_000, body_limit=100_000, client=ClientOptions(body_rate=240))
        w.connected()
        for _ in range(10):
            w.up(b"x" * octets)
            w.now += 1.0
        w.exchange.expire(w.now)
        assert bool(w.client.over) == refused
    assert w.exchange.expire(w.now) == w.now + RATE_SPAN


def test_the_rate_is_counted_anew_once_the_response_is_whole() -> None:
    w, _ = sending()
    w.passes(6.0)
    w.down(OK_HEAD + b"ok")
    assert w.exchange.phase is UPLOADING
    assert w.exchange.expire(w.now) == w.now + RATE_SPAN


def test_the_rate_is_not_counted_while_we_do_not_read() -> None:
    w = World(b"POST", 100_000, body_limit=100_000)
    w.connected()
    w.passes(9.0)
    w.exchange.upstream_is_full(w.now)
    w.passes(20.0)
    w.exchange.upstream_has_room(w.now)
    w.passes(9.0)
    assert not w.client.over
    w.passes(1.0)
    assert w.outcome() == (errors.BODY_TIMEOUT, 408)


@pytest.mark.parametrize("out", [False, True])
def test_the_total_timeout_ends_what_still_moves(out: bool) -> None:
    w = World(total_timeout=10.0)
    w.connected()
    if out:
        w.down(CHUNKED_HEAD)
    for _ in range(9):
        w.passes(1.0)
        w.down(b"1\r\nx\r\n" if out else b"HTTP/1.1 102 Processing\r\n\r\n")
    w.passes(1.0)
    assert w.outcome() == ((errors.UPSTREAM_CUT, 200) if out else (errors.UPSTREAM_TIMEOUT, 504))


def test_a_routes_response_timeout_replaces_the_upstreams() -> None:
    w = World(response_timeout=20.0)
    w.connected()
    w.passes(19.0)
    assert not w.client.over
    w.passes(1.0)
    assert w.outcome() == (errors.UPSTREAM_TIMEOUT, 504)


def test_a_slow_head_and_interim_heads_do_not_stretch_the_timeout() -> None:
    w = World()
    w.connected()
    for octet in b"HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 2":
        w.down(bytes((octet,)))
        w.passes(0.1)
    assert not w.client.over
    w.now = 105.0
    w.exchange.expire(w.now)
    assert w.outcome() == (errors.UPSTREAM_TIMEOUT, 504)


def test_after_a_100_the_client_has_its_whole_time() -> None:
    w = World(b"POST", 5, expect=True, client=ClientOptions(body_rate=0))
    w.connected()
    w.now += 4.0
    w.down(b"HTTP/1.1 100 Continue\r\n\r\n")
    w.passes(29.0)
    assert not w.client.over
    w.passes(1.0)
    assert w.outcome() == (errors.BODY_TIMEOUT, 408)


@pytest.mark.parametrize(("octets", "told"), [(LARGE_BODY - 1, False), (LARGE_BODY, True)])
def test_a_client_is_told_of_a_large_body(octets: int, told: bool) -> None:
    w = World(b"POST", octets, body_limit=LARGE_BODY)
    w.connected()
    assert w.client.expects_large_body is told


# ── retry ──


@pytest.mark.parametrize(
    ("method", "body", "unrepeatable"),
    [(b"GET", 0, False), (b"DELETE", 0, False), (b"PUT", 5, True), (b"POST", 0, True)],
)
def test_a_request_that_cannot_be_retried_gets_no_ended_connection(
    method: bytes, body: int, unrepeatable: bool
) -> None:
    before = World()
    upstream = before.connected()
    before.down(OK_HEAD + b"ok")
    upstream.stale = True
    World(method, body, pool=before.pool).start()
    assert upstream.closed is unrepeatable
    assert len(before.dials) == unrepeatable


def test_a_request_on_a_dead_idle_connection_is_sent_again_once() -> None:
    w = World()
    first = w.connected(reused=True)
    w.exchange.upstream_eof(w.now)
    assert first.was_reset
    assert w.exchange.phase is LEASING
    assert not w.client.over
    second = w.port(reused=True)
    w.pool.dialed(w.dials.pop(), second, w.now)
    assert second.sent.startswith(b"GET /x")
    w.exchange.upstream_lost(w.now)
    assert w.outcome() == (errors.UPSTREAM_RESET, 502), "only once"


def test_a_body_that_was_not_touched_allows_the_retry() -> None:
    w = World(b"PUT", 5, expect=True)
    w.connected(reused=True)
    w.exchange.upstream_lost(w.now)
    second = w.port()
    w.pool.dialed(w.dials.pop(), second, w.now)
    w.up(b"hello")
    w.down(OK_HEAD + b"ok")
    assert w.outcome() == (errors.OK, 200)
    assert second.sent.endswith(b"hello")


def test_at_the_limit_a_retry_gets_a_new_connection_too() -> None:
    w = World(max_connections=1)
    w.connected(reused=True)
    other = World(pool=w.pool).start()
    assert w.pool.queued(other.first)
    w.exchange.upstream_lost(w.now)
    assert w.dials == [w.first], "it keeps its slot"
    new = w.port()
    w.pool.dialed(w.dials.pop(), new, w.now)
    w.down(OK_HEAD + b"ok")
    assert w.outcome() == (errors.OK, 200)
    assert new.sent.count(b"GET /x") == 2, "and the next in the queue comes after it"


def two(dials: list[Lessee]) -> Pool:
    """A pool with two targets."""
    return Pool(
        UpstreamOptions(name="u", places=(Place(host="a", port=1), Place(host="b", port=2))),
        lambda _, lessee: dials.append(lessee),
    )


@pytest.mark.parametrize("how", ["lost", "eof"])
@pytest.mark.parametrize(("method", "again"), [(b"GET", True), (b"PUT", True), (b"POST", False)])
def test_a_target_that_closes_a_new_connection_without_a_word_has_failed(how: str, method: bytes, again: bool) -> None:
    dials: list[Lessee] = []
    w = World(method, pool=two(dials)).start()
    w.pool.dialed(dials.pop(), w.port(0), w.now)
    w.exchange.upstream_lost(w.now) if how == "lost" else w.exchange.upstream_eof(w.now)
    assert w.pool.endpoints.is_only(w.pool.endpoints.all[1], ANY_ADDRESS, w.now), "it is tried last"
    assert bool(dials) is again
    if not again:
        assert w.outcome() == (errors.UPSTREAM_RESET, 502)
        return
    w.pool.dialed(dials.pop(), w.port(1), w.now)
    w.exchange.upstream_lost(w.now)
    assert w.outcome() == (errors.UPSTREAM_RESET, 502), "the next target once"
    assert not dials


@pytest.mark.parametrize("said", [b"HTT", b""])
def test_a_mute_target_has_failed_with_a_body_and_without(said: bytes) -> None:
    dials: list[Lessee] = []
    w = World(b"PUT", 5, pool=two(dials)).start()
    w.pool.dialed(dials.pop(), w.port(0), w.now)
    w.up(b"h")
    if said:
        w.down(said)
    w.exchange.upstream_lost(w.now)
    assert w.pool.endpoints.is_only(w.pool.endpoints.all[1], ANY_ADDRESS, w.now) is (not said)
    assert w.outcome() == (errors.UPSTREAM_RESET, 502)
    assert not dials


def test_a_mute_address_is_left_out_until_it_responds() -> None:
    dials: list[Lessee] = []
    one = UpstreamOptions(name="u", places=(Place(host="a", port=1),))
    w = World(pool=Pool(one, lambda _, lessee: dials.append(lessee))).start()
    endpoint, addresses = w.pool.endpoints.all[0], ("10.0.0.1", "10.0.0.2")
    w.pool.endpoints.addresses(endpoint, 0, addresses, w.now)
    for address in addresses:
        w.pool.dialed(dials.pop(), FakeUpstream(endpoint, address=address), w.now)
        w.exchange.upstream_lost(w.now)
    assert w.outcome() == (errors.UPSTREAM_RESET, 502), "the next address once"
    assert not dials
    assert w.pool.endpoints.is_only(endpoint, addresses[0], w.now)
    w = World(pool=w.pool).start()
    w.pool.dialed(dials.pop(), FakeUpstream(endpoint, address=addresses[0]), w.now)
    assert w.pool.endpoints.is_only(endpoint, addresses[1], w.now), "that it accepts says nothing"
    w.down(OK_HEAD + b"ok")
    assert not w.pool.endpoints.is_only(endpoint, addresses[1], w.now)


def at_rest(w: World, *since: float) -> list[FakeUpstream]:
    """More connections of the same pool, idle since then."""
    ports = [w.port(reused=True) for _ in since]
    for port in ports:
        World(pool=w.pool).start()
        w.pool.dialed(w.dials.pop(), port, w.now)
    for port, rested in zip(ports, since, strict=True):
        w.pool.done(port, errors.OK, 200, 0.1, rested, keep=True)
    return ports


@pytest.mark.parametrize("reused", [False, True])
@pytest.mark.parametrize("begun", [False, True])
def test_silence_on_a_reused_connection_closes_those_idle_as_long(reused: bool, begun: bool) -> None:
    w = World(idle_timeout=5.0)
    w.connected(reused=reused)
    old, young = at_rest(w, w.now - 1.0, w.now + 1.0)
    if begun:
        w.down(OK_HEAD)
    w.passes(5.0)
    assert w.outcome()[0] is (errors.UPSTREAM_CUT if begun else errors.UPSTREAM_TIMEOUT)
    assert (old.closed, young.closed) == (reused, False)


@pytest.mark.parametrize("late", ["the client", "everybody"])
def test_idle_connections_stay_when_it_is_not_the_upstream_that_is_silent(late: str) -> None:
    w = World(total_timeout=40.0 if late == "everybody" else None)
    w.connected(reused=True)
    (old,) = at_rest(w, w.now - 1.0)
    w.down(CHUNKED_HEAD)
    if late == "the client":
        w.exchange.client_is_full(w.now)
    w.passes(40.0)
    assert w.client.over
    assert not old.closed


@pytest.mark.parametrize("why_not", ["new connection", "not idempotent", "body begun", "response begun"])
def test_no_retry_when(why_not: str) -> None:
    method, body = {"not idempotent": (b"POST", 0), "body begun": (b"PUT", 5)}.get(why_not, (b"GET", 0))
    w = World(method, body)
    w.connected(reused=why_not != "new connection")
    if why_not == "body begun":
        w.up(b"h")
    if why_not == "response begun":
        w.down(b"HTT")
    w.exchange.upstream_lost(w.now)
    assert w.outcome() == (errors.UPSTREAM_RESET, 502)


@pytest.mark.parametrize(
    ("used", "up", "down", "how", "detail"),
    [
        (False, b"hello", b"", CLOSED, "It closed a new connection without a word."),
        (True, b"hello", b"", CLOSED, "It closed a used connection without a word."),
        (True, b"hello", b"", RESET, "It reset a used connection without a word."),
        (False, b"hello", b"", LOST, "The network lost a new connection without a word."),
        (False, b"he", b"", RESET, "It reset a new connection without a word, before it had the whole request."),
        (False, b"hello", b"HT", CLOSED, "It closed the connection within the head of its response."),
        (True, b"he", b"HT", RESET, "It reset the connection within the head of its response."),
        (True, b"hello", CONTINUE, CLOSED, "It closed the connection behind an interim response (1xx)."),
        (True, b"hello", CONTINUE + b"H", CLOSED, "It closed the connection within the head of its response."),
    ],
)
def test_the_log_tells_how_a_connection_was_lost_and_the_client_is_told_that_it_was(
    used: bool, up: bytes, down: bytes, how: str, detail: str
) -> None:
    w = World(b"POST", 5)
    w.connected(reused=used)
    w.up(up)
    if down:
        w.down(down)
    w.exchange.upstream_lost(w.now, how)
    assert w.outcome() == (errors.UPSTREAM_RESET, 502)
    assert w.exchange.detail == detail
    assert detail.encode() not in w.client.sent
    assert errors.UPSTREAM_RESET.detail.encode() in w.client.sent


# ── answered early ──


def test_both_ways_go_on_after_an_early_head() -> None:
    w, upstream = sending()
    w.down(CHUNKED_HEAD + b"1\r\na\r\n")
    assert w.exchange.phase is EARLY
    assert w.up(b"l") == b""
    assert upstream.sent.endswith(b"hel")
    w.down(b"1\r\nb\r\n")
    assert w.up(b"loGET /2") == b"GET /2"
    assert w.exchange.phase is RELAYING
    w.down(b"0\r\n\r\n")
    assert w.outcome() == (errors.OK, 200)
    assert upstream.sent.endswith(b"hello")
    assert upstream.closed
    assert not w.exchange.keep_open
    assert w.exchange.detail == ""


def uploading() -> tuple[World, FakeUpstream]:
    """The response is whole; three of five octets are still to come."""
    w, upstream = sending()
    w.down(b"HTTP/1.1 202 Accepted\r\nContent-Length: 2\r\n\r\nok")
    assert w.exchange.phase is UPLOADING
    assert b"Connection: close\r\n" in w.client.sent
    return w, upstream


@pytest.mark.parametrize("backlog", [0, 10])
def test_the_body_goes_on_after_the_whole_response(backlog: int) -> None:
    w, upstream = uploading()
    upstream.backlog = backlog
    assert w.up(b"lloGET /2") == b"", "the connection ends here"
    if backlog:
        assert upstream.drained
        assert not w.client.over
        upstream.backlog = 0
        w.exchange.upstream_has_room(w.now)
    assert w.outcome() == (errors.OK, 202)
    assert upstream.sent.endswith(b"hello")
    assert (upstream.closed, upstream.was_reset) == (True, False)
    assert (w.exchange.keep_open, w.exchange.linger, w.exchange.detail) == (False, True, "")
    assert w.pool.size == 0


def test_the_end_of_the_body_is_written_to_a_connection_that_does_not_take_it() -> None:
    w, upstream = uploading()
    upstream.failed = True
    w.up(b"llo")
    assert not w.client.over, "it is about to be told how that ended"
    w.exchange.upstream_ends(refused=True)
    w.exchange.upstream_lost(w.now)
    assert w.outcome() == (errors.OK, 202)
    assert w.exchange.detail == NOT_TAKEN


def test_a_held_body_goes_on_after_the_whole_response() -> None:
    w, upstream = awaiting()
    upstream.backlog = 10
    w.exchange.upstream_is_full(w.now)
    w.down(OK_HEAD + b"ok")
    assert w.exchange.phase is UPLOADING
    assert upstream.drained
    upstream.backlog = 0
    w.exchange.upstream_has_room(w.now)
    assert w.outcome() == (errors.OK, 200)
    assert (upstream.closed, upstream.was_reset, w.exchange.keep_open) == (True, False, True)


ENDINGS: dict[str, tuple[Callable[[World], object], Reason, str]] = {
    "the service resets": (lambda w: w.exchange.upstream_lost(w.now), errors.OK, NOT_TAKEN),
    "the service ends": (lambda w: w.exchange.upstream_eof(w.now), errors.OK, NOT_TAKEN),
    "the service says more": (lambda w: w.down(b"HTTP"), errors.OK, NOT_TAKEN),
    "the client leaves": (lambda w: w.exchange.client_lost(w.now), errors.OK, NOT_SENT),
    "the client ends": (lambda w: w.exchange.client_eof(w.now), errors.OK, NOT_SENT),
    "the client falls silent": (lambda w: w.passes(30.0), errors.OK, NOT_SENT),
    "the gateway ends": (lambda w: w.exchange.give_up(errors.DRAINING, w.now), errors.OK, NOT_TAKEN),
    "others wait": (lambda w: w.first.make_way(w.now), errors.OK, MADE_WAY),
}


@pytest.mark.parametrize("how", ENDINGS)
@pytest.mark.parametrize("full", [False, True])
def test_the_log_says_when_the_rest_of_the_body_did_not_go(how: str, full: bool) -> None:
    deed, reason, detail = ENDINGS[how]
    w, upstream = uploading()
    sent = w.client.sent
    if full and how == "the client falls silent":
        w.exchange.upstream_is_full(w.now)
        w.passes(REST_TIMEOUT)  # then it is not the client that is waited for
        detail = NOT_TAKEN
    deed(w)
    assert w.outcome() == (reason, 202)
    assert w.exchange.detail == detail
    assert upstream.was_reset
    assert (w.client.was_reset, w.client.sent) == (False, sent), "the response was whole"
    assert (w.exchange.keep_open, w.exchange.linger) == (False, True)
    assert w.pool.size == 0


def test_a_service_that_takes_the_rest_slowly_is_waited_for() -> None:
    w, upstream = uploading()
    upstream.backlog = 100
    w.exchange.upstream_is_full(w.now)
    for left in (90, 80, 70):
        upstream.backlog = left
        w.passes(REST_TIMEOUT)
        assert not w.client.over
    w.passes(REST_TIMEOUT)
    assert w.outcome() == (errors.OK, 202)
    assert w.exchange.detail == NOT_TAKEN


def test_what_is_wrong_with_the_rest_of_the_body_is_the_reason() -> None:
    w = World(b"POST", CHUNKED, body_limit=4)
    w.connected()
    w.up(b"2\r\nhe\r\n")
    w.down(OK_HEAD + b"ok")
    w.up(b"3\r\nllo\r\n")
    assert w.outcome() == (errors.BODY_TOO_LARGE, 200)
    assert w.exchange.detail
    assert not w.client.was_reset


def test_a_reader_that_sends_first_is_waited_for() -> None:
    w, _ = sending()
    w.down(OK_HEAD)
    w.exchange.client_is_full(w.now)
    w.down(b"ok")
    assert w.exchange.phase is UPLOADING
    w.passes(29.0)
    w.up(b"l")
    w.passes(29.0)
    assert not w.client.over
    w.up(b"lo")
    assert w.exchange.phase is FLUSHING
    w.exchange.client_has_room(w.now)
    assert w.outcome() == (errors.OK, 200)


def test_an_answer_to_the_expectation_ends_the_request() -> None:
    w, upstream = awaiting_100()
    w.down(b"HTTP/1.1 417 No\r\nContent-Length: 2\r\n\r\nno")
    assert w.outcome() == (errors.OK, 417)
    assert (w.exchange.wants_body, w.exchange.linger, w.exchange.keep_open) == (False, True, False)
    assert upstream.closed
    assert w.exchange.detail == ""


# ── how long the client was waited for ──


@pytest.mark.parametrize("used", [False, True])
@pytest.mark.parametrize(
    ("deeds", "waited"),
    [
        ([], 0.0),
        (["hello", "answer"], 0.0),
        (["hello", 5, "answer"], 0.0),
        ([2, "hello", "answer"], 2.0),
        (["he", 1, "l", 2, "lo", 5, "answer"], 3.0),
        (["he", "upstream_is_full", 3, "upstream_has_room", 1, "llo", "answer"], 1.0),
        (["hello", "upstream_is_full", 3, "upstream_has_room", "answer"], 0.0),
        (["hello", "half", "client_is_full", 4, "client_has_room", 2, "rest"], 4.0),
        (["hello", "half", "client_is_full", 1, "rest", 3, "client_has_room"], 4.0),
        ([1, "hello", 5, "half", "client_is_full", 2, "client_has_room", "rest"], 3.0),
        (["he", 1, "half", 2, "rest", 3, "llo"], 6.0),
        (["he", "half", 2, "llo", 3, "rest"], 2.0),
        (["he", "answer", 1, "upstream_is_full", 3, "l", "upstream_has_room", "lo"], 1.0),
        (["he", "half", "client_is_full", 1, "rest", 2, "llo", 3, "client_has_room"], 6.0),
        (["he", "answer", 2, "client_lost"], 2.0),
        (["he", 2, "client_lost"], 2.0),
        (["he", 1, "answer and more"], 1.0),
        (["hello", 3, "client_lost"], 0.0),
        (["hello", "half", 2, "client_is_full", 3, "client_lost"], 3.0),
        (["hello", "half", "client_is_full", "rest", 3, "client_lost"], 3.0),
        (["he", 2, "upstream_lost"], 2.0),
        ([2, "hello", 5, "upstream_lost"], 2.0),
    ],
)
def test_the_client_s_time_is_counted_while_it_is_waited_for(
    deeds: list[str | float], waited: float, used: bool
) -> None:
    w = World(b"POST", 5)
    w.connected(reused=used)
    play(w, deeds)
    assert w.exchange.client_waited == waited
    assert bool(w.client.over) is bool(deeds)


@pytest.mark.parametrize(
    ("deeds", "waited"),
    [
        ([3, "continue", 2, "hello", "answer"], 2.0),
        ([3, "he", 2, "llo", 1, "answer"], 2.0),
        ([3, "he", 2, "continue", 1, "llo", "answer"], 3.0),
        ([3, "answer"], 0.0),
        ([3, "client_lost"], 0.0),
    ],
)
def test_a_client_that_waits_for_a_100_is_not_waited_for(deeds: list[str | float], waited: float) -> None:
    w = World(b"POST", 5, expect=True)
    w.connected()
    play(w, deeds)
    w.outcome()
    assert w.exchange.client_waited == waited


def test_the_time_goes_on_where_a_request_is_sent_again() -> None:
    w = World(b"PUT", 5)
    w.connected(reused=True)
    play(w, [2, "upstream_lost", 7])
    w.pool.dialed(w.dials.pop(), w.port(), w.now)
    play(w, [1, "hello", 4, "answer"])
    w.outcome()
    assert w.exchange.client_waited == 3.0


def test_a_tunnel_waits_for_a_client_that_does_not_take_its_octets() -> None:
    w, _ = tunnel()
    play(w, [2, "client_is_full", 3, "client_has_room", 4, "client_is_full", 5])
    w.exchange.upstream_eof(w.now)
    w.exchange.client_eof(w.now)
    assert w.outcome() == (errors.OK, 101)
    assert w.exchange.client_waited == 8.0


def play(w: World, deeds: list[str | float]) -> None:
    """Numbers are seconds that pass; of the rest, what is no deed is octets from the client."""
    octets = {"answer": OK_HEAD + b"ok", "half": OK_HEAD + b"o", "rest": b"k", "continue": CONTINUE}
    octets["answer and more"] = octets["answer"] + b"more"
    for deed in deeds:
        if not isinstance(deed, str):
            w.now += deed
        elif deed in octets:
            w.down(octets[deed])
        elif "_" in deed:
            getattr(w.exchange, deed)(w.now)
        else:
            w.up(deed.encode())


# ── tunnels ──


def test_a_tunnel_passes_octets_both_ways_and_half_closes() -> None:
    w = World(upgrade=b"websocket")
    upstream = w.connected()
    assert upstream.sent.endswith(b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
    w.down(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: WebSocket\r\n\r\nfirst")
    assert w.client.sent.endswith(b"\r\n\r\nfirst")
    assert b"Upgrade: WebSocket\r\n" in w.client.sent
    w.up(b"ping")
    w.down(b"pong")
    assert upstream.sent.endswith(b"ping")
    assert w.client.sent.endswith(b"pong")
    w.exchange.client_eof(w.now)
    assert upstream.eof_sent
    assert not w.client.over
    w.down(b"more")
    w.exchange.upstream_eof(w.now)
    assert w.client.eof_sent
    assert w.outcome() == (errors.OK, 101)
    assert (w.exchange.bytes_in, w.exchange.bytes_out) == (4, 13)
    assert not w.exchange.keep_open
    assert w.pool.size == 0


FRAME = b"\x82\x02ab"
MASKED = b"\x82\x82\0\0\0\0ab"


def closes(sent: bytes) -> int:
    """The code of the close frame that is all that was sent; 0: nothing was."""
    if not sent:
        return 0
    at = 6 if sent[1] & 0x80 else 2
    key = sent[2:at] or bytes(4)
    assert sent[0] == 0x88
    assert len(sent) == at + (sent[1] & 0x7F)
    return int.from_bytes(bytes((sent[at] ^ key[0], sent[at + 1] ^ key[1])), "big")


@pytest.mark.parametrize("up", [b"", MASKED, MASKED[:7]])
@pytest.mark.parametrize("down", [b"", FRAME, FRAME[:1], FRAME[:3], b"\x88\x00"])
def test_a_tunnel_ends_when_its_credential_does(up: bytes, down: bytes) -> None:
    """A close frame for each side whose stream stands between frames, never within one."""
    w, upstream = tunnel(until=130.0)
    if up:
        w.up(up)
    if down:
        w.down(down)
    w.client.sent = upstream.sent = b""
    (due,) = w.client.armed
    assert 127.0 <= due <= 130.0
    w.passes(due - w.now - 0.01)
    assert w.client.over == []
    w.passes(0.02)
    assert w.outcome() == (errors.TUNNEL_EXPIRED, 101)
    assert closes(w.client.sent) == (1008 if down in {b"", FRAME} else 0)
    assert closes(upstream.sent) == (1008 if up != MASKED[:7] else 0)
    assert upstream.sent == b"" or upstream.sent[1] & 0x80
    assert (upstream.closed, upstream.was_reset) == (bool(upstream.sent), not upstream.sent)
    assert (w.exchange.linger, w.exchange.keep_open) == (bool(w.client.sent), False)


def test_a_tunnel_of_another_protocol_just_ends_with_its_credential() -> None:
    w, upstream = tunnel(b"other", until=130.0)
    w.passes(30.0)
    assert w.outcome() == (errors.TUNNEL_EXPIRED, 101)
    assert (w.client.sent, upstream.sent, upstream.was_reset) == (b"", b"", True)


def test_a_credential_that_is_over_ends_its_tunnel_at_once() -> None:
    w, _ = tunnel(until=99.0)
    w.passes(0.0)
    assert w.outcome() == (errors.TUNNEL_EXPIRED, 101)


def test_nothing_is_written_behind_a_half_close() -> None:
    w, upstream = tunnel(until=130.0)
    w.exchange.upstream_eof(w.now)
    w.passes(30.0)
    assert (w.client.sent, closes(upstream.sent)) == (b"", 1008)
    w, upstream = tunnel(until=130.0)
    w.exchange.client_eof(w.now)
    w.passes(30.0)
    assert (closes(w.client.sent), upstream.sent) == (1008, b"")


def test_a_drain_ends_websockets_one_by_one() -> None:
    w, upstream = tunnel()
    w.exchange.end_soon(errors.DRAINING, 8.0, w.now)
    (due,) = w.client.armed
    assert w.now < due <= w.now + 8.0
    w.passes(8.0)
    assert w.outcome() == (errors.DRAINING, 101)
    assert (closes(w.client.sent), closes(upstream.sent)) == (1001, 1001)


@pytest.mark.parametrize("protocol", [b"websocket", b"other"])
def test_a_tunnel_that_would_not_be_let_in_now_ends(protocol: bytes) -> None:
    w, upstream = tunnel(protocol)
    w.exchange.end_soon(errors.TUNNEL_OUTDATED, 8.0, w.now)
    (due,) = w.client.armed
    assert w.now < due <= w.now + 8.0
    w.passes(8.0)
    assert w.outcome() == (errors.TUNNEL_OUTDATED, 101)
    code = 1012 if protocol == b"websocket" else 0
    assert (closes(w.client.sent), closes(upstream.sent)) == (code, code)


def test_a_request_is_not_outdated() -> None:
    w, _ = sending()
    w.exchange.end_soon(errors.TUNNEL_OUTDATED, 0.0, w.now)
    w.passes(0.0)
    assert w.client.over == []


def test_a_drain_waits_for_the_end_of_a_frame() -> None:
    w, _ = tunnel()
    w.down(FRAME[:3])
    w.client.sent = b""
    w.exchange.end_soon(errors.DRAINING, 8.0, w.now)
    w.passes(8.0)
    assert w.client.over == []
    w.down(FRAME[3:])
    w.client.sent = b""
    w.exchange.give_up(errors.DRAINING, w.now)
    assert closes(w.client.sent) == 1001


def test_a_drain_leaves_other_tunnels_and_requests_alone() -> None:
    for w in (tunnel(b"other")[0], sending()[0]):
        w.exchange.end_soon(errors.DRAINING, 8.0, w.now)
        assert w.client.over == []
    w, _ = tunnel(until=101.0)
    w.exchange.end_soon(errors.DRAINING, 1000.0, w.now)
    w.passes(1.0)
    assert w.outcome() == (errors.TUNNEL_EXPIRED, 101)


def test_a_tunnel_that_is_given_up_within_a_frame_is_reset_on_both_sides() -> None:
    w, upstream = tunnel()
    w.down(b"\x82")
    w.exchange.give_up(errors.DRAINING, w.now)
    assert w.outcome() == (errors.DRAINING, 101)
    assert (w.client.was_reset, upstream.was_reset) == (True, True)


def test_a_tunnel_does_not_hold_a_slot_of_the_pool() -> None:
    w, _ = tunnel()
    assert (w.pool.size, w.pool.tunnels) == (0, 1)
    w.exchange.client_lost(w.now)
    assert w.pool.tunnels == 0


def test_an_upgrade_needs_a_place_among_the_tunnels() -> None:
    w = World(upgrade=b"websocket", max_tunnels=0).start()
    assert w.outcome() == (errors.QUEUE_FULL, 503)
    assert b"Retry-After: 1\r\n" in w.client.sent
    assert w.dials == []


def test_an_upgrade_that_is_refused_frees_its_place() -> None:
    w = World(upgrade=b"websocket", max_tunnels=1)
    w.connected()
    assert w.pool.tunnels == 1
    w.down(OK_HEAD + b"ok")
    assert w.outcome() == (errors.OK, 200)
    assert w.pool.tunnels == 0


def test_anything_but_101_is_an_ordinary_answer_to_an_upgrade() -> None:
    w = World(upgrade=b"websocket")
    w.connected()
    w.down(b"HTTP/1.1 426 Upgrade Required\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nContent-Length: 0\r\n\r\n")
    assert w.outcome() == (errors.OK, 426)
    assert b"Upgrade: websocket\r\n" in w.client.sent


@pytest.mark.parametrize("offered", [b"", b"other"])
def test_101_unasked_is_a_bad_answer(offered: bytes) -> None:
    w = World(upgrade=offered)
    w.connected()
    w.down(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
    assert w.outcome() == (errors.UPSTREAM_BAD_RESPONSE, 502)


# ── half-close ──


def test_fin_after_a_whole_request_is_a_half_close() -> None:
    w, _ = awaiting()
    w.exchange.client_eof(w.now)
    w.down(OK_HEAD + b"ok")
    assert w.outcome() == (errors.OK, 200)


def test_fin_inside_a_request_is_a_loss() -> None:
    w, upstream = sending()
    w.exchange.client_eof(w.now)
    assert w.outcome() == (errors.CLIENT_GONE, 499)
    assert upstream.was_reset


@pytest.mark.parametrize(
    ("make", "gone"),
    [
        (leasing, True),
        (dialing, True),
        (awaiting_100, True),
        (sending, True),
        (awaiting, True),
        (early, True),
        (uploading, False),
        (relaying, True),
        (flushing, False),
        (tunnel, False),
    ],
)
@pytest.mark.parametrize("half_close", [False, True])
def test_fin_from_a_client_that_is_served_means_that_it_is_gone(make: Make, gone: bool, half_close: bool) -> None:
    w, upstream = make()
    w.exchange.client_options = ClientOptions(half_close=half_close)
    begun = w.exchange.status != 0
    assert w.exchange.client_fin(w.now) is (gone and not half_close)
    if half_close or not gone:
        assert not w.client.over
        return
    assert w.outcome() == (errors.CLIENT_GONE, 499)
    assert w.client.was_reset is begun
    assert not w.exchange.keep_open
    if upstream is not None:
        assert upstream.was_reset
    assert not w.pool.queued(w.first)


# ── what came before a loss ──


@pytest.mark.parametrize("length", [2, 5])
def test_what_had_come_before_the_loss_is_relayed(length: int) -> None:
    w, _ = sending()
    w.exchange.upstream_ends()
    w.down(b"HTTP/1.1 413 No\r\nContent-Length: %d\r\n\r\nno" % length)
    w.exchange.upstream_lost(w.now)
    assert status_of(w.client.sent) == 413
    assert w.outcome() == (errors.OK if length == 2 else errors.UPSTREAM_CUT, 413)
    assert w.exchange.linger


@pytest.mark.parametrize("refused", [True, False])
def test_the_last_octets_of_a_body_went_to_a_connection_that_was_gone(refused: bool) -> None:
    w, _ = sending()
    w.up(b"llo")
    w.exchange.upstream_ends(refused)
    w.down(b"HTTP/1.1 413 No\r\nContent-Length: 2\r\n\r\nno")
    assert w.outcome() == (errors.OK, 413)
    assert w.exchange.detail == (NOT_TAKEN if refused else "")


def test_a_connection_that_is_lost_behind_its_answer_is_not_used_again() -> None:
    w = World()
    w.connected()
    w.exchange.upstream_ends()
    w.down(OK_HEAD + b"ok")
    assert w.outcome() == (errors.OK, 200)
    assert w.pool.size == 0


def test_a_lost_connection_does_not_spoil_the_one_after_it() -> None:
    w = World()
    w.connected(reused=True)
    w.exchange.upstream_ends()
    w.exchange.upstream_lost(w.now)
    w.pool.dialed(w.dials.pop(), w.port(), w.now)
    w.down(OK_HEAD + b"ok")
    assert w.outcome() == (errors.OK, 200)
    assert w.pool.idle == 1


# ── what the log is told ──


def times(w: World) -> tuple[float | None, ...]:
    """Of an exchange: seconds from its start at which it asked, had a connection, saw a head, was done with it."""
    one = w.exchange
    ats = (one.asked_at, one.leased_at, one.head_at, one.ended_at)
    return tuple(None if at == NEVER else at - 100.0 for at in ats)


def test_where_the_time_went() -> None:
    w = World().start()
    w.now += 1.0
    w.pool.dialed(w.dials.pop(), w.port(), w.now)
    w.now += 2.0
    w.down(OK_HEAD)
    w.now += 4.0
    w.down(b"ok")
    assert w.outcome() == (errors.OK, 200)
    assert times(w) == (0.0, 1.0, 3.0, 7.0)
    assert w.exchange.detail == ""


def test_where_the_time_went_without_a_connection_or_a_response() -> None:
    w, _ = leasing()
    w.passes(1.0)
    assert times(w) == (0.0, None, None, 1.0)
    w, _ = awaiting()
    w.passes(5.0)
    assert times(w) == (0.0, 0.0, None, 5.0)


def test_a_retry_has_waited_until_its_last_connection() -> None:
    w = World()
    w.connected(reused=True)
    w.now += 1.0
    w.exchange.upstream_lost(w.now)
    w.now += 2.0
    w.pool.dialed(w.dials.pop(), w.port(), w.now)
    w.down(OK_HEAD + b"ok")
    assert times(w) == (0.0, 3.0, 3.0, 3.0)


@pytest.mark.parametrize("out", [False, True])
def test_the_rule_that_a_response_broke_is_told(out: bool) -> None:
    w = World()
    w.connected()
    w.down(CHUNKED_HEAD + (b"2\r\nok\r\n" if out else b""))
    w.down(b"zz\r\n")
    assert w.exchange.detail


def test_why_there_was_no_connection_is_told_to_the_log_alone() -> None:
    w, _ = dialing()
    w.pool.dial_failed(w.dials.pop(), errors.UPSTREAM_CONNECT_FAILED, w.now, "Refused.")
    assert w.exchange.detail == "Refused."
    assert b"Refused." not in w.client.sent


# ── making way for others ──


def stalled_reader() -> tuple[World, FakeUpstream]:
    w, upstream = relaying()
    w.exchange.client_is_full(w.now)
    return w, upstream


@pytest.mark.parametrize(
    ("make", "waits"),
    [
        (leasing, False),
        (awaiting_100, False),
        (sending, True),
        (awaiting, False),
        (early, False),
        (uploading, True),
        (relaying, False),
        (stalled_reader, True),
        (flushing, False),
    ],
)
def test_only_who_waits_for_its_client_is_stalled(make: Make, waits: bool) -> None:
    w, _ = make()
    assert w.first.stalled_since == (w.now if waits else inf)


def test_an_upload_that_the_upstream_does_not_take_is_not_stalled() -> None:
    w, _ = sending()
    w.exchange.upstream_is_full(w.now)
    assert w.first.stalled_since == inf


def contended(held: "World") -> "World":
    """A request of another address to the same pool, which has no connection left."""
    return World(address="ip:2", pool=held.pool)


def test_an_upload_that_stalls_makes_way_and_its_client_is_told_why() -> None:
    held = World(b"POST", 5, address="ip:1", max_connections=1, per_client=0)
    upstream = held.connected()
    other = contended(held).start()
    assert held.outcome() == (errors.QUEUE_FULL, 503)
    assert b"more than its share" in held.client.sent
    assert upstream.was_reset
    assert not held.exchange.keep_open
    assert held.dials == [other.first]


def test_a_reader_that_stalls_is_cut() -> None:
    held = World(address="ip:1", max_connections=1, per_client=0)
    held.connected()
    held.down(OK_HEAD + b"o")
    held.exchange.client_is_full(held.now)
    other = contended(held).start()
    assert held.outcome() == (errors.CLIENT_GONE, 499)
    assert held.client.was_reset
    assert held.dials == [other.first]


def test_at_the_end_of_its_time_in_the_queue_it_looks_once_more() -> None:
    held = World(address="ip:1", max_connections=1, per_client=0)
    held.connected()
    held.down(OK_HEAD + b"o")
    other = contended(held).start()
    held.exchange.client_is_full(held.now)
    other.passes(0.9)
    assert not held.client.over
    other.passes(0.1)
    assert held.outcome() == (errors.CLIENT_GONE, 499)
    assert held.dials == [other.first]
    assert not other.client.over


# ── the table itself ──


def test_an_illegal_move_names_state_and_event() -> None:
    w = World()
    upstream = w.connected()
    with pytest.raises(IllegalTransitionError, match="leased while awaiting"):
        w.first.leased(upstream, w.now)


def test_every_phase_can_be_reached_and_all_but_the_last_can_end() -> None:
    reached, edge = {LEASING}, [LEASING]
    while edge:
        for phase in TABLE[edge.pop()].values():
            if phase not in reached:
                reached.add(phase)
                edge.append(phase)
    assert reached == set(TABLE)
    assert all(DONE in moves.values() for phase, moves in TABLE.items() if phase is not DONE)


def test_nothing_is_due_when_it_is_over() -> None:
    w = World()
    w.connected()
    w.down(OK_HEAD + b"ok")
    assert w.exchange.expire(w.now + 1000.0) == inf
