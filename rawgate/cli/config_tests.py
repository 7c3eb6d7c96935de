"""`rawgate test`: the configuration's own [[tests]], one line each, then a count.

All goes to stdout: the report is what was asked for. `check` runs the same tests and shows only those that failed.

Status 0 also when there are no tests. pytest has a status of its own for that (5), because there it usually means a
mistyped path; a configuration without tests is an ordinary one, and the last line says that there are none.
"""

import argparse
import os
import sys
from pathlib import Path
from time import time
from typing import TYPE_CHECKING

from rawgate.cli.arguments import add_config, command
from rawgate.config.load import load
from rawgate.offline.config_tests import Report, Result, run_tests
from rawgate.offline.page import Page, visible, wants_colour
from rawgate.serve.clock import HttpDate, RequestIds
from rawgate.serve.load import Loaded, compile_draft

if TYPE_CHECKING:
    from rawgate.cli.arguments import Commands

EXAMPLES = """\
  rawgate test
  JWT_SECRET=… rawgate test conf/rawgate.toml

A test in the configuration:

  [[tests]]
  request = "GET /api/users/7?x=1"       # or "GET http://api.example.com/…", to name the host
  claims = { sub = "alice" }             # or api_key = "NAME"; stands in for a verified credential; or neither
  expect = { route = "/api/users", path = "/v2/users/7?x=1", headers = { X-User-Id = "alice" } }

  [[tests]]
  request = "GET /api/users/7"
  expect = { status = 401, reason = "auth_missing" }

  [[tests]]
  request = "OPTIONS /api/users"         # a preflight, as a browser sends it
  headers = { Origin = "https://app.example.com", Access-Control-Request-Method = "PUT" }
  expect = { status = 204, headers = { Access-Control-Allow-Origin = "https://app.example.com" } }

from = "203.0.113.7" says where a request comes from, at = 2027-01-01T00:00:00Z when, times = 101 how often: what
is expected is of the last one. claims take any JSON value, so that the body of a token can be pasted:
{ sub = "alice", groups = ["a"] }. Dates in them are not looked at. A credential in headers is checked where
neither claims nor api_key stand in for it.
In expect, path and headers are those that the upstream gets; of a request that the gateway answers itself,
headers are those of its answer. A header expected as "" must not be there. A request that is refused fails its
test, unless a status or reason is expected: { route = "/api/users", status = 401 }. No upstream is needed, so a
request that is forwarded has no status: expect its route or path, or reason = "ok". Secrets are as for `run`.
Exit status 0 when all pass, else 1.
"""
WIDTH = 36
"""Columns of an expected value. A longer value moves what was got further to the right; it is not cut, since the
difference may be at its end."""


def add(commands: "Commands") -> None:
    add_config(command(commands, "test", "run the configuration's own [[tests]]", EXAMPLES, _call))


def _call(arguments: argparse.Namespace) -> int:
    _, report = try_config(arguments.config)
    fd = sys.stdout.fileno()
    page = Page(fd, colour=wants_colour(os.environ, is_terminal=os.isatty(fd)))
    for result in report.results:
        show(page, arguments.config, result)
    page.line(summary(report))
    if report.unreached:
        page.line(f"no test reaches: {', '.join(report.unreached)}")
    page.end()
    return 1 if report.failed else 0


def try_config(path: Path) -> tuple[Loaded, Report]:
    """Load a configuration and run its tests. Raises ConfigError."""
    # The draft, since it knows the line of each test in the file.
    draft = load(path, os.environ)
    new_id = RequestIds()
    loaded = compile_draft(draft, new_id=new_id, date=HttpDate())
    return loaded, run_tests(loaded, draft.line, new_id=new_id, wall=time())


def show(page: Page, path: Path, result: Result) -> None:
    """Write one test, and below a failed one each difference: expected, then got."""
    request = visible(result.request)
    if not result.differences:
        page.line(f"{page.paint('✓', 'green')} {request}")
        return
    page.line(f"{page.paint('✗', 'red')} {request}  {page.paint(f'{path}:{result.line}', 'dim')}")
    names = max(len("expected"), *(len(difference.what) for difference in result.differences))
    page.line(page.paint(f"    {'':<{names}}  {'expected':<{WIDTH}}  got", "dim"))
    for difference in result.differences:
        expected, got = visible(difference.expected) or "nothing", visible(difference.got) or "nothing"
        page.line(f"    {difference.what:<{names}}  {expected:<{WIDTH}}  {page.paint(got, 'red')}")


def summary(report: Report) -> str:
    """`5 tests: 4 passed, 1 failed`."""
    count, failed = len(report.results), len(report.failed)
    if not count:
        return "no tests: write some under [[tests]]; `rawgate test --help` shows how"
    said = f"{count} test{'s' * (count != 1)}: {count - failed} passed"
    return f"{said}, {failed} failed" if failed else said
