"""Which failures of an upstream are answered by a second attempt, and how many attempts there may be.

The budget is a share, and is kept in two ways. Both have to have room.

    under way   of all requests that are at the upstream, retries are at most the share of those that are not
    in number   each request that comes to the upstream earns the share of a retry, and each retry spends one

The first alone would let a service that fails fast have twice the load: its retries are over before others begin, so
hardly any are under way at once. The second alone would let a service that has become slow have all that was earned in
better times, at once. So what was earned is worth something only while the requests that earned it are there. In
whatever span of time, retries are at most the share of the requests that were at the upstream in it, and `RESERVE`.

A share of next to nothing would be none. So `ALWAYS` may be under way whatever the share, and `RESERVE` may be made
that nobody has earned. Envoy's retry budget is the first way (`budget_percent` 20, `min_retry_concurrency` 3). It
counts retries among the requests that the share is of, and so lets a storm grow by a quarter. Finagle's and gRPC's are
the second: 20 % and ten a second; in gRPC's example a tenth, and ten at most.

Each process applies the share to its own requests, so the sum keeps it too. The slots of `ALWAYS` are shared by all;
each process has a `RESERVE` of its own.
"""

from typing import Final

from rawgate.relay.quota import Quota

ALWAYS: Final = 3
"""Retries that may be under way at once, whatever the share. Envoy's `min_retry_concurrency`."""

RESERVE: Final = 10
"""Retries that may be made before any request has earned one: what gRPC's example (`maxTokens`) begins with, too."""

_NEARLY: Final = 1.0 - 1e-6
"""Five times a fifth is one, whatever floating point says."""


class RetryRule:
    """What is sent again.

    attempts  how often a request is sent at most; 2 or more
    connect   after a dial that failed at every target
    reset     after a connection that ended before the response's head was whole
    timeout   after `response_timeout`
    statuses  after a response with one of these
    budget    the share, above 0 to 1
    """

    __slots__ = ("attempts", "budget", "connect", "reset", "statuses", "timeout")

    def __init__(
        self,
        attempts: int = 2,  # nginx tries every server, Envoy once more
        connect: bool = True,
        reset: bool = True,
        timeout: bool = False,  # unlike nginx: who waits for a slow service waits twice, and the service works twice
        statuses: frozenset[int] = frozenset((502, 503, 504)),  # Envoy's `gateway-error`
        budget: float = 0.2,  # Envoy's `budget_percent`
    ) -> None:
        self.attempts: Final = attempts
        self.connect: Final = connect
        self.reset: Final = reset
        self.timeout: Final = timeout
        self.statuses: Final = statuses
        self.budget: Final = budget


class RetryBudget:
    """The retries of one upstream, in this process.

    retrying  how many are under way
    made      how many retries there were since the count was last taken
    refused   how many there were not, for want of budget
    """

    __slots__ = ("_always", "_earned", "_slots", "made", "refused", "retrying")

    def __init__(self, always: Quota) -> None:
        """always: `ALWAYS` slots, which other processes may share."""
        self._always = always
        self._slots = 0  # of these, how many are taken here
        self._earned = float(RESERVE)
        self.retrying = self.made = self.refused = 0

    def __repr__(self) -> str:
        return f"<RetryBudget {self.retrying} under way>"

    def earn(self, share: float) -> None:
        """A request has come to the upstream, for the first time."""
        self._earned += share

    def take(self, share: float, live: int, there: int) -> bool:
        """A request is to be sent again, and is no retry yet. Returns whether it may; then `give` follows.

        live   requests that are at the upstream or on their way to it, retries among them
        there  of these, the ones that are there; those have earned something
        """
        retries = self.retrying + 1
        earned = self._earned = min(self._earned, RESERVE + share * there)
        if earned < _NEARLY:
            self.refused += 1
            return False
        if self._always.take():
            self._slots += 1
        elif retries > share * (live - retries):
            self.refused += 1
            return False
        self._earned = earned - 1.0
        self.retrying = retries
        self.made += 1
        return True

    def give(self) -> None:
        """One of the retries is over."""
        self.retrying -= 1
        if self._slots > self.retrying:
            self._slots -= 1
            self._always.give()

    def counted(self) -> tuple[int, int]:
        """`made` and `refused`, which begin anew."""
        made, refused = self.made, self.refused
        self.made = self.refused = 0
        return made, refused

    def let_go(self) -> None:
        """Nobody will ask again."""
        self._always.let_go()
