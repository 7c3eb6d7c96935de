"""The limit of a route that has one alone, by client: who counts, and what the client is told.

`budgets` has all others: several on a route, and those by another key.
"""

from collections.abc import Callable
from math import ceil
from typing import Final

from rawgate.message import Counts
from rawgate.policy.budgets import Hit
from rawgate.policy.in_flight import OwnCounts
from rawgate.policy.limiter import COUNTERS, SUBWINDOWS, Limiter
from rawgate.policy.shared_limiter import SharedLimiter
from rawgate.policy.store import Store

Watch = Callable[[str], Callable[[bool], None]]
"""The name of a limit → what is told of each of its decisions: whether the request was admitted."""


_LIMIT_LINES = 8192
"""Pairs that are remembered for one route: 3 to 4 MB."""


class LimitLines(dict[tuple[int, int], bytes]):
    """(remaining, reset) → the lines of draft-ietf-httpapi-ratelimit-headers, and the older x-ratelimit ones.

    A few thousand pairs are remembered: a limit of 100 in a minute has no more, and formatting four numbers takes as
    long as counting the request. The window in `w` is as long as a request may be counted, a sixteenth longer than the
    limit's own. The draft has whole seconds only; we round up, so a client that obeys the fields obeys the limit.
    """

    __slots__ = ("_form",)

    def __init__(self, name: str, maximum: int, seconds: float) -> None:
        super().__init__()
        window = ceil(seconds * COUNTERS / SUBWINDOWS)
        escaped = name.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
        self._form = (
            f'RateLimit: "{escaped}";r=%d;t=%d\r\n'
            f'RateLimit-Policy: "{escaped}";q={maximum};w={window}\r\n'
            f"x-ratelimit-limit: {maximum}\r\nx-ratelimit-remaining: %d\r\nx-ratelimit-reset: %d\r\n"
        ).encode()

    def __missing__(self, state: tuple[int, int]) -> bytes:
        lines = self._form % (*state, *state)
        if len(self) < _LIMIT_LINES:
            self[state] = lines
        return lines


class Limit:
    """How a route limits.

    hit          counts a client that authenticated
    hit_address  counts a client by its address
    fields       `fields[remaining, reset]` → the field lines for the client
    """

    __slots__ = ("fields", "hit", "hit_address")

    def __init__(self, hit: Hit, hit_address: Hit, fields: LimitLines) -> None:
        self.hit: Final = hit
        self.hit_address: Final = hit_address
        self.fields: Final = fields


def watched(hit: Hit, told: Callable[[bool], None]) -> Hit:
    """The step that also tells of each decision."""

    def telling(client: str, now: float) -> tuple[bool, int, int]:
        found = hit(client, now)
        told(found[0])
        return found

    return telling


class Limiters:
    """The counters of all routes. Addresses have a capacity of their own: a client with very many of them, as IPv6 or a
    botnet gives, cannot push out the counters of authenticated clients. Several workers count in shared limiters.

    requests  under way, of each client of each route
    failures  wrong credentials, by address: places of their own, so that guessers push out nobody
    store     what this worker asks of the store, for limits over hosts; None: nobody serves here, and these limits
              count as those of a host
    """

    __slots__ = ("addresses", "credentials", "failures", "requests", "store")

    def __init__(
        self,
        credentials: Limiter | SharedLimiter,
        addresses: Limiter | SharedLimiter,
        failures: Limiter | SharedLimiter,
        requests: Counts | None = None,
        store: Store | None = None,
    ) -> None:
        """requests: None: those of this process."""
        self.credentials: Final = credentials
        self.addresses: Final = addresses
        self.failures: Final = failures
        self.requests: Final = OwnCounts() if requests is None else requests
        self.store: Final = store

    @property
    def evicted(self) -> int:
        """How many live counters were forgotten. While this is 0, every limit is exact."""
        return self.credentials.evicted + self.addresses.evicted + self.failures.evicted
