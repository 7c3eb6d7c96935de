"""Limits over hosts on a route, alone or beside limits of this host: counted by all or by none.

    1  the limits of this host count, as in `budgets`. If one refuses, the store is not asked: a host's own limit keeps
       floods away from it, too
    2  the others count: with slots in hand, or by asking the store; all that one request asks goes out together
    3  the answers are there, or the request's deadline: a limit without an answer does what `on_failure` says
    4  if one refuses, all others take their count back

The keys of one request may lie on different nodes of a store, so no script could count them at once. Between count and
undo others may be refused who would have been admitted without it; none is admitted too many.

`on_failure`:
    "local"   this host counts by itself, with the whole `max`: so each host admits as many, and none knows what the
              store had counted before
    "refuse"  503
    "allow"   it is as if the route did not have the limit
"""

from collections.abc import Callable, Sequence
from math import ceil
from typing import Final, Literal

from rawgate.errors import LIMITS_UNAVAILABLE, RATE_LIMITED, Reason
from rawgate.message import Decision, Identity, LocalReply, Pending, RequestHead
from rawgate.policy.budgets import Counted, Plan, Whose, Word, tell_fields
from rawgate.policy.limiter import Rule
from rawgate.policy.shared_limiter import SharedRule
from rawgate.policy.store import Lease, Question, StoredRule, seconds_until

OnFailure = Literal["local", "refuse", "allow"]

UNKNOWN: Final = -1
"""In `Counted.refused`: the store has been asked."""
RETRY_AFTER: Final = 1
"""Seconds, when the store does not answer: it is tried again at least as often."""


class Pot:
    """What one limit allows to one plan, counted where it is counted.

    here, here_address  this host's counters, of those for whom a credential vouches, and of the others: those of a
             limit of this host, or those that stand in for the store; None: nothing does
    stored   over hosts, or None
    """

    __slots__ = ("here", "here_address", "maximum", "stored")

    def __init__(
        self,
        maximum: int,
        here: Rule | SharedRule | None,
        here_address: Rule | SharedRule | None,
        stored: StoredRule | None,
    ) -> None:
        self.maximum: Final = maximum
        self.here: Final = here
        self.here_address: Final = here_address
        self.stored: Final = stored


class Budget:
    """One limit; the fields are those of `budgets.Budget`. escaped: its name, as it stands in quotes."""

    __slots__ = ("escaped", "plan", "pots", "shadow", "told", "whose", "window")

    def __init__(
        self,
        name: str,
        window: float,
        whose: Whose,
        pots: dict[str, Pot],
        plan: Plan | None,
        shadow: bool,
        told: Callable[[bool], None] | None = None,
    ) -> None:
        self.escaped: Final = name.replace("\\", "\\\\").replace('"', '\\"')
        self.window: Final = window
        self.whose: Final = whose
        self.pots: Final = pots
        self.plan: Final = plan
        self.shadow: Final = shadow
        self.told: Final = told

    def pot(self, caller: Identity | None) -> Pot:
        """What this limit allows to a caller."""
        if self.plan is None or caller is None:
            return self.pots[""]
        return self.pots.get(self.plan(caller.claims), self.pots[""])


class Said(Word):
    """What one limit says of one request.

    stored    the rule over hosts, or None
    question  what the store was asked, or None
    known     it has said something; otherwise the store was asked, or is down
    counted   it is among those counted, and could be taken back
    """

    __slots__ = (
        "_client",
        "_key",
        "_lease",
        "_place",
        "_pot",
        "_rule",
        "_subwindow",
        "_vouched",
        "budget",
        "counted",
        "known",
        "question",
        "stored",
    )

    def __init__(self, budget: Budget, pot: Pot, client: str, vouched: bool) -> None:
        self.budget: Final = budget
        self.stored: Final = pot.stored
        self._pot: Final = pot
        self._client: Final = client
        self._vouched: Final = vouched
        self.maximum = pot.maximum
        self._rule: Rule | SharedRule | None = None
        self._lease: Lease | None = None
        self._key = b""
        self._subwindow = 0
        self._place = 0
        self.question: Question | None = None
        self.admitted = self.known = self.counted = False
        self.remaining = self.reset = 0

    @property
    def refuses(self) -> bool:
        """It ends the request."""
        return self.known and not self.admitted and not self.budget.shadow

    def count_here(self, now: float) -> None:
        """Count it on this host, if anything does."""
        self._rule = rule = self._pot.here if self._vouched else self._pot.here_address
        if rule is None:
            return
        self.admitted, self.remaining, self.reset = rule.hit(self._client, now)
        self._subwindow = rule.subwindow
        self.known, self.counted = True, self.admitted

    def count_there(self, stored: StoredRule, now: float) -> None:
        """Count it by this rule: with a slot in hand, or by a question. Nothing, if the store is not asked."""
        key = stored.key(self._client)
        lease = stored.lease(key)
        if lease is not None:
            if lease.left > 0 and now < lease.until:
                lease.left -= 1
                lease.used += 1
                stored.store.used += 1
                stored.store.spared += 1
                self._lease, self._subwindow = lease, lease.subwindow
                self._say(True, lease.free + lease.left, lease.release, now)
                return
            if now < lease.full_until:
                stored.store.spared += 1
                self._say(False, 0, lease.release, now)
                return
        if stored.store.asks(key):
            self.question = question = stored.ask(key, lease, now)
            self._place = question.need - 1
        else:
            stored.store.fallbacks["down"] += 1

    def hear(self, now: float) -> None:
        """Take the answer to its question, if there is one."""
        question, stored = self.question, self.stored
        if question is None or stored is None:
            return
        if not question.answered:
            stored.store.fallbacks["late"] += 1
            return
        admitted = self._place < question.granted
        in_hand = 0 if question.lease is None else question.lease.left
        left = question.free + in_hand + max(question.granted - 1 - self._place, 0) if admitted else 0
        self._say(admitted, left, question.release, now)

    def _say(self, admitted: bool, remaining: int, release: float, now: float) -> None:
        self.admitted, self.remaining, self.reset = admitted, remaining, seconds_until(release, now)
        self.known, self.counted = True, admitted

    def take_back(self, now: float) -> None:
        """It is not served, because another limit refuses it."""
        if not self.counted:
            return
        self.counted = False
        self.remaining += 1
        stored, lease = self.stored, self._lease
        if self._rule is not None:
            self._rule.undo_in(self._client, self._subwindow)
        elif lease is not None and stored is not None:
            if lease.subwindow == self._subwindow and now < lease.until:
                lease.left += 1
                lease.used -= 1
                stored.store.used -= 1
        elif self.question is not None and stored is not None:
            stored.store.take_back(self.question)


class OverHosts(Counted):
    """As `Counted`. refused: UNKNOWN while the store has been asked.

    reason  of a refusal
    patience  seconds that a request waits for the answers
    wait    calls its argument once, when all answers are there
    settle  `now` → what the limits say with the answers that are there; asked once
    """

    __slots__ = ("patience", "reason", "settle", "wait")

    def __init__(
        self,
        refused: int,
        fields: bytes,
        shadowed: bool,
        reason: Reason,
        patience: float = 0.0,
        wait: Callable[[Callable[[], None]], None] | None = None,
        settle: "Callable[[float], OverHosts] | None" = None,
        by: str = "",
    ) -> None:
        super().__init__(refused, fields, shadowed, [], by)
        self.reason: Final = reason
        self.patience: Final = patience
        self.wait: Final = wait
        self.settle: Final = settle


class CountOverHosts:
    """Counts a request in all of these limits, or in none: `count` is a `budgets.Count`."""

    __slots__ = ("_budgets", "_factor", "_on_failure", "_patience")

    def __init__(self, budgets: Sequence[Budget], factor: float, patience: float, on_failure: OnFailure) -> None:
        """`factor` as in `budgets.compile_count`; patience: seconds that a request waits for the store."""
        self._budgets: Final = tuple(budgets)
        self._factor: Final = factor
        self._patience: Final = patience
        self._on_failure: Final = on_failure

    def count(self, head: RequestHead, address: str, client: str, caller: Identity | None, now: float) -> "OverHosts":
        said: list[Said] = []
        for budget in self._budgets:
            key, vouched = budget.whose(head, address, client, caller)
            said.append(Said(budget, budget.pot(caller), key, vouched))
        here = [one for one in said if one.stored is None]
        for one in here:
            one.count_here(now)
        if any(one.refuses for one in here):
            return self._conclude(here, now)
        for one in said:
            if one.stored is not None:
                one.count_there(one.stored, now)
        questions = [one.question for one in said if one.question is not None]
        if not questions:
            return self._conclude(said, now)

        def settle(now: float) -> OverHosts:
            for one in said:
                one.hear(now)
            return self._conclude(said, now)

        return OverHosts(UNKNOWN, b"", False, RATE_LIMITED, self._patience, Waiting(questions).wait, settle)

    def _conclude(self, said: list[Said], now: float) -> "OverHosts":
        """The limits say what they have to say; those that do not know do what is to be done without the store."""
        for one in said:
            if not one.known and self._on_failure == "local":
                one.count_here(now)
            if one.known and one.budget.told is not None:
                one.budget.told(one.admitted)
        real = [one for one in said if not one.budget.shadow]
        refused, reason = max((one.reset for one in real if one.refuses), default=0), RATE_LIMITED
        by = ", ".join(one.budget.escaped for one in real if one.refuses)
        if not refused and self._on_failure == "refuse" and not all(one.known for one in real):
            refused, reason = RETRY_AFTER, LIMITS_UNAVAILABLE
        if refused:
            for one in said:
                one.take_back(now)
        told = [(one, one.budget.escaped, ceil(one.budget.window * self._factor)) for one in real if one.known]
        shadowed = any(one.known and not one.admitted for one in said if one.budget.shadow)
        return OverHosts(refused, tell_fields(told), shadowed, reason, by=by)


class Waiting:
    """Waits until all of these questions are settled."""

    __slots__ = ("_left", "_questions", "_ready")

    def __init__(self, questions: list[Question]) -> None:
        self._questions: Final = questions
        self._left = len(questions)
        self._ready: Callable[[], None] | None = None

    def wait(self, ready: Callable[[], None]) -> None:
        """Call this once, when they are."""
        self._ready = ready
        for question in self._questions:
            question.when_settled(self._one_less)

    def _one_less(self) -> None:
        self._left -= 1
        ready = self._ready
        if not self._left and ready is not None:
            self._ready = None
            ready()


class AwaitStore(Pending):
    """A request whose limits have asked the store. At its deadline it goes on without the answers that are not there;
    so it is never refused for the wait itself, unless the gateway ends."""

    __slots__ = ("_again", "_ready", "_wait")

    def __init__(
        self,
        counted: OverHosts,
        again: Callable[[float], Decision],
        request_id: str,
        client_id: str,
        route: str,
        fields: bytes,
        deadline: float,
    ) -> None:
        """`again`: `now` → the decision with the answers that are there."""
        super().__init__(deadline, LIMITS_UNAVAILABLE, request_id, client_id, route, fields, goes_on=True)
        self._again: Final = again
        self._wait: Final = counted.wait
        self._ready: Callable[[], None] | None = None

    def subscribe(self, ready: Callable[[], None]) -> Callable[[], None]:
        self._ready = ready
        if self._wait is not None:
            self._wait(self._answered)
        return self._cancel

    def _answered(self) -> None:
        ready, self._ready = self._ready, None
        if ready is not None:
            ready()

    def _cancel(self) -> None:
        self._ready = None

    def resume(self, now: float, wall: float) -> Decision:
        return self._again(now)

    def refused(self, reason: Reason) -> LocalReply:
        fields = self.fields
        if reason is LIMITS_UNAVAILABLE:
            fields += b"Retry-After: %d\r\n" % RETRY_AFTER
        return LocalReply(reason.status, reason, fields, "", self.route, self.request_id, self.client_id)
