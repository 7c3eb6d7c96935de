"""The page about storms shows every storm before every gateway, and the configuration that rawgate had."""

import re
from pathlib import Path

import pytest

from tools.storming.contenders import BREAKER, CONTENDERS, RAWGATE
from tools.storming.storms import STORMS, Storm

PAGE = (Path(__file__).parents[1] / "rawgate/storms.md").read_text("utf-8")


@pytest.mark.parametrize("first", ["requests", "load %"])
def test_the_tables_are_whole(first: str) -> None:
    found = re.search(rf"^\| storm \| gateway \| {first}[^\n]*\n\|[^\n]*\n((?:\|[^\n]*\n)+)", PAGE, re.MULTILINE)
    assert found
    rows = [tuple(cell.strip() for cell in row.split("|")[1:3]) for row in found[1].splitlines()]
    assert rows == [(storm.name, contender.name) for storm in STORMS for contender in CONTENDERS]


@pytest.mark.parametrize("storm", STORMS, ids=[storm.name for storm in STORMS])
def test_each_storm_is_described(storm: Storm) -> None:
    assert re.search(rf"^\*\*{storm.name}\*\*: ", PAGE, re.MULTILINE)


def test_the_configuration_is_the_one_that_was_measured() -> None:
    shown = PAGE.split("```toml\n")[1].split("```")[0].splitlines()
    assert shown[0] in RAWGATE
    measured = RAWGATE.replace("{{", "{").replace("}}", "}").split("]\nconnect_timeout")[1].split("\n{breaker}")[0]
    assert "\n".join(shown[1:]) == f"connect_timeout{measured}"
    assert f"`{BREAKER.strip()}`" in PAGE
