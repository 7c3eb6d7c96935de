"""The command behind `tools/stores`."""

import argparse
import sys
from collections.abc import Sequence

from tools.storing import failover, growth, leases, packages, proof


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="tools/stores", description="Limits over hosts: proved and measured.")
    kinds = parser.add_subparsers(dest="kind", required=True)
    proving = kinds.add_parser("proof", help="gateways and a store that is broken again and again: do limits hold?")
    proving.add_argument("--hits", type=int, default=1_000_000, help="(1000000)")
    proving.add_argument("--clients", type=int, default=10, help="(10)")
    proving.add_argument("--max", type=int, default=100, help="for each client, in a second (100)")
    proving.add_argument("--hosts", type=int, default=3, help="gateways (3)")
    proving.add_argument("--workers", type=int, default=2, help="of each (2)")
    proving.add_argument("--break-every", type=float, default=3.0, metavar="S", help="seconds; 1e9: never (3)")
    proving.add_argument("--timeout", default="50ms", help="store.timeout (50ms)")
    lending = kinds.add_parser("leases", help="what leases lose and save")
    lending.add_argument("--windows", type=int, default=40, help="(40)")
    kinds.add_parser("growth", help="what a hundred gateways and ten million clients ask of how many stores")
    kinds.add_parser("failover", help="a server is lost, and another takes its place: what do clients see?")
    kinds.add_parser("packages", help="what a question costs with each package that speaks to a store")
    chosen = parser.parse_args(arguments)
    if chosen.kind == "failover":
        return 0 if failover.tell() else 1
    if chosen.kind == "leases":
        leases.tell(chosen.windows)
        return 0
    if chosen.kind == "packages":
        packages.tell()
        return 0
    if chosen.kind == "growth":
        growth.tell()
        return 0
    held = proof.prove(
        chosen.hits, chosen.clients, chosen.max, chosen.hosts, chosen.workers, chosen.break_every, chosen.timeout
    )
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
