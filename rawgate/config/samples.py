"""Configurations that come with rawgate as package data, in a checkout, a wheel and the single-file binary."""

from importlib.resources import files


def sample_text(name: str) -> str:
    """The text of a sample. It is read in place: the single-file binary unpacks no file for it."""
    return (files("rawgate.config") / "sample_files" / f"{name}.toml").read_text("utf-8")
