"""The first Python code of the single file: makes compiled modules importable, then calls rawgate.

zipimport reads Python modules from the archive, but the system loads shared objects from files only. So each shared
object is copied into a file in memory (memfd_create(2)) when it is first imported. The kernel copies (sendfile(2)), in
half the time that reading and writing take. Nothing is written to a disk: there is nothing to clean up, however the
process ends, and no folder has to be writable or allow execution.

The archive holds them uncompressed, as `shared/DOTTED.NAME`. `shared/libraries/NAME` are the libraries that they need
beyond the C library. `shared/index` has a line for each: its name, where it begins in the file, its size, and which
libraries it needs. The system's loader accepts a library that is already in memory in place of the one that it looks
for, because it compares the names inside (DT_SONAME).

The Python modules that every start imports are stored uncompressed too: it is faster, and those that are imported
before `zlib` could not be read otherwise.

Its name in the archive, `rawgate_loader`, and the launcher's module `rawgate_libraries` cannot be taken for a module
that a configuration in Python imports.

`patterns` holds the regular expressions of a start, compiled (see `tools.binary.patterns`).
"""

import gc
import marshal
import os
import re
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.machinery import ExtensionFileLoader, ModuleSpec
from types import ModuleType
from zipimport import zipimporter

ARCHIVE = "/proc/self/exe"

load = import_module("rawgate_libraries").load
"""The launcher's function: loads a shared library and keeps it loaded."""


class SharedObjectFinder:
    """Finds compiled modules in the archive (`sys.meta_path`)."""

    def __init__(self, archive: zipimporter) -> None:
        lines = [line.split() for line in archive.get_data("shared/index").decode().splitlines()]
        self._places = {name: (int(start), int(size)) for name, start, size, *_ in lines}
        self._needs = {name: needed for name, _, _, *needed in lines}
        self._loaded: set[str] = set()
        self._copies = 0

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name not in self._needs:
            return None
        for library in self._needs[name]:
            if library not in self._loaded:
                copy, place = self._in_memory(library)
                load(place)
                os.close(copy)
                self._loaded.add(library)
        loader = MemoryFileLoader(name, *self._in_memory(name))
        return ModuleSpec(name, loader, origin=loader.path)

    def _in_memory(self, name: str) -> tuple[int, str]:
        """Copy one entry into memory. Returns the descriptor, and a path to it that is used once only: the system's
        loader remembers paths, and a descriptor's number is reused after it was closed."""
        start, size = self._places[name]
        copy = os.memfd_create(name.rpartition("/")[2])
        source = os.open(ARCHIVE, os.O_RDONLY)
        while size:
            sent = os.sendfile(copy, source, start, size)
            start, size = start + sent, size - sent
        os.close(source)
        self._copies += 1
        return copy, f"/proc/self/{'./' * self._copies}fd/{copy}"


class MemoryFileLoader(ExtensionFileLoader):
    """Loads a module, then closes the descriptor of its file in memory."""

    def __init__(self, name: str, copy: int, path: str) -> None:
        super().__init__(name, path)
        self._copy = copy

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        try:
            return super().create_module(spec)
        finally:
            os.close(self._copy)


gc.disable()  # `rawgate.cli.main` says why, and enables it
archive = zipimporter(ARCHIVE)
compile_code = import_module("_sre").compile
sys.meta_path.append(SharedObjectFinder(archive))
for pattern, flags, compiled in marshal.loads(archive.get_data("patterns")):  # noqa: S302 - our own file
    vars(re)["_cache"][type(pattern), pattern, flags] = compile_code(*compiled)

from rawgate.cli.main import main  # noqa: E402 - only now it can be imported

sys.exit(main())
