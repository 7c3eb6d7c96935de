"""Several processes count in one limiter, and one after the other is killed. `tools/limits` does it at length."""

import os
import re
import signal
import subprocess
import sys
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest

from harness import configs
from harness.gateway import Gateway, running
from harness.upstream import OK, Connection, Upstream, replying
from harness.wire_reader import Stream, read_response
from tools.limiting.processes import ADMITTED, ASKED, REFUSED, Note, Rule
from tools.limiting.verdict import LONG, Verdict

pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(sys.platform != "linux", reason="several workers are for Linux"),
]


def limits(*arguments: str) -> subprocess.CompletedProcess[str]:
    """In a program of its own, which forks before it has any thread."""
    command = [sys.executable, "-m", "tools.limiting", *arguments]
    return subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False)


def status(gateway: Gateway) -> int:
    """Of the answer on a connection of its own, which any worker may get."""
    with gateway.connect() as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        response = read_response(Stream.of(sock))
        assert response is not None
        return response.status


def test_a_limit_holds_for_all_workers_and_over_the_death_of_one(tmp_path: Path) -> None:
    with Upstream(replying(OK)) as upstream:
        text = configs.one_route(upstream.target, gateway_has=["workers = 3"])
        text += 'rate_limit = { max = 20, window = "1h" }\n'
        with running(tmp_path, text) as gateway:
            told = [status(gateway) for _ in range(15)]
            workers = gateway.workers()
            assert len(workers) == 3
            os.kill(min(workers), signal.SIGKILL)
            gateway.wait_said("SIGKILL")
            told += [status(gateway) for _ in range(15)]
            assert told == [200] * 20 + [429] * 10


def hold(connection: Connection) -> None:
    """Takes a request, and answers nothing."""
    if connection.request() is not None:
        connection.wait_end()


def has_lost(gateway: Gateway, count: int) -> bool:
    return sum("SIGKILL" in line for line in gateway.said) >= count


def test_requests_under_way_are_counted_over_all_workers_and_those_of_the_dead_are_forgotten(tmp_path: Path) -> None:
    with ExitStack() as stack:
        upstream = stack.enter_context(Upstream(hold))
        lines = ["workers = 3", 'timeouts = { drain = "100ms" }']
        text = configs.one_route(upstream.target, gateway_has=lines) + "concurrency = 3\n"
        gateway = stack.enter_context(running(tmp_path, text))
        for turn in (1, 2):
            for _ in range(8):
                sock = stack.enter_context(gateway.connect())
                sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            upstream.wait_requests(3 * turn)
            gateway.wait_lines(5 * turn, reason="concurrency_limited")
            assert len(upstream.requests) == 3 * turn
            for worker in gateway.workers():
                os.kill(worker, signal.SIGKILL)
            gateway.wait(partial(has_lost, gateway, 3 * turn))
            # Each successor forgets what its predecessor held, and nobody else's.
            gateway.wait_serving(3)


@pytest.mark.parametrize("clients", ["1", "10000"])
def test_limits_hold_while_processes_are_killed(clients: str) -> None:
    done = limits("--hits", "40000", "--clients", clients, "--kill-every", "0.03")
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert int(re.findall(r"(\d+) killed", done.stdout)[0]) > 0


def test_limits_are_exact_where_nobody_is_killed() -> None:
    done = limits("--hits", "40000", "--clients", "1", "7", "--kill-every", "0")
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert "0 killed" in done.stdout


def test_without_locks_they_do_not_hold() -> None:
    """Or these tests would see nothing. It may happen that nobody gets in another's way, but not each time."""
    for _ in range(10):
        done = limits("--hits", "40000", "--clients", "1", "--kill-every", "0", "--without-locks")
        if done.returncode:
            break
    assert (done.returncode, done.stderr) == (1, ""), done.stdout


def verdict(rule: Rule, *notes: tuple[float, float, int]) -> tuple[int, int, int]:
    found = Verdict(rule)
    found.add(Note(before, after, 0, mark) for before, after, mark in notes)
    return found.too_many, found.too_few, found.lost


IN_16 = Rule(2, 16.0)
IN_LONG = Rule(2, LONG)


@pytest.mark.parametrize(
    ("rule", "notes", "expected"),
    [
        (IN_16, [(0.0, 0.1, ADMITTED), (1.0, 1.1, ADMITTED), (15.0, 16.0, ADMITTED)], (1, 0, 0)),
        (IN_16, [(0.0, 0.1, ADMITTED), (1.0, 1.1, ADMITTED), (15.0, 16.1, ADMITTED)], (0, 0, 0)),
        (IN_16, [(0.0, 0.1, ADMITTED), (1.0, 1.1, ADMITTED), (15.0, 15.1, REFUSED)], (0, 0, 0)),
        (IN_16, [(0.0, 0.1, ADMITTED), (1.0, 1.1, ADMITTED), (17.0, 17.1, REFUSED)], (0, 0, 0)),
        (IN_16, [(0.0, 0.1, ADMITTED), (1.0, 1.1, ADMITTED), (17.2, 17.3, REFUSED)], (0, 1, 0)),
        (IN_16, [(0.0, 0.1, ADMITTED), (1.0, 1.1, REFUSED)], (0, 1, 0)),
        (IN_16, [(0.0, 0.1, ADMITTED), (1.0, 1.1, ASKED), (2.0, 2.1, REFUSED)], (0, 0, 0)),
        (IN_LONG, [(0.0, 0.1, ADMITTED), (1.0, 1.1, ADMITTED), (2.0, 2.1, REFUSED)], (0, 0, 0)),
        (IN_LONG, [(0.0, 0.1, ADMITTED), (1.0, 1.1, ASKED), (2.0, 2.1, REFUSED)], (0, 0, 0)),
        (IN_LONG, [(0.0, 0.1, ADMITTED), (1.0, 1.1, ASKED), (2.0, 2.1, ADMITTED)], (0, 0, 0)),
        (IN_LONG, [(0.0, 0.1, ADMITTED), (1.0, 1.1, ADMITTED), (2.0, 2.1, ADMITTED)], (1, 0, 1)),
        (IN_LONG, [(0.0, 0.1, ADMITTED), (1.0, 1.1, REFUSED)], (0, 1, 1)),
    ],
)
def test_the_verdict(rule: Rule, notes: list[tuple[float, float, int]], expected: tuple[int, int, int]) -> None:
    assert verdict(rule, *notes) == expected
