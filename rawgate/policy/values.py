"""Values that are made of a request: "{sub}", "https://{host}{path}", and the names of a route's own path.

A text is compiled to pieces at load. When a request is decided, each piece is a constant or asks `Facts`; a text that
asks for something the request does not have has no value at all, None. So a field whose value is missing is not sent,
and never sent half.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from rawgate.message import Identity

CLAIM = "claim."
"""Before the name of a claim."""
TellOf = Callable[[str], Callable[[Mapping[str, object]], str]]
"""Name of a claim → all claims → that one as the value of a header field, or "" if it has none."""

_NAME = re.compile(r"\{([a-z][a-z0-9_]*|claim\.[^{}]+|certificate\.name)\}")


class Facts:
    """What the values of one request may be made of.

    host      the client's Host without port, b"" if it sent none
    path      as it is sent on when nothing rewrites it
    prefix    the route's own prefix, or its path as written
    names     name → text, of the names in the route's path
    identity  the verified caller, or None
    certificate  the name of the verified client certificate, or ""
    """

    __slots__ = ("certificate", "client", "host", "identity", "names", "path", "prefix", "request_id", "route")

    def __init__(
        self,
        client: bytes,
        request_id: str,
        route: str,
        prefix: bytes,
        host: bytes,
        path: bytes,
        names: dict[str, bytes],
        identity: Identity | None,
        certificate: str,
    ) -> None:
        self.client: Final = client
        self.request_id: Final = request_id
        self.route: Final = route
        self.prefix: Final = prefix
        self.host: Final = host
        self.path: Final = path
        self.names: Final = names
        self.identity: Final = identity
        self.certificate: Final = certificate


Value = Callable[[Facts], bytes | None]
"""The octets of a text for one request; None if there is something in it that the request does not have."""


def _sub(facts: Facts) -> bytes | None:
    identity = facts.identity
    return identity.name.encode() or None if identity is not None else None


_COMMON: dict[str, Value] = {
    "certificate.name": lambda facts: facts.certificate.encode() or None,
    "client_ip": lambda facts: facts.client,
    "host": lambda facts: facts.host or None,
    "path": lambda facts: facts.path,
    "prefix": lambda facts: facts.prefix,
    "request_id": lambda facts: facts.request_id.encode(),
    "route": lambda facts: facts.route.encode(),
    "sub": _sub,
}
"""Names that every route has."""
NAMES = (*_COMMON, CLAIM)


def names_in(text: str) -> list[str]:
    """The names that a text asks for, in order; of "{claim.NAME}" with its "claim."."""
    return _NAME.findall(text)


def unknown_name(text: str, names: Sequence[str], allowed: Sequence[str]) -> str:
    """A name in a text that is neither one of `names`, the route's own, nor in `allowed`; "" if there is none. "claim."
    in `allowed` stands for all claims."""
    for name in names_in(text):
        kind = CLAIM if name.startswith(CLAIM) else name
        if kind not in allowed and name not in names:
            return name
    return ""


def asks_for_caller(text: str) -> bool:
    """Whether the value depends on who is calling."""
    return any(name == "sub" or name.startswith(CLAIM) for name in names_in(text))


def compile_value(text: str, own: Sequence[str], tell: TellOf) -> Value:
    """The value of a text. `own`: the names of the route's path; `tell`: name of a claim → what tells it. Every name of
    the text is known."""
    pieces = _NAME.split(text)
    literals = [piece.encode() for piece in pieces[::2]]
    sources = [_source(name, own, tell) for name in pieces[1::2]]
    if len(sources) == 1 and not any(literals):
        return sources[0]
    if not sources:
        constant = literals[0]
        return lambda facts: constant
    start, rest = literals[0], list(zip(sources, literals[1:], strict=True))

    def value(facts: Facts) -> bytes | None:
        found = [start]
        for source, literal in rest:
            octets = source(facts)
            if octets is None:
                return None
            found += (octets, literal)
        return b"".join(found)

    return value


Lines = Callable[[Facts], bytes]
"""The field lines of one request, each with its CRLF."""


def compile_lines(fields: Sequence[tuple[str, Value]]) -> Lines | None:
    """Field lines with values that are made of the request; a field without value is left out. None for no fields."""
    if not fields:
        return None
    labels = [(f"{name}: ".encode(), value) for name, value in fields]

    def lines(facts: Facts) -> bytes:
        made = []
        for label, value in labels:
            octets = value(facts)
            if octets:
                made.append(b"%b%b\r\n" % (label, octets))
        return b"".join(made)

    return lines


def verified_by(facts: Facts) -> bytes | None:
    """Who vouches for the caller, on a route with several verifiers."""
    return None if facts.identity is None else facts.identity.by.encode() or None


def _source(name: str, own: Sequence[str], tell: TellOf) -> Value:
    if name in own:
        return lambda facts: facts.names.get(name)
    if name.startswith(CLAIM):
        return _told(tell(name.removeprefix(CLAIM)))
    return _COMMON[name]


def _told(tell: Callable[[Mapping[str, object]], str]) -> Value:
    return lambda facts: None if facts.identity is None else tell(facts.identity.claims).encode() or None
