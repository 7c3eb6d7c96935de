"""A strict reader of HTTP/1.1 messages that shares no code with rawgate or h11.

Everything that the gateway sends to either side must pass it: a bare CR or LF, a folded line, two framings at once, or
a chunk line with anything but digits raises `Malformed`. So every test that reads with this module also checks the
grammar of RFC 9112. A message that ends too early raises `Cut`.
"""

import re
import socket
from collections.abc import Callable
from dataclasses import dataclass, field

TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
REQUEST_LINE = re.compile(rb"(" + TOKEN + rb") ([\x21-\x7e]+) HTTP/1\.([01])")
STATUS_LINE = re.compile(rb"HTTP/1\.1 ([1-5][0-9][0-9]) ([\t \x21-\x7e\x80-\xff]*)")
FIELD_LINE = re.compile(
    rb"(" + TOKEN + rb"):[ \t]*((?:[\x21-\x7e\x80-\xff](?:[\t \x21-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?)?)[ \t]*"
)
CHUNK_LINE = re.compile(rb"[0-9A-Fa-f]{1,15}")
LENGTH = re.compile(rb"[0-9]{1,19}")

FIN, RESET, SILENT = "fin", "reset", "silent"
"""How a stream ended: the peer closed it, the peer reset it, or nothing came within the socket's timeout."""


class Malformed(Exception):  # noqa: N818 - said of a message, not of this program
    """The octets are not a valid HTTP/1.1 message."""


class Cut(Exception):  # noqa: N818
    """The stream ended within a message. The argument says how: FIN, RESET or SILENT."""


class Stream:
    """A stream of octets, which keeps those that were read.

    ended   "" while it is open, else FIN, RESET or SILENT
    """

    def __init__(self, receive: Callable[[], bytes], octets: bytes = b"") -> None:
        self._receive = receive
        self._octets = bytearray(octets)
        self.ended = ""
        self._at = 0

    @classmethod
    def of(cls, source: socket.socket | bytes) -> "Stream":
        """The stream of a socket, which should have a timeout, or of given octets."""
        if isinstance(source, bytes):
            return cls(lambda: b"", source)
        return cls(lambda: source.recv(65536))

    @property
    def octets(self) -> bytes:
        """All octets that have come."""
        return bytes(self._octets)

    @property
    def unread(self) -> bytes:
        return bytes(self._octets[self._at :])

    @property
    def position(self) -> int:
        """The number of octets that have been read."""
        return self._at

    def since(self, position: int) -> bytes:
        """The octets that have been read from that position on."""
        return bytes(self._octets[position : self._at])

    def more(self) -> bool:
        """Wait for octets. Returns False when the stream has ended."""
        if self.ended:
            return False
        try:
            data = self._receive()
        except TimeoutError:
            self.ended = SILENT
        except OSError:
            self.ended = RESET
        else:
            self._octets += data
            self.ended = "" if data else FIN
        return not self.ended

    def line(self) -> bytes:
        """The next line, without its CRLF. Raises Malformed for a bare CR or LF."""
        at = self._at
        while (end := self._octets.find(b"\n", at)) < 0:
            at = len(self._octets)
            if not self.more():
                raise Cut(self.ended)
        line, self._at = bytes(self._octets[self._at : end + 1]), end + 1
        if not line.endswith(b"\r\n"):
            raise Malformed(f"a bare LF: {line[-40:]!r}")
        if b"\r" in line[:-2]:
            raise Malformed(f"a bare CR: {line[:200]!r}")
        return line[:-2]

    def exactly(self, count: int) -> bytes:
        while len(self._octets) - self._at < count:
            if not self.more():
                raise Cut(self.ended)
        data = bytes(self._octets[self._at : self._at + count])
        self._at += count
        return data

    def rest(self) -> bytes:
        """Read until the stream ends (see `ended`)."""
        while self.more():
            pass
        data, self._at = self.unread, len(self._octets)
        return data


@dataclass
class Message:
    """One message. Field names keep their case; values have no blanks around them.

    start     the request line or status line
    framing   "none", "length", "chunked" or "close" (until the stream ends)
    trailers  of a chunked body
    complete  False while the body is being read, and after it broke off; `body` then holds what came
    raw       its octets, as far as they were read
    """

    start: bytes
    fields: list[tuple[bytes, bytes]]
    framing: str = "none"
    length: int = 0
    body: bytes = b""
    trailers: list[tuple[bytes, bytes]] = field(default_factory=list)
    complete: bool = False
    raw: bytes = b""

    @property
    def method(self) -> bytes:
        return self.start.split(b" ")[0]

    @property
    def target(self) -> bytes:
        return self.start.split(b" ")[1]

    @property
    def status(self) -> int:
        return int(self.start.split(b" ")[1])

    def values(self, name: bytes) -> list[bytes]:
        """The values of all lines of that name (any case), in order."""
        return [value for spelled, value in self.fields if spelled.lower() == name.lower()]

    def value(self, name: bytes) -> bytes | None:
        """The value of the only line of that name; None when there is none."""
        values = self.values(name)
        if len(values) > 1:
            raise Malformed(f"{name!r} came {len(values)} times")
        return values[0] if values else None


def read_request_head(stream: Stream) -> Message | None:
    """A request without its body; None when the stream ends before its first octet."""
    message = _head(stream, REQUEST_LINE)
    if message is not None:
        _frame(message, "none")
        if message.start.endswith(b".1") and len(message.values(b"host")) != 1:
            raise Malformed("a request must have one Host field")
    return message


def read_request(stream: Stream) -> Message | None:
    """A whole request; None when the stream ends before its first octet."""
    message = read_request_head(stream)
    return message and read_body(stream, message)


def read_response_head(stream: Stream, method: bytes = b"GET") -> Message | None:
    """A response (or interim response) to `method` without its body; None when the stream ends before it."""
    message = _head(stream, STATUS_LINE)
    if message is not None:
        _frame(message, "close")
        # RFC 9112 section 6.3: these end with the head, whatever it says.
        if method == b"HEAD" or message.status < 200 or message.status in {204, 304}:
            message.framing = "none"
        if (message.status < 200 or message.status == 204) and (
            message.values(b"content-length") or message.values(b"transfer-encoding")
        ):
            raise Malformed("a framing field where none may be (RFC 9110 section 8.6, RFC 9112 section 6.1)")
    return message


def read_response(stream: Stream, method: bytes = b"GET") -> Message | None:
    """A whole final response, interim ones skipped; None when the stream ends before it."""
    while True:
        message = read_response_head(stream, method)
        if message is None or message.status >= 200 or message.status == 101:
            return message and read_body(stream, message)


def read_body(stream: Stream, message: Message) -> Message:
    """Read the body into `message`. Raises Cut when it breaks off; `message` then has the octets that came."""
    began = stream.position
    try:
        if message.framing == "length":
            _counted(stream, message)
        elif message.framing == "chunked":
            _chunked(stream, message)
        elif message.framing == "close":
            message.body = stream.rest()
            if stream.ended != FIN:
                raise Cut(stream.ended)
        message.complete = True
    finally:
        message.raw += stream.since(began)
    return message


def _head(stream: Stream, first: re.Pattern[bytes]) -> Message | None:
    began = stream.position
    if not stream.unread and not stream.more():
        return None
    start = stream.line()
    if not first.fullmatch(start):
        raise Malformed(f"first line {start[:200]!r}")
    fields = _fields(stream)
    return Message(start, fields, raw=stream.since(began))


def _fields(stream: Stream) -> list[tuple[bytes, bytes]]:
    fields = []
    while line := stream.line():
        match = FIELD_LINE.fullmatch(line)
        if match is None:
            raise Malformed(f"field line {line[:200]!r}")
        fields.append((match[1], match[2]))
    return fields


def _frame(message: Message, default: str) -> None:
    """Set the framing (RFC 9112 section 6.3) as strictly as a sender must: at most one framing field."""
    coding, length = message.value(b"transfer-encoding"), message.value(b"content-length")
    if coding is not None and length is not None:
        raise Malformed("both Content-Length and Transfer-Encoding")
    if coding is not None:
        if coding.lower() != b"chunked":
            raise Malformed(f"Transfer-Encoding: {coding!r}")
        message.framing = "chunked"
    elif length is not None:
        if not LENGTH.fullmatch(length):
            raise Malformed(f"Content-Length: {length!r}")
        message.framing, message.length = "length", int(length)
    else:
        message.framing = default


def _counted(stream: Stream, message: Message) -> None:
    try:
        message.body = stream.exactly(message.length)
    except Cut:
        message.body = stream.rest()
        raise


def _chunked(stream: Stream, message: Message) -> None:
    data = bytearray()
    try:
        while size := _chunk_size(stream):
            data += stream.exactly(size)
            if stream.exactly(2) != b"\r\n":
                raise Malformed("no CRLF after the data of a chunk")
        message.trailers = _fields(stream)
    finally:
        message.body = bytes(data)


def _chunk_size(stream: Stream) -> int:
    line = stream.line()
    if not CHUNK_LINE.fullmatch(line):
        raise Malformed(f"chunk line {line[:200]!r}")
    return int(line, 16)
