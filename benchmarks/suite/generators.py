"""Load generators: wrk for as much as goes, h2load for a rate that is held."""

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

from msgspec import Struct, json

SCRIPTS = Path(__file__).resolve().parent.parent / "wrk"


class Sample(Struct, frozen=True):
    """What a load saw. `statuses`: answers of 400 and above; `failures`: of sockets; `p50`, `p99`: microseconds."""

    requests: int
    seconds: float
    octets: int
    statuses: int
    failures: int
    p50: float
    p99: float


class Wrk(Struct, frozen=True):
    """A load of wrk: a script of wrk/, and how many connections."""

    script: str
    connections: int = 64
    environ: dict[str, str] = {}

    def run(self, port: int, seconds: float, core: int, environ: Mapping[str, str]) -> Sample:
        """Raises SystemExit when wrk fails."""
        command = ["taskset", "-c", str(core), "wrk", "-t1", f"-c{self.connections}", f"-d{max(1, round(seconds))}s"]
        command += ["--latency", "-s", str(SCRIPTS / f"{self.script}.lua"), f"http://127.0.0.1:{port}"]
        everything = {**os.environ, **environ, **self.environ, "BENCH_WRK": str(SCRIPTS)}
        done = subprocess.run(command, capture_output=True, text=True, env=everything, check=False)  # noqa: S603
        for line in done.stdout.splitlines():
            if line.startswith("BENCH "):
                return json.decode(line.removeprefix("BENCH "), type=Sample)
        raise SystemExit(f"benchmarks/run: wrk failed:\n{done.stdout}{done.stderr}")


class Delays(Struct, frozen=True):
    """Microseconds at a held rate, and the rate that was reached (requests per second)."""

    p50: float
    p99: float
    p999: float
    rate: float


def held_rate(port: int, rate: float, seconds: int, core: int, targets: Path, log: Path) -> Delays:
    """h2load over HTTP/1.1 at `rate` requests per second, over 32 connections. Raises SystemExit when it fails."""
    connections = 32
    log.unlink(missing_ok=True)
    command = ["taskset", "-c", str(core), "h2load", "--h1", f"-c{connections}", "-t1", f"-D{seconds}"]
    command += ["--warm-up-time=1", f"--rps={rate / connections:.3f}", f"--log-file={log}", "-i", str(targets)]
    command += ["-B", f"http://127.0.0.1:{port}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own list
    if done.returncode or not log.exists():
        raise SystemExit(f"benchmarks/run: h2load failed:\n{done.stdout}{done.stderr}")
    # Each line: when it began (µs), status, how long it took (µs).
    took = sorted(int(line.split("\t")[2]) for line in log.read_text().splitlines() if line.count("\t") == 2)
    log.unlink()
    if not took:
        raise SystemExit(f"benchmarks/run: h2load measured nothing:\n{done.stdout}{done.stderr}")

    def percentile(share: float) -> float:
        return float(took[min(len(took) - 1, int(len(took) * share))])

    return Delays(percentile(0.5), percentile(0.99), percentile(0.999), len(took) / seconds)
