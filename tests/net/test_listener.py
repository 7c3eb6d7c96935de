"""The book of client connections: who is let in, who makes room, and how all of them end; see `harness.client_side`."""

from collections.abc import Callable

import pytest

from harness.client_side import (
    OK,
    ClientSide,
    request,
)
from harness.quotas import Shared
from rawgate.net import listener
from rawgate.net.client import FIRST_OCTET, REFUSED_LINGER
from rawgate.net.generation import ListenerOptions

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


def test_connections_are_counted_for_all_processes_together(make: Make) -> None:
    quotas: list[Shared] = []
    one, other = make(), make()
    for side in (one, other):
        side.connections.slots = Shared(2, quotas)
    clients = [one.client().get(b"/wait"), other.client().get(b"/own")]
    assert [quota.taken for quota in quotas] == [1, 1]
    assert one.client().statuses == [503], "the idle one belongs to the other process"
    other.client().get(b"/wait")
    other.loop.run()
    assert clients[1].transport.lost, "it has made room for another one of its own process"
    assert [quota.taken for quota in quotas] == [1, 1]
    clients[0].transport.breaks()
    assert [quota.taken for quota in quotas] == [0, 1]


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
    assert side.connections.by_address == {"192.0.2.2": 1}  # who was refused does not count
    side.connections.abort()
    side.loop.run()
    assert side.connections.by_address == {}
    assert side.client("192.0.2.1").get(b"/own").statuses == [404]


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
