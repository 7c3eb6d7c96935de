"""What the commands' parsers have in common."""

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
    """A parser for one command. examples: lines as one would type them, shown by --help."""
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
    """The configuration as an optional last argument."""
    parser.add_argument(
        "config", nargs="?", default=DEFAULT_CONFIG, type=Path, help=f"TOML or Python file (default: {DEFAULT_CONFIG})"
    )
