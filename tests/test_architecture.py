"""The layout of the package as rules: which room imports which, who alone may touch what, and what no module is called.

`violations` looks at one module's source; the tests below run it over the package, and over made-up sources that break
each rule, so that a rule that has stopped working is noticed.
"""

import ast
import importlib
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tools.binary.aot import COMPILED

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "rawgate"

# room → the rooms that it may import, besides itself. A room is a module or a package directly in `rawgate`.
SERVING = {"errors", "message", "wire", "config", "policy", "relay", "observe", "net"}
ROOMS = {
    "errors": set[str](),
    "message": {"errors"},
    "wire": {"errors", "message"},
    "config": {"errors", "message"},
    "policy": {"errors", "message", "config"},
    "relay": {"errors", "message", "wire"},
    "observe": {"errors", "message"},
    "net": {"errors", "message", "wire", "relay", "observe"},
    "serve": SERVING,
    "offline": SERVING | {"serve"},
    "demo": SERVING | {"serve", "offline"},
    "cli": SERVING | {"serve", "offline", "demo"},
    "__main__": {"cli"},
    "": set[str](),  # rawgate/__init__.py: the version and the map of the package
}

# what in `policy` may import its siblings → those of the others here that it may import. `verifiers` to `over_hosts`
# each make one step of its parts, so that `gate` is the path of an ordinary request and no more; `compile_limits` is
# what `compile` does about limits. `request` holds values of two others.
COMPOSING = {
    "request": set[str](),
    "verifiers": set[str](),
    "credentials": set[str](),
    "limits": set[str](),
    "over_hosts": set[str](),
    "more": {"over_hosts", "request"},
    "gate": {"credentials", "limits", "more", "over_hosts", "request"},
    "compile_limits": {"limits", "over_hosts"},
    "compile": {"verifiers", "credentials", "limits", "more", "gate", "compile_limits"},
}
# one algorithm over two kinds of memory, and in a store
SHARING = {("shared_limiter", "limiter"), ("store_scripts", "limiter"), ("store", "store_scripts")}

# module of `serve` → the siblings that it may import
SERVE = {
    "clock": set[str](),
    "descriptors": set[str](),
    "listening": set[str](),
    "load": set[str](),
    "memory": set[str](),
    "shared_memory": set[str](),
    "telling": set[str](),
    "keys": {"load"},
    "store_client": set[str](),
    "stores": {"store_client"},
    "health_book": {"channel"},
    "checking": {"channel"},
    "health_keeper": {"channel", "checking", "health_book"},
    "health_routing": {"channel", "crew", "health_book"},
    "service": {
        "channel",
        "discovery",
        "health_keeper",
        "keys",
        "listening",
        "load",
        "memory",
        "stores",
        "tunnel_terms",
    },
    "changes": set[str](),
    "channel": set[str](),
    "tunnel_terms": {"load"},
    "discovery": {"channel", "load"},
    "control": set[str](),
    "publishing": {"load", "service"},
    "status": {"discovery", "keys", "publishing"},
    "admin": {"discovery", "keys", "listening", "publishing", "reload", "service", "shared_memory", "status"},
    "reload": {"changes", "clock", "listening", "load", "memory", "service", "store_client"},
    "alone": {"admin", "control", "listening", "load", "memory", "reload", "service", "telling"},
    "common_fetch": {"channel", "keys"},
    "worker": {
        *("admin", "channel", "common_fetch", "keys", "listening", "load", "memory"),
        *("reload", "service", "status", "telling", "worker_quotas"),
    },
    "crew": {"channel", "telling", "worker"},
    "rollout": {
        *("admin", "changes", "channel", "control", "crew"),
        *("listening", "load", "memory", "reload", "telling"),
    },
    "fetch_routing": {"channel", "crew"},
    "seeking": {"channel", "crew", "discovery"},
    "supervisor": {
        *("admin", "alone", "channel", "control", "crew", "fetch_routing", "health_routing", "listening", "load"),
        *("memory", "reload", "rollout", "seeking", "telling", "worker", "worker_quotas"),
    },
    "worker_quotas": {"shared_memory"},
    "sharing": {"listening", "shared_memory", "worker_quotas"},
    "run": {
        *("admin", "alone", "clock", "control", "descriptors", "listening"),
        *("reload", "service", "sharing", "supervisor", "telling", "worker"),
    },
}

# the two sides of `net`
CLIENTS_SIDE = {f"net.{name}" for name in ("arrival", "client", "inbound", "listener", "replies", "states")}
UPSTREAMS_SIDE = {"net.upstream", "net.dialing", "net.names", "net.nameservers", "net.consul", "net.instances"}

SANS_IO = {"wire", "policy", "relay"}
EFFECTS = {"asyncio", "uvloop", "socket", "ssl", "time", "logging", "os", "random"}
LOOPLESS = {
    "offline",
    "serve.changes",
    "serve.clock",
    "serve.descriptors",
    "serve.load",
    "serve.shared_memory",
    "serve.telling",
    "serve.tunnel_terms",
}  # rooms and modules that know no event loop
LOOP = {"asyncio", "uvloop", "socket", "ssl"}

# dependency → the rooms that may import it; any other package may not be imported at all
DOORS = {
    "h11": {"wire"},
    "cryptography": {"policy"},
    "uvloop": {"serve"},
    "msgspec": set(ROOMS),
    "prometheus_client": {"observe"},
    "redis": {"serve"},
    "dns": {"net"},
    "rich": {"cli"},
    "mypy_extensions": {"wire", "policy", "relay", "message", "net"},  # for the compiler: machine words, no cycles
}

ENVIRONMENT = {"environ", "environb", "getenv", "getenvb"}
READING = {"open", "read_text", "read_bytes"}
TASKS = {"create_task", "ensure_future", "TaskGroup"}
MAY_START_TASKS = {"net.dialing", "net.names", "net.nameservers", "serve"}  # one per dial or look-up; a few per process

FORBIDDEN_NAMES = {"utils", "helpers", "base", "types"}


def imports(tree: ast.Module) -> Iterator[str]:
    """Full dotted names of all that a module imports, wherever the statement stands; "." for a relative import.

    `from a import b` is a.b: b may be a module, and if it is not the rules look at the front of the name only.
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from ("." if node.level else f"{node.module}.{alias.name}" for alias in node.names)


def import_violations(module: str, name: str) -> Iterator[str]:
    """What is wrong with `module` (dotted, within rawgate: "wire.body") importing `name` (dotted, in full)."""
    room = module.split(".")[0]
    package, *inner = name.split(".")
    if name == ".":
        yield "a relative import: write the name in full"
        return
    if package in EFFECTS and room in SANS_IO:
        yield f"{room} is sans-I/O and imports {package}"
    if package in LOOP and {room, module} & LOOPLESS:
        yield f"{module} knows no event loop and imports {package}"
    if package == "rawgate":
        yield from neighbour_violations(module, inner)
    elif package in DOORS:
        if room not in DOORS[package]:
            yield f"{package} is imported outside {' and '.join(DOORS[package])}"
    elif package not in sys.stdlib_module_names:
        yield f"{package} is not a dependency"


def neighbour_violations(module: str, inner: list[str]) -> Iterator[str]:
    """The same, for another module of rawgate: `inner` is its name in parts, without "rawgate"."""
    room = module.split(".")[0]
    target = ".".join(inner[:2])
    if inner and inner[0] in ROOMS:
        if inner[0] not in ROOMS[room] | {room}:
            yield f"{room} imports {inner[0]}"
    elif room not in {"serve", "cli"}:  # the version
        yield f"{room} imports the package as a whole"
    if target.startswith(f"{room}."):
        yield from sibling_violations(module, target)


def sibling_violations(module: str, target: str) -> Iterator[str]:
    """The same, for another module of the same room."""
    room, _, name = module.partition(".")
    sibling = target.partition(".")[2]
    if room == "policy" and name not in COMPOSING and (name, sibling) not in SHARING:
        yield f"{module} imports its sibling {target}: it does not compose"
    if room == "policy" and sibling in COMPOSING and sibling not in COMPOSING.get(name, {sibling}):
        yield f"{module} imports {target}, which does not stand below it"
    if room == "serve" and sibling not in SERVE.get(name, ()):
        yield f"{module} imports its sibling {target}: not in the table of serve"
    if {module, target} & CLIENTS_SIDE and {module, target} & UPSTREAMS_SIDE:
        yield f"{module} imports {target}: they meet in relay's ports"


def use_violations(module: str, tree: ast.Module) -> Iterator[str]:
    """Calls and attributes that belong to one room or one module."""
    room = module.split(".")[0]
    if room != "config":
        yield from environment_violations(room, tree)
    for node in ast.walk(tree):
        name = node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
        if name in TASKS and not {module, room} & MAY_START_TASKS:
            yield f"{name}: a Task where requests flow"
        if room == "config":
            continue
        if isinstance(node, ast.Call) and called(node) in READING:
            yield f"{called(node)}(): only config reads files"


def environment_violations(room: str, tree: ast.Module) -> Iterator[str]:
    """What of `os` gives a module its process's environment, however `os` is called there; a parameter may be named
    `environ`. `cli` may hand `os.environ` on, as a bare argument."""
    handed = {id(value) for node in ast.walk(tree) if isinstance(node, ast.Call) for value in node.args}
    named = {
        alias.asname or "os"
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
        if alias.name == "os" or (alias.name.startswith("os.") and alias.asname is None)
    }
    for node in ast.walk(tree):
        found: list[str] = []
        if isinstance(node, ast.ImportFrom) and node.module == "os":
            found = [alias.name for alias in node.names if alias.name in {*ENVIRONMENT, "*"}]
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in named:
            found = [node.attr] if node.attr in ENVIRONMENT else []
        if not (room == "cli" and found == ["environ"] and id(node) in handed):
            yield from (f"{name}: only config reads the environment" for name in found)


def called(node: ast.Call) -> str:
    """The name called, whatever it is called on; `os.open` is a descriptor for writing, not a way to read text."""
    if isinstance(node.func, ast.Name):
        return node.func.id
    if isinstance(node.func, ast.Attribute):
        owner = node.func.value
        return "" if isinstance(owner, ast.Name) and owner.id == "os" else node.func.attr
    return ""


def name_violations(module: str) -> Iterator[str]:
    for part in module.split("."):
        if part in FORBIDDEN_NAMES:
            yield f"{part} says nothing about what is in it"
        elif part in sys.stdlib_module_names:
            yield f"{part} is a name of the standard library"


def violations(module: str, source: str) -> list[str]:
    """All rules, for a module given by its dotted name within rawgate ("" for the package) and its source."""
    if module.split(".")[0] not in ROOMS:
        return [f"{module} is in no room of the table"]
    tree = ast.parse(source)
    found = [text for name in imports(tree) for text in import_violations(module, name)]
    return [*name_violations(module), *found, *use_violations(module, tree)]


def module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


EXAMPLES = PACKAGE / "examples"
"""Configurations for people to copy: files to load, no modules of the program."""

SOURCES = sorted(path for path in PACKAGE.rglob("*.py") if EXAMPLES not in path.parents)


@pytest.mark.parametrize("path", SOURCES, ids=[str(path.relative_to(ROOT)) for path in SOURCES])
def test_module_keeps_the_rules(path: Path) -> None:
    assert violations(module_name(path), path.read_text("utf-8")) == []


def test_the_rooms_are_there() -> None:
    """Tables that no longer fit the tree would check nothing."""
    there = {module_name(path).split(".")[0] for path in SOURCES}
    assert there == set(ROOMS)
    serving = {module_name(path).removeprefix("serve.") for path in SOURCES if path.parent == PACKAGE / "serve"}
    assert serving == {*SERVE, "serve"}


def test_the_dependencies_are_these() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    names = {re.split(r"[^A-Za-z0-9_-]", line)[0] for line in project["dependencies"]}
    assert names == {"h11", "uvloop", "cryptography", "msgspec", "mypy-extensions"}
    assert project["optional-dependencies"] == {
        "metrics": ["prometheus-client>=0.22"],
        "names": ["dnspython>=2.7"],
        "store": ["redis[hiredis]>=8.1"],
        "top": ["rich>=13"],
    }


@pytest.mark.parametrize(
    ("module", "source", "finding"),
    [
        ("wire.body", "import asyncio", "wire is sans-I/O and imports asyncio"),
        ("policy.jwt", "def f():\n    from time import time", "policy is sans-I/O and imports time"),
        ("relay.pool", "import os.path", "relay is sans-I/O and imports os"),
        ("wire.body", "from rawgate.config.model import Config", "wire imports config"),
        ("net.client", "from rawgate import policy", "net imports policy"),
        ("net.client", "import rawgate.config", "net imports config"),
        ("relay.pool", "from .exchange import Exchange", "a relative import: write the name in full"),
        ("errors", "from rawgate.message import Peer", "errors imports message"),
        ("__main__", "import rawgate.serve", "__main__ imports serve"),
        ("serve.run", "from rawgate.offline.sample import read_request", "serve imports offline"),
        ("serve.run", "from rawgate.demo.session import play_tour", "serve imports demo"),
        ("offline.mint", "from rawgate.demo.credentials import Credentials", "offline imports demo"),
        ("demo.session", "import uvloop", "uvloop is imported outside serve"),
        ("", "from rawgate.errors import OK", " imports errors"),
        ("policy.gate", "from rawgate import __version__", "policy imports the package as a whole"),
        (
            "policy.jwt",
            "from rawgate.policy import jwks",
            "policy.jwt imports its sibling policy.jwks: it does not compose",
        ),
        (
            "policy.gate",
            "from rawgate.policy.compile import compile_gate",
            "policy.gate imports policy.compile, which does not stand below it",
        ),
        (
            "policy.more",
            "from rawgate.policy import credentials",
            "policy.more imports policy.credentials, which does not stand below it",
        ),
        (
            "serve.load",
            "from rawgate.serve.service import Service",
            "serve.load imports its sibling serve.service: not in the table of serve",
        ),
        (
            "serve.service",
            "from rawgate.serve import run",
            "serve.service imports its sibling serve.run: not in the table of serve",
        ),
        ("serve.load", "import asyncio", "serve.load knows no event loop and imports asyncio"),
        ("offline.explain.watch", "import socket", "offline.explain.watch knows no event loop and imports socket"),
        (
            "net.upstream",
            "from rawgate.net.client import ClientConnection",
            "net.upstream imports net.client: they meet in relay's ports",
        ),
        (
            "net.client",
            "from rawgate.net import upstream",
            "net.client imports net.upstream: they meet in relay's ports",
        ),
        (
            "net.listener",
            "from rawgate.net.dialing import Dialer",
            "net.listener imports net.dialing: they meet in relay's ports",
        ),
        ("relay.exchange", "import h11", "h11 is imported outside wire"),
        ("config.load", "from cryptography import x509", "cryptography is imported outside policy"),
        ("net.client", "import uvloop", "uvloop is imported outside serve"),
        ("config.load", "import yaml", "yaml is not a dependency"),
        ("serve.run", "import os\nos.environ['A']", "environ: only config reads the environment"),
        ("serve.run", "import os\nos.getenv('A')", "getenv: only config reads the environment"),
        ("serve.run", "import os\nload(path, os.environ)", "environ: only config reads the environment"),
        ("net.upstream", "import os.path\nos.environ['A']", "environ: only config reads the environment"),
        ("net.upstream", "import os as system\nsystem.environ['A']", "environ: only config reads the environment"),
        ("net.upstream", "from os import environ as e", "environ: only config reads the environment"),
        ("cli.run", "import os\nos.environ['A']", "environ: only config reads the environment"),
        ("cli.run", "from os import getenv", "getenv: only config reads the environment"),
        ("observe.status", "open('x')", "open(): only config reads files"),
        ("observe.status", "Path('x').read_text()", "read_text(): only config reads files"),
        ("net.client", "loop.create_task(f())", "create_task: a Task where requests flow"),
        ("relay.exchange", "asyncio.ensure_future(f())", "ensure_future: a Task where requests flow"),
        ("policy.utils", "", "utils says nothing about what is in it"),
        ("net.socket", "", "socket is a name of the standard library"),
        ("plugins.one", "", "plugins.one is in no room of the table"),
    ],
)
def test_a_violation_is_found(module: str, source: str, finding: str) -> None:
    assert violations(module, source) == [finding]


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("wire.body", "from rawgate.wire.grammar import TOKEN"),
        ("policy.gate", "from rawgate.policy import jwt, limiter"),
        ("policy.shared_limiter", "from rawgate.policy.limiter import Tally"),
        ("policy.compile", "from rawgate.policy import gate, jwt"),
        ("serve.run", "from rawgate.serve import descriptors"),
        ("net.dialing", "import asyncio\nloop.create_task(f())"),
        ("cli.run", "import os\nfrom rawgate.config.load import load\nload(path, os.environ)"),
        ("offline.page", "def f(environ):\n    return environ.get('A')"),
        ("observe.access_log", "import os\nos.open('x', os.O_WRONLY)"),
        ("config.load", "import os\nos.environ['A']\nopen('x')"),
        ("cli.main", "from rawgate import __version__"),
    ],
)
def test_what_is_allowed_passes(module: str, source: str) -> None:
    assert violations(module, source) == []


OCTET_CLASS = re.compile(r"\\.|\[(?:\\.|[^\]\\])+\]", re.DOTALL)
POSSESSIVE_GROUP = re.compile(r"\)(?:[*+?]|\{[0-9,]+\})\+|\(\?>")


def has_possessive_group(pattern: str) -> bool:
    return POSSESSIVE_GROUP.search(OCTET_CLASS.sub(".", pattern)) is not None


@pytest.mark.parametrize("path", SOURCES, ids=[str(path.relative_to(ROOT)) for path in SOURCES])
def test_no_pattern_has_a_possessive_group(path: Path) -> None:
    """CPython before 3.11.5 loses its place in possessive groups: such a pattern took folded heads for good ones."""
    if path.stem == "__main__" or "sample" in str(path):
        return
    module = importlib.import_module(f"rawgate.{module_name(path)}".rstrip("."))
    for value in vars(module).values():
        pattern = getattr(value, "__self__", value)
        if isinstance(pattern, re.Pattern):
            text = pattern.pattern.decode("latin-1") if isinstance(pattern.pattern, bytes) else pattern.pattern
            assert not has_possessive_group(text), text


@pytest.mark.parametrize(
    ("pattern", "found"),
    [(r"(?:a[b]++)*+c", True), (r"(?:a)?+", True), (r"(?>a)", True), (r"(?:a[()*+]++)*", False), (r"\)*+", False)],
)
def test_a_possessive_group_is_found(pattern: str, found: bool) -> None:
    assert has_possessive_group(pattern) == found


def unfit_for_mypyc(tree: ast.Module) -> Iterator[str]:
    """Classes with keywords, which the compiler ignores, and Structs, whose fields it looks up by name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef) and (node.keywords or "Struct" in map(ast.unparse, node.bases)):
            yield node.name


def test_compiled_modules_hold_native_classes_only() -> None:
    assert len(COMPILED) > 10
    for path in COMPILED:
        assert list(unfit_for_mypyc(ast.parse((ROOT / path).read_text()))) == [], path


@pytest.mark.parametrize(
    ("statement", "unfit"),
    [
        ("class A: ...", []),
        ("class A(Generic[T]): ...", []),
        ("class A(Struct): ...", ["A"]),
        ("class A(Struct, Generic[T]): ...", ["A"]),
        ("class A(B, frozen=True): ...", ["A"]),
    ],
)
def test_classes_that_are_not_native_are_found(statement: str, unfit: list[str]) -> None:
    assert list(unfit_for_mypyc(ast.parse(statement))) == unfit


def compiled_bases(tree: ast.Module) -> Iterator[str]:
    """Classes with a base from a compiled module. Interpreted, such a class cannot be used: the compiler's classes have
    compiled subclasses only. Run from its source everything works, so no other test would tell."""
    compiled = {".".join(path.with_suffix("").parts) for path in COMPILED}
    nodes = list(ast.walk(tree))
    origins = {
        alias.asname or alias.name: node.module
        for node in nodes
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    for node in nodes:
        if isinstance(node, ast.ClassDef) and any(origins.get(ast.unparse(base)) in compiled for base in node.bases):
            yield node.name


def test_no_interpreted_class_has_a_compiled_base() -> None:
    for path in SOURCES:
        if path.relative_to(ROOT) not in COMPILED:
            assert list(compiled_bases(ast.parse(path.read_text()))) == [], path


def test_what_tools_fuzz_plays_with_has_no_compiled_base() -> None:
    """`COMPILED=1 tools/fuzz` runs the lanes, and what of the harness they import, over compiled modules."""
    left, seen = [ROOT / "tools/fuzzing/lanes.py"], set[Path]()
    while left:
        path = left.pop()
        tree = ast.parse(path.read_text())
        assert list(compiled_bases(tree)) == [], path
        seen.add(path)
        modules = {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        files = {ROOT / "tests" / f"{module.replace('.', '/')}.py" for module in modules if module[:8] == "harness."}
        left += files - seen
    assert ROOT / "tests/harness/fake_loop.py" in seen


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("from rawgate.relay.quota import Quota\nclass A(Quota): ...", ["A"]),
        ("from rawgate.relay.quota import Quota as Slots\nclass A(B, Slots): ...", ["A"]),
        ("from rawgate.relay.quota import Quota\nclass A: ...", []),
        ("from rawgate.config.model import Config\nclass A(Config): ...", []),
    ],
)
def test_a_compiled_base_is_found(source: str, found: list[str]) -> None:
    assert list(compiled_bases(ast.parse(source))) == found
