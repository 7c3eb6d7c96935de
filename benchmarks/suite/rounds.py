"""Measures the contenders of a workload in turn, round after round."""

import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from msgspec import Struct, structs

from suite.contenders import ALL as CONTENDERS
from suite.contenders import MIB, Testbed, bring_up
from suite.generators import Meter, Sample
from suite.processes import Server, stop
from suite.workloads import Unit, Workload


class Turn(Struct, frozen=True):
    """One contender in one round. `units`: the work that was done; `counted`: the upstream's count meanwhile; `user`,
    `system`: microseconds of CPU per unit."""

    sample: Sample
    units: float
    counted: int
    user: float
    system: float

    @property
    def cpu(self) -> float:
        return self.user + self.system


class Spread(Struct, frozen=True):
    """Median, least and most of a value over all rounds."""

    median: float
    least: float
    most: float


class ContenderOutcome(Struct, frozen=True):
    """One contender in one workload. `p50`, `p99`: medians over its turns; `memory`: octets after the last round."""

    contender: str
    title: str
    turns: list[Turn]
    rate: Spread
    cpu: Spread
    user: Spread
    system: Spread
    p50: float
    p99: float
    memory: int


class RatioOutcome(Struct, frozen=True):
    of: str
    to: str
    bar: float | None
    spread: Spread


class WorkloadOutcome(Struct, frozen=True):
    name: str
    title: str
    section: str
    what: str
    unit: Unit
    contenders: list[ContenderOutcome]
    ratios: list[RatioOutcome]
    remarks: list[str]


def spread(values: Sequence[float]) -> Spread:
    return Spread(median(values), min(values), max(values))


def measure(workload: Workload, names: Sequence[str], testbed: Testbed, rounds: int, seconds: float) -> WorkloadOutcome:
    """Start the contenders of `names`, warm each up, measure them round after round, stop them."""
    servers: dict[str, Server] = {}
    turns: dict[str, list[Turn]] = {name: [] for name in names}
    try:
        for name in names:
            servers[name] = bring_up(CONTENDERS[name], testbed)
        for number in range(-1, rounds):
            for name in _order(names, number):
                turn = _turn(workload, servers[name], testbed, 1.0 if number < 0 else seconds, number + 2)
                if number >= 0:
                    turns[name].append(turn)
            progress(workload.name, number + 1, rounds)
        memory = {name: server.memory() for name, server in servers.items()}
        failed = [name for name in names if _said_traceback(testbed.directory / f"{name}.err")]
    finally:
        for server in servers.values():
            stop(server.process)
    outcomes = [_outcome(name, turns[name], memory[name]) for name in names]
    remarks = remarks_on(workload, turns) + [f"{name}: a traceback on its standard error" for name in failed]
    ratios = _ratios(workload, turns)
    return WorkloadOutcome(
        workload.name, workload.title, workload.section, workload.what, workload.unit, outcomes, ratios, remarks
    )


def _said_traceback(path: Path) -> bool:
    return b"Traceback" in path.read_bytes()


def _order(names: Sequence[str], number: int) -> list[str]:
    """The names, rotated: each round begins with another one."""
    first = number % len(names)
    return [*names[first:], *names[:first]]


def _turn(workload: Workload, server: Server, testbed: Testbed, seconds: float, number: int) -> Turn:
    """number: that of the round, from 1 on."""
    given = testbed.directory / f"{workload.algorithm}.txt"
    if workload.fresh:
        given = testbed.issuer.new_tokens(workload.algorithm, number, workload.fresh * max(1, round(seconds)))
    environ = {**testbed.environ, "BENCH_TOKENS": str(given)}
    measured = workload.load.run(Meter(server, testbed.counted), seconds, testbed.cores.load, environ)
    sample = measured.sample
    if workload.behind == "sink":
        # Only the upstream knows how much arrived of bodies that were not finished.
        sample = structs.replace(sample, octets=measured.counted)
    server.forget_logs()
    units = max(1.0, sample.octets / MIB if workload.unit == "MiB" else sample.requests)
    return Turn(sample, units, measured.counted, measured.cpu.user * 1e6 / units, measured.cpu.system * 1e6 / units)


def _outcome(name: str, turns: list[Turn], memory: int) -> ContenderOutcome:
    return ContenderOutcome(
        name,
        CONTENDERS[name].title,
        turns,
        spread([turn.units / turn.sample.seconds for turn in turns]),
        spread([turn.cpu for turn in turns]),
        spread([turn.user for turn in turns]),
        spread([turn.system for turn in turns]),
        median(turn.sample.p50 for turn in turns),
        median(turn.sample.p99 for turn in turns),
        memory,
    )


def _ratios(workload: Workload, turns: dict[str, list[Turn]]) -> list[RatioOutcome]:
    found = []
    for ratio in workload.ratios:
        if ratio.of in turns and ratio.to in turns:
            pairs = zip(turns[ratio.of], turns[ratio.to], strict=True)
            values = [ours.cpu / theirs.cpu for ours, theirs in pairs if theirs.cpu]
            found.append(RatioOutcome(ratio.of, ratio.to, ratio.bar, spread(values)))
    return found


def remarks_on(workload: Workload, turns: dict[str, list[Turn]]) -> list[str]:
    """Reasons why figures of this workload are worthless or doubtful."""
    remarks = []
    for name, each in turns.items():
        requests = sum(turn.sample.requests for turn in each)
        refused = sum(turn.sample.statuses for turn in each)
        failures = sum(turn.sample.failures for turn in each)
        # Each client's first requests are admitted, up to its limit.
        if workload.refused and refused < requests * 0.9:
            remarks.append(f"{name}: {requests - refused} of {requests} requests were not refused")
        if not workload.refused and refused:
            remarks.append(f"{name}: {refused} of {requests} answers were errors")
        if failures:
            remarks.append(f"{name}: {failures} failures of connections")
        best = max(turn.units / turn.sample.seconds for turn in each)
        stalled = sum(turn.units / turn.sample.seconds < best / 10 for turn in each)
        if stalled:
            remarks.append(
                f"{name}: hardly an answer in {stalled} of {len(each)} rounds, which makes its ratio worthless"
            )
        counted = sum(turn.counted for turn in each)
        if workload.behind == "service" and not workload.refused and counted < requests * 0.99:
            remarks.append(f"{name}: of {requests} answers {requests - counted} did not come from the upstream")
    return remarks


def progress(what: str, number: int, rounds: int) -> None:
    """Show progress on standard error, in a line that is overwritten."""
    sys.stderr.write(f"\r{what}: round {number} of {rounds}" + ("\n" if number == rounds else ""))
    sys.stderr.flush()
