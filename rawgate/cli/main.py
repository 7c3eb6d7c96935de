"""argv → a call. One module a command; each adds its parser and says what to call. Only the module of the command that
is asked for is imported: `run` would otherwise start half as fast, for what it never uses.

Exit status: 0 done, 1 the configuration, the start or what was checked failed, 2 the command line is wrong.
"""

import argparse
import importlib
import os
import sys

from rawgate.config.invalid import nearest, problem_text, quoted
from rawgate.errors import ConfigError, RawgateError
from rawgate.offline.page import Page

COMMANDS = {
    "run": "run",
    "check": "check",
    "demo": "demo",
    "token": "mint",
    "explain": "explain",
    "test": "config_tests",
    "schema": "schema",
    "version": "version",
}
"""Command → its module, in the order of `rawgate --help`."""


def main(argv: list[str] | None = None) -> int:
    """The console script. `argv` without the program's name; None: the process's own."""
    _open_standard_streams()
    parser = argparse.ArgumentParser(
        prog="rawgate",
        description="An API gateway: JWT, API keys, limits, rewriting, relaying, one log line.",
        epilog="rawgate COMMAND --help shows examples.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    words = sys.argv[1:] if argv is None else argv
    # Nothing that a person is told may change the exit status: `2>&1 | head` is a usual thing to do.
    notes = Page(sys.stderr.fileno())
    if words and not words[0].startswith("-") and words[0] not in COMMANDS:
        notes.line(f"rawgate: {_no_command(words[0])}")
        return 2
    wanted = words[:1] if words and words[0] in COMMANDS else list(COMMANDS)
    for command in wanted:
        importlib.import_module(f"rawgate.cli.{COMMANDS[command]}").add(commands)
    if not words:
        parser.print_help(sys.stderr)
        return 2
    arguments = parser.parse_args(words)
    try:
        return int(arguments.call(arguments))
    except ConfigError as error:
        for line in error.lines:
            notes.line(line)
        if len(error.lines) > 1:
            notes.line(f"rawgate: {len(error.lines)} problems; nothing was started")
    except RawgateError as error:
        notes.line(f"rawgate: {error}")
    return 1


def _open_standard_streams() -> None:
    """One that the process was started without (`<&-`) is /dev/null. Else what is opened next, be it somebody's
    connection, would get its number and all that is printed."""
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest free number (open(2)): this one
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, mode, encoding="utf-8", closefd=False))


def _no_command(word: str) -> str:
    """What to say to a first word that is none of the commands: the name of a configuration is a usual one."""
    if word.endswith((".toml", ".py")):
        return f"{quoted(word)} is not a command; to serve it: rawgate run {word}"
    meant = nearest(word, COMMANDS)
    return problem_text(f"{quoted(word)} is not a command; rawgate --help shows them", meant=meant)


if __name__ == "__main__":
    sys.exit(main())
