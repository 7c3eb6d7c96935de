"""Where a credential may be besides its own header field, and how it is taken out of what is sent on.

Browsers cannot set Authorization on a WebSocket, an image or a download. So a token may be in a cookie, in the query
(RFC 6750 section 2.3), or, for a WebSocket, among the protocols that the page offers: `bearer`, then the token.

What was a credential here goes no further: a service would write the query into its log, or send the cookie to others.
A credential that is there twice with two values is refused, because readers differ in which one they believe.
"""

from collections.abc import Callable
from typing import Final
from urllib.parse import unquote_plus

from rawgate.message import RequestHead

COOKIE: Final = b"cookie"
PROTOCOLS: Final = b"sec-websocket-protocol"
BEARER: Final = b"bearer"
Strip = Callable[[RequestHead, bytes], tuple[RequestHead, bytes]]
"""`(head, query with its "?")` → the same without credentials."""
Find = Callable[[RequestHead, bytes], bytes | None]
"""`(head, query with its "?")` → the credential; None if there is none, b"" if there is no telling which it is."""


class Place:
    """A place of credentials.

    field  lower-cased name of the field that `wire` has to tell the position of, or b""
    find   None for the credential's own field
    strip  takes it out
    """

    __slots__ = ("field", "find", "parameter", "strip")

    def __init__(
        self, field: bytes = b"", find: Find | None = None, strip: Strip | None = None, parameter: str = ""
    ) -> None:
        self.field: Final = field
        self.find: Final = find
        self.strip: Final = strip
        self.parameter: Final = parameter


def compile_place(text: str) -> Place:
    """ "header", "cookie:NAME", "query:NAME" or "subprotocol"."""
    kind, _, name = text.partition(":")
    if kind == "cookie":
        return _cookie(name.encode())
    if kind == "query":
        return _query(name)
    return Place(PROTOCOLS, _offered, _without_offer) if kind == "subprotocol" else Place()


def compile_strip(places: tuple[Place, ...]) -> Strip | None:
    """Take out the credentials of all places but their own field; None if there is no other."""
    strips = [place.strip for place in places if place.strip is not None]
    if not strips:
        return None

    def strip(head: RequestHead, query: bytes) -> tuple[RequestHead, bytes]:
        for one in strips:
            head, query = one(head, query)
        return head, query

    return strip


def _one(values: list[bytes]) -> bytes | None:
    """The only value; b"" if there are several."""
    if not values:
        return None
    return values[0] if all(value == values[0] for value in values) else b""


def _lines(head: RequestHead, field: bytes) -> list[tuple[int, bytes]]:
    """Position in `passthrough` and value of each line of a field."""
    return [
        (index, head.passthrough[index].partition(b":")[2].strip(b" \t"))
        for index, name in head.removable
        if name == field
    ]


def _with_lines(head: RequestHead, field: bytes, change: Callable[[bytes], bytes]) -> RequestHead:
    """The same head with other values in the lines of a field; a line whose value becomes empty is left out."""
    runs: list[bytes] = []
    for index, value in _lines(head, field):
        changed = change(value)
        if changed != value:
            runs = runs or head.passthrough.copy()
            label = runs[index].partition(b":")[0]
            runs[index] = b"%b: %b" % (label, changed) if changed else b""
    return head.with_passthrough(runs) if runs else head


# ── cookies (RFC 6265 section 4.2) ──


def _cookie(name: bytes) -> Place:
    def is_ours(pair: bytes) -> bool:
        return pair.partition(b"=")[0].strip(b" \t") == name

    def find(head: RequestHead, query: bytes) -> bytes | None:
        pairs = [pair for _, value in _lines(head, COOKIE) for pair in value.split(b";") if is_ours(pair)]
        return _one([pair.partition(b"=")[2].strip(b' \t"') for pair in pairs])

    def without(value: bytes) -> bytes:
        pairs = value.split(b";")
        kept = [pair.strip(b" \t") for pair in pairs if not is_ours(pair)]
        return value if len(kept) == len(pairs) else b"; ".join(kept)

    def strip(head: RequestHead, query: bytes) -> tuple[RequestHead, bytes]:
        return _with_lines(head, COOKIE, without), query

    return Place(COOKIE, find, strip)


# ── the query (WHATWG URL, "application/x-www-form-urlencoded parsing") ──


def _query(name: str) -> Place:
    def is_ours(pair: bytes) -> bool:
        return unquote_plus(pair.partition(b"=")[0].decode("latin-1")) == name

    def find(head: RequestHead, query: bytes) -> bytes | None:
        pairs = [pair for pair in query[1:].split(b"&") if is_ours(pair)]
        return _one([unquote_plus(pair.partition(b"=")[2].decode("latin-1")).encode() for pair in pairs])

    def strip(head: RequestHead, query: bytes) -> tuple[RequestHead, bytes]:
        pairs = query[1:].split(b"&")
        kept = [pair for pair in pairs if not is_ours(pair)]
        if len(kept) == len(pairs):
            return head, query
        return head, b"?" + b"&".join(kept) if kept else b""

    return Place(b"", find, strip, name)


# ── the protocols that a WebSocket offers (RFC 6455 section 11.3.4) ──


def _offers(value: bytes) -> list[bytes]:
    return [offer for piece in value.split(b",") if (offer := piece.strip(b" \t"))]


def _offered(head: RequestHead, query: bytes) -> bytes | None:
    offers = [offer for _, value in _lines(head, PROTOCOLS) for offer in _offers(value)]
    if BEARER not in offers:
        return None
    place = offers.index(BEARER)
    return offers[place + 1] if len(offers) > place + 1 and offers.count(BEARER) == 1 else b""


def answer(head: RequestHead) -> bytes:
    """The protocol that a client gets which offered its token among others, or b""."""
    return BEARER if _offered(head, b"") else b""


def _without_offer(head: RequestHead, query: bytes) -> tuple[RequestHead, bytes]:
    def without(value: bytes) -> bytes:
        offers = _offers(value)
        if BEARER not in offers:
            return value
        place = offers.index(BEARER)
        return b", ".join(offers[:place] + offers[place + 2 :])

    lines = _lines(head, PROTOCOLS)
    if len(lines) > 1:  # a token may stand on another line than its `bearer`
        joined = b", ".join(value for _, value in lines)
        runs = head.passthrough.copy()
        left = without(joined)
        for index, _ in lines[1:]:
            runs[index] = b""
        first = lines[0][0]
        runs[first] = b"%b: %b" % (runs[first].partition(b":")[0], left) if left else b""
        return head.with_passthrough(runs), query
    return _with_lines(head, PROTOCOLS, without), query
