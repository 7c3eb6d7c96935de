"""The parent of several processes that serve: opens the listening sockets, forks the workers, replaces those that die,
brings a new configuration to all, and ends last. It serves nothing itself, and has no event loop and no thread: what it
has loaded is what each worker begins with, and a fork takes one thread only.

    run ── fork ──▶ worker 0 … worker N-1      its only children, each at the other end of a `channel`

`crew` has the workers, `rollout` the reloads; here are signals, commands, and the end.

- Every process holds the listening sockets of all. So the queue of a worker that dies stays in the kernel, and the next
  worker of that number serves it. While a number has no worker, a sibling accepts on its sockets.
- Stop: all workers wind down; then all close the sockets that are for others; then all drain. The supervisor waits for
  the last one.

nginx's master does the same job. But its workers do not outlive a reload, and it looks at their life alone, not at
whether they answer.
"""

import contextlib
import os
import signal
import socket
from collections.abc import Callable, Iterator
from math import inf
from time import monotonic

from rawgate.observe.access_log import CLOSE_TIMEOUT
from rawgate.serve.admin import Plan
from rawgate.serve.alone import IGNORED, STOPPING, summary
from rawgate.serve.channel import (
    Channel,
    Checked,
    Cut,
    Drain,
    Failing,
    Fetched,
    Found,
    Prepared,
    Ready,
    Release,
    Released,
    Said,
    Switched,
    Want,
    WasRead,
    WindDown,
)
from rawgate.serve.control import Callers, Control
from rawgate.serve.crew import TRACE_TIMEOUT, Crew, Poll, Seat, kill
from rawgate.serve.fetch_routing import FetchRouting
from rawgate.serve.health_routing import HealthRouting
from rawgate.serve.listening import Addresses
from rawgate.serve.load import Loaded
from rawgate.serve.memory import set_aside
from rawgate.serve.reload import Source
from rawgate.serve.rollout import Rollout
from rawgate.serve.seeking import Seeking
from rawgate.serve.telling import say
from rawgate.serve.worker import Worker
from rawgate.serve.worker_quotas import WorkerQuotas

RELEASE_TIMEOUT = 1.0
"""Seconds that workers have, when the gateway drains, to close the sockets that are not for them."""


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
        self._addresses = addresses
        self._control = control
        self._quotas = quotas
        self._stdout = stdout
        self._poll = Poll()
        self._crew = Crew(workers, self._poll, self._work, self._hear, self._joined)
        self._fetches = FetchRouting()
        self._seeking = Seeking(lambda: self._rollout.loaded.config)
        self._health = HealthRouting(say)
        self._rollout = Rollout(source, loaded, addresses, self._crew, plan, self._health.renew)
        self._callers = Callers(control, self._poll.watch, self._poll.unwatch, self._rollout.ask)
        self._told_ready = False
        self._stopping = False
        self._release_at = inf
        self._drain_at = inf
        self._kill_at = inf
        self._status = 0

    def run(self, announce: Callable[[], None]) -> int:
        """Serve until told to stop. Returns the exit status. announce: says where the gateway listens."""
        with self._signals():
            announce()
            if self._control.is_ours:
                self._poll.watch(self._control.fileno(), self._callers.accept)
            # The workers share this memory as long as nobody writes to it, and the collector writes.
            set_aside()
            for seat in self._crew.seats:
                self._crew.start(seat)
            while self._crew.living or not self._stopping:
                due = (self._crew.due, self._rollout.due, self._release_at, self._drain_at, self._kill_at)
                self._poll.wait(min(*due, self._callers.due, self._health.book.due))
                self._tick(monotonic())
        say("stopped")
        return self._status

    def _tick(self, now: float) -> None:
        """Do what is due."""
        self._crew.tick(now, replaces=not self._stopping)
        self._rollout.tick(now)
        self._callers.tick()
        self._health.book.tick(now)
        if now >= self._release_at:
            self._release()
        if now >= self._drain_at:
            self._drain()
        if now >= self._kill_at:
            self._kill_rest()

    # ── workers ──

    def _work(self, seat: Seat, channel: Channel) -> int:
        """What a new process does. Returns its exit status."""
        say.who = f"worker {seat.number}: "
        self._control.close()
        self._crew.close_channels()
        for waker in self._wakers:
            waker.close()
        self._source.new_id.forget()
        for address in self._addresses.open.values():
            address.disown()
        loaded = self._rollout.loaded
        self._addresses.keep(loaded.config.gateway.listen)
        if self._plan is not None:
            self._plan.disown()
        worker = Worker(
            seat.number,
            seat.life,
            self._source,
            loaded,
            self._addresses,
            self._quotas,
            self._plan,
            channel,
            self._health.book.news(),
        )
        return worker.run(self._stdout)

    def _joined(self, seat: Seat) -> None:
        self._rollout.joined(seat)
        self._seeking.joined(self._crew, seat)

    def _hear(self, seat: Seat, message: Said) -> None:
        """Take what a worker says."""
        match message:
            case Ready():
                self._crew.on_ready(seat)
                self._health.ready(self._crew)
                self._tell_ready()
                self._rollout.ready()
            case WasRead(number, files, problems):
                self._rollout.was_read(number, files, problems)
            case Prepared(number, problems):
                self._rollout.prepared(seat, number, problems)
            case Switched(number):
                self._rollout.switched(seat, number)
            case Released():
                seat.holds_others = False
                self._drain_if_released()
            case Want() | Fetched():
                self._fetches.hear(self._crew, seat, message)
            case Found():
                self._seeking.hear(self._crew, seat, message)
            case Checked() | Failing():
                self._health.hear(self._crew, seat, message)

    def _tell_ready(self) -> None:
        if not self._told_ready and self._crew.all_serve:
            self._told_ready = True
            served, count = summary(self._rollout.loaded.config), len(self._crew.seats)
            say(f"ready; {served}, {count} workers, pid {os.getpid()}")

    def _reap(self) -> None:
        for seat, how, status in self._crew.reap():
            self._rollout.left(seat)
            self._fetches.left(self._crew, seat)
            self._seeking.left(self._crew, seat)
            if not self._stopping:
                self._health.left(self._crew, seat)
            if self._stopping:
                self._status = self._status or abs(status)
                self._crew.cover()
                self._drain_if_released()
            elif self._told_ready:
                self._crew.replace(seat, how)
            else:
                say(f"{how} before it was ready: stopping")
                self._status = 1
                self._stop()

    # ── signals and commands ──

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        """While the block lasts, signals wake up `poll`: Python writes the number of each to a socket."""
        waking, woken = socket.socketpair()
        waking.setblocking(False)
        woken.setblocking(False)
        self._wakers = (waking, woken)
        before = {number: signal.signal(number, lambda *_: self._rollout.stop_compiling()) for number in STOPPING}
        before |= {number: signal.signal(number, _nothing) for number in (signal.SIGHUP, *IGNORED)}
        before[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, lambda *_: self._rollout.worker_died())
        before[signal.SIGALRM] = signal.signal(signal.SIGALRM, lambda *_: self._rollout.late())
        wakeup = signal.set_wakeup_fd(waking.fileno(), warn_on_full_buffer=False)
        self._poll.watch(woken.fileno(), self._on_signals)
        try:
            yield
        finally:
            signal.set_wakeup_fd(wakeup)
            for number, handler in before.items():
                signal.signal(number, handler)
            waking.close()
            woken.close()

    def _on_signals(self) -> None:
        numbers = b""
        with contextlib.suppress(BlockingIOError):
            numbers = self._wakers[1].recv(256)
        self._reap()
        for number in numbers:
            if number in STOPPING:
                self._stop()
            elif number == signal.SIGHUP:
                self._rollout.ask(None)
            elif number in IGNORED:
                say(f"{signal.Signals(number).name} is ignored: {IGNORED[signal.Signals(number)]}")
        self._rollout.go_on()

    # ── stop ──

    def _stop(self) -> None:
        """A signal to stop: the first winds down, the second cuts."""
        if self._stopping:
            self._status = 1
            self._release_at = self._drain_at = inf
            self._kill_at = monotonic() + CLOSE_TIMEOUT
            self._addresses.close()
            self._crew.covers = False
            self._crew.to_all(Cut())
            return
        self._stopping = True
        self._rollout.end()
        pre_stop = self._rollout.loaded.config.gateway.timeouts.pre_stop
        self._crew.to_all(WindDown())
        self._release_at = monotonic() + pre_stop
        if pre_stop:
            say(f"stopping in {pre_stop:g} s")

    def _release(self) -> None:
        """The time to drain has come. A worker that does not answer does not hold it up for long."""
        self._release_at = inf
        self._crew.cover()
        self._crew.covers = False
        self._drain_at = monotonic() + RELEASE_TIMEOUT
        self._crew.to_all(Release())
        self._drain_if_released()

    def _drain_if_released(self) -> None:
        if self._drain_at != inf and not any(seat.holds_others for seat in self._crew.living):
            self._drain()

    def _drain(self) -> None:
        self._drain_at = inf
        drain = self._rollout.loaded.config.gateway.timeouts.drain
        self._kill_at = monotonic() + drain + CLOSE_TIMEOUT + TRACE_TIMEOUT
        self._addresses.stop_queueing(())
        self._addresses.close()
        self._crew.to_all(Drain())

    def _kill_rest(self) -> None:
        """Workers that have not ended in time."""
        self._kill_at = inf
        self._status = 1
        for seat in self._crew.living:
            say(f"{seat.name} does not end: killed")
            kill(seat, signal.SIGKILL)


def _nothing(number: int, frame: object) -> None:
    """Its number is written to the socket that `poll` watches."""
