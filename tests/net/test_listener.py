"""The book of client connections: who is let in, who makes room, and how all of them end; see `harness.client_side`."""

from collections.abc import Callable
from contextlib import ExitStack

import pytest

from harness.client_side import (
    OK,
    ClientSide,
    request,
)
from harness.fake_loop import FakeTransport, unread
from harness.quotas import Workers
from rawgate.net import listener
from rawgate.net.arrival import Arrival, Entrance
from rawgate.net.client import FIRST_OCTET, REFUSED_LINGER
from rawgate.net.generation import ListenerOptions
from rawgate.net.listener import ADMISSION, LOOKED_AT

Make = Callable[..., ClientSide]


# ── the book of connections ──


def test_over_the_limit_the_longest_idle_connection_makes_room(make: Make) -> None:
    side = make(ListenerOptions(connections=3))
    clients = [side.client() for _ in range(3)]
    clients[0].get(b"/own")
    clients[1].get()
    side.client()
    side.loop.run()
    assert [client.transport.lost for client in clients] == [False, False, True]
    assert len(side.connections.open) == 3


def test_who_has_sent_a_request_makes_no_room_though_it_is_not_read_yet(make: Make) -> None:
    side = make(ListenerOptions(connections=3))
    asking, idle, gone = (side.client().get(b"/own") for _ in range(3))
    with unread(asking.transport, b"GET /own HTTP/1.1\r\n"), unread(gone.transport, b""):
        side.client()
        side.loop.run()
        assert [client.transport.lost for client in (asking, idle, gone)] == [False, True, False]
    assert asking.get(b"/own").statuses == [404, 404]


def test_nor_does_who_has_sent_what_comes_before_http(make: Make) -> None:
    side = make(ListenerOptions(connections=2))
    arriving, idle = FakeTransport(side.loop, Arrival(side.connections, Entrance())), side.client()
    with unread(arriving, b"PROXY "):
        side.client()
        side.loop.run()
    assert (arriving.lost, idle.transport.lost) == (False, True)
    side.client()
    side.loop.run()
    assert arriving.lost


def test_where_all_have_sent_one_the_newcomer_is_refused(make: Make) -> None:
    side = make(ListenerOptions(connections=LOOKED_AT + 1))
    with ExitStack() as unread_ones:
        for _ in range(LOOKED_AT):
            unread_ones.enter_context(unread(side.client().transport, b"G"))
        side.client()
        assert side.client().statuses == [503], "no more sockets are looked into"
    assert side.client().get(b"/own").statuses == [404]


def test_over_the_limit_with_nobody_idle_the_newcomer_is_refused(make: Make) -> None:
    side = make(ListenerOptions(connections=1))
    first = side.client().get()
    second = side.client()
    assert second.statuses == [503]
    assert b"Retry-After: 1\r\n" in second.transport.sent
    assert second.transport.eof_sent
    assert side.logged("reason", "remote") == [("connection_limit", "192.0.2.7:5000")]
    second.send(b"")
    side.upstream()
    first.answer()
    assert first.statuses == [200]
    assert side.client().get(b"/own").statuses == [404]


def test_the_refused_take_nobody_s_place(make: Make) -> None:
    side = make(ListenerOptions(connections=1))
    first = side.client().get(b"/wait")
    second = side.client()
    first.transport.breaks()
    assert side.client().get(b"/own").statuses == [404]
    assert not second.transport.lost


def test_the_refused_linger_for_a_moment_and_only_so_many_of_them(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener, "REFUSED", 2)
    side = make(ListenerOptions(connections=1))
    first = side.client().get(b"/wait")
    refused = [side.client() for _ in range(4)]
    side.loop.run()
    assert [client.statuses for client in refused] == [[503]] * 4
    assert [client.transport.lost for client in refused] == [True, True, False, False]
    side.loop.passes(REFUSED_LINGER)
    assert all(client.transport.was_closed for client in refused)
    assert not side.connections.refused
    assert not first.transport.lost


def test_one_address_may_not_have_more_than_its_part(make: Make) -> None:
    side = make(ListenerOptions(per_address=1))
    first = side.client("192.0.2.1")
    assert side.client("192.0.2.1").statuses == [503]
    assert side.client("192.0.2.2").get(b"/own").statuses == [404]
    first.send(b"")
    assert side.connections.addresses.counts == {"192.0.2.2": 1}  # who was refused does not count
    side.connections.abort()
    side.loop.run()
    assert side.connections.addresses.counts == {}
    assert side.client("192.0.2.1").get(b"/own").statuses == [404]


# ── several processes ──


class Sides:
    """The client's sides of two processes that share their limits. The loop of either is run by `run`."""

    def __init__(self, make: Make, options: ListenerOptions, **others: bool) -> None:
        self.workers = Workers()
        self.both = [make(options, quotas=quotas, **others) for quotas in self.workers.quotas]

    def run(self) -> None:
        for _ in range(10):
            self.workers.settle()
            for side in self.both:
                side.loop.run()
        assert not self.workers.woken

    def passes(self, seconds: float) -> None:
        """Time passes for both. The second one's loop is everybody's clock."""
        for side in reversed(self.both):
            side.loop.passes(seconds)

    def taken(self) -> list[int]:
        return [side.connections.slots.taken for side in self.both]


def test_over_the_limit_an_idle_connection_of_another_process_makes_room(make: Make) -> None:
    sides = Sides(make, ListenerOptions(connections=3))
    one, other = sides.both
    busy, old, new = other.client().get(b"/wait"), other.client(), other.client().get(b"/own")
    newcomer = one.client().send(request(b"GET", b"/own"))
    assert newcomer.transport.sent == b""
    sides.run()
    assert newcomer.statuses == [404]
    assert [client.transport.lost for client in (busy, old, new)] == [False, True, False]
    assert sides.taken() == [1, 2]
    one.client()
    one.client()
    sides.run()
    assert [client.transport.lost for client in (busy, newcomer, new)] == [False, True, False], "its own ones first"
    assert sides.taken() == [1, 2]


def test_who_has_sent_a_request_makes_no_room_for_another_process(make: Make) -> None:
    sides = Sides(make, ListenerOptions(connections=1))
    one, other = sides.both
    asking = other.client().get(b"/own")
    newcomer = one.client()
    with unread(asking.transport, b"G"):
        sides.run()
        sides.passes(ADMISSION)
        assert newcomer.statuses == [503]
    assert sides.taken() == [0, 1]
    assert asking.get(b"/own").statuses == [404, 404]


def test_over_the_limit_with_nobody_idle_anywhere_the_newcomer_is_refused(make: Make) -> None:
    sides = Sides(make, ListenerOptions(connections=2))
    one, other = sides.both
    clients = [one.client().get(b"/wait"), other.client().get(b"/wait")]
    newcomer = one.client()
    sides.run()
    assert newcomer.transport.sent == b""
    sides.passes(ADMISSION)
    assert newcomer.statuses == [503]
    assert one.logged("reason") == [("connection_limit",)]
    assert not one.connections.waiting
    other.waiting.comes()
    sides.run()
    clients[0].transport.breaks()
    sides.run()
    assert sides.taken() == [0, 1]
    assert one.client().get(b"/own").statuses == [404]


def test_newcomers_are_let_in_in_order_as_connections_go(make: Make) -> None:
    sides = Sides(make, ListenerOptions(connections=2))
    one, other = sides.both
    clients = [other.client().get(b"/wait") for _ in range(2)]
    newcomers = [one.client() for _ in range(2)]
    for number, client in enumerate(clients):
        client.transport.breaks()
        sides.run()
        assert [newcomer.protocol in one.connections.open for newcomer in newcomers] == [True, number == 1]


def test_who_has_waited_in_vain_may_have_what_is_idle_here_by_now(make: Make) -> None:
    sides = Sides(make, ListenerOptions(connections=1))
    one, other = sides.both
    busy = one.client().get(b"/wait/own")
    newcomer = one.client()
    one.waiting.comes()
    one.loop.run()
    sides.passes(ADMISSION)
    assert busy.transport.lost
    assert newcomer.get(b"/own").statuses == [404]
    assert (sides.taken(), other.connections.slots.taken) == ([1, 0], 0)


def test_newcomers_may_give_up_while_they_wait(make: Make) -> None:
    sides = Sides(make, ListenerOptions(connections=1, per_address=1))
    one, other = sides.both
    busy = other.client("192.0.2.1").get(b"/wait")
    newcomer = one.client("192.0.2.2")
    assert one.client("192.0.2.2").statuses == [503], "who waits counts"
    newcomer.transport.breaks()
    sides.run()
    assert not one.connections.waiting
    busy.transport.breaks()
    sides.run()
    assert sides.taken() == [0, 0]
    assert one.client("192.0.2.2").get(b"/own").statuses == [404]


@pytest.mark.parametrize("end", ["drain", "abort"])
def test_who_waits_when_the_gateway_ends_is_closed(make: Make, end: str) -> None:
    sides = Sides(make, ListenerOptions(connections=1))
    one, other = sides.both
    other.client().get(b"/wait")
    newcomer = one.client()
    empty = Empty(one)
    if end == "abort":
        one.connections.abort()
    assert empty.said == 0
    one.loop.run()
    assert (newcomer.transport.was_closed, empty.said) == (True, 1)
    late = one.client()
    assert late.statuses == [503], "and nobody else waits"


def test_an_address_has_no_more_than_its_part_in_all_processes_together(make: Make) -> None:
    sides = Sides(make, ListenerOptions(per_address=2))
    one, other = sides.both
    clients = [one.client(), other.client()]
    assert [side.client().statuses for side in sides.both] == [[503], [503]]
    clients[0].transport.breaks()
    sides.run()
    assert other.client().get(b"/own").statuses == [404]
    assert one.client().statuses == [503]


# ── the end ──


class Empty:
    """Counts how often the book said that nobody is left."""

    def __init__(self, side: ClientSide) -> None:
        self.said = 0
        side.connections.drain(self)

    def __call__(self) -> None:
        self.said += 1


def test_draining_without_connections_is_over_at_once(side: ClientSide) -> None:
    assert Empty(side).said == 1


def test_draining_closes_who_is_idle_and_serves_what_has_begun(side: ClientSide) -> None:
    idle, busy, reading = side.client().get(b"/own"), side.client().get(), side.client().send(b"GET /own")
    empty = Empty(side)
    side.loop.run()
    assert [client.transport.was_closed for client in (idle, busy, reading)] == [True, False, False]
    side.upstream()
    busy.answer()
    reading.send(b" HTTP/1.1\r\nHost: h\r\n\r\n")
    assert (busy.statuses, reading.statuses) == ([200], [404])
    assert all(b"Connection: close\r\n" in client.transport.sent for client in (busy, reading))
    assert all(client.transport.was_closed for client in (busy, reading))
    assert empty.said == 1


def test_a_new_connection_has_a_moment_for_its_first_request_though_the_gateway_drains(side: ClientSide) -> None:
    silent, quick = side.client(), side.client()
    empty = Empty(side)
    quick.get(b"/own")
    assert quick.statuses == [404]
    assert b"Connection: close\r\n" in quick.transport.sent
    assert (silent.transport.was_closed, empty.said) == (False, 0)
    side.loop.passes(FIRST_OCTET)
    assert (silent.transport.was_closed, empty.said) == (True, 1)


def test_a_connection_accepted_while_draining_is_closed(side: ClientSide) -> None:
    side.client().get()
    Empty(side)
    late = side.client()
    side.loop.run()
    assert late.transport.was_closed


@pytest.mark.parametrize(
    ("octets", "answer", "statuses", "reset", "line"),
    [
        (b"GET /x HT", b"", [503], False, ("draining", 503)),
        (request(b"GET", b"/wait"), b"", [503], False, ("draining", 503)),
        (request(b"GET", b"/x"), b"", [503], False, ("draining", 503)),
        (request(b"GET", b"/x"), OK[:-1], [200], False, ("draining", 200)),
    ],
    ids=["head", "pending", "awaiting", "relaying"],
)
def test_at_the_end_of_draining_the_rest_gets_a_503_or_is_cut(
    side: ClientSide, octets: bytes, answer: bytes, statuses: list[int], reset: bool, line: tuple[str, int]
) -> None:
    client = side.client().send(octets)
    if side.dials:
        side.upstream()
    if answer:
        client.answer(answer)
    empty = Empty(side)
    side.connections.abort()
    side.loop.run()
    assert client.statuses == statuses
    assert (client.transport.was_reset, client.transport.was_closed) == (reset, not reset)
    assert side.logged("reason", "status") == [line]
    assert side.awaited == 0
    assert side.loop.timers == []
    assert empty.said == 1


def test_at_the_end_of_draining_a_client_that_does_not_read_is_reset(side: ClientSide) -> None:
    client = side.client().get(b"/own")
    client.transport.falls_behind(100)
    client.protocol.close()
    side.connections.abort()
    side.loop.run()
    assert client.transport.was_reset
