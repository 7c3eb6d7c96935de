"""Limits that count more than one thing: several on a route, budgets that routes share, other keys than the client.

A request is counted by all limits of its route or by none. Each limit is asked in turn; if one refuses, those before it
take their count back. So a request that one limit refuses uses up nothing of the others.

A limit that is only a shadow is asked as well, and what it says is told to nobody but the log.
"""

from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from math import ceil
from typing import Final

from rawgate.message import Identity, RequestHead

Hit = Callable[[str, float], tuple[bool, int, int]]
"""`(client, now)` → (admitted, remaining, reset), as `limiter.Rule.hit`."""
Undo = Callable[[str], None]
"""Takes back what `hit` has just admitted, at the same time."""
Whose = Callable[[RequestHead, str, str, Identity | None], tuple[str, bool]]
"""`(head, bucket of the address, bucket of the client, caller)` → under which key the request is counted, and whether a
credential vouches for it."""
Plan = Callable[[Mapping[str, object]], str]

LONGEST = 64
"""Characters of a key; of a longer one the digest is the key, so that clients cannot fill the memory with long ones."""


def short(kind: str, text: str) -> str:
    """A key for a text of any length."""
    return f"{kind}:{text}" if len(text) <= LONGEST else f"{kind}:sha256:{sha256(text.encode()).hexdigest()}"


def by_client(head: RequestHead, address: str, client: str, caller: Identity | None) -> tuple[str, bool]:
    return client, client != address


def by_address(head: RequestHead, address: str, client: str, caller: Identity | None) -> tuple[str, bool]:
    return address, False


def by_all(head: RequestHead, address: str, client: str, caller: Identity | None) -> tuple[str, bool]:
    return "all", True


def compile_by_claim(name: str, tell: Plan) -> Whose:
    """By a claim, with its value as a header field would have it; by the client where there is none."""
    kind = f"claim.{name}"

    def by_claim(head: RequestHead, address: str, client: str, caller: Identity | None) -> tuple[str, bool]:
        text = "" if caller is None else tell(caller.claims)
        return (short(kind, text), True) if text else (client, client != address)

    return by_claim


def compile_by_header(name: bytes) -> Whose:
    """By a field of the request; by the address where there is none. Nobody vouches for it."""
    kind = f"header.{name.decode()}"

    def by_header(head: RequestHead, address: str, client: str, caller: Identity | None) -> tuple[str, bool]:
        value = head.parsed.get(name)
        return (short(kind, value.decode("latin-1")), False) if value else (address, False)

    return by_header


class Pot:
    """What one limit allows to one plan.

    hit, undo                  of those for whom a credential vouches
    hit_address, undo_address  of the others, who have places of their own
    """

    __slots__ = ("hit", "hit_address", "maximum", "undo", "undo_address")

    def __init__(self, maximum: int, hit: Hit, undo: Undo, hit_address: Hit, undo_address: Undo) -> None:
        self.maximum: Final = maximum
        self.hit: Final = hit
        self.undo: Final = undo
        self.hit_address: Final = hit_address
        self.undo_address: Final = undo_address


class Budget:
    """One limit.

    name    as clients are told
    window  seconds
    whose   the key that it counts by
    pots    plan → what it allows; "" for all other plans
    plan    the caller's plan, or None if all have the same
    shadow  it refuses nobody
    told    is told of each decision of this limit, or None
    """

    __slots__ = ("name", "plan", "pots", "shadow", "told", "whose", "window")

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
        self.name: Final = name
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


class Word:
    """What one limit says of one request, as clients are told: of how many, and what `Hit` returns."""

    __slots__ = ("admitted", "maximum", "remaining", "reset")

    maximum: int
    admitted: bool
    remaining: int
    reset: int


class State(Word):
    """The same of a limit that has counted it. `key`: under which."""

    __slots__ = ("by_credential", "key", "pot")

    def __init__(self, pot: Pot, key: str, by_credential: bool, now: float) -> None:
        self.pot: Final = pot
        self.maximum = pot.maximum
        self.key: Final = key
        self.by_credential: Final = by_credential
        self.admitted, self.remaining, self.reset = (pot.hit if by_credential else pot.hit_address)(key, now)

    def take_back(self) -> None:
        """Undo the count."""
        if self.admitted:
            (self.pot.undo if self.by_credential else self.pot.undo_address)(self.key)
            self.remaining += 1


class Counted:
    """What all limits of a route say of one request.

    refused  for how many seconds, or 0
    fields   the field lines that tell the client
    shadowed a limit that is a shadow would have refused
    states   of each limit, in order
    by       the names of the limits that refuse, or ""
    """

    __slots__ = ("by", "fields", "refused", "shadowed", "states")

    def __init__(self, refused: int, fields: bytes, shadowed: bool, states: list[State], by: str = "") -> None:
        self.refused: Final = refused
        self.fields: Final = fields
        self.shadowed: Final = shadowed
        self.states: Final = states
        self.by: Final = by


Count = Callable[[RequestHead, str, str, Identity | None, float], Counted]
"""`(head, bucket of the address, bucket of the client, caller, now)`."""


def compile_count(budgets: Sequence[Budget], factor: float) -> Count:
    """Count a request in all of these limits, or in none. `factor`: how much longer than its window a request may count
    (`limiter`)."""
    limits = tuple(budgets)
    names = [budget.name.replace("\\", "\\\\").replace('"', '\\"') for budget in limits]
    spans = [ceil(budget.window * factor) for budget in limits]

    def count(head: RequestHead, address: str, client: str, caller: Identity | None, now: float) -> Counted:
        states: list[State] = []
        for budget in limits:
            key, by_credential = budget.whose(head, address, client, caller)
            state = State(budget.pot(caller), key, by_credential, now)
            if budget.told is not None:
                budget.told(state.admitted)
            states.append(state)
        real = [state for state, budget in zip(states, limits, strict=True) if not budget.shadow]
        refused = max((state.reset for state in real if not state.admitted), default=0)
        by = ""
        if refused:
            refusing = (state.admitted or budget.shadow for state, budget in zip(states, limits, strict=True))
            by = ", ".join(budget.name for budget, passes in zip(limits, refusing, strict=True) if not passes)
            for state in states:
                state.take_back()
        told = [
            (state, name, span)
            for state, budget, name, span in zip(states, limits, names, spans, strict=True)
            if not budget.shadow
        ]
        shadowed = any(budget.shadow and not state.admitted for state, budget in zip(states, limits, strict=True))
        return Counted(refused, tell_fields(told), shadowed, states, by)

    return count


def tell_fields(told: Sequence[tuple[Word, str, int]]) -> bytes:
    """The field lines of limits: what each says of the request, its name, and how long a request may count."""
    if not told:
        return b""
    limits = ", ".join(f'"{name}";r={state.remaining};t={state.reset}' for state, name, _ in told)
    policies = ", ".join(f'"{name}";q={state.maximum};w={span}' for state, name, span in told)
    nearest = min((state for state, _, _ in told), key=_distance)
    return (
        f"RateLimit: {limits}\r\nRateLimit-Policy: {policies}\r\n"
        f"x-ratelimit-limit: {nearest.maximum}\r\nx-ratelimit-remaining: {nearest.remaining}\r\n"
        f"x-ratelimit-reset: {nearest.reset}\r\n"
    ).encode()


def _distance(state: Word) -> tuple[bool, int, int]:
    """The less, the nearer a limit is to its end; of two that refuse, the one that does so for longer."""
    return state.admitted, state.remaining, -state.reset
