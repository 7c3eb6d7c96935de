"""Field lines: what becomes of the request's on the way up, and what may be shown of a value."""

from collections import Counter

from msgspec import structs

from rawgate.config.model import Config, Route
from rawgate.message import READ_AS, Forward, RequestHead, ResponseHead
from rawgate.offline.explain.model import Field, Fields
from rawgate.policy.headers import FORWARDING, GATEWAY_FIELDS, compile_untrusted
from rawgate.wire import request_head

_CREDENTIALS = frozenset(("authorization", "proxy-authorization", "cookie"))


def field_lines(head: bytes) -> list[Field]:
    """The fields of a head, its first line left out; values without the blanks around them."""
    found = []
    for line in head.partition(b"\r\n\r\n")[0].removesuffix(b"\r\n").split(b"\r\n")[1:]:
        name, colon, value = line.partition(b":")
        # Whatever a line without a colon holds, it may be a credential.
        found.append(Field(as_text(name), as_text(value.strip(b" \t"))) if colon else Field("…", "no colon"))
    return found


def as_text(octets: bytes) -> str:
    """What was sent, for people: UTF-8 where it is that, as names beyond ASCII are; else octet by octet."""
    try:
        return octets.decode()
    except UnicodeDecodeError:
        return octets.decode("latin-1")


def travelling(
    config: Config, route: Route, octets: bytes, head: RequestHead, forward: Forward, *, trusted: bool
) -> Fields:
    """The request's fields against those of the head that the upstream gets. `trusted`: a trusted proxy sent it."""
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
    """Lower-cased names of fields whose values are nobody's business."""
    return _CREDENTIALS | {table.header for table in config.api_keys.values()}


def masked(field: Field, hidden: frozenset[str]) -> Field:
    """The field with a credential cut down to its scheme."""
    name = _plain(field.name.strip())
    if name not in hidden:
        return field
    scheme, blank, _ = field.value.partition(" ")
    return structs.replace(field, value=f"{scheme} …" if blank and name == "authorization" else "…")


def _same(field: Field) -> tuple[str, str]:
    return field.name.lower(), field.value


def _split(fields: list[Field], others: Counter[tuple[str, str]]) -> tuple[list[Field], list[Field]]:
    """Those that are not among the others, and those that are, each as often as it is there."""
    alone, shared = [], []
    for field in fields:
        if others[_same(field)]:
            others[_same(field)] -= 1
            shared.append(field)
        else:
            alone.append(field)
    return alone, shared


def _plain(name: str) -> str:
    """A name as others may read it."""
    return name.encode("latin-1", "replace").translate(READ_AS).decode()


_PROXYS = "only a trusted proxy may say this"


def _why(field: Field, config: Config, route: Route, head: RequestHead, trusted: bool) -> str:
    """Who keeps it from travelling, as far as its name tells."""
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
