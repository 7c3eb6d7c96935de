"""Load generators: wrk for the highest rate, h2load for a fixed rate, programs of our own for what neither can do.

The server's CPU time is read from its processes before and after. Two things would distort the result: wrk opens
thousands of connections within the time that it measures, and a generator does not know how much of an unfinished body
arrived. So the upstream counts too: requests for wrk with a `lead`, octets for uploads.
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
"""The beginning of the line in which a generator reports what it saw."""


class Sample(Struct, frozen=True):
    """What a generator saw. `octets`: of responses, or of uploads that the upstream received; `statuses`: responses
    with a status of 400 or above; `failures`: socket errors; `p50`, `p99`: microseconds, 0 where unknown."""

    requests: int
    seconds: float
    octets: int
    statuses: int = 0
    failures: int = 0
    p50: float = 0.0
    p99: float = 0.0


class Meter(Struct, frozen=True):
    """What is read before and after a measurement: CPU time of `server`, and `counted`, the count of its upstream since
    the start."""

    server: Server
    counted: Callable[[], int]

    def read(self) -> "Reading":
        return Reading(time.monotonic(), self.server.cpu(), self.counted())


class Reading(Struct, frozen=True):
    """A moment (seconds of the monotonic clock) and the values of a Meter at it."""

    moment: float
    cpu: CpuTime
    counted: int


class Measured(Struct, frozen=True):
    """A sample, the CPU time that the server spent meanwhile, and the increase of the upstream's count."""

    sample: Sample
    cpu: CpuTime
    counted: int


class Load(Protocol):
    """The load of a workload."""

    @property
    def connections(self) -> int:
        """The number of concurrent connections."""

    def run(self, meter: Meter, seconds: float, core: int, environ: Mapping[str, str]) -> Measured:
        """Put load on the meter's server, from this core. Raises SystemExit when the generator fails."""


class Wrk(Struct, frozen=True):
    """A load by wrk. `script`: in wrk/; `lead`: seconds for opening all connections, which are not measured; `scheme`:
    "https" for TLS, of which wrk resumes no session."""

    script: str
    connections: int = 64
    environ: dict[str, str] = {}
    lead: float = 0.0
    scheme: str = "http"

    def run(self, meter: Meter, seconds: float, core: int, environ: Mapping[str, str]) -> Measured:
        lasts = max(1, round(seconds + (self.lead and self.lead + 1)))
        # One thread, since the generator has one core, and each thread would have its own Lua state and tokens.
        command = ["taskset", "-c", str(core), "wrk", "-t1", f"-c{self.connections}", f"-d{lasts}s"]
        # wrk's own timeout of 2 s is too short for ten thousand connections at once.
        command += ["--latency", "--timeout", "10s", "-s", str(SCRIPTS / f"{self.script}.lua")]
        command += [f"{self.scheme}://127.0.0.1:{meter.server.port}"]
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
    """A generator of ours: a script in clients/, called with port, seconds, and number of connections.

    It writes READY when all connections are open, then MARK and a sample, and ends when its standard input ends. Only
    the time between those two lines is measured, without opening and closing.
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
    """The sample in a generator's standard output. Raises SystemExit with `said`, its stderr, when there is none."""
    for line in output.splitlines():
        if line.startswith(MARK):
            return json.decode(line.removeprefix(MARK), type=Sample)
    raise SystemExit(f"benchmarks/run: a load generator failed:\n{output}{said}")


def _measured(sample: Sample, began: Reading, ended: Reading) -> Measured:
    return Measured(sample, ended.cpu.since(began.cpu), ended.counted - began.counted)


class Delays(Struct, frozen=True):
    """Delays in microseconds at a fixed rate, and the rate that was reached (requests per second)."""

    p50: float
    p99: float
    p999: float
    rate: float


CONNECTIONS = 32
"""Connections of h2load. Each sends at its own pace, but not before the response to its last request. With too few
connections slow responses delay the requests after them, and the rate that was reached is lower. All connections send
at about the same moment. With too many each burst is a queue, whose length is what would be measured."""


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
    """The durations in h2load's log, sorted. Each line has start (µs), status and duration (µs)."""
    return sorted(int(line.split("\t")[2]) for line in log.splitlines() if line.count("\t") == 2)


def percentile(ordered: list[int], share: float) -> float:
    return float(ordered[min(len(ordered) - 1, int(len(ordered) * share))])
