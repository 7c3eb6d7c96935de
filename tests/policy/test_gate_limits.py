"""Limits of other kinds than one by client, requests under way, and policies in the shadow, as the gate has them."""

from ipaddress import ip_network
from itertools import product
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from policy.test_gate import (
    CLIENT,
    PROXY,
    answer,
    config,
    decide,
    forward,
    lines,
    problems_of,
    request,
    response,
    token,
)
from policy.test_gate_access import found
from rawgate.config.model import HashBalance, HeaderRules, Match, MaxBy, RateLimit, RegexRewrite, Respond, Route
from rawgate.errors import Problem
from rawgate.message import Decision, Forward, LocalReply, Peer
from rawgate.policy.compile import compile_gate
from rawgate.policy.gate import Gate
from rawgate.policy.in_flight import OwnCounts

SHARED = {"shared": RateLimit(max=2, window=60.0), "all": RateLimit(max=3, window=60.0, key="all")}


def route(prefix: str = "/", auth: str = "none", **more: Any) -> Route:
    return Route(prefix=prefix, upstream="users", auth=auth, **more)


def gate_of(*routes: Route, limits: dict[str, RateLimit] | None = None) -> Gate:
    gate, problems = found(msgspec.structs.replace(config(*routes), limits=limits or SHARED))
    assert problems == []
    assert gate is not None
    return gate


def codes(gate: Gate, *targets: str, peer: Peer = CLIENT, **fields: bytes) -> list[str]:
    parsed = {name.replace("_", "-"): value for name, value in fields.items()}
    decisions = [decide(gate, request(target, parsed=parsed), peer) for target in targets]
    return ["ok" if isinstance(each, Forward) else answer(each).reason.code for each in decisions]


def test_a_budget_is_shared_by_routes() -> None:
    gate = gate_of(route("/a", rate_limit="shared"), route("/b", rate_limit="shared"), route("/c"))
    assert codes(gate, "/a", "/b", "/a", "/c") == ["ok", "ok", "rate_limited", "ok"]
    assert 'RateLimit: "shared";r=0;t=' in "\n".join(lines(answer(decide(gate, request("/b"))).fields))


def test_several_limits_are_counted_together() -> None:
    gate = gate_of(route("/a", rate_limit=("shared", RateLimit(max=1, window=60.0))), route("/b", rate_limit="shared"))
    assert codes(gate, "/a", "/a", "/a", "/b", "/b") == ["ok", "rate_limited", "rate_limited", "ok", "rate_limited"]
    refused = lines(answer(decide(gate, request("/a"))).fields)
    assert refused[0].startswith('RateLimit: "shared";r=0;t=')
    # The log says which of them refused.
    assert answer(decide(gate, request("/a"))).note == "Used up: shared, /a 2."
    assert answer(decide(gate, request("/b"))).note == "Used up: shared."
    assert ', "/a 2";r=0;t=' in refused[0]
    assert any(line.startswith("Retry-After: ") for line in refused)


OTHER = Peer("192.0.2.8", "192.0.2.8:1")


def test_limits_by_everybody_address_and_field() -> None:
    gate = gate_of(route("/", rate_limit="all"))
    assert codes(gate, "/", "/") + codes(gate, "/", "/", peer=OTHER) == ["ok", "ok", "ok", "rate_limited"]
    gate = gate_of(route("/", rate_limit=RateLimit(max=1, window=60.0, key="ip"), auth="jwt.main"))
    alice, bob = (b"Bearer " + token(sub=sub) for sub in ("alice", "bob"))
    assert codes(gate, "/", authorization=alice) + codes(gate, "/", authorization=bob) == ["ok", "rate_limited"]
    gate = gate_of(route("/", rate_limit=RateLimit(max=1, window=60.0, key="header:x-tenant")))
    assert b"x-tenant" in gate.wanted
    assert codes(gate, "/", x_tenant=b"a") + codes(gate, "/", x_tenant=b"b") + codes(gate, "/", x_tenant=b"a") == [
        "ok",
        "ok",
        "rate_limited",
    ]


FORGED = ["x-tenant", "x-real-ip", "x-forwarded-for", "cf-connecting-ip", "x-client", "x-team-a"]


@pytest.mark.parametrize("name", FORGED)
def test_a_field_that_is_taken_from_clients_decides_nothing(name: str) -> None:
    """Neither whose request it is, nor which route takes it, nor which target: the service does not see it either."""
    field, key = {name: b"1"}, f"header:{name}"
    limited = route("/a", rate_limit=RateLimit(max=1, window=60.0, key=key))
    matched = route("/b", match=Match(headers={name: "1"}))
    hashed = config(limited, matched, route("/c"), trusted_proxies=(ip_network("10.0.0.0/8"),))
    upstream = msgspec.structs.replace(hashed.upstreams["users"], balance=HashBalance(key))
    gateway = msgspec.structs.replace(
        hashed.gateway, untrusted_headers=("x-tenant", "x-team-*"), client_ip_header="x-client"
    )
    gate, problems = found(msgspec.structs.replace(hashed, gateway=gateway, upstreams={"users": upstream}))
    assert gate is not None, problems

    def ask(target: str, peer: Peer, value: bytes = b"1") -> Decision:
        return decide(gate, request(target, parsed={**field, name: value}), peer)

    assert [isinstance(ask("/a", CLIENT, value), Forward) for value in (b"1", b"2")] == [True, False]
    assert [isinstance(ask("/a", PROXY, value), Forward) for value in (b"1", b"2", b"2")] == [True, True, False]
    assert [isinstance(ask("/b", peer), Forward) for peer in (CLIENT, PROXY)] == [False, True]
    told = [forward(ask("/c", peer)).extras for peer in (CLIENT, PROXY)]
    assert [extras and extras.key for extras in told] == [None, "1"]


def test_limits_by_claim_and_plan() -> None:
    by_plan = MaxBy(by="claim:plan", amounts={"pro": 2}, other=1)
    gate = gate_of(route("/", "jwt.main", rate_limit=RateLimit(max=by_plan, window=60.0, key="claim:org.id")))

    def ask(sub: str, **claims: object) -> str:
        return codes(gate, "/", authorization=b"Bearer " + token(sub=sub, **claims))[0]

    assert [ask(sub, plan="pro", org={"id": 1}) for sub in "abc"] == ["ok", "ok", "rate_limited"]
    assert [ask(sub, org={"id": 2}) for sub in "ab"] == ["ok", "rate_limited"]
    assert [ask(sub) for sub in "aab"] == ["ok", "rate_limited", "ok"]


def test_who_is_limited_by_client_alone_has_nothing_more() -> None:
    gate = gate_of(route("/", rate_limit=RateLimit(max=1, window=60.0)))
    group = gate.router.find(b"", b"/")
    assert group is not None
    assert group.other is not None
    assert group.other.more is None
    assert group.other.limit is not None


def ended(decision: Decision) -> None:
    """What happens at the end of a request."""
    assert isinstance(decision, Forward)
    assert decision.extras is not None
    assert decision.extras.leave is not None
    decision.extras.leave()


def under_way(gate: Gate) -> int:
    """How many requests there are, in all routes with a limit of them."""
    counts = gate.limiters.requests
    assert isinstance(counts, OwnCounts)
    return len(counts)


def test_requests_under_way() -> None:
    gate = gate_of(route("/", concurrency=2))
    first, second = (decide(gate, request()) for _ in range(2))
    third = answer(decide(gate, request()))
    assert (third.status, third.reason.code) == (429, "concurrency_limited")
    assert lines(third.fields) == ["Retry-After: 1"]
    forward(decide(gate, request(), OTHER))
    ended(first)
    forward(decide(gate, request()))
    assert isinstance(decide(gate, request()), LocalReply)
    ended(second)
    assert under_way(gate) == 2


def test_requests_under_way_outlive_a_reload() -> None:
    old = gate_of(route("/", concurrency=1))
    first = decide(old, request())
    new = compile_gate(
        config(route("/", concurrency=1)),
        new_id=lambda: "0" * 32,
        date=lambda: b"D",
        problems=[],
        warnings=[],
        limiters=old.limiters,
    )
    assert new is not None
    assert isinstance(decide(new, request()), LocalReply)
    ended(first)
    forward(decide(new, request()))


def test_what_is_not_forwarded_is_not_under_way() -> None:
    rewrite = RegexRewrite(pattern="/(.*)", to="/\\1")
    gate = gate_of(
        route("/a", rewrite=rewrite, concurrency=1), Route(prefix="/b", auth="none", respond=Respond(), concurrency=1)
    )
    assert codes(gate, "/b", "/b") == ["ok", "ok"]
    assert under_way(gate) == 0


def doubts(given: Route, **gateway: Any) -> list[Problem]:
    warnings: list[Problem] = []
    made = msgspec.structs.replace(config(given, **gateway), limits=SHARED)
    compile_gate(made, new_id=lambda: "0" * 32, date=lambda: b"D", problems=[], warnings=warnings)
    return warnings


BY_FIELD = RateLimit(max=1, window=60.0, key="header:x-tenant")
TRUSTED = {"trusted_proxies": (ip_network("10.0.0.0/8"),)}


@pytest.mark.parametrize(
    ("given", "gateway", "key"),
    [
        (route(rate_limit=BY_FIELD), {}, "rate_limit"),
        (route(rate_limit=(BY_FIELD, "shared")), {}, ""),
        (route(rate_limit=BY_FIELD), {"untrusted_headers": ("x-tenant",), **TRUSTED}, ""),
        (route(rate_limit=BY_FIELD), {"untrusted_headers": ("x-tenant",)}, "rate_limit"),
        (route(match=Match(headers={"x-forwarded-proto": "http"})), {}, "match"),
        (route(match=Match(headers={"x-forwarded-proto": "http"})), TRUSTED, ""),
        (route(match=Match(headers={"x-version": "2"})), {}, ""),
        (route(rate_limit="shared"), {}, ""),
    ],
)
def test_a_field_that_clients_choose_is_warned_of(given: Route, gateway: dict[str, Any], key: str) -> None:
    assert [warning.path for warning in doubts(given, **gateway)] == ([("routes", 0, key)] if key else [])


def test_a_budget_that_nobody_has_is_refused() -> None:
    assert problems_of(config(route("/", rate_limit="none-such")))


def test_shadows_refuse_nobody_and_are_logged() -> None:
    gate = gate_of(
        route(
            "/",
            "jwt.main",
            require={"role": ("admin",)},
            rate_limit=RateLimit(max=1, window=60.0),
            concurrency=1,
            shadow=("auth", "require", "rate_limit", "concurrency"),
        )
    )
    told = []
    for fields in ({}, {"authorization": b"Bearer " + token(sub="a")}, {"authorization": b"Bearer " + token(sub="a")}):
        decision = forward(decide(gate, request(parsed=fields)))
        assert decision.fields == b""
        told.append(() if decision.extras is None else decision.extras.shadow)
    assert told == [("auth_missing",), ("forbidden",), ("forbidden", "rate_limited", "concurrency_limited")]


POLICIES: dict[str, Any] = {
    "auth": "jwt.main",
    "require": {"role": ("admin",)},
    "rate_limit": (RateLimit(max=1, window=60.0, key="ip"), RateLimit(max=2, window=60.0, key="all")),
    "concurrency": 1,
}
FIELDS: list[dict[str, bytes]] = [
    {},
    {"authorization": b"Bearer " + token(sub="a", role="admin")},
    {"authorization": b"Bearer " + token(sub="a")},
    {"authorization": b"Bearer x"},
]
SHADOWS = st.sets(st.sampled_from([*POLICIES]), min_size=1).filter(
    lambda shadow: "auth" not in shadow or "require" in shadow
)
"""With callers who need no credential, nothing can be asked of claims."""
CALLER = ("X-User-Id: ", "X-Auth-By: ")


@given(st.lists(st.tuples(st.sampled_from(FIELDS), st.booleans()), max_size=8), SHADOWS)
def test_a_shadowed_policy_never_changes_a_response(
    asked: list[tuple[dict[str, bytes], bool]], shadow: set[str]
) -> None:
    """Against the same route without those policies. Some requests end before the next one comes. A caller whom a
    shadow has identified is told to the service, and counts for himself; so requests under way are limited only where
    both know who calls."""
    rules = HeaderRules(set={"X-Route": "{route}"})
    policies = {name: rule for name, rule in POLICIES.items() if name != "concurrency" or "auth" not in shadow}
    real = {"auth": "none"} | {name: rule for name, rule in policies.items() if name not in shadow}
    shadowed = tuple(name for name in policies if name in shadow)
    with_shadow = gate_of(route("/", response_headers=rules, **policies, shadow=shadowed))
    without = gate_of(route("/", response_headers=rules, **real))
    for fields, ends in asked:
        one, other = (decide(gate, request(parsed=fields)) for gate in (with_shadow, without))
        if isinstance(one, Forward):
            assert response(one) == response(forward(other))
            sent, expected = (
                [line for line in lines(each.head) if not line.startswith(CALLER)] for each in (one, forward(other))
            )
            assert sent == expected
        else:
            assert (answer(one).reason, answer(one).fields) == (answer(other).reason, answer(other).fields)
        for each in (one, other):
            if ends and isinstance(each, Forward) and each.extras is not None and each.extras.leave is not None:
                each.extras.leave()


@pytest.mark.parametrize(("first", "second"), [*product(FIELDS, FIELDS)])
def test_authentication_in_the_shadow_serves_as_if_nobody_asked(
    first: dict[str, bytes], second: dict[str, bytes]
) -> None:
    gate = gate_of(route("/", "jwt.main", shadow=("auth",)))
    for fields in (first, second):
        decision = forward(decide(gate, request(parsed=fields)))
        assert any(line.startswith("X-User-Id") for line in lines(decision.head)) is (fields in FIELDS[1:3])
