"""Which test files run which lines: each file once, alone, watched by `coverage`."""

from collections import defaultdict
from pathlib import Path
from time import monotonic

from coverage import CoverageData

from tools.mutating.changes import Mutant
from tools.mutating.scratch import OUTPUT, Scratch

NOTHING_COLLECTED = 5


class Covering:
    """What runs what, and how long each takes. Files without quick tests are left out."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._files: defaultdict[tuple[str, int], set[str]] = defaultdict(set)

    def watch(self, scratch: Scratch, file: str, data: Path) -> None:
        """Learn of one test file. It must pass."""
        begun = monotonic()
        status = scratch.run([file], data)
        if status == NOTHING_COLLECTED:
            return
        if status != 0:
            print((scratch.directory / OUTPUT).read_text("utf-8")[-3000:])
            raise SystemExit(f"tools/mutate: {file} fails without a change (pytest's status: {status})")
        self.seconds[file] = monotonic() - begun
        found = CoverageData(str(data))
        found.read()
        for path in found.measured_files():
            module = str(Path(path).relative_to(scratch.directory))
            for line in found.lines(path) or ():
                self._files[module, line].add(file)

    def files(self, mutant: Mutant) -> list[str]:
        """Those that run the changed statement: the module's own first, then the quickest."""
        first, last = mutant.lines
        found = set[str]().union(*(self._files[mutant.module, line] for line in range(first, last + 1)))
        own = f"/test_{Path(mutant.module).name}"
        return sorted(found, key=lambda file: (not file.endswith(own), self.seconds[file]))
