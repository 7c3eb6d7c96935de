"""`rawgate reload`: have the gateway that serves a configuration read it again."""

import argparse
import sys
from typing import TYPE_CHECKING

from rawgate.cli.arguments import add_config, command
from rawgate.offline.page import put, visible
from rawgate.serve.control import ask

if TYPE_CHECKING:
    from rawgate.cli.arguments import Commands

EXAMPLES = """\
  rawgate reload
  rawgate reload conf/rawgate.toml

The running gateway reads the file again, runs its [[tests]], and serves it from the next request on; requests that have
begun end as they began. A configuration with errors changes nothing. SIGHUP does the same. The report goes to the
gateway's stderr, too.

Exit status 0 when the new one is served, else 1. It is 0 too where a few keys need a restart (workers, admin,
limits.limiter_keys): all else is served, and the report has a line "not before a restart" that names them.
"""


def add(commands: "Commands") -> None:
    add_config(command(commands, "reload", "have the running gateway read its configuration again", EXAMPLES, _call))


def _call(arguments: argparse.Namespace) -> int:
    done, lines = ask(arguments.config, "reload")
    put((sys.stdout if done else sys.stderr).fileno(), "\n".join(map(visible, lines)))
    return 0 if done else 1
