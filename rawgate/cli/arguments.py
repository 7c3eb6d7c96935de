"""Arguments that several commands share, and the parser that each command starts from."""

import argparse
import os
from collections.abc import Callable
from functools import partial
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
        formatter_class=partial(argparse.RawDescriptionHelpFormatter, width=help_width()),
    )
    parser.set_defaults(call=call, refuse=parser.error)
    return parser


def help_width() -> int:
    """Columns that a help may have. argparse would find them out with shutil, for each argument that is added; and that
    brings every format of compression, which is a fortieth of a start."""
    try:
        return os.get_terminal_size().columns - 2
    except OSError:  # stdout is no terminal
        return 78


def add_config(parser: argparse.ArgumentParser) -> None:
    """The configuration file, as an optional argument without a flag.

    The default is a file in the working directory, as Caddy looks for ./Caddyfile. A path that is built in, as nginx
    has one, belongs to an installed package; rawgate is often a single file that somebody has copied.
    """
    what = f"the configuration, a TOML or Python file, written without a flag (default: {DEFAULT_CONFIG})"
    parser.add_argument("config", metavar="CONFIG", nargs="?", default=DEFAULT_CONFIG, type=Path, help=what)
    parser.set_defaults(config_goes="without a flag: CONFIG")


def add_config_flag(parser: argparse.ArgumentParser) -> None:
    """The same behind a flag, for a command whose other arguments are another program's (curl's)."""
    what = f"the configuration, a TOML or Python file (default: {DEFAULT_CONFIG})"
    parser.add_argument("--config", type=Path, default=DEFAULT_CONFIG, help=what)
    parser.set_defaults(config_goes="behind its flag: --config CONFIG")


def refuse_unknown(arguments: argparse.Namespace, unknown: list[str]) -> None:
    """End with status 2, the usage of the command, and what is wrong: arguments that it has no place for. The usual one
    is the configuration in the place that another command has for it."""
    said = f"there is no place for {' '.join(unknown)}"
    # A configuration in the place of another argument pushes that one out, so it may be among those that have a place.
    words = [*unknown, *(value for value in vars(arguments).values() if isinstance(value, str))]
    is_config = any(word.split("=")[0] in ("--config", "-c") or word.endswith((".toml", ".py")) for word in words)
    if is_config and "config_goes" in arguments:
        said += f" (the configuration goes {arguments.config_goes})"
    arguments.refuse(said)
