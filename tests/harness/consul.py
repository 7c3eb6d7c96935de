"""An agent of Consul for tests, as far as a gateway asks one: the health API with blocking queries, as Consul's
documentation has them ("Health HTTP Endpoint", "Blocking Queries"). What the vendor's own double shows, which has no
state, is tested with that one; this one has services that come and go."""

import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Condition, Thread
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

Entry = dict[str, Any]


def instance(address: str, port: int, passing: int = 1) -> Entry:
    """A healthy instance, as the health API tells of it."""
    return {
        "Node": {"Node": "node", "Address": "192.0.2.1", "Datacenter": "dc1"},
        "Service": {
            "ID": f"web-{address}-{port}",
            "Service": "web",
            "Tags": [],
            "Address": address,
            "Port": port,
            "Weights": {"Passing": passing, "Warning": 1},
        },
        "Checks": [{"CheckID": "serfHealth", "Status": "passing"}],
    }


class Consul:
    """asked   targets of the requests, in order
    tokens  X-Consul-Token of each
    down    answers 500, as an agent does whose servers have no leader
    indexed answers have an index
    hides   leaves so many instances out, which the token may not see
    """

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.tokens: list[str | None] = []
        self.down = False
        self.hides = 0
        self.indexed = True
        self.waiting = 0
        self._services: dict[str, list[Entry]] = {}
        self._index = 10
        self._closed = False
        self.news = Condition()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.port = self._server.server_port
        self.url = f"http://127.0.0.1:{self.port}"
        Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with self.news:
            self._closed = True
            self.news.notify_all()
        self._server.shutdown()
        self._server.server_close()

    def register(self, service: str, *entries: Entry) -> None:
        """From now on a service has these instances, and no others."""
        with self.news:
            self._services[service] = list(entries)
            self._index += 1
            self.news.notify_all()

    def restore(self) -> None:
        """The index goes back, as it does when the servers' state is restored."""
        with self.news:
            self._index = 3
            self.news.notify_all()

    def _answer(self, target: str) -> tuple[int, int, bytes]:
        """Status, index and body; waits as long as the query asks for."""
        parts = urlsplit(target)
        query = parse_qs(parts.query, keep_blank_values=True)
        index = int(query.get("index", ["0"])[0])
        seconds = float(query.get("wait", ["300s"])[0].removesuffix("s"))
        with self.news:
            if index:
                self.waiting += 1
                self.news.notify_all()
                self.news.wait_for(lambda: self._closed or self.down or self._index != index, seconds)
                self.waiting -= 1
            if self.down:
                return 500, 0, b"No cluster leader"
            found = self._services.get(parts.path.removeprefix("/v1/health/service/"), [])
            return 200, self._index, json.dumps(found[self.hides :]).encode()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        consul = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                with consul.news:
                    consul.asked.append(self.path)
                    consul.tokens.append(self.headers["X-Consul-Token"])
                    consul.news.notify_all()
                status, index, body = consul._answer(self.path)
                try:
                    self.send_response(status)
                    self.send_header("Content-Type", "application/json")
                    if consul.indexed:
                        self.send_header("X-Consul-Index", str(index))
                    if consul.hides:
                        self.send_header("X-Consul-Results-Filtered-By-ACLs", "true")
                    self.send_header("Content-Length", str(len(body)))
                    self.end_headers()
                    self.wfile.write(body)
                except OSError:
                    self.close_connection = True  # who asked is gone

            def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002
                """Says nothing."""

        return Handler
