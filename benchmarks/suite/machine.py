"""The programs and cores of this machine, and their description for a report."""

import os
import platform
import re
import resource
import shutil
import subprocess
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

from msgspec import Struct

HERE = Path(__file__).resolve().parent.parent

PACKAGES = {
    "nginx": "nginx (Debian: nginx)",
    "nginx-lua": "nginx's Lua module, lua-cjson, lua-resty-core and lua-resty-lrucache "
    "(Debian: libnginx-mod-http-lua lua-cjson lua-resty-core lua-resty-lrucache)",
    "haproxy": "haproxy (Debian: haproxy)",
    "wrk": "wrk (Debian: wrk)",
    "h2load": "h2load (Debian: nghttp2-client)",
    "taskset": "taskset (Debian: util-linux)",
    "caddy": "caddy (optional; Debian: caddy)",
    "bun": "bun and jose (optional; npm install --no-package-lock --prefix benchmarks/contenders/bun)",
    "aiohttp": "aiohttp (optional; tools/test installs it into .venv)",
}

MODULES = Path("/usr/lib/nginx/modules")
"""Debian's folder for nginx's dynamic modules."""

LUA_FILES = (
    MODULES / "ngx_http_lua_module.so",
    MODULES / "ndk_http_module.so",
    Path("/usr/share/lua/5.1/resty/lrucache.lua"),
    Path("/usr/share/lua/5.1/resty/core.lua"),
)


class Cores(Struct, frozen=True):
    """Core numbers: `gateway` for what is measured, `upstream` and `load` for the rest."""

    gateway: int
    upstream: int
    load: int


BUN = HERE / "contenders" / "bun" / "node_modules"
"""npm's folder with the packages of the Bun gateway."""

DESCRIPTORS = 65536
"""The wanted number of file descriptors, within the hard limit: a proxy has two for each client."""


def missing() -> dict[str, str]:
    """Missing programs: name → what to install."""
    absent = {name: text for name, text in PACKAGES.items() if not _is_here(name)}
    if "nginx" in absent:
        absent["nginx-lua"] = PACKAGES["nginx-lua"]
    return absent


def _is_here(name: str) -> bool:
    if name == "nginx-lua":
        return all(path.exists() for path in LUA_FILES)
    if name == "aiohttp":
        return find_spec("aiohttp") is not None
    if name == "bun":
        return (BUN / "jose").exists() and shutil.which(bun()) is not None
    return shutil.which(name) is not None


def bun() -> str:
    """The path of Bun: npm's if it is installed, else the one in PATH."""
    ours = BUN / ".bin" / "bun"
    return str(ours) if ours.exists() else "bun"


def raise_descriptors() -> int:
    """Raise the soft limit of file descriptors, for this process and its children. Returns the new limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = hard if hard != resource.RLIM_INFINITY else max(soft, DESCRIPTORS)
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return wanted


def cores() -> Cores:
    """Assign cores. The measured server gets the last one, since interrupts usually go to the first ones. Raises
    SystemExit on a machine with one core."""
    available = sorted(os.sched_getaffinity(0))
    if len(available) < 2:
        raise SystemExit("benchmarks/run: needs two cores, one for the gateway and one for the load")
    return Cores(gateway=available[-1], upstream=available[0], load=available[1 if len(available) > 2 else 0])


def describe() -> dict[str, str]:
    """Machine and versions, for a report."""
    return {
        "processor": _processor(),
        "cores": str(len(os.sched_getaffinity(0))),
        "kernel": platform.release(),
        "python": platform.python_version(),
        **{name: metadata.version(name) for name in ("uvloop", "cryptography", "aiohttp") if find_spec(name)},
        **{name: version for name, version in _versions().items() if version},
    }


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _versions() -> dict[str, str]:
    commands = {
        "nginx": ["nginx", "-v"],
        "haproxy": ["haproxy", "-v"],
        "caddy": ["caddy", "version"],
        "bun": [bun(), "--version"],
        "wrk": ["wrk", "-v"],
        "h2load": ["h2load", "--version"],
    }
    return {name: version_of(_first_line(command)) for name, command in commands.items()}


def version_of(line: str) -> str:
    """The first word with a dot between digits, without the program's name before it: `nginx/1.22.1` is 1.22.1."""
    found = re.search(r"\d+\.\d+[^\s]*", line)
    return found.group() if found else line


def _first_line(command: list[str]) -> str:
    if shutil.which(command[0]) is None:
        return ""
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own list
    return (done.stdout + done.stderr).partition("\n")[0].strip()
