"""The first Python code of the single file: makes what is in its archive importable, then calls rawgate.

The archive's entry `start` says where things are, marshalled, and the archive's comment where that is: zipimport would
read the whole directory of the archive to find out, which takes a twelfth of a start. It is given that directory here.

Modules of Python that most starts import are stored uncompressed, and read from where they are without zipimport, which
looks for six spellings of each. It finds the others.

The system loads shared objects from files only. So each is copied into a file in memory (memfd_create(2)) when it is
first imported. The kernel copies (sendfile(2)), in half the time that reading and writing take. Nothing is written to a
disk: there is nothing to clean up, however the process ends, and no folder has to be writable or allow execution. They
are stored uncompressed too, as `shared/DOTTED.NAME`. `shared/libraries/NAME` are the libraries that they need beyond
the C library. The system's loader accepts a library that is already in memory in place of the one that it looks for,
because it compares the names inside (DT_SONAME).

The code of the compiled modules of rawgate is part of the launcher: `rawgate__mypyc`, which makes each of them when it
is asked. So calls between it and CPython are direct, and what is called lies together in memory.

`start` has besides the regular expressions of a start, compiled (see `tools.binary.patterns`).

The name of this module, `rawgate_loader`, and the launcher's module `rawgate_libraries` cannot be taken for a module
that a configuration in Python imports. It is part of the launcher, with `encodings`, which CPython imports before it.
"""

# Nothing but what is built in or frozen can be imported before the finder is there.
import encodings
import gc
import marshal
import os
import sys
import zipimport
from _frozen_importlib import ModuleSpec, spec_from_loader
from _frozen_importlib_external import ExtensionFileLoader

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import CodeType, ModuleType

ARCHIVE = "/proc/self/exe"
COMMENT = 32
HEADER = 16
"""As in `tools.binary.build`."""

launcher = __import__("rawgate_libraries")
"""The launcher's functions: `load` loads a shared library and keeps it loaded, `start` makes a module of rawgate."""

COMPILED_CODE = __import__("rawgate__mypyc")
COMPILED_CODE.__file__ = f"{ARCHIVE}/rawgate__mypyc.so"
"""Its modules derive their own `__file__` from that of the library that they expect to be in."""


def octets_of(start: int, size: int) -> bytes:
    """Part of the file; a negative `start` counts from its end."""
    with open(ARCHIVE, "rb", 0) as file:  # noqa: PTH123 - pathlib is not imported yet
        file.seek(start, os.SEEK_SET if start >= 0 else os.SEEK_END)
        return file.read(size)


(MODULES, COMPILED, SHARED, PATTERNS, DIRECTORY) = marshal.loads(  # noqa: S302 - our own file
    octets_of(*map(int, octets_of(-COMMENT, COMMENT).split()))
)


class Finder:
    """Finds modules in the archive (`sys.meta_path`): those that most starts import, and compiled ones."""

    def __init__(self) -> None:
        self._loaders: dict[str, StartLoader] = {}
        self._loaded: set[str] = set()
        self._copies = 0

    def find_spec(
        self, name: str, path: "Sequence[str] | None" = None, target: "ModuleType | None" = None
    ) -> ModuleSpec | None:
        if name in MODULES:
            return self._of_a_start(name)
        if name in COMPILED:
            return ModuleSpec(name, CompiledLoader(name, ARCHIVE), origin=ARCHIVE)
        if name not in SHARED:
            return None
        for library in SHARED[name][2]:
            if library not in self._loaded:
                copy, place = self._in_memory(library)
                launcher.load(place)
                os.close(copy)
                self._loaded.add(library)
        loader = MemoryFileLoader(name, *self._in_memory(name))
        return ModuleSpec(name, loader, origin=loader.path)

    def _of_a_start(self, name: str) -> ModuleSpec | None:
        """As zipimport describes it."""
        place = f"{ARCHIVE}/{name.replace('.', '/')}"
        folder, is_package = place.rpartition("/")[0], MODULES[name][2]
        if folder not in self._loaders:
            self._loaders[folder] = StartLoader(folder)
        origin = f"{place}/__init__.pyc" if is_package else f"{place}.pyc"
        spec = spec_from_loader(name, self._loaders[folder], origin=origin, is_package=is_package)
        if spec is not None:
            spec.has_location = True
            if spec.submodule_search_locations is not None:
                spec.submodule_search_locations.append(place)
        return spec

    def _in_memory(self, name: str) -> tuple[int, str]:
        """Copy one entry into memory. Returns the descriptor, and a path to it that is used once only: the system's
        loader remembers paths, and a descriptor's number is reused after it was closed."""
        start, size, _ = SHARED[name]
        copy = os.memfd_create(name.rpartition("/")[2])
        source = os.open(ARCHIVE, os.O_RDONLY)
        while size:
            sent = os.sendfile(copy, source, start, size)
            start, size = start + sent, size - sent
        os.close(source)
        self._copies += 1
        return copy, f"/proc/self/{'./' * self._copies}fd/{copy}"


class StartLoader(zipimport.zipimporter):
    """Loads modules of one folder that are known beforehand, and all else of it as zipimport does."""

    def get_code(self, fullname: str) -> "CodeType":
        start, size, _ = MODULES[fullname]
        code: CodeType = marshal.loads(octets_of(start + HEADER, size - HEADER))  # noqa: S302 - our own file
        return code


class CompiledLoader(ExtensionFileLoader):
    """Loads a module of rawgate that mypyc has compiled."""

    def create_module(self, spec: ModuleSpec) -> "ModuleType":
        module: ModuleType = launcher.start(getattr(COMPILED_CODE, f"init_{spec.name.replace('.', '___')}"))
        return module

    def exec_module(self, module: "ModuleType") -> None:
        """It is executed when it is made."""


class MemoryFileLoader(ExtensionFileLoader):
    """Loads a module, then closes the descriptor of its file in memory."""

    def __init__(self, name: str, copy: int, path: str) -> None:
        super().__init__(name, path)
        self._copy = copy

    def create_module(self, spec: ModuleSpec) -> "ModuleType":
        try:
            return super().create_module(spec)
        finally:
            os.close(self._copy)


gc.disable()  # `rawgate.cli.main` says why, and enables it
vars(zipimport)["_zip_directory_cache"][ARCHIVE] = DIRECTORY
encodings.__path__.append(f"{ARCHIVE}/encodings")  # the others of them are in the archive
sys.meta_path.insert(-1, Finder())  # before what looks for files

# With the finder, modules can be imported as anywhere.
import re  # noqa: E402

sre = __import__("_sre")
for pattern, flags, compiled in PATTERNS:
    vars(re)["_cache"][type(pattern), pattern, flags] = sre.compile(*compiled)

from rawgate.cli.main import main  # noqa: E402 - only now it can be imported

sys.exit(main())
