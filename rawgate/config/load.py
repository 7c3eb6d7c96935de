"""Reads a configuration: file → text → values → model, and collects every mistake on the way, with its line.

`load` does not raise for mistakes in a file. It returns a `Draft`: the problems, and the best `Config` that can be made
of the rest. So policy can look for mistakes of its own (a pattern that does not compile, a weak key), and one report
shows them all. A draft with problems is never served.
"""

import re
import tomllib
from collections.abc import Container, Iterable, Mapping
from pathlib import Path as File
from typing import Any

import msgspec
from msgspec import Struct

from rawgate.config.addresses import canonical_host
from rawgate.config.context import Context
from rawgate.config.convert import Converter, Kept, key_path
from rawgate.config.files import Files
from rawgate.config.habits import is_unnamed
from rawgate.config.lines import Path, toml_lines
from rawgate.config.model import ApiKeys, Config, Gateway, Jwt, RateLimit, Route, Target, Tls, Upstream, route_names
from rawgate.config.program import ProgramError, program_lines, run
from rawgate.errors import Problem

_TABLE_TWICE = re.compile(r"Cannot declare \('([^']*)',\) twice")
_KEY = re.compile(r"\s*([A-Za-z0-9_.-]+)\s*=")
_LISTS = ("routes", "tests")
"""Tables that stand in double brackets, once for each."""
_AT = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)$")


class Draft(Struct, frozen=True, kw_only=True):
    """A configuration as far as it could be read.

    config    what could be read, with stand-ins for broken things that routes refer to; None when nothing could be read
    problems  what is wrong, by key path as in the file
    file      the name of the file, for the report
    lines     key path → line, from 1
    kept      path of a list → the positions in the file of those elements that are in `config`
    """

    config: Config | None
    problems: list[Problem]
    file: str
    lines: dict[Path, int]
    kept: Kept

    def report(self, problems: Iterable[Problem]) -> list[str]:
        """One line, `FILE:LINE: key.path: message`, for each problem, sorted by line.

        The draft's own problems count positions as the file does; problems found in `config` count as `config` does.
        """
        own = set(self.problems)
        found = [(problem if problem in own else self._in_file(problem)) for problem in problems]
        found.sort(key=lambda problem: self.line(problem.path))
        return [self._formatted(problem) for problem in found]

    def line(self, path: Path) -> int:
        """The line of a key path of the file, or of what is nearest around it."""
        while path not in self.lines and path:
            path = path[:-1]
        return self.lines.get(path, 1)

    def _in_file(self, problem: Problem) -> Problem:
        path: Path = ()
        for key in problem.path:
            positions = self.kept.get(path, ())
            if positions is None and isinstance(key, int):
                continue
            path = (*path, positions[key] if positions and isinstance(key, int) else key)
        return Problem(path, problem.message)

    def _formatted(self, problem: Problem) -> str:
        where = f"{key_path(problem.path)}: " if problem.path else ""
        return f"{self.file}:{self.line(problem.path)}: {where}{problem.message}"


def load(path: File, environ: Mapping[str, str], files: Files | None = None) -> Draft:
    """Read a configuration, `.toml` or `.py`. `environ` is where "env:NAME" is looked up; `files` reads it and all that
    it names."""
    files = files or Files()
    if path.suffix not in _READERS:
        return _unreadable(path, 1, "is not a configuration (expected a file that ends in .toml or .py)")
    try:
        content = files.read(path)
    except OSError as error:
        return _unreadable(path, 1, f"cannot be read: {error.strerror}{_advice(error)}")
    return load_content(path, content, environ, files)


def load_content(path: File, content: bytes, environ: Mapping[str, str], files: Files | None = None) -> Draft:
    """Read a configuration that is in memory. `path` tells its kind by its suffix, gives the report its file name, and
    relative paths in the configuration start at its folder."""
    return _READERS[path.suffix](path, content, environ, files or Files())


def _advice(error: OSError) -> str:
    match error:
        case FileNotFoundError():
            return "; `rawgate demo --config` prints one to start from"
        case IsADirectoryError():
            return "; name a file in it"
        case PermissionError():
            return "; the user who starts rawgate must be allowed to read it"
    return ""


_MARKS = (
    (b"\xef\xbb\xbf", "starts with a byte-order mark (expected UTF-8 without one)"),
    (b"\xff\xfe", "is text in UTF-16, as PowerShell writes it (expected UTF-8)"),
    (b"\xfe\xff", "is text in UTF-16 (expected UTF-8)"),
)


def _toml(path: File, content: bytes, environ: Mapping[str, str], files: Files) -> Draft:
    for mark, message in _MARKS:
        if content.startswith(mark):
            return _unreadable(path, 1, message)
    try:
        text = content.decode()
        document = tomllib.loads(text)
        lines = toml_lines(text)
    except UnicodeDecodeError as error:
        return _unreadable(path, 1 + content[: error.start].count(b"\n"), "is not UTF-8")
    except RecursionError:
        return _unreadable(path, 1, "is nested too deeply")
    except ValueError as error:
        return _unreadable(path, *_syntax(str(error), text))
    return _draft(path, document, lines, environ, files)


def _syntax(message: str, text: str) -> tuple[int, str]:
    """Line and message of an error of `tomllib`, whose message ends with the place."""
    where = _AT.search(message)
    said = message[: where.start()] if where else message
    if where is None or where[1] is None:
        return (text.rstrip().count("\n") + 1 if where else 1), f"is not valid TOML: {said}"
    line = int(where[1])
    written, column = text.split("\n")[line - 1], int(where[2])
    advice = _twice(said, written) or _one_line(said, written, column)
    return line, f"is not valid TOML: {said}, column {column}{advice}"


def _twice(said: str, line: str) -> str:
    """What to write where a table or a key stands twice, which is often a list that has single brackets."""
    table, key = _TABLE_TWICE.match(said), _KEY.match(line)
    if table is not None:
        return f" (expected [[{table[1]}]], once for each)" if table[1] in _LISTS else ""
    if said == "Cannot overwrite a value" and key is not None:
        return f": {key[1]} stands twice in this table (a further route begins with [[routes]])"
    return ""


def _one_line(said: str, line: str, column: int) -> str:
    """What to write where a table in braces goes on in the next line, as it may in JSON."""
    rest = line[column - 1 :].strip()
    is_broken_off = not rest or rest.startswith("#")
    if said in _IN_BRACES and "{" in line[:column] and is_broken_off:
        return " (expected { … } on one line, or a [table] of its own)"
    return ""


_IN_BRACES = ("Invalid initial character for a key part", "Unclosed inline table")


def _python(path: File, content: bytes, environ: Mapping[str, str], files: Files) -> Draft:
    try:
        config = run(path, content)
    except ProgramError as error:
        return _unreadable(path, error.line, str(error))
    return _draft(path, config, program_lines(content), environ, files)


_READERS = {".toml": _toml, ".py": _python}


def _unreadable(path: File, line: int, message: str) -> Draft:
    return Draft(config=None, problems=[Problem((), message)], file=str(path), lines={(): line}, kept={})


def _draft(path: File, document: object, lines: dict[Path, int], environ: Mapping[str, str], files: Files) -> Draft:
    context = Context(
        folder=path.parent,
        environ=environ,
        files=files,
        plain_numbers=isinstance(document, Config),
        merge_slashes=_member(_member(document, "gateway"), "merge_slashes") is not False,
        names=_names(document),
    )
    walk = Converter(context)
    values = walk.members(Config, document, ())
    return Draft(config=_whole(values), problems=walk.problems, file=str(path), lines=lines, kept=walk.kept)


_NOWHERE = Upstream(targets=(Target(host="upstream.invalid", port=80, authority="upstream.invalid"),))
"""Takes the place of an upstream that is missing or whose targets are all broken (RFC 6761 section 6.4)."""

_ANY_LIMIT = RateLimit(max=1, window=1.0)
"""Takes the place of a limit that is missing or broken."""


def _whole(values: Mapping[str, Any]) -> Config:
    """A `Config` of what could be read. Every name that a route uses is in it."""
    jwt = {name: spec for name, spec in values.get("jwt", {}).items() if spec.secret or spec.public_key or spec.jwks}
    api_keys = values.get("api_keys", {})
    verifiers = {"none", *(f"jwt.{name}" for name in jwt), *(f"api_keys.{name}" for name in api_keys)}
    written = values.get("routes", ())
    limits = {limit: _ANY_LIMIT for route in written for limit in route.limits if isinstance(limit, str)}
    routes = tuple(_named(*pair, verifiers) for pair in zip(written, route_names(written), strict=True))
    upstreams = {route.upstream: _NOWHERE for route in routes if route.upstream} | {
        name: upstream if upstream.targets else msgspec.structs.replace(upstream, targets=_NOWHERE.targets)
        for name, upstream in values.get("upstreams", {}).items()
    }
    return Config(
        gateway=values.get("gateway", Gateway(listen=())),
        upstreams=upstreams,
        routes=routes,
        jwt=jwt,
        api_keys=api_keys,
        limits=limits | values.get("limits", {}),
        store=values.get("store"),
        consul=values.get("consul"),
        tls=values.get("tls", {}),
        tests=values.get("tests", ()),
    )


def _named(route: Route, name: str, verifiers: Container[str]) -> Route:
    auth = route.auth if all(verifier in verifiers for verifier in route.verifiers) else "none"
    return msgspec.structs.replace(route, name=name, auth=auth)


_NAMED: dict[str, type[Struct]] = {
    "upstreams": Upstream,
    "jwt": Jwt,
    "api_keys": ApiKeys,
    "limits": RateLimit,
    "tls": Tls,
}
"""Kind → the Struct that stands under each name of that kind."""


def _names(document: object) -> dict[str, tuple[str, ...]]:
    """The names of all things, taken from what was written: a route may refer to an upstream that is broken."""
    names: dict[str, tuple[str, ...]] = {}
    for kind in _NAMED:
        table = _member(document, kind)
        if isinstance(table, Mapping) and not is_unnamed(_NAMED[kind], table):
            names[kind] = tuple(str(name) for name in table)
        elif table is None:
            names[kind] = ()
    routes = _member(document, "routes")
    if isinstance(routes, list | tuple):
        names["routes"] = tuple(name for name in route_names([_sketch(route) for route in routes]) if name)
    return names


def _sketch(written: object) -> Route:
    """A route with those values, as far as they can be read, on which its name depends."""
    name, host, prefix, path = (_text(_member(written, key)) for key in ("name", "host", "prefix", "path"))
    methods = _member(written, "methods")
    listed = tuple(map(str, methods)) if isinstance(methods, list | tuple) else None
    return Route(prefix=prefix, path=path, auth="", name=name, host=canonical_host(host) or host, methods=listed)


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _member(value: object, name: str) -> object:
    """A key of a table or a field of a Struct, or None."""
    return value.get(name) if isinstance(value, Mapping) else getattr(value, name, None)
