"""The maps in the packages' docstrings: each module of a room stands in its room's map, and nothing else does."""

import importlib
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from pkgutil import resolve_name
from types import ModuleType

import pytest

import rawgate
from tools.core import Size, core_modules, size_of, total

PACKAGE = Path(rawgate.__file__).parent
FOLDERS = sorted(path.parent for path in PACKAGE.rglob("__init__.py") if path.parent != PACKAGE)


def parts(folder: Path) -> set[str]:
    """Modules and packages directly in a folder."""
    modules = {path.stem for path in folder.glob("*.py")} - {"__init__"}
    return modules | {path.parent.name for path in folder.glob("*/__init__.py")}


@pytest.mark.parametrize("folder", FOLDERS, ids=[str(folder.relative_to(PACKAGE)) for folder in FOLDERS])
def test_a_room_maps_its_modules(folder: Path) -> None:
    name = ".".join(["rawgate", *folder.relative_to(PACKAGE).parts])
    words = set(re.findall(r"\w+", importlib.import_module(name).__doc__ or ""))
    assert parts(folder) - words == set()


def test_the_package_maps_its_rooms() -> None:
    lines = (rawgate.__doc__ or "").splitlines()
    listed = [found[1] for line in lines if (found := re.match(r" {4}(\w+)/? {2,}\S", line))]
    assert set(listed) - {"examples"} == parts(PACKAGE) - {"__main__"}
    assert len(listed) == len(set(listed))


def test_the_top_level_of_the_tree_holds_what_it_should_and_no_more(program: Callable[[str], str]) -> None:
    """A file that somebody tries something out with does not slip in."""
    if not (PACKAGE.parent / ".git").exists():
        pytest.skip("not a checkout, so nothing tells what belongs to the tree")
    listing = [program("git"), "-C", str(PACKAGE.parent), "-c", "safe.directory=*", "ls-files"]
    files = subprocess.check_output(listing, text=True).splitlines()
    assert {name.split("/")[0] for name in files} == {
        *(".ci", ".gitignore", "LICENSE", "README.md", "pyproject.toml"),
        *("benchmarks", "rawgate", "tests", "tools"),
    }


def test_the_core_names_modules_once() -> None:
    core = core_modules()
    assert len(core) > 20
    assert len(core) == len(set(core))
    for name in core:
        assert isinstance(resolve_name(f"rawgate.{name}"), ModuleType), name


SOURCE = '''"""A module.

Of three lines of text."""

A = 1  # a line of code
"""What A is."""


class B:
    # Why it is so.
    def c(self) -> str:
        return """no
docstring"""
'''


def test_code_and_explanation_are_told_apart() -> None:
    assert size_of(SOURCE) == Size(code=5, explaining=4, functions=1)
    assert total({"a": Size(1, 2, 3), "b": Size(10, 20, 30)}) == Size(11, 22, 33)


def test_the_package_names_what_exists() -> None:
    names = re.findall(r"`((?:\w+\.)+\w+)`", rawgate.__doc__ or "")
    assert len(names) > 8
    for name in names:
        assert resolve_name(f"rawgate.{name}") is not None
    for path in re.findall(r"`([\w/-]+\.(?:md|svg))`", rawgate.__doc__ or ""):
        assert (PACKAGE / path).is_file()
