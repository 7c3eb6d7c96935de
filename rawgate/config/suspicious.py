"""Warnings: what can be served, but rarely means what it says. Only a configuration without problems is looked at.

A warning reads like a problem. Its end says what to write instead, so that whoever means it can say so and is not
warned again.
"""

import re
from collections.abc import Callable, Container, Iterator
from itertools import combinations
from pathlib import Path as File
from typing import TypeVar

from rawgate.config.addresses import UNIX_PATH
from rawgate.config.invalid import nearest, problem_text, quoted
from rawgate.config.lines import Path
from rawgate.config.model import (
    EVERY_ADDRESS,
    Config,
    Cors,
    HeaderRules,
    Jwt,
    Listen,
    MaxBy,
    Network,
    RateLimit,
    RegexRewrite,
    Route,
    Target,
    Upstream,
    limits_over_hosts,
    rates_of,
)
from rawgate.config.units import duration_text, size_text
from rawgate.errors import Key, Problem


def find_warnings(config: Config, written: Container[Path]) -> list[Problem]:
    """All warnings about a configuration; positions count as in `config`. `written`: the key paths that the file has.
    Some values are suspicious only where they are written, since nobody means anything by a default."""
    found = [*_gateway(config), *_verifiers(config), *_upstreams(config), *_zones(config), *_ourselves(config)]
    found += _detours_by_case(config)
    found += _store(config)
    found += _left_open(config)
    found += _unused_limits(config)
    found += _unused_tls(config)
    found += _unused_verifiers(config)
    found += [warning for warning in _never_reached(config) if warning.path in written]
    for position, route in enumerate(config.routes):
        where = ("routes", position)
        found += [Problem((*where, *warning.path), warning.message) for warning in _route(config, route)]
        if (*where, "upgrade") in written:
            found += [Problem((*where, *warning.path), warning.message) for warning in _upgrade(route)]
    return found


def _warning(path: tuple[Key, ...], what: str, expected: str) -> Problem:
    return Problem(path, problem_text(what, expected=expected))


def _store(config: Config) -> Iterator[Problem]:
    if config.store is not None and not limits_over_hosts(config.limits, config.routes):
        yield _warning(("store",), "no limit counts in it", 'shared = "exact" or "leased" in a limit')


def _unused_limits(config: Config) -> Iterator[Problem]:
    for name in config.limits:
        if not any(name in route.limits for route in config.routes):
            yield _warning(("limits", name), "no route has it", f'rate_limit = "{name}" in those that it is for')


def _unused_tls(config: Config) -> Iterator[Problem]:
    for name in config.tls:
        if not any(listen.tls == name for listen in config.gateway.listen):
            what = "no address speaks it: all that comes is in the clear"
            if any(listen.tls for listen in config.gateway.listen):
                what = "no address speaks it"
            yield _warning(("tls", name), what, f'{{ address = "…", tls = "{name}" }} in gateway.listen')


def _unused_verifiers(config: Config) -> Iterator[Problem]:
    asked = {verifier for route in config.routes for verifier in route.verifiers}
    for kind, verifiers in (("jwt", config.jwt), ("api_keys", config.api_keys)):
        for name in verifiers:
            if f"{kind}.{name}" not in asked:
                yield _warning((kind, name), "no route asks for it", f'auth = "{kind}.{name}" in those that it guards')


# ── the gateway ──

_TLS_PORTS = (443, 8443)


def _gateway(config: Config) -> Iterator[Problem]:
    gateway = config.gateway
    for position, listen in enumerate(gateway.listen):
        if listen.port in _TLS_PORTS and not listen.tls:
            what = f"browsers speak TLS to port {listen.port}, and this entry is for plain HTTP"
            yield _warning(("gateway", "listen", position), what, 'tls = "NAME" in the entry, or another port')
        yield from _socket(("gateway", "listen", position), listen)
    for position, network in enumerate(gateway.trusted_proxies):
        if isinstance(network, Network) and network.prefixlen == 0:
            what = f"{quoted(str(network))} is everybody: any client may say who it is"
            yield _warning(("gateway", "trusted_proxies", position), what, "the networks that the proxies are in")
    if gateway.client_ip_header is not None and not gateway.trusted_proxies:
        what = f"{quoted(gateway.client_ip_header)} is believed from trusted_proxies only, and there are none"
        yield _warning(("gateway", "client_ip_header"), what, "trusted_proxies")
    if gateway.limits.body == 0:
        expected = 'a size, or body = "0B" in the routes that take none'
        yield _warning(("gateway", "limits", "body"), "no request body is let through", expected)


_MAY_CONNECT = 0o222
"""Whoever connects to a Unix socket needs permission to write to it (unix(7))."""


def _socket(path: Path, listen: Listen) -> Iterator[Problem]:
    """Unix sockets that cannot be made yet, or to which nobody can connect."""
    folder = File(listen.path).parent
    if listen.path and not folder.is_dir():
        yield _warning(
            path, f"the folder {quoted(str(folder), UNIX_PATH)} is not there", "one that is, by the time it starts"
        )
    if listen.mode is not None and not listen.mode & _MAY_CONNECT:
        what = f'nobody can connect to a socket of mode "{listen.mode:04o}": that takes permission to write'
        yield _warning(path, what, 'one such as "0660"')


# ── limits behind other limits ──


def _never_reached(config: Config) -> Iterator[Problem]:
    """Limits that never act, because another limit always ends the same thing earlier."""
    gateway, limits = ("gateway", "limits"), config.gateway.limits
    yield from _beyond((*gateway, "target"), limits.target, "head", limits.head, _size)
    yield from _beyond((*gateway, "per_address"), limits.per_address, "connections", limits.connections, str)
    for name, upstream in config.upstreams.items():
        where, most, total = ("upstreams", name), upstream.max_connections, upstream.total_timeout
        yield from _beyond((*where, "per_client"), upstream.per_client, "max_connections", most, str)
        clients = "connections of [gateway.limits]"
        yield from _beyond((*where, "max_tunnels"), upstream.max_tunnels, clients, limits.connections, str)
        age = upstream.tunnel_max_age
        yield from _beyond((*where, "tunnel_idle"), upstream.tunnel_idle, "tunnel_max_age", age, _duration)
        for key in ("queue_timeout", "connect_timeout", "response_timeout", "idle_timeout"):
            yield from _beyond((*where, key), getattr(upstream, key), "total_timeout", total, _duration)
        retries_late = upstream.retry is not None and "timeout" in upstream.retry.on
        if retries_late and total is not None and total <= upstream.response_timeout:
            what = f'"timeout" never acts: total_timeout, which is {_duration(total)}, is over by then'
            yield _warning((*where, "retry", "on"), what, "a longer one")
    for position, route in enumerate(config.routes):
        if not route.upstream:
            continue
        place, total = ("routes", position, "response_timeout"), config.upstreams[route.upstream].total_timeout
        key = f"total_timeout of upstreams.{route.upstream}"
        yield from _beyond(place, route.response_timeout, key, total, _duration)


Amount = TypeVar("Amount", int, float)


def _beyond(
    path: Path, value: Amount | None, other: str, limit: Amount | None, text: Callable[[Amount], str]
) -> Iterator[Problem]:
    if value is not None and limit is not None and value > limit:
        yield _warning(path, f"{text(value)} is never reached: {other} is {text(limit)}", "no more than that")


def _size(octets: int) -> str:
    return quoted(size_text(octets))


def _duration(seconds: float) -> str:
    return quoted(duration_text(seconds))


# ── verifiers and upstreams ──

_LOOPBACK = ("127.0.0.1", "::1", "localhost")
_EVERYWHERE = tuple(EVERY_ADDRESS.values())


def _is_ourselves(target: Target, listen: Listen) -> bool:
    """Whether the gateway itself listens at a target."""
    host = target.host.removesuffix(".")
    there = host in (listen.host, "localhost") or listen.host in _EVERYWHERE
    return target.port == listen.port and host in (*_LOOPBACK, *_EVERYWHERE) and there


def _ourselves(config: Config) -> Iterator[Problem]:
    """Targets that lead back to the gateway. A request would go round until `Via` has too many entries."""
    for name, upstream in config.upstreams.items():
        for position, target in enumerate(upstream.targets):
            if any(_is_ourselves(target, listen) for listen in config.gateway.listen):
                what = "is the gateway's own address: requests would come back to it"
                yield _warning(("upstreams", name, "targets", position), what, "the service's")


def _verifiers(config: Config) -> Iterator[Problem]:
    """Verifiers that accept one another's tokens, and placeholders in what they expect."""
    for (first, one), (second, other) in combinations(config.jwt.items(), 2):
        shared = {secret.value for secret in one.secret} & {secret.value for secret in other.secret}
        if shared and not _are_apart(one, other):
            what = f"a token for jwt.{first} is good for jwt.{second} too: they share a secret"
            yield _warning(("jwt", second, "secret"), what, "secrets, issuers or audiences of their own")
    for name, spec in config.jwt.items():
        for key, values in (("issuer", spec.issuer), ("audience", spec.audience)):
            for position, value in enumerate(values):
                yield from _literal(("jwt", name, key, *([position] if len(values) > 1 else [])), value, "text")


def _are_apart(one: Jwt, other: Jwt) -> bool:
    issuers = bool(one.issuer and other.issuer) and not {*one.issuer} & {*other.issuer}
    # A token may be for several audiences at once, but only if its issuer says so.
    shared = {*one.audience} & {*other.audience} or "*" in (*one.audience, *other.audience)
    return issuers or one.algorithm != other.algorithm or not (shared or one.audience == other.audience)


_LONGEST_KEPT = 75.0
"""Seconds for which nginx keeps an idle connection (`keepalive_timeout`), the longest of the usual servers: Node,
uvicorn and Apache keep one for 5 s, gunicorn for 2 s."""


def _upstreams(config: Config) -> Iterator[Problem]:
    for name, upstream in config.upstreams.items():
        for position, target in enumerate(upstream.targets):
            if target.host in _EVERYWHERE:
                what = f"{quoted(target.host)} is an address to listen on, not one to connect to"
                yield _warning(("upstreams", name, "targets", position), what, "the service's own, such as 127.0.0.1")
        yield from _health(name, upstream)
        if upstream.tls is not None and not upstream.tls.verify:
            what = "the certificate is not verified: whoever stands in between can read and change all"
            yield _warning(("upstreams", name, "tls", "verify"), what, 'ca = "file:PATH" of the service\'s authority')
        if upstream.keep_alive > _LONGEST_KEPT:
            what = (
                f"{quoted(duration_text(upstream.keep_alive))} is longer than usual servers keep an idle connection "
                f"({duration_text(_LONGEST_KEPT)} nginx, 5s Node, uvicorn and Apache)"
            )
            yield _warning(("upstreams", name, "keep_alive"), what, "less than the service's own time")


def _zones(config: Config) -> Iterator[Problem]:
    """Zones and backups that do not say who comes first."""
    zone = config.gateway.zone
    zones = {target.zone for upstream in config.upstreams.values() for target in upstream.targets} - {""}
    if zone is not None and not zones:
        yield _warning(("gateway", "zone"), "no target has a zone", "zone in entries of targets")
    for name, upstream in config.upstreams.items():
        first = next((position for position, target in enumerate(upstream.targets) if target.zone), None)
        where = ("upstreams", name, "targets")
        if first is not None and zone is None:
            yield _warning((*where, first), "its zone says nothing: the gateway has none", "zone in [gateway]")
        elif first is not None and zone not in {target.zone for target in upstream.targets}:
            what = f"none is in the gateway's zone {quoted(zone or '')}: all are alike"
            yield _warning((*where, first), what, "one that is, or no zones")
        if all(target.backup for target in upstream.targets):
            yield _warning((*where, 0), "all are backups, and of nothing", "at least one without backup")


def _health(name: str, upstream: Upstream) -> Iterator[Problem]:
    """Checks that overtake each other, and keys that choose among targets where there is one."""
    where, health = ("upstreams", name), upstream.health
    if health is not None and health.timeout >= health.interval:
        what = (
            f"{_duration(health.timeout)} is no less than interval ({duration_text(health.interval)}): a target that "
            "does not answer is checked more seldom than that"
        )
        yield _warning((*where, "health", "timeout"), what, "less than interval")
    if len(upstream.targets) > 1 or any(target.source for target in upstream.targets):
        return
    if upstream.eject is not None:
        yield _warning((*where, "eject"), "there is one target, and the only one is never ejected", "several targets")
    if upstream.slow_start:
        what = "there is one target, which has all requests from the start"
        yield _warning((*where, "slow_start"), what, "several targets")


# ── routes ──


def _route(config: Config, route: Route) -> Iterator[Problem]:
    """Warnings about one route; their key paths begin below it."""
    yield from _prefix(config, route)
    yield from _path(route)
    yield from _limits(config, route)
    yield from _callers(config, route)
    yield from _redirect(config, route)
    yield from _conditions(route)
    yield from _rewrite(route, (route.case or config.gateway.case) == "ignore")
    yield from _header_values("request_headers", route.request_headers)
    yield from _header_values("response_headers", route.response_headers)
    if route.cors is not None:
        yield from _cors(config, route, route.cors)


_LOOKS_LIKE_A_TEMPLATE = re.compile(r"[{}<>]|/:\w|/\[\w+\](?=/|$)")
_LOOKS_LIKE_A_PATTERN = re.compile(r".\$$|\(\?|\[[^]]*-[^]]*\]|\([^)]*\|[^)]*\)|\.\+")


def _prefix(config: Config, route: Route) -> Iterator[Problem]:
    prefix = route.prefix
    if not prefix:
        return
    template = _LOOKS_LIKE_A_TEMPLATE.search(prefix)
    if template is not None:
        sign = template[0].strip("/")[:1]
        what = f"{quoted(prefix)} takes just this text: {_sign(sign)} are literal, they stand for no segment"
        fixed = prefix[: prefix.rfind("/", 0, template.start() + 1)] or "/"
        yield _warning(
            ("prefix",), what, f"{quoted(fixed)}, which takes what lies below, or {quoted(sign)} as {_code(sign)}"
        )
    elif _LOOKS_LIKE_A_PATTERN.search(prefix):
        what = f"{quoted(prefix)} takes just this text: a prefix is no pattern"
        yield _warning(("prefix",), what, "the part before it, or its signs as %XX")
    if prefix.endswith("/") and prefix != "/":
        bare = prefix.rstrip("/")
        if not any(other.prefix == bare and other.host in (None, route.host) for other in config.routes):
            expected = f"{quoted(bare)}, which takes both, or a route for {quoted(bare)}"
            yield _warning(("prefix",), f"{quoted(prefix)} does not take {quoted(bare)}", expected)


_NAME_ELSEWHERE = re.compile(r"/(?::(\w+)|<(?:\w+:)?(\w+)>|\[(\w+)\]|\$(\w+))(?=/|$)")
"""How Express, Flask, Next.js and others write a name for a segment."""


def _path(route: Route) -> Iterator[Problem]:
    """Names of segments as other products write them, which are literal here."""
    found = _NAME_ELSEWHERE.search(route.path)
    if found is not None:
        sign, name = found[0][1], next(filter(None, found.groups()))
        what = f"{quoted(found[0][1:])} is this text: {_sign(sign)} are literal, they stand for no segment"
        yield _warning(("path",), what, f"{quoted('{' + name.lower() + '}')}, or {quoted(sign)} as {_code(sign)}")


def _sign(sign: str) -> str:
    return {"{": "braces", "}": "braces", ":": "colons", "$": "dollar signs"}.get(sign, "brackets")


def _code(sign: str) -> str:
    return f"%{ord(sign):02X}"


def _has_claims(config: Config, verifier: str) -> bool:
    """Whether a credential of this verifier may have claims. Of keys only those in a keys file have."""
    kind, _, name = verifier.partition(".")
    return kind == "jwt" or (name in config.api_keys and config.api_keys[name].keys.source.endswith(".toml"))


def _limits(config: Config, route: Route) -> Iterator[Problem]:
    """Limits that ask for what no caller of the route has, or for nothing at all."""
    claims = any(_has_claims(config, verifier) for verifier in route.verifiers)
    for position, rate in enumerate(rates_of(config, route)):
        where = ("rate_limit", position) if isinstance(route.rate_limit, tuple) else ("rate_limit",)
        if not isinstance(rate, RateLimit):
            continue
        if rate.key.startswith("claim:") and not claims:
            what = f"it counts by {quoted(rate.key)}, and no caller of this route has claims: each is counted alone"
            yield _warning(where, what, 'a verifier whose callers have it, or key = "client"')
        if isinstance(rate.max, MaxBy):
            no_plan = "lists no plan" if not rate.max.amounts else f"asks for {quoted(rate.max.by)}"
            if not claims and rate.max.amounts:
                no_plan += ", and no caller of this route has claims"
            if not claims or not rate.max.amounts:
                yield _warning(where, f"it {no_plan}: all have {rate.max.other}", f"plans, or max = {rate.max.other}")


def _callers(config: Config, route: Route) -> Iterator[Problem]:
    """Fields whose values are made of a caller that nobody identifies."""
    claims = any(_has_claims(config, verifier) for verifier in route.verifiers)
    for key, rules in (("request_headers", route.request_headers), ("response_headers", route.response_headers)):
        for part, fields in (("set", rules.set), ("add", rules.add)):
            for name, text in fields.items():
                asked = _OF_CALLERS.search(text)
                if asked is not None and not (route.verifiers if asked[0] == "{sub}" else claims):
                    what = f"it is never sent: no caller of this route has {quoted(asked[0])}"
                    yield _warning((key, part, name), what, f"a verifier in auth, or remove = [{quoted(name)}]")


_OF_CALLERS = re.compile(r"\{(?:sub|claim\.[^{}]+)\}")


def _redirect(config: Config, route: Route) -> Iterator[Problem]:
    """A redirect to https that takes requests that came by https as well."""
    gateway = config.gateway
    comes_by_https = gateway.trusted_proxies or any(listen.tls for listen in gateway.listen)
    if route.redirect is None or not comes_by_https or (route.match is not None and route.match.scheme is not None):
        return
    if route.redirect.to in ("https://{host}{path}", f"https://{route.host}{{path}}"):
        what = "who came by https is sent to where he was, again and again"
        yield _warning(("redirect", "to"), what, 'match = { scheme = "http" }')


def _left_open(config: Config) -> Iterator[Problem]:
    """An open route that takes all methods but those for which another one asks for a credential. Who closes GET rarely
    means to leave DELETE open; who does can list the methods."""
    closed: dict[tuple[object, ...], list[str]] = {}
    for route in config.routes:
        if route.verifiers and route.methods is not None:
            closed.setdefault(_place(config, route), []).extend(route.methods)
    for position, route in enumerate(config.routes):
        methods = closed.get(_place(config, route))
        if methods and route.upstream and not route.verifiers and route.methods is None and not route.allow:
            listed = ", ".join(dict.fromkeys(methods))
            what = f"all methods but {listed} need no credential here: {quoted(route.place)} asks for one with {listed}"
            yield _warning(("routes", position, "auth"), what, "a verifier, or the methods that are open")


def _place(config: Config, route: Route) -> tuple[object, ...]:
    """What routes share among which the method chooses."""
    return route.host, route.place, repr(route.match), route.case or config.gateway.case


_WEBSOCKET = "websocket"
_SCHEMES = ("ws", "wss")


def _upgrade(route: Route) -> Iterator[Problem]:
    """Protocols in an `upgrade` that is written which no client asks for, or cannot ask for on this route."""
    for protocol in route.upgrade:
        if protocol in _SCHEMES or (protocol != _WEBSOCKET and nearest(protocol, (_WEBSOCKET,))):
            what = f"{quoted(protocol)} is not what clients ask for in Upgrade"
            yield Problem(("upgrade",), problem_text(what, meant=quoted(_WEBSOCKET)))
    if _WEBSOCKET in route.upgrade and route.methods is not None and "GET" not in route.methods:
        # RFC 6455 section 4.1. Other protocols may begin with other methods, as SPDY does in Kubernetes.
        yield _warning(
            ("upgrade",), "a WebSocket begins with a GET, which is not in methods", '"GET" in methods, or []'
        )


_META = re.compile(r"[\\.^$*+?()\[\]{}|]")


def _rewrite(route: Route, folds: bool) -> Iterator[Problem]:
    if isinstance(route.rewrite, str) and not route.path:
        template = _LOOKS_LIKE_A_TEMPLATE.search(route.rewrite)
        if template is not None:
            sign = template[0].strip("/")[:1]
            what = f"{quoted(route.rewrite)} is sent as it is written: {_sign(sign)} are literal"
            yield _warning(("rewrite",), what, f'{{ pattern = "…", to = "…" }}, or {quoted(sign)} as {_code(sign)}')
    elif isinstance(route.rewrite, RegexRewrite):
        pattern = route.rewrite.pattern
        if not _META.search(pattern):
            what = f"{quoted(pattern)} changes this one path: a pattern must match the whole of it"
            expected = f"rewrite = {quoted(route.rewrite.to)} to replace the prefix, or {quoted(f'{pattern}$')}"
            yield _warning(("rewrite", "pattern"), what, expected)
        if r"\?" in pattern:
            what = f"{quoted(pattern)} asks for a question mark, and a query is no part of the path"
            yield _warning(("rewrite", "pattern"), what, "the pattern of the path alone: the query is kept")
        yield from _encoded(route, pattern, folds)


_CLASS = re.compile(r"(?<!\\)\[\^?\]?(?:\\.|[^\]\\])*\]", re.DOTALL)
_ENCODED = re.compile(r"(?:%[0-9A-Fa-f]{2})+")
_STAYS_ENCODED = frozenset(("%2F", "%5C", "%25"))


def _encoded(route: Route, pattern: str, folds: bool) -> Iterator[Problem]:
    """Encoded octets that a pattern can never match. It is matched on the path as routes are (`policy.paths`): decoded,
    except for the slash, the backslash and the percent sign, which are encoded in capitals."""
    for found in _ENCODED.finditer(_CLASS.sub(lambda found: "." * len(found[0]), pattern)):
        text = found[0]
        decoded = _decoded(text)
        if decoded != text and not (folds and decoded == text.upper()):
            what = f"{quoted(text)} matches nothing: a pattern is matched on the decoded path"
            as_text = _META.sub(r"\\\g<0>", decoded)
            yield _warning(
                ("rewrite", "pattern"), what, quoted(as_text) if decoded.isprintable() else "what it stands for"
            )
        slash = next((code for code in ("%2F", "%5C") if code in text.upper()), "")
        if slash and route.encoded_slash == "reject":
            what = f"{quoted(slash)} is refused before a pattern is looked at"
            yield _warning(("rewrite", "pattern"), what, 'encoded_slash = "keep"')


def _decoded(text: str) -> str:
    """Encoded octets as the matched path has them. Octets that are not UTF-8 become characters that are not
    printable."""
    codes = [text[at : at + 3].upper() for at in range(0, len(text), 3)]
    octets = b"".join(code.encode() if code in _STAYS_ENCODED else bytes.fromhex(code[1:]) for code in codes)
    return octets.decode(errors="surrogateescape")


_PLACEHOLDER = re.compile(r"\$\{\w+\}|\$\w+|\{[a-z][a-z_.]*\}|\{\{.*?\}\}|%[A-Z_]+(?:\([^)]*\))?%|\$\(.+?\)")


def _literal(path: tuple[Key, ...], value: str, kind: str) -> Iterator[Problem]:
    """Variables and placeholders, which other products replace and rawgate does not."""
    found = _PLACEHOLDER.search(value)
    if found is not None:
        yield _warning(path, f"{quoted(found[0])} is taken as it is written: nothing is replaced", f"the {kind} itself")


_KNOWN = re.compile(r"\{(?:[a-z][a-z0-9_]*|claim\.[^{}]+|certificate\.name)\}")
"""A name in braces, which is replaced, or refused before."""


_DOUBLED = re.compile(r"\{\{\s*([a-z][a-z0-9_.]*)\s*\}\}")
"""A name in two braces, as Jinja, Go templates and Postman write it."""


def _header_values(key: str, rules: HeaderRules) -> Iterator[Problem]:
    for part, fields in (("set", rules.set), ("add", rules.add)):
        for name, value in fields.items():
            doubled = _DOUBLED.search(value)
            if doubled is not None and _KNOWN.search(value):
                what = f"of {quoted(doubled[0])} the outer braces are sent as they are"
                yield _warning((key, part, name), what, quoted("{" + doubled[1] + "}"))
            else:
                yield from _literal((key, part, name), _KNOWN.sub("", value), "value")


_A_PATTERN = re.compile(r"^\^|\$$|\.\*|\.\+|\[[^]]*-[^]]*\]|.\*$|^\*.|^\(.*\|.*\)$")


def _conditions(route: Route) -> Iterator[Problem]:
    """What looks like a pattern where only a whole value is compared."""
    asked: list[tuple[Path, object]] = [
        (("require", name), value) for name, values in route.require.items() for value in values
    ]
    if route.match is not None:
        asked += [(("match", "headers", name), value) for name, value in route.match.headers.items()]
        asked += [(("match", "query", name), value) for name, value in route.match.query.items()]
    for where, value in asked:
        if isinstance(value, str) and _A_PATTERN.search(value):
            what = f"{quoted(value)} is compared as it is written: it is no pattern"
            yield _warning(
                where, what, 'whole values, or for a match "*": any' if where[0] == "match" else "whole values"
            )


_DEFAULT_METHODS = ("GET", "HEAD", "POST")


def _cors(config: Config, route: Route, cors: Cors) -> Iterator[Problem]:
    if route.methods is not None and cors.methods != _DEFAULT_METHODS:
        taken = {*route.methods, *(["HEAD"] if "GET" in route.methods else [])}
        for method in cors.methods:
            if method not in taken:
                what = f"{quoted(method)} is not among the route's own methods"
                yield _warning(("cors", "methods"), what, "it in methods too, or in neither")
    allowed = {name.lower() for name in cors.headers}
    missing = [field for field in _credential_fields(config, route) if field not in allowed]
    # Of several verifiers, one that pages can send the credential of is enough: partners' keys come from servers.
    if missing and len(missing) == len(route.verifiers):
        fields = " or ".join(quoted(field) for field in dict.fromkeys(missing))
        yield _warning(("cors",), f"pages cannot send {fields}, and the route asks for it", f"{fields} in cors.headers")


def _credential_fields(config: Config, route: Route) -> list[str]:
    """The fields in which clients send the route's credential, where there is no other place for it."""
    fields = []
    for verifier in route.verifiers:
        kind, _, name = verifier.partition(".")
        if kind == "api_keys" and name in config.api_keys:
            fields.append(config.api_keys[name].header)
        elif kind == "jwt" and name in config.jwt and config.jwt[name].token == ("header",):
            fields.append("authorization")
    return fields


def _detours_by_case(config: Config) -> Iterator[Problem]:
    """Routes with a credential whose path, in other letters, matches an open route to the same service. A service that
    ignores case (Express by default, IIS, some file systems) then serves it to everybody."""
    for position, route in enumerate(config.routes):
        if not route.verifiers or route.case is not None or config.gateway.case == "ignore":
            continue
        other = next((other for other in config.routes if _is_detour(other, route)), None)
        if other is not None:
            shouted = route.place.upper() if route.place != route.place.upper() else route.place.lower()
            what = (
                f"{quoted(shouted)} comes to {quoted(other.name or other.place)}, which needs no credential, and to "
                f"the same upstream: a service that ignores letter case serves it as {quoted(route.place)}"
            )
            hint = 'in the route case = "ignore" if it does so, as Express by default; case = "exact" if it does not'
            yield Problem(("routes", position, "prefix" if route.prefix else "path"), problem_text(what, expected=hint))


def _is_detour(other: Route, route: Route) -> bool:
    same = route.upstream and other.upstream == route.upstream and other.host in (None, route.host)
    if other.verifiers or not same or not other.prefix:
        return False
    wide, narrow = other.prefix.lower(), route.place.lower()
    covers = wide == narrow or narrow.startswith(wide.rstrip("/") + "/")
    return covers and other.case is None and any(letter.isascii() and letter.isalpha() for letter in narrow)
