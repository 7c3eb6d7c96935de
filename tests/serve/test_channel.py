"""What supervisor and worker say to each other arrives whole, in order, with its sockets, and nobody waits."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from rawgate.serve.channel import Abandon, Accept, Channel, Opened, Ping, Prepare, Prepared, Said, Switch


@pytest.fixture
def ends() -> Iterator[tuple[Channel, Channel]]:
    one, other = map(Channel, socket.socketpair())
    yield one, other
    one.close()
    other.close()


def heard(one: Channel, other: Channel, count: int) -> list[Said]:
    """The first messages that come, while the sender sends the rest of what waits."""
    found: list[Said] = []
    for _ in range(10_000):
        found += other.receive()
        one.flush()
        if len(found) >= count:
            return found
    raise AssertionError(f"only {len(found)} messages came")


MESSAGES: list[Said] = [
    Ping(),
    Accept((0, 3)),
    Prepare(7, {"/a": b"\x00\xff" * 10, "/b": 13}),
    Prepared(7, ("wrong",)),
    Abandon(7),
]


def test_in_order(ends: tuple[Channel, Channel]) -> None:
    one, other = ends
    for message in MESSAGES:
        one.send(message)
    assert heard(one, other, len(MESSAGES)) == MESSAGES
    assert not other.ended


def test_more_than_a_socket_takes_waits_and_comes(ends: tuple[Channel, Channel]) -> None:
    one, other = ends
    large = Prepare(1, {"/key-set": bytes(4 * 1024 * 1024)})
    for message in (large, Ping(), large):
        one.send(message)
    assert one.is_full
    assert heard(one, other, 3) == [large, Ping(), large]
    assert not one.is_full


def test_sockets_come_with_their_message(ends: tuple[Channel, Channel]) -> None:
    one, other = ends
    before = set(Path("/proc/self/fd").iterdir())
    first, second = (socket.create_server(("127.0.0.1", 0)) for _ in range(2))
    names = [first.getsockname(), second.getsockname()]
    one.send(Prepare(1, {"/big": bytes(1024 * 1024)}))
    one.send(Opened("a", 1), [first])
    one.send(Ping())
    one.send(Opened("b", 2), [second, first])
    one.send(Switch(1))
    first.close()
    second.close()
    taken = []
    for message in heard(one, other, 5):
        if isinstance(message, Opened):
            for sock in other.take_sockets(message.sockets):
                with sock:
                    taken.append(sock.getsockname())
    assert taken == [names[0], names[1], names[0]]
    assert set(Path("/proc/self/fd").iterdir()) == before


def test_the_other_end_goes(ends: tuple[Channel, Channel]) -> None:
    one, other = ends
    one.send(Ping())
    one.close()
    assert list(other.receive()) == [Ping()]
    assert other.ended
    with socket.create_server(("127.0.0.1", 0)) as handed:
        before = set(Path("/proc/self/fd").iterdir())
        other.send(Opened("a", 1), [handed])
        other.send(Ping())
        assert set(Path("/proc/self/fd").iterdir()) == before
    assert not other.is_full
