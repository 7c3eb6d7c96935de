"""One client connection: octets, losses and passing time; see `harness.client_side`."""

from collections.abc import Callable

import pytest

from harness.client_side import (
    ENOUGH,
    HEAD_LIMIT,
    HEAD_TIMEOUT,
    KEEP_ALIVE,
    OK,
    RESPONSE_TIMEOUT,
    SEND_TIMEOUT,
    WAIT,
    ClientSide,
    request,
)
from harness.fake_loop import FakeTransport
from harness.ports import FakeUpstream
from harness.values import Alike
from rawgate import errors
from rawgate.errors import REASONS, Reason
from rawgate.message import Octets
from rawgate.net.client import LINGER, ClientConnection
from rawgate.net.generation import ListenerOptions
from rawgate.net.transports import HIGH_WATER, LOW_WATER
from rawgate.observe.access_log import Record
from rawgate.relay.flow import Flow

Make = Callable[..., ClientSide]


# ── one request after the other ──


def test_a_request_is_relayed_and_logged(side: ClientSide) -> None:
    client = side.client().get(b"/x?q")
    side.loop.now += 1
    upstream = side.upstream()
    assert upstream.sent == b"GET /x?q HTTP/1.1\r\nHost: a\r\n\r\n"
    side.loop.now += 2
    client.answer(OK[:-1])
    side.loop.now += 1.5
    client.answer(OK[-1:])
    assert client.transport.sent == OK
    assert side.log.kept == [
        Alike(
            Record(
                wall=1000.0,
                request_id="an-id",
                method=b"GET",
                host=b"h",
                target=b"/x?q",
                route="a-route",
                client_id="someone",
                status=200,
                duration=4.5,
                upstream="users",
                asked_at=1000.0,
                leased_at=1001.0,
                head_at=1003.0,
                ended_at=1004.5,
                bytes_in=0,
                bytes_out=2,
                remote="192.0.2.7:5000",
                reason="ok",
                detail="",
            )
        )
    ]


def test_the_next_request_on_the_connection_is_served(side: ClientSide) -> None:
    client = side.client()
    for _ in range(3):
        client.get()
        if side.dials:
            side.upstream()
        client.answer()
    assert client.transport.sent == OK * 3
    assert len(side.upstreams) == 1
    assert side.logged("status") == [(200,)] * 3


@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_pipelined_requests_are_answered_in_order_however_they_arrive(side: ClientSide, size: int) -> None:
    octets = request(b"GET", b"/1") + request(b"GET", b"/own") + request(b"GET", b"/2")
    client = side.client()
    for at in range(0, len(octets), size):
        client.send(octets[at : at + size])
    side.upstream()
    assert client.statuses == []
    client.answer()
    client.answer()
    assert client.statuses == [200, 404, 200]
    assert side.logged("target") == [(b"/1",), (b"/own",), (b"/2",)]


def test_a_client_that_sends_too_far_ahead_is_paused(side: ClientSide) -> None:
    client = side.client()
    count = 3 * HEAD_LIMIT // len(request(b"GET", b"/x"))
    for _ in range(count):
        client.get()
    assert not client.transport.reading
    side.upstream()
    for _ in range(count):
        client.answer()
    assert client.statuses == [200] * count
    assert client.transport.is_reading()


def test_a_reset_is_noticed_behind_octets_that_were_sent_ahead(side: ClientSide) -> None:
    """What it sent ahead is held and reading goes on, since a reset is not seen while it is paused."""
    client = side.client().get()
    upstream = side.upstream()
    client.get()
    assert client.transport.reading
    client.transport.breaks()
    assert upstream.was_reset
    assert side.logged("status", "reason") == [(499, "client_gone")]


def test_a_client_that_never_reads_is_not_read_from(side: ClientSide) -> None:
    """Own replies cost nothing but the memory for them."""
    client = side.client().get(b"/own")
    client.transport.falls_behind(100_000)
    for _ in range(100):
        client.get(b"/own")
    assert client.statuses == [404]
    assert not client.transport.reading
    client.transport.takes()
    side.loop.run()
    assert client.statuses == [404] * 101
    assert client.transport.is_reading()


def test_what_is_held_is_in_the_book_until_it_is_let_go(side: ClientSide) -> None:
    buffers = side.connections.buffers
    asked = request(b"GET", b"/own") * 1000
    client = side.client().send(asked[:5])
    client.transport.falls_behind(100_000)
    assert buffers.total == 100_005
    client.send(asked[5:])
    assert buffers.total > 120_000
    assert not client.transport.reading, "at once: its answers are not taken"
    client.transport.takes()
    side.loop.run()
    assert (buffers.total, client.transport.reading) == (0, True)


def test_an_ordinary_request_is_in_no_book(side: ClientSide) -> None:
    client = side.client().send(request(b"POST", b"/1", b"Content-Length: 5") + b"he")
    side.upstream()
    client.send(b"llo" + request(b"GET", b"/own"))
    client.answer()
    assert side.connections.buffers.peak == 0


def test_what_the_upstream_does_not_take_is_its_clients(side: ClientSide) -> None:
    client = side.client().send(request(b"POST", b"/1", b"Content-Length: 500") + b"he")
    upstream = side.upstream()
    upstream.backlog = 70_000
    side.exchange.upstream_is_full(side.loop.now)
    assert side.connections.buffers.total == 70_000
    upstream.backlog = 0
    side.exchange.upstream_has_room(side.loop.now)
    assert side.connections.buffers.total == 0
    assert not client.transport.lost


def test_what_was_held_while_the_upstream_was_full_is_in_no_book_once_it_has_room(side: ClientSide) -> None:
    client = side.client().send(request(b"POST", b"/1", b"Content-Length: 9000"))
    upstream = side.upstream()
    upstream.backlog = 70_000
    side.exchange.upstream_is_full(side.loop.now)
    client.send(bytes(5000))
    assert side.connections.buffers.total == 75_000
    upstream.backlog = 0
    side.exchange.upstream_has_room(side.loop.now)
    assert side.connections.buffers.total == 0


def test_a_whole_body_that_the_upstream_has_taken_is_in_no_book_before_the_response(side: ClientSide) -> None:
    client = side.client().send(request(b"POST", b"/1", b"Content-Length: 9000") + bytes(9000))
    upstream = side.upstream()
    upstream.backlog = 9000
    side.exchange.upstream_is_full(side.loop.now)
    client.send(request(b"GET", b"/2"))
    assert side.connections.buffers.total == 9000 + len(request(b"GET", b"/2"))
    upstream.backlog = 0
    side.exchange.upstream_has_room(side.loop.now)
    assert side.connections.buffers.total == len(request(b"GET", b"/2"))
    client.answer()
    client.answer()
    assert side.logged("target", "bytes_in") == [(b"/1", 9000), (b"/2", 0)]
    assert side.connections.buffers.total == 0


@pytest.mark.parametrize("state", ["full", "relayed", "pending", "closing"])
def test_a_client_that_holds_too_much_is_reset_and_logged(make: Make, state: str) -> None:
    side = make(ListenerOptions(buffers=50_000))
    path = {"relayed": b"/x", "pending": b"/wait"}.get(state, b"/own")
    client = side.client().get(path)
    if state == "relayed":
        side.upstream()
        client.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\nhalf")
    if state == "pending":
        client.send(bytes(51_000))
    else:
        client.transport.falls_behind(51_000)
    if state == "closing":
        client.protocol.close()
    side.loop.run()
    assert client.transport.was_reset
    assert side.logged("status", "reason")[-1] == ((404, "no_route") if path == b"/own" else (499, "client_gone"))
    assert len(side.log.kept) == 1
    assert ("gateway.limits.buffers" in side.log.kept[0].detail) is (path != b"/own")
    assert side.connections.buffers.total == 0
    assert side.pool.leased == 0


def test_small_portions_are_found_when_there_are_many(make: Make) -> None:
    side = make(ListenerOptions(buffers=100_000))
    clients = [side.client().get(b"/own") for _ in range(3)]
    for client in clients:
        client.transport.backlog = 40_000  # not enough to be told
    side.connections.tidy()
    side.loop.run()
    assert [client.transport.was_reset for client in clients].count(True) == 1


@pytest.mark.parametrize("progress", [False, True])
def test_a_client_that_takes_nothing_of_the_own_replies_is_reset(side: ClientSide, progress: bool) -> None:
    client = side.client().get(b"/own")
    client.transport.falls_behind(100_000)
    client.get(b"/own")
    side.loop.passes(SEND_TIMEOUT - 1)
    client.transport.backlog -= progress * ENOUGH
    side.loop.passes(1)
    assert client.transport.lost is not progress
    side.loop.passes(SEND_TIMEOUT)
    assert client.transport.was_reset


@pytest.mark.parametrize("state", ["full", "closing"])
def test_a_client_that_takes_next_to_nothing_of_the_own_replies_is_reset(side: ClientSide, state: str) -> None:
    client = side.client().get(b"/own")
    client.transport.falls_behind(100_000)
    if state == "full":
        client.get(b"/own")
    else:
        client.protocol.close()
    client.transport.backlog -= ENOUGH - 1
    side.loop.passes(SEND_TIMEOUT)
    assert client.transport.was_reset


def test_the_body_goes_up_and_what_follows_it_is_the_next_request(side: ClientSide) -> None:
    client = side.client().send(request(b"POST", b"/1", b"Content-Length: 5") + b"he")
    upstream = side.upstream()
    client.send(b"llo" + request(b"GET", b"/own"))
    assert upstream.sent.endswith(b"\r\n\r\nhello")
    client.answer()
    assert client.statuses == [200, 404]
    assert side.logged("bytes_in", "bytes_out", "status")[0] == (5, 2, 200)


def test_a_body_without_an_upstream_is_held_up_to_the_limit(side: ClientSide) -> None:
    client = side.client().send(request(b"POST", b"/1", b"Content-Length: 4096"))
    for _ in range(4):
        client.send(bytes(1024))
    assert not client.transport.reading
    upstream = side.upstream()
    side.loop.run()
    assert upstream.sent.endswith(b"\r\n\r\n" + bytes(4096))
    assert client.transport.is_reading()


def test_a_slow_upstream_pauses_the_client(side: ClientSide) -> None:
    client = side.client().send(request(b"POST", b"/1", b"Content-Length: 8192"))
    upstream = side.upstream()
    exchange = side.exchange
    exchange.upstream_is_full(side.loop.now)
    for _ in range(8):
        client.send(bytes(1024))
    sent = len(upstream.sent)
    assert not client.transport.reading
    exchange.upstream_has_room(side.loop.now)
    side.loop.run()
    assert len(upstream.sent) == sent + 8192


class Full(FakeUpstream):
    """Says with each write that this was too much."""

    def write(self, data: Octets) -> None:
        super().write(data)
        assert isinstance(self.owner, Flow)
        self.owner.upstream_is_full(0.0)


def test_an_upstream_that_is_full_of_the_head_gets_no_body_yet(side: ClientSide) -> None:
    client = side.client().send(request(b"POST", b"/1", b"Content-Length: 5") + b"he")
    upstream = side.upstream(Full(side.pool.endpoints.all[0]))
    client.send(b"llo")
    assert upstream.sent.endswith(b"\r\n\r\n")
    side.exchange.upstream_has_room(side.loop.now)
    side.loop.run()
    assert upstream.sent.endswith(b"\r\n\r\nhello")


def test_a_slow_client_pauses_the_upstream_and_the_log_line_waits_for_it(side: ClientSide) -> None:
    client = side.client().get()
    upstream = side.upstream()
    client.transport.falls_behind(100_000)
    assert upstream.paused
    client.answer()
    assert side.log.kept == []
    side.loop.now += 4
    client.transport.takes()
    assert side.logged("duration", "leased_at", "ended_at", "reason") == [(4.0, 1000.0, 1000.0, "ok")]


def test_a_reset_is_noticed_while_a_request_is_answered(side: ClientSide) -> None:
    client = side.client().get()
    upstream = side.upstream()
    side.loop.now += 2
    client.transport.breaks()
    assert upstream.was_reset
    assert side.pool.size == 0
    assert side.logged("status", "reason", "duration", "ended_at") == [(499, "client_gone", 2.0, 1002.0)]
    assert not side.connections.open


def test_a_tunnel_passes_octets_and_half_closes_both_ways(side: ClientSide) -> None:
    client = side.client().get(b"/x", b"Connection: upgrade", b"Upgrade: echo")
    upstream = side.upstream()
    client.answer(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\nhello")
    assert client.transport.sent.endswith(b"\r\n\r\nhello")
    client.send(b"ping")
    assert upstream.sent.endswith(b"\r\n\r\nping")
    client.send(b"")
    assert upstream.eof_sent
    client.answer(b"more")
    side.exchange.upstream_eof(side.loop.now)
    side.loop.run()
    assert client.transport.sent.endswith(b"hellomore")
    assert client.transport.was_closed
    assert side.logged("status", "bytes_in", "bytes_out", "reason") == [(101, 4, 9, "ok")]


SWITCHED = b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n"


@pytest.mark.parametrize("taken", [True, False])
def test_a_client_that_cannot_half_close_ends_the_whole_tunnel(side: ClientSide, taken: bool) -> None:
    """So it is with TLS: what came from the upstream is sent, then the connection is closed."""
    client = side.client()
    client.transport.half_closes = False
    client.get(b"/x", b"Connection: upgrade", b"Upgrade: echo")
    upstream = side.upstream()
    client.answer(SWITCHED + b"hello")
    client.transport.falls_behind(100)
    side.exchange.upstream_eof(side.loop.now)
    assert side.log.kept == []
    client.send(b"too late")
    if taken:
        client.transport.takes()
    else:
        client.transport._end(ConnectionResetError())  # noqa: SLF001 - nothing is read, but a write may fail
    side.loop.run()
    assert client.transport.lost
    assert client.transport.sent.endswith(b"hello")
    assert b"too late" not in upstream.sent
    assert side.logged("status", "reason") == [(101, "ok" if taken else "client_gone")]
    assert side.pool.size == 0
    assert side.loop.timers == []


def test_a_stalled_client_of_a_tunnel_that_cannot_half_close_is_reset(make: Make) -> None:
    side = make(tunnel_idle=60.0)
    client = side.client()
    client.transport.half_closes = False
    client.get(b"/x", b"Connection: upgrade", b"Upgrade: echo")
    side.upstream()
    client.answer(SWITCHED)
    client.transport.falls_behind(100)
    side.exchange.upstream_eof(side.loop.now)
    side.loop.passes(100)
    assert client.transport.was_reset
    assert side.pool.size == 0
    assert side.logged("reason") == [("tunnel_idle",)]


def test_a_cut_sends_what_came_and_then_ends(side: ClientSide) -> None:
    client = side.client().get()
    side.upstream()
    client.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\nhalf")
    side.exchange.upstream_lost(side.loop.now)
    side.loop.run()
    assert client.transport.was_closed
    assert client.transport.sent.endswith(b"half")
    assert side.logged("status", "reason") == [(200, "upstream_cut")]


# ── FIN ──


@pytest.mark.parametrize(
    ("octets", "statuses"),
    [
        (b"", []),
        (b"\r\n", []),
        (b"GET / HT", [400]),
        (request(b"GET", b"/own"), [404]),
        (request(b"GET", b"/own") * 2, [404, 404]),
        (request(b"GET", b"/own") + b"GET", [404, 400]),
    ],
    ids=["nothing", "an empty line", "half a head", "a request", "two requests", "one and a half"],
)
@pytest.mark.parametrize("together", [True, False], ids=["with the octets", "after them"])
def test_what_came_before_fin_is_answered(side: ClientSide, octets: bytes, statuses: list[int], together: bool) -> None:
    client = side.client()
    if octets:
        client.transport.receives(octets)
    if not together:
        side.loop.run()
    client.send(b"")
    assert client.statuses == statuses
    assert client.transport.was_closed


def test_the_answer_of_a_half_closed_client_is_still_relayed(make: Make) -> None:
    side = make(half_close=True)
    client = side.client().get().send(b"")
    side.upstream()
    client.answer()
    assert client.transport.sent == OK
    assert client.transport.was_closed
    assert side.logged("reason") == [("ok",)]


@pytest.mark.parametrize("dialed", ["before", "after"])
def test_fin_in_a_body_is_a_loss(make: Make, dialed: str) -> None:
    side = make(half_close=True)
    client = side.client().send(request(b"POST", b"/1", b"Content-Length: 5") + b"he")
    if dialed == "before":
        side.upstream()
    client.send(b"")
    if dialed == "after":
        side.upstream()
        side.loop.run()
    assert side.upstreams[0].was_reset
    assert client.statuses == []
    assert client.transport.was_closed
    assert side.logged("reason", "status") == [("client_gone", 499)]


def test_fin_behind_held_requests_waits_its_turn(make: Make) -> None:
    side = make(half_close=True)
    client = side.client().get(b"/1").get(b"/2").send(b"")
    side.upstream()
    client.answer()
    client.answer()
    assert client.statuses == [200, 200]
    assert client.transport.was_closed


@pytest.mark.parametrize("dialed", [False, True])
@pytest.mark.parametrize("body", [0, 5])
def test_fin_while_a_request_is_served_gives_it_up(side: ClientSide, body: int, dialed: bool) -> None:
    fields = [b"Content-Length: 5"] if body else []
    client = side.client().send(request(b"POST", b"/1", *fields) + bytes(body))
    if dialed:
        side.upstream()
    client.send(b"")
    side.loop.run()
    assert client.statuses == []
    assert client.transport.was_closed
    assert [upstream.was_reset for upstream in side.upstreams] == [True] * dialed
    assert side.logged("reason", "status") == [("client_gone", 499)]


def test_fin_while_a_decision_is_waited_for_gives_it_up(side: ClientSide) -> None:
    client = side.client().get(b"/wait").send(b"")
    assert client.transport.was_closed
    assert side.awaited == 0
    assert side.logged("reason", "status") == [("client_gone", 499)]


def test_what_a_client_sent_ahead_is_not_sent_on_when_it_has_gone(side: ClientSide) -> None:
    client = side.client()
    client.transport.receives(request(b"GET", b"/own") + request(b"GET", b"/1") + request(b"GET", b"/2"))
    client.send(b"")
    assert client.statuses == [404]
    assert client.transport.was_closed
    assert side.dials == []
    assert side.logged("reason", "status", "target") == [("no_route", 404, b"/own"), ("client_gone", 499, b"/1")]


# ── own replies ──


def test_an_own_reply_keeps_the_connection(side: ClientSide) -> None:
    client = side.client().get(b"/own").get(b"/own")
    assert client.statuses == [404, 404]
    assert b"Connection" not in client.transport.sent
    assert client.transport.sent.count(b'"requestId":"an-id"') == 2
    body = client.transport.sent.rpartition(b"\r\n\r\n")[2]
    assert (
        side.logged("route", "upstream", "ended_at", "bytes_out", "reason")
        == [("", "", -1.0, len(body), "no_route")] * 2
    )


def test_the_log_says_which_rule_was_broken(side: ClientSide) -> None:
    client = side.client().send(b"GET / HTTP/1.1\r\n\r\n")
    assert client.statuses == [400]
    (record,) = side.log.kept
    assert record.detail
    assert record.detail.encode() in client.transport.sent


def test_an_own_reply_to_head_has_no_body(side: ClientSide) -> None:
    client = side.client().send(request(b"HEAD", b"/own"))
    assert client.transport.sent.endswith(b"\r\n\r\n")
    assert side.logged("bytes_out") == [(0,)]


def test_http_1_0_keep_alive_is_confirmed_by_an_own_reply(side: ClientSide) -> None:
    client = side.client().send(b"GET /own HTTP/1.0\r\nHost: h\r\nConnection: keep-alive\r\n\r\n")
    assert b"Connection: keep-alive\r\n" in client.transport.sent
    assert not client.transport.is_closing()


@pytest.mark.parametrize(
    ("octets", "status"),
    [
        (request(b"POST", b"/own", b"Content-Length: 5"), 404),
        (request(b"POST", b"/own", b"Transfer-Encoding: chunked"), 404),
        (request(b"GET", b"/own", b"Connection: close") + request(b"GET", b"/own"), 404),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: h\r\nX: " + b"a" * HEAD_LIMIT, 431),
        (request(b"GET", b"/broken"), 500),
    ],
    ids=["counted body", "chunked body", "after close", "malformed", "too large", "mistake in policy"],
)
def test_a_last_reply_lingers(side: ClientSide, octets: bytes, status: int, capsys: pytest.CaptureFixture[str]) -> None:
    """A client that still sends would be reset by a close, and might lose the reply to it."""
    client = side.client().send(octets)
    assert client.statuses == [status]
    assert b"Connection: close\r\n" in client.transport.sent
    assert client.transport.eof_sent
    client.send(bytes(100_000)).send(request(b"GET", b"/own"))
    assert client.statuses == [status]
    assert client.transport.reading
    assert not client.transport.lost
    client.send(b"")
    assert client.transport.was_closed
    assert [REASONS[str(code)].status for (code,) in side.logged("reason")] == [status]
    assert ("ZeroDivisionError" in capsys.readouterr().err) is (status == 500)


def test_a_connection_that_cannot_half_close_does_not_linger(side: ClientSide) -> None:
    client = side.client()
    client.transport.half_closes = False
    client.send(b"PO").transport.falls_behind(10)
    client.send(request(b"POST", b"/own", b"Content-Length: 5")[2:])
    assert client.statuses == [404]
    assert client.transport.is_closing()
    assert not client.transport.lost
    client.transport.takes()
    side.loop.run()
    assert client.transport.was_closed


def test_lingering_ends(side: ClientSide) -> None:
    client = side.client().send(b"\0")
    side.loop.passes(LINGER)
    assert client.transport.was_closed


# ── a decision that waits ──

WAITED_FOR: dict[str, tuple[bytes, int, tuple[str, str, int]]] = {
    "forward": (b"/wait", 200, ("waiting", "ok", 200)),
    "own reply": (b"/wait/own", 404, ("waiting", "no_route", 404)),
    "another wait": (b"/wait/wait", 200, ("waiting", "ok", 200)),
    "mistake": (b"/wait/broken", 500, ("waiting", "internal", 500)),
}


@pytest.mark.parametrize("case", WAITED_FOR)
def test_a_decision_that_waited_goes_on_from_there(
    side: ClientSide, case: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path, status, line = WAITED_FOR[case]
    client = side.client().get(path)
    assert client.statuses == []
    while side.awaited:
        side.loop.passes(1)
        side.waiting.comes()
        assert side.waits[0].resumed == [(1001.0, 1001.0)]
    side.loop.run()
    if side.dials:
        side.upstream()
        client.answer()
    assert client.statuses == [status]
    assert side.logged("request_id", "reason", "status") == [line]
    assert side.decides == 1
    assert (b"X-Request-Id: waiting\r\n" in client.transport.sent) == (case not in {"forward", "another wait"})
    assert ("ZeroDivisionError: a mistake in policy" in capsys.readouterr().err) == (case == "mistake")
    assert client.transport.lost == (case == "mistake")


def test_requests_behind_a_decision_that_waits_are_served_after_it(side: ClientSide) -> None:
    client = side.client().get(b"/wait").get(b"/own")
    assert client.statuses == []
    side.waiting.comes()
    side.upstream()
    client.answer()
    assert client.statuses == [200, 404]
    assert side.logged("reason") == [("ok",), ("no_route",)]


def test_each_wait_has_a_deadline_of_its_own(side: ClientSide) -> None:
    client = side.client().get(b"/wait/wait")
    side.loop.passes(WAIT - 1)
    side.waiting.comes()
    side.loop.passes(WAIT - 1)
    assert (client.statuses, side.awaited) == ([], 1)
    side.loop.passes(1)
    assert (client.statuses, side.awaited) == ([503], 0)


@pytest.mark.parametrize(
    ("reason", "line"),
    [
        (errors.KEYS_UNAVAILABLE, b"Retry-After: 1\r\n"),
        (errors.QUEUE_TIMEOUT, b"Retry-After: 1\r\n"),
        (errors.UPSTREAM_TIMEOUT, b""),
    ],
)
def test_a_decision_that_never_comes_ends_with_its_own_reason(side: ClientSide, reason: Reason, line: bytes) -> None:
    side.reason = reason
    client = side.client().get(b"/wait")
    side.loop.passes(WAIT)
    sent = client.transport.sent
    assert (client.statuses, b"Retry-After" in sent, line in sent) == ([reason.status], bool(line), True)
    assert b"X-Request-Id: waiting\r\n" in sent
    assert b"X-Route: yes\r\n" in sent
    assert side.awaited == 0
    assert side.logged("request_id", "client_id", "route", "reason", "status", "duration") == [
        ("waiting", "someone", "a-route", reason.code, reason.status, WAIT)
    ]
    client.get(b"/own")
    assert client.statuses == [reason.status, 404]


def test_a_decision_that_goes_on_without_is_made_at_its_deadline(side: ClientSide) -> None:
    side.goes_on = True
    client = side.client().get(b"/wait/own")
    side.loop.passes(WAIT - 0.001)
    assert (client.statuses, side.waiting.resumed) == ([], [])
    side.loop.passes(0.001)
    assert (client.statuses, side.awaited) == ([404], 0)
    assert [now for now, _ in side.waiting.resumed] == [side.waiting.deadline]


def test_the_body_of_a_request_whose_decision_never_comes_is_not_read(side: ClientSide) -> None:
    client = side.client().send(request(b"POST", b"/wait", b"Content-Length: 5") + b"hello")
    side.loop.passes(WAIT)
    assert client.statuses == [503]
    assert b"Connection: close\r\n" in client.transport.sent
    assert client.transport.eof_sent


@pytest.mark.parametrize("late", ["after the reply", "after another wait", "after the client"])
def test_what_nobody_waits_for_any_more_is_nothing(side: ClientSide, late: str) -> None:
    """`ready` is called once. Whoever calls it late all the same does no harm."""
    client = side.client().get(b"/wait/wait/own")
    ready = side.waiting.ready[0]
    if late == "after another wait":
        ready()
    elif late == "after the reply":
        side.loop.passes(WAIT)
    else:
        client.transport.breaks()
    before = (client.transport.sent, len(side.log.kept), side.awaited)
    ready()
    side.loop.run()
    assert (client.transport.sent, len(side.log.kept), side.awaited) == before
    assert [len(waiting.resumed) for waiting in side.waits] == ([1, 0] if late == "after another wait" else [0])


def test_a_client_that_leaves_is_not_waited_for(side: ClientSide) -> None:
    side.client().get(b"/wait").transport.breaks()
    assert side.awaited == 0
    assert side.logged("reason", "status", "request_id", "client_id", "route") == [
        ("client_gone", 499, "waiting", "someone", "a-route")
    ]


def test_draining_waits_for_a_decision(side: ClientSide) -> None:
    client = side.client().get(b"/wait/own")
    side.connections.drain(lambda: None)
    side.waiting.comes()
    side.loop.run()
    assert client.statuses == [404]
    assert b"Connection: close\r\n" in client.transport.sent
    assert client.transport.was_closed


@pytest.mark.parametrize("drains", [False, True])
def test_a_decision_is_given_up_when_the_gateway_ends(side: ClientSide, drains: bool) -> None:
    client = side.client().get(b"/wait")
    if drains:
        side.connections.drain(lambda: None)
    side.connections.abort()
    side.loop.run()
    assert b"X-Request-Id: waiting\r\n" in client.transport.sent
    assert b"Connection: close\r\n" in client.transport.sent
    assert side.logged("request_id", "reason", "status") == [("waiting", "draining", 503)]
    assert (side.awaited, client.transport.was_closed) == (0, True)


def test_a_half_closed_client_is_still_answered_when_the_decision_comes(make: Make) -> None:
    side = make(half_close=True)
    client = side.client().get(b"/wait").send(b"")
    side.waiting.comes()
    side.upstream()
    client.answer()
    assert client.statuses == [200]
    assert client.transport.was_closed


# ── deadlines ──


def test_a_head_must_end_in_time_however_its_octets_drip(side: ClientSide) -> None:
    client = side.client()
    for octet in b"GET /path":
        client.send(bytes((octet,)))
        side.loop.passes(1)
    assert client.statuses == []
    side.loop.passes(1)
    assert client.statuses == [408]
    assert side.logged("reason", "method", "duration") == [("head_timeout", b"GET", HEAD_TIMEOUT)]


def test_a_head_deadline_begins_with_its_own_first_octet(side: ClientSide) -> None:
    client = side.client().get(b"/own")
    side.loop.passes(KEEP_ALIVE - 1)
    client.send(b"GET")
    side.loop.passes(HEAD_TIMEOUT - 1)
    client.send(b" /own HTTP/1.1\r\nHost: h\r\n\r\n")
    assert client.statuses == [404, 404]


@pytest.mark.parametrize("served", [0, 2])
def test_an_idle_connection_is_closed_silently(side: ClientSide, served: int) -> None:
    client = side.client()
    for _ in range(served):
        client.get(b"/own")
    side.loop.passes(KEEP_ALIVE - 1)
    assert not client.transport.is_closing()
    side.loop.passes(1)
    assert client.transport.was_closed
    assert len(client.statuses) == len(side.log.kept) == served


def test_an_upstream_that_does_not_answer_in_time_is_a_504(side: ClientSide) -> None:
    client = side.client().get(b"/own")
    side.loop.passes(RESPONSE_TIMEOUT - 1)
    client.get()
    side.upstream()
    side.loop.passes(RESPONSE_TIMEOUT - 1)
    assert client.statuses == [404]
    side.loop.passes(1)
    assert client.statuses == [404, 504]
    assert side.logged("reason", "duration")[1] == ("upstream_timeout", RESPONSE_TIMEOUT)


@pytest.mark.parametrize("progress", [False, True])
def test_a_closed_connection_whose_client_takes_nothing_is_reset(side: ClientSide, progress: bool) -> None:
    """A FIN behind octets that were dropped would say that they were all."""
    client = side.client().get(b"/own")
    client.transport.falls_behind(100_000)
    client.protocol.close()
    side.loop.passes(SEND_TIMEOUT - 1)
    client.transport.backlog -= progress * ENOUGH
    side.loop.passes(1)
    assert client.transport.lost is not progress
    side.loop.passes(SEND_TIMEOUT)
    assert client.transport.was_reset


def test_a_connection_has_one_timer_whatever_it_serves(side: ClientSide) -> None:
    client = side.client()
    for _ in range(20):
        client.get()
        if side.dials:
            side.upstream()
        side.loop.passes(1)
        client.answer()
        client.get(b"/own")
        assert len(side.loop.timers) == 1
    client.transport.breaks()
    assert side.loop.timers == []


def test_a_connection_that_was_reset_before_it_was_accepted_is_nobody_s(side: ClientSide) -> None:
    transport = FakeTransport(side.loop, ClientConnection(side.connections), None)
    transport.receives(request(b"GET", b"/x"))
    side.loop.run()
    assert transport.lost
    assert (transport.sent, side.decides, side.log.kept) == (b"", 0, [])
    assert (side.connections.open, side.connections.addresses.counts, side.loop.timers) == (set(), {}, [])


STATES: list[tuple[str, bytes]] = [
    ("idle", b""),
    ("head", b"GET /x HT"),
    ("pending", request(b"GET", b"/wait")),
    ("busy", request(b"GET", b"/x")),
    ("linger", request(b"POST", b"/own", b"Content-Length: 5")),
]


@pytest.mark.parametrize(("state", "octets"), STATES, ids=[state for state, _ in STATES])
def test_a_lost_connection_leaves_nothing_behind(side: ClientSide, state: str, octets: bytes) -> None:
    client = side.client()
    if octets:
        client.send(octets)
    assert f" {state} " in repr(client.protocol)
    client.transport.breaks()
    assert (side.connections.open, side.connections.idle, side.connections.addresses.counts) == (set(), {}, {})
    assert side.loop.timers == []
    assert side.awaited == 0
    assert " closed " in repr(client.protocol)


# ── when a response has been handed on ──

BIG = b"HTTP/1.1 200 OK\r\nContent-Length: 20000\r\n\r\n" + bytes(20_000)


@pytest.mark.parametrize("ahead", [False, True])
def test_a_response_that_waits_in_the_transport_is_not_over(side: ClientSide, ahead: bool) -> None:
    """A large one, or any behind another that its client may not have read."""
    client = side.client().get()
    side.upstream()
    if ahead:
        client.get()
        client.answer()
    client.transport.backlog = 100
    client.answer(*([] if ahead else [BIG]))
    side.loop.run()
    assert side.logged("status") == [(200,)] * ahead
    assert side.pool.leased == 0
    side.loop.passes(2.0)
    client.transport.takes()
    side.loop.run()
    assert side.logged("status") == [(200,)] * (1 + ahead)
    assert side.log.kept[-1].duration >= 2.0
    assert client.transport.limits == (HIGH_WATER, LOW_WATER)


def test_a_response_that_the_kernel_took_is_over_at_once(side: ClientSide) -> None:
    client = side.client().get()
    side.upstream()
    client.answer(BIG)
    assert side.logged("status") == [(200,)]
    assert client.transport.limits == (HIGH_WATER, LOW_WATER)


@pytest.mark.parametrize("takes", [0, ENOUGH])
def test_who_takes_nothing_of_what_waits_is_gone(side: ClientSide, takes: int) -> None:
    client = side.client().get()
    side.upstream()
    client.transport.backlog = 60_000
    client.answer(BIG)
    side.loop.passes(SEND_TIMEOUT - 1)
    client.transport.backlog -= takes
    side.loop.passes(1)
    assert side.logged("status", "reason") == ([] if takes else [(499, "client_gone")])
    assert client.transport.was_reset is not bool(takes)
    side.loop.passes(SEND_TIMEOUT)
    assert client.transport.was_reset


@pytest.mark.parametrize("began", [b"G", b"GET /x HTTP/1.1\r\nHo"])
def test_a_reset_within_a_head_is_logged_and_not_replied_to(side: ClientSide, began: bytes) -> None:
    client = side.client().send(began)
    side.loop.passes(2.0)
    client.transport.breaks()
    assert client.transport.sent == b""
    assert side.logged("status", "reason", "client_waited") == [(499, "client_gone", 2.0)]
    assert side.log.kept[0].target == (b"/x" if b"/x" in began else b"")


@pytest.mark.parametrize("before", [b"", b"\r\n"])
def test_a_reset_before_a_head_is_no_request(side: ClientSide, before: bytes) -> None:
    client = side.client()
    if before:
        client.send(before)
    client.transport.breaks()
    assert side.log.kept == []


def test_a_head_that_holds_too_much_has_its_line(make: Make) -> None:
    side = make(ListenerOptions(buffers=50_000))
    client = side.client().send(b"GET /x HTTP/1.1\r\nHo")
    client.transport.falls_behind(51_000)
    side.loop.run()
    assert client.transport.was_reset
    assert side.logged("status", "reason") == [(499, "client_gone")]
    assert "gateway.limits.buffers" in side.log.kept[0].detail
