"""The fast lane: a strict common subset of heads, read in one walk over their octets.

It is written to be compiled: mypyc makes plain C of `i64` numbers, and of the indexing of `bytes`, where it checks each
index. The walk takes ten instructions an octet; a call of `bytes.find` takes a thousand before it has looked at one. So
nothing here splits, finds or translates, but for very long values. Interpreted, each octet is a turn of a Python loop.
Microseconds for a head, in one run:

                small request   browser's   response
    compiled         0.5           1.2         1.0
    interpreted     12            42          22
    h11 lane        35            67          42

This lane recognises a head only under these conditions: one read holds all of it; each line is exactly `Name: value`,
the value begins and ends with a visible octet and holds no control octet; no parsed field is given twice; Connection,
Content-Length and Transfer-Encoding have their most common values. For all other heads it returns None, which means
*not mine*, never *wrong*: the h11 lane then gets the same octets and decides. So this module can only be too strict.
The tests compare its reading of every head that it accepts with the reading of the h11 lane.

Most lines only pass through. They are not taken apart: what is between two parsed fields is one slice, a *run* (see
`message.RequestHead`). A name is looked up only if its length and first letter say that it may be one to look at
(`FieldNames.shapes`), or if it holds a character that servers take for another.

It remembers no head and no block of fields: real traffic does not repeat them, and only a benchmark would gain.
"""

from typing import Final

from mypy_extensions import i64, mypyc_attr

from rawgate.message import CHUNKED, Removable
from rawgate.wire.fields import LONG_NAME, NOT_A_NAME, REMOVABLE, FieldNames
from rawgate.wire.grammar import PLAIN_NAME_OCTETS, TOKEN_OCTETS

_LONG: Final[i64] = 128
"""Octets. Longer names are not for this lane; what is longer of a target is left to methods of `bytes`."""
_LONG_VALUE: Final[i64] = 256
"""Octets. What is longer of a value is left to methods of `bytes`. Most bearer tokens are shorter."""
_MOST_STEPS: Final[i64] = 2048
"""Octets of the fields that are looked at one by one: more than browsers send besides long values. Where this module is
interpreted they take half a millisecond."""
_MOST_DIGITS: Final[i64] = 18
"""Of a Content-Length. Such numbers fit in one machine word, also as mypyc holds them (below 2**62); the h11 lane reads
one digit more."""
_CLOSES: Final = {b"keep-alive": False, b"Keep-Alive": False, b"close": True, b"Close": True}
"""The common values of Connection → whether the connection closes."""
_METHODS: Final = {method: method for method in (b"GET", b"POST", b"PUT", b"PATCH", b"DELETE", b"HEAD", b"OPTIONS")}
_MOST_METHOD: Final[i64] = 7

_PLAIN: Final = bytes(octet in PLAIN_NAME_OCTETS for octet in range(256))
_TOKEN: Final = bytes(octet in TOKEN_OCTETS for octet in range(256))
_VALUE: Final = bytes(octet >= 32 and octet != 127 for octet in range(256))
_TARGET: Final = bytes(32 < octet < 127 and octet != ord("#") for octet in range(256))
"""Octet → 1 if it belongs to plain names, to names, to values, to targets."""
_LONG_NAME: Final[i64] = LONG_NAME

_LF: Final[i64] = 0x0A
_CR: Final[i64] = 0x0D
_SP: Final[i64] = 0x20
_SLASH: Final[i64] = 0x2F
_ZERO: Final[i64] = 0x30
_COLON: Final[i64] = 0x3A
_DEL: Final[i64] = 0x7F


@mypyc_attr(acyclic=True, free_list_len=1)
class RequestLine:
    """The start of a request head in HTTP/1.1 with a target in origin-form. `end`: the index behind its CRLF."""

    __slots__ = ("end", "method", "target")

    def __init__(self, method: bytes, target: bytes, end: i64) -> None:
        self.method: Final = method
        self.target: Final = target
        self.end: Final = end


@mypyc_attr(acyclic=True, free_list_len=1)
class StatusLine:
    """The start of the head of a final response whose body only the fields frame; `phrase` is not empty."""

    __slots__ = ("end", "phrase", "status")

    def __init__(self, status: i64, phrase: bytes, end: i64) -> None:
        self.status: Final = status
        self.phrase: Final = phrase
        self.end: Final = end


@mypyc_attr(acyclic=True, free_list_len=1)
class Fields:
    """All fields of a head: `parsed`, `passthrough` and `removable` as in `RequestHead`. `end`: the index behind the
    empty line."""

    __slots__ = ("end", "parsed", "passthrough", "removable")

    def __init__(self, parsed: dict[bytes, bytes], passthrough: list[bytes], removable: Removable, end: i64) -> None:
        self.parsed: Final = parsed
        self.passthrough: Final = passthrough
        self.removable: Final = removable
        self.end: Final = end


@mypyc_attr(acyclic=True, free_list_len=1)
class Framing:
    """`body` and `close` as in `RequestHead`."""

    __slots__ = ("body", "close")

    def __init__(self, body: i64, close: bool) -> None:
        self.body: Final = body
        self.close: Final = close


def read_request_line(data: bytes, most: i64) -> RequestLine | None:
    """`most`: octets of the target."""
    size: i64 = len(data)
    at: i64 = 0
    while at <= _MOST_METHOD and at < size and data[at] != _SP:
        at += 1
    method = _METHODS.get(data[:at])
    start: i64 = at + 1
    if method is None or start >= size or data[start] != _SLASH:
        return None
    at = start
    stop: i64 = min(size, start + most)
    pause: i64 = min(stop, start + _LONG)
    target = _TARGET
    while at < pause and target[data[at]]:
        at += 1
    if at == pause:
        at = _long_end(data, at, stop + 1, b" ", target)
        if at < 0:
            return None
    # The octet that ended the walk is compared here, so no space, control octet or fragment is in the target.
    if data[at : at + 11] != b" HTTP/1.1\r\n":
        return None
    return RequestLine(method, data[start:at], at + 11)


def read_status_line(data: bytes) -> StatusLine | None:
    size: i64 = len(data)
    if size < 14 or not data.startswith(b"HTTP/1.1 ") or data[12] != _SP:
        return None
    status: i64 = 0
    at: i64 = 9
    while at < 12:
        digit: i64 = data[at] - _ZERO
        if digit < 0 or digit > 9:
            return None
        status = status * 10 + digit
        at += 1
    if status < 200 or status > 599 or status == 204 or status == 304:
        return None
    at = 13
    while at < size:
        octet: i64 = data[at]
        if octet < _SP or octet >= _DEL:
            break
        at += 1
    if at == 13 or data[13] == _SP or at + 1 >= size or data[at] != _CR or data[at + 1] != _LF:
        return None
    return StatusLine(status, data[13:at], at + 2)


def read_fields(data: bytes, start: i64, names: FieldNames, octets: i64, fields: i64) -> Fields | None:
    """The fields from the index `start` on, behind the start line, and where they end. None if the head is incomplete
    or over a limit, a line is not exactly `Name: value`, or a parsed field is given twice."""
    stop: i64 = min(len(data), octets)
    shapes, usual = names.shapes, names.usual
    parsed: dict[bytes, bytes] = {}
    passthrough: list[bytes] = []
    removable: Removable = ()
    found: i64 = 0  # parsed fields
    steps: i64 = _MOST_STEPS
    run: i64 = start - 2  # index of the CRLF before the first line of the run
    line: i64 = start
    while fields >= 0 and steps > 0 and line + 1 < stop:
        colon: i64 = _name_end(data, line, min(stop, line + _LONG))
        if colon == line:
            if run < line - 2:
                passthrough.append(data[run : line - 2])
            whole = data[line] == _CR and data[line + 1] == _LF and len(parsed) == found and NOT_A_NAME not in parsed
            return Fields(parsed, passthrough, removable, line + 2) if whole else None
        odd = colon < 0
        if odd:
            colon = -colon
        end: i64 = _line_end(data, colon, stop)
        if end == 0:
            return None
        shape: i64 = min(colon - line, _LONG_NAME) * 32 + (data[line] & 31)
        if odd or shapes[shape]:
            spelling = data[line:colon]
            first = usual[shape]
            known = first if first is not None and first.spelling == spelling else names.look_up(spelling)
            name = known.name
            if len(name) != 0:
                if run < line - 2:
                    passthrough.append(data[run : line - 2])
                run = end
                if name != REMOVABLE:
                    parsed[name] = data[colon + 2 : end]
                    found += 1
                else:
                    removable = (*removable, (len(passthrough), known.lowered))
                    passthrough.append(data[line - 2 : end])
        steps -= min(end - line, _LONG + _LONG_VALUE)
        line = end + 2
        fields -= 1
    return None


def _name_end(data: bytes, at: i64, stop: i64) -> i64:
    """The index behind the name that starts at `at`, which is `at` if none does; negative if servers differ on how they
    read the name (see `message.READ_AS`)."""
    plain = _PLAIN
    while at < stop and plain[data[at]]:
        at += 1
    if at == stop or not _TOKEN[data[at]]:
        return at
    while at < stop and _TOKEN[data[at]]:
        at += 1
    return -at


def _line_end(data: bytes, colon: i64, stop: i64) -> i64:
    """The index of the CRLF behind `: value`; 0 if something else is there."""
    value: i64 = colon + 2
    if value >= stop or data[colon] != _COLON or data[colon + 1] != _SP or data[value] == _SP:
        return 0
    at: i64 = value
    pause: i64 = min(stop, value + _LONG_VALUE)
    kind = _VALUE
    while at < pause and kind[data[at]]:
        at += 1
    if at == pause:
        at = _long_end(data, at, stop, b"\r", kind)
        if at < 0:
            return 0
    if at + 1 >= stop or at == value or data[at] != _CR or data[at + 1] != _LF or data[at - 1] == _SP:
        return 0
    return at


def _long_end(data: bytes, at: i64, stop: i64, mark: bytes, kind: bytes) -> i64:
    """The first index, from `at` on, of an octet; negative if it is not there or what is before it is not of a kind."""
    end: i64 = data.find(mark, at, stop)
    if end < 0:
        return -1
    kinds = data[at:end].translate(kind)
    return end if kinds == b"\x01" * len(kinds) else -1


def read_framing(parsed: dict[bytes, bytes], otherwise: i64) -> Framing | None:
    """The length of the body, a number of octets, CHUNKED, or `otherwise` if no field frames it; and whether the
    connection closes. None if one of the fields has an uncommon value."""
    connection = parsed.get(b"connection")
    close = False
    if connection is not None:
        known = _CLOSES.get(connection)
        if known is None:
            return None
        close = known
    length, coding = parsed.get(b"content-length"), parsed.get(b"transfer-encoding")
    if length is None:
        if coding is None:
            return Framing(otherwise, close)
        return Framing(CHUNKED, close) if coding == b"chunked" else None
    if coding is not None:
        return None
    size: i64 = len(length)
    if size > _MOST_DIGITS:
        return None
    octets: i64 = 0
    at: i64 = 0
    while at < size:
        digit: i64 = length[at] - _ZERO
        if digit < 0 or digit > 9:
            return None
        octets = octets * 10 + digit
        at += 1
    return Framing(octets, close)
