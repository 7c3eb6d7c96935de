"""A request that nobody sent: written as a client would write it, read as the listener would read it.

So what the wire refuses is refused here too, by the same reader, in the configured lane.
"""

import re
from collections.abc import Sequence

from msgspec import Struct

from rawgate.errors import HEAD_TIMEOUT, RequestError
from rawgate.message import RequestHead
from rawgate.serve.load import Loaded, request_rules
from rawgate.wire import RequestReader

# A fragment is never sent (RFC 9110 section 4.2.5).
_WHOLE_URL = re.compile(r"(?si:https?)://([^/?#]*)([^#]*)(?:#.*)?").fullmatch

HOST = "localhost"
"""The Host of a request that names none."""


def request_octets(method: str, url: str, fields: Sequence[str] = ()) -> bytes:
    """A request head. `url` with http:// or https:// is taken apart as clients do it, into Host and path; anything
    else is the request target as it stands. `fields`: "Name: value" lines, sent as they are; a Host among them wins."""
    host, target = HOST, url
    whole = _WHOLE_URL(url)
    if whole is not None:
        host, rest = whole.groups()
        target = rest if rest.startswith("/") else f"/{rest}"
    if not any(field.partition(":")[0].lower() == "host" for field in fields):
        fields = (f"Host: {host}", *fields)
    lines = [f"{method} {target} HTTP/1.1", *fields, "", ""]
    return "\r\n".join(lines).encode("utf-8", "surrogateescape")


class Refused(Struct, frozen=True):
    """A request that never became one: why, and what the log says of its line (method and target)."""

    error: RequestError
    line: tuple[bytes, bytes]


def read_request(loaded: Loaded, octets: bytes) -> RequestHead | Refused:
    """The head, or why it is refused."""
    reader = RequestReader(request_rules(loaded))
    try:
        head = reader.feed(octets)
    except RequestError as error:
        return Refused(error, reader.line)
    # The listener would wait for the rest, and then no longer.
    return Refused(RequestError(HEAD_TIMEOUT, HEAD_TIMEOUT.detail), reader.line) if head is None else head
