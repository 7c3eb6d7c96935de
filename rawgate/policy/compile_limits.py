"""The limits of a configuration: the counters of all routes, and what counts the requests of each.

A route that has one limit, by client, gets a `limits.Limit`; all others a `Count` of `budgets`, or of `over_hosts`
where one of them counts in a store.
"""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from rawgate.config.invalid import nearest, problem_text, quoted
from rawgate.config.model import AUTH_FAILURES, Config, MaxBy, RateLimit, Route, rates_of, route_limits
from rawgate.errors import Key, Problem
from rawgate.message import Counts, Locks
from rawgate.policy import over_hosts
from rawgate.policy.auth_failures import AuthFailures
from rawgate.policy.budgets import (
    Budget,
    Count,
    Hit,
    Plan,
    Pot,
    Whose,
    by_address,
    by_all,
    by_client,
    compile_by_claim,
    compile_by_header,
    compile_count,
)
from rawgate.policy.claims import compile_tell
from rawgate.policy.limiter import COUNTERS, SUBWINDOWS, Limiter
from rawgate.policy.limits import Limit, Limiters, LimitLines, Watch, watched
from rawgate.policy.shared_limiter import SharedLimiter, locks_needed, octets_needed
from rawgate.policy.store import Store, StoredRule

if TYPE_CHECKING:
    from mmap import mmap


def _telling(capacity: int, report: Callable[[str, str], None], kind: str) -> Callable[[int], object]:
    return lambda count: report(
        f"limits.limiter_keys, {kind}",
        f"limits.limiter_keys = {capacity} {kind} are not enough: {count} with live counts were forgotten so far, "
        "and may be let through once more",
    )


_KINDS = ("clients", "addresses", "addresses with wrong credentials")


def compile_limiters(capacity: int, report: Callable[[str, str], None], store: Store | None = None) -> Limiters:
    """`capacity`: counters of each kind. `report`, a `compile.Report`, gets a line when live ones have to be
    forgotten. store: see `Limiters`."""
    clients, addresses, guessers = (_telling(capacity, report, kind) for kind in _KINDS)
    return Limiters(Limiter(capacity, clients), Limiter(capacity, addresses), Limiter(capacity, guessers), store=store)


def shared_limiters_need(capacity: int) -> tuple[int, int]:
    """(octets of memory, locks) for `shared_limiters` of that capacity."""
    return len(_KINDS) * octets_needed(capacity), len(_KINDS) * locks_needed(capacity)


def shared_limiters(
    memory: "mmap | bytearray",
    locks: Locks,
    capacity: int,
    report: Callable[[str, str], None],
    seed: bytes,
    requests: Counts | None = None,
) -> Limiters:
    """Limiters that count together with those of other processes, made with the same arguments. All of them must load
    the same rules sooner or later, but may do so one after the other.

    memory, locks  as many as `shared_limiters_need` says; the memory is all 0 when the first process begins
    report  gets a line when live counters have to be forgotten, in the process that forgets the first, the tenth …
    seed    16 random octets
    requests  the counts of requests under way; None: those of this process
    """
    tells = (_telling(capacity, report, kind) for kind in _KINDS)
    octets, stripes = octets_needed(capacity), locks_needed(capacity)
    clients, addresses, guessers = (
        SharedLimiter(memory, locks, capacity, seed, tell, number * octets, number * stripes)
        for number, tell in enumerate(tells)
    )
    return Limiters(clients, addresses, guessers, requests, Store(capacity))


def compile_auth_failures(config: Config, limiters: Limiters, watch: Watch | None) -> AuthFailures | None:
    """The limit of wrong credentials, if there is one."""
    spec = config.gateway.auth_failures
    if spec is None:
        return None
    hit: Hit = limiters.failures.rule(AUTH_FAILURES, spec.max, spec.window).hit
    return AuthFailures(hit if watch is None else watched(hit, watch(AUTH_FAILURES)), spec.delay, spec.shadow)


def _rates(config: Config) -> Iterator[RateLimit]:
    """All limits, whether routes share them or not."""
    yield from config.limits.values()
    yield from (rate for route in config.routes for rate in route.limits if isinstance(rate, RateLimit))


def claims_counted(config: Config) -> Iterator[str]:
    """The claims that limits count by, or whose value says how many requests there may be."""
    for rate in _rates(config):
        by = rate.max.by if isinstance(rate.max, MaxBy) else ""
        yield from (key.removeprefix("claim:") for key in (rate.key, by) if key.startswith("claim:"))


def fields_counted(config: Config) -> frozenset[bytes]:
    """The fields that limits count by."""
    keys = [rate.key for rate in _rates(config) if rate.key.startswith("header:")]
    return frozenset(key.removeprefix("header:").encode() for key in keys)


def tells(config: Config, route: Route) -> bool:
    """Whether clients are told of a limit of the route."""
    return "rate_limit" not in route.shadow and any(
        rate is not None and not rate.shadow for rate in rates_of(config, route)
    )


def _alone(config: Config, route: Route) -> tuple[RateLimit, int] | None:
    """The limit of a route that has one alone, by client, and tells of it; and how many requests it admits."""
    rate = route.rate_limit
    if not isinstance(rate, RateLimit) or not isinstance(rate.max, int) or rate.key != "client":
        return None
    if rate.shared != "host":
        return None
    return (rate, rate.max) if tells(config, route) else None


def compile_limit(config: Config, route: Route, name: str, limiters: Limiters, watch: Watch | None) -> Limit | None:
    """What counts the requests of a route of that name, if it has one limit, by client."""
    alone = _alone(config, route)
    if alone is None:
        return None
    rate, maximum = alone
    verified: Hit = limiters.credentials.rule(_ring(name), maximum, rate.window).hit
    anonymous: Hit = limiters.addresses.rule(_ring(name), maximum, rate.window).hit
    if watch is not None:
        told = watch(name)
        verified, anonymous = watched(verified, told), watched(anonymous, told)
    return Limit(verified, anonymous, LimitLines(name, maximum, rate.window))


def compile_other_limits(
    config: Config,
    route: Route,
    name: str,
    limiters: Limiters,
    watch: Watch | None,
    where: tuple[Key, ...],
    problems: list[Problem],
) -> Count | None:
    """What counts them in all other limits. `where`: the place of the limits, for a Problem."""
    if not route.limits or _alone(config, route) is not None:
        return None
    for rate in route.limits:
        if isinstance(rate, str) and rate not in config.limits:
            what = f"{quoted(rate)} is not the name of a limit"
            problems.append(Problem(where, problem_text(what, meant=nearest(rate, config.limits))))
            return None
    limits = enumerate(zip(route.limits, route_limits(config, route, name), strict=True))
    named = [
        (f"limits.{rate}" if isinstance(rate, str) else _ring(name, position), called, spec)
        for position, (rate, (called, spec)) in limits
    ]
    shadows = "rate_limit" in route.shadow
    factor, store, terms = COUNTERS / SUBWINDOWS, limiters.store, config.store
    if store is None or terms is None or all(spec.shared == "host" for _, _, spec in named):
        budgets = [
            _budget(spec, told, ring, limiters, watch, shadow=spec.shadow or shadows) for ring, told, spec in named
        ]
        return compile_count(budgets, factor)
    stands_in = terms.on_failure == "local"
    wide = [
        _wide_budget(spec, told, ring, limiters, store, watch, stands_in=stands_in, shadow=spec.shadow or shadows)
        for ring, told, spec in named
    ]
    return over_hosts.CountOverHosts(wide, factor, terms.timeout, terms.on_failure).count


def _ring(name: str, position: int = 0) -> str:
    """Under which name the limit at that position of a route of that name is counted: under no other's, since the names
    of routes have no backslash. Those of `[limits]` begin with "limits."."""
    own = f"\\{name}" if name.startswith("limits.") else name
    return f"{own}\\{position + 1}" if position else own


def _budget(spec: RateLimit, name: str, ring: str, limiters: Limiters, watch: Watch | None, *, shadow: bool) -> Budget:
    """`ring`: the name under which `limiters` know it."""
    amounts, plan = _amounts(spec)
    pots = {value: _pot(limiters, ring, most, spec.window) for value, most in amounts.items()}
    told = None if watch is None else watch(name)
    return Budget(name, spec.window, _whose(spec.key), pots, plan, shadow, told)


def _amounts(spec: RateLimit) -> tuple[dict[str, int], Plan | None]:
    """How many requests each plan has, "" for all others, and what tells the plan of a caller."""
    if isinstance(spec.max, int):
        return {"": spec.max}, None
    return {**spec.max.amounts, "": spec.max.other}, compile_tell(spec.max.by.removeprefix("claim:"))


def _wide_budget(
    spec: RateLimit,
    name: str,
    ring: str,
    limiters: Limiters,
    store: Store,
    watch: Watch | None,
    *,
    stands_in: bool,
    shadow: bool,
) -> over_hosts.Budget:
    """A limit of a route on which one counts in a store. stands_in: this host counts while the store does not."""
    amounts, plan = _amounts(spec)
    pots = {}
    for value, most in amounts.items():
        stored = None if spec.shared == "host" else StoredRule(store, ring, most, spec.window, spec.shared == "leased")
        here = here_address = None
        if stored is None or stands_in:
            here = limiters.credentials.rule(ring, most, spec.window)
            here_address = limiters.addresses.rule(ring, most, spec.window)
        pots[value] = over_hosts.Pot(most, here, here_address, stored)
    told = None if watch is None else watch(name)
    return over_hosts.Budget(name, spec.window, _whose(spec.key), pots, plan, shadow, told)


def _pot(limiters: Limiters, name: str, maximum: int, window: float) -> Pot:
    verified = limiters.credentials.rule(name, maximum, window)
    anonymous = limiters.addresses.rule(name, maximum, window)
    return Pot(maximum, verified.hit, verified.undo, anonymous.hit, anonymous.undo)


def _whose(key: str) -> Whose:
    """What a limit counts by."""
    kind, _, name = key.partition(":")
    if kind == "claim":
        return compile_by_claim(name, compile_tell(name))
    if kind == "header":
        return compile_by_header(name.encode())
    return {"client": by_client, "ip": by_address, "all": by_all}[kind]
