"""The changes that no test can notice: `equivalent.toml`, with the reason for each.

    [[same]]
    module = "rawgate/wire/body.py"
    function = "ChunkedReader.feed"
    change = "if a < b: → if a <= b:"
    why = "…"

An entry holds for a change of that module and function by its text, wherever it stands.
"""

import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from tools.mutating.changes import Mutant

FILE = Path(__file__).with_name("equivalent.toml")


class Key(NamedTuple):
    module: str
    function: str
    change: str


def key(mutant: Mutant) -> Key:
    return Key(mutant.module, mutant.function, mutant.change)


def read(text: str) -> dict[Key, str]:
    """Change → why nobody can notice it."""
    found: dict[Key, str] = {}
    for entry in tomllib.loads(text)["same"]:
        if set(entry) != {"module", "function", "change", "why"} or not all(entry.values()):
            raise ValueError(f"an entry has module, function, change and why: {entry}")
        found[Key(entry["module"], entry["function"], entry["change"])] = entry["why"]
    return found


def stale(listed: Iterable[Key], possible: Iterable[Mutant]) -> list[Key]:
    """Entries for what cannot be changed any more."""
    keys = {key(mutant) for mutant in possible}
    return [entry for entry in listed if entry not in keys]
