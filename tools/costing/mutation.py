"""Random changes: one request changed a little, or combined from two."""

from random import Random

from msgspec.structs import replace

from tools.costing.grammar import GROUP, MARK, Fields, Request, Token, fitted

PATH_PIECES = (
    b"/",
    b"%41",
    b"%c3",
    b"%2e",
    b"%2F",
    b"%25",
    b"./",
    b"../",
    b"..;",
    b";a=b",
    b"?",
    b"a",
    b"//",
    b"a/%2e%2e/",
)
NAMES = (
    *(b"Connection", b"Upgrade", b"TE", b"Via", b"Forwarded", b"Expect", b"Origin", b"Cookie", b"Max-Forwards"),
    *(b"X-Forwarded-For", b"X-Forwarded-\x00", b"X-Request-Id", b"X-Api-Key", b"X-\x00", b"x_odd", b"X-User-Id"),
    *(b"Access-Control-Request-Method", b"Access-Control-Request-Headers", b"Keep-Alive", b"Proxy-Connection"),
)
"""Without Content-Length and Transfer-Encoding: a request that announces a body and sends none is never answered."""
VALUE_PIECES = (
    *(b",", b", ", b"a,", b"a", b" ", b"1.1 a,", b"upgrade,", b"websocket,", b"a/b,", b"\xff", b"x-a,", b"PUT"),
    *(b"https://app.example", b"10.0.0.1,", b"fd00::" + GROUP + b",", b"[fd00::1]:80,", MARK, b"Bearer ", b"."),
)
JSON_PIECES = (
    *(b"1e308,", b"1e-308,", b"0,", b"{},", b"[],", b'"",', b'{"a":0},', b"[", b"{", b'"', b"\\u0041", b'\\"', b","),
    *(b'"kid":"2026-a",', b'"crit":[],', b'"b64":true,', b"123456789012345678901234567890,", b"0.1234567890123456789,"),
)
TARGETS = (
    b"/shared",
    b"/set",
    b"/rotated",
    b"/key",
    b"/regex/a/",
    b"/swap/",
    b"/keep/",
    b"/rules",
    b"/cors",
    b"/up",
    b"/few",
)


def _changed(octets: bytes, pieces: tuple[bytes, ...], random: Random) -> bytes:
    """A piece inserted (once or often), a slice repeated, a slice removed, or one piece replaced by another."""
    low, high = sorted((random.randrange(len(octets) + 1), random.randrange(len(octets) + 1)))
    often = random.choice((1, 2, 16, 256, 4096))
    match random.randrange(4):
        case 0:
            return octets[:low] + random.choice(pieces) * often + octets[low:]
        case 1:
            high = min(high, low + 16)
            return octets[:high] + octets[low:high] * often + octets[high:]
        case 2:
            return octets[:low] + octets[high:]
        case _:
            old, new = random.choice(pieces), random.choice(pieces)
            return octets.replace(old, new)


def _change_fields(fields: Fields, random: Random) -> Fields:
    changed = list(fields)
    match random.randrange(4):
        case 0 if changed:
            index = random.randrange(len(changed))
            name, value = changed[index]
            changed[index] = (name, _changed(value, VALUE_PIECES, random).strip(b" ") or b"a")
        case 1 if changed:
            changed *= random.choice((2, 8, 96))
        case 2 if changed:
            changed.pop(random.randrange(len(changed)))
        case _:
            value = random.choice(VALUE_PIECES) * random.choice((1, 16, 256, 4096))
            field = (random.choice(NAMES), value.strip(b" ") or b"a")
            changed.insert(random.randrange(len(changed) + 1), field)
    return tuple(changed)


def _change_token(token: Token, random: Random) -> Token:
    match random.randrange(4):
        case 0:
            return replace(token, payload=_changed(token.payload, JSON_PIECES, random))
        case 1:
            return replace(token, signature=random.choice((None, b"a", bytes(32), bytes(256))))
        case _:
            return replace(token, header=_changed(token.header, JSON_PIECES, random))


def mutated(request: Request, random: Random) -> Request:
    """The request with one part changed."""
    token = request.token
    match random.randrange(6):
        case 0 if token is not None:
            return replace(request, token=_change_token(token, random))
        case 1:
            return replace(request, target=random.choice(TARGETS) + random.choice((b"", request.target)))
        case 2:
            return replace(request, proxied=not request.proxied)
        case 3:
            return replace(request, target=b"/" + _changed(request.target, PATH_PIECES, random).lstrip(b"/"))
        case _:
            return replace(request, fields=_change_fields(request.fields, random))


def combined(one: Request, other: Request, random: Random) -> Request:
    """The first request with some parts of the second."""
    if random.random() < 0.5:
        one = replace(one, fields=one.fields + other.fields if random.random() < 0.5 else other.fields)
    if random.random() < 0.3:
        one = replace(one, target=other.target)
    if random.random() < 0.3:
        one = replace(one, token=other.token)
    return one


def child(one: Request, other: Request, random: Random) -> Request:
    """The first request, perhaps combined with the second, then mutated, within the limits."""
    made = combined(one, other, random) if random.random() < 0.3 else one
    for _ in range(random.choice((1, 1, 2, 3))):
        made = mutated(made, random)
    return fitted(made)
