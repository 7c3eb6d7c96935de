"""Messages to begin with: the conformance cases, and heads as real clients and servers send them."""

import json
from pathlib import Path

CASES = Path(__file__).parents[2] / "tests" / "cases"
FILES = ("http_cases.jsonl", "http_cases_own.jsonl", "real_heads.jsonl")

_LONGEST = 4096
"""Octets. What tests a limit by its size alone teaches a mutation nothing and costs the most."""


def messages(side: str) -> list[bytes]:
    """Those of one side, "request" or "response"."""
    rows = [json.loads(line) for name in FILES for line in (CASES / name).read_text().splitlines()]
    found = [octets(row["raw"]) for row in rows if row["side"] == side]
    return [message for message in found if len(message) <= _LONGEST]


def octets(text: str) -> bytes:
    """What a row means by its `raw`."""
    return text.encode("latin-1").decode("unicode_escape").encode("latin-1")
