"""`rawgate demo`: the gateway with services behind it, to look at and to try.

--once is also the test of an installation: it needs no network, no file and no free port that is known beforehand, and
its exit status says whether every response was as expected.
"""

import argparse
import os
import sys
from typing import TYPE_CHECKING

from rawgate.cli.arguments import command
from rawgate.config.samples import sample_text
from rawgate.demo.session import play_tour, stay_open
from rawgate.offline.page import Page, put, wants_colour

if TYPE_CHECKING:
    from rawgate.cli.arguments import Commands

EXAMPLES = """\
  rawgate demo                          stays open: a token, commands to paste, each decision live
  rawgate demo --once                   plays a tour itself; exit 0 when every answer is as it should be
  rawgate demo --config > rawgate.toml  a configuration to start from
"""
PORT = 8080
"""The port that stays the same from one start to the next: commands are pasted from the shell's history."""


def add(commands: "Commands") -> None:
    parser = command(commands, "demo", "show the gateway at work, with services of its own", EXAMPLES, _call)
    parser.add_argument(
        "--once", action="store_true", help="play a tour of requests, show each answer and why, and end"
    )
    parser.add_argument(
        "--port", type=_port, help=f"where to listen (default: {PORT}, with --once any; 0: any free one)"
    )
    parser.add_argument("--config", action="store_true", help="print the configuration that the demo serves, and end")


def _port(text: str) -> int:
    # int() alone would take "-1", "8_0" and digits of other scripts.
    if not (text.isascii() and text.isdigit() and int(text) <= 65535):
        raise argparse.ArgumentTypeError(f"{text} is not a port (expected 0 to 65535)")
    return int(text)


def _call(arguments: argparse.Namespace) -> int:
    if arguments.config:
        put(sys.stdout.fileno(), sample_text("demo").rstrip("\n"))  # `put` ends the last line
        return 0
    fd = sys.stdout.fileno()
    page = Page(fd, colour=wants_colour(os.environ, is_terminal=os.isatty(fd)))
    port: int | None = arguments.port
    if arguments.once:
        # Nobody types this port, so any free one will do, and a second tour can run beside the first.
        return play_tour(page, port or 0)
    return stay_open(page, PORT if port is None else port)
