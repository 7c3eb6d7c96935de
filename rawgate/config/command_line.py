"""Arguments of commands in the notations of the configuration: "90s", "file:PATH". Raises InvalidError."""

from collections.abc import Mapping
from pathlib import Path

from rawgate.config import sources, units
from rawgate.config.constraints import Duration, Source
from rawgate.config.context import Context
from rawgate.config.files import Files
from rawgate.config.model import Secret


def duration(text: str) -> float:
    """Seconds; negative with a minus sign before them."""
    span = units.duration(Duration(), text.removeprefix("-"), _scene({}))
    return -span if text.startswith("-") else span


def secret(text: str, environ: Mapping[str, str]) -> Secret:
    """Key material; a relative path starts at the current folder."""
    return sources.source(Source(), text, _scene(environ))


def _scene(environ: Mapping[str, str]) -> Context:
    return Context(folder=Path(), environ=environ, files=Files(), plain_numbers=False, merge_slashes=True, names={})
