"""A loaded configuration while it is served: listening sockets, pools, the book of client connections.

Both that serve, `run` and the demo, do so through `serving`. They differ in where records go and in what a person is
told, so both of these are parameters.
"""

import asyncio
import contextlib
import errno
import os
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

from rawgate.config.model import Config, Limits, Listen, Upstream, listen_name, overlap
from rawgate.errors import RawgateError
from rawgate.message import authority_of
from rawgate.net.client import protocol_factory
from rawgate.net.dialing import Dialer
from rawgate.net.generation import Generation, ListenerOptions
from rawgate.net.listener import ClientConnections, RecordSink
from rawgate.net.names import LookUp, Names, system_look_up
from rawgate.net.upstream import IdleReaper
from rawgate.relay.endpoints import Place
from rawgate.relay.options import ClientOptions, UpstreamOptions
from rawgate.relay.pool import Pool, ignore
from rawgate.serve.load import Loaded, request_rules, response_rules
from rawgate.serve.memory import CONNECTION, Memory, trim_of_this_system

BACKLOG = 4096
"""Connections that the kernel has accepted and we have not (listen(2)). The kernel cuts it to `net.core.somaxconn`,
which is 4096 since Linux 5.4; nginx asks for 511. A full queue drops SYNs, and clients wait a second to try again."""

REPORT_EVERY = 60.0
"""Seconds between two reports of evicted connections."""


class StartError(RawgateError):
    """The gateway cannot start: one sentence that says why and what to do."""


class Service:
    """Everything that is open while a configuration is served. `serving` makes and ends it.

    urls  the addresses, in the order of `gateway.listen`: "http://127.0.0.1:8080", "unix:PATH"
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        loaded: Loaded,
        log: RecordSink,
        new_id: Callable[[], str],
        date: Callable[[], bytes],
        report: Callable[[str], None] = ignore,
        look_up: LookUp = system_look_up,
    ) -> None:
        self.loaded = loaded
        self.urls: list[str] = []
        self._loop = loop
        self._servers: dict[Listen, asyncio.Server] = {}
        self._sockets: dict[str, int] = {}  # Unix sockets that are ours: path → inode
        self._names = Names(loop, report, look_up)
        self._dial = Dialer(loop, response_rules(loaded), self._names)
        self._pools: dict[str, Pool] = {}
        self._report = report
        self._take_pools(loaded.config)
        self.connections = ClientConnections(
            loop=loop, date=date, new_id=new_id, log=log, generation=self._generation(loaded)
        )
        self._memory = Memory(trim_of_this_system())
        self._closed = 0  # client connections that were evicted and not reported yet
        self._quiet_until = 0.0
        self._reaper = IdleReaper(loop, self._pools.values(), self._tidy, self._names.refresh)

    @property
    def config(self) -> Config:
        """The configuration that new requests are served by."""
        return self.loaded.config

    def _generation(self, loaded: Loaded) -> Generation:
        gateway = loaded.config.gateway
        limits, timeouts = gateway.limits, gateway.timeouts
        return Generation(
            loaded.gate.decide,
            request_rules(loaded),
            response_rules(loaded),
            {name: self._pools[name] for name in loaded.config.upstreams},
            ListenerOptions(timeouts.head, timeouts.keep_alive, limits.connections, limits.per_address, limits.buffers),
            ClientOptions(
                timeouts.body,
                timeouts.send,
                limits.body_rate,
                limits.head,
                limits.headers,
                gateway.half_close == "serve",
            ),
        )

    def _refuse_overlap(self, new: Listen) -> None:
        """Raise StartError for an address that has an open one in it, or lies in one: the system refuses it, and would
        have us blame another program."""
        for old in self._servers:
            if overlap(new, old):
                where, there = listen_name(new), listen_name(old)
                raise StartError(f"cannot listen on {where} while this gateway listens on {there}: it takes a restart")

    def _change_modes(self, wanted: set[Listen]) -> None:
        """A Unix socket whose mode alone differs stays: its file gets the new mode. Raises StartError."""
        paths = {listen.path: listen for listen in wanted if listen.path}
        for listen in [listen for listen in self._servers if listen.path in paths]:
            other = paths[listen.path]
            if other != listen:
                try:
                    Path(other.path).chmod(_default_mode() if other.mode is None else other.mode)
                except OSError as error:
                    raise StartError(f"cannot change the mode of unix:{other.path}: {error.strerror}") from error
                self._servers[other] = self._servers.pop(listen)

    def _take_pools(self, config: Config) -> None:
        """One pool for each upstream: a known one goes on, with its connections, under the new options."""
        for name, spec in config.upstreams.items():
            options = _upstream_options(name, spec, config.gateway.limits)
            if name in self._pools:
                self._pools[name].renew(options)
            else:
                self._pools[name] = Pool(options, self._dial, self._report)

    async def listen(self, hint: str) -> None:
        """Open every address of `gateway.listen`. hint: how a person chooses another address, for the StartError."""
        for listen in self.config.gateway.listen:
            self.urls.append(await self._listen_on(listen, hint))
        self._watch_names()

    async def _listen_on(self, listen: Listen, hint: str) -> str:
        try:
            self._servers[listen], url = await self._open(listen)
        except OSError as error:
            raise StartError(f"cannot listen on {listen_name(listen)}: {_advice(listen, error, hint)}") from error
        return url

    def _watch_names(self) -> None:
        self._names.watch(target.host for spec in self.config.upstreams.values() for target in spec.targets)

    async def renew(self, loaded: Loaded) -> list[str]:
        """Serve this configuration from the next request on. Returns the URLs of the addresses that are new. Raises
        StartError when one of them cannot be opened, or the gateway drains: then nothing has changed."""
        wanted = set(loaded.config.gateway.listen)
        held = {listen.path for listen in self._servers if listen.path}
        opened: dict[Listen, str] = {}
        try:
            for listen in sorted(wanted - set(self._servers), key=str):
                self._refuse_while_draining()
                self._refuse_overlap(listen)
                if listen.path not in held:
                    opened[listen] = await self._listen_on(listen, "change gateway.listen")
            self._refuse_while_draining()
            self._change_modes(wanted)
        except StartError:
            for listen in opened:
                self._stop_listening_on(listen)
            raise
        self._take_pools(loaded.config)
        self.loaded = loaded
        self.connections.renew(self._generation(loaded))
        for listen in set(self._servers) - wanted:
            self._stop_listening_on(listen)
        for name in set(self._pools) - set(loaded.config.upstreams):
            for upstream in self._pools.pop(name).close():
                upstream.close()
        self._watch_names()
        return list(opened.values())

    def _refuse_while_draining(self) -> None:
        if self.connections.draining:
            raise StartError("the gateway is stopping")

    async def _open(self, listen: Listen) -> tuple[asyncio.Server, str]:
        accept = protocol_factory(self.connections)
        if listen.path:
            await self._leave_to_others(listen.path)
            with _made_with(listen.mode):
                server = await self._loop.create_unix_server(accept, listen.path, backlog=BACKLOG)
            self._sockets[listen.path] = _inode(listen.path)
            return server, f"unix:{listen.path}"
        server = await self._loop.create_server(accept, listen.host, listen.port, backlog=BACKLOG)
        port = server.sockets[0].getsockname()[1]
        return server, f"http://{authority_of(listen.host, port)}"

    async def _leave_to_others(self, path: str) -> None:
        """Refuse the name of a Unix socket that another process serves: uvloop would take it over without a word. A
        socket that nobody serves is a leftover, and uvloop may replace it."""
        try:
            transport, _ = await self._loop.create_unix_connection(asyncio.Protocol, path)
        except OSError:
            return
        transport.close()
        raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))

    def _tidy(self) -> None:
        """Every few seconds: look after memory; see `net.buffer_budget` and `serve.memory`."""
        connections, buffers = self.connections, self.connections.buffers
        connections.tidy()
        rest = CONNECTION * len(connections.open)
        self._memory.look(buffers.total + rest, buffers.peak + rest)
        self._closed += buffers.closed
        buffers.renew()
        if self._closed and self._loop.time() >= self._quiet_until:
            self._quiet_until = self._loop.time() + REPORT_EVERY
            self._report(
                f"clients left more unread or unsent than gateway.limits.buffers ({buffers.limit:,} octets in all): "
                f"the connections that held most were closed, {self._closed:,} of them"
            )
            self._closed = 0

    def wind_down(self) -> None:
        """Serve on, but let each response say that it is the last one on its connection."""
        self.connections.wind_down()

    def drain(self, emptied: Callable[[], None]) -> None:
        """Accept no new connections, and serve the requests that have begun. Calls `emptied` when the last connection
        is gone."""
        self._stop_listening()
        self.connections.drain(emptied)

    async def cut(self) -> int:
        """End every client connection now. Returns how many there were."""
        left = len(self.connections.open)
        self.connections.abort()
        if left:
            # One more turn of the loop, in which each of them learns of its loss and writes its record.
            await asyncio.sleep(0)
        return left

    def close(self) -> None:
        """Close everything that is open, except client connections."""
        self._stop_listening()
        self._reaper.stop()
        self._dial.cancel()
        self._names.close()
        for pool in self._pools.values():
            for upstream in pool.close():
                upstream.close()

    def _stop_listening(self) -> None:
        for listen in list(self._servers):
            self._stop_listening_on(listen)

    def _stop_listening_on(self, listen: Listen) -> None:
        self._servers.pop(listen).close()
        inode = self._sockets.pop(listen.path, None)
        if inode is not None:
            with contextlib.suppress(OSError):
                if _inode(listen.path) == inode:
                    Path(listen.path).unlink()


@contextlib.asynccontextmanager
async def serving(
    loaded: Loaded,
    log: RecordSink,
    *,
    new_id: Callable[[], str],
    date: Callable[[], bytes],
    hint: str = "change gateway.listen",
    report: Callable[[str], None] = ignore,
) -> AsyncIterator[Service]:
    """Serve while the block lasts. Raises StartError when an address cannot be opened.

    new_id, date  the functions that the gate was compiled with
    hint          how a person chooses another address, for the StartError
    report        is told, line by line, what the operator should know

    Connections that are still open at the end are cut.
    """
    service = Service(asyncio.get_running_loop(), loaded, log, new_id, date, report)
    try:
        await service.listen(hint)
        yield service
    finally:
        await service.cut()
        service.close()


@contextlib.contextmanager
def _made_with(mode: int | None) -> Iterator[None]:
    """Files that are made during the block have this mode from their first moment. A `chmod` afterwards would be too
    late: somebody could have connected. The umask belongs to the whole process, and nothing else makes files at that
    time."""
    if mode is None:
        yield
        return
    before = os.umask(~mode & 0o777)
    try:
        yield
    finally:
        os.umask(before)


def _default_mode() -> int:
    """The mode of a Unix socket for which none is configured: as bind(2) makes it."""
    umask = os.umask(0)
    os.umask(umask)
    return 0o777 & ~umask


def _inode(path: str) -> int:
    return Path(path).stat().st_ino


def _upstream_options(name: str, spec: Upstream, limits: Limits) -> UpstreamOptions:
    return UpstreamOptions(
        name=name,
        places=tuple(Place(host=target.host, port=target.port) for target in spec.targets),
        connect_timeout=spec.connect_timeout,
        response_timeout=spec.response_timeout,
        idle_timeout=spec.idle_timeout,
        total_timeout=spec.total_timeout,
        max_connections=spec.max_connections,
        keep_alive=spec.keep_alive,
        queue=spec.queue,
        queue_timeout=spec.queue_timeout,
        per_client=max(1, spec.max_connections // 4) if spec.per_client is None else spec.per_client,
        reuse_after_body=spec.reuse == "always",
        max_tunnels=limits.connections if spec.max_tunnels is None else spec.max_tunnels,
        tunnel_idle=spec.tunnel_idle,
        tunnel_max_age=spec.tunnel_max_age,
    )


def _advice(listen: Listen, error: OSError, hint: str) -> str:
    """The system's words for an error, and what a person can do about it. 98 and 48 are EADDRINUSE, on Linux and on
    macOS."""
    said = os.strerror(error.errno) if error.errno else str(error)
    match error:
        case OSError(errno=98 | 48) if listen.path:
            return f"{said}; something else has this name: remove it, or {hint}"
        case _ if listen.path:
            return f"{said}; its folder must be there, and the user who starts rawgate must be allowed to write to it"
        case PermissionError():
            return f"{said}; ports under 1024 need privileges: take a higher one, or give CAP_NET_BIND_SERVICE"
        case OSError(errno=98 | 48):
            return f"{said}; another program has this port: stop it, or {hint}"
    return f"{said}; is this an address of this host?"
