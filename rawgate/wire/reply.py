"""The gateway's own replies, whole: status line, fields, and for refusals a problem document (RFC 9457)."""

from msgspec import Struct
from msgspec.json import Encoder

from rawgate.errors import Reason

# From RFC 9110 section 15, RFC 6585 and RFC 5842. The phrase is also the title of the problem document.
PHRASES = {
    200: "OK",
    204: "No Content",
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    408: "Request Timeout",
    413: "Content Too Large",
    414: "URI Too Long",
    417: "Expectation Failed",
    429: "Too Many Requests",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    501: "Not Implemented",
    502: "Bad Gateway",
    503: "Service Unavailable",
    504: "Gateway Timeout",
    505: "HTTP Version Not Supported",
    508: "Loop Detected",
}


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


def reply(
    status: int,
    reason: Reason,
    detail: str,
    request_id: str,
    fields: bytes,
    *,
    date: bytes,
    head_only: bool,
    connection: bytes,
) -> bytes:
    """A whole reply. From status 400 on the body is a problem document; below, there is no body. A 503 has a
    Retry-After of one second (RFC 9110 section 15.6.4): its causes, a full queue or a restart, pass within seconds.

    detail      replaces the reason's sentence when not empty
    fields      further field lines, each with its CRLF
    date        an IMF-fixdate
    head_only   the request was HEAD: the same fields, no body
    connection  the Connection field's value, or b"" for none
    """
    phrase = PHRASES.get(status, "")
    body = content = b""
    if status >= 400:
        body = problem(reason, detail, request_id)
        content = b"Content-Type: application/problem+json\r\nContent-Length: %d\r\n" % len(body)
    elif status >= 200 and status != 204:
        content = b"Content-Length: 0\r\n"
    if status == 503:
        fields += b"Retry-After: 1\r\n"
    return b"HTTP/1.1 %d %b\r\nDate: %b\r\n%bCache-Control: no-store\r\nX-Request-Id: %b\r\n%b%b\r\n%b" % (
        status,
        phrase.encode("ascii"),
        date,
        content,
        request_id.encode("ascii"),
        fields,
        b"Connection: %b\r\n" % connection if connection else b"",
        b"" if head_only else body,
    )
