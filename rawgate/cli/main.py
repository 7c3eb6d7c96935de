"""The console script: finds the command, calls it, and turns errors into lines on stderr and an exit status.

Each command's module adds its parser, which holds the function to call. Only the module of the command that was asked
for is imported, since importing all of them would double the time that `run` takes to start.

Every error that a person can cause is a RawgateError, and is shown as a sentence. Any other exception is a bug, and its
traceback is left to be seen. The package's docstring explains streams and exit statuses.
"""

import argparse
import gc
import importlib
import os
import sys
from functools import partial

from rawgate.cli.arguments import help_width, refuse_unknown
from rawgate.config.invalid import nearest, problem_text, quoted
from rawgate.errors import ConfigError, RawgateError
from rawgate.offline.page import Page

COMMANDS = {
    "run": "run",
    "reload": "reload",
    "top": "top",
    "check": "check",
    "demo": "demo",
    "token": "mint",
    "key": "key",
    "explain": "explain",
    "test": "config_tests",
    "schema": "schema",
    "version": "version",
}
"""Command → its module, in the order of `rawgate --help`."""

_ELSEWHERE = {
    "-t": "check",
    "configtest": "check",
    "lint": "check",
    "validate": "check",
    "-c": "run",
    "serve": "run",
    "start": "run",
    "up": "run",
    "-s": "reload",
    "stats": "top",
    "status": "top",
    "help": "--help",
    "-v": "version",
    "-V": "version",
}
"""How other programs (nginx, Caddy, HAProxy, Traefik) call a command → what it is called here."""


def main(argv: list[str] | None = None) -> int:
    """Run one command and return the exit status. `argv` is without the program's name; None means sys.argv."""
    _open_standard_streams()
    parser = argparse.ArgumentParser(
        prog="rawgate",
        description="An API gateway: JWT, API keys, limits, rewriting, relaying, one log line.",
        epilog="rawgate COMMAND --help shows examples.",
        formatter_class=partial(argparse.HelpFormatter, width=help_width()),
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    words = sys.argv[1:] if argv is None else argv
    # A Page, because its writing never raises: a closed stderr (`2>&1 | head`) must not change the exit status.
    notes = Page(sys.stderr.fileno())
    # Before argparse, which would list all commands where one suggestion is wanted.
    if words and words[0] not in (*COMMANDS, "-h", "--help"):
        notes.line(f"rawgate: {_no_command(words[0])}")
        return 2
    # `rawgate --help` lists every command, so it needs the parsers of all.
    wanted = words[:1] if words and words[0] in COMMANDS else list(COMMANDS)
    # What is imported stays: looking for garbage in it takes a seventh of a start, and to do so once a thirtieth.
    gc.disable()
    for command in wanted:
        importlib.import_module(f"rawgate.cli.{COMMANDS[command]}").add(commands)
    gc.freeze()
    gc.enable()
    if not words:
        # Help that nobody asked for is usage: on stderr, with the status of a wrong command line.
        parser.print_help(sys.stderr)
        return 2
    # Not `parse_args`, which would show the usage of the program where that of the command is wanted.
    arguments, unknown = parser.parse_known_args(words)
    if unknown:
        refuse_unknown(arguments, unknown)
    try:
        return int(arguments.call(arguments))
    except ConfigError as error:
        # All findings at once, each `file:line: …` as compilers write it: editors jump to such lines.
        for line in error.lines:
            notes.line(line)
        if len(error.lines) > 1:
            # Only `run` would have started something.
            end = "; nothing was started" if words[0] == "run" else ""
            notes.line(f"rawgate: {len(error.lines)} problems{end}")
    except RawgateError as error:
        notes.line(f"rawgate: {error}")
    return 1


def _open_standard_streams() -> None:
    """Open /dev/null for each of 0, 1 and 2 that the process was started without (`rawgate run 2>&-`).

    open(2) returns the lowest free number. Without this, the next socket could become descriptor 2, and a client would
    receive what is written to stderr. The C library does the same for setuid programs.
    """
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, mode, encoding="utf-8", closefd=False))


def _no_command(word: str) -> str:
    """What to say to a first word that is no command. Often it is a configuration, where `run` was left out."""
    if word.endswith((".toml", ".py")):
        return f"{quoted(word)} is not a command; to serve it: rawgate run {word}"
    if word in ("stop", "quit"):
        return f"{quoted(word)} is not a command; kill PID stops a gateway, which said its pid when it was ready"
    meant = quoted(_ELSEWHERE[word]) if word in _ELSEWHERE else nearest(word, COMMANDS)
    return problem_text(f"{quoted(word)} is not a command; rawgate --help shows them", meant=meant)


if __name__ == "__main__":
    sys.exit(main())
