"""`benchmarks/run`: see `--help`."""

import argparse
import datetime
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from msgspec import json, structs

from suite import machine, special, tokens
from suite.contenders import ALL as CONTENDERS
from suite.contenders import (
    HERE,
    Testbed,
    answered,
    available,
    bring_up_program,
    bring_up_service,
    measured_rawgate,
    taken,
)
from suite.page import page
from suite.processes import Server, stop
from suite.report import Results, bars_text, special_text, workload_text
from suite.rounds import WorkloadOutcome, measure
from suite.special import SpecialOutcome
from suite.workloads import ALL as WORKLOADS
from suite.workloads import POOL, Workload

SPECIALS = ("delays", "idle", "idle-tls", "start")
ESSENTIAL = ("wrk", "nginx", "taskset")
"""Programs without which nothing can be measured: the generator, the upstream, and pinning to cores."""


def _parser() -> argparse.ArgumentParser:
    names = ", ".join([*(workload.name for workload in WORKLOADS), *SPECIALS])
    parser = argparse.ArgumentParser(
        prog="benchmarks/run",
        description="Measure rawgate beside other servers that do the same job. Loopback only; installs nothing.",
        epilog=f"Workloads: {names}. Results go to results.json and results.html in --out.",
    )
    parser.add_argument(
        "--quick", action="store_true", help="the main workloads only: under three minutes, once the file is made"
    )
    parser.add_argument("--only", action="append", metavar="NAME", help="this workload; may be given again")
    parser.add_argument("--without", action="append", default=[], metavar="CONTENDER", help="leave out a contender")
    parser.add_argument("--rounds", type=int, help="rounds for each workload (default 9, quick 7)")
    parser.add_argument("--seconds", type=int, help="seconds for each contender and round (default 2, quick 1)")
    parser.add_argument("--out", type=Path, default=HERE / "results", help="directory for results")
    return parser


def main() -> int:
    arguments = _parser().parse_args()
    names = {workload.name for workload in WORKLOADS} | set(SPECIALS)
    unknown = sorted({*(arguments.only or ())} - names) + sorted(set(arguments.without) - CONTENDERS.keys())
    if unknown:
        sys.stderr.write(f"benchmarks/run: no such workload or contender: {', '.join(unknown)}\n")
        return 2
    absent = machine.missing()
    for name, text in absent.items():
        without = [each.name for each in CONTENDERS.values() if name in each.needs]
        without += ["delays"] if name == "h2load" else []
        left_out = f"; left out: {', '.join(without)}" if without else ""
        sys.stderr.write(f"missing: {text}{left_out}\n")
    if not absent.keys().isdisjoint(ESSENTIAL):
        return 1
    results = _run(arguments, absent)
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "results.json").write_bytes(json.format(json.encode(results), indent=1))
    (arguments.out / "results.html").write_text(page(results))
    sys.stdout.write(f"\n{bars_text(results)}\n\n{arguments.out / 'results.html'}\n")
    return 0


def _run(arguments: argparse.Namespace, absent: dict[str, str]) -> Results:
    rounds = arguments.rounds or (7 if arguments.quick else 9)
    seconds = arguments.seconds or (1 if arguments.quick else 2)
    descriptors = machine.raise_descriptors()
    workloads = [workload for workload in WORKLOADS if _wanted(workload, arguments)]
    short = [workload for workload in workloads if workload.descriptors > descriptors]
    results = Results(
        date=datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        command=" ".join(["benchmarks/run", *sys.argv[1:]]),
        revision=_revision(),
        machine=machine.describe() | {"rawgate": measured_rawgate()},
        rounds=rounds,
        seconds=seconds,
        skipped=[
            *(f"not installed: {text}" for text in absent.values()),
            *(f"{each.title}: needs {each.descriptors:,} descriptors, has {descriptors:,}" for each in short),
        ],
        workloads=[],
        specials=[],
    )
    sys.stdout.write("\n".join(f"{name}: {value}" for name, value in results.machine.items()) + "\n\n")
    for each in short:
        sys.stderr.write(f"left out: {each.name}: needs {each.descriptors:,} descriptors (ulimit -n)\n")
    directory = Path(tempfile.mkdtemp(prefix="rawgate-bench-"))
    support: list[Server] = []
    try:
        issuer = tokens.Issuer(directory)
        environ = _credentials(directory, workloads, issuer)
        testbeds = _testbeds(directory, environ, support, issuer)
        for workload in workloads:
            if workload not in short:
                found = _measured(workload, arguments, absent, testbeds[workload.behind], rounds, seconds)
                results.workloads.append(found)
                sys.stdout.write(workload_text(found) + "\n\n")
                sys.stdout.flush()
        for outcome in _specials(arguments, absent, testbeds["service"]):
            results.specials.append(outcome)
            sys.stdout.write(special_text(outcome) + "\n\n")
            sys.stdout.flush()
    finally:
        for server in support:
            stop(server.process)
        shutil.rmtree(directory, ignore_errors=True)
    return results


def _credentials(directory: Path, workloads: list[Workload], issuer: tokens.Issuer) -> dict[str, str]:
    """Make secrets, keys and tokens for this run: as files, and as the environment of the servers and of wrk."""
    for algorithm in {workload.algorithm for workload in workloads}:
        issuer.write_pool(algorithm, POOL)
    chain, key = tokens.certificate()
    (directory / "tls.pem").write_bytes(chain)
    (directory / "tls.key").write_bytes(key)
    keys = tokens.api_keys()
    (directory / "api-keys.txt").write_text("".join(f"{name}:{key}\n" for name, key in keys.items()))
    (directory / "api-keys.map").write_text("".join(f"{key} {name};\n" for name, key in keys.items()))
    return {"JWT_SECRET": issuer.secret, "BENCH_DIR": str(directory)}


def _testbeds(
    directory: Path, environ: dict[str, str], support: list[Server], issuer: tokens.Issuer
) -> dict[str, Testbed]:
    """Start the upstreams, which are added to `support`; the testbed of each."""
    cores = machine.cores()
    service = bring_up_service(directory, cores.upstream)
    support.append(service)
    sink = bring_up_program("sink", directory, cores.upstream)
    support.append(sink)
    events = bring_up_program("events", directory, cores.upstream)
    support.append(events)
    testbed = Testbed(directory, cores, environ, service.port, lambda: answered(service), issuer)
    return {
        "service": testbed,
        "sink": structs.replace(testbed, upstream=sink.port, counted=lambda: taken(sink)),
        # The listeners count for themselves.
        "events": structs.replace(testbed, upstream=events.port, counted=lambda: 0),
    }


def _wanted(workload: Workload, arguments: argparse.Namespace) -> bool:
    if arguments.only:
        return workload.name in arguments.only
    return workload.quick or not arguments.quick


def _measured(
    workload: Workload,
    arguments: argparse.Namespace,
    absent: dict[str, str],
    testbed: Testbed,
    rounds: int,
    seconds: float,
) -> WorkloadOutcome:
    left_out = {*arguments.without, *(workload.at_leisure if arguments.quick else ())}
    names = [name for name in workload.contenders if name not in left_out and available(CONTENDERS[name], absent)]
    return measure(workload, names, testbed, rounds, seconds)


def _specials(arguments: argparse.Namespace, absent: dict[str, str], testbed: Testbed) -> Iterator[SpecialOutcome]:
    """Run the special measurements that were chosen, in order."""
    both = ["rawgate", "nginx"]
    quick = arguments.quick
    wanted = set(arguments.only or SPECIALS)
    if "delays" in wanted and "h2load" not in absent:
        rounds = arguments.rounds or (3 if quick else 7)
        more = [] if quick or "haproxy" in {*absent, *arguments.without} else ["haproxy"]
        shares = (0.5,) if quick else (0.1, 0.25, 0.5)
        yield from special.delays([*both, *more], testbed, rounds, 1 if quick else 3, shares)
    if "idle" in wanted:
        yield special.idle(both, testbed, 2000)
    if "idle-tls" in wanted and not quick:
        yield special.idle(["rawgate-tls", "nginx-tls"], testbed, 2000, tls=True)
    if "start" in wanted:
        yield special.first_answer(both, testbed, 5)


def _revision() -> str:
    command = ["git", "-C", str(HERE), "describe", "--always", "--dirty"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own list
    return done.stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
