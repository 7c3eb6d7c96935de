"""`rawgate schema`: the configuration's JSON Schema, for editors.

Printed by the program that will read the configuration, so that schema and program are of one version; nothing has to
be fetched from a web address.
"""

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
    # Indented and with readable characters: people keep this file in a repository and read its diffs.
    put(sys.stdout.fileno(), json.dumps(config_schema(), indent=2, ensure_ascii=False))
    return 0
