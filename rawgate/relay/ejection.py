"""Endpoints whose requests fail again and again get none for a while: passive health, as Envoy's outlier detection.

A failure is what a client would get 502, 503 or 504 for: no connection, a reset, a time-out, a response that is none,
one that breaks off; or one of the statuses that the configuration names. So a service that is slow and not dead is
ejected, too. Any other response ends the series. What the client or the gateway itself is to blame for counts neither
way.

    Ejector    one for each upstream in each process: counts failures in a row, and asks for an ejection
    Ejections  one for all processes: decides whether, for how long

    each process    Ejector ── asks ──▶ Ejections ── until when ──▶ every Ejector ──▶ Health

Each process counts for itself: what all of them see together is ejected later by as many failures as the others have
seen. But an endpoint is ejected once for all, and counted once.

- At most `at_most` of an upstream's endpoints are ejected at a time, and one at least may be, where there are others. A
  process that asks tells the number of the last ejection that it knows of in this upstream. If there was a later one,
  the answer is no, since the process has judged by too few; it is told of that one, and its next failure asks again.
- An ejection lasts `seconds` times the number of ejections, at most `LONGEST`. Each `seconds` that pass without one
  take one from the number.
"""

from collections.abc import Callable
from typing import Final

from rawgate.errors import (
    OK,
    UPSTREAM_BAD_RESPONSE,
    UPSTREAM_CONNECT_FAILED,
    UPSTREAM_CUT,
    UPSTREAM_RESET,
    UPSTREAM_TIMEOUT,
    Reason,
)
from rawgate.relay.endpoints import Endpoint, Endpoints, PlaceKey
from rawgate.relay.pool import Outcomes

LONGEST: Final = 300.0
"""Seconds that an ejection lasts at most: Envoy's `max_ejection_time`. One that is configured longer lasts as long as
that."""

FAILURES: Final = {
    UPSTREAM_BAD_RESPONSE.code: "no valid response",
    UPSTREAM_CONNECT_FAILED.code: "no connection",
    UPSTREAM_CUT.code: "broken off",
    UPSTREAM_RESET.code: "reset",
    UPSTREAM_TIMEOUT.code: "timed out",
}
"""Code of a reason → what it says of the endpoint, for people."""

FAILED_STATUSES: Final = frozenset((502, 503, 504))
"""What a service, or a gateway before it, answers when it does not work: Envoy's "gateway errors"."""


class Terms:
    """What `upstreams.NAME.eject` says.

    failures  in a row, after which an endpoint is ejected
    seconds   for how long, the first time
    at_most   of the endpoints, 0 to 1
    statuses  that are failures
    """

    __slots__ = ("at_most", "failures", "seconds", "statuses")

    def __init__(
        self, failures: int, seconds: float, at_most: float, statuses: frozenset[int] = FAILED_STATUSES
    ) -> None:
        self.failures: Final = failures
        self.seconds: Final = seconds
        self.at_most: Final = at_most
        self.statuses: Final = statuses


Ask = Callable[[Endpoint, str, int], None]
"""Ask for the ejection of an endpoint: why, and the number of the last ejection that this process knows of. If it is
granted, `Ejector.eject` follows."""


class Ejector(Outcomes):
    """Counts the failures of one upstream's endpoints in this process.

    terms  what holds at present
    """

    __slots__ = ("_ask", "_endpoints", "_last", "terms")

    def __init__(self, endpoints: Endpoints, terms: Terms, ask: Ask) -> None:
        self._endpoints = endpoints
        self._ask = ask
        self._last = 0  # the number of the last ejection
        self.terms = terms

    def done(self, endpoint: Endpoint, reason: Reason, status: int, seconds: float, now: float) -> None:
        """See `Outcomes`."""
        health = endpoint.health
        if reason is OK and status not in self.terms.statuses:
            health.failures = 0
            return
        what = f"status {status}" if reason is OK else FAILURES.get(reason.code, "")
        if not what:
            return
        health.failures += 1
        if health.failures >= self.terms.failures and health.ejected_until <= now and self._may_eject(now):
            count = health.failures
            self._ask(endpoint, f"{count} failure{'s in a row, the last' if count > 1 else ''}: {what}", self._last)

    def _may_eject(self, now: float) -> bool:
        """Whether one more may be ejected. The only endpoint never is: others could not do its part. nginx, too, does
        without `max_fails` there."""
        every = self._endpoints.all
        ejected = sum(endpoint.health.ejected_until > now for endpoint in every)
        # A hundredth of a hundred is one, whatever floating point says.
        return len(every) > 1 and ejected < max(1, int(self.terms.at_most * len(every) + 1e-9))

    def eject(self, place: PlaceKey, why: str, until: float, number: int, now: float, ours: bool = False) -> None:
        """The endpoint at this place is ejected until then, for all processes. number: of this ejection. ours: this
        process has asked for it."""
        self._last = max(self._last, number)
        self._endpoints.eject(place, why, until, now, ours)

    def end_all(self, now: float) -> None:
        """Nothing is ejected any more: the configuration has taken it back."""
        for endpoint in self._endpoints.all:
            self._endpoints.eject(endpoint.place.key, "", now, now)


class Ejected:
    """The last ejection of one endpoint.

    times   how many there were, as far as they have not been forgotten
    number  of this one, in its upstream
    """

    __slots__ = ("number", "seconds", "times", "until")

    def __init__(self, until: float, times: int, seconds: float, number: int) -> None:
        self.until: Final = until
        self.times: Final = times
        self.seconds: Final = seconds
        self.number: Final = number

    def times_at(self, now: float) -> int:
        """How many of them still count."""
        return self.times if now < self.until else max(0, self.times - int((now - self.until) / self.seconds))


class Ejections:
    """All ejections of all upstreams."""

    __slots__ = ("_ejected", "_last")

    def __init__(self) -> None:
        self._ejected: dict[tuple[str, PlaceKey], Ejected] = {}
        self._last: dict[str, int] = {}  # upstream → the number of its last ejection

    def ask(self, upstream: str, place: PlaceKey, seconds: float, last: int, now: float) -> Ejected | None:
        """A process asks for an ejection, and knows of those in this upstream up to number `last`. seconds: of a first
        one. None: there is none."""
        before = self._ejected.get((upstream, place))
        if last < self._last.get(upstream, 0) or (before is not None and now < before.until):
            return None
        # Those that are forgotten are left in no list.
        self._ejected = {key: one for key, one in self._ejected.items() if one.times_at(now)}
        times = 1 + (0 if before is None else before.times_at(now))
        lasts = min(seconds * times, max(seconds, LONGEST))
        number = self._last[upstream] = last + 1
        ejected = self._ejected[upstream, place] = Ejected(now + lasts, times, seconds, number)
        return ejected

    def forget(self, upstream: str) -> None:
        """It ejects nothing any more."""
        self._last.pop(upstream, None)
        self._ejected = {key: one for key, one in self._ejected.items() if key[0] != upstream}
