"""The list: requests that some server might take for one that they do not look like.

Four kinds, each with one thing spelled in many ways and all else plain:

    paths    /admin, and a few requests that ask for it in a field
    methods  what changes /items: the method itself, a field that overrides it, the path of a POST
    hosts    the hosts that are closed, in the Host field and in an absolute target
    fields   the fields in which the gateway tells an application something, with MARKER as what the client says

A path is a word in a letter form between what goes before and what comes after. Every form of each part stands in the
list alone; of the combinations of two or three as many as asked for, by chance that begins with a seed. So the list is
the same every time, and a longer one holds the shorter.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import product
from random import Random

KINDS = ("paths", "methods", "hosts", "fields")

MARKER = "203.0.113.66"
"""What a client says in a field of the gateway's: good as an address, as a name and as an id."""

Fields = tuple[tuple[bytes, bytes], ...]


def words(text: str) -> list[str]:
    """What stands between blanks."""
    return text.split()


@dataclass(frozen=True)
class Spelling:
    """One request.

    credential  "": none, "alice": a good token, "partner": a good key
    trailers    sent after a chunked body, if there are any
    """

    kind: str
    method: bytes = b"GET"
    target: bytes = b"/"
    host: bytes = b"open.test"
    fields: Fields = ()
    credential: str = ""
    trailers: Fields = ()

    def __str__(self) -> str:
        parts = [self.method, b" ", self.target, b"" if self.host == b"open.test" else b" Host: " + self.host]
        parts += [b" | %b: %b" % field for field in self.fields]
        parts += [b" | trailer %b: %b" % field for field in self.trailers]
        text = b"".join(parts).decode("latin-1").encode("unicode_escape").decode()
        return f"{text} (as {self.credential})" if self.credential else text


# ── paths ──

LETTERS = words(
    # percent-encoded once and twice, in part and whole
    "%61dmin adm%69n admi%6e %61%64%6d%69%6e %41dmin adm%49n %2561dmin adm%2569n %252561dmin "
    # letter case, and letters that become these when their case is changed
    "ADMIN Admin aDMIN admiN adm%c4%b1n ADM%c4%b0N "
    # overlong UTF-8, full width, marks that are not seen, escapes of other languages
    "%c1%a1dmin %e0%81%a1dmin %ef%bd%81dmin %ef%bd%81%ef%bd%84%ef%bd%8d%ef%bd%89%ef%bd%8e adm%c2%adin admin%e2%80%8b "
    "%u0061dmin \\u0061dmin &#97;dmin +admin adm+in a%00dmin %00admin %0aadmin"
)

BEFORE = words(
    "// /// /./ /.// //./ /x/../ /x//../ /x/../../ /../ /.../ /x/.../ /%2e/ /%2e%2e/ /x/%2e%2e/ /x/.%2e/ /x/%2E%2E/ "
    "/x/%252e%252e/ /%252e/ /%252f /x%252f..%252f /%2f /%2f%2f /x%2f..%2f /x/..%2f /x/..%2F /x/..%252f /x/..%5c "
    "/x%5c..%5c /%5c /%5c%5c \\ /\\ \\\\ /x\\..\\ /x/..\\ /; /;/ /;x/ /;x=1/ /;x;y/ /;a=b;c=d/ /x;/../ /x;y/../ "
    "/x/;/../ /x/..;/ /x/..;x/ /x/..;a=b/ /x/..;/..;/ /x/%2e%2e;/ /.;/ /.;x/ /./;/ /x/.;/../ /..;/ /%3b/ /%3bx/ "
    "/x/..%3b/ /x/%c0%ae%c0%ae/ /x/%e0%80%ae%e0%80%ae/ /%c0%af /x/..%c0%af /x/%u002e%u002e/ /%ef%bc%8f "
    "/x/%ef%bc%8e%ef%bc%8e/ /%20/ /%09/ /%00/ /x/..%00/ /x%00/../ /x/..%20/ /x/..%09/ /%0a/ /%0d%0a/ "
    "/?/../ /%3f/../ /#/../ /%23/../ /x?/../ /x%3f/../ /&/../ /:/../ /@/../ /*/../ /index.html/../ /x.jsp/../ /~/"
)

AFTER = words(
    "/ // /. /./ /.. /../admin /x/.. /%2e /%2e/ /x /* ; ;x ;x=1 ;/ ;/y ;x/y ;;; ;a=b;c=d /; /;x /;/ /..;/admin "
    ";jsessionid=1 ;.css ;/../admin ;%2e %3b %3bx %3b/y %3B . .. ... ./ .json .html .css .jsp .php ~ .bak %2e ::$DATA "
    "$ , : @ ! ' ( * | ^ \" %20 %20%20 %20/ %09 %00 %00.css %00/ %0a %0d %0d%0a %01 %7f %a0 %85 %c2%a0 %e2%80%8b "
    "%c0%80 + %2f %2F %2f/ %5c %5C \\ \\x /\\ %252f %253b %2500 ? ?x ?/ ?; # #x #/ %3f %3fx %23 %23x & %26 % %2 %zz"
)

WHOLE = words(
    "http://open.test/admin HTTP://open.test/admin http://open.test//admin http://open.test/./admin "
    "http://open.test/%61dmin http://open.test/x/../admin http://open.test/x/..;/admin http://open.test/admin;x "
    "http://open.test/;/admin http://open.test:80/admin http://open.test:/admin http://OPEN.TEST/admin "
    "http://open.test./admin http://x@open.test/admin http://x:y@open.test/admin http://open.test\\admin "
    "http://open.test?/../admin http://open.test#/../admin http://open.test/x?/../admin http://other.test/admin "
    "http:///admin http:/admin http:admin http:\\\\open.test\\admin https://open.test/admin ftp://open.test/admin "
    "ws://open.test/admin //open.test/admin ///open.test/admin /\\open.test/admin //admin //admin/admin ?/admin "
    "/?/admin #/admin * *admin admin ./admin ../admin ;/admin %2fadmin \\admin /http://open.test/admin /http:/admin "
    "open.test/admin open.test:80/admin /x/http://open.test/admin /open.test/../admin"
)

ASKED_IN_FIELDS: tuple[tuple[str, str, str], ...] = (
    ("/x/admin", "SCRIPT_NAME", "/x"),
    ("/x/admin", "script_name", "/x"),
    ("/x/admin", "SCRIPT_NAME", "/x/"),
    ("/x/admin", "Script-Name", "/x"),
    ("/x/admin", "SCRIPT.NAME", "/x"),
    ("/x/admin", "X-Script-Name", "/x"),
    ("/x/admin", "X-Forwarded-Prefix", "/x"),
    ("/x", "PATH_INFO", "/admin"),
    ("/x", "Path-Info", "/admin"),
    ("/x", "PATH_TRANSLATED", "/admin"),
    ("/x", "REQUEST_URI", "/admin"),
    ("/x", "X-Original-URL", "/admin"),
    ("/x", "X-Rewrite-URL", "/admin"),
    ("/x", "X-Original-URI", "/admin"),
    ("/x", "X-Forwarded-Uri", "/admin"),
    ("/x", "X-Forwarded-Path", "/admin"),
    ("/x", "X-HTTP-Path-Override", "/admin"),
    ("/x", "X-Accel-Redirect", "/admin"),
    ("/x", "X-Sendfile", "/admin"),
    ("/x", "Destination", "/admin"),
    ("/x", "Upgrade", "h2c"),
)


def singles(word: str, letters: Iterable[str]) -> Iterator[str]:
    """`/word` with each form of each part alone."""
    yield from (f"/{form}" for form in letters)
    yield from (f"{before}{word}" for before in BEFORE)
    yield from (f"/{word}{after}" for after in AFTER)


def paths(combined: int, seed: int) -> Iterator[Spelling]:
    targets = [*singles("admin", LETTERS), *WHOLE]
    some = list(product(["admin", *LETTERS], ["/", *BEFORE], ["", *AFTER]))
    chosen = Random(seed).sample(some, combined)  # noqa: S311 - to be the same every time
    targets += [f"{before}{letters}{after}" for letters, before, after in chosen]
    yield from (Spelling("paths", target=target.encode()) for target in dict.fromkeys(targets))
    # A blank or an octet of no character within the target.
    for target in (b"/admin x", b"/ admin", b"/admin\t", b"\t/admin", b"/admin\x0b", b"/\xe1dmin", b"/admin\xa0"):
        yield Spelling("paths", target=target)
    for path, name, value in ASKED_IN_FIELDS:
        yield Spelling("paths", target=path.encode(), fields=((name.encode(), value.encode()),))


# ── methods ──

CHANGING = (b"POST", b"PUT", b"PATCH", b"DELETE")
OVERRIDES = ("X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override")
"""What frameworks and their plug-ins take for the method."""

OTHER_METHODS = (
    b"QUERY PROPFIND PROPPATCH MKCOL COPY MOVE LOCK UNLOCK MERGE LINK UNLINK PURGE SEARCH M-SEARCH REPORT BREW SOURCE "
    b"CONNECT TRACE connect trace Connect get Get head Head options Options HEAD OPTIONS PRI ! ~ X P0ST P_ST PO%53T "
    b"POST; POST, POST,GET GET,POST POST/ POST: _POST POST_ -POST POST. POST+GET GETPOST POSTGET PUTS PATCH1"
).split(b" ")
BROKEN_METHODS = (
    b" POST",
    b"\tPOST",
    b"POST ",
    b"POST\t",
    b"POST\x00",
    b"\x00POST",
    b"GET POST",
    b"\r\nPOST",
    b"\xd0OST",
)


def methods() -> Iterator[Spelling]:
    for method in CHANGING:
        text = method.decode()
        forms = [text.lower(), text.title(), text.swapcase().title().swapcase(), text[:-1] + text[-1].lower()]
        for form in dict.fromkeys(forms):
            yield Spelling("methods", form.encode(), b"/items/1")
    yield from (Spelling("methods", method, b"/items/1") for method in (*OTHER_METHODS, *BROKEN_METHODS))
    for name, method in product(OVERRIDES, (b"DELETE", b"delete")):
        for form in (name, name.lower(), name.replace("-", "_"), name.replace("-", "."), name.upper()):
            yield Spelling("methods", b"GET", b"/items/1", fields=((form.encode(), method),))
    for query in (b"?_method=DELETE", b"?_method=delete", b"?method=DELETE", b"?X-HTTP-Method-Override=DELETE"):
        yield Spelling("methods", b"GET", b"/items/1" + query)
    for target in singles("items", ["%69tems", "item%73", "%2569tems", "ITEMS", "Items", "item%53", "item%c5%bf"]):
        yield Spelling("methods", b"POST", target.encode())


# ── hosts ──

SITE = b"admin.test"
NAMES = (
    # letter case, dots, ports
    b"ADMIN.TEST Admin.Test admin.TEST admin.test. ADMIN.TEST. admin.test.. .admin.test admin..test admin.test.:80 "
    b"admin.test:80 ADMIN.test:8080 admin.test: admin.test:0 admin.test:00080 admin.test:99999 admin.test:80:80 "
    b"admin.test:8a admin.test:-1 admin.test:+80 admin.test:%38%30 "
    # percent-encodings
    b"%61dmin.test admin%2etest admin%2Etest admin.test%2e %41DMIN.test %2561dmin.test admin.test%00 admin.test%20 "
    b"admin.test%09 admin.test%3a80 %61%64%6d%69%6e%2e%74%65%73%74 admin.tes%74:80 "
    # userinfo, lists, what belongs to a URL
    b"user@admin.test user:pw@admin.test @admin.test open.test@admin.test admin.test@open.test open.test:80@admin.test "
    b"admin.test,open.test open.test,admin.test admin.test/ admin.test/x /admin.test //admin.test http://admin.test "
    b"admin.test?x admin.test#x admin.test\\x \\admin.test admin.test;x ;admin.test admin_test admin.test_ _admin.test "
    b"[admin.test] (admin.test) 'admin.test' \"admin.test\" <admin.test> admin.test* *.test admin.test| -admin.test "
    b"admin.test- admin.test! $admin.test x.admin.test admin.test.x "
    # other alphabets that are read as this one, in UTF-8 and in IDNA's letters
    b"\xef\xbd\x81dmin.test admin\xe3\x80\x82test admin\xef\xbc\x8etest adm\xc4\xb1n.test ad\xc2\xadmin.test "
    b"admin.test\xc2\xa0 admin.test\xe2\x80\x8b admin.test\xa0 xn--admin-.test xn--admin.test XN--ADMIN-.test "
    b"%ef%bd%81dmin.test admin%e3%80%82test ad%c2%admin.test"
).split(b" ")
IPV4 = (
    b"192.0.2.7: 192.0.2.7:80 192.0.2.7. 192.0.2.7.:80 192.0.2.07 192.0.2.007 192.000.002.007 0300.0.2.7 0300.00.02.07 "
    b"192.0.519 192.519 3221225991 3221225991:80 0xc0000207 0XC0000207 0xc0.0.2.7 0xC0.0x0.0x2.0x7 0xc0.0.0x207 "
    b"030000001007 0300.0.0x2.7 00000300.0.2.7 192.0.2.7.. 192.0..2.7 192%2e0.2.7 192.0.2.%37 192.0.2.7%00 "
    b"[::ffff:192.0.2.7] [::ffff:c000:207] [::192.0.2.7] [192.0.2.7] \xef\xbc\x91\xef\xbc\x99\xef\xbc\x92.0.2.7 "
    b"192\xe3\x80\x820.2.7 user@192.0.2.7 +192.0.2.7 192.0.2.263 448.0.2.7"
).split(b" ")
IPV6 = (
    b"[2001:DB8::7] [2001:db8::7]:80 [2001:db8::7]: [2001:0db8::7] [2001:db8::0007] [2001:db8:0:0:0:0:0:7] "
    b"[2001:0db8:0000:0000:0000:0000:0000:0007] [2001:db8:0::7] [2001:db8::0:7] [2001:db8:0:0::7] [2001:db8::0.0.0.7] "
    b"[2001:Db8::7] 2001:db8::7 [2001:db8::7]. [2001:db8::7]x [2001:db8::7%25lo] [2001:db8::7%lo] [2001:db8::7%250] "
    b"[%32001:db8::7] [2001:db8::7 2001:db8::7] [[2001:db8::7]] [2001:db8:::7] [2001:db8::00007] [v1.2001:db8::7] "
    b"user@[2001:db8::7] [2001:db8::7]@open.test"
).split(b" ")
IN_TWO_PLACES = (
    (b"http://admin.test/", b"open.test"),
    (b"http://open.test/", b"admin.test"),
    (b"HTTP://ADMIN.TEST/", b"open.test"),
    (b"http://admin.test", b"open.test"),
    (b"http://admin.test?x", b"open.test"),
    (b"http://open.test@admin.test/", b"open.test"),
    (b"http://open.test\\@admin.test/", b"open.test"),
    (b"//admin.test/", b"open.test"),
    (b"/\\admin.test/", b"open.test"),
    (b"///admin.test/", b"open.test"),
    (b"http:/admin.test/", b"open.test"),
    (b"https://admin.test/", b"open.test"),
    (b"admin.test:80", b"open.test"),
    (b"http://open.test/", b"admin.test:80"),
)


def hosts() -> Iterator[Spelling]:
    for host in (*NAMES, *IPV4, *IPV6):
        yield Spelling("hosts", host=host)
        yield Spelling("hosts", target=b"http://%b/" % host)
    yield from (
        Spelling("hosts", host=host) for host in (b" admin.test", b"admin.test\t", b"admin.test x", b"x admin.test")
    )
    yield from (Spelling("hosts", target=target, host=host) for target, host in IN_TWO_PLACES)
    for name in (
        b"Host",
        b"HOST",
        b"Host ",
        b"X-Host",
        b"X-Forwarded-Host",
        b"X-Original-Host",
        b"Forwarded",
        b":authority",
    ):
        yield Spelling("hosts", fields=((name, b"host=admin.test" if name == b"Forwarded" else SITE),))


# ── fields ──

USER = "X-User-Id"
MOST_TRUSTED = (USER, "X-Auth-By", "X-Forwarded-For", "X-Real-IP", "X-Api-Key")
"""Of these every spelling is in the list, of all others some."""

VOUCHED = (
    USER,
    "X-Auth-By",
    "X-Request-Id",
    "X-Real-IP",
    "X-Forwarded-For",
    "X-Forwarded-Proto",
    "X-Forwarded-Host",
    "X-Forwarded-Port",
    "X-Forwarded-Prefix",
    "X-Forwarded-Server",
    "X-Forwarded-Scheme",
    "X-Forwarded-User",
    "X-Forwarded",
    "Forwarded",
    "Via",
    "Proxy",
    "Remote-User",
    "Client-IP",
    "True-Client-IP",
    "X-Client-IP",
    "X-Cluster-Client-IP",
    "CF-Connecting-IP",
    "X-Original-Forwarded-For",
    "X-Original-Host",
    "X-Original-URL",
    "X-Rewrite-URL",
    "Content-Length",
)
"""What only the gateway, or nobody, says to an application."""

# What may stand in a field name besides letters and digits (RFC 9110 section 5.6.2), the hyphen apart.
ODD = "!#$%&'*+.^_`|~"


def few(name: str) -> Iterator[str]:
    yield from (name, name.lower(), name.upper(), name.swapcase(), name.replace("-", "_"), name.replace("-", "."))
    yield from (name.replace("-", "_").upper(), f"HTTP_{name.replace('-', '_').upper()}", f"HTTP-{name}", f"_{name}")
    yield from (f"{name}_", f"{name}-", f"-{name}", name.replace("-", "--"), f"{name} ", f" {name}")


def all_forms(name: str) -> Iterator[str]:
    yield from few(name)
    yield from (name.replace("-", odd) for odd in ODD)
    # one hyphen alone
    for hyphen in re.finditer("-", name):
        yield from (name[: hyphen.start()] + odd + name[hyphen.end() :] for odd in "_.~")
    yield from (f"{odd}{name}" for odd in ODD)
    yield from (f"{name}{odd}" for odd in ODD)
    yield from (name.replace("-", ""), name.replace("-", " "), name.replace("-", "/"), name.replace("-", "\u00ad"))
    yield from (
        f"{name}\t",
        f"{name}\x00",
        f"{name}\x0b",
        f"{name}\x85",
        f"{name}\xa0",
        f"\t{name}",
        f"{name}:",
        f":{name}",
    )
    yield from (
        name.replace("-", "%2d"),
        name.replace("-", "\u2010"),
        name.replace("I", "\u0131"),
        f'"{name}"',
        f"({name})",
    )


def forms(name: str) -> list[str]:
    return list(dict.fromkeys(all_forms(name) if name in MOST_TRUSTED else few(name)))


def fields() -> Iterator[Spelling]:
    for name in VOUCHED:
        for form in forms(name):
            field = (form.encode(), MARKER.encode())
            yield Spelling("fields", fields=(field,))
            yield Spelling("fields", target=b"/admin", fields=(field,), credential="alice")
    for form in forms("X-Api-Key"):
        yield Spelling("fields", target=b"/partner", fields=((form.encode(), MARKER.encode()),), credential="partner")
    for form in few("Authorization"):
        yield Spelling("fields", target=b"/admin", fields=((form.encode(), MARKER.encode()),), credential="alice")
    yield from removals()
    yield from values()
    yield from trailers()


def removals() -> Iterator[Spelling]:
    """A client that asks the gateway to take its own fields away again."""
    for name in (*VOUCHED, "Host", "Authorization", "x_user_id", "X-User-Id, X-Auth-By", "close, X-User-Id"):
        yield Spelling("fields", target=b"/admin", fields=((b"Connection", name.encode()),), credential="alice")
        yield Spelling("fields", target=b"/admin", fields=((b"Proxy-Connection", name.encode()),), credential="alice")


HIDING = (
    *(b"", b" ", b",", b"%b,", b",%b", b"%b, %b", b'"%b"', b"\t%b\t", b"%b\x0b", b"%b\x00"),
    *(b"x\rX-User-Id: %b", b"x\nX-User-Id: %b", b"x\r\n X-User-Id: %b", b"x\r\n\tX-User-Id: %b"),
)


def values() -> Iterator[Spelling]:
    """The plain name, said twice, or with a value that could hide the end of its line."""
    for name in (b"X-User-Id", b"X-Forwarded-For"):
        for value in HIDING:
            said = value.replace(b"%b", MARKER.encode())
            yield Spelling("fields", target=b"/admin", fields=((name, said),), credential="alice")
        twice = ((name, MARKER.encode()), (name.lower(), MARKER.encode()))
        yield Spelling("fields", target=b"/admin", fields=twice, credential="alice")


def trailers() -> Iterator[Spelling]:
    for name in (*VOUCHED, "x_user_id", "X.User.Id", "Authorization", "Host"):
        trailer = ((name.encode(), MARKER.encode()),)
        announced = ((b"Trailer", name.encode()),)
        yield Spelling("fields", b"POST", b"/admin", fields=announced, credential="alice", trailers=trailer)


def everything(combined: int = 400, seed: int = 1) -> list[Spelling]:
    """The list. `combined`: how many combinations of the parts of a path it has."""
    return list(dict.fromkeys([*paths(combined, seed), *methods(), *hosts(), *fields()]))
