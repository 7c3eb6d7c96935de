"""`rawgate check`: can this configuration be served, and does it do what its own [[tests]] say?"""

import argparse
import os
import sys
from typing import TYPE_CHECKING

from rawgate.cli.arguments import add_config, command
from rawgate.cli.trial import show, summary, try_config
from rawgate.config.model import Config
from rawgate.config.terminal import wants_colour
from rawgate.serve.page import Page

if TYPE_CHECKING:
    from rawgate.cli.arguments import Commands

EXAMPLES = """\
  rawgate check
  rawgate check conf/rawgate.toml && systemctl restart rawgate
"""


def add(commands: "Commands") -> None:
    what = "say whether a configuration can be served, and run its [[tests]]"
    add_config(command(commands, "check", what, EXAMPLES, _call))


def _call(arguments: argparse.Namespace) -> int:
    config, report = try_config(arguments.config)
    if not report.failed:
        sys.stdout.write(f"{arguments.config}: good; {_found(config)}\n")
        return 0
    fd = sys.stderr.fileno()
    page = Page(fd, colour=wants_colour(os.environ, is_terminal=os.isatty(fd)))
    for result in report.failed:
        show(page, arguments.config, result)
    page.line(f"{arguments.config}: {summary(report)}")
    return 1


def _found(config: Config) -> str:
    counts = {
        "route": len(config.routes),
        "upstream": len(config.upstreams),
        "verifier": len(config.jwt) + len(config.api_keys),
        "test": len(config.tests),
    }
    found = ", ".join(f"{count} {name}{'s' * (count != 1)}" for name, count in counts.items())
    return f"{found} passed" if config.tests else found
