"""aiohttp with its own router: python -m witnesses.apps.aiohttp_app PORT"""

import sys
from collections.abc import Awaitable, Callable

from aiohttp import web

from witnesses.apps.idioms import CHANGING, closed

Handler = Callable[[web.Request], Awaitable[web.Response]]


def reporting(handler: str) -> Handler:
    """A handler that reports what it was asked, and its own name."""

    async def report(request: web.Request) -> web.Response:
        await request.read()
        found = {
            "method": request.method,
            "path": request.path,
            "raw": request.raw_path,
            "host": request.host,
            "site": closed(request.url.host or ""),
            "handler": handler,
            "remote": request.remote,
            "fields": [[name.lower(), value] for name, value in request.headers.items()],
        }
        return web.json_response(found)

    return report


def main() -> None:
    app = web.Application()
    app.router.add_route("*", "/admin{rest:(/.*)?}", reporting("admin"))
    for method in CHANGING:
        app.router.add_route(method, "/items{rest:(/.*)?}", reporting("change"))
    app.router.add_route("*", "/items{rest:(/.*)?}", reporting("items"))
    app.router.add_route("*", "/{rest:.*}", reporting("open"))
    web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), print=lambda *_: None)


main()
