"""Values that are rewritten for the compiler: the same fields, in the same places, on the same lines."""

import ast
import importlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rawgate import message
from tools.binary.ahead import COMPILED
from tools.binary.natively import natively

ROOT = Path(__file__).parents[1]


def mypyc_attr(**_: object) -> Any:
    """Of mypy_extensions, where only the compiler sees it."""
    return lambda kind: kind


def natives(path: Path) -> SimpleNamespace:
    """A module as the compiler is given it, run by CPython."""
    namespace: dict[str, Any] = {"__name__": "natives", "mypyc_attr": mypyc_attr}
    exec(compile(natively(path.read_text()), str(path), "exec"), namespace)  # noqa: S102 - our own source
    return SimpleNamespace(**namespace)


MODULES = [importlib.import_module(str(path.with_suffix("")).replace("/", ".")) for path in COMPILED]
KINDS = (message.Value, message.State, message.Options)


def values_of(module: Any) -> list[Any]:
    """The values that a module declares."""
    return [
        found
        for found in vars(module).values()
        if isinstance(found, type)
        and found.__module__ == module.__name__
        and issubclass(found, KINDS)
        and found not in KINDS
    ]


def test_all_values_are_in_compiled_modules() -> None:
    """Elsewhere their base would be a class that CPython cannot make subclasses of."""
    declared: list[type] = [*KINDS]
    for kind in declared:
        declared += kind.__subclasses__()
    assert {kind.__module__ for kind in declared if kind.__module__.startswith("rawgate.")} <= {
        module.__name__ for module in MODULES
    }


@pytest.mark.parametrize("module", [module for module in MODULES if values_of(module)], ids=lambda one: one.__name__)
def test_values_have_the_fields_that_they_had(module: Any) -> None:
    rewritten = natives(Path(module.__file__))
    for value in values_of(module):
        native = vars(rewritten)[value.__name__]
        names = value.__struct_fields__
        assert native.__match_args__ == names
        assert not issubclass(native, KINDS)
        optional = len(value.__struct_defaults__)
        made = native(*range(len(names) - optional))
        assert [getattr(made, name) for name in names] == [*range(len(names) - optional), *value.__struct_defaults__]


def test_a_value_with_other_contents() -> None:
    for namespace in (message, natives(Path(message.__file__))):
        peer = namespace.Peer("192.0.2.7", "192.0.2.7:80")
        other = namespace.replaced(peer, text="there")
        assert (other.address, other.text, peer.text) == ("192.0.2.7", "there", "192.0.2.7:80")


def test_methods_of_values_stay() -> None:
    rewritten = natives(Path(message.__file__))
    forward = rewritten.Forward(None, b"", lambda *given: given, None, b"", "id", "", b"fields")
    assert forward.on_response("head") == (forward, "head")


def statements(source: str) -> dict[str, int]:
    """Where functions and classes, and the statements in functions, start."""
    tree = ast.parse(source)
    places = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name != "__init__":
            places[f"{node.name} {node.col_offset}"] = node.lineno
            if isinstance(node, ast.FunctionDef):
                places[f"{node.name}'s last"] = node.body[-1].lineno
    return places


@pytest.mark.parametrize("module", COMPILED, ids=str)
def test_lines_stay_where_they_were(module: Path) -> None:
    source = (ROOT / module).read_text()
    rewritten = natively(source)
    assert len(rewritten.splitlines()) == len(source.splitlines())
    assert statements(rewritten) == statements(source)


def test_modules_without_values_are_left_alone() -> None:
    assert natively("import re\n\n\nclass A:\n    x: int\n") == "import re\n\n\nclass A:\n    x: int\n"


@pytest.mark.parametrize(
    "source",
    [
        "class A(Value, frozen=True):\n    x: int\n",
        '"""M."""\n\n\nclass A(Value, frozen=True):\n    """D."""\n\n    x: ClassVar[int] = 1\n',
        '"""M."""\nimport re\nclass A(State):\n    """D."""\n\n    x: int\n',
    ],
    ids=["no docstring", "something else than fields", "no room"],
)
def test_what_cannot_be_rewritten_is_refused(source: str) -> None:
    with pytest.raises(ValueError, match=r"^(line|A|no empty line)"):
        natively(source)
