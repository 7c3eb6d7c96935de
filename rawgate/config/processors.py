"""How many processors this process may use, for `workers = "auto"`."""

import os
from math import ceil
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")


def available(cgroups: Path = CGROUPS, own: Path = Path("/proc/self/cgroup")) -> int:
    """At least 1: those that the process may run on (sched_setaffinity(2)), and no more than the quota of CPU time of
    its cgroup and of those around it, rounded up. A container's limit is such a quota (`docker run --cpus`,
    Kubernetes' `limits.cpu`); nginx's `auto` looks at the affinity alone, and starts 64 workers in half a processor."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quotas = [_quota(folder) for folder in _folders(cgroups, own)]
    return max(1, min([allowed, *(ceil(quota) for quota in quotas if quota)]))


def _folders(cgroups: Path, own: Path) -> list[Path]:
    """Those of the process's cgroup and of all around it; of version 1 those of the `cpu` controller."""
    folders = []
    for line in _text(own).splitlines():
        number, controllers, path = line.split(":", 2)
        if number == "0" and not controllers:
            top = cgroups
        elif "cpu" in controllers.split(","):
            top = cgroups / "cpu"
        else:
            continue
        inner = top / path.lstrip("/")
        # In a container the path may be the host's, and not be there; what is there is its own cgroup then.
        folders += [inner, *(parent for parent in inner.parents if top in (parent, *parent.parents))]
    return folders


def _quota(folder: Path) -> float:
    """Processors' worth of time; 0: no limit is set here."""
    time, period = (_text(folder / "cpu.max").split() or ["max", "0"])[:2]
    if time == "max":
        time, period = _text(folder / "cpu.cfs_quota_us") or "-1", _text(folder / "cpu.cfs_period_us") or "0"
    return max(0.0, int(time) / int(period)) if int(period) else 0.0


def _text(file: Path) -> str:
    try:
        return file.read_text().strip()
    except OSError:
        return ""
