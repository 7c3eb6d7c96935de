"""Requests of the gateway's own: a GET over our own wire code, from the look-up of a name to the last octet.

`fetch` gets a document from another server (key sets), `probe` asks a service whether it works (health checks). Neither
is for a request on its way. So each is one coroutine on asyncio's streams, with a connection of its own each time, and
what is wrong is told in one sentence:

- The server is verified (RFC 9110 section 4.3.4): its certificate by the authorities that it is given, its name.
- One deadline holds for all of it, and one limit for the octets of a document.
- No redirect is followed. It would be another server's word for ours, and who publishes keys gives the address of them.
  Whether a redirect is a good answer to a health check is for who asks to say.
"""

import asyncio
import contextlib
import re
import ssl
from collections.abc import AsyncIterator
from math import inf
from time import monotonic
from urllib.parse import urlsplit

from rawgate.errors import ResponseError
from rawgate.message import UNTIL_CLOSE, ResponseHead, authority_of
from rawgate.net.names import OUT_OF_DESCRIPTORS, LookUpError, Names, why_not
from rawgate.net.tls_contexts import why_not_secured
from rawgate.relay.endpoints import Place
from rawgate.wire import ResponseReader, ResponseRules, body_reader, request_head

READ = 65536
"""Octets that are read at once."""

INTERIM = 8
"""Interim responses before the final one; none is expected."""

PROBED = 65536
"""Octets of a health check's response that are read at most. What comes in time is read, since a service whose
response is not taken logs an error."""

_CONSUL_INDEX = b"x-consul-index"
_CONSUL_FILTERED = b"x-consul-results-filtered-by-acls"
_FIELDS = frozenset((b"cache-control", b"age", b"location", b"content-encoding", _CONSUL_INDEX, _CONSUL_FILTERED))
_RULES = ResponseRules(16384, 100, _FIELDS, fast=True)
_DIRECTIVE = re.compile(rb"(?:^|[,\s])(?i:(max-age|no-store|no-cache))(?:[ \t]*=[ \t]*\"?([0-9]{1,10})\"?)?(?=[\s,]|$)")
_SHOWN = 200


class FetchError(Exception):
    """There is no document: one phrase that says why. It shows nothing of what came but status and Location."""


class _TooLargeError(FetchError):
    """There is more of it than may be."""


class Document:
    """What was fetched.

    fresh_for  seconds for which its server calls it fresh (RFC 9111 section 4.2.1), at least 0; None if it does not say
    index      what Consul calls it by (X-Consul-Index); None from everybody else
    is_partial Consul has left out what the token may not see
    """

    __slots__ = ("fresh_for", "index", "is_partial", "octets")

    def __init__(
        self, octets: bytes, fresh_for: float | None, index: bytes | None = None, is_partial: bool = False
    ) -> None:
        self.octets = octets
        self.fresh_for = fresh_for
        self.index = index
        self.is_partial = is_partial


async def fetch(
    url: str, names: Names, tls: ssl.SSLContext | None, *, most: int, patience: float, fields: str = ""
) -> Document:
    """Get the document at `url` ("https://…" or "http://…"; RFC 9110 section 4.2).

    tls       see `tls_contexts.client_context`; None: the URL is an http:// one
    most      octets of the document
    patience  seconds for all of it
    fields    more lines of the request's head, each with its line end
    Raises FetchError.
    """
    ends = monotonic() + patience
    try:
        async with _explained(patience):
            return await _fetch(url, names, tls, most, ends, fields)
    except OSError as error:
        raise FetchError(why_not(error)) from None


async def probe(place: Place, address: str, tls: ssl.SSLContext | None, path: str, host: str, patience: float) -> int:
    """The status with which a service responds to a GET.

    address   of the place's name; no matter for a Unix socket
    tls       of a place whose scheme is "https"
    path      with a query, if there is one
    host      what the Host field says
    patience  seconds for all of it, from the connection to the response's end
    Raises FetchError; OSError when this process has no descriptors left, which says nothing about the service.
    """
    async with _explained(patience):
        if place.path:
            reader, writer = await asyncio.open_unix_connection(place.path, limit=READ)
        else:
            name = None if tls is None else place.server_name.removesuffix(".")
            reader, writer = await asyncio.open_connection(
                address, place.port, ssl=tls, server_hostname=name, limit=READ
            )
        try:
            writer.write(_request(path, host, "*/*"))
            heads = ResponseReader(_RULES)
            head = await _head(heads, reader)
            with contextlib.suppress(_TooLargeError):
                await _body(heads, head, reader, PROBED)
            return head.status
        finally:
            writer.transport.abort()


@contextlib.asynccontextmanager
async def _explained(patience: float) -> AsyncIterator[None]:
    """Let the block last so many seconds at most, and turn its errors into a FetchError. A shortage of descriptors
    stays an OSError: what it means is for the caller to say."""
    try:
        async with asyncio.timeout(patience):
            yield
    except TimeoutError:
        raise FetchError(f"no answer within {patience:g} s") from None
    except ssl.SSLError as error:
        raise FetchError(why_not_secured(error)) from None
    except (OSError, LookUpError) as error:
        if isinstance(error, OSError) and error.errno in OUT_OF_DESCRIPTORS:
            raise
        raise FetchError(why_not(error)) from None
    except ResponseError as error:
        raise FetchError(f"its response is not valid HTTP/1.1: {error.detail}") from None


def _request(target: str, host: str, accept: str, fields: str = "") -> bytes:
    head = (
        f"GET {target} HTTP/1.1\r\nHost: {host}\r\nAccept: {accept}\r\nAccept-Encoding: identity\r\n"
        f"User-Agent: rawgate\r\n{fields}Connection: close\r\n"
    )
    return request_head(head.encode("ascii"), 0, False, b"")


async def _fetch(url: str, names: Names, tls: ssl.SSLContext | None, most: int, ends: float, fields: str) -> Document:
    parts = urlsplit(url)
    is_tls, host = parts.scheme == "https", parts.hostname or ""
    port = parts.port or (443 if is_tls else 80)
    reader, writer = await _connect(host, port, names, tls if is_tls else None, ends)
    try:
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        authority = authority_of(host, port) if parts.port else _bracketed(host)
        writer.write(_request(target, authority, "application/json", fields))
        heads = ResponseReader(_RULES)
        head = await _head(heads, reader)
        _refuse_others(head)
        octets = await _body(heads, head, reader, most)
        is_partial = head.parsed.get(_CONSUL_FILTERED) == b"true"
        return Document(octets, _fresh_for(head), head.parsed.get(_CONSUL_INDEX), is_partial)
    finally:
        # All has been read, or nobody wants the rest.
        writer.transport.abort()


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


async def _connect(
    host: str, port: int, names: Names, tls: ssl.SSLContext | None, ends: float
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """To the first address that accepts. Each gets an equal part of the time that is left, so that one that swallows
    our SYNs does not use up the time of the others. Raises OSError, LookUpError."""
    addresses = await names.addresses(host)
    for position, address in enumerate(addresses):
        is_last = position == len(addresses) - 1
        now = monotonic()
        try:
            async with asyncio.timeout(None if is_last else (ends - now) / (len(addresses) - position)):
                return await asyncio.open_connection(
                    address, port, ssl=tls, server_hostname=None if tls is None else host, limit=READ
                )
        except ssl.SSLError:
            raise
        except OSError:  # TimeoutError is one
            if is_last:
                raise
    raise LookUpError("no such name")


async def _body(heads: ResponseReader, head: ResponseHead, reader: asyncio.StreamReader, most: int) -> bytes:
    """What follows a head. Raises FetchError."""
    body = body_reader(head.body, ResponseError, strict=False)
    octets, data = bytearray(), heads.rest
    while True:
        octets += body.feed(data)
        if max(len(octets), head.body) > most:
            raise _TooLargeError(f"the document is larger than {most:,} octets")
        if body.done:
            break
        data = await reader.read(READ)
        if not data:
            if head.body != UNTIL_CLOSE:
                raise FetchError("the response broke off")
            break
    return bytes(octets)


async def _head(heads: ResponseReader, reader: asyncio.StreamReader) -> ResponseHead:
    """The final head."""
    data = b""
    for _ in range(INTERIM):
        head = None
        while head is None:
            data = data or await reader.read(READ)
            if not data:
                raise FetchError("the connection was closed before a response")
            head = heads.feed(data, b"GET")
            data = b""
        if head.status >= 200:
            return head
        data = heads.rest
    raise FetchError("there was no end of interim responses")


def _refuse_others(head: ResponseHead) -> None:
    location = head.parsed.get(b"location")
    if 300 <= head.status < 400 and location is not None:
        to = location.decode("ascii", "replace")[:_SHOWN]
        raise FetchError(f"status {head.status}, to {to!r}: redirects are not followed")
    if head.status != 200:
        raise FetchError(f"status {head.status}")
    coding = head.parsed.get(b"content-encoding", b"identity").lower()
    if coding != b"identity":
        raise FetchError("the document is compressed, which was not asked for")


def _fresh_for(head: ResponseHead) -> float | None:
    """From Cache-Control and Age (RFC 9111 sections 5.1 and 5.2.2). `s-maxage` is for caches that many share."""
    fresh = inf
    for name, seconds in _DIRECTIVE.findall(head.parsed.get(b"cache-control", b"")):
        if name.lower() != b"max-age":
            fresh = 0.0
        elif seconds:
            fresh = min(fresh, float(seconds))
    age = head.parsed.get(b"age", b"0")
    spent = float(age) if age.isdigit() and len(age) < 11 else 0.0
    return None if fresh == inf else max(0.0, fresh - spent)
