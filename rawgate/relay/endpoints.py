"""Where an upstream can be reached, and which endpoint and which address of it is next.

Round robin works on two levels. Requests go round the endpoints. Requests of one endpoint go round the addresses of its
name, so that each address gets its part of the load. A turn is over when an idle connection is taken, or when a dial is
started. A dial that is still under way has therefore had its turn, and a burst is spread as evenly as single requests.

What does not work is left out (see `health`): it is tried after all others. The operator hears when something is left
out, and why, and when it is back. What fails again and again is reported once in `health.UNHEALTHY_FOR`.

Endpoints may come and go while requests flow (`Endpoints.retarget`). An endpoint that stays keeps its connections and
its health. An endpoint that goes ends the requests that it has, and gets no new ones.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from rawgate.message import authority_of
from rawgate.relay.health import Health

if TYPE_CHECKING:
    from rawgate.relay.ports import UpstreamPort

ANY_ADDRESS = ""
"""In place of an address: the endpoint has a single address, or its addresses are not known yet."""


PlaceKey = tuple[str, str, int, str, str, str]


class Place:
    """Where an endpoint is, as the configuration or discovery says.

    scheme       "http" or "https"
    host, port   a name, or an address without brackets
    server_name  the name that its certificate must have; "" where the scheme needs none
    path         of a Unix socket, which has neither host nor port; "" for all others
    trust        whom it must be vouched for by, and what it is shown: a word that differs when these do
    weight       its share of the requests, relative to the others'
    zone         where it stands, for callers that prefer what is near; "" where nobody says
    """

    __slots__ = ("host", "path", "port", "scheme", "server_name", "trust", "weight", "zone")

    def __init__(
        self,
        host: str,
        port: int,
        scheme: str = "http",
        server_name: str = "",
        weight: int = 1,
        zone: str = "",
        path: str = "",
        trust: str = "",
    ) -> None:
        self.host: Final = host
        self.port: Final = port
        self.scheme: Final = scheme
        self.server_name: Final = server_name
        self.weight: Final = weight
        self.zone: Final = zone
        self.path: Final = path
        self.trust: Final = trust

    @property
    def key(self) -> PlaceKey:
        """Two places with the same key are one endpoint: a connection to one serves the other."""
        return self.scheme, self.host, self.port, self.path, self.server_name, self.trust

    @property
    def authority(self) -> str:
        """As in a URL, always with the port; of a Unix socket "unix:PATH"."""
        return f"unix:{self.path}" if self.path else authority_of(self.host, self.port)


class Endpoint:
    """One place, with its health and its idle connections.

    idle            the newest last
    is_gone         the upstream does not have it any more: its requests end, and it gets no new ones
    addresses       of its name, as the last look-up found them
    address_health  the health of each
    failed_checks   addresses whose last health checks failed → why
    turn            the number of the last turn; modulo the number of addresses it is the index of the address
    """

    __slots__ = ("address_health", "addresses", "failed_checks", "health", "idle", "is_gone", "place", "turn")

    def __init__(self, place: Place, slow_start: float = 0.0) -> None:
        self.place = place
        self.idle: list[UpstreamPort] = []
        self.is_gone = False
        self.health = Health(slow_start)
        self.addresses: tuple[str, ...] = ()
        self.address_health: dict[str, Health] = {}
        self.failed_checks: dict[str, str] = {}
        self.turn = 0

    def __repr__(self) -> str:
        return f"<Endpoint {self.place.authority} idle={len(self.idle)}{' gone' if self.is_gone else ''}>"

    def next_turn(self, now: float) -> int:
        """The number of the next turn. It leaves addresses out that are down, unless all are."""
        count = len(self.addresses)
        for turn in range(self.turn + 1, self.turn + 1 + count):
            if self.address_health[self.addresses[turn % count]].is_up(now):
                return turn
        return self.turn + 1


class Endpoints:
    """The endpoints of one upstream, at least one. `report` is called with one line that the operator should know.

    all        in the order in which they were given
    is_single  there is one endpoint with one address, so there is nothing to choose
    """

    def __init__(self, places: Sequence[Place], report: Callable[[str], None]) -> None:
        self.all: list[Endpoint] = []
        self._report = report
        self._last = 0  # the index of the endpoint that had the last turn
        self.is_single = False
        self._slow_start = 0.0
        self.retarget(places)

    def retarget(self, places: Sequence[Place]) -> list[Endpoint]:
        """From now on the upstream has these endpoints. Returns those that are gone. Raises ValueError for none."""
        if not places:
            raise ValueError("an upstream has at least one endpoint")
        before = {endpoint.place.key: endpoint for endpoint in self.all}
        after: dict[PlaceKey, Endpoint] = {}
        for place in places:
            endpoint = before.pop(place.key, None) or after.get(place.key) or Endpoint(place, self._slow_start)
            endpoint.place = place
            after[place.key] = endpoint
        for endpoint in before.values():
            endpoint.is_gone = True
        self.all = list(after.values())
        self.is_single = self._nothing_to_choose()
        return list(before.values())

    def _nothing_to_choose(self) -> bool:
        return len(self.all) == 1 and len(self.all[0].addresses) < 2

    # ── turns ──

    def next(self, now: float) -> tuple[Endpoint, str]:
        """The endpoint and the address whose turn is next; `ANY_ADDRESS` where there is one. It is not over by that."""
        endpoint = self.all[self._next_index(now)]
        if len(endpoint.addresses) < 2:
            return endpoint, ANY_ADDRESS
        return endpoint, endpoint.addresses[endpoint.next_turn(now) % len(endpoint.addresses)]

    def end_turn(self, endpoint: Endpoint, now: float) -> None:
        """This endpoint has had its turn, and so has its next address."""
        self._last = self.all.index(endpoint)
        endpoint.turn = endpoint.next_turn(now)

    def dial_order(self, now: float) -> list[tuple[Endpoint, int]]:
        """The endpoints in the order in which a dial that starts now tries them, each with the turn of its addresses.
        The healthy come first, from the one whose turn it is. That one has then had its turn."""
        rotated = self.rotated(now)
        self.end_turn(rotated[0], now)
        rotated.sort(key=lambda endpoint: not endpoint.health.is_up(now))
        return [(endpoint, endpoint.turn) for endpoint in rotated]

    def rotated(self, now: float) -> list[Endpoint]:
        """All endpoints, from the one whose turn is next."""
        first = self._next_index(now)
        return self.all[first:] + self.all[:first]

    def _next_index(self, now: float) -> int:
        count = len(self.all)
        for step in range(1, count + 1):
            at = (self._last + step) % count
            if self.all[at].health.is_up(now):
                return at
        return (self._last + 1) % count

    def is_only(self, endpoint: Endpoint, address: str, now: float) -> bool:
        """Whether no other endpoint is up, and no other address of this one."""
        others = [other.health for other in self.all if other is not endpoint]
        others += [health for other, health in endpoint.address_health.items() if other != address]
        return not any(other.is_up(now) for other in others)

    def addresses(self, endpoint: Endpoint, turn: int, found: tuple[str, ...], now: float) -> list[str]:
        """A look-up found these addresses of the endpoint's name. Returns them in the order in which a dial with this
        turn tries them: the healthy first, from the one whose turn it is."""
        if endpoint.addresses != found:
            endpoint.addresses = found
            known = endpoint.address_health
            endpoint.address_health = {one: known.get(one) or _health_of_new(endpoint, one, now) for one in found}
            self.is_single = self._nothing_to_choose()
        rotated = [found[(turn + step) % len(found)] for step in range(len(found))]
        return sorted(rotated, key=lambda one: not endpoint.address_health[one].is_up(now))

    # ── health ──

    def start_slowly(self, seconds: float) -> None:
        """From now on an endpoint that is back has its full share only after so many seconds."""
        self._slow_start = seconds
        for endpoint in self.all:
            endpoint.health.slow_start = seconds

    def checked(self, place: PlaceKey, address: str, failure: str, now: float) -> None:
        """The health checks of the endpoint at this place say so from now on: why they fail, or "" when they pass.
        address: where its name has several, the one that they speak of; `ANY_ADDRESS`: of all together."""
        for endpoint in self.all:
            if endpoint.place.key != place:
                continue
            health = endpoint.health if address == ANY_ADDRESS else endpoint.address_health.get(address)
            if address != ANY_ADDRESS:
                endpoint.failed_checks[address] = failure
                if not failure:
                    del endpoint.failed_checks[address]
            if health is not None:
                health.checked(failure, now)

    def uncheck(self, now: float) -> None:
        """Nobody checks any more, so no check leaves anything out."""
        for endpoint in self.all:
            endpoint.failed_checks.clear()
            for health in (endpoint.health, *endpoint.address_health.values()):
                health.checked("", now)

    def eject(self, place: PlaceKey, why: str, until: float, now: float) -> None:
        """The endpoint at this place is ejected until then."""
        for endpoint in self.all:
            if endpoint.place.key == place:
                endpoint.health.eject(why, until, now)

    def failed(self, endpoint: Endpoint, why: str, now: float) -> None:
        """A dial reached none of the endpoint's addresses."""
        if endpoint.health.failed(why, now) and not endpoint.is_gone:
            self._report(f"{endpoint.place.authority} cannot be reached: {why}")

    def address_failed(self, endpoint: Endpoint, address: str, why: str, now: float) -> None:
        """An attempt did not reach this address. A single address is not reported: `failed` reports its endpoint."""
        health = endpoint.address_health.get(address)
        if health is not None and len(endpoint.addresses) > 1 and health.failed(why, now) and not endpoint.is_gone:
            self._report(f"{endpoint.place.authority} at {address} cannot be reached: {why}")

    def closed_at_once(self, endpoint: Endpoint, address: str) -> None:
        """A connection was accepted, and ended while it was still being dialed. The dial reports the failure. Here it
        is noted that the next accepted connection proves nothing."""
        health = self._health_of(endpoint, address)
        if health is not None:
            health.must_respond = True

    def closed_without_response(self, endpoint: Endpoint, address: str, now: float) -> None:
        """A new connection ended without an octet of a response. The address is left out. When no other address is up,
        the endpoint is left out as well."""
        health = self._health_of(endpoint, address)
        if health is None:
            return
        self._leave_out(endpoint, health, "" if health is endpoint.health else f" at {address}", now)
        if not any(endpoint.address_health[other].is_up(now) for other in endpoint.addresses):
            self._leave_out(endpoint, endpoint.health, "", now)

    def _leave_out(self, endpoint: Endpoint, health: Health, at: str, now: float) -> None:
        health.must_respond = True
        why = "closes new connections without a word"
        if health.failed(why, now) and not endpoint.is_gone:
            self._report(f"{endpoint.place.authority}{at} {why}")

    def _health_of(self, endpoint: Endpoint, address: str) -> Health | None:
        """The health that a connection to this address tells of: the address's where there are several, else the
        endpoint's. None: the name does not have this address any more."""
        return endpoint.health if len(endpoint.addresses) < 2 else endpoint.address_health.get(address)

    def reached(self, endpoint: Endpoint, address: str, now: float) -> None:
        """A dial reached the endpoint, at this address."""
        if endpoint.health.reached(now):
            self._report(f"{endpoint.place.authority} can be reached again")
        health = endpoint.address_health.get(address)
        if health is not None and health.reached(now):
            self._report(f"{endpoint.place.authority} at {address} can be reached again")

    def responded(self, endpoint: Endpoint, address: str, now: float) -> None:
        """The endpoint has responded on a new connection to this address."""
        if endpoint.health.responded(now):
            self._report(f"{endpoint.place.authority} responds again")
        health = endpoint.address_health.get(address)
        if health is not None and health.responded(now):
            self._report(f"{endpoint.place.authority} at {address} responds again")


def _health_of_new(endpoint: Endpoint, address: str, now: float) -> Health:
    """The health of an address that a look-up has brought. It may have been checked before that."""
    health = Health()
    health.checked(endpoint.failed_checks.get(address, ""), now)
    return health
