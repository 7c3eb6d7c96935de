"""One reading of a request path, for the gateway and for the upstream alike.

A path that the gateway reads one way and an upstream another way is a hole: the route that asked for a credential is
not the one whose resource is served. So every path is normalised once, before matching, and what was matched is what
is forwarded. Where two readers could still differ, the path is refused.

    target ──▶ path │ query         the query, all after the first "?", travels as it came
    path   ──▶ decode what never needed encoding  (RFC 3986 section 6.2.2.2: unreserved characters)
           ──▶ merge slashes                      (as nginx does; `merge_slashes = false` turns it off)
           ──▶ resolve dot segments               (section 5.2.4, but a climb above the root is refused)

Other percent-encoded octets stay as they are, the case of their digits too. Normalising twice changes nothing.

Two spellings may remain of one resource ("%40" and "@", "%c3" and "%C3"). They are not rewritten, because an upstream
may have signed or stored one of them, but they must not select different routes. Hence `Normal.key`: the path with
all octets decoded except "/", "\\" and "%" themselves. Routes are matched on the key.

An encoded slash stays encoded in the key: a route that keeps it (`encoded_slash = "keep"`) trusts its upstream to read
it as part of a name, not as a slash.
"""

import re
from collections.abc import Callable

from rawgate.message import Value

ENCODED_SLASH = "The path holds an encoded slash or backslash, which this route does not take."


class Normal(Value, frozen=True):
    """A target, read.

    path   normalised, as it is matched and forwarded; b"" when the target is refused
    key    what routes are compared with: see above; the same as `path` when that holds no "%"
    query  with its "?", or b""
    flaw   "" when all is well; with a path, `ENCODED_SLASH`: for the route to judge; else why the target is refused
    """

    path: bytes
    key: bytes
    query: bytes
    flaw: str


Normalise = Callable[[bytes], Normal]

_HEX = rb"[0-9A-Fa-f]"


def _marking(unfit: bytes) -> bytes:
    """A table for `translate` that changes each octet which is not visible ASCII, or `unfit`. RFC 3986 allows fewer in
    a target; browsers send some of the others ("|", "[", "^") as they are, and no reader takes them for a delimiter."""
    return bytes(octet if 0x20 < octet < 0x7F and octet not in unfit else octet ^ 0x80 for octet in range(256))


_UNLIKELY_IN_PATHS = _marking(b"#%?\\")
_UNFIT_FOR_QUERIES = _marking(b"#")

_UNSENDABLE = (
    (re.compile(rb"[^!-~]"), "The path holds a control character, a space or an octet that is not ASCII."),
    (re.compile(rb"[\\#]"), "The path holds a backslash or a fragment."),
    (re.compile(rb"%%(?!%b{2})" % _HEX), "The path holds a percent sign without two hexadecimal digits."),
    (re.compile(rb"%(?:[01]|7[Ff])"), "The path holds an encoded control character."),
)
_BAD_QUERY = re.compile(rb"[^!-~]|#")
_ENCODED = re.compile(rb"%%(%b{2})" % _HEX)
# - .  0–9  A–O  P–Z _  a–o  p–z ~
_ENCODED_UNRESERVED = re.compile(rb"%(2[DdEe]|3[0-9]|4[1-9A-Fa-f]|5[0-9AaFf]|6[1-9A-Fa-f]|7[0-9AaEe])")
_ENCODED_SLASH = re.compile(rb"%(?:2[Ff]|5[Cc])")
_SLASHES = re.compile(rb"//+")
# Between slashes of any spelling. Some servers cut ";parameters" off a segment before they resolve dots, and some
# decode slashes before: for them these are dot segments, for the gateway they are not.
_HIDDEN_DOTS = re.compile(rb"(?:/|%2[Ff]|%5[Cc])\.\.?(?=;|%3[Bb]|%2[Ff]|%5[Cc])|(?:%2[Ff]|%5[Cc])\.\.?(?=/|\Z)")
_DOT_SEGMENT = re.compile(rb"/\.\.?(?=/|\Z)")
_ENCODED_DOT = re.compile(rb"%2[Ee]")

_STAYS_IN_KEY = frozenset(b"/\\%")


def _decode(found: re.Match[bytes]) -> bytes:
    return bytes((int(found[1], 16),))


def _decode_for_key(found: re.Match[bytes]) -> bytes:
    octet = int(found[1], 16)
    return found[0].upper() if octet in _STAYS_IN_KEY else bytes((octet,))


def match_key(path: bytes) -> bytes:
    """What routes compare of a normalised path: see the theory above."""
    return _ENCODED.sub(_decode_for_key, path)


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


def _read(target: bytes, merge_slashes: bool) -> Normal:
    path, mark, rest = target.partition(b"?")
    query = mark + rest
    flaw = _flaw(path, query)
    if flaw:
        return Normal(b"", b"", b"", flaw)
    path = _ENCODED_UNRESERVED.sub(_decode, path)
    if _HIDDEN_DOTS.search(path):
        return Normal(b"", b"", b"", "The path hides a dot segment behind a parameter or an encoded slash.")
    if merge_slashes:
        path = _SLASHES.sub(b"/", path)
    if _DOT_SEGMENT.search(path):
        path = _resolve(path)
        if not path:
            return Normal(b"", b"", b"", "The path climbs above its root.")
    return Normal(path, match_key(path), query, ENCODED_SLASH if _ENCODED_SLASH.search(path) else "")


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
            return Normal(path, path, mark + query, "")
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
