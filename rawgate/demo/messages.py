"""As much HTTP/1.1 as the demo's own client and services need. They are friendly to each other: the reader trusts."""

import asyncio
from collections.abc import AsyncIterator

from msgspec import Struct

from rawgate.errors import ResponseError
from rawgate.message import CHUNKED, NO_BODY, UNTIL_CLOSE
from rawgate.wire import body_reader


class Head(Struct, frozen=True):
    """The head of a message. `fields`: lower-cased name → value, lines of one name joined with ", "."""

    start: str
    fields: dict[str, str]

    @property
    def status(self) -> int:
        """Of a response."""
        return int(self.start.split(" ")[1])


async def read_head(reader: asyncio.StreamReader) -> Head | None:
    """The next head, or None when the other side has closed before it was complete."""
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
    """How the body of a request is delimited, as in `RequestHead.body`."""
    return CHUNKED if "transfer-encoding" in head.fields else int(head.fields.get("content-length", "0"))


def response_body(head: Head) -> int:
    """How the body of a response to anything but HEAD is delimited, as in `ResponseHead.body`."""
    if head.status < 200 or head.status in (204, 304):
        return NO_BODY
    if "transfer-encoding" in head.fields:
        return CHUNKED
    return int(head.fields.get("content-length", UNTIL_CLOSE))


async def payloads(reader: asyncio.StreamReader, body: int) -> AsyncIterator[bytes]:
    """The payload of a body, in the pieces in which it comes. Raises ResponseError when it breaks off."""
    read = body_reader(body, ResponseError, strict=False)
    while not read.done:
        data = await reader.read(65536)
        if not data:
            if body != UNTIL_CLOSE:
                raise ResponseError("the body broke off")
            return
        payload = bytes(read.feed(data))
        if payload:
            yield payload
