"""One reading of a request path, for the gateway and for the upstream alike.

A path that the gateway reads one way and an upstream another way is a hole: the route that asked for a credential is
not the one whose resource is served. So every path is normalised once, before matching, and what was matched is what
is forwarded. Where two readers could still differ, the path is refused.

    target ──▶ path │ query         the query, all after the first "?", travels as it came
    path   ──▶ decode what never needed encoding  (RFC 3986 section 6.2.2.2: unreserved characters)
           ──▶ merge slashes                      (as nginx does; `merge_slashes = false` turns it off)
           ──▶ resolve dot segments               (section 5.2.4, but a climb above the root is refused)

Slashes at the start are merged in any case: what follows two of them may be taken for a host (section 3.2). Other
percent-encoded octets stay as they are, the case of their digits too. Normalising twice changes nothing.

Two spellings may remain of one resource ("%40" and "@", "%c3" and "%C3"). They are not rewritten, because an upstream
may have signed or stored one of them, but they must not select different routes. Hence `Normal.key`: the path with
all octets decoded except "/", "\\" and "%" themselves. Routes are matched on the key.

An encoded slash stays encoded in the key: a route that keeps it (`encoded_slash = "keep"`) trusts its upstream to read
it as part of a name, not as a slash.

Segments may carry parameters (section 3.3: "/admin;v=1"). Java's servers cut them off before they look for a servlet,
others know nothing of them. The key is without them; `Normal.plain_key` has them. Where these two lead to different
routes, a server of one kind would serve what the gateway judged as the other: the path is refused, unless the route of
the key says that it knows (`path_parameters = "keep"`).

Reading costs by the encoded octet and by the segment, so their number is bounded, far from what clients send.
"""

import re
from collections.abc import Callable
from typing import Final

ENCODED_SLASH = "The path holds an encoded slash or backslash, which this route does not take."
PARAMETERS = "The path's parameters (;…) may lead to another route, which this one does not take."

MOST_ENCODED = 1024
"""Percent-encoded octets in a path: as many as the longest object key of S3 has octets."""

MOST_SEGMENTS = 256
"""Segments in a path that has to be normalised."""


class Normal:
    """A target, read.

    path   normalised, as it is matched and forwarded; b"" when the target is refused
    key    what routes are compared with: see above; the same as `path` when that holds neither "%" nor ";"
    query  with its "?", or b""
    flaw   "" when all is well; with a path, ENCODED_SLASH or PARAMETERS: for the route to judge; else why the target is
           refused
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
    """A table for `translate` that changes each octet which is not visible ASCII, or `unfit`. RFC 3986 allows fewer in
    a target; browsers send some of the others ("|", "[", "^") as they are, and no reader takes them for a delimiter."""
    return bytes(octet if 0x20 < octet < 0x7F and octet not in unfit else octet ^ 0x80 for octet in range(256))


_UNLIKELY_IN_PATHS = _marking(b"#%;?\\")
_UNFIT_FOR_QUERIES = _marking(b"#")

_UNSENDABLE = (
    (re.compile(rb"[^!-~]"), "The path holds a control character, a space or an octet that is not ASCII."),
    (re.compile(rb"[\\#]"), "The path holds a backslash or a fragment."),
    (re.compile(rb"%%(?!%b{2})" % _HEX), "The path holds a percent sign without two hexadecimal digits."),
    (re.compile(rb"%(?:[01]|7[Ff])"), "The path holds an encoded control character."),
)
_BAD_QUERY = re.compile(rb"[^!-~]|#")
_ENCODED_SLASH = re.compile(rb"%(?:2[Ff]|5[Cc])")
_SLASHES = re.compile(rb"//+")
# Between slashes of any spelling. Some servers cut ";parameters" off a segment before they resolve dots, and some
# decode slashes before: for them these are dot segments, for the gateway they are not.
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


# Digits → what stands for them. Those that stay as they are are not in the first; the second has all octets.
_DECODED = {digits: bytes((octet,)) for octet in _UNRESERVED for digits in _spellings(octet)}
_DECODED_FOR_KEY = {
    digits: b"%%%02X" % octet if octet in _STAYS_IN_KEY else bytes((octet,))
    for octet in range(256)
    for digits in _spellings(octet)
}


def _decode(path: bytes, table: dict[bytes, bytes]) -> bytes:
    """Replace each percent-encoded octet that the table knows. By pieces: a pattern with a function costs twice as
    much."""
    pieces = path.split(b"%")
    decoded = [table.get(piece[:2], b"%" + piece[:2]) + piece[2:] for piece in pieces[1:]]
    return pieces[0] + b"".join(decoded)


def match_key(path: bytes) -> bytes:
    """What routes compare of a normalised path without parameters: see the theory above."""
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
    """Why this target cannot be read in one way only, or ""."""
    if path[:1] != b"/":
        return "The request target does not start with a slash."
    if _BAD_QUERY.search(query):
        return "The query holds a control character, a space, a fragment or an octet that is not ASCII."
    for pattern, message in _UNSENDABLE:
        if pattern.search(path):
            return message
    return ""


def _excess(path: bytes) -> str:
    """What there is too much of in a path that has to be normalised, or ""."""
    if path.count(b"%") > MOST_ENCODED:
        return f"The path holds more than {MOST_ENCODED} percent-encoded octets."
    return f"The path has more than {MOST_SEGMENTS} segments." if path.count(b"/") > MOST_SEGMENTS else ""


def _without_parameters(key: bytes, merge_slashes: bool) -> bytes:
    """The key as a server reads it that cuts parameters off; the same object when there are none."""
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


def compile_normaliser(merge_slashes: bool) -> Normalise:
    """→ `normalise(target)`, for an origin-form target (RFC 9112 section 3.2.1), path and query. Raises nothing."""

    def normalise(target: bytes) -> Normal:
        # Most targets: nothing encoded, no empty segment, no segment that starts with a dot. (`find`, because `in` with
        # more than one octet raises an exception inside CPython first, and costs four times as much.)
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
    """Whether what a rewrite returned can be sent as the path of an origin-form target.

    No query or fragment, nothing but visible ASCII, "%" only as an encoded octet that is no control character, no dot
    segment in any spelling. A leading "//" is refused too: a reader may take what follows for a host.
    """
    if path[:2] == b"//" or b"?" in path or _flaw(path, b""):
        return False
    plain = _ENCODED_DOT.sub(b".", path)
    return not _DOT_SEGMENT.search(plain) and not _HIDDEN_DOTS.search(plain)


def configured_path(text: str) -> bytes:
    """A path from the configuration as it would arrive: characters beyond ASCII percent-encoded as UTF-8."""
    return "".join(
        char if char.isascii() else "".join(f"%{octet:02X}" for octet in char.encode()) for char in text
    ).encode()
