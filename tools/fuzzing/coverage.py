"""Lanes led by coverage, with atheris (which is not among the tools that `tools/test` installs).

An input of atheris is taken as it is: it is the head, the body, or the chance of a life.
"""

import sys
from importlib import import_module
from pathlib import Path
from random import Random

SEEDS = 300
"""Inputs of the lane's own making that an empty corpus begins with."""


def lead(name: str, directory: str, inputs: int, seed: int) -> int:
    """Run one lane until a finding, or for so many inputs; ends the process, as atheris does."""
    try:
        atheris = import_module("atheris")  # untyped, and rarely there
    except ImportError:
        print("tools/fuzz: --atheris needs it: .venv/bin/pip install atheris", file=sys.stderr)
        return 2
    with atheris.instrument_imports(include=["rawgate", "h11"]):
        from tools.fuzzing.lanes import LANES

    lane = LANES[name](Random(seed))  # noqa: S311 - repeatable on purpose

    def test_one(octets: bytes) -> None:
        finding = lane.judge(octets)
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
