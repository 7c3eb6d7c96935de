"""The upstream: `python -m tools.costing.upstream` prints its port, then reads each request to its end and responds."""

import asyncio
import re
from typing import cast

import uvloop

OK = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 3\r\n\r\nok\n"
LAST_CHUNK = b"\r\n0\r\n"
"""The beginning of the end of a chunked body. No payload of the grammar contains it."""
_length = re.compile(rb"(?i)\r\ncontent-length: *([0-9]+)").search
_chunked = re.compile(rb"(?i)\r\ntransfer-encoding: *chunked").search


class Service(asyncio.Protocol):
    """One connection. It reads bodies with Content-Length and chunked ones."""

    def __init__(self) -> None:
        self._held = b""
        self._left = 0
        self._in_chunks = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        data = self._held + data
        self._held = b""
        while data and not self._held:
            if self._left:
                taken = min(self._left, len(data))
                self._left -= taken
                data = data[taken:]
                self._answer_if_whole()
            elif self._in_chunks:
                data = self._chunks(data)
            else:
                data = self._head(data)

    def _head(self, data: bytes) -> bytes:
        end = data.find(b"\r\n\r\n")
        if end < 0:
            self._held = data
            return b""
        length = _length(data, 0, end)
        self._left = int(length[1]) if length else 0
        self._in_chunks = _chunked(data, 0, end) is not None
        self._answer_if_whole()
        # LAST_CHUNK begins with a line end. An empty chunked body has none of its own, so the head's is left to it.
        return data[end + 2 :] if self._in_chunks else data[end + 4 :]

    def _chunks(self, data: bytes) -> bytes:
        last = data.find(LAST_CHUNK)
        end = data.find(b"\r\n\r\n", last) if last >= 0 else -1
        if end < 0:
            self._held = data[max(last, 0) if last >= 0 else -len(LAST_CHUNK) :]
            return b""
        self._in_chunks = False
        self._answer_if_whole()
        return data[end + 4 :]

    def _answer_if_whole(self) -> None:
        if not self._left and not self._in_chunks:
            self._transport.write(OK)


async def serve() -> None:
    server = await asyncio.get_running_loop().create_server(Service, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve())
