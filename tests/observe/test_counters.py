"""Counting records: which cell, how often, whatever becomes of the log; and cells that several processes share."""

import mmap
import os
from collections import Counter
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.records import record
from rawgate.errors import REASONS
from rawgate.observe import histogram, layout
from rawgate.observe.counters import COPY_AFTER, STALE, Counters, CountingSink, octets_for, private_counters
from rawgate.observe.layout import Layout, Names
from rawgate.observe.line import Record

NAMES = Names(["/a", "/b"], ["up"], [("up", "10.0.0.7:80")], ["/a"])


class Timers:
    """What was to be called later, and is when the test says so."""

    def __init__(self) -> None:
        self.waiting: list[tuple[float, Callable[[], None]]] = []

    def __call__(self, seconds: float, call: Callable[[], None]) -> None:
        self.waiting.append((seconds, call))

    def run(self) -> None:
        waiting, self.waiting = self.waiting, []
        for _, call in waiting:
            call()


class World:
    """A sink over counters, and what it handed on."""

    def __init__(self, counters: Counters) -> None:
        self.counters = counters
        self.handed_on: list[Record] = []
        self.later = Timers()
        self.sink = CountingSink(counters, self.handed_on.append, self.later)

    def count(self, **fields: object) -> None:
        self.sink.write(record(**({"route": "/a"} | fields)))

    def of(self, route: str, reason: str, kind: int) -> int:
        """The requests of that route, with that reason, and a status of 100·kind."""
        row = self.counters.layout.routes[route] + layout.REASON_ROWS[reason] + kind - 1
        return self.counters.totals(row, 1)[0]

    def latencies(self, start: int) -> list[int]:
        return self.counters.totals(start, histogram.CELLS)


@pytest.fixture
def world() -> World:
    return World(private_counters(NAMES))


def test_a_record_is_counted_and_handed_on(world: World) -> None:
    one = record(route="/a", status=200, duration=0.0012, bytes_in=3, bytes_out=5, leased_at=1.0, ended_at=1.0004)
    world.sink.write(one)
    world.sink.copy()
    assert world.handed_on == [one]
    assert world.of("/a", "ok", 2) == 1
    route = world.latencies(world.counters.layout.routes["/a"] + layout.DURATION)
    assert (route[histogram.bucket_of(1200)], route[histogram.SUM], sum(route)) == (1, 1200, 1201)
    upstream = world.latencies(world.counters.layout.upstreams["up"])
    assert (upstream[histogram.bucket_of(400)], upstream[histogram.SUM], sum(upstream)) == (1, 400, 401)
    assert world.counters.totals(layout.RECEIVED, 2) == [3, 5]


def test_a_tunnel_is_a_request_without_a_latency(world: World) -> None:
    world.count(status=101, reason="tunnel_idle", duration=3600.0)
    world.sink.copy()
    assert world.of("/a", "tunnel_idle", 1) == 1
    assert sum(world.latencies(world.counters.layout.routes["/a"] + layout.DURATION)) == 0
    assert sum(world.latencies(world.counters.layout.upstreams["up"])) == 0


def test_who_met_no_upstream_is_not_among_its_latencies(world: World) -> None:
    world.count(status=502, reason="upstream_connect_failed", leased_at=-1.0)
    world.count(status=401, reason="auth_missing", upstream="", leased_at=-1.0)
    world.sink.copy()
    assert sum(world.latencies(world.counters.layout.upstreams["up"])) == 0
    assert (world.of("/a", "upstream_connect_failed", 5), world.of("/a", "auth_missing", 4)) == (1, 1)


def test_what_no_route_was_selected_for_has_rows(world: World) -> None:
    world.count(route="", status=404, reason="no_route")
    world.sink.copy()
    assert world.of("", "no_route", 4) == 1


def test_a_status_that_is_none_is_counted_all_the_same(world: World) -> None:
    world.count(status=0, reason="internal")
    world.sink.copy()
    assert world.of("/a", "internal", 5) == 1


def test_a_name_without_rows_is_handed_on_uncounted() -> None:
    counters = Counters(
        Layout(Names([], [], [], []), NAMES.rows), memoryview(bytearray(8 * NAMES.rows))
    )  # room, but never given to /a
    world = World(counters)
    world.count()
    world.sink.copy()
    assert len(world.handed_on) == 1
    assert sum(counters.totals(layout.PROCESS_ROWS, counters.layout.capacity - layout.PROCESS_ROWS)) == 0


def test_many_are_copied_once(world: World) -> None:
    for _ in range(10):
        world.count()
        world.count(route="/b")
    assert [seconds for seconds, _ in world.later.waiting] == [COPY_AFTER]
    assert world.of("/a", "ok", 2) == 0
    world.later.run()
    assert (world.of("/a", "ok", 2), world.of("/b", "ok", 2)) == (10, 10)
    world.count()
    assert len(world.later.waiting) == 1
    world.later.run()
    assert (world.of("/a", "ok", 2), world.of("/b", "ok", 2)) == (11, 10)


OUTCOMES = st.tuples(
    st.sampled_from(["", "/a", "/b"]), st.sampled_from(sorted(REASONS)), st.integers(100, 599), st.booleans()
)


@given(st.lists(OUTCOMES, max_size=60))
def test_each_request_is_counted_in_one_cell(outcomes: list[tuple[str, str, int, bool]]) -> None:
    world = World(private_counters(NAMES))
    for route, reason, status, is_turn in outcomes:
        world.count(route=route, reason=reason, status=status)
        if is_turn:
            world.later.run()
    world.sink.copy()
    expected = Counter((route, reason, status // 100) for route, reason, status, _ in outcomes)
    for key, count in expected.items():
        assert world.of(*key) == count
    for route in ("", "/a", "/b"):
        start = world.counters.layout.routes[route]
        assert sum(world.counters.totals(start, layout.DURATION)) == sum(one[0] == route for one in outcomes)


# ── several processes ──


def shared(workers: int) -> tuple[Layout, memoryview]:
    made = Layout(NAMES)
    return made, memoryview(mmap.mmap(-1, octets_for(made, workers)))


def test_columns_add_up() -> None:
    made, cells = shared(3)
    worlds = [World(Counters(made, cells, worker)) for worker in range(3)]
    for times, world in enumerate(worlds):
        for _ in range(times + 1):
            world.count(bytes_out=10)
        world.sink.copy()
    assert [world.of("/a", "ok", 2) for world in worlds] == [6, 6, 6]
    assert worlds[0].counters.totals(layout.SENT, 1) == [60]
    assert worlds[0].counters.own[layout.SENT] == 10
    assert worlds[0].counters.workers == 3


def test_another_process_counts_in_the_same_memory_and_its_successor_goes_on() -> None:
    made, cells = shared(2)
    for _ in range(2):  # a worker, and the one that is started in its place
        child = os.fork()
        if not child:
            world = World(Counters(made, cells, 1))
            world.count(bytes_in=7)
            world.sink.copy()
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
    own = World(Counters(made, cells, 0))
    own.count()
    own.sink.copy()
    assert own.of("/a", "ok", 2) == 3
    assert own.counters.totals(layout.RECEIVED, 1) == [14]


def test_gauges_of_a_worker_that_is_gone_grow_old() -> None:
    made, cells = shared(2)
    one, other = Counters(made, cells, 0), Counters(made, cells, 1)
    for counters, at in ((one, 100.0), (other, 100.0 + STALE)):
        counters.own[layout.CLIENTS] = 4
        counters.own[layout.PUBLISHED] = int(at * 1000)
    assert one.gauges(layout.CLIENTS, 1, 100.0 + STALE) == [8]
    assert one.alive(100.0 + STALE) == 2
    assert one.gauges(layout.CLIENTS, 1, 101.0 + STALE) == [4]
    assert one.gauges(layout.CLIENTS, 1, 200.0 + STALE) == [0]
    assert one.alive(200.0 + STALE) == 0


def test_rows_that_a_reload_adds_are_counted_in() -> None:
    world = World(private_counters(NAMES))
    world.counters.layout.extend(Names(["/new"], [], [], []))
    world.count(route="/new")
    world.sink.copy()
    assert world.of("/new", "ok", 2) == 1
