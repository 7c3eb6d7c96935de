"""The authority on grammar: h11 parses one whole head. The only module that imports it.

A fresh connection object is made for every head, so that nothing of a message's history, such as a refused upgrade or
a `Connection: close`, colours the next one; framing, bodies and reuse are not left to h11. What it is given has
passed the pre-check of `scan`, since h11 alone takes folds, bare LF, control octets and heads of any size.
"""

import h11
from msgspec import Struct

Items = list[tuple[bytes, bytes]]
"""Field lines in order: name as received, value without the blanks around it."""


class RequestParts(Struct, frozen=True, gc=False):
    """What h11 reads out of a request head; `minor` is 0 or 1, repeats of an equal Content-Length are one item."""

    method: bytes
    target: bytes
    minor: int
    items: Items


class ResponseParts(Struct, frozen=True, gc=False):
    """What h11 reads out of a response head."""

    status: int
    phrase: bytes
    minor: int
    items: Items


# h11 reads an interim response only after a request, and a 101 only after one that offered to switch.
_ANY_REQUEST = h11.Request(method=b"GET", target=b"/", headers=[(b"Host", b"upstream"), (b"Upgrade", b"any")])


def parse_request(head: bytes) -> RequestParts | None:
    """Parse a whole request head, from the request line to the empty line. None: h11 refuses it."""
    connection = h11.Connection(h11.SERVER, len(head))
    connection.receive_data(head)
    try:
        event = connection.next_event()
    except h11.RemoteProtocolError:
        return None
    if not isinstance(event, h11.Request):
        return None
    minor = min(int(event.http_version[2:]), 1)
    return RequestParts(event.method, event.target, minor, event.headers.raw_items())


def parse_response(head: bytes) -> ResponseParts | None:
    """Parse a whole response head, from the status line to the empty line. None: h11 refuses it."""
    connection = h11.Connection(h11.CLIENT, len(head))
    connection.send(_ANY_REQUEST)
    connection.receive_data(head)
    try:
        event = connection.next_event()
    except h11.RemoteProtocolError:
        return None
    if not isinstance(event, h11.Response | h11.InformationalResponse):
        return None
    minor = int(event.http_version[2:])
    return ResponseParts(event.status_code, event.reason, minor, event.headers.raw_items())
