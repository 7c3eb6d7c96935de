"""The status page in a real browser: it shows what `/status` says, and takes no name for markup."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from harness import configs
from harness.browser import Page, browsing
from harness.certificates import DAY, Authority
from harness.gateway import Gateway, running
from harness.upstream import Upstream, free_port, replying, response

pytestmark = pytest.mark.process

HOSTILE = "<img src=x onerror='document.title=1'>&amp;<b>"
ROWS = """[...document.querySelectorAll("#all > section:first-of-type tbody tr")].map((row) =>
    [...row.cells].map((cell) => cell.textContent))"""


class World:
    """A gateway that has served something, and its page in a browser."""

    def __init__(self, gateway: Gateway, page: Page) -> None:
        self.gateway = gateway
        self.page = page

    def get(self, *paths: str) -> None:
        with self.gateway.connect() as client:
            for path in paths:
                client.sendall(f"GET {path} HTTP/1.1\r\nHost: h\r\n\r\n".encode())
                assert client.recv(65536).startswith(b"HTTP/1.1 ")

    def rows(self) -> dict[str, list[str]]:
        """Name → the other cells, of the table of routes."""
        found: list[list[str]] = self.page.ask(ROWS)
        return {name: cells for name, *cells in found}


@pytest.fixture
def world(tmp_path: Path, program: Callable[[str], str]) -> Iterator[World]:
    browser = program("chromium")
    with ExitStack() as stack:
        upstream = stack.enter_context(Upstream(replying(response(b"twelve bytes"))))
        Authority().issue("soon.test", ends=20 * DAY).write(tmp_path, "soon")
        listen = '"127.0.0.1:0", { address = "127.0.0.1:0", tls = "public" }'
        text = (
            configs.gateway('admin = "127.0.0.1:0"').replace('"127.0.0.1:0"]', f"{listen}]")
            + '[tls.public]\ncertificates = [{ chain = "file:soon.pem", key = "file:soon.key" }]\n'
            + configs.upstream("users", [upstream.target, f"http://127.0.0.1:{free_port()}"])
            + configs.route("/a", "users", 'rate_limit = { max = 3, window = "1h" }')
            + configs.route("/b", "users", f'name = "{HOSTILE}"')
        )
        gateway = stack.enter_context(running(tmp_path, text))
        page = stack.enter_context(browsing(browser))
        yield World(gateway, page)


def open_page(world: World) -> None:
    world.page.open(world.gateway.wait_said("admin on ").partition("admin on ")[2])
    world.page.wait("document.querySelector('section')")


def status_in(page: Page) -> dict[str, Any]:
    found: dict[str, Any] = page.ask("fetch('status').then((answer) => answer.json())")
    return found


def test_it_shows_what_status_says_and_goes_on(world: World) -> None:
    page = world.page
    world.get(*["/a"] * 5, *["/b/x"] * 2, "/none")
    world.gateway.wait_lines(8)
    open_page(world)
    rows = world.rows()
    assert list(rows) == ["/a", HOSTILE, "no route"]
    status = status_in(page)
    for route in status["routes"]:
        cells = rows[route["name"] or "no route"]
        assert cells[7] == str(route["requests"])
        assert cells[8] == "".join(f"{reason}{count}" for reason, count in route["reasons"].items())
    assert rows["/a"][7:] == ["5", "rate_limited2"]
    shown = page.ask("document.getElementById('all').innerText")
    assert f"{status['upstreams'][0]['targets'][1]['target']} down" in shown
    assert "3 in 1 h" in shown
    assert "soon.test" in shown
    assert page.ask("document.querySelector('td[data-name=in]').className") == "warn"
    assert page.ask("document.getElementById('state').innerText") == "serving"

    # What happens meanwhile shows without a reload; and there is a curve as soon as there are two answers.
    world.get(*["/b/x"] * 20)
    page.wait(f"{ROWS}[1][8] === '22'")
    page.wait("document.querySelector('td.trend svg')")

    assert page.ask("document.images.length") == 0, "a name was taken for markup"
    assert page.ask("document.title") != "1"
    assert page.said == [], "nothing went wrong, and its policy forbade nothing"


def test_it_fits_a_phone_and_is_dark_where_that_is_wanted(world: World) -> None:
    page = world.page
    page.resize(360, 700)
    open_page(world)
    assert page.ask("document.documentElement.scrollWidth") <= 360
    light = page.ask("getComputedStyle(document.body).backgroundColor")
    page.resize(360, 700, dark=True)
    assert page.ask("getComputedStyle(document.body).backgroundColor") != light


def test_what_there_is_none_of_is_left_out(world: World) -> None:
    open_page(world)
    bare = "page({ ...status, keySets: [], limits: [], certificates: [], store: null, upstreams: [] }, new History())"
    parts = world.page.ask(f"fetch('status').then((all) => all.json()).then((status) => {bare}.map(String))")
    assert parts
    assert "null" not in parts


def test_it_says_so_when_nobody_answers(world: World) -> None:
    open_page(world)
    world.gateway.stop()
    world.page.wait("document.body.className === 'stale'")
    assert world.page.ask("document.getElementById('out').innerText").startswith("No answer for ")
