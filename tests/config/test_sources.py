"""Key material from where it is kept, octet by octet."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rawgate.config.constraints import Source
from rawgate.config.context import Context
from rawgate.config.files import Files
from rawgate.config.invalid import InvalidError
from rawgate.config.model import Secret
from rawgate.config.sources import source


def context(folder: Path, **environ: str) -> Context:
    return Context(folder=folder, environ=environ, files=Files(), plain_numbers=False, merge_slashes=True, names={})


BINARY = bytes(range(128, 191)) + b"\n"

TAKEN = [
    pytest.param(b"key", b"key", b"key", id="alone"),
    pytest.param(b"key\n", b"key", b"key\n", id="line end"),
    pytest.param(b"key\r\n", b"key", b"key\r\n", id="line end of Windows"),
    pytest.param(b"key\n\r\n\n", b"key", b"key\n\r\n\n", id="line ends"),
    pytest.param(b"\xef\xbb\xbfkey\r\n", b"key", b"key\r\n", id="byte-order mark"),
    pytest.param(b"two words", b"two words", b"two words", id="blank inside"),
    pytest.param(b"'tis\"", b"'tis\"", b"'tis\"", id="quotes that do not match"),
    pytest.param(b'"', b'"', b'"', id="one quote"),
    pytest.param("schlüssel\n".encode(), "schlüssel".encode(), "schlüssel\n".encode(), id="beyond ASCII"),
    pytest.param(BINARY, BINARY, BINARY, id="no text"),
    pytest.param("\u200b\x01\n".encode(), "\u200b\x01\n".encode(), "\u200b\x01\n".encode(), id="no text that is UTF-8"),
    pytest.param(b"\x00key\n", b"\x00key\n", b"\x00key\n", id="control characters"),
    pytest.param(
        b"\xef\xbb\xbf\x01\n", b"\xef\xbb\xbf\x01\n", b"\xef\xbb\xbf\x01\n", id="octets that begin like a mark"
    ),
    pytest.param(b"\xff\xfe" + BINARY, b"\xff\xfe" + BINARY, b"\xff\xfe" + BINARY, id="octets that begin like UTF-16"),
]


@pytest.mark.parametrize(("content", "secret", "document"), TAKEN)
def test_what_is_meant_is_taken(tmp_path: Path, content: bytes, secret: bytes, document: bytes) -> None:
    (tmp_path / "key").write_bytes(content)
    assert source(Source(whole=True), "file:key", context(tmp_path)) == Secret("file:key", secret)
    assert source(Source(), "file:key", context(tmp_path)) == Secret("file:key", document)
    if b"\0" not in content:
        environ = {"KEY": content.decode("utf-8", "surrogateescape")}
        assert source(Source(whole=True), "env:KEY", context(tmp_path, **environ)).value == secret


REFUSED = [
    (b"\n", "is blank"),
    (b"key\\n", "ends with a backslash and an n, which would be a part of it (expected none)"),
    (b" " * 40, "is blank"),
    (b"\t\r\n ", "is blank"),
    (b" key", "starts or ends with a blank (expected none)"),
    (b"key \n", "starts or ends with a blank (expected none)"),
    (b"key\t", "starts or ends with a blank (expected none)"),
    (b'"key"\n', "has quotes around it, which would be a part of it (expected none)"),
    (b"'key'", "has quotes around it, which would be a part of it (expected none)"),
    ("“key”\n".encode(), "has quotes around it, which would be a part of it (expected none)"),
    ("key\u00a0\n".encode(), "holds U+00A0, which nobody sees and which would be a part of it (expected none)"),
    ("\u200bkey".encode(), "holds U+200B, which nobody sees and which would be a part of it (expected none)"),
    ("k\u00adey".encode(), "holds U+00AD, which nobody sees and which would be a part of it (expected none)"),
    ("key\r\n".encode("utf-16"), "is text in UTF-16, as PowerShell writes it (expected UTF-8)"),
    (b"\xfe\xff" + "key".encode("utf-16-be"), "is text in UTF-16, as PowerShell writes it (expected UTF-8)"),
]


@pytest.mark.parametrize(("content", "why"), REFUSED)
def test_what_may_be_meant_in_two_ways_is_refused(tmp_path: Path, content: bytes, why: str) -> None:
    (tmp_path / "key").write_bytes(content)
    with pytest.raises(InvalidError) as refused:
        source(Source(whole=True), "file:key", context(tmp_path))
    assert str(refused.value) == f'the file "key" {why}'


def test_a_document_may_hold_what_nobody_sees(tmp_path: Path) -> None:
    (tmp_path / "keys").write_bytes("\ufeff# notre\u00a0clé\n".encode())
    assert source(Source(), "file:keys", context(tmp_path)).value == "# notre\u00a0clé\n".encode()


def test_what_has_no_end_is_no_key(tmp_path: Path) -> None:
    with pytest.raises(InvalidError, match="is larger than any key or key set"):
        source(Source(), "file:/dev/zero", context(tmp_path))


def test_nothing_is_no_key(tmp_path: Path) -> None:
    (tmp_path / "key").touch()
    with pytest.raises(InvalidError, match='the file "key" is empty'):
        source(Source(), "file:key", context(tmp_path))
    with pytest.raises(InvalidError, match='the environment variable "KEY" is empty'):
        source(Source(), "env:KEY", context(tmp_path, KEY=""))


def test_a_missing_file_is_said_with_its_place(tmp_path: Path) -> None:
    with pytest.raises(InvalidError) as refused:
        source(Source(), "file:keys/a", context(tmp_path))
    assert str(refused.value).endswith(f"cannot be read: No such file or directory (looked for at {tmp_path}/keys/a)")


def test_an_absolute_path(tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(b"k")
    assert source(Source(), f"file:{tmp_path}/key", context(Path("elsewhere"))).value == b"k"


def test_a_variable_that_is_no_text_is_taken_as_it_is(tmp_path: Path) -> None:
    # What is not UTF-8 in the environment reaches Python as surrogates.
    value = source(Source(whole=True), "env:KEY", context(tmp_path, KEY="é\udcff\n")).value
    assert value == b"\xc3\xa9\xff\n"


@given(st.text().filter(lambda text: not text.startswith(("env:", "file:"))))
def test_a_secret_written_out_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(InvalidError) as refused:
        source(Source(), f"{text}hunter2", context(Path()))
    assert "hunter2" not in str(refused.value)


def test_a_secret_is_not_shown() -> None:
    secret = Secret("env:KEY", b"hunter2")
    assert f"{secret} {secret!r} {[secret]}" == "<secret env:KEY> <secret env:KEY> [<secret env:KEY>]"
