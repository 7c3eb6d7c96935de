"""The supervisor's part in the health of targets: it has the book, and says which worker checks for all.

One worker checks: the first that serves. When it dies, the next one does, and knows what the first one had found,
because all do.
"""

from collections.abc import Callable
from time import monotonic

from rawgate.config.model import Config
from rawgate.serve.channel import Check, Checked, Failing
from rawgate.serve.crew import Crew, Seat
from rawgate.serve.health_book import HealthBook


class HealthRouting:
    """report: is told what the operator should know.

    book  what is known
    """

    def __init__(self, report: Callable[[str], None]) -> None:
        self.book = HealthBook(report)
        self._checker: int | None = None  # the number of the worker that checks
        self._ever = False

    def renew(self, config: Config) -> None:
        """All workers serve this configuration by now."""
        upstreams = config.upstreams.items()
        self.book.renew(
            {name for name, spec in upstreams if spec.health is not None},
            {name for name, spec in upstreams if spec.eject is not None},
        )

    def hear(self, crew: Crew, seat: Seat, message: Checked | Failing) -> None:
        """A worker has found something out: all are told what the book makes of it."""
        news = self.book.hear(message, seat.number, monotonic())
        if news is not None:
            crew.to_all(news)

    def ready(self, crew: Crew) -> None:
        """A worker serves by now."""
        if self._checker is None:
            self._choose(crew)

    def left(self, crew: Crew, seat: Seat) -> None:
        """A worker has died."""
        if seat.number == self._checker:
            self._checker = None
            self._choose(crew)

    def _choose(self, crew: Crew) -> None:
        for seat in crew.seats:
            if seat.serves:
                self._checker = seat.number
                crew.say(seat, Check(self._ever, self.book.failed))
                self._ever = True
                return
