"""Several limits on one request: counted by all or by none, against an exact log; requests under way."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from policy.test_gate import request
from rawgate.message import Identity, Locks
from rawgate.policy.budgets import (
    LONGEST,
    Budget,
    Count,
    Pot,
    by_address,
    by_all,
    by_client,
    compile_by_claim,
    compile_by_header,
    compile_count,
    short,
)
from rawgate.policy.claims import compile_tell
from rawgate.policy.limiter import COUNTERS, SUBWINDOWS, Limiter, Rule
from rawgate.policy.shared_limiter import SharedLimiter, SharedRule, octets_needed

FACTOR = COUNTERS / SUBWINDOWS


def pot(limiter: Limiter, name: str, maximum: int, window: float) -> Pot:
    rule = limiter.rule(name, maximum, window)
    return Pot(maximum, rule.hit, rule.undo, rule.hit, rule.undo)


def counter(*limits: tuple[int, float, bool]) -> Count:
    """`limits`: maximum, window, shadow; each by client."""
    limiter = Limiter(1000)
    budgets = [
        Budget(f"l{place}", window, by_client, {"": pot(limiter, f"l{place}", maximum, window)}, None, shadow)
        for place, (maximum, window, shadow) in enumerate(limits)
    ]
    return compile_count(budgets, FACTOR)


SHADOW = st.sampled_from([False, False, True])
LIMITS = st.lists(st.tuples(st.integers(1, 3), st.sampled_from([1.6, 16.0]), SHADOW), min_size=1, max_size=3)
HITS = st.lists(st.tuples(st.sampled_from([0.0, 0.0, 0.1, 1.8, 4.0, 20.0]), st.sampled_from("aaab")), max_size=40)
"""Few limits and clients, so that one limit often refuses what another one still admits."""


@given(LIMITS, HITS)
@example([(2, 16.0, False), (1, 1.6, False)], [(0.0, "a"), (0.0, "a"), (1.8, "a")])
@example([(1, 1.6, False), (2, 16.0, False)], [(0.0, "a"), (0.0, "a"), (1.8, "a")])
@example([(1, 1.6, False), (3, 1.6, False), (2, 16.0, False)], [(0.0, "a"), (0.0, "a"), (1.8, "a")])
def test_counted_by_all_or_by_none(limits: list[tuple[int, float, bool]], hits: list[tuple[float, str]]) -> None:
    count = counter(*limits)
    now = 100.0
    # Limit and client → when its requests were counted.
    log: dict[tuple[int, str], list[float]] = {}
    for wait, client in hits:
        now += wait
        found = count(request(), "ip", client, None, now)
        full, free = [], []
        for place, (maximum, window, shadow) in enumerate(limits):
            times = log.setdefault((place, client), [])
            if sum(time > now - window for time in times) >= maximum and not shadow:
                full.append(place)
            if sum(time >= now - window * FACTOR for time in times) < maximum or shadow:
                free.append(place)
        if full:
            assert found.refused
        if len(free) == len(limits):
            assert not found.refused
        if not found.refused:
            for place, state in enumerate(found.states):
                if state.admitted:
                    log[place, client].append(now)


@given(LIMITS, HITS)
def test_a_shadow_changes_nothing(limits: list[tuple[int, float, bool]], hits: list[tuple[float, str]]) -> None:
    real = [limit for limit in limits if not limit[2]]
    count, alone = counter(*limits), counter(*real)
    now = 100.0
    for wait, client in hits:
        now += wait
        one, other = count(request(), "ip", client, None, now), alone(request(), "ip", client, None, now)
        assert one.refused == other.refused
        assert [
            (s.admitted, s.remaining, s.reset) for s, limit in zip(one.states, limits, strict=True) if not limit[2]
        ] == [(s.admitted, s.remaining, s.reset) for s in other.states]


def test_the_fields_tell_every_limit() -> None:
    count = counter((5, 16.0, False), (2, 1.6, False), (1, 1.6, True))
    first = count(request(), "ip", "a", None, 160.0).fields.decode().split("\r\n")
    assert first == [
        'RateLimit: "l0";r=4;t=17, "l1";r=1;t=2',
        'RateLimit-Policy: "l0";q=5;w=17, "l1";q=2;w=2',
        "x-ratelimit-limit: 2",
        "x-ratelimit-remaining: 1",
        "x-ratelimit-reset: 2",
        "",
    ]
    assert not count(request(), "ip", "a", None, 160.0).refused
    third = count(request(), "ip", "a", None, 160.0)
    assert third.refused == 2
    # The first limit has not counted it.
    assert b'"l0";r=3;' in third.fields
    assert b'"l1";r=0;' in third.fields
    assert third.shadowed


WHO = Identity("sub", "alice", claims={"org": "acme", "plan": "pro"})


@pytest.mark.parametrize(
    ("whose", "key"),
    [
        (by_client, ("sub:alice", True)),
        (by_address, ("ip:1", False)),
        (by_all, ("all", True)),
        (compile_by_claim("org", compile_tell("org")), ("claim.org:acme", True)),
        (compile_by_claim("no", compile_tell("no")), ("sub:alice", True)),
        (compile_by_header(b"x-tenant"), ("header.x-tenant:t", False)),
        (compile_by_header(b"x-other"), ("ip:1", False)),
    ],
)
def test_keys(whose: object, key: tuple[str, bool]) -> None:
    assert callable(whose)
    assert whose(request(parsed={"x-tenant": b"t"}), "ip:1", "sub:alice", WHO) == key


def test_nobody_is_counted_by_address() -> None:
    assert by_client(request(), "ip:1", "ip:1", None) == ("ip:1", False)
    assert compile_by_claim("org", compile_tell("org"))(request(), "ip:1", "ip:1", None) == ("ip:1", False)


def test_a_long_key_is_a_digest() -> None:
    assert short("a", "b" * LONGEST) == "a:" + "b" * LONGEST
    assert len(short("a", "b" * 5000)) == len("a:sha256:") + 64
    assert short("a", "b" * 5000) != short("a", "b" * 5001)


def test_a_plan_has_its_own_maximum() -> None:
    limiter = Limiter(10)
    pots = {plan: pot(limiter, "l", maximum, 60.0) for plan, maximum in (("pro", 3), ("", 1))}
    count = compile_count([Budget("l", 60.0, by_client, pots, compile_tell("plan"), False)], FACTOR)
    pro = [count(request(), "ip", "sub:alice", WHO, 0.0).refused for _ in range(4)]
    assert [bool(refused) for refused in pro] == [False, False, False, True]
    free = [count(request(), "ip", "sub:bob", None, 0.0).refused for _ in range(2)]
    assert [bool(refused) for refused in free] == [False, True]
    # Who changes to another plan keeps what was counted.
    poorer = Identity("sub", "alice", claims={"plan": "free"})
    assert count(request(), "ip", "sub:alice", poorer, 0.0).refused


def test_a_count_is_taken_back_where_others_have_gone_on() -> None:
    """In shared memory another process may have moved the tally to a later sub-window in between."""
    memory, seed = bytearray(octets_needed(4)), b"s" * 16
    locks = NoLocks()
    one, other = (SharedLimiter(memory, locks, 4, seed).rule("l", 3, 16.0) for _ in range(2))
    assert one.hit("a", 16.0) == (True, 2, 17)
    assert other.hit("a", 18.5)[:2] == (True, 1)
    one.undo("a")
    assert [other.hit("a", 18.5)[:2] for _ in range(3)] == [(True, 1), (True, 0), (False, 0)]
    # Nothing is left of the request that was taken back: all are released together.
    assert not other.hit("a", 34.9)[0]
    assert other.hit("a", 35.0)[:2] == (True, 2)


@given(HITS)
def test_to_take_back_is_as_if_it_had_never_been(hits: list[tuple[float, str]]) -> None:
    memory = bytearray(octets_needed(8))
    rules: list[Rule | SharedRule] = [
        Limiter(8).rule("l", 3, 3.2),
        SharedLimiter(memory, NoLocks(), 8, b"s" * 16).rule("l", 3, 3.2),
    ]
    plain = Limiter(8).rule("l", 3, 3.2)
    now = 100.0
    for place, (wait, client) in enumerate(hits):
        now += wait
        if place % 3 == 0:
            for rule in rules:
                if rule.hit(client, now)[0]:
                    rule.undo(client)
        else:
            expected = plain.hit(client, now)
            assert [rule.hit(client, now) for rule in rules] == [expected] * 2


class NoLocks(Locks):
    """Of one process."""

    def acquire(self, stripe: int) -> bool:
        return False

    def release(self, stripe: int) -> None:
        pass
