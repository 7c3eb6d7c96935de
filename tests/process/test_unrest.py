"""Many connections at once, of a program that is made for it, while workers are killed, configurations come, and the
gateway stops. What must hold for each single request, `harness.load.Load` shows elsewhere."""

import os
import signal
import subprocess
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from harness import configs
from harness.gateway import PATIENCE, Gateway, command, running
from harness.load import Wrk, echo
from harness.stalls import again_after_stalls
from harness.upstream import Upstream, replying

pytestmark = pytest.mark.process

CONNECTIONS = 32
KILLS = 2
RELOADS = 2


def wait_more(gateway: Gateway, count: int = 100) -> None:
    """Wait until so many more requests were answered."""
    gateway.wait_lines(len(gateway.lines(reason="ok")) + count, reason="ok")


@again_after_stalls(1.0)
def test_kills_reloads_and_a_stop_under_many_connections(tmp_path: Path, program: Callable[[str], str]) -> None:
    wrk = program("wrk")

    def text(number: int) -> str:
        whole = configs.one_route(upstream.target, gateway_has=["workers = 3", 'timeouts = { pre_stop = "2s" }'])
        return whole + f'response_headers = {{ set = {{ X-N = "{number}" }} }}\n'

    def reload(written: str) -> int:
        (tmp_path / "rawgate.toml").write_text(written)
        words = [*command(), "reload", "rawgate.toml"]
        return subprocess.run(words, cwd=tmp_path, capture_output=True, timeout=PATIENCE, check=False).returncode

    with ExitStack() as stack:
        upstream = stack.enter_context(Upstream(replying(echo)))
        gateway = stack.enter_context(running(tmp_path, text(0)))
        with Wrk(wrk, gateway.address, "/kills", CONNECTIONS) as killing:
            wait_more(gateway)
            for _ in range(KILLS):
                worker = min(gateway.workers())
                os.kill(worker, signal.SIGKILL)
                gateway.wait_said(f"(pid {worker}) was killed by SIGKILL")
                wait_more(gateway)
        # Of a connection that was lost wrk can read nothing, or write nothing.
        assert killing.errors.keys() <= {"read", "write"}
        assert sum(killing.errors.values()) <= KILLS * CONNECTIONS
        with Wrk(wrk, gateway.address, "/reloads", CONNECTIONS) as reloading:
            wait_more(gateway)
            for number in range(RELOADS):
                is_broken = number == RELOADS // 2
                assert reload("nonsense" if is_broken else text(number)) == is_broken
                wait_more(gateway)
        assert reloading.errors == {}
        with Wrk(wrk, gateway.address, "/stop", CONNECTIONS) as stopping:
            wait_more(gateway)
            gateway.signal(signal.SIGTERM)
            gateway.wait_end(0)
        assert stopping.errors.keys() <= {"write"}, (
            "so wrk counts a connection that is refused, as none is before the end"
        )
        lines = gateway.lines(path="/stop")
        assert ({line["reason"] for line in lines}, len(lines)) == ({"ok"}, stopping.answered)
