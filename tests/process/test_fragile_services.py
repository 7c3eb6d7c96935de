"""Circuit breakers and retries in the real program: what reaches the services, what clients see, what the log tells.

Every gateway here has two workers.
"""

import json
import os
import signal
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from http.client import HTTPConnection
from pathlib import Path
from threading import Event
from time import monotonic
from typing import Any
from urllib.parse import urlsplit

import pytest

from harness import configs
from harness.exposition import parsed, series, value
from harness.gateway import PATIENCE, Gateway, running
from harness.upstream import OK, Connection, Upstream, replying, response
from harness.wire_reader import Message, Stream, read_response

pytestmark = pytest.mark.process

GET = b"GET /x HTTP/1.1\r\nHost: h\r\n\r\n"
BUSY = response(b"busy", status="503 Service Unavailable")


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def served(stack: ExitStack, folder: Path, targets: list[str], *lines: str, lane: str = "fast") -> Gateway:
    has = ["workers = 2", 'admin = "127.0.0.1:0"', f'parser = "{lane}"']
    lines = ('response_timeout = "20s"', *lines)  # some services answer when the test says so
    return stack.enter_context(running(folder, configs.one_route(*targets, gateway_has=has, upstream_has=lines)))


def ask(gateway: Gateway, octets: bytes = GET) -> Message:
    with gateway.connect() as sock:
        sock.sendall(octets)
        answer = read_response(Stream.of(sock))
        assert answer is not None
        return answer


def told(gateway: Gateway, path: str) -> bytes:
    """What the admin listener replies."""
    where = urlsplit(gateway.wait_said("admin on ").partition("admin on ")[2])
    with closing(HTTPConnection(where.hostname or "", where.port, timeout=PATIENCE)) as connection:
        connection.request("GET", path)
        return connection.getresponse().read()


def service_of(gateway: Gateway) -> dict[str, Any]:
    """What `/status` says of the only service."""
    (service,) = json.loads(told(gateway, "/status"))["upstreams"]
    found: dict[str, Any] = service
    return found


def await_counts(gateway: Gateway, expected: dict[str, int]) -> None:
    """Ask until both workers have told: each does every second."""
    ends = monotonic() + PATIENCE
    while (found := service_of(gateway)["retries"]) != expected:
        assert monotonic() < ends, found


@pytest.mark.parametrize("lane", ["fast", "h11"])
def test_a_failed_request_is_answered_by_the_other_target(tmp_path: Path, stack: ExitStack, lane: str) -> None:
    bad, good = stack.enter_context(Upstream(replying(BUSY))), stack.enter_context(Upstream(replying(OK)))
    gateway = served(stack, tmp_path, [bad.target, good.target], "retry = {}", lane=lane)
    assert [ask(gateway).status for _ in range(8)] == [200] * 8
    again = ask(gateway, b"POST /x HTTP/1.1\r\nHost: h\r\nIdempotency-Key: k\r\n\r\n")
    assert again.status == 200
    statuses = {ask(gateway, b"POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\nx").status for _ in range(4)}
    assert statuses == {200, 503}, "a body is never sent twice"
    lines = gateway.wait_lines(13)
    assert {(line["status"], line.get("target")) for line in lines} == {
        (200, good.target[7:]),
        (503, bad.target[7:]),
    }
    assert {line.get("attempts", 1) for line in lines} == {1, 2}
    assert len(bad.requests) + len(good.requests) == sum(line.get("attempts", 1) for line in lines)
    made = sum("attempts" in line for line in lines)
    await_counts(gateway, {"made": made, "refused": 0})
    assert service_of(gateway)["breaker"] is None
    assert not any(b"attempt" in name.lower() for name, _ in again.fields)


def test_a_storm_of_slow_failures_adds_a_fifth_at_most(tmp_path: Path, stack: ExitStack) -> None:
    """Everything fails at once. The service counts what comes, and holds every retry until all others are answered: so
    each takes as long as the others, and none makes way for the next one."""
    clients, failing, over = 60, Event(), Event()

    def script(connection: Connection) -> None:
        while connection.request() is not None:
            is_first = not failing.is_set()
            assert (failing if is_first else over).wait(PATIENCE)
            connection.send(BUSY)

    service = stack.enter_context(Upstream(script))
    stack.callback(over.set)
    stack.callback(failing.set)
    gateway = served(stack, tmp_path, [service.target], "retry = {}")
    with ThreadPoolExecutor(clients) as pool:
        answers = [pool.submit(ask, gateway) for _ in range(clients)]
        service.wait_requests(clients)
        failing.set()
        refused = gateway.wait_lines(clients - clients // 5 - 3)
        over.set()
        assert {answer.result(PATIENCE).status for answer in answers} == {503}
    assert len(refused) >= clients - clients // 5 - 3
    lines = gateway.wait_lines(clients)
    retries = len(service.requests) - clients
    assert 3 <= retries <= clients // 5 + 3
    assert retries == sum(line.get("attempts", 1) - 1 for line in lines)
    counts = {"made": retries, "refused": clients - retries}
    await_counts(gateway, counts)
    found = series(parsed(told(gateway, "/metrics").decode()))
    for result, count in counts.items():
        assert value(found, "rawgate_upstream_retries_total", upstream="one", result=result) == count


def test_a_storm_of_fast_failures_adds_a_fifth_at_most(tmp_path: Path, stack: ExitStack) -> None:
    """Each request fails at once, and the next one follows: hardly any two attempts are under way at the same time. So
    it is their number that is bounded; beside it each worker may make ten that nobody has earned."""
    clients, each, reserve = 2, 100, 10
    service = stack.enter_context(Upstream(replying(BUSY)))
    gateway = served(stack, tmp_path, [service.target], "retry = {}")
    for _ in range(clients):
        sock = stack.enter_context(gateway.connect())
        stream = Stream.of(sock)
        for _ in range(each):
            sock.sendall(GET)
            answer = read_response(stream)
            assert answer is not None
            assert answer.status == 503
    retries = len(service.requests) - clients * each
    workers = 2
    assert clients * each // 5 + reserve <= retries <= clients * each // 5 + workers * reserve
    lines = gateway.wait_lines(clients * each)
    assert retries == sum(line.get("attempts", 1) - 1 for line in lines)


def test_a_circuit_opens_for_all_workers_and_a_probe_closes_it(tmp_path: Path, stack: ExitStack) -> None:
    is_well = Event()
    service = stack.enter_context(Upstream(replying(lambda request: OK if is_well.is_set() else BUSY)))
    gateway = served(stack, tmp_path, [service.target], 'breaker = { of = 6, for = "1s" }')
    assert [ask(gateway).body for _ in range(6)] == [b"busy"] * 6
    gateway.wait_said(
        "upstream one: the circuit is open for 1 s: 50% or more of at least 6 requests failed within 10 s"
    )
    refused = [ask(gateway) for _ in range(20)]
    reached = len(service.requests)
    assert reached < 10, "a probe or two may have gone meanwhile"
    for answer in refused:
        if answer.body != b"busy":
            assert answer.status == 503
            assert int(answer.value(b"retry-after") or b"0") in (1, 2, 4)
            assert b'"reason":"circuit_open"' in answer.body
    assert service_of(gateway)["breaker"]["state"] == "open"
    metrics = series(parsed(told(gateway, "/metrics").decode()))
    assert value(metrics, "rawgate_upstream_breaker_open", upstream="one") == 1
    is_well.set()
    ends = monotonic() + PATIENCE
    while ask(gateway).status != 200:
        assert monotonic() < ends
    gateway.wait_said("upstream one: the circuit is closed again")
    assert [ask(gateway).status for _ in range(8)] == [200] * 8
    assert service_of(gateway)["breaker"] == {"state": "closed", "probeInSeconds": None}


def on(sock: socket.socket, octets: bytes = GET) -> Message:
    """The answer on this connection."""
    sock.sendall(octets)
    answer = read_response(Stream.of(sock))
    assert answer is not None
    return answer


def test_a_worker_that_dies_with_the_probe_leaves_the_next_one_to_the_others(tmp_path: Path, stack: ExitStack) -> None:
    """Nobody waits for the answer of the one that was lost."""
    before, released = 4, Event()

    def script(connection: Connection) -> None:
        while connection.request() is not None:
            number = len(service.requests)
            if number == before + 1:
                assert released.wait(PATIENCE)
            connection.send(BUSY if number <= before else OK)

    service = stack.enter_context(Upstream(script))
    stack.callback(released.set)
    gateway = served(stack, tmp_path, [service.target], 'breaker = { of = 4, for = "100ms" }')
    # Each worker has one of so many: that all are with one has a chance of 2e-12.
    socks = [stack.enter_context(gateway.connect()) for _ in range(40)]
    for sock in socks:
        on(sock, b"OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n")  # its worker has it, and has asked nobody
    assert [on(socks[0]).status for _ in range(before)] == [503] * before
    gateway.wait_said("the circuit is open")
    ends = monotonic() + PATIENCE
    while service_of(gateway)["breaker"]["probeInSeconds"]:
        assert monotonic() < ends
    socks[0].sendall(GET)
    service.wait_requests(before + 1)
    worker = gateway.worker_of(socks[0])
    (other, *_) = [sock for sock in socks if gateway.worker_of(sock) != worker]
    os.kill(worker, signal.SIGKILL)
    gateway.wait_said(f"(pid {worker}) was killed")
    ends = monotonic() + PATIENCE
    while on(other).status != 200:
        assert monotonic() < ends
    gateway.wait_said("the circuit is closed again")


def test_a_reload_keeps_an_open_circuit_and_who_is_ejected(tmp_path: Path, stack: ExitStack) -> None:
    """Also where something else about the service has changed."""
    bad, good = stack.enter_context(Upstream(replying(BUSY))), stack.enter_context(Upstream(replying(OK)))
    down = stack.enter_context(Upstream(replying(BUSY)))

    def config(*more: str) -> str:
        return (
            configs.gateway("workers = 2", 'admin = "127.0.0.1:0"')
            + configs.upstream("down", down.target, 'breaker = { of = 4, for = "1m" }', *more)
            + configs.upstream("u", [bad.target, good.target], 'eject = { failures = 2, for = "1m" }', *more)
            + configs.route("/down", "down")
            + configs.route("/", "u")
        )

    gateway = stack.enter_context(running(tmp_path, config()))
    to_down = GET.replace(b"/x", b"/down")
    for _ in range(4):
        assert ask(gateway, to_down).body == b"busy"
    gateway.wait_said("the circuit is open")
    ends = monotonic() + PATIENCE
    while not any("is ejected" in line for line in gateway.said):
        ask(gateway)
        assert monotonic() < ends
    (tmp_path / "rawgate.toml").write_text(config("queue = 99"))
    gateway.signal(signal.SIGHUP)
    gateway.wait_said("changed: upstreams.down, upstreams.u")
    assert [b'"reason":"circuit_open"' in ask(gateway, to_down).body for _ in range(10)] == [True] * 10
    assert len(down.requests) == 4
    assert [ask(gateway).body for _ in range(10)] == [b"ok"] * 10
    services = json.loads(told(gateway, "/status"))["upstreams"]
    assert services[0]["breaker"]["state"] == "open"
    assert "ejected: 2 failures in a row" in services[1]["targets"][0]["why"]
