"""`rawgate check`: can this configuration be served, and does it do what its own [[tests]] say?"""

import argparse
import os
import sys
from typing import TYPE_CHECKING

from rawgate.cli.arguments import add_config, command
from rawgate.cli.config_tests import show, summary, try_config
from rawgate.config.model import Config
from rawgate.offline.page import Page, put, wants_colour
from rawgate.serve.load import Loaded

if TYPE_CHECKING:
    from rawgate.cli.arguments import Commands

EXAMPLES = """\
  rawgate check
  rawgate check conf/rawgate.toml && systemctl restart rawgate
  rawgate check --strict

What can never work is an error. What rarely means what it says is a warning, which fails the check only with --strict.
Both are told on stderr, each with its line.
"""


def add(commands: "Commands") -> None:
    what = "say whether a configuration can be served, and run its [[tests]]"
    parser = command(commands, "check", what, EXAMPLES, _call)
    parser.add_argument("--strict", action="store_true", help="fail on warnings too")
    add_config(parser)


def _call(arguments: argparse.Namespace) -> int:
    loaded, report = try_config(arguments.config)
    notes = Page(sys.stderr.fileno())
    for warning in loaded.warnings:
        notes.line(warning)
    if not report.failed:
        is_bad = bool(loaded.warnings) and arguments.strict
        put(sys.stdout.fileno(), f"{arguments.config}: {_verdict(loaded, is_bad=is_bad)}; {_found(loaded.config)}")
        return int(is_bad)
    fd = sys.stderr.fileno()
    page = Page(fd, colour=wants_colour(os.environ, is_terminal=os.isatty(fd)))
    for result in report.failed:
        show(page, arguments.config, result)
    page.line(f"{arguments.config}: {summary(report)}")
    return 1


def _verdict(loaded: Loaded, *, is_bad: bool) -> str:
    count = len(loaded.warnings)
    warnings = f"{count} warning{'s' * (count != 1)}"
    return f"refused for {warnings}" if is_bad else f"good, with {warnings}" if count else "good"


def _found(config: Config) -> str:
    counts = {
        "route": len(config.routes),
        "upstream": len(config.upstreams),
        "verifier": len(config.jwt) + len(config.api_keys),
        "test": len(config.tests),
    }
    found = ", ".join(f"{count} {name}{'s' * (count != 1)}" for name, count in counts.items())
    return f"{found} passed" if config.tests else found
