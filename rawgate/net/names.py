"""Looks up the addresses of host names, so that no request waits for a name that is not its own.

- One look-up per name at a time: whoever asks meanwhile waits for that one. Its answer is remembered, and looked up
  anew while the gateway runs: every `REFRESH` seconds, or as name servers say (TTL). The old answer is used until the
  new one is here, so only the very first is ever waited for.
- The system's look-up (getaddrinfo(3)) blocks for as long as name servers are silent. Each look-up has a thread of its
  own, so a slow one holds up none of the others. The threads are daemons: the process can end without them. Where the
  configuration names name servers, these are asked instead (`use`), by the loop.
- When a look-up fails, the last good answer stays in use, for a day at most. The operator is told when a name begins to
  fail, and when it works again.
- A name that is no target's is forgotten when nobody has asked for it for a while.
- What is an address already needs no look-up.
"""

import asyncio
import contextlib
import errno
import ipaddress
import socket
import ssl
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from itertools import chain, zip_longest
from math import inf
from threading import Thread
from time import monotonic

from msgspec import Struct

from rawgate.net.instances import fresh_for, retry_after
from rawgate.net.tls_contexts import why_not_secured

REFRESH = 10.0
"""Seconds for which an answer is used before the name is looked up again: getaddrinfo(3) does not tell the time to live
that name servers gave. HAProxy's `hold valid` is as long, Envoy's strict DNS asks every 5 s, nginx only when it
starts."""

RETRY = 1.0
"""Seconds after a failure in which nobody causes another look-up (HAProxy: `timeout retry`)."""

KEPT = 86_400.0
"""Seconds for which a good answer is used while look-ups fail. RFC 8767 section 5 (stale answers) suggests one to three
days."""

FORGOTTEN = 600.0
"""Seconds after which a name is forgotten that nobody asks for: the host of a key set, or of a target that is gone."""

AT_ONCE = 128
"""Look-ups at once. If there are more names, the others wait their turn. One by the system takes a thread, one by name
servers two descriptors, and whoever tells where services are may name thousands."""

OUT_OF_DESCRIPTORS = frozenset((errno.EMFILE, errno.ENFILE))
"""Errors of the gateway's own process: it has no descriptor left. Whatever was to be reached is not to blame."""

LookUp = Callable[[str], tuple[str, ...]]
"""Name → its addresses, the best first. It blocks. It may raise OSError, or anything else that a name can cause (a
UnicodeError)."""


class Found(Struct, frozen=True):
    """Addresses of a name, the best first; ttl: seconds for which they hold."""

    addresses: tuple[str, ...]
    ttl: float


Ask = Callable[[str, tuple[str, ...]], Awaitable[Found]]
"""(Name, its addresses so far) → what name servers say: at least one address. Raises LookUpError."""


class LookUpError(Exception):
    """A name has no addresses: one phrase that says why."""


def _ignore(host: str, addresses: tuple[str, ...]) -> None:
    """The `moved` of names that lead to no kept connection."""


class Name:
    """What is known of one name."""

    __slots__ = (
        "addresses",
        "again",
        "asked_at",
        "asking",
        "failure",
        "failures",
        "found_at",
        "is_told",
        "tried_at",
        "under_way",
    )

    def __init__(self) -> None:
        self.addresses: tuple[str, ...] = ()
        self.asked_at = monotonic()  # when somebody last wanted to know
        self.failures = 0  # in a row
        self.asking: asyncio.Task[None] | None = None  # a look-up by the loop
        self.again: asyncio.TimerHandle | None = None  # the next look-up, where name servers say when
        self.found_at = -inf  # when these were found
        self.failure = ""  # why there was no answer the last time
        self.tried_at = -inf  # when the last look-up ended
        self.under_way: asyncio.Future[None] | None = None
        self.is_told = False  # that it fails


class Names:
    """The names of all upstreams. `report` is told, in one line, what the operator should know."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        report: Callable[[str], None],
        look_up: LookUp,
        moved: Callable[[str, tuple[str, ...]], None] = _ignore,
    ) -> None:
        """moved: is told of a name whose addresses are others than before."""
        self._loop = loop
        self._moved = moved
        self._report = report
        self._look_up = look_up
        self._ask: Ask | None = None
        self._names: dict[str, Name] = {}
        self._watched: set[str] = set()
        self._in_line: deque[str] = deque()
        self._looking = 0  # look-ups that have begun
        self._closed = False

    def use(self, ask: Ask | None) -> None:
        """From now on look names up so; None: as the system does. All names are looked up again."""
        self._ask = ask
        for host, known in self._names.items():
            _stop(known)
            known.tried_at = -inf
            self._begin(host)

    def watch(self, hosts: Iterable[str]) -> None:
        """From now on these are the hosts of targets. Begin to look up those that are new before anybody asks, so that
        the operator hears of a missing name at the start."""
        self._watched = {host for host in hosts if not _is_address(host)}
        for host in self._watched:
            if host not in self._names:
                self._begin(host)

    async def addresses(self, host: str) -> tuple[str, ...]:
        """The addresses of a host: at least one. Raises LookUpError."""
        known = self._names.get(host)
        if known is None:
            if _is_address(host):
                return (host,)
            known = self._begin(host)
        known.asked_at = monotonic()
        if monotonic() - known.found_at >= KEPT:
            if known.under_way is None and monotonic() - known.tried_at >= RETRY:
                self._begin(host)
            if known.under_way is not None:
                # Shielded: one dial that gives up must not end the look-up for the others.
                await asyncio.shield(known.under_way)
            if monotonic() - known.found_at >= KEPT:
                raise LookUpError(known.failure)
        return known.addresses

    def refresh(self) -> None:
        """Every few seconds: look up again each name whose answer is old, or whose last look-up failed. Forget those
        that nobody needs."""
        now = monotonic()
        for host, known in list(self._names.items()):
            is_needed = host in self._watched or now - known.asked_at < FORGOTTEN
            if not is_needed and known.under_way is None:
                _stop(known)
                del self._names[host]
            elif known.again is None and now - known.tried_at >= (RETRY if known.failure else REFRESH):
                self._begin(host)

    def close(self) -> None:
        """The gateway ends: start no more look-ups, and ignore what the running ones find."""
        self._closed = True
        self._in_line.clear()
        for known in self._names.values():
            _stop(known)
            if known.asking is not None:
                known.asking.cancel()

    # ── inside ──

    def _begin(self, host: str) -> Name:
        known = self._names.setdefault(host, Name())
        _stop(known)
        if known.under_way is None and not self._closed:
            known.under_way = self._loop.create_future()
            self._in_line.append(host)
            self._start()
        return known

    def _start(self) -> None:
        """Begin as many look-ups as may be under way."""
        while self._in_line and self._looking < AT_ONCE:
            host = self._in_line.popleft()
            self._looking += 1
            if self._ask is not None:
                known = self._names[host]
                known.asking = self._loop.create_task(self._inquire(host, known, self._ask))
                continue
            try:
                Thread(target=self._run, args=(host,), name=f"look-up {host}", daemon=True).start()
            except RuntimeError as error:  # the system refuses another thread
                self._loop.call_soon(self._ended, host, (), str(error))

    async def _inquire(self, host: str, known: Name, ask: Ask) -> None:
        """Look one name up by name servers."""
        found: tuple[str, ...] = ()
        try:
            answer = await ask(host, known.addresses)
            found, failure, delay = answer.addresses, "", fresh_for(answer.ttl)
        except Exception as error:  # noqa: BLE001 - whatever it is, those who wait must hear of it
            failure, delay = why_not(error), retry_after(known.failures + 1)
        known.asking = None
        if self._ask is ask:
            known.again = self._loop.call_later(delay, self._begin, host)
        self._ended(host, found, failure)

    def _run(self, host: str) -> None:
        """Look one name up. Runs in a thread."""
        found: tuple[str, ...] = ()
        try:
            found = self._look_up(host)
            failure = "" if found else "no such name"
        except Exception as error:  # noqa: BLE001 - whatever it is, those who wait must hear of it
            failure = why_not(error)
        # The loop may have ended meanwhile.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._ended, host, found, failure)

    def _ended(self, host: str, found: tuple[str, ...], failure: str) -> None:
        """A look-up is over."""
        self._looking -= 1
        self._settle(host, found, failure)
        self._start()

    def _settle(self, host: str, found: tuple[str, ...], failure: str) -> None:
        known = self._names[host]
        known.tried_at, known.failure = monotonic(), failure
        known.failures = known.failures + 1 if failure else 0
        before = known.addresses
        if found:
            known.addresses, known.found_at = found, known.tried_at
        waiting, known.under_way = known.under_way, None
        if self._closed:
            return
        self._tell(host, known)
        if found and before and set(found) != set(before):
            self._moved(host, found)
        if waiting is not None:
            waiting.set_result(None)

    def _tell(self, host: str, known: Name) -> None:
        if bool(known.failure) is known.is_told:
            return
        known.is_told = not known.is_told
        if not known.is_told:
            self._report(f"{host} can be looked up again")
        elif known.addresses:
            self._report(f"{host} cannot be looked up: {known.failure}; its last addresses are used")
        else:
            self._report(f"{host} cannot be looked up: {known.failure}")


def _stop(known: Name) -> None:
    """No next look-up by itself."""
    if known.again is not None:
        known.again.cancel()
        known.again = None


def system_look_up(host: str) -> tuple[str, ...]:
    """Look a name up as this system does (getaddrinfo(3), RFC 6724 order), then let address families take turns."""
    found: dict[str, int] = {}
    for family, _, _, _, place in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM):
        zone = f"%{place[3]}" if len(place) == 4 and place[3] else ""
        found[f"{place[0]}{zone}"] = family
    return interleaved(found)


def interleaved(found: dict[str, int]) -> tuple[str, ...]:
    """Addresses in an order in which families take turns (RFC 8305 section 4): when one family leads nowhere, the next
    attempt is not one of the same."""
    families = dict.fromkeys(found.values())
    columns = [[address for address, its in found.items() if its == family] for family in families]
    return tuple(address for address in chain.from_iterable(zip_longest(*columns)) if address is not None)


def why_not(error: Exception) -> str:
    """Why a look-up or a dial failed, in a phrase."""
    match error:
        case socket.gaierror(errno=socket.EAI_NONAME | socket.EAI_NODATA):
            return "no such name"
        case ssl.SSLError():
            return why_not_secured(error)
        case TimeoutError(errno=None) if str(error):
            return str(error)
        case TimeoutError():
            return "timed out"
        case ConnectionRefusedError():
            return "connection refused"
        case OSError(strerror=str(said)):
            return said[:1].lower() + said[1:]
    return str(error)


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
