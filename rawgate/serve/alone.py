"""One process that serves alone: it obeys signals and `rawgate reload` itself. `run` says what a stop does."""

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable
from typing import TYPE_CHECKING

from rawgate.config.model import Config
from rawgate.observe.access_log import AccessLog
from rawgate.serve.control import COMMAND_TIMEOUT, Caller, Callers, Control
from rawgate.serve.listening import Addresses
from rawgate.serve.load import Loaded
from rawgate.serve.memory import collect_rarely, keep_a_margin, set_aside
from rawgate.serve.reload import Reloader, Source
from rawgate.serve.service import Service, serving
from rawgate.serve.telling import say

if TYPE_CHECKING:
    from rawgate.serve.admin import Plan

STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)
"""Signals that ask for the end; nginx ends gracefully with the last one."""

IGNORED = {
    signal.SIGUSR1: "there is no log file to open again; see Rotation in operating.md",
    signal.SIGUSR2: "a running program cannot be replaced; start another one",
}
"""Signals that other servers take as commands. Unhandled, each of them would end the process."""


async def serve_alone(
    source: Source,
    loaded: Loaded,
    addresses: Addresses,
    control: Control,
    log: AccessLog,
    plan: "Plan | None",
    announce: Callable[[], None],
) -> int:
    """Serve until told to stop. Returns the exit status. plan: of the admin listener, where there is one. announce:
    says where the gateway listens."""
    loop = asyncio.get_running_loop()
    signals = ShutdownSignals(loop)
    for number, why in IGNORED.items():
        loop.add_signal_handler(number, say, f"{number.name} is ignored: {why}")
    sockets, new_id, date = addresses.of_workers([0]), source.new_id, source.date
    log.quiet = frozenset(loaded.config.gateway.log.quiet)
    counting = None if plan is None else plan.counting(0, log, loop)
    sink = log if counting is None else counting.sink
    async with (
        serving(loaded, sink, sockets, new_id=new_id, date=date, report=say, tell=source.report) as service,
        contextlib.AsyncExitStack() as stack,
    ):
        if plan is not None and counting is not None:
            await stack.enter_async_context(plan.administered(service, counting, new_id=new_id, date=date))
        announce()

        def renewed(config: Config) -> list[str]:
            log.quiet = frozenset(config.gateway.log.quiet)
            return [] if plan is None else plan.renew(config)

        Commands(loop, control, Reloader(source, service, addresses, renewed), plan)
        set_aside()
        collect_rarely()
        keep_a_margin()
        say(f"ready; {summary(loaded.config)}, pid {os.getpid()}")
        status = await until_stopped(service, addresses, signals)
    say("stopped")
    return status


class Commands:
    """Reloads that are asked for, by SIGHUP or by `rawgate reload`: each is told on stderr."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, control: Control, reloader: Reloader, plan: "Plan | None" = None
    ) -> None:
        """plan: of the admin listener, which tells of the last one."""
        self._loop = loop
        self._plan = plan
        self._reloader = reloader
        self._tasks: set[asyncio.Task[None]] = set()
        self._callers = Callers(control, loop.add_reader, loop.remove_reader, self._begin)
        loop.add_signal_handler(signal.SIGHUP, self._begin, None)
        if control.is_ours:
            loop.add_reader(control, self._accept)

    def _begin(self, caller: Caller | None) -> None:
        task = self._loop.create_task(self._reload(caller))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _reload(self, caller: Caller | None) -> None:
        outcome = await self._reloader.reload()
        for line in outcome.lines:
            say(line)
        if self._plan is not None:
            self._plan.note_reload(outcome)
        if caller is not None:
            caller.answer(outcome.done, outcome.lines)

    def _accept(self) -> None:
        self._callers.accept()
        # A little later than the time is over: the loop's clock has whole milliseconds.
        self._loop.call_later(COMMAND_TIMEOUT + 0.01, self._callers.tick)


class ShutdownSignals:
    """`STOPPING` as events. It must be made before anybody is told that the gateway is there: a signal that comes
    earlier ends the process without draining.

    asked    the first signal came: the process shall end
    at_once  a second one came
    over     nothing is left to wait for: the last connection has gone, or a second signal came
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.asked, self.at_once, self.over = asyncio.Event(), asyncio.Event(), asyncio.Event()
        for number in STOPPING:
            loop.add_signal_handler(number, self._on_signal)

    def _on_signal(self) -> None:
        if self.asked.is_set():
            self.at_once.set()
            self.over.set()
        self.asked.set()


async def until_stopped(service: Service, addresses: Addresses, signals: ShutdownSignals) -> int:
    """Serve until told to stop, then wind down as the configuration says. Returns the exit status: 1 after a
    second signal, which cuts the requests that are left."""
    await signals.asked.wait()
    # Not before the signal: a reload may have changed it.
    pre_stop = service.config.gateway.timeouts.pre_stop
    service.wind_down()
    if pre_stop:
        say(f"stopping in {pre_stop:g} s")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(pre_stop):
                await signals.at_once.wait()
    await service.finish(addresses, signals.over, say)
    return 1 if signals.at_once.is_set() else 0


def summary(config: Config) -> str:
    """What is served, for the operator."""
    routes, upstreams = len(config.routes), len(config.upstreams)
    return f"{routes} route{'s' * (routes != 1)}, {upstreams} upstream{'s' * (upstreams != 1)}"
