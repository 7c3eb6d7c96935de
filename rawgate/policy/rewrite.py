"""The path that the upstream sees.

There are four kinds. Each is compiled once into `rewrite(path, key) -> path`, which raises nothing; if the result
cannot be sent, it returns the reason as a str instead:

    "/v2/users"                      replaces the prefix; the rest is kept, with neither a doubled nor a lost slash
    { pattern = "…", to = "…" }      applies if the pattern matches the whole path; other paths stay as they are
    "/v2/users/{id}"                 on a route with a path of its own: replaces all of it; names are filled in
    a function (Python only)         gets and returns the path as text

The query never changes. The result of a pattern, of names or of a function is checked again, because it can be a path
that the gateway refuses from a client ("/a(.*)" to "/b/\\1" makes "/b/.." of "/a.."). A replaced prefix needs no check:
two normalised pieces joined at a slash are normalised.

A prefix and a pattern are compared with the key, as routes are. Otherwise a client could avoid the rewrite by sending
"%40" for "@". The part of the path that is kept, behind a prefix or in a group, is sent as received. So if path and key
differ, `_places` finds the position in the path that belongs to a position in the key:

    path   / a p i ; v = 1 / / c a f %C3%A9 / 7       three differences: the path holds encoded octets, and
    key    / a p i         /   c a f  C3 A9 / 7       parameters and repeated slashes that the key lacks

Text that the key lacks belongs to the text before it: parameters to their segment, a slash to the first of its run.
"""

import re
from collections.abc import Callable, Collection, Sequence
from itertools import accumulate, pairwise

from rawgate.config.model import Rewriter
from rawgate.errors import Key, Problem

Rewrite = Callable[[bytes, bytes], bytes | str]
"""`(path, key)` of a `paths.Normal` → the path to send; a str says why there is none."""
Check = Callable[[bytes], bool]

_REFERENCE = re.compile(r"\\(?:g<(\w+)>|([1-9][0-9]?)|.?)")
_NOT_IN_A_PATH = re.compile(r"[^!-~]|[?#]")

_DECODED = rb"%(?!2[Ff]|5[Cc]|25)[0-9A-Fa-f]{2}"
# (the key lacks parameters, it lacks repeated slashes) → the pieces of the path that the key has in another form. Each
# piece is one octet of the key, but parameters alone are none.
_DIFFERENCES = {
    (False, False): re.compile(_DECODED),
    (False, True): re.compile(rb"//+|" + _DECODED),
    (True, False): re.compile(rb";[^/]*|" + _DECODED),
    (True, True): re.compile(rb"/(?:;[^/]*/|/)+|;[^/]*|" + _DECODED),
}
_SHOWN = 100
_SEMICOLON = 0x3B
_SLASH = 0x2F


def _places(path: bytes, key: bytes, wanted: list[int]) -> list[int]:
    """The positions in `path` of the octets at the positions `wanted` of `key`, in rising order. The length of `key`
    stands for the end of `path`.

    The key lacks all parameters or none, and likewise all repeated slashes or none."""
    semicolons = path.count(b";") + path.count(b"%3B") + path.count(b"%3b")
    differences = _DIFFERENCES[key.count(b";") < semicolons, b"//" not in key]
    places: list[int] = []
    left = [position for position in reversed(wanted) if position < len(key)]
    at = read = 0  # the same place in the path and in the key
    for found in differences.finditer(path):
        if not left:
            break
        first = found.start()
        here = read + first - at
        after = here if path[first] == _SEMICOLON else here + 1
        while left and left[-1] < after:
            places.append(at + left.pop() - read)
        at, read = found.end(), after
    places += [at + position - read for position in reversed(left)]
    return places + [len(path)] * (len(wanted) - len(places))


def compile_swap(prefix: bytes, replacement: bytes) -> Rewrite:
    """Replace `prefix` (as matched, see `paths.match_key`) by `replacement`; both start with a slash."""
    stem = prefix.rstrip(b"/")
    length = len(stem)
    base = replacement.rstrip(b"/")

    def swap(path: bytes, key: bytes) -> bytes:
        rest = path[length:] if path == key else _behind(stem, path, key)
        return base + rest if rest else replacement

    def strip(path: bytes, key: bytes) -> bytes:
        rest = path[length:] if path == key else _behind(stem, path, key)
        if len(rest) > 1:
            # A reader may take the text behind two slashes at the start for a host.
            return rest if rest[1] != _SLASH else b"/" + rest.lstrip(b"/")
        return replacement

    return swap if base else strip


def _behind(stem: bytes, path: bytes, key: bytes) -> bytes:
    """The part of `path` behind the prefix `stem` of `key`."""
    length = len(stem)
    # Most paths differ from the key behind the prefix only. But a semicolon in the stem may be an encoded one in the
    # key and the start of a parameter in the path.
    if path[:length] == stem and path[length : length + 1] == b"/" and b";" not in stem:
        return path[length:]
    return path[_places(path, key, [length])[0] :]


Capture = Callable[[bytes, bytes], dict[str, bytes]]
"""`(path, key)` of a path that a template matched → its names and what they stand for, as it was received."""


def compile_capture(names: Sequence[tuple[int, str]], rest: str) -> Capture:
    """names  position of a segment, from 0, and its name
    rest   the name of all that follows the last segment, or ""; and `names` has its position too, where it begins"""

    def capture(path: bytes, key: bytes) -> dict[str, bytes]:
        spans: list[tuple[str, int, int]] = []
        start = 1
        wanted = dict(names)
        for position, segment in enumerate(key.split(b"/")[1:]):
            name = wanted.get(position)
            if name is not None:
                spans.append((name, start, len(key) if name == rest else start + len(segment)))
            start += len(segment) + 1
        if path == key:
            return {name: path[first:last] for name, first, last in spans}
        positions = sorted({place for _, first, last in spans for place in (first, last)})
        place = dict(zip(positions, _places(path, key, positions), strict=True))
        return {name: path[place[first] : place[last]] for name, first, last in spans}

    return capture


_NAME = re.compile(r"\{([a-z][a-z0-9_]*)\}")


def unknown_names(text: str, names: Collection[str]) -> list[str]:
    """The names in a rewrite that the route's path does not have."""
    return [name for name in _NAME.findall(text) if name not in names]


def compile_fill(text: str, capture: Capture, check: Check) -> Rewrite:
    """Replace the whole path by `text`, in which names stand for what `capture` finds."""
    pieces = _NAME.split(text)
    start = pieces[0].encode()
    parts = [(name, literal.encode()) for name, literal in zip(pieces[1::2], pieces[2::2], strict=True)]

    def fill(path: bytes, key: bytes) -> bytes | str:
        found = capture(path, key)
        sent = [start]
        for name, literal in parts:
            sent += (found.get(name, b""), literal)
        result = b"".join(sent)
        if result[1:2] == b"/":  # of a name that stands for nothing, or for text with a slash at its start
            result = b"/" + result.lstrip(b"/")
        return result if check(result) else f"the rewrite made {result!r:.100}, which is no path that can be sent"

    return fill


def compile_regex(
    pattern: re.Pattern[str],
    to: str,
    where: tuple[Key, ...],
    check: Check,
    problems: list[Problem],
) -> Rewrite | None:
    """Rewrite by `pattern`, which must be one that cannot run away. `where`: the key path of `to`. A Problem if `to`
    does not start with a slash, holds a bad escape, names a group that the pattern lacks, or never makes a path that
    can be sent."""
    found = len(problems)
    literals, groups = _template(to, pattern, where, problems)
    unfit = "" if len(problems) > found else _unfit(to, literals, check)
    if unfit:
        problems.append(Problem(where, f"{to!r} {unfit}"))
    if len(problems) > found:
        return None
    match, start, parts = pattern.fullmatch, literals[0], list(zip(groups, literals[1:], strict=True))

    def rewrite(path: bytes, key: bytes) -> bytes | str:
        if path == key:
            matched = match(path.decode())
            if matched is None:
                return path
            pieces = [start]
            for group, literal in parts:
                pieces += (matched[group] or "", literal)
        else:
            matched = match(key.decode("utf-8", "surrogateescape"))
            if matched is None:
                return path
            pieces = [start]
            for text, (_, literal) in zip(_as_they_came(matched, groups, path, key), parts, strict=True):
                pieces += (text, literal)
        result = "".join(pieces)
        sent = result.encode()
        return sent if check(sent) else f"the rewrite pattern made {result!r:.100}, which is no path that can be sent"

    return rewrite


_GROUP = "41"
"""A text for all groups of a template that is most likely to give a valid path: it completes an encoded octet, and
makes a name of dots. A template that is invalid with it is invalid with every text."""


def _unfit(to: str, literals: list[str], check: Check) -> str:
    """Why a template cannot be used, or ""."""
    if not to.startswith("/"):
        return "does not start with a slash (expected a path)"
    if any(_NOT_IN_A_PATH.search(literal) for literal in literals):
        return "cannot be sent (expected a path in ASCII, without query)"
    if not check(_GROUP.join(literals).encode()):
        return "never makes a path that can be sent (expected one without // at its start, /../, and % but for %HH)"
    return ""


def _as_they_came(matched: re.Match[str], groups: list[int], path: bytes, key: bytes) -> list[str]:
    """The groups of a match in the key, in the spelling of the path."""
    text = matched.string
    spans = [matched.span(group) for group in groups]
    ends = sorted({0, *(end for span in spans for end in span if end >= 0)})
    positions = ends
    if not text.isascii():
        sizes = (len(text[first:last].encode("utf-8", "surrogateescape")) for first, last in pairwise(ends))
        positions = list(accumulate(sizes, initial=0))
    place = dict(zip(ends, _places(path, key, positions), strict=True))
    return [path[place[first] : place[last]].decode() if first >= 0 else "" for first, last in spans]


def _template(
    text: str, pattern: re.Pattern[str], where: tuple[Key, ...], problems: list[Problem]
) -> tuple[list[str], list[int]]:
    """Split `text` into literals and the group numbers between them."""
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


def compile_function(function: Rewriter, check: Check) -> Rewrite:
    """Rewrite by a function of a configuration in Python. Whatever the function does, the request gets a reply."""
    code = getattr(function, "__code__", None)
    file = "" if code is None else code.co_filename
    home = "" if code is None else f" at {file}:{code.co_firstlineno}"

    def rewrite(path: bytes, key: bytes) -> bytes | str:
        try:
            result: object = function(path.decode("ascii"))
        except (Exception, SystemExit) as error:  # noqa: BLE001 - code from outside: any failure is a refusal, no crash
            return f"the rewrite function raised {_shown(error)}{_place(error, file) or home}"
        sent = result.encode() if isinstance(result, str) and result.isascii() else b""
        if check(sent):
            return sent
        return f"the rewrite function returned {_shown(result)}, which is no path that can be sent{home}"

    return rewrite


def _place(error: BaseException, file: str) -> str:
    """The last line of the configuration's file in the traceback, not the line in a library that it called."""
    place, trace = "", error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == file:
            place = f" at {file}:{trace.tb_lineno}"
        trace = trace.tb_next
    return place


def _shown(value: object) -> str:
    """Any value as text: on one line, not too long."""
    try:
        text = repr(value)
    except Exception:  # noqa: BLE001 - its code, too, is from outside
        text = f"a {type(value).__name__} that cannot be shown"
    text = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
    return text if text.isprintable() else ascii(text)[1:-1]
