"""The lanes of `tools/fuzz`: they find nothing in the present gateway, and they find what is wrong."""

from random import Random

import pytest

from rawgate.wire import RequestRules
from tools.fuzzing import lanes


@pytest.mark.parametrize(("name", "inputs"), [("requests", 300), ("responses", 300), ("chunks", 300), ("shell", 20)])
def test_a_lane_finds_nothing(name: str, inputs: int) -> None:
    lane = lanes.LANES[name](Random(1))  # noqa: S311 - repeatable on purpose
    found = {octets: finding for octets in (lane.make() for _ in range(inputs)) if (finding := lane.check(octets))}
    assert found == {}


def test_heads_that_are_read_differently_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    octets = b"GET /abc HTTP/1.1\r\nHost: a\r\nX-A: 1\r\n\r\n"
    lane = lanes.Requests(Random(1))  # noqa: S311 - repeatable on purpose
    assert lane.check(octets) == ""
    other = RequestRules(lanes.HEAD, lanes.FIELDS, lanes.TARGET, lanes.WANTED | {b"x-a"}, lanes.PROTECTED, False)
    monkeypatch.setitem(lanes.REQUEST_RULES, False, other)
    assert lane.check(octets) == "the lanes differ"
