"""The gauges of a worker, and counts that go on where a worker before it stopped."""

import asyncio
import os
from pathlib import Path

from harness import configs
from harness.records import record
from rawgate.config.load import load
from rawgate.observe import layout
from rawgate.observe.access_log import AccessLog
from rawgate.observe.counters import Counters, Decisions, octets_for
from rawgate.observe.layout import Layout
from rawgate.serve.clock import HttpDate, RequestIds
from rawgate.serve.load import Loaded, compile_draft
from rawgate.serve.publishing import Counting, Publisher, names_of
from rawgate.serve.service import Service


def loaded(folder: Path) -> Loaded:
    path = folder / "rawgate.toml"
    limit = 'rate_limit = { max = 1, window = "1h" }'
    path.write_text(configs.gateway() + configs.upstream("u", "http://127.0.0.1:1") + configs.route("/a", "u", limit))
    return compile_draft(load(path, {}), new_id=RequestIds(), date=HttpDate())


def work(served: Loaded, counters: Counters) -> None:
    """What one worker does in its life: it counts a request and two decisions, loses a line, sends five requests, two
    of which are under way at its end, and publishes."""
    null = os.open(os.devnull, os.O_WRONLY)

    async def live() -> None:
        loop = asyncio.get_running_loop()
        counting = Counting(counters, Decisions(), AccessLog(null, capacity=0), loop)
        service = Service(loop, served, counting.sink, RequestIds(), HttpDate())
        publisher = Publisher(loop, service, counting)
        told = counting.decisions.watch("/a")
        (endpoint,) = service.pools["u"].endpoints.all
        endpoint.sent, endpoint.ended = 5, 3
        told(True)
        publisher.publish()
        told(False)
        counting.sink.write(record(route="/a"))
        publisher.publish()
        publisher.publish()
        publisher.stop()
        service.close()

    asyncio.run(live())
    os.close(null)


def test_a_worker_goes_on_with_the_counts_of_the_one_before_it(tmp_path: Path) -> None:
    served = loaded(tmp_path)
    table = Layout(names_of(served.config))
    cells = memoryview(bytearray(octets_for(table, 2)))
    for times in (1, 2, 3):
        counters = Counters(table, cells, 1)
        work(served, counters)
        assert counters.totals(layout.LOG_DROPPED, 1) == [times]
        assert counters.totals(table.limits["/a"], 2) == [times, times]
        target = table.targets["u", "127.0.0.1:1"]
        assert counters.totals(target + layout.SENT_THERE, 1) == [5 * times]
        assert counters.own[target + layout.UNDER_WAY] == 2
        assert counters.totals(table.routes["/a"] + layout.REASON_ROWS["ok"] + 1, 1) == [times]
        assert Counters(table, cells, 0).own[layout.PUBLISHED] == 0, "another worker's column is left alone"


def test_names_are_those_of_the_configuration(tmp_path: Path) -> None:
    names = names_of(loaded(tmp_path).config)
    assert (names.routes, names.upstreams, names.targets, names.limits) == (
        ("/a",),
        ("u",),
        (("u", "127.0.0.1:1"),),
        ("/a",),
    )
