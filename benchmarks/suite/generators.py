"""Load generators: wrk for as much as goes, h2load for a rate that is held, programs of our own for what neither does.

What the server spent is read from its processes before and after. Two things would spoil that: thousands of connections
are opened first (wrk does this in the time that it measures), and of a body that is under way when the time is over
nobody knows how much came through. So there is a second witness, the upstream, which counts what reaches it: requests
for wrk with a `lead`, octets for uploads.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

from msgspec import Struct, json, structs

from suite.processes import CpuTime, Server

HERE = Path(__file__).resolve().parent.parent
SCRIPTS = HERE / "wrk"
CLIENTS = HERE / "clients"
MARK = "BENCH "
"""What the line begins with in which a generator says what it saw."""


class Sample(Struct, frozen=True):
    """What a load saw. `octets`: of answers, or what the upstream took of uploads; `statuses`: answers of 400 and
    above; `failures`: of sockets; `p50`, `p99`: microseconds, 0 where nobody knows."""

    requests: int
    seconds: float
    octets: int
    statuses: int = 0
    failures: int = 0
    p50: float = 0.0
    p99: float = 0.0


class Meter(Struct, frozen=True):
    """What is read at the edges of a measurement: CPU time of `server`, and `counted`, what its upstream has counted
    since it started."""

    server: Server
    counted: Callable[[], int]

    def read(self) -> "Reading":
        return Reading(time.monotonic(), self.server.cpu(), self.counted())


class Reading(Struct, frozen=True):
    """A moment (seconds of the monotonic clock) and what the meter said."""

    moment: float
    cpu: CpuTime
    counted: int


class Measured(Struct, frozen=True):
    """A sample, what the server spent meanwhile, and by how much the upstream's count grew."""

    sample: Sample
    cpu: CpuTime
    counted: int


class Load(Protocol):
    """What a workload puts on a server."""

    @property
    def connections(self) -> int:
        """Clients that call at the same time."""

    def run(self, meter: Meter, seconds: float, core: int, environ: Mapping[str, str]) -> Measured:
        """Load the meter's server from that core. Raises SystemExit when the generator fails."""


class Wrk(Struct, frozen=True):
    """A load of wrk: a script of wrk/, and how many connections. `lead`: seconds in which they are all opened, which
    are not measured."""

    script: str
    connections: int = 64
    environ: dict[str, str] = {}
    lead: float = 0.0

    def run(self, meter: Meter, seconds: float, core: int, environ: Mapping[str, str]) -> Measured:
        lasts = max(1, round(seconds + (self.lead and self.lead + 1)))
        # One thread: the generator has one core, and each thread would have its own Lua and pool of tokens.
        command = ["taskset", "-c", str(core), "wrk", "-t1", f"-c{self.connections}", f"-d{lasts}s"]
        # Its own patience, 2 s, is too short for ten thousand who call at once.
        command += ["--latency", "--timeout", "10s", "-s", str(SCRIPTS / f"{self.script}.lua")]
        command += [f"http://127.0.0.1:{meter.server.port}"]
        everything = {**os.environ, **environ, **self.environ, "BENCH_WRK": str(SCRIPTS)}
        began = meter.read()
        with _started(command, everything) as process:
            if self.lead:
                time.sleep(self.lead)
                began = meter.read()
                time.sleep(seconds)
                ended = meter.read()
            output, said = process.communicate()
        if not self.lead:
            ended = meter.read()
        sample = sample_of(output, said)
        measured = _measured(sample, began, ended)
        if not self.lead:
            return measured
        inside = structs.replace(sample, requests=measured.counted, seconds=ended.moment - began.moment)
        return structs.replace(measured, sample=inside)


class Program(Struct, frozen=True):
    """A generator of ours: a script of clients/, called with the port, seconds, and how many connections.

    It says READY when all are open, then MARK and a sample, and ends when its standard input does: what is between
    those two lines is measured, not opening and closing.
    """

    script: str
    connections: int
    arguments: tuple[str, ...] = ()

    def run(self, meter: Meter, seconds: float, core: int, environ: Mapping[str, str]) -> Measured:
        command = ["taskset", "-c", str(core), sys.executable, str(CLIENTS / f"{self.script}.py")]
        command += [str(meter.server.port), f"{seconds:g}", str(self.connections), *self.arguments]
        with _started(command, {**os.environ, **environ}) as process:
            assert process.stdout is not None  # noqa: S101 - it was asked for
            ready = process.stdout.readline()
            began = meter.read()
            output = process.stdout.readline()
            ended = meter.read()
            _, said = process.communicate()
        return _measured(sample_of(output, ready + said), began, ended)


def _started(command: list[str], environ: dict[str, str]) -> subprocess.Popen[str]:
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True, env=environ)  # noqa: S603


def sample_of(output: str, said: str) -> Sample:
    """What the generator saw, from its standard output. Raises SystemExit, with `said`, when it does not tell."""
    for line in output.splitlines():
        if line.startswith(MARK):
            return json.decode(line.removeprefix(MARK), type=Sample)
    raise SystemExit(f"benchmarks/run: a load generator failed:\n{output}{said}")


def _measured(sample: Sample, began: Reading, ended: Reading) -> Measured:
    return Measured(sample, ended.cpu.since(began.cpu), ended.counted - began.counted)


class Delays(Struct, frozen=True):
    """Microseconds at a held rate, and the rate that was reached (requests per second)."""

    p50: float
    p99: float
    p999: float
    rate: float


CONNECTIONS = 32
"""Of h2load. Each sends at its own beat, but not before its last request was answered: with few, slow answers hold back
those that should have come meanwhile (the rate that was reached tells). All beat at about the same moment: with many,
each burst is a queue of its own, and the delay that of its length."""


def held_rate(port: int, rate: float, seconds: int, core: int, targets: Path, log: Path) -> Delays:
    """h2load over HTTP/1.1 at `rate` requests per second. Raises SystemExit when it fails."""
    log.unlink(missing_ok=True)
    command = ["taskset", "-c", str(core), "h2load", "--h1", f"-c{CONNECTIONS}", "-t1", f"-D{seconds}"]
    command += ["--warm-up-time=1", f"--rps={rate / CONNECTIONS:.3f}", f"--log-file={log}", "-i", str(targets)]
    command += ["-B", f"http://127.0.0.1:{port}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own list
    if done.returncode or not log.exists():
        raise SystemExit(f"benchmarks/run: h2load failed:\n{done.stdout}{done.stderr}")
    took = durations(log.read_text())
    log.unlink()
    if not took:
        raise SystemExit(f"benchmarks/run: h2load measured nothing:\n{done.stdout}{done.stderr}")
    return Delays(percentile(took, 0.5), percentile(took, 0.99), percentile(took, 0.999), len(took) / seconds)


def durations(log: str) -> list[int]:
    """Of h2load's log, in order of length. Each line: when it began (µs), status, how long it took (µs)."""
    return sorted(int(line.split("\t")[2]) for line in log.splitlines() if line.count("\t") == 2)


def percentile(ordered: list[int], share: float) -> float:
    return float(ordered[min(len(ordered) - 1, int(len(ordered) * share))])
