"""Regular expressions, compiled when the single file is made: `python -m tools.binary.patterns` writes those that every
start needs.

Compiling those of rawgate, h11 and the standard library takes a tenth of a start. `re` keeps what it has compiled in a
cache. This notes what goes into the cache, in the form that the C part of `re` takes; `loader` puts it there before
anything else is imported. A pattern that is not there is compiled as always. The form is that of one release of
CPython, and the file brings the interpreter that wrote it.
"""

import importlib
import marshal
import re
import sys
from typing import Any

START = ("uvloop", "rawgate.cli.main", "rawgate.cli.run")
"""What `rawgate run` imports, with all that these import."""

Noted = tuple[str | bytes, int, tuple[Any, ...]]
"""A pattern, the flags that it is compiled with, and what `_sre.compile` is called with for it."""

sre = importlib.import_module("_sre")


class Notebook:
    """Stands in for `sre`, the C part of `re`, within `re`."""

    def __init__(self) -> None:
        self.called_with: list[tuple[Any, ...]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(sre, name)

    def compile(self, *arguments: Any) -> Any:
        self.called_with.append(arguments)
        return sre.compile(*arguments)


def patterns_of_a_start() -> list[Noted]:
    re.purge()
    notebook = Notebook()
    vars(importlib.import_module("re._compiler"))["_sre"] = notebook
    for name in START:
        importlib.import_module(name)
    # Both are in the order of compiling.
    cached: Any = vars(re)["_cache"]
    return [
        (pattern, flags, (text, int(all_flags), list(map(int, code)), groups, dict(names), by_number))
        for (_, pattern, flags), (text, all_flags, code, groups, names, by_number) in zip(
            cached, notebook.called_with, strict=True
        )
    ]


if __name__ == "__main__":
    sys.stdout.buffer.write(marshal.dumps(patterns_of_a_start()))
