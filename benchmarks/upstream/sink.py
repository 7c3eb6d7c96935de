"""An upstream that takes a whole request body before it answers: `python sink.py PORT`.

nginx's own `return` answers before the body has come, which is another workload (an early answer ends the connection).
Bodies come with Content-Length or chunked. `GET /taken` is answered with the octets of bodies so far, framing included.
"""

import asyncio
import sys
from email.utils import formatdate
from itertools import count
from typing import cast

import uvloop

LAST = b"\r\n0\r\n\r\n"
"""How a chunked body ends, however the gateway has cut its chunks. The generators' bodies hold no such octets, and
nothing follows a request before it is answered: that is why looking at the end is enough here."""


class Sink(asyncio.BufferedProtocol):
    """Counts octets, keeps none but the last few."""

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
        """No two are the same: an id and a date."""
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
