"""Cross-origin requests (the Fetch standard, section "HTTP-CORS protocol"), answered for the upstream.

On a route with `cors` the gateway alone speaks CORS: it answers preflights, before authentication because browsers
send no credential with them, and on all other answers, its own refusals too, it replaces what the upstream says.
On a route without `cors` nothing is touched.

A preflight whose origin, method or fields are not allowed gets 204 without a single allowing field, as rs/cors does:
the browser then refuses in its own words. (Envoy would pass it on; nginx has no opinion.)
"""

from msgspec import Struct

from rawgate.config.model import Cors

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


class CorsPolicy(Struct, frozen=True):
    """One route's, compiled. Field lines are whole, with CRLF.

    origins    origin → the lines that allow it
    any        the lines for every origin, b"" when only `origins` are allowed
    refusal    the lines for all others
    preflight  the further lines of a preflight that is allowed, without Allow-Headers
    """

    origins: dict[bytes, bytes]
    any: bytes
    refusal: bytes
    preflight: bytes
    methods: frozenset[bytes]
    headers: frozenset[bytes]
    allow_headers: bytes

    def fields(self, known: dict[bytes, bytes]) -> bytes:
        """For an answer that is not a preflight's, from the request's fields."""
        return self.any or self.origins.get(known.get(b"origin", b""), self.refusal)

    def answer(self, known: dict[bytes, bytes]) -> bytes:
        """For a preflight's answer. `known` holds the request's Origin and Access-Control-Request-Method."""
        origin = known[b"origin"]
        allowed = self.any or self.origins.get(origin)
        asked = known.get(b"access-control-request-headers", b"").lower()
        # The list is as long as our own at most, but for repeats and empty members.
        pieces = asked.split(b",", MOST_ASKED)
        names = {name for piece in pieces if (name := piece.strip(b" \t"))}
        if not allowed or known[b"access-control-request-method"] not in self.methods or not names <= self.headers:
            return _PREFLIGHT_VARY
        origin_lines = allowed.replace(b"Vary: Origin\r\n", b"")
        return origin_lines + self.preflight + (self.allow_headers if names else b"") + _PREFLIGHT_VARY


def compile_cors(cors: Cors) -> CorsPolicy:
    """`cors` as configured: origins compared octet by octet, methods too, field names in any case."""
    credentials = b"Access-Control-Allow-Credentials: true\r\n" if cors.credentials else b""
    vary = b"Vary: Origin\r\n"
    names = ", ".join(cors.headers).encode()
    return CorsPolicy(
        origins={
            origin.encode(): b"Access-Control-Allow-Origin: %b\r\n%b%b" % (origin.encode(), credentials, vary)
            for origin in cors.origins
        },
        # The same for everyone, so caches need not tell origins apart.
        any=b"Access-Control-Allow-Origin: *\r\n" if "*" in cors.origins else b"",
        refusal=vary,
        preflight=b"Access-Control-Allow-Methods: %b\r\nAccess-Control-Max-Age: %d\r\n"
        % (", ".join(cors.methods).encode(), int(cors.max_age)),
        methods=frozenset(method.encode() for method in cors.methods),
        headers=frozenset(name.lower().encode() for name in cors.headers),
        allow_headers=b"Access-Control-Allow-Headers: %b\r\n" % names,
    )
