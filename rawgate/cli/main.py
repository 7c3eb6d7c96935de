"""argv → a call. One module a command; each adds its parser and says what to call. Only the module of the command that
is asked for is imported: `run` would otherwise start half as fast, for what it never uses.

Exit status: 0 done, 1 the configuration, the start or what was checked failed, 2 the command line is wrong.
"""

import argparse
import importlib
import sys

from rawgate.errors import ConfigError, RawgateError

COMMANDS = {
    "run": "run",
    "check": "check",
    "demo": "demo",
    "token": "mint",
    "explain": "explain",
    "test": "trial",
    "schema": "schema",
    "version": "version",
}
"""Command → its module, in the order of `rawgate --help`."""


def main(argv: list[str] | None = None) -> int:
    """The console script. `argv` without the program's name; None: the process's own."""
    parser = argparse.ArgumentParser(
        prog="rawgate",
        description="An API gateway: JWT, API keys, limits, rewriting, relaying, one log line.",
        epilog="rawgate COMMAND --help shows examples.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    words = sys.argv[1:] if argv is None else argv
    wanted = words[:1] if words and words[0] in COMMANDS else list(COMMANDS)
    for command in wanted:
        importlib.import_module(f"rawgate.cli.{COMMANDS[command]}").add(commands)
    arguments = parser.parse_args(words)
    try:
        return int(arguments.call(arguments))
    except ConfigError as error:
        sys.stderr.write("".join(f"{line}\n" for line in error.lines))
        count = len(error.lines)
        sys.stderr.write(f"rawgate: {count} problem{'s' * (count != 1)}; nothing was started\n")
    except RawgateError as error:
        sys.stderr.write(f"rawgate: {error}\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
