"""The first Python of the single file: makes compiled modules importable, then calls rawgate.

Python's own import reads modules from the archive, but the system loads shared objects from files only. So each one is
copied into a file in memory (memfd_create(2)) when it is first imported. Nothing is ever written to a disk: there is
nothing to clean up, however the process ends, and no folder that would have to be writable or allow execution.

The archive has them as `shared/DOTTED.NAME`; `shared/libraries/NAME` are what they need beyond the C library, and
`shared/needs` says which needs which. The loader takes a library that is in memory for one that it looks for because it
knows them by the names inside (DT_SONAME).

What is imported here, and `zlib`, is stored plain: nothing that is compressed could be read before.
"""

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.machinery import ExtensionFileLoader, ModuleSpec
from types import ModuleType
from zipimport import zipimporter

ARCHIVE = "/proc/self/exe"

load = import_module("libraries").load
"""Of the launcher: loads a shared library and keeps it."""


class Shared:
    """A finder (`sys.meta_path`) of compiled modules. Every module that is in the archive is one that it knows."""

    def __init__(self, archive: zipimporter) -> None:
        self._archive = archive
        needs = archive.get_data("shared/needs").decode()
        self._needs = {name: needed for name, *needed in (line.split() for line in needs.splitlines())}
        self._loaded: set[str] = set()
        self._copies = 0

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name not in self._needs:
            return None
        for library in self._needs[name]:
            if library not in self._loaded:
                copy, place = self._in_memory(f"libraries/{library}")
                load(place)
                os.close(copy)
                self._loaded.add(library)
        loader = LoadedOnce(name, *self._in_memory(name))
        return ModuleSpec(name, loader, origin=loader.path)

    def _in_memory(self, name: str) -> tuple[int, str]:
        """A copy's descriptor, and a path to it that no other has: by its path the system's loader knows what it has
        loaded, and descriptors are given out again."""
        copy = os.memfd_create(name.rpartition("/")[2])
        content = memoryview(self._archive.get_data(f"shared/{name}"))
        while content:
            content = content[os.write(copy, content) :]
        self._copies += 1
        return copy, f"/proc/self/{'./' * self._copies}fd/{copy}"


class LoadedOnce(ExtensionFileLoader):
    """Loads a module, and gives its descriptor back."""

    def __init__(self, name: str, copy: int, path: str) -> None:
        super().__init__(name, path)
        self._copy = copy

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        try:
            return super().create_module(spec)
        finally:
            os.close(self._copy)


sys.meta_path.append(Shared(zipimporter(ARCHIVE)))

from rawgate.cli.main import main  # noqa: E402 - from here on it can be imported

sys.exit(main())
