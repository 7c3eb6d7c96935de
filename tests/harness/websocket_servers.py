"""WebSocket servers of three libraries with one behaviour, each in a thread.

They echo every message except three texts. "fragments" gets a message in three frames (where the library can), "ping"
gets a ping and, after its pong, the text "pong", and "close" makes the server close with 4002 "enough". Node's server
does the same (tests/process/servers).
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from threading import Event as Flag
from threading import Thread

import aiohttp
import websockets.sync.server
from aiohttp import web
from websockets.exceptions import ConnectionClosed
from wsproto import ConnectionType, WSConnection
from wsproto.connection import ConnectionState
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

from harness.upstream import Connection, Upstream

PATIENCE = 20.0
PIECES = ("in ", "three ", "pieces")
CODE, REASON = 4002, "enough"


@contextmanager
def websockets_server() -> Iterator[int]:
    """Yields the port on which it listens."""

    def play(connection: websockets.sync.server.ServerConnection) -> None:
        for message in connection:
            match message:
                case "fragments":
                    connection.send(iter(PIECES))
                case "ping":
                    # Its pong is read by another thread.
                    assert connection.ping("here?").wait(PATIENCE)
                    connection.send("pong")
                case "close":
                    connection.close(CODE, REASON)
                case _:
                    connection.send(message)

    def handle(connection: websockets.sync.server.ServerConnection) -> None:
        with suppress(ConnectionClosed):
            play(connection)

    with websockets.sync.server.serve(handle, "127.0.0.1", 0, max_size=None) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.socket.getsockname()[1]
        finally:
            server.shutdown()
            thread.join()


def joined(frames: Sequence[TextMessage | BytesMessage]) -> str | bytes:
    """The message that consists of these frames."""
    if isinstance(frames[0], TextMessage):
        return "".join(str(frame.data) for frame in frames)
    return b"".join(bytes(frame.data) for frame in frames if isinstance(frame, BytesMessage))


class _WsprotoPeer:
    """The server's end of one connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._peer = WSConnection(ConnectionType.SERVER)
        self._frames: list[TextMessage | BytesMessage] = []

    def play(self) -> None:
        while data := self._connection.sock.recv(262144):
            self._peer.receive_data(data)
            for event in self._peer.events():
                self._take(event)
                if isinstance(event, CloseConnection):
                    return

    def _take(self, event: Event) -> None:
        match event:
            case Request():
                self._send(AcceptConnection(extensions=[PerMessageDeflate()]))
            case Ping():
                self._send(event.response())
            case CloseConnection() if self._peer.state is ConnectionState.REMOTE_CLOSING:
                self._send(event.response())
            case Pong():
                self._send(TextMessage("pong"))
            case TextMessage() | BytesMessage():
                self._frames.append(event)
                if event.message_finished:
                    self._answer(joined(self._frames))
                    self._frames.clear()

    def _answer(self, message: str | bytes) -> None:
        match message:
            case "fragments":
                self._send(*(TextMessage(piece, message_finished=piece is PIECES[-1]) for piece in PIECES))
            case "ping":
                self._send(Ping(b"here?"))
            case "close":
                self._send(CloseConnection(CODE, REASON))
            case str():
                self._send(TextMessage(message))
            case bytes():
                self._send(BytesMessage(message))

    def _send(self, *events: Event) -> None:
        for event in events:
            self._connection.send(self._peer.send(event))


@contextmanager
def wsproto_server() -> Iterator[int]:
    """Yields the port on which it listens."""
    with Upstream(lambda connection: _WsprotoPeer(connection).play()) as upstream:
        yield upstream.port


async def _aiohttp_handle(request: web.Request) -> web.WebSocketResponse:
    peer = web.WebSocketResponse(max_msg_size=0, autoping=False, autoclose=False)
    await peer.prepare(request)
    while not peer.closed:
        message = await peer.receive()
        match message.type, message.data:
            case aiohttp.WSMsgType.CLOSE, code:
                await peer.close(code=code, message=(message.extra or "").encode())
            case aiohttp.WSMsgType.PING, payload:
                await peer.pong(payload)
            case aiohttp.WSMsgType.PONG, _:
                await peer.send_str("pong")
            case aiohttp.WSMsgType.TEXT, "fragments":
                await peer.send_str("".join(PIECES))
            case aiohttp.WSMsgType.TEXT, "ping":
                await peer.ping(b"here?")
            case aiohttp.WSMsgType.TEXT, "close":
                await peer.close(code=CODE, message=REASON.encode())
            case aiohttp.WSMsgType.TEXT, text:
                await peer.send_str(text)
            case aiohttp.WSMsgType.BINARY, octets:
                await peer.send_bytes(octets)
    return peer


async def _aiohttp_start() -> tuple[int, Callable[[], Awaitable[None]]]:
    application = web.Application()
    application.router.add_get("/{rest:.*}", _aiohttp_handle)
    runner = web.AppRunner(application, shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, backlog=1024).start()
    return runner.addresses[0][1], runner.cleanup


@contextmanager
def in_a_loop(start: Callable[[], Awaitable[tuple[int, Callable[[], Awaitable[None]]]]]) -> Iterator[int]:
    """Run an asyncio server in a thread. `start` returns its port and a function that stops it."""
    ports: list[int] = []
    up, loop, over = Flag(), asyncio.new_event_loop(), asyncio.Event()

    async def serve() -> None:
        port, end = await start()
        ports.append(port)
        up.set()
        await over.wait()
        await end()

    thread = Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    assert up.wait(PATIENCE)
    try:
        yield ports[0]
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join()
        loop.close()


def aiohttp_server() -> AbstractContextManager[int]:
    """Yields the port on which it listens."""
    return in_a_loop(_aiohttp_start)


SERVERS: dict[str, Callable[[], AbstractContextManager[int]]] = {
    "websockets": websockets_server,
    "wsproto": wsproto_server,
    "aiohttp": aiohttp_server,
}
