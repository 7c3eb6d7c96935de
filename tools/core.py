"""The size of the core: what every request passes through.

The list of modules is read from the package's docstring (`rawgate/__init__.py`, "The core"), so it cannot differ from
what readers are told. `tests/test_life_page.py` compares the list with the modules that a request really runs through.
"""

import ast
import io
import re
import tokenize
from datetime import UTC, datetime
from pathlib import Path

from msgspec import Struct

PACKAGE = Path(__file__).parents[1] / "rawgate"


class Size(Struct, frozen=True):
    """Of one module, or of several. Empty lines count as neither.

    code        lines with code
    explaining  lines of docstrings, and lines with nothing but a comment
    functions   functions and methods, inner ones included
    """

    code: int
    explaining: int
    functions: int


def core_modules() -> list[str]:
    """The modules of the core in reading order, as names within rawgate: "wire.scan"."""
    text = ast.get_docstring(ast.parse((PACKAGE / "__init__.py").read_text("utf-8"))) or ""
    section = re.search(r"^The core\n-+\n(.*?)(?=^[^\n]+\n-+\n|\Z)", text, re.MULTILINE | re.DOTALL)
    return re.findall(r"`(\w+(?:\.\w+)*)`", section[1]) if section else []


def size_of(source: str) -> Size:
    tree = ast.parse(source)
    written = {number for number, line in enumerate(source.splitlines(), 1) if line.strip()}
    explaining = written & (_docstring_lines(tree) | _comment_lines(source))
    functions = sum(isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) for node in ast.walk(tree))
    return Size(len(written - explaining), len(explaining), functions)


def _docstring_lines(tree: ast.Module) -> set[int]:
    """Lines of strings that are statements: docstrings of modules, classes and functions, and those below a name."""
    return {
        line
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        for line in range(node.lineno, (node.end_lineno or node.lineno) + 1)
    }


def _comment_lines(source: str) -> set[int]:
    """Lines with a comment and no code."""
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return {token.start[0] for token in tokens if token.type == tokenize.COMMENT and token.line.lstrip()[:1] == "#"}


def sizes() -> dict[str, Size]:
    """Module → size, in reading order."""
    return {name: size_of((PACKAGE / f"{name.replace('.', '/')}.py").read_text("utf-8")) for name in core_modules()}


def total(found: dict[str, Size]) -> Size:
    return Size(
        sum(size.code for size in found.values()),
        sum(size.explaining for size in found.values()),
        sum(size.functions for size in found.values()),
    )


def main() -> None:
    found = sizes()
    print(f"{'':24}{'code':>7}{'explaining':>12}{'functions':>11}")
    for name, size in [*found.items(), ("all", whole := total(found))]:
        print(f"{name:24}{size.code:7,}{size.explaining:12,}{size.functions:11,}")
    print(
        f"{len(found)} modules, {whole.code:,} lines of code, {whole.explaining:,} that explain, "
        f"{whole.functions:,} functions ({datetime.now(UTC).date()})"
    )


if __name__ == "__main__":
    main()
