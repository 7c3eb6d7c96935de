"""Each file of a configuration is read once, and another process can be told what was in it."""

from pathlib import Path

import pytest

from rawgate.config.files import Files
from rawgate.config.load import load

TEXT = """
[gateway]
listen = ["127.0.0.1:0"]
[jwt.main]
algorithm = "HS256"
secret = "file:secret"
[upstreams.users]
targets = ["http://127.0.0.1:1"]
[[routes]]
prefix = "/"
upstream = "users"
auth = "jwt.main"
"""


def test_a_file_is_read_once(tmp_path: Path) -> None:
    path, files = tmp_path / "f", Files()
    path.write_bytes(b"one")
    assert files.read(path) == b"one"
    path.write_bytes(b"two")
    assert files.read(path) == b"one"
    assert Files(files.contents).read(path) == b"one"
    assert Files().read(path, 2) == b"tw"


def test_a_file_that_cannot_be_read_is_not_tried_again(tmp_path: Path) -> None:
    path, files = tmp_path / "f", Files()
    with pytest.raises(FileNotFoundError, match="No such file"):
        files.read(path)
    path.write_bytes(b"late")
    for found in (files, Files(files.contents)):
        with pytest.raises(FileNotFoundError, match="No such file"):
            found.read(path)
    with pytest.raises(IsADirectoryError):
        files.read(tmp_path)


def test_a_configuration_is_the_same_from_what_another_process_has_read(tmp_path: Path) -> None:
    path, secret, files = tmp_path / "c.toml", tmp_path / "secret", Files()
    path.write_text(TEXT)
    secret.write_text("0123456789abcdef0123456789abcdef")
    first = load(path, {}, files)
    path.unlink()
    secret.unlink()
    again = load(path, {}, Files(files.contents))
    assert first.config == again.config
    assert first.config is not None
    assert first.config.jwt["main"].secret
