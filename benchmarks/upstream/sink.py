"""An upstream that takes a whole request body before it answers: `python sink.py PORT`.

nginx's own `return` answers before the body has come, which is another workload (an early answer ends the connection).
Bodies come with Content-Length here, as the load generator sends them.
"""

import asyncio
import sys
from typing import cast

import uvloop

ANSWER = b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 11\r\n\r\n{"ok":true}'


class Sink(asyncio.BufferedProtocol):
    """Counts octets, keeps none."""

    def __init__(self) -> None:
        self._room = bytearray(256 * 1024)
        self._head = b""
        self._left = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def get_buffer(self, sizehint: int) -> bytearray:
        return self._room

    def buffer_updated(self, nbytes: int) -> None:
        if self._left:
            self._take(nbytes)
            return
        self._head += bytes(self._room[:nbytes])
        end = self._head.find(b"\r\n\r\n")
        if end >= 0:
            fields = self._head[:end].lower()
            length = fields.partition(b"\r\ncontent-length:")[2].partition(b"\r\n")[0]
            beyond = len(self._head) - end - 4
            self._head = b""
            self._left = int(length or 0)
            self._take(beyond)

    def _take(self, octets: int) -> None:
        self._left -= octets
        if self._left <= 0:
            self._left = 0
            self._transport.write(ANSWER)


async def serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Sink, "127.0.0.1", port, backlog=4096)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
