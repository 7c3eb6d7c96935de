"""The supervisor's part in `discovery`: it says which worker asks where services are, and passes the answers to all."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from rawgate.config.model import Config
from rawgate.serve.channel import Found, Seek
from rawgate.serve.crew import Crew, Seat
from rawgate.serve.discovery import sources_of

if TYPE_CHECKING:
    from rawgate.net.instances import Source


class Seeking:
    """Who asks, and what was found. config: that is served."""

    def __init__(self, config: Callable[[], Config]) -> None:
        self._config = config
        self._seat: Seat | None = None
        self._found: dict[Source, Found] = {}

    def joined(self, crew: Crew, seat: Seat) -> None:
        """A worker begins: it is told what is known, and that it asks if nobody does."""
        wanted = sources_of(self._config())
        self._found = {source: found for source, found in self._found.items() if source in wanted}
        for found in self._found.values():
            crew.say(seat, found)
        if self._seat is None:
            self._appoint(crew, seat)

    def left(self, crew: Crew, seat: Seat) -> None:
        """A worker has died: if it was the one that asks, another one does."""
        if seat is self._seat:
            self._seat = None
            if crew.living:
                self._appoint(crew, crew.living[0])

    def hear(self, crew: Crew, seat: Seat, found: Found) -> None:
        """The worker that asks tells what it has found."""
        self._found[found.source] = found
        for other in crew.living:
            if other is not seat:
                crew.say(other, found)

    def _appoint(self, crew: Crew, seat: Seat) -> None:
        self._seat = seat
        crew.say(seat, Seek())
