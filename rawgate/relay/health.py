"""Whether an endpoint, or one address of it, works as far as is known.

There is one `Health` for each endpoint, and one for each address of its name. What failed when it was tried is left out
for `UNHEALTHY_FOR` seconds. So is what accepts a connection and closes it without a response. That stays left out until
it responds to a request, since accepting the next connection proves nothing.

Who is left out is tried after all others. What is back after a while may be cold: its caches are empty, its code is not
compiled yet. So its share of the requests may rise step by step (`Health.share`).
"""

from math import inf

UNHEALTHY_FOR = 5.0
"""Seconds for which an endpoint or an address is tried last after a failure. nginx's `fail_timeout` is 10 s, and Envoy
ejects for 30 s at first. They send nothing there meanwhile; here it is only tried last, and is sooner back."""

LEAST_SHARE = 0.1
"""The share with which a slow start begins, of the full one: Envoy's `min_weight_percent` is 10 %, too."""


class Health:
    """Whether an endpoint or an address worked when it was last tried.

    down_until    monotonic time until when it is left out
    must_respond  it closed a new connection without a response, so only a response proves that it works
    slow_start    seconds in which its share of the requests rises, when it is back; 0: it has its full share at once
    """

    __slots__ = ("_is_reported", "_quiet_until", "down_until", "must_respond", "slow_start")

    def __init__(self, slow_start: float = 0.0) -> None:
        self.down_until = -inf
        self.must_respond = False
        self.slow_start = slow_start
        self._is_reported = False  # the operator believes that it is down
        self._quiet_until = -inf

    def is_up(self, now: float) -> bool:
        """Whether it has its turn; if not, it is tried last."""
        return self.down_until <= now

    def share(self, now: float) -> float:
        """How much of its usual part of the requests it gets while it is up: above 0, at most 1, which is usual."""
        if self.slow_start == 0.0:
            return 1.0
        return min(1.0, max(LEAST_SHARE, (now - self.down_until) / self.slow_start))

    def failed(self, now: float) -> bool:
        """It does not work. Returns whether to report that."""
        self.down_until = now + UNHEALTHY_FOR
        if self._is_reported or now < self._quiet_until:
            return False
        self._is_reported, self._quiet_until = True, now + UNHEALTHY_FOR
        return True

    def reached(self, now: float) -> bool:
        """It has accepted a connection. Returns whether to report that it is back."""
        if self.must_respond:
            return False
        self.down_until = min(self.down_until, now)
        was_reported, self._is_reported = self._is_reported, False
        return was_reported

    def responded(self, now: float) -> bool:
        """It has responded on a new connection. Returns whether to report that it is back."""
        had_to, self.must_respond = self.must_respond, False
        return had_to and self.reached(now)
