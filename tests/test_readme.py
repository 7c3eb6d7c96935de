"""What the README tells is true of the code, short, and leads somewhere."""

import re
from configparser import ConfigParser
from pathlib import Path

import pytest

from rawgate.config.model import Timeouts

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")
PAGES = sorted(
    path
    for folder in ("rawgate", "tests", "tools", "benchmarks")
    for path in (ROOT / folder).rglob("*.md")
    if "node_modules" not in path.parts
)


def test_it_is_read_in_one_sitting() -> None:
    assert len(README.splitlines()) <= 170


def test_the_modules_that_it_names_exist() -> None:
    root = ROOT / "rawgate"
    rooms = {path.name for path in root.iterdir() if path.is_dir()}
    named = {name for name in re.findall(r"`(\w+\.\w+)`", README) if name.partition(".")[0] in rooms}
    assert named
    for name in named:
        assert (root / f"{name.replace('.', '/')}.py").is_file(), name


def test_the_tools_that_it_names_exist() -> None:
    named = set(re.findall(r"\btools/[\w-]+(?![\w-]|\.md)", README))
    assert named
    assert [name for name in named if not (ROOT / name).is_file()] == []


def test_the_unit_is_whole_and_lets_a_stop_take_its_time() -> None:
    found = re.search(r"^```ini\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    assert found
    unit = ConfigParser(strict=False, interpolation=None)  # LoadCredential= may stand there more than once
    unit.read_string(found[1])
    assert unit.sections() == ["Unit", "Service", "Install"]
    # What a stop may take is told in rawgate/operating.md.
    assert unit.getfloat("Service", "TimeoutStopSec") >= Timeouts().pre_stop + Timeouts().drain + 5


@pytest.mark.parametrize("page", [ROOT / "README.md", *PAGES], ids=lambda path: str(path.relative_to(ROOT)))
def test_links_within_the_tree_lead_somewhere(page: Path) -> None:
    text = re.sub(r"^```.*?^```$", "", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" in link:
            continue
        name, _, heading = link.partition("#")
        target = page.parent / name if name else page
        assert target.exists(), link
        if heading:
            titles = re.findall(r"^#+ (.+)$", target.read_text("utf-8"), re.MULTILINE)
            assert heading in [re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles], link


def test_every_page_is_found_from_here() -> None:
    """A page that nothing leads to is not read."""
    seen: set[Path] = set()
    waiting = [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        seen.add(page)
        links = re.findall(r"\]\(([^)\s:#]+\.md)(?:#[^)]*)?\)", page.read_text("utf-8"))
        waiting += {(page.parent / link).resolve() for link in links} - seen
    assert [str(path) for path in PAGES if path not in seen] == []
