"""The floor in Python: bytes from one socket to another on uvloop. `python relay.py PORT UPSTREAM`.

It knows no HTTP: what a gateway on this loop costs beyond this is its own work; what this costs is the loop's and the
kernel's.
"""

import asyncio
import sys
from typing import cast

import uvloop


class Side(asyncio.Protocol):
    """One of the two connections; `other` once it is there. No back-pressure: the answers are small."""

    def __init__(self, other: "Side | None" = None) -> None:
        self.other = other
        self.early: list[bytes] = []
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        other = self.other
        if other is None or other.transport is None:
            self.early.append(data)
        else:
            other.transport.write(data)

    def connection_lost(self, exc: Exception | None) -> None:
        if self.other is not None and self.other.transport is not None:
            self.other.transport.close()


class Front(Side):
    """The client's side: dials the upstream."""

    dials: set[asyncio.Task[None]] = set()  # noqa: RUF012 - shared on purpose: it keeps the tasks alive

    def __init__(self, port: int) -> None:
        super().__init__()
        self._port = port

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        task = asyncio.get_running_loop().create_task(self._dial())
        self.dials.add(task)
        task.add_done_callback(self.dials.discard)

    async def _dial(self) -> None:
        loop = asyncio.get_running_loop()
        up, self.other = await loop.create_connection(lambda: Side(self), "127.0.0.1", self._port)
        for data in self.early:
            up.write(data)
        self.early.clear()


async def serve(port: int, upstream: int) -> None:
    server = await asyncio.get_running_loop().create_server(lambda: Front(upstream), "127.0.0.1", port, backlog=4096)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1]), int(sys.argv[2])))
