"""Whether an endpoint, or one address of it, works as far as is known.

There is one `Health` for each endpoint, and one for each address of its name. Three things leave it out:

    a failure     it could not be reached when it was tried last, or closed a new connection without a response. It is
                  left out for `UNHEALTHY_FOR` seconds, or until it accepts a connection. One that has closed a new
                  connection without a word has to respond to a request, since accepting the next one proves nothing
    a check       its last health checks failed: until enough of them pass (see `checks`), which ends a failure, too
    an ejection   too many requests in a row failed there: until its time is over (see `ejection`)

It is up when none of them leaves it out. So a check that passes does not end an ejection: the requests of clients have
said more than a check does. Who is left out is tried after all others.

To be allowed a try again is another thing than to work. After a failure people are shown that it does not, until it
has accepted a connection, or responded where it has to (`Health.unproved`).

What is back after a while, or has joined others, may be cold: its caches are empty, its code is not compiled yet. So
its share of the requests may rise step by step (`Health.share`).
"""

from math import inf

UNHEALTHY_FOR = 5.0
"""Seconds for which an endpoint or an address is tried last after a failure. nginx's `fail_timeout` is 10 s, and Envoy
ejects for 30 s at first. They send nothing there meanwhile; here it is only tried last, and is sooner back."""

LEAST_SHARE = 0.1
"""The share with which a slow start begins, of the full one: Envoy's `min_weight_percent` is 10 %, too."""


class Health:
    """What is known of an endpoint or an address.

    down_until    monotonic time until when it is left out; infinity: until something happens
    must_respond  it closed a new connection without a response, so only a response proves that it works
    slow_start    seconds in which its share of the requests rises, when it is back or new; 0: it has its full share at
                  once
    failures      requests in a row that have failed there, where they are counted
    failed_check  why its last checks failed, or ""
    ejected_until monotonic time
    """

    __slots__ = (
        "_ejected_for",
        "_failed_for",
        "_failed_until",
        "_is_reported",
        "_quiet_until",
        "down_until",
        "ejected_until",
        "failed_check",
        "failures",
        "must_respond",
        "slow_start",
    )

    def __init__(self, slow_start: float = 0.0, since: float = -inf) -> None:
        """since: when it joined others, whose share it has only after its slow start; -inf: they began together."""
        self.down_until = since
        self.must_respond = False
        self.slow_start = slow_start
        self.failures = 0
        self.failed_check = ""
        self.ejected_until = -inf
        self._ejected_for = ""
        self._failed_until = -inf
        self._failed_for = ""
        self._is_reported = False  # the operator believes that it is down
        self._quiet_until = -inf

    def is_up(self, now: float) -> bool:
        """Whether it has its turn; if not, it is tried last."""
        return self.down_until <= now

    def is_reachable(self, now: float) -> bool:
        """Whether no failure leaves it out, whatever checks and ejections say."""
        return self._failed_until <= now

    def share(self, now: float) -> float:
        """How much of its usual part of the requests it gets while it is up: above 0, at most 1, which is usual."""
        if self.slow_start == 0.0:
            return 1.0
        return min(1.0, max(LEAST_SHARE, (now - self.down_until) / self.slow_start))

    def why(self, now: float) -> str:
        """Why it is left out, for people; "" while it is up."""
        if self.failed_check:
            return f"health check: {self.failed_check}"
        if self.ejected_until > now:
            return f"ejected: {self._ejected_for}"
        return self._failed_for if self._failed_until > now else ""

    def unproved(self, since: float) -> str:
        """How it failed last, if it has not been reached after that; else "". since: monotonic time from which on
        something else has shown that it works; -inf: nothing has."""
        return self._failed_for if self._failed_until - UNHEALTHY_FOR > since else ""

    # ── failures ──

    def failed(self, why: str, now: float) -> bool:
        """It does not work. Returns whether to report that. One that is left out for another reason as well was
        reported with that."""
        is_told = bool(self.failed_check) or self.ejected_until > now
        self._failed_until, self._failed_for = now + UNHEALTHY_FOR, why
        self._settle(now)
        if self._is_reported or now < self._quiet_until or is_told:
            return False
        self._is_reported, self._quiet_until = True, now + UNHEALTHY_FOR
        return True

    def reached(self, now: float) -> bool:
        """It has accepted a connection. Returns whether to report that it is back."""
        if self.must_respond:
            return False
        self._failed_until = -inf
        self._settle(now)
        was_reported, self._is_reported = self._is_reported, False
        return was_reported

    def responded(self, now: float) -> bool:
        """It has responded on a new connection. Returns whether to report that it is back."""
        had_to, self.must_respond = self.must_respond, False
        return had_to and self.reached(now)

    # ── checks and ejections ──

    def checked(self, failure: str, now: float) -> None:
        """Its checks say so from now on: why they fail, or "" when they pass. Those that pass again have reached it,
        and it has responded. That is newer than any failure, and is told by whoever checks."""
        if self.failed_check and not failure:
            self._failed_until, self.must_respond, self._is_reported = -inf, False, False
        self.failed_check = failure
        self._settle(now)

    def unchecked(self, now: float) -> None:
        """Nobody checks it any more."""
        self.failed_check = ""
        self._settle(now)

    def eject(self, why: str, until: float, now: float) -> None:
        """It is ejected until then; a moment that is over ends an ejection. Its failures are counted anew."""
        self.failures = 0
        self.ejected_until, self._ejected_for = until, why
        self._settle(now)

    def _settle(self, now: float) -> None:
        """What leaves it out has changed."""
        until = inf if self.failed_check else max(self.ejected_until, self._failed_until)
        if until > now:
            self.down_until = until
        elif self.down_until > now:
            self.down_until = now  # it is back, and its slow start begins
