"""`rawgate run`: serve a configuration."""

import argparse
import os
from typing import TYPE_CHECKING

from rawgate.cli.arguments import add_config, command
from rawgate.serve.run import run

if TYPE_CHECKING:
    from rawgate.cli.arguments import Commands

EXAMPLES = """\
  rawgate run
  JWT_SECRET=… rawgate run conf/rawgate.toml >> access.log
"""


def add(commands: "Commands") -> None:
    add_config(command(commands, "run", "serve a configuration", EXAMPLES, _call))


def _call(arguments: argparse.Namespace) -> int:
    return run(arguments.config, os.environ)
