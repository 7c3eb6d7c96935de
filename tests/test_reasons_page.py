"""The page of statuses and reasons says what `rawgate.errors` says."""

import re
from pathlib import Path

from rawgate.errors import REASONS

PAGE = (Path(__file__).parents[1] / "rawgate/reasons.md").read_text("utf-8")


def test_every_reason_stands_in_the_table_with_its_status_and_sentence() -> None:
    rows = {
        row[0]: row[1:] for row in re.findall(r"^\| `(\w+)` \| ([^|]+) \| ([^|]+) \| ([^|]+) \|$", PAGE, re.MULTILINE)
    }
    assert list(rows) == list(REASONS)
    for code, (status, fault, sentence) in rows.items():
        reason = REASONS[code]
        # Where the reply is silent on purpose, the page explains the log.
        assert (sentence == reason.detail) == (reason.public == code or code == "auth_expired"), code
        assert fault == ("–" if reason.fault == "none" else reason.fault)
        assert str(reason.status) in status or "the upstream's" in status
