"""Values as native classes: what msgspec's Structs are to CPython, for modules that are compiled ahead of time.

A Struct is the cheapest value that an interpreter can have, but compiled code reads its fields as those of any object,
by name: 110 look-ups for a request, a ninth of its instructions. A plain class that the compiler sees has its fields at
fixed places, and an object that is freed leaves its room to the next of its kind. So before a module is compiled, the
values that it declares (`message.Value`, `State`, `Options`) are written as plain classes with an `__init__`. A whole
request without sockets takes 8.2 µs instead of 9.5 so, with the full pipeline 10.9 instead of 13.3. In the source they
stay Structs: interpreted, a plain class of twelve fields takes three times as long to make.

What they are no more: Structs. No module, compiled or not, may give one to `msgspec` (`message.replaced` stands for
`structs.replace`), or rely on what it is equal to or prints as. Nor is anybody kept from changing a frozen one; the
type checker has seen to that, in the module as it stands.

All lines stay where they are, so that line numbers in tracebacks stay true: what is added takes the place of
docstrings.
"""

import ast

_IMPORTS = ("from typing import TYPE_CHECKING, ClassVar", "if TYPE_CHECKING: from mypy_extensions import mypyc_attr")
_ATTRIBUTES = {
    "Value": "@mypyc_attr(acyclic=True, free_list_len=1)",
    "State": "@mypyc_attr(acyclic=True)",
    "Options": "@mypyc_attr()",
}
"""By kind. The last value that was freed is kept for the next of its kind."""


def natively(source: str) -> str:
    """The same module with its values as plain classes."""
    tree = ast.parse(source)
    lines = source.splitlines()
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    values = [node for node in classes if not _ATTRIBUTES.keys().isdisjoint(map(ast.unparse, node.bases))]
    kinds = [node for node in classes if node.name in _ATTRIBUTES]
    if not values:
        return source
    _put(lines, tree.body[0], _IMPORTS)
    for node in kinds:
        _put(lines, node, (f"class {node.name}: pass",))  # other modules import it
    for node in values:
        _rewrite(lines, node)
    return "\n".join(lines) + "\n"


def _put(lines: list[str], node: ast.stmt, texts: tuple[str, ...]) -> None:
    """Replace a statement, and the empty line that follows it, by lines of the same number."""
    start, stop = node.lineno - 1, node.end_lineno or node.lineno
    if stop < len(lines) and not lines[stop]:
        stop += 1
    if len(texts) > stop - start:
        raise ValueError(f"line {node.lineno} leaves no room for {texts[0].strip()!r}")
    lines[start:stop] = [*texts, *[""] * (stop - start - len(texts))]


def _rewrite(lines: list[str], node: ast.ClassDef) -> None:
    """One value."""
    docstring, fields = node.body[0], [each for each in node.body if isinstance(each, ast.AnnAssign)]
    if ast.get_docstring(node) is None or any("ClassVar" in ast.unparse(field.annotation) for field in fields):
        raise ValueError(f"{node.name} is not a docstring and fields")
    parameters, names = [], []
    for field in fields:
        name, kind = ast.unparse(field.target), ast.unparse(field.annotation)
        names.append(name)
        parameters.append(f"{name}: {kind}" + (f" = {ast.unparse(field.value)}" if field.value else ""))
        if field.value:
            _put(lines, field, (f"    {name}: {kind}",))
    _put(
        lines,
        docstring,
        (
            f"    __match_args__: ClassVar[tuple[str, ...]] = {tuple(names)}",
            f"    def __init__(self, {', '.join(parameters)}) -> None: "
            + "; ".join(f"self.{name} = {name}" for name in names),
        ),
    )
    if lines[node.lineno - 2]:
        raise ValueError(f"no empty line before {node.name}")
    lines[node.lineno - 2] = _ATTRIBUTES[ast.unparse(node.bases[0])]
    lines[node.lineno - 1] = f"class {node.name}:"
