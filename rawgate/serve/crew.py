"""The workers of a supervisor: their processes, whether they are alive, and who takes the place of whom.

Rules
- A worker that dies is replaced at once. Where several in a row die young, the next one waits, each time twice as
  long, up to `LONGEST_WAIT`. Meanwhile a sibling accepts on its sockets.
- A worker that does not answer for `SILENCE` is replaced: first it is made to write a stack trace of its threads. From
  `LATE` on a sibling accepts on its sockets too, so that only those wait who were with it.
"""

import contextlib
import os
import select
import signal
import socket
import traceback
from collections.abc import Callable, Sequence
from math import inf
from time import monotonic

from rawgate.serve.channel import Accept, Channel, Ping, Pong, Said
from rawgate.serve.telling import say
from rawgate.serve.worker import TRACED, forget_signals

HEARTBEAT = 2.0
"""Seconds between two questions to a worker whether it is alive."""

SILENCE = 10.0
"""Seconds without an answer after which a worker is replaced. gunicorn's `timeout` is 30; a request here never needs
the worker's own time for long."""

LATE = 3.0
"""Seconds without an answer after which a sibling accepts for a worker: more than one heartbeat, so that its answer to
the one before is missing."""

TRACE_TIMEOUT = 2.0
"""Seconds that a silent worker has to write its stack traces before it is killed: stderr may have stalled."""

YOUNG = 5.0
"""Seconds of life under which a worker has died young: the first such death costs no time, the next ones do."""

FIRST_WAIT, LONGEST_WAIT = 0.1, 10.0
"""Seconds before such a worker is replaced, at first and at most. systemd's `RestartSec` is 0.1 too; a worker that
cannot live must not take the processors from the others."""


class Poll:
    """poll(2), with what to do about each descriptor."""

    def __init__(self) -> None:
        self._poll = select.poll()
        self._ready: dict[int, Callable[[], None]] = {}

    def watch(self, descriptor: int, ready: Callable[[], None]) -> None:
        """Call `ready` when it can be read, or is at its end."""
        self._ready[descriptor] = ready
        self._poll.register(descriptor, select.POLLIN)

    def await_room(self, descriptor: int, wanted: bool) -> None:
        """Call it also when more can be written, or no longer."""
        if descriptor in self._ready:
            self._poll.modify(descriptor, select.POLLIN | (select.POLLOUT if wanted else 0))

    def unwatch(self, descriptor: int) -> None:
        """Does nothing for one that is not watched."""
        if self._ready.pop(descriptor, None) is not None:
            self._poll.unregister(descriptor)

    def wait(self, until: float) -> None:
        """Do what there is to do until then (monotonic seconds), or return earlier."""
        for descriptor, _ in self._poll.poll(max(0.0, until - monotonic()) * 1000 + 1):
            if descriptor in self._ready:
                self._ready[descriptor]()


class Seat:
    """The place of one worker.

    pid           of its process; 0: there is none
    serves        it has said that it does
    holds_others  it has listening sockets that are for other workers
    silent        seconds for which it has not answered
    is_late       for longer than `LATE`
    kill_at       when a worker that was told to write its stack traces is killed
    died_young    how often in a row a worker has died young here
    life          how many processes have had this place
    start_at      when the next worker begins; infinity: there is one
    """

    def __init__(self, number: int) -> None:
        self.number = number
        self.died_young = self.life = 0
        self.empty()

    def empty(self) -> None:
        """There is no worker."""
        self.pid = 0
        self.channel: Channel | None = None
        self.serves = self.is_late = False
        self.holds_others = True
        self.began = self.silent = 0.0
        self.kill_at = self.start_at = inf

    @property
    def name(self) -> str:
        return f"worker {self.number} (pid {self.pid})"


class Crew:
    """All workers.

    work    what a new process does: its seat, its end of the channel → its exit status
    hear    takes what a worker says
    joined  is told of a worker that was started
    covers  siblings accept for workers that are gone or late: not any more once each has closed the others' sockets
    """

    def __init__(
        self,
        workers: int,
        poll: Poll,
        work: Callable[[Seat, Channel], int],
        hear: Callable[[Seat, Said], None],
        joined: Callable[[Seat], None],
    ) -> None:
        self.seats = [Seat(number) for number in range(workers)]
        self._poll = poll
        self._work = work
        self._hear = hear
        self._joined = joined
        self.covers = True
        self._is_covered = False  # some workers accept for others
        self._beat_at = 0.0
        self._looked_at = monotonic()

    @property
    def living(self) -> list[Seat]:
        """Those that have a process."""
        return [seat for seat in self.seats if seat.pid]

    @property
    def all_serve(self) -> bool:
        return all(seat.serves for seat in self.seats)

    @property
    def due(self) -> float:
        """When `tick` has something to do."""
        return min([self._beat_at, *(min(seat.start_at, seat.kill_at) for seat in self.seats)])

    # ── life and death ──

    def start(self, seat: Seat) -> None:
        """Fork a worker."""
        seat.start_at = inf
        seat.life += 1
        ours, theirs = socket.socketpair()
        # No handler of this process may run in the other one.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        pid = os.fork()
        if pid == 0:
            _become(self._work, seat, ours, theirs, mask)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        theirs.close()
        seat.pid, seat.channel, seat.began = pid, Channel(ours), monotonic()
        self._poll.watch(ours.fileno(), lambda: self.listen_to(seat))
        self._joined(seat)

    def reap(self) -> list[tuple[Seat, str, int]]:
        """The workers that have died since the last call, each with how, in words, and its exit status (negative: the
        signal's number). Their seats are empty now."""
        dead = []
        for seat in self.living:
            pid, status = os.waitpid(seat.pid, os.WNOHANG)
            if pid:
                dead.append(self._bury(seat, os.waitstatus_to_exitcode(status)))
        return dead

    def _bury(self, seat: Seat, status: int) -> tuple[Seat, str, int]:
        self.listen_to(seat)  # it may have said something last
        if seat.channel is not None:
            self._poll.unwatch(seat.channel.fileno())
            seat.channel.close()
        if monotonic() - seat.began >= YOUNG:
            seat.died_young = 0
        how = f"was killed by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"
        how = f"{seat.name} {how}"
        seat.empty()
        return seat, how, status

    def replace(self, seat: Seat, how: str) -> None:
        """Start the successor of a worker that has died: at once, or after a while."""
        wait = min(LONGEST_WAIT, FIRST_WAIT * 2 ** (seat.died_young - 1)) if seat.died_young else 0.0
        seat.died_young += 1
        say(f"{how}: it is replaced {f'in {wait:g} s' if wait else 'at once'}")
        if wait:
            seat.start_at = monotonic() + wait
            self.cover()
        else:
            self.start(seat)

    def cover(self) -> None:
        """Each number that has no worker, or one that is late, gets a sibling that accepts for it. What a worker held
        that is gone, its sibling gives back."""
        if not self.covers:
            return
        serving = [seat for seat in self.seats if seat.serves and not seat.is_late]
        self._is_covered = len(serving) < len(self.seats)
        accepts = {seat.number: [seat.number] for seat in serving}
        for seat in self.seats:
            if serving and (seat.is_late or not seat.pid):
                accepts[serving[seat.number % len(serving)].number].append(seat.number)
        for seat in serving:
            numbers = accepts[seat.number]
            gone = ((number, self.seats[number].life) for number in numbers if not self.seats[number].pid)
            self.say(seat, Accept(tuple(numbers), tuple(gone)))

    def on_ready(self, seat: Seat) -> None:
        """A worker has said that it serves."""
        seat.serves = True
        if self._is_covered:
            self.cover()

    # ── time ──

    def tick(self, now: float, *, replaces: bool) -> None:
        """Do what is due. replaces: whether workers that have died get successors."""
        if now >= self._beat_at:
            self._beat(now, "replaced" if replaces else "ended")
        for seat in self.seats:
            if now >= seat.kill_at:
                seat.kill_at = inf
                kill(seat, signal.SIGKILL)
            if now >= seat.start_at:
                seat.start_at = inf
                if replaces:
                    self.start(seat)

    def _beat(self, now: float, fate: str) -> None:
        """Ask every worker whether it is alive, and end those that have been silent for too long. fate: what becomes of
        them, for the operator. Time in which
        this process did not run itself (a host that slept, a container that was frozen) does not count."""
        passed = min(now - self._looked_at, 2 * HEARTBEAT)
        self._looked_at = now
        self._beat_at = now + HEARTBEAT
        for seat in self.living:
            if seat.kill_at != inf:
                continue
            seat.silent += passed
            if seat.silent > SILENCE:
                say(f"{seat.name} has not answered for {seat.silent:.0f} s: {fate}")
                seat.kill_at = now + TRACE_TIMEOUT
                kill(seat, TRACED)
            else:
                self.say(seat, Ping())
                if seat.silent > LATE and not seat.is_late:
                    seat.is_late = True
                    self.cover()

    # ── what is said ──

    def say(self, seat: Seat, message: Said, sockets: Sequence[socket.socket] = ()) -> None:
        """To one worker, if it lives."""
        if seat.channel is not None:
            seat.channel.send(message, sockets)
            self._poll.await_room(seat.channel.fileno(), seat.channel.is_full)

    def to_all(self, message: Said) -> None:
        for seat in self.seats:
            self.say(seat, message)

    def listen_to(self, seat: Seat) -> None:
        """Take what a worker has said."""
        channel = seat.channel
        if channel is None:
            return
        channel.flush()
        for message in channel.receive():
            seat.silent = 0.0
            if seat.is_late:
                seat.is_late = False
                self.cover()
            if not isinstance(message, Pong):
                self._hear(seat, message)
        if channel.ended:
            # Its process has died, or is about to: `reap` will tell.
            self._poll.unwatch(channel.fileno())
        else:
            self._poll.await_room(channel.fileno(), channel.is_full)

    def close_channels(self) -> None:
        """For a process that was just forked: the channels of its siblings are not for it."""
        for seat in self.living:
            if seat.channel is not None:
                seat.channel.close()


def kill(seat: Seat, number: int) -> None:
    """Send a signal to a worker, if it lives."""
    if seat.pid:
        with contextlib.suppress(ProcessLookupError):
            os.kill(seat.pid, number)


def _become(
    work: Callable[[Seat, Channel], int], seat: Seat, ours: socket.socket, theirs: socket.socket, mask: object
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
