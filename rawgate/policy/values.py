"""Values that are made of a request: "{sub}", "https://{host}{path}", and the names of a route's own path.

A text is compiled to pieces at load. When a request is decided, each piece is a constant or asks `Facts`; a text that
asks for something the request does not have has no value at all, None. So a field whose value is missing is not sent,
and never sent half.

What comes from a claim is the issuer's word and not the gateway's: a value is used only if it fits in a header field.
It holds no control or format character, so no claim can add a line, and has no blank at its ends; else it is missing.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from rawgate.message import Identity

LONGEST = 4096
"""Octets of a value from a claim; a longer one is missing. Servers take heads of 8 KiB and more."""

_NAME = re.compile(r"\{([a-z][a-z0-9_]*|claim\.[^{}]+)\}")


class Facts:
    """What the values of one request may be made of.

    host      the client's Host without port, b"" if it sent none
    path      as it is sent on when nothing rewrites it
    prefix    the route's own prefix, or its path as written
    names     name → text, of the names in the route's path
    identity  the verified caller, or None
    """

    __slots__ = ("client", "host", "identity", "names", "path", "prefix", "request_id", "route")

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
    ) -> None:
        self.client: Final = client
        self.request_id: Final = request_id
        self.route: Final = route
        self.prefix: Final = prefix
        self.host: Final = host
        self.path: Final = path
        self.names: Final = names
        self.identity: Final = identity


Value = Callable[[Facts], bytes | None]
"""The octets of a text for one request; None if there is something in it that the request does not have."""


def _sub(facts: Facts) -> bytes | None:
    identity = facts.identity
    return identity.name.encode() or None if identity is not None else None


_COMMON: dict[str, Value] = {
    "client_ip": lambda facts: facts.client,
    "host": lambda facts: facts.host or None,
    "path": lambda facts: facts.path,
    "prefix": lambda facts: facts.prefix,
    "request_id": lambda facts: facts.request_id.encode(),
    "route": lambda facts: facts.route.encode(),
    "sub": _sub,
}
"""Names that every route has."""


def names_in(text: str) -> list[str]:
    """The names that a text asks for, in order; of "{claim.NAME}" with its "claim."."""
    return _NAME.findall(text)


def unknown_name(text: str, names: Sequence[str], allowed: Sequence[str]) -> str:
    """A name in a text that is neither one of `names`, the route's own, nor in `allowed`; "" if there is none. "claim."
    in `allowed` stands for all claims."""
    for name in names_in(text):
        kind = "claim." if name.startswith("claim.") else name
        if kind not in allowed and name not in names:
            return name
    return ""


CALLER = ("sub", "claim.")
"""What only a verified caller has."""
COMMON = (*_COMMON, "claim.")


def asks_for_caller(text: str) -> bool:
    """Whether the value depends on who is calling."""
    return any(name == "sub" or name.startswith("claim.") for name in names_in(text))


def compile_value(text: str, own: Sequence[str] = ()) -> Value:
    """The value of a text. `own`: the names of the route's path; every name of the text is known."""
    pieces = _NAME.split(text)
    literals = [piece.encode() for piece in pieces[::2]]
    sources = [_source(name, own) for name in pieces[1::2]]
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


def _source(name: str, own: Sequence[str]) -> Value:
    if name in own:
        return lambda facts: facts.names.get(name)
    if name.startswith("claim."):
        return _claim(name.removeprefix("claim."))
    return _COMMON[name]


def _claim(name: str) -> Value:
    find = compile_claim(name)

    def value(facts: Facts) -> bytes | None:
        identity = facts.identity
        text = "" if identity is None else as_text(find(identity.claims))
        return text.encode() if is_fit(text) else None

    return value


Claim = Callable[[Mapping[str, object]], object]
"""The claims of a caller → one of them; None if there is none."""


def compile_claim(name: str) -> Claim:
    """Finds a claim by its name, in which dots lead into objects: "realm_access.roles". A claim whose own name has dots
    in it, as Auth0's "https://example.com/roles", is found as well: the longest name that is there counts."""
    if "." not in name:
        return lambda claims: claims.get(name)
    parts = name.split(".")
    ways = [(".".join(parts[:count]), ".".join(parts[count:])) for count in range(len(parts), 0, -1)]
    deeper = [(first, compile_claim(rest) if rest else None) for first, rest in ways]

    def find(claims: Mapping[str, object]) -> object:
        for first, inner in deeper:
            found = claims.get(first)
            if found is None:
                continue
            if inner is None:
                return found
            if isinstance(found, dict):
                return inner(found)
        return None

    return find


def roots(name: str) -> list[str]:
    """The names of all claims at the top of a token in which `compile_claim` may look for this one."""
    parts = name.split(".")
    return [".".join(parts[:count]) for count in range(1, len(parts) + 1)]


def as_text(claim: object) -> str:
    """A claim as text: a string, a number, true or false; of a list of those its members with commas between. "" for
    what cannot be told so: an object, a list in which a member is empty or holds a comma."""
    if isinstance(claim, str):
        return claim
    if isinstance(claim, bool):
        return "true" if claim else "false"
    if isinstance(claim, int | float):
        return str(claim)
    if not isinstance(claim, list):
        return ""
    members = [as_text(member) if not isinstance(member, list) else "" for member in claim]
    return (
        "" if any(not member or "," in member or member != member.strip() for member in members) else ",".join(members)
    )


def is_fit(text: str) -> bool:
    """Whether a text can be the value of a header field: printable, no blank at its ends, not too long."""
    return (
        0 < len(text) <= LONGEST
        and text.isprintable()
        and not text[0].isspace()
        and not text[-1].isspace()
        and (text.isascii() or len(text.encode()) <= LONGEST)
    )
