"""The path that the upstream sees.

Three kinds, each compiled once into `rewrite(path, key) -> path`, which raises nothing and returns b"" for a result
that cannot be sent:

    "/v2/users"                      replaces the prefix; the rest is kept, with neither a doubled nor a lost slash
    { pattern = "…", to = "…" }      the whole path must match; a path that does not match stays as it is
    a function (Python only)         gets and returns the path as text

The query is never touched. What a pattern or a function returns is checked again, because it can put together what
the gateway would have refused from a client ("/a(.*)" to "/b/\\1" makes "/b/.." of "/a.."). A swapped prefix needs no
check: two normal pieces joined at a slash are normal.
"""

import re
from collections.abc import Callable

from rawgate.config.model import RegexRewrite, Rewriter
from rawgate.errors import Key, Problem

Rewrite = Callable[[bytes, bytes], bytes]
"""`(path, key)` of a `paths.Normal` → the path to send, or b""."""
Check = Callable[[bytes], bool]

_REFERENCE = re.compile(r"\\(?:g<(\w+)>|([1-9][0-9]?)|.?)")
_NOT_IN_A_PATH = re.compile(r"[^!-~]|[?#]")


def compile_swap(prefix: bytes, replacement: bytes) -> Rewrite:
    """Replace `prefix` (as matched, see `paths.match_key`) by `replacement`; both start with a slash."""
    length = len(prefix.rstrip(b"/"))
    depth = prefix.rstrip(b"/").count(b"/")
    base = replacement.rstrip(b"/")

    def swap(path: bytes, key: bytes) -> bytes:
        # With encoded octets the prefix may be longer in the path than in its key: count segments instead.
        rest = path[length:] if path == key else _after(path, depth)
        return base + rest if rest else replacement

    return swap


def _after(path: bytes, depth: int) -> bytes:
    """What follows the first `depth` segments, with its slash."""
    pieces = path.split(b"/", depth + 1)
    return b"/" + pieces[-1] if len(pieces) > depth + 1 else b""


def compile_regex(spec: RegexRewrite, where: tuple[Key, ...], check: Check, problems: list[Problem]) -> Rewrite | None:
    """`where` is the key path of the rewrite. Problems: a pattern that does not compile, a `to` that does not start
    with a slash, holds a bad escape or names a group that the pattern does not have."""
    try:
        pattern = re.compile(spec.pattern)
    except re.error as error:
        problems.append(Problem((*where, "pattern"), f"is not a regular expression: {error}"))
        return None
    found = len(problems)
    if not spec.to.startswith("/"):
        problems.append(Problem((*where, "to"), f"{spec.to!r} does not start with a slash (expected a path)"))
    literals, groups = _template(spec.to, pattern, (*where, "to"), problems)
    if any(_NOT_IN_A_PATH.search(literal) for literal in literals):
        problems.append(
            Problem((*where, "to"), f"{spec.to!r} cannot be sent (expected a path in ASCII, without query)")
        )
    if len(problems) > found:
        return None
    match = pattern.fullmatch

    def rewrite(path: bytes, key: bytes) -> bytes:
        matched = match(path.decode("ascii"))
        if matched is None:
            return path
        pieces = [literals[0]]
        for group, literal in zip(groups, literals[1:], strict=True):
            pieces += (matched[group] or "", literal)
        result = "".join(pieces).encode()
        return result if check(result) else b""

    return rewrite


def _template(
    text: str, pattern: re.Pattern[str], where: tuple[Key, ...], problems: list[Problem]
) -> tuple[list[str], list[int]]:
    """`text` as literals and, between them, group numbers."""
    literals: list[str] = []
    groups: list[int] = []
    end = 0
    for found in _REFERENCE.finditer(text):
        name = found[1] or found[2]
        if name is None:
            problems.append(Problem(where, f"bad escape {found[0]!r} (expected \\1 … \\99 or \\g<name>)"))
            continue
        group = int(name) if name.isdecimal() else pattern.groupindex.get(name, -1)
        if not 0 <= group <= pattern.groups:
            problems.append(Problem(where, f"names the group {name!r}, which the pattern does not have"))
        literals.append(text[end : found.start()])
        groups.append(group)
        end = found.end()
    return [*literals, text[end:]], groups


def compile_function(function: Rewriter, check: Check, report: Callable[[str], None]) -> Rewrite:
    """A Python configuration's own function. Whatever it does, the request gets an answer, and `report` is told."""

    def rewrite(path: bytes, key: bytes) -> bytes:
        try:
            result: object = function(path.decode("ascii"))
        except (Exception, SystemExit) as error:  # noqa: BLE001 - code from outside: any failure is a refusal, no crash
            report(f"the rewrite function raised {error!r}")
            return b""
        sent = result.encode() if isinstance(result, str) and result.isascii() else b""
        if check(sent):
            return sent
        report(f"the rewrite function returned {result!r:.100}, which is no path that can be sent")
        return b""

    return rewrite
