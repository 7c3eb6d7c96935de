"""Where an upstream can be reached, and whose turn it is: its endpoints, and the addresses that the name of each has.

Two wheels turn. Requests go round the endpoints; those of one endpoint go round its addresses, so that a name with
several addresses has its load on all of them. A wheel moves on when an idle connection is taken, or when a dial is
started: a dial that is still under way has had its turn, so a burst is spread as evenly as what comes one by one.

What could not be reached is left out for `UNHEALTHY_FOR` seconds, which means that it is tried after all others. The
operator is told when something goes, with the reason, and when it comes back; of one that comes and goes all the time,
once in `UNHEALTHY_FOR`. What accepts a connection and closes it without a word is left out in the same way, and stays
so until it responds to a request: that it accepts the next connection says nothing.

Endpoints may come and go while requests flow (`Endpoints.retarget`). One that stays keeps its connections and what is
known of it. One that goes serves what it has been given, and nothing new.
"""

from collections.abc import Callable, Sequence
from math import inf
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from rawgate.relay.ports import UpstreamPort

UNHEALTHY_FOR = 5.0
"""Seconds for which an endpoint, or an address, whose dial failed is tried last. nginx's `fail_timeout` is 10 s; Envoy
ejects for 30 s at first."""

ANY = ""
"""Stands for the address of an endpoint that has one only, or whose addresses are not known yet."""


class Place:
    """Where an endpoint is, as the configuration or discovery says.

    scheme       "http"
    host, port   a name, or an address without brackets
    server_name  the name that its certificate must have; "" where the scheme needs none
    weight       its share of the requests beside the others'
    zone         where it stands, for who prefers what is near; "" unsaid
    """

    __slots__ = ("host", "port", "scheme", "server_name", "weight", "zone")

    def __init__(
        self, host: str, port: int, scheme: str = "http", server_name: str = "", weight: int = 1, zone: str = ""
    ) -> None:
        self.host: Final = host
        self.port: Final = port
        self.scheme: Final = scheme
        self.server_name: Final = server_name
        self.weight: Final = weight
        self.zone: Final = zone

    @property
    def key(self) -> tuple[str, str, int, str]:
        """Two places with the same key are one endpoint: connections to one serve the other."""
        return self.scheme, self.host, self.port, self.server_name

    @property
    def authority(self) -> str:
        """As in a URL, the port always included."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Standing:
    """Whether something could be reached when that was last tried.

    is_mute  it accepts connections, and closes them without a word
    """

    __slots__ = ("_is_told", "_quiet_until", "down_until", "is_mute")

    def __init__(self) -> None:
        self.down_until = 0.0
        self.is_mute = False
        self._is_told = False  # that it is gone
        self._quiet_until = -inf

    def failed(self, now: float) -> bool:
        """It could not be. Returns whether to tell."""
        self.down_until = now + UNHEALTHY_FOR
        if self._is_told or now < self._quiet_until:
            return False
        self._is_told, self._quiet_until = True, now + UNHEALTHY_FOR
        return True

    def answered(self) -> bool:
        """It could be. Returns whether to tell."""
        if self.is_mute:
            return False
        self.down_until = 0.0
        was_told, self._is_told = self._is_told, False
        return was_told

    def spoke(self) -> bool:
        """It has responded on a new connection. Returns whether to tell."""
        was_mute, self.is_mute = self.is_mute, False
        return was_mute and self.answered()


class Endpoint:
    """One place, what is known of it, and its connections at rest.

    idle      the newest last
    is_gone   the upstream does not have it any more: what it has been given ends, and nothing new begins
    addresses  of its name, as they were looked up last; `turn` counts up to whose turn it was
    """

    __slots__ = ("addresses", "by_address", "idle", "is_gone", "place", "standing", "turn")

    def __init__(self, place: Place) -> None:
        self.place = place
        self.idle: list[UpstreamPort] = []
        self.is_gone = False
        self.standing = Standing()
        self.addresses: tuple[str, ...] = ()
        self.by_address: dict[str, Standing] = {}
        self.turn = 0

    def __repr__(self) -> str:
        return f"<Endpoint {self.place.authority} idle={len(self.idle)}{' gone' if self.is_gone else ''}>"

    def next_turn(self, now: float) -> int:
        """The turn after this one, leaving out addresses that are down unless all are."""
        count = len(self.addresses)
        for turn in range(self.turn + 1, self.turn + 1 + count):
            if self.by_address[self.addresses[turn % count]].down_until <= now:
                return turn
        return self.turn + 1


class Endpoints:
    """Those of one upstream, at least one. `tell` is told, in one line, what the operator should know.

    all        in the order in which they were given
    is_single  there is nothing to choose
    """

    def __init__(self, places: Sequence[Place], tell: Callable[[str], None]) -> None:
        self.all: list[Endpoint] = []
        self._tell = tell
        self._turn = 0
        self.is_single = False
        self.retarget(places)

    def retarget(self, places: Sequence[Place]) -> list[Endpoint]:
        """From now on the upstream has these. Returns the endpoints that are gone. Raises ValueError for none."""
        if not places:
            raise ValueError("an upstream has at least one endpoint")
        before = {endpoint.place.key: endpoint for endpoint in self.all}
        after: dict[tuple[str, str, int, str], Endpoint] = {}
        for place in places:
            endpoint = before.pop(place.key, None) or after.get(place.key) or Endpoint(place)
            endpoint.place = place
            after[place.key] = endpoint
        for endpoint in before.values():
            endpoint.is_gone = True
        self.all = list(after.values())
        self.is_single = self._nothing_to_choose()
        return list(before.values())

    def _nothing_to_choose(self) -> bool:
        return len(self.all) == 1 and len(self.all[0].addresses) < 2

    # ── whose turn it is ──

    def next(self, now: float) -> tuple[Endpoint, str]:
        """The endpoint whose turn it is, and the address; `ANY` when it makes no difference. Nothing moves."""
        endpoint = self.all[self._next(now)]
        if len(endpoint.addresses) < 2:
            return endpoint, ANY
        return endpoint, endpoint.addresses[endpoint.next_turn(now) % len(endpoint.addresses)]

    def took(self, endpoint: Endpoint, now: float) -> None:
        """The turn of this endpoint, and of its next address, is over."""
        self._turn = self.all.index(endpoint)
        endpoint.turn = endpoint.next_turn(now)

    def order(self, now: float) -> list[tuple[Endpoint, int]]:
        """(endpoint, turn of its addresses) in the order in which a dial that is started now should try them: from the
        one whose turn it is, the healthy first. It has had its turn then."""
        ring = self.ring(now)
        self.took(ring[0], now)
        ring.sort(key=lambda endpoint: endpoint.standing.down_until > now)
        return [(endpoint, endpoint.turn) for endpoint in ring]

    def ring(self, now: float) -> list[Endpoint]:
        """All of them, from the one whose turn it is."""
        first = self._next(now)
        return self.all[first:] + self.all[:first]

    def _next(self, now: float) -> int:
        count = len(self.all)
        for step in range(1, count + 1):
            at = (self._turn + step) % count
            if self.all[at].standing.down_until <= now:
                return at
        return (self._turn + 1) % count

    def is_only(self, endpoint: Endpoint, address: str, now: float) -> bool:
        """Whether no other endpoint is up, and no other address of this one."""
        others = [other.standing for other in self.all if other is not endpoint]
        others += [standing for other, standing in endpoint.by_address.items() if other != address]
        return all(other.down_until > now for other in others)

    # ── what dials find ──

    def addresses(self, endpoint: Endpoint, turn: int, found: tuple[str, ...], now: float) -> list[str]:
        """The name of an endpoint has these addresses. Returns them in the order in which to try them: from the one
        whose turn it is, the healthy first."""
        if endpoint.addresses != found:
            endpoint.addresses = found
            endpoint.by_address = {one: endpoint.by_address.get(one) or Standing() for one in found}
            self.is_single = self._nothing_to_choose()
        ring = [found[(turn + step) % len(found)] for step in range(len(found))]
        return sorted(ring, key=lambda one: endpoint.by_address[one].down_until > now)

    def failed(self, endpoint: Endpoint, why: str, now: float) -> None:
        """An endpoint could not be reached, at none of its addresses."""
        if endpoint.standing.failed(now) and not endpoint.is_gone:
            self._tell(f"{endpoint.place.authority} cannot be reached: {why}")

    def address_failed(self, endpoint: Endpoint, address: str, why: str, now: float) -> None:
        """One address of an endpoint could not be reached. Told where it has others: else the endpoint's failure is."""
        standing = endpoint.by_address.get(address)
        if standing is not None and len(endpoint.addresses) > 1 and standing.failed(now) and not endpoint.is_gone:
            self._tell(f"{endpoint.place.authority} at {address} cannot be reached: {why}")

    def closed_at_once(self, endpoint: Endpoint, address: str) -> None:
        """A dial has failed although the connection was accepted: the next one that is accepted says nothing."""
        standing = self._standing(endpoint, address)
        if standing is not None:
            standing.is_mute = True

    def was_mute(self, endpoint: Endpoint, address: str, now: float) -> None:
        """A new connection ended without a word. The address is left out; when no other is up, the endpoint is."""
        standing = self._standing(endpoint, address)
        if standing is None:
            return
        self._leave_out(endpoint, standing, "" if standing is endpoint.standing else f" at {address}", now)
        if all(endpoint.by_address[other].down_until > now for other in endpoint.addresses):
            self._leave_out(endpoint, endpoint.standing, "", now)

    def _leave_out(self, endpoint: Endpoint, standing: Standing, at: str, now: float) -> None:
        standing.is_mute = True
        if standing.failed(now) and not endpoint.is_gone:
            self._tell(f"{endpoint.place.authority}{at} closes new connections without a word")

    def _standing(self, endpoint: Endpoint, address: str) -> Standing | None:
        """What is to blame for a connection to this address: the address where there are others, else the endpoint.
        None: the name has that address no longer."""
        return endpoint.standing if len(endpoint.addresses) < 2 else endpoint.by_address.get(address)

    def spoke(self, endpoint: Endpoint, address: str) -> None:
        """An endpoint has responded on a new connection to this address."""
        if endpoint.standing.spoke():
            self._tell(f"{endpoint.place.authority} responds again")
        standing = endpoint.by_address.get(address)
        if standing is not None and standing.spoke():
            self._tell(f"{endpoint.place.authority} at {address} responds again")

    def answered(self, endpoint: Endpoint, address: str) -> None:
        """An endpoint could be reached, at this address."""
        if endpoint.standing.answered():
            self._tell(f"{endpoint.place.authority} can be reached again")
        standing = endpoint.by_address.get(address)
        if standing is not None and standing.answered():
            self._tell(f"{endpoint.place.authority} at {address} can be reached again")
