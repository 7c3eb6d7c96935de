"""One line per request, whatever is in the request."""

import os
from pathlib import Path

import pytest

from harness.records import record as usual
from rawgate.demo.live_log import LiveLog, live_line
from rawgate.observe.line import Record
from rawgate.offline.page import Page

PLAIN = Page(1, colour=False)
COLOURED = Page(1, colour=True)


def record(
    method: bytes = b"GET",
    target: bytes = b"/api/users/7?x=1",
    status: int = 200,
    reason: str = "ok",
    route: str = "users",
    upstream: str = "users",
) -> Record:
    return usual(
        method=method,
        target=target,
        status=status,
        reason=reason,
        route=route,
        upstream=upstream,
        client_id="alice",
        duration=0.0012,
    )


def test_all_that_was_decided() -> None:
    line = live_line(PLAIN, record(upstream="accounts"))
    assert line.split() == ["GET", "/api/users/7", "200", "ok", "alice", "users", "→", "accounts", "1.2", "ms"]


def test_a_request_that_went_nowhere() -> None:
    line = live_line(PLAIN, record(b"", b"", 400, "bad_request", "", ""))
    assert line.split() == ["–", "–", "400", "bad_request", "alice", "–", "1.2", "ms"]


@pytest.mark.parametrize("page", [PLAIN, COLOURED], ids=["plain", "coloured"])
@pytest.mark.parametrize("target", [b"/\x1b[2J\x07\r\n", b"/\x9b2J\x85", bytes(range(128)).replace(b"?", b"")])
def test_nothing_that_a_terminal_would_obey(page: Page, target: bytes) -> None:
    line = live_line(page, record(b"G\x1bT", target))
    for code in ("\x1b[0m", "\x1b[32;1m", "\x1b[2m"):
        line = line.replace(code, "")
    assert line.isprintable()


@pytest.mark.parametrize("status", [101, 200, 304, 404, 502])
def test_colour_changes_nothing_but_colour(status: int) -> None:
    plain = live_line(PLAIN, record(status=status, reason="upstream_connect_failed"))
    coloured = live_line(COLOURED, record(status=status, reason="upstream_connect_failed"))
    for code in ("0", "2", "32", "32;1", "33", "33;1", "31", "31;1"):
        coloured = coloured.replace(f"\x1b[{code}m", "")
    assert coloured == plain


def test_long_values_keep_the_columns() -> None:
    long = live_line(PLAIN, record(b"M" * 40, b"/" + b"p" * 400, 502, "upstream_connect_failed", "r" * 60, "u" * 60))
    assert len(long) == len(live_line(PLAIN, record())) <= 100


def test_a_reader_who_left_is_no_error(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    LiveLog(Page(writing, colour=False)).write(record())
    os.close(writing)
