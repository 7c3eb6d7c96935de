"""Opens upstream connections: which address of which endpoint is tried when, and what happens when none connects.

A dial goes through the endpoints of its upstream, beginning with the one whose turn it is, and stops at the first that
accepts. Those that have come meanwhile are tried after these: while a service moves, all that were there before may be
gone. Each endpoint gets an equal part of the time that is left. An endpoint has a name, and a name has addresses.
They are tried as "Happy Eyeballs" says (RFC 8305 section 5): the next one starts when the one before has failed, or has
not connected within `ATTEMPT_DELAY`. Earlier attempts go on meanwhile, and the first connection wins. So an address
that swallows our SYNs costs a quarter of a second, not the whole `connect_timeout`, and is then left out for a while
(see `relay.endpoints`).

Without descriptors nothing can be opened, though idle clients may hold many of them. So the client that has been idle
longest makes room for the connection that a request needs, as it does for a new client over the limit (`net.listener`).

There is one Task per dial, and one per attempt where an endpoint has several addresses. These are the only Tasks where
requests flow.
"""

import asyncio
import contextlib
import errno
import ssl
import traceback
from collections import deque
from collections.abc import Callable, Coroutine, Iterable
from functools import partial
from math import inf
from time import monotonic, time
from typing import Any, cast

from rawgate.errors import CONNECTION_LIMIT, NO_TARGET, UPSTREAM_CONNECT_FAILED, UPSTREAM_TIMEOUT, Reason
from rawgate.net.names import OUT_OF_DESCRIPTORS, LookUpError, Names, why_not
from rawgate.net.tls import TlsTransport
from rawgate.net.tls_contexts import ClientTls, ends_at
from rawgate.net.transports import protocol_of
from rawgate.net.turn import Turn
from rawgate.net.upstream import UpstreamConnection
from rawgate.relay.endpoints import NOWHERE, Endpoint
from rawgate.relay.lessee import Lessee
from rawgate.relay.pool import Pool
from rawgate.wire import ResponseRules

ATTEMPT_DELAY = 0.25
"""Seconds until the next address is tried while one has not answered (RFC 8305 section 8, Connection Attempt Delay)."""

ROOM = 4
"""Idle clients that a dial closes at most for want of a descriptor. One is enough, unless its TLS takes a few turns of
the loop to end, a new client takes its descriptor, or it is the whole system that has none."""


class Attempt:
    """One attempt to connect, under way."""

    __slots__ = ("began", "upstream")

    def __init__(self, upstream: UpstreamConnection, began: float) -> None:
        self.upstream = upstream
        self.began = began


class Securing:
    """The handshake of one connection.

    transport  what the loop's transport calls
    done       ends with the handshake; its error says why it failed
    """

    __slots__ = ("_address", "_tls", "_upstream", "done", "transport")

    def __init__(self, loop: asyncio.AbstractEventLoop, upstream: UpstreamConnection, tls: ClientTls) -> None:
        self.done: asyncio.Future[None] = loop.create_future()
        # Where the dial has ended meanwhile, nobody asks for the error.
        self.done.add_done_callback(lambda done: done.cancelled() or done.exception())
        self._upstream = upstream
        place = upstream.endpoint.place
        self._tls = tls
        self._address = (place.server_name, upstream.address or place.host, place.port)
        self.transport = TlsTransport(
            tls.context,
            self,
            loop,
            server_side=False,
            server_name=place.server_name.removesuffix("."),
            session=tls.session(*self._address, time()),
        )

    def secured(self, transport: TlsTransport) -> None:
        upstream = self._upstream
        transport.set_protocol(protocol_of(upstream))
        ends = ends_at(transport.tls.getpeercert())
        transport.on_session = lambda session: self._tls.remember(*self._address, session, ends)
        # It follows the protocol of asyncio's transports.
        upstream.connection_made(cast("asyncio.BaseTransport", transport))
        if not self.done.done():
            self.done.set_result(None)

    def not_secured(self, error: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(error or ssl.SSLEOFError(ssl.SSL_ERROR_EOF, "closed"))


class Dialer:
    """Opens connections for pools: one Task per dial, held until it ends.

    tls  name of an upstream → how its "https" places are secured
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        rules: ResponseRules,
        names: Names,
        turn: Turn,
        make_room: Callable[[], bool],
    ) -> None:
        """make_room: closes what is idle and holds a descriptor; False: there is nothing of the kind."""
        self._loop = loop
        self._rules = rules
        self._names = names
        self._turn = turn
        self._make_room = make_room
        self.tls: dict[str, ClientTls] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def __call__(self, pool: Pool, lessee: Lessee) -> None:
        # The order is asked for now, and not when the Task begins: see there.
        self._start(self._dial(pool, lessee, pool.dial_order(lessee, monotonic())))

    def cancel(self) -> None:
        """The gateway ends: end all dials."""
        for task in self._tasks:
            task.cancel()

    async def _dial(self, pool: Pool, lessee: Lessee, order: list[tuple[Endpoint, int]]) -> None:
        """Try the endpoints in turn. Each gets an equal part of the time that is left: one that swallows our SYNs must
        not use up the time of the others."""
        ends = monotonic() + pool.options.connect_timeout
        reason, detail = UPSTREAM_CONNECT_FAILED, ""
        last: Endpoint | None = None
        if pool.endpoints.is_empty or order[0][0].place is NOWHERE:
            # It was nowhere when the order was asked for, or is so now.
            order, reason = await self._order_of_none(pool, lessee, ends), NO_TARGET
            detail = pool.untold
        tried: set[Endpoint] = set()
        coming, rooms = deque(order), ROOM
        while coming:
            endpoint, turn = coming.popleft()
            tried.add(endpoint)
            now = monotonic()
            last = endpoint
            try:
                upstream = await self._reach(pool, endpoint, turn, now + (ends - now) / (len(coming) + 1))
            except Exception as error:  # noqa: BLE001 - whatever goes wrong, the lessee and its slot must not be lost
                reason, why = _reason(error), why_not(error)
                detail = f"No connection: {why}."
                if reason is CONNECTION_LIMIT:
                    if rooms == 0 or not self._make_room():
                        break
                    rooms -= 1
                    await asyncio.sleep(0)  # the loop closes it first
                    coming.appendleft((endpoint, turn))
                    continue
                ended = monotonic()
                pool.unreachable(endpoint, reason, why, ended - now, ended)
            else:
                pool.dialed(lessee, upstream, monotonic())
                return
            if not coming and ends > ended and not pool.endpoints.is_empty:
                coming.extend((other, other.turn) for other in pool.endpoints.all if other not in tried)
        pool.dial_failed(lessee, reason, monotonic(), detail, last)

    async def _order_of_none(self, pool: Pool, lessee: Lessee, ends: float) -> list[tuple[Endpoint, int]]:
        """The order in which a dial tries endpoints that are still to come; none, if there are none at `ends`, or
        whoever tells of them knows of none, or could not be asked."""
        if pool.expects_places:
            told = asyncio.Event()
            pool.call_with_places(told.set)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(ends - monotonic()):
                    await told.wait()
        return [] if pool.endpoints.is_empty else pool.dial_order(lessee, monotonic())

    async def _reach(self, pool: Pool, endpoint: Endpoint, turn: int, ends: float) -> UpstreamConnection:
        """Connect to one endpoint. Raises LookUpError, OSError; TimeoutError when there is no connection at `ends`."""
        host, port = endpoint.place.host, endpoint.place.port
        if endpoint.place.path:
            found: tuple[str, ...] = (endpoint.place.path,)
            pool.endpoints.addresses(endpoint, turn, found, monotonic())
            upstream = UpstreamConnection(pool, endpoint, self._rules, self._turn, endpoint.place.path)
            async with asyncio.timeout(ends - monotonic()):
                await self._connect(upstream, port)
            return upstream
        try:
            async with asyncio.timeout(ends - monotonic()):
                found = await self._names.addresses(host)
        except TimeoutError:
            raise TimeoutError("its name is still being looked up") from None
        addresses = pool.endpoints.addresses(endpoint, turn, found, monotonic())
        candidates = [UpstreamConnection(pool, endpoint, self._rules, self._turn, address) for address in addresses]
        if len(candidates) > 1:
            return await self._race(candidates, port, ends)
        async with asyncio.timeout(ends - monotonic()):
            await self._connect(candidates[0], port)
        return candidates[0]

    async def _race(self, candidates: list[UpstreamConnection], port: int, ends: float) -> UpstreamConnection:
        """Connect to the first of several addresses that accepts. Raises like `_reach`."""
        delay = min(ATTEMPT_DELAY, (ends - monotonic()) / len(candidates))
        attempts: dict[asyncio.Task[None], Attempt] = {}
        coming = deque(candidates)
        try:
            while True:
                if coming:
                    attempt = Attempt(coming.popleft(), monotonic())
                    attempts[self._start(self._connect(attempt.upstream, port))] = attempt
                left = ends - monotonic()
                done, _ = await asyncio.wait(
                    attempts, timeout=min(delay, left) if coming else left, return_when=asyncio.FIRST_COMPLETED
                )
                for task in done:
                    attempt = attempts.pop(task)
                    error = cast("Exception | None", task.exception())
                    if error is None:
                        # Blame those that had their full delay. Timers are not exact, so nine tenths of it count.
                        _blame(attempts.values(), monotonic() - 0.9 * delay, "no answer, while another address answers")
                        return attempt.upstream
                    if not _is_ours(error):
                        _blame([attempt], inf, why_not(error))
                    if _is_ours(error) or not (coming or attempts):
                        raise error
                if monotonic() >= ends:
                    _blame(attempts.values(), inf, why_not(TimeoutError()))
                    raise TimeoutError
        finally:
            for task, attempt in attempts.items():
                task.cancel()
                attempt.upstream.abandon()

    async def _connect(self, upstream: UpstreamConnection, port: int) -> None:
        """Raises OSError, ssl.SSLError among them."""
        place, tls = upstream.endpoint.place, None
        if place.scheme == "https":
            tls = Securing(self._loop, upstream, self.tls[upstream.pool.options.name])
        connected = partial(protocol_of, upstream if tls is None else tls.transport)
        if place.path:
            await self._loop.create_unix_connection(connected, place.path)
        else:
            await self._loop.create_connection(connected, upstream.address, port)
        if tls is not None:
            try:
                await tls.done
            except BaseException:
                # Of a deadline, too: nobody else holds the connection yet.
                tls.transport.abort()
                raise
        if upstream.has_failed():
            # The connection ended between the handshake and this turn of the loop, when no flow was attached to hear
            # of it.
            upstream.pool.endpoints.closed_at_once(upstream.endpoint, upstream.address)
            raise ConnectionResetError(errno.ECONNRESET, "closed as soon as it was open")

    def _start(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._forget)
        return task

    def _forget(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            # Fetch the error of an attempt that failed after the race: asyncio warns of errors that nobody fetched.
            task.exception()


def _is_ours(error: BaseException) -> bool:
    """Whether the gateway itself is at fault: no endpoint is to blame, and another one would not do better."""
    return isinstance(error, OSError) and error.errno in OUT_OF_DESCRIPTORS


def _reason(error: Exception) -> Reason:
    """The reason code of a failed dial. An error that is no network error is a bug: people see its traceback."""
    if isinstance(error, TimeoutError):
        return UPSTREAM_TIMEOUT
    if _is_ours(error):
        return CONNECTION_LIMIT
    if not isinstance(error, OSError | LookUpError):
        traceback.print_exception(error)
    return UPSTREAM_CONNECT_FAILED


def _blame(attempts: Iterable[Attempt], began_by: float, why: str) -> None:
    """Leave the addresses of these attempts out for a while, except of those that began after `began_by`: they had less
    time than each attempt is due."""
    for attempt in attempts:
        if attempt.began <= began_by:
            upstream = attempt.upstream
            upstream.pool.endpoints.address_failed(upstream.endpoint, upstream.address, why, monotonic())
