"""Python's own http.server: python -m witnesses.apps.http_server_app PORT"""

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

from witnesses.apps.idioms import handler_of, site_of


class Reporter(BaseHTTPRequestHandler):
    def report(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path, host = unquote(urlsplit(self.path).path), self.headers.get("Host", "")
        report = {
            "method": self.command,
            "path": path,
            "raw": self.path,
            "host": host,
            "site": site_of(host),
            "handler": handler_of(self.command, path),
            "remote": self.client_address[0],
            "fields": [[name.lower(), value] for name, value in self.headers.items()],
        }
        body = json.dumps(report).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    # It finds the function for a method by this name.
    do_GET = do_HEAD = do_OPTIONS = do_POST = do_PUT = do_PATCH = do_DELETE = report  # noqa: N815

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - the name that it is called with
        pass


class Server(ThreadingHTTPServer):
    request_queue_size = 128


Server(("127.0.0.1", int(sys.argv[1])), Reporter).serve_forever()
