"""`rawgate run`: serve a configuration, in the foreground.

Unlike nginx it never forks into the background and writes no pid file: systemd and containers supervise the process
that they started. The access log goes to stdout and messages to stderr; `operating.md` describes both. The status is 0
after SIGTERM or SIGINT, 1 when the configuration cannot be served or a second signal has cut requests off.
"""

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
