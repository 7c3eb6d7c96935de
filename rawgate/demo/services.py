"""The services behind the demo's gateway, each on a free port of 127.0.0.1.

users, payments, webhooks   respond with what they received, as JSON
ticker                      streams a few events, with pauses
reports                     takes longer than the gateway waits
legacy                      is dead: its port is taken, and nobody listens there
"""

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from hashlib import sha256

from rawgate.demo.messages import Head, payloads, read_head, request_body
from rawgate.errors import MessageError
from rawgate.wire import LAST_CHUNK, chunk

TICKS = 5
TICK_EVERY = 0.15
"""Seconds between two events of the ticker."""
REPORT_TAKES = 5.0
"""Seconds until a report is ready: more than `upstreams.reports.response_timeout`."""

Answer = Callable[[Head, asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
"""Reads the body of a request and writes the response."""


@contextlib.asynccontextmanager
async def services() -> AsyncIterator[dict[str, int]]:
    """Run all services while the block lasts. Yields name → port."""
    answers: dict[str, Answer] = {
        "users": partial(_echo, "users", "200 OK"),
        "payments": partial(_echo, "payments", "201 Created"),
        "webhooks": partial(_echo, "webhooks", "202 Accepted"),
        "ticker": _tick,
        "reports": _dawdle,
    }
    connections: dict[asyncio.Task[None], asyncio.StreamWriter] = {}
    async with contextlib.AsyncExitStack() as stack:
        # Bound, so that no other process gets the port; not listening, so that connections to it are refused.
        dead = stack.enter_context(socket.socket())
        dead.bind(("127.0.0.1", 0))
        ports = {"legacy": dead.getsockname()[1]}
        for name, answer in answers.items():
            server = await asyncio.start_server(partial(_serve, connections, answer), "127.0.0.1", 0)
            stack.callback(server.close)
            ports[name] = server.sockets[0].getsockname()[1]
        try:
            yield ports
        finally:
            for writer in connections.values():
                writer.transport.abort()
            await asyncio.gather(*connections)


async def _serve(
    connections: dict[asyncio.Task[None], asyncio.StreamWriter],
    answer: Answer,
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
) -> None:
    """Serve one connection from the gateway until either side closes it."""
    task = asyncio.current_task()
    if task is not None:
        connections[task] = writer
        task.add_done_callback(connections.pop)
    try:
        while (request := await read_head(reader)) is not None:
            await answer(request, reader, writer)
            await writer.drain()
    except (OSError, MessageError):
        pass  # the gateway gave the request up and closed the connection
    finally:
        writer.close()


async def _echo(
    service: str, status: str, request: Head, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """Respond with what was received. The Server field is there for the gateway to remove."""
    if request.fields.get("expect") == "100-continue":
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    digest, octets = sha256(), 0
    async for payload in payloads(reader, request_body(request)):
        digest.update(payload)
        octets += len(payload)
    seen = {
        "service": service,
        "saw": request.start.removesuffix(" HTTP/1.1"),
        "fields": request.fields,
        "body": {"octets": octets, "sha256": digest.hexdigest()},
    }
    body = json.dumps(seen, indent=2).encode() + b"\n"
    writer.write(
        b"HTTP/1.1 %b\r\nServer: homemade/0.1\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
        % (status.encode(), len(body), body)
    )


async def _tick(request: Head, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Server-sent events, one at a time."""
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
    for number in range(1, TICKS + 1):
        writer.write(chunk(b"data: tick %d of %d\n\n" % (number, TICKS)))
        await writer.drain()
        if number < TICKS:
            await asyncio.sleep(TICK_EVERY)
    writer.write(LAST_CHUNK)


async def _dawdle(request: Head, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Respond late, or not at all once the gateway has closed the connection."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(REPORT_TAKES):
            await reader.read(1)
            return
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\ndone\n")
