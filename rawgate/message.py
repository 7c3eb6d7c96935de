"""The values that travel between rooms. No behaviour, no I/O.

    wire  ── RequestHead ──▶  policy  ── Forward │ LocalReply │ Pending ──▶  net, relay
    wire  ── ResponseHead ─▶  relay, policy (`Forward.on_response`)
    serve ── Locks ────────▶  policy, relay: what several processes share

They are plain classes with slots. CPython runs them as they stand; for the single file mypyc compiles them to native
classes, whose fields have fixed places. `Final` makes the type checker refuse an assignment to a field; nothing checks
at run time. Values are compared by identity, never by their fields. Two shorter forms were rejected:

- A dataclass keeps an interpreted `__init__` when mypyc compiles it, and a frozen one takes five times as long to make.
- A msgspec Struct takes half as long to make in CPython, but compiled code looks up each of its fields by name: a ninth
  of the instructions of a request. Structs stay where msgspec itself reads or writes them.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from math import inf
from types import MappingProxyType
from typing import Final

from mypy_extensions import mypyc_attr

from rawgate.errors import Reason

# How a message body is delimited (RFC 9112 section 6.3): a number of octets, or one of these.
NO_BODY: Final = 0
CHUNKED: Final = -1
UNTIL_CLOSE: Final = -2

READ_AS: Final = bytes(
    octet if octet in b"0123456789abcdefghijklmnopqrstuvwxyz" else octet | 0x20 if 65 <= octet <= 90 else ord("-")
    for octet in range(256)
)
"""Translates a field name to the name that some servers take it for: letters in lower case, and "-" for every character
that is no letter or digit. CGI (RFC 3875 section 4.1.18) and WSGI read `X_User_Id` as `X-User-Id`; lighttpd's CGI does
the same with `X.User.Id` and every other character that a name may have."""


def authority_of(host: str, port: int) -> str:
    """A host, which is a name or an address without brackets, and a port as a URL has them (RFC 3986 section 3.2.2)."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


TRACEPARENT: Final = b"traceparent"
_traceparent = re.compile(
    rb"(?:00-ID|(?!00|ff)[0-9a-f]{2}-ID(?:-.*)?)".replace(
        b"ID", rb"(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}"
    )
).fullmatch


def trace_id_of(traceparent: bytes) -> str:
    """The trace id, 32 hexadecimal digits, of a traceparent (W3C Trace Context, version 00); "" for a malformed one. Of
    a later version only what begins as version 00 does is read; more may follow."""
    return traceparent[3:35].decode() if _traceparent(traceparent) else ""


Octets = bytes | memoryview
"""Octets of a body. A memoryview is valid only during the call that receives it: its buffer is used again."""

Removable = tuple[tuple[int, bytes], ...]
"""Position in `passthrough` and lower-cased name of each line that policy may remove; the line is a run of its own."""


class Peer:
    """The other end of a client connection, made once per connection.

    address  the IP address in its usual text form, without port or zone ("127.0.0.1", "2001:db8::1"); "unix" for a
             Unix socket
    text     address and port as the log shows them ("127.0.0.1:50412", "[::1]:50412", "unix")
    scheme   "http", or "https" on a connection with TLS: what X-Forwarded-Proto tells the upstream
    certificate_name  of the verified certificate that the client showed, or "": the first URI among its alternative
             names, else the first DNS name, else its subject, as text (RFC 4514). Envoy's RBAC has the same order
    """

    __slots__ = ("address", "certificate_name", "scheme", "text")

    def __init__(self, address: str, text: str, scheme: str = "http", certificate_name: str = "") -> None:
        self.address: Final = address
        self.text: Final = text
        self.scheme: Final = scheme
        self.certificate_name: Final = certificate_name


@mypyc_attr(acyclic=True)
class RequestHead:
    """A request head that the grammar and the framing rules allow.

    method    any token, as received (methods are case-sensitive)
    target    origin-form ("/path?query") or "*"; `wire` splits an absolute-form into `authority` and origin-form
    minor     of the HTTP version: 1 for HTTP/1.1, 0 for HTTP/1.0
    authority from an absolute-form target, else from Host, as received; b"" when there is none or it is empty
    parsed    lower-cased name → value, for the framing fields and those that policy asked for (`wanted`); field lines
              of one name are joined with ", ", so a field that is wrongly given twice never reads as a valid value
    passthrough  every other field line, in order, as received ("Name: value"), each with the CRLF *before* it: runs of
              lines that stood together, to be written as they are; a line that policy may remove is a run of its own.
              The fields that Connection names and the hop-by-hop fields have been removed
    body      octets, or CHUNKED
    close     the client will not send, or may not expect, another request after this one
    expect    the client waits for a 100 (Continue)
    upgrade   the protocols that the client offers to switch to (lower-cased), b"" for none
    size      octets of the head on the wire
    removable  which runs of `passthrough` policy may remove
    """

    __slots__ = (
        "authority",
        "body",
        "close",
        "expect",
        "method",
        "minor",
        "parsed",
        "passthrough",
        "removable",
        "size",
        "target",
        "upgrade",
    )

    def __init__(
        self,
        method: bytes,
        target: bytes,
        minor: int,
        authority: bytes,
        parsed: dict[bytes, bytes],
        passthrough: list[bytes],
        body: int,
        close: bool,
        expect: bool,
        upgrade: bytes,
        size: int,
        removable: Removable = (),
    ) -> None:
        self.method: Final = method
        self.target: Final = target
        self.minor: Final = minor
        self.authority: Final = authority
        self.parsed: Final = parsed
        self.passthrough: Final = passthrough
        self.body: Final = body
        self.close: Final = close
        self.expect: Final = expect
        self.upgrade: Final = upgrade
        self.size: Final = size
        self.removable: Final = removable

    def with_passthrough(self, passthrough: list[bytes]) -> "RequestHead":
        """The same head with other lines at the places of those in `passthrough`."""
        return self._with(self.parsed, passthrough)

    def with_parsed(self, parsed: dict[bytes, bytes]) -> "RequestHead":
        """The same head with other values in `parsed`."""
        return self._with(parsed, self.passthrough)

    def _with(self, parsed: dict[bytes, bytes], passthrough: list[bytes]) -> "RequestHead":
        return RequestHead(
            self.method,
            self.target,
            self.minor,
            self.authority,
            parsed,
            passthrough,
            self.body,
            self.close,
            self.expect,
            self.upgrade,
            self.size,
            self.removable,
        )


@mypyc_attr(acyclic=True)
class ResponseHead:
    """A response head from an upstream.

    status    100–599
    phrase    reason phrase, may be empty
    parsed    as in `RequestHead`, without Keep-Alive
    passthrough  as in `RequestHead`; here the fields that policy asked for are the ones that policy removes or reads
    body      octets, CHUNKED or UNTIL_CLOSE, the request's method taken into account; NO_BODY for HEAD, 1xx, 204, 304
    length    the Content-Length to show the client, or -1: for HEAD and 304 it differs from `body`
    close     the upstream connection cannot be used again
    keep_alive  seconds that the upstream promises to keep the connection idle (Keep-Alive: timeout), or -1
    upgrade   the Upgrade field, for 101 and 426; b"" for none
    removable  as in `RequestHead`
    """

    __slots__ = (
        "body",
        "close",
        "keep_alive",
        "length",
        "parsed",
        "passthrough",
        "phrase",
        "removable",
        "status",
        "upgrade",
    )

    def __init__(
        self,
        status: int,
        phrase: bytes,
        parsed: dict[bytes, bytes],
        passthrough: list[bytes],
        body: int,
        length: int,
        close: bool,
        keep_alive: int,
        upgrade: bytes,
        removable: Removable = (),
    ) -> None:
        self.status: Final = status
        self.phrase: Final = phrase
        self.parsed: Final = parsed
        self.passthrough: Final = passthrough
        self.body: Final = body
        self.length: Final = length
        self.close: Final = close
        self.keep_alive: Final = keep_alive
        self.upgrade: Final = upgrade
        self.removable: Final = removable


NO_CLAIMS: Final[Mapping[str, object]] = MappingProxyType({})


class Identity:
    """The verified caller.

    kind   "sub" (the subject of a JWT) or "key" (the name of an API key)
    name   fits in a header field: it holds no control character and no blank at either end. "" is a JWT without a
           subject
    until  Unix seconds from which on the credential is no longer good, leeway included; infinite without expiry
    claims what else the credential says, as JSON has it: those claims that some route looks at
    by     "jwt.NAME" or "api_keys.NAME", where a route takes more than one
    since  Unix seconds before which the credential is not good yet, leeway included
    bucket under which limits count the caller: kind and name. One text for all requests with a remembered token: where
           it is looked up, its hash is known, and it need not be compared
    """

    __slots__ = ("bucket", "by", "claims", "kind", "name", "since", "until")

    def __init__(
        self,
        kind: str,
        name: str,
        until: float = inf,
        claims: Mapping[str, object] = NO_CLAIMS,
        by: str = "",
        since: float = -inf,
    ) -> None:
        self.kind: Final = kind
        self.name: Final = name
        self.until: Final = until
        self.claims: Final = claims
        self.by: Final = by
        self.since: Final = since
        self.bucket: Final = f"{kind}:{name}"


class RouteOptions:
    """The settings of a route that relaying needs; all requests of the route share one value.

    route             name, for the log
    upstream          name, the key of the pool
    response_timeout  seconds until the final response head; None: the timeout of the upstream applies
    body_limit        octets
    too_large         the sentence for a client that sends more; "": the sentence of the reason
    """

    __slots__ = ("body_limit", "response_timeout", "route", "too_large", "upstream")

    def __init__(
        self, route: str, upstream: str, response_timeout: float | None, body_limit: int, too_large: str = ""
    ) -> None:
        self.route: Final = route
        self.upstream: Final = upstream
        self.response_timeout: Final = response_timeout
        self.body_limit: Final = body_limit
        self.too_large: Final = too_large


class Extras:
    """What only some requests carry from their decision to their end.

    protocol  a 101 without Sec-WebSocket-Protocol gets this one: the client offered its token among the protocols, and
              browsers end a WebSocket for which none of those that they offered is chosen
    shadow    codes of the refusals that policies in the shadow would have made
    leave     called once when the request has ended, or None
    key       what the upstream divides requests by, if it does so by hash; "" for nothing
    until     Unix seconds at which a tunnel ends, since its client's credential does; infinite for none
    """

    __slots__ = ("key", "leave", "protocol", "shadow", "until")

    def __init__(
        self,
        protocol: bytes = b"",
        shadow: tuple[str, ...] = (),
        leave: Callable[[], None] | None = None,
        key: str = "",
        until: float = inf,
    ) -> None:
        self.protocol: Final = protocol
        self.shadow: Final = shadow
        self.leave: Final = leave
        self.key: Final = key
        self.until: Final = until

    def ending(self, until: float) -> "Extras":
        """The same for a tunnel that ends then."""
        return Extras(self.protocol, self.shadow, self.leave, self.key, until)


class Forward:
    """The decision to send the request to the upstream.

    head         request line and end-to-end fields, each line with its CRLF, without the empty line. `wire` adds the
                 fields of the hop: framing, Connection, Expect and Upgrade
    down         writes the head for the client, see `on_response`
    trailer      lower-cased name of a trailer field from the client → may it pass
    upgrade      the offered protocol that this route tunnels, b"" for none
    request_id, client_id  for the log
    fields       lines, each with its CRLF, for the response of the upstream, or for our own reply when there is no
                 response (limits, CORS, what the route sets)
    address      the address of the client behind trusted proxies, as limits and queues count it: "ip:…", IPv6 by /64
    extras       what only some requests carry, or None
    """

    __slots__ = (
        "address",
        "client_id",
        "down",
        "extras",
        "fields",
        "head",
        "options",
        "request_id",
        "trailer",
        "upgrade",
    )

    def __init__(
        self,
        options: RouteOptions,
        head: bytes,
        down: "Down",
        trailer: Callable[[bytes], bool],
        upgrade: bytes,
        request_id: str,
        client_id: str,
        fields: bytes = b"",
        address: str = "",
        extras: Extras | None = None,
    ) -> None:
        self.options: Final = options
        self.head: Final = head
        self.down: Final = down
        self.trailer: Final = trailer
        self.upgrade: Final = upgrade
        self.request_id: Final = request_id
        self.client_id: Final = client_id
        self.fields: Final = fields
        self.address: Final = address
        self.extras: Final = extras

    def on_response(self, head: ResponseHead) -> bytes:
        """Final or interim response head → status line and end-to-end fields for the client, in the form of `head`."""
        return self.down(self, head)


Down = Callable[[Forward, ResponseHead], bytes]
"""`(the request as forwarded, response head)` → the head for the client. All requests of a route share one."""


class LocalReply:
    """The decision to reply here, without the upstream.

    status    of a refusal: the status of its reason; 2xx for preflights, `OPTIONS *` and the like; 200–599
    reason    OK, or why the request is refused; the body of a refusal (problem+json) is made from it
    fields    further field lines, each with its CRLF
    detail    replaces the sentence of the reason when not empty
    route     name, or "" when none was selected
    note      for the log and the operator only; the client never sees it
    body      octets, in place of what would be made from the reason
    content_type  of `body`, as in Content-Type; b"" for none
    shadow    codes of the refusals that policies in the shadow would have made
    """

    __slots__ = (
        "body",
        "client_id",
        "content_type",
        "detail",
        "fields",
        "note",
        "reason",
        "request_id",
        "route",
        "shadow",
        "status",
    )

    def __init__(
        self,
        status: int,
        reason: Reason,
        fields: bytes,
        detail: str,
        route: str,
        request_id: str,
        client_id: str,
        note: str = "",
        body: bytes = b"",
        content_type: bytes = b"",
        shadow: tuple[str, ...] = (),
    ) -> None:
        self.status: Final = status
        self.reason: Final = reason
        self.fields: Final = fields
        self.detail: Final = detail
        self.route: Final = route
        self.request_id: Final = request_id
        self.client_id: Final = client_id
        self.note: Final = note
        self.body: Final = body
        self.content_type: Final = content_type
        self.shadow: Final = shadow


class Pending(ABC):
    """A decision that waits for something: a key set that is being fetched, a limit that is counted elsewhere. `net`
    serves nothing else on that connection meanwhile.

    It carries its own continuation, so what was decided and counted before it is not decided or counted again. It is a
    base class for the reason that `relay.ports` gives; so a module with an implementation is compiled ahead of time
    too, since no interpreted class can inherit from a native one.

    request_id, client_id, route, fields   as in `LocalReply`: the request keeps them, however it ends
    deadline  monotonic seconds; nobody waits for longer
    reason    how the request ends then: a refusal (status 400 or more)
    goes_on   it does not end then: `resume` decides without what did not come
    """

    __slots__ = ("client_id", "deadline", "fields", "goes_on", "reason", "request_id", "route")

    def __init__(
        self,
        deadline: float,
        reason: Reason,
        request_id: str,
        client_id: str,
        route: str = "",
        fields: bytes = b"",
        goes_on: bool = False,
    ) -> None:
        self.deadline: Final = deadline
        self.reason: Final = reason
        self.request_id: Final = request_id
        self.client_id: Final = client_id
        self.route: Final = route
        self.fields: Final = fields
        self.goes_on: Final = goes_on

    @abstractmethod
    def subscribe(self, ready: Callable[[], None]) -> Callable[[], None]:
        """Call `ready` once, after this call has returned, when `resume` may be asked. Returns a function that cancels
        the call: nobody waits any more."""

    @abstractmethod
    def resume(self, now: float, wall: float) -> "Decision":
        """The decision, or what it waits for next. `now` and `wall` as for `Decide`; asked once, after `ready`, or at
        the deadline of one that goes on."""

    def refused(self, reason: Reason) -> LocalReply:
        """The reply to the same request if it ends with this reason instead of the decision."""
        return LocalReply(reason.status, reason, self.fields, "", self.route, self.request_id, self.client_id)


Decision = Forward | LocalReply | Pending
Decide = Callable[[RequestHead, Peer, float, float], Decision]
"""`decide(head, peer, now, wall)`: `now` is monotonic seconds, `wall` the time of day in Unix seconds."""


class Locks(ABC):
    """Locks that all processes of a gateway share, numbered from 0: each guards a part of the memory that they share.
    `serve` makes them; `policy` and `relay` are handed them, and know no operating system.

    Held for microseconds only, never across a turn of the loop, by one thread of a process. A holder that takes a
    second one takes one of a higher number, so that no two wait for each other.
    """

    __slots__ = ()

    @abstractmethod
    def acquire(self, stripe: int) -> bool:
        """Wait until no other process holds lock number `stripe`, and take it. True: a process died while it held it;
        what it guards may be half changed, and the caller repairs that first. A caller that dies over the repair leaves
        it to the next one, who gets True again."""

    @abstractmethod
    def release(self, stripe: int) -> None:
        """Give back a lock that this thread took. What was written under it is seen by the next holder."""


class Counts(ABC):
    """How many of something each key has at the moment, in all processes of a gateway. `policy` counts requests under
    way by it; `relay` counts those of several processes together, in memory that `serve` makes."""

    __slots__ = ()

    @abstractmethod
    def enter(self, key: str, most: int) -> bool:
        """It has one more. False: it has as many as `most` already, or there is no room to count it; then this one is
        not counted."""

    @abstractmethod
    def leave(self, key: str) -> None:
        """It has one less. Once for each `enter` that returned True."""
