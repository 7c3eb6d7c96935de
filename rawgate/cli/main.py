"""argv → a call. Exit status: 0 done, 1 the configuration or the start failed, 2 the command line is wrong."""

import argparse
import os
import sys
from pathlib import Path

from rawgate.errors import ConfigError, RawgateError
from rawgate.serve.clock import Calendar, RequestIds
from rawgate.serve.load import load_gate
from rawgate.serve.run import run

DEFAULT_CONFIG = "rawgate.toml"


def main(argv: list[str] | None = None) -> int:
    """The console script. `argv` without the program's name; None: the process's own."""
    arguments = _parser().parse_args(argv)
    try:
        return _run(arguments.config) if arguments.command == "run" else _check(arguments.config)
    except ConfigError as error:
        sys.stderr.write("".join(f"{line}\n" for line in error.lines))
        count = len(error.lines)
        sys.stderr.write(f"rawgate: {count} problem{'s' * (count != 1)}; nothing was started\n")
    except RawgateError as error:
        sys.stderr.write(f"rawgate: {error}\n")
    return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="rawgate", description="An API gateway.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, text in (("run", "serve a configuration"), ("check", "say whether a configuration can be served")):
        command = commands.add_parser(name, help=text, description=text.capitalize() + ".")
        command.add_argument(
            "config",
            nargs="?",
            default=DEFAULT_CONFIG,
            type=Path,
            help=f"TOML or Python file (default: {DEFAULT_CONFIG})",
        )
    return parser


def _run(config: Path) -> int:
    return run(config, os.environ)


def _check(config: Path) -> int:
    loaded = load_gate(config, os.environ, new_id=RequestIds(), date=Calendar()).config
    counts = {
        "route": len(loaded.routes),
        "upstream": len(loaded.upstreams),
        "verifier": len(loaded.jwt) + len(loaded.api_keys),
    }
    found = ", ".join(f"{count} {name}{'s' * (count != 1)}" for name, count in counts.items())
    sys.stdout.write(f"{config}: good; {found}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
