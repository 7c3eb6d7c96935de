"""How many processors `workers = "auto"` finds: in files as the kernel writes them."""

import os
from pathlib import Path

import pytest

from rawgate.config import processors


@pytest.mark.parametrize(
    ("own", "files", "expected"),
    [
        pytest.param("", {}, 8, id="no cgroups"),
        pytest.param("0::/\n", {"cpu.max": "max 100000"}, 8, id="no quota"),
        pytest.param("0::/\n", {"cpu.max": "200000 100000"}, 2, id="two"),
        pytest.param("0::/\n", {"cpu.max": "150000 100000"}, 2, id="rounded up"),
        pytest.param("0::/\n", {"cpu.max": "5000 100000"}, 1, id="at least one"),
        pytest.param("0::/\n", {"cpu.max": "6400000 100000"}, 8, id="more than there are"),
        pytest.param(
            "0::/a/b\n", {"a/cpu.max": "300000 100000", "a/b/cpu.max": "max 100000"}, 3, id="around its own cgroup"
        ),
        pytest.param("0::/host/path\n", {"cpu.max": "100000 100000"}, 1, id="a path that is not there"),
        pytest.param(
            "4:memory:/x\n3:cpu,cpuacct:/x\n",
            {"cpu/x/cpu.cfs_quota_us": "400000", "cpu/x/cpu.cfs_period_us": "100000"},
            4,
            id="version 1",
        ),
        pytest.param(
            "3:cpu:/x\n", {"cpu/x/cpu.cfs_quota_us": "-1", "cpu/x/cpu.cfs_period_us": "100000"}, 8, id="version 1, none"
        ),
    ],
)
def test_the_quota(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own: str, files: dict[str, str], expected: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    (tmp_path / "own").write_text(own)
    for name, text in files.items():
        file = tmp_path / "groups" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{text}\n")
    assert processors.available(tmp_path / "groups", tmp_path / "own") == expected


def test_the_affinity(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3})
    assert processors.available(tmp_path, tmp_path / "own") == 1


def test_this_machine() -> None:
    assert 1 <= processors.available() <= len(os.sched_getaffinity(0))
