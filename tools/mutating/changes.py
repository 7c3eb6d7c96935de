"""Every change that is made of a module: one operator, constant, condition or statement of a function at a time.

Not changed: what stands outside of functions (a limit's default is a choice, and tests take it from its name),
`__repr__`, assertions, which are for the type checker, annotations, and texts.

A change is told as its statement before and after, as `ast.unparse` writes them, without what a compound statement
holds. That and the function's name say which one it is for as long as the statement stays; a line number would not.
"""

import ast
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple, cast

COMPARED: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
CALCULATED: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.FloorDiv,
    ast.FloorDiv: ast.Mult,
    ast.Div: ast.Mult,
    ast.Mod: ast.FloorDiv,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
}

Function = ast.FunctionDef | ast.AsyncFunctionDef


class Mutant(NamedTuple):
    """One changed module.

    module    its path from the tree's root
    function  with its class: `Pool.acquire`
    change    the statement before and after; a second one alike in the same function ends in "(2)"
    lines     first and last line of the statement, without what it holds
    """

    module: str
    function: str
    change: str
    lines: tuple[int, int]
    source: bytes

    @property
    def place(self) -> str:
        return f"{self.module}:{self.lines[0]} {self.function}"


def mutants(root: Path, module: str) -> list[Mutant]:
    """All that can be made of it, in their order."""
    source = (root / module).read_bytes()
    starts = [0]
    for line in source.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    found = []
    for function, definition in _functions(ast.parse(source), ""):
        seen = Counter[str]()
        for statement, edit in _edits(definition):
            seen[edit.change] += 1
            count = seen[edit.change]
            node = edit.node
            begin = starts[node.lineno - 1] + node.col_offset
            end = starts[cast("int", node.end_lineno) - 1] + cast("int", node.end_col_offset)
            mutant = Mutant(
                module,
                function,
                edit.change if count == 1 else f"{edit.change} ({count})",
                (statement.lineno, _last_line(statement)),
                source[:begin] + edit.text.encode() + source[end:],
            )
            found.append(mutant)
    return found


class _Edit(NamedTuple):
    """What stands at `node` becomes `text`."""

    node: ast.stmt | ast.expr
    text: str
    change: str


def _functions(tree: ast.AST, prefix: str) -> Iterator[tuple[str, Function]]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, Function):
            if node.name != "__repr__":
                yield prefix + node.name, node
                yield from _functions(node, f"{prefix}{node.name}.")
        else:
            inner = f"{prefix}{node.name}." if isinstance(node, ast.ClassDef) else prefix
            yield from _functions(node, inner)


def _edits(function: Function) -> Iterator[tuple[ast.stmt, _Edit]]:
    bound = Counter(argument.arg for argument in ast.walk(function.args) if isinstance(argument, ast.arg))
    bound.update(node.id for node in ast.walk(function) if isinstance(node, ast.Name) and _is_stored(node))
    for statement in _statements(function.body):
        before = _header(statement)
        if _may_go(statement, function.name, bound):
            yield statement, _Edit(statement, "pass", f"{before} → pass")
        if isinstance(statement, ast.Return) and statement.value is not None:
            other = _other_result(function.returns, statement.value)
            if other is not None:
                yield statement, _Edit(statement, f"return {other}", f"{before} → return {other}")
        if isinstance(statement, ast.AugAssign) and type(statement.op) in CALCULATED:
            old, statement.op = statement.op, CALCULATED[type(statement.op)]()
            after = _header(statement)
            statement.op = old
            yield statement, _Edit(statement, after, f"{before} → {after}")
        if not isinstance(statement, ast.Assert):
            for node, text, put in _expressions(statement):
                put(True)
                after = _header(statement)
                put(False)
                yield statement, _Edit(node, text, f"{before} → {after}")


def _is_stored(node: ast.Name) -> bool:
    return isinstance(node.ctx, ast.Store)


def _statements(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """These and what they hold, but not what functions and classes in them do."""
    for statement in body:
        if isinstance(statement, Function | ast.ClassDef):
            continue
        yield statement
        for name in ("body", "orelse", "finalbody"):
            yield from _statements(getattr(statement, name, []))
        for part in (*getattr(statement, "handlers", []), *getattr(statement, "cases", [])):
            yield from _statements(part.body)


def _header(statement: ast.stmt) -> str:
    """The statement on one line, without what it holds."""
    held = [name for name in ("body", "orelse", "finalbody", "handlers", "cases") if hasattr(statement, name)]
    if not held:
        return " ".join(ast.unparse(statement).split())
    kept = {name: getattr(statement, name) for name in held}
    for name in held:
        setattr(statement, name, [])
    text = ast.unparse(statement)
    for name in held:
        setattr(statement, name, kept[name])
    return " ".join(text.split())


def _last_line(statement: ast.stmt) -> int:
    body = getattr(statement, "body", None) or getattr(statement, "cases", None)
    if body is None:
        return cast("int", statement.end_lineno)
    parts = (_end(node) for node in _own_expressions(statement))
    return max([statement.lineno, *parts])


def _end(node: ast.expr) -> int:
    return cast("int", node.end_lineno)


def _may_go(statement: ast.stmt, function: str, bound: Counter[str]) -> bool:
    """Whether the program can still be read without it: no name is left unbound."""
    match statement:
        case ast.Expr(value=ast.Call()) | ast.Delete() | ast.Raise() | ast.Break() | ast.Continue():
            return True
        case ast.AugAssign():
            return True
        case ast.Assign(targets=[ast.Attribute() | ast.Subscript()]):
            return function != "__init__"
        case ast.Assign(targets=[ast.Name(id=name)]):
            return bound[name] > 1
    return False


def _other_result(annotation: ast.expr | None, value: ast.expr) -> str | None:
    """Another value of the same type as far as the annotation tells; None where another change makes it anyway."""
    returns = "" if annotation is None else ast.unparse(annotation).strip("\"'")
    if isinstance(value, ast.Constant | ast.Compare) or (
        isinstance(value, ast.UnaryOp) and isinstance(value.op, ast.Not)
    ):
        return None
    if returns == "bool":
        return f"not ({ast.unparse(value)})"
    if returns.endswith("| None"):
        return "None"
    return {"bytes": "b''", "str": "''", "int": "0", "float": "0.0"}.get(returns)


# ── in an expression ──

_Put = Callable[[bool], None]


def _own_expressions(statement: ast.stmt) -> list[ast.expr]:
    found = []
    for name, value in ast.iter_fields(statement):
        if name != "annotation":
            found += [node for node in (value if isinstance(value, list) else [value]) if isinstance(node, ast.expr)]
    return found


def _expressions(statement: ast.stmt) -> Iterator[tuple[ast.expr, str, _Put]]:
    """(node, what it becomes, how to put that in its place and take it away again), everywhere in the statement."""
    for name, value in ast.iter_fields(statement):
        if name == "annotation":
            continue
        if isinstance(value, ast.expr):
            yield from _within(statement, name, -1, value)
        elif isinstance(value, list):
            for index, node in enumerate(value):
                if isinstance(node, ast.expr):
                    yield from _within(statement, name, index, node)
                elif isinstance(node, ast.withitem):
                    yield from _within(node, "context_expr", -1, node.context_expr)


def _within(parent: ast.AST, name: str, index: int, node: ast.expr) -> Iterator[tuple[ast.expr, str, _Put]]:
    if isinstance(node, ast.JoinedStr):
        return
    for other in _others(node, is_condition=name in {"test", "ifs"}):
        yield node, f"({ast.unparse(other)})", _putting(parent, name, index, node, other)
    for field, value in ast.iter_fields(node):
        for at, child in enumerate(value) if isinstance(value, list) else [(-1, value)]:
            if isinstance(child, ast.expr):
                yield from _within(node, field, at, child)
            elif isinstance(child, ast.keyword):
                yield from _within(child, "value", -1, child.value)
            elif isinstance(child, ast.comprehension):
                yield from _within(child, "iter", -1, child.iter)
                for place, condition in enumerate(child.ifs):
                    yield from _within(child, "ifs", place, condition)


def _putting(parent: ast.AST, name: str, index: int, node: ast.expr, other: ast.expr) -> _Put:
    def put(changed: bool) -> None:
        now = other if changed else node
        if index < 0:
            setattr(parent, name, now)
        else:
            getattr(parent, name)[index] = now

    return put


def _others(node: ast.expr, *, is_condition: bool) -> Iterator[ast.expr]:
    match node:
        case ast.Compare(left=left, ops=operators, comparators=comparators):
            for at, operator in enumerate(operators):
                changed = [*operators[:at], COMPARED[type(operator)](), *operators[at + 1 :]]
                yield ast.Compare(left, changed, comparators)
        case ast.BoolOp(op=operator, values=values):
            yield ast.BoolOp(ast.Or() if isinstance(operator, ast.And) else ast.And(), values)
        case ast.UnaryOp(op=ast.Not() | ast.USub(), operand=operand):
            yield operand
        case ast.BinOp(left=left, op=operator, right=right) if type(operator) in CALCULATED:
            if not (_is_text(left) or _is_text(right)):
                yield ast.BinOp(left, CALCULATED[type(operator)](), right)
        case ast.Constant(value=bool(value)):
            yield ast.Constant(not value)
        case ast.Constant(value=int(value) | float(value)):
            yield ast.Constant(value + 1)
    # Of an equality and of `not`, what is above is the negation already.
    if is_condition and not isinstance(node, ast.Constant | ast.UnaryOp) and not _is_equality(node):
        yield ast.UnaryOp(ast.Not(), node)


def _is_equality(node: ast.expr) -> bool:
    match node:
        case ast.Compare(ops=[ast.Eq() | ast.NotEq() | ast.Is() | ast.IsNot() | ast.In() | ast.NotIn()]):
            return True
    return False


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str | bytes))
