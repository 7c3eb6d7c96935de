"""What can go wrong, whose fault it is, and what the client is told.

Every outcome of a request is one `Reason` from the table below: refusals, upstream failures, deadlines, and `OK`.
A reason is a value. The rooms on the request path *return* it, so a refusal costs no more than an acceptance.
Exceptions remain for two purposes: a parser deep inside a message that cannot go on, and start-up:

    RawgateError
    ├── ConfigError      the configuration cannot be used        (author of the file; before anything listens)
    └── MessageError     a message on the wire cannot be used    (carries its Reason)
        ├── RequestError     … sent by the client    → our reply, then the connection closes
        └── ResponseError    … sent by the upstream  → 502 or a cut, the upstream connection closes

The log says `Reason.code`; the reply says `Reason.public`. All ways in which a credential can be wrong share one public
word, so a caller who guesses learns nothing.
"""

from collections.abc import Iterable
from typing import Final, Literal

from msgspec import Struct

Fault = Literal["none", "client", "upstream", "gateway"]
Key = str | int
"""One step of a key path: a table's key, or a position in an array (from 0)."""


class Reason:
    """One outcome of a request.

    code    the word in the log; stable, since users search for it
    status  of our own reply; 0: the client got the status of the upstream; 499, as in nginx: the client had left, so
            the status is in the log only
    fault   who has to change something for the next request to succeed
    public  the word in the reply
    detail  one sentence for a person
    retry   the gateway may send the request once more, if it still has all of it
    note    what is particular to this one request: for the log and the operator, never for the client
    """

    __slots__ = ("code", "detail", "fault", "note", "public", "retry", "status")

    def __init__(
        self, code: str, status: int, fault: Fault, public: str, detail: str, retry: bool = False, note: str = ""
    ) -> None:
        self.code: Final = code
        self.status: Final = status
        self.fault: Final = fault
        self.public: Final = public
        self.detail: Final = detail
        self.retry: Final = retry
        self.note: Final = note

    def __repr__(self) -> str:
        return f"<{self.code} {self.status}>"

    def because(self, note: str) -> "Reason":
        """The same reason with a note: another value, so compare reasons that may have notes by `code`."""
        return Reason(self.code, self.status, self.fault, self.public, self.detail, self.retry, note)


REASONS: dict[str, Reason] = {}
"""Every reason by its code, in the order of the table in `reasons.md`, beside this module."""


def _reason(
    code: str, status: int, fault: Fault, detail: str, *, public: str | None = None, retry: bool = False
) -> Reason:
    reason = Reason(code, status, fault, public or code, detail, retry)
    REASONS[code] = reason
    return reason


OK = _reason("ok", 0, "none", "The upstream's response was relayed whole, or the gateway answered as asked.")

BAD_REQUEST = _reason("bad_request", 400, "client", "The request is malformed or its framing is ambiguous.")
HEAD_TIMEOUT = _reason("head_timeout", 408, "client", "The request head did not arrive in time.")
BODY_TIMEOUT = _reason("body_timeout", 408, "client", "The request body stopped arriving, or came too slowly.")
TARGET_TOO_LONG = _reason("target_too_long", 414, "client", "The request target is longer than the gateway takes.")
HEAD_TOO_LARGE = _reason("head_too_large", 431, "client", "The request head is larger than the gateway takes.")
BODY_TOO_LARGE = _reason("body_too_large", 413, "client", "The request body is larger than this route takes.")
EXPECTATION_FAILED = _reason("expectation_failed", 417, "client", "The only expectation served is 100-continue.")
NOT_IMPLEMENTED = _reason("not_implemented", 501, "client", "The gateway does not do what this request asks for.")
VERSION_UNSUPPORTED = _reason("version_unsupported", 505, "client", "The gateway speaks HTTP/1.1 and HTTP/1.0.")
LOOP_DETECTED = _reason("loop_detected", 508, "client", "The request has passed this gateway too many times.")
NO_ROUTE = _reason("no_route", 404, "client", "No route matches this host and path.")
METHOD_NOT_ALLOWED = _reason("method_not_allowed", 405, "client", "This path does not take this method.")
CORS_REFUSED = _reason("cors_refused", 204, "client", "The route's cors does not allow what the preflight asks for.")

AUTH_MISSING = _reason("auth_missing", 401, "client", "This route needs a credential and the request has none.")
_INVALID = "The credential is not valid for this route."
AUTH_MALFORMED = _reason("auth_malformed", 401, "client", _INVALID, public="auth_invalid")
AUTH_BAD_SIGNATURE = _reason("auth_bad_signature", 401, "client", _INVALID, public="auth_invalid")
AUTH_EXPIRED = _reason("auth_expired", 401, "client", "The credential has expired.")
AUTH_NOT_YET_VALID = _reason("auth_not_yet_valid", 401, "client", _INVALID, public="auth_invalid")
AUTH_WRONG_ISSUER = _reason("auth_wrong_issuer", 401, "client", _INVALID, public="auth_invalid")
AUTH_WRONG_AUDIENCE = _reason("auth_wrong_audience", 401, "client", _INVALID, public="auth_invalid")
AUTH_UNKNOWN_KEY = _reason("auth_unknown_key", 401, "client", _INVALID, public="auth_invalid")
AUTH_BAD_CLAIM = _reason("auth_bad_claim", 401, "client", _INVALID, public="auth_invalid")
API_KEY_UNKNOWN = _reason("api_key_unknown", 401, "client", _INVALID, public="auth_invalid")
API_KEY_EXPIRED = _reason("api_key_expired", 401, "client", "The credential has expired.", public="auth_expired")
FORBIDDEN = _reason("forbidden", 403, "client", "The credential does not allow what this request asks for.")
ADDRESS_DENIED = _reason("address_denied", 403, "client", "Clients at this address may not come in here.")
KEYS_UNAVAILABLE = _reason("keys_unavailable", 503, "gateway", "The keys to check this credential are not at hand.")
LIMITS_UNAVAILABLE = _reason(
    "limits_unavailable", 503, "gateway", "What this client has used of its requests cannot be looked up."
)
RATE_LIMITED = _reason("rate_limited", 429, "client", "This client has used up its requests for now.")
CONCURRENCY_LIMITED = _reason(
    "concurrency_limited", 429, "client", "This client has as many requests under way as it may."
)
AUTH_LIMITED = _reason("auth_limited", 429, "client", "Too many credentials from this address were wrong.")

UPSTREAM_CONNECT_FAILED = _reason(
    "upstream_connect_failed", 502, "upstream", "No connection to the service could be made.", retry=True
)
UPSTREAM_RESET = _reason(
    "upstream_reset",
    502,
    "upstream",
    "The service ended the connection before the head of its response was complete.",
    retry=True,
)
UPSTREAM_BAD_RESPONSE = _reason(
    "upstream_bad_response", 502, "upstream", "The service's response is not valid HTTP/1.1."
)
UPSTREAM_TIMEOUT = _reason("upstream_timeout", 504, "upstream", "The service did not answer in time.")
UPSTREAM_CUT = _reason("upstream_cut", 0, "upstream", "The service's response broke off; so did the client's.")
CIRCUIT_OPEN = _reason("circuit_open", 503, "upstream", "The service fails too often, and is left alone for a while.")

QUEUE_FULL = _reason("queue_full", 503, "gateway", "Too many requests are waiting for this service.")
QUEUE_TIMEOUT = _reason("queue_timeout", 503, "gateway", "No connection to this service came free in time.")
NO_TARGET = _reason("no_target", 503, "upstream", "There is no instance of this service.")
CONNECTION_LIMIT = _reason("connection_limit", 503, "gateway", "The gateway holds as many connections as it may.")
DRAINING = _reason("draining", 503, "gateway", "The gateway is shutting down.")
CLIENT_GONE = _reason("client_gone", 499, "client", "The client left before the response was complete.")
TUNNEL_IDLE = _reason("tunnel_idle", 101, "gateway", "The tunnel was silent for too long.")
TUNNEL_MAX_AGE = _reason("tunnel_max_age", 101, "gateway", "The tunnel reached its maximum age.")
TUNNEL_EXPIRED = _reason("tunnel_expired", 101, "gateway", "The credential of the tunnel's client has expired.")
TUNNEL_OUTDATED = _reason("tunnel_outdated", 101, "gateway", "What let the tunnel in is no longer configured.")
INTERNAL = _reason("internal", 500, "gateway", "The gateway made a mistake; its error log says which.")


class RawgateError(Exception):
    """Base of all exceptions that rawgate raises on purpose."""


class Problem(Struct, frozen=True):
    """One fault of a configuration. `path` leads to the key; () is the whole file."""

    path: tuple[Key, ...]
    message: str


class ConfigError(RawgateError):
    """The configuration cannot be used. `lines` is the report, ready to print: one line for each fault."""

    def __init__(self, lines: Iterable[str]) -> None:
        self.lines = tuple(lines)
        super().__init__("\n".join(self.lines))


class MessageError(RawgateError):
    """A message cannot be used. `detail` names the broken rule and never repeats what was sent."""

    def __init__(self, reason: Reason, detail: str) -> None:
        self.reason = reason
        self.detail = detail
        super().__init__(f"{reason.code}: {detail}")


class RequestError(MessageError):
    """The message is a client's. Its reason is one whose fault is "client"."""


class ResponseError(MessageError):
    """The message is an upstream's. Its reason is `UPSTREAM_BAD_RESPONSE`."""

    def __init__(self, detail: str) -> None:
        super().__init__(UPSTREAM_BAD_RESPONSE, detail)
