"""`rawgate demo` through the console script: the tour, the open house, and how both end."""

import os
import pty
import re
import signal
import socket
import subprocess
import tomllib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from threading import Timer

import pytest

from harness.gateway import PATIENCE, command
from rawgate.demo.credentials import Credentials
from rawgate.demo.steps import tour

pytestmark = pytest.mark.process

STEPS = [step.title for chapter in tour(Credentials()) for step in chapter.steps]


def demo(folder: Path, *arguments: str, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*command(), "demo", *arguments],
        cwd=folder,
        env=env or {},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


# ── the tour ──


@pytest.fixture(scope="module")
def toured(tmp_path_factory: pytest.TempPathFactory) -> subprocess.CompletedProcess[str]:
    """A tour in an empty directory with an empty environment, as a stranger's first command may be."""
    folder = tmp_path_factory.mktemp("empty")
    ended = demo(folder, "--once")
    assert list(folder.iterdir()) == []
    return ended


def test_the_tour_succeeds(toured: subprocess.CompletedProcess[str]) -> None:
    assert (toured.returncode, toured.stderr) == (0, "")
    assert f"All {len(STEPS)} answers are what they should be" in toured.stdout


@pytest.mark.parametrize("title", STEPS)
def test_each_step_is_shown_as_passed(toured: subprocess.CompletedProcess[str], title: str) -> None:
    assert f" ✓ {title} " in toured.stdout


@pytest.mark.parametrize(
    "said",
    [
        "auth_missing · route users",
        "auth_bad_signature",
        "auth_expired",
        "users: GET /v2/users/7 · X-User-Id: alice",
        "no X-Api-Key",
        "no X_User_Id",
        "201 201 201 429 · rate_limited · Retry-After: ",
        "Access-Control-Allow-Origin: https://shop.example",
        "262,144 octets",
        "upstream_timeout",
        "upstream_connect_failed",
        "GET /public/%2e%2e/admin",
    ],
)
def test_the_tour_tells(toured: subprocess.CompletedProcess[str], said: str) -> None:
    assert said in toured.stdout


def test_the_tour_fits_a_terminal(toured: subprocess.CompletedProcess[str]) -> None:
    assert max(map(len, toured.stdout.splitlines())) <= 100


def test_no_secret_is_shown(toured: subprocess.CompletedProcess[str]) -> None:
    assert "eyJ" not in toured.stdout
    assert not re.search("acme-[0-9a-f]", toured.stdout)


# ── colour ──


def on_a_terminal(folder: Path, env: Mapping[str, str]) -> bytes:
    """What the tour writes to a terminal."""
    ours, theirs = pty.openpty()
    with subprocess.Popen([*command(), "demo", "--once"], cwd=folder, env=env, stdout=theirs) as process:
        os.close(theirs)
        written = b""
        try:
            while piece := os.read(ours, 65536):
                written += piece
        except OSError:
            pass  # Linux says EIO when the other end is closed
        assert process.wait(PATIENCE) == 0
    os.close(ours)
    return written


def test_a_terminal_gets_colour(tmp_path: Path) -> None:
    assert b"\x1b[" in on_a_terminal(tmp_path, {"TERM": "xterm"})


@pytest.mark.parametrize("env", [{"TERM": "xterm", "NO_COLOR": "1"}, {"TERM": "dumb"}, {}], ids=str)
def test_a_terminal_without_colour(tmp_path: Path, env: Mapping[str, str]) -> None:
    assert b"\x1b" not in on_a_terminal(tmp_path, env)


def test_a_pipe_gets_no_colour(tmp_path: Path, toured: subprocess.CompletedProcess[str]) -> None:
    assert "\x1b" not in toured.stdout
    assert "\x1b" not in demo(tmp_path, "--once", env={"TERM": "xterm"}).stdout


# ── the open house ──


class House:
    """A demo that stays open. `said`: what it has written to stdout, as far as it was read."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.said: list[str] = []

    def read_to(self, text: str) -> None:
        """Read up to the first line that has `text` in it."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.said.append(line.rstrip("\n"))
            if text in line:
                return
        raise AssertionError(f"no {text!r} in {self.said}")

    def line(self, text: str) -> str:
        return next(line for line in self.said if text in line)

    def commands(self) -> list[tuple[str, str]]:
        """(expected status, command) of each command that it offers."""
        pairs = zip(self.said, self.said[1:], strict=False)
        return [(first.split()[0], second.strip()) for first, second in pairs if second.startswith("       curl ")]


@contextmanager
def open_house(folder: Path) -> Iterator[House]:
    """A demo on any free port, that has shown what to try."""
    with subprocess.Popen(
        [*command(), "demo", "--port", "0"],
        cwd=folder,
        env={},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    ) as process:
        guard = Timer(3 * PATIENCE, process.kill)
        guard.start()
        try:
            house = House(process)
            house.read_to("took")
            yield house
        finally:
            guard.cancel()
            process.kill()


def test_the_commands_get_what_is_said(tmp_path: Path, program: Callable[[str], str]) -> None:
    curl = program("curl")
    with open_house(tmp_path) as house:
        token = house.line("export TOKEN=").strip()
        commands = house.commands()
        assert len(commands) >= 9
        for status, line in commands:
            script = f"{token}\n{line} -s"
            env = {"PATH": str(Path(curl).parent), "NO_PROXY": "*"}
            answer = subprocess.run(
                ["/bin/sh", "-c", script], env=env, capture_output=True, timeout=PATIENCE, check=True
            )
            assert re.findall(rb"^HTTP/1\.1 ([0-9]+)", answer.stdout, re.MULTILINE)[-1].decode() == status, line
            house.read_to(f" {status} ")


def test_each_decision_is_shown(tmp_path: Path) -> None:
    with open_house(tmp_path) as house:
        _, _, url = house.said[0].partition("http://")
        host, port = url.split(",")[0].split(":")
        with socket.create_connection((host, int(port)), PATIENCE) as client:
            client.sendall(b"GET /api/users/7?secret=1 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            while client.recv(65536):
                pass
        house.read_to("auth_missing")
    assert house.said[-1].split()[:6] == ["GET", "/api/users/7", "401", "auth_missing", "127.0.0.1", "users"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_a_signal_ends_it_well(tmp_path: Path, number: signal.Signals) -> None:
    with open_house(tmp_path) as house:
        house.process.send_signal(number)
        _, errors = house.process.communicate(timeout=PATIENCE)
        assert (house.process.returncode, errors.splitlines()[-1]) == (0, "rawgate: stopped")
        assert "Traceback" not in errors
    assert list(tmp_path.iterdir()) == []


# ── what can go wrong ──


@pytest.mark.parametrize("more", [(), ("--once",)], ids=["open", "tour"])
def test_a_port_that_is_taken(tmp_path: Path, more: tuple[str, ...]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = demo(tmp_path, *more, "--port", str(port))
    assert (ended.returncode, ended.stdout) == (1, "")
    (line,) = ended.stderr.splitlines()
    assert line.startswith(f"rawgate: cannot listen on 127.0.0.1:{port}: ")
    assert "--port" in line


@pytest.mark.parametrize("port", ["65536", "-1", "http", "8_0", ""])
def test_what_is_not_a_port(tmp_path: Path, port: str) -> None:
    ended = demo(tmp_path, f"--port={port}")
    assert ended.returncode == 2
    assert "is not a port (expected 0 to 65535)" in ended.stderr


# ── its configuration ──


def test_its_configuration_can_be_served(tmp_path: Path) -> None:
    """What `demo --config` prints is a configuration to start from, with tests of its own that pass."""
    printed = demo(tmp_path, "--config")
    assert printed.returncode == 0
    assert tomllib.loads(printed.stdout)["tests"]
    path = tmp_path / "rawgate.toml"
    path.write_text(printed.stdout)
    checked = subprocess.run(
        [*command(), "check", str(path)],
        env=Credentials().variables,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert checked.returncode == 0, checked.stderr
