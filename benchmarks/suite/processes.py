"""Servers as processes: started on a core, measured through /proc, stopped by their process id."""

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from msgspec import Struct

TICK = os.sysconf("SC_CLK_TCK")
PATIENCE = 10.0
"""Seconds to wait for a server to start, and to stop."""


class CpuTime(Struct, frozen=True):
    """Seconds of CPU time of all processes of a server."""

    user: float
    system: float

    def since(self, earlier: "CpuTime") -> "CpuTime":
        return CpuTime(self.user - earlier.user, self.system - earlier.system)


class Server(Struct):
    """A running server. `logs`: files into which it writes a line for each request."""

    name: str
    port: int
    process: subprocess.Popen[bytes]
    logs: list[Path]

    def family(self) -> list[int]:
        """Process ids: its own and its children's (nginx works in a child)."""
        return list(_family(self.process.pid))

    def cpu(self) -> CpuTime:
        times = [_cpu(pid) for pid in self.family()]
        return CpuTime(sum(each.user for each in times), sum(each.system for each in times))

    def memory(self) -> int:
        """Memory of all its processes in octets (proportional set size)."""
        return sum(_pss(pid) for pid in self.family())

    def forget_logs(self) -> None:
        """Truncate its log files. It appends to them, so it goes on at the beginning."""
        for path in self.logs:
            with contextlib.suppress(FileNotFoundError):
                os.truncate(path, 0)


def _family(pid: int) -> Iterator[int]:
    yield pid
    with contextlib.suppress(FileNotFoundError):
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            yield from _family(int(child))


def _cpu(pid: int) -> CpuTime:
    # What follows the command's name, which may contain anything: state is field 3, utime and stime are 14 and 15.
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return CpuTime(int(fields[11]) / TICK, int(fields[12]) / TICK)


def _pss(pid: int) -> int:
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    return 0


def free_port() -> int:
    """A loopback port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def start(
    name: str,
    command: Sequence[str],
    port: int,
    core: int,
    directory: Path,
    environ: Mapping[str, str],
    logs: Sequence[Path] = (),
) -> Server:
    """Start a server and wait until it accepts connections. Its output goes to NAME.out and NAME.err in `directory`.

    Raises SystemExit with that output when it does not start.
    """
    out, err = directory / f"{name}.out", directory / f"{name}.err"
    with out.open("ab") as stdout, err.open("ab") as stderr:
        process = subprocess.Popen(  # noqa: S603 - our own list
            ["taskset", "-c", str(core), *command],  # noqa: S607 - from the path, as a person would
            stdout=stdout,
            stderr=stderr,
            stdin=subprocess.DEVNULL,
            env={**os.environ, **environ},
            cwd=directory,
        )
    ends = time.monotonic() + PATIENCE
    while not accepts(port):
        if process.poll() is not None or time.monotonic() > ends:
            stop(process)
            raise SystemExit(f"benchmarks/run: {name} did not start:\n{err.read_text()}")
        time.sleep(0.005)
    return Server(name, port, process, [out, *logs])


def accepts(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
    except OSError:
        return False


def stop(process: subprocess.Popen[bytes]) -> None:
    """Send SIGTERM; if that does not end it in time, SIGKILL to all its processes."""
    if process.poll() is None:
        family = list(_family(process.pid))
        process.terminate()
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            for pid in family:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            process.wait()
