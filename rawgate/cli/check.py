"""`rawgate check`: can this configuration be served?"""

import argparse
import os
import sys
from typing import TYPE_CHECKING

from rawgate.cli.arguments import add_config, command
from rawgate.serve.clock import Calendar, RequestIds
from rawgate.serve.load import load_gate

if TYPE_CHECKING:
    from rawgate.cli.arguments import Commands

EXAMPLES = """\
  rawgate check
  rawgate check conf/rawgate.toml && systemctl restart rawgate
"""


def add(commands: "Commands") -> None:
    add_config(command(commands, "check", "say whether a configuration can be served", EXAMPLES, _call))


def _call(arguments: argparse.Namespace) -> int:
    loaded = load_gate(arguments.config, os.environ, new_id=RequestIds(), date=Calendar()).config
    counts = {
        "route": len(loaded.routes),
        "upstream": len(loaded.upstreams),
        "verifier": len(loaded.jwt) + len(loaded.api_keys),
    }
    found = ", ".join(f"{count} {name}{'s' * (count != 1)}" for name, count in counts.items())
    sys.stdout.write(f"{arguments.config}: good; {found}\n")
    return 0
