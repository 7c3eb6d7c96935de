"""A crew of seats without processes, for the supervisor's parts that tell workers something."""

from collections.abc import Callable

from rawgate.serve.channel import Channel, Said
from rawgate.serve.crew import Crew, Poll, Seat


class FakeCrew(Crew):
    """told: what was said, each with the number of the worker that it was said to; unless `tell` takes it."""

    def __init__(self, workers: int, tell: Callable[[int, Said], None] | None = None) -> None:
        super().__init__(workers, Poll(), _no_work, lambda seat, message: None, lambda seat: None)
        self.told: list[tuple[int, Said]] = []
        self._tell = tell

    def say(self, seat: Seat, message: Said, sockets: object = ()) -> None:
        if self._tell is None:
            self.told.append((seat.number, message))
        else:
            self._tell(seat.number, message)

    def heard(self) -> list[tuple[int, Said]]:
        """What was said since it was asked for last."""
        told, self.told = self.told, []
        return told


def _no_work(seat: Seat, channel: Channel) -> int:
    raise AssertionError("no worker is started here")


def living(crew: FakeCrew) -> FakeCrew:
    """The same, where each worker has a process."""
    for seat in crew.seats:
        seat.pid = 100 + seat.number
    return crew
