"""Runs a lane guided by coverage, with atheris, which `tools/test` does not install.

An input of atheris is played as it is: it is the head, the body, or, in the lane `shell`, the source of random choices.
"""

import sys
from importlib import import_module
from pathlib import Path
from random import Random

SEEDS = 300
"""Inputs that the lane makes for an empty corpus."""


def run_guided(name: str, directory: str, inputs: int, seed: int) -> int:
    """Run one lane until the first finding, or for so many inputs. atheris ends the process."""
    try:
        atheris = import_module("atheris")  # untyped, and rarely installed
    except ImportError:
        print("tools/fuzz: --atheris needs it: .venv/bin/pip install atheris", file=sys.stderr)
        return 2
    with atheris.instrument_imports(include=["rawgate", "h11"]):
        from tools.fuzzing.lanes import LANES

    lane = LANES[name](Random(seed))  # noqa: S311 - repeatable on purpose

    def test_one(octets: bytes) -> None:
        finding = lane.check(octets)
        if finding:
            raise AssertionError(f"{finding}\n  {octets!r}")

    corpus = Path(directory)
    corpus.mkdir(parents=True, exist_ok=True)
    if not any(corpus.iterdir()):
        for number in range(SEEDS):
            (corpus / f"{name}-{number}").write_bytes(lane.make())
    atheris.Setup([sys.argv[0], f"-runs={inputs}", f"-seed={seed}", "-max_len=2400", directory], test_one)
    atheris.Fuzz()
    return 0
