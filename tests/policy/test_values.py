"""Texts with names in braces, made of a request."""

import pytest

from rawgate.message import Identity
from rawgate.policy.claims import compile_tell
from rawgate.policy.values import NAMES, Facts, asks_for_caller, compile_lines, compile_value, names_in, unknown_name

ALICE = Identity("sub", "älice", claims={"tenant": "acme", "groups": ["a", "b"], "https://a.test/x": 7})


def facts(identity: Identity | None = ALICE, host: bytes = b"a.test") -> Facts:
    return Facts(b"192.0.2.7", "0f", "users", b"/api", host, b"/api/7", {"id": b"7", "rest": b""}, identity, "CN=a")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("plain", b"plain"),
        ("", b""),
        ("{sub}", "älice".encode()),
        ("a{sub}b", "aäliceb".encode()),
        ("{client_ip} {request_id} {route} {prefix} {host} {path}", b"192.0.2.7 0f users /api a.test /api/7"),
        ("{id}-{rest}-{id}", b"7--7"),
        ("{claim.tenant}/{claim.groups}", b"acme/a,b"),
        ("{claim.https://a.test/x}", b"7"),
        ("{claim.missing}", None),
        ("x-{claim.missing}-y", None),
        ("{Sub} {} {a b} {", b"{Sub} {} {a b} {"),
    ],
)
def test_a_value(text: str, value: bytes | None) -> None:
    assert compile_value(text, ("id", "rest"), compile_tell)(facts()) == value


@pytest.mark.parametrize("text", ["{sub}", "{claim.tenant}", "a {sub}"])
def test_nobody_has_no_value(text: str) -> None:
    assert compile_value(text, (), compile_tell)(facts(None)) is None
    assert compile_value(text, (), compile_tell)(facts(Identity("sub", ""))) is None


def test_no_host() -> None:
    assert compile_value("https://{host}", (), compile_tell)(facts(host=b"")) is None


def test_names_that_nothing_has() -> None:
    assert names_in("{a}{claim.b.c}{D}") == ["a", "claim.b.c"]
    assert unknown_name("{id} {claim.x} {host}", ("id",), NAMES) == ""
    assert unknown_name("{id} {claim.x}", (), ("host",)) == "id"
    assert [asks_for_caller(text) for text in ("{sub}", "{claim.a}", "{host}", "x")] == [True, True, False, False]


def test_a_line_without_value_is_left_out() -> None:
    made = compile_lines(
        [(name, compile_value(f"{{{name}}}", ("id", "rest"), compile_tell)) for name in ("id", "rest")]
    )
    assert made is not None
    assert made(facts()) == b"id: 7\r\n"
    assert compile_lines([]) is None
