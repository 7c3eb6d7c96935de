"""The gateway's own replies, whole: status line, fields, and a body: the one that is given, or for refusals a problem
document (RFC 9457)."""

from msgspec import Struct
from msgspec.json import Encoder

from rawgate.errors import Reason
from rawgate.message import LocalReply

# From RFC 9110 section 15, RFC 6585, RFC 7725 and RFC 5842. The phrase is also the title of the problem document.
PHRASES = {
    200: "OK",
    201: "Created",
    202: "Accepted",
    203: "Non-Authoritative Information",
    204: "No Content",
    205: "Reset Content",
    206: "Partial Content",
    300: "Multiple Choices",
    301: "Moved Permanently",
    302: "Found",
    303: "See Other",
    304: "Not Modified",
    307: "Temporary Redirect",
    308: "Permanent Redirect",
    400: "Bad Request",
    401: "Unauthorized",
    402: "Payment Required",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    406: "Not Acceptable",
    407: "Proxy Authentication Required",
    408: "Request Timeout",
    409: "Conflict",
    410: "Gone",
    411: "Length Required",
    412: "Precondition Failed",
    413: "Content Too Large",
    414: "URI Too Long",
    415: "Unsupported Media Type",
    416: "Range Not Satisfiable",
    417: "Expectation Failed",
    421: "Misdirected Request",
    422: "Unprocessable Content",
    426: "Upgrade Required",
    428: "Precondition Required",
    429: "Too Many Requests",
    431: "Request Header Fields Too Large",
    451: "Unavailable For Legal Reasons",
    500: "Internal Server Error",
    501: "Not Implemented",
    502: "Bad Gateway",
    503: "Service Unavailable",
    504: "Gateway Timeout",
    505: "HTTP Version Not Supported",
    508: "Loop Detected",
    511: "Network Authentication Required",
}


UNFRAMED = (204, 304)
"""No body follows these, and no Content-Length: with 204 there must be none, with 304 it would tell of another response
(RFC 9110 sections 6.4.1 and 8.6)."""

NO_STORE = b"Cache-Control: no-store\r\n"
"""On each reply that does not say otherwise: whom we refuse and what we tell of ourselves holds for this moment, and a
cache may store a 404, a 410 or a permanent redirect without being told to (RFC 9110 section 15.1). A page or a redirect
that somebody configured may have a Cache-Control among its `fields`. A refusal may not: it is ours alone."""

RETRY_SOON = b"Retry-After: 1\r\n"
"""On each refusal with 503 whose `fields` name no other time (RFC 9110 section 15.6.4): a full queue or a restart is
over in seconds. Not on a page with 503: only who made it knows when its cause is over."""


class ProblemDetails(Struct, frozen=True, gc=False, rename="camel"):
    """The members of a problem document; `reason` and `requestId` are extensions (RFC 9457 section 3.2)."""

    type: str
    title: str
    status: int
    detail: str
    reason: str
    request_id: str


_encode = Encoder().encode


def problem(reason: Reason, detail: str, request_id: str) -> bytes:
    """The problem document of a refusal. `detail` replaces the reason's sentence when not empty."""
    return _encode(
        ProblemDetails(
            "about:blank",
            PHRASES.get(reason.status, ""),
            reason.status,
            detail or reason.detail,
            reason.public,
            request_id,
        )
    )


def body_octets(reply: bytes) -> int:
    """How many octets of a `reply` are body."""
    return len(reply) - reply.index(b"\r\n\r\n") - 4


def reply(local: LocalReply, *, date: bytes, head_only: bool, connection: bytes) -> bytes:
    """A whole reply. A refusal (status 400 or more) without content of its own has a problem document.

    date        an IMF-fixdate
    head_only   the request was HEAD: the same fields, no body
    connection  the Connection field's value, or b"" for none
    """
    status, fields, body = local.status, local.fields, local.body
    caching = NO_STORE
    if status >= 400 and not body and not local.content_type:
        body = problem(local.reason, local.detail, local.request_id)
        content = b"Content-Type: application/problem+json\r\nContent-Length: %d\r\n" % len(body)
        if status == 503 and not _have(fields, b"retry-after"):
            fields += RETRY_SOON
    else:
        content, body = _content(local)
        if (body or local.content_type or 300 <= status < 400) and _have(fields, b"cache-control"):
            caching = b""
    return b"HTTP/1.1 %d %b\r\nDate: %b\r\n%b%bX-Request-Id: %b\r\n%b%b\r\n%b" % (
        status,
        PHRASES.get(status, "").encode("ascii"),
        date,
        content,
        caching,
        local.request_id.encode("ascii"),
        fields,
        b"Connection: %b\r\n" % connection if connection else b"",
        b"" if head_only else body,
    )


def _content(local: LocalReply) -> tuple[bytes, bytes]:
    """The field lines of the content that was given, and the octets of it that may be sent."""
    if local.status in UNFRAMED:
        return b"", b""
    if local.status == 205:  # it must have no content, and its length says so (section 15.3.6)
        return b"Content-Length: 0\r\n", b""
    kind = b"Content-Type: %b\r\n" % local.content_type if local.content_type else b""
    return b"%bContent-Length: %d\r\n" % (kind, len(local.body)), local.body


def _have(fields: bytes, name: bytes) -> bool:
    """Whether these lines hold that field. `name`: in lower case."""
    return b"\n%b:" % name in b"\n" + fields.lower()
