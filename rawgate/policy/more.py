"""What only some routes have, and what it does.

`gate` decides when: a route without any of it has no `More`, and pays for one look. What stands before the limits is
asked there; `pass_steps` is what follows the caller's authorisation.
"""

from collections.abc import Callable
from typing import Final

from rawgate.errors import BAD_REQUEST, CONCURRENCY_LIMITED, OK, RATE_LIMITED
from rawgate.message import Extras, Identity, LocalReply, RequestHead
from rawgate.policy.addresses import Admits
from rawgate.policy.budgets import Count, Counted
from rawgate.policy.claims import Require
from rawgate.policy.in_flight import InFlight
from rawgate.policy.over_hosts import UNKNOWN, OverHosts
from rawgate.policy.places import Strip, answer
from rawgate.policy.request import Request
from rawgate.policy.rewrite import Capture
from rawgate.policy.router import host_of
from rawgate.policy.values import Facts, Lines, Value


class Local:
    """What a route replies itself.

    fields    field lines besides those of every reply of ours
    location  where a redirect leads, or None
    keeps_query  the request's query goes there too
    """

    __slots__ = ("body", "content_type", "fields", "keeps_query", "location", "status")

    def __init__(
        self, status: int, body: bytes, content_type: bytes, fields: bytes, location: Value | None, keeps_query: bool
    ) -> None:
        self.status: Final = status
        self.body: Final = body
        self.content_type: Final = content_type
        self.fields: Final = fields
        self.location: Final = location
        self.keeps_query: Final = keeps_query


Affinity = Callable[[RequestHead, bytes, str], str]
"""`(head, normalised path, bucket of the client)` → what requests are divided by; "" for nothing."""


def by_client(head: RequestHead, path: bytes, client: str) -> str:
    return client


def by_path(head: RequestHead, path: bytes, client: str) -> str:
    return path.decode("latin-1")


def compile_by_header(name: bytes) -> Affinity:
    """By a field; one that is not there, or empty, says nothing."""

    def by_header(head: RequestHead, path: bytes, client: str) -> str:
        return head.parsed.get(name, b"").decode("latin-1")

    return by_header


def compile_affinity(text: str) -> Affinity:
    """The key of a `balance = { hash = … }`."""
    kind, _, name = text.partition(":")
    if kind == "header":
        return compile_by_header(name.encode())
    return by_path if kind == "path" else by_client


NOTHING: Final[frozenset[str]] = frozenset()


class More:
    """What only some routes have. A step that is None is skipped.

    prefix   of the route as it is configured, or its path
    capture  finds the names of the route's path
    local    the reply of a route without upstream
    admits   whether a client may come from its address
    require  what is asked of the caller's claims, and of its certificate
    strip    takes credentials out of what is sent on
    answers  one of them may be among the protocols that a WebSocket offers
    up       field lines for the upstream that are made of the request
    early    field lines for the client that are made of it, where they do not depend on the caller
    late     those that do
    count    counts the request in limits, where there are several, or where their key is not the client
    in_flight, concurrency  the requests under way, and how many a client may have
    shadow   of "auth", "require", "rate_limit", "concurrency": what is decided and refuses nobody
    affinity what the upstream divides requests by, where it does so by hash
    """

    __slots__ = (
        "admits",
        "affinity",
        "answers",
        "capture",
        "concurrency",
        "count",
        "early",
        "in_flight",
        "late",
        "local",
        "prefix",
        "require",
        "shadow",
        "strip",
        "up",
    )

    def __init__(
        self,
        prefix: bytes,
        capture: Capture | None = None,
        local: Local | None = None,
        admits: Admits | None = None,
        require: Require | None = None,
        strip: Strip | None = None,
        answers: bool = False,
        up: Lines | None = None,
        early: Lines | None = None,
        late: Lines | None = None,
        count: Count | None = None,
        in_flight: InFlight | None = None,
        concurrency: int = 0,
        shadow: frozenset[str] = NOTHING,
        affinity: Affinity | None = None,
    ) -> None:
        self.prefix: Final = prefix
        self.capture: Final = capture
        self.local: Final = local
        self.admits: Final = admits
        self.require: Final = require
        self.strip: Final = strip
        self.answers: Final = answers
        self.up: Final = up
        self.early: Final = early
        self.late: Final = late
        self.count: Final = count
        self.in_flight: Final = in_flight
        self.concurrency: Final = concurrency
        self.shadow: Final = shadow
        self.affinity: Final = affinity

    def with_steps(self, admits: Admits | None, require: Require | None, count: Count | None) -> "More":
        """The same with other steps in these places."""
        return More(
            self.prefix,
            self.capture,
            self.local,
            admits,
            require,
            self.strip,
            self.answers,
            self.up,
            self.early,
            self.late,
            count,
            self.in_flight,
            self.concurrency,
            self.shadow,
            self.affinity,
        )


class Passed:
    """A request that has passed the steps of a `More`.

    head, query  without the credentials that go no further
    fields       lines for the client
    lines        further ones for the upstream
    extras       what only some requests have
    """

    __slots__ = ("extras", "fields", "head", "lines", "query")

    def __init__(self, head: RequestHead, query: bytes, fields: bytes, lines: bytes, extras: Extras | None) -> None:
        self.head: Final = head
        self.query: Final = query
        self.fields: Final = fields
        self.lines: Final = lines
        self.extras: Final = extras


def pass_steps(
    more: More,
    route: str,
    request: Request,
    caller: str,
    bucket: str,
    identity: Identity | None,
    fields: bytes,
    shadow: tuple[str, ...],
    now: float,
) -> Passed | LocalReply | OverHosts:
    """The steps behind the caller's authorisation. `route`: its name; the others as in `gate`. OverHosts: the limits
    have asked the store."""
    head, target, request_id = request.head, request.target, request.id
    # 7. The limits.
    if more.count is not None:
        counted = more.count(head, request.client.bucket, bucket, identity, now)
        fields += counted.fields
        if counted.shadowed:
            shadow = (*shadow, RATE_LIMITED.code)
        if counted.refused:
            return _not_admitted(counted, fields, route, request_id, caller, shadow)

    facts = facts_of(more, route, request, identity)
    if more.late is not None:
        fields += more.late(facts)
    query = target.query
    protocol = answer(head) if more.answers and head.upgrade else b""
    if more.strip is not None:
        head, query = more.strip(head, query)
    # 8. A reply of the route's own.
    if more.local is not None:
        return _reply_of(more.local, facts, query, fields, route, request_id, caller, shadow)
    leave = None
    if more.in_flight is not None:
        leave = more.in_flight.enter(bucket, more.concurrency)
        if leave is None and "concurrency" in more.shadow:
            shadow = (*shadow, CONCURRENCY_LIMITED.code)
        elif leave is None:
            fields += b"Retry-After: 1\r\n"  # there is no telling when one of those under way ends
            reason = CONCURRENCY_LIMITED
            return LocalReply(reason.status, reason, fields, "", route, request_id, caller, "", b"", b"", shadow)
    key = "" if more.affinity is None else more.affinity(head, target.path, bucket)
    extras = Extras(protocol, shadow, leave, key) if protocol or shadow or leave is not None or key else None
    return Passed(head, query, fields, b"" if more.up is None else more.up(facts), extras)


def used_up(names: str) -> str:
    """Which limits refused a request, for the log; "" where none did."""
    return f"Used up: {names}." if names else ""


def _not_admitted(
    counted: Counted, fields: bytes, route: str, request_id: str, caller: str, shadow: tuple[str, ...]
) -> LocalReply | OverHosts:
    """The limits refuse the request, or do not know yet."""
    reason = RATE_LIMITED
    if isinstance(counted, OverHosts):
        if counted.refused == UNKNOWN:
            return counted
        reason = counted.reason
    fields += b"Retry-After: %d\r\n" % counted.refused
    return LocalReply(
        reason.status, reason, fields, "", route, request_id, caller, used_up(counted.by), b"", b"", shadow
    )


def facts_of(more: More, route: str, request: Request, identity: Identity | None) -> Facts:
    """What values of this route may be made of."""
    authority, path = request.head.authority, request.target.path
    names = {} if more.capture is None else more.capture(path, request.target.key)
    host = host_of(authority) if authority else b""
    certificate = request.peer.certificate_name
    return Facts(request.client.octets, request.id, route, more.prefix, host, path, names, identity, certificate)


def _reply_of(
    local: Local,
    facts: Facts,
    query: bytes,
    fields: bytes,
    route: str,
    request_id: str,
    caller: str,
    shadow: tuple[str, ...],
) -> LocalReply:
    """The reply of a route without upstream."""
    if local.location is not None:
        place = local.location(facts)
        if place is None:
            why = "The request has no Host to redirect to."
            return LocalReply(BAD_REQUEST.status, BAD_REQUEST, fields, why, route, request_id, caller)
        if place[:1] == b"/":
            # A reader may take the text behind two slashes at the start for a host.
            place = b"/" + place.lstrip(b"/")
        fields += b"Location: %b%b\r\n" % (place, query if local.keeps_query else b"")
    fields += local.fields
    return LocalReply(
        local.status, OK, fields, "", route, request_id, caller, "", local.body, local.content_type, shadow
    )
