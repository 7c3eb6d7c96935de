"""An upstream of event streams: `python events.py PORT`. Each request gets events until its client leaves.

It sends EVENTS a second over all streams, in turn. Each event is a write of its own, as in a real service, where events
happen one by one. The rate does not depend on the gateway in between.
"""

import asyncio
import sys
from collections import deque
from email.utils import formatdate
from itertools import count
from typing import cast

import uvloop

EVENTS = 5000
HEAD = (
    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-cache\r\nDate: {date}\r\n"
    "X-Answer-Id: {number:032x}\r\nTransfer-Encoding: chunked\r\n\r\n"
)


class Source(asyncio.Protocol):
    """One connection, and its stream once it has been requested."""

    streams: deque["Source"] = deque()  # noqa: RUF012 - shared on purpose: all open streams
    numbers = count(1)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self._head = b""

    def data_received(self, data: bytes) -> None:
        self._head += data
        if self._head.endswith(b"\r\n\r\n"):
            self._head = b""
            self.transport.write(HEAD.format(date=formatdate(usegmt=True), number=next(self.numbers)).encode())
            self.streams.append(self)

    def connection_lost(self, exc: Exception | None) -> None:
        if self in self.streams:
            self.streams.remove(self)


def tell(number: int) -> None:
    """Send an event to the stream whose turn it is."""
    source = Source.streams[0]
    Source.streams.rotate(-1)
    event = b'id: %d\nevent: price\ndata: {"item":%d,"price":%d}\n\n' % (number, number % 997, number * 7 % 10_000)
    source.transport.write(b"%x\r\n%b\r\n" % (len(event), event))


class Ticker:
    """Sends the events that are due, every millisecond."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._began = loop.time()
        self._told = 0

    def tick(self) -> None:
        due = int((self._loop.time() - self._began) * EVENTS)
        if Source.streams:
            for number in range(self._told, due):
                tell(number)
        self._told = due
        self._loop.call_later(0.001, self.tick)


async def serve(port: int) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Source, "127.0.0.1", port, backlog=4096)
    Ticker(loop).tick()
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
