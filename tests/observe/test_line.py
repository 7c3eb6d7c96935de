"""One record, one line: field names and order, units, what is cut, and octets that are not text."""

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rawgate.observe.line import LINE_LIMIT, LineEncoder, Record


def record(**fields: Any) -> Record:
    """What stands in the page's example, but for these fields."""
    usual: dict[str, Any] = {
        "wall": 1_700_000_000.25,
        "request_id": "0123456789abcdef0123456789abcdef",
        "method": b"GET",
        "host": b"api.test",
        "target": b"/api/users/7?token=secret",
        "route": "/api/users",
        "client_id": "alice",
        "status": 200,
        "duration": 0.0123456,
        "upstream": "users",
        "asked_at": 10.0,
        "leased_at": 10.001,
        "head_at": 10.009,
        "ended_at": 10.010,
        "bytes_in": 17,
        "bytes_out": 312,
        "remote": "127.0.0.1:50412",
        "reason": "ok",
        "detail": "",
    }
    return Record(**(usual | fields))


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
        ("host", "api.test"),
        ("path", "/api/users/7"),
        ("route", "/api/users"),
        ("clientId", "alice"),
        ("status", 200),
        ("durationMs", 12.346),
        ("upstream", "users"),
        ("waitMs", 1.0),
        ("headMs", 8.0),
        ("upstreamMs", 9.0),
        ("bytesIn", 17),
        ("bytesOut", 312),
        ("remote", "127.0.0.1:50412"),
        ("reason", "ok"),
    ]


def test_what_there_was_not_is_null() -> None:
    line = request(record(upstream="", asked_at=-1.0, leased_at=-1.0, head_at=-1.0, ended_at=-1.0))
    assert [line[name] for name in ("upstream", "waitMs", "headMs", "upstreamMs")] == [None] * 4


def test_a_request_that_got_no_connection_has_waited_until_its_end() -> None:
    line = request(record(asked_at=10.0, leased_at=-1.0, head_at=-1.0, ended_at=11.0))
    assert [line[name] for name in ("upstream", "waitMs", "headMs", "upstreamMs")] == ["users", 1000.0, None, None]


def test_a_response_that_never_began_has_no_head() -> None:
    line = request(record(asked_at=10.0, leased_at=10.5, head_at=-1.0, ended_at=12.5))
    assert [line[name] for name in ("waitMs", "headMs", "upstreamMs")] == [500.0, None, 2000.0]


def test_a_detail_is_the_last_field_and_there_is_none_without_one() -> None:
    assert list(request(record(detail="Refused.")).items())[-1] == ("detail", "Refused.")
    assert "detail" not in request(record())
    assert len(request(record(detail="x" * 1000))["detail"]) == 256


@pytest.mark.parametrize(("waited", "said"), [(0.0, []), (0.0009, []), (0.001, [1.0]), (2.0004567, [2000.457])])
def test_a_slow_client_is_told_and_none_where_there_was_none(waited: float, said: list[float]) -> None:
    line = request(record(client_waited=waited, detail="Why."))
    assert list(line.items())[-2 - len(said) :] == [
        ("reason", "ok"),
        *[("clientMs", milliseconds) for milliseconds in said],
        ("detail", "Why."),
    ]


def test_a_host_is_as_received_and_cut() -> None:
    assert request(record(host=b"A.test:8080"))["host"] == "A.test:8080"
    assert request(record(host=b""))["host"] == ""
    assert request(record(host=b"h" * 300))["host"] == "h" * 255


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
    line = request(record(duration=seconds, asked_at=0.0, leased_at=seconds, head_at=2 * seconds, ended_at=2 * seconds))
    assert [line[name] for name in ("durationMs", "waitMs", "headMs", "upstreamMs")] == [milliseconds] * 4


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
    host=st.binary(max_size=300),
)
@example(
    method=b"\x00" * 64,
    target=b"\x00" * 2048,
    route="\x00" * 3000,
    client_id='"' * 255,
    upstream='"' * 3000,
    host=b'"' * 300,
)
def test_a_line_is_always_whole_and_never_too_long(
    method: bytes, target: bytes, route: str, client_id: str, upstream: str, host: bytes
) -> None:
    fields = {"method": method, "target": target, "route": route, "client_id": client_id, "upstream": upstream}
    line = line_of(record(**fields, host=host, detail="Why: " * 100))
    assert len(line) <= LINE_LIMIT
    told = parsed(line)
    assert target.split(b"?")[0].decode("latin-1").startswith(told["path"])
    assert method.decode("latin-1").startswith(told["method"])
    assert route.startswith(told["route"])
    assert host.decode("latin-1").startswith(told["host"])
    assert told["clientId"] == client_id


def test_the_line_that_stands_for_dropped_ones() -> None:
    line = LineEncoder().dropped(1_700_000_000.0, 42)
    assert parsed(line) == {"time": "2023-11-14T22:13:20.000Z", "reason": "log_dropped", "dropped": 42}


def test_fields_that_were_asked_for() -> None:
    assert "fields" not in parsed(LineEncoder().requests([record()]))
    line = parsed(LineEncoder().requests([record(fields={"user-agent": 'a "b"\x00'})]))
    assert line["fields"] == {"user-agent": 'a "b"\x00'}
    assert list(line)[-1] == "fields"


def test_the_trace() -> None:
    assert "traceId" not in parsed(LineEncoder().requests([record()]))
    assert parsed(LineEncoder().requests([record(trace_id="4b" * 16)]))["traceId"] == "4b" * 16


@given(st.lists(st.text(st.characters(max_codepoint=255), max_size=256), max_size=16), st.integers(0, 3000))
def test_a_line_with_fields_fits(values: list[str], path: int) -> None:
    fields = {f"x-{at}": value for at, value in enumerate(values)}
    encoded = LineEncoder().requests([record(target=b"/" + b"\x1f" * path, fields=fields, trace_id="4b" * 16)])
    assert len(encoded) <= LINE_LIMIT
    line = parsed(encoded)
    assert line["path"].startswith("/")
    assert line.get("fields", fields) == fields
