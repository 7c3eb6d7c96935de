"""One reading of a request path, for the gateway and for the upstream alike.

If the gateway reads a path in one way and an upstream in another, there is a hole: the route that checks the credential
is not the route of the resource that is served. So each path is normalised once, before matching, and the normalised
path is forwarded. A path that two readers could still read differently is refused.

    target ──▶ path │ query         the query, all after the first "?", passes as received
    path   ──▶ decode what never needed encoding  (RFC 3986 section 6.2.2.2: unreserved characters)
           ──▶ merge slashes                      (as nginx does; `merge_slashes = false` turns it off)
           ──▶ resolve dot segments               (section 5.2.4, but a climb above the root is refused)

Slashes at the start are always merged, because a reader may take the text behind two of them for a host (section 3.2).
Other percent-encoded octets stay as they are, also the case of their digits. Normalising twice changes nothing.

Two spellings of one resource may remain ("%40" and "@", "%c3" and "%C3"). They are not rewritten, because an upstream
may have signed or stored one of them, but they must select the same route. So routes are matched on `Normal.key`: the
path with all octets decoded except "/", "\\" and "%".

An encoded slash stays encoded in the key. A route that accepts it (`encoded_slash = "keep"`) trusts its upstream to
read it as part of a name.

Segments may have parameters (section 3.3: "/admin;v=1"). Java servers cut them off before they look for a servlet;
other servers take them for a part of the name. `Normal.key` is without parameters, `Normal.plain_key` with them. If the
two select different routes, one kind of server would serve another resource than the gateway has judged. Then the path
is refused, unless the route of the key accepts it (`path_parameters = "keep"`).

Each encoded octet and each segment costs time, so their numbers are bounded, far above what clients send.
"""

import re
from collections.abc import Callable
from typing import Final

from mypy_extensions import i64

ENCODED_SLASH = "The path holds an encoded slash or backslash, which this route does not take."
PARAMETERS = "The path's parameters (;…) may lead to another route, which this one does not take."

MOST_ENCODED = 1024
"""Percent-encoded octets in a path. An object key of S3 has at most 1024 octets, all of which may be encoded."""

MOST_SEGMENTS = 256
"""Segments in a path that needs normalising; real paths have a dozen. nginx bounds only the head."""


class Normal:
    """A request target after reading.

    path   normalised, as it is forwarded; b"" if the target is refused
    key    as it is matched, see above; the same as `path` if that holds neither "%" nor ";"
    query  with its "?", or b""
    flaw   without a path: why the target is refused. With a path: ENCODED_SLASH or PARAMETERS, which the route may
           accept, or ""
    plain_key  the key with the parameters of its segments
    """

    __slots__ = ("flaw", "key", "path", "plain_key", "query")

    def __init__(self, path: bytes, key: bytes, query: bytes, flaw: str, plain_key: bytes) -> None:
        self.path: Final = path
        self.key: Final = key
        self.query: Final = query
        self.flaw: Final = flaw
        self.plain_key: Final = plain_key


Normalise = Callable[[bytes], Normal]

_HEX = rb"[0-9A-Fa-f]"


def _marking(unfit: bytes) -> bytes:
    """A table for `translate` that changes each octet that is not visible ASCII or is in `unfit`. RFC 3986 forbids
    more, but browsers send some of those octets ("|", "[", "^") unencoded, and no reader takes them for a delimiter."""
    return bytes(octet if 0x20 < octet < 0x7F and octet not in unfit else octet ^ 0x80 for octet in range(256))


_UNLIKELY_IN_PATHS: Final = _marking(b"#%;?\\")
_UNFIT_FOR_QUERIES: Final = _marking(b"#")

_SHORT: Final[i64] = 128
"""Octets of a target that is walked, as `wire.fast_lane` walks fields. The methods of `bytes` are faster over more."""
_SLASH: Final[i64] = 0x2F
_DOT: Final[i64] = 0x2E
_QUESTION_MARK: Final[i64] = 0x3F

_UNSENDABLE = (
    (re.compile(rb"[^!-~]"), "The path holds a control character, a space or an octet that is not ASCII."),
    (re.compile(rb"[\\#]"), "The path holds a backslash or a fragment."),
    (re.compile(rb"%%(?!%b{2})" % _HEX), "The path holds a percent sign without two hexadecimal digits."),
    (re.compile(rb"%(?:[01]|7[Ff])"), "The path holds an encoded control character."),
)
_BAD_QUERY = re.compile(rb"[^!-~]|#")
_ENCODED_SLASH = re.compile(rb"%(?:2[Ff]|5[Cc])")
_SLASHES = re.compile(rb"//+")
# Some servers cut ";parameters" off a segment or decode slashes before they resolve dot segments. For them these are
# dot segments, for the gateway they are not.
_HIDDEN_DOTS = re.compile(rb"(?:/|%2[Ff]|%5[Cc])\.\.?(?=;|%3[Bb]|%2[Ff]|%5[Cc])|(?:%2[Ff]|%5[Cc])\.\.?(?=/|\Z)")
_DOT_SEGMENT = re.compile(rb"/\.\.?(?=/|\Z)")
_ENCODED_DOT = re.compile(rb"%2[Ee]")

_PARAMETERS = re.compile(rb";[^/]*")

_UNRESERVED = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_STAYS_IN_KEY = frozenset(b"/\\%")


def _spellings(octet: int) -> set[bytes]:
    """Two hexadecimal digits in any case."""
    return {high + low for digits in (b"%02x" % octet,) for high in _cases(digits[:1]) for low in _cases(digits[1:])}


def _cases(digit: bytes) -> set[bytes]:
    return {digit, digit.upper()}


# Two hexadecimal digits → the octets in their place. The first table lacks the octets that stay encoded in a path; the
# second holds all.
_DECODED = {digits: bytes((octet,)) for octet in _UNRESERVED for digits in _spellings(octet)}
_DECODED_FOR_KEY = {
    digits: b"%%%02X" % octet if octet in _STAYS_IN_KEY else bytes((octet,))
    for octet in range(256)
    for digits in _spellings(octet)
}


def _decode(path: bytes, table: dict[bytes, bytes]) -> bytes:
    """Replace each percent-encoded octet that is in the table. `re.sub` with a function would take twice as long."""
    pieces = path.split(b"%")
    decoded = [table.get(piece[:2], b"%" + piece[:2]) + piece[2:] for piece in pieces[1:]]
    return pieces[0] + b"".join(decoded)


def match_key(path: bytes) -> bytes:
    """The key of a normalised path without parameters, see above."""
    return _decode(path, _DECODED_FOR_KEY)


def _resolve(path: bytes) -> bytes:
    """Remove dot segments (RFC 3986 section 5.2.4); b"" for a climb above the root."""
    segments = path.split(b"/")
    kept: list[bytes] = []
    for segment in segments[1:]:
        if segment == b"..":
            if not kept:
                return b""
            kept.pop()
        elif segment != b".":
            kept.append(segment)
    if segments[-1] in (b".", b".."):
        kept.append(b"")  # "/a/." and "/a/b/.." name the directory "/a/"
    return b"/" + b"/".join(kept)


def _flaw(path: bytes, query: bytes) -> str:
    """Why readers could read this target in different ways, or ""."""
    if path[:1] != b"/":
        return "The request target does not start with a slash."
    if _BAD_QUERY.search(query):
        return "The query holds a control character, a space, a fragment or an octet that is not ASCII."
    for pattern, message in _UNSENDABLE:
        if pattern.search(path):
            return message
    return ""


def _excess(path: bytes) -> str:
    """Which bound a path that needs normalising exceeds, or ""."""
    if path.count(b"%") > MOST_ENCODED:
        return f"The path holds more than {MOST_ENCODED} percent-encoded octets."
    return f"The path has more than {MOST_SEGMENTS} segments." if path.count(b"/") > MOST_SEGMENTS else ""


def _without_parameters(key: bytes, merge_slashes: bool) -> bytes:
    """The key without parameters; the same object if there are none."""
    if b";" not in key:
        return key
    bare = _PARAMETERS.sub(b"", key)
    return b"/" + (_SLASHES.sub(b"/", bare) if merge_slashes else bare).lstrip(b"/")


def _read(target: bytes, merge_slashes: bool) -> Normal:
    path, mark, rest = target.partition(b"?")
    query = mark + rest
    flaw = _flaw(path, query) or _excess(path)
    if flaw:
        return _refused(flaw)
    path = _decode(path, _DECODED)
    if _HIDDEN_DOTS.search(path):
        return _refused("The path hides a dot segment behind a parameter or an encoded slash.")
    if merge_slashes:
        path = _SLASHES.sub(b"/", path)
    if _DOT_SEGMENT.search(path):
        path = _resolve(path)
        if not path:
            return _refused("The path climbs above its root.")
    path = b"/" + path.lstrip(b"/")
    plain_key = match_key(path)
    key = _without_parameters(plain_key, merge_slashes)
    doubt = ENCODED_SLASH if _ENCODED_SLASH.search(path) else "" if key is plain_key else PARAMETERS
    return Normal(path, key, query, doubt, plain_key)


def _refused(flaw: str) -> Normal:
    return Normal(b"", b"", b"", flaw, b"")


def _path_end(target: bytes) -> i64:
    """The length of the path of a target that has nothing encoded or unfit, no empty segment and no segment that starts
    with a dot; 0 for any other target, and for a long one."""
    size: i64 = len(target)
    if size == 0 or size > _SHORT or target[0] != _SLASH:
        return 0
    unlikely, unfit = _UNLIKELY_IN_PATHS, _UNFIT_FOR_QUERIES
    before: i64 = _SLASH
    at: i64 = 1
    while at < size:
        octet: i64 = target[at]
        if octet == _QUESTION_MARK:
            break
        # "." and "/" are neighbours in ASCII.
        if unlikely[octet] != octet or (before == _SLASH and _DOT <= octet <= _SLASH):
            return 0
        before = octet
        at += 1
    end: i64 = at
    at += 1
    while at < size:
        if unfit[target[at]] != target[at]:
            return 0
        at += 1
    return end


def compile_normaliser(merge_slashes: bool) -> Normalise:
    """Make `normalise(target)`, for a target in origin-form (RFC 9112 section 3.2.1). It raises nothing."""

    def normalise(target: bytes) -> Normal:
        # Most targets are short and plain.
        end = _path_end(target)
        if end:
            path = target[:end]
            return Normal(path, path, target[end:], "", path)
        # `find` and not `in`: for more than one octet `in` first raises an exception inside CPython, and takes four
        # times as long.
        path, mark, query = target.partition(b"?")
        if (
            path[:1] == b"/"
            and path.translate(_UNLIKELY_IN_PATHS) == path
            and query.translate(_UNFIT_FOR_QUERIES) == query
            and path.find(b"//") < 0
            and path.find(b"/.") < 0
        ):
            return Normal(path, path, mark + query, "", path)
        return _read(target, merge_slashes)

    return normalise


def sendable(path: bytes) -> bool:
    """Whether the result of a rewrite can be sent as the path of a target in origin-form.

    It may hold no query or fragment, only visible ASCII, "%" only in an encoded octet that is no control character, and
    no dot segment in any spelling. It may not start with "//", behind which a reader may see a host.
    """
    if path[:2] == b"//" or b"?" in path or _flaw(path, b""):
        return False
    plain = _ENCODED_DOT.sub(b".", path)
    return not _DOT_SEGMENT.search(plain) and not _HIDDEN_DOTS.search(plain)


def configured_path(text: str) -> bytes:
    """A path of the configuration as clients send it: characters beyond ASCII as percent-encoded UTF-8."""
    return "".join(
        char if char.isascii() else "".join(f"%{octet:02X}" for octet in char.encode()) for char in text
    ).encode()
