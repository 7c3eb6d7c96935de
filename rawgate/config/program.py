"""Runs a configuration that is a Python program, and finds the lines of its values.

The program runs when the configuration is loaded, with the rights of the gateway. It must leave a `Config` in the
variable `config`. The lines come from its syntax tree. They are exact for values that are written where they are used,
and for variables of the module that are assigned once; any other value has the line of what is around it.
"""

import ast
from pathlib import Path as File

from rawgate.config.lines import Path
from rawgate.config.model import Config

VARIABLE = "config"


class ProgramError(Exception):
    """The program did not build a configuration. `line`: where it failed, from 1."""

    def __init__(self, line: int, message: str) -> None:
        self.line = line
        super().__init__(message)


def run(file: File, source: bytes) -> Config:
    """Execute a program and return the `Config` that it built, unchecked. Raises ProgramError."""
    names: dict[str, object] = {"__name__": file.stem, "__file__": str(file)}
    try:
        # A Python configuration is made to be run. It is trusted as much as the gateway's own code.
        exec(compile(source, str(file), "exec"), names)  # noqa: S102
    except SyntaxError as error:
        line = (error.lineno if error.filename == str(file) else None) or _raised_on(error, file)
        raise ProgramError(line, f"the program is not valid Python: {error.msg}") from None
    except (Exception, SystemExit) as error:  # noqa: BLE001 (whatever it raises is its author's to see)
        said = " ".join(str(error).split())
        message = f"the program raised {type(error).__name__}" + (f": {said}" if said else "")
        raise ProgramError(_raised_on(error, file), message) from None
    if VARIABLE not in names:
        raise ProgramError(1, "the program makes no configuration (expected a variable named config)")
    config = names[VARIABLE]
    if not isinstance(config, Config):
        line = program_lines(source).get((), 1)
        raise ProgramError(line, f"config is of type {type(config).__name__} (expected rawgate.config.model.Config)")
    return config


def program_lines(source: bytes) -> dict[Path, int]:
    """Key path → line, as far as the program's text tells."""
    assigned: dict[str, list[ast.expr]] = {}
    for node in ast.parse(source).body:
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            for target in targets:
                if isinstance(target, ast.Name):
                    assigned.setdefault(target.id, []).append(node.value)
    lines: dict[Path, int] = {}
    for value in assigned.get(VARIABLE, [])[-1:]:
        _walk(value, (), {name: values[0] for name, values in assigned.items() if len(values) == 1}, lines)
    return lines


def _walk(value: ast.expr, path: Path, names: dict[str, ast.expr], lines: dict[Path, int]) -> None:
    lines.setdefault(path, value.lineno)
    match value:
        case ast.Name() if value.id in names:
            lines[path] = names[value.id].lineno
            # Without the name itself: a variable that is made from itself would never end.
            rest = {name: other for name, other in names.items() if name != value.id}
            _walk(names[value.id], path, rest, lines)
        case ast.Call():
            for keyword in value.keywords:
                if keyword.arg is not None:
                    lines[(*path, keyword.arg)] = keyword.lineno
                    _walk(keyword.value, (*path, keyword.arg), names, lines)
        case ast.Dict():
            for key, item in zip(value.keys, value.values, strict=True):
                if isinstance(key, ast.Constant) and isinstance(key.value, str):
                    lines[(*path, key.value)] = key.lineno
                    _walk(item, (*path, key.value), names, lines)
        case ast.List() | ast.Tuple() if not any(isinstance(item, ast.Starred) for item in value.elts):
            for position, item in enumerate(value.elts):
                _walk(item, (*path, position), names, lines)


def _raised_on(error: BaseException, file: File) -> int:
    """The last line of the program that was being executed."""
    line, trace = 1, error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == str(file):
            line = trace.tb_lineno
        trace = trace.tb_next
    return line
