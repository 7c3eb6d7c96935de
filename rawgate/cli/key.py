"""`rawgate key`: a new API key.

The key alone goes to stdout, so that `$(rawgate key acme)` is the key; it is shown this once. What to keep goes to
stderr: the entry for a keys file, which holds only the digest.
"""

import argparse
import sys
from hashlib import sha256
from re import fullmatch
from secrets import token_urlsafe
from typing import TYPE_CHECKING

from rawgate.cli.arguments import command
from rawgate.offline.page import Page, put

if TYPE_CHECKING:
    from rawgate.cli.arguments import Commands

EXAMPLES = """\
  rawgate key acme                       the key, and the entry to keep
  rawgate key acme 2>>keys.toml | pbcopy   the entry into the file, the key to whom it is for

Keys are read from the file that [api_keys.NAME] names, again on each reload:

  [api_keys.partners]
  header = "x-api-key"
  keys = "file:keys.toml"

An entry may also have expires = 2027-01-01T00:00:00Z and claims = { plan = "pro" }, which routes may ask for
as they do of a token's. For a new key beside the old one, give both the same name.
"""
OCTETS = 32


def add(commands: "Commands") -> None:
    parser = command(commands, "key", "make an API key: the key, and the entry to keep", EXAMPLES, _call)
    parser.add_argument("name", metavar="NAME", type=_name, help="whose key it is: X-User-Id, clientId in the log")


def _name(text: str) -> str:
    if not fullmatch(r"[A-Za-z0-9._-]{1,64}", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a name (expected 1-64 of A-Z a-z 0-9 . _ -)")
    return text


def _call(arguments: argparse.Namespace) -> int:
    key = token_urlsafe(OCTETS)
    notes = Page(sys.stderr.fileno())
    digest = sha256(key.encode()).hexdigest()
    for line in ("[[keys]]", f'name = "{arguments.name}"', f'sha256 = "{digest}"', ""):
        notes.line(line)
    put(sys.stdout.fileno(), key)
    return 0
