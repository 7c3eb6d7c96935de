"""Active health checks: asks each target of an upstream from time to time whether it works.

Each target is asked by itself, on its own times, with a request of the gateway's own (`net.fetch.probe`) and a
connection of its own; so no request of a client waits for that. A name is looked up as it is for requests, and each of
its addresses is asked. One that has several is left out as a whole when all of them fail.

- The first check comes soon, at a moment that chance chooses, and the next ones `interval` later, a tenth more or less:
  several gateways do not ask at once. The next one never begins before the last one has ended.
- What `relay.checks` makes of it is told where it has changed (`Checked`). All processes act on what they are told, and
  this one as they do.
- Targets come and go while this goes on (`Pool.retarget`): that is noticed within `LOOK_EVERY` seconds.
- That this process has no descriptors left says nothing about a target.
"""

import asyncio
import traceback
from collections.abc import Callable, Iterable, Mapping
from time import monotonic

from msgspec.structs import replace

from rawgate.config.model import HealthCheck
from rawgate.message import authority_of
from rawgate.net.fetch import FetchError, probe
from rawgate.net.names import LookUpError, Names
from rawgate.net.tls_contexts import ClientTls
from rawgate.relay.checks import Verdict
from rawgate.relay.endpoints import ANY_ADDRESS, Endpoint, Place, PlaceKey
from rawgate.relay.pool import Pool
from rawgate.serve.channel import Checked

LOOK_EVERY = 1.0
"""Seconds after which targets that have come or gone are noticed, at most."""

SOON = 1.0
"""Seconds within which the first check of a target comes, or `interval` if that is shorter."""

SPREAD = 0.1
"""Part of `interval` by which the next check may come earlier or later."""

Draw = Callable[[], float]
"""A random number, at least 0 and below 1."""


class Checker:
    """Checks the targets of all upstreams that have `health`, once it was told to.

    pools  by the upstream's name
    tls    by the upstream's name: how its "https" targets are verified
    tell   is told what has changed
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        pools: Mapping[str, Pool],
        names: Names,
        tls: Mapping[str, ClientTls],
        tell: Callable[[Checked], None],
        draw: Draw,
    ) -> None:
        self._loop = loop
        self._pools = pools
        self._names = names
        self._tls = tls
        self._tell = tell
        self._draw = draw
        self._specs: dict[str, HealthCheck] = {}
        self._rounds: dict[str, Round] = {}
        self._checks = False
        self._failed: dict[tuple[str, PlaceKey, str], Checked] = {}

    def begin(self, succeeds: bool, failed: Iterable[Checked] = ()) -> None:
        """Check from now on. succeeds: another process has done so before, and told what it has found. failed: what is
        down by that; it may not have lived to tell that some of it is gone."""
        if not self._checks:
            self._checks = True
            self._failed = {_key(one): one for one in failed}
            self._start(succeeds)

    def renew(self, specs: dict[str, HealthCheck]) -> None:
        """The configuration says this from now on. Where a check has changed, the next one decides about what is up."""
        for name in [name for name in self._rounds if specs.get(name) != self._specs[name]]:
            self._rounds.pop(name).stop()
        self._specs = specs
        self._failed = {key: one for key, one in self._failed.items() if one.upstream in specs}
        self._start(succeeds=False)

    def stop(self) -> None:
        """Check nothing more. Checks that are under way end at once."""
        self._checks = False
        for one in self._rounds.values():
            one.stop()
        self._rounds.clear()

    def _start(self, succeeds: bool) -> None:
        if not self._checks:
            return
        for name, spec in self._specs.items():
            if name not in self._rounds:
                probing = Probing(spec, self._names, self._tls.get(name))
                self._rounds[name] = Round(self._loop, self._pools[name], probing, self, self._draw, succeeds)

    # ── for rounds ──

    def tell(self, checked: Checked) -> None:
        """Tell what has changed."""
        self._failed.pop(_key(checked), None)
        if checked.failure:
            self._failed[_key(checked)] = checked
        self._tell(checked)

    def tell_gone(self, upstream: str, places: set[PlaceKey]) -> None:
        """The targets of this upstream are at these places. What is down, and is not there any more, is told."""
        for one in [one for one in self._failed.values() if one.upstream == upstream and one.place not in places]:
            self.tell(replace(one, failure="", is_gone=True))


def _key(checked: Checked) -> tuple[str, PlaceKey, str]:
    return checked.upstream, checked.place, checked.address


class Probing:
    """What the targets of one upstream are asked, and what is a good answer.

    spec  what the configuration says
    """

    def __init__(self, spec: HealthCheck, names: Names, tls: ClientTls | None) -> None:
        self.spec = spec
        self._names = names
        self._tls = tls

    async def failures(self, place: Place) -> dict[str, str]:
        """Each address of a target → why it does not work there, or "". Raises OSError when there are no descriptors
        left."""
        if place.path:
            return {place.path: await self._failure(place, place.path)}
        try:
            async with asyncio.timeout(self.spec.timeout):
                addresses = await self._names.addresses(place.host)
        except LookUpError as error:
            return {ANY_ADDRESS: str(error)}
        except TimeoutError:
            return {ANY_ADDRESS: "its name is still being looked up"}
        found = await asyncio.gather(*(self._failure(place, address) for address in addresses))
        return dict(zip(addresses, found, strict=True))

    async def _failure(self, place: Place, address: str) -> str:
        spec, tls = self.spec, None
        if place.scheme == "https" and self._tls is not None:
            tls = self._tls.context
        host = host_of(place) if spec.host is None else spec.host
        try:
            status = await probe(place, address, tls, spec.path, host, spec.timeout)
        except FetchError as error:
            return str(error)
        return "" if any(first <= status <= last for first, last in spec.status) else f"status {status}"


class Watched:
    """One target.

    knows     another process has checked it before, and told what it found
    verdicts  by address; `ANY_ADDRESS` while its name cannot be looked up
    timer     of the next check
    task      a check that is under way
    """

    def __init__(self, knows: bool) -> None:
        self.knows = knows
        self.verdicts: dict[str, Verdict] = {}
        self.timer: asyncio.TimerHandle | None = None
        self.task: asyncio.Task[None] | None = None

    def stop(self) -> None:
        """Ask no more."""
        if self.timer is not None:
            self.timer.cancel()
        if self.task is not None:
            self.task.cancel()


class Round:
    """The checks of one upstream, from its making until `stop`."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        pool: Pool,
        probing: Probing,
        checker: Checker,
        draw: Draw,
        succeeds: bool,
    ) -> None:
        self._loop = loop
        self._pool = pool
        self._probing = probing
        self._checker = checker
        self._draw = draw
        self._watched: dict[Endpoint, Watched] = {}
        self._look(succeeds)

    def stop(self) -> None:
        """Check nothing more."""
        self._timer.cancel()
        for watched in self._watched.values():
            watched.stop()

    def _look(self, succeeds: bool = False) -> None:
        """Notice which targets have come, and which are gone."""
        known = self._pool.endpoints
        endpoints = [] if known.is_empty else known.all
        for gone in set(self._watched) - set(endpoints):
            self._watched.pop(gone).stop()
        if not self._pool.expects_places:
            self._checker.tell_gone(self._pool.options.name, {endpoint.place.key for endpoint in endpoints})
        for endpoint in endpoints:
            if endpoint not in self._watched:
                watched = self._watched[endpoint] = Watched(succeeds)
                self._later(self._draw() * min(SOON, self._probing.spec.interval), endpoint, watched)
        self._timer = self._loop.call_later(LOOK_EVERY, self._look)

    def _later(self, seconds: float, endpoint: Endpoint, watched: Watched) -> None:
        watched.timer = self._loop.call_later(seconds, self._begin, endpoint, watched)

    def _begin(self, endpoint: Endpoint, watched: Watched) -> None:
        watched.task = self._loop.create_task(self._check(endpoint, watched))

    async def _check(self, endpoint: Endpoint, watched: Watched) -> None:
        began, interval = monotonic(), self._probing.spec.interval
        try:
            self._judge(endpoint, watched, await self._probing.failures(endpoint.place))
        except OSError:
            pass  # there are no descriptors: see above
        except Exception as error:  # noqa: BLE001 - whatever it is, the next check must come
            traceback.print_exception(error)
        watched.task = None
        due = began + interval * (1 - SPREAD + 2 * SPREAD * self._draw())
        self._later(max(0.0, due - monotonic()), endpoint, watched)

    def _judge(self, endpoint: Endpoint, watched: Watched, failures: dict[str, str]) -> None:
        """Each address has failed for this reason, or works: ""."""
        spec, known = self._probing.spec, watched.verdicts
        several = len(failures) > 1
        watched.verdicts = {
            address: known.get(address) or Verdict(_told(endpoint, address, several), watched.knows)
            for address in failures
        }
        watched.knows = False  # an address that comes later is new to all
        for address, verdict in watched.verdicts.items():
            verdict.hear(failures[address], spec.rise, spec.fall)
        down = {address: verdict.failure for address, verdict in watched.verdicts.items() if not verdict.is_up}
        wanted = down if several else {}
        if len(down) == len(failures):
            wanted = {**wanted, ANY_ADDRESS: next(iter(down.values()))}
        self._tell_changes(endpoint, wanted)

    def _tell_changes(self, endpoint: Endpoint, failed: dict[str, str]) -> None:
        """Tell what differs from what was told. failed: addresses that are down → why."""
        told = dict.fromkeys(endpoint.failed_checks) | ({ANY_ADDRESS: None} if endpoint.health.failed_check else {})
        place, name = endpoint.place, self._pool.options.name
        for address in [*failed, *told]:
            if (address in told) is not (address in failed):
                self._checker.tell(Checked(name, place.key, place.name, address, failed.get(address, "")))


def _told(endpoint: Endpoint, address: str, several: bool) -> str:
    """Why an address is down, as all know; "": it is up."""
    return endpoint.failed_checks.get(address, "") if several else endpoint.health.failed_check


def host_of(place: Place) -> str:
    """What the Host field says to a target: without the port that is the scheme's own, as requests of clients do."""
    if place.path:
        return "localhost"
    host, usual = place.host.removesuffix("."), 443 if place.scheme == "https" else 80
    return authority_of(host, place.port) if place.port != usual else authority_of(host, 0).removesuffix(":0")
