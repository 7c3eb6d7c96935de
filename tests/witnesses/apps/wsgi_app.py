"""A WSGI application that reports what its server tells it; for gunicorn and waitress.

It asks the environment as frameworks do: PATH_INFO for the handler, HTTP_HOST for the site.
"""

import json
from collections.abc import Callable, Iterable
from typing import Any

from witnesses.apps.idioms import handler_of, site_of


def app(environ: dict[str, Any], start_response: Callable[..., object]) -> Iterable[bytes]:
    environ["wsgi.input"].read()
    method, path, host = environ["REQUEST_METHOD"], environ["PATH_INFO"], environ.get("HTTP_HOST", "")
    report = {
        "method": method,
        "path": path,
        "raw": environ.get("RAW_URI", environ.get("REQUEST_URI", "")),
        "host": host,
        "site": site_of(host),
        "handler": handler_of(method, path),
        "remote": environ.get("REMOTE_ADDR", ""),
        "fields": [[name, value] for name, value in environ.items() if isinstance(value, str)],
    }
    body = json.dumps(report).encode()
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]
