"""An exchange with an upstream that has a circuit breaker or retries. An upstream without them has plain ones.

May a request be sent again?
----------------------------
All of these have to hold:

    what happened is one that `retry.on` names
    it was sent less than `retry.attempts` times
    it is idempotent; or it has no body, and an Idempotency-Key goes up with it
    not an octet of a response was passed on, an interim one (1xx) included
    not an octet of its body was taken from the client: bodies are not kept
    `total_timeout` is not over
    the circuit is not open
    the budget has room (see `retries`)

And where a response says Retry-After, another target has to be up: the one that said so wants to be left alone.

The decision is made when the failure is known, and is final: the response that is dropped for a second attempt is gone,
and what comes of that attempt is the client's. Where it may not be sent again, the response is passed on as it came.
The connection of a dropped response is reset, whatever is left of its body, and the second attempt has a new one in its
slot: so it never waits in the queue. It goes to another target where one is up. Each attempt has `response_timeout` for
its own, as Envoy's `per_try_timeout`; `total_timeout` runs over all of them.

What plain exchanges do stands: a dead connection that had been used before, and a target that takes connections and
closes them, cost one more attempt. The budget does not count that one, since the service has not seen the request, or
has not answered it. It counts among the attempts.

What the breaker is told
------------------------
How each attempt ended, when the upstream has done its part. An attempt on a dead connection that had been used before
says nothing about the service. A probe is judged by the head of its response: a stream may last for hours, and others
would be refused meanwhile.
"""

from rawgate import errors
from rawgate.errors import OK, UPSTREAM_RESET, Reason
from rawgate.message import NO_BODY, Forward, RequestHead, ResponseHead
from rawgate.relay.breaker import NO_PROBE, REFUSED, says_something
from rawgate.relay.deadlines import past_total
from rawgate.relay.endpoints import Endpoint
from rawgate.relay.exchange import IDEMPOTENT, Exchange
from rawgate.relay.options import ClientOptions
from rawgate.relay.phases import Event
from rawgate.relay.pool import Pool
from rawgate.relay.ports import ClientPort, UpstreamPort
from rawgate.wire import ResponseRules


def is_repeatable(head: RequestHead, forward: Forward) -> bool:
    """Whether the service does the same, once or twice asked. The field has to be on its way up: a route may take it
    out."""
    if head.method in IDEMPOTENT:
        return True
    return head.body == NO_BODY and b"\r\nidempotency-key:" in forward.head.lower()


class GuardedExchange(Exchange):
    """See the module."""

    __slots__ = ("_guard", "_is_judged", "_is_retry", "_probe")

    def __init__(
        self,
        client: ClientPort,
        pool: Pool,
        forward: Forward,
        head: RequestHead,
        client_options: ClientOptions,
        response_rules: ResponseRules,
        now: float,
    ) -> None:
        super().__init__(client, pool, forward, head, client_options, response_rules, now)
        self._guard = pool.guard
        self._probe = NO_PROBE
        self._is_judged = False  # the breaker has been told of the present attempt
        self._is_retry = False  # the budget counts it

    def start(self, now: float) -> None:
        """Ask the breaker, and then the pool."""
        probe = self._guard.admit(now)
        if probe == REFUSED:
            self._is_judged = True
            wait = b"Retry-After: %d\r\n" % self._guard.retry_after(now)
            self._fail(errors.CIRCUIT_OPEN, now, fields=wait)
            return
        self._probe = probe
        super().start(now)

    # ── how an attempt may end ──

    def leased(self, upstream: UpstreamPort, now: float) -> None:
        self._earn()
        super().leased(upstream, now)

    def lease_failed(self, reason: Reason, now: float, detail: str = "", endpoint: Endpoint | None = None) -> None:
        if says_something(reason):
            self._earn()
            self._judge(reason, 0, now)
            rule = self.pool.options.retry
            if rule is not None and rule.connect and self._may_repeat(now):
                self.attempts += 1
                self._is_judged = False
                self.ask_pool(now)
                return
        super().lease_failed(reason, now, detail, endpoint)

    def _may_retry(self, upstream: UpstreamPort, silent: bool, now: float) -> bool:
        if super()._may_retry(upstream, silent, now):
            # Not `_judge`: see the module.
            self._is_judged = upstream.reused
            return True
        self._judge(UPSTREAM_RESET, 0, now)
        rule = self.pool.options.retry
        return rule is not None and rule.reset and self._may_repeat(now)

    def timed_out(self, reason: Reason, now: float) -> None:
        upstream, rule = self.upstream, self.pool.options.retry
        if upstream is None and self.pool.queued(self):
            # Whatever its reason says, it has waited for a connection of ours.
            self._judge(errors.QUEUE_TIMEOUT, 0, now)
        elif upstream is not None and reason is errors.UPSTREAM_TIMEOUT:
            self._judge(reason, 0, now)
            if rule is not None and rule.timeout and self._may_repeat(now):
                self._close_silent(reason, now)
                self._retry(upstream, now, reason)
                return
        super().timed_out(reason, now)

    def _final_head(self, head: ResponseHead, data: bytes, now: float) -> None:
        upstream, rule = self.upstream, self.pool.options.retry
        if upstream is not None and rule is not None and head.status in rule.statuses:
            self._judge(OK, head.status, now)
            asks_to_wait = b"\r\nretry-after:" in b"".join(head.passthrough).lower() or b"retry-after" in head.parsed
            has_other = not self.pool.endpoints.is_only(upstream.endpoint, upstream.address, now)
            if (has_other or not asks_to_wait) and self._may_repeat(now):
                self._retry(upstream, now, OK, head.status)
                return
        super()._final_head(head, data, now)
        if self._probe:
            self._judge(OK, head.status, now)

    def _switch(self, upstream: UpstreamPort, head: ResponseHead, data: bytes, now: float) -> None:
        super()._switch(upstream, head, data, now)
        self._leave(OK, 101, now)

    def _response_end(self, now: float, *, clean: bool) -> None:
        self._leave(OK, self.status, now)
        super()._response_end(now, clean=clean)

    def finish(self, event: Event, reason: Reason, now: float, *, status: int = -1) -> None:
        self._leave(reason, self.status, now)
        super().finish(event, reason, now, status=status)

    # ── whether there is another one ──

    def _retry(self, upstream: UpstreamPort, now: float, reason: Reason = UPSTREAM_RESET, status: int = 0) -> None:
        self._judge(reason, status, now)
        self._is_judged = False
        super()._retry(upstream, now, reason, status)

    def _may_repeat(self, now: float) -> bool:
        """Whether all the rest holds of what has to (see the module). If it does, the budget counts a retry."""
        rule, upload, pool = self.pool.options.retry, self.upload, self.pool
        if (
            rule is None
            or self.attempts >= rule.attempts
            or (self._interim and self.head.minor == 1)  # the client was told of it
            or (upload is not None and upload.begun)
            or past_total(self, now)
            or self._guard.is_open
            or not is_repeatable(self.head, self.forward)
        ):
            return False
        budget = self._guard.budget
        if self._is_retry:
            budget.give()
        self._is_retry = budget.take(rule.budget, pool.leased + pool.dialing, pool.leased)
        return self._is_retry

    # ── the books ──

    def _earn(self) -> None:
        """The service gets this request, or would get it if it were there: the budget grows, once."""
        rule = self.pool.options.retry
        if rule is not None and self.attempts == 1:
            self._guard.budget.earn(rule.budget)

    def _judge(self, reason: Reason, status: int, now: float) -> None:
        """The present attempt has ended: tell the breaker, once."""
        if not self._is_judged:
            self._is_judged = True
            self._guard.ended(self._probe, reason, status, now)
            self._probe = NO_PROBE

    def _leave(self, reason: Reason, status: int, now: float) -> None:
        """The upstream has no more to do with this request."""
        self._judge(reason, status, now)
        if self._is_retry:
            self._is_retry = False
            self._guard.budget.give()
