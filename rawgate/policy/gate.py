"""The decision on a request: all policies, in one order.

    1 request id, loop       RFC 9110 section 7.6.3
    2 path                   400; `OPTIONS *` gets a reply
    3 route                  404, 405
    4 CORS preflight, Max-Forwards   get a reply here
    5 body size              413
    6 address, authenticate, authorise   403, 401, 403
    7 limits                 429
    8 a reply of the route's own, or the rewrite: 500 if it makes no path that can be sent
    9 fields                 → Forward

What only some routes have is in their `More`; a route without any of it has none, and pays for one look.

The order is a promise. Checks that need no credential come before authentication. A request that fails authentication
is not counted by a limit. Step 6 may have to wait for keys that are being fetched: then it returns a `Pending`, which
asks again when they are there. What comes before depends on the request alone, and nothing was counted yet.

`compile.compile_gate` turns a configuration into a `Gate`. `decide` raises nothing and does no I/O.

The steps are attributes of `Gate`, `CompiledRoute`, `Credential` and `Limit`; `compose` makes `decide` of them. To
watch a decision or to replace a step, wrap that step and compose again, as `offline` does. So the order of the steps is
written once, here.
"""

from collections.abc import Callable
from math import ceil
from typing import Final

from rawgate.errors import (
    ADDRESS_DENIED,
    API_KEY_EXPIRED,
    API_KEY_UNKNOWN,
    AUTH_MALFORMED,
    AUTH_MISSING,
    AUTH_UNKNOWN_KEY,
    BAD_REQUEST,
    BODY_TOO_LARGE,
    CONCURRENCY_LIMITED,
    CORS_REFUSED,
    FORBIDDEN,
    INTERNAL,
    KEYS_UNAVAILABLE,
    LOOP_DETECTED,
    METHOD_NOT_ALLOWED,
    NO_ROUTE,
    OK,
    RATE_LIMITED,
    Reason,
)
from rawgate.message import (
    Decide,
    Decision,
    Down,
    Extras,
    Forward,
    Identity,
    LocalReply,
    Peer,
    Pending,
    RequestHead,
    RouteOptions,
)
from rawgate.policy import cors, headers, paths
from rawgate.policy.addresses import Admits, ClientOf, PeerAddress, PeerOf
from rawgate.policy.api_keys import ApiKeyTable
from rawgate.policy.budgets import Count, InFlight
from rawgate.policy.claims import Require
from rawgate.policy.fetched_keys import WAIT, FetchedKeys
from rawgate.policy.jwt import JwtVerifier
from rawgate.policy.limiter import COUNTERS, SUBWINDOWS, Limiter
from rawgate.policy.places import Place, Strip, answer
from rawgate.policy.rewrite import Capture, Rewrite
from rawgate.policy.router import ANY_METHOD, Group, Router, host_of
from rawgate.policy.shared_limiter import SharedLimiter
from rawgate.policy.values import Facts, Lines, Value

Authenticate = Callable[[RequestHead, bytes, float], Identity | Reason]
"""`(head, query with its "?", wall)` → the caller, or the reason of the refusal."""
Verify = Callable[[bytes, float], Identity | Reason]
"""`(token, wall)` → the caller, or the reason of the refusal."""
Lookup = Callable[[bytes], Identity | None]
"""An API key → the caller, or None for an unknown key."""
Hit = Callable[[str, float], tuple[bool, int, int]]
"""`(client, now)` → (admitted, remaining, reset), as `limiter.Rule.hit`."""
Watch = Callable[[str], Callable[[bool], None]]
"""The name of a limit → what is told of each of its decisions: whether the request was admitted."""
Find = Callable[[bytes, bytes], "Group[CompiledRoute] | None"]
"""`(authority, key)` → the routes of a path."""
Choose = Callable[[RequestHead, bytes, bytes, str], "Group[CompiledRoute] | None"]
"""`(head, key, query, scheme)` → the routes of a request, where some routes ask for more than host and path."""


class Credential:
    """How a route authenticates.

    name      "jwt.NAME" or "api_keys.NAME"; of several, the first
    by        the verifier or key table
    check     the step
    missing   field lines of a 401 for a request without a credential (RFC 9110 section 11.6.1)
    invalid   field lines of every other 401 (RFC 6750 section 3.1)
    fetched   of a verifier whose keys are fetched
    places    where the credential may be
    parts     the credentials that are asked in turn, or () for one alone
    """

    __slots__ = ("by", "check", "fetched", "invalid", "missing", "name", "parts", "places")

    def __init__(
        self,
        name: str,
        by: JwtVerifier | ApiKeyTable,
        check: Authenticate,
        missing: bytes,
        invalid: bytes,
        places: tuple[Place, ...],
        parts: "tuple[Credential, ...]" = (),
        fetched: FetchedKeys | None = None,
    ) -> None:
        self.name: Final = name
        self.by: Final = by
        self.check: Final = check
        self.missing: Final = missing
        self.invalid: Final = invalid
        self.fetched: Final = fetched
        self.places: Final = places
        self.parts: Final = parts

    def checked_by(self, check: Authenticate) -> "Credential":
        """The same with another step."""
        return Credential(self.name, self.by, check, self.missing, self.invalid, self.places, self.parts, self.fetched)

    def deciding(self, head: RequestHead, query: bytes, wall: float) -> "Credential":
        """The one of `parts` that decides on a request."""
        found = (part for part in self.parts if part.check(head, query, wall) is not AUTH_MISSING)
        return next(found, self)

    def challenge(self, reason: Reason) -> bytes:
        """The field lines of a 401 for this reason."""
        if reason is AUTH_MISSING:
            return self.missing
        if not self.parts:
            return self.invalid
        is_key = reason.code.startswith("api_key")
        return b"".join(
            part.invalid if isinstance(part.by, ApiKeyTable) is is_key else part.missing for part in self.parts
        )


_LIMIT_LINES = 8192
"""Pairs that are remembered for one route: 3 to 4 MB."""


class LimitLines(dict[tuple[int, int], bytes]):
    """(remaining, reset) → the lines of draft-ietf-httpapi-ratelimit-headers, and the older x-ratelimit ones.

    A few thousand pairs are remembered: a limit of 100 in a minute has no more, and formatting four numbers takes as
    long as counting the request. The window in `w` is as long as a request may be counted, a sixteenth longer than the
    limit's own. The draft has whole seconds only; we round up, so a client that obeys the fields obeys the limit.
    """

    __slots__ = ("_form",)

    def __init__(self, name: str, maximum: int, seconds: float) -> None:
        super().__init__()
        window = ceil(seconds * COUNTERS / SUBWINDOWS)
        escaped = name.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
        self._form = (
            f'RateLimit: "{escaped}";r=%d;t=%d\r\n'
            f'RateLimit-Policy: "{escaped}";q={maximum};w={window}\r\n'
            f"x-ratelimit-limit: {maximum}\r\nx-ratelimit-remaining: %d\r\nx-ratelimit-reset: %d\r\n"
        ).encode()

    def __missing__(self, state: tuple[int, int]) -> bytes:
        lines = self._form % (*state, *state)
        if len(self) < _LIMIT_LINES:
            self[state] = lines
        return lines


class Limit:
    """How a route limits.

    hit          counts a client that authenticated
    hit_address  counts a client by its address
    fields       `fields[remaining, reset]` → the field lines for the client
    """

    __slots__ = ("fields", "hit", "hit_address")

    def __init__(self, hit: Hit, hit_address: Hit, fields: LimitLines) -> None:
        self.hit: Final = hit
        self.hit_address: Final = hit_address
        self.fields: Final = fields


def watched(hit: Hit, told: Callable[[bool], None]) -> Hit:
    """The step that also tells of each decision."""

    def telling(client: str, now: float) -> tuple[bool, int, int]:
        found = hit(client, now)
        told(found[0])
        return found

    return telling


class Limiters:
    """The counters of all routes. Addresses have a capacity of their own: a client with very many of them, as IPv6 or a
    botnet gives, cannot push out the counters of authenticated clients. Several workers count in shared limiters.

    in_flight  requests under way, by name of the route: those of this worker
    """

    __slots__ = ("addresses", "credentials", "in_flight")

    def __init__(self, credentials: Limiter | SharedLimiter, addresses: Limiter | SharedLimiter) -> None:
        self.credentials: Final = credentials
        self.addresses: Final = addresses
        self.in_flight: Final[dict[str, InFlight]] = {}

    @property
    def evicted(self) -> int:
        """How many live counters were forgotten. While this is 0, every limit is exact."""
        return self.credentials.evicted + self.addresses.evicted


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


NOTHING: Final[frozenset[str]] = frozenset()


class More:
    """What only some routes have. A step that is None is skipped.

    prefix   of the route as it is configured, or its path
    capture  finds the names of the route's path
    local    the reply of a route without upstream
    admits   whether a client may come from its address
    require  what is asked of the caller's claims
    strip    takes credentials out of what is sent on
    answers  one of them may be among the protocols that a WebSocket offers
    up       field lines for the upstream that are made of the request
    early    field lines for the client that are made of it, where they do not depend on the caller
    late     those that do
    count    counts the request in limits, where there are several, or where their key is not the client
    in_flight, concurrency  the requests under way, and how many a client may have
    shadow   of "auth", "require", "rate_limit", "concurrency": what is decided and refuses nobody
    """

    __slots__ = (
        "admits",
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
        )


class CompiledRoute:
    """The steps that depend on a route. A step that is None is skipped.

    keeps_slash       accept a path with an encoded slash
    keeps_parameters  accept a path that would select another route if its parameters counted
    own          field lines that `response_headers` sets on our own replies
    report       takes a line of text when the pattern or the function of the route fails
    upgrades     lower-cased names of the protocols that may tunnel
    more         what only some routes have, or None
    """

    __slots__ = (
        "cors",
        "credential",
        "down",
        "keeps_parameters",
        "keeps_slash",
        "limit",
        "more",
        "options",
        "own",
        "report",
        "rewrite",
        "trailer",
        "up",
        "upgrades",
    )

    def __init__(
        self,
        options: RouteOptions,
        keeps_slash: bool,
        keeps_parameters: bool,
        own: bytes,
        cors: cors.CorsPolicy | None,
        credential: Credential | None,
        limit: Limit | None,
        rewrite: Rewrite | None,
        report: Callable[[str], None],
        up: headers.Up,
        down: Down,
        trailer: Callable[[bytes], bool],
        upgrades: frozenset[bytes],
        more: More | None = None,
    ) -> None:
        self.options: Final = options
        self.keeps_slash: Final = keeps_slash
        self.keeps_parameters: Final = keeps_parameters
        self.own: Final = own
        self.cors: Final = cors
        self.credential: Final = credential
        self.limit: Final = limit
        self.rewrite: Final = rewrite
        self.report: Final = report
        self.up: Final = up
        self.down: Final = down
        self.trailer: Final = trailer
        self.upgrades: Final = upgrades
        self.more: Final = more

    def with_steps(
        self, credential: Credential | None, limit: Limit | None, rewrite: Rewrite | None, more: More | None
    ) -> "CompiledRoute":
        """The same route with other steps in these places."""
        return CompiledRoute(
            self.options,
            self.keeps_slash,
            self.keeps_parameters,
            self.own,
            self.cors,
            credential,
            limit,
            rewrite,
            self.report,
            self.up,
            self.down,
            self.trailer,
            self.upgrades,
            more,
        )


class Gate:
    """A compiled configuration: `decide`, and what its neighbours need to know.

    wanted           names of request fields that `wire` puts into `parsed`
    protected        names of request fields that Connection may not name
    removable        names of request fields whose positions `wire` puts into `removable`
    methods          methods that routes name
    response_wanted, response_removable  as `wanted` and `removable`, for responses
    limiters         the counters of all routes
    credentials      "jwt.NAME" or "api_keys.NAME" → its check, also if no route uses it
    peer_of, client_of, normalise, router  the steps that depend on no route
    """

    __slots__ = (
        "client_of",
        "credentials",
        "decide",
        "limiters",
        "methods",
        "normalise",
        "peer_of",
        "protected",
        "removable",
        "response_removable",
        "response_wanted",
        "router",
        "wanted",
    )

    def __init__(
        self,
        decide: Decide,
        wanted: frozenset[bytes],
        protected: frozenset[bytes],
        removable: frozenset[bytes],
        methods: frozenset[bytes],
        response_wanted: frozenset[bytes],
        response_removable: frozenset[bytes],
        limiters: Limiters,
        credentials: dict[str, Credential],
        peer_of: PeerOf,
        client_of: ClientOf,
        normalise: paths.Normalise,
        router: Router[CompiledRoute],
    ) -> None:
        self.decide: Final = decide
        self.wanted: Final = wanted
        self.protected: Final = protected
        self.removable: Final = removable
        self.methods: Final = methods
        self.response_wanted: Final = response_wanted
        self.response_removable: Final = response_removable
        self.limiters: Final = limiters
        self.credentials: Final = credentials
        self.peer_of: Final = peer_of
        self.client_of: Final = client_of
        self.normalise: Final = normalise
        self.router: Final = router


def preflight_route(group: Group[CompiledRoute], parsed: dict[bytes, bytes]) -> CompiledRoute | None:
    """The route whose `cors` replies to this OPTIONS request: the route of the method that the browser asks about. None
    if the request is no preflight or that route has no `cors`."""
    method = parsed.get(b"access-control-request-method")
    if method is None or b"origin" not in parsed:
        return None
    route = group.methods.get(method, group.other)
    if route is None and b"OPTIONS" not in group.methods:
        # No route takes the method; the first route with `cors` refuses it.
        return next((other for other in group.methods.values() if other.cors is not None), None)
    return route if route is not None and route.cors is not None else None


def pick_upgrade(offered: bytes, allowed: frozenset[bytes]) -> bytes:
    """The first offered protocol whose name the route allows, or b"". The client's order is its preference (RFC 9110
    section 7.8)."""
    for piece in offered.split(b","):
        protocol = piece.strip(b" \t")
        if protocol.partition(b"/")[0].lower() in allowed:
            return protocol
    return b""


def compose(
    peer_of: PeerOf,
    client_of: ClientOf,
    normalise: paths.Normalise,
    find: Find,
    new_id: Callable[[], str],
    choose: Choose | None = None,
) -> Decide:
    """Make `decide` of the steps that depend on no route; `find` returns the routes with the other steps. `choose` is
    asked in its place where a route asks for more than host and path."""
    trusted_request_id, is_loop = headers.trusted_request_id, headers.is_loop

    def decide(head: RequestHead, peer: Peer, now: float, wall: float) -> Decision:
        # 1. The addresses, the request id, and whether the request loops.
        parsed = head.parsed
        sender = peer_of(peer.address)
        client = client_of(sender, parsed) if sender.trusted else sender
        request_id = (trusted_request_id(parsed) if sender.trusted else "") or new_id()
        via = parsed.get(b"via")
        if via is not None and is_loop(via):
            return _refuse(LOOP_DETECTED, b"", "", "", request_id, client.address)

        # 2. The path.
        target = normalise(head.target)
        if not target.path:
            return _refuse_target(head, target, request_id, client.address)

        # 3. The route. 4. Replies to OPTIONS.
        scheme = peer.scheme
        if choose is None:
            group = find(head.authority, target.key)
        else:
            scheme = _scheme(parsed, scheme) if sender.trusted else scheme
            group = choose(head, target.key, target.query, scheme)
        if group is None:
            return _refuse(NO_ROUTE, b"", "", "", request_id, client.address)
        if head.method == b"OPTIONS":
            reply = _reply_to_options(head, group, request_id, client.address)
            if reply is not None:
                return reply
            head = _with_forwards_counted(head)
        route = group.methods.get(head.method, group.other)
        if route is None:
            fields = b"Allow: %b\r\n" % group.allow + _fields_of_405(group, parsed)
            return _refuse(METHOD_NOT_ALLOWED, fields, "", "", request_id, client.address)
        doubt = ""
        if target.flaw:
            plain = (
                find(head.authority, target.plain_key)
                if choose is None
                else choose(head, target.plain_key, target.query, scheme)
            )
            doubt = _doubt(route, group, target, plain)
        return _serve(route, head, target, doubt, sender, peer.scheme, client, request_id, now, wall, False)

    return decide


def _scheme(parsed: dict[bytes, bytes], scheme: str) -> str:
    """How the client came, as the trusted proxies say: the first of them spoke with the client."""
    told = parsed.get(b"x-forwarded-proto", b"").partition(b",")[0].strip(b" \t").lower()
    return told.decode("latin-1") if told else scheme


def _serve(
    route: CompiledRoute,
    head: RequestHead,
    target: paths.Normal,
    doubt: str,
    sender: PeerAddress,
    scheme: str,
    client: PeerAddress,
    request_id: str,
    now: float,
    wall: float,
    waited: bool,
) -> Decision:
    """The steps that depend on the route. `doubt`: why the route refuses this path, or "". `waited`: the request has
    waited for keys."""
    options, more = route.options, route.more
    caller, bucket = client.address, client.bucket
    identity: Identity | None = None
    shadow: tuple[str, ...] = ()
    fields = route.own if route.cors is None else route.cors.fields(head.parsed) + route.own
    if more is not None and more.early is not None:
        fields += more.early(_facts(more, options.route, head, target, client, request_id, None))
    if doubt:
        return _refuse(BAD_REQUEST, fields, doubt, options.route, request_id, caller)

    # 5. The body. `relay` counts a chunked one while it arrives.
    if head.body > options.body_limit:
        return _refuse(BODY_TOO_LARGE, fields, options.too_large, options.route, request_id, caller)

    # 6. The address and the caller.
    if more is not None and more.admits is not None and not more.admits(client.address):
        return _refuse(ADDRESS_DENIED, fields, "", options.route, request_id, caller)
    if route.credential is not None:
        found = route.credential.check(head, target.query, wall)
        if isinstance(found, Identity):
            identity = found
            if found.name:
                caller = found.name
                bucket = f"{found.kind}:{caller}"
        elif more is not None and "auth" in more.shadow:
            shadow = (found.code,)
        else:
            return _unidentified(
                found, route, fields, head, target, sender, scheme, client, request_id, now, wall, waited
            )
    if route.limit is None and more is None:
        return _send(
            route,
            head,
            target,
            sender,
            scheme,
            client,
            request_id,
            caller,
            identity,
            fields,
            target.query,
            b"",
            None,
        )
    return _count(
        route, head, target, sender, scheme, client, request_id, caller, bucket, identity, fields, shadow, now
    )


_INSUFFICIENT: Final = b'WWW-Authenticate: Bearer realm="rawgate", error="insufficient_scope"\r\n'
"""On a 403 for a bearer token (RFC 6750 section 3.1)."""


def _count(
    route: CompiledRoute,
    head: RequestHead,
    target: paths.Normal,
    sender: PeerAddress,
    scheme: str,
    client: PeerAddress,
    request_id: str,
    caller: str,
    bucket: str,
    identity: Identity | None,
    fields: bytes,
    shadow: tuple[str, ...],
    now: float,
) -> Decision:
    """What the caller may do, and how often. `bucket`: under which limits count it; `shadow`: codes of refusals that
    were not made."""
    options, more = route.options, route.more
    # 6. What the caller may do.
    if more is not None and more.require is not None and identity is not None:
        lacking = more.require(identity.claims)
        if lacking and "require" in more.shadow:
            shadow = (*shadow, FORBIDDEN.code)
        elif lacking:
            fields += _INSUFFICIENT if identity.kind == "sub" else b""
            note = f"require: {lacking}"
            return _refuse(FORBIDDEN, fields, "", options.route, request_id, caller, note, shadow)

    # 7. The limit.
    if route.limit is not None:
        hit = route.limit.hit if bucket is not client.bucket else route.limit.hit_address
        admitted, remaining, reset = hit(bucket, now)
        fields += route.limit.fields[remaining, reset]
        if not admitted:
            fields += b"Retry-After: %d\r\n" % reset
            return _refuse(RATE_LIMITED, fields, "", options.route, request_id, caller, "", shadow)
    if more is None:
        return _send(
            route,
            head,
            target,
            sender,
            scheme,
            client,
            request_id,
            caller,
            identity,
            fields,
            target.query,
            b"",
            None,
        )
    if more.count is not None:
        counted = more.count(head, client.bucket, bucket, identity, now)
        fields += counted.fields
        if counted.shadowed:
            shadow = (*shadow, RATE_LIMITED.code)
        if counted.refused:
            fields += b"Retry-After: %d\r\n" % counted.refused
            return _refuse(RATE_LIMITED, fields, "", options.route, request_id, caller, "", shadow)
    return _enter(
        route, more, head, target, sender, scheme, client, request_id, caller, bucket, identity, fields, shadow
    )


def _enter(
    route: CompiledRoute,
    more: More,
    head: RequestHead,
    target: paths.Normal,
    sender: PeerAddress,
    scheme: str,
    client: PeerAddress,
    request_id: str,
    caller: str,
    bucket: str,
    identity: Identity | None,
    fields: bytes,
    shadow: tuple[str, ...],
) -> Decision:
    """The last steps that only some routes have."""
    name, query = route.options.route, target.query
    facts = _facts(more, name, head, target, client, request_id, identity)
    if more.late is not None:
        fields += more.late(facts)
    protocol = answer(head) if more.answers and head.upgrade else b""
    if more.strip is not None:
        head, query = more.strip(head, query)
    # 8. A reply of the route's own.
    if more.local is not None:
        return _reply_of(more.local, facts, query, fields, name, request_id, caller, shadow)
    leave = None
    if more.in_flight is not None:
        leave = more.in_flight.enter(bucket, more.concurrency)
        if leave is None and "concurrency" in more.shadow:
            shadow = (*shadow, CONCURRENCY_LIMITED.code)
        elif leave is None:
            fields += b"Retry-After: 1\r\n"  # there is no telling when one of those under way ends
            return _refuse(CONCURRENCY_LIMITED, fields, "", name, request_id, caller, "", shadow)
    extras = Extras(protocol, shadow, leave) if protocol or shadow or leave is not None else None
    lines = b"" if more.up is None else more.up(facts)
    return _send(
        route, head, target, sender, scheme, client, request_id, caller, identity, fields, query, lines, extras
    )


def _send(
    route: CompiledRoute,
    head: RequestHead,
    target: paths.Normal,
    sender: PeerAddress,
    scheme: str,
    client: PeerAddress,
    request_id: str,
    caller: str,
    identity: Identity | None,
    fields: bytes,
    query: bytes,
    lines: bytes,
    extras: Extras | None,
) -> Decision:
    """The request may be served. `fields`: lines for the client; `lines`: further ones for the upstream."""
    # 8. The path for the upstream. 9. The fields.
    options, path = route.options, target.path
    if route.rewrite is not None:
        sent = route.rewrite(path, target.key)
        if isinstance(sent, str):
            if extras is not None and extras.leave is not None:
                extras.leave()
            route.report(f"{sent}; request {request_id}")
            return _refuse(INTERNAL, fields, "", options.route, request_id, caller, sent)
        path = sent
    user = b"" if identity is None else identity.name.encode()
    up = route.up(head, path, query, sender.octets, scheme, sender.trusted, request_id.encode(), user)
    return Forward(
        options,
        up + lines if lines else up,
        route.down,
        route.trailer,
        pick_upgrade(head.upgrade, route.upgrades) if head.upgrade else b"",
        request_id,
        caller,
        fields,
        client.bucket,
        extras,
    )


def _unidentified(
    found: Reason,
    route: CompiledRoute,
    fields: bytes,
    head: RequestHead,
    target: paths.Normal,
    sender: PeerAddress,
    scheme: str,
    client: PeerAddress,
    request_id: str,
    now: float,
    wall: float,
    waited: bool,
) -> Decision:
    """The end of a request that does not say who sends it, or its wait for a key."""
    credential = route.credential
    assert credential is not None  # noqa: S101 - for the type checker
    fetched = credential.fetched
    if found is AUTH_UNKNOWN_KEY and credential.parts:
        fetched = credential.deciding(head, target.query, wall).fetched
    if found is AUTH_UNKNOWN_KEY and fetched is not None:
        pending = AwaitKeys(
            fetched,
            route,
            credential.challenge(found),
            fields,
            head,
            target,
            sender,
            scheme,
            client,
            request_id,
            now,
        )
        return pending if pending.is_coming and not waited else pending.refused(pending.reason)
    fields += credential.challenge(found)
    return _refuse(found, fields, "", route.options.route, request_id, client.address, found.note)


class AwaitKeys(Pending):
    """A request whose token names a key that may come with the fetch that is under way. It ends as it would without
    that fetch: with 503 if there are no keys at all, with 401 if there are others.

    is_coming  whether a fetch is under way: without one, there is nothing to wait for
    """

    __slots__ = (
        "_challenge",
        "_client",
        "_fetched",
        "_head",
        "_retry_after",
        "_route",
        "_scheme",
        "_sender",
        "_target",
        "is_coming",
    )

    def __init__(
        self,
        fetched: FetchedKeys,
        route: CompiledRoute,
        challenge: bytes,
        fields: bytes,
        head: RequestHead,
        target: paths.Normal,
        sender: PeerAddress,
        scheme: str,
        client: PeerAddress,
        request_id: str,
        now: float,
    ) -> None:
        reason = KEYS_UNAVAILABLE if fetched.empty else AUTH_UNKNOWN_KEY
        super().__init__(now + WAIT, reason, request_id, client.address, route.options.route, fields)
        self.is_coming: Final = fetched.is_coming(now)
        self._retry_after: Final = fetched.retry_after(now)
        self._fetched: Final = fetched
        self._route: Final = route
        self._challenge: Final = challenge
        self._head: Final = head
        self._target: Final = target
        self._sender: Final = sender
        self._scheme: Final = scheme
        self._client: Final = client

    def subscribe(self, ready: Callable[[], None]) -> Callable[[], None]:
        return self._fetched.subscribe(ready)

    def resume(self, now: float, wall: float) -> Decision:
        return _serve(
            self._route,
            self._head,
            self._target,
            "",
            self._sender,
            self._scheme,
            self._client,
            self.request_id,
            now,
            wall,
            True,
        )

    def refused(self, reason: Reason) -> LocalReply:
        fields = self.fields
        if reason is KEYS_UNAVAILABLE:
            fields += b"Retry-After: %d\r\n" % self._retry_after
        elif reason is AUTH_UNKNOWN_KEY:
            fields += self._challenge
        return _refuse(reason, fields, "", self.route, self.request_id, self.client_id)


def _facts(
    more: More,
    route: str,
    head: RequestHead,
    target: paths.Normal,
    client: PeerAddress,
    request_id: str,
    identity: Identity | None,
) -> Facts:
    """What values of this route may be made of."""
    names = {} if more.capture is None else more.capture(target.path, target.key)
    host = host_of(head.authority) if head.authority else b""
    return Facts(client.octets, request_id, route, more.prefix, host, target.path, names, identity)


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
            return _refuse(BAD_REQUEST, fields, "The request has no Host to redirect to.", route, request_id, caller)
        if place[:1] == b"/":
            # A reader may take the text behind two slashes at the start for a host.
            place = b"/" + place.lstrip(b"/")
        fields += b"Location: %b%b\r\n" % (place, query if local.keeps_query else b"")
    fields += local.fields
    return LocalReply(
        local.status, OK, fields, "", route, request_id, caller, "", local.body, local.content_type, shadow
    )


def _doubt(
    route: CompiledRoute, group: Group[CompiledRoute], target: paths.Normal, plain: Group[CompiledRoute] | None
) -> str:
    """Why a route refuses a path that can be read in two ways, or "". `plain`: the routes of the path if its parameters
    are a part of it."""
    if target.flaw == paths.ENCODED_SLASH and not route.keeps_slash:
        return target.flaw
    is_detour = plain is None or plain.first != group.first
    return paths.PARAMETERS if is_detour and not route.keeps_parameters else ""


def _fields_of_405(group: Group[CompiledRoute], parsed: dict[bytes, bytes]) -> bytes:
    """Field lines of a 405, which no route of the group decides alone: `response_headers` of the first route, and the
    CORS lines of the first route that has `cors`."""
    routes = list(group.methods.values())
    cors = next((route.cors for route in routes if route.cors is not None), None)
    return (b"" if cors is None else cors.fields(parsed)) + routes[0].own


def _refuse_target(head: RequestHead, target: paths.Normal, request_id: str, caller: str) -> LocalReply:
    """Reply to a target without a valid path. `OPTIONS *` asks about the server itself (RFC 9110 section 9.3.7), here
    the gateway."""
    if head.target == b"*" and head.method == b"OPTIONS":
        return LocalReply(204, OK, b"Allow: %b\r\n" % ANY_METHOD, "", "", request_id, caller)
    return _refuse(BAD_REQUEST, b"", target.flaw, "", request_id, caller)


def _reply_to_options(
    head: RequestHead, group: Group[CompiledRoute], request_id: str, caller: str
) -> LocalReply | None:
    """The reply to a preflight, and to a request whose Max-Forwards is 0 (RFC 9110 section 7.6.2). None for others."""
    parsed = head.parsed
    asked = preflight_route(group, parsed)
    if asked is not None and asked.cors is not None:
        lines, why = asked.cors.preflight_fields(parsed)
        reason = CORS_REFUSED if why else OK
        return LocalReply(204, reason, lines + asked.own, why, asked.options.route, request_id, caller)
    value = parsed.get(b"max-forwards")
    route = group.methods.get(b"OPTIONS", group.other)
    if value is None or route is None:
        return None
    fields = route.own if route.cors is None else route.cors.fields(parsed) + route.own
    left = headers.next_max_forwards(value)
    if left is None:
        return _refuse(BAD_REQUEST, fields, "Max-Forwards is not a number.", route.options.route, request_id, caller)
    if left:
        return None
    return LocalReply(204, OK, fields + b"Allow: %b\r\n" % group.allow, "", route.options.route, request_id, caller)


def _with_forwards_counted(head: RequestHead) -> RequestHead:
    """The same request with its Max-Forwards, if any, one less."""
    left = headers.next_max_forwards(head.parsed.get(b"max-forwards", b""))
    return head.with_parsed({**head.parsed, b"max-forwards": left}) if left else head


def _refuse(
    reason: Reason,
    fields: bytes,
    detail: str,
    route: str,
    request_id: str,
    caller: str,
    note: str = "",
    shadow: tuple[str, ...] = (),
) -> LocalReply:
    return LocalReply(reason.status, reason, fields, detail, route, request_id, caller, note, b"", b"", shadow)


def bearer(
    name: str, verifier: JwtVerifier, verify: Verify, places: tuple[Place, ...], fetched: FetchedKeys | None = None
) -> Credential:
    """A credential by bearer token (RFC 6750). `verify` is `verifier.verify` or a wrapper of it; `places`: besides
    Authorization, or in its place; `fetched`: where its keys are fetched."""

    def check_header(head: RequestHead, query: bytes, wall: float) -> Identity | Reason:
        value = head.parsed.get(b"authorization")
        if value is None:
            return AUTH_MISSING
        # RFC 9110 section 11.1 and RFC 6750 section 2.1: the scheme in any case, 1*SP, the token.
        scheme, _, token = value.partition(b" ")
        if scheme != b"Bearer" and scheme.lower() != b"bearer":
            return AUTH_MISSING
        return verify(token.lstrip(b" ") if token[:1] == b" " else token, wall)

    def check(head: RequestHead, query: bytes, wall: float) -> Identity | Reason:
        for place in places:
            if place.find is None:
                found = check_header(head, query, wall)
                if found is not AUTH_MISSING:
                    return found
                continue
            token = place.find(head, query)
            if token is not None:
                # Readers differ in which of two they believe.
                return verify(token, wall) if token else AUTH_MALFORMED
        return AUTH_MISSING

    challenge = b'WWW-Authenticate: Bearer realm="rawgate"'
    only_header = len(places) == 1 and places[0].find is None
    step = check_header if only_header else check
    missing, invalid = challenge + b"\r\n", challenge + b', error="invalid_token"\r\n'
    return Credential(name, verifier, step, missing, invalid, places, (), fetched)


def api_key(name: str, table: ApiKeyTable, lookup: Lookup, places: tuple[Place, ...]) -> Credential:
    """A credential by API key. `lookup` is `table.lookup` or a wrapper of it; `places`: besides its field."""
    header = table.header

    def check(head: RequestHead, query: bytes, wall: float) -> Identity | Reason:
        value = head.parsed.get(header)
        for place in places:
            if value is None and place.find is not None:
                value = place.find(head, query)
        if value is None:
            return AUTH_MISSING
        found = lookup(value)
        if found is None:
            return API_KEY_UNKNOWN
        return found if wall < found.until else API_KEY_EXPIRED

    challenge = b"WWW-Authenticate: ApiKey\r\n"
    return Credential(name, table, check, challenge, challenge, places)


def first_of(parts: tuple[Credential, ...]) -> Credential:
    """A credential by any of several verifiers: the first of them that the request has a credential for decides."""

    def check(head: RequestHead, query: bytes, wall: float) -> Identity | Reason:
        for part in parts:
            found = part.check(head, query, wall)
            if isinstance(found, Identity):
                return Identity(found.kind, found.name, found.until, found.claims, part.name)
            if found is not AUTH_MISSING:
                return found
        return AUTH_MISSING

    missing = b"".join(dict.fromkeys(part.missing for part in parts))
    places = tuple(place for part in parts for place in part.places)
    return Credential(parts[0].name, parts[0].by, check, missing, missing, places, parts)
