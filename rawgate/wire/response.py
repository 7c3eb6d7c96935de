"""Response heads: octets from an upstream in, `ResponseHead` out, or a `ResponseError`.

Two lanes, as for requests. An upstream is trusted with content but not with framing. A response whose end is in doubt
is refused, because its last octets could be read as the response to another client's request.
"""

import re

from rawgate.errors import MessageError, ResponseError
from rawgate.message import CHUNKED, NO_BODY, UNTIL_CLOSE, ResponseHead
from rawgate.wire.fast_lane import read_fields, read_framing, read_status_line
from rawgate.wire.fields import (
    HOP_BY_HOP,
    MOST_MEMBERS,
    FieldNames,
    content_length_fault,
    members,
    raw_fields,
    read_length,
    strip_connection_fields,
)
from rawgate.wire.h11_lane import ResponseParts, parse_response
from rawgate.wire.scan import HeadScan, ScanRules

_STATUS_LINE = re.compile(rb"HTTP/1\.[0-9] [1-5][0-9]{2}(?: [\t -~\x80-\xff]*+)?")
_FIRST_OCTETS = b"HTTP/1."
_KEEP_ALIVE = re.compile(rb"(?i:(?:^|[,; \t])timeout[ \t]*+=[ \t]*+([0-9]{1,9})(?![0-9]))")


_H11_ONLY = frozenset((b"upgrade",))


class ResponseRules:
    """What a reader needs to know. Made once, at load; all readers share it.

    head, headers  limits: octets of the head, field lines
    wanted         lower-cased names that policy reads or removes: these are parsed
    fast           whether the fast lane is on
    removable      lower-cased names that policy may remove although they pass through, as in `fields.FieldNames`
    """

    __slots__ = ("fast", "head", "headers", "names", "scan")

    def __init__(
        self, head: int, headers: int, wanted: frozenset[bytes], fast: bool, removable: frozenset[bytes] = frozenset()
    ) -> None:
        self.head = head
        self.headers = headers
        self.fast = fast
        self.scan = ScanRules("The head", head, ResponseError, ResponseError, _overrun, False)
        self.names = FieldNames(HOP_BY_HOP | wanted, removable, _H11_ONLY)


class ResponseReader:
    """Reads the response heads, interim ones included, of one upstream connection."""

    __slots__ = ("_rules", "_scan", "rest")

    def __init__(self, rules: ResponseRules) -> None:
        self._rules = rules
        self._scan = HeadScan(rules.scan)
        self.rest = b""

    def read_by(self, rules: ResponseRules) -> None:
        """The next response is read by these. Not while an unfinished head is here."""
        if rules is not self._rules:
            self._rules = rules
            self._scan = HeadScan(rules.scan)

    @property
    def started(self) -> bool:
        """Whether octets of an unfinished head are here."""
        return bool(self._scan.buffer)

    def feed(self, data: bytes, method: bytes) -> ResponseHead | None:
        """Take octets from the upstream that answers a request of this method (HEAD has no body).

        Returns a head once it is complete, None while it is not; `rest` then holds the octets behind it, and the next
        call starts afresh. Raises ResponseError; the reader cannot be used again after that.
        """
        if self._rules.fast and not self._scan.buffer:
            head = self.recognise(data, method)
            if head is not None:
                return head
        return self._read(data, method)

    def recognise(self, data: bytes, method: bytes) -> ResponseHead | None:
        """The fast lane: a whole, common, final head, or None."""
        line = read_status_line(data)
        if line is None or method == b"HEAD":
            return None
        rules = self._rules
        fields = read_fields(data, line.end, rules.names, rules.head, rules.headers)
        if fields is None:
            return None
        parsed = fields.parsed
        framing = read_framing(parsed, UNTIL_CLOSE)
        if framing is None:
            return None
        body, close = framing.body, framing.close or framing.body == UNTIL_CLOSE
        keep_alive = _keep_alive_seconds(parsed.pop(b"keep-alive")) if b"keep-alive" in parsed else -1
        self.rest = data[fields.end :]
        return ResponseHead(
            line.status,
            line.phrase,
            parsed,
            fields.passthrough,
            body,
            body if body >= 0 else -1,
            close,
            keep_alive,
            b"",
            fields.removable,
        )

    def _read(self, data: bytes, method: bytes) -> ResponseHead | None:
        """The h11 lane."""
        scan = self._scan
        behind = scan.take(data)
        if scan.line_end < 0:
            line = scan.start_line()
            if line is None:
                return None
            if not _STATUS_LINE.fullmatch(line):
                raise ResponseError("The status line is not `HTTP/1.x SP status SP phrase`.")
        size = scan.head_end()
        if not size:
            return None
        octets = bytes(scan.buffer)
        head = octets[:size]
        if head.count(b"\r\n") - 2 > self._rules.headers:
            raise ResponseError("The head has more field lines than the limit.")
        response = _assemble(_parse(head), method, self._rules.names)
        self.rest = octets[size:] + behind
        scan.reset()
        return response


def _overrun(buffer: bytearray, start: int, stop: int) -> tuple[int, MessageError] | None:
    """An `Overrun`: the first octets must be those of HTTP/1, or the upstream speaks another protocol."""
    for at in range(min(len(buffer), len(_FIRST_OCTETS))):
        if buffer[at] != _FIRST_OCTETS[at]:
            return at, ResponseError("The response does not start as HTTP/1 does.")
    return None


def _parse(head: bytes) -> ResponseParts:
    """Let h11 parse the head; if it refuses, say why in our words."""
    parts = parse_response(head)
    if parts is None:
        fields = list(raw_fields(head))
        if any(name == b"transfer-encoding" for name, _ in fields):
            raise ResponseError("Transfer-Encoding is not chunked, or a field line is malformed.")
        fault = content_length_fault(value for name, value in fields if name == b"content-length")
        raise ResponseError(fault or "A field line is not `name: value`, or a number is too long.")
    return parts


def _assemble(parts: ResponseParts, method: bytes, names: FieldNames) -> ResponseHead:
    """What the fields mean to this hop."""
    status = parts.status
    parsed: dict[bytes, bytes] = {}
    others = []
    for spelling, value in parts.items:
        name = spelling.lower()
        if name in names.parsed:
            parsed[name] = parsed[name] + b", " + value if name in parsed else value
        others.append((name, b"" if name in names.parsed else spelling + b": " + value))
    options = members(parsed.get(b"connection", b""))
    if options is None:
        raise ResponseError(f"Connection is not a list of at most {MOST_MEMBERS} tokens.")
    body, length, doubtful = _framing(parsed, status, parts.minor, method)
    close = (
        doubtful
        or body == UNTIL_CLOSE
        or b"close" in options
        or (parts.minor == 0 and b"keep-alive" not in options)  # RFC 9112 section 9.3
    )
    keep_alive = _keep_alive_seconds(parsed.pop(b"keep-alive", b""))
    upgrade = parsed.get(b"upgrade", b"") if status in (101, 426) else b""
    passthrough, removable = strip_connection_fields(options, parsed, others, names)
    return ResponseHead(status, parts.phrase, parsed, passthrough, body, length, close, keep_alive, upgrade, removable)


def _keep_alive_seconds(value: bytes) -> int:
    """The `timeout` of a Keep-Alive field in seconds, or -1. No current RFC defines it; Apache and Node send it."""
    timeout = _KEEP_ALIVE.search(value)
    return int(timeout[1]) if timeout else -1


def _framing(parsed: dict[bytes, bytes], status: int, minor: int, method: bytes) -> tuple[int, int, bool]:
    """The body, the Content-Length to show, and whether the octets that follow are in doubt (RFC 9112 section 6.3)."""
    coding = parsed.get(b"transfer-encoding")
    value = parsed.get(b"content-length")
    if coding is not None and minor == 0:
        raise ResponseError("Transfer-Encoding is not part of HTTP/1.0.")
    length = -1
    if value is not None:
        number = read_length(value)
        if number is None:
            raise ResponseError("Content-Length is beyond any body.")
        length = number
    # Step 1: 1xx and 204 have no body and MUST NOT announce one (sections 6.1 and 6.2). Behind a 1xx a head must
    # follow, so a body would be noticed at once. A 204 that announces a body may send it later, before the next
    # response.
    if status < 200:
        return NO_BODY, -1, False
    if status == 204:
        return NO_BODY, -1, coding is not None or length > 0
    # Step 3: both fields in a response that can have a body are the means of response smuggling.
    if coding is not None and value is not None:
        raise ResponseError("Content-Length and Transfer-Encoding are both given.")
    # Step 1 again: HEAD and 304 describe a body that does not follow.
    if method == b"HEAD" or status == 304:
        return NO_BODY, length, False
    # Step 4: h11 accepts no coding but `chunked`.
    if coding is not None:
        return CHUNKED, -1, False
    # Steps 5, 6 and 8
    return (UNTIL_CLOSE, -1, False) if value is None else (length, length, False)
