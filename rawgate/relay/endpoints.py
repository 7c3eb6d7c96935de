"""Where an upstream can be reached, and which endpoint and which address of it is next.

`balance` chooses the endpoint of a request. Requests of one endpoint go round the addresses of its name, so that each
address gets its part of the load. A turn is over when an idle connection is taken, or when a dial is started. A dial
that is still under way has therefore had its turn, and a burst is spread as evenly as single requests.

What does not work is left out (see `health`): it is tried after all others. The operator hears when something is left
out, and why, and when it is back. What fails again and again is reported once in `health.UNHEALTHY_FOR`.

Endpoints may come and go while requests flow (`Endpoints.retarget`). An endpoint that stays keeps its connections and
its health. An endpoint that goes ends the requests that it has, and gets no new ones.
"""

from collections.abc import Callable, Sequence
from math import inf
from typing import TYPE_CHECKING, Final

from rawgate.message import authority_of
from rawgate.relay.balance import ROUND_ROBIN, Draw, allot, never_by_chance, seed_of, way_of
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
    weight       its share of the requests, relative to the others'; above 0
    zone         where it stands, for callers that prefer what is near; "" where nobody says
    backup       it gets requests only as far as the others cannot take them
    """

    __slots__ = ("backup", "host", "path", "port", "scheme", "server_name", "trust", "weight", "zone")

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
        backup: bool = False,
    ) -> None:
        self.host: Final = host
        self.port: Final = port
        self.scheme: Final = scheme
        self.server_name: Final = server_name
        self.weight: Final = weight
        self.zone: Final = zone
        self.path: Final = path
        self.trust: Final = trust
        self.backup: Final = backup

    @property
    def key(self) -> PlaceKey:
        """Two places with the same key are one endpoint: a connection to one serves the other."""
        return self.scheme, self.host, self.port, self.path, self.server_name, self.trust

    @property
    def authority(self) -> str:
        """As in a URL, always with the port; of a Unix socket "unix:PATH"."""
        return f"unix:{self.path}" if self.path else authority_of(self.host, self.port)

    @property
    def name(self) -> str:
        """What it is called by the log, metrics and status: its authority, and where it speaks TLS "https://" before
        that."""
        return f"https://{self.authority}" if self.scheme == "https" else self.authority


NOWHERE: Final = Place("", 0)
"""In place of all places of an upstream that has none: whoever tells them has not answered yet, or knows of none.
Nothing is ever dialed there. So what chooses need not ask whether there is anything to choose from."""


class Endpoint:
    """One place, with its health and its idle connections.

    idle            the newest last
    is_gone         the upstream does not have it any more: its requests end, and it gets no new ones
    addresses       of its name, as the last look-up found them
    address_health  the health of each
    failed_checks   addresses whose last health checks failed → why
    turn            the number of the last turn; modulo the number of addresses it is the index of the address
    sent, ended     requests that were sent there by this process, and those of them that are over
    ejections       how often it was ejected because this process asked for that
    dialing         dials that began there and are under way

    Of `balance`:

    level       see there
    seed        what its numbers depend on when keys are hashed
    part        its part of the requests, 0 to 1
    counted_up  whether it was up when the parts were set
    due, step   in virtual time: when it has its turn, and how long it waits from one to the next; 0: it has none
    """

    __slots__ = (
        "address_health",
        "addresses",
        "counted_up",
        "dialing",
        "due",
        "ejections",
        "ended",
        "failed_checks",
        "health",
        "idle",
        "is_gone",
        "level",
        "part",
        "place",
        "seed",
        "sent",
        "step",
        "turn",
    )

    def __init__(self, place: Place, slow_start: float = 0.0, since: float = -inf) -> None:
        """slow_start, since: as in `Health`."""
        self.place = place
        self.idle: list[UpstreamPort] = []
        self.is_gone = False
        self.health = Health(slow_start, since)
        self.addresses: tuple[str, ...] = ()
        self.address_health: dict[str, Health] = {}
        self.failed_checks: dict[str, str] = {}
        self.turn = 0
        self.sent = self.ended = self.dialing = self.ejections = 0
        self.level = 0
        self.seed = seed_of(f"{place.scheme}://{place.authority}")
        self.part = self.due = self.step = 0.0
        self.counted_up = True

    def __repr__(self) -> str:
        return f"<Endpoint {self.place.authority} idle={len(self.idle)}{' gone' if self.is_gone else ''}>"

    @property
    def load(self) -> int:
        """Requests that are under way there, or on their way."""
        return self.sent - self.ended + self.dialing

    def why_down(self, now: float, is_checked: bool) -> str:
        """Why people are shown that it does not work; "" if it works, as far as is known. After a failure that is
        until something proves it: a connection, a response on one that was there before, or a health check, which
        `is_checked` says that there are."""
        why = self.health.why(now)
        if why or is_checked:
            return why
        used = max((upstream.idle_since for upstream in self.idle), default=-inf)
        why = self.health.unproved(used)
        return f"{why}; may be tried again" if why else ""

    def next_turn(self, now: float) -> int:
        """The number of the next turn. It leaves addresses out that are down, unless all are."""
        count = len(self.addresses)
        for turn in range(self.turn + 1, self.turn + 1 + count):
            if self.address_health[self.addresses[turn % count]].is_up(now):
                return turn
        return self.turn + 1


RENEWED_EVERY = 0.25
"""Seconds after which the parts of all endpoints are set anew, since time alone may change them: one is back, or its
slow start goes on. One that is chosen and has gone down since then is noticed at once."""


class Endpoints:
    """The endpoints of one upstream. `report` is called with one line that the operator should know.

    all        in the order in which they were given; where there are none, the one that is `NOWHERE`
    is_empty   there are none
    is_single  there is one endpoint with one address, so there is nothing to choose
    """

    def __init__(
        self,
        places: Sequence[Place],
        report: Callable[[str], None],
        way: str = ROUND_ROBIN,
        zone: str = "",
        draw: Draw = never_by_chance,
    ) -> None:
        """way, zone: as in `rebalance`. draw: random numbers for the way."""
        self.all: list[Endpoint] = []
        self._by_place: dict[PlaceKey, Endpoint] = {}
        self._report = report
        self._draw = draw
        self._name, self._way = way, way_of(way, draw)
        self._zone = zone
        self._renew_at = -inf
        self.is_single = False
        self.is_empty = False
        self._slow_start = 0.0
        self.retarget(places)

    def retarget(self, places: Sequence[Place], since: float = -inf) -> list[Endpoint]:
        """From now on the upstream has these endpoints. Returns those that are gone. since: when those that are new
        have joined; -inf: they are no newer than the others."""
        self.is_empty = not places
        before = self._by_place
        after: dict[PlaceKey, Endpoint] = {}
        for place in places or (NOWHERE,):
            endpoint = before.pop(place.key, None) or after.get(place.key) or Endpoint(place, self._slow_start, since)
            endpoint.place = place
            after[place.key] = endpoint
        for endpoint in before.values():
            endpoint.is_gone = True
        self._by_place, self.all = after, list(after.values())
        self._settle()
        return list(before.values())

    def rebalance(self, way: str, zone: str) -> None:
        """From now on requests are divided in this way (the names are in `balance`), and the gateway is in this zone;
        "" for none."""
        if way != self._name:
            for endpoint in self.all:
                endpoint.step = 0.0
            self._name, self._way = way, way_of(way, self._draw)
        self._zone = zone
        self._settle()

    def _settle(self) -> None:
        """Endpoints, or what is known of them, have changed."""
        for endpoint in self.all:
            place = endpoint.place
            endpoint.level = 2 if place.backup else int(self._zone not in ("", place.zone))
        self._renew_at = -inf
        self.is_single = self._nothing_to_choose()

    def _nothing_to_choose(self) -> bool:
        return len(self.all) == 1 and len(self.all[0].addresses) < 2

    # ── turns ──

    @property
    def is_sticky(self) -> bool:
        """Whether a request with a key goes to the endpoint of its key, and to no other while that one is up."""
        return self._way.is_sticky

    def choose(self, key: str, now: float) -> Endpoint:
        """The endpoint whose turn it is. It is not over by that. key: of the request, where the way asks for one."""
        if now >= self._renew_at:
            self._renew(now)
        chosen = self._way.choose(key)
        if chosen.health.is_up(now) is not chosen.counted_up:
            self._renew(now)
            chosen = self._way.choose(key)
        return chosen

    def _renew(self, now: float) -> None:
        parts = [endpoint.part for endpoint in self.all]
        mix = allot(self.all, now)
        if self._renew_at == -inf or parts != [endpoint.part for endpoint in self.all]:
            self._way.arrange(mix)
        self._renew_at = now + RENEWED_EVERY

    def next_address(self, endpoint: Endpoint, now: float) -> str:
        """The address of the endpoint whose turn is next; `ANY_ADDRESS` where there is one. It is not over by that."""
        count = len(endpoint.addresses)
        return ANY_ADDRESS if count < 2 else endpoint.addresses[endpoint.next_turn(now) % count]

    def end_turn(self, endpoint: Endpoint, now: float) -> None:
        """This endpoint has had its turn, and so has its next address."""
        self._way.end_turn(endpoint)
        endpoint.turn = endpoint.next_turn(now)

    def dial_order(self, first: Endpoint, key: str, now: float) -> list[tuple[Endpoint, int]]:
        """The endpoints in the order in which a dial that starts now tries them, each with the turn of its addresses.
        The first has then had its turn. Those that are up come before the others, and of them those that get requests
        now."""
        self.end_turn(first, now)
        return [(endpoint, endpoint.turn) for endpoint in (first, *self._behind(first, key, now))]

    def another(self, than: Endpoint, key: str, now: float) -> Endpoint:
        """Where a request goes that failed there: to the endpoint whose turn it is, but to another one if one is up."""
        chosen = self.choose(key, now)
        if chosen is not than:
            return chosen
        rest = self._behind(than, key, now)
        return rest[0] if rest and rest[0].health.is_up(now) else than

    def _behind(self, first: Endpoint, key: str, now: float) -> list[Endpoint]:
        """The others, in the order in which they stand in for the first."""
        rest = self.rotated(first)[1:]
        rest.sort(
            key=lambda endpoint: (
                not endpoint.health.is_up(now),
                endpoint.part == 0.0,
                endpoint.level,
                self._way.distance(endpoint, key),
            )
        )
        return rest

    def rotated(self, first: Endpoint) -> list[Endpoint]:
        """All endpoints, from this one on."""
        at = self.all.index(first)
        return self.all[at:] + self.all[:at]

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
        """From now on an endpoint that is back, or has joined, has its full share only after so many seconds."""
        self._slow_start = seconds
        for endpoint in self.all:
            endpoint.health.slow_start = seconds

    def checked(self, place: PlaceKey, address: str, failure: str, now: float) -> None:
        """The health checks of the endpoint at this place say so from now on: why they fail, or "" when they pass.
        address: where its name has several, the one that they speak of; `ANY_ADDRESS`: of all together."""
        endpoint = self._by_place.get(place)
        if endpoint is None:
            return
        health = endpoint.health if address == ANY_ADDRESS else endpoint.address_health.get(address)
        if address != ANY_ADDRESS:
            endpoint.failed_checks[address] = failure
            if not failure:
                del endpoint.failed_checks[address]
        if health is not None:
            health.checked(failure, now)
            self._heed(endpoint, now)

    def uncheck(self, now: float) -> None:
        """Nobody checks any more, so no check leaves anything out."""
        for endpoint in self.all:
            endpoint.failed_checks.clear()
            for health in (endpoint.health, *endpoint.address_health.values()):
                health.unchecked(now)
            self._heed(endpoint, now)

    def eject(self, place: PlaceKey, why: str, until: float, now: float, ours: bool = False) -> None:
        """The endpoint at this place is ejected until then. ours: this process has asked for it."""
        endpoint = self._by_place.get(place)
        if endpoint is not None:
            endpoint.ejections += int(ours)
            endpoint.health.eject(why, until, now)
            self._heed(endpoint, now)

    def failed(self, endpoint: Endpoint, why: str, now: float) -> None:
        """A dial reached none of the endpoint's addresses."""
        if endpoint.health.failed(why, now) and not endpoint.is_gone:
            self._report(f"{endpoint.place.name} cannot be reached: {why}")
        self._heed(endpoint, now)

    def _heed(self, endpoint: Endpoint, now: float) -> None:
        """Something is known of its health: if it changes who gets requests, the next choice knows."""
        if endpoint.health.is_up(now) is not endpoint.counted_up:
            self._renew_at = min(self._renew_at, now)

    def address_failed(self, endpoint: Endpoint, address: str, why: str, now: float) -> None:
        """An attempt did not reach this address. A single address is not reported: `failed` reports its endpoint."""
        health = endpoint.address_health.get(address)
        if health is not None and len(endpoint.addresses) > 1 and health.failed(why, now) and not endpoint.is_gone:
            self._report(f"{endpoint.place.name} at {address} cannot be reached: {why}")

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
            self._report(f"{endpoint.place.name}{at} {why}")
        self._heed(endpoint, now)

    def _health_of(self, endpoint: Endpoint, address: str) -> Health | None:
        """The health that a connection to this address tells of: the address's where there are several, else the
        endpoint's. None: the name does not have this address any more."""
        return endpoint.health if len(endpoint.addresses) < 2 else endpoint.address_health.get(address)

    def reached(self, endpoint: Endpoint, address: str, now: float) -> None:
        """A dial reached the endpoint, at this address."""
        if endpoint.health.reached(now):
            self._report(f"{endpoint.place.name} can be reached again")
        self._heed(endpoint, now)
        health = endpoint.address_health.get(address)
        if health is not None and health.reached(now):
            self._report(f"{endpoint.place.name} at {address} can be reached again")

    def responded(self, endpoint: Endpoint, address: str, now: float) -> None:
        """The endpoint has responded on a new connection to this address."""
        if endpoint.health.responded(now):
            self._report(f"{endpoint.place.name} responds again")
        self._heed(endpoint, now)
        health = endpoint.address_health.get(address)
        if health is not None and health.responded(now):
            self._report(f"{endpoint.place.name} at {address} responds again")


def _health_of_new(endpoint: Endpoint, address: str, now: float) -> Health:
    """The health of an address that a look-up has brought. It may have been checked before that."""
    health = Health()
    health.checked(endpoint.failed_checks.get(address, ""), now)
    return health
