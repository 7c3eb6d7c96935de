"""Copies of the tree, and test runs in them: the working tree is never changed.

A run is a process forked from one that has imported the test runner already, so that it begins at once. A test that
does not end, or takes too much memory, has noticed the change as well.
"""

import os
import resource
import shutil
import sys
from collections.abc import Sequence
from multiprocessing import get_context
from pathlib import Path

MEMORY = 4 << 30
"""Octets that a test run may map."""

_CONTEXT = get_context("forkserver")
_CONTEXT.set_forkserver_preload(
    ["asyncio", "cryptography.hazmat.primitives.asymmetric.rsa", "h11", "msgspec", "pytest"]
)

LONGEST = 900.0
"""Seconds for a whole run; one that hangs where no test can be broken off."""

TESTED = 64
"""Added to pytest's exit status: what ends with less has not come so far."""

LATE = "late"

OUTPUT = "output.txt"
"""In a copy: what the last run printed."""


class Scratch:
    """One copy, for one change at a time."""

    def __init__(self, root: Path, directory: Path) -> None:
        self.directory = directory
        for name in ("rawgate", "tests", "tools", "benchmarks"):
            shutil.copytree(root / name, directory / name, ignore=shutil.ignore_patterns("__pycache__", "node_modules"))
        shutil.copy(root / "pyproject.toml", directory)

    def compile(self, files: Sequence[str]) -> None:
        """So that a run has only the changed module to compile."""
        self._play(["--collect-only", *files], None, keep=True)

    def run(self, files: Sequence[str], data: Path) -> int | str:
        """Unchanged. pytest's exit status, or LATE. data: where to keep which lines of the package were run."""
        return self._play(files, data)

    def try_out(self, module: str, source: bytes, files: Sequence[str], seconds: float) -> int | str:
        """The same with this module changed. seconds: for each test, after which it has failed."""
        path = self.directory / module
        kept, times = path.read_bytes(), path.stat()
        path.write_bytes(source)
        try:
            return self._play([f"--timeout={seconds}", *files], None)
        finally:
            path.write_bytes(kept)
            os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))

    def _play(self, arguments: Sequence[str], data: Path | None, *, keep: bool = False) -> int | str:
        process = _CONTEXT.Process(target=_run, args=(self.directory, list(arguments), data, keep))
        process.start()
        process.join(LONGEST)
        if process.exitcode is None:
            process.kill()
            process.join()
            return LATE
        # A process that ends by a signal, for want of memory or by recursion in C, has noticed too.
        if 0 <= process.exitcode < TESTED:
            raise RuntimeError("a test run did not begin")
        return process.exitcode - TESTED if process.exitcode > 0 else process.exitcode


def _run(directory: Path, arguments: list[str], data: Path | None, keep: bool) -> None:
    """In the forked process. keep: what is compiled, which must not be done with a changed module."""
    sys.dont_write_bytecode = not keep
    os.chdir(directory)
    sys.path.insert(0, str(directory))
    output = os.open(OUTPUT, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(output, 1)
    os.dup2(output, 2)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    os._exit(TESTED + (_tested(arguments) if data is None else _covered(directory, arguments, data)))


def _tested(arguments: list[str]) -> int:
    import pytest

    options = ["-x", "-m", "not process", "-p", "no:cacheprovider", "--hypothesis-seed=0"]
    return int(pytest.main([*options, *arguments]))


def _covered(directory: Path, arguments: list[str], data: Path) -> int:
    import coverage

    watch = coverage.Coverage(data_file=str(data), source=[str(directory / "rawgate")], config_file=False)
    watch.start()
    status = _tested(arguments)
    watch.stop()
    watch.save()
    return status
