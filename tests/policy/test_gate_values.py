"""Header rules of a route, with values of the request, as the gate applies them."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policy.test_claims import CLAIM, TEXT
from policy.test_gate import answer, config, decide, forward, lines, problems_of, request, response, token
from policy.test_gate_access import gate_of
from rawgate.config.model import HeaderRules, Route
from rawgate.policy.gate import Gate


def route(auth: str = "jwt.main", **more: Any) -> Route:
    return Route(prefix="/", upstream="users", auth=auth, **more)


def up(gate: Gate, claims: dict[str, object], *fields: bytes, target: str = "/x") -> list[str]:
    head = request(target, parsed={"authorization": b"Bearer " + token(**claims)}, passthrough=[*fields])
    return lines(forward(decide(gate, head)).head)


def named(sent: list[str], name: str) -> list[str]:
    return [line.partition(": ")[2] for line in sent if line.lower().startswith(f"{name.lower()}:")]


RULES = HeaderRules(
    set={"X-Tenant": "{claim.tenant}", "X-Who": "{sub}@{host}", "X-Plain": "a", "X-Ip": "{client_ip}"},
    add={"X-Seen": "{request_id}", "X-Also": "b"},
    remove=("X-Internal-*", "X-Debug"),
)


def test_values_up() -> None:
    sent = up(gate_of(route(request_headers=RULES)), {"sub": "alice", "tenant": "acme"}, b"X-Seen: 1", b"X-Also: 2")
    assert named(sent, "X-Tenant") == ["acme"]
    assert named(sent, "X-Who") == ["alice@api.test"]
    assert named(sent, "X-Ip") == ["192.0.2.7"]
    assert named(sent, "X-Seen") == ["1", "0" * 32]
    assert named(sent, "X-Also") == ["2", "b"]


@pytest.mark.parametrize("claims", [{}, {"tenant": ""}, {"tenant": {"a": 1}}, {"tenant": "a\r\nX-Admin: 1"}])
def test_a_missing_value_never_passes_the_clients(claims: dict[str, object]) -> None:
    sent = up(gate_of(route(request_headers=RULES)), claims, b"X-Tenant: forged", b"x_tenant: forged", b"X-Who: forged")
    assert named(sent, "X-Tenant") == named(sent, "X-Who") == []
    assert not any("forged" in line or "X-Admin" in line for line in sent)


def test_families_are_removed_in_every_spelling() -> None:
    gate = gate_of(route(request_headers=RULES))
    assert b"x-internal-*" in gate.removable
    fields = [b"X-Internal-Role: a", b"x_internal_x: b", b"X-Internal-: c", b"X-Internals: d", b"X-Debug: e"]
    assert [
        line for line in up(gate, {}, *fields) if line.lower().startswith(("x-internal", "x_internal", "x-debug"))
    ] == ["X-Internals: d"]


def test_values_down() -> None:
    rules = HeaderRules(
        set={"X-Served-By": "{route}", "X-Tenant": "{claim.tenant}", "Cache-Control": "private, {sub}"},
        add={"Vary": "X-Tenant"},
        remove=("X-A*",),
    )
    gate = gate_of(route(response_headers=rules, name="r"))
    decision = decide(gate, request(parsed={"authorization": b"Bearer " + token(sub="alice", tenant="acme")}))
    down = response(decision)
    assert named(down, "X-Served-By") == ["r"]
    assert named(down, "X-Tenant") == ["acme"]
    assert named(down, "Cache-Control") == ["private, alice"]
    assert named(down, "Vary") == ["X-Tenant"]
    assert named(down, "X-A") == []
    refused = lines(answer(decide(gate, request())).fields)
    assert named(refused, "X-Served-By") == ["r"]
    assert named(refused, "X-Tenant") == named(refused, "Cache-Control") == []


def test_names_of_the_path_are_values() -> None:
    gate = gate_of(
        Route(path="/t/{tenant}/x", upstream="users", auth="none", request_headers=HeaderRules(set={"X-T": "{tenant}"}))
    )
    sent = lines(forward(decide(gate, request("/t/a%20b/x"))).head)
    assert named(sent, "X-T") == ["a%20b"]


def test_a_name_of_nothing_is_refused_at_load() -> None:
    (problem,) = problems_of(config(route(request_headers=HeaderRules(set={"X-T": "{tenant}"}))))
    assert problem.path == ("routes", 0, "request_headers", "set", "X-T")
    assert (
        '"{tenant}" is not the name of anything here (expected "{certificate.name}", "{client_ip}"' in problem.message
    )


@given(st.just("alice") | TEXT, CLAIM)
def test_no_claim_adds_a_line(sub: str, claim: object) -> None:
    gate = SHARED
    payload = json.loads(json.dumps({"sub": sub, "tenant": claim}))
    head = request(parsed={"authorization": b"Bearer " + token(**payload)})
    decision = decide(gate, head)
    if not hasattr(decision, "head"):
        return  # a sub that no field can hold
    names = [line.partition(":")[0] for line in lines(decision.head)]
    allowed = {"X-Tenant", "X-Who", "X-User-Id"}
    assert [name for name in names if name not in allowed] == PLAIN
    octets = decision.head.replace(b"\r\n", b"")
    assert not set(octets) & {*range(32), 127}


SHARED = gate_of(route(request_headers=RULES))
PLAIN = [
    line.partition(":")[0]
    for line in lines(forward(decide(SHARED, request(parsed={"authorization": b"Bearer " + token()}))).head)
]
