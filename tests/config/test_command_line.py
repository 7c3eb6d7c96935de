"""The configuration's notations on a command line."""

from pathlib import Path

import pytest

from rawgate.config import command_line
from rawgate.config.invalid import InvalidError


@pytest.mark.parametrize(("text", "seconds"), [("250ms", 0.25), ("90s", 90.0), ("1h", 3600.0), ("-5m", -300.0)])
def test_a_duration(text: str, seconds: float) -> None:
    assert command_line.duration(text) == seconds


@pytest.mark.parametrize("text", ["", "-", "--5m", "5", "soon", "0s", "5 m"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(InvalidError):
        command_line.duration(text)


def test_a_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "key.pem").write_bytes(b"key\n")
    monkeypatch.chdir(tmp_path)
    assert command_line.secret("file:key.pem", {}).value == b"key\n"
    assert command_line.secret("env:KEY", {"KEY": "other"}).value == b"other"


@pytest.mark.parametrize("text", ["file:none.pem", "env:NONE", "https://keys.test/key.pem"])
def test_what_is_no_secret(text: str) -> None:
    with pytest.raises(InvalidError):
        command_line.secret(text, {})


def test_a_key_that_was_written_out_is_not_repeated() -> None:
    with pytest.raises(InvalidError) as error:
        command_line.secret("hunter2", {})
    assert "hunter2" not in str(error.value)
