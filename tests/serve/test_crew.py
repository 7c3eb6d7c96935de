"""Who accepts for whom. The workers are the test."""

from collections.abc import Iterator, Sequence
from socket import socket
from time import monotonic

from rawgate.serve.channel import Accept, Channel, Ping, Pong, Said
from rawgate.serve.crew import HEARTBEAT, LATE, Crew, Poll, Seat


class FakeChannel(Channel):
    """says: what the worker has said and nobody has read yet."""

    def __init__(self) -> None:
        self.says: list[Said] = []
        self.ended = False

    def fileno(self) -> int:
        return -1

    @property
    def is_full(self) -> bool:
        return False

    def flush(self) -> None:
        pass

    def receive(self) -> Iterator[Said]:
        while self.says:
            yield self.says.pop(0)


class Heard(Crew):
    """Three workers that serve. told: by number, the last thing each was told of its sockets."""

    def __init__(self) -> None:
        super().__init__(3, Poll(), lambda seat, channel: 0, lambda seat, message: None, lambda seat: None)
        self.told: dict[int, Accept] = {}
        self.asked: list[int] = []
        self.now = monotonic()
        self.channels = [FakeChannel() for _ in self.seats]
        for seat, channel in zip(self.seats, self.channels, strict=True):
            seat.pid, seat.life, seat.serves, seat.channel = 1000 + seat.number, 1, True, channel

    def say(self, seat: Seat, message: Said, sockets: Sequence[socket] = ()) -> None:
        if isinstance(message, Ping):
            self.asked.append(seat.number)
        elif isinstance(message, Accept):
            self.told[seat.number] = message

    def beat(self, *answer: int) -> None:
        """A heartbeat, and the answers of these workers."""
        self.now += HEARTBEAT
        self.tick(self.now, replaces=True)
        for number in answer:
            self.hears(number, Pong())

    def hears(self, number: int, message: Said) -> None:
        self.channels[number].says.append(message)
        self.listen_to(self.seats[number])


def accepts(crew: Heard) -> dict[int, tuple[int, ...]]:
    return {number: message.workers for number, message in crew.told.items()}


def test_a_sibling_accepts_for_a_worker_that_is_late_until_it_answers() -> None:
    crew = Heard()
    crew.beat(0, 1, 2)
    crew.beat(0, 2)
    assert crew.told == {}, "it is not late yet"
    for _ in range(1 + int(LATE / HEARTBEAT)):
        crew.beat(0, 2)
    assert accepts(crew) == {0: (0,), 2: (2, 1)}
    assert crew.told[2].gone == (), "what it holds is its own"
    assert crew.asked[-3:] == [0, 1, 2], "it is still asked"
    crew.told.clear()
    crew.beat(0, 1, 2)
    assert accepts(crew) == {0: (0,), 1: (1,), 2: (2,)}


def test_what_a_worker_held_that_is_gone_is_given_back_by_the_sibling_that_accepts_for_it() -> None:
    crew = Heard()
    crew.seats[1].empty()
    crew.cover()
    assert accepts(crew) == {0: (0,), 2: (2, 1)}
    assert (crew.told[0].gone, crew.told[2].gone) == ((), ((1, 1),))


def test_where_all_are_late_nobody_accepts_for_others() -> None:
    crew = Heard()
    for _ in range(3 + int(LATE / HEARTBEAT)):
        crew.beat()
    assert {seat.is_late for seat in crew.seats} == {True}
    crew.told.clear()
    crew.hears(1, Pong())
    assert accepts(crew) == {1: (1, 0, 2)}


def test_once_the_others_sockets_are_closed_nobody_is_told_to_accept_on_them() -> None:
    crew = Heard()
    crew.covers = False
    crew.seats[1].empty()
    crew.cover()
    for _ in range(3 + int(LATE / HEARTBEAT)):
        crew.beat(0)
    assert crew.told == {}
