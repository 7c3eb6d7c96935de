"""Key material from where it is kept, octet by octet."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rawgate.config.marks import Source
from rawgate.config.model import Secret
from rawgate.config.scene import Scene
from rawgate.config.sources import source
from rawgate.config.unfit import UnfitError


def scene(folder: Path, **environ: str) -> Scene:
    return Scene(folder=folder, environ=environ, plain_numbers=False, merge_slashes=True, names={})


@pytest.mark.parametrize(
    ("content", "stripped"),
    [
        (b"key", b"key"),
        (b"key\n", b"key"),
        (b"key\r\n", b"key"),
        (b"key\n\n", b"key\n"),
        (b" key \n", b" key "),
        (b"\xff\x00\r", b"\xff\x00\r"),
    ],
)
def test_one_line_end_is_the_editors(tmp_path: Path, content: bytes, stripped: bytes) -> None:
    (tmp_path / "key").write_bytes(content)
    assert source(Source(strip=True), "file:key", scene(tmp_path)) == Secret("file:key", stripped)
    assert source(Source(), "file:key", scene(tmp_path)) == Secret("file:key", content)


def test_a_file_with_nothing_but_a_line_end_is_empty(tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(b"\n")
    with pytest.raises(UnfitError, match='the file "key" is empty'):
        source(Source(strip=True), "file:key", scene(tmp_path))


def test_an_absolute_path(tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(b"k")
    assert source(Source(), f"file:{tmp_path}/key", scene(Path("elsewhere"))).value == b"k"


def test_a_variable_is_taken_as_it_is(tmp_path: Path) -> None:
    # What is not UTF-8 in the environment reaches Python as surrogates.
    value = source(Source(strip=True), "env:KEY", scene(tmp_path, KEY="é\udcff\n")).value
    assert value == b"\xc3\xa9\xff\n"


@given(st.text().filter(lambda text: not text.startswith(("env:", "file:"))))
def test_a_secret_written_out_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(UnfitError) as refused:
        source(Source(), f"{text}hunter2", scene(Path()))
    assert "hunter2" not in str(refused.value)


def test_a_secret_is_not_shown() -> None:
    secret = Secret("env:KEY", b"hunter2")
    assert f"{secret} {secret!r} {[secret]}" == "<secret env:KEY> <secret env:KEY> [<secret env:KEY>]"
