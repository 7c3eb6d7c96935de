"""One of several processes that serve. It does what its supervisor says (see `channel`), and hears no signal: a service
manager may send its signals to every process of a service, and a terminal does.

A worker whose supervisor is gone stops as if it had been told to, since nobody would replace it.
"""

import asyncio
import contextlib
import faulthandler
import signal
from collections.abc import Coroutine, Sequence
from typing import TYPE_CHECKING

from rawgate.config.files import Files
from rawgate.net.fetch import Document, FetchError
from rawgate.observe.access_log import CLOSE_TIMEOUT, AccessLog
from rawgate.serve.channel import (
    Abandon,
    Accept,
    Channel,
    Check,
    Checked,
    Cut,
    Drain,
    Ejected,
    Fetch,
    Fetched,
    Found,
    News,
    Opened,
    Ping,
    Pong,
    Prepare,
    Prepared,
    Read,
    Ready,
    Release,
    Released,
    Reloaded,
    Said,
    Seek,
    Switch,
    Switched,
    WasRead,
    WindDown,
)
from rawgate.serve.common_fetch import CommonFetch
from rawgate.serve.keys import Source as KeySource
from rawgate.serve.listening import Addresses, StartError
from rawgate.serve.load import Loaded
from rawgate.serve.memory import collect_rarely, keep_a_margin, set_aside_anew
from rawgate.serve.reload import Source, in_thread, problems_of
from rawgate.serve.service import Service, close_pools, run_on_uvloop, serving
from rawgate.serve.status import LastReload
from rawgate.serve.telling import say
from rawgate.serve.worker_quotas import WorkerQuotas

if TYPE_CHECKING:
    import socket

    from rawgate.relay.pool import Pool
    from rawgate.serve.admin import Plan

TRACED = signal.SIGABRT
"""The signal that makes a worker write a stack trace of every thread to stderr, and end: `faulthandler` does so in C,
whatever Python code is stuck."""

UNHEARD = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)


def forget_signals() -> None:
    """For a process that was just forked: its parent's signals are not for it."""
    signal.set_wakeup_fd(-1)
    for number in UNHEARD:
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    faulthandler.enable()


class Worker:
    """Serves as its supervisor says, over `channel`.

    number  from 0 on
    life    the number of this process, among those that have had this number: from 1 on
    source  where new configurations come from
    loaded  the present one
    """

    def __init__(
        self,
        number: int,
        life: int,
        source: Source,
        loaded: Loaded,
        addresses: Addresses,
        quotas: WorkerQuotas,
        plan: "Plan | None",
        channel: Channel,
        known: Sequence[News],
    ) -> None:
        """plan: of the admin listener, where there is one. known: of the health of targets."""
        self._number = number
        self._life = life
        self._forgotten: set[tuple[int, int]] = set()  # siblings that are gone, and whose quotas were given back
        self._plan = plan
        self._source = source
        self._loaded = loaded
        self._addresses = addresses
        self._quotas = quotas
        self._channel = channel
        self._known = known
        self._accepts: tuple[int, ...] = (number,)
        self._said: asyncio.Queue[Said] = asyncio.Queue()
        self._over = asyncio.Event()
        self._drains = False
        self._is_cut = False
        self._was_read: tuple[int, Loaded] | None = None
        self._prepared: tuple[int, Loaded, dict[str, Pool]] | None = None
        self._opened: dict[str, list[socket.socket]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._service: Service | None = None
        self._keys = CommonFetch(self._really_fetch, self._say, self._take_keys)

    def run(self, stdout: int) -> int:
        """Serve until told to stop. Returns the exit status. stdout: where the access log goes."""
        log = AccessLog(stdout, report=say)
        log.quiet = frozenset(self._loaded.config.gateway.log.quiet)
        log.start()
        try:
            return run_on_uvloop(self._serve(log))
        finally:
            log.close(CLOSE_TIMEOUT)

    async def _serve(self, log: AccessLog) -> int:
        loop, source, sockets = asyncio.get_running_loop(), self._source, self._addresses.of_workers(self._accepts)
        quotas = self._quotas.of_worker(self._number, self._life, loop)
        new_id, date, plan = source.new_id, source.date, self._plan
        counting = None if plan is None else plan.counting(self._number, log, loop)
        async with (
            serving(
                self._loaded,
                log if counting is None else counting.sink,
                sockets,
                new_id=new_id,
                date=date,
                report=say,
                quotas=quotas,
                workers=self._quotas.workers,
                fetch=self._keys,
                found=self._say,
                tell=source.report,
                say_health=self._say,
                number=self._number,
            ) as service,
            contextlib.AsyncExitStack() as stack,
        ):
            if plan is not None and counting is not None:
                await stack.enter_async_context(plan.administered(service, counting, new_id=new_id, date=date))
            self._service = service
            service.health.learn(self._known)
            loop.add_reader(self._channel, self._hear, service)
            collect_rarely()
            keep_a_margin()
            self._say(Ready())
            while not isinstance(message := await self._said.get(), Drain):
                await self._obey(message, service, log)
            self._drains = True
            await service.finish(self._addresses, self._over, say)
        return 1 if self._is_cut else 0

    def _say(self, message: Said) -> None:
        self._channel.send(message)
        self._flush()

    def _flush(self) -> None:
        loop = asyncio.get_running_loop()
        self._channel.flush()
        if self._channel.is_full:
            loop.add_writer(self._channel, self._flush)
        else:
            loop.remove_writer(self._channel)

    def _hear(self, service: Service) -> None:
        """Take what the supervisor has said. What is quick, or cannot wait, is done at once; all else in turn."""
        for message in self._channel.receive():
            match message:
                case Ping():
                    self._say(Pong())
                case Opened(name, sockets):
                    self._opened[name] = self._channel.take_sockets(sockets)
                case WindDown():
                    service.wind_down()
                case Cut():
                    self._is_cut = True
                    self._over.set()
                    self._said.put_nowait(Drain())
                case Fetch() | Fetched() | Seek() | Found() | Check() | Checked() | Ejected() | Reloaded():
                    self._learn(message, service)
                case _:
                    self._said.put_nowait(message)
        if self._channel.ended:
            asyncio.get_running_loop().remove_reader(self._channel)
            if not self._drains:
                say("the supervisor is gone: stopping")
                service.wind_down()
                self._said.put_nowait(Drain())

    def _learn(self, message: Fetch | Fetched | Seek | Found | Check | News | Reloaded, service: Service) -> None:
        """Take what concerns all workers."""
        match message:
            case Seek():
                service.discovery.seek()
            case Found():
                service.discovery.take(message)
            case Fetch():
                self._start(self._keys.fetch(message))
            case Fetched():
                self._keys.fetched(message)
            case Check(succeeds, failed):
                service.health.check(succeeds, failed)
            case Checked() | Ejected():
                service.health.hear(message)
            case Reloaded(moment, done, lines) if self._plan is not None:
                self._plan.last_reload = LastReload(moment, done, lines)

    async def _obey(self, message: Said, service: Service, log: AccessLog) -> None:
        match message:
            case Accept(workers, gone):
                self._accepts = workers
                await service.accept_on(self._addresses.of_workers(workers))
                for number, life in set(gone) - self._forgotten:
                    self._quotas.forget(number, life)
                self._forgotten |= set(gone)
            case Read(number):
                self._start(self._read(number, service))
            case Prepare(number, files):
                # In a task: it takes a while, and a stop must not wait for it.
                self._start(self._prepare(number, Files(files), service))
            case Switch(number):
                await self._switch(number, service, log)
            case Abandon():
                self._forget()
            case Release():
                self._addresses.close_others(self._accepts)
                self._say(Released())

    def _start(self, work: Coroutine[object, object, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _read(self, number: int, service: Service) -> None:
        files, before = Files(), service.loaded
        problems: Sequence[str] = ()
        try:
            self._was_read = number, await in_thread(lambda: self._source.prepare(files, before))
        except Exception as error:  # noqa: BLE001 - who asked must hear of it, whatever it is
            problems = problems_of(error)
        self._say(WasRead(number, files.contents, tuple(problems)))

    async def _prepare(self, number: int, files: Files, service: Service) -> None:
        before = service.loaded
        problems: Sequence[str] = ()
        try:
            if self._was_read is not None and self._was_read[0] == number:
                loaded = self._was_read[1]
            else:
                loaded = await in_thread(lambda: self._source.prepare(files, before))
            self._refuse_shortage()
            self._prepared = number, loaded, service.new_pools(loaded)
        except Exception as error:  # noqa: BLE001 - who asked must hear of it, whatever it is
            problems = problems_of(error)
        self._say(Prepared(number, tuple(problems)))

    def _refuse_shortage(self) -> None:
        """Raise StartError if this process has not got all new sockets, or no descriptor for a copy of each, which it
        accepts on."""
        copies: list[socket.socket] = []
        try:
            for name, sockets in self._opened.items():
                if not sockets:
                    raise StartError(f"a worker has no descriptors left for the sockets of {name}")
                copies.append(sockets[0].dup())
        except OSError as error:
            raise StartError(str(error)) from error
        finally:
            for copy in copies:
                copy.close()

    async def _switch(self, number: int, service: Service, log: AccessLog) -> None:
        if self._prepared is None or self._prepared[0] != number:
            return
        _, loaded, made = self._prepared
        wanted = loaded.config.gateway.listen
        self._addresses.take(wanted, self._opened)
        gone = self._addresses.leave(wanted)
        self._was_read, self._prepared, self._opened = None, None, {}
        log.quiet = frozenset(loaded.config.gateway.log.quiet)
        if self._plan is not None:
            self._plan.renew(loaded.config)
        sockets = self._addresses.of_workers(self._accepts)
        service.renew(loaded, made, sockets)
        await service.accept_rest(gone)
        await service.accept_on(sockets)
        set_aside_anew()
        self._say(Switched(number))

    async def _really_fetch(self, source: KeySource) -> Document:
        if self._service is None:
            raise FetchError("the worker that fetches does not serve yet")
        return await self._service.fetcher(source)

    def _take_keys(self, source: KeySource, document: Document) -> bool:
        return self._service is not None and self._service.keys.take(source, document)

    def _forget(self) -> None:
        """Nothing is prepared any more."""
        self._was_read = None
        self._channel.forget_shortage()
        if self._prepared is not None:
            close_pools(self._prepared[2].values())
            self._prepared = None
        for sockets in self._opened.values():
            for sock in sockets:
                sock.close()
        self._opened = {}
