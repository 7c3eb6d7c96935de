"""A new configuration for a process that serves, without a lost request.

    SIGHUP or `rawgate reload` → read → compile → the configuration's own [[tests]] → switch, or leave all as it was

Everything that can fail comes before the switch: a configuration that is refused changes nothing. The switch itself is
one assignment (see `net.generation`): requests that have begun end under the old configuration, the next ones begin
under the new one, on connections that are open too. Counts of limits are kept by the name of the route, connections to
services by the name of the upstream and the place of the endpoint.

Reading and compiling run in a thread, since a configuration with many routes takes a while and clients must not wait
for it. nginx gets the same by starting new workers beside the old ones. With several workers one of them reads, and
each does the rest as one process alone does it (see `serve.rollout`).
"""

import asyncio
import traceback
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from threading import Thread
from time import monotonic

from msgspec import Struct

from rawgate.config.files import Files
from rawgate.config.load import Draft, load
from rawgate.config.model import Config
from rawgate.errors import ConfigError
from rawgate.policy.compile import Report
from rawgate.policy.limits import Limiters, Watch
from rawgate.serve.changes import Changes, compare, from_environment
from rawgate.serve.clock import RequestIds
from rawgate.serve.listening import Addresses, StartError
from rawgate.serve.load import Loaded, compile_draft
from rawgate.serve.memory import set_aside_anew
from rawgate.serve.service import Service, close_pools
from rawgate.serve.store_client import is_there

PREPARE_TIMEOUT = 30.0
"""Seconds for reading and compiling: a file may be a pipe that nobody writes to, or lie on a server that is gone."""

Check = Callable[[Draft, Loaded], list[str]]
"""The configuration's own tests: a line for each that fails."""


class Outcome(Struct, frozen=True):
    """Whether the new configuration is served, and what to tell the operator, line by line."""

    done: bool
    lines: tuple[str, ...]


class Source(Struct, frozen=True):
    """Where a configuration comes from, and what it is compiled with; see `load.compile_draft`.

    path     the file
    environ  of the process's start
    check    runs the configuration's own tests
    watch    counts what limits decide; None: nobody asks for that
    """

    path: Path
    environ: Mapping[str, str]
    check: Check
    new_id: RequestIds
    date: Callable[[], bytes]
    report: Report
    watch: Watch | None = None

    def load(self) -> Draft:
        """Read it, for the start."""
        return load(self.path, self.environ)

    def compile(self, draft: Draft, limiters: Limiters | None = None, before: Loaded | None = None) -> Loaded:
        """Raises ConfigError, and StartError where a package is missing. limiters, before: see `load.compile_draft`."""
        loaded = compile_draft(
            draft,
            new_id=self.new_id,
            date=self.date,
            report=self.report,
            limiters=limiters,
            watch=self.watch,
            before=before,
        )
        if loaded.config.store is not None and not is_there():
            raise StartError('[store] needs the package redis (expected pip install "rawgate[store]")')
        return loaded

    def prepare(self, files: Files, before: Loaded) -> Loaded:
        """For a reload: everything that takes time. before: what is served; its limiters go on. Raises ConfigError."""
        draft = load(self.path, self.environ, files)
        # The tests ask a gate of their own: they count in its limits.
        trial = compile_draft(draft, new_id=self.new_id, date=self.date)
        failed = self.check(draft, trial)
        if failed:
            raise ConfigError(failed)
        return self.compile(draft, before.gate.limiters, before)

    def late(self, seconds: float = PREPARE_TIMEOUT) -> str:
        """What to tell when `prepare` took longer than that."""
        return f"{self.path} was not read and compiled within {seconds:g} s"


class Reloader:
    """Reloads the configuration of the one process that serves it, one reload after the other."""

    def __init__(
        self,
        source: Source,
        service: Service,
        addresses: Addresses,
        renewed: Callable[[Config], list[str]],
    ) -> None:
        """renewed: is told of each configuration when it takes its place; returns lines for the operator."""
        self._source = source
        self._renewed = renewed
        self._service = service
        self._addresses = addresses
        self._started = service.config
        self._turn = asyncio.Lock()

    async def reload(self) -> Outcome:
        """Read the configuration again and serve it, if it can be served."""
        async with self._turn:
            began = monotonic()
            before = self._service.loaded
            try:
                async with asyncio.timeout(PREPARE_TIMEOUT):
                    loaded = await in_thread(lambda: self._source.prepare(Files(), before))
                changes = compare(self._service.config, loaded.config, self._started)
                urls, told = await self._switch(loaded)
            except TimeoutError:
                return refused([self._source.late()])
            except Exception as error:  # noqa: BLE001 - who asked must hear of it, whatever it is
                return refused(problems_of(error))
            set_aside_anew()
            return reloaded(loaded, changes, urls, monotonic() - began, told)

    async def _switch(self, loaded: Loaded) -> tuple[list[str], list[str]]:
        """Serve the new configuration. Returns the URLs of the addresses that are new, and lines for the operator.
        Raises StartError when one of them cannot be opened, or the gateway drains: then nothing has changed."""
        if self._service.connections.draining:
            raise StartError("the gateway is stopping")
        addresses, wanted = self._addresses, loaded.config.gateway.listen
        made = self._service.new_pools(loaded)
        try:
            opened = addresses.add(wanted)
        except StartError:
            close_pools(made.values())
            raise
        told = self._renewed(loaded.config)
        urls = [addresses.open[name].url for name in opened]
        gone = addresses.leave(wanted)
        self._service.renew(loaded, made, addresses.of_workers([0]))
        await self._service.accept_rest(gone)
        # Those that are left: the gateway may have been stopped meanwhile.
        await self._service.accept_on(addresses.of_workers([0]))
        return urls, told


async def in_thread(prepare: Callable[[], Loaded]) -> Loaded:
    """In a thread of its own, that the end of the process does not wait for: a file may be a pipe that nobody writes
    to, or on a server that is gone, and a program may run for ever."""
    future: Future[Loaded] = Future()
    # From now on nobody who stops to wait can cancel it: the thread goes on to its end.
    future.set_running_or_notify_cancel()

    def work() -> None:
        try:
            future.set_result(prepare())
        except BaseException as error:  # noqa: BLE001 - whatever it is, who waits must hear of it
            future.set_exception(error)

    Thread(target=work, name="reload", daemon=True).start()
    return await asyncio.wrap_future(future)


def reloaded(
    loaded: Loaded, changes: Changes, urls: Sequence[str], seconds: float, told: Sequence[str] = ()
) -> Outcome:
    """The report of a reload that went well. urls: of addresses that are new. told: further lines."""
    lines = [f"reloaded in {1000 * seconds:.0f} ms", *changes.lines()]
    lines += [*(f"listening on {url}" for url in urls), *told]
    variables = from_environment(loaded.config)
    if variables:
        lines.append(f"from the environment, as at the start: {', '.join(variables)}")
    return Outcome(True, (*lines, *loaded.warnings))


def problems_of(error: Exception) -> Sequence[str]:
    """Why a configuration cannot be served, for the operator. A mistake of ours is a traceback on stderr, too."""
    if isinstance(error, ConfigError):
        return error.lines
    if isinstance(error, StartError):
        return [str(error)]
    traceback.print_exception(error)
    return [f"{type(error).__name__}: {error}"]


def refused(lines: Sequence[str]) -> Outcome:
    """The report of one that changed nothing, with what is wrong."""
    count = len(lines)
    if any("the environment variable" in line for line in lines):
        lines = (*lines, "a process keeps the environment of its start: a new variable needs a restart")
    return Outcome(False, (f"reload refused for {count} problem{'s' * (count != 1)}; all goes on as it was", *lines))
