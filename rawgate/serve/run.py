"""One gateway process from start to end.

    load → listen → serve → (SIGTERM, SIGINT, SIGQUIT) → pre_stop → drain → exit 0

From the signal on each response says `Connection: close`. `pre_stop` keeps serving, so that a load balancer can learn
that this process is going. Draining closes the listening sockets and idle connections, and gives what has begun `drain`
seconds; what is left then is reset. A second signal ends the process at once.
"""

import asyncio
import contextlib
import gc
import os
import signal
import sys
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from time import monotonic
from typing import Any

import uvloop

from rawgate.config.model import Config
from rawgate.observe.access_log import AccessLog
from rawgate.serve import descriptors
from rawgate.serve.clock import Calendar, RequestIds
from rawgate.serve.load import Loaded, load_gate
from rawgate.serve.service import Service, serving
from rawgate.serve.telling import say, unfailing

GC_THRESHOLDS = (10_000, 50, 1_000)

SELDOM = 1.0
"""Seconds between two reports about one route's failing rewrite: with every request, they would be a flood."""

LOG_CLOSE_TIMEOUT = 5.0
"""Seconds that a reader of the log has to take what is left at the end."""


def run(path: Path, environ: Mapping[str, str]) -> int:
    """Serve until told to stop. Returns the exit status. Raises ConfigError, StartError."""
    stdout = sys.stdout.fileno()
    with unfailing():
        return _run(path, environ, stdout)


def _run(path: Path, environ: Mapping[str, str], stdout: int) -> int:
    calendar, new_id = Calendar(), RequestIds()
    loaded = load_gate(path, environ, new_id=new_id, date=calendar, report=Seldom(say, monotonic))
    for warning in loaded.warnings:
        say(warning)
    shortage = descriptors.shortage(loaded.config, descriptors.raise_limit())
    if shortage:
        say(shortage)
    log = AccessLog(stdout, report=say)
    log.start()
    try:
        return run_on_uvloop(_serve(loaded, calendar, new_id, log))
    finally:
        log.close(LOG_CLOSE_TIMEOUT)


def run_on_uvloop(coroutine: Coroutine[Any, Any, int]) -> int:
    """Run a coroutine to its end, on an event loop of its own. Returns what it returns."""
    with contextlib.closing(uvloop.new_event_loop()) as loop:
        return loop.run_until_complete(coroutine)


class Seldom:
    """Says one thing a second about each route or limit, and with the next one how many it kept to itself."""

    def __init__(self, say: Callable[[str], None], clock: Callable[[], float]) -> None:
        self._say = say
        self._clock = clock
        self._quiet: dict[str, tuple[float, int]] = {}  # until when, and how many were kept back

    def __call__(self, about: str, text: str) -> None:
        now = self._clock()
        until, kept = self._quiet.get(about, (-SELDOM, 0))
        if now < until:
            self._quiet[about] = (until, kept + 1)
            return
        self._quiet[about] = (now + SELDOM, 0)
        self._say(f"{text} ({kept} more since the last report)" if kept else text)


async def _serve(loaded: Loaded, calendar: Calendar, new_id: RequestIds, log: AccessLog) -> int:
    loop = asyncio.get_running_loop()
    stop = Stop(loop)
    ignore(loop, say)
    async with serving(loaded, log, new_id=new_id, date=calendar, report=say) as service:
        for url in service.urls:
            say(f"listening on {url}")
        # What is loaded stays: the collector need not look at it again.
        gc.collect()
        gc.freeze()
        # Nearly nothing here is part of a cycle, so the collector finds little; but a full collection over 5,000 open
        # connections took 205 ms, in which nobody is served. Young objects are looked at as before, old ones rarely.
        gc.set_threshold(*GC_THRESHOLDS)
        say(f"ready; {_count(loaded.config)}")
        status = await until_stopped(service, stop, say)
    say("stopped")
    return status


class Stop:
    """SIGTERM, SIGINT and SIGQUIT (nginx's word for it), heard from the moment that this is made: before anybody is
    told that the gateway is there.

    asked    the process shall end
    at_once  it was told so twice
    over     nothing is left to wait for
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
    signal.SIGHUP: "a configuration cannot be reloaded yet; restart instead",
    signal.SIGUSR1: "there is no log file to open again; see Rotation in operating.md",
    signal.SIGUSR2: "a running program cannot be replaced; start another one",
}
"""Signals that other servers take as commands, and that would end a process which does not expect them."""


def ignore(loop: asyncio.AbstractEventLoop, say: Callable[[str], None]) -> None:
    """Let these pass, and say so."""
    for number, why in IGNORED.items():
        loop.add_signal_handler(number, say, f"{number.name} is ignored: {why}")


async def until_stopped(service: Service, stop: Stop, say: Callable[[str], None]) -> int:
    """Serve until told to stop, then come to an end as the configuration says. Returns the exit status."""
    timeouts = service.config.gateway.timeouts
    await stop.asked.wait()
    service.wind_down()
    if timeouts.pre_stop:
        say(f"stopping in {timeouts.pre_stop:g} s")
        await _within(timeouts.pre_stop, stop.at_once)
    service.drain(stop.over.set)
    if not stop.over.is_set():
        say(f"draining: {_connections(len(service.connections.open))}, at most {timeouts.drain:g} s")
        await _within(timeouts.drain, stop.over)
    left = await service.cut()
    if left:
        say(f"cut {_connections(left)}")
    return 1 if stop.at_once.is_set() else 0


def _connections(count: int) -> str:
    return f"{count} connection{'s' * (count != 1)}"


async def _within(seconds: float, event: asyncio.Event) -> None:
    """Wait for the event, but not longer."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()


def _count(config: Config) -> str:
    routes, upstreams = len(config.routes), len(config.upstreams)
    return f"{routes} route{'s' * (routes != 1)}, {upstreams} upstream{'s' * (upstreams != 1)}, pid {os.getpid()}"
