"""The command behind `tools/soak`: chooses the parts, runs them, prints the tables."""

import argparse
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from tools.soaking import breaks
from tools.soaking.crowd import Crowd
from tools.soaking.gateway import Gateway, running
from tools.soaking.hoard import Hoard
from tools.soaking.probe import Probe, Times
from tools.soaking.unrest import EVERY, WORKERS, FileLog, PipeLog, disturbed

MIB = 1024 * 1024
RETURN_TIME = 15.0
"""Seconds in which the allocator should have returned free memory to the system."""
ROUNDS = 10
"""How often memory and descriptors are printed during a flood."""

Batch = Callable[[int], int]
FLOODS: dict[str, tuple[str, Batch, int]] = {
    "aborted": ("connections aborted by the client", breaks.aborted, 100_000),
    "uploads": ("uploads cut by the client", breaks.uploads, 10_000),
    "resets": ("answers reset by the upstream", breaks.upstream_resets, 10_000),
}

PARTS = ("slow", "hoard", "unrest", *FLOODS)


def slow(size: int, seconds: float) -> None:
    """Print how long requests of a quick client take before, during and after a crowd of slow clients."""
    with running() as gateway:
        print(f"\n{size:,} slow clients: a third each trickle a head, trickle a body, hardly read")
        print("        requests  failed   p50 ms   p99 ms   max ms  cpu %   MiB    fds")
        probed(gateway, "warm-up", min(seconds, 5.0))
        before = probed(gateway, "before", seconds)
        crowd = Crowd(gateway.port, size)
        ends = time.monotonic() + 10
        crowd.act(lambda: time.monotonic() > ends)
        during = probed(gateway, "during", seconds, crowd)
        opened = sum(client.opened for client in crowd.clients)
        crowd.close()
        gateway.settle(gateway.descriptors() // 10)
        after = probed(gateway, "after", seconds)
        quiet = (before.p99 + after.p99) / 2
        print(f"p99 during ÷ mean of p99 before and after: {during.p99 / quiet:.2f}")
        print(f"the crowd opened {opened:,} connections")
        print_complaints(gateway)


def probed(gateway: Gateway, label: str, seconds: float, crowd: Crowd | None = None) -> Times:
    """Measure for so many seconds and print a row. `crowd`: takes its turns meanwhile."""
    cpu, began = gateway.cpu(), time.monotonic()
    probe = Probe(gateway.port, seconds)
    if crowd is not None:
        crowd.act(lambda: probe.over)
    times = probe.times()
    busy = (gateway.cpu() - cpu) / (time.monotonic() - began) * 100
    print(
        f"{label:8}{times.requests:10,}{times.failed:8,}{times.p50:9.2f}{times.p99:9.2f}{times.longest:9.2f}"
        f"{busy:7.0f}{gateway.memory() / MIB:6.0f}{gateway.descriptors():7,}",
        flush=True,
    )
    return times


def hoard(size: int) -> None:
    """Print the gateway's memory while clients make it hold what they do not read, and after they have closed."""
    with running() as gateway:
        calm = gateway.descriptors()
        before = gateway.memory()
        crowd = Hoard(gateway.port, size)
        connected = gateway.memory()
        began, cpu = time.monotonic(), gateway.cpu()
        crowd.press()
        held = gateway.memory()
        print(f"\n{size:,} connections that ask without end and never read")
        print("   MiB before  connected  pressed   KiB each   seconds   cpu s")
        print(
            f"{before / MIB:13.0f}{connected / MIB:11.0f}{held / MIB:9.0f}{(held - connected) / size / 1024:11.0f}"
            f"{time.monotonic() - began:10.1f}{gateway.cpu() - cpu:8.1f}",
            flush=True,
        )
        crowd.close()
        gateway.settle(calm + 64)
        at_once = gateway.memory()
        time.sleep(RETURN_TIME)
        print(f"MiB when all have closed: {at_once / MIB:.0f}, {RETURN_TIME:.0f} s later: {gateway.memory() / MIB:.0f}")
        print_complaints(gateway)


def flood(title: str, batch: Batch, total: int, seconds: float) -> None:
    """Print the gateway's memory and descriptors during a flood, and the delay of requests after it."""
    with running() as gateway:
        calm = gateway.descriptors()
        print(f"\n{total:,} {title}")
        print(f"{'done':>10}{'seconds':>9}{'MiB':>8}{'fds':>6}   fds after settling; at the start {calm}")
        began, done = time.monotonic(), 0
        # Idle upstream connections stay in the pool.
        most = calm + 64
        for number in range(1, ROUNDS + 1):
            while done < total * number // ROUNDS and time.monotonic() < began + seconds:
                done += batch(gateway.port)
            gateway.settle(most)
            spent = time.monotonic() - began
            print(f"{done:10,}{spent:9.1f}{gateway.memory() / MIB:8.1f}{gateway.descriptors():6,}", flush=True)
            if spent > seconds:
                print(f"the time is over: {done:,} of {total:,}")
                break
        print(f"p99 afterwards: {Probe(gateway.port, 2).times().p99:.2f} ms")
        print_complaints(gateway)


def unrest(seconds: float) -> None:
    """Print what clients lose while a gateway is disturbed, and whether its memory, descriptors and delays stay what
    they were: of two gateways, one of which writes its log to a pipe, and the other to a file."""
    with ThreadPoolExecutor() as pool:
        runs = [pool.submit(disturb, kind, seconds) for kind in (PipeLog, FileLog)]
        print(f"\n{WORKERS} workers each; each {EVERY:g} s something is done to them")
        print("        seconds requests   lost refused  wrong   p50 ms   p99 ms   max ms   MiB   fds  log lines")
        for run in runs:
            print(run.result())


def disturb(kind: type[PipeLog | FileLog], seconds: float) -> str:
    """The same for one of them. Returns what is to be told at the end."""
    with disturbed(kind) as (gateway, troubles, log, clients):
        began = time.monotonic()
        for number in range(1, ROUNDS + 1):
            while time.monotonic() < began + seconds * number / ROUNDS:
                time.sleep(EVERY)
                troubles.disturb()
            times = clients.take() or [0.0]
            print(
                f"{kind.__name__:8}{time.monotonic() - began:7.0f}{len(times):9,}{clients.lost.total():7}"
                f"{clients.refused.total():8}{clients.wrong.total():7}{times[len(times) // 2]:9.2f}"
                f"{times[len(times) * 99 // 100]:9.2f}{times[-1]:9.0f}{gateway.memory() / MIB:6.0f}"
                f"{gateway.descriptors():6}{log.lines:11,}",
                flush=True,
            )
        ended = troubles.end()
        clients.stop()
        told = [f"{kind.__name__}: {ended}"]
        for what, counts in (("done", troubles.done), ("lost", clients.lost), ("wrong", clients.wrong)):
            told.append(f"  {what}: {', '.join(f'{name} {count}' for name, count in counts.items())}")
        return "\n".join(told)


def print_complaints(gateway: Gateway) -> None:
    """Print the gateway's complaints on stderr. There should be none."""
    for line in gateway.complaints()[:20]:
        print(f"stderr: {line}")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="tools/soak", description="Strain a gateway over loopback; measure delays, memory and descriptors."
    )
    parser.add_argument("parts", nargs="*", help=f"{', '.join(PARTS)}; all, if none is named")
    parser.add_argument("--clients", type=int, default=5000, help="slow clients (5000)")
    parser.add_argument("--probe", type=float, default=20.0, help="seconds of each measurement beside them (20)")
    parser.add_argument("--scale", type=float, default=1.0, help="factor for the size of the floods (1)")
    parser.add_argument("--seconds", type=float, default=300.0, help="most that one flood may take (300)")
    parser.add_argument("--unrest", type=float, default=600.0, help="seconds of unrest (600)")
    options = parser.parse_args(arguments)
    unknown = set(options.parts) - set(PARTS)
    if unknown:
        parser.error(f"there is no part {', '.join(sorted(unknown))}")
    parts = options.parts or PARTS
    if "slow" in parts:
        slow(options.clients, options.probe)
    if "hoard" in parts:
        for size in (1000, 10_000):
            hoard(int(size * options.scale))
    if "unrest" in parts:
        unrest(options.unrest)
    for name, (title, batch, total) in FLOODS.items():
        if name in parts:
            flood(title, batch, int(total * options.scale), options.seconds)


if __name__ == "__main__":
    main()
