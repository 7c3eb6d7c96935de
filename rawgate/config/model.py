"""The configuration as values: what a checked file becomes, and what a Python configuration builds.

Durations are seconds (float), sizes are octets (int) once loaded; in a file, and in a Python configuration too, they
may be written as "250ms", "5s", "1m", "1h" and "16KiB", "10MiB". Defaults and ranges stand beside each field: the marks
say what may be written, and `convert` holds every configuration to them.
"""

from collections.abc import Callable
from ipaddress import IPv4Network, IPv6Network
from typing import Annotated, Literal

from msgspec import Struct

from rawgate.config import marks
from rawgate.config.marks import HOUR, KIB, MIB, Count, Duration, Essential, Many, Size, Token
from rawgate.config.vocabulary import (
    FIELD,
    METHOD,
    NOT_API_KEY,
    NOT_CLIENT_IP,
    NOT_CORS_HEADER,
    NOT_METHOD,
    NOT_UPGRADE,
    PROTOCOL,
)
from rawgate.errors import REASONS

Network = IPv4Network | IPv6Network
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
    """One address to listen on: `host` and `port` (1–65535; 0: any free one), or `path` of a Unix socket."""

    host: str = ""
    port: int = 0
    path: str = ""


class Timeouts(Struct, frozen=True, kw_only=True):
    """Seconds. `head`: the whole request head from its first octet. `body`, `send`: without progress."""

    head: Seconds = 10.0
    body: Seconds = 30.0
    send: Seconds = 30.0
    keep_alive: Seconds = 75.0
    drain: SecondsOrZero = 30.0
    pre_stop: SecondsOrZero = 0.0


class Limits(Struct, frozen=True, kw_only=True):
    """`head`, `target`, `body`: octets. `headers`: field lines. `body_rate`: octets a second, over 10 s; 0: any.

    `connections` and `per_address` count open client connections, `limiter_keys` the clients remembered by the limiter.
    """

    head: Annotated[int, Size(least=KIB, most=MIB)] = 16 * KIB
    headers: Annotated[int, Count(1, 10_000)] = 100
    target: Annotated[int, Size(least=64, most=MIB)] = 8 * KIB
    body: Annotated[int, Size()] = 10 * MIB
    body_rate: Annotated[int, Size()] = 240
    connections: Annotated[int, Count(1, 10_000_000)] = 10_000
    per_address: Annotated[int, Count(1, 10_000_000)] | None = None
    limiter_keys: Annotated[int, Count(1, 100_000_000)] = 100_000


class Gateway(Struct, frozen=True, kw_only=True):
    """The listener's side. `client_ip_header` is lower-cased."""

    listen: Annotated[
        tuple[Annotated[Listen, marks.ListenAddress()], ...],
        Many(key=lambda listen: listen if listen.path or listen.port else None),
    ]
    workers: Annotated[int, marks.Only(1, "more than one worker process is not built yet")] = 1
    parser: Literal["fast", "h11"] = "fast"
    admin: Annotated[None, marks.Only(None, "metrics, health and status are not built yet")] = None
    trusted_proxies: Annotated[tuple[Annotated[Network, marks.AddressRange()], ...], Many(empty=True)] = ()
    client_ip_header: Annotated[str, Token(FIELD, lower=True, refused=NOT_CLIENT_IP)] | None = None
    merge_slashes: bool = True
    timeouts: Timeouts = Timeouts()
    limits: Limits = Limits()


class Jwt(Struct, frozen=True, kw_only=True):
    """One verifier: one algorithm, and exactly one of `secret` (HS256), `public_key` and `jwks` (RS256).

    `jwks` holds the key set's document. `audience` "*": any. `leeway`: seconds.
    """

    algorithm: Literal["HS256", "RS256"]
    secret: Annotated[tuple[Annotated[Secret, marks.Source(strip=True)], ...], Many(single=True), Essential()] = ()
    public_key: Annotated[tuple[Annotated[Secret, marks.Source()], ...], Many(single=True), Essential()] = ()
    jwks: Annotated[Annotated[Secret, marks.Source(schemes=("file",))] | None, Essential()] = None
    issuer: Annotated[str, marks.Text()] | None = None
    audience: Annotated[str, marks.Text()] | None = None
    leeway: Annotated[float, Duration(least=0.0, most=HOUR)] = 30.0
    require_exp: bool = True


class ApiKeys(Struct, frozen=True, kw_only=True):
    """`header` is lower-cased; `keys` is the text that lists the keys."""

    header: Annotated[str, Token(FIELD, lower=True, refused=NOT_API_KEY)]
    keys: Annotated[Secret, marks.Source(strip=True)]


class Target(Struct, frozen=True):
    """Where an upstream listens. `host` is lower-cased, an IPv6 address without brackets. `authority` is what the Host
    field says: the port left out when it is 80."""

    host: str
    port: int
    authority: str


class Upstream(Struct, frozen=True, kw_only=True):
    """Seconds; counts of connections and of waiting requests. `total_timeout` None: no limit."""

    targets: Annotated[tuple[Annotated[Target, marks.TargetUrl()], ...], Many()]
    connect_timeout: Seconds = 3.0
    response_timeout: Seconds = 5.0
    idle_timeout: Seconds = 60.0
    total_timeout: Seconds | None = None
    max_connections: Annotated[int, Count(1, 100_000)] = 256
    keep_alive: Seconds = 55.0
    queue: Annotated[int, Count(0, 1_000_000)] = 128
    queue_timeout: Seconds = 1.0
    tunnel_idle: Seconds = 3600.0
    tunnel_max_age: Seconds = 86400.0


class RegexRewrite(Struct, frozen=True):
    """`pattern` is matched against the whole normalised path; `to` may use \\1 and \\g<name>."""

    pattern: Annotated[str, marks.Text("a regular expression")]
    to: Annotated[str, marks.Text("a path, with \\1 or \\g<name> for groups,")]


class RateLimit(Struct, frozen=True):
    """At most `max` (≥ 1) requests in any `window` (seconds, > 0)."""

    max: Annotated[int, Count(1, 1_000_000_000)]
    window: Seconds


class HeaderRules(Struct, frozen=True):
    """`set` replaces or adds, `remove` takes away; names in any case."""

    set: dict[Annotated[str, Token(FIELD)], Annotated[str, marks.FieldValue()]] = {}
    remove: Annotated[tuple[Annotated[str, Token(FIELD)], ...], Many(empty=True, key=str.lower)] = ()


class Cors(Struct, frozen=True, kw_only=True):
    """`origins` may be ("*",) when `credentials` is false. `max_age` in seconds."""

    origins: Annotated[tuple[Annotated[str, marks.Origin()], ...], Many()]
    methods: Annotated[tuple[Annotated[str, Token(METHOD, refused=NOT_METHOD)], ...], Many()] = ("GET", "HEAD", "POST")
    headers: Annotated[
        tuple[Annotated[str, Token(FIELD, refused=NOT_CORS_HEADER)], ...], Many(empty=True, key=str.lower)
    ] = ()
    max_age: SecondsOrZero = 600.0
    credentials: bool = False


class Route(Struct, frozen=True, kw_only=True):
    """One route. `name` defaults to the prefix. `auth` is "jwt.NAME", "api_keys.NAME" or "none".

    `host` and the tokens of `upgrade` are lower-cased; `host` is without port, an IPv6 address in brackets. `body` in
    octets.
    """

    prefix: Annotated[str, marks.PathPrefix()]
    upstream: Annotated[str, marks.Reference("upstreams", "an upstream")]
    auth: Annotated[str, marks.Auth()]
    name: Annotated[str, marks.Label()] = ""
    host: Annotated[Annotated[str, marks.Host()] | None, Essential()] = None
    methods: Annotated[tuple[Annotated[str, Token(METHOD, refused=NOT_METHOD)], ...], Many(), Essential()] | None = None
    rewrite: Annotated[str, marks.PathPrefix()] | RegexRewrite | Rewriter | None = None
    rate_limit: RateLimit | None = None
    upstream_host: Literal["upstream", "pass"] = "upstream"
    request_headers: HeaderRules = HeaderRules()
    response_headers: HeaderRules = HeaderRules()
    response_timeout: Seconds | None = None
    body: Annotated[int, Size()] | None = None
    upgrade: Annotated[
        tuple[Annotated[str, Token(PROTOCOL, lower=True, refused=NOT_UPGRADE)], ...], Many(empty=True)
    ] = ("websocket",)
    encoded_slash: Literal["reject", "keep"] = "reject"
    cors: Cors | None = None
    forward_credentials: bool | None = None


class Expect(Struct, frozen=True, kw_only=True):
    """What a test expects of its request."""

    route: Annotated[str, marks.Reference("routes", "a route")] | None = None
    path: Annotated[str, marks.Pathname()] | None = None
    headers: dict[Annotated[str, Token(FIELD)], Annotated[str, marks.FieldValue()]] = {}
    status: Annotated[int, Count(100, 599)] | None = None
    reason: Annotated[str, marks.Choice(tuple(REASONS), "a reason code")] | None = None


class Test(Struct, frozen=True, kw_only=True):
    """One of the configuration's own tests. `claims` or `api_key` stand in for a verified credential."""

    request: Annotated[str, marks.RequestLine()]
    expect: Expect
    claims: dict[str, Annotated[str, marks.Text()]] | None = None
    api_key: Annotated[str, marks.Text()] | None = None


class Config(Struct, frozen=True, kw_only=True):
    """A whole configuration. Tables are keyed by name; routes are tried in order."""

    gateway: Gateway
    upstreams: Annotated[dict[Annotated[str, marks.TableName()], Upstream], Many()]
    routes: Annotated[
        tuple[Route, ...],
        Many(
            key=lambda route: route.name or route.prefix,
            at=("name",),
            once="a name of its own; it is the prefix unless written",
        ),
    ]
    jwt: dict[Annotated[str, marks.TableName()], Jwt] = {}
    api_keys: dict[Annotated[str, marks.TableName()], ApiKeys] = {}
    tests: Annotated[tuple[Test, ...], Many(empty=True, key=lambda test: None)] = ()
