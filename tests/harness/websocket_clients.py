"""WebSocket clients of three libraries behind one interface, and a conversation that each of them has with a server.

    client = CLIENTS["wsproto"]("127.0.0.1", port, "/path")
    told = converse(CLIENTS["wsproto"], "127.0.0.1", port, "/path")

The conversation is with the servers of `websocket_servers`; node's client has it too (tests/process/servers).
"""

import asyncio
import random
import socket
from collections.abc import Callable, Coroutine, Sequence
from contextlib import ExitStack
from typing import Any, Protocol, TypeVar

import aiohttp
import websockets.sync.client
from websockets.exceptions import ConnectionClosed
from wsproto import ConnectionType, WSConnection
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Event,
    Ping,
    Pong,
    Request,
    TextMessage,
)
from wsproto.extensions import PerMessageDeflate

from harness.websocket_servers import joined

PATIENCE = 20.0
"""Seconds to wait for an answer."""
LARGE = random.Random(4).randbytes(8 * 1024 * 1024)  # noqa: S311 - no secret
"""Larger than all buffers on the way together, and random, so that compression does not shorten it."""
MANY = 500
"""Messages that are sent before the first echo is read."""

Result = TypeVar("Result")
Closed = tuple[int, str]
"""How a connection was closed: code and reason."""


class Client(Protocol):
    """One connection. `extensions`: those agreed on, as the library reports them."""

    extensions: str

    def send(self, message: str | bytes) -> None: ...
    def send_fragments(self, pieces: Sequence[str]) -> bool:
        """Send one message in several frames. False: this library cannot."""

    def receive(self) -> str | bytes: ...
    def ping(self) -> None:
        """Send a ping and wait for the pong."""

    def close(self, code: int, reason: str) -> Closed:
        """Close. Returns the server's code and reason."""

    def closed(self) -> Closed:
        """Wait until the server closes. Returns its code and reason."""


Connect = Callable[[str, int, str], Client]


class WebsocketsClient:
    def __init__(self, host: str, port: int, path: str) -> None:
        self._open = ExitStack()
        dialed = websockets.sync.client.connect(f"ws://{host}:{port}{path}", max_size=None, proxy=None)
        self._connection = self._open.enter_context(dialed)
        self.extensions = " ".join(extension.name for extension in self._connection.protocol.extensions)

    def send(self, message: str | bytes) -> None:
        self._connection.send(message)

    def send_fragments(self, pieces: Sequence[str]) -> bool:
        self._connection.send(iter(pieces))
        return True

    def receive(self) -> str | bytes:
        return self._connection.recv(PATIENCE)

    def ping(self) -> None:
        assert self._connection.ping("over there?").wait(PATIENCE)

    def close(self, code: int, reason: str) -> Closed:
        self._connection.close(code, reason)
        return self._said()

    def closed(self) -> Closed:
        try:
            message = self.receive()
        except ConnectionClosed:
            return self._said()
        raise AssertionError(f"no close, but {message!r}")

    def _said(self) -> Closed:
        self._open.close()
        return self._connection.close_code or 0, self._connection.close_reason or ""


class WsprotoClient:
    def __init__(self, host: str, port: int, path: str) -> None:
        self._sock = socket.create_connection((host, port), PATIENCE)
        self._connection = WSConnection(ConnectionType.CLIENT)
        self._events: list[Event] = []
        self._send(Request(host=host, target=path, extensions=[PerMessageDeflate()]))
        accepted = self._next()
        assert isinstance(accepted, AcceptConnection)
        self.extensions = " ".join(extension.name for extension in accepted.extensions)

    def send(self, message: str | bytes) -> None:
        self._send(TextMessage(message) if isinstance(message, str) else BytesMessage(message))

    def send_fragments(self, pieces: Sequence[str]) -> bool:
        for piece in pieces:
            self._send(TextMessage(piece, message_finished=piece is pieces[-1]))
        return True

    def receive(self) -> str | bytes:
        frames: list[TextMessage | BytesMessage] = []
        while not frames or not frames[-1].message_finished:
            event = self._next()
            if isinstance(event, Ping):
                self._send(event.response())
            else:
                assert isinstance(event, TextMessage | BytesMessage)
                frames.append(event)
        return joined(frames)

    def ping(self) -> None:
        self._send(Ping(b"over there?"))
        assert self._next() == Pong(b"over there?")

    def close(self, code: int, reason: str) -> Closed:
        self._send(CloseConnection(code, reason))
        return self._said()

    def closed(self) -> Closed:
        event = self._next()
        assert isinstance(event, CloseConnection)
        self._send(event.response())
        self._sock.close()
        return event.code, event.reason or ""

    def _said(self) -> Closed:
        event = self._next()
        assert isinstance(event, CloseConnection)
        self._sock.close()
        return event.code, event.reason or ""

    def _send(self, event: Event) -> None:
        self._sock.sendall(self._connection.send(event))

    def _next(self) -> Event:
        while not self._events:
            self._connection.receive_data(self._sock.recv(262144) or None)
            self._events += self._connection.events()
        return self._events.pop(0)


class AiohttpClient:
    def __init__(self, host: str, port: int, path: str) -> None:
        self._runner = asyncio.Runner()
        self._session, self._socket = self._wait(self._connect(f"ws://{host}:{port}{path}"))
        self.extensions = "permessage-deflate" if self._socket.compress else ""

    async def _connect(self, url: str) -> tuple[aiohttp.ClientSession, aiohttp.ClientWebSocketResponse]:
        session = aiohttp.ClientSession()
        return session, await session.ws_connect(url, compress=15, max_msg_size=0, autoping=False)

    def send(self, message: str | bytes) -> None:
        self._wait(self._socket.send_str(message) if isinstance(message, str) else self._socket.send_bytes(message))

    def send_fragments(self, pieces: Sequence[str]) -> bool:
        return False

    def receive(self) -> str | bytes:
        message = self._wait(self._socket.receive())
        if message.type is aiohttp.WSMsgType.PING:
            self._wait(self._socket.pong(message.data))
            return self.receive()
        assert message.type in {aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY}, message
        data: str | bytes = message.data
        return data

    def ping(self) -> None:
        self._wait(self._socket.ping(b"over there?"))
        message = self._wait(self._socket.receive())
        assert (message.type, message.data) == (aiohttp.WSMsgType.PONG, b"over there?")

    def close(self, code: int, reason: str) -> Closed:
        self._wait(self._socket.close(code=code, message=reason.encode()))
        # What the server says to that is not kept by aiohttp, but for the code.
        said = self._socket.close_code or 0, reason
        self._end()
        return said

    def closed(self) -> Closed:
        message = self._wait(self._socket.receive())
        assert message.type is aiohttp.WSMsgType.CLOSE, message
        self._end()
        return message.data, message.extra or ""

    def _end(self) -> None:
        self._wait(self._session.close())
        self._runner.close()

    def _wait(self, work: Coroutine[Any, Any, Result]) -> Result:
        return self._runner.run(asyncio.wait_for(work, PATIENCE))


CLIENTS: dict[str, Connect] = {
    "websockets": WebsocketsClient,
    "wsproto": WsprotoClient,
    "aiohttp": AiohttpClient,
}

HEARD = {
    "extensions": True,
    "large": True,
    "many": True,
    "fragments up": True,
    "fragments down": True,
    "ping": True,
    "pinged": True,
    "closed by client": [4001, "bye"],
    "closed by server": [4002, "enough"],
}
"""The result of every conversation."""


def converse(connect: Connect, host: str, port: int, path: str) -> dict[str, object]:
    """On one connection do all that clients do, then close it; on a second one let the server close."""
    heard: dict[str, object] = {}
    client = connect(host, port, path)
    heard["extensions"] = "permessage-deflate" in client.extensions
    client.send(LARGE)
    heard["large"] = client.receive() == LARGE
    small = [f"message {number}" for number in range(MANY)]
    for message in small:
        client.send(message)
    heard["many"] = [client.receive() for _ in small] == small
    pieces = ["in ", "three ", "pieces"]
    heard["fragments up"] = not client.send_fragments(pieces) or client.receive() == "".join(pieces)
    client.send("fragments")
    heard["fragments down"] = client.receive() == "".join(pieces)
    client.ping()
    heard["ping"] = True
    client.send("ping")
    heard["pinged"] = client.receive() == "pong"
    heard["closed by client"] = list(client.close(4001, "bye"))
    client = connect(host, port, path)
    client.send("close")
    heard["closed by server"] = list(client.closed())
    return heard
