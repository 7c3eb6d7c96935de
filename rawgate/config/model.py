"""The configuration as values: what a checked file becomes, and what a Python configuration builds.

Once loaded, durations are seconds (float) and sizes are octets (int). A file writes them as "250ms", "5s", "1m", "1h"
and "16KiB", "10MiB"; a Python configuration may do so too.

Each field says what it means (`Description`), what may be written for it (the other constraints), and its default.
`convert` holds every configuration to the constraints, and `schema` shows them in editors. The comment above a field
names the precedent that its default follows, or says why the default differs.

It is long because it is the one list of all keys: whoever looks for a key, its default or its meaning reads here only.
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
    Percent,
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
    NOT_LOGGED,
    NOT_MATCHED,
    NOT_METHOD,
    NOT_UNTRUSTED,
    NOT_UPGRADE,
    PROTOCOL,
)
from rawgate.errors import REASONS, Key
from rawgate.message import authority_of

Network = IPv4Network | IPv6Network
MOST_WORKERS = 128
"""More than a host of today has processors for a gateway; each has a column in the tables that workers share."""

Trusted = Network | Literal["unix"]
"""Who is believed: whoever connects from that network, or over a Unix socket."""
Rewriter = Callable[[str], str]
"""A rewrite as a function, in a Python configuration: the normalised path without query → the path to send. The gate
checks what it returns."""

Seconds = Annotated[float, Duration()]
"""Above zero."""
SecondsOrZero = Annotated[float, Duration(least=0.0)]
Part = Annotated[float, Percent()]
"""Above zero, and at most 1."""


class Secret(Struct, frozen=True):
    """Key material (`value`), and where it was read from (`source`). Its repr does not show the value."""

    source: str
    value: bytes

    def __repr__(self) -> str:
        return f"<secret {self.source}>"


class KeySetUrl(Struct, frozen=True):
    """Where a key set is fetched from, again and again. `url`: "https://…", or "http://…" on this host; "" for the one
    that the issuer's discovery document names."""

    url: str = ""


class StoreUrl(Struct, frozen=True, kw_only=True):
    """Where a store is.

    text      as it was written
    kind      "server", "sentinel" or "cluster"
    hosts     name or address, and port: of the server, of Sentinels, of nodes of a Cluster
    path      of a Unix socket, in place of a host
    user      "": the default one
    service   the name under which Sentinels know the server
    database  its number
    """

    text: str
    kind: str = "server"
    tls: bool = False
    hosts: tuple[tuple[str, int], ...] = ()
    path: str = ""
    user: str = ""
    service: str = ""
    database: int = 0


class Listen(Struct, frozen=True):
    """One address to listen on: either `host` and `port`, or the `path` of a Unix socket.

    port  1 to 65535; 0 for any free one
    mode  permission bits of the Unix socket, which decide who may connect; None for those that the umask leaves
    tls   the name of the `[tls.NAME]` that is spoken there; "": plain HTTP
    proxy_protocol  each connection begins with a header of the PROXY protocol
    """

    host: str = ""
    port: int = 0
    path: str = ""
    mode: int | None = None
    tls: str = ""
    proxy_protocol: bool = False


def listen_name(listen: Listen) -> str:
    """An address as users write it, without its mode."""
    return f"unix:{listen.path}" if listen.path else authority_of(str(listen.host), listen.port)


EVERY_ADDRESS = {4: "0.0.0.0", 6: "::"}  # noqa: S104 (compared with, never bound from here)
"""By version of IP: the address that stands for all of a host's."""


def place(listen: Listen) -> object:
    """What the system opens: the file of a socket, or an address with its port. Two entries for one place are
    duplicates; entries for any free port never are."""
    if listen.path:
        return realpath(listen.path)
    return (listen.host, listen.port) if listen.port else None


def overlap(listen: Listen, other: Listen) -> str:
    """Why the system opens only one of two addresses, or "". IPv4 and IPv6 never clash, because an IPv6 socket of
    rawgate takes IPv6 alone, as nginx's does."""
    version = 6 if ":" in listen.host else 4
    every = EVERY_ADDRESS[version]
    same_port = listen.port == other.port != 0 and (":" in listen.host) == (":" in other.host)
    if not same_port or listen.host == other.host or every not in (listen.host, other.host):
        return ""
    return f"{f'[{every}]' if version == 6 else every} takes port {listen.port} of every IPv{version} address"


class Timeouts(Struct, frozen=True, kw_only=True):
    """How long the gateway waits for a client, and for its own end. Seconds."""

    # HAProxy as packaged by Red Hat (`timeout http-request 10s`). nginx and Apache are more patient (60 s; 20 to 40 s),
    # but a slow head costs a connection for each attempt.
    head: Annotated[Seconds, Description("For a whole request head, from its first byte; then 408.")] = 10.0
    # Half of nginx's `client_body_timeout` (60 s): bodies are streamed, so whoever pauses also holds up a connection to
    # the service.
    body: Annotated[Seconds, Description("For the next byte of a request body; then 408.")] = 30.0
    # Half of nginx's `send_timeout` (60 s), for the same reason.
    send: Annotated[
        Seconds, Description("For a client to take the next byte of a response; then the connection is cut.")
    ] = 30.0
    # nginx's `keepalive_timeout`. It is longer than the 60 s for which AWS balancers keep an idle connection, so the
    # balancer closes first and no request meets a connection that is just being closed.
    keep_alive: Annotated[Seconds, Description("For the next request on an idle connection; then it is closed.")] = 75.0
    # The grace period of Kubernetes (`terminationGracePeriodSeconds`).
    drain: Annotated[SecondsOrZero, Description("At a stop: for requests that have begun; then they are cut.")] = 30.0
    # Kubernetes, too, waits before SIGTERM only where a `preStop` hook says so.
    pre_stop: Annotated[
        SecondsOrZero, Description("At a stop: keep serving for so long first, so that load balancers can learn of it.")
    ] = 0.0


class Limits(Struct, frozen=True, kw_only=True):
    """What clients may take. Sizes in octets."""

    # HAProxy's buffer (`tune.bufsize`), which a whole head has to fit in. nginx takes four times 8 KiB.
    head: Annotated[int, Size(least=KIB, most=MIB), Description("Size of a whole request head; beyond: 431.")] = (
        16 * KIB
    )
    # Apache's `LimitRequestFields`, and Kestrel's `MaxRequestHeaderCount`.
    headers: Annotated[int, Count(1, 10_000), Description("Field lines of a request head; beyond: 431.")] = 100
    # nginx's and Kestrel's limit of a request line; Apache's is two octets less. RFC 9112 section 3 asks for 8,000.
    target: Annotated[int, Size(least=64, most=MIB), Description("Size of a request target; beyond: 414.")] = 8 * KIB
    # Amazon API Gateway's limit (10 MB). nginx's 1 MiB is known for surprising people, Kestrel takes 30 MB, Kong any.
    body: Annotated[int, Size(), Description("Size of a request body; beyond: 413. A route may set its own.")] = (
        10 * MIB
    )
    # Kestrel's `MinRequestBodyDataRate`, with twice its period of grace (5 s): phones lose their network for longer.
    body_rate: Annotated[
        int,
        Size(),
        Description('Least octets a second of a request body, over 10 s in which they are read; "0B": any.'),
    ] = 240
    # No precedent: nginx takes 512 for each worker, Kestrel any number. 10,000 take about 160 MB.
    connections: Annotated[int, Count(1, 10_000_000), Description("Open client connections; beyond: 503.")] = 10_000
    # nginx's `limit_conn` is off unless configured: many clients may share one address.
    per_address: Annotated[
        Annotated[int, Count(1, 10_000_000)] | None,
        Description("Open connections of one client address; left out: any."),
    ] = None
    # No precedent: others bound each connection, and so only the product. This bounds the sum; it leaves 25 KiB for
    # each of 10,000 connections, and fits into a small container.
    buffers: Annotated[
        int,
        Size(least=MIB),
        Description(
            "What all client connections together may hold in memory, unread or unsent; beyond it those that hold most "
            "are closed."
        ),
    ] = 256 * MIB
    # About 40 MB. A zone of 10 MB, as in the examples of nginx's `limit_req_zone`, holds 80,000 states.
    limiter_keys: Annotated[
        int,
        Count(1, 100_000_000),
        Description("Clients that the limiter remembers, about 400 bytes each; and as many addresses."),
    ] = 100_000


MOST_LOGGED = 16
"""Request fields that a line of the log may have."""


class Log(Struct, frozen=True, kw_only=True):
    """The access log."""

    # As everybody: what is logged of a request is for the operator to say.
    fields: Annotated[
        tuple[Annotated[str, Token(FIELD, lower=True, refused=NOT_LOGGED, besides=("{certificate.name}",))], ...],
        ListOf(empty=True),
        Description(
            f"Request fields to log, as the client sent them, cut at 256 bytes each; {MOST_LOGGED} at most. "
            "Lower-cased. {certificate.name} is the name of the client's certificate."
        ),
    ] = ()
    # Every request has its line, unless somebody says that its absence says enough.
    quiet: Annotated[
        tuple[Annotated[str, constraints.Reference("routes", "a route")], ...],
        ListOf(empty=True),
        Description("Routes whose lines are left out when all went well (reason ok), such as those of health checks."),
    ] = ()


class AuthFailures(Struct, frozen=True):
    """At most `max` wrong credentials from one address in any interval of length `window` (seconds)."""

    max: Annotated[int, Count(1, 1_000_000_000), Description("Wrong credentials that are answered with 401, at once.")]
    window: Annotated[Seconds, Description("Length of the window, which slides: the limit holds wherever it starts.")]
    # nginx's `auth_delay` is off unless configured; PAM waits about 2 s after a wrong password (`pam_faildelay`).
    delay: Annotated[SecondsOrZero, Description("How long the answer to one more takes. It is 429.")] = 1.0
    shadow: Annotated[bool, Description("Slow nobody down: what it would have refused is in the log.")] = False


class Gateway(Struct, frozen=True, kw_only=True):
    """The listener's side."""

    listen: Annotated[
        tuple[Annotated[Listen, constraints.ListenAddress()], ...],
        ListOf(key=place, clash=overlap),
        Description(
            "Where to listen. Port 0: any free one. Of a Unix socket the permissions can be given, too: "
            '{ address = "unix:PATH", mode = "0660" }. { address = "…", tls = "NAME" } speaks TLS, as [tls.NAME] says. '
            "proxy_protocol = true: each connection begins with the PROXY protocol, version 1 or 2, which "
            "trusted_proxies alone may speak."
        ),
    ]
    # nginx's `worker_processes`, whose default is 1, too.
    workers: Annotated[
        Annotated[int, Count(1, MOST_WORKERS)] | Literal["auto"],
        Description(
            'Processes that serve. "auto": as many as there are processors, within the quota of CPU time that the '
            "gateway's cgroup has. A limit is one for all of them."
        ),
    ] = 1
    # The fast lane takes only heads that h11 reads in the same way, so there is no reason to do without.
    parser: Annotated[
        Literal["fast", "h11"],
        Description('"fast": common heads by rawgate itself, all others by h11. "h11": all by h11.'),
    ] = "fast"
    # nginx, Envoy and Go's server read a FIN so.
    half_close: Annotated[
        Literal["abort", "serve"],
        Description(
            'What a FIN means from a client whose request is being served. "abort": the client is gone, and the '
            'request is given up, as nginx and Envoy do. "serve": the client sends no more, and is served.'
        ),
    ] = "abort"
    # Envoy's `locality`, which has no default either.
    zone: Annotated[
        Annotated[str, constraints.TableName()] | None,
        Description(
            "Where the gateway stands. Targets with the same zone come first; the others get requests as far as those "
            "cannot take them. Left out: all are alike."
        ),
    ] = None
    # Off, as nginx's `stub_status` and HAProxy's `stats` are until configured.
    admin: Annotated[
        Annotated[Listen, constraints.ListenAddress(plain=True)] | None,
        Description(
            "Where to answer about the gateway itself: /metrics, /healthz, /readyz, /status, and a page at /. An "
            "address that is not loopback needs `admin_allow`. Left out: nowhere, and nothing is counted."
        ),
    ] = None
    # Loopback alone, as Envoy's documentation asks of its admin interface, and Caddy's and Kong's have by default.
    admin_allow: Annotated[
        tuple[Annotated[Network, constraints.AddressRange(unix=False)], ...],
        ListOf(empty=True),
        Description("Networks from which `admin` is answered, besides loopback and the Unix socket."),
    ] = ()
    # As nginx's `set_real_ip_from`: nobody is believed who is not named.
    trusted_proxies: Annotated[
        tuple[Annotated[Trusted, constraints.AddressRange()], ...],
        ListOf(empty=True),
        Description(
            'Networks whose X-Forwarded-* and X-Request-Id fields are believed; "unix": whoever connects over a Unix '
            "socket."
        ),
    ] = ()
    # X-Forwarded-For is the field that most proxies write; nginx's `real_ip_header` has X-Real-IP.
    client_ip_header: Annotated[
        Annotated[str, Token(FIELD, lower=True, refused=NOT_CLIENT_IP)] | None,
        Description(
            'Field in which trusted proxies give the client\'s address, such as "cf-connecting-ip"; it is stripped '
            "from everyone else. Left out: X-Forwarded-For is walked. Lower-cased."
        ),
    ] = None
    # nginx's `merge_slashes on`.
    merge_slashes: Annotated[
        bool, Description("Read // in a path as /. At the start of a path, // is read as / even if this is false.")
    ] = True
    # RFC 3986 section 6.2.2.1: paths are case-sensitive.
    case: Annotated[
        Literal["exact", "ignore"],
        Description('"ignore": routes match letters in either case, as some services do (Express by default, IIS).'),
    ] = "exact"
    # The names that services usually believe are untrusted already (`policy.headers`).
    untrusted_headers: Annotated[
        tuple[Annotated[str, Token(FIELD, lower=True, refused=NOT_UNTRUSTED, family=True)], ...],
        ListOf(empty=True),
        Description(
            'Further fields that are removed from the requests of all but trusted proxies; "x-team-*": all whose names '
            "begin so. No limit and no match sees them there either. Lower-cased."
        ),
    ] = ()
    # Off, as in nginx and Envoy; fail2ban, which people put beside them, takes 5 in 10 minutes.
    auth_failures: Annotated[
        AuthFailures | None,
        Example('{ max = 20, window = "1m" }'),
        Description(
            "How often one address (IPv6: one /64) may send a wrong credential; beyond, each wrong one gets 429, late. "
            "A good credential passes, whatever others at its address do. Left out: any."
        ),
    ] = None
    # As everybody but nginx, which has no use for resolv.conf.
    resolver: Annotated[
        tuple[Annotated[str, constraints.Nameserver()], ...],
        ListOf(empty=True),
        Description(
            "Name servers for all look-ups, asked in this order, the next one when one fails. Left out: what the "
            "system has, and names in targets without a source as the system looks them up."
        ),
    ] = ()
    timeouts: Annotated[Timeouts, Description("How long the gateway waits for clients, and for its own end.")] = (
        Timeouts()
    )
    limits: Annotated[Limits, Description("What clients may take.")] = Limits()
    # Tracing belongs to the services and what they report to: nginx and HAProxy pass the fields untouched, too.
    trace: Annotated[
        Literal["pass", "make"],
        Description(
            '"pass": traceparent and tracestate pass as they come. "make": a request without a valid traceparent gets '
            "one, and the log has the trace's id."
        ),
    ] = "pass"
    log: Annotated[Log, Description("What the access log holds.")] = Log()


Algorithm = Literal[
    "HS256", "HS384", "HS512",
    "RS256", "RS384", "RS512",
    "PS256", "PS384", "PS512",
    "ES256", "ES384", "ES512",
    "EdDSA",
]  # fmt: skip
"""Those of RFC 7518 section 3.1, and that of RFC 8037 section 3.1 with Ed25519."""


class Jwt(Struct, frozen=True, kw_only=True):
    """One verifier: exactly one of `secret` (HS256 and the like), `public_key` and `jwks`, and their algorithm."""

    algorithm: Annotated[
        tuple[Algorithm, ...],
        ListOf(single=True),
        Essential(),
        Description(
            "The only algorithm accepted: HS… takes a secret, all others a public_key or jwks. A list, for a jwks "
            "whose keys have several: each key has one."
        ),
    ]
    secret: Annotated[
        tuple[Annotated[Secret, constraints.Source(whole=True)], ...],
        ListOf(single=True),
        Essential(),
        Description("Of HS256, HS384, HS512: at least 32, 48, 64 octets; a list, for rotation."),
    ] = ()
    # As Kong's `secret_is_base64 = false`: most secrets are text.
    secret_encoding: Annotated[
        Literal["text", "base64", "base64url", "hex"],
        Description('How `secret` is written. "text": the octets are the key; the others are decoded first.'),
    ] = "text"  # noqa: S105 - a notation, no secret
    public_key: Annotated[
        tuple[Annotated[Secret, constraints.Source()], ...],
        ListOf(single=True),
        Essential(),
        Description(
            "A PEM: for RS… and PS… an RSA key of at least 2048 bits, for ES256, ES384, ES512 one on P-256, P-384, "
            "P-521, for EdDSA one of Ed25519; a list, for rotation."
        ),
    ] = ()
    jwks: Annotated[
        Annotated[Secret | KeySetUrl, constraints.KeySetSource()] | None,
        Essential(),
        Description(
            "The identity provider's key set (RFC 7517): a file, or a URL that is fetched anew before it is stale. "
            '"discover": the URL that the issuer gives in its /.well-known/openid-configuration.'
            " Keys for another purpose (use enc, another "
            "algorithm) are skipped in silence, since providers list them beside the others; keys that are meant for "
            "the algorithm and cannot be used are warned of."
        ),
    ] = None
    jwks_ca: Annotated[
        Annotated[Secret, constraints.Source(schemes=("file",))] | None,
        Description(
            "Certificates (PEM) of the authorities that the provider's own certificate is checked with; left out: the "
            "system's."
        ),
    ] = None
    # RFC 7519 section 4.1.1: the use of `iss` is for the application to decide.
    issuer: Annotated[
        tuple[Annotated[str, constraints.Text()], ...],
        ListOf(single=True),
        Description("What `iss` must be, or one of a list; left out: it is not looked at."),
    ] = ()
    # RFC 7519 section 4.1.3: whoever is not among the audiences that a token names must refuse it.
    audience: Annotated[
        tuple[Annotated[str, constraints.Text()], ...],
        ListOf(single=True),
        Description(
            'What `aud` must be or contain, or one of a list. "*": any; left out: a token that has an `aud` is refused.'
        ),
    ] = ()
    # Between APISIX, which allows none, and Envoy and Spring, which allow 60 s: hosts that run NTP are closer.
    leeway: Annotated[
        float, Duration(least=0.0, most=HOUR), Description("How far clocks may differ, for `exp` and `nbf`.")
    ] = 30.0
    # Stricter than Kong, which looks at `exp` only where `claims_to_verify` names it: a token without `exp` that leaks
    # is good for ever.
    require_exp: Annotated[bool, Description("Refuse tokens that never expire.")] = True
    # As Envoy's `from_headers` when nothing is said.
    token: Annotated[
        tuple[Annotated[str, constraints.TokenPlace()], ...],
        ListOf(),
        Description(
            'Where the token may be, in the order to look: "header" is Authorization; "subprotocol" is '
            "Sec-WebSocket-Protocol: bearer, TOKEN. What is not in the header is taken out of what is sent on."
        ),
    ] = ("header",)


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
        Description(
            "Where the list of keys is: name:KEY, name:sha256:HEX64 or a bare KEY, by commas or newlines; or a file "
            "whose name ends in .toml, with [[keys]]: name, sha256, expires, claims (`rawgate key`)."
        ),
    ]
    query: Annotated[
        Annotated[str, constraints.Text("the name of a parameter")] | None,
        Description(
            "Parameter of the query in which clients may send the key where they cannot set fields. It is taken out of "
            "what is sent on. Left out: none."
        ),
    ] = None


class Target(Struct, frozen=True):
    """Where an upstream listens: `host` and `port`, or the `path` of a Unix socket; or who tells where its instances do
    (`source`).

    host       what is looked up: lower-cased, an IPv6 address without brackets; a dot at the end is kept. Of Consul the
               name of the service, as it is written
    port       0 where the source tells the ports
    authority  what the Host field says: without that dot, and without the port when it is the scheme's own; "localhost"
               for a Unix socket, as nginx says. Of SRV records the name without the labels of service and protocol, of
               Consul the name that its DNS has for the service
    scheme     "http" or "https"
    weight     its part of the requests, relative to the others'
    zone       where it stands; "": nobody says
    backup     it gets requests only as far as the others cannot take them
    source     "dns": each address of the name is an instance; "srv": its SRV records; "consul": the service's healthy
               instances; "": there is one, and it is here
    query      what a source is asked beside the name: pairs of a name and a value
    """

    host: str
    port: int
    authority: str
    scheme: str = "http"
    path: str = ""
    weight: int = 1
    zone: str = ""
    backup: bool = False
    source: Literal["", "dns", "srv", "consul"] = ""
    query: tuple[tuple[str, str], ...] = ()

    @property
    def url(self) -> str:
        """As people would write it."""
        if self.path:
            return f"unix:{self.path}"
        if self.source == "consul":
            query = "&".join(f"{name}={value}" for name, value in self.query)
            return f"consul+{self.scheme}://{self.host}{'?' if query else ''}{query}"
        if self.source == "srv":
            return f"srv+{self.scheme}://{self.host}"
        if self.source == "dns":
            return f"dns+{self.scheme}://{self.host}:{self.port}"
        return f"{self.scheme}://{self.authority}"


def target_place(target: Target) -> object:
    """Where a target is. Two entries for one place are duplicates."""
    return target.scheme, target.host, target.port, target.path, target.source, target.query


class HashBalance(Struct, frozen=True):
    """Requests are divided by a hash of something that they have."""

    hash: Annotated[
        str,
        constraints.HashKey(),
        Description(
            "Requests that have the same of this go to the same target: the caller, or the client's address where "
            "there is none; a field; or the path. Those without the field take turns."
        ),
    ]


class Certificate(Struct, frozen=True, kw_only=True):
    """A certificate and its key, as PEM."""

    chain: Annotated[
        Secret,
        constraints.Source(schemes=("file",)),
        Description("The certificate, and behind it those that issued it, up to the root; the root may be left out."),
    ]
    key: Annotated[
        Secret,
        constraints.Source(schemes=("file",)),
        Description("The private key of the first certificate, without a passphrase."),
    ]


_CERTIFICATE = '{ chain = "file:PATH", key = "file:PATH" }'


class Tls(Struct, frozen=True, kw_only=True):
    """TLS for clients: what is shown to them, and what is asked of them."""

    certificates: Annotated[
        tuple[Annotated[Certificate, Example(_CERTIFICATE)], ...],
        ListOf(),
        Description(
            "What clients are shown: the one whose names fit the name that the client asks for (SNI), exact names "
            "before wildcards; else the first."
        ),
    ]
    # nginx since 1.27.3, and what RFC 9325 section 3.1.1 asks for.
    min_version: Annotated[Literal["1.2", "1.3"], Description("The oldest version of TLS that is spoken.")] = "1.2"
    client_ca: Annotated[
        Annotated[Secret, constraints.Source(schemes=("file",))] | None,
        Essential(),
        Description("The authorities of client certificates, as PEM. Left out: clients are not asked for any."),
    ] = None
    # As nginx's `ssl_verify_client on` beside `ssl_client_certificate`.
    client_auth: Annotated[
        Literal["require", "ask"],
        Description(
            'Whether clients must show a certificate from client_ca. "ask": they may come without; one that is not '
            "good is refused in both cases."
        ),
    ] = "require"
    # As for a head: nginx, too, gives a handshake the time that it gives a head (`client_header_timeout`, 60 s).
    handshake_timeout: Annotated[Seconds, Description("For a handshake, from the connection on.")] = 10.0


class UpstreamTls(Struct, frozen=True, kw_only=True):
    """How "https://" targets are verified, and what they are shown."""

    ca: Annotated[
        Annotated[Secret, constraints.Source(schemes=("file",))] | None,
        Essential(),
        Description("The authorities that are believed, as PEM, instead of those of the system."),
    ] = None
    certificate: Annotated[
        Certificate | None, Example(_CERTIFICATE), Description("What the service is shown, if it asks.")
    ] = None
    server_name: Annotated[
        Annotated[str, constraints.Host()] | None,
        Description("The name that the certificate must have, and that is asked for (SNI). Left out: the target's."),
    ] = None
    min_version: Annotated[Literal["1.2", "1.3"], Description("The oldest version of TLS that is spoken.")] = "1.2"
    # As everybody but nginx, whose `proxy_ssl_verify` is off unless configured.
    verify: Annotated[
        bool, Description("false: any certificate is taken, so whoever stands in between can read and change all.")
    ] = True


class HealthCheck(Struct, frozen=True, kw_only=True):
    """Requests of the gateway's own that tell whether a target works. Seconds; numbers of checks."""

    path: Annotated[
        str, constraints.Pathname(), Description("What is asked for, with GET, on a connection of its own each time.")
    ]
    # nginx's `health_check`; HAProxy's `inter` is 2 s.
    interval: Annotated[
        Annotated[float, Duration(least=0.1, most=HOUR)],
        Description("From one check of a target to its next; a tenth more or less by chance."),
    ] = 5.0
    # nginx has none of its own. A service that takes a second to say that it is well is not.
    timeout: Annotated[
        Annotated[float, Duration(most=HOUR)], Description("For a whole check, from the connection on.")
    ] = 1.0
    # HAProxy's `rise 2`, and its `fall 3`. nginx has 1 and 1.
    rise: Annotated[int, Count(1, 100), Description("Checks in a row that pass, after which a target is back.")] = 2
    fall: Annotated[
        int,
        Count(1, 100),
        Description("Checks in a row that fail, after which a target is left out; of a new one the first decides."),
    ] = 3
    # nginx, HAProxy; Envoy takes 200 alone.
    status: Annotated[
        tuple[tuple[int, int], ...], constraints.Statuses(), Description("Statuses with which a check passes.")
    ] = ((200, 399),)
    host: Annotated[
        Annotated[str, constraints.Host()] | None,
        Description("What the Host field says. Left out: the target, as requests of clients do."),
    ] = None


class Eject(Struct, frozen=True, kw_only=True):
    """When a target whose requests fail gets none for a while."""

    # Envoy's `consecutive_gateway_failure`. nginx's `max_fails` is 1, within 10 s.
    failures: Annotated[
        int,
        Count(1, 10_000),
        Description(
            "Requests in a row that fail, as each worker counts them: no connection, a reset, a time-out, or one of "
            "`status`."
        ),
    ] = 5
    # Envoy's gateway-failure. It counts 500 as well, by default, and so does HAProxy's `observe layer7`.
    status: Annotated[
        tuple[tuple[int, int], ...],
        constraints.Statuses(least=500),
        Description(
            "Statuses that are failures. 500 is none by default: one request that a service cannot cope with, sent "
            "again and again, would have its targets ejected."
        ),
    ] = ((502, 504),)
    # nginx's `fail_timeout`. Envoy's `base_ejection_time` is 30 s: too long for a service that restarts.
    for_: Annotated[
        Annotated[float, Duration(least=0.1, most=HOUR)],
        Description(
            "How long a first ejection lasts; a second one twice as long, and so on, up to 5 minutes. Each time as "
            "long without one makes the next shorter again."
        ),
    ] = 10.0
    # Envoy's `max_ejection_percent` is 10 %: with three targets that is the one that always may be.
    at_most: Annotated[
        Part,
        Description("Part of the targets that may be ejected at a time. One always may be, but the only one never is."),
    ] = 0.5


class Breaker(Struct, frozen=True, kw_only=True):
    """When a service that fails is left alone. Its defaults are Hystrix's."""

    errors: Annotated[
        Part, Description("How many of the requests have to fail: 5xx, no connection, no or half a response.")
    ] = 0.5
    of: Annotated[int, Count(1, 1_000_000), Description("How many requests there have to be, at least.")] = 20
    within: Annotated[Seconds, Description("How long a request counts from its end on.")] = 10.0
    for_: Annotated[
        Seconds,
        Description(
            "How long no request goes to the service, and each gets a 503. Then one goes on: when it succeeds, all do; "
            "when it fails, none does for twice as long, up to eight times."
        ),
    ] = 5.0


class Retry(Struct, frozen=True, kw_only=True):
    """What is sent to a service again."""

    # nginx's `proxy_next_upstream_tries` is off: every server is tried. Envoy's `num_retries` is 1.
    attempts: Annotated[
        int, Count(2, 10), Description("How often a request is sent at most, to another target if one is up.")
    ] = 2
    # Envoy's gateway-error, connect-failure and reset, without its time-outs: those who wait would wait twice.
    on: Annotated[
        tuple[Annotated[str | int, constraints.Failure()], ...],
        ListOf(),
        Description(
            'After what: "connect": no connection to any target; "reset": the connection ended before the '
            'response\'s head; "timeout": response_timeout; or a status of the service. Only a request that does the '
            "same once or twice sent (GET, HEAD, PUT, DELETE, OPTIONS; or without a body and with Idempotency-Key), of "
            "which no byte of the body was taken, and none of a response passed on."
        ),
    ] = ("connect", "reset", 502, 503, 504)
    # Envoy's, and Finagle's.
    budget: Annotated[
        Part,
        Description(
            "Retries, as a part of the requests that come to the service and are none: of those under way, where three "
            "at once may always be; and in number, where each worker may make ten more."
        ),
    ] = 0.2


class Upstream(Struct, frozen=True, kw_only=True):
    """A service. Seconds; counts of connections and of waiting requests."""

    targets: Annotated[
        tuple[Annotated[Target, constraints.TargetUrl()], ...],
        ListOf(key=target_place),
        Description(
            "Where the service listens; one that cannot be reached is left out for 5 s. A dot at the end of a name "
            "keeps its look-up from the search domains. The certificate of https:// is verified. "
            '{ url = "…", weight = 2 } gets twice as many requests as one with weight 1; zone says where it stands '
            "(see gateway.zone); backup = true: it gets requests only as far as the others cannot take them. "
            'Who tells where its instances are: "dns+http://NAME:PORT" (each address is a target), '
            '"srv+http://_http._tcp.NAME" (SRV records) and "consul+http://SERVICE?dc=…&tag=…".'
        ),
    ]
    # nginx, Envoy and HAProxy take turns, too, unless configured.
    balance: Annotated[
        Literal["round_robin", "least_requests"] | HashBalance,
        Example('"round_robin", "least_requests" or { hash = "client" }'),
        Description(
            'Which target a request goes to. "round_robin": they take turns, by weight. "least_requests": of two that '
            "are drawn at random, by weight, the one with fewer requests. { hash = … }: the same one for the same "
            "client, field or path."
        ),
    ] = "round_robin"
    tls: Annotated[
        UpstreamTls | None,
        Example('{ ca = "file:PATH" }'),
        Essential(),
        Description('Of "https://" targets. Left out: verified by the authorities of the system.'),
    ] = None
    # As everybody: only who knows the service knows what to ask it.
    health: Annotated[
        HealthCheck | None,
        Example('{ path = "/healthz" }'),
        Description("Checks of each target, by one worker for all. Left out: none."),
    ] = None
    # Envoy's outlier detection is off, too, unless configured. nginx's `max_fails` is on.
    eject: Annotated[
        Eject | None,
        Example("{ failures = 5 }"),
        Description("Leave targets out whose requests fail; {}: as the defaults say. Left out: none."),
    ] = None
    # Off, as with nginx, HAProxy and Envoy.
    slow_start: Annotated[
        SecondsOrZero,
        Description(
            "In which a target that is back, or joins others, gets its full share, from a tenth on; 0s: it has it at "
            "once."
        ),
    ] = 0.0
    # HAProxy's manual asks for room for at least one lost packet: a lost SYN is sent again after 1 s (RFC 6298). nginx
    # waits for 60 s and Envoy for 5 s.
    connect_timeout: Annotated[Seconds, Description("For a connection, over all targets; then 504.")] = 3.0
    # Shorter than nginx (`proxy_read_timeout`, 60 s) and Envoy (15 s, for the whole response): an API that is silent
    # for 5 s is broken, and each request that waits holds a connection. Routes that take longer say so.
    response_timeout: Annotated[Seconds, Description("For the final head of a response; then 504.")] = 5.0
    # nginx's `proxy_read_timeout`.
    idle_timeout: Annotated[Seconds, Description("For the next byte of a response's body; then it is cut.")] = 60.0
    # As nginx. Envoy's route timeout (15 s) also ends long downloads.
    total_timeout: Annotated[Seconds | None, Description("For a whole exchange; left out: as long as it takes.")] = None
    # A little more than the 200 threads of a Tomcat, the usual service with a fixed number. nginx has no limit
    # (`max_conns`), Envoy has 1,024.
    max_connections: Annotated[
        int,
        Count(1, 100_000),
        Description("Connections to the service, all targets together; tunnels are counted apart."),
    ] = 256
    # Five seconds less than what nginx and AWS balancers take (60 s), and so than what services behind them are set to.
    keep_alive: Annotated[
        Seconds, Description("How long an idle connection is kept; less than the service itself keeps it.")
    ] = 55.0
    # Envoy's `max_pending_requests` (1,024) is as many as its connections. Half as many are what 256 connections can
    # serve within `queue_timeout` when a response takes two seconds.
    queue: Annotated[int, Count(0, 1_000_000), Description("Requests that may wait for a connection; beyond: 503.")] = (
        128
    )
    # Shorter than HAProxy's as packaged (60 s): a client that waits for longer has given up or sends again, and a 503
    # with Retry-After says so in time.
    queue_timeout: Annotated[Seconds, Description("How long they may wait; then 503.")] = 1.0
    # No precedent. With a quarter, four clients share a service evenly.
    per_client: Annotated[
        Annotated[int, Count(1, 100_000)] | None,
        Description(
            "Connections that one client address may hold while others wait for one; alone it may hold all. Left out: "
            "a quarter of max_connections."
        ),
    ] = None
    # As everybody: a service that follows RFC 9112 section 9.3 reads each body to its end, or closes.
    reuse: Annotated[
        Literal["always", "after-bodiless"],
        Description(
            'Whether a connection is used for another request. "after-bodiless": not after a request with a body; for '
            "a service that responds without reading bodies, and would read the body as a request."
        ),
    ] = "always"
    breaker: Annotated[
        Breaker | None,
        Example('{ errors = "50%", of = 20, within = "10s", for = "5s" }'),
        Description("Leave the service alone while it fails: 503. Left out: it gets every request."),
    ] = None
    retry: Annotated[
        Retry | None,
        Example('{ attempts = 2, on = ["connect", "reset", 502, 503, 504], budget = "20%" }'),
        Description(
            "Send a request again that failed. Left out: only one that met a connection which the service had closed, "
            "or a target that closes every connection."
        ),
    ] = None
    # A tunnel is a client connection as well, so the gateway's limit holds for both.
    max_tunnels: Annotated[
        Annotated[int, Count(1, 10_000_000)] | None,
        Description(
            "Tunnels (WebSockets), which do not count as connections; beyond: 503. Left out: as many as there may be "
            "clients."
        ),
    ] = None
    # What people set HAProxy's `timeout tunnel` to. nginx's 60 s and Envoy's 5 min end WebSockets without pings.
    tunnel_idle: Annotated[
        Seconds, Description("For the next byte either way of a tunnel (WebSocket); then it ends.")
    ] = 3600.0
    # No precedent. The credential of a tunnel is checked once, at its start; a day bounds what that may be worth.
    tunnel_max_age: Annotated[Seconds, Description("How old a tunnel (WebSocket) may become.")] = 86400.0


class Store(Struct, frozen=True, kw_only=True):
    """Where limits are counted that several hosts share: Redis 6.2 or later, or Valkey."""

    url: Annotated[
        StoreUrl,
        constraints.StoreAddress(),
        Essential(),
        Description(
            'Where it is; "rediss" is with TLS. A user\'s name may stand before the host (USER@), a database after it '
            "(/1)."
        ),
    ]
    password: Annotated[
        Annotated[Secret, constraints.Source(whole=True)] | None,
        Description("What the gateway says to it (AUTH)."),
    ] = None
    ca: Annotated[
        Annotated[Secret, constraints.Source(schemes=("file",))] | None,
        Description(
            "Certificates (PEM) of the authorities that its certificate is checked with; left out: the system's."
        ),
    ] = None
    certificate: Annotated[
        Annotated[Certificate, Example(_CERTIFICATE)] | None,
        Description("What it is shown, where it asks for one (mutual TLS)."),
    ] = None
    sentinel_password: Annotated[
        Annotated[Secret, constraints.Source(whole=True)] | None,
        Description("What the gateway says to Sentinels; left out: nothing."),
    ] = None
    # Twice Envoy's, whose service for limits has 20 ms: a request that is served late is better than one that is not.
    timeout: Annotated[float, Duration(most=10.0), Description("How long a request waits for it at most.")] = 0.05
    # As Kong's `fault_tolerant = true`, but not without any limit.
    on_failure: Annotated[
        Literal["local", "refuse", "allow"],
        Description(
            'What becomes of a request when it does not answer in time. "local": each host counts by itself, with the '
            'whole max; "refuse": 503; "allow": as if the limit were not there.'
        ),
    ] = "local"


class Consul(Struct, frozen=True, kw_only=True):
    """The agent that is asked for the instances of "consul+…" targets."""

    # Where an agent listens unless told otherwise, on each host: Consul's own default, and Traefik's.
    address: Annotated[
        Target,
        constraints.TargetUrl(plain=True),
        Essential(),
        Description("Where its HTTP API is."),
    ] = Target(host="127.0.0.1", port=8500, authority="127.0.0.1:8500")
    token: Annotated[
        Annotated[Secret, constraints.Source(whole=True)] | None,
        Essential(),
        Description("What it knows the gateway by (X-Consul-Token); it needs service:read and node:read."),
    ] = None
    ca: Annotated[
        Annotated[Secret, constraints.Source(schemes=("file",))] | None,
        Essential(),
        Description("The authorities of its certificate, as PEM, instead of those of the system; for https://."),
    ] = None


class RegexRewrite(Struct, frozen=True):
    """A path made from the old one by a regular expression."""

    pattern: Annotated[
        str,
        constraints.Text("a regular expression"),
        Description(
            "Matched against the whole path as routes are: normalised, percent-decoded, without query and parameters. "
            "A pattern whose time can explode is refused: no two repeats may share text, unless what follows takes "
            "anything."
        ),
    ]
    to: Annotated[
        str,
        constraints.Text("a path, with \\1 or \\g<name> for groups,"),
        Description(
            "What the path becomes. Groups are sent as the client wrote them; a result that cannot be sent gives a 500."
        ),
    ]


class MaxBy(Struct, frozen=True):
    """How many requests each plan has. `by`: "claim:NAME"; `amounts`: value of that claim → number; `other`: for all
    other values, and for callers without it."""

    by: str
    amounts: dict[str, int]
    other: int


class RateLimit(Struct, frozen=True):
    """At most `max` requests in any interval of length `window` (seconds)."""

    max: Annotated[
        int | MaxBy,
        constraints.Maximum(),
        Description(
            "Requests that are let through in any window of that length. One number is for everybody. A table has a "
            'number for each value of a claim: { by = "claim:plan", free = 100, other = 10 } gives callers whose claim '
            '`plan` is "free" 100, and all others 10.'
        ),
    ]
    window: Annotated[Seconds, Description("Length of the window, which slides: the limit holds wherever it starts.")]
    # As nginx's usual `limit_req_zone $binary_remote_addr`, but for those who say who they are.
    key: Annotated[
        str,
        constraints.LimitKey(),
        Description(
            'Who is counted together. "client": each verified caller, others by address; "ip": each address; "all": '
            'everybody; "claim:NAME": all whose claim has the same value; "header:NAME": all whose field has the same '
            "value. Those without that claim or field are counted as clients, or by address."
        ),
    ] = "client"
    # As everybody without a store: nothing is asked of another host unless it is said.
    shared: Annotated[
        Literal["host", "exact", "leased"],
        Description(
            'Among whom. "host": all workers of this host. Over all hosts with the same [store]: "exact" asks it for '
            'each request; "leased" takes slots in advance and asks seldom, and what it does not use is lost.'
        ),
    ] = "host"
    shadow: Annotated[bool, Description("Refuse nobody: what it would have refused is in the log.")] = False


_HEADER_RULES = '{ set = { X-Team = "a" }, remove = ["X-Debug"] }'


class HeaderRules(Struct, frozen=True):
    """Changes to header fields. The case of a name does not matter."""

    set: Annotated[
        dict[Annotated[str, Token(FIELD)], Annotated[str, constraints.FieldValue()]],
        Example('{ X-Team = "a" }'),
        Description(
            "Fields to write; each replaces all fields of its name. In a value {sub}, {claim.NAME}, {client_ip}, "
            "{certificate.name}, {request_id}, {route}, {prefix}, {host} and the names of the route's path stand for "
            "what the request has; a field with one that it does not have is not sent."
        ),
    ] = {}
    remove: Annotated[
        tuple[Annotated[str, Token(FIELD, family=True)], ...],
        ListOf(empty=True, key=str.lower),
        Description('Fields to remove; "X-Internal-*": all whose names begin so.'),
    ] = ()
    add: Annotated[
        dict[Annotated[str, Token(FIELD)], Annotated[str, constraints.FieldValue()]],
        Example('{ Vary = "X-Team" }'),
        Description("Fields to write beside those of the same name that are there."),
    ] = {}


class Cors(Struct, frozen=True, kw_only=True):
    """Which web pages of other origins may call the route, and how. The gateway responds to the preflights."""

    origins: Annotated[
        tuple[Annotated[str, constraints.Origin()], ...],
        ListOf(),
        Description('Origins exactly as browsers send them; ["*"]: any, without credentials.'),
    ]
    # The methods that need no preflight (Fetch, "CORS-safelisted method").
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
        Description("Response fields that pages may read, besides those that the gateway itself writes."),
    ] = ()
    # What Chromium allowed for years (now 7,200 s; Firefox 86,400 s). Without the field browsers take 5 s, and nearly
    # every call has a preflight.
    max_age: Annotated[SecondsOrZero, Description("How long browsers may remember a preflight.")] = 600.0
    # As Fetch without the field.
    credentials: Annotated[bool, Description("Whether pages may send cookies and the like.")] = False


class Match(Struct, frozen=True, kw_only=True):
    """What a request must have, besides host and path, for its route to be selected. All of it must hold."""

    headers: Annotated[
        dict[Annotated[str, Token(FIELD, refused=NOT_MATCHED)], Annotated[str, constraints.FieldValue()]],
        Example('{ X-Version = "2" }'),
        Description('Fields with just this value; "*": with any.'),
    ] = {}
    query: Annotated[
        dict[str, Annotated[str, constraints.FieldValue(beyond_ascii=True)]],
        Example('{ version = "2" }'),
        Description('Parameters of the query with just this value, decoded; "*": with any.'),
    ] = {}
    scheme: Annotated[
        Literal["http", "https"] | None,
        Description("How the client came: as a trusted proxy says, else as it came here. Left out: either."),
    ] = None


class Respond(Struct, frozen=True, kw_only=True):
    """A response that the gateway gives itself."""

    # nginx's `return 200`.
    status: Annotated[int, Count(200, 599), Description("The status.")] = 200
    body: Annotated[str, Description("The content.")] = ""
    type: Annotated[str, constraints.FieldValue(), Description("What Content-Type says.")] = "text/plain; charset=utf-8"


class Redirect(Struct, frozen=True, kw_only=True):
    """A redirect that the gateway gives itself."""

    to: Annotated[
        str,
        constraints.Location(),
        Description(
            "Where to: a path or a URL. {host}, {path} and the names of the route's own path stand for what the "
            "request has; its query is kept where this has none."
        ),
    ]
    # The method stays the same, and clients may remember it (RFC 9110 section 15.4.9).
    status: Annotated[int, Count(301, 308), Description("301, 302, 303, 307 or 308.")] = 308


_LimitName = Annotated[str, constraints.Reference("limits", "a limit")]
_WHERE = constraints.OneOf(("prefix", "path"))
_WHAT = constraints.OneOf(("upstream", "respond", "redirect"))


class Route(Struct, frozen=True, kw_only=True):
    """One route. Host and path select the first that matches; then the method."""

    prefix: Annotated[
        str,
        constraints.PathPrefix(),
        _WHERE,
        Essential(),
        Description(
            "Paths that begin with these whole segments: /api/users is also /api/users/7, but not /api/usersX."
        ),
    ] = ""
    path: Annotated[
        str,
        constraints.PathTemplate(),
        _WHERE,
        Essential(),
        Description(
            "In place of prefix: one whole path. {id} stands for one segment, {rest*} at the end for what is left; "
            "rewrite and the values of fields may have these names."
        ),
    ] = ""
    upstream: Annotated[
        str, constraints.Reference("upstreams", "an upstream"), _WHAT, Description("The service that requests go to.")
    ] = ""
    respond: Annotated[
        Respond | None,
        _WHAT,
        Example('{ status = 200, body = "ok" }'),
        Description("What the gateway itself responds, without a service."),
    ] = None
    redirect: Annotated[
        Redirect | None,
        _WHAT,
        Example('{ to = "https://{host}{path}" }'),
        Description("Where the gateway itself redirects to, without a service."),
    ] = None
    match: Annotated[
        Match | None,
        Example('{ headers = { X-Version = "2" } }'),
        Essential(),
        Description("What else a request must have; without it, the routes below are tried."),
    ] = None
    auth: Annotated[
        str | tuple[str, ...],
        constraints.Auth(),
        Description(
            "Who may call. Required: an open route has to say so. Of several in a list, the first that the request has "
            "a credential for decides."
        ),
    ]
    name: Annotated[
        str,
        constraints.Label(),
        Description(
            "For log, limiter and tests; unique. Left out: host and prefix, with the methods before them where two "
            "routes differ only in those."
        ),
    ] = ""
    host: Annotated[
        Annotated[str, constraints.Host()] | None,
        Essential(),
        Description(
            'Only requests to this host; "*.example.com": to all names below that one; left out: any. Without port, '
            "lower-cased."
        ),
    ] = None
    methods: Annotated[
        tuple[Annotated[str, Token(METHOD, refused=NOT_METHOD)], ...] | None,
        ListOf(),
        Essential(),
        Description("Only these methods, else 405; left out: any."),
    ] = None
    require: Annotated[
        dict[str, tuple[str | int | bool, ...]],
        constraints.ClaimRules(),
        Description(
            "What the caller's claims must say, else 403: each of them, and of a list any value. Dots lead into "
            "objects; a claim may be a list, or (scope, scp) words with blanks between. certificate.name is the name "
            "of the client's certificate: its URI, else its DNS name, else its subject; true: any."
        ),
    ] = {}
    allow: Annotated[
        tuple[Annotated[Trusted, constraints.AddressRange(believes=False)], ...],
        ListOf(),
        Description("Networks of the clients that may come in; others get 403. Left out: all."),
    ] = ()
    deny: Annotated[
        tuple[Annotated[Trusted, constraints.AddressRange(believes=False)], ...],
        ListOf(),
        Description("Networks of the clients that get 403, also where `allow` has them."),
    ] = ()
    rewrite: Annotated[
        Annotated[str, constraints.PathPrefix("what lies below the prefix is kept")] | RegexRewrite | Rewriter | None,
        Description("The path that the service sees: text that replaces the prefix, or a pattern and what it becomes."),
    ] = None
    rate_limit: Annotated[
        RateLimit | _LimitName | tuple[RateLimit | _LimitName, ...] | None,
        ListOf(key=repr),
        Example('{ max = 100, window = "1m" }'),
        Description(
            "How often one client may call; beyond: 429. Or the name of one of [limits], which routes share, or a list "
            "of both: a request is counted by all of them or by none."
        ),
    ] = None
    # As nginx's `limit_conn`, which is off unless configured.
    concurrency: Annotated[
        Annotated[int, Count(1, 1_000_000)] | None,
        Description("Requests that one client may have under way at a time; beyond: 429. Left out: any."),
    ] = None
    shadow: Annotated[
        tuple[Literal["auth", "require", "rate_limit", "concurrency"], ...],
        ListOf(empty=True),
        Description("Policies of this route that refuse nobody: what they would have refused is in the log."),
    ] = ()
    # nginx's `proxy_set_header Host $proxy_host`, which is its default.
    upstream_host: Annotated[
        Literal["upstream", "pass"],
        Description(
            'The Host field that the service sees. "upstream": that of the first target; "pass": the client\'s.'
        ),
    ] = "upstream"
    request_headers: Annotated[HeaderRules, Example(_HEADER_RULES), Description("Changes to the request's fields.")] = (
        HeaderRules()
    )
    response_headers: Annotated[
        HeaderRules,
        Example(_HEADER_RULES),
        Description("Changes to the response's fields. What is set is on the gateway's own replies, too."),
    ] = HeaderRules()
    # nginx's `proxy_redirect default`.
    rewrite_location: Annotated[
        bool,
        Description(
            "Change a Location that names the service itself, or the path that replaced the prefix, back to what the "
            "client knows."
        ),
    ] = True
    response_timeout: Annotated[Seconds | None, Description("In place of the upstream's `response_timeout`.")] = None
    body: Annotated[
        Annotated[int, Size()] | None, Description("Size of a request body, in place of the gateway's.")
    ] = None
    # As Go's ReverseProxy, Caddy and Traefik; nginx and Envoy ask for configuration. The handshake is a request like
    # any other, with the same credential and limits.
    upgrade: Annotated[
        tuple[Annotated[str, Token(PROTOCOL, lower=True, refused=NOT_UPGRADE)], ...],
        ListOf(empty=True),
        Description("Protocols that may tunnel through; []: none. Lower-cased."),
    ] = ("websocket",)
    # Apache's `AllowEncodedSlashes Off`, with 400 in place of its 404.
    encoded_slash: Annotated[
        Literal["reject", "keep"],
        Description('What becomes of a path with %2F or %5C. "reject": 400; "keep": it is sent as it came.'),
    ] = "reject"
    # No precedent: Java's servers cut parameters off, others know nothing of them, and a path that the two read as
    # different routes is an attack more often than not.
    path_parameters: Annotated[
        Literal["strict", "keep"],
        Description(
            "Routes are matched without the parameters of a path (;v=1), which are sent on. What becomes of a path "
            'that would match another route with them. "strict": 400; "keep": this route takes it.'
        ),
    ] = "strict"
    case: Annotated[Literal["exact", "ignore"] | None, Description("In place of the gateway's `case`.")] = None
    cors: Annotated[
        Cors | None,
        Example('{ origins = ["https://app.example.com"] }'),
        Description("Which web pages of other origins may call; left out: none."),
    ] = None
    # A service may want the claims of a token. It has no use for an API key, which only the gateway can check.
    forward_credentials: Annotated[
        bool | None, Description("Whether the service sees the token or key. Left out: tokens yes, API keys no.")
    ] = None

    @property
    def place(self) -> str:
        """Its prefix or path, as written."""
        return self.prefix or self.path

    @property
    def verifiers(self) -> tuple[str, ...]:
        """The verifiers of its `auth`, in their order; () for an open route."""
        if isinstance(self.auth, str):
            return () if self.auth == "none" else (self.auth,)
        return self.auth

    @property
    def limits(self) -> tuple[RateLimit | str, ...]:
        """Its limits: inline, or by name."""
        if self.rate_limit is None:
            return ()
        return self.rate_limit if isinstance(self.rate_limit, tuple) else (self.rate_limit,)


def route_names(routes: Sequence[Route]) -> list[str]:
    """The name of each route: the one that it is given, else its host and prefix. Its methods stand before those where
    another route without a name has the same host and prefix."""
    places = [f"{route.host or ''}{route.place}" for route in routes]
    unnamed = Counter(place for place, route in zip(places, routes, strict=True) if not route.name)
    return [
        route.name or (f"{','.join(route.methods)} {place}" if unnamed[place] > 1 and route.methods else place)
        for place, route in zip(places, routes, strict=True)
    ]


class Expect(Struct, frozen=True, kw_only=True):
    """What a test expects of its request. One that is refused passes only where its status or reason is expected."""

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
        Description('Fields that the service sees, or those of the gateway\'s own reply; "": there is none.'),
    ] = {}
    status: Annotated[
        Annotated[int, Count(100, 599)] | None,
        Description("The status of the gateway's own reply; a request that is forwarded has none here."),
    ] = None
    reason: Annotated[
        Annotated[str, constraints.Choice(tuple(REASONS), "a reason code")] | None,
        Description('The reason code of the log; "ok", unless it or a status is written.'),
    ] = None


class Test(Struct, frozen=True, kw_only=True):
    """One of the configuration's own tests. `claims` or `api_key` takes the place of a verified credential."""

    request: Annotated[
        str,
        constraints.RequestLine(),
        Description('Method and target of a request; "GET https://HOST/" comes over TLS.'),
    ]
    expect: Annotated[Expect, Example("{ status = 401 }"), Description("What becomes of it.")]
    headers: Annotated[
        dict[Annotated[str, Token(FIELD)], Annotated[str, constraints.FieldValue(beyond_ascii=True)]],
        Example('{ Origin = "https://app.example.com" }'),
        Description("Fields of the request. Without `claims` and `api_key`, a credential among them is checked."),
    ] = {}
    claims: Annotated[
        dict[str, Annotated[object, constraints.Json()]] | None,
        Example('{ sub = "alice" }'),
        Description("As if the request had a good token with these claims; the body of a token may be pasted here."),
    ] = None
    api_key: Annotated[
        Annotated[str, constraints.Text()] | None, Description("As if the request had the key of this name.")
    ] = None
    certificate: Annotated[
        Annotated[str, constraints.Text()] | None, Description("As if the client had shown a certificate of this name.")
    ] = None
    from_: Annotated[
        Annotated[str, constraints.Address()] | None,
        Description('Where it comes from, written `from`; left out: "127.0.0.1".'),
    ] = None
    at: Annotated[
        Annotated[float, constraints.Moment()] | None,
        Description("When it comes, for what expires: a date and time with its offset; left out: now."),
    ] = None
    times: Annotated[
        int, Count(1, 10_000), Description("How often it is sent, at one time; what is expected is of the last.")
    ] = 1


class Config(Struct, frozen=True, kw_only=True):
    """A whole configuration."""

    gateway: Annotated[
        Gateway, Example('[gateway] with listen = ["127.0.0.1:8080"]'), Description("The listener's side.")
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
    upstreams: Annotated[
        dict[
            Annotated[str, constraints.TableName()], Annotated[Upstream, Example('{ targets = ["http://HOST:PORT"] }')]
        ],
        ListOf(empty=True),
        Example("[upstreams.NAME], one for each service"),
        Description("The services behind the gateway, by name. None, where all routes respond or redirect themselves."),
    ] = {}
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
    limits: Annotated[
        dict[Annotated[str, constraints.TableName()], Annotated[RateLimit, Example('{ max = 100, window = "1m" }')]],
        Example("[limits.NAME], one for each budget"),
        Description("Limits that routes share, by name."),
    ] = {}
    store: Annotated[
        Store | None,
        Example('[store] with url = "redis://HOST:6379"'),
        Description('Where limits count that are shared = "exact" or "leased".'),
    ] = None
    consul: Annotated[
        Consul | None,
        Example("[consul]"),
        Description('The agent that "consul+…" targets ask. Left out: the one on this host.'),
    ] = None
    tls: Annotated[
        dict[Annotated[str, constraints.TableName()], Annotated[Tls, Example("[tls.NAME]")]],
        Example("[tls.NAME], one for each set of certificates"),
        Description("TLS for clients, by name: entries of gateway.listen refer to it."),
    ] = {}
    tests: Annotated[
        tuple[Test, ...],
        ListOf(empty=True, key=lambda test: None),
        Example("[[tests]], once for each test"),
        Description("Requests and what must become of them: run by `rawgate test` and `rawgate check`."),
    ] = ()


def limits_over_hosts(limits: dict[str, RateLimit], routes: Sequence[Route]) -> list[tuple[Key, ...]]:
    """Where the limits stand that several hosts share."""
    found: list[tuple[Key, ...]] = [("limits", name) for name, limit in limits.items() if limit.shared != "host"]
    for number, route in enumerate(routes):
        where: tuple[Key, ...] = ("routes", number, "rate_limit")
        for position, limit in enumerate(route.limits):
            if not isinstance(limit, str) and limit.shared != "host":
                found.append((*where, position) if isinstance(route.rate_limit, tuple) else where)
    return found


def route_limits(config: Config, route: Route, name: str) -> list[tuple[str, RateLimit]]:
    """The limits of a route of that name, each with the name that clients are told."""
    found = []
    for position, limit in enumerate(route.limits):
        if isinstance(limit, str):
            found.append((limit, config.limits[limit]))
        else:
            found.append((f"{name} {position + 1}" if position else name, limit))
    return found


def rates_of(config: Config, route: Route) -> list[RateLimit | None]:
    """The limits of a route, in their order; None in the place of a name that no limit has."""
    return [config.limits.get(limit) if isinstance(limit, str) else limit for limit in route.limits]


AUTH_FAILURES = "gateway.auth_failures"
"""What metrics and status call the limit of wrong credentials."""


def named_limits(config: Config) -> dict[str, RateLimit]:
    """All limits that routes have, by the name that clients are told; and that of wrong credentials."""
    named = zip(route_names(config.routes), config.routes, strict=True)
    found = {told: rate for name, route in named for told, rate in route_limits(config, route, name)}
    failures = config.gateway.auth_failures
    if failures is not None:
        found[AUTH_FAILURES] = RateLimit(failures.max, failures.window, "ip", shadow=failures.shadow)
    return found
