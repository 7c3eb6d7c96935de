"""Makes the single file: the launcher, and behind it a zip archive with the standard library, dependencies and rawgate.

`tools/build-binary` runs it with the Python of .venv, whose interpreter and packages go into the file. The modules that
every request passes through are compiled by mypyc (`ahead.py`); all others travel as CPython's own code.
"""

import importlib.metadata
import py_compile
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Collection, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from zipfile import ZIP_DEFLATED, ZIP_STORED, ZipFile, ZipInfo

from tools.binary.ahead import COMPILED, BuildError, compiled_ahead

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
PACKAGE = ROOT / "rawgate"
STDLIB = Path(sysconfig.get_path("stdlib"))

LEFT_OUT = {
    "curses", "dbm", "distutils", "ensurepip", "idlelib", "lib-dynload", "lib2to3",
    "pydoc_data", "site-packages", "sqlite3", "test", "tests", "tkinter", "turtle.py", "turtledemo", "venv",
}  # fmt: skip
"""Of the standard library: tests, windows, tools of developers, databases. A Python configuration may use the rest."""

LEFT_OUT_SHARED = re.compile(r"_?(test|xx|tk|curses|readline|sqlite|dbm|gdbm|nis$|oss|crypt|ctypes_test|spwd)")

OF_THE_SYSTEM = re.compile(r"(linux-vdso|ld-linux|libc|libm|libdl|librt|libutil|libpthread|libresolv)\b")
"""Libraries that come with every Linux that has this C library."""

STORED = re.compile(
    r"boot|collections/|encodings/|importlib/|(__future__|_weakrefset|functools|keyword|operator|reprlib|types|warnings)\.|"
    r"shared/(?!libraries/)[^.]+\."
)
"""What is not compressed: what `boot` imports, which comes before `zlib`; and the compiled modules of the dependencies,
which make up most of the file and are loaded at every start: 0.1 s for 9 MB."""

EPOCH = (1980, 1, 1, 0, 0, 0)
"""The oldest date that zip knows: the same tree makes the same file."""


def main(target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    # Beside the target, so that it gets there in one step: one that is running is not written to.
    with TemporaryDirectory(prefix=".rawgate-", dir=target.parent) as work:
        pack(Path(work), unfinished := compiled_launcher(Path(work, "launcher")))
        unfinished.replace(target)
    sys.stdout.write(f"{target}: {target.stat().st_size / 1e6:.1f} MB\n")


def pack(work: Path, launcher: Path) -> None:
    """Append everything to the launcher."""
    entries = dict(sorted(all_entries(work)))
    plain = needed_for_zlib(entries["shared/needs"])
    with ZipFile(launcher, "a") as archive:
        for name, content in entries.items():
            stored = name in plain or STORED.match(name)
            archive.writestr(ZipInfo(name, EPOCH), content, ZIP_STORED if stored else ZIP_DEFLATED)


# ── the launcher ──


def compiled_launcher(target: Path) -> Path:
    variable = sysconfig.get_config_var
    library = Path(variable("LIBPL"), f"libpython{variable('LDVERSION')}.a")
    header = Path(variable("INCLUDEPY"), "Python.h")
    for file in (library, header):
        if not file.exists():
            raise BuildError(f"{file} is missing; on Debian: apt-get install libpython3.11-dev")
    # Whole, and with its symbols: what extension modules use is not known here.
    libpython = ["-Wl,--whole-archive", str(library), "-Wl,--no-whole-archive"]
    flags = " ".join(variable(name) for name in ("LINKFORSHARED", "MODLIBS", "LIBS", "SYSLIBS")).split()
    flags = [statically(flag) for flag in flags if "rpath" not in flag]
    # Not position-independent, as Debian's own python3 is not: its library for that lacks profile-guided optimisation,
    # which is an eighth of the CPU time that a request takes outside the kernel.
    link = ["gcc", "-O2", "-no-pie", f"-I{header.parent}"]
    call(*link, str(HERE / "launcher.c"), *libpython, *flags, "-o", str(target))
    return stripped(target, target)


def statically(flag: str) -> str:
    """What built-in modules need beyond the C library must not be asked of the target: -lz becomes -l:libz.a."""
    name = f"lib{flag.removeprefix('-l')}"
    return f"-l:{name}.a" if flag.startswith("-l") and not OF_THE_SYSTEM.match(name) else flag


def stripped(file: Path, target: Path) -> Path:
    """Without what only a debugger reads: most of what a wheel's modules weigh."""
    call("strip", "--strip-unneeded", "-o", str(target), str(file))
    return target


def call(*command: str) -> str:
    """Run a tool of the compiler's and return what it says."""
    program = shutil.which(command[0])
    if program is None:
        raise BuildError(f"{command[0]} is missing; on Debian: apt-get install gcc binutils libc-bin")
    done = subprocess.run([program, *command[1:]], stdout=subprocess.PIPE, text=True)  # noqa: S603 - nobody else's words
    if done.returncode:
        raise BuildError(f"{command[0]} failed")
    return done.stdout


# ── what goes into the archive ──

Entry = tuple[str, bytes]


def all_entries(work: Path) -> Iterator[Entry]:
    compiler = Compiler(work)
    yield "boot.pyc", compiler.module(HERE / "boot.py", "boot.py")
    yield "LICENSE", (ROOT / "LICENSE").read_bytes()
    for file in files_of(STDLIB, LEFT_OUT):
        if file.suffix == ".py" or file.name == "LICENSE.txt":
            yield from entry_of(file, str(file.relative_to(STDLIB)), compiler)
    ahead = compiled_ahead(ROOT, work / "ahead")
    for file in files_of(PACKAGE):
        if file.relative_to(ROOT) not in COMPILED:
            yield from entry_of(file, str(file.relative_to(ROOT)), compiler)
    shared = ahead | {
        file.name.partition(".")[0]: file
        for file in (STDLIB / "lib-dynload").iterdir()
        if not LEFT_OUT_SHARED.match(file.name.partition(".")[0])
    }
    for file, name in dependency_files():
        if file.suffix == ".so":
            shared[name.partition(".")[0].replace("/", ".")] = file
        else:
            yield from entry_of(file, name, compiler)
    yield from shared_entries(shared, work)


class Compiler:
    """Python source → the content of a .pyc file that is never checked against a source."""

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
    """A module compiled; anything else, and what stands among examples, as it is."""
    if file.suffix == ".py" and "examples" not in file.parts:
        yield f"{name}c", compiler.module(file, name)
    else:
        yield name, file.read_bytes()


def dependency_files() -> Iterator[tuple[Path, str]]:
    """All files of what rawgate requires, and of what that requires, with their names within site-packages."""
    wanted, seen = ["rawgate"], {"rawgate"}
    while wanted:
        distribution = importlib.metadata.distribution(wanted.pop())
        for line in distribution.requires or ():
            name = re.split(r"[^A-Za-z0-9._-]", line)[0].lower()
            if name not in seen and "extra ==" not in line and is_installed(name):
                seen.add(name)
                wanted.append(name)
        if distribution.name == "rawgate":
            continue
        for file in distribution.files or ():
            if belongs(str(file)):
                yield Path(str(distribution.locate_file(file))), str(file)


def is_installed(name: str) -> bool:
    try:
        importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def belongs(name: str) -> bool:
    """Modules; METADATA, from which versions are told; licences, which travel with what they are about."""
    return name.endswith((".py", ".so", ".dist-info/METADATA")) or (".dist-info/" in name and "LICENSE" in name)


# ── compiled modules, and the libraries that they need ──


def shared_entries(modules: dict[str, Path], work: Path) -> Iterator[Entry]:
    libraries: dict[str, Path] = {}
    needs = []
    for name, file in modules.items():
        needed = dict(needed_libraries(file))
        libraries |= needed
        needs.append(" ".join([name, *needed]))
        yield f"shared/{name}", stripped(file, work / "shared.so").read_bytes()
    for name, file in libraries.items():
        yield f"shared/libraries/{name}", stripped(file, work / "shared.so").read_bytes()
    yield "shared/needs", "\n".join(needs).encode()


def needed_libraries(file: Path) -> Iterator[tuple[str, Path]]:
    """Name and place of each library beyond the C library's, those first that others need."""
    listed = call("ldd", str(file))
    # ldd goes breadth-first: what a library needs comes after it.
    for line in reversed(listed.splitlines()):
        name, arrow, rest = line.strip().partition(" => ")
        if arrow and not OF_THE_SYSTEM.match(name) and not name.startswith("libpython"):
            if rest.startswith("not found"):
                raise BuildError(f"{file.name} needs {name}, which is not there")
            yield name, Path(rest.split(" (")[0])


def needed_for_zlib(needs: bytes) -> set[str]:
    """What is read before compressed entries can be. (`zlib` may also be built in.)"""
    of_zlib = [name for line in needs.decode().splitlines() if line.startswith("zlib ") for name in line.split()[1:]]
    return {"shared/needs", "shared/zlib", *(f"shared/libraries/{name}" for name in of_zlib)}


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]).absolute())
    except BuildError as error:
        sys.exit(f"rawgate: {error}")
