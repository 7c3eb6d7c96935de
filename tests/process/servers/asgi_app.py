"""An ASGI application served by uvicorn; says its port on stdout. See `test_real_servers`.

python asgi_app.py
"""

import asyncio
import gzip
import hashlib
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import uvicorn

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
Fields = list[tuple[bytes, bytes]]

CONFIRMED = asyncio.Event()
PIECE = bytes(range(256)) * 256


async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    if scope["type"] == "websocket":
        await echo_messages(receive, send)
        return
    match scope["path"].split("/")[1:]:
        case ["echo", *_]:
            await reply(send, 200, [(b"content-type", b"application/json")], await description(scope, receive))
        case ["counted", size]:
            await reply(send, 200, [], PIECE * (int(size) // len(PIECE)))
        case ["chunked", size]:
            await stream(send, [], pieces(int(size) // len(PIECE)))
        case ["cookies"]:
            await reply(send, 200, [(b"set-cookie", b"a=1; Path=/"), (b"set-cookie", b"b=2; HttpOnly")], b"ok")
        case ["gzip"]:
            await reply(send, 200, [(b"content-encoding", b"gzip"), (b"vary", b"accept-encoding")], GZIPPED)
        case ["status", status]:
            await reply(send, int(status), [(b"etag", b'"x"')], b"" if status in {"204", "304"} else b"body")
        case ["events"]:
            CONFIRMED.clear()
            await stream(send, [(b"content-type", b"text/event-stream")], events())
        case ["confirm"]:
            CONFIRMED.set()
            await reply(send, 204, [], b"")
        case _:
            await reply(send, 404, [], b"nothing here")


GZIPPED = gzip.compress(b"the same octets, over and over. " * 100, mtime=0)


async def description(scope: dict[str, Any], receive: Receive) -> bytes:
    """What arrived, as JSON."""
    digest, length, more = hashlib.sha256(), 0, True
    while more:
        message = await receive()
        digest.update(message.get("body", b""))
        length += len(message.get("body", b""))
        more = message.get("more_body", False)
    found = {
        "method": scope["method"],
        "target": scope["raw_path"].decode() + "?" * bool(scope["query_string"]) + scope["query_string"].decode(),
        "headers": {name.decode().lower(): value.decode() for name, value in scope["headers"]},
        "length": length,
        "sha256": digest.hexdigest(),
    }
    return json.dumps(found).encode()


async def reply(send: Send, status: int, fields: Fields, body: bytes) -> None:
    length = [] if status in {204, 304} else [(b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": [*fields, *length]})
    await send({"type": "http.response.body", "body": body})


async def stream(send: Send, fields: Fields, body: AsyncIterator[bytes]) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": fields})
    async for piece in body:
        await send({"type": "http.response.body", "body": piece, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


async def pieces(count: int) -> AsyncIterator[bytes]:
    for _ in range(count):
        yield PIECE


async def events() -> AsyncIterator[bytes]:
    """The second is sent when somebody has asked for /confirm."""
    yield b"data: one\n\n"
    await CONFIRMED.wait()
    yield b"data: two\n\n"


async def echo_messages(receive: Receive, send: Send) -> None:
    while (message := await receive())["type"] != "websocket.disconnect":
        if message["type"] == "websocket.connect":
            await send({"type": "websocket.accept"})
        else:
            await send({"type": "websocket.send", "text": message.get("text"), "bytes": message.get("bytes")})


if __name__ == "__main__":
    listening = socket.create_server(("127.0.0.1", 0))
    print(listening.getsockname()[1], flush=True)
    # Its five seconds of patience with an idle connection would now and then end where a POST begins, which is lost.
    config = uvicorn.Config(app, log_level="error", lifespan="off", timeout_keep_alive=600)
    server = uvicorn.Server(config)
    server.run(sockets=[listening])
