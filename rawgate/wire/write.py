"""What goes out: the fields of this hop, added to heads that policy has written, and chunks.

Framing, Connection, Expect and Upgrade are this hop's own and never copied from what came in. Each function joins
once and checks nothing: what it is given has been read by this room.
"""

from collections.abc import Iterable

from rawgate.message import CHUNKED

LAST_CHUNK = b"0\r\n\r\n"

CONNECTION = ((b"close", b"close"), (b"keep-alive", b""))
"""`CONNECTION[keep][minor]`: the Connection field, b"" for none, that tells an HTTP/1.`minor` client whether its
connection stays open. HTTP/1.1 takes that for granted, HTTP/1.0 the opposite (RFC 9112 section 9.3)."""


def request_head(head: bytes, body: int, expect: bool, upgrade: bytes, announced: bool = False) -> bytes:
    """A whole request head.

    head       request line and end-to-end fields, each with its CRLF
    body       octets, or CHUNKED
    expect     whether to pass on that the client waits for a 100
    upgrade    the one protocol to offer, or b""
    announced  whether the client said how long the body is: `Content-Length: 0` goes out only then (RFC 9110 section
               8.6: sent for methods that expect content, and the client knows whether its method does)
    """
    fields = b""
    if body == CHUNKED:
        fields = b"Transfer-Encoding: chunked\r\n"
    elif not (body or announced or upgrade):
        return head + b"\r\n"  # most requests
    elif body or announced:
        fields = b"Content-Length: %d\r\n" % body
    if expect:
        fields += b"Expect: 100-continue\r\n"
    if upgrade:
        fields += b"Connection: Upgrade\r\nUpgrade: %b\r\n" % upgrade
    return b"%b%b\r\n" % (head, fields)


class _LengthTails(dict[int, bytes]):
    """Length → the end of a head that says nothing else of the hop. Remembered for the small ones, of which a service
    has few."""

    def __missing__(self, length: int) -> bytes:
        tail = b"Content-Length: %d\r\n\r\n" % length
        if length < _SMALL:
            self[length] = tail
        return tail


_SMALL = 8192
_length_tail = _LengthTails()


def response_tail(framing: int, length: int, connection: bytes, upgrade: bytes = b"") -> bytes:
    """The end of a response head: the fields of this hop and the empty line. Status line and end-to-end fields come
    before it.

    framing     octets, CHUNKED, UNTIL_CLOSE or NO_BODY, as the client will see the body
    length      the Content-Length to show, or -1 for none; not shown with CHUNKED
    connection  the Connection field: b"" for none, b"close", b"keep-alive" or b"upgrade"
    upgrade     the Upgrade field of a 101 or 426, or b""; `Connection` then names it (RFC 9110 section 7.8)
    """
    if framing >= 0 <= length and not (connection or upgrade):
        return _length_tail[length]
    fields = b""
    if framing == CHUNKED:
        fields = b"Transfer-Encoding: chunked\r\n"
    elif length >= 0:
        fields = b"Content-Length: %d\r\n" % length
    if upgrade:
        fields += b"Upgrade: %b\r\n" % upgrade
        connection = b"close, upgrade" if connection == b"close" else b"upgrade"
    if connection:
        fields += b"Connection: %b\r\n" % connection
    return fields + b"\r\n"


def chunk(payload: bytes) -> bytes:
    """One chunk. `payload` must not be empty: an empty chunk would end the body."""
    return b"%x\r\n%b\r\n" % (len(payload), payload)


def last_chunk(trailers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """The last chunk with its trailer section."""
    return b"0\r\n%b\r\n" % b"".join([b"%b: %b\r\n" % field for field in trailers])
