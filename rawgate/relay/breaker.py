"""A circuit breaker: a service that fails is left alone for a while, and then asked by a single request.

    closed     all requests go on, and how they end is counted
    open       no request goes on
    half-open  the time is over: one request goes on, as a probe, and decides

It counts the requests that ended within the last `within` seconds. When they are at least `least`, and `errors` of
them or more have failed, it opens. Each probe that fails opens it again for twice as long, up to `LONGEST` times the
first; one that succeeds closes it, and the count begins anew. Polly and Netflix's Hystrix let one request decide too;
resilience4j lets ten, and with ten a service that is down takes ten requests each time.

A probe has as long as the breaker would be open. Then another one goes on, so nothing is lost with a probe that never
ends, or whose process dies. A probe that ends without a word about the service, since its client left or it found no
connection, lets another one go at once.

What counts
- A response with a 5xx status, and whatever is the upstream's fault (see `errors`): it failed.
- Any other response: it succeeded. A 4xx is the client's fault, and the service has answered.
- All else does not count: a client that leaves, a full queue of ours, a gateway that ends.
- A request that is sent again counts each time.
- While it is open only probes count: what was sent before it opened, and ends later, tells of the time before.

Counts are kept for ten parts of `within`, as Hystrix does, so what counts is 9 to 10 tenths of it old at most. Each
request costs the same, and the memory is `CELLS` numbers.

All processes of a gateway share the cells, and so the state: see `shared_quotas`. A process that dies while it changes
them may leave counts that do not add up, so these begin anew. Each change of state is the store of one cell.
"""

from math import ceil
from typing import Final

from rawgate import errors
from rawgate.errors import Reason
from rawgate.message import Locks

LONGEST: Final = 8
"""How many times as long as at first it may be open. Envoy lengthens its ejections to 30 times the first, where other
hosts take over; here nobody does, so a service that is back should be found sooner."""

PARTS: Final = 10

UNTIL: Final = 0
"""When the next probe may go, in monotonic nanoseconds; 0: it is closed."""
OPENED: Final = 1
"""How often it has opened: the number of the present time, by which its probes are known."""
TIMES: Final = 2
"""How many times as long as at first it is open now."""
SPAN: Final = 3
"""Length of a part, in nanoseconds."""
PART: Final = 4
"""Number of the part in progress, from the beginning of the clock."""
ENDED: Final = 5
FAILED: Final = 6
"""Requests in all parts."""
RING: Final = 7
"""From here on: requests that ended and requests that failed, for each part."""
CELLS: Final[int] = RING + 2 * PARTS

NO_PROBE: Final = 0
"""The request is a usual one."""
REFUSED: Final = -1


class BreakerRule:
    """When it opens, and for how long.

    errors    the part of the requests that ended which has to have failed, above 0 to 1
    least     how many have to have ended; 1 or more
    within    seconds
    open_for  seconds, at first
    """

    __slots__ = ("errors", "least", "open_for", "within")

    def __init__(self, errors: float = 0.5, least: int = 20, within: float = 10.0, open_for: float = 5.0) -> None:
        # Hystrix: 50 %, 20 requests, 10 s, 5 s.
        self.errors: Final = errors
        self.least: Final = least
        self.within: Final = within
        self.open_for: Final = open_for


class OneProcess(Locks):
    """The locks of what no other process shares."""

    __slots__ = ()

    def acquire(self, stripe: int) -> bool:
        return False

    def release(self, stripe: int) -> None:
        pass


def private_cells() -> memoryview:
    """Those of a breaker that no other process shares."""
    return memoryview(bytearray(8 * CELLS)).cast("Q")


class Breaker:
    """The breaker of one upstream."""

    __slots__ = ("_cells", "_locks", "_stripe")

    def __init__(self, cells: memoryview, locks: Locks, stripe: int = 0) -> None:
        """cells: `CELLS` of them, all 0 at first; stripe: their lock."""
        self._cells = cells
        self._locks = locks
        self._stripe = stripe

    def __repr__(self) -> str:
        cells = self._cells
        state = "closed" if not cells[UNTIL] else f"open until {cells[UNTIL] / 1e9:.3f}"
        return f"<Breaker {state}, {cells[FAILED]} of {cells[ENDED]} failed>"

    # ── one request ──

    def admit(self, rule: BreakerRule, now: float) -> int:
        """Whether a request may go on: `NO_PROBE`, the number of a probe (1 or more), or `REFUSED`. What it returned is
        to be handed to `ended` or `withdrawn`, unless the request was refused."""
        cells = self._cells
        if not cells[UNTIL]:
            return NO_PROBE
        if now * 1e9 < cells[UNTIL]:
            return REFUSED
        self._acquire()
        try:
            if not cells[UNTIL]:
                return NO_PROBE
            if now * 1e9 < cells[UNTIL]:
                return REFUSED  # another process has sent the probe meanwhile
            cells[UNTIL] = int((now + rule.open_for * cells[TIMES]) * 1e9)
            return cells[OPENED]
        finally:
            self._locks.release(self._stripe)

    def ended(self, rule: BreakerRule, probe: int, failed: bool, now: float) -> bool:
        """A request has ended, with a word about the service. Returns whether this has opened or closed the breaker."""
        self._acquire()
        try:
            if not self._cells[UNTIL]:
                return self._count(rule, failed, now)
            if not probe or probe != self._cells[OPENED]:
                return False
            if failed:
                self._open(rule, min(2 * self._cells[TIMES], LONGEST), now)
                return False
            self._forget()
            self._cells[UNTIL] = 0
            return True
        finally:
            self._locks.release(self._stripe)

    def withdrawn(self, probe: int, now: float) -> None:
        """A probe has ended without a word about the service. The next request may be one."""
        cells = self._cells
        self._acquire()
        try:
            if cells[UNTIL] and probe == cells[OPENED]:
                cells[UNTIL] = min(cells[UNTIL], int(now * 1e9))
        finally:
            self._locks.release(self._stripe)

    # ── its state ──

    @property
    def is_open(self) -> bool:
        """Whether only probes may go on."""
        return self._cells[UNTIL] != 0

    def due_in(self, now: float) -> float:
        """In how many seconds the next probe may go; 0.0: now, or it is closed."""
        return max(0.0, self._cells[UNTIL] / 1e9 - now) if self._cells[UNTIL] else 0.0

    def retry_after(self, now: float) -> int:
        """The same for a client: whole seconds, 1 or more."""
        return max(1, ceil(self.due_in(now)))

    def reset(self) -> None:
        """It is closed, and counts from the beginning."""
        self._acquire()
        try:
            self._forget()
            self._cells[UNTIL] = 0
        finally:
            self._locks.release(self._stripe)

    def let_go(self) -> None:
        """The upstream is gone, or the process ends: the cells may serve another one. A request that began before may
        still end. It is counted here, by nobody else."""
        self._cells, self._locks = private_cells(), OneProcess()

    # ── with the lock ──

    def _acquire(self) -> None:
        if self._locks.acquire(self._stripe):
            self._forget()

    def _forget(self) -> None:
        """Count from the beginning."""
        for cell in range(ENDED, CELLS):
            self._cells[cell] = 0

    def _count(self, rule: BreakerRule, failed: bool, now: float) -> bool:
        cells = self._cells
        part = self._enter(rule, now)
        at = RING + 2 * (part % PARTS)
        ended = cells[ENDED] + 1
        cells[ENDED] = ended
        cells[at] += 1
        if failed:
            cells[FAILED] += 1
            cells[at + 1] += 1
        if ended < rule.least or cells[FAILED] < rule.errors * ended:
            return False
        cells[OPENED] += 1
        self._open(rule, 1, now)
        return True

    def _enter(self, rule: BreakerRule, now: float) -> int:
        """Leave the parts that are too old out of the counts. Returns the number of the part in progress: `now` may be
        slightly older than that of another process."""
        cells = self._cells
        span = max(1, int(rule.within * 1e9 / PARTS))
        part = int(now * 1e9) // span
        if cells[SPAN] != span or part >= cells[PART] + PARTS:
            self._forget()
            cells[SPAN], cells[PART] = span, part
        while cells[PART] < part:
            cells[PART] += 1
            at = RING + 2 * (cells[PART] % PARTS)
            # Never below 0, where a process died half-way and the next holder of the lock wanted something else.
            cells[ENDED] -= min(cells[ENDED], cells[at])
            cells[FAILED] -= min(cells[FAILED], cells[at + 1])
            cells[at] = cells[at + 1] = 0
        return cells[PART]

    def _open(self, rule: BreakerRule, times: int, now: float) -> None:
        self._cells[TIMES] = times
        self._cells[UNTIL] = int((now + rule.open_for * times) * 1e9)


FAILURES: Final = frozenset(
    (
        errors.UPSTREAM_CONNECT_FAILED,
        errors.UPSTREAM_RESET,
        errors.UPSTREAM_BAD_RESPONSE,
        errors.UPSTREAM_TIMEOUT,
        errors.UPSTREAM_CUT,
    )
)


def says_something(reason: Reason) -> bool:
    """Whether a request that ended so tells anything about the service: there was a response, or it failed."""
    return reason is errors.OK or reason in FAILURES


def has_failed(reason: Reason, status: int) -> bool:
    """Whether a request that ended so, with this status (0: without a response), tells that the service fails."""
    return reason in FAILURES or status >= 500
