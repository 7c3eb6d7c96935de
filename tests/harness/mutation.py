"""Octets that are nearly HTTP/1.1: messages made from the grammar, then damaged where two readers could disagree.

All choices come from one `random.Random`. Hypothesis has one that it can shrink, a long run has one with a seed, and a
coverage-guided fuzzer makes one of its input (`Given`), so all three share this module.
"""

from collections.abc import Sequence
from itertools import pairwise
from random import Random

CRLF = b"\r\n"

LINE_ENDS = (b"\n", b"\r", b"\r\r\n", b"\n\r", b"\r\n ", b"\r\n\t", b"\x0b\r\n", b" \r\n", b"\r\n\r\n", b"\x85", b"")
ODD_OCTETS = tuple(
    [bytes((octet,)) for octet in b'\0\t\n\v\f\r "#%&,-./:;=?@[\\_`\x1c\x7f\x80\x85\xa0\xad\xc3\xff0aAfGxX+']
    + [b"\xc2\xa0", b"\xe2\x80\xa8", b"\xef\xbb\xbf", b"%0d%0a", b"\\r\\n", b"\r\n\r\n", b"0\r\n\r\n", b"  "]
)
NUMBERS = (
    *(b"0", b"00", b"1", b"5", b"05", b"+5", b"-5", b" 5", b"5 ", b"5\t", b"5;", b"5,", b",5", b"5, 5", b"5,6", b"5 5"),
    *(b"0x5", b"0X5", b"5_0", b"1e1", b"5.0", b"\xd9\xa5", b"\xb2", b"a", b"A", b"ff", b"g", b"", b"10", b"3e8"),
    *(b"9" * 18, b"9" * 19, b"9" * 20, b"0" * 20, b"0" * 30 + b"5", b"f" * 15, b"f" * 16, b"f" * 17),
    *(b"18446744073709551615", b"18446744073709551616", b"18446744073709551621", b"4294967301", b"\x005", b"5\0"),
)
CODINGS = (
    *(b"chunked", b"Chunked", b"CHUNKED", b" chunked", b"chunked ", b"\tchunked", b"\vchunked", b"\xa0chunked"),
    *(b"chunked\t", b"chunked;", b"chunked;q=1", b"chunked, chunked", b"chunked,", b",chunked", b", chunked"),
    *(b"gzip, chunked", b"chunked, gzip", b"identity", b"chunked, identity", b"identity, chunked", b"xchunked"),
    *(b"x chunked", b'"chunked"', b"'chunked'", b"chun\tked", b"chunk", b"chunked\0", b"chunked\x0c", b"cow, chunked"),
    *(b"chunKed", b"chu\xc5\x82ked", b"", b"\xef\xbb\xbfchunked", b"chunked\r\n ", b"gzip"),
)
FRAMING_NAMES = (
    *(
        b"Content-Length",
        b"content-length",
        b"CONTENT-LENGTH",
        b"Content_Length",
        b"Content-Length ",
        b" Content-Length",
    ),
    *(b"Transfer-Encoding", b"transfer-encoding", b"TRANSFER-ENCODING", b"Transfer_Encoding", b"Transfer-Encoding "),
    *(
        b"Transfer-Encoding\t",
        b"\tTransfer-Encoding",
        b"Transfer-Encoding\v",
        b"X\r\nTransfer-Encoding",
        b"TransferEncoding",
    ),
    *(b"Transfer-Encoding\0", b"Content-Length\0", b"Content\xadLength", b"\xffTransfer-Encoding", b"Content-Length:"),
)
REQUEST_LINES = (
    *(
        b"Host: b.test",
        b"host: a.test:81",
        b"Host : b.test",
        b"Host: a.test, b.test",
        b"Host: a.test.",
        b"Host:",
        b"HOST: a",
    ),
    *(b"Connection: close", b"Connection: keep-alive", b"Connection: Close, X-A", b"Connection: Content-Length"),
    *(b"Connection: transfer-encoding", b"Connection: upgrade", b"Connection: Upgrade, close", b"Connection: a b"),
    *(b"Connection: keep-alive\r\nConnection: close", b"Proxy-Connection: keep-alive", b"Keep-Alive: timeout=5"),
    *(
        b"Upgrade: websocket",
        b"Upgrade: h2c",
        b"Upgrade: websocket, h2c",
        b"HTTP2-Settings: AAMAAABkAAQ",
        b"TE: trailers",
    ),
    *(
        b"Expect: 100-continue",
        b"Expect: 100-Continue",
        b"Expect: 100-continue, x",
        b"expect:100-continue",
        b"Expect: ",
    ),
    *(b"Trailer: X-T", b"X-A: b", b"X-A:", b"X-A: \xe9", b"X_A: b", b"Authorization: Bearer x", b"X-User-Id: root"),
    *(b"X-Request-Id: forged", b"X-Forwarded-For: 203.0.113.9", b"X_Forwarded_For: 203.0.113.9", b"Forwarded: for=a"),
    *(b"Max-Forwards: 0", b"Via: 1.1 rawgate", b"Cookie: a=b", b": empty", b"no colon", b" folded", b"\tfolded", b""),
    *(
        b"Content-Type: text/plain",
        b"X-HTTP-Method-Override: PUT",
        b"Te: chunked",
        b"X: \x7f",
        b"X: a\0b",
        b"X-Long: " + b"v" * 300,
    ),
)
RESPONSE_LINES = (
    *(
        b"Connection: close",
        b"Connection: keep-alive",
        b"Connection: X-A",
        b"Connection: Content-Length",
        b"Connection: a b",
    ),
    *(
        b"Keep-Alive: timeout=5",
        b"Keep-Alive: timeout=0",
        b"Keep-Alive: timeout=99999999999",
        b"Proxy-Connection: close",
    ),
    *(
        b"Upgrade: websocket",
        b"Upgrade: h2c",
        b"Connection: upgrade",
        b"Trailer: X-T",
        b"Set-Cookie: a=b",
        b"Set-Cookie: c=d",
    ),
    *(b"Date: Thu, 01 Jan 1970 00:00:00 GMT", b"Server: x", b"X-A: b", b"X-A:", b"X-A: \xe9", b"X-A : b", b": empty"),
    *(
        b"no colon",
        b" folded",
        b"\tfolded",
        b"",
        b"X: a\0b",
        b"X-Request-Id: upstream",
        b"Content-Type: text/plain",
        b"TE: x",
    ),
    *(b"Content-Encoding: gzip", b"X-Long: " + b"v" * 300, b"Via: 1.0 other", b"Location: /elsewhere", b"X_A: b"),
)
METHODS = (
    *(b"GET", b"POST", b"PUT", b"HEAD", b"DELETE", b"OPTIONS", b"PATCH") * 3,
    b"CONNECT",
    b"TRACE",
    b"get",
    b"PURGE",
    b"G@T",
)
TARGETS = (
    *(b"/", b"/a", b"/a?b=c", b"/locked/x", b"/a/b/c") * 4,
    *(
        b"//",
        b"/a//b",
        b"/../a",
        b"/%2e%2e/a",
        b"/%0d%0a",
        b"/%00",
        b"/a%2fb",
        b"/\xe9",
        b"/a#b",
        b"*",
        b"a",
        b"",
        b"/\\",
    ),
    *(b"http://b.test/a", b"HTTP://b.test", b"http://u@b.test/", b"https://a.test:443/", b"http:///a", b"a.test:80"),
    *(b"/a b", b"/a\tb", b"/;/..;/a", b"/" + b"x" * 300, b"http://a.test?x", b'/a?"<>|', b"http://[::1]:80/"),
)
VERSIONS = (
    *(b"HTTP/1.1",) * 16,
    b"HTTP/1.0",
    b"HTTP/1.0",
    b"HTTP/1.2",
    b"HTTP/2.0",
    b"HTTP/0.9",
    b"http/1.1",
    b"HTTP/1.1 ",
    b"HTTP/01.1",
)
STATUSES = (
    *(b"200 OK",) * 12,
    *(
        b"204 No Content",
        b"304 Not Modified",
        b"404 Not Found",
        b"500 Oops",
        b"299 ",
        b"200",
        b"206 Partial",
        b"426 Upgrade",
    ),
    *(
        b"100 Continue",
        b"103 Early Hints",
        b"101 Switching Protocols",
        b"199 x",
        b"600 x",
        b"999 x",
        b"20 x",
        b"2000 x",
    ),
    *(b"000 x", b"099 x", b"200  two", b"200\tOK", b"200 \xe9", b"200 a\0b", b"-200 OK", b"+200 OK", b" 200 OK"),
)
EXTENSIONS = (
    *(b"",) * 12,
    *(
        b";a",
        b";a=b",
        b';a="b;c"',
        b';a="\r\n"',
        b';a="\\""',
        b";",
        b" ;a",
        b"; a=b",
        b";a\n",
        b";a\r",
        b";a=\0",
        b";a b",
    ),
    *(b" ", b"\t", b";a=" + b"x" * 200, b';a="', b";\n", b"\v", b";a=b;c", b",", b"x", b"\x0c;a"),
)
TRAILERS = (
    *(b"",) * 8,
    *(
        b"X-T: 1\r\n",
        b"Content-Length: 5\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"X T: 1\r\n",
        b"X-T : 1\r\n",
        b" X-T: 1\r\n",
    ),
    *(
        b"X-User-Id: root\r\n",
        b"X-T:\r\n",
        b"x\r\n",
        b"X-T: a\nb\r\n",
        b"X-T: \0\r\n",
        b": 1\r\n",
        b"Host: b\r\n",
        b"X-Request-Id: t\r\n",
    ),
)


class Given(Random):
    """Takes its random bits from given octets, and zeros after their end."""

    def __init__(self, octets: bytes) -> None:
        super().__init__(0)
        self._octets = octets
        self._at = 0

    @property
    def spent(self) -> bool:
        """Whether all octets are used."""
        return self._at >= len(self._octets)

    def getrandbits(self, k: int, /) -> int:
        size = (k + 7) // 8
        taken = self._octets[self._at : self._at + size]
        self._at += size
        return int.from_bytes(taken, "little") & ((1 << k) - 1)

    def random(self) -> float:
        return self.getrandbits(16) / 65536


class Mutator:
    """Makes octets from one source of random choices.

    corpus  messages to begin with, besides those made from the grammar
    """

    def __init__(self, random: Random, corpus: Sequence[bytes] = ()) -> None:
        self._random = random
        self._corpus = corpus

    # ── chance ──

    def chance(self, share: float) -> bool:
        """True in this share of calls. A source of zeros, to which Hypothesis shrinks, gives False."""
        return self._random.random() >= 1.0 - share

    def pick(self, among: Sequence[bytes]) -> bytes:
        return among[self._random.randrange(len(among))]

    def number(self, least: int, most: int) -> int:
        return self._random.randint(least, most)

    # ── whole messages ──

    def request(self) -> bytes:
        """A request, often a damaged one."""
        if self._corpus and self.chance(0.4):
            return self.damaged(self.pick(self._corpus))
        start = self.pick(METHODS) + b" " + self.pick(TARGETS) + b" " + self.pick(VERSIONS)
        return self.damaged(self._message(start, [b"Host: a.test"], REQUEST_LINES))

    def response(self) -> bytes:
        """A response, often a damaged one."""
        if self._corpus and self.chance(0.4):
            return self.damaged(self.pick(self._corpus))
        version = self.pick(VERSIONS) if self.chance(0.1) else b"HTTP/1.1"
        return self.damaged(self._message(version + b" " + self.pick(STATUSES), [], RESPONSE_LINES))

    def chunked(self, payload: bytes = b"") -> bytes:
        """A chunked body, usually a valid one."""
        pieces = []
        for _ in range(self.number(0, 3)):
            data = payload or bytes(b"GET /smuggled HTTP/1.1\r\n\r\n"[: self.number(1, 26)])
            size = self.pick(NUMBERS) if self.chance(0.04) else b"%x" % len(data)
            pieces += [size, self._extension(), CRLF, data, CRLF]
        pieces += [b"000" if self.chance(0.05) else b"0", self._extension(), CRLF, self.pick(TRAILERS), CRLF]
        return b"".join(pieces)

    def _extension(self) -> bytes:
        return self.pick(EXTENSIONS) if self.chance(0.15) else b""

    def _message(self, start: bytes, lines: list[bytes], others: Sequence[bytes]) -> bytes:
        lines += [self.pick(others) for _ in range(self.number(0, 4)) if self.chance(0.6)]
        body = self._body(lines)
        if self.chance(0.2):
            lines.append(self.framing_line())
        if self.chance(0.3):
            self._random.shuffle(lines)
        return CRLF.join([start, *lines, b"", b""]) + body

    def _body(self, lines: list[bytes]) -> bytes:
        """A body, and the field line that frames it."""
        kind = self.number(0, 3)
        if kind == 0:
            return b""
        if kind == 1:
            lines.append(b"Transfer-Encoding: chunked")
            return self.chunked()
        body = b"hello" if kind == 2 else b"GET /smuggled HTTP/1.1\r\nHost: a.test\r\n\r\n"
        lines.append(b"Content-Length: %d" % len(body))
        return body

    def framing_line(self) -> bytes:
        """A framing field, in a spelling on which HTTP parsers have disagreed."""
        name = self.pick(FRAMING_NAMES)
        value = self.pick(CODINGS if b"ncoding" in name else NUMBERS)
        return name + self.pick((b": ", b": ", b":", b" : ", b":\t", b":\v", b": \r\n ")) + value

    # ── damage ──

    def damaged(self, octets: bytes) -> bytes:
        """The octets with up to three small changes, often with none."""
        while self.chance(0.45):
            octets = self._damage(octets)
        return octets

    def _damage(self, octets: bytes) -> bytes:
        at = self.number(0, len(octets))
        match self.number(0, 9):
            case 0:  # an odd octet more
                return octets[:at] + self.pick(ODD_OCTETS) + octets[at:]
            case 1:  # an odd octet instead
                return octets[:at] + self.pick(ODD_OCTETS) + octets[at + 1 :]
            case 2:  # something is lost
                return octets[:at] + octets[at + self.number(1, 4) :]
            case 3:  # a line end that is none
                return self._swap(octets, CRLF, at, self.pick(LINE_ENDS))
            case 4:  # another number
                return self._renumber(octets, at)
            case 5:  # a framing line more
                return self._swap(octets, CRLF, at, CRLF + self.framing_line() + CRLF)
            case 6:  # a line twice
                line = octets[at:].partition(CRLF)[0]
                return self._swap(octets, CRLF, at, CRLF + line + CRLF)
            case 7:  # other case
                return octets[:at] + octets[at : at + 12].swapcase() + octets[at + 12 :]
            case 8:  # cut off
                return octets[:at]
            case _:  # an odd line more
                lines = RESPONSE_LINES if octets.startswith(b"HTTP") else REQUEST_LINES
                return self._swap(octets, CRLF, at, CRLF + self.pick(lines) + CRLF)

    def _swap(self, octets: bytes, what: bytes, after: int, instead: bytes) -> bytes:
        found = octets.find(what, after)
        return octets if found < 0 else octets[:found] + instead + octets[found + len(what) :]

    def _renumber(self, octets: bytes, after: int) -> bytes:
        start = next((at for at in range(after, len(octets)) if octets[at : at + 1].isdigit()), -1)
        if start < 0:
            return octets
        end = start + 1
        while octets[end : end + 1].isdigit():
            end += 1
        return octets[:start] + self.pick(NUMBERS) + octets[end:]

    # ── portions ──

    def portions(self, octets: bytes) -> list[bytes]:
        """The octets in pieces: whole, a few, or one by one."""
        if self.chance(0.3):
            return [octets]
        if len(octets) < 400 and self.chance(0.15):
            return [octets[at : at + 1] for at in range(len(octets))]
        marks = sorted(self.number(0, len(octets)) for _ in range(self.number(1, 5)))
        edges = [0, *marks, len(octets)]
        return [octets[start:end] for start, end in pairwise(edges) if start < end]
