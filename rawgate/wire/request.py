"""Request heads: octets in, `RequestHead` out, or a `RequestError` that says which rule was broken.

Two lanes lead to the same result. The *fast lane* is for the heads that clients really send: origin-form target,
HTTP/1.1, one read, `Name: value` with no blanks to trim. All other heads go, octet for octet, through the pre-check and
to h11. The fast lane may be stricter than h11, never laxer; the tests compare both on every head that it accepts.

This module applies no policy: `policy` decides on the finished head which methods, hosts, paths and sizes it accepts.
"""

import re
from ipaddress import AddressValueError, IPv4Address, IPv6Address

from rawgate.errors import (
    BAD_REQUEST,
    BODY_TOO_LARGE,
    EXPECTATION_FAILED,
    HEAD_TOO_LARGE,
    NOT_IMPLEMENTED,
    TARGET_TOO_LONG,
    VERSION_UNSUPPORTED,
    MessageError,
    RequestError,
)
from rawgate.message import CHUNKED, NO_BODY, READ_AS, RequestHead
from rawgate.wire.fast_lane import read_fields, read_framing, read_request_line
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
from rawgate.wire.grammar import ENDS_IN_NUMBER, HOST, REGISTERED_METHODS, TCHAR, TOKEN
from rawgate.wire.h11_lane import Items, RequestParts, parse_request
from rawgate.wire.scan import HeadScan, Overrun, ScanRules

_METHOD_LIMIT = 64
"""Octets. RFC 9112 section 3: a longer method than any that is implemented SHOULD get 501. The longest registered one,
UPDATEREDIRECTREF, has 17."""

_FRAMING = HOP_BY_HOP | {b"host", b"expect"}
_H11_ONLY = frozenset((b"expect", b"keep-alive", b"upgrade"))
_INTERPRETED = frozenset((b"connection", b"content-length", b"expect", b"host", b"transfer-encoding", b"upgrade"))
_INTERPRETED_OCTETS = 2048
"""Octets of all lines with these names. They have a few hundred in practice, and an octet of them costs ten times as
much as one of other lines."""

_HOST_OCTETS = 512
"""Twice the longest DNS name (RFC 1035 section 2.3.4)."""
_UNNAMEABLE = frozenset((b"host", b"content-length", b"transfer-encoding", b"authorization"))
_EXPECTATIONS = frozenset((b"100-continue",))
_UNSERVED_METHODS = frozenset((b"CONNECT", b"TRACE"))

_REQUEST_LINE = re.compile(rb"(" + TCHAR + rb"++) ([!-~]++) HTTP/([0-9])\.[0-9]")
_TARGET = re.compile(rb"[!-~\x80-\xff]*+")  # as far as it can be logged
_NOT_IN_A_LINE = re.compile(rb"[^ -~]")
_PROTOCOL = re.compile(TCHAR + rb"++(?:/" + TCHAR + rb"++)?")
_ABSOLUTE_FORM = re.compile(rb"(?i:https?)://([^/?]*+)([!-~]*+)")


class RequestRules:
    """What a reader needs to know. Made once, at load; all readers share it.

    head, headers, target  limits: octets of the head, field lines, octets of the target
    wanted                 lower-cased names that policy reads or replaces: these are parsed
    protected              lower-cased names that `Connection` may not name
    fast                   whether the fast lane is on
    removable              lower-cased names that policy may remove although they pass through, as in
                           `fields.FieldNames`
    methods                methods that routes name, besides the registered ones
    """

    __slots__ = ("fast", "head", "headers", "methods", "misspelt", "names", "scan", "target", "unnameable")

    def __init__(
        self,
        head: int,
        headers: int,
        target: int,
        wanted: frozenset[bytes],
        protected: frozenset[bytes],
        fast: bool,
        removable: frozenset[bytes] = frozenset(),
        methods: frozenset[bytes] = frozenset(),
    ) -> None:
        self.head = head
        self.headers = headers
        self.target = target
        self.fast = fast
        self.scan = ScanRules("The head", head, _malformed, _too_large, _overrun_beyond(target), True)
        aliased = frozenset(name.translate(READ_AS) for name in _FRAMING | wanted | protected)
        self.names = FieldNames(_FRAMING | wanted, removable, _H11_ONLY, aliased)
        self.unnameable = _UNNAMEABLE | protected
        self.methods = REGISTERED_METHODS | methods
        self.misspelt = frozenset(method.upper() for method in self.methods)


class RequestReader:
    """Reads the request heads of one client connection, one after the other."""

    __slots__ = ("_host", "_rules", "_scan", "rest")

    def __init__(self, rules: RequestRules) -> None:
        self._rules = rules
        self._scan = HeadScan(rules.scan)
        self._host = b""  # the last valid Host: a connection rarely sends another one, so it is checked once
        self.rest = b""

    @property
    def started(self) -> bool:
        """Whether octets of an unfinished head are here; an empty line ahead of it does not count."""
        return len(self._scan.buffer) > self._scan.start

    @property
    def size(self) -> int:
        """How many octets of an unfinished head are here."""
        return len(self._scan.buffer)

    @property
    def line(self) -> tuple[bytes, bytes]:
        """For the log: method and target of the unfinished or refused head, each b"" if unknown. An authority in the
        target is left out, because it may hold a password (RFC 9110 section 4.2.4)."""
        scan = self._scan
        line = bytes(scan.buffer[scan.start : scan.start + self._rules.head]).partition(b"\r\n")[0]
        method, _, after = line.partition(b" ")
        target = after.partition(b" ")[0]
        if not TOKEN.fullmatch(method) or not _TARGET.fullmatch(target):
            return (b"", b"")
        return (method[:_METHOD_LIMIT], target if target[:1] in (b"/", b"*") else _path_after_authority(target))

    def feed(self, data: bytes) -> RequestHead | None:
        """Take octets from the client. Returns a head once it is complete, None while it is not.

        After a head, `rest` holds the octets behind it, and the next call starts a new head: give it those octets of
        `rest` that are not body. Raises RequestError; do not use the reader after that.
        """
        if self._rules.fast and not self._scan.buffer:
            head = self.recognise(data)
            if head is not None:
                return head
        return self._read(data)

    def recognise(self, data: bytes) -> RequestHead | None:
        """The fast lane: a whole, common head, or None."""
        rules = self._rules
        line = read_request_line(data, rules.target)
        if line is None:
            return None
        fields = read_fields(data, line.end, rules.names, rules.head, rules.headers)
        if fields is None:
            return None
        parsed = fields.parsed
        framing, host = read_framing(parsed, NO_BODY), parsed.get(b"host")
        if framing is None or host is None:
            return None
        if host != self._host:
            if not is_host(host):
                return None
            self._host = host
        size = fields.end
        self.rest = data[size:]
        return RequestHead(
            line.method,
            line.target,
            1,
            host,
            parsed,
            fields.passthrough,
            framing.body,
            framing.close,
            False,
            b"",
            size,
            fields.removable,
        )

    def _read(self, data: bytes) -> RequestHead | None:
        """The h11 lane."""
        try:
            return self._read_whole(data)
        except RequestError as error:
            hint = _other_protocol(self._scan.buffer)
            if hint:
                raise RequestError(error.reason, f"{error.detail} {hint}") from None
            raise

    def _read_whole(self, data: bytes) -> RequestHead | None:
        scan = self._scan
        behind = scan.take(data)
        if scan.line_end < 0:
            line = scan.start_line()
            if line is None:
                return None
            _check_request_line(line, self._rules)
        size = scan.head_end()
        if not size:
            return None
        octets = bytes(scan.buffer)
        head = octets[scan.start : size]
        if head.count(b"\r\n") - 2 > self._rules.headers:
            raise RequestError(HEAD_TOO_LARGE, "The head has more field lines than the limit.")
        if _interpreted_octets(head) > _INTERPRETED_OCTETS:
            raise _malformed("The fields that concern the connection are longer than any that can be meant.")
        request = _assemble(_parse(head), size, self._rules)
        self.rest = octets[size:] + behind
        scan.reset()
        return request


_OTHER_PROTOCOLS = (
    (b"\x16", "This looks like TLS: this port speaks plain HTTP."),
    (b"PROXY ", "This looks like the PROXY protocol, which is not expected here."),
    (b"\r\n\r\n", "The PROXY protocol's second version starts so, and is not expected here."),
    (b"PRI * HTTP/2", "This looks like HTTP/2, which is not served."),
    (b"SSH-", "This looks like SSH: this port speaks plain HTTP."),
    (b"\x05", "This looks like SOCKS: this port speaks plain HTTP."),
    (b"\x04\x01", "This looks like SOCKS: this port speaks plain HTTP."),
    (b"\x01\x01\x00\x01", "This looks like FastCGI: this port speaks plain HTTP."),
)


def _other_protocol(buffer: bytearray) -> str:
    """A sentence on the protocol that the first octets belong to, or ""."""
    return next((hint for start, hint in _OTHER_PROTOCOLS if buffer.startswith(start)), "")


def _malformed(detail: str) -> RequestError:
    return RequestError(BAD_REQUEST, detail)


def _too_large(detail: str) -> RequestError:
    return RequestError(HEAD_TOO_LARGE, detail)


def _overrun_beyond(limit: int) -> Overrun:
    """An `Overrun` that refuses a method or a target that is too long, even before its end is here."""

    def overrun(buffer: bytearray, start: int, stop: int) -> tuple[int, MessageError] | None:
        most = start + _METHOD_LIMIT
        space = buffer.find(b" ", start, min(stop, most + 1))
        if space < 0:
            if stop <= most:
                return None
            return most, RequestError(NOT_IMPLEMENTED, "The method is longer than any that is served.")
        most = space + 1 + limit
        if stop <= most or buffer.find(b" ", space + 1, most + 1) >= 0:
            return None
        return most, RequestError(TARGET_TOO_LONG, "The request target is longer than the limit.")

    return overrun


def _path_after_authority(target: bytes) -> bytes:
    """The part behind the authority of a target in absolute-form or something like it; b"" if there is none."""
    slash = target.find(b"/", target.find(b"://") + len(b"://") if b"://" in target else 0)
    return target[slash:] if slash >= 0 else b""


def _check_request_line(line: bytes, rules: RequestRules) -> None:
    """Refuse a request line as soon as it is complete (RFC 9112 section 3)."""
    found = _REQUEST_LINE.fullmatch(line)
    if found is None:
        odd = _NOT_IN_A_LINE.search(line)
        if odd:
            what = f"the octet 0x{odd[0][0]:02X}, which stands in none (in a target it is percent-encoded)"
            raise _malformed(f"The request line holds {what}.")
        raise _malformed("The request line is not `method SP target SP HTTP-version`.")
    method, target, major = found.groups()
    # A higher minor version is read, and sent on, as 1.1 (RFC 9110 section 2.5).
    if major != b"1":
        raise RequestError(VERSION_UNSUPPORTED, VERSION_UNSUPPORTED.detail)
    if method in _UNSERVED_METHODS:
        raise RequestError(NOT_IMPLEMENTED, "CONNECT and TRACE are not served.")
    # RFC 9110 section 9.1: methods are case-sensitive. Some servers ignore case and would take `delete`, which was
    # routed as an unknown method, for DELETE.
    if method not in rules.methods and method.upper() in rules.misspelt:
        raise _malformed("The method is a known one in other letters: methods are case-sensitive.")
    if b"#" in target:
        raise _malformed("The request target holds a fragment.")
    if target == b"*":
        if method != b"OPTIONS":
            raise _malformed("The target `*` is for OPTIONS only.")
    elif not target.startswith(b"/"):
        _split_absolute(method, target)


def _split_absolute(method: bytes, target: bytes) -> tuple[bytes, bytes]:
    """Authority and origin-form of an absolute-form target (RFC 9112 section 3.2.2)."""
    found = _ABSOLUTE_FORM.fullmatch(target)
    if found is None:
        raise _malformed("The request target is neither a path nor an http or https URI.")
    authority, path = found.groups()
    # RFC 9110 section 4.2.1: an empty host MUST be rejected. Section 4.2.4: userinfo should be; `is_host` knows none.
    if not authority or not is_host(authority):
        raise _malformed("The authority of the request target is not a host with an optional port.")
    if not path:
        # RFC 9112 section 3.2.4: the last proxy turns OPTIONS for a URI without a path into `*`.
        return authority, b"*" if method == b"OPTIONS" else b"/"
    return authority, path if path.startswith(b"/") else b"/" + path


def is_host(value: bytes) -> bool:
    """Whether a value is empty, or a uri-host with an optional port up to 65535 (RFC 9110 section 7.2). An address must
    have a spelling that all readers understand alike."""
    found = HOST.fullmatch(value) if len(value) <= _HOST_OCTETS else None
    if found is None:
        return not value
    literal, name, port = found.groups()
    try:
        if literal is not None:
            IPv6Address(literal[1:-1].decode("ascii"))
        elif ENDS_IN_NUMBER.fullmatch(name):
            IPv4Address(name.removesuffix(b".").decode("ascii"))
    except AddressValueError:
        return False
    return not port or int(port) <= 65535


def _interpreted_octets(head: bytes) -> int:
    lines = head.split(b"\r\n")
    return sum([len(line) for line in lines if line.partition(b":")[0].lower() in _INTERPRETED])


def _parse(head: bytes) -> RequestParts:
    """Let h11 parse the head; if it refuses, say why in our words."""
    parts = parse_request(head)
    if parts is None:
        fields = list(raw_fields(head))
        minor = min(int(head[: head.index(b"\r\n")][-1:]), 1)
        _check_framing(
            [value for name, value in fields if name == b"content-length"],
            [value for name, value in fields if name == b"transfer-encoding"],
            minor,
        )
        hosts = sum(name == b"host" for name, _ in fields)
        if hosts > 1 or hosts < minor:
            raise _malformed("Host is missing or given more than once.")
        raise _malformed("A field line is not `name: value`, or a length has too many digits.")
    return parts


def _check_framing(lengths: list[bytes], codings: list[bytes], minor: int) -> None:
    """Refuse framing that is wrong, ambiguous or not ours (RFC 9112 sections 6.1 and 6.3)."""
    if codings:
        if minor == 0:
            raise _malformed("Transfer-Encoding is not part of HTTP/1.0.")
        if lengths:
            raise _malformed("Content-Length and Transfer-Encoding are both given.")
        _check_codings(codings)
    elif lengths:
        if fault := content_length_fault(lengths):
            raise _malformed(fault)
        if read_length(lengths[0].partition(b",")[0].strip(b" \t")) is None:
            raise RequestError(BODY_TOO_LARGE, BODY_TOO_LARGE.detail)


def _check_codings(codings: list[bytes]) -> None:
    """Refuse all but `chunked`: an unknown coding with 501, a malformed list with 400 (RFC 9112 section 6.1)."""
    if len(codings) == 1 and codings[0].lower() == b"chunked":
        return
    names = members(b",".join(codings))
    if not names or names.count(b"chunked") != 1 or names[-1] != b"chunked" or len(names) == 1:
        # Also `, chunked`: an empty member has been used to hide the coding from a filter.
        raise _malformed("Transfer-Encoding is malformed, or chunked is not its only last coding.")
    raise RequestError(NOT_IMPLEMENTED, "The only transfer coding served is chunked.")


def _assemble(parts: RequestParts, size: int, rules: RequestRules) -> RequestHead:
    """What the fields mean to this hop."""
    minor = parts.minor
    parsed, others = _sort(parts.items, rules)
    length = parsed.get(b"content-length")
    coding = parsed.get(b"transfer-encoding")
    _check_framing([] if length is None else [length], [] if coding is None else [coding], minor)
    body = CHUNKED if coding is not None else read_length(length or b"0") or NO_BODY

    if minor and b"host" not in parsed:  # h11 requires Host in 1.1, but not in 1.2
        raise _malformed("Host is missing or given more than once.")
    authority = parsed.get(b"host", b"")
    # RFC 9110 section 4.2.1: an http URI with an empty host MUST be rejected. HTTP/1.0 knew no Host.
    if minor and not authority:
        raise _malformed("Host is empty.")
    if not is_host(authority):
        raise _malformed("Host is not a host with an optional port.")
    target = parts.target
    if target[:1] not in (b"/", b"*"):
        authority, target = _split_absolute(parts.method, target)

    options = members(parsed.get(b"connection", b""))
    if options is None:
        raise _malformed(f"Connection is not a list of at most {MOST_MEMBERS} tokens.")
    # RFC 9110 section 7.6.1: fields named by Connection end here. A client that names one of these wants the upstream
    # to see another message than the one that policy judges.
    if not rules.unnameable.isdisjoint(options):
        raise _malformed("Connection names a field that it may not remove.")
    expect = _expects(parsed, minor) and body != NO_BODY
    # RFC 9110 section 7.8: Upgrade counts only if Connection names it, and never in HTTP/1.0. With a body it is
    # ignored: the body would have to be relayed whole before the protocol changes.
    upgrade = _offers(parsed.get(b"upgrade", b"")) if minor and body == NO_BODY and b"upgrade" in options else b""
    # RFC 9112 section 9.3
    close = b"close" in options or (minor == 0 and b"keep-alive" not in options)
    passthrough, removable = strip_connection_fields(options, parsed, others, rules.names)
    return RequestHead(
        parts.method, target, minor, authority, parsed, passthrough, body, close, expect, upgrade, size, removable
    )


def _sort(items: Items, rules: RequestRules) -> tuple[dict[bytes, bytes], list[tuple[bytes, bytes]]]:
    """The parsed fields; and the name and the line of each field, the line b"" if it does not pass."""
    parsed: dict[bytes, bytes] = {}
    others = []
    for spelling, value in items:
        name = spelling.lower()
        if name in rules.names.parsed:
            parsed[name] = parsed[name] + b", " + value if name in parsed else value
        passes = name not in rules.names.parsed and not rules.names.is_alias(name)
        others.append((name, spelling + b": " + value if passes else b""))
    return parsed, others


def _offers(value: bytes) -> bytes:
    """The protocols that an Upgrade field offers, lower-cased; b"" if it is malformed or has too many members."""
    if value.count(b",") >= MOST_MEMBERS:
        return b""
    offers = [offer for part in value.lower().split(b",") if (offer := part.strip(b" \t"))]
    return b", ".join(offers) if all(_PROTOCOL.fullmatch(offer) for offer in offers) else b""


def _expects(parsed: dict[bytes, bytes], minor: int) -> bool:
    """Whether the client waits for a 100 (RFC 9110 section 10.1.1). From an HTTP/1.0 client the field is ignored, and
    so are empty members of the list (section 5.6.1.2)."""
    if minor == 0:
        return False
    expectations = {part.strip(b" \t").lower() for part in parsed.get(b"expect", b"").split(b",")} - {b""}
    if not expectations <= _EXPECTATIONS:
        raise RequestError(EXPECTATION_FAILED, EXPECTATION_FAILED.detail)
    return bool(expectations)
