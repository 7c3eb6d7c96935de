"""One record, one line: field names and order, units, what is cut, and octets that are not text."""

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rawgate.observe.line import LINE_LIMIT, LineEncoder, Record


def record(
    *,
    wall: float = 1_700_000_000.25,
    method: bytes = b"GET",
    target: bytes = b"/api/users/7?token=secret",
    route: str = "/api/users",
    client_id: str = "alice",
    duration: float = 0.0123456,
    upstream: str = "users",
    upstream_seconds: float = 0.009,
) -> Record:
    return (
        wall, "0123456789abcdef0123456789abcdef", method, target, route, client_id, 200, duration, upstream,
        upstream_seconds, 17, 312, "127.0.0.1:50412", "ok",
    )  # fmt: skip


def parsed(line: bytes) -> dict[str, Any]:
    """The object in a line, which must be all that there is in it."""
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    value = json.loads(line)
    assert isinstance(value, dict)
    return value


def line_of(wanted: Record) -> bytes:
    return LineEncoder().requests([wanted])


def request(wanted: Record) -> dict[str, Any]:
    return parsed(line_of(wanted))


def test_fields_come_in_the_documented_order() -> None:
    assert list(request(record()).items()) == [
        ("time", "2023-11-14T22:13:20.250Z"),
        ("requestId", "0123456789abcdef0123456789abcdef"),
        ("method", "GET"),
        ("path", "/api/users/7"),
        ("route", "/api/users"),
        ("clientId", "alice"),
        ("status", 200),
        ("durationMs", 12.346),
        ("upstream", "users"),
        ("upstreamMs", 9.0),
        ("bytesIn", 17),
        ("bytesOut", 312),
        ("remote", "127.0.0.1:50412"),
        ("reason", "ok"),
    ]


def test_without_an_upstream_both_its_fields_are_null() -> None:
    line = request(record(upstream="", upstream_seconds=-1))
    assert (line["upstream"], line["upstreamMs"]) == (None, None)


@pytest.mark.parametrize(
    ("wall", "text"),
    [
        pytest.param(0.0, "1970-01-01T00:00:00.000Z", id="epoch"),
        pytest.param(1_700_000_000.0005, "2023-11-14T22:13:20.000Z", id="cut, not rounded"),
        pytest.param(1_700_000_000.9999, "2023-11-14T22:13:20.999Z", id="never the next second"),
        pytest.param(1_709_251_199.0, "2024-02-29T23:59:59.000Z", id="leap day"),
    ],
)
def test_time_is_utc_in_milliseconds(wall: float, text: str) -> None:
    assert request(record(wall=wall))["time"] == text


def test_time_goes_back_when_an_older_request_ends_later() -> None:
    encoder = LineEncoder()
    lines = encoder.requests([record(wall=wall) for wall in (100.0, 101.0, 100.5)]).splitlines(keepends=True)
    assert [parsed(line)["time"][-7:] for line in lines] == ["40.000Z", "41.000Z", "40.500Z"]


def test_one_long_line_among_others_is_cut_alone() -> None:
    records = [record(), record(target=b"/" + b"\x01" * 2000), record(target=b"/last")]
    lines = LineEncoder().requests(records).splitlines(keepends=True)
    assert lines == [line_of(each) for each in records]
    assert len(lines[1]) <= LINE_LIMIT


def test_no_records_no_lines() -> None:
    assert LineEncoder().requests([]) == b""


@pytest.mark.parametrize(
    ("seconds", "milliseconds"),
    [(0.0, 0), (0.000_000_4, 0), (0.000_001, 0.001), (0.1, 100), (3600.5, 3_600_500), (86_399.999_999, 86_399_999.999)],
)
def test_durations_have_three_decimals(seconds: float, milliseconds: float) -> None:
    line = request(record(duration=seconds, upstream_seconds=seconds))
    assert (line["durationMs"], line["upstreamMs"]) == (milliseconds, milliseconds)


@pytest.mark.parametrize(
    ("target", "path"),
    [
        pytest.param(b"", "", id="none"),
        pytest.param(b"*", "*", id="asterisk"),
        pytest.param(b"/a?b?c", "/a", id="query"),
        pytest.param(b'/"\\', '/"\\', id="JSON's own"),
        pytest.param(b"/\x00\x1f\n\x7f", "/\x00\x1f\n\x7f", id="control octets"),
        pytest.param(b"/\xff\xc3\xa9", "/\xff\xc3\xa9", id="one character an octet"),
        pytest.param(b"/" + b"a" * 2047, "/" + "a" * 2047, id="2 KiB"),
        pytest.param(b"/" + b"a" * 2048, "/" + "a" * 2047, id="over 2 KiB"),
        pytest.param(b"/" + b"a" * 5000 + b"?q", "/" + "a" * 2047, id="far over 2 KiB"),
    ],
)
def test_path(target: bytes, path: str) -> None:
    assert request(record(target=target))["path"] == path


def test_a_long_method_is_cut() -> None:
    assert request(record(method=b"M" * 65))["method"] == "M" * 64


@pytest.mark.parametrize(
    "octet", [b"a", b'"', b"\xff", b"\x01"], ids=["1 octet", "2, escaped", "2, in UTF-8", "6, escaped"]
)
def test_as_much_of_the_path_as_fits(octet: bytes) -> None:
    """The cut is exact: with one character more the line would be too long."""
    line = line_of(record(target=octet * 2048))
    character = octet.decode("latin-1")
    path = parsed(line)["path"]
    assert path == character * len(path)
    cost = len(json.dumps(character, ensure_ascii=False).encode()) - 2
    assert len(line) <= LINE_LIMIT
    assert len(path) == 2048 or len(line) + cost > LINE_LIMIT


names = st.text(st.characters(codec="utf-8"), max_size=3000)


@given(
    method=st.binary(max_size=80),
    target=st.binary(max_size=2200) | st.binary(max_size=8).map(lambda some: some * 500),
    route=names,
    client_id=st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), max_size=63),
    upstream=names,
)
@example(method=b"\x00" * 64, target=b"\x00" * 2048, route="\x00" * 3000, client_id='"' * 255, upstream='"' * 3000)
def test_a_line_is_always_whole_and_never_too_long(
    method: bytes, target: bytes, route: str, client_id: str, upstream: str
) -> None:
    line = line_of(record(method=method, target=target, route=route, client_id=client_id, upstream=upstream))
    assert len(line) <= LINE_LIMIT
    fields = parsed(line)
    assert target.split(b"?")[0].decode("latin-1").startswith(fields["path"])
    assert method.decode("latin-1").startswith(fields["method"])
    assert route.startswith(fields["route"])
    assert fields["clientId"] == client_id


def test_the_line_that_stands_for_dropped_ones() -> None:
    line = LineEncoder().dropped(1_700_000_000.0, 42)
    assert parsed(line) == {"time": "2023-11-14T22:13:20.000Z", "reason": "log_dropped", "dropped": 42}
