"""Which failures of an upstream are answered by a second attempt, and how many attempts may be under way.

The budget: of all requests that are at the upstream, retries are at most a share of those that are not. So when
everything fails, and each attempt takes as long as the other, the upstream gets that share more than without retries.
`ALWAYS` at once are allowed all the same, since a share of next to nothing would be none. Envoy's retry budget is the
same (`budget_percent` 20, `min_retry_concurrency` 3); it counts retries among the requests that the share is of, and so
lets a storm grow by a quarter.

Each process applies the share to its own requests, so the sum keeps it too. The slots of `ALWAYS` are shared by all.
"""

from typing import Final

from rawgate.relay.quota import Quota

ALWAYS: Final = 3
"""Retries that may be under way at once, whatever the share. Envoy's `min_retry_concurrency`."""


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

    __slots__ = ("_always", "_slots", "made", "refused", "retrying")

    def __init__(self, always: Quota) -> None:
        """always: `ALWAYS` slots, which other processes may share."""
        self._always = always
        self._slots = 0  # of these, how many are taken here
        self.retrying = self.made = self.refused = 0

    def __repr__(self) -> str:
        return f"<RetryBudget {self.retrying} under way>"

    def take(self, share: float, live: int) -> bool:
        """A request is to be sent again, and is no retry yet. live: requests that are at the upstream, retries among
        them. Returns whether it may; then `give` follows."""
        retries = self.retrying + 1
        if self._always.take():
            self._slots += 1
        elif retries > share * (live - retries):
            self.refused += 1
            return False
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
