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

What only some routes have is in their `More` (module `more`); a route without any of it has none, and pays for one
look.

The order is a promise. Checks that need no credential come before authentication. A request that fails authentication
is not counted by a limit. Step 6 may have to wait for keys that are being fetched: then it returns a `Pending`, which
asks again when they are there. What comes before depends on the request alone, and nothing was counted yet. Where
wrong credentials are limited, the refusal of one too many is a `Pending`, too, which lasts for a while. Step 7 may have
to wait for a store that counts for several hosts (`over_hosts`): its `Pending` goes on with the answer.

`compile.compile_gate` turns a configuration into a `Gate`. `decide` raises nothing and does no I/O.

The steps are attributes of `Gate`, `CompiledRoute`, `Credential` and `Limit`; `compose` makes `decide` of them. To
watch a decision or to replace a step, wrap that step and compose again, as `offline` does. So the order of the steps is
written once, here.
"""

from collections.abc import Callable
from math import inf
from typing import Final

from rawgate.errors import (
    ADDRESS_DENIED,
    AUTH_LIMITED,
    AUTH_UNKNOWN_KEY,
    BAD_REQUEST,
    BODY_TOO_LARGE,
    CORS_REFUSED,
    FORBIDDEN,
    INTERNAL,
    LOOP_DETECTED,
    METHOD_NOT_ALLOWED,
    NO_ROUTE,
    OK,
    RATE_LIMITED,
    Reason,
)
from rawgate.message import (
    NO_CLAIMS,
    Decide,
    Decision,
    Down,
    Extras,
    Forward,
    Identity,
    LocalReply,
    Peer,
    RequestHead,
    RouteOptions,
)
from rawgate.policy import cors, headers, paths
from rawgate.policy.addresses import ClientOf, PeerOf
from rawgate.policy.auth_failures import AuthFailures, LateRefusal
from rawgate.policy.budgets import Counted
from rawgate.policy.credentials import Credential
from rawgate.policy.fetched_keys import AwaitKeys
from rawgate.policy.limits import Limit, Limiters
from rawgate.policy.more import More, Passed, facts_of, pass_steps, used_up
from rawgate.policy.over_hosts import AwaitStore, OverHosts
from rawgate.policy.request import Request
from rawgate.policy.rewrite import Rewrite
from rawgate.policy.router import ANY_METHOD, Group, Router

Find = Callable[[bytes, bytes], "Group[CompiledRoute] | None"]
"""`(authority, key)` → the routes of a path."""
Choose = Callable[[RequestHead, bytes, bytes, str], "Group[CompiledRoute] | None"]
"""`(head, key, query, scheme)` → the routes of a request, where some routes ask for more than host and path."""


NO_NAMES: Final[frozenset[bytes]] = frozenset()


class CompiledRoute:
    """The steps that depend on a route. A step that is None is skipped.

    keeps_slash       accept a path with an encoded slash
    keeps_parameters  accept a path that would select another route if its parameters counted
    own          field lines that `response_headers` sets on our own replies
    report       takes a line of text when the pattern or the function of the route fails
    upgrades     lower-cased names of the protocols that may tunnel
    more         what only some routes have, or None
    failures     the limit of wrong credentials, or None
    """

    __slots__ = (
        "cors",
        "credential",
        "down",
        "failures",
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
        failures: AuthFailures | None = None,
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
        self.failures: Final = failures

    def with_steps(
        self,
        credential: Credential | None,
        limit: Limit | None,
        rewrite: Rewrite | None,
        more: More | None,
        failures: AuthFailures | None,
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
            failures,
        )


class Gate:
    """A compiled configuration: `decide`, and what its neighbours need to know.

    wanted           names of request fields that `wire` puts into `parsed`
    protected        names of request fields that Connection may not name
    removable        names of request fields whose positions `wire` puts into `removable`
    methods          methods that routes name
    response_wanted, response_removable  as `wanted` and `removable`, for responses
    limiters         the counters of all routes
    doubtful         names of the fields that `decide` takes from trusted proxies only: see `compose`
    credentials      "jwt.NAME" or "api_keys.NAME" → its check, also if no route uses it
    peer_of, client_of, normalise, router  the steps that depend on no route
    """

    __slots__ = (
        "client_of",
        "credentials",
        "decide",
        "doubtful",
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
        doubtful: frozenset[bytes],
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
        self.doubtful: Final = doubtful


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
    doubtful: frozenset[bytes] = NO_NAMES,
) -> Decide:
    """Make `decide` of the steps that depend on no route; `find` returns the routes with the other steps. `choose` is
    asked in its place where a route asks for more than host and path. `doubtful`: names of fields that steps look at,
    and that only trusted proxies may send: from others it is as if they were not there."""
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
        request = Request(head, target, sender, peer, client, request_id)
        return _serve(route, request, doubt, now, wall, False)

    return _without(doubtful, decide, peer_of) if doubtful else decide


def _without(doubtful: frozenset[bytes], decide: Decide, peer_of: PeerOf) -> Decide:
    """The same decisions, where these fields are not there unless a trusted proxy has sent them."""

    def decide_without(head: RequestHead, peer: Peer, now: float, wall: float) -> Decision:
        parsed = head.parsed
        if not doubtful.isdisjoint(parsed) and not peer_of(peer.address).trusted:
            head = head.with_parsed({name: value for name, value in parsed.items() if name not in doubtful})
        return decide(head, peer, now, wall)

    return decide_without


def _scheme(parsed: dict[bytes, bytes], scheme: str) -> str:
    """How the client came, as the trusted proxies say: the first of them spoke with the client."""
    told = parsed.get(b"x-forwarded-proto", b"").partition(b",")[0].strip(b" \t").lower()
    return told.decode("latin-1") if told else scheme


def _serve(route: CompiledRoute, request: Request, doubt: str, now: float, wall: float, waited: bool) -> Decision:
    """The steps that depend on the route. `doubt`: why the route refuses this path, or "". `waited`: the request has
    waited for keys."""
    options, more = route.options, route.more
    head, client, request_id = request.head, request.client, request.id
    caller, bucket = client.address, client.bucket
    identity: Identity | None = None
    shadow: tuple[str, ...] = ()
    fields = route.own if route.cors is None else route.cors.fields(head.parsed) + route.own
    if more is not None and more.early is not None:
        fields += more.early(facts_of(more, options.route, request, None))
    if doubt:
        return _refuse(BAD_REQUEST, fields, doubt, options.route, request_id, caller)

    # 5. The body. `relay` counts a chunked one while it arrives.
    if head.body > options.body_limit:
        return _refuse(BODY_TOO_LARGE, fields, options.too_large, options.route, request_id, caller)

    # 6. The address and the caller.
    if more is not None and more.admits is not None and not more.admits(client.address):
        return _refuse(ADDRESS_DENIED, fields, "", options.route, request_id, caller)
    if route.credential is not None:
        found = route.credential.check(head, request.target.query, wall)
        if isinstance(found, Identity):
            identity = found
            if found.name:
                caller = found.name
                bucket = found.bucket
        elif more is not None and "auth" in more.shadow:
            shadow = (found.code,)
        else:
            return _unidentified(found, route, request, fields, now, wall, waited)
    if route.limit is None and more is None:
        return _send(route, request, caller, identity, fields, head, request.target.query, b"", None)
    return _count(route, request, caller, bucket, identity, fields, shadow, now)


_INSUFFICIENT: Final = b'WWW-Authenticate: Bearer realm="rawgate", error="insufficient_scope"\r\n'
"""On a 403 for a bearer token (RFC 6750 section 3.1)."""


def _count(
    route: CompiledRoute,
    request: Request,
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
    if more is not None and more.require is not None and (identity is not None or route.credential is None):
        lacking = more.require(NO_CLAIMS if identity is None else identity.claims, request.peer.certificate_name)
        if lacking and "require" in more.shadow:
            shadow = (*shadow, FORBIDDEN.code)
        elif lacking:
            fields += _INSUFFICIENT if identity is not None and identity.kind == "sub" else b""
            note = f"require: {lacking}"
            return _refuse(FORBIDDEN, fields, "", options.route, request.id, caller, note, shadow)

    # 7. The limit.
    if route.limit is not None:
        hit = route.limit.hit if bucket is not request.client.bucket else route.limit.hit_address
        admitted, remaining, reset = hit(bucket, now)
        fields += route.limit.fields[remaining, reset]
        if not admitted:
            fields += b"Retry-After: %d\r\n" % reset
            # The limit has the route's name.
            note = used_up(options.route)
            return _refuse(RATE_LIMITED, fields, "", options.route, request.id, caller, note, shadow)
    if more is None:
        return _send(route, request, caller, identity, fields, request.head, request.target.query, b"", None)
    # The other limits, and the other steps that only some routes have.
    passed = pass_steps(more, options.route, request, caller, bucket, identity, fields, shadow, now)
    if not isinstance(passed, Passed):
        if isinstance(passed, LocalReply):
            return passed
        return _wait_for_store(passed, route, request, caller, bucket, identity, fields, shadow, now)
    head, query, fields, lines, extras = passed.head, passed.query, passed.fields, passed.lines, passed.extras
    return _send(route, request, caller, identity, fields, head, query, lines, extras)


def _wait_for_store(
    asked: OverHosts,
    route: CompiledRoute,
    request: Request,
    caller: str,
    bucket: str,
    identity: Identity | None,
    fields: bytes,
    shadow: tuple[str, ...],
    now: float,
) -> AwaitStore:
    """Step 7 goes on when the store has answered, or at the deadline: with what the limits say then."""

    def again(now: float) -> Decision:
        more, settle = route.more, asked.settle
        assert more is not None  # noqa: S101 - for the type checker
        assert settle is not None  # noqa: S101 - the same
        counted = settle(now)

        def count(head: RequestHead, address: str, client: str, caller: Identity | None, now: float) -> Counted:
            return counted

        # Who calls and what he may do is decided already.
        settled = route.with_steps(None, None, route.rewrite, more.with_steps(more.admits, None, count), route.failures)
        return _count(settled, request, caller, bucket, identity, fields, shadow, now)

    return AwaitStore(asked, again, request.id, caller, route.options.route, fields, now + asked.patience)


def _send(
    route: CompiledRoute,
    request: Request,
    caller: str,
    identity: Identity | None,
    fields: bytes,
    head: RequestHead,
    query: bytes,
    lines: bytes,
    extras: Extras | None,
) -> Decision:
    """The request may be served. `fields`: lines for the client; `head`, `query`: what goes on of the request's;
    `lines`: further ones for the upstream."""
    # 8. The path for the upstream. 9. The fields.
    options, path, request_id, sender = route.options, request.target.path, request.id, request.sender
    if route.rewrite is not None:
        sent = route.rewrite(path, request.target.key)
        if isinstance(sent, str):
            if extras is not None and extras.leave is not None:
                extras.leave()
            route.report(f"{sent}; request {request_id}")
            return _refuse(INTERNAL, fields, "", options.route, request_id, caller, sent)
        path = sent
    user = b"" if identity is None else identity.name.encode()
    up = route.up(head, path, query, sender.octets, request.peer.scheme, sender.trusted, request_id.encode(), user)
    upgrade = b""
    if head.upgrade:
        upgrade = pick_upgrade(head.upgrade, route.upgrades)
        if upgrade and identity is not None and identity.until < inf:
            extras = (Extras() if extras is None else extras).ending(identity.until)
    return Forward(
        options,
        up + lines if lines else up,
        route.down,
        route.trailer,
        upgrade,
        request_id,
        caller,
        fields,
        request.client.bucket,
        extras,
    )


def _unidentified(
    found: Reason, route: CompiledRoute, request: Request, fields: bytes, now: float, wall: float, waited: bool
) -> Decision:
    """The end of a request that does not say who sends it, or its wait for a key."""
    credential = route.credential
    assert credential is not None  # noqa: S101 - for the type checker
    fetched = credential.fetched
    if found is AUTH_UNKNOWN_KEY and credential.parts:
        fetched = credential.deciding(request.head, request.target.query, wall).fetched
    if found is AUTH_UNKNOWN_KEY and fetched is not None:

        def again(now: float, wall: float) -> Decision:
            return _serve(route, request, "", now, wall, True)

        challenge, name, caller = credential.challenge(found), route.options.route, request.client.address
        pending = AwaitKeys(fetched, again, challenge, request.id, caller, name, fields, now)
        if pending.is_coming and not waited:
            return pending
        if pending.reason is not AUTH_UNKNOWN_KEY:
            return pending.refused(pending.reason)
    return _refuse_wrong(found, route, credential, request, fields, now)


def _refuse_wrong(
    found: Reason, route: CompiledRoute, credential: Credential, request: Request, fields: bytes, now: float
) -> Decision:
    """The end of a request whose credential is missing or wrong."""
    failures, name = route.failures, route.options.route
    client, request_id = request.client, request.id
    retry_after = 0 if failures is None else failures.retry_after(found, client.bucket, now)
    if failures is None or not retry_after or failures.shadow:
        shadow = (AUTH_LIMITED.code,) if retry_after else ()
        fields += credential.challenge(found)
        return _refuse(found, fields, "", name, request_id, client.address, found.note, shadow)
    late = LateRefusal(now + failures.delay, retry_after, found, request_id, client.address, name, fields)
    return late if failures.delay else late.refused(late.reason)


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
