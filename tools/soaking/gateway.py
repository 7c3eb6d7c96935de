"""The gateway and its upstream as processes; the gateway's CPU time, memory and descriptors."""

import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

PATIENCE = 30.0
"""Seconds to wait for a start, and after a flood for connections to be closed."""

CONFIG = """
[gateway]
listen = ["127.0.0.1:0"]
limits = {{ body = "16MiB", connections = 12000 }}

[upstreams.quick]
targets = ["http://127.0.0.1:{port}"]

# Each slow upload and download holds an upstream connection. They have a pool of their own, so that quick requests are
# not measured while they wait in its queue.
[upstreams.patient]
targets = ["http://127.0.0.1:{port}"]
max_connections = 8192
response_timeout = "60s"

[[routes]]
prefix = "/patient"
upstream = "patient"
auth = "none"

[[routes]]
prefix = "/"
upstream = "quick"
auth = "none"
"""


class Gateway:
    """A running gateway. `port`: where it listens; `said`: the file that holds its stderr."""

    def __init__(self, process: "subprocess.Popen[bytes]", port: int, said: Path) -> None:
        self.process = process
        self.pid = process.pid
        self.port = port
        self.said = said

    def workers(self) -> list[int]:
        """The processes that it has started; none where one serves alone."""
        return [int(pid) for pid in Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()]

    def memory(self) -> int:
        """Resident octets of all its processes; of those that several have, each counts its part (Pss)."""
        total = 0
        for pid in (self.pid, *self.workers()):
            with suppress(FileNotFoundError, ProcessLookupError):  # it has just been killed
                total += int(Path(f"/proc/{pid}/smaps_rollup").read_text().partition("\nPss:")[2].split()[0]) * 1024
        return total

    def descriptors(self) -> int:
        """Of all its processes."""
        total = 0
        for pid in (self.pid, *self.workers()):
            with suppress(FileNotFoundError, ProcessLookupError):
                total += sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())
        return total

    def cpu(self) -> float:
        """Seconds of CPU time since its start."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(") ")[2].split()
        return (int(fields[11]) + int(fields[12])) / 100

    def settle(self, most: int) -> None:
        """Wait until it holds at most so many descriptors, for up to PATIENCE."""
        ends = time.monotonic() + PATIENCE
        while self.descriptors() > most and time.monotonic() < ends:
            time.sleep(0.1)

    def complaints(self) -> list[str]:
        """The lines on its stderr, without those that report its start."""
        lines = self.said.read_text().splitlines()
        return [line for line in lines if not re.match(r"rawgate: (listening on|ready|warning)", line)]


@contextmanager
def running() -> Iterator[Gateway]:
    """A gateway and its upstream. The access log is discarded."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        config = folder / "rawgate.toml"
        config.write_text(CONFIG.format(port=start_service(stack)))
        yield start_gateway(stack, config, folder / "stderr", subprocess.DEVNULL)


def start_service(stack: ExitStack) -> int:
    """Start the upstream. Returns its port."""
    service = _start(stack, [sys.executable, "-m", "tools.soaking.service"], stdout=subprocess.PIPE)
    return int(service.stdout.readline() if service.stdout else 0)


def start_gateway(
    stack: ExitStack, config: Path, said: Path, log: int, environment: Mapping[str, str] | None = None
) -> Gateway:
    """Start the gateway. log: where its access log goes. environment: more of it."""
    command, more = [sys.executable, "-m", "rawgate", "run", str(config)], environment or {}
    with said.open("wb") as stderr:
        process = _start(stack, command, stdout=log, stderr=stderr, env={**os.environ, **more})
    return Gateway(process, _port(said, process), said)


def _start(stack: ExitStack, command: list[str], **streams: object) -> "subprocess.Popen[bytes]":
    process: subprocess.Popen[bytes] = subprocess.Popen(command, **streams)  # type: ignore[call-overload]  # noqa: S603
    stack.callback(process.wait)
    stack.callback(process.kill)
    return process


def _port(said: Path, process: "subprocess.Popen[bytes]") -> int:
    ends = time.monotonic() + PATIENCE
    while time.monotonic() < ends and process.poll() is None:
        found = re.search(r"http://127\.0\.0\.1:(\d+)[^$]*ready", said.read_text())
        if found is not None:
            return int(found[1])
        time.sleep(0.05)
    raise SystemExit(f"the gateway did not start: {said.read_text()}")
