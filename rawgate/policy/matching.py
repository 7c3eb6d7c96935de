"""What a route asks for besides host and path: fields, parameters of the query, the scheme.

A parameter that is there more than once has to say the same each time. Readers differ in which of two they believe (the
first, the last, both), and a route must not be selected by a value that the service does not see. A field that is there
more than once is a list (RFC 9110 section 5.3), and no list is the one value that is asked for.
"""

from collections.abc import Callable
from urllib.parse import unquote_plus

from rawgate.config.model import Match
from rawgate.message import RequestHead

Holds = Callable[[RequestHead, bytes, str], bool]
"""`(head, query with its "?", scheme)` → whether the request has all that is asked for."""
_ANY = "*"
MOST_PARAMETERS = 256
"""Parameters of a query that are read; a query with more has none that match. Servers stop at a thousand or so."""


def names(match: Match | None) -> frozenset[bytes]:
    """The lower-cased names of the fields that are looked at."""
    return frozenset() if match is None else frozenset(name.lower().encode() for name in match.headers)


def compile_match(match: Match | None) -> Holds | None:
    """The condition of a route; None if it has none."""
    if match is None:
        return None
    fields = [(name.lower().encode(), None if text == _ANY else text.encode()) for name, text in match.headers.items()]
    parameters = [(name, None if text == _ANY else text) for name, text in match.query.items()]
    wanted = match.scheme

    def holds(head: RequestHead, query: bytes, scheme: str) -> bool:
        if wanted is not None and scheme != wanted:
            return False
        parsed = head.parsed
        for name, value in fields:
            found = parsed.get(name)
            if found is None or (value is not None and found != value):
                return False
        return not parameters or _holds(parameters, query)

    return holds


def _holds(parameters: list[tuple[str, str | None]], query: bytes) -> bool:
    pairs = query[1:].split(b"&", MOST_PARAMETERS)
    if len(pairs) > MOST_PARAMETERS:
        return False
    values: dict[str, set[str]] = {}
    for pair in pairs:
        name, _, value = pair.partition(b"=")
        values.setdefault(_decoded(name), set()).add(_decoded(value))
    return all(name in values and (value is None or values[name] == {value}) for name, value in parameters)


def _decoded(text: bytes) -> str:
    """A name or value as forms write it (WHATWG URL, "application/x-www-form-urlencoded parsing")."""
    return unquote_plus(text.decode("latin-1"))
