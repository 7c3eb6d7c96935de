"""Compiles, ahead of time, what every request passes through: Python with its types → C (mypyc) → machine code.

The source is the same that CPython interprets, and behaves the same; the process tests run on both. What it saves is
the interpreter's own part: calls, attributes, jumps. What is C already (patterns, dictionaries, joining octets) costs
what it did.
"""

import os
import shutil
import subprocess
import sys
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
            "policy/gate",
            "policy/headers",
            "policy/jwt",
            "policy/limiter",
            "policy/paths",
            "policy/rewrite",
            "policy/router",
        ),
        *(
            "relay/exchange",
            "relay/flow",
            "relay/pace",
            "relay/phases",
            "relay/pool",
            "relay/quota",
            "relay/ports",
            "relay/endpoints",
            "relay/tunnel",
            "relay/turns",
        ),
        *(
            "net/client",
            "net/buffer_budget",
            "net/inbound",
            "net/buffered_reading",
            "net/generation",
            "net/listener",
            "net/replies",
            "net/states",
            "net/timer",
            "net/upstream",
            "serve/clock",
            "observe/access_log",
            "observe/line",
        ),
    )
)
"""Left out: what runs once, or rarely, and what encodes values, since msgspec is C already.

Generic classes lose their brackets: modules that are not compiled name them in annotations only, in quotes.
Their classes have no keywords, which mypyc ignores in silence, and are no Structs, whose fields it would look up by
name (a test checks both)."""

_SETUP = """
import sys
from mypyc.build import mypycify
from setuptools import setup
modules, options = sys.argv[1].split(":"), ["--config-file=", "--no-error-summary", "--cache-dir", "cache"]
setup(
    name="rawgate",
    packages=[],
    ext_modules=mypycify([*modules, *options], opt_level="3", group_name="rawgate"),
    script_args=["-q", "build_ext", "--build-lib", sys.argv[2], "--build-temp", "temporary"],
)
"""


class BuildError(Exception):
    """The binary cannot be made: one sentence that says why and what to do."""


def compiled_ahead(root: Path, work: Path) -> dict[str, Path]:
    """Dotted name → the shared object of each compiled module, and of the one that holds the code of all. `work`: a
    folder to make them in."""
    source, made = work / "source", work / "made"
    # mypyc works beside the source, and by paths relative to it.
    shutil.copytree(root / "rawgate", source / "rawgate")
    command = [sys.executable, "-c", _SETUP, ":".join(map(str, COMPILED)), str(made)]
    # Calls between our own functions, and into CPython, are direct ones then: 3 % less time for a request.
    flags = f"{os.environ.get('CFLAGS', '')} -fno-plt -fno-semantic-interposition"
    environment = os.environ | {"MYPYPATH": str(source), "CFLAGS": flags}
    done = subprocess.run(command, cwd=source, env=environment, capture_output=True, text=True)  # noqa: S603 - our own
    if done.returncode:
        raise BuildError(f"compiling ahead of time failed: {(done.stderr or done.stdout).strip()[-2000:]}")
    return {
        str(file.relative_to(made)).partition(".")[0].replace("/", "."): file for file in sorted(made.rglob("*.so"))
    }
