"""An upstream that reads a whole request body before it responds: `python sink.py PORT`.

nginx's own `return` responds before the body has come, which would be another workload: an early response ends the
connection. Bodies have Content-Length or are chunked. `GET /taken` returns the number of octets of bodies so far,
framing included.
"""

import asyncio
import sys
from email.utils import formatdate
from itertools import count
from typing import cast

import uvloop

LAST = b"\r\n0\r\n\r\n"
"""The end of a chunked body, whatever chunks the gateway makes. The generators' bodies do not contain these octets, and
no octets follow a request before its response, so it is enough to compare the end."""


class Sink(asyncio.BufferedProtocol):
    """Counts octets, and keeps only the last few."""

    taken = 0
    answers = count(1)

    def __init__(self) -> None:
        self._room = bytearray(256 * 1024)
        self._head = b""
        self._left = 0
        self._chunked = False
        self._end = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def get_buffer(self, sizehint: int) -> bytearray:
        return self._room

    def buffer_updated(self, nbytes: int) -> None:
        if self._left or self._chunked:
            self._take(memoryview(self._room)[:nbytes])
            return
        self._head += bytes(self._room[:nbytes])
        head, separator, beyond = self._head.partition(b"\r\n\r\n")
        if separator:
            self._head = b""
            self._begin(head.lower(), beyond)

    def _begin(self, head: bytes, beyond: bytes) -> None:
        self._chunked = b"\r\ntransfer-encoding: chunked" in head
        self._left = int(head.partition(b"\r\ncontent-length:")[2].partition(b"\r\n")[0] or 0)
        self._end = b"\r\n"
        if head.startswith(b"get /taken "):
            self._answer(str(Sink.taken).encode())
        else:
            self._take(memoryview(beyond))

    def _take(self, octets: memoryview) -> None:
        Sink.taken += len(octets)
        if self._chunked:
            self._end = (self._end + bytes(octets[-len(LAST) :]))[-len(LAST) :]
            self._chunked = self._end != LAST
            over = not self._chunked
        else:
            self._left -= len(octets)
            over = self._left <= 0
        if over:
            self._left = 0
            self._answer(b'{"ok":true}')

    def _answer(self, body: bytes) -> None:
        """Respond, with a distinct id and a date."""
        date = formatdate(usegmt=True).encode()
        self._transport.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nDate: %b\r\nX-Answer-Id: %032x\r\n"
            b"Content-Length: %d\r\n\r\n%b" % (date, next(self.answers), len(body), body)
        )


async def serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Sink, "127.0.0.1", port, backlog=4096)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
