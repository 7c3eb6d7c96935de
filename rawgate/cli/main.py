"""argv → a call. One module a command; each adds its parser and says what to call.

Exit status: 0 done, 1 the configuration, the start or what was checked failed, 2 the command line is wrong.
"""

import argparse
import sys

from rawgate.cli import check, run
from rawgate.errors import ConfigError, RawgateError

COMMANDS = (run, check)


def main(argv: list[str] | None = None) -> int:
    """The console script. `argv` without the program's name; None: the process's own."""
    parser = argparse.ArgumentParser(
        prog="rawgate",
        description="An API gateway: JWT, API keys, limits, rewriting, relaying, one log line.",
        epilog="rawgate COMMAND --help shows examples.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in COMMANDS:
        command.add(commands)
    arguments = parser.parse_args(argv)
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
