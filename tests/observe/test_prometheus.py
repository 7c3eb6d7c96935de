"""The table of metrics, through the package that writes it and the package's own parsers."""

import mmap

import pytest

from harness.exposition import parsed, series, value
from harness.records import record
from rawgate.observe import layout, prometheus
from rawgate.observe.counters import Counters, CountingSink, octets_for, private_counters
from rawgate.observe.layout import Layout, Names
from rawgate.observe.line import Record
from rawgate.observe.metrics import METRICS, Facts
from rawgate.observe.reading import read

FACTS = Facts({"version": "1", "python": "3", "core": "compiled"}, {"main": 3.5}, {"public": 2.5}, {"users": True})
HOSTILE = 'a "quoted" \\ name,\n{le="1"} \u00e9'
NAMES = Names(["/a", HOSTILE], ["up"], [("up", "10.0.0.7:80"), ("up", "[::1]:80")], ["/a"])
OPEN_METRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"


def exposed(counters: Counters, accept: str = "", now: float = 0.0) -> str:
    return prometheus.exposition(read(counters, NAMES, now, {}), FACTS, accept)[0].decode()


def count(counters: Counters, *records: Record) -> None:
    sink = CountingSink(counters, lambda record: None, lambda seconds, call: None)
    for one in records:
        sink.write(one)
    sink.copy()


@pytest.mark.parametrize("is_open", [False, True])
def test_each_metric_is_there_from_the_start(is_open: bool) -> None:
    text = exposed(private_counters(NAMES), OPEN_METRICS if is_open else "")
    names = {f"{one.name}{'_total' * (one.type == 'counter')}" for one in parsed(text, is_open=is_open)}
    assert names == {metric.name for metric in METRICS}


@pytest.mark.parametrize("is_open", [False, True])
def test_any_name_can_be_a_label(is_open: bool) -> None:
    counters = private_counters(NAMES)
    count(counters, record(route=HOSTILE))
    found = series(parsed(exposed(counters, OPEN_METRICS if is_open else ""), is_open=is_open))
    assert value(found, "rawgate_requests_total", route=HOSTILE, status="2xx", reason="ok") == 1
    assert value(found, "rawgate_requests_total", route="/a", status="2xx", reason="ok") == 0


def test_buckets_are_cumulative_and_in_seconds() -> None:
    counters = private_counters(NAMES)
    count(counters, *[record(route="/a", duration=seconds) for seconds in (0.00005, 0.0001, 0.003, 2.0, 100.0)])
    found = series(parsed(exposed(counters)))
    name = "rawgate_request_duration_seconds"
    cells = {le: value(found, f"{name}_bucket", route="/a", le=le) for le in ("0.0001", "0.005", "1.0", "60.0", "+Inf")}
    assert cells == {"0.0001": 2, "0.005": 3, "1.0": 3, "60.0": 4, "+Inf": 5}
    assert value(found, f"{name}_count", route="/a") == 5
    assert value(found, f"{name}_sum", route="/a") == pytest.approx(102.00315)


def test_one_worker_tells_of_all_of_them() -> None:
    table = Layout(NAMES)
    cells = memoryview(mmap.mmap(-1, octets_for(table, 3)))
    workers = [Counters(table, cells, worker) for worker in range(3)]
    for counters in workers:
        count(counters, record(route="/a", bytes_in=5))
    down = table.targets["up", "[::1]:80"] + layout.DOWN
    for counters, at in zip(workers, (100.0, 100.0, 10.0), strict=True):  # the last one is gone
        counters.own[layout.PUBLISHED] = int(at * 1000)
        counters.own[layout.CLIENTS] = 2
        counters.own[table.routes["/a"] + layout.IN_FLIGHT] = 3
        counters.own[table.upstreams["up"] + layout.QUEUED] = 4
    workers[1].own[down] = 1
    found = series(parsed(exposed(workers[0], now=101.0)))
    assert value(found, "rawgate_requests_total", route="/a", status="2xx", reason="ok") == 3
    assert value(found, "rawgate_received_bytes_total") == 15
    assert value(found, "rawgate_client_connections") == 4
    assert value(found, "rawgate_requests_in_flight", route="/a") == 6
    assert value(found, "rawgate_upstream_queue", upstream="up") == 8
    assert value(found, "rawgate_upstream_target_up", upstream="up", target="[::1]:80") == 0
    assert value(found, "rawgate_upstream_target_up", upstream="up", target="10.0.0.7:80") == 1


def test_series_are_bounded_by_the_configuration() -> None:
    """Whatever clients send: what is not in the configuration has no series."""
    counters = private_counters(NAMES)
    count(counters, *[record(route=f"/made-up/{number}", upstream=f"u{number}") for number in range(50)])
    assert exposed(counters) == exposed(private_counters(NAMES))


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("", "text/plain; version=0.0.4; charset=utf-8"),
        ("*/*", "text/plain; version=0.0.4; charset=utf-8"),
        ("application/openmetrics-text", "application/openmetrics-text; version=1.0.0; charset=utf-8"),
        ("text/html", "text/plain; version=0.0.4; charset=utf-8"),
        ("\xff;;q=,", "text/plain; version=0.0.4; charset=utf-8"),
    ],
)
def test_the_format_is_the_one_asked_for(accept: str, kind: str) -> None:
    assert prometheus.exposition(read(private_counters(NAMES), NAMES, 0.0, {}), FACTS, accept)[1] == kind


def test_it_is_found_where_it_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert prometheus.is_there()
    monkeypatch.setattr(prometheus, "PACKAGE", "no_such_package_is_installed")
    assert not prometheus.is_there()
