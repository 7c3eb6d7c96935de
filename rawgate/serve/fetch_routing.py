"""The supervisor's part in `common_fetch`: it passes what a worker asks for to the one that fetches, and the answer to
all."""

from time import monotonic

from msgspec import structs

from rawgate.serve.channel import Fetch, Fetched, Want
from rawgate.serve.crew import Crew, Seat


class FetchRouting:
    """Which key sets are being fetched, and which were."""

    def __init__(self) -> None:
        self._fetching: dict[Fetch, int] = {}  # key sets that are being fetched → by which worker
        self._fetched: dict[Fetch, tuple[float, Fetched]] = {}  # the last good ones, with the time of each

    def hear(self, crew: Crew, seat: Seat, message: Want | Fetched) -> None:
        """A worker asks, or answers."""
        if isinstance(message, Fetched):
            self._fetching.pop(message.wanted, None)
            if not message.problem:
                message = structs.replace(message, number=self._last(message.wanted) + 1)
                self._fetched[message.wanted] = monotonic(), message
            crew.to_all(message)
        elif message.since < self._last(message.what):
            # It begins, or its question and the last answer crossed.
            crew.say(seat, self._known(message.what))
        else:
            self._pass_on(crew, message.what)

    def _last(self, wanted: Fetch) -> int:
        known = self._fetched.get(wanted)
        return 0 if known is None else known[1].number

    def left(self, crew: Crew, seat: Seat) -> None:
        """A worker has died: what it was fetching is fetched by another one."""
        for wanted in [wanted for wanted, number in self._fetching.items() if number == seat.number]:
            del self._fetching[wanted]
            self._pass_on(crew, wanted)

    def _pass_on(self, crew: Crew, wanted: Fetch) -> None:
        """One worker fetches for all: the first one that there is."""
        if wanted not in self._fetching and crew.living:
            seat = crew.living[0]
            self._fetching[wanted] = seat.number
            crew.say(seat, wanted)

    def _known(self, wanted: Fetch) -> Fetched:
        """The last good set, fresh for as long as it still is."""
        at, fetched = self._fetched[wanted]
        fresh_for = fetched.fresh_for
        return structs.replace(fetched, fresh_for=fresh_for and max(0.0, fresh_for - (monotonic() - at)))
