"""Which fields travel to the upstream, which do not and why, and which values may be shown.

The upstream's head is the gate's own. Comparing it with the client's head shows what was removed, added and kept; the
reasons are then found by name.
"""

from collections import Counter
from urllib.parse import unquote_plus

from msgspec import structs

from rawgate.config.model import Config, Route
from rawgate.message import READ_AS, Forward, RequestHead, ResponseHead
from rawgate.offline.explain.model import Field, Fields
from rawgate.policy.headers import FORWARDING, GATEWAY_FIELDS, compile_untrusted
from rawgate.wire import request_head

_CREDENTIALS = frozenset(("authorization", "proxy-authorization", "cookie", "sec-websocket-protocol"))


def field_lines(head: bytes) -> list[Field]:
    """The fields of a head, without its first line. Blanks around values are removed (RFC 9112 section 5)."""
    found = []
    for line in head.partition(b"\r\n\r\n")[0].removesuffix(b"\r\n").split(b"\r\n")[1:]:
        name, colon, value = line.partition(b":")
        # A line without a colon is not shown, since it may hold a credential.
        found.append(Field(as_text(name), as_text(value.strip(b" \t"))) if colon else Field("…", "no colon"))
    return found


def as_text(octets: bytes) -> str:
    """Octets as text for people: UTF-8 where they are UTF-8, else one character an octet (ISO-8859-1)."""
    try:
        return octets.decode()
    except UnicodeDecodeError:
        return octets.decode("latin-1")


def travelling(
    config: Config, route: Route, octets: bytes, head: RequestHead, forward: Forward, *, trusted: bool
) -> Fields:
    """Compare the client's fields with those that the upstream gets. `trusted`: a trusted proxy sent the request."""
    sent = request_head(forward.head, head.body, head.expect, forward.upgrade, b"content-length" in head.parsed)
    before, after = field_lines(octets), field_lines(sent)
    stays, travels = Counter(map(_same, after)), Counter(map(_same, before))
    removed, kept = _split(before, stays)
    added, _ = _split(after, travels)
    answer = forward.on_response(ResponseHead(200, b"OK", {}, [], 0, 0, False, -1, b""))
    hidden = credentials(config)
    return Fields(
        removed=tuple(
            structs.replace(masked(field, hidden), why=_why(field, config, route, head, trusted)) for field in removed
        ),
        added=tuple(masked(field, hidden) for field in added),
        kept=tuple(masked(field, hidden) for field in kept),
        answer=tuple(field_lines(answer)),
    )


def credentials(config: Config) -> frozenset[str]:
    """Lower-cased names of the fields whose values are never shown."""
    return _CREDENTIALS | {table.header for table in config.api_keys.values()}


def without_credentials(config: Config, target: bytes) -> bytes:
    """A request target whose parameters that may hold a credential have lost their values."""
    names = {
        place.removeprefix("query:")
        for spec in config.jwt.values()
        for place in spec.token
        if place.startswith("query:")
    }
    names |= {table.query for table in config.api_keys.values() if table.query is not None}
    path, mark, query = target.partition(b"?")
    pairs = []
    for pair in query.split(b"&"):
        name, sign, _ = pair.partition(b"=")
        pairs.append(name + sign + b"..." if sign and unquote_plus(name.decode("latin-1")) in names else pair)
    return path + mark + b"&".join(pairs)


def masked(field: Field, hidden: frozenset[str]) -> Field:
    """The field, with a credential's value replaced; of Authorization the scheme stays, as in `Bearer …`."""
    name = _plain(field.name.strip())
    if name not in hidden:
        return field
    scheme, blank, _ = field.value.partition(" ")
    return structs.replace(field, value=f"{scheme} …" if blank and name == "authorization" else "…")


def _same(field: Field) -> tuple[str, str]:
    return field.name.lower(), field.value


def _split(fields: list[Field], others: Counter[tuple[str, str]]) -> tuple[list[Field], list[Field]]:
    """The fields that are not in `others`, and those that are. A field counts as often as it occurs there."""
    alone, shared = [], []
    for field in fields:
        if others[_same(field)]:
            others[_same(field)] -= 1
            shared.append(field)
        else:
            alone.append(field)
    return alone, shared


def _plain(name: str) -> str:
    """A name as lenient services read it: "_" as "-", in lower case (`READ_AS`)."""
    return name.encode("latin-1", "replace").translate(READ_AS).decode()


_PROXYS = "only a trusted proxy may say this"


def _why(field: Field, config: Config, route: Route, head: RequestHead, trusted: bool) -> str:
    """Why a field does not travel, as far as its name tells."""
    name, plain = field.name.lower(), _plain(field.name)
    rules = route.request_headers
    if plain in {_plain(overridden) for overridden in (*rules.set, *rules.remove)}:
        return "the route's request_headers"
    if plain == "host":
        return "the upstream has its own"
    if not trusted and plain.encode() in FORWARDING | {b"x-request-id"}:
        return _PROXYS
    if plain.encode() in GATEWAY_FIELDS:
        return "only the gateway says this"
    if compile_untrusted(config.gateway.untrusted_headers).with_overrides().holds(plain.encode()):
        return _PROXYS
    if plain in credentials(config) and name.encode() in head.parsed:
        return "the credential stays here"
    return "ends at this hop"
