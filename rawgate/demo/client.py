"""The tour's client: sends one request through a real socket and reads the whole response.

It is no library's client, because those refuse to send what the tour is about: two lengths, or a path with dots.
"""

import asyncio
import contextlib
from collections.abc import Iterable
from time import monotonic

from msgspec import Struct

from rawgate.demo.messages import Head, payloads, read_head, response_body
from rawgate.errors import RawgateError, ResponseError
from rawgate.wire import LAST_CHUNK, chunk

PATIENCE = 5.0
"""Seconds to wait for a whole response."""


class ClientError(RawgateError):
    """There was no whole response. One sentence: why."""


class Field(Struct, frozen=True):
    """A field of a request. `shown`: what to print in place of a value that means nothing to a person."""

    name: str
    value: str
    shown: str = ""


class Request(Struct, frozen=True, kw_only=True):
    """A request as it is sent. Only Host is added, and nothing is checked.

    content  the body; a Content-Length is added for it
    body     in place of `content`: the octets after the head, framing included, one write for each piece
    about    a description of the body, to print
    """

    method: str = "GET"
    target: str
    fields: tuple[Field, ...] = ()
    content: bytes = b""
    body: tuple[bytes, ...] = ()
    about: str = ""

    def head(self, host: str) -> bytes:
        lines = [f"{self.method} {self.target} HTTP/1.1", f"Host: {host}"]
        lines += [f"{field.name}: {field.value}" for field in self.fields]
        lines += [f"Content-Length: {len(self.content)}"] if self.content else []
        return "\r\n".join(lines).encode() + b"\r\n\r\n"


class Reply(Struct, frozen=True):
    """A response. `arrivals`: seconds from sending the request to each piece of the body."""

    head: Head
    body: bytes
    arrivals: tuple[float, ...]


def chunked(pieces: Iterable[bytes]) -> tuple[bytes, ...]:
    """A chunked body, each piece a chunk (RFC 9112 section 7.1)."""
    return (*map(chunk, pieces), LAST_CHUNK)


async def send(url: str, request: Request) -> Reply:
    """Send a request to "http://HOST:PORT" on a connection of its own. Raises ClientError."""
    authority = url.removeprefix("http://")
    host, _, port = authority.rpartition(":")
    try:
        async with asyncio.timeout(PATIENCE):
            reader, writer = await asyncio.open_connection(host, int(port))
            try:
                return await _exchange(reader, writer, request.head(authority), request.body or (request.content,))
            finally:
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()
    except TimeoutError as error:
        raise ClientError(f"no answer within {PATIENCE:g} s") from error
    except OSError as error:
        raise ClientError(f"no answer: {error.strerror}") from error
    except ResponseError as error:
        raise ClientError(f"no whole answer: {error.detail}") from error


async def _exchange(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, head: bytes, body: Iterable[bytes]
) -> Reply:
    began = monotonic()
    writer.write(head)
    for piece in body:
        writer.write(piece)
        await writer.drain()
    answer = await read_head(reader)
    if answer is None:
        raise ClientError("the connection was closed without an answer")
    content, arrivals = b"", []
    async for payload in payloads(reader, response_body(answer)):
        content += payload
        arrivals.append(monotonic() - began)
    return Reply(answer, content, tuple(arrivals))
