"""One turn of the loop: reads first, then our work, then writes; and nothing that changes what is said or logged."""

import asyncio
from collections.abc import Callable, Iterable, Iterator
from typing import Any, cast

import pytest

from harness.client_side import ENOUGH, KEEP_ALIVE, OK, ClientSide, request
from harness.fake_loop import FakeLoop, FakeTransport
from harness.in_memory_gateway import InMemoryGateway, clocked
from harness.invariants import findings
from rawgate.net.client import ClientConnection
from rawgate.net.generation import ListenerOptions
from rawgate.net.turn import MOST, SMALL, Cork, Recipient, Turn

Make = Callable[..., ClientSide]
ASK = b"GET /a HTTP/1.1\r\nHost: h\r\n\r\n"
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Happened(FakeLoop):
    """A loop that remembers what happened, in order, and what was complained of."""

    def __init__(self) -> None:
        super().__init__()
        self.happened: list[str] = []
        self.errors: list[BaseException] = []

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        self.errors.append(context["exception"])


class Silent:
    """A protocol that is told nothing it would remember."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None: ...

    def data_received(self, data: bytes) -> None: ...

    def eof_received(self) -> bool | None:
        return None

    def connection_lost(self, exc: Exception | None) -> None: ...

    def pause_writing(self) -> None: ...

    def resume_writing(self) -> None: ...


class Wire(FakeTransport):
    def __init__(self, loop: Happened, name: str, fails: bool = False) -> None:
        self.name = name
        self.fails = fails
        super().__init__(loop, Silent())

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self.fails:
            raise ZeroDivisionError(self.name)
        cast("Happened", self._loop).happened.append(f"write {self.name} {bytes(data).decode()}")
        super().write(data)

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        self.write(b"".join(list_of_data))


class Echo(Recipient):
    """Writes these pieces when it is handled; none: fails."""

    def __init__(self, loop: Happened, turn: Turn, name: str, *pieces: bytes | memoryview, fails: bool = False) -> None:
        self.loop = loop
        self.name = name
        self.pieces = pieces
        self.wire = Wire(loop, name, fails)
        self.cork = Cork(self.wire, turn)
        self.abandoned = False

    def handle(self, now: float) -> None:
        self.loop.happened.append(f"handle {self.name}")
        if not self.pieces:
            raise ZeroDivisionError(self.name)
        for piece in self.pieces:
            self.cork.write(piece)

    def abandon(self) -> None:
        self.abandoned = True


@pytest.fixture
def loop() -> Happened:
    return Happened()


@pytest.fixture
def turn(loop: Happened) -> Turn:
    return Turn(cast("asyncio.AbstractEventLoop", loop))


def test_all_is_handled_before_anything_is_written_and_requests_come_first(loop: Happened, turn: Turn) -> None:
    turn.add_request(Echo(loop, turn, "a", b"1"))
    turn.add_response(Echo(loop, turn, "b", b"2"))
    turn.add_request(Echo(loop, turn, "c", b"3"))
    assert loop.happened == []
    loop.turn()
    assert loop.happened == [f"handle {name}" for name in "acb"] + ["write a 1", "write c 3", "write b 2"]
    loop.run()
    assert len(loop.happened) == 6, "once"


def test_pieces_are_one_write(loop: Happened, turn: Turn) -> None:
    turn.add_request(Echo(loop, turn, "a", b"head,", b"", b"body"))
    loop.run()
    assert loop.happened == ["handle a", "write a head,body"]


LARGE = b"." * (SMALL - 2)


@pytest.mark.parametrize(
    ("pieces", "written"),
    [
        ((b"head,", b"begin", memoryview(b"view")), [b"head,beginview"]),
        ((memoryview(b"view"), b"rest"), [b"view", b"rest"]),
        ((b"head", LARGE), [b"head" + LARGE]),
        ((b"xx", LARGE), [b"xx" + LARGE]),
        ((LARGE + b"...",), [LARGE + b"..."]),
    ],
)
def test_what_cannot_be_kept_goes_out_at_once_with_what_is(
    loop: Happened, turn: Turn, pieces: tuple[bytes | memoryview, ...], written: list[bytes]
) -> None:
    echo = Echo(loop, turn, "a", *pieces)
    turn.add_request(echo)
    loop.run()
    assert echo.wire.sent == b"".join(pieces)
    assert [line for line in loop.happened if line.startswith("write")] == [
        f"write a {each.decode()}" for each in written
    ]


def test_outside_of_a_turn_a_write_is_a_write(loop: Happened, turn: Turn) -> None:
    echo = Echo(loop, turn, "a")
    echo.cork.write(b"now")
    assert echo.wire.sent == b"now"


def test_whatever_else_is_asked_comes_behind_what_was_written(loop: Happened, turn: Turn) -> None:
    class Closing(Echo):
        def handle(self, now: float) -> None:
            super().handle(now)
            self.cork.pull().close()
            loop.happened.append("closed")

    turn.add_request(Closing(loop, turn, "a", b"last"))
    loop.run()
    assert loop.happened == ["handle a", "write a last", "closed"]


def test_a_fault_ends_one_connection_and_is_told(loop: Happened, turn: Turn) -> None:
    broken, mute, well = Echo(loop, turn, "x"), Echo(loop, turn, "y", b"1", fails=True), Echo(loop, turn, "z", b"2")
    turn.add_request(broken)
    turn.add_request(mute)
    turn.add_response(well)
    loop.run()
    assert [str(error) for error in loop.errors] == ["x", "y"]
    assert (broken.abandoned, mute.wire.lost, well.abandoned, well.wire.lost) == (True, True, False, False)
    assert well.wire.sent == b"2"
    turn.add_request(well)
    loop.run()
    assert well.wire.sent == b"22", "the next turn is as usual"


# ── the whole gateway ──


@pytest.fixture(params=[True, False], ids=["fast", "h11"])
def gateway(request: pytest.FixtureRequest) -> Iterator[InMemoryGateway]:
    with clocked(InMemoryGateway(fast=request.param, connections=4, upstreams=2)) as gateway:
        for number in range(2):
            client = gateway.connect()
            client.outbox = ASK
            client.advance(1000)
            upstream = gateway.dialed(gateway.dials[0])
            assert len(gateway.upstreams) == number + 1
            upstream.outbox = ANSWER
        for upstream in gateway.upstreams:
            upstream.advance(1000)
        assert len(gateway.records) == 2
        yield gateway
        gateway.settle()
        assert findings(gateway) == []


def test_requests_and_responses_of_one_turn_are_served(gateway: InMemoryGateway) -> None:
    first, second = gateway.clients
    with gateway.loop.reading():
        for client in gateway.clients:
            client.outbox = ASK
            client.advance(1000)
        assert [upstream.sent.count(b"GET /a") for upstream in gateway.upstreams] == [1, 1]
    gateway.loop.run()
    assert [upstream.sent.count(b"GET /a") for upstream in gateway.upstreams] == [2, 2]
    with gateway.loop.reading():
        for upstream in gateway.upstreams:
            upstream.outbox = ANSWER
            upstream.advance(1000)
        third = gateway.connect()
        third.outbox = ASK
        third.advance(1000)
    gateway.loop.run()
    assert [client.sent.count(b" 200 OK") for client in (first, second)] == [2, 2]
    assert sum(upstream.sent.count(b"GET /a") for upstream in gateway.upstreams) == 5, "no dial was needed"


def test_an_idle_connection_whose_end_comes_in_the_same_turn_is_not_used(gateway: InMemoryGateway) -> None:
    with gateway.loop.reading():
        gateway.clients[0].outbox = ASK
        gateway.clients[0].advance(1000)
        for upstream in gateway.upstreams:
            upstream.finish()
    gateway.loop.run()
    assert [upstream.sent.count(b"GET /a") for upstream in gateway.upstreams] == [1, 1]
    assert len(gateway.dials) == 1


@pytest.mark.parametrize("ends", ["finish", "leave"])
def test_a_response_and_the_end_behind_it_in_one_turn(gateway: InMemoryGateway, ends: str) -> None:
    client = gateway.clients[0]
    client.outbox = ASK
    client.advance(1000)
    upstream = next(each for each in gateway.upstreams if each.serves)
    with gateway.loop.reading():
        upstream.outbox = ANSWER
        upstream.advance(1000)
        getattr(upstream, ends)()
    gateway.loop.run()
    assert client.sent.count(b" 200 OK") == 2
    assert gateway.records[-1].reason == "ok"


def test_a_head_in_two_pieces_within_one_turn(gateway: InMemoryGateway) -> None:
    client = gateway.clients[0]
    with gateway.loop.reading():
        for octets in (ASK[:5], ASK[5:15], ASK[15:]):
            client.protocol.data_received(octets)  # as TLS hands on what came in several records
        client.heard += ASK
    gateway.loop.run()
    assert sum(upstream.sent.count(b"GET /a") for upstream in gateway.upstreams) == 3


def test_octets_behind_a_response_are_seen_before_its_connection_is_leased_again(gateway: InMemoryGateway) -> None:
    """Two requests wait for a connection, and more comes than the response that is due."""
    for client in gateway.clients:
        client.outbox = ASK
        client.advance(1000)
    waiting = gateway.connect()
    waiting.outbox = ASK
    waiting.advance(1000)
    upstream = gateway.upstreams[0]
    with gateway.loop.reading():
        for octets in (ANSWER, b"HTTP/1.1 200 OK\r\n", b"Content-Length: 6\r\n\r\npoison"):
            # As TLS hands on what came in several records.
            upstream._arrives(octets)  # noqa: SLF001
            upstream.upstream.data_received(octets)
    gateway.loop.run()
    assert upstream.sent.count(b"GET /a") == 2
    assert upstream.lost
    assert len(gateway.dials) == 1


def test_the_first_of_many_are_not_kept_waiting_for_the_last(make: Make) -> None:
    side = make(ListenerOptions(connections=2 * MOST, per_address=2 * MOST))
    clients = [side.client() for _ in range(MOST + 3)]
    with side.loop.reading():
        for client in clients:
            client.transport.receives(request(b"GET", b"/own"))
        assert [client.statuses for client in clients] == [[404]] * MOST + [[]] * 3
    side.loop.run()
    assert [client.statuses for client in clients] == [[404]] * (MOST + 3)


# ── what else may happen to a client whose request waits ──


def test_a_request_that_came_in_time_is_no_timeout(side: ClientSide) -> None:
    """The deadline of an idle connection, or of a response, is over in the turn of the loop in which octets came."""
    client = side.client().get(b"/own")
    side.loop.now += KEEP_ALIVE
    with side.loop.reading():
        client.transport.receives(request(b"GET", b"/own"))
        client.protocol._expire()  # noqa: SLF001 - what its timer calls
        assert client.statuses == [404, 404]
    side.loop.passes(ENOUGH)
    assert client.transport.was_closed


def test_a_response_that_came_in_time_is_no_timeout(gateway: InMemoryGateway) -> None:
    client = gateway.clients[0]
    client.outbox = ASK
    client.advance(1000)
    upstream = next(each for each in gateway.upstreams if each.serves)
    with gateway.loop.reading():
        upstream.outbox = ANSWER
        upstream.advance(1000)
        gateway.loop.now += 1000
        cast("ClientConnection", client.protocol)._expire()  # noqa: SLF001 - what its timer calls
    gateway.loop.run()
    assert gateway.records[-1].reason == "ok"


@pytest.mark.parametrize("event", ["fin", "reset", "gives up"])
def test_a_request_that_waits_has_its_line(make: Make, event: str) -> None:
    side = make(ListenerOptions())
    client = side.client()
    with side.loop.reading():
        client.transport.receives(request(b"GET", b"/x" if event == "reset" else b"/own"))
        if event == "fin":
            client.transport.receives(b"")
        elif event == "reset":
            client.protocol.connection_lost(ConnectionResetError())  # TLS tells at once
        else:
            side.connections.abort()
    side.loop.run()
    line = (499, b"/x", "client_gone") if event == "reset" else (404, b"/own", "no_route")
    assert side.logged("status", "target", "reason") == [line]


def test_a_request_that_waits_is_under_the_configuration_of_its_first_octet(side: ClientSide) -> None:
    client = side.client()
    before = side.connections.generation
    with side.loop.reading():
        client.transport.receives(request(b"GET", b"/own"))
        side.connections.renew(before)
        side.connections.drain(lambda: None)
    side.loop.run()
    assert client.statuses == [404]
    assert b"Connection: close\r\n" in client.transport.sent
    side.loop.passes(ENOUGH)
    assert client.transport.lost


def test_a_client_over_the_limit_does_not_close_one_whose_request_waits(make: Make) -> None:
    side = make(ListenerOptions(connections=1))
    client = side.client()
    with side.loop.reading():
        client.transport.receives(request(b"GET", b"/own"))
        newcomer = side.client()
    side.loop.run()
    assert (client.statuses, newcomer.statuses) == ([404], [503])
    assert OK not in client.transport.sent


def test_a_client_that_holds_too_much_has_a_line_for_the_request_that_waits(make: Make) -> None:
    side = make(ListenerOptions())
    client = side.client()
    with side.loop.reading():
        client.transport.receives(request(b"GET", b"/x"))
        client.protocol.evict()
    side.loop.run()
    assert side.logged("status", "target", "reason") == [(499, b"/x", "client_gone")]
    assert client.transport.was_reset
