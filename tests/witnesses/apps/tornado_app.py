"""tornado with its own router, for paths and for hosts: python -m witnesses.apps.tornado_app PORT"""

import asyncio
import re
import sys

from tornado.web import Application, RequestHandler

from witnesses.apps.idioms import SITES, items


class Reporter(RequestHandler):
    """Answers before the method of the class is looked for: all that tornado knows come here."""

    def initialize(self, handler: str, site: str = "") -> None:
        self.handler = handler
        self.site = site

    def prepare(self) -> None:
        request = self.request
        method = request.method or ""
        self.finish(
            {
                "method": method,
                "path": request.path,
                "raw": request.uri,
                "host": request.host_name,
                "site": self.site,
                "handler": items(method) if self.handler == "items" else self.handler,
                "remote": request.remote_ip,
                "fields": [[name.lower(), value] for name, value in request.headers.get_all()],
            }
        )


async def serve(port: int) -> None:
    app = Application(
        [
            (r"/admin(?:/.*)?", Reporter, {"handler": "admin"}),
            (r"/items(?:/.*)?", Reporter, {"handler": "items"}),
            (r".*", Reporter, {"handler": "open"}),
        ]
    )
    for site in SITES:
        name = f"[{site}]" if ":" in site else site
        app.add_handlers(re.escape(name), [(r".*", Reporter, {"handler": "open", "site": site})])
    app.listen(port, "127.0.0.1")
    await asyncio.Event().wait()


asyncio.run(serve(int(sys.argv[1])))
