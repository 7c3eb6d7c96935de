"""Messages to begin with: the conformance cases, and heads as real clients and servers send them."""

import json
from pathlib import Path

CASES = Path(__file__).parents[2] / "tests" / "cases"
FILES = ("http_cases.jsonl", "http_cases_own.jsonl", "real_heads.jsonl")

_LONGEST = 4096
"""Octets. Longer messages test a limit by their size: mutating them is slow and finds nothing new."""


def messages(side: str) -> list[bytes]:
    """The messages of one side, "request" or "response"."""
    rows = [json.loads(line) for name in FILES for line in (CASES / name).read_text().splitlines()]
    found = [octets(row["raw"]) for row in rows if row["side"] == side]
    return [message for message in found if len(message) <= _LONGEST]


def octets(text: str) -> bytes:
    """The octets of a row's `raw`, in which they are escaped."""
    return text.encode("latin-1").decode("unicode_escape").encode("latin-1")
