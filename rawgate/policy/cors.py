"""Cross-origin requests (the Fetch standard, section "HTTP-CORS protocol"), answered for the upstream.

On a route with `cors` the gateway alone speaks CORS: it answers preflights, before authentication because browsers
send no credential with them, and on all other answers, its own refusals too, it replaces what the upstream says.
On a route without `cors` nothing is touched.

A preflight from an origin that is not allowed gets 204 without a single allowing field, as rs/cors does: the browser
then refuses in its own words. (Envoy would pass it on; nginx has no opinion.) One from an allowed origin gets the lists
of what is allowed in any case: where a method or a field is missing from them, the browser says which.

A page may read few fields of an answer unless they are exposed. Those that the gateway itself writes always are: what
is the use of `Retry-After` to a page that cannot read it?
"""

from typing import Final

from rawgate.config.model import Cors

OWN_FIELDS = ("X-Request-Id", "Retry-After")
LIMIT_FIELDS = ("RateLimit", "RateLimit-Policy", "x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset")
"""Those of a route with a limit."""

_SHOWN = 64
_PREFLIGHT_VARY = b"Vary: Origin, Access-Control-Request-Method, Access-Control-Request-Headers\r\n"
MOST_ASKED = 256
"""Members of a list of fields that a preflight asks for: what is behind them counts as one, which no field is."""

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
"""What an upstream may say itself, and what is removed on routes with `cors`."""
REQUEST_FIELDS = frozenset((b"origin", b"access-control-request-method", b"access-control-request-headers"))


class CorsPolicy:
    """One route's, compiled. Field lines are whole, with CRLF.

    origins    origin → the lines that allow it
    wildcard   the lines for every origin, b"" when only `origins` are allowed
    refusal    the lines for all others
    expose     what pages may read: a line of answers that are no preflight's
    preflight  the further lines of a preflight from an allowed origin, without Allow-Headers
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
        """For an answer that is not a preflight's, from the request's fields."""
        return self.wildcard or self.origins.get(parsed.get(b"origin", b""), self.refusal)

    def preflight_fields(self, parsed: dict[bytes, bytes]) -> tuple[bytes, str]:
        """The lines of a preflight's answer, and why the browser will refuse, or "". `parsed` holds the request's
        Origin and Access-Control-Request-Method."""
        origin, method = parsed[b"origin"], parsed[b"access-control-request-method"]
        allowed = self.wildcard or self.origins.get(origin)
        if not allowed:
            return _PREFLIGHT_VARY, f"{_shown(origin)} is not in cors.origins"
        asked = parsed.get(b"access-control-request-headers", b"").lower()
        # The list is as long as our own at most, but for repeats and empty members.
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
    """`cors` as configured: origins compared octet by octet, methods too, field names in any case. `limited`: the route
    has a limit."""
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
        # The same for everyone, so caches need not tell origins apart.
        wildcard=b"Access-Control-Allow-Origin: *\r\n" + expose if "*" in cors.origins else b"",
        refusal=vary,
        expose=expose,
        preflight=b"Access-Control-Allow-Methods: %b\r\nAccess-Control-Max-Age: %d\r\n"
        % (", ".join(cors.methods).encode(), int(cors.max_age)),
        methods=frozenset(method.encode() for method in cors.methods),
        headers=frozenset(name.lower().encode() for name in cors.headers),
        allow_headers=b"Access-Control-Allow-Headers: %b\r\n" % names if names else b"",
    )
