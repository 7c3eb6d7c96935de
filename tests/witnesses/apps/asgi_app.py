"""An ASGI application that reports what its server tells it; for uvicorn and hypercorn."""

import json
from collections.abc import Awaitable, Callable
from typing import Any

from witnesses.apps.idioms import handler_of, site_of

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan":
        await live(receive, send)
        return
    while (await receive()).get("more_body"):
        pass
    fields = [[name.decode("latin-1"), value.decode("latin-1")] for name, value in scope["headers"]]
    host = next((value for name, value in fields if name == "host"), "")
    report = {
        "method": scope["method"],
        "path": scope["path"],
        "raw": (scope.get("raw_path") or b"").decode("latin-1"),
        "host": host,
        "site": site_of(host),
        "handler": handler_of(scope["method"], scope["path"]),
        "remote": str((scope.get("client") or ("",))[0]),
        "fields": fields,
    }
    body = json.dumps(report).encode()
    head = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": head})
    await send({"type": "http.response.body", "body": body})


async def live(receive: Receive, send: Send) -> None:
    """The protocol for start and end, in which there is nothing to do here."""
    await receive()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.complete"})
