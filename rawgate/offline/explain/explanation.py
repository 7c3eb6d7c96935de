"""`explain`: one request, decided by the gate and explained part by part."""

from collections.abc import Callable
from math import inf

from msgspec import Struct, structs
from msgspec.json import decode

from rawgate.config.grammar import statuses_text
from rawgate.config.model import AUTH_FAILURES, Config, RateLimit, Route, Upstream, route_limits
from rawgate.errors import OK
from rawgate.message import CHUNKED, Decision, Forward, LocalReply, Peer, RequestHead
from rawgate.observe.line import LineEncoder, Record
from rawgate.offline.explain.authentication import account
from rawgate.offline.explain.fields import credentials, field_lines, masked, travelling, without_credentials
from rawgate.offline.explain.model import (
    Asked,
    Authentication,
    Balancing,
    Breaking,
    Check,
    Checking,
    Client,
    Destination,
    Ejecting,
    Explanation,
    Field,
    Fields,
    Limiting,
    LogLine,
    PathRead,
    Rewriting,
    RouteTried,
    Tunnelling,
    Verdict,
)
from rawgate.offline.explain.paths import readings, rewrite_rule
from rawgate.offline.explain.routes import tried_routes
from rawgate.offline.explain.watch import Trace, watch
from rawgate.offline.sample import Refused, read_request
from rawgate.relay.endpoints import Endpoints
from rawgate.relay.guarded_exchange import is_repeatable
from rawgate.relay.options import UpstreamOptions
from rawgate.relay.pool import ignore
from rawgate.relay.tunnel import spread
from rawgate.serve.load import Loaded, upstream_options
from rawgate.wire import reply


class _Case(Struct, frozen=True):
    """One request and the decision about it.

    line  method and target
    head  None: the reader refused the octets
    wall  Unix seconds
    """

    loaded: Loaded
    octets: bytes
    peer: Peer
    line: tuple[bytes, bytes]
    head: RequestHead | None
    decision: Decision
    trace: Trace
    wall: float
    date: Callable[[], bytes]

    @property
    def config(self) -> Config:
        return self.loaded.config

    @property
    def route(self) -> Route | None:
        """The selected route."""
        name = _route_name(self.decision)
        return next((route for route in self.config.routes if (route.name or route.place) == name), None)


def explain(
    loaded: Loaded,
    octets: bytes,
    peer: Peer,
    *,
    now: float,
    wall: float,
    new_id: Callable[[], str],
    date: Callable[[], bytes],
) -> Explanation:
    """Explain a request. `octets`: a whole head. The gate's limiter counts the request."""
    decide, trace = watch(loaded.gate, new_id)
    head = read_request(loaded, octets)
    if isinstance(head, Refused):
        reason, detail = head.error.reason, head.error.detail
        answer = LocalReply(reason.status, reason, b"", detail, "", new_id(), peer.address)
        return _explanation(_Case(loaded, octets, peer, head.line, None, answer, trace, wall, date))
    decision = decide(head, peer, now, wall)
    return _explanation(_Case(loaded, octets, peer, (head.method, head.target), head, decision, trace, wall, date))


def _explanation(case: _Case) -> Explanation:
    return Explanation(
        request=_asked(case),
        client=_client(case),
        path=_path(case),
        routes=_routes(case),
        authentication=_authentication(case),
        access=_access(case),
        limit=next(iter(_limits(case)), None),
        limits=_limits(case),
        rewrite=_rewrite(case),
        fields=_fields(case),
        target=_target(case),
        verdict=_verdict(case),
        log=_log(case),
    )


def _asked(case: _Case) -> Asked:
    method, target = case.line
    head = case.head
    hosts = [field.value for field in field_lines(case.octets) if field.name.lower() == "host"]
    host = ", ".join(hosts) if head is None else head.authority.decode("latin-1")
    body: int | str = 0 if head is None else "chunked" if head.body == CHUNKED else head.body
    hidden = credentials(case.config)
    return Asked(
        method.decode("latin-1"),
        without_credentials(case.config, target).decode("latin-1"),
        host,
        case.peer.address,
        len(case.octets) if head is None else head.size,
        body,
        tuple(masked(field, hidden) for field in field_lines(case.octets)),
    )


def _client(case: _Case) -> Client | None:
    peer, client = case.trace.peer, case.trace.client
    if peer is None or client is None:
        return None
    return Client(peer.address, peer.trusted, client.address)


def _path(case: _Case) -> PathRead | None:
    normal = case.trace.normal
    if normal is None:
        return None
    received = case.line[1].partition(b"?")[0]
    return PathRead(
        received.decode("latin-1"),
        normal.path.decode("latin-1"),
        without_credentials(case.config, normal.query).decode("latin-1"),
        normal.flaw,
        () if case.head is None or not normal.path else readings(case.loaded.gate.router, normal, case.head),
    )


def _routes(case: _Case) -> tuple[RouteTried, ...]:
    trace = case.trace
    if trace.searched is None or case.head is None:
        return ()
    selected = _route_name(case.decision)
    return tried_routes(case.config.routes, case.loaded.gate.router, trace.searched, trace.group, case.head, selected)


def _authentication(case: _Case) -> Authentication | None:
    trace, route = case.trace, case.route
    if trace.credential is None or trace.found is None or route is None:
        return None
    return account(case.config, trace.credential.name, trace.credential.by, trace.presented, trace.found, case.wall)


def _access(case: _Case) -> tuple[Check, ...]:
    trace, route = case.trace, case.route
    checks = []
    if trace.admitted is not None and trace.client is not None:
        word = "may" if trace.admitted else "may not"
        checks.append(Check(trace.admitted, f"{trace.client.address} {word} come in, by allow and deny"))
    reached = trace.lacking is not None
    for name, values in route.require.items() if route is not None and reached else ():
        asked = " or ".join(map(repr, values))
        held = None if not reached else name != trace.lacking
        reached = reached and name != trace.lacking
        checks.append(Check(held, f"{name} has {asked}" if held is not False else f"{name} has not {asked}"))
    return tuple(checks)


def _limits(case: _Case) -> tuple[Limiting, ...]:
    trace, route, failures = case.trace, case.route, case.config.gateway.auth_failures
    if route is None:
        return ()
    if trace.failed is not None and failures is not None:
        key, admitted, remaining, reset = trace.failed
        counted = failures.max, failures.window, admitted, remaining, reset, failures.shadow
        return (Limiting(AUTH_FAILURES, key, *counted),)
    if trace.counted is None:
        rate = route.rate_limit
        if (
            trace.bucket is None
            or trace.hit is None
            or not isinstance(rate, RateLimit)
            or not isinstance(rate.max, int)
        ):
            return ()
        return (Limiting(route.name or route.place, trace.bucket, rate.max, rate.window, *trace.hit),)
    found = []
    limits = route_limits(case.config, route, route.name or route.place)
    for (name, spec), state in zip(limits, trace.counted.states, strict=True):
        shadow = spec.shadow or "rate_limit" in route.shadow
        told = state.admitted, state.remaining, state.reset
        found.append(Limiting(name, state.key, state.pot.maximum, spec.window, *told, shadow, spec.shared))
    return tuple(found)


def _rewrite(case: _Case) -> Rewriting | None:
    normal, rewritten = case.trace.normal, case.trace.rewritten
    if normal is None or rewritten is None or case.route is None:
        return None
    rule, matched = rewrite_rule(case.config, case.route, normal)
    return Rewriting(normal.path.decode("latin-1"), rewritten.decode("latin-1"), rule, matched)


def _fields(case: _Case) -> Fields | None:
    if not isinstance(case.decision, Forward) or case.head is None or case.route is None:
        return None
    trusted = case.trace.peer is not None and case.trace.peer.trusted
    return travelling(case.config, case.route, case.octets, case.head, case.decision, trusted=trusted)


def _target(case: _Case) -> Destination | None:
    decision = case.decision
    if not isinstance(decision, Forward):
        return None
    name = decision.options.upstream
    spec = case.config.upstreams[name]
    targets = tuple(target.url for target in spec.targets)
    again = spec.retry
    if again is None or case.head is None or not is_repeatable(case.head, decision):
        again = None
    health, eject, breaker = spec.health, spec.eject, spec.breaker
    return Destination(
        upstream=name,
        targets=targets,
        balance=_balancing(upstream_options(name, case.loaded), targets, decision),
        request_line=_shown_line(case, decision.head.partition(b"\r\n")[0]),
        upgrade=decision.upgrade.decode("latin-1"),
        connect_timeout=spec.connect_timeout,
        response_timeout=decision.options.response_timeout or spec.response_timeout,
        idle_timeout=spec.idle_timeout,
        total_timeout=spec.total_timeout,
        attempts=1 if again is None else again.attempts,
        retry_on=() if again is None else again.on,
        tunnel=_tunnel(decision, spec, case.wall) if decision.upgrade else None,
        sources=tuple(target.url for target in spec.targets if target.source),
        health=None if health is None else Checking(health.path, health.interval),
        eject=None
        if eject is None
        else Ejecting(eject.failures, eject.for_, eject.at_most, statuses_text(eject.status)),
        breaker=None if breaker is None else Breaking(breaker.errors, breaker.of, breaker.within, breaker.for_),
    )


def _tunnel(decision: Forward, spec: Upstream, wall: float) -> Tunnelling:
    until = inf if decision.extras is None else decision.extras.until
    if until == inf:
        return Tunnelling(spec.tunnel_idle, spec.tunnel_max_age, None, None)
    return Tunnelling(spec.tunnel_idle, spec.tunnel_max_age, until - spread(until - wall), until)


def _balancing(options: UpstreamOptions, targets: tuple[str, ...], decision: Forward) -> Balancing:
    """As a gateway divides requests that has just been started: all targets are up."""
    if len(options.places) != len(targets):
        return Balancing(options.balance, (), "" if decision.extras is None else decision.extras.key, "")
    endpoints = Endpoints(options.places, ignore, options.balance, options.zone)
    key = "" if decision.extras is None else decision.extras.key
    chosen = endpoints.choose(key, 0.0)
    parts = tuple(endpoint.part for endpoint in endpoints.all)
    is_known = bool(key) or max(parts) == 1.0
    return Balancing(options.balance, parts, key, targets[endpoints.all.index(chosen)] if is_known else "")


def _verdict(case: _Case) -> Verdict:
    decision = case.decision
    if isinstance(decision, Forward):
        shadow = () if decision.extras is None else decision.extras.shadow
        return Verdict("forward", None, OK.code, OK.public, "", (), shadow)
    if not isinstance(decision, LocalReply):
        return Verdict("wait", None, decision.reason.code, decision.reason.public, decision.reason.detail, ())
    reason = decision.reason
    octets = reply(decision, date=case.date(), head_only=False, connection=b"")
    detail = "" if reason is OK else decision.note or decision.detail or reason.detail
    fields = tuple(_shown_place(case, field) for field in field_lines(octets))
    return Verdict("answer", decision.status, reason.code, reason.public, detail, fields, decision.shadow)


def _shown_line(case: _Case, request_line: bytes) -> str:
    """A request line that goes up: a parameter that no route takes for a credential goes along."""
    method, target, version = request_line.split(b" ")
    return b" ".join((method, without_credentials(case.config, target), version)).decode("latin-1")


def _shown_place(case: _Case, field: Field) -> Field:
    """A field of an answer: a redirect takes the query along."""
    if field.name.lower() != "location":
        return field
    place = without_credentials(case.config, field.value.encode("latin-1"))
    return structs.replace(field, value=place.decode("latin-1"))


def _log(case: _Case) -> LogLine:
    """The log line, made by the log's own encoder, without what only a real exchange can know."""
    decision, (method, target) = case.decision, case.line
    verdict = _verdict(case)
    upstream = decision.options.upstream if isinstance(decision, Forward) else ""
    route, status = _route_name(decision), verdict.status or 0
    request, client, remote = decision.request_id, decision.client_id, case.peer.text
    line = decode(
        LineEncoder().requests(
            [
                Record(
                    case.wall,
                    request,
                    method,
                    b"",
                    target,
                    route,
                    client,
                    status,
                    0.0,
                    upstream,
                    -1.0,
                    -1.0,
                    -1.0,
                    -1.0,
                    0,
                    0,
                    remote,
                    verdict.reason,
                    "",
                )
            ]
        )
    )
    return LogLine(
        line["method"],
        line["path"],
        line["route"],
        line["clientId"],
        verdict.status,
        line["upstream"],
        line["remote"],
        line["reason"],
    )


def _route_name(decision: Decision) -> str:
    return decision.options.route if isinstance(decision, Forward) else decision.route
