"""The little HTTP/1.1 that the demo's client and services need. They trust each other, so heads are not validated; the
gateway between them does not use this module."""

import asyncio
from collections.abc import AsyncIterator

from msgspec import Struct

from rawgate.errors import ResponseError
from rawgate.message import CHUNKED, NO_BODY, UNTIL_CLOSE
from rawgate.wire import body_reader


class Head(Struct, frozen=True):
    """The head of a message. `start`: request line or status line; `fields`: lower-cased name → value, the values of
    equal names joined with ", "."""

    start: str
    fields: dict[str, str]

    @property
    def status(self) -> int:
        """The status code. Only for a response."""
        return int(self.start.split(" ")[1])


async def read_head(reader: asyncio.StreamReader) -> Head | None:
    """Read the next head. None: the other side closed the connection before the head was complete."""
    try:
        octets = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    start, *lines = octets[:-4].decode("latin-1").split("\r\n")
    fields: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(":")
        key = name.lower()
        fields[key] = f"{fields[key]}, {value.strip()}" if key in fields else value.strip()
    return Head(start, fields)


def request_body(head: Head) -> int:
    """The framing of a request's body, as in `RequestHead.body`."""
    return CHUNKED if "transfer-encoding" in head.fields else int(head.fields.get("content-length", "0"))


def response_body(head: Head) -> int:
    """The framing of a response's body, as in `ResponseHead.body`. Not for a response to HEAD."""
    if head.status < 200 or head.status in (204, 304):
        return NO_BODY
    if "transfer-encoding" in head.fields:
        return CHUNKED
    return int(head.fields.get("content-length", UNTIL_CLOSE))


async def payloads(reader: asyncio.StreamReader, body: int) -> AsyncIterator[bytes]:
    """The payload of a body, piece by piece as it arrives. Raises ResponseError when it ends too early."""
    read = body_reader(body, ResponseError, strict=False)
    while not read.done:
        data = await reader.read(65536)
        if not data:
            if body != UNTIL_CLOSE:
                raise ResponseError("The body broke off.")
            return
        payload = bytes(read.feed(data))
        if payload:
            yield payload
