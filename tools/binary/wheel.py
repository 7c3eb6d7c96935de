"""hatchling's build hook: a wheel has the compiled modules beside their sources, which CPython then passes over.

The modules and the flags are those of the single file (`aot.py`), so what pip installs is as fast. Where nothing can be
compiled the wheel is the interpreted package, tagged for any machine: it does the same, for several times the CPU time,
and `rawgate version` tells. pip shows what a build says only with `-v`.

RAWGATE_CORE decides otherwise: `compiled` makes a wheel that lacks the compiled modules an error, for those who publish
one; `interpreted` compiles nothing and asks for no compiler, as `tools/run` does.

An editable installation is always interpreted: compiled modules would hide what is edited beside them.

It is not hatch-mypyc, which has its own list of modules and flags, and writes into the tree that it builds from.
"""

import os
import re
import shutil
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hatchling.builders.config import BuilderConfig
from hatchling.builders.hooks.plugin.interface import BuildHookInterface

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))  # a build backend runs without the tree on its path

from tools.binary.aot import BuildError, compile_modules, compiler  # noqa: E402 - only now it can be imported

PINS = ROOT / "tools" / "requirements-test.txt"
"""The versions that the tests ran with. Another mypyc makes other code, and it reads the types of the dependencies."""


class CompiledModules(BuildHookInterface[BuilderConfig]):
    def dependencies(self) -> list[str]:
        """What pip installs for the time of the build: nothing, where nothing will be compiled."""
        if _why_not() is not None:
            return []
        names = [re.split(r"[^\w-]", needed)[0] for needed in self.metadata.core.dependencies]
        compilers = tuple(f"{name}==" for name in (*names, "mypy", "setuptools"))
        return [line for line in PINS.read_text().splitlines() if line.startswith(compilers)]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version == "editable":
            return
        why_not = _why_not()
        if why_not is None:
            try:
                self._compile(build_data)
            except BuildError as error:
                why_not = str(error)
        if why_not is not None:
            if _wanted() == "compiled":
                raise BuildError(f"RAWGATE_CORE=compiled, but {why_not}")
            self.app.display_warning(f"rawgate will be interpreted, and several times slower: {why_not}")

    def _compile(self, build_data: dict[str, Any]) -> None:
        # Until hatchling has packed them: the folder goes with this object.
        self._work = TemporaryDirectory(prefix="rawgate-wheel-")
        for name, file in compile_modules(ROOT, Path(self._work.name)).items():
            package = name.rpartition(".")[0].replace(".", "/")
            build_data["force_include"][str(file)] = str(Path(package, file.name))
        build_data["pure_python"] = False
        build_data["infer_tag"] = True

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        if not build_data["pure_python"]:
            self._work.cleanup()


def _wanted() -> str:
    wanted = os.environ.get("RAWGATE_CORE", "")
    if wanted not in {"", "compiled", "interpreted"}:
        raise BuildError(f"RAWGATE_CORE is {wanted!r} (expected 'compiled' or 'interpreted')")
    return wanted


def _why_not() -> str | None:
    """Why nothing is to be compiled; None: it can be tried."""
    if _wanted() == "interpreted":
        return "RAWGATE_CORE=interpreted"
    program = compiler()[0]
    return None if shutil.which(program) else f"there is no C compiler ({program})"
