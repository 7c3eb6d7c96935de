"""A loaded configuration while it is served: listening sockets, pools, the book of client connections.

Both that serve, `run` and the demo, do so through `serving`. They differ in where records go and in what a person is
told, so both of these are parameters.
"""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Iterable, Iterator, Mapping
from random import random
from time import monotonic
from typing import Any

import uvloop

from rawgate.config.model import Config, Listen, Target, listen_name
from rawgate.message import authority_of
from rawgate.net.arrival import Entrance, entering
from rawgate.net.dialing import Dialer
from rawgate.net.generation import Generation, ListenerOptions
from rawgate.net.instances import Source
from rawgate.net.listener import ClientConnections, RecordSink
from rawgate.net.names import LookUp, Names, system_look_up
from rawgate.net.turn import Turn
from rawgate.net.upstream import IdleReaper
from rawgate.policy.compile import Report
from rawgate.policy.compile import ignore as ignore_report
from rawgate.relay.endpoints import Endpoint, Endpoints
from rawgate.relay.guard import Guard
from rawgate.relay.options import ClientOptions, UpstreamOptions
from rawgate.relay.pool import Pool, ignore
from rawgate.relay.quota import NoRoomError, Quota, Quotas
from rawgate.relay.retries import ALWAYS
from rawgate.serve.channel import Found
from rawgate.serve.discovery import Discovery, nameservers_of
from rawgate.serve.health_keeper import HealthKeeper, Say
from rawgate.serve.keys import Fetch, Fetcher, KeyKeeper
from rawgate.serve.listening import BACKLOG, Address, Addresses, StartError
from rawgate.serve.load import Loaded, name_of, request_rules, response_rules, source_of, upstream_options
from rawgate.serve.memory import CONNECTION, Memory, trim_of_this_system
from rawgate.serve.stores import StoreKeeper
from rawgate.serve.tunnel_terms import tunnel_terms

HANDSHAKE = 0.02
"""Seconds that a client has, when an address closes, to end the TCP handshake that it has begun: some round trips of a
network nearby. One that is farther away, and came in its last moment, is reset."""

REPORT_EVERY = 60.0
"""Seconds between two reports of evicted connections."""


class Service:
    """Everything that a process has open while it serves a configuration, but for the listening sockets, which are
    handed in. `serving` makes and ends it."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        loaded: Loaded,
        log: RecordSink,
        new_id: Callable[[], str],
        date: Callable[[], bytes],
        report: Callable[[str], None] = ignore,
        look_up: LookUp = system_look_up,
        quotas: Quotas | None = None,
        workers: int = 1,
        fetch: Fetch | None = None,
        found: Callable[[Found], None] | None = None,
        tell: Report = ignore_report,
        say_health: Say | None = None,
        number: int = 0,
    ) -> None:
        """quotas: None: this process's own. workers: how many processes share what the configuration allows in all.
        fetch: how key sets are fetched; None: here. found: is told what this process finds out about sources of
        targets; None: nobody else asks them. say_health, number: as in `HealthKeeper`."""
        self.loaded = loaded
        self._loop = loop
        self._workers = workers
        self._accepting: dict[socket.socket, asyncio.Server] = {}
        self._entrances: dict[socket.socket, Entrance] = {}
        self._names = Names(loop, report, look_up, self._renamed)
        self._resolver: tuple[str, ...] = ()
        self.discovery = Discovery(loop, self._names, report, self._moved, found)
        turn = Turn(loop)
        self._dial = Dialer(loop, response_rules(loaded), self._names, turn, self._make_room)
        self.fetcher = Fetcher(self._names)
        self.keys = KeyKeeper(loop, fetch or self.fetcher, report)
        store = loaded.gate.limiters.store
        self.stores = None if store is None else StoreKeeper(loop, store, report)
        self._pools: dict[str, Pool] = {}
        self._report = report
        self._quotas = quotas or Quotas()
        limits = loaded.config.gateway.limits
        slots = self._quotas.named("gateway.limits.connections", limits.connections)
        self._take_pools(loaded, self.new_pools(loaded))
        self.health = HealthKeeper(loop, self._pools, self._names, self._dial.tls, say_health, report, number)
        self.health.renew(loaded.config)
        self.connections = ClientConnections(
            loop=loop,
            date=date,
            new_id=new_id,
            log=log,
            generation=self._generation(loaded),
            turn=turn,
            slots=slots,
            addresses=self._quotas.addresses(limits.per_address),
            tell=tell,
        )
        self._memory = Memory(trim_of_this_system())
        self._closed = 0  # client connections that were evicted and not reported yet
        self._quiet_until = 0.0
        self._reaper = IdleReaper(loop, self._pools.values(), self._tidy, self._names.refresh)

    @property
    def config(self) -> Config:
        """The configuration that new requests are served by."""
        return self.loaded.config

    @property
    def pools(self) -> Mapping[str, Pool]:
        """By the upstream's name."""
        return self._pools

    def breakers(self, now: float) -> dict[str, float | None]:
        """Name of an upstream with a circuit breaker → in how many seconds the next probe may go; None: it is
        closed."""
        guards = {name: pool.guard for name, pool in self._pools.items() if pool.options.breaker is not None}
        return {name: guard.due_in(now) if guard.is_open else None for name, guard in guards.items()}

    def key_ages(self, now: float) -> dict[str, float]:
        """See `keys.KeyKeeper.ages`."""
        return self.keys.ages(now)

    def found_targets(self) -> dict[str, list[str]]:
        """Name of an upstream → the names of targets that its sources have told of; upstreams without sources are left
        out."""
        return {
            name: [one.place.name for one in found_endpoints(spec.targets, self._pools[name].endpoints)]
            for name, spec in self.config.upstreams.items()
            if any(target.source for target in spec.targets)
        }

    def _generation(self, loaded: Loaded) -> Generation:
        gateway = loaded.config.gateway
        limits, timeouts = gateway.limits, gateway.timeouts
        return Generation(
            loaded.gate.decide,
            request_rules(loaded),
            response_rules(loaded),
            {name: self._pools[name] for name in loaded.config.upstreams},
            ListenerOptions(
                timeouts.head,
                timeouts.keep_alive,
                limits.connections,
                limits.per_address,
                # The memory of each process is its own: there is nothing to share, so each has an equal part.
                limits.buffers // self._workers,
                tuple(name.encode() for name in gateway.log.fields),
                gateway.trace == "make",
                # Half of it, so that who is within a frame then has the other half to come to its end.
                timeouts.drain / 2,
            ),
            ClientOptions(
                timeouts.body,
                timeouts.send,
                limits.body_rate,
                limits.head,
                limits.headers,
                gateway.half_close == "serve",
            ),
            loaded.tls,
            lambda address: loaded.gate.peer_of(address).trusted,
            tunnel_terms(loaded),
        )

    def new_pools(self, loaded: Loaded) -> dict[str, Pool]:
        """Pools of the upstreams that have none yet, for `renew`. Raises StartError: there is no room for their
        quotas."""
        made: dict[str, Pool] = {}
        quotas: list[Quota] = []
        try:
            for name in loaded.config.upstreams:
                if name not in self._pools:
                    options = self._options(name, loaded)
                    limits = (options.max_connections, options.queue, options.max_tunnels)
                    for key, limit in zip(("max_connections", "queue", "max_tunnels"), limits, strict=True):
                        quotas.append(self._quotas.named(f"upstreams.{name}.{key}", limit))
                    slots, queue_slots, tunnel_slots = quotas[-3:]
                    always, breaker = self._quotas.guarded(f"upstreams.{name}.retries", ALWAYS)
                    quotas.append(always)
                    guard = Guard(options, self._report, breaker, always)
                    shared = (slots, queue_slots, tunnel_slots, guard)
                    made[name] = Pool(options, self._dial, self._report, *shared, draw=random)
        except NoRoomError as error:
            for quota in quotas:
                quota.let_go()
            raise StartError(str(error)) from error
        return made

    def _take_pools(self, loaded: Loaded, made: dict[str, Pool]) -> None:
        """One pool for each upstream: a known one goes on, with its connections, under the new options."""
        self._dial.tls.update(loaded.upstream_tls)
        for name, pool in self._pools.items():
            if name in loaded.config.upstreams:
                pool.renew(self._options(name, loaded), monotonic())
        self._pools |= made

    async def accept_on(self, sockets: Mapping[socket.socket, Listen]) -> None:
        """Accept connections on these listening sockets, and on no others. They stay the caller's, who closes them."""
        for sock in set(self._accepting) - set(sockets):
            self._accepting.pop(sock).close()
            del self._entrances[sock]
        self._speak(sockets)
        for sock in sockets:
            if sock not in self._accepting:
                accept, copy = entering(self.connections, self._entrances[sock]), sock.dup()
                copy.setblocking(False)
                if sock.family == socket.AF_UNIX:
                    server = await self._loop.create_unix_server(accept, sock=copy, backlog=BACKLOG)
                else:
                    server = await self._loop.create_server(accept, sock=copy, backlog=BACKLOG)
                self._accepting[sock] = server

    def _speak(self, sockets: Mapping[socket.socket, Listen]) -> None:
        """From the next connection on that is accepted on them."""
        for sock, listen in sockets.items():
            entrance = self._entrances.setdefault(sock, Entrance())
            entrance.name = listen_name(listen) if listen.path else authority_of(listen.host, sock.getsockname()[1])
            entrance.tls, entrance.proxied = self.loaded.tls.get(listen.tls), listen.proxy_protocol

    async def accept_rest(self, addresses: Collection[Address]) -> None:
        """Accept what the kernel has accepted already on these addresses, and close them: those clients take their
        connections for open, and the close alone would reset them."""
        for address in addresses:
            address.stop_queueing()
        entrances: dict[socket.socket, Entrance] = {}
        for address in addresses:
            for sock in self._accepted_on(address):
                entrance = entrances[sock] = self._entrances.pop(sock)
                # By its present rules, where the configuration still has them.
                entrance.tls = self.loaded.tls.get(address.listen.tls, entrance.tls)
                self._accepting.pop(sock).close()
        # The loop closes its copies in its next turn.
        await asyncio.sleep(0)
        await self._empty(entrances)
        if any(sock.family != socket.AF_UNIX for sock in entrances):
            await asyncio.sleep(HANDSHAKE)
            await self._empty(entrances)
        for address in addresses:
            address.close()

    def _accepted_on(self, address: Address) -> list[socket.socket]:
        return [sock for sock in address.sockets if sock in self._accepting]

    async def _empty(self, entrances: Mapping[socket.socket, Entrance]) -> None:
        """Accept what waits in the queues of these sockets."""
        for sock, entrance in entrances.items():
            for connection in _queue_of(sock):
                await self._loop.connect_accepted_socket(entering(self.connections, entrance), connection)

    def keep_keys(self) -> None:
        """Fetch the keys of identity providers, and keep them fresh. Nobody waits for that but who needs them."""
        self.keys.renew(self.loaded)

    def keep_store(self) -> None:
        """Connect to the store of limits over hosts, if there is one. Nobody waits for that."""
        if self.stores is not None:
            self.stores.renew(self.config)

    def keep_health(self) -> None:
        """Check targets, if no other process does."""
        self.health.check_alone()

    def find(self) -> None:
        """Begin to look up the names of all targets, and to ask where the instances of services are. Again after the
        configuration has changed."""
        resolver = self.config.gateway.resolver
        if resolver != self._resolver:
            self._resolver = resolver
            self._names.use(nameservers_of(self.config).addresses if resolver else None)
        self.discovery.follow(self.loaded)
        self._watch_names()

    def _watch_names(self) -> None:
        endpoints = [endpoint for pool in self._pools.values() for endpoint in pool.endpoints.all]
        self._names.watch(endpoint.place.host for endpoint in endpoints if endpoint.place.host)

    def _moved(self, source: Source) -> None:
        """The instances of a source are others than before, or there is no answer for another reason."""
        for name, spec in self.config.upstreams.items():
            if any(source_of(target) == source for target in spec.targets):
                options = self._options(name, self.loaded)
                self._pools[name].follow(options, monotonic())
                self.health.places_changed(name)
        self._watch_names()

    def _renamed(self, host: str, addresses: tuple[str, ...]) -> None:
        """A name has these addresses from now on."""
        for pool in self._pools.values():
            pool.readdress(host, addresses, monotonic())

    def _make_room(self) -> bool:
        """A dial lacks a descriptor. Returns whether one becomes free."""
        return self.connections.close_idle()

    def _options(self, name: str, loaded: Loaded) -> UpstreamOptions:
        return upstream_options(name, loaded, self.discovery.told(), self.discovery.problems())

    def renew(self, loaded: Loaded, made: dict[str, Pool], sockets: Mapping[socket.socket, Listen]) -> None:
        """Serve this configuration from the next request on, and from the next connection on at these sockets. made:
        its `new_pools`."""
        self._take_pools(loaded, made)
        self.health.renew(loaded.config)
        self.keys.renew(loaded)
        self.loaded = loaded
        self._speak(sockets)
        self.keep_store()
        self.connections.renew(self._generation(loaded))
        close_pools([self._pools.pop(name) for name in set(self._pools) - set(loaded.config.upstreams)])
        self.find()

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
            part = " for each worker" if self._workers > 1 else " in all"
            self._report(
                f"clients left more unread or unsent than gateway.limits.buffers ({buffers.limit:,} octets{part}): "
                f"the connections that held most were closed, {self._closed:,} of them"
            )
            self._closed = 0

    def wind_down(self) -> None:
        """Serve on, but let each response say that it is the last one on its connection."""
        self.connections.wind_down()

    async def finish(self, addresses: Addresses, over: asyncio.Event, say: Callable[[str], None]) -> None:
        """Take what waits in the kernel's queue, close the addresses, serve the requests that have begun, and close all
        other connections. Ends when the last one is gone, which sets `over`; or somebody else sets it; or the time to
        drain is over: then those that are left are cut."""
        self.health.stop()
        await self.accept_rest(addresses.leave(()))
        # Not before the end: a reload may have changed it.
        longest = self.config.gateway.timeouts.drain
        self.connections.drain(over.set)
        if not over.is_set():
            say(f"draining: {_connections(len(self.connections.open))}, at most {longest:g} s")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(longest):
                    await over.wait()
        left = await self.cut()
        if left:
            say(f"cut {_connections(left)}")

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
        for server in self._accepting.values():
            server.close()
        self._reaper.stop()
        self._dial.cancel()
        self.health.stop()
        self.keys.close()
        if self.stores is not None:
            self.stores.close()
        self.discovery.close()
        self._names.close()
        close_pools(self._pools.values())


@contextlib.asynccontextmanager
async def serving(
    loaded: Loaded,
    log: RecordSink,
    sockets: Mapping[socket.socket, Listen],
    *,
    new_id: Callable[[], str],
    date: Callable[[], bytes],
    report: Callable[[str], None] = ignore,
    quotas: Quotas | None = None,
    workers: int = 1,
    fetch: Fetch | None = None,
    found: Callable[[Found], None] | None = None,
    tell: Report = ignore_report,
    say_health: Say | None = None,
    number: int = 0,
) -> AsyncIterator[Service]:
    """Serve while the block lasts. Connections that are still open at the end are cut.

    sockets       that listen; they stay the caller's
    new_id, date  the functions that the gate was compiled with
    report        is told, line by line, what the operator should know
    quotas        where the limits of this process are counted; None: here
    workers       how many processes serve
    fetch         how key sets are fetched; None: here
    found         is told what this process finds out about sources of targets, once it is told to ask them; None: it
                  asks from the start
    tell          is told what one may do who connects, and as often as they like: it leaves lines out
    say_health, number
                  as in `HealthKeeper`
    """
    loop = asyncio.get_running_loop()
    service = Service(
        loop,
        loaded,
        log,
        new_id,
        date,
        report,
        quotas=quotas,
        workers=workers,
        fetch=fetch,
        found=found,
        tell=tell,
        say_health=say_health,
        number=number,
    )
    try:
        service.keep_keys()
        service.keep_store()
        await service.accept_on(sockets)
        service.find()
        service.keep_health()
        yield service
    finally:
        await service.cut()
        service.close()
        if service.stores is not None:
            await service.stores.ended()


def found_endpoints(targets: Iterable[Target], endpoints: Endpoints) -> list[Endpoint]:
    """Those of an upstream that its sources have told of, and the configuration has not written down as well."""
    written = {name_of(target) for target in targets if not target.source}
    return [] if endpoints.is_empty else [one for one in endpoints.all if one.place.name not in written]


def close_pools(pools: Iterable[Pool]) -> None:
    """Close them, and their idle connections."""
    for pool in pools:
        for upstream in pool.close():
            upstream.close()


def _queue_of(listening: socket.socket) -> Iterator[socket.socket]:
    """The connections that wait to be accepted."""
    listening.setblocking(False)
    for _ in range(BACKLOG):
        try:
            connection, _ = listening.accept()
        except OSError:
            return
        connection.setblocking(False)
        yield connection


def run_on_uvloop(coroutine: Coroutine[Any, Any, int]) -> int:
    """Run a coroutine to its end on an event loop of its own. Returns its result."""
    with contextlib.closing(uvloop.new_event_loop()) as loop:
        return loop.run_until_complete(coroutine)


def _connections(count: int) -> str:
    return f"{count} connection{'s' * (count != 1)}"
