"""Arguments that several commands share, and the parser that each command starts from."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]  # noqa: SLF001 - argparse has no public name for it

DEFAULT_CONFIG = Path("rawgate.toml")


def command(
    commands: "Commands", name: str, summary: str, examples: str, call: Callable[[argparse.Namespace], int]
) -> argparse.ArgumentParser:
    """A parser for one command.

    summary   one line for `rawgate --help`; as a sentence it opens the command's own help
    examples  lines as one would type them, below the options: most readers of a help look for the line to copy
    call      runs the command and returns the exit status
    """
    parser = commands.add_parser(
        name,
        help=summary,
        description=f"{summary[0].upper()}{summary[1:]}.",
        epilog=f"examples:\n{examples}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(call=call)
    return parser


def add_config(parser: argparse.ArgumentParser) -> None:
    """The configuration file, as an optional last argument.

    The default is a file in the working directory, as Caddy looks for ./Caddyfile. A path that is built in, as nginx
    has one, belongs to an installed package; rawgate is often a single file that somebody has copied.
    """
    parser.add_argument(
        "config", nargs="?", default=DEFAULT_CONFIG, type=Path, help=f"TOML or Python file (default: {DEFAULT_CONFIG})"
    )
