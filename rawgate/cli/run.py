"""`rawgate run`: serve a configuration, in the foreground.

Unlike nginx it never forks into the background and writes no pid file: systemd and containers supervise the process
that they started. The access log goes to stdout and messages to stderr; `operating.md` describes both. The status is 0
after SIGTERM or SIGINT, 1 when the configuration cannot be served or a second signal has cut requests off.
"""

import argparse
import importlib
import os
from time import time
from typing import TYPE_CHECKING

from rawgate.cli.arguments import add_config, command
from rawgate.config.load import Draft
from rawgate.offline.page import visible
from rawgate.serve.clock import RequestIds
from rawgate.serve.load import Loaded
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
    return run(arguments.config, os.environ, _failed_tests)


def _failed_tests(draft: Draft, loaded: Loaded) -> list[str]:
    """Before a reload: a line for each of the configuration's own tests that fails."""
    # Imported when it is needed: the start is faster without.
    offline = importlib.import_module("rawgate.offline.config_tests")
    report = offline.run_tests(loaded, draft.line, new_id=RequestIds(), wall=time())
    return [
        f"{draft.file}:{result.line}: the test {visible(result.request)} fails: "
        + ", ".join(
            f"{one.what} is {visible(one.got) or 'nothing'} (expected {visible(one.expected) or 'nothing'})"
            for one in result.differences
        )
        for result in report.failed
    ]
