"""What an upstream divides requests by, as the gate reads it from a request."""

import msgspec
import pytest

from policy.test_gate import API_KEY, CLIENT, config, decide, forward, request, token
from policy.test_gate_access import found
from rawgate.config.model import HashBalance, Route
from rawgate.message import Peer
from rawgate.policy.gate import Gate

V6 = Peer("2001:db8::7", "[2001:db8::7]:1")


def gate_of(*routes: Route, by: str = "") -> Gate:
    given = config(*routes)
    users = given.upstreams["users"]
    if by:
        users = msgspec.structs.replace(users, balance=HashBalance(hash=by))
    gate, problems = found(msgspec.structs.replace(given, upstreams={"users": users}))
    assert problems == []
    assert gate is not None
    return gate


@pytest.mark.parametrize(
    ("by", "auth", "target", "fields", "peer", "key"),
    [
        ("client", "none", "/a", {}, CLIENT, "ip:192.0.2.7"),
        ("client", "none", "/a", {}, V6, "ip:2001:db8::/64"),
        ("client", "jwt.main", "/a", {"authorization": b"Bearer " + token(sub="alice")}, CLIENT, "sub:alice"),
        ("client", "api_keys.partners", "/a", {"x-api-key": API_KEY.encode()}, CLIENT, "key:acme"),
        ("path", "none", "/a//b/../%63?x=1", {}, CLIENT, "/a/c"),
        ("header:x-session", "none", "/a", {"x-session": b"abc"}, CLIENT, "abc"),
        ("header:x-session", "none", "/a", {"x-session": b"\xff"}, CLIENT, "\xff"),
    ],
)
def test_the_key_of_a_request(by: str, auth: str, target: str, fields: dict[str, bytes], peer: Peer, key: str) -> None:
    gate = gate_of(Route(prefix="/", upstream="users", auth=auth, rewrite="/v2"), by=by)
    extras = forward(decide(gate, request(target, parsed=fields), peer)).extras
    assert extras is not None
    assert extras.key == key


def test_a_request_without_the_field_has_none() -> None:
    gate = gate_of(Route(prefix="/", upstream="users", auth="none"), by="header:x-session")
    assert forward(decide(gate, request("/"))).extras is None


def test_a_route_whose_upstream_asks_for_nothing_pays_nothing() -> None:
    gate = gate_of(Route(prefix="/", upstream="users", auth="none"))
    assert forward(decide(gate, request("/"))).extras is None
    group = gate.router.find(b"api.test", b"/")
    assert group is not None
    assert group.other is not None
    assert group.other.more is None


def test_the_field_is_read_and_still_sent_on() -> None:
    gate = gate_of(Route(prefix="/", upstream="users", auth="none"), by="header:x-session")
    assert b"x-session" in gate.wanted
    assert b"x-session: abc\r\n" in forward(decide(gate, request("/", parsed={"x-session": b"abc"}))).head.lower()
