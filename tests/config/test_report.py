"""Every mistake that a configuration can make, and the exact words that it gets: `tests/cases/config_reports.toml`.

What a snippet does not bring itself (a gateway, an upstream, a route, a verifier) is added below it, so that the lines
of its report are its own.
"""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from rawgate.config.load import load

REST = {
    "gateway": '[gateway]\nlisten = ["127.0.0.1:8080"]',
    "upstreams": '[upstreams.users]\ntargets = ["http://127.0.0.1:3001"]',
    "routes": '[[routes]]\nprefix = "/rest"\nupstream = "users"\nauth = "none"',
    "jwt": '[jwt.main]\nalgorithm = "HS256"\nsecret = "env:JWT_SECRET"',
}
ENVIRON = {"JWT_SECRET": "correct horse battery staple, twice over", "EMPTY": "", "API_KEYS": "team:k1"}

CASES = tomllib.loads((Path(__file__).parents[1] / "cases" / "config_reports.toml").read_text("utf-8"))["case"]


def brings(snippet: str, section: str) -> bool:
    header = rf"^\[+{section}(?!\.limits\]|\.timeouts\])[\].]"
    return re.search(rf"{header}|^{section} =", snippet, re.MULTILINE) is not None


def report(folder: Path, snippet: str) -> list[str]:
    file = folder / "c.toml"
    rest = [text for section, text in REST.items() if not brings(snippet, section)]
    file.write_text("\n".join([snippet.rstrip("\n"), *rest]), "utf-8")
    draft = load(file, ENVIRON)
    lines = [line.removeprefix(f"{folder}/c.toml:") for line in draft.report(draft.problems)]
    return [line.replace(str(folder), "FOLDER") for line in lines]


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_report(tmp_path: Path, case: dict[str, Any]) -> None:
    assert report(tmp_path, case["toml"]) == case["report"]
