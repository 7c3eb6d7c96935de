"""Targets that fail, stall and return: two workers and real services, from what goes wrong to what clients see."""

import json
import os
import signal
import socket
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from time import monotonic

import pytest

from harness import configs
from harness.gateway import PATIENCE, Gateway, running
from harness.upstreams import Upstreams
from harness.wire_reader import Message, Stream, read_response

pytestmark = pytest.mark.process

IN_A_ROW = 40
"""Requests on connections of their own, of which each worker gets some."""

CHECKS = 'health = { path = "/health", interval = "100ms", timeout = "5s", rise = 1, fall = 2 }'
EJECTS = 'eject = { failures = 3, for = "1s", at_most = "50%" }'


@pytest.fixture(scope="module")
def process() -> Iterator[Upstreams]:
    with Upstreams(2) as bed:
        yield bed


@pytest.fixture
def bed(process: Upstreams) -> Upstreams:
    process.reset()
    return process


def config(bed: Upstreams, *lines: str, workers: int = 2) -> str:
    return (
        configs.gateway(f"workers = {workers}", 'admin = "127.0.0.1:0"')
        + configs.upstream("u", bed.targets, *lines)
        + configs.route("/", "u")
    )


def get(address: tuple[str, int], path: str = "/work") -> Message:
    with socket.create_connection(address, PATIENCE) as sock:
        sock.settimeout(PATIENCE)
        sock.sendall(b"GET %b HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n" % path.encode())
        found = read_response(Stream.of(sock))
        assert found is not None
        return found


def served_by(gateway: Gateway) -> str:
    """The number of the target that a request went to, or the gateway's own status."""
    found = get(gateway.address)
    target = found.value(b"x-target")
    return str(found.status) if target is None else target.decode()


def wait_until_only(gateway: Gateway, *targets: str) -> None:
    """Wait until so many requests in a row were served, by all of these targets and by no other."""
    ends, seen = monotonic() + PATIENCE, list[str]()
    while monotonic() < ends:
        seen.append(served_by(gateway))
        if len(seen) >= IN_A_ROW and set(seen[-IN_A_ROW:]) == set(targets):
            return
    raise AssertionError(f"{Counter(seen)}; {gateway.said}")


def targets(gateway: Gateway) -> list[dict[str, object]]:
    """What the status says of them."""
    host, _, port = gateway.wait_said("admin on ").partition("http://")[2].rpartition(":")
    found: list[dict[str, object]] = json.loads(get((host, int(port)), "/status").body)["upstreams"][0]["targets"]
    return found


def told(gateway: Gateway, what: str) -> list[str]:
    return [line for line in gateway.said if what in line]


def test_a_target_whose_checks_fail_is_out_for_all_workers_whichever_of_them_dies(
    tmp_path: Path, bed: Upstreams
) -> None:
    name = f"127.0.0.1:{bed.ports[1]}"
    with running(tmp_path, config(bed, CHECKS)) as gateway:
        wait_until_only(gateway, "0", "1")
        bed.tell(1, ready=False)
        line = gateway.wait_said("is left out")
        assert line == f"rawgate: upstream u: {name} is left out: health check: status 503"
        wait_until_only(gateway, "0")
        assert [(one["up"], one["why"]) for one in targets(gateway)] == [
            (True, ""),
            (False, "health check: status 503"),
        ]
        for worker in sorted(gateway.workers()):  # one of them is the one that checks
            before = gateway.workers()
            os.kill(worker, signal.SIGKILL)
            gateway.wait_said(f"(pid {worker}) was killed")
            ends = monotonic() + PATIENCE
            while not gateway.workers() - before and monotonic() < ends:
                pass
            wait_until_only(gateway, "0")
        bed.tell(1, ready=True)
        gateway.wait_said(f"{name} passes its health checks again")
        wait_until_only(gateway, "0", "1")
        assert len(told(gateway, "is left out")) == 1, "it was known all the time"
        bed.tell(0, network="down")
        assert "connection refused" in gateway.wait_said(f"127.0.0.1:{bed.ports[0]} is left out")
        wait_until_only(gateway, "1")
    assert gateway.said[-1] == "rawgate: stopped"


def test_a_target_that_is_slow_and_not_dead_is_ejected_for_all_workers(tmp_path: Path, bed: Upstreams) -> None:
    name = f"127.0.0.1:{bed.ports[1]}"
    # So long that a target that stands still for three seconds does not fail three times in a row.
    with running(tmp_path, config(bed, EJECTS, 'response_timeout = "600ms"')) as gateway:
        bed.tell(1, answer="nothing")
        ends = monotonic() + PATIENCE
        while not told(gateway, "is ejected") and monotonic() < ends:
            assert served_by(gateway) in ("0", "504")
        line = gateway.wait_said("is ejected")
        assert line.startswith(f"rawgate: upstream u: {name} is ejected for ")
        assert line.endswith("3 failures in a row, the last: timed out")
        bed.tell(1, answer=200)
        gateway.wait_said(f"{name} is not ejected any more")
        wait_until_only(gateway, "0", "1")
        # The metric is published every second.
        ends = monotonic() + PATIENCE
        while targets(gateway)[1]["ejections"] != 1 and monotonic() < ends:
            pass
        assert [one["ejections"] for one in targets(gateway)] == [0, 1]
        assert len(told(gateway, "is ejected for")) == 1


def test_a_reload_changes_what_is_checked(tmp_path: Path, bed: Upstreams) -> None:
    """And what it takes away leaves nothing out any more."""
    bed.tell(1, ready=False)
    with running(tmp_path, config(bed)) as gateway:
        wait_until_only(gateway, "0", "1")
        file = tmp_path / "rawgate.toml"
        file.write_text(config(bed, CHECKS))
        gateway.signal(signal.SIGHUP)
        gateway.wait_said("is left out: health check: status 503")
        wait_until_only(gateway, "0")
        file.write_text(config(bed, CHECKS.replace('timeout = "5s"', 'timeout = "5s", status = "503"')))
        gateway.signal(signal.SIGHUP)
        gateway.wait_said("passes its health checks again")
        gateway.wait_said(f"127.0.0.1:{bed.ports[0]} is left out: health check: status 200")
        wait_until_only(gateway, "1")
        file.write_text(config(bed))
        gateway.signal(signal.SIGHUP)
        wait_until_only(gateway, "0", "1")


def test_one_process_does_it_alone(tmp_path: Path, bed: Upstreams) -> None:
    bed.tell(1, ready=False)
    ejects = EJECTS.replace("failures = 3", 'failures = 3, status = "500"')
    with running(tmp_path, config(bed, CHECKS, ejects, workers=1)) as gateway:
        gateway.wait_said("is left out: health check: status 503")
        wait_until_only(gateway, "0")
        bed.tell(1, ready=True)
        gateway.wait_said("passes its health checks again")
        bed.tell(1, answer=500)
        ends = monotonic() + PATIENCE
        while not told(gateway, "is ejected") and monotonic() < ends:
            served_by(gateway)
        assert "3 failures in a row, the last: status 500" in gateway.wait_said("is ejected for")
        bed.tell(1, answer=200)
        gateway.wait_said("is not ejected any more")
        wait_until_only(gateway, "0", "1")
