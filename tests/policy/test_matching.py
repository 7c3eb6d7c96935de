"""What a route asks for besides host and path."""

import pytest

from policy.test_gate import request
from rawgate.config.model import Match
from rawgate.policy.matching import MOST_PARAMETERS, compile_match, names


def holds(match: Match, query: str = "", scheme: str = "http", **fields: str) -> bool:
    condition = compile_match(match)
    assert condition is not None
    parsed = {name.replace("_", "-"): value.encode() for name, value in fields.items()}
    return condition(request(parsed=parsed), query.encode(), scheme)


@pytest.mark.parametrize(
    ("value", "sent", "expected"),
    [
        ("2", "2", True),
        ("2", "2 ", False),
        ("2", "2, 2", False),
        ("*", "", True),
        ("*", "x", True),
        ("a b", "a b", True),
    ],
)
def test_a_field(value: str, sent: str, expected: bool) -> None:
    assert holds(Match(headers={"X-Version": value}), x_version=sent) is expected


def test_a_field_that_is_not_there() -> None:
    assert not holds(Match(headers={"X-Version": "*"}))
    assert names(Match(headers={"X-Version": "*"})) == {b"x-version"}


@pytest.mark.parametrize(
    ("value", "query", "expected"),
    [
        ("2", "?v=2", True),
        ("2", "?a=1&v=2&b", True),
        ("2", "?v=%32", True),
        ("2", "?%76=2", True),
        ("a b", "?v=a+b", True),
        ("ä", "?v=%C3%A4", True),
        ("2", "?v=2&v=2", True),
        # Readers differ in which one they believe.
        ("2", "?v=2&v=3", False),
        ("2", "?v=3&v=2", False),
        ("2", "?v", False),
        ("", "?v", True),
        ("2", "", False),
        ("*", "?v", True),
        ("*", "?w=v", False),
        ("2", "?" + "a&" * MOST_PARAMETERS + "v=2", False),
    ],
)
def test_a_parameter(value: str, query: str, expected: bool) -> None:
    assert holds(Match(query={"v": value}), query) is expected


def test_all_of_it_must_hold() -> None:
    match = Match(headers={"X-A": "1"}, query={"b": "2"}, scheme="https")
    assert holds(match, "?b=2", "https", x_a="1")
    assert not holds(match, "?b=2", "http", x_a="1")
    assert not holds(match, "?b=3", "https", x_a="1")
    assert not holds(match, "?b=2", "https", x_a="2")
    assert compile_match(None) is None
