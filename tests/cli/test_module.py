"""`python -m rawgate`, where the console script is not on the path."""

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.process


def module(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "rawgate", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60)


def test_it_is_the_same_program(tmp_path: Path) -> None:
    script = Path(sys.executable).with_name("rawgate")
    for arguments in (("--help",), ("version",), ("run", "absent.toml")):
        installed = subprocess.run([script, *arguments], cwd=tmp_path, capture_output=True, text=True, timeout=60)
        found = module(tmp_path, *arguments)
        assert (found.returncode, found.stdout, found.stderr) == (
            installed.returncode,
            installed.stdout,
            installed.stderr,
        )


@pytest.mark.parametrize(
    ("arguments", "status"),
    [(("version",), 0), (("check", "absent.toml"), 1), (("fly",), 2)],
    ids=["done", "failed", "wrong command line"],
)
def test_its_exit_status(tmp_path: Path, arguments: tuple[str, ...], status: int) -> None:
    assert module(tmp_path, *arguments).returncode == status
