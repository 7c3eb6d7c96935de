"""Send a spelling, read what the application saw, and say whether that may be.

Two rules. Without a credential no request reaches what the configuration closes: the handler of /admin, the one that
changes /items, a closed site. And with or without one, nothing that the client says stands in a field in which the
gateway speaks: there the application reads the gateway's value, or none.
"""

import socket
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse

from witnesses.fronts import ALICE, PARTNER, Address
from witnesses.servers import Report, Server
from witnesses.spellings import MARKER, OVERRIDES, USER, VOUCHED, Fields, Spelling

PATIENCE = 5.0
"""Seconds without an octet after which there is no answer."""

AT_ONCE = 4
"""Connections. Most of the time is the servers'."""

CREDENTIALS: dict[str, Fields] = {
    "": (),
    "alice": ((b"Authorization", b"Bearer " + ALICE.encode()),),
    "partner": ((b"X-Api-Key", PARTNER.encode()),),
}
WITHHELD = {"": (), "alice": ("Authorization",), "partner": ("X-Api-Key",)}
"""Fields that are the credential of a request: another one in its place would be the client's."""


@dataclass(frozen=True)
class Finding:
    """A spelling that got through, and what came of it."""

    server: str
    spelling: Spelling
    what: str

    def __str__(self) -> str:
        return f"{self.server}: {self.spelling} → {self.what}"


def octets(spelling: Spelling) -> bytes:
    fields = ((b"Host", spelling.host), (b"Connection", b"close"), *CREDENTIALS[spelling.credential], *spelling.fields)
    if any(name == b"Connection" for name, _ in spelling.fields):
        fields = tuple(one for one in fields if one != (b"Connection", b"close"))
    if spelling.trailers:
        fields = (*fields, (b"Transfer-Encoding", b"chunked"))
    elif spelling.method not in (b"GET", b"HEAD"):
        fields = (*fields, (b"Content-Length", b"0"))
    head = b"%b %b HTTP/1.1\r\n%b\r\n" % (spelling.method, spelling.target, lines(fields))
    return head + (b"1\r\nx\r\n0\r\n%b\r\n" % lines(spelling.trailers) if spelling.trailers else b"")


def lines(fields: Fields) -> bytes:
    return b"".join(b"%b: %b\r\n" % field for field in fields)


def answer(address: Address, spelling: Spelling) -> bytes:
    """The body of a 200; b"" for any other answer, and for none."""
    try:
        with socket.create_connection(address, PATIENCE) as sock:
            sock.sendall(octets(spelling))
            response = HTTPResponse(sock, method=spelling.method.decode("latin-1"))
            with response:
                response.begin()
                return response.read() if response.status == 200 else b""
    except (OSError, HTTPException):
        return b""


def reported(server: Server, address: Address, spelling: Spelling) -> Report | None:
    """What the application says that it saw, if it was asked and answered."""
    body = answer(address, spelling)
    try:
        return server.read(body) if body else None
    except ValueError:
        return None


def wrongs(server: Server, spelling: Spelling, report: Report, *, guarded: bool = True) -> Iterator[str]:
    """What is wrong with what the application saw. `guarded`: there is a gateway, which says who the user is."""
    if not spelling.credential:
        if report["handler"] in ("admin", "change"):
            yield f"{report['handler']} sees {report['method']} {report['path']}"
        if report["site"]:
            yield f"the site {report['site']} answers"
    values = dict[str, list[str]]()
    for name, value in report["fields"]:
        values.setdefault(name, []).append(value)
    if spelling.kind == "methods":
        yield from (f"{name} arrives" for name in map(server.key, OVERRIDES) if name in values)
    elif spelling.kind == "fields":
        yield from false_words(server, spelling, report["remote"] or "", values)
        # A server may join what stands twice; nobody at all comes of a gateway that lets its own words be removed.
        user = ", ".join(values.get(server.key(USER), ()))
        if spelling.credential and guarded and user != spelling.credential:
            yield f"the user is {user!r}"


def false_words(server: Server, spelling: Spelling, remote: str, values: dict[str, list[str]]) -> Iterator[str]:
    """Where the client's word stands for the gateway's."""
    for name in (*VOUCHED, *WITHHELD[spelling.credential]):
        key = server.key(name)
        for value in values.get(key, ()):
            # Via is a list of which the gateway says the last member alone.
            if MARKER in (value.rpartition(",")[2] if name == "Via" else value):
                yield f"{key} is {value!r}"
    if MARKER in remote:
        yield f"the client's address is {remote}"
    if server.environ:
        told = ((name, value) for name in values if not name.startswith("HTTP_") for value in values[name])
        yield from (f"{name} is {value!r}" for name, value in told if MARKER in value)


def findings(server: Server, address: Address, spellings: Iterable[Spelling], *, guarded: bool = True) -> list[Finding]:
    """Those that got through. `guarded`: as for `wrongs`."""

    def judge(spelling: Spelling) -> Finding | None:
        report = reported(server, address, spelling)
        if report is None:
            return None
        what = next(wrongs(server, spelling, report, guarded=guarded), "")
        return Finding(server.name, spelling, what) if what else None

    with ThreadPoolExecutor(AT_ONCE) as pool:
        return [one for one in pool.map(judge, spellings) if one is not None]
