"""Clients that listen to event streams: `python streams.py PORT SECONDS STREAMS`.

Writes READY when the first octets of each stream have come, counts events for SECONDS, writes the count in one line,
and ends when standard input ends. So opening and closing the streams is not measured.
"""

import asyncio
import sys
from functools import partial
from typing import cast

import uvloop


class Tally:
    """What has come on all streams so far."""

    def __init__(self, streams: int) -> None:
        self.events = self.octets = self.lost = 0
        self.silent = streams
        self.all_speak = asyncio.Event()


class Stream(asyncio.Protocol):
    """One stream. It counts opening braces: each event has one, in whatever pieces it comes."""

    def __init__(self, tally: Tally, number: int) -> None:
        self._tally = tally
        self._number = number
        self._spoke = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        request = f"GET /events/{self._number} HTTP/1.1\r\nHost: bench.test\r\nAccept: text/event-stream\r\n\r\n"
        cast("asyncio.Transport", transport).write(request.encode())

    def data_received(self, data: bytes) -> None:
        tally = self._tally
        tally.events += data.count(b"{")
        tally.octets += len(data)
        if not self._spoke:
            self._spoke = True
            tally.silent -= 1
            if not tally.silent:
                tally.all_speak.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self._tally.lost += 1


async def listen(port: int, seconds: float, streams: int) -> None:
    loop = asyncio.get_running_loop()
    tally = Tally(streams)
    for number in range(streams):
        await loop.create_connection(partial(Stream, tally, number), "127.0.0.1", port)
    await asyncio.wait_for(tally.all_speak.wait(), 10)
    print("READY", flush=True)
    events, octets = tally.events, tally.octets
    began, over = loop.time(), asyncio.Event()
    loop.call_later(seconds, over.set)
    await over.wait()
    print(
        f'BENCH {{"requests":{tally.events - events},"seconds":{loop.time() - began:.6f},'
        f'"octets":{tally.octets - octets},"failures":{tally.lost}}}',
        flush=True,
    )
    sys.stdin.read()


if __name__ == "__main__":
    uvloop.run(listen(int(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])))
