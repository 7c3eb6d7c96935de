"""rawgate's package with its compiled modules beside their sources, as a folder: what tools run that are written for
either, where the single file could not be asked."""

import shutil
import tempfile
from hashlib import sha256
from pathlib import Path

from tools.binary.aot import compile_modules

ROOT = Path(__file__).resolve().parents[2]


def compiled_tree() -> Path:
    """The folder to import `rawgate` from, made unless there is one of the same sources."""
    sources = [*sorted((ROOT / "rawgate").rglob("*.py")), ROOT / "tools" / "binary" / "aot.py"]
    digest = sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()
    tree = ROOT / ".venv" / "compiled"
    if not (tree / digest).exists():
        shutil.rmtree(tree, ignore_errors=True)
        with tempfile.TemporaryDirectory(prefix="rawgate-compiled-") as work:
            shared = compile_modules(ROOT, Path(work))
            shutil.copytree(ROOT / "rawgate", tree / "rawgate", ignore=shutil.ignore_patterns("__pycache__"))
            for name, file in shared.items():
                suffix = file.name.partition(".")[2]
                shutil.copy(file, tree.joinpath(*name.split(".")).with_suffix(f".{suffix}"))
        (tree / digest).touch()
    return tree


if __name__ == "__main__":
    print(compiled_tree())
