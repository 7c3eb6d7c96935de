"""Compiles ahead of time what every request passes through: typed Python → C (mypyc) → machine code.

The source is the one that CPython interprets, and it behaves the same; the process tests run on both. Compiling saves
the interpreter's own work: calls, attributes, jumps. What is C already (patterns, dictionaries, joining octets) costs
the same as before.

Used by the single file (`build.py`), by wheels (`wheel.py`) and by tools that run compiled code (`tree.py`).
"""

import json
import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Mapping
from pathlib import Path

COMPILED = tuple(
    Path("rawgate", f"{module}.py")
    for module in (
        "message",
        *(
            "wire/body",
            "wire/fast_lane",
            "wire/fields",
            "wire/request",
            "wire/response",
            "wire/scan",
            "wire/transfer",
            "wire/write",
        ),
        *(
            "policy/addresses",
            "policy/algorithms",
            "policy/auth_failures",
            "policy/budgets",
            "policy/claims",
            "policy/credentials",
            "policy/fetched_keys",
            "policy/gate",
            "policy/headers",
            "policy/in_flight",
            "policy/jwt",
            "policy/limiter",
            "policy/limits",
            "policy/matching",
            "policy/more",
            "policy/over_hosts",
            "policy/paths",
            "policy/places",
            "policy/request",
            "policy/rewrite",
            "policy/router",
            "policy/shared_limiter",
            "policy/store",
            "policy/trace_context",
            "policy/values",
        ),
        *(
            "relay/addresses",
            "relay/balance",
            "relay/breaker",
            "relay/deadlines",
            "relay/exchange",
            "relay/fair_queue",
            "relay/flow",
            "relay/ejection",
            "relay/guard",
            "relay/guarded_exchange",
            "relay/health",
            "relay/idle",
            "relay/lessee",
            "relay/options",
            "relay/pace",
            "relay/phases",
            "relay/pool",
            "relay/quota",
            "relay/ports",
            "relay/retries",
            "relay/shared_addresses",
            "relay/shared_counts",
            "relay/shared_quota",
            "relay/shared_quotas",
            "relay/endpoints",
            "relay/tunnel",
            "relay/upload",
            "relay/websocket",
        ),
        *(
            "net/client",
            "net/buffer_budget",
            "net/inbound",
            "net/buffered_reading",
            "net/generation",
            "net/listener",
            "net/logged_fields",
            "net/replies",
            "net/states",
            "net/timer",
            "net/tls",
            "net/transports",
            "net/turn",
            "net/upstream",
            "serve/clock",
            "serve/shared_memory",
            "observe/access_log",
            "observe/counters",
            "observe/histogram",
            "observe/layout",
            "observe/line",
        ),
    )
)
"""Modules that run once or rarely are left out, and those that only encode values: msgspec is C already.

A compiled generic class cannot be subscripted at run time, so other modules write such annotations in quotes. Compiled
classes have no keywords, which mypyc silently ignores, and are no Structs, whose fields it would look up by name; a
test checks both."""

WHOLE = "rawgate__mypyc"
"""mypyc's name for the library that has the code of all modules."""

_EXTENSIONS = """
import sys
from mypyc.build import mypycify
modules, options = sys.argv[1].split(":"), ["--config-file=", "--no-error-summary", "--cache-dir", "cache"]
extensions = mypycify([*modules, *options], opt_level="3", debug_level="0", group_name="rawgate")
"""
_SETUP = f"""{_EXTENSIONS}
from setuptools import setup
setup(
    name="rawgate",
    packages=[],
    ext_modules=extensions,
    script_args=["-q", "build_ext", "--build-lib", sys.argv[2], "--build-temp", "temporary"],
)
"""
_SOURCES = f"""{_EXTENSIONS}
import json
whole = next(extension for extension in extensions if extension.name == "{WHOLE}")
print(json.dumps([whole.sources, whole.include_dirs, whole.extra_compile_args]))
"""


# The compiler's profile-guided optimisation was tried (gcc 12, trained with the rows of tools/count) and is not used.
# With it a request without sockets takes 9.25 µs in place of 9.16 (the whole pipeline), or 6.16 in place of 6.23
# (plain): medians of nine alternating rounds. With sockets it is the same, too: 1.07 times nginx + Lua either way, in
# 25 rounds. What gains is where all of a program's code lies, CPython's too: see `build.laid_out`. Link-time
# optimisation was not tried, since there is one C file; nor was -march, which would tie the result to one kind of
# processor.


class BuildError(Exception):
    """The binary cannot be built. One sentence: why, and what to do."""


def compile_modules(root: Path, work: Path) -> dict[str, Path]:
    """Compile COMPILED. Returns dotted name → shared object: one for each module, and one that holds the code of all.
    `work`: an empty folder to build in."""
    made = work / "made"
    # With these flags calls between our functions and into CPython are direct: 3 % less time for a request.
    # setuptools takes them for Python's own, so what is needed of those is said again: without -DNDEBUG each index into
    # octets asserts its type.
    flags = f"{os.environ.get('CFLAGS', '')} -DNDEBUG -fwrapv -fno-plt -fno-semantic-interposition"
    _run_mypyc(root, work, [_SETUP, _names(), str(made)], {"CFLAGS": flags})
    return {
        str(file.relative_to(made)).partition(".")[0].replace("/", "."): file for file in sorted(made.rglob("*.so"))
    }


def compile_object(root: Path, work: Path) -> Path:
    """Compile COMPILED for a program to which it is linked, at a place that does not change. Returns one object file,
    which has `PyInit_rawgate__mypyc`. `work`: as above."""
    said = _run_mypyc(root, work, [_SOURCES, _names()], {})
    sources, folders, flags = json.loads(said.splitlines()[-1])
    made = work / "rawgate.o"
    # Of the debugging symbols that a distribution's Python asks for nothing would be kept.
    # Functions stay in one piece: what lays out the program's code divides them by what is really run.
    usual = f"{sysconfig.get_config_var('CFLAGS')} {os.environ.get('CFLAGS', '')}"
    usual += " -g0 -fno-pie -fvisibility=hidden -fno-reorder-blocks-and-partition"
    includes = [f"-I{folder}" for folder in (*folders, sysconfig.get_config_var("INCLUDEPY"))]
    command = [*compiler(), *shlex.split(usual), *flags, *includes, "-c", *sources, "-o", str(made)]
    run(command, work / "source")
    return made


def _names() -> str:
    return ":".join(map(str, COMPILED))


def _run_mypyc(root: Path, work: Path, arguments: list[str], environ: dict[str, str]) -> str:
    """Run one of the scripts above over a copy of the tree: mypyc writes beside the source, and wants paths relative to
    the working directory. Returns its standard output."""
    _try_compiler(work)
    source = work / "source"
    shutil.copytree(root / "rawgate", source / "rawgate")
    return run([sys.executable, "-c", *arguments], source, os.environ | {"MYPYPATH": str(source)} | environ)


def run(
    command: list[str],
    folder: Path,
    environ: Mapping[str, str] = os.environ,
    failure: str = "compiling ahead of time failed",
) -> str:
    """Run a program that may say much, and show that only where it fails. Returns its standard output."""
    done = subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True)  # noqa: S603 - our own
    if done.returncode:
        raise BuildError(f"{failure}: {(done.stderr or done.stdout).strip()[-2000:]}")
    return done.stdout


def compiler() -> list[str]:
    """The C compiler, as setuptools finds it."""
    return shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")


def _try_compiler(work: Path) -> None:
    """Compile nothing at all: a compiler that cannot do that is found out at once, and not after mypyc's minute."""
    program = compiler()
    (work / "nothing.c").write_text("int nothing;\n")
    try:
        done = subprocess.run([*program, "-c", "nothing.c"], cwd=work, capture_output=True, text=True)  # noqa: S603
    except OSError as error:
        raise BuildError(f"compiling ahead of time failed: {program[0]}: {error.strerror}") from error
    if done.returncode:
        said = done.stderr.strip()[-500:] or f"it ended with {done.returncode}"
        raise BuildError(f"compiling ahead of time failed: {program[0]}: {said}")
