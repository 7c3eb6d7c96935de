"""Werkzeug: its development server, its Request and its routing map: python -m witnesses.apps.werkzeug_app PORT"""

import json
import logging
import sys
from urllib.parse import urlsplit

from werkzeug.exceptions import HTTPException
from werkzeug.routing import Map, Rule
from werkzeug.serving import run_simple
from werkzeug.wrappers import Request, Response

from witnesses.apps.idioms import CHANGING, closed

PATHS = Map(
    [
        Rule("/admin", endpoint="admin"),
        Rule("/admin/<path:rest>", endpoint="admin"),
        Rule("/items", endpoint="change", methods=CHANGING),
        Rule("/items/<path:rest>", endpoint="change", methods=CHANGING),
        Rule("/items", endpoint="items"),
        Rule("/items/<path:rest>", endpoint="items"),
        Rule("/", endpoint="open"),
        Rule("/<path:rest>", endpoint="open"),
    ],
    strict_slashes=False,
)


@Request.application
def app(request: Request) -> Response:
    request.get_data()
    try:
        handler, _ = PATHS.bind_to_environ(request.environ).match()
    except HTTPException as refusal:
        return refusal.get_response()
    report = {
        "method": request.method,
        "path": request.path,
        "raw": request.environ.get("RAW_URI", ""),
        "host": request.host,
        "site": closed(urlsplit(request.host_url).hostname or ""),
        "handler": handler,
        "remote": request.remote_addr,
        "fields": [[name, value] for name, value in request.environ.items() if isinstance(value, str)],
    }
    return Response(json.dumps(report), content_type="application/json")


logging.getLogger("werkzeug").setLevel(logging.ERROR)
run_simple("127.0.0.1", int(sys.argv[1]), app, threaded=True)
