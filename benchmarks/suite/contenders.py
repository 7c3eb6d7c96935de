"""The contenders: each is a command and a configuration file in contenders/.

In the files `@name@` is a placeholder: @port@ and @upstream@ for ports, @dir@ for the directory of the run, @here@ for
the file's own directory; others for a contender's settings.
"""

import os
import sys
from collections.abc import Callable
from http.client import HTTPConnection
from pathlib import Path

from msgspec import Struct

from suite import machine
from suite.processes import Server, free_port, start
from suite.tokens import Issuer

HERE = Path(__file__).resolve().parent.parent
FILES = HERE / "contenders"


Command = Callable[[str, Path, int, int], list[str]]
"""`(name, its file with values filled in, port, upstream's port)` → command line."""


class Contender(Struct, frozen=True):
    """A server to measure. `needs`: keys of `machine.PACKAGES`; `file`: in contenders/; `settings`: for its
    placeholders."""

    name: str
    title: str
    needs: tuple[str, ...]
    file: str
    settings: dict[str, str]
    command: Command


class Testbed(Struct, frozen=True):
    """What all contenders of a run share: directory, cores, environment, the upstream with its port and its count, and
    who signs tokens while it runs."""

    directory: Path
    cores: machine.Cores
    environ: dict[str, str]
    upstream: int
    counted: Callable[[], int]
    issuer: Issuer


def filled(text: str, values: dict[str, str]) -> str:
    for name, value in values.items():
        text = text.replace(f"@{name}@", value)
    return text


def nginx_command(config: Path, directory: Path) -> list[str]:
    # Started by root, workers would change to a user who cannot read the directory of the run.
    user = "user root;" if os.geteuid() == 0 else ""
    return ["nginx", "-p", str(directory), "-c", str(config), "-e", f"{config}.err", "-g", f"daemon off;{user}"]


def _nginx(name: str, config: Path, port: int, upstream: int) -> list[str]:
    return nginx_command(config, config.parent)


def _haproxy(name: str, config: Path, port: int, upstream: int) -> list[str]:
    return ["haproxy", "-db", "-f", str(config)]


PACKAGE = Path(sys.executable).parent / "rawgate"
SINGLE_FILE = HERE.parent / "dist" / "rawgate"
"""The single file, which `benchmarks/run` builds where it can: the same code, compiled ahead of time."""


def measured_rawgate() -> str:
    """Which rawgate is measured, for the report: the single file or the interpreted package."""
    return "dist/rawgate, compiled ahead of time" if SINGLE_FILE.exists() else "the package, interpreted"


def _rawgate(name: str, config: Path, port: int, upstream: int) -> list[str]:
    return [str(SINGLE_FILE if SINGLE_FILE.exists() else PACKAGE), "run", str(config)]


def _interpreted(name: str, config: Path, port: int, upstream: int) -> list[str]:
    return [str(PACKAGE), "run", str(config)]


def _byte_relay(name: str, config: Path, port: int, upstream: int) -> list[str]:
    return [sys.executable, str(FILES / "byte-relay" / "relay.py"), str(port), str(upstream)]


def _caddy(name: str, config: Path, port: int, upstream: int) -> list[str]:
    return ["caddy", "run", "--config", str(config), "--adapter", "caddyfile"]


def _bun(name: str, config: Path, port: int, upstream: int) -> list[str]:
    # From its own directory, where its packages are. It appends to its log.
    log = config.with_name(f"{name}-access.log")
    return [machine.bun(), str(FILES / "bun" / "gateway.js"), str(port), str(upstream), str(log)]


def _aiohttp(name: str, config: Path, port: int, upstream: int) -> list[str]:
    return [sys.executable, str(FILES / "aiohttp-proxy" / "proxy.py"), str(port), str(upstream)]


def _nginx_file(name: str, title: str, file: str, **settings: str) -> Contender:
    return Contender(name, title, ("nginx",), f"nginx/{file}.conf", settings, _nginx)


HS256 = 'require("hs256")(os.getenv("JWT_SECRET"))'
RS256 = 'require("rs256")("@dir@/rs256.pem")'
PLENTY = {"rate": "100000r/s", "burst": "100000"}
"""A limit that is counted and never reached."""


def _lua(name: str, title: str, key: str = HS256, *, memory: bool, limit: dict[str, str] = PLENTY) -> Contender:
    settings = {"key": key, "memory": "true" if memory else "false", **limit}
    return Contender(name, title, ("nginx", "nginx-lua"), "nginx-lua/full.conf", settings, _nginx)


def _gateway(
    name: str,
    title: str,
    file: str,
    parser: str = "fast",
    most: str = "1000000",
    window: str = "60s",
    command: Command = _rawgate,
) -> Contender:
    settings = {"parser": parser, "max": most, "window": window}
    return Contender(name, title, (), f"rawgate/{file}.toml", settings, command)


JSON_LOG = "access_log @dir@/@name@-access.log json buffer=64k flush=1s;"

ALL = {
    contender.name: contender
    for contender in (
        _gateway("rawgate", "rawgate", "plain"),
        _gateway("rawgate-h11", "rawgate, h11 lane", "plain", "h11"),
        _gateway("rawgate-package", "rawgate, interpreted", "plain", command=_interpreted),
        _nginx_file("nginx", "nginx, JSON log", "plain", log=JSON_LOG),
        _nginx_file("nginx-nolog", "nginx, no log", "plain", log="access_log off;"),
        _gateway("rawgate-tls", "rawgate", "tls"),
        _nginx_file("nginx-tls", "nginx, JSON log", "tls", log=JSON_LOG),
        Contender("haproxy", "haproxy, no log", ("haproxy",), "haproxy/plain.cfg", {}, _haproxy),
        Contender("caddy", "Caddy, no log", ("caddy",), "caddy/Caddyfile", {}, _caddy),
        Contender("aiohttp", "aiohttp proxy, no log", ("aiohttp",), "aiohttp-proxy/proxy.py", {}, _aiohttp),
        Contender("byte-relay", "uvloop byte relay (no HTTP)", (), "byte-relay/relay.py", {}, _byte_relay),
        _gateway("rawgate-full", "rawgate", "full"),
        _gateway("rawgate-full-h11", "rawgate, h11 lane", "full", "h11"),
        _gateway("rawgate-full-package", "rawgate, interpreted", "full", command=_interpreted),
        _lua("nginx-lua", "nginx + Lua", memory=False),
        _lua("nginx-lua-memory", "nginx + Lua, tokens remembered", memory=True),
        Contender("bun", "Bun + jose, tokens remembered", ("bun",), "bun/gateway.js", {}, _bun),
        _gateway("rawgate-rs256", "rawgate", "rs256"),
        _lua("nginx-lua-rs256", "nginx + Lua", RS256, memory=False),
        _lua("nginx-lua-rs256-memory", "nginx + Lua, tokens remembered", RS256, memory=True),
        _gateway("rawgate-keys", "rawgate", "keys"),
        _nginx_file("nginx-keys", "nginx, map", "keys", **PLENTY),
        _gateway("rawgate-limited", "rawgate", "full", most="1", window="1h"),
        _lua(
            "nginx-lua-limited",
            "nginx + Lua, tokens remembered",
            memory=True,
            limit={"rate": "1r/m", "burst": "1"},
        ),
    )
}


def bring_up(contender: Contender, testbed: Testbed) -> Server:
    """Fill in its file and start it on the measured core. A contender that is a program of ours has no placeholders and
    runs from where it is."""
    port = free_port()
    source = FILES / contender.file
    config = testbed.directory / f"{contender.name}{source.suffix}"
    values = {
        "port": str(port),
        "upstream": str(testbed.upstream),
        "here": str(source.parent),
        "modules": str(machine.MODULES),
        "dir": str(testbed.directory),
        "name": contender.name,
    }
    config.write_text(filled(source.read_text(), contender.settings | values))
    command = contender.command(contender.name, config, port, testbed.upstream)
    log = testbed.directory / f"{contender.name}-access.log"
    return start(contender.name, command, port, testbed.cores.gateway, testbed.directory, testbed.environ, [log])


KIB, MIB = 1024, 1024 * 1024
SIZES = {"1KiB": KIB, "64KiB": 64 * KIB, "1MiB": MIB, "100MiB": 100 * MIB}
"""Sizes of the files that the upstream serves."""


def bring_up_service(directory: Path, core: int) -> Server:
    """The service behind most contenders."""
    port = free_port()
    source = HERE / "upstream" / "nginx.conf"
    config = directory / "upstream.conf"
    config.write_text(filled(source.read_text(), {"port": str(port), "dir": str(directory)}))
    files = directory / "files"
    files.mkdir()
    for name, size in SIZES.items():
        # Sparse files of zeros: they take no space on the disk, and nothing here reads bodies.
        with (files / f"{name}.bin").open("wb") as out:
            out.truncate(size)
    return start("upstream", nginx_command(config, directory), port, core, directory, {})


def bring_up_program(name: str, directory: Path, core: int) -> Server:
    """Start one of our own services, a program in upstream/."""
    port = free_port()
    return start(name, [sys.executable, str(HERE / "upstream" / f"{name}.py"), str(port)], port, core, directory, {})


def answered(service: Server) -> int:
    """The number of requests to which the service has responded."""
    # Active connections: 1 | server accepts handled requests | 3 3 3 | …: the tenth word is the number of requests.
    return int(_body(service, "/counted").split()[9])


def taken(sink: Server) -> int:
    """The number of octets of bodies that the sink has received."""
    return int(_body(sink, "/taken"))


def _body(server: Server, path: str) -> bytes:
    connection = HTTPConnection("127.0.0.1", server.port, timeout=5)
    try:
        connection.request("GET", path)
        return connection.getresponse().read()
    finally:
        connection.close()


def available(contender: Contender, absent: dict[str, str]) -> bool:
    """Whether its programs are installed. The interpreted rawgate is a contender only beside the single file."""
    return absent.keys().isdisjoint(contender.needs) and (contender.command is not _interpreted or SINGLE_FILE.exists())
