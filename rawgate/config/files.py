"""The files that a configuration is made of, each read once: several processes that serve one configuration must not
find different contents, because a file is being replaced meanwhile."""

import os
from collections.abc import Mapping
from pathlib import Path

Contents = dict[str, bytes | int]
"""Absolute path → the content, or the `errno` for which it could not be read. It can be sent to another process."""


class Files:
    """Reads files, and knows afterwards what it has read.

    contents  what was read so far, or was known before
    """

    def __init__(self, known: Mapping[str, bytes | int] | None = None) -> None:
        """known: what another process has read. A file that is not in it is read."""
        self.contents: Contents = dict(known or {})

    def read(self, path: Path, most: int = -1) -> bytes:
        """The content, as it was when it was first asked for; of a longer file only so many octets. Raises OSError, and
        ValueError for what is no path."""
        # `Path.absolute` keeps "..": where folders are links it may mean another file without it.
        name = str(path.absolute())
        found = self.contents.get(name)
        if found is None:
            found = self.contents[name] = _read(path, most)
        if isinstance(found, int):
            raise OSError(found, os.strerror(found), str(path))
        return found


def _read(path: Path, most: int) -> bytes | int:
    try:
        with path.open("rb") as file:
            return file.read(most)
    except OSError as error:
        if error.errno is None:
            raise
        return error.errno
