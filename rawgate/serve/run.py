"""One gateway process from start to end.

    load → listen → serve → (SIGTERM, SIGINT, SIGQUIT) → pre_stop → drain → exit 0
                    (SIGHUP, `rawgate reload`) → see `serve.reload`

From the signal on, each response says `Connection: close`. During `pre_stop` the process still accepts connections, so
that a load balancer can learn that it is going (Kubernetes: the `preStop` hook). Draining closes the listening sockets
and idle connections, and gives the requests that have begun `drain` seconds. What is left then is cut. A second signal
ends the process at once.
"""

import asyncio
import contextlib
import gc
import os
import signal
import sys
from collections.abc import Callable, Coroutine, Mapping
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Any

import uvloop

from rawgate.config.model import Config
from rawgate.observe.access_log import AccessLog
from rawgate.serve import descriptors
from rawgate.serve.clock import HttpDate, RequestIds
from rawgate.serve.control import controlled
from rawgate.serve.listening import Addresses, handed_over
from rawgate.serve.load import Loaded, load_gate
from rawgate.serve.memory import set_aside
from rawgate.serve.reload import Check, Reloader
from rawgate.serve.service import Service, serving
from rawgate.serve.telling import say, unfailing

GC_THRESHOLDS = (10_000, 50, 1_000)
"""`gc.set_threshold`, instead of CPython's (700, 10, 10): see `_serve`."""

REPORT_EVERY = 1.0
"""Seconds between two reports about one thing, such as a route's failing rewrite: one per request would be a flood."""

LOG_CLOSE_TIMEOUT = 5.0
"""Seconds that the reader of the log has at the end to take what is left."""


def run(path: Path, environ: Mapping[str, str], check: Check) -> int:
    """Serve until told to stop. Returns the exit status. Raises ConfigError, StartError. check: runs the tests of a
    configuration that is to be served in the place of the present one."""
    stdout = sys.stdout.fileno()
    with unfailing():
        return _run(path, environ, check, stdout)


def _run(path: Path, environ: Mapping[str, str], check: Check, stdout: int) -> int:
    date, new_id, report = HttpDate(), RequestIds(), Throttled(say, monotonic)
    loaded = load_gate(path, environ, new_id=new_id, date=date, report=report)
    for warning in loaded.warnings:
        say(warning)
    shortage = descriptors.shortage(loaded.config, descriptors.raise_limit())
    if shortage:
        say(shortage)
    log = AccessLog(stdout, report=say)
    log.start()
    try:
        reloader = partial(Reloader, path, environ, new_id=new_id, date=date, report=report, check=check)
        return run_on_uvloop(_serve(path, environ, loaded, date, new_id, log, reloader))
    finally:
        log.close(LOG_CLOSE_TIMEOUT)


def run_on_uvloop(coroutine: Coroutine[Any, Any, int]) -> int:
    """Run a coroutine to its end on an event loop of its own. Returns its result."""
    with contextlib.closing(uvloop.new_event_loop()) as loop:
        return loop.run_until_complete(coroutine)


class Throttled:
    """A `Report` that passes on one line a second about each route or limit, and says with the next line how many it
    left out."""

    def __init__(self, say: Callable[[str], None], clock: Callable[[], float]) -> None:
        self._say = say
        self._clock = clock
        self._quiet: dict[str, tuple[float, int]] = {}  # until when, and how many were kept back

    def __call__(self, about: str, text: str) -> None:
        now = self._clock()
        until, kept = self._quiet.get(about, (-REPORT_EVERY, 0))
        if now < until:
            self._quiet[about] = (until, kept + 1)
            return
        self._quiet[about] = (now + REPORT_EVERY, 0)
        self._say(f"{text} ({kept} more since the last report)" if kept else text)


async def _serve(
    path: Path,
    environ: Mapping[str, str],
    loaded: Loaded,
    date: HttpDate,
    new_id: RequestIds,
    log: AccessLog,
    reloader: Callable[[Service, Addresses], Reloader],
) -> int:
    loop = asyncio.get_running_loop()
    signals = ShutdownSignals(loop)
    ignore_other_commands(loop, say)
    async with contextlib.AsyncExitStack() as stack:
        addresses = stack.enter_context(contextlib.closing(Addresses(handed=handed_over(environ))))
        addresses.add(loaded.config.gateway.listen)
        for name in addresses.unused:
            say(f"warning: a socket for {name} was handed over, and gateway.listen does not name it")
        sockets = addresses.sockets_of(0)
        service = await stack.enter_async_context(serving(loaded, log, sockets, new_id=new_id, date=date, report=say))
        reload = Reloads(loop, reloader(service, addresses), say)
        if not await stack.enter_async_context(controlled(path, {"reload": reload})):
            say(f"another gateway serves {path} too: `rawgate reload` reaches that one only; SIGHUP reaches this one")
        for url in addresses.urls:
            say(f"listening on {url}")
        set_aside()
        # Nearly nothing that is made per request is part of a cycle, so the collector finds little. But a full
        # collection over 5,000 open connections took 205 ms, in which nobody was served. So old objects are looked at
        # rarely.
        gc.set_threshold(*GC_THRESHOLDS)
        say(f"ready; {_count(loaded.config)}")
        status = await until_stopped(service, addresses, signals, say)
    say("stopped")
    return status


class Reloads:
    """Reloads that are asked for, by SIGHUP or by `rawgate reload`: each is told on stderr."""

    def __init__(self, loop: asyncio.AbstractEventLoop, reloader: Reloader, say: Callable[[str], None]) -> None:
        self._loop = loop
        self._reloader = reloader
        self._say = say
        self._tasks: set[asyncio.Task[object]] = set()
        loop.add_signal_handler(signal.SIGHUP, self._on_signal)

    def _on_signal(self) -> None:
        task: asyncio.Task[object] = self._loop.create_task(self())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def __call__(self) -> tuple[bool, tuple[str, ...]]:
        """Reload, and return whether it went well, and the report."""
        outcome = await self._reloader.reload()
        for line in outcome.lines:
            self._say(line)
        return outcome.done, outcome.lines


class ShutdownSignals:
    """SIGTERM, SIGINT and SIGQUIT (with which nginx ends gracefully) as events. It must be made before anybody is told
    that the gateway is there: a signal that comes earlier ends the process without draining.

    asked    the first signal came: the process shall end
    at_once  a second one came
    over     nothing is left to wait for: the last connection has gone, or a second signal came
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.asked, self.at_once, self.over = asyncio.Event(), asyncio.Event(), asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
            loop.add_signal_handler(number, self._on_signal)

    def _on_signal(self) -> None:
        if self.asked.is_set():
            self.at_once.set()
            self.over.set()
        self.asked.set()


IGNORED = {
    signal.SIGUSR1: "there is no log file to open again; see Rotation in operating.md",
    signal.SIGUSR2: "a running program cannot be replaced; start another one",
}
"""Signals that other servers take as commands. Unhandled, each of them would end the process."""


def ignore_other_commands(loop: asyncio.AbstractEventLoop, say: Callable[[str], None]) -> None:
    """Ignore these signals, and tell the operator so."""
    for number, why in IGNORED.items():
        loop.add_signal_handler(number, say, f"{number.name} is ignored: {why}")


async def until_stopped(
    service: Service, addresses: Addresses, signals: ShutdownSignals, say: Callable[[str], None]
) -> int:
    """Serve until told to stop, then wind down as the configuration says. Returns the exit status: 1 after a
    second signal, which cuts the requests that are left."""
    await signals.asked.wait()
    # Not before the signal: a reload may have changed them.
    timeouts = service.config.gateway.timeouts
    service.wind_down()
    if timeouts.pre_stop:
        say(f"stopping in {timeouts.pre_stop:g} s")
        await _within(timeouts.pre_stop, signals.at_once)
    await service.accept_rest()
    addresses.close()
    service.drain(signals.over.set)
    if not signals.over.is_set():
        say(f"draining: {_connections(len(service.connections.open))}, at most {timeouts.drain:g} s")
        await _within(timeouts.drain, signals.over)
    left = await service.cut()
    if left:
        say(f"cut {_connections(left)}")
    return 1 if signals.at_once.is_set() else 0


def _connections(count: int) -> str:
    return f"{count} connection{'s' * (count != 1)}"


async def _within(seconds: float, event: asyncio.Event) -> None:
    """Wait for the event, for so long at most."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()


def _count(config: Config) -> str:
    routes, upstreams = len(config.routes), len(config.upstreams)
    return f"{routes} route{'s' * (routes != 1)}, {upstreams} upstream{'s' * (upstreams != 1)}, pid {os.getpid()}"
