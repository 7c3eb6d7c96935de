"""Traces that pass, and traces that begin at the gateway."""

from ipaddress import ip_network
from itertools import count
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rawgate.config.model import Config, Gateway, HeaderRules, RateLimit, Route, Target, Upstream
from rawgate.errors import Problem
from rawgate.message import Forward, Peer, RequestHead, trace_id_of
from rawgate.policy.compile import compile_gate
from rawgate.policy.gate import Gate
from rawgate.policy.trace_context import compile_trace

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
CLIENT, PROXY = Peer("192.0.2.7", "192.0.2.7:50000"), Peer("10.0.0.1", "10.0.0.1:50000")


@pytest.mark.parametrize(
    "value",
    [
        f"00-{TRACE}-{PARENT}-00",
        f"00-{TRACE}-{PARENT}-ff",
        f"01-{TRACE}-{PARENT}-01",
        f"cc-{TRACE}-{PARENT}-01-what comes later",
        f"00-{'0' * 31}1-{'0' * 15}1-01",
    ],
)
def test_well_formed(value: str) -> None:
    assert trace_id_of(value.encode()) == value.split("-")[1]


@pytest.mark.parametrize(
    "value",
    [
        "",
        "00",
        f"ff-{TRACE}-{PARENT}-01",
        f"00-{TRACE}-{PARENT}-01-",
        f"00-{TRACE}-{PARENT}-01-more",
        f"cc-{TRACE}-{PARENT}-01.more",
        f"cc-{TRACE}-{PARENT}-011",
        f"00-{TRACE}-{PARENT}",
        f"00-{TRACE}-{PARENT}-1",
        f"00-{TRACE.upper()}-{PARENT}-01",
        f"00-{'0' * 32}-{PARENT}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE[1:]}-{PARENT}-01",
        f"00-{TRACE}0-{PARENT}-01",
        f"00_{TRACE}_{PARENT}_01",
        f"00-{TRACE}-{PARENT}-01, 00-{TRACE}-{PARENT}-01",
        f"00-{TRACE}-{PARENT}-0g",
        f"00-{TRACE}-{PARENT}-01\n",
    ],
)
def test_malformed(value: str) -> None:
    assert trace_id_of(value.encode()) == ""


def gate_of(rules: HeaderRules | None = None, limit: RateLimit | None = None, **gateway: Any) -> Gate:
    route = Route(prefix="/", upstream="u", auth="none", request_headers=rules or HeaderRules(), rate_limit=limit)
    problems: list[Problem] = []
    ids = count(1)
    gate = compile_gate(
        Config(
            gateway=Gateway(listen=(), trusted_proxies=(ip_network("10.0.0.0/8"),), **gateway),
            upstreams={"u": Upstream(targets=(Target("127.0.0.1", 3001, "u:3001"),))},
            routes=(route,),
        ),
        new_id=lambda: f"{next(ids):x}".ljust(32, "f"),
        date=lambda: b"D",
        problems=problems,
        warnings=[],
    )
    assert gate is not None, problems
    return gate


def sent(gate: Gate, parsed: dict[bytes, bytes], peer: Peer = CLIENT) -> list[str]:
    """The lines that say something about the trace, as they go up."""
    head = RequestHead(b"GET", b"/", 1, b"h", parsed, [], 0, False, False, b"", 0)
    decision = gate.decide(head, peer, 0.0, 0.0)
    assert isinstance(decision, Forward)
    return [line for line in decision.head.decode("latin-1").split("\r\n") if line.lower().startswith("trace")]


GOOD = {b"traceparent": f"00-{TRACE}-{PARENT}-00".encode(), b"tracestate": b"a=1,b=2"}
KEPT = [f"traceparent: 00-{TRACE}-{PARENT}-00", "tracestate: a=1,b=2"]
BEGUN = f"traceparent: 00-{'2'.ljust(32, 'f')}-{'3'.ljust(16, 'f')}-01"  # 1 is the request's id


@pytest.mark.parametrize(
    ("parsed", "lines"),
    [
        (GOOD, KEPT),
        ({}, [BEGUN]),
        ({b"tracestate": b"a=1"}, [BEGUN]),
        (GOOD | {b"traceparent": b"00-1-2-3"}, [BEGUN]),
        (GOOD | {b"traceparent": b""}, [BEGUN]),
    ],
)
def test_what_goes_up(parsed: dict[bytes, bytes], lines: list[str]) -> None:
    assert sent(gate_of(trace="make"), parsed) == lines


def test_only_make_looks_at_it() -> None:
    assert not gate_of().wanted & {b"traceparent", b"tracestate"}
    assert gate_of(trace="make").wanted >= {b"traceparent", b"tracestate"}


def test_a_sender_that_is_not_trusted_with_it_begins_a_new_one() -> None:
    gate = gate_of(trace="make", untrusted_headers=("traceparent",))
    assert sent(gate, GOOD) == [BEGUN]
    assert sent(gate, GOOD, PROXY) == KEPT


def test_one_that_is_parsed_for_another_reason_is_no_better_trusted() -> None:
    gate = gate_of(limit=RateLimit(9, 60.0, key="header:traceparent"), untrusted_headers=("traceparent",))
    assert sent(gate, {b"traceparent": GOOD[b"traceparent"]}) == []
    assert sent(gate, {b"traceparent": GOOD[b"traceparent"]}, PROXY) == KEPT[:1]


def test_the_rules_of_a_route_come_last() -> None:
    assert sent(gate_of(HeaderRules(remove=("traceparent",)), trace="make"), GOOD) == KEPT[1:]
    assert sent(gate_of(HeaderRules(set={"Traceparent": "mine"}), trace="make"), {}) == ["Traceparent: mine"]


PIECES = st.sampled_from(["00", "01", "ff", "FF", "-", TRACE, PARENT, "0" * 32, "0" * 16, "g", "4", "", ", ", "."])
NEARLY = st.lists(PIECES, max_size=9).map("".join)


@given(
    NEARLY | st.text(st.characters(max_codepoint=255)), st.sampled_from([{}, {b"tracestate": b"a=1"}]), st.booleans()
)
def test_never_a_malformed_one(value: str, state: dict[bytes, bytes], counts: bool) -> None:
    came = {b"traceparent": value.encode("latin-1"), b"x": b"1", **state}
    before = came.copy()
    got = compile_trace(lambda: TRACE)(came, counts)
    assert came == before
    assert got[b"x"] == b"1"
    version, trace, parent, flags, *more = got[b"traceparent"].decode("latin-1").split("-")
    assert [len(part) for part in (version, trace, parent, flags)] == [2, 32, 16, 2]
    assert all(set(part) <= set("0123456789abcdef") for part in (version, trace, parent, flags))
    assert version != "ff"
    assert int(trace, 16) * int(parent, 16) > 0
    assert not more or version != "00"
    assert (b"tracestate" in got) == (got is came and bool(state))
