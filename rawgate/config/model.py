"""The configuration as values: what a checked file becomes, and what a Python configuration builds.

Durations are seconds (float), sizes are octets (int) once loaded; in a file, and in a Python configuration too, they
may be written as "250ms", "5s", "1m", "1h" and "16KiB", "10MiB". Meaning, default and range stand beside each field:
the marks say what may be written, `convert` holds every configuration to them, and `schema` tells them to editors.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from ipaddress import IPv4Network, IPv6Network
from os.path import realpath
from typing import Annotated, Literal

from msgspec import Struct

from rawgate.config import constraints
from rawgate.config.constraints import (
    HOUR,
    KIB,
    MIB,
    Count,
    Description,
    Duration,
    Essential,
    Example,
    ListOf,
    Size,
    Token,
)
from rawgate.config.reserved_names import (
    FIELD,
    METHOD,
    NOT_API_KEY,
    NOT_CLIENT_IP,
    NOT_CORS_HEADER,
    NOT_CORS_METHOD,
    NOT_METHOD,
    NOT_UNTRUSTED,
    NOT_UPGRADE,
    PROTOCOL,
)
from rawgate.errors import REASONS

Network = IPv4Network | IPv6Network
Trusted = Network | Literal["unix"]
"""Whose word is taken: whoever connects from that network, or over a Unix socket."""
Rewriter = Callable[[str], str]
"""A Python configuration's rewrite: the normalised path (without query) → the path to send; checked again after."""

Seconds = Annotated[float, Duration()]
"""Above zero."""
SecondsOrZero = Annotated[float, Duration(least=0.0)]


class Secret(Struct, frozen=True):
    """Key material and where it came from. Never printed."""

    source: str
    value: bytes

    def __repr__(self) -> str:
        return f"<secret {self.source}>"


class Listen(Struct, frozen=True):
    """One address to listen on: `host` and `port` (1–65535; 0: any free one), or `path` of a Unix socket. `mode`: the
    socket's permission bits, by which the system says who may connect; None: what the umask leaves."""

    host: str = ""
    port: int = 0
    path: str = ""
    mode: int | None = None


EVERY_ADDRESS = {4: "0.0.0.0", 6: "::"}  # noqa: S104 (compared with, never bound from here)
"""By version of IP: the address that stands for all of a host's."""


def _place(listen: Listen) -> object:
    """What is opened: two sockets of one place are one. Any free port is a place of its own."""
    if listen.path:
        return realpath(listen.path)
    return (listen.host, listen.port) if listen.port else None


def _overlap(listen: Listen, other: Listen) -> str:
    """Why the system opens only one of two addresses, or "". IPv4 and IPv6 do not meet: an IPv6 socket of rawgate takes
    IPv6 alone, as nginx's does."""
    version = 6 if ":" in listen.host else 4
    every = EVERY_ADDRESS[version]
    same_port = listen.port == other.port != 0 and (":" in listen.host) == (":" in other.host)
    if not same_port or listen.host == other.host or every not in (listen.host, other.host):
        return ""
    return f"{f'[{every}]' if version == 6 else every} takes port {listen.port} of every IPv{version} address"


class Timeouts(Struct, frozen=True, kw_only=True):
    """How long the gateway waits for a client, and for its own end. Seconds."""

    head: Annotated[Seconds, Description("For a whole request head, from its first byte; then 408.")] = 10.0
    body: Annotated[Seconds, Description("For the next byte of a request body; then 408.")] = 30.0
    send: Annotated[
        Seconds, Description("For a client to take the next byte of an answer; then the connection is cut.")
    ] = 30.0
    keep_alive: Annotated[Seconds, Description("For the next request on an idle connection; then it is closed.")] = 75.0
    drain: Annotated[SecondsOrZero, Description("At a stop: for requests that have begun; then they are cut.")] = 30.0
    pre_stop: Annotated[
        SecondsOrZero, Description("At a stop: keep serving for so long first, so that load balancers can learn of it.")
    ] = 0.0


class Limits(Struct, frozen=True, kw_only=True):
    """What one client may take. Sizes in octets."""

    head: Annotated[int, Size(least=KIB, most=MIB), Description("Size of a request head, in all; beyond: 431.")] = (
        16 * KIB
    )
    headers: Annotated[int, Count(1, 10_000), Description("Field lines of a request head; beyond: 431.")] = 100
    target: Annotated[int, Size(least=64, most=MIB), Description("Size of a request target; beyond: 414.")] = 8 * KIB
    body: Annotated[int, Size(), Description("Size of a request body; beyond: 413. Routes may say otherwise.")] = (
        10 * MIB
    )
    body_rate: Annotated[
        int, Size(), Description('Least octets a second of a request body, over 10 s, while they are read; "0B": any.')
    ] = 240
    connections: Annotated[int, Count(1, 10_000_000), Description("Open client connections; beyond: 503.")] = 10_000
    per_address: Annotated[
        Annotated[int, Count(1, 10_000_000)] | None,
        Description("Open connections of one client address; left out: any."),
    ] = None
    buffers: Annotated[
        int,
        Size(least=MIB),
        Description(
            "What all client connections together may hold in memory, unread or unsent; beyond it those that hold most "
            "are closed."
        ),
    ] = 256 * MIB
    limiter_keys: Annotated[
        int,
        Count(1, 100_000_000),
        Description("Clients that the limiter remembers, about 400 bytes each; and as many addresses."),
    ] = 100_000


class Gateway(Struct, frozen=True, kw_only=True):
    """The listener's side."""

    listen: Annotated[
        tuple[Annotated[Listen, constraints.ListenAddress()], ...],
        ListOf(key=_place, clash=_overlap),
        Description(
            "Where to listen. Port 0: any free one. Of a Unix socket the permissions can be given, too: "
            '{ address = "unix:PATH", mode = "0660" }.'
        ),
    ]
    workers: Annotated[
        int,
        constraints.NotBuilt(1, "more than one worker process is not built yet"),
        Description("Processes that serve."),
    ] = 1
    parser: Annotated[
        Literal["fast", "h11"],
        Description('"fast": common heads by rawgate itself, all others by h11. "h11": all by h11.'),
    ] = "fast"
    half_close: Annotated[
        Literal["abort", "serve"],
        Description(
            'A FIN from a client whose request is being served: "abort", it is gone, the request is given up (as nginx '
            'and Envoy do); "serve", it only sends no more, and is served.'
        ),
    ] = "abort"
    admin: Annotated[None, constraints.NotBuilt(None, "metrics, health and status are not built yet")] = None
    trusted_proxies: Annotated[
        tuple[Annotated[Trusted, constraints.AddressRange()], ...],
        ListOf(empty=True),
        Description(
            'Networks whose X-Forwarded-* and X-Request-Id fields are believed; "unix": whoever connects over a Unix '
            "socket."
        ),
    ] = ()
    client_ip_header: Annotated[
        Annotated[str, Token(FIELD, lower=True, refused=NOT_CLIENT_IP)] | None,
        Description(
            'Field in which trusted proxies give the client\'s address, such as "cf-connecting-ip"; it is stripped '
            "from everyone else. Left out: X-Forwarded-For is walked. Lower-cased."
        ),
    ] = None
    merge_slashes: Annotated[
        bool, Description("Read // in a path as /. At the start of a path it is one slash in any case.")
    ] = True
    case: Annotated[
        Literal["exact", "ignore"],
        Description(
            '"ignore": routes match letters in either case, for services that do so (Express by default, IIS).'
        ),
    ] = "exact"
    untrusted_headers: Annotated[
        tuple[Annotated[str, Token(FIELD, lower=True, refused=NOT_UNTRUSTED, family=True)], ...],
        ListOf(empty=True),
        Description(
            'Further fields that are taken from all but trusted proxies; "x-team-*": all that begin so. Lower-cased.'
        ),
    ] = ()
    timeouts: Annotated[Timeouts, Description("How long the gateway waits for clients, and for its own end.")] = (
        Timeouts()
    )
    limits: Annotated[Limits, Description("What one client may take.")] = Limits()


class Jwt(Struct, frozen=True, kw_only=True):
    """One verifier: one algorithm, and exactly one of `secret` (HS256), `public_key` and `jwks` (RS256)."""

    algorithm: Annotated[
        Literal["HS256", "RS256"],
        Description("The only algorithm accepted: HS256 takes a secret, RS256 a public_key or jwks."),
    ]
    secret: Annotated[
        tuple[Annotated[Secret, constraints.Source(whole=True)], ...],
        ListOf(single=True),
        Essential(),
        Description("Of HS256: at least 32 octets; a list, for rotation."),
    ] = ()
    secret_encoding: Annotated[
        Literal["text", "base64", "base64url", "hex"],
        Description('How `secret` is written: "text", the octets as they are; the others are decoded first.'),
    ] = "text"  # noqa: S105 - a notation, no secret
    public_key: Annotated[
        tuple[Annotated[Secret, constraints.Source()], ...],
        ListOf(single=True),
        Essential(),
        Description("Of RS256: a PEM of at least 2048 bits; a list, for rotation."),
    ] = ()
    jwks: Annotated[
        Annotated[Secret, constraints.Source(schemes=("file",))] | None,
        Essential(),
        Description("Of RS256: the identity provider's key set, as JSON (RFC 7517)."),
    ] = None
    issuer: Annotated[
        Annotated[str, constraints.Text()] | None, Description("What `iss` must be; left out: it is not looked at.")
    ] = None
    audience: Annotated[
        Annotated[str, constraints.Text()] | None,
        Description('What `aud` must be or contain. "*": any; left out: a token that has an `aud` is refused.'),
    ] = None
    leeway: Annotated[
        float, Duration(least=0.0, most=HOUR), Description("How far clocks may differ: for exp and nbf.")
    ] = 30.0
    require_exp: Annotated[bool, Description("Refuse tokens that never expire.")] = True


class ApiKeys(Struct, frozen=True, kw_only=True):
    """A table of keys, and the field in which clients send them."""

    header: Annotated[
        str,
        Token(FIELD, lower=True, refused=NOT_API_KEY),
        Description("Field in which clients send the key. Lower-cased."),
    ]
    keys: Annotated[
        Secret,
        constraints.Source(),
        Description("Where the list of keys is: name:KEY, name:sha256:HEX64 or a bare KEY, by commas or newlines."),
    ]


class Target(Struct, frozen=True):
    """Where an upstream listens. `host` is lower-cased, an IPv6 address without brackets. `authority` is what the Host
    field says: the port left out when it is 80."""

    host: str
    port: int
    authority: str


class Upstream(Struct, frozen=True, kw_only=True):
    """A service. Seconds; counts of connections and of waiting requests."""

    targets: Annotated[
        tuple[Annotated[Target, constraints.TargetUrl()], ...],
        ListOf(),
        Description(
            "Where the service listens; several take turns, and one that cannot be reached is left out for 5 s."
        ),
    ]
    connect_timeout: Annotated[Seconds, Description("For a connection, over all targets; then 504.")] = 3.0
    response_timeout: Annotated[Seconds, Description("For the final head of an answer; then 504.")] = 5.0
    idle_timeout: Annotated[Seconds, Description("For the next byte of an answer's body; then it is cut.")] = 60.0
    total_timeout: Annotated[Seconds | None, Description("For a whole exchange; left out: as long as it takes.")] = None
    max_connections: Annotated[
        int,
        Count(1, 100_000),
        Description("Connections to the service, all targets together; tunnels are counted apart."),
    ] = 256
    keep_alive: Annotated[
        Seconds, Description("How long an idle connection is kept; less than the service itself keeps it.")
    ] = 55.0
    queue: Annotated[int, Count(0, 1_000_000), Description("Requests that may wait for a connection; beyond: 503.")] = (
        128
    )
    queue_timeout: Annotated[Seconds, Description("How long they may wait; then 503.")] = 1.0
    per_client: Annotated[
        Annotated[int, Count(1, 100_000)] | None,
        Description(
            "Connections that one client address may hold while others wait for one; alone it may hold all. Left out: "
            "a quarter of max_connections."
        ),
    ] = None
    reuse: Annotated[
        Literal["always", "after-bodiless"],
        Description(
            'Whether a connection is used for another request. "after-bodiless": not when a request with a body has '
            "passed; for a service that answers without reading bodies, and would take one for a request."
        ),
    ] = "always"
    max_tunnels: Annotated[
        Annotated[int, Count(1, 10_000_000)] | None,
        Description(
            "Tunnels (WebSockets), which do not count as connections; beyond: 503. Left out: as many as there may be "
            "clients."
        ),
    ] = None
    tunnel_idle: Annotated[
        Seconds, Description("For the next byte either way of a tunnel (WebSocket); then it ends.")
    ] = 3600.0
    tunnel_max_age: Annotated[Seconds, Description("How old a tunnel (WebSocket) may become.")] = 86400.0


class RegexRewrite(Struct, frozen=True):
    """A path made from the old one by a regular expression."""

    pattern: Annotated[
        str,
        constraints.Text("a regular expression"),
        Description(
            "Matched against the whole path as routes are: normalised, percent-decoded, without query. It may not be"
            " able to run away: two repeats share no text, unless what follows takes anything."
        ),
    ]
    to: Annotated[
        str,
        constraints.Text("a path, with \\1 or \\g<name> for groups,"),
        Description(
            "What it becomes. Groups are sent as they came; a result that cannot be sent is answered with 500."
        ),
    ]


class RateLimit(Struct, frozen=True):
    """At most `max` requests in any interval of length `window` (seconds)."""

    max: Annotated[int, Count(1, 1_000_000_000), Description("Requests that are let through in any window.")]
    window: Annotated[Seconds, Description("Its length: it slides, wherever it starts.")]


_HEADER_RULES = '{ set = { X-Team = "a" }, remove = ["X-Debug"] }'


class HeaderRules(Struct, frozen=True):
    """Names in any case."""

    set: Annotated[
        dict[Annotated[str, Token(FIELD)], Annotated[str, constraints.FieldValue()]],
        Example('{ X-Team = "a" }'),
        Description("Fields to write, in place of those of that name."),
    ] = {}
    remove: Annotated[
        tuple[Annotated[str, Token(FIELD)], ...], ListOf(empty=True, key=str.lower), Description("Fields to take away.")
    ] = ()


class Cors(Struct, frozen=True, kw_only=True):
    """Which web pages of other origins may call the route, and how. The gateway answers the preflights."""

    origins: Annotated[
        tuple[Annotated[str, constraints.Origin()], ...],
        ListOf(),
        Description('Origins exactly as browsers send them; ["*"]: any, without credentials.'),
    ]
    methods: Annotated[
        tuple[Annotated[str, Token(METHOD, refused=NOT_CORS_METHOD)], ...],
        ListOf(),
        Description("Methods that pages may use."),
    ] = ("GET", "HEAD", "POST")
    headers: Annotated[
        tuple[Annotated[str, Token(FIELD, refused=NOT_CORS_HEADER)], ...],
        ListOf(empty=True, key=str.lower),
        Description("Request fields that pages may set."),
    ] = ()
    expose: Annotated[
        tuple[Annotated[str, Token(FIELD, refused=NOT_CORS_HEADER)], ...],
        ListOf(empty=True, key=str.lower),
        Description("Fields of answers that pages may read, besides those that the gateway itself writes."),
    ] = ()
    max_age: Annotated[SecondsOrZero, Description("How long browsers may remember a preflight.")] = 600.0
    credentials: Annotated[bool, Description("Whether pages may send cookies and the like.")] = False


class Route(Struct, frozen=True, kw_only=True):
    """One route. Host and path select the first that matches; then the method."""

    prefix: Annotated[
        str,
        constraints.PathPrefix(),
        Description(
            "Paths that begin with these whole segments: /api/users is also /api/users/7, but not /api/usersX."
        ),
    ]
    upstream: Annotated[
        str, constraints.Reference("upstreams", "an upstream"), Description("The service that answers.")
    ]
    auth: Annotated[str, constraints.Auth(), Description("Who may call. Required, so that open routes are said aloud.")]
    name: Annotated[
        str,
        constraints.Label(),
        Description(
            "For log, limiter and tests; unique. Left out: host and prefix, with the methods ahead where two routes "
            "differ only in those."
        ),
    ] = ""
    host: Annotated[
        Annotated[str, constraints.Host()] | None,
        Essential(),
        Description("Only requests to this host; left out: any. Without port, lower-cased."),
    ] = None
    methods: Annotated[
        tuple[Annotated[str, Token(METHOD, refused=NOT_METHOD)], ...] | None,
        ListOf(),
        Essential(),
        Description("Only these methods, else 405; left out: any."),
    ] = None
    rewrite: Annotated[
        Annotated[str, constraints.PathPrefix("what lies below the prefix is kept")] | RegexRewrite | Rewriter | None,
        Description("The path that the service sees: what replaces the prefix, or a pattern and what it becomes."),
    ] = None
    rate_limit: Annotated[
        RateLimit | None,
        Example('{ max = 100, window = "1m" }'),
        Description("How often one client may call; beyond: 429."),
    ] = None
    upstream_host: Annotated[
        Literal["upstream", "pass"], Description('The Host field up: "upstream", the target\'s; "pass", the client\'s.')
    ] = "upstream"
    request_headers: Annotated[
        HeaderRules, Example(_HEADER_RULES), Description("What to change in the fields that go up.")
    ] = HeaderRules()
    response_headers: Annotated[
        HeaderRules,
        Example(_HEADER_RULES),
        Description("What to change in the fields that come down. What is set is on the gateway's own replies, too."),
    ] = HeaderRules()
    rewrite_location: Annotated[
        bool,
        Description(
            "Turn a Location that names the service itself, or a path that replaced the prefix, back into the client's "
            "form."
        ),
    ] = True
    response_timeout: Annotated[Seconds | None, Description("In place of the upstream's.")] = None
    body: Annotated[
        Annotated[int, Size()] | None, Description("Size of a request body, in place of the gateway's.")
    ] = None
    upgrade: Annotated[
        tuple[Annotated[str, Token(PROTOCOL, lower=True, refused=NOT_UPGRADE)], ...],
        ListOf(empty=True),
        Description("Protocols that may tunnel through; []: none. Lower-cased."),
    ] = ("websocket",)
    encoded_slash: Annotated[
        Literal["reject", "keep"], Description("What becomes of %2F and %5C in a path: 400, or passed on as they are.")
    ] = "reject"
    path_parameters: Annotated[
        Literal["strict", "keep"],
        Description(
            "Routes are matched without the parameters of a path (;v=1), which are sent on. What becomes of a path "
            "that would come to another route with them: 400, or this route."
        ),
    ] = "strict"
    case: Annotated[
        Literal["exact", "ignore"] | None, Description("Of letters in the path, in place of the gateway's.")
    ] = None
    cors: Annotated[
        Cors | None,
        Example('{ origins = ["https://app.example.com"] }'),
        Description("Which web pages of other origins may call; left out: none."),
    ] = None
    forward_credentials: Annotated[
        bool | None, Description("Whether the service sees the token or key. Left out: tokens yes, API keys no.")
    ] = None


def route_names(routes: Sequence[Route]) -> list[str]:
    """What each is called: by its name, else by its host and prefix, and by its methods where another one without a
    name has the same two."""
    places = [f"{route.host or ''}{route.prefix}" for route in routes]
    unnamed = Counter(place for place, route in zip(places, routes, strict=True) if not route.name)
    return [
        route.name or (f"{','.join(route.methods)} {place}" if unnamed[place] > 1 and route.methods else place)
        for place, route in zip(places, routes, strict=True)
    ]


class Expect(Struct, frozen=True, kw_only=True):
    """What a test expects of its request."""

    route: Annotated[
        Annotated[str, constraints.Reference("routes", "a route")] | None,
        Description("The name of the route that takes it."),
    ] = None
    path: Annotated[
        Annotated[str, constraints.Pathname()] | None, Description("The path and query that the service sees.")
    ] = None
    headers: Annotated[
        dict[Annotated[str, Token(FIELD)], Annotated[str, constraints.FieldValue(beyond_ascii=True)]],
        Example('{ X-User-Id = "alice" }'),
        Description('Fields that the service sees, or those of the gateway\'s own answer; "": there is none.'),
    ] = {}
    status: Annotated[
        Annotated[int, Count(100, 599)] | None, Description("The status of the gateway's own answer.")
    ] = None
    reason: Annotated[
        Annotated[str, constraints.Choice(tuple(REASONS), "a reason code")] | None,
        Description("The reason code of the log."),
    ] = None


class Test(Struct, frozen=True, kw_only=True):
    """One of the configuration's own tests. `claims` or `api_key` stand in for a verified credential."""

    request: Annotated[str, constraints.RequestLine(), Description("Method and target of a request.")]
    expect: Annotated[Expect, Example("{ status = 401 }"), Description("What becomes of it.")]
    headers: Annotated[
        dict[Annotated[str, Token(FIELD)], Annotated[str, constraints.FieldValue(beyond_ascii=True)]],
        Example('{ Origin = "https://app.example.com" }'),
        Description("Fields of the request; a credential among them is checked where nothing stands in for it."),
    ] = {}
    claims: Annotated[
        dict[str, Annotated[object, constraints.Json()]] | None,
        Example('{ sub = "alice" }'),
        Description("As if it came with a good token that says this: the body of one may be pasted here."),
    ] = None
    api_key: Annotated[
        Annotated[str, constraints.Text()] | None, Description("As if it came with the key of this name.")
    ] = None


class Config(Struct, frozen=True, kw_only=True):
    """A whole configuration."""

    gateway: Annotated[
        Gateway, Example('[gateway] with listen = ["127.0.0.1:8080"]'), Description("The listener's side.")
    ]
    upstreams: Annotated[
        dict[
            Annotated[str, constraints.TableName()], Annotated[Upstream, Example('{ targets = ["http://HOST:PORT"] }')]
        ],
        ListOf(),
        Example("[upstreams.NAME], one for each service"),
        Description("The services behind the gateway, by name."),
    ]
    routes: Annotated[
        tuple[Route, ...],
        ListOf(
            keys=lambda routes: route_names(routes),
            at=("name",),
            once="a name of its own; it is host and prefix unless written",
        ),
        Example("[[routes]], once for each route"),
        Description("What goes where; tried in order."),
    ]
    jwt: Annotated[
        dict[Annotated[str, constraints.TableName()], Annotated[Jwt, Example("[jwt.NAME]")]],
        Example("[jwt.NAME], one for each verifier"),
        Description("Verifiers of bearer tokens, by name."),
    ] = {}
    api_keys: Annotated[
        dict[Annotated[str, constraints.TableName()], Annotated[ApiKeys, Example("[api_keys.NAME]")]],
        Example("[api_keys.NAME], one for each table of keys"),
        Description("Tables of API keys, by name."),
    ] = {}
    tests: Annotated[
        tuple[Test, ...],
        ListOf(empty=True, key=lambda test: None),
        Example("[[tests]], once for each test"),
        Description("Requests and what must become of them: run by `rawgate test` and `rawgate check`."),
    ] = ()
