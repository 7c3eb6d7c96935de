"""What a whole request costs, in processor instructions: `tools/count`.

On a busy machine times waver by a tenth and more; instructions, counted by valgrind, by less than a hundredth. They say
nothing of caches and branches, and kernel and loop are not in them (see whole.py). They tell whether a change makes
less work; `benchmarks/run` tells what that is worth.

Each row is run twice, with different numbers of requests, and the difference is divided: start-up is not in it. The
requests are the same ones in every run.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, repeat
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).resolve().parents[1]
FEW, MANY = 4, 14
"""Batches of the two runs. What is remembered (tokens, names, small lengths) is remembered after three."""
_ENTRY = "CPyDef_turn___Turn___settle*"
"""What the loop calls when all is read, compiled: a profile holds what happens within."""
ROWS = {
    "plain": "plain: an open route, small heads",
    "full": "full: token remembered, limit, rewrite, header rules",
    "new": "new: the same, every token a new one",
    "browser": "browser: an open route, a browser's head",
    "post": "post: an open route, a small body",
    "chunked": "chunked: an open route, the response in one chunk",
    "counted": "counted: plain, with an admin listener, so every request is counted",
}


def play(row: str, count: int) -> None:
    """Serve so many batches. In a process of its own, under valgrind."""
    from suite.tokens import hs256_tokens
    from whole import CONNECTIONS, Setup, Whole, answer, batches, browser_head, post, small_head

    secret = b"a secret of sixty-four octets, which nobody else has to know: 64"
    tokens = chain.from_iterable(repeat(hs256_tokens(secret, CONNECTIONS)))
    new_tokens = iter(hs256_tokens(secret, (MANY + 1) * CONNECTIONS))
    makers: dict[str, Callable[[], tuple[bytes, bytes]]] = {
        "plain": lambda: (small_head(), answer()),
        "full": lambda: (small_head(next(tokens)), answer()),
        "new": lambda: (small_head(next(new_tokens)), answer()),
        "browser": lambda: (browser_head(), answer()),
        "post": lambda: (post(), answer()),
        "chunked": lambda: (small_head(), answer(chunked=True)),
        "counted": lambda: (small_head(), answer()),
    }
    make = makers[row]
    with tempfile.TemporaryDirectory(prefix="rawgate-count-") as name:
        setup = Setup("full.toml" if row in {"full", "new"} else "plain.toml", secret, Path(name))
    given = batches(make, MANY)
    whole = Whole(setup, make(), counted=row == "counted")
    before = whole.written
    for batch in given[:count]:
        whole.serve(batch)
    # Or a gateway that answers nothing would win.
    least = count * len(answer()) // 2
    if not all(now - then > least for now, then in zip(whole.written, before, strict=True)):
        raise SystemExit("count: a request was not answered")
    whole.close()


def instructions(tree: Path, row: str, count: int, profile: Path | None) -> int:
    """Of one run with rawgate from that tree."""
    tool = ["--tool=cachegrind", "--cachegrind-out-file=/dev/null", "--cache-sim=no"]
    if profile:
        tool = ["--tool=callgrind", f"--callgrind-out-file={profile}", f"--toggle-collect={_ENTRY}"]
    command = ["valgrind", *tool, sys.executable, "-P", __file__, "--play", row, str(count)]
    path = f"{tree}:{ROOT}:{ROOT / 'benchmarks'}"
    environment = os.environ | {"PYTHONPATH": path, "PYTHONHASHSEED": "0", "PYTHONMALLOC": "pymalloc"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)  # noqa: S603 - our own
    found = re.search(r"(?:I +refs|Collected) *: *([0-9,]+)", done.stderr)
    if done.returncode or found is None:
        raise SystemExit(f"count: {row} failed: {done.stderr.strip()[-2000:]}")
    return int(found[1].replace(",", ""))


def each(tree: Path, row: str, profile: Path | None = None) -> float:
    """Instructions of one request."""
    few, many = (instructions(tree, row, count, profile) for count in (FEW, MANY))
    return (many - few) / ((MANY - FEW) * 50)


def main() -> int:
    parser = argparse.ArgumentParser(prog="tools/count", description="Instructions of one whole request.")
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"of {', '.join(ROWS)}; all of them")
    parser.add_argument("--only", choices=("compiled", "interpreted"), help="one kind; both")
    parser.add_argument("--profile", type=Path, metavar="FILE", help="for callgrind_annotate; of compiled code only")
    parser.add_argument("--play", nargs=2, metavar=("ROW", "BATCHES"), help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.play:
        play(chosen.play[0], int(chosen.play[1]))
        return 0
    if chosen.profile:
        chosen.only = "compiled"
    if unknown := set(chosen.rows) - set(ROWS):
        parser.error(f"no row is called {min(unknown)!r} (there are {', '.join(ROWS)})")
    if shutil.which("valgrind") is None:
        raise SystemExit("count: valgrind is not installed")
    from tools.binary.tree import compiled_tree

    trees = {"compiled": compiled_tree, "interpreted": lambda: ROOT}
    kinds: dict[str, Callable[[], Path]] = {kind: trees[kind] for kind in trees if chosen.only in (None, kind)}
    rows = chosen.rows or list(ROWS)
    with ThreadPoolExecutor(1 if chosen.profile else os.cpu_count()) as pool:
        found = [[pool.submit(each, tree(), row, chosen.profile) for row in rows] for tree in kinds.values()]
        print("".join(f"{kind:>14}" for kind in kinds) + "  instructions of one request")
        for row, *figures in zip(rows, *found, strict=True):
            print("".join(f"{figure.result():14,.0f}" for figure in figures) + f"  {ROWS[row]}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
