"""`rawgate schema`: the configuration's JSON Schema, for editors."""

import argparse
import json
import sys
from typing import TYPE_CHECKING

from rawgate.cli.arguments import command
from rawgate.config.schema import config_schema
from rawgate.offline.page import put

if TYPE_CHECKING:
    from rawgate.cli.arguments import Commands

EXAMPLES = """\
  rawgate schema > rawgate.schema.json

Then this as the first line of rawgate.toml shows help and mistakes as you type, in editors that use Taplo
(Even Better TOML for VS Code, and others):

  #:schema ./rawgate.schema.json
"""


def add(commands: "Commands") -> None:
    command(commands, "schema", "print the JSON Schema of the configuration, for editors", EXAMPLES, _call)


def _call(arguments: argparse.Namespace) -> int:
    put(sys.stdout.fileno(), json.dumps(config_schema(), indent=2, ensure_ascii=False))
    return 0
