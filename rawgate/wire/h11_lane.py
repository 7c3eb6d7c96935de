"""The authority on grammar: h11 parses one whole head. The only module that imports it.

A fresh connection object is made for every head, so that nothing of a message's history, such as a refused upgrade or
a `Connection: close`, colours the next one; framing, bodies and reuse are not left to h11. What it is given has
passed the pre-check of `scan`, since h11 alone takes folds, bare LF, control octets and heads of any size.
"""

from typing import Final

import h11

Items = list[tuple[bytes, bytes]]
"""Field lines in order: name as received, value without the blanks around it."""


class RequestParts:
    """What h11 reads out of a request head; `minor` is 0 or 1, repeats of an equal Content-Length are one item."""

    __slots__ = ("items", "method", "minor", "target")

    def __init__(self, method: bytes, target: bytes, minor: int, items: Items) -> None:
        self.method: Final = method
        self.target: Final = target
        self.minor: Final = minor
        self.items: Final = items


class ResponseParts:
    """What h11 reads out of a response head."""

    __slots__ = ("items", "minor", "phrase", "status")

    def __init__(self, status: int, phrase: bytes, minor: int, items: Items) -> None:
        self.status: Final = status
        self.phrase: Final = phrase
        self.minor: Final = minor
        self.items: Final = items


# h11 reads an interim response only after a request, and a 101 only after one that offered to switch.
_ANY_REQUEST = h11.Request(method=b"GET", target=b"/", headers=[(b"Host", b"upstream"), (b"Upgrade", b"any")])


_LONG = 64
"""Octets of a line beyond which its value is kept from h11, whose pattern takes as long for 16 KiB of short words as
ten requests. All that it could find there are octets that the pre-check refuses."""
_FRAMING = frozenset((b"content-length", b"transfer-encoding"))

_LongValues = list[tuple[int, bytes]]
"""Values kept from h11, each with the position of its line, those of `_FRAMING` not counted: h11 joins some of them."""


def _shorten_values(head: bytes) -> tuple[bytes, _LongValues]:
    """The head with a short value in place of each long one, and those."""
    lines = head.split(b"\r\n")
    long_values: _LongValues = []
    position = 0
    for index, line in enumerate(lines[1:-2], 1):
        name, colon, value = line.partition(b":")
        if name.lower() in _FRAMING:
            continue
        if len(line) > _LONG and colon:
            lines[index] = name + b":x"
            long_values.append((position, value.strip(b" \t")))
        position += 1
    return b"\r\n".join(lines), long_values


def _restore_values(items: Items, long_values: _LongValues) -> Items:
    """The fields with their own values again."""
    whole = list(items)
    others = [index for index, (name, _) in enumerate(items) if name.lower() not in _FRAMING]
    for position, value in long_values:
        index = others[position]
        whole[index] = (items[index][0], value)
    return whole


def parse_request(head: bytes) -> RequestParts | None:
    """Parse a whole request head, from the request line to the empty line. None: h11 refuses it."""
    head, long_values = _shorten_values(head)
    connection = h11.Connection(h11.SERVER, len(head))
    connection.receive_data(head)
    try:
        event = connection.next_event()
    except h11.RemoteProtocolError:
        return None
    if not isinstance(event, h11.Request):
        return None
    minor = min(int(event.http_version[2:]), 1)
    items = event.headers.raw_items()
    return RequestParts(
        event.method, event.target, minor, _restore_values(items, long_values) if long_values else items
    )


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
