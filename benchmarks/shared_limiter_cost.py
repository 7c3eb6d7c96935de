"""What a hit costs in the limiter of one process, and in the one that several processes share.

    python benchmarks/shared_limiter_cost.py               interpreted
    python benchmarks/shared_limiter_cost.py --compiled    ahead of time, as in the single file

CPU time of one process, best of `ROUNDS`, with the loop around the hits. Nobody else wants the locks: what competition
costs depends on the machine, and two requests of one client at the same instant are rare.

    admitted       `CLIENTS` clients one after the other, each within its limit
    refused        the same clients, each over its limit
    new client     clients that come once, in a table that has room
    at capacity    the same in a full table, all of whose keys have live counts: each evicts the longest idle one
"""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from rawgate.policy.limiter import Limiter
from rawgate.policy.shared_limiter import SharedLimiter, locks_needed, octets_needed
from rawgate.serve.shared_memory import Mutexes, shared_memory

ROOT = Path(__file__).resolve().parents[1]
CLIENTS = 2_000
WINDOW = 3600.0
NAME = "/api/users"
ROUNDS = 25

Hit = Callable[[str, float], tuple[bool, int, int]]
Make = Callable[[int, int], Hit]
"""`(capacity, maximum)` → the hit of an empty limiter."""


def in_process(capacity: int, maximum: int) -> Hit:
    return Limiter(capacity).rule(NAME, maximum, WINDOW).hit


def shared(capacity: int, maximum: int) -> Hit:
    memory, locks = shared_memory(octets_needed(capacity), "rawgate-cost"), Mutexes(locks_needed(capacity))
    return SharedLimiter(memory, locks, capacity, os.urandom(16)).rule(NAME, maximum, WINDOW).hit


def microseconds(hit: Hit, clients: list[str], now: float) -> float:
    """Of one hit: all these clients, one after the other."""
    begin = time.process_time()
    for client in clients:
        hit(client, now)
    return (time.process_time() - begin) / len(clients) * 1e6


def known(make: Make, maximum: int, uses: int) -> float:
    clients = [f"sub:user-{number:07}" for number in range(CLIENTS)]
    hit = make(100_000, maximum)
    for _ in range(uses):
        microseconds(hit, clients, 1000.0)
    return min(microseconds(hit, clients, 1001.0) for _ in range(ROUNDS))


def coming(make: Make, capacity: int, before: int) -> float:
    hit = make(capacity, 100)
    for number in range(before):
        hit(f"sub:user-{number:07}", 1000.0)
    rounds = []
    for turn in range(ROUNDS):
        clients = [f"ip:10.{turn}.{number}" for number in range(CLIENTS // 2)]
        rounds.append(microseconds(hit, clients, 1001.0 + turn))
    return min(rounds)


CASES: dict[str, Callable[[Make], float]] = {
    "admitted": lambda make: known(make, 1000, 1),
    "refused": lambda make: known(make, 2, 3),
    "new client": lambda make: coming(make, 100_000, 0),
    "at capacity": lambda make: coming(make, 1_000, 20_000),
}


def main() -> None:
    parser = argparse.ArgumentParser(description="What a hit costs, in one process and shared.")
    parser.add_argument("--compiled", action="store_true", help="compile rawgate ahead of time")
    if parser.parse_args().compiled:
        from tools.binary.tree import compiled_tree

        environment = os.environ | {"PYTHONPATH": str(compiled_tree())}
        raise SystemExit(subprocess.run([sys.executable, "-P", __file__], env=environment, check=False).returncode)  # noqa: S603 - our own
    print("| µs a hit | one process | shared | more |\n|---|--:|--:|--:|")
    for name, case in CASES.items():
        alone, together = case(in_process), case(shared)
        print(f"| {name} | {alone:.2f} | {together:.2f} | {together - alone:.2f} |")


if __name__ == "__main__":
    main()
