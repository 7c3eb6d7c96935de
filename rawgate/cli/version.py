"""`rawgate version`: what is inside."""

import argparse
import platform
import sys
from importlib.metadata import version
from typing import TYPE_CHECKING

from rawgate import __version__
from rawgate.cli.arguments import command
from rawgate.offline.page import put
from rawgate.policy.signing import openssl_version

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
        # Written out: what packs a program into one file looks for these calls.
        "uvloop": version("uvloop"),
        "h11": version("h11"),
        "cryptography": f"{version('cryptography')} ({openssl_version()})",
        "msgspec": version("msgspec"),
        "platform": platform.platform(),
    }
    put(sys.stdout.fileno(), "\n".join(f"{name:<13} {found}" for name, found in inside.items()))
    return 0
