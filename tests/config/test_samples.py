"""Configurations that come with rawgate."""

import tomllib
from pathlib import Path

import pytest

from rawgate.config.load import load, load_content
from rawgate.config.samples import sample_text


def test_a_sample_is_a_configuration() -> None:
    assert "routes" in tomllib.loads(sample_text("demo"))


def test_a_sample_that_is_not_there() -> None:
    with pytest.raises(FileNotFoundError):
        sample_text("none")


def test_content_is_loaded_as_its_file_would_be(tmp_path: Path) -> None:
    path = tmp_path / "demo.toml"
    path.write_text(sample_text("demo"))
    assert load(path, {}) == load_content(path, path.read_bytes(), {})
