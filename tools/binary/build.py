"""Makes the single file: the launcher, and behind it a zip archive with the standard library, dependencies and rawgate.

`tools/build-binary` runs it with the Python of .venv, whose interpreter and packages go into the file. The modules that
every request passes through are compiled by mypyc (`aot.py`) and linked to the launcher; all others travel as CPython's
own code.
"""

import importlib.metadata
import marshal
import os
import platform
import py_compile
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Collection, Iterator
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from zipfile import ZIP_DEFLATED, ZIP_STORED, ZipFile, ZipInfo

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tools.binary.aot import COMPILED, BuildError, compile_object, run
from tools.binary.patterns import START

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
PACKAGE = ROOT / "rawgate"
STDLIB = Path(sysconfig.get_path("stdlib"))

LEFT_OUT = {
    "curses", "dbm", "distutils", "ensurepip", "idlelib", "lib-dynload", "lib2to3",
    "pydoc_data", "site-packages", "sqlite3", "test", "tests", "tkinter", "turtle.py", "turtledemo", "venv",
}  # fmt: skip
"""Parts of the standard library that are left out: tests, windows, developers' tools, databases. A configuration in
Python may import the rest."""

LEFT_OUT_SHARED = re.compile(r"_?(test|xx|tk|curses|readline|sqlite|dbm|gdbm|nis$|oss|crypt|ctypes_test|spwd)")

OF_THE_SYSTEM = re.compile(r"(linux-vdso|ld-linux|libc|libm|libdl|librt|libutil|libpthread|libresolv)\b")
"""Libraries that belong to the C library, and so are on every system where the file can run."""

OF_MANY_STARTS = (
    "rawgate.policy.certificates",
    "rawgate.policy.verifiers",
    "rawgate.serve.admin",
    "rawgate.serve.supervisor",
)
"""What many configurations have `rawgate run` import besides `START`. All these modules, and what they import, are
stored uncompressed, as compiled modules and their libraries are: decompressing takes a quarter of a start, 70 ms, and
saves a quarter of the size, 11 MB."""

EPOCH = (1980, 1, 1, 0, 0, 0)
"""The oldest date that zip can hold, for every entry: the same tree makes the same file."""


ARCHIVE = "/proc/self/exe"
"""The path by which the launcher and `loader.py` open the archive."""

HEADER = 16
"""Octets before the code in a .pyc file (PEP 552)."""

COMMENT = 32
"""Octets of the archive's comment, which ends the file: where the entry `start` begins, and its size."""

OLDEST_BOLT = 19
"""The version of LLVM's BOLT that this was tried with. Later ones are taken, too."""

FROZEN = ("encodings", "encodings.aliases", "encodings.utf_8")
"""Modules that the interpreter imports before `rawgate_loader`. Together with that they are part of the launcher."""


def main(target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    # Built beside the target and renamed onto it, so that a running file is replaced and never written to.
    with TemporaryDirectory(prefix=".rawgate-", dir=target.parent) as folder:
        work = Path(folder)
        linked = compiled_launcher(work)
        entries = Entries(work)
        optimizer = layout_optimizer()
        if optimizer is None:
            launcher = stripped(linked, work / "launcher")
        else:
            launcher = laid_out(optimizer, linked, work, entries)
        pack(launcher, entries)
        launcher.replace(target)
    sys.stdout.write(f"{target}: {target.stat().st_size / 1e6:.1f} MB\n")


class Entries:
    """What goes into the archive. `work`: a folder to make it in."""

    def __init__(self, work: Path) -> None:
        self.shared = sorted(shared_objects(work))
        self.python = sorted(python_entries(work))
        self.known = known_modules()
        self.patterns = marshal.loads(call(sys.executable, "-m", "tools.binary.patterns"))  # noqa: S302 - just written


def pack(launcher: Path, entries: Entries) -> None:
    """Append all entries to the launcher, as a zip archive."""
    plain = entries.known
    modules: dict[str, tuple[int, int, bool]] = {}
    with ZipFile(launcher, "a") as archive:
        shared = {name: (*place(archive, f"shared/{name}", content), needs) for name, content, needs in entries.shared}
        for name, content in entries.python:
            if name in plain:
                module, is_package = plain[name]
                modules[module] = (*place(archive, name, content), is_package)
            else:
                archive.writestr(ZipInfo(name, EPOCH), content, ZIP_DEFLATED)
        compiled = [str(module.with_suffix("")).replace("/", ".") for module in COMPILED]
        known = (modules, compiled, shared, entries.patterns, directory(archive))
        start = place(archive, "start", marshal.dumps(known))
        archive.comment = (b"%d %d" % start).ljust(COMMENT)


def place(archive: ZipFile, name: str, content: bytes) -> tuple[int, int]:
    """Store an entry uncompressed. Returns where its content begins in the file, and its size."""
    archive.writestr(entry := ZipInfo(name, EPOCH), content, ZIP_STORED)
    return entry.header_offset + len(entry.FileHeader()), len(content)


def directory(archive: ZipFile) -> dict[str, tuple[str, int, int, int, int, int, int, int]]:
    """What `zipimport` knows of an archive once it has read it through. It would take a twelfth of a start to do so."""
    return {
        entry.filename: (
            f"{ARCHIVE}/{entry.filename}",
            entry.compress_type,
            entry.compress_size,
            entry.file_size,
            entry.header_offset,
            *(0, 0),  # time and date, which only matter beside a source
            entry.CRC,
        )
        for entry in archive.infolist()
    }


def known_modules() -> dict[str, tuple[str, bool]]:
    """Names that the modules of most starts have in the archive → their own, and whether each is a package."""
    imports = ", ".join((*START, *OF_MANY_STARTS))
    names = call(sys.executable, "-c", f"import sys, {imports}; print(*sys.modules)").decode().split()
    return {
        name.replace(".", "/") + end: (name, is_package)
        for name in names
        for end, is_package in ((".pyc", False), ("/__init__.pyc", True))
    }


# ── the launcher ──


def compiled_launcher(work: Path) -> Path:
    """The launcher with all symbols, and with the relocations that `laid_out` needs to move code."""
    (work / "frozen.h").write_text("".join(frozen_modules(Compiler(work))))
    (work / "aot").mkdir()
    ours = compile_object(ROOT, work / "aot")
    variable = sysconfig.get_config_var
    library = Path(variable("LIBPL"), f"libpython{variable('LDVERSION')}.a")
    header = Path(variable("INCLUDEPY"), "Python.h")
    for file in (library, header):
        if not file.exists():
            raise BuildError(f"{file} is missing; on Debian: apt-get install libpython3.11-dev")
    # All of the library, with its symbols, since extension modules may use any of them.
    libpython = ["-Wl,--whole-archive", str(library), "-Wl,--no-whole-archive"]
    flags = " ".join(variable(name) for name in ("LINKFORSHARED", "MODLIBS", "LIBS", "SYSLIBS")).split()
    flags = [statically(flag) for flag in flags if "rpath" not in flag]
    # Not position-independent, as Debian's own python3 is not: its library for that lacks profile-guided optimisation,
    # which is an eighth of the CPU time that a request takes outside the kernel.
    link = ["gcc", "-O2", "-no-pie", "-Wl,--emit-relocs", f"-I{header.parent}", f"-I{work}"]
    call(*link, str(HERE / "launcher.c"), str(ours), *libpython, *flags, "-o", str(target := work / "linked"))
    return target


def layout_optimizer() -> Path | None:
    """LLVM's BOLT, which can move code of a linked program. None: it is not there; the file is built without it."""
    for name in (f"llvm-bolt-{version}" for version in range(29, OLDEST_BOLT - 1, -1)):
        found = shutil.which(name)
        if found is not None and platform.machine() == "x86_64":
            # Debian's name is a link; it finds its library only where it really is.
            return Path(found).resolve()
    sys.stdout.write(
        f"rawgate: without llvm-bolt-{OLDEST_BOLT} (Debian: bolt-{OLDEST_BOLT}) the code stays as it was linked, "
        "which takes a twentieth more CPU time per request\n"
    )
    return None


def laid_out(optimizer: Path, linked: Path, work: Path, entries: "Entries") -> Path:
    """The launcher, stripped, with the code that requests run through side by side, in the order in which it runs, and
    what they leave out behind all of it: a processor's first cache for code is far smaller than what one request needs.
    A file that counts what is run tells the order, after it has been trained (`benchmarks/train.py`)."""
    profile, counting = work / "profile", work / "counting"
    count = ["-instrument", f"-instrumentation-file={profile}", "-instrumentation-file-append-pid"]
    run([str(optimizer), str(linked), *count, "-o", str(counting)], work, failure=_NOT_LAID_OUT)
    pack(counting, entries)
    counting.chmod(0o755)
    places = {"PYTHONPATH": f"{ROOT / 'benchmarks'}:{ROOT}"}
    train = [sys.executable, str(ROOT / "benchmarks" / "train.py"), str(counting)]
    run(train, work, os.environ | places, failure=_NOT_LAID_OUT)
    merge = [str(optimizer.with_name("merge-fdata")), *map(str, work.glob("profile.*")), "-o", str(profile)]
    run(merge, work, failure=_NOT_LAID_OUT)
    # The last one: else a later `strip` would spoil the file.
    options = "-reorder-blocks=ext-tsp -reorder-functions=cdsort -split-functions -split-all-cold -icf=1 -use-gnu-stack"
    move = [str(optimizer), str(linked), "-data", str(profile), *options.split(), "-o", str(moved := work / "moved")]
    run(move, work, failure=_NOT_LAID_OUT)
    return stripped(moved, work / "launcher")


_NOT_LAID_OUT = "laying out the code failed"


def frozen_modules(compiler: "Compiler") -> Iterator[str]:
    """C: `frozen`, a table for `PyImport_FrozenModules`."""
    files = {name: Path(import_module(name).__file__ or "") for name in FROZEN}
    rows = ""
    for name, file in {**files, "rawgate_loader": HERE / "loader.py"}.items():
        code = compiler.module(file, f"{name.replace('.', '/')}.py")[HEADER:]
        yield f"static const unsigned char {name.replace('.', '_')}[] = {{{','.join(map(str, code))}}};\n"
        rows += f'{{"{name}", {name.replace(".", "_")}, {len(code)}, {int(file.stem == "__init__")}}},\n'
    yield f"static const struct _frozen frozen[] = {{\n{rows}{{0}}}};\n"


def statically(flag: str) -> str:
    """The linker flag with a static library in place of a shared one, which the target may lack: -lz → -l:libz.a."""
    name = f"lib{flag.removeprefix('-l')}"
    return f"-l:{name}.a" if flag.startswith("-l") and not OF_THE_SYSTEM.match(name) else flag


def stripped(file: Path, target: Path) -> Path:
    """Write a copy without debugging symbols, which are most of the size of a wheel's modules, and without the command
    line of the layout's optimizer."""
    call("strip", "--strip-unneeded", "--remove-section=.note.bolt_info", "-o", str(target), str(file))
    return target


def call(*command: str) -> bytes:
    """Run a program of the compiler's tool chain. Returns its standard output."""
    program = shutil.which(command[0])
    if program is None:
        raise BuildError(f"{command[0]} is missing; on Debian: apt-get install gcc binutils libc-bin")
    done = subprocess.run([program, *command[1:]], stdout=subprocess.PIPE)  # noqa: S603 - nobody else's words
    if done.returncode:
        raise BuildError(f"{command[0]} failed")
    return done.stdout


# ── what goes into the archive ──

Entry = tuple[str, bytes]


def python_entries(work: Path) -> Iterator[Entry]:
    """Everything but shared objects."""
    compiler = Compiler(work)
    yield "LICENSE", (ROOT / "LICENSE").read_bytes()
    for file in files_of(STDLIB, LEFT_OUT):
        if file.suffix == ".py" or file.name == "LICENSE.txt":
            yield from entry_of(file, str(file.relative_to(STDLIB)), compiler)
    for file in files_of(PACKAGE):
        if file.relative_to(ROOT) not in COMPILED:
            yield from entry_of(file, str(file.relative_to(ROOT)), compiler)
    for file, name in dependency_files():
        if file.suffix != ".so":
            yield from entry_of(file, name, compiler)


class Compiler:
    """Python source → a .pyc file's content, marked so that it is never compared with a source (PEP 552)."""

    def __init__(self, work: Path) -> None:
        self._target = str(work / "module.pyc")

    def module(self, file: Path, name: str) -> bytes:
        mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
        py_compile.compile(str(file), self._target, name, doraise=True, invalidation_mode=mode)
        return Path(self._target).read_bytes()


def files_of(folder: Path, left_out: Collection[str] = ()) -> Iterator[Path]:
    for inside in folder.iterdir():
        if inside.name == "__pycache__" or inside.name in left_out:
            continue
        if inside.is_dir():
            yield from files_of(inside, left_out)
        else:
            yield inside


def entry_of(file: Path, name: str, compiler: Compiler) -> Iterator[Entry]:
    """A Python module as bytecode; any other file, and the examples, unchanged."""
    if file.suffix == ".py" and "examples" not in file.parts:
        yield f"{name}c", compiler.module(file, name)
    else:
        yield name, file.read_bytes()


LEFT_OUT_PACKAGES = {"markdown-it-py", "pygments"}
"""What rich needs for things that rawgate does not ask of it: colours for source code, and Markdown. They are ten times
as large as rich."""


def dependency_files() -> Iterator[tuple[Path, str]]:
    """All files of rawgate's dependencies, direct and indirect, with their names within site-packages."""
    wanted, seen = ["rawgate"], {"rawgate"}
    while wanted:
        distribution = importlib.metadata.distribution(wanted.pop())
        # rawgate's own extras go into the file, since nobody can add one to it later.
        extras = ("metrics", "names", "store", "top") if distribution.name == "rawgate" else ("",)
        for needed in map(Requirement, distribution.requires or ()):
            name = canonicalize_name(needed.name)
            # What other Pythons need would only be imported in vain, typing-extensions for 14 ms of a start.
            is_wanted = needed.marker is None or any(needed.marker.evaluate({"extra": extra}) for extra in extras)
            if is_wanted and name not in seen | LEFT_OUT_PACKAGES:
                seen.add(name)
                wanted.append(name)
        if distribution.name == "rawgate":
            continue
        for file in distribution.files or ():
            if belongs(str(file)):
                yield Path(str(distribution.locate_file(file))), str(file)


def belongs(name: str) -> bool:
    """Whether a file goes into the archive: modules, METADATA (for `rawgate version`), and licences."""
    return name.endswith((".py", ".so", ".dist-info/METADATA")) or (".dist-info/" in name and "LICENSE" in name)


# ── compiled modules, and the libraries that they need ──


def shared_objects(work: Path) -> Iterator[tuple[str, bytes, tuple[str, ...]]]:
    """Name, content, and the names of the libraries that it needs. Those have entries of their own."""
    modules = {
        name: file
        for file in (STDLIB / "lib-dynload").iterdir()
        if not LEFT_OUT_SHARED.match(name := file.name.partition(".")[0])
    }
    modules |= {
        name.partition(".")[0].replace("/", "."): file for file, name in dependency_files() if file.suffix == ".so"
    }
    libraries: dict[str, Path] = {}
    for name, file in modules.items():
        needed = {f"libraries/{library}": place for library, place in needed_libraries(file)}
        libraries |= needed
        yield name, stripped(file, work / "shared.so").read_bytes(), tuple(needed)
    for name, file in libraries.items():
        yield name, stripped(file, work / "shared.so").read_bytes(), ()


def needed_libraries(file: Path) -> Iterator[tuple[str, Path]]:
    """Name and path of each library that a module needs beyond the C library's, dependencies first."""
    listed = call("ldd", str(file)).decode()
    # ldd lists breadth-first, so a library's own dependencies come after it.
    for line in reversed(listed.splitlines()):
        name, arrow, rest = line.strip().partition(" => ")
        if arrow and not OF_THE_SYSTEM.match(name) and not name.startswith("libpython"):
            if rest.startswith("not found"):
                raise BuildError(f"{file.name} needs {name}, which is not there")
            yield name, Path(rest.split(" (")[0])


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]).absolute())
    except BuildError as error:
        sys.exit(f"rawgate: {error}")
