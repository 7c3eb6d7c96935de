"""The contenders: each is a configuration file in contenders/, filled in, and a command.

In a file `@name@` stands for a value of this run: @port@ and @upstream@ are ports, @dir@ is the directory of the run,
@here@ the file's own; others are a contender's settings.
"""

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from msgspec import Struct

from suite import machine
from suite.processes import Server, free_port, start

HERE = Path(__file__).resolve().parent.parent
FILES = HERE / "contenders"


class Contender(Struct, frozen=True):
    """A way to serve. `needs`: keys of `machine.PACKAGES`. `file`: in contenders/. `settings`: for its placeholders."""

    name: str
    title: str
    needs: tuple[str, ...]
    file: str
    settings: dict[str, str]
    command: Callable[[str, Path, int, int], list[str]]


class Stage(Struct, frozen=True):
    """What a run shares: its directory, its cores, the environment of its servers, and the upstream's port."""

    directory: Path
    cores: machine.Cores
    environ: dict[str, str]
    upstream: int


def filled(text: str, values: dict[str, str]) -> str:
    for name, value in values.items():
        text = text.replace(f"@{name}@", value)
    return text


def nginx_command(config: Path, directory: Path) -> list[str]:
    # As root, workers would change to a user who may not read the directory of the run.
    user = "user root;" if os.geteuid() == 0 else ""
    return ["nginx", "-p", str(directory), "-c", str(config), "-e", f"{config}.err", "-g", f"daemon off;{user}"]


def _nginx(name: str, config: Path, port: int, upstream: int) -> list[str]:
    return nginx_command(config, config.parent)


def _haproxy(name: str, config: Path, port: int, upstream: int) -> list[str]:
    return ["haproxy", "-db", "-f", str(config)]


def _rawgate(name: str, config: Path, port: int, upstream: int) -> list[str]:
    return [str(Path(sys.executable).parent / "rawgate"), "run", str(config)]


def _byte_relay(name: str, config: Path, port: int, upstream: int) -> list[str]:
    return [sys.executable, str(FILES / "byte-relay" / "relay.py"), str(port), str(upstream)]


def _plain_nginx(name: str, title: str, log: str) -> Contender:
    return Contender(name, title, ("nginx",), "nginx/plain.conf", {"log": log}, _nginx)


def _lua(name: str, title: str, memory: bool, rate: str = "100000r/s", burst: str = "100000") -> Contender:
    settings = {"memory": "true" if memory else "false", "rate": rate, "burst": burst}
    return Contender(name, title, ("nginx", "nginx-lua"), "nginx-lua/full.conf", settings, _nginx)


def _gateway(
    name: str, title: str, file: str, parser: str = "fast", most: str = "1000000", window: str = "60s"
) -> Contender:
    settings = {"parser": parser, "max": most, "window": window}
    return Contender(name, title, (), f"rawgate/{file}.toml", settings, _rawgate)


JSON_LOG = "access_log @dir@/@name@-access.log json buffer=64k flush=1s;"

ALL = {
    contender.name: contender
    for contender in (
        _gateway("rawgate", "rawgate", "plain"),
        _gateway("rawgate-h11", "rawgate, h11 lane", "plain", "h11"),
        _plain_nginx("nginx", "nginx, JSON log", JSON_LOG),
        _plain_nginx("nginx-nolog", "nginx, no log", "access_log off;"),
        Contender("haproxy", "haproxy, no log", ("haproxy",), "haproxy/plain.cfg", {}, _haproxy),
        Contender("byte-relay", "uvloop byte relay (no HTTP)", (), "byte-relay/relay.py", {}, _byte_relay),
        _gateway("rawgate-full", "rawgate", "full"),
        _gateway("rawgate-full-h11", "rawgate, h11 lane", "full", "h11"),
        _lua("nginx-lua", "nginx + Lua", memory=False),
        _lua("nginx-lua-memory", "nginx + Lua, tokens remembered", memory=True),
        _gateway("rawgate-limited", "rawgate", "full", most="1", window="1h"),
        _lua("nginx-lua-limited", "nginx + Lua, tokens remembered", memory=True, rate="1r/m", burst="1"),
    )
}


def bring_up(contender: Contender, stage: Stage) -> Server:
    """Fill in its file and start it on the core that is measured."""
    port = free_port()
    source = FILES / contender.file
    config = stage.directory / f"{contender.name}{source.suffix}"
    values = {
        "port": str(port),
        "upstream": str(stage.upstream),
        "here": str(source.parent),
        "modules": str(machine.MODULES),
        "dir": str(stage.directory),
        "name": contender.name,
    }
    config.write_text(filled(source.read_text(), contender.settings | values))
    command = contender.command(contender.name, config, port, stage.upstream)
    log = stage.directory / f"{contender.name}-access.log"
    return start(contender.name, command, port, stage.cores.gateway, stage.directory, stage.environ, [log])


def bring_up_upstream(directory: Path, core: int) -> Server:
    """The service behind the contenders."""
    port = free_port()
    source = HERE / "upstream" / "nginx.conf"
    config = directory / "upstream.conf"
    config.write_text(filled(source.read_text(), {"port": str(port), "dir": str(directory)}))
    files = directory / "files"
    files.mkdir()
    (files / "1MiB.bin").write_bytes(os.urandom(1024 * 1024))
    return start("upstream", nginx_command(config, directory), port, core, directory, {})


def bring_up_sink(directory: Path, core: int) -> Server:
    """The service that takes uploads."""
    port = free_port()
    command = [sys.executable, str(HERE / "upstream" / "sink.py"), str(port)]
    return start("sink", command, port, core, directory, {})


def available(contender: Contender, absent: dict[str, str]) -> bool:
    return absent.keys().isdisjoint(contender.needs) and (contender.command is not _rawgate or _has_rawgate())


def _has_rawgate() -> bool:
    return shutil.which("rawgate", path=str(Path(sys.executable).parent)) is not None
