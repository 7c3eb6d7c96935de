"""`benchmarks/run`: see `--help`."""

import argparse
import datetime
import secrets
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from msgspec import json, structs

from suite import machine, special
from suite.contenders import ALL as CONTENDERS
from suite.contenders import HERE, Stage, available, bring_up_sink, bring_up_upstream
from suite.page import page
from suite.processes import Server, stop
from suite.report import Results, bars_text, special_text, workload_text
from suite.rounds import WorkloadOutcome, measure
from suite.special import SpecialOutcome
from suite.tokens import write_tokens
from suite.workloads import ALL as WORKLOADS
from suite.workloads import FRESH, Workload

SPECIALS = ("delays", "idle", "start")
ESSENTIAL = ("wrk", "nginx", "taskset")
"""Without these nothing can be measured: the generator, the upstream, and pinning."""


def _parser() -> argparse.ArgumentParser:
    names = ", ".join([*(workload.name for workload in WORKLOADS), *SPECIALS])
    parser = argparse.ArgumentParser(
        prog="benchmarks/run",
        description="Measure rawgate beside other servers that do the same job. Loopback only; installs nothing.",
        epilog=f"Workloads: {names}. Results go to results.json and results.html in --out.",
    )
    parser.add_argument("--quick", action="store_true", help="the main workloads only, in under three minutes")
    parser.add_argument("--only", action="append", metavar="NAME", help="this workload; may be given again")
    parser.add_argument("--without", action="append", default=[], metavar="CONTENDER", help="leave out a contender")
    parser.add_argument("--rounds", type=int, help="rounds for each workload (default 9, quick 7)")
    parser.add_argument("--seconds", type=int, help="seconds for each contender and round (default 3, quick 1)")
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
        sys.stderr.write(f"missing: {name}: install {text}\n")
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
    seconds = arguments.seconds or (1 if arguments.quick else 3)
    cores = machine.cores()
    results = Results(
        date=datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        command=" ".join(["benchmarks/run", *sys.argv[1:]]),
        revision=_revision(),
        machine=machine.describe(),
        rounds=rounds,
        seconds=seconds,
        skipped=[f"{name} ({text})" for name, text in absent.items()],
        workloads=[],
        specials=[],
    )
    sys.stdout.write("\n".join(f"{name}: {value}" for name, value in results.machine.items()) + "\n\n")
    directory = Path(tempfile.mkdtemp(prefix="rawgate-bench-"))
    support: list[Server] = []
    try:
        secret = secrets.token_hex(32)
        write_tokens(directory / "tokens.txt", secret.encode(), FRESH)
        environ = {"JWT_SECRET": secret, "BENCH_TOKENS": str(directory / "tokens.txt")}
        support.append(bring_up_upstream(directory, cores.upstream))
        support.append(bring_up_sink(directory, cores.upstream))
        stage = Stage(directory, cores, environ, support[0].port)
        sink = structs.replace(stage, upstream=support[1].port)
        for workload in WORKLOADS:
            if _wanted(workload, arguments):
                found = _measured(workload, arguments, absent, sink if workload.upload else stage, rounds, seconds)
                results.workloads.append(found)
                sys.stdout.write(workload_text(found) + "\n\n")
                sys.stdout.flush()
        for outcome in _specials(arguments, absent, stage):
            results.specials.append(outcome)
            sys.stdout.write(special_text(outcome) + "\n\n")
    finally:
        for server in support:
            stop(server.process)
        shutil.rmtree(directory, ignore_errors=True)
    return results


def _wanted(workload: Workload, arguments: argparse.Namespace) -> bool:
    if arguments.only:
        return workload.name in arguments.only
    return workload.quick or not arguments.quick


def _measured(
    workload: Workload,
    arguments: argparse.Namespace,
    absent: dict[str, str],
    stage: Stage,
    rounds: int,
    seconds: float,
) -> WorkloadOutcome:
    left_out = {*arguments.without, *(workload.at_leisure if arguments.quick else ())}
    names = [name for name in workload.contenders if name not in left_out and available(CONTENDERS[name], absent)]
    return measure(workload, names, stage, rounds, seconds)


def _specials(arguments: argparse.Namespace, absent: dict[str, str], stage: Stage) -> list[SpecialOutcome]:
    """Those that were asked for, in order."""
    both = ["rawgate", "nginx"]
    quick = arguments.quick
    wanted = set(arguments.only or SPECIALS)
    found = []
    if "delays" in wanted and "h2load" not in absent:
        found.append(special.delays(both, stage, 3 if quick else 7, 1 if quick else 5))
    if "idle" in wanted:
        found.append(special.idle(both, stage, 2000))
    if "start" in wanted:
        found.append(special.first_answer(both, stage, 5))
    return found


def _revision() -> str:
    command = ["git", "-C", str(HERE), "describe", "--always", "--dirty"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own list
    return done.stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
