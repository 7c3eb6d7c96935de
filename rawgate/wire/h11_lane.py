"""The authority on grammar: h11 parses one whole head. Only this module imports h11.

Each head gets a new h11 connection, so that no earlier message can influence it (a refused upgrade, a `Connection:
close`). Framing, bodies and reuse of connections are not left to h11. `scan` has checked the octets before, because h11
alone accepts folds, bare LF, control octets and heads of any size.
"""

from typing import Final

import h11

Items = list[tuple[bytes, bytes]]
"""Field lines in order: the name as received, the value without the blanks around it."""


class RequestParts:
    """A request head as h11 reads it. `minor` is 0 or 1; equal Content-Length lines are one item."""

    __slots__ = ("items", "method", "minor", "target")

    def __init__(self, method: bytes, target: bytes, minor: int, items: Items) -> None:
        self.method: Final = method
        self.target: Final = target
        self.minor: Final = minor
        self.items: Final = items


class ResponseParts:
    """A response head as h11 reads it; `minor` is 0 to 9."""

    __slots__ = ("items", "minor", "phrase", "status")

    def __init__(self, status: int, phrase: bytes, minor: int, items: Items) -> None:
        self.status: Final = status
        self.phrase: Final = phrase
        self.minor: Final = minor
        self.items: Final = items


# h11 reads an interim response only after a request, and a 101 only after a request that offered to switch.
_ANY_REQUEST = h11.Request(method=b"GET", target=b"/", headers=[(b"Host", b"upstream"), (b"Upgrade", b"any")])


_LONG = 64
"""Octets. h11 gets "x" in place of the value of a longer line: its pattern takes as long for 16 KiB of short words as
ten requests. Nothing is lost, because the only faults that h11 could find there are octets that `scan` has refused."""
_FRAMING = frozenset((b"content-length", b"transfer-encoding"))

_LongValues = list[tuple[int, bytes]]
"""The replaced values, each with the position of its line among the lines that are not `_FRAMING`: h11 joins some of
those."""


def _shorten_values(head: bytes) -> tuple[bytes, _LongValues]:
    """The head with a short value in place of each long one, and the long ones."""
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
    """The fields with their long values in place again."""
    whole = list(items)
    others = [index for index, (name, _) in enumerate(items) if name.lower() not in _FRAMING]
    for position, value in long_values:
        index = others[position]
        whole[index] = (items[index][0], value)
    return whole


def parse_request(head: bytes) -> RequestParts | None:
    """Parse a whole request head, from the request line to the empty line. None if h11 refuses it."""
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
    """Parse a whole response head, from the status line to the empty line. None if h11 refuses it."""
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
