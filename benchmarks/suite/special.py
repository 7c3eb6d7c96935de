"""Special measurements: idle connections, the start, delays at a fixed rate."""

import socket
import ssl
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from secrets import randbelow
from statistics import median

from msgspec import Struct

from suite.contenders import ALL as CONTENDERS
from suite.contenders import Testbed, bring_up
from suite.generators import Delays, Meter, Wrk, held_rate
from suite.processes import Server, stop
from suite.rounds import Spread, progress, spread

REQUEST = b"GET /api/users/1 HTTP/1.1\r\nHost: bench.test\r\n\r\n"


ANY_SERVER = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""Of a client that verifies nothing: only memory is measured with it."""
ANY_SERVER.check_hostname = False
ANY_SERVER.verify_mode = ssl.CERT_NONE


class Special(Struct, frozen=True):
    """A figure of a contender, in the unit that its table names. `part`: which one, where it has several."""

    contender: str
    title: str
    value: Spread
    part: str = ""


class SpecialOutcome(Struct, frozen=True):
    """A table of figures. `ratio`: of the first figure to the second, within each round; `bar`: for the ratio if there
    is one, else for the first figure; `remarks`: reasons why the figures are worthless."""

    name: str
    title: str
    unit: str
    figures: list[Special]
    bar: float | None
    ratio: Spread | None = None
    remarks: list[str] = []


def idle(names: Sequence[str], testbed: Testbed, connections: int, *, tls: bool = False) -> SpecialOutcome:
    """Memory of the server in octets for each idle connection, after one response on it."""
    figures = []
    for name in names:
        server = bring_up(CONTENDERS[name], testbed)
        try:
            figures.append(Special(name, CONTENDERS[name].title, spread([_idle_octets(server, connections, tls=tls)])))
        finally:
            stop(server.process)
    if tls:
        return SpecialOutcome("idle-tls", "Idle keep-alive connection with TLS", "octets", figures, None)
    return SpecialOutcome("idle", "Idle keep-alive connection", "octets", figures, 3072)


def _idle_octets(server: Server, connections: int, *, tls: bool) -> float:
    # The first connections also allocate what later ones share.
    held = [_served(server.port, tls=tls) for _ in range(200)]
    before = server.memory()
    held += [_served(server.port, tls=tls) for _ in range(connections)]
    grown = server.memory() - before
    for client in held:
        client.close()
    return grown / connections


def _served(port: int, *, tls: bool = False) -> socket.socket:
    client = socket.create_connection(("127.0.0.1", port), timeout=5)
    if tls:
        client = ANY_SERVER.wrap_socket(client)
    client.sendall(REQUEST)
    answer = b""
    while b"}" not in answer:
        octets = client.recv(65536)
        if not octets:
            break
        answer += octets
    return client


def first_answer(names: Sequence[str], testbed: Testbed, rounds: int) -> SpecialOutcome:
    """Milliseconds from starting the process to the first response from the upstream."""
    times: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(rounds):
        for name in names:
            began = time.monotonic()
            server = bring_up(CONTENDERS[name], testbed)
            try:
                _served(server.port).close()
                times[name].append((time.monotonic() - began) * 1000)
            finally:
                stop(server.process)
    figures = [Special(name, CONTENDERS[name].title, spread(times[name])) for name in names]
    return SpecialOutcome("start", "Start to first answer", "ms", figures, 200)


def delays(
    names: Sequence[str], testbed: Testbed, rounds: int, seconds: int, shares: Sequence[float]
) -> Iterator[SpecialOutcome]:
    """Delays at these shares of the rate that nginx reaches here. The bar is for a share of one half. `names`: rawgate,
    nginx, then others."""
    servers: dict[str, Server] = {}
    try:
        for name in names:
            servers[name] = bring_up(CONTENDERS[name], testbed)
        load = Wrk("plain")
        meters = {name: Meter(server, testbed.counted) for name, server in servers.items()}
        samples = [load.run(meters["nginx"], 1, testbed.cores.load, testbed.environ).sample for _ in range(5)]
        most = median(sample.requests / sample.seconds for sample in samples)
        for name in names:
            load.run(meters[name], 1, testbed.cores.load, testbed.environ)
        for share in shares:
            found = _held(servers, testbed, rounds, seconds, most * share)
            yield _delays_outcome(found, most * share, share)
    finally:
        for server in servers.values():
            stop(server.process)


def _held(
    servers: dict[str, Server], testbed: Testbed, rounds: int, seconds: int, rate: float
) -> dict[str, list[Delays]]:
    """Measure the contenders in turn, round after round."""
    targets, log = testbed.directory / "targets.txt", testbed.directory / "h2load.log"
    found: dict[str, list[Delays]] = {name: [] for name in servers}
    for number in range(rounds):
        for name, server in servers.items():
            _write_targets(targets)
            found[name].append(held_rate(server.port, rate, seconds, testbed.cores.load, targets, log))
            server.forget_logs()
        progress(f"delays at {rate:,.0f} requests per second", number + 1, rounds)
    return found


def _delays_outcome(found: dict[str, list[Delays]], rate: float, share: float) -> SpecialOutcome:
    figures = [
        Special(name, CONTENDERS[name].title, spread([getattr(each, field) for each in delays]), part)
        for part, field in (("p99", "p99"), ("p50", "p50"), ("p99.9", "p999"))
        for name, delays in found.items()
    ]
    title = f"Delay at {rate:,.0f} requests per second ({share:.0%} of nginx's most)"
    reached = {name: median(each.rate for each in delays) for name, delays in found.items()}
    remarks = [
        f"{CONTENDERS[name].title} did not keep up: {reached[name]:,.0f} requests per second, so its delays are too low"
        for name in found
        if reached[name] < rate * 0.97
    ]
    ours, theirs, *_ = found.values()
    ratio = spread([mine.p99 / other.p99 for mine, other in zip(ours, theirs, strict=True)])
    bar = 1.3 if share == 0.5 else None
    return SpecialOutcome(f"delays-{share:.0%}", title, "µs", figures, bar, ratio, remarks)


def _write_targets(path: Path) -> None:
    lines = [f"/api/users/{randbelow(10**6)}/orders?page={number}" for number in range(1000)]
    path.write_text("\n".join(lines) + "\n")
