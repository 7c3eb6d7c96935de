"""The fast lane: a strict common subset of heads, recognised with one compiled pattern.

The h11 lane takes 40 µs for a small head and 60 for a browser's; this one, a pattern and a walk, 2.5 and 5.5.
A head is recognised only when all of it is here in one read, every line is exactly `Name: value` with a visible octet
at both ends of the value and no control octet in it, no known field is given twice, and Connection, Content-Length and
Transfer-Encoding say the simplest things. Everything else is None, which means *not mine*, never *wrong*: the h11 lane
then gets the same octets and decides. So this module can only be too strict, and the tests hold every head that it
accepts against the other lane's reading.

No head and no block of fields is remembered: real traffic does not repeat them, and a benchmark that does would lie.
"""

import re

from rawgate.message import CHUNKED
from rawgate.wire.fields import FieldNames

# Underscores are left out of request names, so that no alias of another field (`X_User_Id`) needs to be looked for.
_REQUEST_LINE = rb"(GET|POST|PUT|PATCH|DELETE|HEAD|OPTIONS) (/[!\"$-~]*+) HTTP/1\.1\r\n"
_REQUEST_FIELD = rb"[!#$%&'*+\-.^`|~0-9A-Za-z]++: [!-~\x80-\xff][^\r]*+(?<! )"
_STATUS_LINE = rb"HTTP/1\.1 ([2-5][0-9][0-9]) ([!-~][ -~]*+)\r\n"
_RESPONSE_FIELD = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]++: [!-~\x80-\xff][^\r]*+(?<! )"


def _head(start_line: bytes, field: bytes) -> re.Pattern[bytes]:
    """A whole head: the last group is the block of fields without its last CRLF. Each line is possessive, so going back
    is at most a look at each line's end.

    A value is all but CR here, which `re` looks for five times as fast as for a class of octets; what else may not be
    in it, `sort_fields` sees to."""
    return re.compile(start_line + rb"(" + field + rb"(?:\r\n" + field + rb")*)\r\n\r\n")


REQUEST = _head(_REQUEST_LINE, _REQUEST_FIELD).match
RESPONSE = _head(_STATUS_LINE, _RESPONSE_FIELD).match

_UNCOMMON = frozenset((b"expect", b"keep-alive", b"upgrade"))
_OF_THE_HOP = _UNCOMMON | {b"connection", b"content-length", b"transfer-encoding"}
_CLOSES = {None: False, b"keep-alive": False, b"Keep-Alive": False, b"close": True, b"Close": True}
"""What Connection says, absent or in its common spellings → whether it closes."""
_MOST_DIGITS = 18
_CONTROLS_MARKED = bytes(octet if (octet >= 32 and octet != 127) or octet in b"\r\n" else 0xFF for octet in range(256))
"""For `translate`, which gives back the very object in which it changes nothing."""

Fields = tuple[dict[bytes, bytes], list[bytes], tuple[int, ...]]
Hop = tuple[int, bool]


def sort_fields(block: bytes, names: FieldNames, most: int) -> Fields | None:
    """Known fields, the lines that go through, and which of these are watched, of a block that the pattern matched.
    None: a control octet, a bare LF, a known field twice, or more lines than `most`."""
    lines = block.split(b"\r\n")
    if block.translate(_CONTROLS_MARKED) != block or block.count(b"\n") >= len(lines):
        return None
    known: dict[bytes, bytes] = {}
    through: list[bytes] = []
    watched: tuple[int, ...] = ()
    for line in lines:
        spelling, _, value = line.partition(b": ")
        name = names[spelling]
        if name:
            known[name] = value
        else:
            if name is not None:
                watched = (*watched, len(through))
            through.append(line)
    count = len(lines)
    return (known, through, watched) if len(known) + len(through) == count <= most else None


def hop(known: dict[bytes, bytes], otherwise: int) -> Hop | None:
    """The body, octets or CHUNKED or `otherwise` when no field frames it, and whether Connection says close. None when
    any of the fields that concern the hop says something uncommon."""
    if _OF_THE_HOP.isdisjoint(known):
        return otherwise, False
    close = _CLOSES.get(known.get(b"connection"))
    if close is None or not _UNCOMMON.isdisjoint(known):
        return None
    length, coding = known.get(b"content-length"), known.get(b"transfer-encoding")
    if length is None:
        if coding is None:
            return otherwise, close
        return (CHUNKED, close) if coding == b"chunked" else None
    if coding is not None or not length.isdigit() or len(length) > _MOST_DIGITS:
        return None
    return int(length), close
