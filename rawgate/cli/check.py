"""`rawgate check`: can this configuration be served, and does it do what its own [[tests]] say?

As `nginx -t` does, it also reads the files that the configuration names (keys, secrets). As `envoy --mode validate`, it
opens no listener and sends nothing, so it is safe beside a gateway that serves. Only `run` finds an address in use.

The result is one line: on stdout when the configuration is good or refused by --strict, on stderr when a test failed.
Warnings go to stderr in both cases. A warning does not change the exit status, since a deployment must not stop at a
configuration that worked yesterday; --strict is for a pipeline that wants that.
"""

import argparse
import os
import sys
from typing import TYPE_CHECKING

from rawgate.cli.arguments import add_config, command
from rawgate.cli.config_tests import show, summary, try_config
from rawgate.config.model import Config, KeySetUrl, limits_over_hosts
from rawgate.offline.page import Page, put, wants_colour
from rawgate.serve.load import source_of

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
        is_refused = bool(loaded.warnings) and arguments.strict
        result = _verdict(len(loaded.warnings), is_refused=is_refused)
        put(sys.stdout.fileno(), f"{arguments.config}: {result}; {_counts(loaded.config)}")
        return int(is_refused)
    fd = sys.stderr.fileno()
    page = Page(fd, colour=wants_colour(os.environ, is_terminal=os.isatty(fd)))
    for failed in report.failed:
        show(page, arguments.config, failed)
    page.line(f"{arguments.config}: {summary(report)}")
    return 1


def _verdict(count: int, *, is_refused: bool) -> str:
    warnings = f"{count} warning{'s' * (count != 1)}"
    return f"refused for {warnings}" if is_refused else f"good, with {warnings}" if count else "good"


def _counts(config: Config) -> str:
    """`2 routes, 1 upstream, …`: a route that is missing, because its file was not the one meant, shows here."""
    counts = {
        "route": len(config.routes),
        "upstream": len(config.upstreams),
        "verifier": len(config.jwt) + len(config.api_keys),
        "test": len(config.tests),
    }
    listed = ", ".join(f"{count} {name}{'s' * (count != 1)}" for name, count in counts.items())
    listed += " passed" * bool(config.tests)
    remote = [f"jwt.{name}" for name, spec in config.jwt.items() if isinstance(spec.jwks, KeySetUrl)]
    keys = f"; not fetched here: the keys of {', '.join(remote)}" if remote else ""
    targets = [target for upstream in config.upstreams.values() for target in upstream.targets if target.source]
    asked = [f"not looked up here: {', '.join(dict.fromkeys(str(source_of(target)) for target in targets))}"] * bool(
        targets
    )
    wide = len(limits_over_hosts(config.limits, config.routes))
    asked += [f"not asked here: the store, for {wide} limit{'s' * (wide != 1)} over hosts"] * bool(wide)
    return "; ".join((f"{listed}{keys}", *asked))
