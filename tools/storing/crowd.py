"""Clients that ask several gateways as fast as they are answered, and note when they asked and what they were told."""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from time import monotonic

from tools.limiting.processes import ADMITTED, ASKED, REFUSED, Note

MARKS = {200: ADMITTED, 429: REFUSED}
"""Status → what is surely known; of all others it is not known whether the store has counted them."""


class Crowd:
    """notes  by path: a note for each hit, with the number of the client
    statuses  by path
    slowest   seconds of the slowest reply, by path
    """

    def __init__(self, paths: Sequence[str], clients: int, hits: int, goes_on: Callable[[], bool]) -> None:
        """hits: how many there are at least; goes_on: whether there are more."""
        self.notes: dict[str, list[Note]] = {path: [] for path in paths}
        self.statuses: dict[str, Counter[int]] = {path: Counter() for path in paths}
        self.slowest = dict.fromkeys(paths, 0.0)
        self.left = hits
        self._paths = list(paths)
        self._clients = clients
        self._goes_on = goes_on
        self._next = 0

    async def ask(self, address: tuple[str, int], connections: int) -> None:
        """Until all hits are done, over so many connections to one gateway."""
        loop = asyncio.get_running_loop()
        ended: list[asyncio.Future[None]] = [loop.create_future() for _ in range(connections)]
        for future in ended:
            await loop.create_connection(partial(_Client, self, future), *address)
        await asyncio.gather(*ended)

    def turn(self) -> tuple[str, int] | None:
        """Path and client of the next hit."""
        if self.left <= 0 and not self._goes_on():
            return None
        self.left -= 1
        self._next += 1
        return self._paths[self._next % len(self._paths)], self._next // len(self._paths) % self._clients

    def note(self, path: str, client: int, before: float, status: int) -> None:
        after = monotonic()
        self.notes[path].append(Note(before, after, client, MARKS.get(status, ASKED)))
        self.statuses[path][status] += 1
        self.slowest[path] = max(self.slowest[path], after - before)


class _Client(asyncio.Protocol):
    """One request at a time."""

    def __init__(self, crowd: Crowd, ended: asyncio.Future[None]) -> None:
        self._crowd = crowd
        self._ended = ended
        self._transport: asyncio.Transport
        self._octets = b""
        self._path, self._client, self._before = "", 0, 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - for the type checker
        self._transport = transport
        self._send()

    def _send(self) -> None:
        turn = self._crowd.turn()
        if turn is None:
            self._transport.close()
            return
        self._path, self._client = turn
        self._before = monotonic()
        self._transport.write(f"GET {self._path} HTTP/1.1\r\nHost: a\r\nX-Client: c{self._client}\r\n\r\n".encode())

    def data_received(self, data: bytes) -> None:
        self._octets += data
        head, found, rest = self._octets.partition(b"\r\n\r\n")
        if not found:
            return
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        if len(rest) < length:
            return
        self._octets = b""
        self._crowd.note(self._path, self._client, self._before, int(head[9:12]))
        self._send()

    def connection_lost(self, error: Exception | None) -> None:
        if not self._ended.done():
            self._ended.set_result(None)
