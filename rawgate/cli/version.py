"""`rawgate version`: the versions of all that a request passes through, as `nginx -V` and `haproxy -vv` show them.

OpenSSL's version is that of the library inside `cryptography`, which verifies the signatures; the system's own may be
another one.
"""

import argparse
import platform
import sys
from importlib.metadata import version
from types import FunctionType
from typing import TYPE_CHECKING

from rawgate import __version__
from rawgate.cli.arguments import command
from rawgate.offline.page import put
from rawgate.policy.signing import openssl_version
from rawgate.wire import fast_lane

if TYPE_CHECKING:
    from rawgate.cli.arguments import Commands

EXAMPLES = """\
  rawgate version      the first thing that a bug report should say
"""


def add(commands: "Commands") -> None:
    command(commands, "version", "say what is inside", EXAMPLES, _call)


def _call(arguments: argparse.Namespace) -> int:
    inside = {
        "rawgate": __version__,
        "python": f"{platform.python_version()} ({platform.python_implementation()})",
        # One call with a literal name each: PyInstaller finds these calls in the source and packs the metadata.
        "uvloop": version("uvloop"),
        "h11": version("h11"),
        "cryptography": f"{version('cryptography')} ({openssl_version()})",
        "msgspec": version("msgspec"),
        "core": _how_the_core_runs(),
        "platform": platform.platform(),
    }
    put(sys.stdout.fileno(), "\n".join(f"{name:<13} {found}" for name, found in inside.items()))
    return 0


def _how_the_core_runs() -> str:
    """Whether the modules that every request passes through were compiled ahead of time, and if not, what to do."""
    if not isinstance(fast_lane.read_fields, FunctionType):
        return "compiled"
    # A wheel that was made without a compiler, or a tree whose sources are run.
    return "interpreted (several times slower than the single file, or than pip install . with a C compiler)"
