"""Request heads: each case through both lanes, whole, cut at every point, octet by octet, with octets behind it."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from harness.values import Alike, run
from rawgate.errors import RequestError
from rawgate.message import CHUNKED
from rawgate.wire import RequestReader
from rawgate.wire.request import is_host

Read = Callable[..., tuple[Any, bytes]]
Make = Callable[..., Any]
Cut = Callable[[bytes], list[list[bytes]]]

# head → how it differs from a plain GET (see the `request_head` fixture)
ACCEPTED: dict[str, tuple[bytes, dict[str, object]]] = {
    "plain": (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", {}),
    "no blank": (b"GET / HTTP/1.1\r\nHost:a\r\n\r\n", {}),
    "blanks around values": (
        b"GET / HTTP/1.1\r\nHost: \t a\t \r\nX-A:  v w \r\n\r\n",
        {"passthrough": [run(b"X-A: v w")]},
    ),
    "empty value": (b"GET / HTTP/1.1\r\nHost: a\r\nX-A:\r\n\r\n", {"passthrough": [run(b"X-A: ")]}),
    "empty line ahead": (b"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", {}),
    "order, case and repeats stay": (
        b"GET / HTTP/1.1\r\nb: 1\r\nHOST: a\r\nA: 2\r\nB: 3\r\n\r\n",
        {"passthrough": [run(b"b: 1"), run(b"A: 2", b"B: 3")]},
    ),
    "opaque octets": (b"GET / HTTP/1.1\r\nHost: a\r\nX-A: \xe9\xff\r\n\r\n", {"passthrough": [run(b"X-A: \xe9\xff")]}),
    "tab in a value": (b"GET / HTTP/1.1\r\nHost: a\r\nX-A: a\tb\r\n\r\n", {"passthrough": [run(b"X-A: a\tb")]}),
    "any token is a method": (b"get!x / HTTP/1.1\r\nHost: a\r\n\r\n", {"method": b"get!x"}),
    "longest method": (b"M" * 64 + b" / HTTP/1.1\r\nHost: a\r\n\r\n", {"method": b"M" * 64}),
    "query": (b"GET /a?b=c&d=/%20\\? HTTP/1.1\r\nHost: a\r\n\r\n", {"target": b"/a?b=c&d=/%20\\?"}),
    "two slashes are a path": (b"GET //b/c HTTP/1.1\r\nHost: a\r\n\r\n", {"target": b"//b/c"}),
    "asterisk": (b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", {"method": b"OPTIONS", "target": b"*"}),
    "known fields are joined": (
        b"GET / HTTP/1.1\r\nHost: a\r\nAuthorization: x\r\nX-A: 1\r\nauthorization: y\r\n\r\n",
        {"parsed": {b"host": b"a", b"authorization": b"x, y"}, "passthrough": [run(b"X-A: 1")]},
    ),
    # absolute-form
    "absolute": (b"GET http://b:81/c?d HTTP/1.1\r\nHost: a\r\n\r\n", {"target": b"/c?d", "authority": b"b:81"}),
    "absolute, https, upper case": (
        b"GET HTTPS://b/ HTTP/1.1\r\nHost: a\r\n\r\n",
        {"target": b"/", "authority": b"b"},
    ),
    "absolute without path": (b"GET http://b HTTP/1.1\r\nHost: a\r\n\r\n", {"target": b"/", "authority": b"b"}),
    "absolute with query only": (b"GET http://b?c HTTP/1.1\r\nHost: a\r\n\r\n", {"target": b"/?c", "authority": b"b"}),
    "absolute OPTIONS without path": (
        b"OPTIONS http://b HTTP/1.1\r\nHost: a\r\n\r\n",
        {"method": b"OPTIONS", "target": b"*", "authority": b"b"},
    ),
    "absolute, IPv6": (b"GET http://[::1]:8/ HTTP/1.1\r\nHost: a\r\n\r\n", {"authority": b"[::1]:8"}),
    # framing
    "content-length": (
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n",
        {"method": b"POST", "body": 5, "parsed": {b"host": b"a", b"content-length": b"5"}},
    ),
    "content-length, leading zeros": (
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 0005\r\n\r\n",
        {"body": 5, "parsed": {b"host": b"a", b"content-length": b"0005"}},
    ),
    "content-length, equal twice": (
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 5 ,5\r\n\r\n",
        {"body": 5, "parsed": {b"host": b"a", b"content-length": b"5"}},
    ),
    "content-length, 19 digits": (
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 9999999999999999999\r\n\r\n",
        {"body": 10**19 - 1, "parsed": {b"host": b"a", b"content-length": b"9" * 19}},
    ),
    "chunked": (
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\tChunked\t\r\n\r\n",
        {"method": b"POST", "body": CHUNKED, "parsed": {b"host": b"a", b"transfer-encoding": b"chunked"}},
    ),
    "chunked, common": (
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
        {"method": b"POST", "body": CHUNKED, "parsed": {b"host": b"a", b"transfer-encoding": b"chunked"}},
    ),
    # connection
    "close": (
        b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nClose: 1\r\n\r\n",
        {"close": True, "parsed": {b"host": b"a", b"connection": b"close"}, "passthrough": [run(b"Close: 1")]},
    ),
    "close, any case, in a list": (
        b"GET / HTTP/1.1\r\nHost: a\r\nConnection: , x ,\tcLoSe\r\n\r\n",
        {"close": True, "parsed": {b"host": b"a", b"connection": b", x ,\tcLoSe"}},
    ),
    "keep-alive": (
        b"GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive\r\n\r\n",
        {"parsed": {b"host": b"a", b"connection": b"keep-alive"}},
    ),
    "named fields end here": (
        b"GET / HTTP/1.1\r\nX-A: 1\r\nHost: a\r\nConnection: x-a\r\nX-B: 2\r\nx-A: 3\r\nConnection: TE\r\nTE:\r\n\r\n",
        {"parsed": {b"host": b"a", b"connection": b"x-a, TE"}, "passthrough": [run(b"X-B: 2")]},
    ),
    "hop-by-hop fields end here unnamed": (
        b"GET / HTTP/1.1\r\nHost: a\r\nTE: t\r\nKeep-Alive: 1\r\nProxy-Connection:\r\nUpgrade: y\r\nTrailer: z\r\n\r\n",
        {
            "parsed": {
                b"host": b"a",
                b"te": b"t",
                b"keep-alive": b"1",
                b"proxy-connection": b"",
                b"upgrade": b"y",
            },
            "passthrough": [run(b"Trailer: z")],
        },
    ),
    "aliases with underscores are dropped": (
        b"GET / HTTP/1.1\r\nHost: a\r\nX_User_Id: 1\r\nX_user-ID: 2\r\nTransfer_Encoding: chunked\r\nX_B: 3\r\n\r\n",
        {"passthrough": [run(b"X_B: 3")]},
    ),
    "aliases with anything else that a name may hold are dropped": (
        b"GET / HTTP/1.1\r\nHost: a\r\nX.User.Id: 1\r\nX~User^Id: 2\r\nContent|Length: 9\r\nX.B: 3\r\n\r\n",
        {"passthrough": [run(b"X.B: 3")]},
    ),
    "values too long for h11": (
        b"GET / HTTP/1.1\r\nHost: a\r\nX-A:\t" + b"a b " * 200 + b"\r\nContent-Length: 1, 1\r\nX-B: 2\r\nX-C: \xe9"
        b""
        + b"," * 600
        + b"\r\ncontent-length:1\r\nX-D:"
        + b" " * 600
        + b"\r\nAuthorization:"
        + b"x" * 600
        + b"\r\n\r\n",
        {
            "parsed": {b"host": b"a", b"content-length": b"1", b"authorization": b"x" * 600},
            "body": 1,
            "passthrough": [
                run(b"X-A: " + (b"a b " * 200)[:-1]),
                run(b"X-B: 2", b"X-C: \xe9" + b"," * 600, b"X-D: "),
            ],
        },
    ),
    # HTTP/1.0
    "1.0": (b"GET / HTTP/1.0\r\n\r\n", {"minor": 0, "authority": b"", "parsed": {}, "close": True}),
    "1.0, keep-alive": (
        b"GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n",
        {"minor": 0, "authority": b"", "parsed": {b"connection": b"Keep-Alive"}},
    ),
    "1.0, keep-alive and close": (
        b"GET / HTTP/1.0\r\nConnection: keep-alive, close\r\n\r\n",
        {"minor": 0, "authority": b"", "parsed": {b"connection": b"keep-alive, close"}, "close": True},
    ),
    "1.0 ignores expectations": (
        b"GET / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n",
        {
            "minor": 0,
            "authority": b"",
            "parsed": {b"expect": b"100-continue", b"content-length": b"1"},
            "body": 1,
            "close": True,
        },
    ),
    "1.0 ignores upgrades": (
        b"GET / HTTP/1.0\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
        {"minor": 0, "authority": b"", "parsed": {b"connection": b"upgrade"}, "close": True},
    ),
    # expect and upgrade
    "expect": (
        b"GET / HTTP/1.1\r\nHost: a\r\nExpect: 100-Continue\r\nContent-Length: 1\r\n\r\n",
        {
            "expect": True,
            "body": 1,
            "parsed": {b"host": b"a", b"expect": b"100-Continue", b"content-length": b"1"},
        },
    ),
    "expect without body": (
        b"GET / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n\r\n",
        {"parsed": {b"host": b"a", b"expect": b"100-continue"}},
    ),
    "upgrade": (
        b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, X-S\r\nUpgrade: WebSocket ,h2c\r\nX-S:\r\n\r\n",
        {"upgrade": b"websocket, h2c", "parsed": {b"host": b"a", b"connection": b"Upgrade, X-S"}},
    ),
    "upgrade, malformed": (
        b"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: web socket\r\n\r\n",
        {"parsed": {b"host": b"a", b"connection": b"upgrade"}},
    ),
    "upgrade with body": (
        b"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 1\r\n\r\n",
        {"body": 1, "parsed": {b"host": b"a", b"connection": b"upgrade", b"content-length": b"1"}},
    ),
    # host
    "empty host in HTTP/1.0": (
        b"GET / HTTP/1.0\r\nHost:\r\n\r\n",
        {"authority": b"", "parsed": {b"host": b""}, "minor": 0, "close": True},
    ),
    "host with empty port": (
        b"GET / HTTP/1.1\r\nHost: a.b-c_d:\r\n\r\n",
        {"authority": b"a.b-c_d:", "parsed": {b"host": b"a.b-c_d:"}},
    ),
}

_FIELD = b"GET / HTTP/1.1\r\nHost: a\r\n"
_POST = b"POST / HTTP/1.1\r\nHost: a\r\n"

# octets that must be refused, and nothing before their last octet may be (marked True: as soon as they are there)
REFUSED: dict[str, tuple[bytes, int, bool]] = {
    "HTTP/0.9": (b"GET /\r\n", 400, True),
    "no method": (b" / HTTP/1.1\r\n", 400, True),
    "no target": (b"GET HTTP/1.1\r\n", 400, True),
    "two blanks": (b"GET  / HTTP/1.1\r\n", 400, True),
    "blank at the end": (b"GET / HTTP/1.1 \r\n", 400, True),
    "blank in the target": (b"GET /a b HTTP/1.1\r\n", 400, True),
    "method is no token": (b"G[T / HTTP/1.1\r\n", 400, True),
    "target not ASCII": (b"GET /\xe9 HTTP/1.1\r\n", 400, True),
    "fragment": (b"GET /a#b HTTP/1.1\r\n", 400, True),
    "target without slash": (b"GET a.html HTTP/1.1\r\n", 400, True),
    "asterisk with GET": (b"GET * HTTP/1.1\r\n", 400, True),
    "authority-form": (b"GET a:80 HTTP/1.1\r\n", 400, True),
    "other scheme": (b"GET ftp://a/ HTTP/1.1\r\n", 400, True),
    "userinfo": (b"GET http://u:p@a/ HTTP/1.1\r\n", 400, True),
    "no authority": (b"GET http:///p HTTP/1.1\r\n", 400, True),
    "bad port in the target": (b"GET http://a:8x/ HTTP/1.1\r\n", 400, True),
    "two empty lines ahead": (b"\r\n\r\n", 400, True),
    "CONNECT": (b"CONNECT a:443 HTTP/1.1\r\n", 501, True),
    "TRACE": (b"TRACE / HTTP/1.1\r\n", 501, True),
    "delete": (b"delete / HTTP/1.1\r\n", 400, True),
    "Get": (b"Get / HTTP/1.1\r\n", 400, True),
    "connect": (b"connect / HTTP/1.1\r\n", 400, True),
    "tRACE": (b"tRACE / HTTP/1.1\r\n", 400, True),
    "propfind": (b"propfind / HTTP/1.1\r\n", 400, True),
    "a route's method in other letters": (b"purge / HTTP/1.1\r\n", 400, True),
    "method of 65 octets": (b"M" * 65, 501, True),
    "HTTP/2.0": (b"PRI * HTTP/2.0\r\n", 505, True),
    "HTTP/0.9 in words": (b"GET / HTTP/0.9\r\n", 505, True),
    "HTTP/1.2 without Host": (b"GET / HTTP/1.2\r\nA: b\r\n\r\n", 400, True),
    "no minor version": (b"GET / HTTP/1\r\n", 400, True),
    "version with a zero ahead": (b"GET / HTTP/01.1\r\n", 400, True),
    "version in lower case": (b"GET / http/1.1\r\n", 400, True),
    "bare LF in the request line": (b"GET / HTTP/1.1\n", 400, True),
    "bare CR in the request line": (b"GET /\rx", 400, True),
    "NUL in the target": (b"GET /\x00", 400, True),
    "DEL in the target": (b"GET /\x7f", 400, True),
    "TLS": (b"\x16", 400, True),
    "bare LF in a field": (_FIELD + b"X-A: v\n", 400, True),
    "LF for the empty line": (_FIELD + b"\n", 400, True),
    "bare CR in a field": (_FIELD + b"X-A: v\rX", 400, True),
    "CR CR LF": (_FIELD + b"X-A: v\r\r", 400, True),
    "control octet in a name": (_FIELD + b"X\x01", 400, True),
    "control octet in a value": (_FIELD + b"X-A: \x0b", 400, True),
    "fold": (_FIELD + b"X-A: a\r\n ", 400, True),
    "fold with HTAB": (_FIELD + b"X-A: a\r\n\t", 400, True),
    "fold behind the request line": (b"GET / HTTP/1.1\r\n ", 400, True),
    "blank before the colon": (_FIELD + b"X-A : v\r\n\r\n", 400, False),
    "blank in a name": (_FIELD + b"X A: v\r\n\r\n", 400, False),
    "no colon": (_FIELD + b"X-A\r\n\r\n", 400, False),
    "no name": (_FIELD + b": v\r\n\r\n", 400, False),
    "name not ASCII": (_FIELD + b"X-\xe9: v\r\n\r\n", 400, False),
    # host
    "no host": (b"GET / HTTP/1.1\r\nX-A: v\r\n\r\n", 400, False),
    "no fields": (b"GET / HTTP/1.1\r\n\r\n", 400, False),
    "two hosts": (_FIELD + b"Host: a\r\n\r\n", 400, False),
    "two hosts in 1.0": (b"GET / HTTP/1.0\r\nHost: a\r\nhost: b\r\n\r\n", 400, False),
    "bad host beside a good target": (b"GET http://b/ HTTP/1.1\r\nHost: a/\r\n\r\n", 400, False),
    # framing
    "length and coding": (_POST + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400, False),
    "bad length and coding": (_POST + b"Content-Length: x\r\nTransfer-Encoding: chunked\r\n\r\n", 400, False),
    "coding in 1.0": (b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 400, False),
    "coding twice": (_POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", 400, False),
    "length with sign": (_POST + b"Content-Length: +1\r\n\r\n", 400, False),
    "length empty": (_POST + b"Content-Length:\r\n\r\n", 400, False),
    "length with underscore": (_POST + b"Content-Length: 1_0\r\n\r\n", 400, False),
    "length superscript": (_POST + b"Content-Length: \xb2\r\n\r\n", 400, False),
    "lengths differ": (_POST + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n", 400, False),
    "lengths differ in a list": (_POST + b"Content-Length: 1, 2\r\n\r\n", 400, False),
    "lengths differ in spelling": (_POST + b"Content-Length: 5, 05\r\n\r\n", 400, False),
    "length of 20 digits": (_POST + b"Content-Length: 18446744073709551621\r\n\r\n", 413, False),
    "length of 5000 digits": (_POST + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n", 400, False),
    "connection names host": (_FIELD + b"Connection: host\r\n\r\n", 400, False),
    "connection names length": (_POST + b"Connection: Content-Length\r\nContent-Length: 1\r\n\r\n", 400, False),
    "connection names coding": (
        _POST + b"Connection: transfer-encoding\r\nTransfer-Encoding: chunked\r\n\r\n",
        400,
        False,
    ),
    "connection names authorization": (_FIELD + b"Connection: close, Authorization\r\n\r\n", 400, False),
    "connection names a protected field": (_FIELD + b"Connection: X-Api-Key\r\n\r\n", 400, False),
    "connection malformed": (_FIELD + b"Connection: a b\r\n\r\n", 400, False),
    "length of 1900 zeros": (_POST + b"Content-Length: " + b"0" * 1900 + b"\r\n\r\n", 400, False),
    "length of 500 digits": (_POST + b"Content-Length: " + b"9" * 500 + b"\r\n\r\n", 413, False),
    "codings of 3000 octets": (_POST + b"Transfer-Encoding: gzip, " + b" " * 3000 + b"chunked\r\n\r\n", 400, False),
    "connection of 65 members": (_FIELD + b"Connection: a" + b",a" * 64 + b"\r\n\r\n", 400, False),
    "expectation": (_FIELD + b"Expect: 200-ok\r\n\r\n", 417, False),
}


@pytest.mark.parametrize(
    ("octets", "words"),
    [
        (b"\x16\x03\x01\x02\x00", "looks like TLS"),
        (b"PROXY TCP4 192.0.2.1 192.0.2.2 5 6\r\n", "looks like the PROXY protocol"),
        (b"\r\n\r\n\x00\r\nQUIT\n", "PROXY protocol's second version"),
        (b"PRI * HTTP/2.0\r\n", "looks like HTTP/2"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "looks like SSH"),
        (b"\x05\x01\x00", "looks like SOCKS"),
        (b"\x04\x01\x00\x50\xc0\x00\x02\x01\x00", "looks like SOCKS"),
        (b"\x01\x01\x00\x01\x00\x08\x00\x00", "looks like FastCGI"),
        ("G\u00c9T / HTTP/1.1\r\n".encode(), "holds the octet 0xC3, which stands in none"),
        (b"GET\t/ HTTP/1.1\r\n", "holds the octet 0x09"),
        ("GET /caf\u00e9 HTTP/1.1\r\n".encode(), "holds the octet 0xC3"),
        (b"GET /a\tb HTTP/1.1\r\n", "holds the octet 0x09"),
    ],
)
def test_a_refusal_says_what_it_met(octets: bytes, words: str, fast: bool, make_request_rules: Make) -> None:
    with pytest.raises(RequestError, match=words):
        RequestReader(make_request_rules(fast)).feed(octets)


EXPECTED = {b"": False, b",": False, b" , ": False, b"100-Continue": True, b",100-continue , 100-continue": True}


@pytest.mark.parametrize("value", EXPECTED)
def test_empty_expectations_are_none(value: bytes, fast: bool, read_request: Read) -> None:
    octets = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nExpect:" + value + b"\r\n\r\n"
    assert read_request([octets], fast)[0].expect is EXPECTED[value]


@pytest.mark.parametrize("value", [b"200-ok", b"100-continue, x", b"100-continue=1", b";"])
def test_other_expectations_are_refused(value: bytes, fast: bool, read_request: Read) -> None:
    octets = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nExpect: " + value + b"\r\n\r\n"
    assert read_request([octets], fast)[0] == (417, "expectation_failed")


CODINGS = {
    b"": 400,
    b"gzip": 400,
    b"xchunked": 400,
    b"chunked, gzip": 400,
    b"chunked, identity": 400,
    b"chunked, chunked": 400,
    b'"chunked"': 400,
    b"chunked;": 400,
    b"chunked;a=b": 400,
    b", chunked": 400,
    b"chunked,": 400,
    b"\xa0chunked": 400,
    b"gzip, chunked": 501,
    b"cow,Chunked": 501,
}

HOSTS = {
    b"": True,
    b"a": True,
    b"a.b-c_d~e:80": True,
    b"a:": True,
    b"a:0": True,
    b"a:65535": True,
    b"a:000065535": True,
    b"!$&'()*+;=": True,
    b"127.0.0.1:8080": True,
    b"127.0.0.1.": True,
    b"1.a": True,
    b"0xg": True,
    b"a.0x7f.b": True,
    b"[::1]": True,
    b"[2001:db8::1]:443": True,
    b"[::ffff:1.2.3.4]": True,
    b":80": False,
    b"a:65536": False,
    b"a:" + b"1" * 5000: False,
    b"a:8x": False,
    b"a:-1": False,
    b"a:80:80": False,
    b"a,b": False,
    b"a b": False,
    b"a/": False,
    b"a?": False,
    b"a#": False,
    b"u@a": False,
    b"a\\b": False,
    b"%4": False,
    b"%41": False,
    b"a%2Eb": False,
    b"%61.test:80": False,
    b"127.1": False,
    b"127.0.0.1.1": False,
    b"127.0.0.256": False,
    b"0177.0.0.1": False,
    b"127.0.0.01": False,
    b"0x7f.0.0.1": False,
    b"0x7f000001": False,
    b"0X": False,
    b"2130706433": False,
    b"2130706433.:80": False,
    b"a.1": False,
    b"\xe9": False,
    b"[::1": False,
    b"::1": False,
    b"[::1]a": False,
    b"[1::2::3]": False,
    b"[fe80::1%25eth0]": False,
    b"[]": False,
}


@pytest.mark.parametrize("trailing", [b"", b"\r\n \x00body"], ids=["alone", "trailing"])
@pytest.mark.parametrize(("octets", "differences"), ACCEPTED.values(), ids=ACCEPTED.keys())
def test_accepted(
    octets: bytes,
    differences: dict[str, object],
    trailing: bytes,
    fast: bool,
    read_request: Read,
    request_head: Make,
    portionings: Cut,
) -> None:
    expected = Alike(request_head(size=len(octets), **differences)), trailing
    for portions in portionings(octets + trailing):
        assert read_request(portions, fast) == expected


@pytest.mark.parametrize(("octets", "status", "at_once"), REFUSED.values(), ids=REFUSED.keys())
def test_refused(octets: bytes, status: int, at_once: bool, fast: bool, read_request: Read, portionings: Cut) -> None:
    assert read_request([octets[:-1]], fast) == (None, octets[:-1])
    trailing = b"" if at_once else b"GET / HTTP/1.1\r\n\r\n"
    cuts = portionings(octets + trailing) if len(octets) < 200 else [[octets], [octets[:-1], octets[-1:]]]
    for portions in cuts:
        assert read_request(portions, fast)[0][0] == status


@pytest.mark.parametrize(("coding", "status"), CODINGS.items())
def test_only_chunked_is_served(coding: bytes, status: int, fast: bool, read_request: Read) -> None:
    octets = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: " + coding + b"\r\n\r\n"
    assert read_request([octets], fast)[0][0] == status


@pytest.mark.parametrize(("coding", "status"), CODINGS.items())
def test_codings_in_two_lines_are_one_list(coding: bytes, status: int, fast: bool, read_request: Read) -> None:
    octets = b"POST / HTTP/1.1\r\nHost: a\r\n%bX-A: b\r\n%b\r\n" % tuple(
        b"Transfer-Encoding: %b\r\n" % part for part in (coding.partition(b",")[0], coding.partition(b",")[2])
    )
    assert read_request([octets], fast)[0][0] in (400, status)


@pytest.mark.parametrize(("host", "good"), HOSTS.items())
def test_host(host: bytes, good: bool, fast: bool, read_request: Read) -> None:
    assert is_host(host) is good
    version = b"1" if host else b"0"  # which knew no Host
    outcome = read_request([b"GET / HTTP/1." + version + b"\r\nHost: " + host + b"\r\n\r\n"], fast)[0]
    assert outcome == (400, "bad_request") if not good else outcome.authority == host


def test_pipelined_requests_come_out_one_by_one(fast: bool, make_request_rules: Make) -> None:
    reader = RequestReader(make_request_rules(fast))
    data = (
        b"".join(b"GET /%d HTTP/1.1\r\nHost: h%d\r\n\r\n" % (n, n % 2) for n in range(5)) + b"\r\nGET /5 HTTP/1.1\r\n"
    )
    targets = []
    while (head := reader.feed(data)) is not None:
        targets.append((head.target, head.authority))
        data = reader.rest
    assert targets == [(b"/%d" % n, b"h%d" % (n % 2)) for n in range(5)]
    assert reader.started
    head = reader.feed(b"Host: h\r\n\r\nrest")
    assert head is not None
    assert (head.target, reader.rest, reader.started) == (b"/5", b"rest", False)


def test_started(fast: bool, make_request_rules: Make) -> None:
    reader = RequestReader(make_request_rules(fast))
    assert not reader.started
    assert reader.feed(b"") is None
    assert not reader.started
    assert reader.feed(b"\r\n") is None  # a stray empty line starts nothing
    assert not reader.started
    assert reader.feed(b"G") is None
    assert reader.started


@pytest.mark.parametrize(
    ("octets", "line"),
    [
        (b"", (b"", b"")),
        (b"PO", (b"PO", b"")),
        (b"\r\nPOST /a", (b"POST", b"/a")),
        (b"POST /a HTTP/1.1\r\nHost: a\r\n", (b"POST", b"/a")),
        (b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n", (b"POST", b"/a")),
        (b"POST /a#b HTTP/1.1\r\n", (b"POST", b"/a#b")),
        (b"GET http://user:pw@a/x?y HTTP/1.1\r\n", (b"GET", b"/x?y")),
        (b"GET http://user:pw@a", (b"GET", b"")),
        (b"GET ftp://user:pw@a/x HTTP/1.1\r\n", (b"GET", b"/x")),
        (b"GET user:pw@a/x HTTP/1.1\r\n", (b"GET", b"/x")),
        (b"CONNECT user:pw@a:80 HTTP/1.1\r\n", (b"CONNECT", b"")),
        (b"OPTIONS * HTTP/3.0\r\n", (b"OPTIONS", b"*")),
        (b"\x16\x03\x01", (b"", b"")),
        (b"POST /\n", (b"", b"")),
        (b"POST /\xe9 HTTP/1.1\r\n", (b"POST", b"/\xe9")),
        (b"M" * 99, (b"M" * 64, b"")),
        (b"GET /" + b"a" * 9000, (b"GET", b"/" + b"a" * 9000)),
    ],
)
def test_line_of_an_unfinished_or_refused_head(
    octets: bytes, line: tuple[bytes, bytes], fast: bool, make_request_rules: Make
) -> None:
    reader = RequestReader(make_request_rules(fast))
    with suppress(RequestError):
        reader.feed(octets)
    assert reader.line == line


# limits: a head of exactly the limit passes, one octet or field more does not


def test_head_limit(fast: bool, read_request: Read, portionings: Cut) -> None:
    octets = b"GET / HTTP/1.1\r\nHost: a\r\nX-A: abcdef\r\n\r\n"
    for portions in portionings(octets):
        assert read_request(portions, fast, head=len(octets))[0].size == len(octets)
        assert read_request(portions, fast, head=len(octets) - 1)[0] == (431, "head_too_large")


def test_head_limit_does_not_wait_for_the_end(fast: bool, read_request: Read) -> None:
    octets = b"GET / HTTP/1.1\r\nX-A: " + b"a" * 100
    assert read_request([octets[:64]], fast, head=64)[0] is None
    assert read_request([octets[:65]], fast, head=64)[0] == (431, "head_too_large")


def test_field_limit(fast: bool, read_request: Read, portionings: Cut) -> None:
    octets = b"GET / HTTP/1.1\r\nHost: a\r\nA: 1\r\nB: 2\r\n\r\n"
    for portions in portionings(octets):
        assert read_request(portions, fast, headers=3)[0].passthrough == [run(b"A: 1", b"B: 2")]
        assert read_request(portions, fast, headers=2)[0] == (431, "head_too_large")


def test_target_limit(fast: bool, read_request: Read, portionings: Cut) -> None:
    octets = b"GET /2345678 HTTP/1.1\r\nHost: a\r\n\r\n"
    for portions in portionings(octets):
        assert read_request(portions, fast, target=8)[0].target == b"/2345678"
        assert read_request(portions, fast, target=7)[0] == (414, "target_too_long")


def test_fields_that_concern_the_connection_are_short(fast: bool, read_request: Read) -> None:
    host, connection = b"Host: a", b"Connection: keep-alive, x-"
    room = 2048 - len(host) - len(connection)
    for count, status in ((room, None), (room + 1, 400)):
        head, _ = read_request([b"\r\n".join([b"GET / HTTP/1.1", host, connection + b"a" * count, b"", b""])], fast)
        assert (head[0] if isinstance(head, tuple) else None) == status


def test_target_limit_comes_before_the_head_limit_and_does_not_wait(fast: bool, read_request: Read) -> None:
    octets = b"GET /" + b"a" * 20000
    assert read_request([octets], fast)[0] == (414, "target_too_long")
    assert read_request([octets[: 4 + 8192]], fast)[0] is None
    assert read_request([octets[: 4 + 8193]], fast)[0] == (414, "target_too_long")


@pytest.mark.parametrize(
    ("octets", "status"),
    [
        (b"GET /\x00" + b"a" * 9000, 400),
        (b"GET /" + b"a" * 9000 + b"\x00", 414),
        (b"GET / HTTP/3.0\r\nX-A: \x00\r\n\r\n", 505),
        (b"GET / HTTP/1.1\r\nX-A: \x00" + b"a" * 20000, 400),
        (b"GET / HTTP/1.1\r\nX-A: " + b"a" * 20000 + b"\x00", 431),
    ],
    ids=["octet, target", "target, octet", "version, octet", "octet, head", "head, octet"],
)
def test_what_is_wrong_first_decides_however_it_is_cut(
    octets: bytes, status: int, fast: bool, read_request: Read
) -> None:
    portioned = [octets[at : at + 7] for at in range(0, len(octets), 7)]
    assert read_request([octets], fast)[0][0] == status
    assert read_request(portioned, fast)[0][0] == status


@pytest.mark.parametrize(
    "octets", [case[0] for case in REFUSED.values() if b"X-A" in case[0] and b"X-Api" not in case[0]]
)
def test_errors_never_repeat_what_was_sent(octets: bytes, fast: bool, make_request_rules: Make) -> None:
    with pytest.raises(RequestError) as caught:
        RequestReader(make_request_rules(fast)).feed(octets.replace(b"X-A", b"sEcReT"))
    assert "sEcReT" not in str(caught.value)
