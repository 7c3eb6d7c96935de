"""What pip makes of the package where it cannot compile, or is told not to. `.ci/run` makes the compiled wheel from a
source distribution, installs it, and lets the demo check it; here that would take a minute."""

import os
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import pytest

pytestmark = pytest.mark.process

ROOT = Path(__file__).parents[2]


def build(target: Path, **environ: str) -> "subprocess.CompletedProcess[str]":
    """Make a wheel, as pip lets hatchling do it."""
    kept = {name: value for name, value in os.environ.items() if name not in ("CC", "RAWGATE_CORE")}
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(target)]
    return subprocess.run(command, cwd=ROOT, env=kept | environ, capture_output=True, text=True)


@pytest.mark.parametrize(
    ("environ", "why"),
    [
        ({"CC": "no-such-compiler -O2"}, "there is no C compiler (no-such-compiler)"),
        ({"CC": "false"}, "compiling ahead of time failed"),
        ({"RAWGATE_CORE": "interpreted"}, "RAWGATE_CORE=interpreted"),
    ],
    ids=["no compiler", "a compiler that fails", "not wanted"],
)
def test_what_is_not_compiled_is_a_wheel_for_any_machine(tmp_path: Path, environ: dict[str, str], why: str) -> None:
    done = build(tmp_path, **environ)
    assert done.returncode == 0, done.stderr
    assert f"interpreted, and several times slower: {why}" in done.stdout + done.stderr
    (wheel,) = tmp_path.iterdir()
    assert wheel.name.endswith("-py3-none-any.whl")
    names = ZipFile(wheel).namelist()
    assert "rawgate/wire/fast_lane.py" in names
    assert not any(name.endswith(".so") for name in names)


@pytest.mark.parametrize(
    ("environ", "why"),
    [
        ({"RAWGATE_CORE": "compiled", "CC": "no-such-compiler"}, "RAWGATE_CORE=compiled, but there is no C compiler"),
        ({"RAWGATE_CORE": "fast"}, "RAWGATE_CORE is 'fast' (expected 'compiled' or 'interpreted')"),
    ],
    ids=["must be compiled", "misspelt"],
)
def test_a_wish_that_cannot_be_met_is_an_error(tmp_path: Path, environ: dict[str, str], why: str) -> None:
    done = build(tmp_path, **environ)
    assert done.returncode != 0
    assert why in done.stderr
    assert list(tmp_path.iterdir()) == []
