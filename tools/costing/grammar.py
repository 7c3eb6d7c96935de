"""The productions from which the search begins: requests of which one part is as large as the limits allow.

`Request` is a value whose parts can be exchanged. `octets(number)` writes it down, with the number in place of each
MARK and GROUP: no two requests of a batch are equal, so nothing that the gateway caches makes the second one cheap.

All stay within the default limits: 16 KiB of head, 100 fields, 8 KiB of target. A request that grows beyond them is cut
(`fitted`), because a refusal for size is cheap and not what is looked for.
"""

import hmac
from base64 import urlsafe_b64encode
from collections.abc import Iterator

from msgspec import Struct
from msgspec.structs import replace

HEAD, FIELDS, TARGET = 16 * 1024, 100, 8 * 1024
"""Octets, lines, octets."""
MARK, GROUP = b"\x00", b"\x01"
"""Placeholders for the request's number: in eight decimal digits, and in four hexadecimal ones as a group of an IPv6
address. No valid head holds these octets, so they cannot mean anything else."""
SECRET = b"a secret of the gateway whose requests are measured"
KIDS = ("2026-a", "2026-b", "2026-c", "2026-d")
MIB = 1024 * 1024

Fields = tuple[tuple[bytes, bytes], ...]


class Token(Struct, frozen=True):
    """A JWT in three parts. `signature`: octets; None: the valid one, made with SECRET."""

    header: bytes
    payload: bytes = b'{"sub":"a"}'
    signature: bytes | None = bytes(32)

    def octets(self, number: int) -> bytes:
        signed = _part(_marked(self.header, number)) + b"." + _part(_marked(self.payload, number))
        good = hmac.digest(SECRET, signed, "sha256")
        return signed + b"." + _part(good if self.signature is None else self.signature)


class Request(Struct, frozen=True):
    """A request. `copies`: so many of it in one write; `proxied`: it comes from a trusted proxy; `body`: with its
    framing."""

    target: bytes = b"/plain"
    fields: Fields = ()
    token: Token | None = None
    method: bytes = b"GET"
    version: bytes = b"HTTP/1.1"
    host: bytes = b"a.test"
    body: bytes = b""
    proxied: bool = False
    copies: int = 1

    def head(self, number: int) -> bytes:
        lines = [self.method + b" " + self.target + b" " + self.version, b"Host: " + self.host]
        if self.token is not None:
            lines.append(b"Authorization: Bearer " + self.token.octets(number))
        lines += [name + b": " + value for name, value in self.fields]
        return _marked(b"\r\n".join(lines) + b"\r\n\r\n", number)

    def octets(self, number: int) -> bytes:
        return (self.head(number) + self.body) * self.copies


class Production(Struct, frozen=True):
    """A request that is the largest of its kind. `step`: the step of the gateway that it should make expensive."""

    name: str
    step: str
    request: Request


def _part(octets: bytes) -> bytes:
    return urlsafe_b64encode(octets).rstrip(b"=")


def _marked(octets: bytes, number: int) -> bytes:
    return octets.replace(MARK, b"%08d" % (number % 10**8)).replace(GROUP, b"%04x" % (number % 0x10000))


def fitted(request: Request) -> Request:
    """The request, cut to the limits."""
    extra = 1 + (request.token is not None)
    request = replace(request, target=request.target[: TARGET - 8 * request.target.count(MARK)])
    request = replace(request, fields=request.fields[: FIELDS - extra])
    while (over := len(request.head(0)) - HEAD) > 0:
        request = _shorter(request, over)
    return request


def _shorter(request: Request, over: int) -> Request:
    """The request with its longest part cut by `over` octets."""
    token = request.token
    sizes = {"target": len(request.target), "host": len(request.host), "method": len(request.method)}
    if token is not None:
        sizes |= {"header": len(token.header), "payload": len(token.payload), "signature": len(token.signature or b"")}
    longest = max(sizes, key=lambda part: sizes[part])
    place = max(range(len(request.fields)), key=lambda index: sum(map(len, request.fields[index])), default=-1)
    if place >= 0 and sum(map(len, request.fields[place])) >= sizes[longest]:
        name, value = request.fields[place]
        # Marks are longer when written, so one cut may not be enough: `fitted` repeats. A list keeps whole members.
        kept = () if len(value) <= over else ((name, value[:-over].rpartition(b",")[0] or value[:-over]),)
        return replace(request, fields=request.fields[:place] + kept + request.fields[place + 1 :])
    left = max(sizes[longest] * 3 // 4, sizes[longest] - over)
    if token is None or longest in ("target", "host", "method"):
        return replace(request, **{longest: getattr(request, longest)[:left]})
    return replace(request, token=replace(token, **{longest: getattr(token, longest)[:left]}))


def repeated(piece: bytes, octets: int) -> bytes:
    """The piece as often as it fits in so many octets, counting marks as they are written."""
    return piece * (octets // (len(piece) + 7 * piece.count(MARK)))


PLAIN = Request(fields=((b"User-Agent", b"worst/1"), (b"Accept", b"*/*")))
"""The request to which all others are compared: a small one that is forwarded."""

_FIELD = 15 * 1024
"""Octets of one large field, which leaves space for the small ones."""
_PART = 11 * 1024
"""Octets of one large part of a token. Base64url makes them a third longer."""
_PATH = TARGET - 64


# Targets.

_PATHS = (
    ("encoded letters", "path", b"/", b"%41"),
    ("encoded octets that stay", "path", b"/", b"%c3"),
    ("encoded slashes", "path", b"/", b"%2F"),
    ("encoded slashes, kept", "path", b"/keep/", b"a%2F"),
    ("empty segments", "path", b"/", b"a//"),
    ("slashes", "path", b"/", b"/"),
    ("dot segments", "path", b"/", b"./"),
    ("climbs", "path", b"/", b"a/../"),
    ("encoded climbs", "path", b"/", b"a/%2e%2e/"),
    ("half encoded climbs", "path", b"/", b"a/.%2e/"),
    ("segments with a dot in front", "path", b"/", b".a/"),
    ("segments of three dots", "path", b"/", b".../"),
    ("parameters", "path", b"/", b";x/"),
    ("parameters behind dots", "path", b"/", b".a;/"),
    ("encoded percent signs", "path", b"/", b"%25"),
    ("segments", "route", b"/", b"a/"),
    ("segments of a route", "route", b"/r7/s/t/", b"r7/s/t/"),
    ("encoded in a swapped prefix", "rewrite", b"/sw%61p/", b"%61/"),
    ("segments below a swapped prefix", "rewrite", b"/swap/%c3", b"/a"),
    ("letters for a pattern", "rewrite", b"/regex/", b"a"),
    ("segments for a pattern", "rewrite", b"/regex/a/", b"/b"),
    ("encoded for a pattern", "rewrite", b"/regex/a/", b"%c3"),
    ("quotation marks", "log", b"/", b'"'),
    ("backslashes", "log", b"/", b"\\"),
    ("a query of encoded octets", "path", b"/plain?", b"%41&"),
    ("a query behind an encoded path", "path", b"/%41?", b"a=b&"),
)


def _targets() -> Iterator[Production]:
    for name, step, start, piece in _PATHS:
        yield Production(name, step, Request(start + repeated(piece, _PATH)))
    flaws = {"a bad percent sign at the end": b"%", "a control at the end": b"%7f", "a backslash at the end": b"\\"}
    for name, end in flaws.items():
        yield Production(name, "path", Request(b"/" + repeated(b"%41", _PATH) + end))
    yield Production("an absolute target", "head", Request(b"http://a.test/" + repeated(b"%41", _PATH)))
    yield Production("a long authority", "head", Request(b"http://" + repeated(b"a.", _PATH) + b"/"))
    yield Production("an authority of encoded octets", "head", Request(b"http://" + repeated(b"%41", _PATH) + b"/"))


# Fields.


def _field(name: bytes, piece: bytes, start: bytes = b"", **more: object) -> Request:
    return Request(fields=((name, start + repeated(piece, _FIELD)),), **more)  # type: ignore[arg-type]


_UPGRADE = (b"Connection", b"upgrade")


def _lists() -> Iterator[Production]:
    for name in (b"Connection", b"Transfer-Encoding", b"TE", b"Via", b"Forwarded", b"Expect", b"Content-Length"):
        text = name.decode()
        pieces = {
            "members": b"1," if name == b"Content-Length" else b"a,",
            "commas": b",",
            "blanks": b", ",
            "names": b"a7,",
        }
        for kind, piece in pieces.items():
            yield Production(f"{text} of {kind}", "head", _field(name, piece, body=b""))
    yield Production("Connection of distinct names", "head", _distinct(b"Connection", b"a%d,"))
    yield Production("Connection that names what is there", "head", _naming_all())
    for kind, piece in {"members": b"a,", "versions": b"a/b,", "commas": b",", "long": b"a"}.items():
        upgrade = (b"Upgrade", repeated(piece, _FIELD))
        yield Production(f"Upgrade of {kind}", "head", Request(b"/up", (_UPGRADE, upgrade)))
    yield Production("Via of gateways", "loop", _field(b"Via", b"1.1 rawgate.,"))
    yield Production("Via of blanks", "loop", _field(b"Via", b"a                             ,"))
    yield Production("Transfer-Encoding that ends in chunked", "head", _field(b"Transfer-Encoding", b"a,", b"chunked,"))


def _distinct(name: bytes, form: bytes) -> Request:
    value = b""
    number = 0
    while len(value) < _FIELD:
        value += form % number
        number += 1
    return Request(fields=((name, value[:-1]),))


def _naming_all() -> Request:
    names = [b"x-%02d" % number for number in range(96)]
    return Request(fields=((b"Connection", b",".join(names)), *((name, b"a" * 100) for name in names)))


def _addresses() -> Iterator[Production]:
    chain = b"X-Forwarded-For"
    lists = {
        "of proxies": b",".join(b"10.%d.%d.%d" % (number % 251, number // 251, number % 13) for number in range(1200)),
        "of new proxies": b",".join(b"fd00::" + GROUP + b":%x" % number for number in range(1000)),
        "of new proxies, short": b",".join(b"fd%02x::" % (number % 256) + GROUP for number in range(1200)),
        "of new proxies with ports": b",".join(b"[fd00::" + GROUP + b":%x]:80" % number for number in range(800)),
        "of new mapped proxies": b",".join(b"::ffff:a%02x:" % (number % 256) + GROUP for number in range(900)),
    }
    for kind, value in lists.items():
        fields = ((chain, value),)
        yield Production(f"X-Forwarded-For {kind}", "client address", Request(fields=fields, proxied=True))
    yield Production("X-Forwarded-For of one proxy", "client address", _field(chain, b"10.0.0.1,", proxied=True))
    yield Production("X-Forwarded-For of ports", "client address", _field(chain, b"[fd00::1]:80,", proxied=True))
    yield Production("X-Forwarded-For of commas", "client address", _field(chain, b",", proxied=True))
    yield Production("one long X-Forwarded-For", "client address", _field(chain, b"1", proxied=True))
    yield Production("one long X-Forwarded-For of colons", "client address", _field(chain, b"1:", proxied=True))
    yield Production(
        "X-Forwarded-For lines",
        "client address",
        Request(fields=((chain, b"10.0.0.1," * 15 + b"10.0.0.2"),) * 97, proxied=True),
    )
    newcomer = ((chain, b"2001:db8:" + GROUP + b"::1"),)
    yield Production("ever new clients", "limit", Request(fields=newcomer, proxied=True))
    yield Production("a long X-Request-Id", "request id", _field(b"X-Request-Id", b"a", proxied=True))


def _single() -> Iterator[Production]:
    asks = ((b"Origin", b"https://app.example"), (b"Access-Control-Request-Method", b"PUT"))
    for kind, piece in {"names": b"x-a,", "short names": b"a,", "commas": b","}.items():
        asked = (b"Access-Control-Request-Headers", repeated(piece, _FIELD))
        yield Production(f"a preflight for {kind}", "preflight", Request(b"/cors", (*asks, asked), method=b"OPTIONS"))
    names = b",".join(b"x%d" % number for number in range(2200))
    asked = (b"Access-Control-Request-Headers", names)
    yield Production(
        "a preflight for distinct names", "preflight", Request(b"/cors", (*asks, asked), method=b"OPTIONS")
    )
    yield Production("a long Origin", "cors", Request(b"/cors", ((b"Origin", b"a" * _FIELD),)))
    yield Production("Max-Forwards of digits", "max-forwards", _field(b"Max-Forwards", b"1", method=b"OPTIONS"))
    yield Production("Max-Forwards of zeros", "max-forwards", _field(b"Max-Forwards", b"0", b"1", method=b"OPTIONS"))
    yield Production("Content-Length of zeros", "head", _field(b"Content-Length", b"0"))
    yield Production("Content-Length of digits", "head", _field(b"Content-Length", b"9"))
    hosts = {"letters": b"a", "labels": b"a.", "encoded octets": b"%41", "digits of a port": b"0"}
    for kind, piece in hosts.items():
        host = b"a:" + repeated(piece, _FIELD) if kind.startswith("digits") else repeated(piece, _FIELD)
        yield Production(f"a Host of {kind}", "head", Request(host=host))
    yield Production("a Host in brackets", "head", Request(host=b"[" + repeated(b"1:", _FIELD) + b"]"))
    yield Production("a long method", "head", Request(method=b"M" * 60))
    yield Production("a method that the route does not take", "route", Request(b"/few", method=b"DELETE"))
    for key in (b"k", b"the-key-of-partner-"):
        field = (b"X-Api-Key", repeated(key, _FIELD))
        yield Production(f"an API key of {key.decode()}", "api key", Request(b"/key", (field,)))


def _many(name: bytes, value: bytes, **more: object) -> Request:
    return Request(fields=tuple((name.replace(b"#", b"%02d" % number), value) for number in range(99)), **more)  # type: ignore[arg-type]


def _crowds() -> Iterator[Production]:
    yield Production("fields of new names", "head", _many(b"X-\x00-#", b"a" * 100))
    yield Production("fields of long new names", "head", _many(b"X-\x00-#-" + b"a" * 120, b"a"))
    yield Production("fields of one name", "head", _many(b"X-A", b"a" * 140))
    yield Production("fields with underscores", "head", _many(b"x_user_id_#", b"a" * 100))
    yield Production("fields that are ours, spelled otherwise", "head", _many(b"X_Forwarded_For", b"a" * 100))
    yield Production("X-Forwarded fields", "fields up", _many(b"X-Forwarded-#", b"a" * 100))
    yield Production("new X-Forwarded fields", "fields up", _many(b"X-Forwarded-\x00-#", b"a" * 100))
    yield Production("X-Forwarded fields from a proxy", "fields up", _many(b"X-Forwarded-#", b"a" * 100, proxied=True))
    yield Production("fields that the route removes", "fields up", _many(b"x-odd", b"a" * 100, target=b"/rules"))
    yield Production("fields of blanks", "head", _many(b"X-#", b"a " * 60 + b"a"))
    yield Production("fields without a blank", "head", _many(b"X-#:a", b""))
    yield Production("values of letters and blanks", "head", _field(b"X-A", b"a ", b"a"))
    yield Production("a value of blanks", "head", _field(b"X-A", b" ", b"a"))
    yield Production("a value of octets beyond ASCII", "head", _field(b"X-A", b"\xff"))
    yield Production("a long Cookie", "fields up", _field(b"Cookie", b"a=b; ", b"a=b; ", target=b"/rules"))
    yield Production("ninety Cookies", "fields up", _many(b"Cookie", b"a=b", target=b"/rules"))
    yield Production("ninety Authorizations", "head", _many(b"Authorization", b"Bearer a.b.c", target=b"/shared"))
    yield Production("HTTP/1.0 with many fields", "head", _many(b"X-#", b"a", version=b"HTTP/1.0"))
    yield Production("a connection for each", "connection", Request(fields=((b"Connection", b"close"),)))
    yield Production("a body that waits for 100", "100", _waiting())
    yield Production("heads in one write", "head", Request(copies=200))
    yield Production("very many heads in one write", "head", Request(b"/few", method=b"PUT", copies=4000))
    yield Production("refused heads in one write", "head", Request(b"/shared", copies=200))
    yield Production("unroutable heads in one write", "head", Request(b"/few", method=b"PUT", copies=200))


def _waiting() -> Request:
    fields = ((b"Expect", b"100-continue"), (b"Content-Length", b"1"))
    return Request(fields=fields, method=b"POST", body=b"x")


# Tokens.


def _header(inside: bytes, room: int, start: bytes = b'"x":[', end: bytes = b"0]") -> bytes:
    front = b'{"alg":"HS256","n":"\x00",' + start
    return front + repeated(inside, room - len(front) - len(end) - 16) + end + b"}"


_JSON = {
    "numbers of 1e308": (b"1e308,", b'"x":[', b"0]"),
    "numbers of 1e-308": (b"1e-308,", b'"x":[', b"0]"),
    "numbers of 17 digits": (b"0.12345678901234567,", b'"x":[', b"0]"),
    "numbers near halves": (b"9007199254740993e0,", b'"x":[', b"0]"),
    "numbers of 300 digits": (b"1" * 300 + b".5e-300,", b'"x":[', b"0]"),
    "integers of 19 digits": (b"9223372036854775807,", b'"x":[', b"0]"),
    "integers of 300 digits": (b"1" * 300 + b",", b'"x":[', b"0]"),
    "one endless integer": (b"1", b'"x":[', b"0]"),
    "one endless fraction": (b"1", b'"x":[0.', b"0]"),
    "small numbers": (b"0,", b'"x":[', b"0]"),
    "empty objects": (b"{},", b'"x":[', b"0]"),
    "empty lists": (b"[],", b'"x":[', b"0]"),
    "empty strings": (b'"",', b'"x":[', b"0]"),
    "objects of one": (b'{"a":0},', b'"x":[', b"0]"),
    "open lists": (b"[", b'"x":', b"0"),
    "open objects": (b'{"a":', b'"x":', b"0"),
    "escapes": (b"\\u0041", b'"x":"', b'"'),
    "escaped quotes": (b'\\"', b'"x":"', b'"'),
    "escaped quotes and a comma": (b'\\"', b'"x":",', b'"'),
    "pairs of surrogates": (b"\\ud83d\\ude00", b'"x":",', b'"'),
    "commas in a string": (b",", b'"x":"', b'"'),
    "letters beyond ASCII": (b"\xc3\xa9", b'"x":",', b'"'),
    "the same member": (b'"a":0,', b"", b'"a":0'),
    "blanks": (b" ", b'"x":', b"0"),
}


def _members(room: int) -> bytes:
    return b'{"alg":"HS256",' + b",".join(b'"%x":0' % number for number in range(room // 9)) + b',"z":"{"}'


def _tokens() -> Iterator[Production]:
    for name, (inside, start, end) in _JSON.items():
        token = Token(_header(inside, _PART, start, end))
        yield Production(f"token header: {name}", "token header", Request(b"/shared", token=token))
    yield Production(
        "token header: distinct members", "token header", Request(b"/shared", token=Token(_members(_PART)))
    )
    none = _header(b"1e308,", _PART).replace(b"HS256", b"none")
    yield Production("token header: 1e308 and alg none", "token header", Request(b"/shared", token=Token(none)))
    kid = b'{"alg":"RS256","kid":"' + b"k" * _PART + b'"}'
    yield Production("token header: a long kid", "token header", Request(b"/set", token=Token(kid)))
    alg = b'{"alg":"' + b"H" * _PART + b'"}'
    yield Production("token header: a long alg", "token header", Request(b"/shared", token=Token(alg)))


def _signatures() -> Iterator[Production]:
    plain = b'{"alg":"HS256","n":"\x00"}'
    long = b"p" * (_PART - 200)
    yield Production("a long payload, two secrets", "signature", Request(b"/shared", token=Token(plain, long)))
    yield Production("a long signature", "signature", Request(b"/shared", token=Token(plain, b"p", bytes(_PART))))
    named = b'{"alg":"RS256","kid":"2026-d"}'
    forged = bytes(255) + b"\x01"
    yield Production("a forged RS256 signature", "signature", Request(b"/set", token=Token(named, b'"\x00"', forged)))
    rs256 = b'{"alg":"RS256"}'
    yield Production("three keys for it", "signature", Request(b"/rotated", token=Token(rs256, b'"\x00"', forged)))
    yield Production("three keys, a long payload", "signature", Request(b"/rotated", token=Token(rs256, long, forged)))
    dots = (b"Authorization", b"Bearer " + repeated(b".", _FIELD))
    yield Production("a token of dots", "token", Request(b"/shared", (dots,)))
    letters = (b"Authorization", b"Bearer " + repeated(b"A", _FIELD))
    yield Production("a token without dots", "token", Request(b"/shared", (letters,)))
    blanks = (b"Authorization", b"Bearer " + b" " * _FIELD + b"a")
    yield Production("a token behind blanks", "token", Request(b"/shared", (blanks,)))


def _claims() -> Iterator[Production]:
    """Requests that only the holder of a key, or somebody who can have tokens issued, can send."""
    for name, (inside, start, end) in _JSON.items():
        payload = _header(inside, _PART, start, end).replace(b'"alg":"HS256"', b'"sub":"a","exp":4000000000')
        token = Token(b'{"alg":"HS256"}', payload, None)
        yield Production(f"signed claims: {name}", "claims", Request(b"/shared", token=token))
    audience = b'{"aud":[' + repeated(b'"a",', _PART - 100) + b'"b"],"n":"\x00"}'
    token = Token(b'{"alg":"HS256"}', audience, None)
    yield Production("signed claims: many audiences", "claims", Request(b"/shared", token=token))


def productions() -> list[Production]:
    """All productions, cut to the limits."""
    makers = (_targets, _lists, _addresses, _single, _crowds, _tokens, _signatures, _claims)
    found = [production for make in makers for production in make()]
    return [replace(production, request=fitted(production.request)) for production in found]


# Bodies.


def _chunked(chunks: bytes, trailers: bytes = b"") -> Request:
    return Request(
        fields=((b"Transfer-Encoding", b"chunked"),), method=b"POST", body=chunks + b"0\r\n" + trailers + b"\r\n"
    )


def bodies() -> list[tuple[str, Request]]:
    """Requests with a body of about a MiB on the wire. The first is the one to which the others are compared."""
    counted = Request(fields=((b"Content-Length", b"%d" % MIB),), method=b"POST", body=b"x" * MIB)
    large = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
    chunks = {
        "chunks of 64 KiB": large,
        "chunks of 100 octets": b"64\r\n" + b"x" * 100 + b"\r\n",
        "chunks of one octet": b"1\r\nx\r\n",
        "chunks of one octet, sizes of 16 digits": b"0000000000000001\r\nx\r\n",
        "chunks of two octets with an extension": b"2;a\r\nxx\r\n",
        "chunks of four octets with two extensions": b"4;a;b\r\nxxxx\r\n",
        "chunks of six octets with a quoted extension": b'6;a="b"\r\nxxxxxx\r\n',
        "chunks of 8 octets with four extensions": b"8;a;b;c;d\r\nxxxxxxxx\r\n",
        "chunks of 2,000 octets, extensions as long": b"7d0" + b";a" * 1000 + b"\r\n" + b"x" * 2000 + b"\r\n",
    }
    trailers = b"".join(b"x-trailer-%02d: %b\r\n" % (number, b"a " * 110 + b"a") for number in range(32))
    return [
        ("counted", counted),
        *((name, _chunked(repeated(chunk, MIB))) for name, chunk in chunks.items()),
        ("one chunk and 32 trailers", _chunked(b"%x\r\n%b\r\n" % (MIB, b"x" * MIB), trailers)),
    ]
