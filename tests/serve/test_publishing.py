"""The gauges of a worker, and counts that go on where a worker before it stopped."""

import asyncio
import os
from pathlib import Path
from time import monotonic

from harness import configs
from harness.records import record
from rawgate.config.load import load
from rawgate.net.instances import Instance
from rawgate.observe import layout
from rawgate.observe.access_log import AccessLog
from rawgate.observe.counters import Counters, Decisions, octets_for, private_counters
from rawgate.observe.found_targets import NAMED
from rawgate.observe.layout import Layout
from rawgate.observe.reading import Reading, read
from rawgate.serve.channel import Found
from rawgate.serve.clock import HttpDate, RequestIds
from rawgate.serve.load import Loaded, compile_draft, source_of
from rawgate.serve.publishing import Counting, Publisher, names_of
from rawgate.serve.service import Service


def loaded(folder: Path) -> Loaded:
    path = folder / "rawgate.toml"
    limit = 'rate_limit = { max = 1, window = "1h" }'
    path.write_text(configs.gateway() + configs.upstream("u", "http://127.0.0.1:1") + configs.route("/a", "u", limit))
    return compile_draft(load(path, {}), new_id=RequestIds(), date=HttpDate())


def found(served: Loaded, hosts: str) -> Found:
    """What the source of an upstream says: it is at these hosts."""
    (target,) = [target for target in served.config.upstreams["u"].targets if target.source]
    source = source_of(target)
    assert source is not None
    return Found(source, tuple(Instance(False, host, 80) for host in hosts.split()), 0.0, "")


def counted(reading: Reading) -> dict[str, tuple[int, int]]:
    """Name of a target → requests and ejections."""
    (upstream,) = reading.upstreams
    return {name: (count, upstream.ejections[name]) for name, count in upstream.sent.items()}


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


def test_targets_that_somebody_tells_of_have_counts_as_well(tmp_path: Path) -> None:
    path = tmp_path / "rawgate.toml"
    targets = ("consul+http://web", "http://127.0.0.1:80", "https://127.0.0.1:80")
    path.write_text(configs.gateway() + configs.upstream("u", targets) + configs.route("/a", "u"))
    served = compile_draft(load(path, {}), new_id=RequestIds(), date=HttpDate())
    names = names_of(served.config)
    table = Layout(names)
    cells = memoryview(bytearray(octets_for(table, 2)))

    async def live() -> None:
        loop = asyncio.get_running_loop()
        null = os.open(os.devnull, os.O_WRONLY)
        made = []
        for number in range(2):
            counting = Counting(Counters(table, cells, number), Decisions(), AccessLog(null, capacity=0), loop)
            service = Service(loop, served, counting.sink, RequestIds(), HttpDate(), found=lambda said: None)
            made.append((service, Publisher(loop, service, counting)))
        (one, _), (two, _) = made

        def reading() -> Reading:
            for _, publisher in made:
                publisher.publish()
            return read(made[0][1].counters, names, monotonic(), one.found_targets())

        one.discovery.take(found(served, "10.0.0.1 10.0.0.2 127.0.0.1"))
        two.discovery.take(found(served, "10.0.0.2 10.0.0.3"))
        two.discovery.take(found(served, "10.0.0.1 10.0.0.2"))
        for service, _ in made:
            for at, endpoint in enumerate(service.pools["u"].endpoints.all, 1):
                endpoint.sent = 10 ** (at % 10)
                endpoint.ejections = 1
        fixed = {"127.0.0.1:80", "https://127.0.0.1:80"}
        said = reading()
        assert set(said.upstreams[0].targets) == {"10.0.0.1:80", "10.0.0.2:80", *fixed}
        assert counted(said)["10.0.0.1:80"] == (20, 2)
        assert {name: ejections for name, (_, ejections) in counted(said).items()} == dict.fromkeys(counted(said), 2)
        in_all = sum(count for count, _ in counted(said).values())

        for service, _ in made:
            service.discovery.take(found(served, "10.0.0.2"))
        said = reading()
        assert set(said.upstreams[0].targets) == {"10.0.0.2:80", *fixed}
        assert counted(said)["other"] == (20, 2), "what was counted at one that is gone is not lost"

        many = " ".join(f"10.1.0.{at}" for at in range(NAMED + 1))
        for service, _ in made:
            service.discovery.take(found(served, many))
            service.pools["u"].endpoints.failed(service.pools["u"].endpoints.all[0], "refused", monotonic())
        said = reading()
        assert len(said.upstreams[0].targets) == NAMED + 1 + len(fixed)
        assert said.upstreams[0].targets["other"], "the one that failed has a name"
        assert list(said.upstreams[0].targets.values()).count(False) == 1
        assert sum(count for count, _ in counted(said).values()) == in_all
        for service, publisher in made:
            publisher.stop()
            service.close()
        os.close(null)

    asyncio.run(live())


def test_a_target_that_failed_long_ago_is_shown_as_down_until_it_is_reached(tmp_path: Path) -> None:
    served = loaded(tmp_path)
    names = names_of(served.config)

    async def live() -> None:
        null, loop = os.open(os.devnull, os.O_WRONLY), asyncio.get_running_loop()
        counting = Counting(private_counters(names), Decisions(), AccessLog(null, capacity=0), loop)
        service = Service(loop, served, counting.sink, RequestIds(), HttpDate())
        publisher = Publisher(loop, service, counting)
        endpoints = service.pools["u"].endpoints

        def shown() -> tuple[dict[str, bool], dict[tuple[str, str], str]]:
            publisher.publish()
            (upstream,) = read(counting.counters, names, monotonic(), {}).upstreams
            return upstream.targets, service.health.why_down(monotonic())

        target = "127.0.0.1:1"
        endpoints.failed(endpoints.all[0], "refused", monotonic() - 60.0)
        assert shown() == ({target: False}, {("u", target): "refused; may be tried again"})
        endpoints.reached(endpoints.all[0], "", monotonic())
        assert shown() == ({target: True}, {})
        publisher.stop()
        service.close()
        os.close(null)

    asyncio.run(live())


def test_names_are_those_of_the_configuration(tmp_path: Path) -> None:
    names = names_of(loaded(tmp_path).config)
    assert (names.routes, names.upstreams, names.targets, names.limits) == (
        ("/a",),
        ("u",),
        (("u", "127.0.0.1:1"),),
        ("/a",),
    )
