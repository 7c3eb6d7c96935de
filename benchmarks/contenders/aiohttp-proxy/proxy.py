"""A plain proxy as one writes it with aiohttp: `python proxy.py PORT UPSTREAM`. On uvloop, without a log.

Answers go through as they come, and so do bodies of requests; the upstream's connections are kept.
"""

import sys

import aiohttp
import uvloop
from aiohttp import web
from multidict import CIMultiDict

HOP_BY_HOP = ("Connection", "Keep-Alive", "Transfer-Encoding", "TE", "Trailer", "Upgrade", "Host")
SESSION = web.AppKey("session", aiohttp.ClientSession)


class Proxy:
    """The one handler."""

    def __init__(self, upstream: int) -> None:
        self._origin = f"http://127.0.0.1:{upstream}"

    async def answer(self, request: web.Request) -> web.StreamResponse:
        headers = _end_to_end(CIMultiDict(request.headers))
        headers["X-Forwarded-For"] = request.remote or ""
        body = request.content if request.body_exists else None
        session = request.app[SESSION]
        url = self._origin + request.raw_path
        async with session.request(request.method, url, headers=headers, data=body, allow_redirects=False) as found:
            answer_headers = _end_to_end(CIMultiDict(found.headers))
            if found.content_length is not None and found.content_length <= 65536:
                # All of it in one write: a stream would take two.
                return web.Response(status=found.status, headers=answer_headers, body=await found.read())
            answer = web.StreamResponse(status=found.status, headers=answer_headers)
            await answer.prepare(request)
            async for piece in found.content.iter_any():
                await answer.write(piece)
            await answer.write_eof()
            return answer


def _end_to_end(headers: CIMultiDict[str]) -> CIMultiDict[str]:
    for name in HOP_BY_HOP:
        headers.popall(name, None)
    return headers


async def application(upstream: int) -> web.Application:
    app = web.Application(client_max_size=2**30)
    # No limit on connections (the default is 100), and bodies as they are: not unpacked and packed again.
    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=3600)
    app[SESSION] = aiohttp.ClientSession(connector=connector, auto_decompress=False)

    async def close(app: web.Application) -> None:
        await app[SESSION].close()

    app.on_cleanup.append(close)
    app.router.add_route("*", "/{path:.*}", Proxy(upstream).answer)
    return app


if __name__ == "__main__":
    uvloop.install()
    web.run_app(application(int(sys.argv[2])), host="127.0.0.1", port=int(sys.argv[1]), access_log=None, print=None)
