"""Configurations that come with rawgate."""

import tomllib

import pytest

from rawgate.config.samples import sample, sample_text


def test_a_sample_is_a_file_and_a_text() -> None:
    with sample("demo") as path:
        assert path.suffix == ".toml"
        assert path.read_text("utf-8") == sample_text("demo")
    assert "routes" in tomllib.loads(sample_text("demo"))


def test_a_sample_that_is_not_there() -> None:
    with pytest.raises(FileNotFoundError):
        sample_text("none")
