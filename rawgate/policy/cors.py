"""Cross-origin requests (the Fetch standard, section "HTTP-CORS protocol"), answered for the upstream.

On a route with `cors` only the gateway speaks CORS. It answers preflights, before authentication, because browsers send
no credential with them. On all other responses, also its own refusals, it replaces the CORS fields of the upstream. On
a route without `cors` these fields pass untouched.

A preflight from an origin that is not allowed gets 204 without any Access-Control field, as rs/cors replies; the
browser then refuses the request and tells its developer why. (Envoy passes such a preflight to the upstream.) A
preflight from an allowed origin always gets the full lists. If they lack the method or a field, the browser says which.

A page may read only a few fields of a response unless they are exposed. The fields that the gateway itself writes are
always exposed: a page that gets a 429 needs `Retry-After`.
"""

from typing import Final

from rawgate.config.model import Cors

OWN_FIELDS = ("X-Request-Id", "Retry-After")
LIMIT_FIELDS = ("RateLimit", "RateLimit-Policy", "x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset")
"""The fields that the gateway writes on a route with a limit."""

_SHOWN = 64
_PREFLIGHT_VARY = b"Vary: Origin, Access-Control-Request-Method, Access-Control-Request-Headers\r\n"
MOST_ASKED = 256
"""Members of Access-Control-Request-Headers that are read. The rest of a longer list counts as one member, which is no
field name, so the preflight is refused."""

RESPONSE_FIELDS = frozenset(
    b"access-control-" + name
    for name in (
        b"allow-origin",
        b"allow-credentials",
        b"allow-methods",
        b"allow-headers",
        b"allow-private-network",
        b"expose-headers",
        b"max-age",
    )
)
"""The CORS fields of a response. On a route with `cors` those of the upstream are removed."""
REQUEST_FIELDS = frozenset((b"origin", b"access-control-request-method", b"access-control-request-headers"))


class CorsPolicy:
    """The `cors` of one route, compiled to field lines, each with its CRLF.

    origins    origin → the lines that allow it
    wildcard   the lines if every origin is allowed, else b""
    refusal    the lines for an origin that is not allowed
    expose     the Expose-Headers line, which only preflights lack
    preflight  further lines of the reply to a preflight from an allowed origin, without Allow-Headers
    """

    __slots__ = ("allow_headers", "expose", "headers", "methods", "origins", "preflight", "refusal", "wildcard")

    def __init__(
        self,
        origins: dict[bytes, bytes],
        wildcard: bytes,
        refusal: bytes,
        expose: bytes,
        preflight: bytes,
        methods: frozenset[bytes],
        headers: frozenset[bytes],
        allow_headers: bytes,
    ) -> None:
        self.origins: Final = origins
        self.wildcard: Final = wildcard
        self.refusal: Final = refusal
        self.expose: Final = expose
        self.preflight: Final = preflight
        self.methods: Final = methods
        self.headers: Final = headers
        self.allow_headers: Final = allow_headers

    def fields(self, parsed: dict[bytes, bytes]) -> bytes:
        """The lines of a response to a request with these fields that is no preflight."""
        return self.wildcard or self.origins.get(parsed.get(b"origin", b""), self.refusal)

    def preflight_fields(self, parsed: dict[bytes, bytes]) -> tuple[bytes, str]:
        """The lines of the reply to a preflight, and why the browser will refuse the request, or "". `parsed` must hold
        Origin and Access-Control-Request-Method."""
        origin, method = parsed[b"origin"], parsed[b"access-control-request-method"]
        allowed = self.wildcard or self.origins.get(origin)
        if not allowed:
            return _PREFLIGHT_VARY, f"{_shown(origin)} is not in cors.origins"
        asked = parsed.get(b"access-control-request-headers", b"").lower()
        # A list without repeats and empty members is no longer than our own, unless it names a field that is not in it.
        pieces = asked.split(b",", MOST_ASKED)
        names = [name for piece in pieces if (name := piece.strip(b" \t"))]
        origin_lines = allowed.replace(b"Vary: Origin\r\n", b"").replace(self.expose, b"")
        lines = origin_lines + self.preflight + (self.allow_headers if names else b"") + _PREFLIGHT_VARY
        if method not in self.methods:
            return lines, f"{_shown(method)} is not in cors.methods"
        missing = next((name for name in names if name not in self.headers), None)
        return lines, "" if missing is None else f"{_shown(missing)} is not in cors.headers"


def _shown(octets: bytes) -> str:
    return octets[:_SHOWN].decode("latin-1")


def compile_cors(cors: Cors, limited: bool) -> CorsPolicy:
    """The policy of one route. Origins and methods are compared octet by octet, field names in any case. `limited`: the
    route has a limit."""
    credentials = b"Access-Control-Allow-Credentials: true\r\n" if cors.credentials else b""
    vary = b"Vary: Origin\r\n"
    names = ", ".join(cors.headers).encode()
    own = OWN_FIELDS + (LIMIT_FIELDS if limited else ())
    exposed = {name.lower(): name for name in (*cors.expose, *own)}
    expose = b"Access-Control-Expose-Headers: %b\r\n" % ", ".join(exposed.values()).encode()
    return CorsPolicy(
        origins={
            origin.encode(): b"Access-Control-Allow-Origin: %b\r\n%b%b%b" % (origin.encode(), credentials, expose, vary)
            for origin in cors.origins
        },
        # All origins get the same response, so it needs no `Vary: Origin`.
        wildcard=b"Access-Control-Allow-Origin: *\r\n" + expose if "*" in cors.origins else b"",
        refusal=vary,
        expose=expose,
        preflight=b"Access-Control-Allow-Methods: %b\r\nAccess-Control-Max-Age: %d\r\n"
        % (", ".join(cors.methods).encode(), int(cors.max_age)),
        methods=frozenset(method.encode() for method in cors.methods),
        headers=frozenset(name.lower().encode() for name in cors.headers),
        allow_headers=b"Access-Control-Allow-Headers: %b\r\n" % names if names else b"",
    )
