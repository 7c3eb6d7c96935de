"""What stands between requests and an upstream that fails: its circuit breaker, and the budget of its retries.

There is one for each upstream, beside its pool. It keeps books only. `guarded_exchange` asks it.
"""

from collections.abc import Callable

from rawgate.errors import Reason
from rawgate.relay.breaker import NO_PROBE, Breaker, OneProcess, has_failed, private_cells, says_something
from rawgate.relay.options import UpstreamOptions
from rawgate.relay.quota import Quota
from rawgate.relay.retries import ALWAYS, RetryBudget


class Guard:
    """See the module.

    is_on    the upstream has a breaker or retries; if not, nobody asks
    budget   of its retries
    """

    __slots__ = ("_breaker", "_options", "_report", "budget", "is_on")

    def __init__(
        self,
        options: UpstreamOptions,
        report: Callable[[str], None],
        breaker: Breaker | None = None,
        always: Quota | None = None,
    ) -> None:
        """report: is called with one line that the operator should know. breaker, always (see `RetryBudget`): None:
        this process's own."""
        self._options = options
        self._report = report
        self._breaker = Breaker(private_cells(), OneProcess()) if breaker is None else breaker
        self.budget = RetryBudget(Quota(ALWAYS) if always is None else always)
        self.is_on = options.breaker is not None or options.retry is not None

    def __repr__(self) -> str:
        return f"<Guard {self._breaker!r} {self.budget!r}>"

    # ── the breaker ──

    @property
    def is_open(self) -> bool:
        """Whether only probes may go on."""
        return self._options.breaker is not None and self._breaker.is_open

    def admit(self, now: float) -> int:
        """See `Breaker.admit`."""
        rule = self._options.breaker
        return NO_PROBE if rule is None else self._breaker.admit(rule, now)

    def ended(self, probe: int, reason: Reason, status: int, now: float) -> None:
        """An attempt is over. probe: what `admit` returned for its request. reason, status: see `pool.Outcomes`."""
        rule = self._options.breaker
        if rule is None:
            return
        if not says_something(reason):
            if probe:
                self._breaker.withdrawn(probe, now)
        elif self._breaker.ended(rule, probe, has_failed(reason, status), now):
            if self._breaker.is_open:
                why = f"{rule.errors:.0%} or more of at least {rule.least} requests failed within {rule.within:g} s"
                self._tell(f"the circuit is open for {rule.open_for:g} s: {why}")
            else:
                self._tell("the circuit is closed again")

    def retry_after(self, now: float) -> int:
        """See `Breaker.retry_after`."""
        return self._breaker.retry_after(now)

    def due_in(self, now: float) -> float:
        """See `Breaker.due_in`."""
        return self._breaker.due_in(now)

    def _tell(self, text: str) -> None:
        self._report(f"upstream {self._options.name}: {text}")

    # ── a reload, and the end ──

    def renew(self, options: UpstreamOptions) -> None:
        """The configuration says something else from now on. What was counted is kept; a breaker that is taken away is
        closed by that."""
        if self._options.breaker is not None and options.breaker is None:
            self._breaker.reset()
        self._options = options
        self.is_on = options.breaker is not None or options.retry is not None

    def let_go(self) -> None:
        """The upstream is gone, or the process ends."""
        self._breaker.let_go()
        self.budget.let_go()
