"""The single file that tools/build-binary makes: what is special about it. All else, `RAWGATE_BIN=… tools/test` shows.

Built once for these tests, unless RAWGATE_BIN names the program under test, or RAWGATE_BUILT a file of this tree.
"""

import marshal
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import pytest

from harness import configs
from harness.gateway import Gateway
from harness.upstream import Upstream, replying
from harness.wire_reader import Stream, read_response
from rawgate.wire import grammar

pytestmark = [pytest.mark.process, pytest.mark.timeout(1200)]  # compiling takes two to five minutes

ROOT = Path(__file__).parents[2]


# A configuration in Python sees the modules as they are.
NAMES_LOADERS = """\
import sys
from rawgate.net import client, upstream
from rawgate.policy import gate
from rawgate.relay import exchange
from rawgate.wire import request

modules = (client, upstream, gate, exchange, request)
raise SystemExit(" ".join(sorted({type(module.__loader__).__name__ for module in modules})))
"""

# `encodings` is part of the launcher, and its other modules are in the archive.
NAMES_PLACES = """\
import encodings.idna, json, json.tool, rawgate.wire
from zipimport import zipimporter

def told(module):
    spec = module.__spec__
    folder = "/".join(["/proc/self/exe", *module.__name__.split(".")[:-1]])
    found = zipimporter(folder).find_spec(module.__name__)
    places = {(one.origin, *(one.submodule_search_locations or ())) for one in (spec, found)}
    return f"{module.__name__} {type(spec.loader).__name__} {len(places)} {module.__file__ == found.origin}"

raise SystemExit("; ".join(map(told, (json, rawgate.wire, encodings.idna))))
"""

# What the rewrite imports has a compiled part, and nothing else has imported it before.
LATE_IMPORT = """\
from rawgate.config.model import Config, Gateway, Route, Upstream

def rewrite(path):
    from decimal import Decimal
    return "/" + str(Decimal("0.1") + Decimal("0.2"))

config = Config(
    gateway=Gateway(listen=["127.0.0.1:0"]),
    upstreams={{"users": Upstream(targets=["{target}"])}},
    routes=[Route(prefix="/", upstream="users", auth="none", rewrite=rewrite)],
)
"""


@pytest.fixture(scope="module")
def binary(tmp_path_factory: pytest.TempPathFactory, program: Callable[[str], str]) -> Path:
    if given := shlex.split(os.environ.get("RAWGATE_BIN") or os.environ.get("RAWGATE_BUILT", "")):
        return Path(given[0]).absolute()
    for tool in ("gcc", "strip", "ldd"):
        program(tool)
    file = tmp_path_factory.mktemp("binary") / "rawgate"
    build = [sys.executable, "-m", "tools.binary.build", str(file)]
    done = subprocess.run(build, cwd=ROOT, capture_output=True, text=True)
    if "is missing" in done.stderr and os.environ.get("RAWGATE_REQUIRE") != "1":
        pytest.skip(done.stderr.strip())
    assert done.returncode == 0, done.stderr
    return file


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    folder = tmp_path / "empty"
    folder.mkdir()
    return folder


def call(
    binary: Path, *arguments: str, cwd: Path, env: dict[str, str] | None = None
) -> "subprocess.CompletedProcess[str]":
    """Run it to its end, in a folder, with this environment and nothing else in it."""
    return subprocess.run(
        [str(binary), *arguments], cwd=cwd, env=env or {}, capture_output=True, encoding="utf-8", timeout=60
    )


def test_it_is_small(binary: Path) -> None:
    assert binary.stat().st_size < 52_000_000


def test_its_code_is_laid_out(binary: Path, program: Callable[[str], str]) -> None:
    program("llvm-bolt-19")
    listed = subprocess.run([program("readelf"), "-SW", str(binary)], capture_output=True, text=True, check=True).stdout
    assert {".text", ".text.cold"} < set(listed.split()), "what runs, and apart from it what does not"


def test_it_does_not_tell_where_it_was_built(binary: Path) -> None:
    assert str(ROOT).encode() not in binary.read_bytes()


def test_it_asks_the_target_for_the_c_library_only(binary: Path, program: Callable[[str], str]) -> None:
    listed = subprocess.run([program("ldd"), str(binary)], capture_output=True, text=True, check=True).stdout
    names = {line.split()[0] for line in listed.splitlines()}
    assert all(re.match(r"linux-vdso|/lib.*/ld-linux|lib(c|m|dl|pthread|rt|util)\.so", name) for name in names), names


def test_the_demo_passes_with_nothing_around_it(binary: Path, empty: Path) -> None:
    done = call(binary, "demo", "--once", cwd=empty)
    assert (done.returncode, done.stderr) == (0, "")
    assert list(empty.iterdir()) == []


def test_text_is_utf_8_and_python_s_own_variables_are_not_read(binary: Path, tmp_path: Path) -> None:
    (tmp_path / "ü.toml").write_text(configs.one_route("http://127.0.0.1:9"), "utf-8")
    odd = {
        "LC_ALL": "C",
        "PYTHONHOME": "/nowhere",
        "PYTHONPATH": str(tmp_path),
        "PYTHONSTARTUP": "x",
        "PYTHONUTF8": "0",
    }
    (tmp_path / "rawgate.py").write_text("raise SystemExit('not this one')")
    done = call(binary, "check", "ü.toml", cwd=tmp_path, env=odd)
    assert done.stdout.startswith("ü.toml: good")
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("arguments", "status"),
    [(("version",), 0), (("check", "absent.toml"), 1), (("run", "absent.toml"), 1), (("fly",), 2), ((), 2)],
    ids=["version", "check", "run", "unknown command", "no command"],
)
def test_its_exit_status(binary: Path, empty: Path, arguments: tuple[str, ...], status: int) -> None:
    assert call(binary, *arguments, cwd=empty).returncode == status


class Binary(Gateway):
    """The gateway as this file, with a folder for temporary files that nothing should be in."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, binary: Path, config: Path, temporary: Path) -> None:
        monkeypatch.setenv("RAWGATE_BIN", shlex.quote(str(binary)))
        super().__init__(config, {"TMPDIR": str(temporary)})
        self.ready()


@pytest.fixture
def gateway(monkeypatch: pytest.MonkeyPatch, binary: Path, tmp_path: Path, empty: Path) -> Gateway:
    config = tmp_path / "rawgate.toml"
    config.write_text(configs.one_route("http://127.0.0.1:9"))
    return Binary(monkeypatch, binary, config, empty)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_signals_reach_the_gateway(gateway: Gateway, number: signal.Signals) -> None:
    try:
        gateway.signal(number)
        gateway.wait_end(0)
        assert any("stopped" in line for line in gateway.said)
    finally:
        gateway.kill()


def test_after_a_kill_nothing_is_left(gateway: Gateway, empty: Path) -> None:
    """One process: with it gone, both its pipes end, which is what `wait_end` waits for."""
    try:
        assert list(empty.iterdir()) == []
        gateway.signal(signal.SIGKILL)
        gateway.wait_end(-signal.SIGKILL)
        assert list(empty.iterdir()) == []
    finally:
        gateway.kill()


def test_it_still_finds_its_modules_when_its_file_is_gone(
    monkeypatch: pytest.MonkeyPatch, binary: Path, tmp_path: Path, empty: Path
) -> None:
    copy = tmp_path / "rawgate"
    copy.write_bytes(binary.read_bytes())
    copy.chmod(0o755)
    config = tmp_path / "late.py"
    with Upstream(replying(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")) as upstream:
        config.write_text(LATE_IMPORT.format(target=upstream.target))
        gateway = Binary(monkeypatch, copy, config, empty)
        try:
            copy.unlink()
            with gateway.connect() as client:
                client.sendall(b"GET /any HTTP/1.1\r\nHost: a\r\n\r\n")
                answer = read_response(Stream.of(client))
            assert answer is not None
            assert answer.status == 200
            assert upstream.requests[0].target == b"/0.3"
            gateway.stop()
        finally:
            gateway.kill()


def test_the_request_path_is_machine_code(binary: Path, empty: Path, tmp_path: Path) -> None:
    config = tmp_path / "loaders.py"
    config.write_text(NAMES_LOADERS)
    done = call(binary, "check", str(config), cwd=empty)
    assert "ExtensionFileLoader" in done.stdout + done.stderr
    assert "zipimporter" not in done.stdout + done.stderr


def test_patterns_of_a_start_are_what_re_makes_of_them() -> None:
    done = subprocess.run([sys.executable, "-m", "tools.binary.patterns"], cwd=ROOT, capture_output=True, check=True)
    patterns = {pattern: (flags, compiled) for pattern, flags, compiled in marshal.loads(done.stdout)}  # noqa: S302
    compile_code = import_module("_sre").compile
    assert grammar.TOKEN.pattern in patterns
    for pattern, (flags, compiled) in patterns.items():
        assert compile_code(*compiled) == re.compile(pattern, flags)


# In `one.toml` one worker is to listen where nothing can: the start ends after all but that.
NAMES_IMPORTED = """\
import sys
from rawgate.cli.main import main
status = main(["run", "one.toml"])
print(status, *sys.modules)
"""

OF_OTHER_STARTS = {
    "several workers": ("rawgate.serve.supervisor", "rawgate.serve.worker", "rawgate.relay.shared_quota"),
    "the admin listener": ("rawgate.serve.admin", "rawgate.observe.prometheus", "prometheus_client", "pkgutil"),
    "tokens": ("rawgate.policy.verifiers", "cryptography"),
    "certificates": ("rawgate.policy.certificates",),
    "a store": ("redis",),
    "a look at the terminal": ("shutil",),
}


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    """What a start with nothing but a route imports."""
    folder = tmp_path_factory.mktemp("one")
    listen = f"unix:{folder}/absent/socket"
    text = configs.route("/", "one") + configs.upstream("one", "http://127.0.0.1:9")
    (folder / "one.toml").write_text(f'{text}\n[gateway]\nworkers = 1\nlisten = ["{listen}"]\n')
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", NAMES_IMPORTED], cwd=folder, env=environment, capture_output=True, text=True, check=True
    )
    status, *names = done.stdout.split()
    assert (status, f"cannot listen on {listen}" in done.stderr) == ("1", True), done.stderr
    return tuple(names)


@pytest.mark.parametrize("what", OF_OTHER_STARTS)
def test_what_only_other_starts_need_is_not_imported(imported: tuple[str, ...], what: str) -> None:
    assert "rawgate.serve.alone" in imported
    assert not set(OF_OTHER_STARTS[what]) & set(imported)


def test_many_starts_find_their_modules_at_once(binary: Path, empty: Path, tmp_path: Path) -> None:
    """Modules that are read past zipimport are those that zipimport would find, and it finds the others."""
    config = tmp_path / "places.py"
    config.write_text(NAMES_PLACES)
    done = call(binary, "check", str(config), cwd=empty)
    said = "json StartLoader 1 True; rawgate.wire StartLoader 1 True; encodings.idna zipimporter 1 True"
    assert said in done.stdout + done.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_modules_in_memory_hold_no_descriptors(
    binary: Path, empty: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "open.toml"
    config.write_text(configs.one_route("http://127.0.0.1:9"))
    gateway = Binary(monkeypatch, binary, config, empty)
    try:
        held = [str(entry.readlink()) for entry in Path(f"/proc/{gateway.pid}/fd").iterdir()]
        assert [path for path in held if "memfd" in path] == []
        gateway.stop()
    finally:
        gateway.kill()
