"""A new configuration for all workers, or for none.

    asked for → Read to one → compile → Prepare to all → Switch to all → report
                  └ it cannot    └ cannot    └ one cannot: Abandon to all

One worker reads every file, once, compiles and tests. A file may be a pipe that nobody writes to, or lie on a server
that is gone, and a configuration in Python may take its time: meanwhile the supervisor looks after its workers, and a
worker that is lost that way is replaced. The octets of the files go to the supervisor, and from there to all, so no
worker finds another content because a file is being replaced. The supervisor compiles them too, since what it has is
what new workers begin with; it knows by then that this ends, and gives it `COMPILE_TIMEOUT`. A signal that it must
stop, or that a worker has died, cuts it short: the dead one is replaced at once, and then it compiles anew.

From the moment on at which all have prepared nothing can fail. A worker that begins meanwhile begins with whatever
counts by then.
"""

import errno
import signal
from collections.abc import Callable, Sequence
from math import inf
from time import monotonic

from msgspec import Struct

from rawgate.config.files import Files
from rawgate.config.model import Config
from rawgate.serve.admin import Plan
from rawgate.serve.changes import Changes, compare
from rawgate.serve.channel import Abandon, Opened, Prepare, Read, Reloaded, Switch
from rawgate.serve.control import Caller
from rawgate.serve.crew import Crew, Seat
from rawgate.serve.listening import Addresses
from rawgate.serve.load import Loaded
from rawgate.serve.memory import set_aside_anew
from rawgate.serve.reload import PREPARE_TIMEOUT, Outcome, Source, problems_of, refused, reloaded
from rawgate.serve.telling import say

STOPPING = "the gateway is stopping"

COMPILE_TIMEOUT = 5.0
"""Seconds for which the supervisor may compile: it does nothing else meanwhile, and its heartbeat finds a stuck worker
after 10. A thousand routes take half a second."""

MOST_CUTS = 5
"""Times that a reload may be cut short by the deaths of workers: where they go on dying, it ends all the same."""

_NO_DESCRIPTORS = frozenset((errno.EMFILE, errno.ENFILE))


class CutShortError(BaseException):
    """A configuration was not read to its end: a sentence that says why. No `except Exception` on the way holds it
    up, in the configuration's own code either."""


class WorkerDiedError(CutShortError):
    """A worker has died meanwhile."""


class _Reading(Struct):
    """A worker reads, and then the supervisor compiles.

    number   of this reload
    callers  as in `_Reload`
    reader   the worker's number
    files    what it has read, once it has
    cuts     how often the supervisor was cut short by the death of a worker
    """

    number: int
    callers: list[Caller]
    began: float
    due: float
    reader: int
    files: Files | None = None
    cuts: int = 0


class _Reload(Struct):
    """A reload that is under way.

    number    of this reload
    callers   who asked for it by `rawgate reload`
    opened    the names of addresses that are new, and their URLs
    waiting   numbers of the workers whose answer is missing
    switches  all have prepared it, and switch
    told      further lines of its report
    """

    number: int
    callers: list[Caller]
    began: float
    due: float
    loaded: Loaded
    files: Files
    changes: Changes
    opened: dict[str, str]
    waiting: set[int]
    switches: bool = False
    told: list[str] = []


class Rollout:
    """One reload after the other.

    loaded  the configuration that is served
    """

    def __init__(
        self,
        source: Source,
        loaded: Loaded,
        addresses: Addresses,
        crew: Crew,
        plan: Plan | None,
        on_switch: Callable[[Config], None],
    ) -> None:
        """on_switch: is told of each new configuration, when workers begin to serve it."""
        self.loaded = loaded
        self._source = source
        self._started = loaded.config
        self._addresses = addresses
        self._crew = crew
        self._plan = plan
        self._on_switch = on_switch
        self._wanted: list[Caller | None] = []
        self._reading: _Reading | None = None
        self._reload: _Reload | None = None
        self._count = 0
        self._is_compiling = False
        self._is_over = False

    @property
    def due(self) -> float:
        """When `tick` has something to do."""
        return min(inf if under_way is None else under_way.due for under_way in (self._reading, self._reload))

    # ── signals, while it compiles: Python retries what they have interrupted, unless a handler raises ──

    def stop_compiling(self) -> None:
        """The gateway is to stop."""
        if self._is_compiling:
            raise CutShortError(STOPPING)

    def worker_died(self) -> None:
        """A worker has died, or was only stopped: the same signal tells of both."""
        if self._is_compiling and self._reading is not None and self._reading.cuts < MOST_CUTS:
            raise WorkerDiedError("a worker has died")

    def late(self) -> None:
        """The time to compile is over."""
        if self._is_compiling:
            raise CutShortError(self._source.late(COMPILE_TIMEOUT))

    # ── asking ──

    def ask(self, caller: Caller | None) -> None:
        """Reload, as soon as none is under way. Who asks meanwhile gets the next one, all of them the same."""
        self._wanted.append(caller)
        self._begin_next()

    def end(self) -> None:
        """The gateway stops: there are no reloads any more."""
        self._is_over = True
        if self._reading is not None:
            self._refuse(self._reading, [STOPPING])
        if self._reload is not None and not self._reload.switches:
            self._give_up([STOPPING])

    def _begin_next(self) -> None:
        if not self._wanted or self._reading is not None or self._reload is not None:
            return
        # Rather not one that may be stuck.
        reader = min((seat for seat in self._crew.living if seat.serves), key=lambda seat: seat.silent, default=None)
        if reader is None and not self._is_over:
            return  # until one is ready
        callers = [caller for caller in self._wanted if caller is not None]
        self._wanted = []
        if reader is None or self._is_over:
            self._tell(refused([STOPPING]), callers)
            return
        self._count += 1
        now = monotonic()
        self._reading = _Reading(self._count, callers, now, now + PREPARE_TIMEOUT, reader.number)
        self._crew.say(reader, Read(self._count))

    def ready(self) -> None:
        """A worker serves."""
        self._begin_next()

    def was_read(self, number: int, contents: dict[str, bytes | int], problems: tuple[str, ...]) -> None:
        """The worker that was to read has done so, or cannot."""
        reading = self._reading
        if reading is None or number != reading.number:
            return
        if problems and not _NO_DESCRIPTORS.intersection(contents.values()):
            self._refuse(reading, list(problems))
        else:
            # A worker that has as many clients as it has descriptors cannot open a file, and the supervisor can.
            reading.files = Files() if problems else Files(contents)
            reading.due = inf
            self._prepare(reading, reading.files)

    def go_on(self) -> None:
        """Compile what was cut short, now that those who have died were seen to."""
        if self._reading is not None and self._reading.files is not None:
            self._prepare(self._reading, self._reading.files)

    def _refuse(self, reading: _Reading, problems: Sequence[str]) -> None:
        """What was to be read is not served."""
        self._reading = None
        self._tell(refused(problems), reading.callers)
        self._begin_next()

    def _prepare(self, reading: _Reading, files: Files) -> None:
        """Compile what was read, and have all workers prepare it."""
        try:
            loaded = self._compile(files)
            changes = compare(self.loaded.config, loaded.config, self._started)
            names = self._addresses.add(loaded.config.gateway.listen)
        except WorkerDiedError:
            reading.cuts += 1
        except CutShortError as error:
            self._refuse(reading, [str(error)])
        except Exception as error:  # noqa: BLE001 - who asked must hear of it, whatever it is
            self._refuse(reading, problems_of(error))
        else:
            self._reading = None
            living = {seat.number for seat in self._crew.living}
            opened = {name: self._addresses.open[name].url for name in names}
            due = monotonic() + PREPARE_TIMEOUT
            self._reload = _Reload(
                reading.number, reading.callers, reading.began, due, loaded, files, changes, opened, living
            )
            for seat in self._crew.living:
                self._say_prepare(seat, self._reload)

    def _compile(self, files: Files) -> Loaded:
        """Within `COMPILE_TIMEOUT`. Raises what `Source.prepare` does, and CutShortError."""
        signal.setitimer(signal.ITIMER_REAL, COMPILE_TIMEOUT)
        self._is_compiling = True
        try:
            return self._source.prepare(files, self.loaded)
        finally:
            self._is_compiling = False
            signal.setitimer(signal.ITIMER_REAL, 0)

    def _say_prepare(self, seat: Seat, reload: _Reload) -> None:
        """With the sockets of new addresses: a worker that has no descriptors for them must say so now."""
        for name in reload.opened:
            sockets = self._addresses.open[name].sockets
            self._crew.say(seat, Opened(name, len(sockets)), sockets)
        self._crew.say(seat, Prepare(reload.number, reload.files.contents))

    # ── what becomes of it ──

    def joined(self, seat: Seat) -> None:
        """A worker was started, with the configuration that counts now."""
        reload = self._reload
        if reload is not None and not reload.switches:
            reload.waiting.add(seat.number)
            self._say_prepare(seat, reload)

    def left(self, seat: Seat) -> None:
        """A worker has died: no answer of its is missing. If it was the one that read, what it read may have killed it,
        and shall not kill the others."""
        reading = self._reading
        if reading is not None and reading.reader == seat.number and reading.files is None:
            self._refuse(reading, [f"worker {seat.number} died while it read the configuration"])
        if self._reload is not None:
            self._heard_of(self._reload, seat)

    def prepared(self, seat: Seat, number: int, problems: tuple[str, ...]) -> None:
        """A worker has prepared, or cannot."""
        reload = self._reload
        if reload is None or number != reload.number:
            return
        if problems:
            self._give_up(list(problems))
        else:
            self._heard_of(reload, seat)

    def switched(self, seat: Seat, number: int) -> None:
        """A worker has switched."""
        if self._reload is not None and number == self._reload.number:
            self._heard_of(self._reload, seat)

    def tick(self, now: float) -> None:
        """Some worker may not have answered in time."""
        if self._reading is not None and now >= self._reading.due:
            self._refuse(self._reading, [f"{self._source.late()} by worker {self._reading.reader}"])
        reload = self._reload
        if reload is None or now < reload.due:
            return
        if reload.switches:
            self._end(reload)
        else:
            late = ", ".join(str(number) for number in sorted(reload.waiting))
            self._give_up([f"{self._source.late()} by worker {late}"])

    def _heard_of(self, reload: _Reload, seat: Seat) -> None:
        """An answer of this worker is not, or no longer, missing."""
        reload.waiting.discard(seat.number)
        if reload.waiting:
            return
        if reload.switches:
            self._end(reload)
        else:
            self._switch(reload)

    def _switch(self, reload: _Reload) -> None:
        """All have prepared: all switch. A worker that dies now has a successor that begins with the new one."""
        reload.switches, reload.due = True, monotonic() + PREPARE_TIMEOUT
        self.loaded = reload.loaded
        self._addresses.stop_queueing(reload.loaded.config.gateway.listen)
        self._on_switch(reload.loaded.config)
        if self._plan is not None:
            reload.told = self._plan.renew(reload.loaded.config)
        living = self._crew.living
        reload.waiting = {seat.number for seat in living}
        for seat in living:
            self._crew.say(seat, Switch(reload.number))
        if not living:
            self._end(reload)

    def _end(self, reload: _Reload) -> None:
        self._reload = None
        self._addresses.keep(reload.loaded.config.gateway.listen)
        set_aside_anew()
        urls, seconds = list(reload.opened.values()), monotonic() - reload.began
        self._tell(reloaded(reload.loaded, reload.changes, urls, seconds, reload.told), reload.callers)
        self._begin_next()

    def _give_up(self, problems: list[str]) -> None:
        """Nobody switches."""
        reload = self._reload
        if reload is not None:
            self._reload = None
            self._addresses.keep(self.loaded.config.gateway.listen)
            self._crew.to_all(Abandon(reload.number))
            self._tell(refused(problems), reload.callers)
            self._begin_next()

    def _tell(self, outcome: Outcome, callers: list[Caller]) -> None:
        for line in outcome.lines:
            say(line)
        if self._plan is not None:
            last = self._plan.note_reload(outcome)
            self._crew.to_all(Reloaded(last.time, last.done, last.lines))
        for caller in callers:
            caller.answer(outcome.done, outcome.lines)
