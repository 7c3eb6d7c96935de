"""Chromium without a window, through its own protocol (Chrome DevTools): opens pages, asks them, takes pictures."""

import base64
import http.client
import itertools
import json
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from websockets.sync.client import ClientConnection, connect

PATIENCE = 30.0


class Page:
    """One open page.

    said  what it wrote to its console, and what its policy forbade
    """

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._numbers = itertools.count(1)
        self.said: list[str] = []

    def call(self, method: str, **parameters: Any) -> Any:
        """A command of the protocol."""
        number = next(self._numbers)
        self._socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            message = json.loads(self._socket.recv(PATIENCE))
            if message.get("method") in ("Log.entryAdded", "Runtime.exceptionThrown", "Runtime.consoleAPICalled"):
                self.said.append(json.dumps(message["params"]))
            if message.get("id") == number:
                assert "error" not in message, message
                return message["result"]

    def ask(self, script: str) -> Any:
        """The value of an expression; a promise is awaited."""
        result = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def wait(self, condition: str) -> Any:
        """Wait in the page for an expression to be true, and return its value. The page looks at each change of it."""
        return self.ask(
            f"""new Promise((resolve, reject) => {{
                const look = () => {{
                    const found = {condition};
                    if (found) {{ watch.disconnect(); resolve(found); }}
                }};
                const watch = new MutationObserver(look);
                watch.observe(document, {{ subtree: true, childList: true, characterData: true, attributes: true }});
                setTimeout(() => reject(new Error("it did not come")), {PATIENCE * 900});
                look();
            }})"""
        )

    def open(self, url: str) -> None:
        """Go there, and wait until it is loaded."""
        self.call("Page.navigate", url=url)
        self.ask("new Promise((done) => document.readyState === 'complete' ? done() : addEventListener('load', done))")

    def resize(self, width: int, height: int, *, dark: bool = False, scale: float = 1) -> None:
        """As on a screen of that many CSS pixels."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": scale, "mobile": width < 600}
        self.call("Emulation.setDeviceMetricsOverride", **metrics)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])

    def picture(self, path: Path) -> None:
        """What it looks like, as PNG."""
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))


@contextmanager
def browsing(name: str) -> Iterator[Page]:
    """A page in a browser of its own. name: the program."""
    with tempfile.TemporaryDirectory(prefix="rawgate-browser-", ignore_cleanup_errors=True) as folder:
        words = ["--headless=new", "--disable-gpu", "--hide-scrollbars", "--remote-debugging-port=0", "--no-first-run"]
        words += ["--no-sandbox"] if os.geteuid() == 0 else []  # Chromium refuses root otherwise
        process = subprocess.Popen(
            [name, *words, f"--user-data-dir={folder}", "about:blank"], stderr=subprocess.PIPE, text=True
        )
        try:
            assert process.stderr is not None
            port = next(line for line in process.stderr if "DevTools listening on" in line).split(":")[-1].split("/")[0]
            with connect(f"ws://127.0.0.1:{port}/devtools/page/{_first_page(int(port))}", max_size=None) as socket:
                page = Page(socket)
                for domain in ("Page", "Runtime", "Log"):
                    page.call(f"{domain}.enable")
                yield page
        finally:
            process.terminate()
            process.communicate(timeout=PATIENCE)


def _first_page(port: int) -> str:
    """It opens some time after the browser has begun to listen."""
    ends = time.monotonic() + PATIENCE
    while time.monotonic() < ends:
        with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)) as client:
            client.request("GET", "/json/list")
            pages = json.loads(client.getresponse().read())
        for page in pages:
            if page["type"] == "page":
                return str(page["id"])
        time.sleep(0.01)  # there is no event for that
    raise AssertionError("the browser opens no page")
