"""What the README tells of the code is true of the code."""

import re
from pathlib import Path

from rawgate.errors import REASONS

README = (Path(__file__).parent.parent / "README.md").read_text()


def test_every_reason_stands_in_the_table_with_its_status_and_sentence() -> None:
    rows = {
        row[0]: row[1:] for row in re.findall(r"^\| `(\w+)` \| ([^|]+) \| ([^|]+) \| ([^|]+) \|$", README, re.MULTILINE)
    }
    assert list(rows) == list(REASONS)
    for code, (status, fault, sentence) in rows.items():
        reason = REASONS[code]
        # Where the reply is silent on purpose, the README explains the log.
        assert (sentence == reason.detail) == (reason.public == code or code == "auth_expired"), code
        assert fault == ("–" if reason.fault == "none" else reason.fault)
        assert str(reason.status) in status or "the upstream's" in status


def test_the_modules_that_it_names_exist() -> None:
    root = Path(__file__).parent.parent / "rawgate"
    rooms = {path.name for path in root.iterdir() if path.is_dir()}
    named = {name for name in re.findall(r"`(\w+\.\w+)`", README) if name.partition(".")[0] in rooms}
    assert named
    for name in named:
        assert (root / f"{name.replace('.', '/')}.py").is_file(), name
