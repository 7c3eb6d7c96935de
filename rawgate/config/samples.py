"""Configurations that come with rawgate, as package data: there in a checkout, a wheel and a single-file binary."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import as_file, files
from pathlib import Path


@contextmanager
def sample(name: str) -> Iterator[Path]:
    """The sample of that name as a file, for as long as the block lasts."""
    with as_file(files("rawgate.config") / "sample_files" / f"{name}.toml") as path:
        yield path


def sample_text(name: str) -> str:
    """The sample of that name, as it is written."""
    with sample(name) as path:
        return path.read_text("utf-8")
