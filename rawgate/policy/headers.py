"""Which fields travel, up to the upstream and down to the client.

Each field is in one of three groups, which are settled at load:

    of the hop    Connection, framing, Expect …: `wire` removes and writes them; this module writes only Host
    parsed        some policy reads, replaces or removes them; this module writes those again that pass
    all others    `passthrough`: raw lines, in order, sent on in the pieces that they came in

Parsed fields on the way up:

    X-User-Id, X-Auth-By                removed from every request, then set for a verified caller
    X-Request-Id, X-Forwarded-*, and
    all others that services trust      pass from a trusted proxy; else they are removed, then ours are set
    X-HTTP-Method-Override              the same, on routes that the method selects
    Authorization, API keys             pass if the route does not use them, or forwards them
    Via                                 ours is appended (RFC 9110 section 7.6.3)
    Proxy                               never passes: CGI programs read it as HTTP_PROXY

Most fields that services trust are only ever removed. They are not parsed but *removable*, like the fields that some
route sets or removes (see `removable_names`): `wire` tells their positions among the `passthrough` lines.

One name has many spellings. CGI and WSGI make the same variable of `X-User-Id` and `X_User_Id`, some servers also of
`X.User~Id`. So names are compared as `message.READ_AS` translates them. A trusted proxy's field passes only in the
spelling of the lists below: `wire` drops other spellings of the parsed names, and this module those of the removable
names.

On the way down, a Location that is valid only behind the gateway is turned back (`compile_turn_back`).

The rules of a route come last: received fields that they set or remove are dropped, then the fields that they set are
added.
"""

import re
from collections.abc import Callable, Iterable
from typing import Final

from rawgate.config.model import HeaderRules
from rawgate.message import READ_AS, TRACEPARENT, Down, Forward, RequestHead, ResponseHead

Up = Callable[[RequestHead, bytes, bytes, bytes, str, bool, bytes, bytes], bytes]
"""`(head, path, query, peer's address, its scheme, trusted, request id, user or b"")` → the head for the upstream."""
FORWARDING = frozenset((b"forwarded", b"x-real-ip")) | frozenset(
    b"x-forwarded-" + name
    for name in (b"for", b"proto", b"host", b"port", b"prefix", b"server", b"by", b"ssl", b"scheme", b"uri", b"path")
)
_IDENTITY_FIELDS = frozenset((b"x-user-id", b"x-auth-by"))
GATEWAY_FIELDS = _IDENTITY_FIELDS | {b"x-request-id", b"via"} | FORWARDING
"""The fields that the gateway itself sends to an upstream. Connection may not name them, so no client can remove
them."""
REQUEST_NAMES = GATEWAY_FIELDS | frozenset((b"authorization", b"proxy", b"max-forwards"))
"""The request fields that every configuration parses. Those of API keys, of the client address and of CORS come on
top."""

OVERRIDES = frozenset((b"x-http-method-override", b"x-http-method", b"x-method-override"))
"""Fields by which Rails, Express, Spring, Symfony, ASP.NET and others serve another method than the request's."""

_TRUSTED_BY_SERVICES = frozenset(
    (
        # the client's address: Rails and PHP, Akamai, Cloudflare, Rackspace, Fastly, Fly, Azure, App Engine, Envoy
        *(b"client-ip", b"true-client-ip", b"x-client-ip", b"x-cluster-client-ip", b"cf-connecting-ip"),
        *(b"cf-connecting-ipv6", b"fastly-client-ip", b"fly-client-ip", b"x-azure-clientip", b"x-azure-socketip"),
        *(b"x-appengine-user-ip", b"x-envoy-external-address", b"x-originating-ip", b"x-remote-ip", b"x-remote-addr"),
        *(b"remote-addr", b"x-forwarded", b"forwarded-for"),
        # the target: IIS and what is ported from it, Symfony, Envoy; gunicorn, from the addresses that it trusts
        *(b"x-rewrite-url", b"x-host", b"x-envoy-original-path", b"x-envoy-original-host"),
        *(b"script-name", b"path-info"),
        # who is calling: whatever sits behind a server that authenticates
        *(b"remote-user", b"x-remote-user", b"x-authenticated-user"),
        # who is calling, by certificate: RFC 9440, nginx and ingress-nginx, HAProxy and Apache as most set them up,
        # AWS, Azure, Google Cloud (Envoy's and Traefik's begin with x-forwarded)
        *(b"client-cert", b"client-cert-chain", b"x-client-cert", b"x-client-certificate", b"x-client-verify"),
        *(
            b"x-client-dn",
            b"x-client-cn",
            b"x-client-s-dn",
            b"x-ssl-cert",
            b"x-ssl-client-cert",
            b"x-ssl-client-verify",
        ),
        *(b"x-ssl-client-dn", b"x-ssl-client-cn", b"x-ssl-client-s-dn", b"x-ssl-client-i-dn", b"ssl-client-cert"),
        *(b"ssl-client-verify", b"ssl-client-s-dn", b"ssl-client-subject-dn", b"ssl-client-issuer-dn"),
        *(b"x-amzn-mtls-clientcert", b"x-amzn-mtls-clientcert-leaf", b"x-amzn-mtls-clientcert-subject"),
        *(b"x-arr-clientcert", b"x-client-cert-present", b"x-client-cert-chain-verified", b"x-client-cert-spiffe"),
        *(b"x-client-cert-uri-sans", b"x-client-cert-dnsname-sans", b"x-client-cert-hash"),
        # TLS in front
        *(b"x-scheme", b"x-url-scheme", b"front-end-https"),
    )
)
_UNTRUSTED_FAMILIES = (b"x-forwarded-*", b"x-original-*")

LOCATION_NAMES = frozenset((b"location",))
RESPONSE_NAMES = frozenset((b"server", b"x-powered-by", b"x-request-id", b"date"))
LIMIT_NAMES = frozenset(
    (b"ratelimit", b"ratelimit-policy", b"x-ratelimit-limit", b"x-ratelimit-remaining", b"x-ratelimit-reset")
)

# RFC 9110 section 6.5.1: no framing, routing, authentication, request control or content format in trailers.
_NOT_IN_TRAILERS = frozenset(
    b"authorization cache-control connection content-encoding content-length content-range content-type cookie expect "
    b"host keep-alive max-forwards proxy-authorization proxy-connection range set-cookie te trailer transfer-encoding "
    b"upgrade".split()
)

# Fields that no route sets on the gateway's own replies: the gateway writes its own, or they describe the content
# (RFC 9110 section 8) or the place (section 10.2.2) of the upstream's response.
_NOT_ON_LOCAL_REPLIES = frozenset(
    b"allow cache-control content-disposition content-encoding content-language content-location content-range "
    b"content-type date etag expires last-modified location retry-after www-authenticate x-request-id".split()
)

_OF_CONTENT = _NOT_ON_LOCAL_REPLIES - frozenset(
    b"allow content-type date location www-authenticate x-request-id".split()
)
"""Those of them that a route may set where it makes the response itself."""

_SPELLINGS = {
    b"ratelimit": b"RateLimit",
    b"ratelimit-policy": b"RateLimit-Policy",
    b"traceparent": TRACEPARENT,  # some readers know the lower-case name only
    b"tracestate": b"tracestate",
    b"x-real-ip": b"X-Real-IP",
}
_FORWARDED_FOR = b"\r\nX-Forwarded-For: "
_FORWARDED_PROTO = b"\r\nX-Forwarded-Proto: "
_PROTO = {scheme: _FORWARDED_PROTO + scheme.encode() for scheme in ("http", "https")}
_PREFIX = b"\r\nX-Forwarded-Prefix: "
_NOWHERE = b"unknown"
_FORWARDED_HOST = b"\r\nX-Forwarded-Host: "
# A path without a query (RFC 3986 section 3.3), and without a comma, which separates one proxy's from the next one's.
_path_prefix = re.compile(rb"(?:/[A-Za-z0-9\-._~!$&'()*+;=:@%]+)*/?").fullmatch
_STATUS_LINES: Final = tuple(b"HTTP/1.1 %d " % status for status in range(1000))
_request_id = re.compile(rb"[A-Za-z0-9._-]{1,128}").fullmatch
# A member of Via: [protocol-name "/"] version, received-by (RFC 9110 section 7.6.3).
_rawgate_members = re.compile(rb"(?:^|,)[ \t]*[^ \t,]+[ \t]+rawgate(?=[ \t,(]|$)").findall
MOST_GATEWAYS = 8
"""A request is refused if its Via names so many gateways called `rawgate`. More than one, since nested gateways share
the name without being a loop; a loop reaches any number."""
_MOST_FORWARDS = 6
"""Digits of Max-Forwards. A larger number becomes the largest with so many digits: no chain is that long."""


def _lines(fields: Iterable[tuple[str, str]]) -> bytes:
    return "".join(f"{name}: {value}\r\n" for name, value in fields).encode()


def _overridden(rules: HeaderRules) -> frozenset[bytes]:
    """The lower-cased names that the rules set or remove."""
    return frozenset(name.lower().encode() for name in (*rules.set, *rules.remove))


class Dropped:
    """The names of the fields that the rules of a route set or remove, and the beginnings of those that they remove."""

    __slots__ = ("families", "names")

    def __init__(self, rules: HeaderRules, read: Callable[[bytes], bytes]) -> None:
        written = _overridden(rules)
        self.names: Final = frozenset(read(name) for name in written if not name.endswith(b"*"))
        self.families: Final = tuple(read(name[:-1]) for name in written if name.endswith(b"*"))

    def holds(self, name: bytes) -> bool:
        """Whether a lower-cased name is one of these."""
        # `startswith` takes as long for no families as for one.
        return name in self.names or (bool(self.families) and name.startswith(self.families))


def _plain(name: bytes) -> bytes:
    return name.translate(READ_AS)


def _as_it_is(name: bytes) -> bytes:
    return name


def _read_as(names: Iterable[bytes]) -> frozenset[bytes]:
    return frozenset(name.translate(READ_AS) for name in names)


class Untrusted:
    """The request fields that only a trusted proxy may send. `names` and `families`, beginnings of names, are
    translated by READ_AS."""

    __slots__ = ("families", "names")

    def __init__(self, names: frozenset[bytes], families: tuple[bytes, ...]) -> None:
        self.names: Final = names
        self.families: Final = families

    @property
    def removable(self) -> frozenset[bytes]:
        """The names for `wire`, families with a "*"."""
        return self.names | {family + b"*" for family in self.families}

    def holds(self, name: bytes) -> bool:
        """Whether a name, translated by READ_AS, is one of these."""
        return name in self.names or name.startswith(self.families)

    def with_overrides(self) -> "Untrusted":
        """The same and OVERRIDES, for a path whose routes are selected by method."""
        return Untrusted(self.names | OVERRIDES, self.families)


def compile_untrusted(configured: Iterable[str]) -> Untrusted:
    """The fields that services trust by default, and those of `gateway.untrusted_headers`, where "X-Team-*" stands for
    all names with that beginning."""
    names = [name.lower().encode() for name in configured]
    families = (*_UNTRUSTED_FAMILIES, *(name for name in names if name.endswith(b"*")))
    alone = _TRUSTED_BY_SERVICES.union(FORWARDING, (name for name in names if not name.endswith(b"*")))
    return Untrusted(_read_as(alone), tuple(family[:-1].translate(READ_AS) for family in families))


def _labels(names: Iterable[bytes]) -> dict[bytes, bytes]:
    """Lower-cased name → the CRLF of the line before, the name as it is sent, and a colon."""
    return {name: b"\r\n" + _SPELLINGS.get(name, name.title()) + b": " for name in names}


def own_lines(rules: HeaderRules, written: frozenset[bytes]) -> bytes:
    """The field lines that a route sets on the gateway's own replies: those of `rules` without the fields that speak of
    the upstream's response. `written`: lower-cased names of further fields that the gateway writes there itself."""
    return _lines(field for field in _written(rules) if belongs(field[0], written))


def content_lines(rules: HeaderRules) -> bytes:
    """The field lines that a route sets and that speak of the content, on a response that the route itself makes."""
    return _lines(field for field in _written(rules) if field[0].lower().encode() in _OF_CONTENT)


def _written(rules: HeaderRules) -> list[tuple[str, str]]:
    """The fields that the rules write."""
    return [*rules.set.items(), *rules.add.items()]


def belongs(name: str, written: frozenset[bytes]) -> bool:
    """Whether a field that a route sets is on the gateway's own replies. `written`: as in `own_lines`."""
    return name.lower().encode() not in _NOT_ON_LOCAL_REPLIES | written


def trusted_request_id(parsed: dict[bytes, bytes]) -> str:
    """The request id that a trusted proxy sent, or "" if there is none or it is not fit for a log."""
    value = parsed.get(b"x-request-id")
    return value.decode() if value is not None and _request_id(value) else ""


def is_loop(via: bytes) -> bool:
    """Whether Via names MOST_GATEWAYS or more gateways of this name."""
    return via.count(b"rawgate") >= MOST_GATEWAYS and len(_rawgate_members(via)) >= MOST_GATEWAYS


def next_max_forwards(value: bytes) -> bytes | None:
    """Max-Forwards, one less (RFC 9110 section 7.6.2). b"" if it is 0, so the request goes no further; None if it is
    malformed."""
    if not value.isdigit():
        return None
    digits = value.lstrip(b"0")
    if len(digits) > _MOST_FORWARDS:
        return b"9" * _MOST_FORWARDS
    return b"%d" % (int(digits) - 1) if digits else b""


def compile_trailer_filter(
    parsed_names: frozenset[bytes], rules: HeaderRules, untrusted: Untrusted
) -> Callable[[bytes], bool]:
    """Make `passes(lower-cased name)`: whether a client's trailer field may pass. Refused are the fields of the
    gateway, of routing, framing and authentication, those that the route sets or removes, and the untrusted ones, also
    from trusted proxies: they write theirs before the body."""
    refused = _read_as(parsed_names | _NOT_IN_TRAILERS)
    dropped = Dropped(rules, _plain)

    def passes(name: bytes) -> bool:
        plain = name.translate(READ_AS)
        return plain not in refused and not dropped.holds(plain) and not untrusted.holds(plain)

    return passes


def removable_names(rules: Iterable[HeaderRules]) -> frozenset[bytes]:
    """The lower-cased names that any of these rules sets or removes; `wire` tells their positions."""
    return frozenset().union(*map(_overridden, rules))


def _kept(head: RequestHead, dropped: "Dropped", untrusted: Untrusted, trusted: bool) -> list[bytes]:
    """The runs that pass: no line in `dropped`, and no untrusted one unless a trusted proxy sent it in its usual
    spelling."""
    runs = head.passthrough.copy()
    for index, name in head.removable:
        plain = name.translate(READ_AS)
        if (
            plain in dropped.names
            or plain.startswith(dropped.families)
            or (untrusted.holds(plain) and not (trusted and plain == name))
        ):
            runs[index] = b""
    return runs


def _without(head: ResponseHead, dropped: "Dropped") -> list[bytes]:
    """The runs of a response, without the lines that the rules of the route set or remove."""
    runs = head.passthrough.copy()
    for index, name in head.removable:
        if dropped.holds(name):
            runs[index] = b""
    return runs


def _extended_forwarding(
    parsed: dict[bytes, bytes], peer: bytes, scheme: str, authority: bytes, prefix: bytes
) -> list[bytes]:
    """Our forwarding fields behind a trusted proxy. Its X-Forwarded-For and X-Forwarded-Prefix are extended; the others
    are added only if it sent none, or empty ones."""
    earlier = parsed.get(b"x-forwarded-for", b"").rstrip(b", \t")
    # A proxy on a Unix socket has no address to add, and readers of the list would stop at `unknown`.
    lines = [_FORWARDED_FOR, peer if not earlier else earlier if peer == _NOWHERE else earlier + b", " + peer]
    told = parsed.get(b"x-forwarded-proto")
    lines += (_FORWARDED_PROTO, told) if told else (_PROTO[scheme],)
    if prefix:
        lines += (_PREFIX, _earlier_prefix(parsed.get(b"x-forwarded-prefix", b"")), prefix)
    host = parsed.get(b"x-forwarded-host") or authority
    if host:
        lines += (_FORWARDED_HOST, host)
    return lines


def _earlier_prefix(value: bytes) -> bytes:
    """What stands before our prefix: that of a trusted proxy, or those of several in a row, the outermost first. Many
    proxies send this field on as they got it, and services build links of it: what is no path does not count."""
    parts = [part.strip(b" \t") for part in value.split(b",")]
    if not all(_path_prefix(part) for part in parts):
        return b""
    joined = b"".join(part.rstrip(b"/") for part in parts)
    return b"" if _dots(joined) else joined


def compile_up(
    host: bytes,
    rules: HeaderRules,
    *,
    pass_host: bool,
    parsed_names: frozenset[bytes],
    withheld: frozenset[bytes],
    ip_header: bytes,
    untrusted: Untrusted,
    verified_by: str = "",
    prefix: bytes = b"",
    replaced: frozenset[bytes] = frozenset(),
) -> Up:
    """The way up of one route.

    host       the authority of the upstream, for Host
    pass_host  send the client's own Host instead, if it sent one
    parsed_names  all names that policy asked for
    withheld   those that this route does not forward: credentials that it has used
    ip_header  `client_ip_header`, which passes from trusted proxies only, or b""
    verified_by  the `auth` of the route, sent in X-Auth-By because a subject is unique only within its issuer; or ""
    prefix     the beginning of the client's paths that the upstream's paths lack, or b""
    replaced   those of the parsed names whose values are good ones here, whoever sent them
    """
    dropped = Dropped(rules, _plain)
    overridden = frozenset(name for name in parsed_names if dropped.holds(name.translate(READ_AS)))
    prefix = b"" if dropped.holds(b"x-forwarded-prefix") else prefix
    untrusted_names = {ip_header} | {
        name for name in parsed_names - _IDENTITY_FIELDS - replaced if untrusted.holds(name.translate(READ_AS))
    }
    written_here = GATEWAY_FIELDS - untrusted_names
    written_here |= {b"proxy", b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host"}
    if prefix:
        written_here |= {b"x-forwarded-prefix"}
    labels = _labels(parsed_names - written_here - withheld - overridden - untrusted_names)
    trusted_labels = labels | _labels((parsed_names & untrusted_names) - written_here - overridden)
    own_host = b" HTTP/1.1\r\nHost: " + host
    protos = {scheme: proto + _PREFIX + prefix if prefix else proto for scheme, proto in _PROTO.items()}
    protos_and_host = {scheme: proto + _FORWARDED_HOST for scheme, proto in protos.items()}
    members = tuple(b"1.%d rawgate\r\n" % minor + _lines(_written(rules)) for minor in (0, 1))
    via_label = (f"\r\nX-Auth-By: {verified_by}\r\nVia: " if verified_by else "\r\nVia: ").encode()
    ends = tuple(via_label + member for member in members)

    def up(
        head: RequestHead,
        path: bytes,
        query: bytes,
        peer: bytes,
        scheme: str,
        trusted: bool,
        request_id: bytes,
        user: bytes,
    ) -> bytes:
        # Every piece but the first begins with the end of the line before it; the last one ends its own. They are few,
        # because a piece costs as much as fifty octets.
        parsed, authority = head.parsed, head.authority
        host = b" HTTP/1.1\r\nHost: " + authority if pass_host and authority else own_host
        lines = [b"%b %b%b%b" % (head.method, path, query, host)]
        lines += _kept(head, dropped, untrusted, trusted) if head.removable else head.passthrough
        passing = trusted_labels if trusted else labels
        for name in parsed:
            label = passing.get(name)
            if label is not None:
                lines.append(label)
                lines.append(parsed[name])
        if trusted:
            lines += _extended_forwarding(parsed, peer, scheme, authority, prefix)
        else:
            proto = protos_and_host[scheme] if authority else protos[scheme]
            lines.append(b"\r\nX-Forwarded-For: %b%b%b" % (peer, proto, authority))
        user_line = b"\r\nX-User-Id: " + user if user else b""
        via = parsed.get(b"via")
        end = ends[head.minor] if not via else b"%b%b, %b" % (via_label, via, members[head.minor])
        lines.append(b"\r\nX-Request-Id: %b%b%b" % (request_id, user_line, end))
        return b"".join(lines)

    return up


_PROTOCOL: Final = b"sec-websocket-protocol"
ANSWERED = frozenset((_PROTOCOL,))
"""The response field that `compile_answered` has to know of."""


def compile_answered(down: Down) -> Down:
    """The way down where the token may be among the protocols that a WebSocket offers: the service does not see that
    one, so it cannot choose it (`Extras.protocol`)."""

    def answered(forward: Forward, head: ResponseHead) -> bytes:
        octets = down(forward, head)
        extras = forward.extras
        if head.status != 101 or extras is None or not extras.protocol:
            return octets
        if any(name == _PROTOCOL for _, name in head.removable):
            return octets
        return b"%bSec-WebSocket-Protocol: %b\r\n" % (octets, extras.protocol)

    return answered


TurnBack = Callable[[bytes, bytes], bytes]
"""`(Location, head that was sent to the upstream)` → the Location for the client."""

_ABSOLUTE = re.compile(rb"(?:([A-Za-z][A-Za-z0-9+.-]*):)?//([^/?#\\]*)(.*)", re.DOTALL).fullmatch
_dots = re.compile(rb"/(?:\.|%2[Ee]){1,2}(?:[/?#]|$)").search
_LINE_END = b"\r\n"


def replaced_prefix(prefix: bytes, replacement: bytes) -> bytes:
    """The text that a service must put before its paths to get those of the client. If "/users" replaces "/api/users"
    it is "/api"; if "/" replaces it, all of it. If the prefix does not end in the replacement, no text is right, and
    the whole prefix is the best guess."""
    return prefix.rstrip(b"/").removesuffix(replacement.rstrip(b"/"))


def _one_slash(path: bytes) -> bytes:
    """The path with one slash at its start. Two would start a host, and browsers read a backslash as a slash."""
    return b"/" + path.lstrip(b"/\\")


def _is_under(path: bytes, stem: bytes) -> bool:
    return path.startswith(stem) and path[len(stem) : len(stem) + 1] in (b"", b"/", b"?", b"#")


def compile_turn_back(origins: Iterable[tuple[str, str]], prefix: bytes, replacement: bytes) -> TurnBack:
    """Turns a Location of the upstream back into the client's terms, as nginx's `proxy_redirect default` does. A
    Location that is only a path is turned, too, as in Apache's ProxyPassReverse.

    origins              scheme and authority of each target: a Location with both of one loses them
    prefix, replacement  as configured, or both b"": a path under the replacement is moved under the prefix
    """
    own = frozenset((scheme.encode(), _without_port(scheme.encode(), host.encode())) for scheme, host in origins)
    new, old = prefix.rstrip(b"/"), replacement.rstrip(b"/")

    def turned(path: bytes) -> bytes:
        # A service that reads X-Forwarded-Prefix has put the prefix there itself; then the longer match is the right
        # one.
        theirs = len(new) > len(old) and _is_under(path, new)
        if new == old or theirs or not _is_under(path, old) or _dots(path):
            return path
        rest = path[len(old) :]
        return _one_slash((new if rest[:1] == b"/" else prefix) + rest)

    def turn_back(location: bytes, sent: bytes) -> bytes:
        absolute = _ABSOLUTE(location)
        if absolute is None:
            return turned(location) if location[:1] == b"/" else location
        scheme, authority, path = absolute.groups()
        if not path.startswith(b"/"):
            path = b"/" + path
        host = authority.lower()
        said = (scheme or b"").lower()
        if any((one, _without_port(one, host)) in own for one in ((said,) if said else (b"http", b"https"))):
            return _one_slash(turned(path))
        # Some services write the default port of the scheme.
        port = b":443" if said == b"https" else b":80"
        if host and host.removesuffix(port) == _forwarded_host(sent).removesuffix(port):
            return location[: absolute.start(3)] + turned(path)
        return location

    return turn_back


def _without_port(scheme: bytes, authority: bytes) -> bytes:
    """Without the scheme's own port."""
    return authority.removesuffix(b":443" if scheme == b"https" else b":80")


def _forwarded_host(sent: bytes) -> bytes:
    """The host that the client used for the gateway, from the X-Forwarded-Host that was sent to the upstream."""
    _, label, rest = sent.partition(_FORWARDED_HOST)
    return rest.partition(_LINE_END)[0].lower() if label else b""


def compile_down(
    removed: frozenset[bytes],
    parsed_names: frozenset[bytes],
    rules: HeaderRules,
    date: Callable[[], bytes],
    turn_back: TurnBack | None = None,
    written: frozenset[bytes] = frozenset(),
) -> Down:
    """The way down of one route.

    removed    names that this route removes from every response: the gateway writes them itself, or hides them
    parsed_names  all names that `ResponseHead.parsed` may hold
    turn_back  turns a Location back, or None
    written    as in `own_lines`; those lines are in `Forward.fields`
    """
    dropped = Dropped(rules, _as_it_is)
    labels = _labels(name for name in parsed_names - removed if not dropped.holds(name))
    fixed = _lines(field for field in _written(rules) if not belongs(field[0], written))
    adds_date = not dropped.holds(b"date")

    def down(forward: Forward, head: ResponseHead) -> bytes:
        parsed, status = head.parsed, head.status
        lines = [_STATUS_LINES[status] + head.phrase]
        lines += _without(head, dropped) if head.removable else head.passthrough
        # Interim responses and a 101 pass as they are: our fields belong to the final response.
        if status < 200:
            lines.append(b"\r\n")
            return b"".join(lines)
        # With 200, a Location is no redirect (RFC 9110 section 10.2.2).
        if status > 200 and turn_back is not None and b"location" in parsed:
            parsed = {**parsed, b"location": turn_back(parsed[b"location"], forward.head)}
        for name in parsed:
            label = labels.get(name)
            if label is not None:
                lines.append(label)
                lines.append(parsed[name])
        # RFC 9110 section 6.6.1: a recipient with a clock adds a Date to a response that has none.
        if adds_date and b"date" not in parsed:
            lines.append(b"\r\nDate: " + date())
        ident = forward.request_id.encode()
        lines.append(b"\r\nX-Request-Id: %b\r\n%b%b" % (ident, forward.fields, fixed))
        return b"".join(lines)

    return down
