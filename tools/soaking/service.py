"""The upstream of all parts, on uvloop: `python -m tools.soaking.service` prints its port and serves until killed.

/large          a response of 1 GiB, sent as fast as the gateway takes it
/reset/before   a reset in place of a response
/reset/head     a reset within the response's head
/reset/body     a reset within its body
anything else   reads the whole body, then responds "ok"
"""

import asyncio
import re
import socket
import struct
from typing import cast

import uvloop

OK = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 3\r\n\r\nok\n"
LARGE = b"HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n"
PIECE = bytes(65536)
RESETS = {
    b"before": b"",
    b"head": b"HTTP/1.1 200 OK\r\nContent-",
    b"body": b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf",
}
_RESET = struct.pack("ii", 1, 0)
_length = re.compile(rb"(?i)\r\ncontent-length: *([0-9]+)").search


class Service(asyncio.Protocol):
    """One connection. It reads bodies with Content-Length only: the clients of this tool send no others."""

    def __init__(self) -> None:
        self._head = b""
        self._body = 0
        self._large = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        while data:
            if self._body:
                taken = min(self._body, len(data))
                self._body -= taken
                data = data[taken:]
                if not self._body:
                    self._transport.write(OK)
                continue
            head, found, data = (self._head + data).partition(b"\r\n\r\n")
            if not found:
                self._head = head
                return
            self._head = b""
            self._answer(head)

    def _answer(self, head: bytes) -> None:
        target = head.split(b" ", 2)[1]
        length = _length(head)
        self._body = int(length[1]) if length else 0
        if target.endswith(b"/large"):
            self._large = True
            self._transport.write(LARGE)
            self.resume_writing()
        elif b"/reset/" in target:
            self._transport.write(RESETS[target.rpartition(b"/")[2]])
            self._reset()
        elif not self._body:
            self._transport.write(OK)

    def _reset(self) -> None:
        sock: socket.socket = self._transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self._transport.abort()

    def pause_writing(self) -> None:
        self._large = False

    def resume_writing(self) -> None:
        self._large = True
        while self._large and not self._transport.is_closing():
            self._transport.write(PIECE)


async def serve() -> None:
    server = await asyncio.get_running_loop().create_server(Service, "127.0.0.1", 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve())
