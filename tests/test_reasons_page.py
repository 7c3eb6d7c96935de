"""The page of statuses and reasons says what `rawgate.errors` says."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from rawgate.errors import REASONS

ROOT = Path(__file__).parents[1] / "rawgate"
PAGE = (ROOT / "reasons.md").read_text("utf-8")


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


NAMES = {"RequestError", "ResponseError", "request_error", "_malformed", "_too_large", "_error"}
"""What is called with a detail."""


def details() -> Iterator[tuple[str, str]]:
    """(where, text) of each detail that stands in the code as it is."""
    for path in sorted(ROOT.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and _name(node.func) in NAMES:
                for given in node.args:
                    if isinstance(given, ast.Constant) and isinstance(given.value, str):
                        yield f"{path.name}:{node.lineno}", given.value


def _name(function: ast.expr) -> str:
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def test_details_are_sentences() -> None:
    found = dict(details())
    assert len(found) > 15
    assert [where for where, text in found.items() if not re.fullmatch(r"[A-Z].*\.", text)] == []
