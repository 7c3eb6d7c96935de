"""Configurations that come with rawgate, as package data: there in a checkout, a wheel and a single-file binary."""

from importlib.resources import files


def sample_text(name: str) -> str:
    """The sample of that name, as it is written. Read where it lies: from a binary, no file is unpacked for it."""
    return (files("rawgate.config") / "sample_files" / f"{name}.toml").read_text("utf-8")
