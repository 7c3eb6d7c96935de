"""What must hold between the keys of one table.

A rule sees a table both as it was written and as it was read. A value that could not be read is missing from `values`;
the rule still says what it finds in the rest.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from ipaddress import ip_address
from typing import Any

from msgspec import Struct

from rawgate.config.invalid import InvalidError, choice, method_meant, pieces, problem_text, quoted
from rawgate.config.key_sets import checked_url
from rawgate.config.model import (
    MOST_LOGGED,
    Config,
    Consul,
    Cors,
    Expect,
    Gateway,
    HashBalance,
    HeaderRules,
    HealthCheck,
    Jwt,
    KeySetUrl,
    Listen,
    Log,
    Match,
    Redirect,
    RegexRewrite,
    Respond,
    Route,
    Secret,
    Test,
    Tls,
    Upstream,
    UpstreamTls,
    limits_over_hosts,
    listen_name,
    overlap,
    place,
)
from rawgate.config.reserved_names import NOT_REQUEST_HEADER, NOT_RESPONSE_HEADER, USUAL_METHODS, read_as
from rawgate.errors import Key

Finding = tuple[tuple[Key, ...], str]


class Table(Struct, frozen=True):
    """A table as rules see it. `written`: key → value as written. `values`: key → value as read, or the default."""

    written: Mapping[str, object]
    values: Mapping[str, Any]


_KEYS = ("secret", "public_key", "jwks")


def _jwt(table: Table) -> Iterator[Finding]:
    """A key has one algorithm, a verifier one source of keys: a token must never choose between two (RFC 8725 section
    3.1)."""
    yield from _audience(table)
    yield from _remote(table)
    algorithms = table.values.get("algorithm", ())
    secret = next((name for name in algorithms if name.startswith("HS")), "")
    if len(algorithms) > 1 and secret:
        what = f"{quoted(secret)} takes a secret, and a secret has one algorithm"
        yield ("algorithm",), problem_text(what, expected="no other beside it")
        return
    if len(algorithms) > 1 and "jwks" not in table.written:
        what = "is a list of several, and only the keys of a jwks tell which of them is theirs"
        yield ("algorithm",), problem_text(what, expected="one of them, or a jwks")
        return
    algorithm = " or ".join(algorithms)
    fitting = _KEYS if not algorithms else _KEYS[:1] if secret else _KEYS[1:]
    given = [key for key in _KEYS if key in table.written]
    if not given:
        yield (), problem_text("has no key", expected=choice(fitting))
    for key in given:
        if key not in fitting:
            yield (key,), problem_text(f"does not fit {algorithm}", expected=choice(fitting))
    if "secret_encoding" in table.written and "secret" not in fitting:
        yield ("secret_encoding",), problem_text(f"does not fit {algorithm}", expected="it beside a secret")
    for key in [key for key in given if key in fitting][1:]:
        yield (key,), problem_text("is a second source of keys", expected=f"exactly one of {choice(fitting)}")


def _remote(table: Table) -> Iterator[Finding]:
    """A key set that is fetched: whose it is, and how its server is known."""
    jwks, issuers = table.values.get("jwks"), table.values.get("issuer", ())
    if "jwks_ca" in table.written and not isinstance(jwks, KeySetUrl):
        yield (
            ("jwks_ca",),
            problem_text("checks nothing here", expected='it beside a jwks that is fetched by "https://"'),
        )
    if jwks != KeySetUrl():
        return
    if len(issuers) != 1:
        what = "asks the issuer, and there is none" if not issuers else "asks the issuer, and there are several"
        yield ("jwks",), problem_text(what, expected='one issuer, or "https://…"')
        return
    try:
        checked_url(issuers[0])
    except InvalidError as invalid:
        yield ("issuer",), f"{invalid}; the discovery document is below it"


def _audience(table: Table) -> Iterator[Finding]:
    audience = table.values.get("audience", ())
    if "*" in audience and len(audience) > 1:
        yield ("audience",), problem_text('"*" makes the others needless', expected='"*" or the audiences by name')


def _misspelt_methods(table: Table) -> Iterator[Finding]:
    """Methods are case-sensitive (RFC 9110 section 9.1). The gateway refuses requests with a usual method in other
    letters, so such a name would never match."""
    for method in table.values.get("methods") or ():
        if method != method.upper() and method.upper() in USUAL_METHODS:
            yield (
                ("methods",),
                problem_text(f"{quoted(method)} is no method in these letters", meant=quoted(method.upper())),
            )
        names = pieces(method)
        if len(names) > 1 and all(name.upper() in USUAL_METHODS for name in names):
            meant = ", ".join(map(method_meant, names))
            yield ("methods",), problem_text(f"{quoted(method)} is more than one method", meant=meant)


def _cors(table: Table) -> Iterator[Finding]:
    yield from _misspelt_methods(table)
    origins = table.values.get("origins", ())
    if "*" not in origins:
        return
    if table.values.get("credentials"):
        # Browsers ignore such a response (Fetch, "CORS protocol and credentials"). To echo every origin instead would
        # let any page read what the user may read.
        yield ("credentials",), problem_text('cannot go with origins = ["*"]', expected="the origins by name")
    if len(origins) > 1:
        yield ("origins",), problem_text('"*" makes the others needless', expected='["*"] or the origins by name')


def _header_rules(table: Table) -> Iterator[Finding]:
    seen: dict[str, str] = {}
    for name in table.values.get("set", {}):
        first = seen.setdefault(name.lower(), name)
        if first != name:
            yield ("set", name), f"is the same field as {quoted(first)}"
    for name in table.values.get("remove", ()):
        # Of a family one may be set: what was received is removed first.
        if name.lower() in seen:
            yield ("remove",), problem_text(f"{quoted(name)} is set and removed", expected="one of the two")
            break
    for name in table.values.get("add", {}):
        if name.lower() in seen:
            yield ("add", name), problem_text(f"{quoted(name)} is set and added", expected="one of the two")


_PERL_GROUP = re.compile(r"\$(?:([1-9][0-9]?)|\{(\w+)\}|(\w+))")


def _regex(table: Table) -> Iterator[Finding]:
    """Groups as Perl and JavaScript write them ("$1"), and patterns without the leading slash. A literal "$" in `to` is
    written %24."""
    pattern, to = table.values.get("pattern", ""), table.values.get("to", "")
    names = re.findall(r"\(\?P<(\w+)>", pattern)
    for found in _PERL_GROUP.finditer(to):
        name = found[1] or found[2] or found[3]
        if name.isdecimal() or found[2] or name in names:
            meant = f"\\{name}" if name.isdecimal() else f"\\g<{name}>"
            yield ("to",), problem_text(f"{quoted(found[0])} is no group here", meant=meant)
            break
    start = pattern.removeprefix("^")
    if start[:1].isalnum() and "|" not in pattern:
        yield (
            ("pattern",),
            problem_text(f"{quoted(pattern)} never matches: a path starts with a slash", meant=_rooted(start)),
        )


def _rooted(pattern: str) -> str:
    """The pattern with a slash before it, as a proposal; "" for the pattern of a whole URL."""
    return "" if "//" in pattern else quoted(f"/{pattern}")


_CORS = "access-control-"

_NOT_UP = NOT_REQUEST_HEADER | {"host": f"{NOT_REQUEST_HEADER['host']}, as the route's upstream_host says"}


def _refused(name: str, refused: Mapping[str, str], *, cors: bool) -> str:
    """Why a field, or one of a family, is not a route's to write; "" if it is. `cors`: the route answers for CORS."""
    plain = read_as(name.removesuffix("*"))
    if cors and (plain.startswith(_CORS) or (name.endswith("*") and _CORS.startswith(plain))):
        return "is the gateway's to write on a route with cors"
    if not name.endswith("*"):
        return refused.get(plain, "")
    return next(
        (f"takes {quoted(other)} too, which {why}" for other, why in refused.items() if other.startswith(plain)), ""
    )


def _route(table: Table) -> Iterator[Finding]:
    yield from _misspelt_methods(table)
    for key, refused in (("request_headers", _NOT_UP), ("response_headers", NOT_RESPONSE_HEADER)):
        rules = table.values.get(key, HeaderRules())
        cors = key == "response_headers" and "cors" in table.written
        for part, names in (("set", rules.set), ("add", rules.add), ("remove", rules.remove)):
            for name in names:
                why = _refused(name, refused, cors=cors)
                if why:
                    yield ((key, part, name) if part != "remove" else (key, part)), f"{quoted(name)} {why}"
    yield from _encoded(table)
    yield from _alone(table)
    yield from _access(table)


def _encoded(table: Table) -> Iterator[Finding]:
    for key in ("prefix", "path"):
        place = table.values.get(key, "")
        if table.values.get("encoded_slash") == "reject" and ("%2f" in place.lower() or "%5c" in place.lower()):
            yield (key,), problem_text(f"{quoted(place)} has an encoded slash", expected='encoded_slash = "keep"')


def _alone(table: Table) -> Iterator[Finding]:
    """What is about a service, on a route without one."""
    alone = next((key for key in ("respond", "redirect") if key in table.written), "")
    for key in _OF_AN_UPSTREAM if alone else ():
        if key in table.written:
            yield (
                (key,),
                problem_text(
                    f"is about what goes to a service, and {alone} stands in its place", expected="no such key"
                ),
            )


def _access(table: Table) -> Iterator[Finding]:
    require = table.values.get("require", {})
    if any(name != _CERTIFICATE for name in require) and table.values.get("auth") == "none":
        yield ("require",), problem_text("asks for claims, and auth asks for no credential", expected="a verifier")
    if not all(isinstance(value, str) or value is True for value in require.get(_CERTIFICATE, ())):
        what = f"{quoted(_CERTIFICATE)} asks for a value that no name is"
        yield ("require",), problem_text(what, expected="text, or true for any certificate")
    for name in ("scope", "scp"):
        # `policy.claims`: of these claims a blank stands between two values, so no value has one.
        several = next((value for value in require.get(name, ()) if isinstance(value, str) and " " in value), "")
        if several:
            what = f"{quoted(several)} is more than one {name}, and a value is one"
            listed = ", ".join(quoted(word) for word in several.split())
            yield ("require",), problem_text(what, expected=f"a list, of which any will do: [{listed}]")
    for network in table.values.get("deny", ()):
        if network in table.values.get("allow", ()):
            yield ("deny",), problem_text(f"{quoted(str(network))} is allowed too", expected="one of the two")
    has = {
        "auth": table.values.get("auth", "") != "none",
        "require": "require" in table.written,
        "rate_limit": "rate_limit" in table.written,
        "concurrency": "concurrency" in table.written,
    }
    shadow = table.values.get("shadow", ())
    for policy in shadow:
        if not has[policy]:
            yield (
                ("shadow",),
                problem_text(f"{quoted(policy)} is nothing that this route has", expected="one that it has"),
            )
    if "auth" in shadow and has["require"] and "require" not in shadow:
        what = "auth lets callers pass without a credential, and require asks for claims"
        yield ("shadow",), problem_text(what, expected='"require" too')


_CERTIFICATE = "certificate.name"
"""In `require`: the name of the verified client certificate. All else there is claims."""

_OF_AN_UPSTREAM = (
    "rewrite",
    "upstream_host",
    "request_headers",
    "rewrite_location",
    "response_timeout",
    "upgrade",
    "forward_credentials",
)


def _match(table: Table) -> Iterator[Finding]:
    if not table.written:
        yield (), problem_text("asks for nothing", expected="headers, query or scheme")


_WITHOUT_CONTENT = (204, 205, 304)
_REDIRECTS = (301, 302, 303, 307, 308)


def _respond(table: Table) -> Iterator[Finding]:
    status = table.values.get("status")
    if status in _WITHOUT_CONTENT and table.values.get("body"):
        yield ("body",), problem_text(f"does not go with {status}", expected="none")
    if status in _REDIRECTS:
        yield ("status",), problem_text(f"{status} says where to go", expected="redirect = { to = … }")


def _redirect(table: Table) -> Iterator[Finding]:
    status = table.values.get("status")
    if status is not None and status not in _REDIRECTS:
        yield ("status",), problem_text(f"{status} is no redirect", expected="301, 302, 303, 307 or 308")


def _expect(table: Table) -> Iterator[Finding]:
    if not table.written:
        yield (), problem_text("expects nothing", expected="a route, path, headers, status or reason")


def _test(table: Table) -> Iterator[Finding]:
    if "claims" in table.written and "api_key" in table.written:
        yield ("api_key",), problem_text("stands beside claims", expected="one credential")


def _config(table: Table) -> Iterator[Finding]:
    gateway = table.values.get("gateway")
    header = gateway.client_ip_header if gateway else None
    for name, keys in table.values.get("api_keys", {}).items():
        if keys.header == header:
            yield ("gateway", "client_ip_header"), f"{quoted(header)} is the header of api_keys.{name}"
        if gateway and keys.header in gateway.log.fields:
            what = f"{quoted(keys.header)} is the header of api_keys.{name}, and holds its keys"
            yield ("gateway", "log", "fields"), problem_text(what, expected="no credential in the log")
        if gateway and keys.header in gateway.untrusted_headers:
            yield ("gateway", "untrusted_headers"), f"{quoted(keys.header)} is the header of api_keys.{name}"
    yield from _logs_tokens(table)
    yield from _needs_certificates(table)
    yield from _store(table)
    yield from _hashes_keys(table)
    yield from _consul(table)
    asks = table.written.get("jwt") or table.written.get("api_keys")
    if gateway and gateway.auth_failures is not None and not asks:
        what = "counts wrong credentials, and nothing here verifies any"
        yield ("gateway", "auth_failures"), problem_text(what, expected="[jwt.NAME] or [api_keys.NAME]")


def _store(table: Table) -> Iterator[Finding]:
    """Who counts with others needs a place to. What is never said to a store is a mistake about it."""
    if "store" not in table.written:
        for where in limits_over_hosts(table.values.get("limits", {}), table.values.get("routes", ())):
            yield (*where, "shared"), problem_text("counts in a store", expected="[store] with its url, beside it")
    store = table.values.get("store")
    if store is None:
        return
    for key, value in (("ca", store.ca), ("certificate", store.certificate)):
        if value is not None and not store.url.tls:
            what = f"is for TLS, and {quoted(store.url.text)} is in the clear"
            yield ("store", key), problem_text(what, expected='"rediss" in store.url')
    if store.sentinel_password is not None and store.url.kind != "sentinel":
        what, expected = f"is for Sentinels, and {quoted(store.url.text)} has none", '"redis+sentinel" in store.url'
        yield ("store", "sentinel_password"), problem_text(what, expected=expected)


def _hashes_keys(table: Table) -> Iterator[Finding]:
    """A key is a secret; its name is what tells callers apart."""
    headers = {f"header:{keys.header}": name for name, keys in table.values.get("api_keys", {}).items()}
    for name, upstream in table.values.get("upstreams", {}).items():
        by = upstream.balance.hash if isinstance(upstream.balance, HashBalance) else ""
        if by in headers:
            what = f"{quoted(by.removeprefix('header:'))} is the header of api_keys.{headers[by]}, and holds its keys"
            yield ("upstreams", name, "balance", "hash"), problem_text(what, expected='"client"')


def _consul(table: Table) -> Iterator[Finding]:
    """An agent that nobody asks."""
    consul: Consul | None = table.values.get("consul")
    if consul is None:
        return
    upstreams = table.values.get("upstreams", {}).values()
    if not any(target.source == "consul" for upstream in upstreams for target in upstream.targets):
        yield (
            ("consul",),
            problem_text("no target asks it", expected='"consul+http://SERVICE" in the targets of an upstream'),
        )
    if consul.ca is not None and consul.address.scheme != "https":
        yield ("consul", "ca"), problem_text("is for https://, and address has http://", expected="https:// in address")


_SENDABLE = re.compile(rb"[\x21-\x7e]+")


def _consul_token(table: Table) -> Iterator[Finding]:
    token: Secret | None = table.values.get("token")
    if token is not None and not _SENDABLE.fullmatch(token.value):
        yield ("token",), problem_text("holds what cannot be sent in a header field", expected="printable ASCII")


def _logs_tokens(table: Table) -> Iterator[Finding]:
    """A token may be among the protocols of a WebSocket."""
    gateway = table.values.get("gateway")
    for name, jwt in table.values.get("jwt", {}).items():
        if gateway and "subprotocol" in jwt.token and "sec-websocket-protocol" in gateway.log.fields:
            what = f'"sec-websocket-protocol" may hold the token of jwt.{name}'
            yield ("gateway", "log", "fields"), problem_text(what, expected="no credential in the log")


def _needs_certificates(table: Table) -> Iterator[Finding]:
    """Who needs the name of a certificate for which no client is asked."""
    if _asks_for_certificates(table.written.get("tls", {})):
        return
    gateway, expected = table.values.get("gateway"), "a [tls.NAME] with client_ca"
    if gateway and "{certificate.name}" in gateway.log.fields:
        what = "{certificate.name} is nobody's, since no client is asked for a certificate"
        yield ("gateway", "log", "fields"), problem_text(what, expected=expected)
    routes = table.written.get("routes")
    for position, route in enumerate(routes if isinstance(routes, list | tuple) else ()):
        require = _written(route, "require")
        if isinstance(require, Mapping) and _CERTIFICATE in require:
            what = f"asks for {_CERTIFICATE}, and no client is asked for a certificate"
            yield ("routes", position, "require"), problem_text(what, expected=expected)


def _asks_for_certificates(tls: object) -> bool:
    """As written, since the mistakes of a table that cannot be read are told of itself: it may well ask."""
    if not isinstance(tls, Mapping):
        return True
    return any(not isinstance(one, Mapping | Tls) or _written(one, "client_ca") for one in tls.values())


def _written(value: object, key: str) -> object:
    """A key of a table or a field of a Struct, or None."""
    return value.get(key) if isinstance(value, Mapping) else getattr(value, key, None)


def _admin(table: Table) -> Iterator[Finding]:
    """What the admin listener tells is for operators, so it is never open to a network by mistake."""
    admin: Listen | None = table.values.get("admin")
    if admin is None:
        return
    for listen in table.values.get("listen", ()):
        taken = place(admin) is not None and place(admin) == place(listen)
        if taken or overlap(admin, listen):
            yield ("admin",), problem_text(f"is where listen has {listen_name(listen)}", expected="a place of its own")
            return
    is_open = admin.host and not ip_address(admin.host).is_loopback
    if is_open and "admin_allow" not in table.written:
        what = f"{listen_name(admin)} is not loopback, and admin_allow names nobody"
        yield ("admin",), problem_text(what, expected="admin_allow with the networks of those who ask")


def _log(table: Table) -> Iterator[Finding]:
    fields = table.values.get("fields", ())
    if len(fields) > MOST_LOGGED:
        what = f"{len(fields)} fields are more than fit into a line"
        yield ("fields",), problem_text(what, expected=f"{MOST_LOGGED} at most")


def _gateway(table: Table) -> Iterator[Finding]:
    yield from _admin(table)
    if "trusted_proxies" in table.written:
        return
    for position, listen in enumerate(table.values.get("listen", ())):
        if listen.proxy_protocol:
            what = "trusted_proxies alone may speak the PROXY protocol, and there are none: nobody could connect"
            yield ("listen", position), problem_text(what, expected="trusted_proxies")


def _tls(table: Table) -> Iterator[Finding]:
    if "client_auth" in table.written and "client_ca" not in table.written:
        yield ("client_auth",), problem_text("has no authorities to verify by", expected="client_ca beside it")


def _upstream(table: Table) -> Iterator[Finding]:
    targets = table.values.get("targets", ())
    is_table = isinstance(table.written.get("tls"), Mapping | UpstreamTls)
    if is_table and targets and not any(target.scheme == "https" for target in targets):
        yield ("tls",), problem_text("is for https:// targets, and there are none", expected="https:// in targets")


def _health(table: Table) -> Iterator[Finding]:
    host = table.values.get("host") or ""
    if host.startswith("*."):
        yield ("host",), problem_text(f"{quoted(host)} is no host that a request can name", expected="one host")


RULES: dict[type[Struct], Callable[[Table], Iterator[Finding]]] = {
    Config: _config,
    Consul: _consul_token,
    Cors: _cors,
    Expect: _expect,
    Gateway: _gateway,
    HeaderRules: _header_rules,
    HealthCheck: _health,
    Jwt: _jwt,
    Log: _log,
    Match: _match,
    Redirect: _redirect,
    RegexRewrite: _regex,
    Respond: _respond,
    Route: _route,
    Test: _test,
    Tls: _tls,
    Upstream: _upstream,
}
