"""A made-up request: written as a client would write it, then read as the listener would read it.

The reader is the gateway's own, in the configured lane. So a head that the gateway refuses is refused here as well.
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
"""The Host field's value where neither the URL nor a field gives one."""


def request_octets(method: str, url: str, fields: Sequence[str] = ()) -> bytes:
    """The octets of a request head.

    url     http:// or https:// is split as clients do it, into Host and request target; anything else is the request
            target as it stands, so that `*` and odd spellings can be tried
    fields  "Name: value" lines, sent as they are; a Host among them replaces the one from `url`
    """
    host, target = HOST, url
    whole = _WHOLE_URL(url)
    if whole is not None:
        host, rest = whole.groups()
        target = rest if rest.startswith("/") else f"/{rest}"
    if not any(field.partition(":")[0].lower() == "host" for field in fields):
        fields = (f"Host: {host}", *fields)
    lines = [f"{method} {target} HTTP/1.1", *fields, "", ""]
    return "\r\n".join(lines).encode("utf-8", "surrogateescape")


def scheme_of(url: str, certificate: str) -> str:
    """How such a request comes: "https" where the URL says so, or the client has shown a certificate."""
    return "https" if certificate or url.lower().startswith("https://") else "http"


class Refused(Struct, frozen=True):
    """A head that the reader refused. `line`: method and target as the log shows them."""

    error: RequestError
    line: tuple[bytes, bytes]


def read_request(loaded: Loaded, octets: bytes) -> RequestHead | Refused:
    """Read a head in the configured lane."""
    reader = RequestReader(request_rules(loaded))
    try:
        head = reader.feed(octets)
    except RequestError as error:
        return Refused(error, reader.line)
    # Incomplete: the listener would wait for the rest until `head_timeout`.
    return Refused(RequestError(HEAD_TIMEOUT, HEAD_TIMEOUT.detail), reader.line) if head is None else head
