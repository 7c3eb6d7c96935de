"""Octets to send: the fields of this hop, added to the heads that policy has written, and chunks.

Framing, Connection, Expect and Upgrade belong to this hop; they are never copied from a received head. The functions
check nothing, because this room has read all that they are given.
"""

from collections.abc import Iterable
from typing import Final

from rawgate.message import CHUNKED

LAST_CHUNK = b"0\r\n\r\n"

CONNECTION: Final = ((b"close", b"close"), (b"keep-alive", b""))
"""`CONNECTION[keep][minor]`: the Connection field, b"" for none, that tells an HTTP/1.`minor` client whether its
connection stays open. The default is "stays open" in HTTP/1.1 and "closes" in HTTP/1.0 (RFC 9112 section 9.3)."""


def request_head(head: bytes, body: int, expect: bool, upgrade: bytes, announced: bool = False) -> bytes:
    """A whole request head.

    head       request line and end-to-end fields, each with its CRLF
    body       octets, or CHUNKED
    expect     the client waits for a 100
    upgrade    the one protocol to offer, or b""
    announced  the client sent a Content-Length. An empty body has `Content-Length: 0` only then: RFC 9110 section 8.6
               wants it for methods that anticipate content, and only the client knows whether its method does
    """
    fields = b""
    if body == CHUNKED:
        fields = b"Transfer-Encoding: chunked\r\n"
    elif not (body or announced or upgrade):
        return head + b"\r\n"  # nearly all requests
    elif body or announced:
        fields = b"Content-Length: %d\r\n" % body
    if expect:
        fields += b"Expect: 100-continue\r\n"
    if upgrade:
        fields += b"Connection: Upgrade\r\nUpgrade: %b\r\n" % upgrade
    return b"%b%b\r\n" % (head, fields)


class _LengthTails(dict[int, bytes]):
    """Length → the end of a head whose only field of the hop is Content-Length. Small lengths repeat, so they are
    remembered."""

    def __missing__(self, length: int) -> bytes:
        tail = b"Content-Length: %d\r\n\r\n" % length
        if length < _SMALL:
            self[length] = tail
        return tail


_SMALL = 8192
"""Octets; the tails of all smaller lengths take about 1 MB."""
_length_tail: Final = _LengthTails()


def response_tail(framing: int, length: int, connection: bytes, upgrade: bytes = b"") -> bytes:
    """The end of a response head: the fields of this hop and the empty line.

    framing     of the body that the client gets: octets, CHUNKED, UNTIL_CLOSE or NO_BODY
    length      the value of Content-Length, or -1 for none; ignored with CHUNKED
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
