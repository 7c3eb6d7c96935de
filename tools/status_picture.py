"""Takes the picture of the status page: a gateway under a little load, seen by a browser."""

import itertools
import shutil
import sys
import tempfile
import threading
import time
from contextlib import ExitStack
from datetime import timedelta
from http.client import HTTPConnection, HTTPException
from pathlib import Path

from harness import configs
from harness.browser import browsing
from harness.certificates import Authority
from harness.gateway import Gateway, running
from harness.tokens import SECRET, token
from harness.upstream import Upstream, free_port, replying, response

PICTURE = Path(__file__).parents[1] / "rawgate/status.png"
SECONDS = 12
WIDTH, HEIGHT = 1200, 900
TURNS = (
    *(("/api/users/7", True), ("/api/orders", True), ("/api/orders", True), ("/assets/app.js", False)),
    *(("/api/users/7", True), ("/assets/app.css", False), ("/api/orders", False), ("/reports/annual", False)),
    *(("/api/users/9", True), ("/nowhere", False)),
)
"""What the clients ask for in turn: the path, and whether with a token."""


def config(target: str, dead: str) -> str:
    gateway = configs.gateway("workers = 2", 'admin = "127.0.0.1:0"')
    listen = 'listen = ["127.0.0.1:0", { address = "127.0.0.2:0", tls = "public" }]'
    return (
        gateway.replace('listen = ["127.0.0.1:0"]', listen)
        + '[tls.public]\ncertificates = [{ chain = "file:api.pem", key = "file:api.key" }]\n'
        + configs.jwt()
        + configs.upstream("users", [target, dead])
        + configs.upstream("orders", target)
        + configs.upstream("assets", target)
        + configs.route("/api/users", "users", 'rate_limit = { max = 2000, window = "60s" }', auth="jwt.main")
        + configs.route("/api/orders", "orders", 'rate_limit = { max = 150, window = "10s" }', auth="jwt.main")
        + configs.route("/assets", "assets")
        + configs.route("/reports", "orders")
    )


def ask(gateway: Gateway, number: int, ends: float) -> None:
    """One client, until then."""
    client = HTTPConnection(*gateway.address)
    bearer = {"Authorization": f"Bearer {token({'sub': f'client-{number}', 'exp': int(time.time()) + 600})}"}
    for path, signed in itertools.cycle(TURNS[number:] + TURNS[:number]):
        if time.monotonic() > ends:
            return
        try:
            client.request("GET", path, headers=bearer if signed else {})
            client.getresponse().read()
        except (OSError, HTTPException):
            client.close()
        time.sleep(0.01)


def main() -> None:
    browser = shutil.which("chromium")
    if browser is None:
        sys.exit("tools/draw-status needs chromium; on Debian: apt-get install chromium")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        upstream = stack.enter_context(Upstream(replying(response(b'{"id":7,"name":"Alice"}'))))
        Authority().issue("api.example.com", "www.example.com", ends=timedelta(81)).write(folder, "api")
        text = config(upstream.target, f"http://127.0.0.1:{free_port()}")
        gateway = stack.enter_context(running(folder, text, {"JWT_SECRET": SECRET}))
        page = stack.enter_context(browsing(browser))
        page.resize(WIDTH, HEIGHT, scale=1)
        ends = time.monotonic() + SECONDS
        clients = [threading.Thread(target=ask, args=(gateway, number, ends)) for number in range(6)]
        for client in clients:
            client.start()
        page.open(gateway.wait_said("admin on ").partition("admin on ")[2])
        time.sleep(max(0.0, ends - time.monotonic() - 1))
        page.picture(PICTURE)
        for client in clients:
            client.join()
    sys.stdout.write(f"{PICTURE}: {PICTURE.stat().st_size / 1024:.0f} KiB\n")


if __name__ == "__main__":
    main()
