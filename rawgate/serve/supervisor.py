"""The parent of several processes that serve: opens the listening sockets, forks the workers, replaces those that die,
reads a new configuration for all, and ends last. It serves nothing itself, and has no event loop and no thread: what it
has loaded is what each worker begins with, and a fork takes one thread only.

    run ── fork ──▶ worker 0 … worker N-1      its only children, each at the other end of a `channel`

Rules
- Every process holds the listening sockets of all. So the queue of a worker that dies stays in the kernel, and the next
  worker of that number serves it. While a number has no worker, a sibling accepts on its sockets.
- A worker that dies is replaced at once. Where several in a row die young, the next one waits, each time twice as
  long, up to `LONGEST_WAIT`.
- A worker that does not answer for `SILENCE` is replaced: first it is made to write a stack trace of its threads.
- A reload is for all workers or for none: the supervisor reads every file once and hands on the octets; all workers
  prepare; then all switch. A worker that begins meanwhile begins with whatever counts by then.
- Stop: all workers wind down, then all drain; the supervisor waits for the last one.

nginx's master does the same job. But its workers do not outlive a reload, and it looks at their life alone, not at
whether they answer.
"""

import contextlib
import os
import select
import signal
import socket
import traceback
from collections.abc import Callable, Iterator
from math import inf
from time import monotonic

from msgspec import Struct, structs

from rawgate.config.files import Files
from rawgate.errors import ConfigError
from rawgate.serve.admin import Plan
from rawgate.serve.alone import IGNORED, STOPPING, summary
from rawgate.serve.changes import Changes, compare
from rawgate.serve.channel import (
    Abandon,
    Accept,
    Channel,
    Cut,
    Drain,
    Fetch,
    Fetched,
    Opened,
    Ping,
    Prepare,
    Prepared,
    Ready,
    Release,
    Released,
    Reloaded,
    Said,
    Switch,
    Switched,
    WindDown,
)
from rawgate.serve.control import COMMAND_TIMEOUT, Caller, Control
from rawgate.serve.listening import Addresses, StartError
from rawgate.serve.load import Loaded
from rawgate.serve.memory import set_aside
from rawgate.serve.reload import PREPARE_TIMEOUT, Outcome, Source, refused, reloaded
from rawgate.serve.telling import say
from rawgate.serve.worker import LOG_CLOSE_TIMEOUT, TRACED, Worker, forget_signals
from rawgate.serve.worker_quotas import WorkerQuotas

HEARTBEAT = 2.0
"""Seconds between two questions to a worker whether it is alive."""

SILENCE = 10.0
"""Seconds without an answer after which a worker is replaced. gunicorn's `timeout` is 30; a request here never needs
the worker's own time for long."""

TRACE_TIMEOUT = 2.0
"""Seconds that a silent worker has to write its stack traces before it is killed: stderr may have stalled."""

YOUNG = 5.0
"""Seconds of life under which a worker has died young: the first such death costs no time, the next ones do."""

FIRST_WAIT, LONGEST_WAIT = 0.1, 10.0
"""Seconds before such a worker is replaced, at first and at most. systemd's `RestartSec` is 0.1 too; a worker that
cannot live must not take the processors from the others."""


RELEASE_TIMEOUT = 1.0
"""Seconds that workers have, when the gateway drains, to close the sockets that are not for them."""


class _CutShortError(BaseException):
    """A configuration was not read to its end: a sentence that says why. No `except Exception` on the way holds it
    up, in the configuration's own code either."""


class _Seat:
    """The place of one worker.

    pid         of its process; 0: there is none
    serves      it has said that it does
    holds_others  it has listening sockets that are for other workers
    silent      seconds for which it has not answered
    kill_at     when a worker that was told to write its stack traces is killed
    died_young  how often in a row a worker has died young here
    start_at    when the next worker begins; infinity: there is one
    """

    def __init__(self, number: int) -> None:
        self.number = number
        self.pid = 0
        self.channel: Channel | None = None
        self.serves = False
        self.holds_others = True
        self.began = 0.0
        self.silent = 0.0
        self.kill_at = inf
        self.died_young = 0
        self.start_at = inf

    @property
    def name(self) -> str:
        return f"worker {self.number} (pid {self.pid})"


class _Reload(Struct):
    """A reload that is under way.

    number   of this reload
    callers  who asked for it by `rawgate reload`
    waiting  numbers of the workers whose answer is missing
    switches  all have prepared it, and switch
    told     further lines of its report
    """

    number: int
    callers: list[Caller]
    began: float
    due: float
    loaded: Loaded
    files: Files
    changes: Changes
    opened: list[str]
    waiting: set[int]
    switches: bool = False
    told: list[str] = []


class Supervisor:
    """See above. plan: of the admin listener, where there is one. stdout: the access log, for the workers."""

    def __init__(
        self,
        source: Source,
        loaded: Loaded,
        addresses: Addresses,
        control: Control,
        quotas: WorkerQuotas,
        workers: int,
        plan: Plan | None,
        stdout: int,
    ) -> None:
        self._source = source
        self._plan = plan
        self._loaded = loaded
        self._started = loaded.config
        self._addresses = addresses
        self._control = control
        self._quotas = quotas
        self._stdout = stdout
        self._seats = [_Seat(number) for number in range(workers)]
        self._poll = select.poll()
        self._ready: dict[int, Callable[[], None]] = {}  # descriptor → what to do when it can be read
        self._callers: dict[Caller, float] = {}  # who has not said its command yet → until when it may
        self._wanted: list[Caller | None] = []  # reloads that were asked for
        self._reload: _Reload | None = None
        self._reloads = 0
        self._fetching: dict[Fetch, int] = {}  # key sets that are being fetched → by which worker
        self._fetched: dict[Fetch, tuple[float, Fetched]] = {}  # the last good key sets, with the time of each
        self._interruptible = False
        self._told_ready = False
        self._is_covered = False  # some workers accept for others
        self._stopping = False
        self._release_at = inf
        self._drain_at = inf
        self._kill_at = inf
        self._status = 0
        self._beat_at = 0.0
        self._looked_at = 0.0

    def run(self, announce: Callable[[], None]) -> int:
        """Serve until told to stop. Returns the exit status. announce: says where the gateway listens."""
        with self._signals():
            announce()
            if self._control.is_ours:
                self._watch(self._control.fileno(), self._accept)
            # The workers share this memory as long as nobody writes to it, and the collector writes.
            set_aside()
            self._looked_at = monotonic()
            for seat in self._seats:
                self._start(seat)
            while any(seat.pid for seat in self._seats) or not self._stopping:
                for descriptor, _ in self._poll.poll(self._patience()):
                    if descriptor in self._ready:
                        self._ready[descriptor]()
                self._tick()
        say("stopped")
        return self._status

    # ── waiting ──

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        """While the block lasts, signals wake up `poll`: Python writes the number of each to a socket."""
        waking, woken = socket.socketpair()
        waking.setblocking(False)
        woken.setblocking(False)
        self._wakers = (waking, woken)
        before = {number: signal.signal(number, self._interrupt) for number in STOPPING}
        before |= {number: signal.signal(number, _nothing) for number in (signal.SIGHUP, signal.SIGCHLD, *IGNORED)}
        before[signal.SIGALRM] = signal.signal(signal.SIGALRM, self._cut_short)
        wakeup = signal.set_wakeup_fd(waking.fileno(), warn_on_full_buffer=False)
        self._watch(woken.fileno(), self._on_signals)
        try:
            yield
        finally:
            signal.set_wakeup_fd(wakeup)
            for number, handler in before.items():
                signal.signal(number, handler)
            waking.close()
            woken.close()

    def _interrupt(self, number: int, frame: object) -> None:
        """Python retries what a signal has interrupted, unless its handler raises."""
        if self._interruptible:
            raise _CutShortError("the gateway is stopping")

    def _cut_short(self, number: int, frame: object) -> None:
        if self._interruptible:
            raise _CutShortError(self._source.late())

    def _watch(self, descriptor: int, ready: Callable[[], None]) -> None:
        self._ready[descriptor] = ready
        self._poll.register(descriptor, select.POLLIN)

    def _unwatch(self, descriptor: int) -> None:
        if self._ready.pop(descriptor, None) is not None:
            self._poll.unregister(descriptor)

    def _patience(self) -> float:
        """Milliseconds until something is due."""
        due = [self._beat_at, self._release_at, self._drain_at, self._kill_at, *self._callers.values()]
        due += [moment for seat in self._seats for moment in (seat.start_at, seat.kill_at)]
        if self._reload is not None:
            due.append(self._reload.due)
        return max(0.0, min(due) - monotonic()) * 1000 + 1

    def _tick(self) -> None:
        """Do what is due."""
        now = monotonic()
        if now >= self._beat_at:
            self._beat(now)
        for seat in self._seats:
            if now >= seat.kill_at:
                seat.kill_at = inf
                _kill(seat.pid, signal.SIGKILL)
            if now >= seat.start_at and not self._stopping:
                self._start(seat)
        for caller in [caller for caller, until in self._callers.items() if now >= until]:
            self._forget(caller)
        if self._reload is not None and now >= self._reload.due:
            self._stop_waiting(self._reload)
        if now >= self._release_at:
            self._release()
        if now >= self._drain_at:
            self._drain()
        if now >= self._kill_at:
            self._kill_rest()

    # ── workers ──

    def _start(self, seat: _Seat) -> None:
        seat.start_at = inf
        ours, theirs = socket.socketpair()
        # No handler of this process may run in the other one.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        pid = os.fork()
        if pid == 0:
            _become(self._work, seat, ours, theirs, mask)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        theirs.close()
        seat.pid, seat.channel = pid, Channel(ours)
        seat.began, seat.silent, seat.serves, seat.holds_others, seat.kill_at = monotonic(), 0.0, False, True, inf
        self._watch(ours.fileno(), lambda: self._hear(seat))
        reload = self._reload
        if reload is not None and not reload.switches:
            reload.waiting.add(seat.number)
            self._say(seat, Prepare(reload.number, reload.files.contents))

    def _work(self, seat: _Seat, channel: Channel) -> int:
        """What the new process does. Returns its exit status."""
        say.who = f"worker {seat.number}: "
        self._control.close()
        for other in self._seats:
            if other.channel is not None:
                other.channel.close()
        for waker in self._wakers:
            waker.close()
        self._source.new_id.forget()
        for address in self._addresses.open.values():
            address.disown()
        self._addresses.keep(self._loaded.config.gateway.listen)
        if self._plan is not None:
            self._plan.disown()
        worker = Worker(seat.number, self._source, self._loaded, self._addresses, self._quotas, self._plan, channel)
        return worker.run(self._stdout)

    def _reap(self) -> None:
        """Take note of the workers that have died."""
        for seat in self._seats:
            if seat.pid:
                pid, status = os.waitpid(seat.pid, os.WNOHANG)
                if pid:
                    self._on_death(seat, os.waitstatus_to_exitcode(status))

    def _on_death(self, seat: _Seat, status: int) -> None:
        name, lived = seat.name, monotonic() - seat.began
        assert seat.channel is not None  # noqa: S101 - for the type checker
        self._hear(seat)
        self._unwatch(seat.channel.fileno())
        seat.channel.close()
        seat.pid, seat.channel, seat.serves, seat.kill_at = 0, None, False, inf
        if self._reload is not None:
            self._no_answer(self._reload, seat)
        for wanted in [wanted for wanted, number in self._fetching.items() if number == seat.number]:
            del self._fetching[wanted]
            self._fetch(wanted)
        if self._stopping:
            self._status = self._status or abs(status)
            if self._release_at != inf:
                self._cover()
            self._drain_if_released()
            return
        how = f"was killed by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"
        if not self._told_ready:
            say(f"{name} {how} before it was ready: stopping")
            self._status = 1
            self._stop()
            return
        if lived >= YOUNG:
            seat.died_young = 0
        wait = min(LONGEST_WAIT, FIRST_WAIT * 2 ** (seat.died_young - 1)) if seat.died_young else 0.0
        seat.died_young += 1
        say(f"{name} {how}: it is replaced {f'in {wait:g} s' if wait else 'at once'}")
        if wait:
            seat.start_at = monotonic() + wait
            self._cover()
        else:
            self._start(seat)

    def _cover(self) -> None:
        """Each number that has no worker gets a sibling that accepts for it."""
        living = [seat for seat in self._seats if seat.serves]
        self._is_covered = len(living) < len(self._seats)
        accepts = {seat.number: [seat.number] for seat in living}
        for seat in self._seats:
            if not seat.pid and living:
                accepts[living[seat.number % len(living)].number].append(seat.number)
        for seat in living:
            self._say(seat, Accept(tuple(accepts[seat.number])))

    def _beat(self, now: float) -> None:
        """Ask every worker whether it is alive, and replace those that have been silent for too long. Time in which
        this process did not run itself (a host that slept, a container that was frozen) does not count."""
        passed = min(now - self._looked_at, 2 * HEARTBEAT)
        self._looked_at = now
        self._beat_at = now + HEARTBEAT
        for seat in self._seats:
            if not seat.pid or seat.kill_at != inf:
                continue
            seat.silent += passed
            if seat.silent > SILENCE:
                say(f"{seat.name} has not answered for {seat.silent:.0f} s: replaced")
                seat.kill_at = now + TRACE_TIMEOUT
                _kill(seat.pid, TRACED)
            else:
                self._say(seat, Ping())

    # ── what is said ──

    def _say(self, seat: _Seat, message: Said, sockets: list[socket.socket] | None = None) -> None:
        if seat.channel is not None:
            seat.channel.send(message, sockets or ())
            self._await_room(seat.channel)

    def _await_room(self, channel: Channel) -> None:
        if channel.fileno() in self._ready:
            self._poll.modify(channel.fileno(), select.POLLIN | (select.POLLOUT if channel.is_full else 0))

    def _hear(self, seat: _Seat) -> None:
        channel = seat.channel
        if channel is None:
            return
        channel.flush()
        for message in channel.receive():
            seat.silent = 0.0
            self._on_message(seat, message)
        if channel.ended:
            # Its process has died, or is about to: `_reap` will tell.
            self._unwatch(channel.fileno())
        else:
            self._await_room(channel)

    def _on_message(self, seat: _Seat, message: Said) -> None:
        match message:
            case Ready():
                self._on_ready(seat)
            case Prepared(number, problems) if self._reload is not None and number == self._reload.number:
                if problems:
                    self._give_up(list(problems))
                else:
                    self._no_answer(self._reload, seat)
            case Switched(number) if self._reload is not None and number == self._reload.number:
                self._no_answer(self._reload, seat)
            case Fetch() if message in self._fetched and not seat.serves:
                self._say(seat, self._known(message))
            case Fetch():
                self._fetch(message)
            case Fetched():
                self._fetching.pop(message.wanted, None)
                if not message.problem:
                    self._fetched[message.wanted] = monotonic(), message
                self._to_all(message)
            case Released():
                seat.holds_others = False
                self._drain_if_released()

    def _known(self, wanted: Fetch) -> Fetched:
        """What a worker that begins is given: the last good set, fresh for as long as it still is."""
        at, fetched = self._fetched[wanted]
        fresh_for = fetched.fresh_for
        return structs.replace(fetched, fresh_for=fresh_for and max(0.0, fresh_for - (monotonic() - at)))

    def _fetch(self, wanted: Fetch) -> None:
        """One worker fetches for all: the first one that there is."""
        if wanted not in self._fetching:
            seat = next((seat for seat in self._seats if seat.pid), None)
            if seat is not None:
                self._fetching[wanted] = seat.number
                self._say(seat, wanted)

    def _on_ready(self, seat: _Seat) -> None:
        seat.serves = True
        if self._is_covered:
            self._cover()
        if not self._told_ready and all(other.serves for other in self._seats):
            self._told_ready = True
            count = len(self._seats)
            say(f"ready; {summary(self._loaded.config)}, {count} workers, pid {os.getpid()}")

    # ── signals and commands ──

    def _on_signals(self) -> None:
        with contextlib.suppress(BlockingIOError):
            for number in self._wakers[1].recv(256):
                if number in STOPPING:
                    self._stop()
                elif number == signal.SIGHUP:
                    self._wanted.append(None)
                elif number in IGNORED:
                    say(f"{signal.Signals(number).name} is ignored: {IGNORED[signal.Signals(number)]}")
        self._reap()
        self._reload_next()

    def _accept(self) -> None:
        caller = self._control.accept()
        if caller is not None:
            self._callers[caller] = monotonic() + COMMAND_TIMEOUT
            self._watch(caller.fileno(), lambda: self._listen_to(caller))

    def _listen_to(self, caller: Caller) -> None:
        try:
            word = caller.word()
        except OSError:
            self._forget(caller)
            return
        if word is not None:
            self._unwatch(caller.fileno())
            del self._callers[caller]
            if word == "reload":
                self._wanted.append(caller)
                self._reload_next()
            else:
                caller.refuse(word)

    def _forget(self, caller: Caller) -> None:
        del self._callers[caller]
        self._unwatch(caller.fileno())
        caller.close()

    # ── reload ──

    def _reload_next(self) -> None:
        """Begin the reload that was asked for. All who asked while another one was under way get the same one."""
        if not self._wanted or self._reload is not None:
            return
        callers = [caller for caller in self._wanted if caller is not None]
        self._wanted = []
        if self._stopping:
            self._tell(refused(["the gateway is stopping"]), callers)
            return
        began, files = monotonic(), Files()
        try:
            loaded = self._prepare(files)
            changes = compare(self._loaded.config, loaded.config, self._started)
            opened = self._addresses.add(loaded.config.gateway.listen)
        except ConfigError as error:
            self._tell(refused(error.lines), callers)
        except StartError as error:
            self._tell(refused([str(error)]), callers)
        except _CutShortError as error:
            self._tell(refused([str(error)]), callers)
        except Exception as error:  # noqa: BLE001 - who asked must hear of it, whatever it is
            traceback.print_exc()
            self._tell(refused([f"{type(error).__name__}: {error}"]), callers)
        else:
            self._reloads += 1
            living = {seat.number for seat in self._seats if seat.pid}
            due = monotonic() + PREPARE_TIMEOUT
            self._reload = _Reload(self._reloads, callers, began, due, loaded, files, changes, opened, living)
            for seat in self._seats:
                self._say(seat, Prepare(self._reloads, files.contents))

    def _prepare(self, files: Files) -> Loaded:
        """Read and compile, within `PREPARE_TIMEOUT`. Raises what `Source.prepare` does, and _CutShortError."""
        signal.setitimer(signal.ITIMER_REAL, PREPARE_TIMEOUT)
        self._interruptible = True
        try:
            return self._source.prepare(files, self._loaded.gate.limiters)
        finally:
            self._interruptible = False
            signal.setitimer(signal.ITIMER_REAL, 0)

    def _stop_waiting(self, reload: _Reload) -> None:
        """Some worker has not answered in time."""
        if reload.switches:
            self._end_reload()
        else:
            late = ", ".join(str(number) for number in sorted(reload.waiting))
            self._give_up([f"{self._source.late()} by worker {late}"])

    def _no_answer(self, reload: _Reload, seat: _Seat) -> None:
        """An answer of this worker is not, or no longer, missing."""
        reload.waiting.discard(seat.number)
        if reload.waiting:
            return
        if reload.switches:
            self._end_reload()
        else:
            self._switch(reload)

    def _switch(self, reload: _Reload) -> None:
        """All have prepared: all switch. Nothing can fail from here on; a worker that dies begins with the new one."""
        reload.switches, reload.due = True, monotonic() + PREPARE_TIMEOUT
        self._loaded = reload.loaded
        if self._plan is not None:
            reload.told = self._plan.renew(reload.loaded.config)
        for seat in self._seats:
            if seat.pid:
                reload.waiting.add(seat.number)
                for name in reload.opened:
                    sockets = self._addresses.open[name].sockets
                    self._say(seat, Opened(name, len(sockets)), sockets)
                self._say(seat, Switch(reload.number))
        if not reload.waiting:
            self._end_reload()

    def _end_reload(self) -> None:
        reload = self._reload
        if reload is not None:
            self._reload = None
            self._addresses.keep(reload.loaded.config.gateway.listen)
            urls = [self._addresses.open[name].url for name in reload.opened]
            set_aside()
            seconds = monotonic() - reload.began
            self._tell(reloaded(reload.loaded, reload.changes, urls, seconds, reload.told), reload.callers)
            self._reload_next()

    def _give_up(self, problems: list[str]) -> None:
        """A worker could not prepare: nobody switches."""
        reload = self._reload
        if reload is not None:
            self._reload = None
            self._addresses.keep(self._loaded.config.gateway.listen)
            self._to_all(Abandon(reload.number))
            self._tell(refused(problems), reload.callers)
            self._reload_next()

    def _tell(self, outcome: Outcome, callers: list[Caller]) -> None:
        for line in outcome.lines:
            say(line)
        if self._plan is not None:
            last = self._plan.note_reload(outcome)
            self._to_all(Reloaded(last.time, last.done, last.lines))
        for caller in callers:
            caller.answer(outcome.done, outcome.lines)

    # ── stop ──

    def _stop(self) -> None:
        """A signal to stop: the first winds down, the second cuts."""
        if self._stopping:
            self._status = 1
            self._release_at = self._drain_at = inf
            self._addresses.close()
            self._to_all(Cut())
            return
        self._stopping = True
        pre_stop = self._loaded.config.gateway.timeouts.pre_stop
        self._to_all(WindDown())
        self._release_at = monotonic() + pre_stop
        if pre_stop:
            say(f"stopping in {pre_stop:g} s")

    def _release(self) -> None:
        """The time to drain has come. A worker that does not answer does not hold it up for long."""
        self._release_at = inf
        self._cover()
        self._drain_at = monotonic() + RELEASE_TIMEOUT
        self._to_all(Release())
        self._drain_if_released()

    def _drain_if_released(self) -> None:
        if self._drain_at != inf and not any(seat.pid and seat.holds_others for seat in self._seats):
            self._drain()

    def _drain(self) -> None:
        self._drain_at = inf
        self._kill_at = monotonic() + self._loaded.config.gateway.timeouts.drain + LOG_CLOSE_TIMEOUT + TRACE_TIMEOUT
        self._addresses.close()
        self._to_all(Drain())

    def _kill_rest(self) -> None:
        """Workers that have not ended in time."""
        self._kill_at = inf
        self._status = 1
        for seat in self._seats:
            if seat.pid:
                say(f"{seat.name} does not end: killed")
                _kill(seat.pid, signal.SIGKILL)

    def _to_all(self, message: Said) -> None:
        for seat in self._seats:
            self._say(seat, message)


def _become(
    work: Callable[[_Seat, Channel], int], seat: _Seat, ours: socket.socket, theirs: socket.socket, mask: object
) -> None:
    """The rest of the new process's life."""
    status = 1
    try:
        ours.close()
        forget_signals()
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)  # type: ignore[arg-type]
        status = work(seat, Channel(theirs))
    except BaseException:  # noqa: BLE001 - nothing of the supervisor's own code must run here
        traceback.print_exc()
    finally:
        os._exit(status)


def _kill(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def _nothing(number: int, frame: object) -> None:
    """Its number is written to the socket that `poll` watches."""
